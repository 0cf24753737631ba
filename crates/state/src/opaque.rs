//! Records of other products' archives for which there is no noun here. They are part of the state,
//! so that what came in with an archive goes out with the next one.

use std::fmt;
use std::sync::Arc;

/// One record as its archive had it.
#[derive(Clone, PartialEq, Eq)]
pub struct OpaqueRecord {
    /// Type number of the record.
    pub kind: u8,
    /// One msgpack value.
    pub value: Arc<[u8]>,
}

impl fmt::Debug for OpaqueRecord {
    /// Without the value: it may hold an access token.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OpaqueRecord").field("kind", &self.kind).finish_non_exhaustive()
    }
}
