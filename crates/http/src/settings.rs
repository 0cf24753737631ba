//! What the HTTP edge is told.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

/// Settings of the HTTP API. `Default` is that of a running agent without configuration.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Indent every answer, as an agent in development mode does.
    pub always_pretty: bool,
    /// Path the user interface is served under; `None` when it is off.
    pub ui_path: Option<String>,
    /// Beginnings of paths that are refused.
    pub block_endpoints: Vec<String>,
    /// Sent with every answer of an endpoint.
    pub response_headers: BTreeMap<String, String>,
    /// Who may write; empty: everybody.
    pub allow_write_from: Vec<Network>,
    /// Whether `?cached` answers from memory kept up to date.
    pub use_cache: bool,
    /// Answer catalog and health questions from any server that is at most this far behind, when
    /// the request says nothing about it. Zero: do not.
    pub discovery_max_stale: Duration,
    /// Accept request paths with unprintable characters.
    pub allow_unprintable_paths: bool,
    /// Unit: bytes.
    pub kv_value_bytes_max: usize,
    /// Longest head of a request. Unit: bytes.
    pub header_bytes_max: usize,
    /// Open connections of one client address; 0: no limit.
    pub connections_per_client_max: usize,
    pub translate_wan_addresses: bool,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            always_pretty: false,
            ui_path: None,
            block_endpoints: Vec::new(),
            response_headers: BTreeMap::new(),
            allow_write_from: Vec::new(),
            use_cache: true,
            discovery_max_stale: Duration::ZERO,
            allow_unprintable_paths: false,
            kv_value_bytes_max: model::kv::VALUE_BYTES_MAX,
            header_bytes_max: 1 << 20,
            connections_per_client_max: 200,
            translate_wan_addresses: false,
        }
    }
}

/// Addresses with a common beginning, such as `10.0.0.0/8`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Network {
    pub address: IpAddr,
    /// How many leading bits are common.
    pub bits: u8,
}

impl Network {
    pub fn contains(&self, address: IpAddr) -> bool {
        let (ours, theirs, width) = match (self.address, address.to_canonical()) {
            (IpAddr::V4(a), IpAddr::V4(b)) => {
                (u128::from(a.to_bits()), u128::from(b.to_bits()), 32)
            }
            (IpAddr::V6(a), IpAddr::V6(b)) => (a.to_bits(), b.to_bits(), 128),
            _ => return false,
        };
        let free = width - u32::from(self.bits).min(width);
        ours.checked_shr(free) == theirs.checked_shr(free)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn networks() {
        let check = |network: &str, bits, address: &str, want| {
            let network = Network { address: network.parse().unwrap(), bits };
            assert_eq!(network.contains(address.parse().unwrap()), want, "{network:?} {address}");
        };
        check("10.0.0.0", 8, "10.200.3.4", true);
        check("10.0.0.0", 8, "11.0.0.1", false);
        check("127.0.0.1", 32, "127.0.0.1", true);
        check("127.0.0.1", 32, "127.0.0.2", false);
        check("0.0.0.0", 0, "8.8.8.8", true);
        check("::", 0, "8.8.8.8", false);
        check("10.0.0.0", 8, "::ffff:10.1.1.1", true);
        check("fe80::", 10, "fe80::1", true);
    }
}
