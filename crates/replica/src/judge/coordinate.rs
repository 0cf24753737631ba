//! Coordinates: only sound ones enter the log.

use model::command::{Command, Outcome};
use model::coordinate::NodeCoordinate;

use crate::judge::Judged;

/// Drops what is not a finite coordinate of the usual dimensions, as a confused agent may send.
pub(super) fn judge(mut updates: Vec<NodeCoordinate>) -> Judged {
    updates.retain(|update| update.coord.is_valid());
    match updates.is_empty() {
        true => Judged::Answer(Outcome::Done),
        false => Judged::Propose(Command::Coordinates(updates)),
    }
}
