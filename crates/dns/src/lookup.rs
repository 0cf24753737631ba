//! What a name asks for: the lookup forms under our domain.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// A name inside (or pointing into) what we are the authority for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Lookup {
    /// The domain itself.
    Apex,
    Service {
        name: String,
        tag: Option<String>,
        mesh: bool,
    },
    Node(String),
    /// `<hex>.addr.<datacenter>`: the address written in the name.
    Address(IpAddr),
    /// Reverse lookup.
    Reverse(IpAddr),
    /// Under our domain, but nothing that exists.
    Nothing,
}

/// A parsed name and the byte offset of our domain in its wire form.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Located {
    pub(crate) lookup: Lookup,
    pub(crate) domain_offset: usize,
}

/// Parses lower-case dotted text. `None`: the name is not ours, recursors may know it.
pub(crate) fn parse(name: &str, domains: &[&str], datacenter: &str) -> Option<Located> {
    if let Some(address) = reverse_address(name) {
        // The offset is unused: a reverse answer names our domain by its labels.
        return Some(Located { lookup: Lookup::Reverse(address), domain_offset: 0 });
    }
    domains.iter().find_map(|domain| {
        let prefix = match name.strip_suffix(domain)? {
            "" => "",
            dotted => dotted.strip_suffix('.')?,
        };
        let domain_offset = if prefix.is_empty() { 0 } else { prefix.len() + 1 };
        Some(Located { lookup: within_domain(prefix, datacenter), domain_offset })
    })
}

fn within_domain(prefix: &str, datacenter: &str) -> Lookup {
    if prefix.is_empty() {
        return Lookup::Apex;
    }
    let labels: Vec<&str> = prefix.split('.').collect();
    let is_kind = |label: &&str| {
        matches!(*label, "service" | "connect" | "ingress" | "node" | "query" | "addr")
    };
    let Some(kind_at) = labels.iter().rposition(is_kind) else { return Lookup::Nothing };
    let (parts, suffixes) = (&labels[..kind_at], &labels[kind_at + 1..]);
    let is_here = match suffixes {
        [] => true,
        [dc] | [dc, "dc"] => *dc == datacenter,
        _ => false,
    };
    let Some((last, before)) = parts.split_last().filter(|_| is_here) else {
        return Lookup::Nothing;
    };
    match labels[kind_at] {
        "service" => service(last, before),
        "connect" => Lookup::Service { name: (*last).to_owned(), tag: None, mesh: true },
        "node" => Lookup::Node(parts.join(".")),
        "addr" if before.is_empty() => hex_address(last).map_or(Lookup::Nothing, Lookup::Address),
        _ => Lookup::Nothing,
    }
}

fn service(last: &str, before: &[&str]) -> Lookup {
    // RFC 2782: `_name._tag`, where the protocols stand for no tag.
    if let [first] = before
        && let (Some(name), Some(tag)) = (first.strip_prefix('_'), last.strip_prefix('_'))
    {
        let tag = Some(tag.to_owned()).filter(|tag| tag != "tcp" && tag != "udp");
        return Lookup::Service { name: name.to_owned(), tag, mesh: false };
    }
    let tag = Some(before.join(".")).filter(|tag| !tag.is_empty());
    Lookup::Service { name: last.to_owned(), tag, mesh: false }
}

fn hex_address(text: &str) -> Option<IpAddr> {
    match text.len() {
        8 => Some(Ipv4Addr::from(u32::from_str_radix(text, 16).ok()?).into()),
        32 => Some(Ipv6Addr::from(u128::from_str_radix(text, 16).ok()?).into()),
        _ => None,
    }
}

/// The label under `addr` for an address.
pub(crate) fn address_label(address: IpAddr) -> String {
    match address {
        IpAddr::V4(address) => format!("{:08x}", u32::from(address)),
        IpAddr::V6(address) => format!("{:032x}", u128::from(address)),
    }
}

fn reverse_address(name: &str) -> Option<IpAddr> {
    if let Some(reversed) = name.strip_suffix(".in-addr.arpa") {
        let mut octets = [0u8; 4];
        let mut labels = reversed.split('.');
        for octet in octets.iter_mut().rev() {
            *octet = labels.next()?.parse().ok()?;
        }
        return labels.next().is_none().then(|| Ipv4Addr::from(octets).into());
    }
    let reversed = name.strip_suffix(".ip6.arpa")?;
    let mut value = 0u128;
    let mut count = 0;
    for label in reversed.split('.').rev() {
        let nibble = u128::from_str_radix(label, 16).ok().filter(|_| label.len() == 1)?;
        value = value << 4 | nibble;
        count += 1;
    }
    (count == 32).then(|| Ipv6Addr::from(value).into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_form() {
        let check = |name: &str, want: Option<Lookup>| {
            let located = parse(name, &["consul", "alt.example"], "dc1");
            assert_eq!(located.map(|located| located.lookup), want, "{name}");
        };
        let service = |name: &str, tag: Option<&str>, mesh| {
            Some(Lookup::Service { name: name.into(), tag: tag.map(str::to_owned), mesh })
        };
        check("consul", Some(Lookup::Apex));
        check("web.service.consul", service("web", None, false));
        check("web.service.alt.example", service("web", None, false));
        check("web.service.dc1.consul", service("web", None, false));
        check("web.service.dc1.dc.consul", service("web", None, false));
        check("web.service.dc2.consul", Some(Lookup::Nothing));
        check("v1.web.service.consul", service("web", Some("v1"), false));
        check("a.b.web.service.consul", service("web", Some("a.b"), false));
        check("_web._tcp.service.consul", service("web", None, false));
        check("_web._v1.service.consul", service("web", Some("v1"), false));
        check("web.connect.consul", service("web", None, true));
        check("n1.node.consul", Some(Lookup::Node("n1".into())));
        check("a.b.node.dc1.consul", Some(Lookup::Node("a.b".into())));
        check("0a000002.addr.dc1.consul", Some(Lookup::Address([10, 0, 0, 2].into())));
        check("0a0000.addr.dc1.consul", Some(Lookup::Nothing));
        check("service.consul", Some(Lookup::Nothing));
        check("a.b.consul", Some(Lookup::Nothing));
        check("x.query.consul", Some(Lookup::Nothing));
        check("2.0.0.10.in-addr.arpa", Some(Lookup::Reverse([10, 0, 0, 2].into())));
        check("2.0.0.300.in-addr.arpa", None);
        check("www.example.com", None);
        check("notconsul", None);
        check("", None);
    }

    #[test]
    fn domain_offset_counts_wire_bytes() {
        let offset = |name| parse(name, &["consul"], "dc1").unwrap().domain_offset;
        assert_eq!(offset("consul"), 0);
        assert_eq!(offset("web.service.consul"), "\x03web\x07service".len());
    }

    proptest::proptest! {
        #[test]
        fn addresses_round_trip(bits in proptest::num::u128::ANY, short in proptest::bool::ANY) {
            let address: IpAddr =
                if short { Ipv4Addr::from(bits as u32).into() } else { Ipv6Addr::from(bits).into() };
            proptest::prop_assert_eq!(hex_address(&address_label(address)), Some(address));
        }

        #[test]
        fn parsing_never_panics(name in "[a-z0-9_.-]{0,60}") {
            let _ = parse(&name, &["consul"], "dc1");
        }
    }
}
