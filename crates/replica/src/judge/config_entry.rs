//! Configuration entries: names and defaults.

use model::command::Command;
use model::config_entry::{
    ConfigEntryRequest, PROXY_DEFAULTS, PROXY_DEFAULTS_NAME, SERVICE_DEFAULTS, TaggedConfigEntry,
};
use model::error::Error;

use crate::judge::Judged;

pub(super) fn judge(request: ConfigEntryRequest) -> Result<Judged, Error> {
    let judged = match request {
        ConfigEntryRequest::Upsert(entry) => ConfigEntryRequest::Upsert(upsert(entry)?),
        ConfigEntryRequest::UpsertCas(entry, index) => {
            ConfigEntryRequest::UpsertCas(upsert(entry)?, index)
        }
        ConfigEntryRequest::Delete { kind, name } => {
            if ![PROXY_DEFAULTS, SERVICE_DEFAULTS].contains(&kind.as_str()) {
                return Err(Error::invalid(format!("invalid config entry kind: {kind}")));
            }
            ConfigEntryRequest::Delete { kind, name }
        }
    };
    Ok(Judged::Propose(Command::ConfigEntry(judged)))
}

fn upsert(entry: TaggedConfigEntry) -> Result<TaggedConfigEntry, Error> {
    Ok(match entry {
        TaggedConfigEntry::ProxyDefaults(mut entry) => {
            entry.kind = PROXY_DEFAULTS.into();
            // There is one, whatever it was called.
            entry.name = PROXY_DEFAULTS_NAME.into();
            TaggedConfigEntry::ProxyDefaults(entry)
        }
        TaggedConfigEntry::ServiceDefaults(mut entry) => {
            entry.kind = SERVICE_DEFAULTS.into();
            if entry.name.is_empty() {
                return Err(Error::invalid("serviceName is required"));
            }
            entry.protocol.make_ascii_lowercase();
            TaggedConfigEntry::ServiceDefaults(entry)
        }
    })
}
