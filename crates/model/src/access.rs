//! What a token must have for an endpoint or a method: declared with each handler, whatever the door. Judged by none yet:
//! servers and agents will judge by it once there are access rules.

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Everybody may.
    Open,
    Needs(Resource, Right),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Resource {
    Agent,
    Event,
    Intention,
    Key,
    Keyring,
    Node,
    /// The service named, or each one listed.
    Service,
    Session,
    Operator,
    /// The one the configuration entry's kind stands for.
    OfKind,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Right {
    Read,
    Write,
}
