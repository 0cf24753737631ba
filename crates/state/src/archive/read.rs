//! From records to rows.

use std::collections::BTreeMap;
use std::io::Read;
use std::sync::Arc;

use model::ca::{CaConfiguration, CaProviderState, CaRoot};
use model::coordinate::NodeCoordinate;
use model::intention::Intention;
use model::kv::DirEntry;
use model::msgpack::{DecodeError, from_slice};
use model::operator::AutopilotConfiguration;
use model::session::Session;
use serde::Deserialize;
use serde_bytes::ByteBuf;

use super::scan::Records;
use super::{ArchiveError, Kind, config_entry, record};
use crate::index::Table;
use crate::name::{Name, fold};
use crate::restore::INDEX_MAX;
use crate::snapshot::{IndexRecord, Registration, SERVICE_INDEX};
use crate::{OpaqueRecord, State};

/// Prefix of the keys of index records that belong to a kind of services; not kept, because what
/// they say follows from the services.
pub(super) const KIND_INDEX: &str = "service_kind.";

/// What a record that was read says of the whole.
#[derive(Default)]
struct Reading {
    state: State,
    roots: Vec<CaRoot>,
    index_max: u64,
}

/// The key of a record, whatever its bytes.
#[derive(Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct RawKey {
    key: ByteBuf,
}

impl State {
    /// Reads the records of an archive to their end.
    ///
    /// Shape: the index of the state is the highest of all in it. Errors: see [`ArchiveError`].
    pub fn read_archive(input: impl Read) -> Result<Self, ArchiveError> {
        let mut records = Records::new(input);
        let last_index = record::header(&mut records)?;
        let mut reading = Reading { index_max: last_index, ..Reading::default() };
        let mut count = 0;
        while let Some(kind) = records.kind()? {
            count += 1;
            let (number, kind) = (count, Kind(kind));
            match kind {
                Kind(newer) if newer > Kind::COMMUNITY_MAX => {
                    return Err(ArchiveError::Enterprise { number, kind: newer });
                }
                Kind::LEGACY_ACL | Kind::LEGACY_ACL_BOOTSTRAP => {
                    return Err(ArchiveError::Legacy { number, kind });
                }
                _ => {}
            }
            let value = record::value(&mut records, number, kind)?;
            let fault = |reason| ArchiveError::Record { number, kind, reason };
            reading.record(kind, value).map_err(fault)?;
            if reading.index_max > INDEX_MAX {
                return Err(fault("its index is beyond all bounds".into()));
            }
        }
        Ok(reading.finish())
    }

    /// How many records are kept of each noun that does not exist here, for whoever should know
    /// that nothing acts on them. Indexes are left out: they only go with others.
    pub fn opaque_counts(&self) -> BTreeMap<String, u64> {
        let mut counts = BTreeMap::new();
        for OpaqueRecord { kind, value } in &self.opaque {
            let name = match Kind(*kind) {
                Kind::INDEX => continue,
                Kind::CONFIG_ENTRY => config_entry::kind_of(value),
                _ => None,
            };
            *counts.entry(name.unwrap_or_else(|| Kind(*kind).to_string())).or_default() += 1;
        }
        counts
    }
}

