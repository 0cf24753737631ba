//! What all requests and replies share: how to ask, what is said of an answer, who asks.
//!
//! A request is one map in which the fields of several structs stand side by side. Each struct
//! here is read from that map on its own and passes over what belongs to the others.

use std::collections::BTreeMap;
use std::time::Duration;

use model::duration::GoDuration;
use model::msgpack::{EncodeError, MergedMap};
use model::query::{Consistency, NodeMetaFilter, QueryMeta, QueryOptions, Token};
use serde::{Deserialize, Serialize};

/// A map without keys, the body of replies that say nothing.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Empty {}

/// Where a request is to be answered. Part of every one that has a place.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(crate) struct Scope {
    pub(crate) datacenter: String,
}

/// The access token of a write.
#[derive(Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(crate) struct Credentials {
    pub(crate) token: String,
}

impl Credentials {
    pub(crate) fn of(token: &Token) -> Self {
        Self { token: token.0.to_string() }
    }

    pub(crate) fn token(self) -> Token {
        Token(self.token.into())
    }
}

/// How a read is asked.
#[derive(Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(crate) struct WireOptions {
    token: String,
    min_query_index: u64,
    max_query_time: GoDuration,
    allow_stale: bool,
    require_consistent: bool,
    max_stale_duration: GoDuration,
    filter: String,
}

impl WireOptions {
    pub(crate) fn of(options: &QueryOptions) -> Self {
        let QueryOptions { token, consistency, max_stale, min_index, max_wait, filter } = options;
        Self {
            token: token.0.to_string(),
            min_query_index: *min_index,
            max_query_time: max_wait.unwrap_or_default().into(),
            allow_stale: *consistency == Consistency::Stale,
            require_consistent: *consistency == Consistency::Consistent,
            max_stale_duration: max_stale.unwrap_or_default().into(),
            filter: filter.clone(),
        }
    }

    pub(crate) fn options(self) -> QueryOptions {
        let span = |span: GoDuration| Some(span.to_std()).filter(|span| !span.is_zero());
        QueryOptions {
            token: Token(self.token.into()),
            consistency: match (self.require_consistent, self.allow_stale) {
                (true, _) => Consistency::Consistent,
                (false, true) => Consistency::Stale,
                (false, false) => Consistency::Default,
            },
            max_stale: span(self.max_stale_duration),
            min_index: self.min_query_index,
            max_wait: span(self.max_query_time),
            filter: self.filter,
        }
    }
}

/// What is said of an answer.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(crate) struct WireMeta {
    index: u64,
    last_contact: GoDuration,
    known_leader: bool,
    /// Left empty by servers; agents say by themselves what they asked for.
    consistency_level: String,
}

impl WireMeta {
    pub(crate) fn of(meta: &QueryMeta) -> Self {
        let QueryMeta { index, last_contact, known_leader, consistency: _ } = *meta;
        let last_contact = GoDuration::from(last_contact);
        Self { index, last_contact, known_leader, consistency_level: String::new() }
    }

    pub(crate) fn meta(&self, asked: Consistency) -> QueryMeta {
        QueryMeta {
            // Some replies carry none; waiting on 0 would never end.
            index: self.index.max(1),
            last_contact: self.last_contact.to_std(),
            known_leader: self.known_leader,
            consistency: asked,
        }
    }
}

/// Nodes wanted by their metadata.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(crate) struct NodeFilters {
    node_meta_filters: BTreeMap<String, String>,
}

impl NodeFilters {
    pub(crate) fn of(filter: &NodeMetaFilter) -> Self {
        Self { node_meta_filters: filter.iter().cloned().collect() }
    }

    pub(crate) fn filter(self) -> NodeMetaFilter {
        self.node_meta_filters.into_iter().collect()
    }
}

/// Who asks; rows are to be sorted by the distance from there.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(crate) struct Origin {
    pub(crate) source: Source,
}

#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(crate) struct Source {
    pub(crate) datacenter: String,
    pub(crate) segment: String,
    pub(crate) node: String,
}

/// One map with the fields of both.
pub(crate) fn merged(one: &impl Serialize, other: &impl Serialize) -> Result<Vec<u8>, EncodeError> {
    let mut bytes = Vec::new();
    MergedMap::begin(&mut bytes).with(one)?.with(other)?.end()?;
    Ok(bytes)
}

/// How long past its wait a blocking query may take: the jitter servers add.
pub(crate) const JITTER_FRACTION: u32 = 16;

/// The wait of a query that names none.
pub(crate) const WAIT_DEFAULT: Duration = Duration::from_secs(300);
