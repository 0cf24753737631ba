//! Who may be in the pool: the caller's rules.

use crate::member::Member;

/// Decides about members told by others, before anything of what was told is believed.
pub trait Admission: Send {
    /// Called with the single member of an alive message, and with all members of a peer's list when a join merges
    /// it. An error names the reason and keeps all of them out.
    fn admit(&self, members: &[Member]) -> Result<(), String>;

    /// Called before a join merges `members`, and when somebody new is told of, with those who are in the pool already.
    /// An error keeps all of `members` out.
    fn admit_beside(
        &self,
        _members: &[Member],
        _known: &mut dyn Iterator<Item = &Member>,
    ) -> Result<(), String> {
        Ok(())
    }
}

/// Lets everybody in.
#[derive(Clone, Copy, Debug, Default)]
pub struct Everybody;

impl Admission for Everybody {
    fn admit(&self, _members: &[Member]) -> Result<(), String> {
        Ok(())
    }
}
