//! What the edge needs to know to answer.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use model::query::Token;

/// Settings of the DNS edge, replaced as a whole on reload.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Domain answered for, lower case without dots at the ends, such as `consul`.
    pub domain: String,
    /// Second domain answered for alike.
    pub alt_domain: Option<String>,
    pub datacenter: String,
    /// Seconds.
    pub node_ttl: u32,
    pub service_ttl: ServiceTtl,
    /// Leave out instances with warnings, too.
    pub only_passing: bool,
    /// Records in a UDP answer to a client without EDNS.
    pub udp_answer_limit: usize,
    /// Address records in any answer; 0 means no limit.
    pub a_record_limit: usize,
    /// Set the truncation bit when records were left out for lack of room.
    pub enable_truncate: bool,
    pub disable_compression: bool,
    /// Add the node's metadata as TXT records to answers that name a node.
    pub node_meta_txt: bool,
    pub soa: Soa,
    /// Asked, in order, about names outside our domains.
    pub recursors: Vec<SocketAddr>,
    pub recursor_timeout: Duration,
    pub token: Token,
}

/// Timers of the start-of-authority record. Unit: seconds.
#[derive(Clone, Copy, Debug)]
pub struct Soa {
    pub refresh: u32,
    pub retry: u32,
    pub expire: u32,
    pub min_ttl: u32,
}

impl Default for Soa {
    fn default() -> Self {
        Self { refresh: 3600, retry: 600, expire: 86400, min_ttl: 0 }
    }
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            domain: "consul".to_owned(),
            alt_domain: None,
            datacenter: "dc1".to_owned(),
            node_ttl: 0,
            service_ttl: ServiceTtl::default(),
            only_passing: false,
            udp_answer_limit: 3,
            a_record_limit: 0,
            enable_truncate: false,
            disable_compression: false,
            node_meta_txt: true,
            soa: Soa::default(),
            recursors: Vec::new(),
            recursor_timeout: Duration::from_secs(2),
            token: Token::default(),
        }
    }
}

/// Time to live by service name. Units: seconds. An exact name beats the longest matching
/// `prefix*`, of which `*` is the shortest.
#[derive(Clone, Debug, Default)]
pub struct ServiceTtl {
    exact: BTreeMap<String, u32>,
    /// Longest first.
    prefixes: Vec<(String, u32)>,
}

impl ServiceTtl {
    pub fn new(rules: impl IntoIterator<Item = (String, u32)>) -> Self {
        let mut ttl = Self::default();
        for (name, seconds) in rules {
            match name.strip_suffix('*') {
                Some(prefix) => ttl.prefixes.push((prefix.to_owned(), seconds)),
                None => {
                    ttl.exact.insert(name, seconds);
                }
            }
        }
        ttl.prefixes.sort_by_key(|(prefix, _)| std::cmp::Reverse(prefix.len()));
        ttl
    }

    pub fn of(&self, service: &str) -> u32 {
        let by_prefix = || {
            self.prefixes
                .iter()
                .find(|(prefix, _)| service.starts_with(prefix.as_str()))
                .map(|(_, seconds)| *seconds)
        };
        self.exact.get(service).copied().or_else(by_prefix).unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exact_beats_longest_prefix() {
        let ttl = ServiceTtl::new([
            ("*".to_owned(), 1),
            ("db*".to_owned(), 2),
            ("db-main*".to_owned(), 3),
            ("db-main-1".to_owned(), 4),
        ]);
        let check = |service, seconds| assert_eq!(ttl.of(service), seconds, "{service}");
        check("web", 1);
        check("db", 2);
        check("db-main-2", 3);
        check("db-main-1", 4);
        assert_eq!(ServiceTtl::default().of("web"), 0);
    }
}
