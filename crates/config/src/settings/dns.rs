//! How DNS questions are answered.

use std::collections::BTreeMap;

use model::time::GoDuration;

use crate::setting::at_least;

settings! {
    /// DNS answers.
    pub struct DnsConfig {
        /// Answer from any server, not only the leader.
        allow_stale: bool = true;
        /// Oldest answer taken from a server that is not the leader.
        max_stale: GoDuration = GoDuration::from_secs(87600 * 3600);
        node_ttl: GoDuration = GoDuration::ZERO;
        /// By service name; `*` for all others, a name may end with `*`.
        service_ttl: BTreeMap<String, GoDuration> = BTreeMap::new();
        /// Set the truncation bit when an answer over UDP leaves records out.
        enable_truncate: bool = false;
        /// Leave out instances with warnings, too.
        only_passing: bool = false;
        recursor_timeout: GoDuration = GoDuration::from_secs(2);
        disable_compression: bool = false;
        /// Records in an answer over UDP without EDNS.
        udp_answer_limit: i64 = 3, check(at_least(0));
        /// Address records in any answer; 0 means all.
        a_record_limit: i64 = 0, check(at_least(0));
        /// Add TXT records with the node's metadata.
        enable_additional_node_meta_txt: bool = true;
        soa: Soa = Soa::default();
        /// Answer from the agent's cache.
        use_cache: bool = false;
        cache_max_age: GoDuration = GoDuration::ZERO;
        prefer_namespace: bool = false;
        /// `sequential` or `random`; newer than 1.8.
        recursor_strategy: String = "sequential".to_owned(), check(recursor_strategy);
    }
}

settings! {
    /// Timers of the start-of-authority record. Unit: seconds.
    pub struct Soa {
        refresh: u32 = 3600;
        retry: u32 = 600;
        expire: u32 = 86400;
        min_ttl: u32 = 0;
    }
}

fn recursor_strategy(strategy: &str) -> Result<(), String> {
    match strategy {
        "sequential" | "random" => Ok(()),
        other => Err(format!("{other:?} is no strategy; write \"sequential\" or \"random\"")),
    }
}
