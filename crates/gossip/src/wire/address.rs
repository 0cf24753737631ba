//! Addresses as peers write them: 4 or 16 raw bytes, compared byte for byte.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// 4 bytes for IPv4, also when it is mapped into IPv6, else 16.
pub fn to_bytes(address: IpAddr) -> Vec<u8> {
    match address.to_canonical() {
        IpAddr::V4(address) => address.octets().to_vec(),
        IpAddr::V6(address) => address.octets().to_vec(),
    }
}

/// None for any other length.
pub fn from_bytes(bytes: &[u8]) -> Option<IpAddr> {
    if let Ok(bytes) = <[u8; 4]>::try_from(bytes) {
        return Some(Ipv4Addr::from(bytes).into());
    }
    let bytes = <[u8; 16]>::try_from(bytes).ok()?;
    Some(IpAddr::V6(Ipv6Addr::from(bytes)).to_canonical())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mapped_addresses_are_told_as_four_bytes() {
        let check = |text: &str, length: usize| {
            let address: IpAddr = text.parse().unwrap();
            let bytes = to_bytes(address);
            assert_eq!(bytes.len(), length, "{text}");
            assert_eq!(from_bytes(&bytes), Some(address.to_canonical()), "{text}");
        };
        check("127.0.0.1", 4);
        check("::ffff:10.0.0.1", 4);
        check("2001:db8::1", 16);
        assert_eq!(from_bytes(&[]), None);
        assert_eq!(from_bytes(&[1, 2, 3]), None);
    }
}
