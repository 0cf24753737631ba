//! What is wrong with a link is said once, not with every attempt.

use std::collections::BTreeMap;

use parking_lot::Mutex;

/// The last fault of each link.
#[derive(Debug, Default)]
pub(crate) struct LinkFaults(Mutex<BTreeMap<u64, String>>);

/// Servers whose faults are remembered; more than are linked at once.
const SERVERS_MAX: usize = 256;

impl LinkFaults {
    pub(crate) fn report(&self, to: u64, address: &str, error: &std::io::Error) {
        let text = error.to_string();
        let mut last = self.0.lock();
        if last.get(&to) == Some(&text) {
            tracing::debug!(to = format_args!("{to:016x}"), address, error = text, "no link");
            return;
        }
        tracing::warn!(
            to = format_args!("{to:016x}"),
            address,
            error = text,
            "the link to another server broke"
        );
        if last.len() >= SERVERS_MAX {
            last.clear();
        }
        last.insert(to, text);
    }
}