impl Reading {
    fn record(&mut self, kind: Kind, value: &[u8]) -> Result<(), String> {
        match kind {
            Kind::REGISTRATION => self.registration(read(value)?),
            Kind::KV if is_text_key(value)? => {
                let entry: DirEntry = read(value)?;
                self.saw([entry.create_index, entry.modify_index]);
                self.state.insert_entry(Name::from(entry.key.as_str()), Arc::new(entry));
                Ok(())
            }
            Kind::TOMBSTONE if is_text_key(value)? => {
                let DirEntry { key, modify_index, .. } = read(value)?;
                self.saw([modify_index]);
                self.state.tombstones.insert(key.into(), modify_index);
                Ok(())
            }
            Kind::SESSION => {
                let session: Session = read(value)?;
                self.saw([session.create_index, session.modify_index]);
                self.state.insert_session(Arc::new(session));
                Ok(())
            }
            Kind::COORDINATES => {
                for coordinate in read::<Vec<NodeCoordinate>>(value)? {
                    if !coordinate.coord.is_valid() {
                        return Err(format!("the coordinate of {:?} is none", coordinate.node));
                    }
                    self.state.insert_coordinate(coordinate);
                }
                Ok(())
            }
            Kind::AUTOPILOT => {
                let autopilot: AutopilotConfiguration = read(value)?;
                self.saw([autopilot.create_index, autopilot.modify_index]);
                self.state.indexes.set(Table::Autopilot, autopilot.modify_index);
                self.state.autopilot = Some(Arc::new(autopilot));
                Ok(())
            }
            Kind::INTENTION => {
                let intention: Intention = read(value)?;
                self.saw([intention.create_index, intention.modify_index]);
                self.state.insert_intention(Arc::new(intention));
                Ok(())
            }
            Kind::CA_ROOT => {
                let root: CaRoot = read(value)?;
                self.saw([root.create_index, root.modify_index]);
                self.roots.push(root);
                Ok(())
            }
            Kind::CA_PROVIDER_STATE => {
                let provider: CaProviderState = read(value)?;
                self.saw([provider.create_index, provider.modify_index]);
                let id = Name::from(provider.id.as_str());
                self.state.ca_provider_states.insert(id, Arc::new(provider));
                Ok(())
            }
            Kind::CA_CONFIG => {
                let config: CaConfiguration = read(value)?;
                self.saw([config.create_index, config.modify_index]);
                self.state.indexes.set(Table::CaConfig, config.modify_index);
                self.state.insert_config(config);
                Ok(())
            }
            Kind::CONFIG_ENTRY => match config_entry::decode(value).map_err(text)? {
                Some(entry) => {
                    self.saw([entry.create_index(), entry.modify_index()]);
                    self.state.insert_config_entry(entry);
                    Ok(())
                }
                None => self.keep(kind, value),
            },
            Kind::INDEX => {
                let record: IndexRecord = read(value)?;
                self.index(record, value)
            }
            // Keys that are no text have no place in a table of texts.
            Kind::KV | Kind::TOMBSTONE => self.keep(kind, value),
            Kind::PREPARED_QUERY
            | Kind::ACL_TOKEN
            | Kind::ACL_POLICY
            | Kind::ACL_ROLE
            | Kind::ACL_BINDING_RULE
            | Kind::ACL_AUTH_METHOD
            | Kind::FEDERATION_STATE
            | Kind(Kind::NEWER..=Kind::COMMUNITY_MAX) => self.keep(kind, value),
            // Pieces of commands under way in a log that is not ours.
            Kind::CHUNKING => Ok(()),
            other => Err(format!("no snapshot has records of type {}", other.0)),
        }
    }

    fn registration(&mut self, record: Registration) -> Result<(), String> {
        self.saw([record.create_index, record.modify_index]);
        if let Some(service) = &record.service {
            self.saw([service.create_index, service.modify_index]);
        }
        if let Some(check) = &record.check {
            self.saw([check.create_index, check.modify_index]);
        }
        self.state.restore_registration(record).map_err(|error| error.to_string())
    }

    fn index(&mut self, record: IndexRecord, value: &[u8]) -> Result<(), String> {
        let IndexRecord { key, value: index } = record;
        self.saw([index]);
        if let Some((table, _)) = Table::ALL.iter().find(|(_, name)| *name == key) {
            self.state.indexes.set(*table, index);
        } else if let Some(service) = key.strip_prefix(SERVICE_INDEX) {
            if let Some(row) = self.state.services.get_mut(&*fold(service)) {
                row.index = index;
            }
        } else if !key.starts_with(KIND_INDEX) {
            return self.keep(Kind::INDEX, value);
        }
        Ok(())
    }

    fn keep(&mut self, kind: Kind, value: &[u8]) -> Result<(), String> {
        self.state.opaque.push_back(OpaqueRecord { kind: kind.0, value: value.into() });
        Ok(())
    }

    fn saw<const N: usize>(&mut self, indexes: [u64; N]) {
        self.index_max = indexes.into_iter().fold(self.index_max, u64::max);
    }

    fn finish(self) -> State {
        let Self { mut state, roots, index_max } = self;
        if !roots.is_empty() {
            state.insert_roots(roots);
        }
        state.index = index_max;
        state
    }
}

fn is_text_key(value: &[u8]) -> Result<bool, String> {
    Ok(std::str::from_utf8(&read::<RawKey>(value)?.key).is_ok())
}

fn read<'a, T: Deserialize<'a>>(value: &'a [u8]) -> Result<T, String> {
    from_slice(value).map_err(text)
}

fn text(error: DecodeError) -> String {
    error.to_string()
}
