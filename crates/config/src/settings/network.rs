//! Ports and addresses as written.

use crate::SettingError;
use crate::decode::{Decode, Values};
use crate::setting::Setting;

/// A port to listen on; `None` where zero or a negative number switches it off.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Port(pub Option<u16>);

impl Decode for Port {
    fn decode(values: &Values<'_>) -> Result<Port, SettingError> {
        let number = i64::decode(values)?;
        if number <= 0 {
            return Ok(Port(None));
        }
        match u16::try_from(number) {
            Ok(port) => Ok(Port(Some(port))),
            Err(_) => Err(values.invalid(format!(
                "invalid port {number}; write 1 to 65535, or -1 to switch it off"
            ))),
        }
    }
}

impl Setting for Port {}

settings! {
    /// Ports listened on.
    pub struct Ports {
        dns: Port = Port(Some(8600));
        http: Port = Port(Some(8500));
        https: Port = Port(None);
        grpc: Port = Port(None);
        /// Newer than 1.8.
        grpc_tls: Port = Port(None);
        serf_lan: Port = Port(Some(8301));
        serf_wan: Port = Port(Some(8302));
        /// For other agents.
        server: Port = Port(Some(8300));
        /// Range of ports given to sidecars without one; both zero switches that off.
        sidecar_min_port: u16 = 21000;
        sidecar_max_port: u16 = 21255;
        /// Range of ports given to exposed paths without one.
        expose_min_port: u16 = 21500;
        expose_max_port: u16 = 21755;
        /// Left from the managed proxies; nothing uses it.
        proxy_min_port: i64 = 0;
        proxy_max_port: i64 = 0;
    }
}

settings! {
    /// Addresses of single ports, instead of `client_addr`; separated by spaces, templates allowed.
    pub struct Addresses {
        dns: String = String::new();
        /// May be `unix://path`, like the next two.
        http: String = String::new();
        https: String = String::new();
        grpc: String = String::new();
        grpc_tls: String = String::new();
    }
}

/// A range of addresses: an address, a slash and the bits that count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cidr {
    pub address: std::net::IpAddr,
    pub bits: u8,
}

impl Cidr {
    pub fn contains(&self, address: std::net::IpAddr) -> bool {
        use std::net::IpAddr;
        match (self.address, address.to_canonical()) {
            (IpAddr::V4(network), IpAddr::V4(address)) => {
                let mask = u32::MAX.checked_shl(32 - u32::from(self.bits)).unwrap_or(0);
                network.to_bits() & mask == address.to_bits() & mask
            }
            (IpAddr::V6(network), IpAddr::V6(address)) => {
                let mask = u128::MAX.checked_shl(128 - u32::from(self.bits)).unwrap_or(0);
                network.to_bits() & mask == address.to_bits() & mask
            }
            _ => false,
        }
    }
}

impl std::str::FromStr for Cidr {
    type Err = String;

    fn from_str(text: &str) -> Result<Cidr, String> {
        let parse = || {
            let (address, bits) = text.split_once('/')?;
            let address: std::net::IpAddr = address.parse().ok()?;
            let bits: u8 = bits.parse().ok()?;
            let most = if address.is_ipv4() { 32 } else { 128 };
            (bits <= most).then_some(Cidr { address, bits })
        };
        parse().ok_or_else(|| {
            format!("invalid cidr: {text}; write an address and its bits, such as 10.0.0.0/8")
        })
    }
}

impl Decode for Cidr {
    fn decode(values: &Values<'_>) -> Result<Cidr, SettingError> {
        String::decode(values)?.parse().map_err(|reason: String| values.invalid(reason))
    }
}

impl Setting for Cidr {}

pub(super) fn cidrs(texts: &[String]) -> Result<(), String> {
    texts.iter().try_for_each(|text| text.parse::<Cidr>().map(|_| ()))
}
