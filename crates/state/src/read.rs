//! Queries: what each reads, the index of its answer, the topics it depends on.

use std::collections::BTreeMap;
use std::sync::Arc;

use model::query::{Query, Reply};
use model::topic::Topic;

use crate::State;

/// An answer with the index to wait on and the topics whose change would alter it.
#[derive(Clone, Debug, PartialEq)]
pub struct Read {
    /// Never 0. Greater after every change of the reply.
    pub index: u64,
    pub topics: Vec<Topic>,
    pub reply: Reply,
}

impl State {
    /// Answers `query` from this state. Rows are shared with the tables, never copied.
    pub fn read(&self, query: &Query) -> Read {
        let reply = match query {
            Query::Nodes { .. } => Reply::Nodes(Vec::new()),
            Query::Services { .. } => Reply::Services(BTreeMap::new()),
            Query::ServiceNodes { .. } => Reply::ServiceNodes(Vec::new()),
            Query::NodeServices { .. } => Reply::NodeServices(None),
            Query::NodeServiceList { .. } => Reply::NodeServiceList(None),
            Query::GatewayServices { .. } => Reply::GatewayServices(Vec::new()),
            Query::NodeChecks { .. }
            | Query::ServiceChecks { .. }
            | Query::ChecksInState { .. } => Reply::Checks(Vec::new()),
            Query::Health { .. } => Reply::Health(Vec::new()),
            Query::KvGet { .. } | Query::KvList { .. } => Reply::KvEntries(Vec::new()),
            Query::KvKeys { .. } => Reply::KvKeys(Vec::new()),
            Query::Session { .. } | Query::NodeSessions { .. } | Query::Sessions => {
                Reply::Sessions(Vec::new())
            }
            Query::Intentions | Query::Intention { .. } | Query::IntentionExact { .. } => {
                Reply::Intentions(Vec::new())
            }
            Query::IntentionMatch { names, .. } => {
                Reply::IntentionMatches(vec![Vec::new(); names.len()])
            }
            Query::CaRoots => Reply::CaRoots(Arc::default()),
            Query::CaConfiguration => Reply::CaConfiguration(None),
            Query::ConfigEntry { .. } => Reply::ConfigEntry(None),
            Query::ConfigEntries { .. } => Reply::ConfigEntries(Vec::new()),
        };
        Read { index: self.index.max(1), topics: Vec::new(), reply }
    }

    /// True only if nothing `topics` cover has changed after `index`. Looks up a few indexes and
    /// scans nothing, so it may say false although nothing has changed.
    pub fn is_unchanged_since(&self, _topics: &[Topic], index: u64) -> bool {
        self.index <= index
    }
}
