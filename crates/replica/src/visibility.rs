//! What of a reply reaches the asker: rows his filter expression keeps.

use model::error::Error;
use model::query::Reply;

/// Keeps the rows of `reply` for which `expression` holds; the empty expression keeps all.
///
/// Errors: `Invalid` for an expression that does not parse or does not fit the rows.
pub fn filter_reply(reply: Reply, expression: &str) -> Result<Reply, Error> {
    reply.filtered(expression).map_err(|error| {
        Error::invalid(format!("Failed to create boolean expression evaluator: {error}"))
    })
}
