//! One promise per file. A checker is told what happens and answers what is broken.

mod acknowledged;
mod indexes;
mod sessions;
mod waits;

pub(crate) use acknowledged::Acknowledged;
pub(crate) use indexes::Indexes;
pub(crate) use sessions::Sessions;
pub(crate) use waits::Waits;
