//! One promise per file. A checker is told what happens and answers what is broken.

mod acknowledged;
mod indexes;
mod sessions;
mod waits;

pub(crate) use acknowledged::Acknowledged;
pub(crate) use indexes::Indexes;
pub(crate) use sessions::Sessions;
pub(crate) use waits::Waits;

mod agreement;
mod completeness;
mod elections;
mod fences;
pub(crate) mod linear;
mod log_matching;
mod prefix;
mod renewals;
mod survival;

pub(crate) use agreement::Agreement;
pub(crate) use completeness::Completeness;
pub(crate) use elections::Elections;
pub(crate) use fences::{Acquisition, Fences};
pub(crate) use log_matching::LogMatching;
pub(crate) use prefix::Prefix;
pub(crate) use renewals::Renewals;
pub(crate) use survival::Survival;
