//! Addresses with a special purpose.

use std::net::IpAddr;

use crate::settings::network::Cidr;

/// Private networks (RFC 1918).
const RFC_1918: &[&str] = &["10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16"];
/// Unique local addresses (RFC 4193).
const RFC_4193: &[&str] = &["fc00::/7"];
/// Between carriers and their customers (RFC 6598).
const RFC_6598: &[&str] = &["100.64.0.0/10"];
/// All addresses with a special purpose (RFC 6890, section 2.2).
const RFC_6890: &[&str] = &[
    "0.0.0.0/8",
    "10.0.0.0/8",
    "100.64.0.0/10",
    "127.0.0.0/8",
    "169.254.0.0/16",
    "172.16.0.0/12",
    "192.0.0.0/24",
    "192.0.2.0/24",
    "192.88.99.0/24",
    "192.168.0.0/16",
    "198.18.0.0/15",
    "198.51.100.0/24",
    "203.0.113.0/24",
    "240.0.0.0/4",
    "::1/128",
    "::/128",
    "64:ff9b::/96",
    "100::/64",
    "2001::/23",
    "2001:db8::/32",
    "2002::/16",
    "fc00::/7",
    "fe80::/10",
];
/// Those of them that no router passes on.
const NOT_FORWARDABLE: &[&str] = &[
    "0.0.0.0/8",
    "127.0.0.0/8",
    "169.254.0.0/16",
    "192.0.0.0/24",
    "192.0.2.0/24",
    "198.51.100.0/24",
    "203.0.113.0/24",
    "240.0.0.0/4",
    "::1/128",
    "::/128",
    "2001:db8::/32",
    "fe80::/10",
];

/// Whether `address` is one the RFC of that number is about.
pub(super) fn is_of_rfc(address: IpAddr, number: &str) -> Result<bool, String> {
    let networks = match number {
        "1918" => RFC_1918,
        "4193" => RFC_4193,
        "6598" => RFC_6598,
        "6890" => RFC_6890,
        other => {
            return Err(format!("RFC {other:?} is not known here; 1918, 4193, 6598 and 6890 are"));
        }
    };
    Ok(is_in(address, networks))
}

pub(super) fn is_forwardable(address: IpAddr) -> bool {
    !is_in(address, NOT_FORWARDABLE)
}

fn is_in(address: IpAddr, networks: &[&str]) -> bool {
    networks
        .iter()
        .any(|network| network.parse::<Cidr>().is_ok_and(|network| network.contains(address)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_listed_network_reads() {
        for network in [RFC_1918, RFC_4193, RFC_6598, RFC_6890, NOT_FORWARDABLE].concat() {
            assert!(network.parse::<Cidr>().is_ok(), "{network}");
        }
    }
}
