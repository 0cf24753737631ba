//! From rows to records, in the order in which 1.8 writes them.

use std::collections::BTreeMap;
use std::io::{self, Write};

use model::kv::DirEntry;
use model::msgpack;
use model::service::ServiceKind;
use serde::Serialize;
use serde_bytes::Bytes;

use super::read::KIND_INDEX;
use super::{Chunking, Header, Kind, config_entry};
use crate::index::Table;
use crate::snapshot::{IndexRecord, Registration, SERVICE_INDEX};
use crate::{OpaqueRecord, State};

/// A key's entry; an empty value is none, as agents write it.
#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct KvRecord<'a> {
    lock_index: u64,
    key: &'a str,
    flags: u64,
    value: Option<&'a Bytes>,
    session: &'a str,
    create_index: u64,
    modify_index: u64,
}

impl State {
    /// Writes the state as the records of an archive. The bytes depend on the content alone, so
    /// that writing twice gives the same twice.
    pub fn write_archive(&self, out: &mut impl Write) -> io::Result<()> {
        let mut out = Writer { out, value: Vec::new() };
        out.value(&Header { last_index: self.index })?;
        // Versions that know these expect them before the services they belong to.
        self.write_opaque(Kind::VIRTUAL_IP, &mut out)?;
        self.write_opaque(Kind::FREE_VIRTUAL_IP, &mut out)?;
        self.write_nodes(&mut out)?;
        for coordinate in self.coordinates.values() {
            out.record(Kind::COORDINATES, &[coordinate])?;
        }
        for session in self.sessions.values() {
            out.record(Kind::SESSION, session)?;
        }
        for kind in [
            Kind::ACL_TOKEN,
            Kind::ACL_POLICY,
            Kind::ACL_ROLE,
            Kind::ACL_BINDING_RULE,
            Kind::ACL_AUTH_METHOD,
        ] {
            self.write_opaque(kind, &mut out)?;
        }
        for entry in self.kv.values() {
            out.record(Kind::KV, &KvRecord::of(entry))?;
        }
        self.write_opaque(Kind::KV, &mut out)?;
        for (key, index) in &self.tombstones {
            let (key, modify_index) = (key.to_string(), *index);
            let entry = DirEntry { key, modify_index, ..DirEntry::default() };
            out.record(Kind::TOMBSTONE, &KvRecord::of(&entry))?;
        }
        self.write_opaque(Kind::TOMBSTONE, &mut out)?;
        self.write_opaque(Kind::PREPARED_QUERY, &mut out)?;
        if let Some(autopilot) = &self.autopilot {
            out.record(Kind::AUTOPILOT, autopilot)?;
        }
        for intention in self.intentions.values() {
            out.record(Kind::INTENTION, intention)?;
        }
        self.write_ca(&mut out)?;
        for entry in self.config_entries.values() {
            let value = config_entry::encode(entry).map_err(io::Error::other)?;
            out.encoded(Kind::CONFIG_ENTRY, &value)?;
        }
        self.write_opaque(Kind::CONFIG_ENTRY, &mut out)?;
        self.write_opaque(Kind::FEDERATION_STATE, &mut out)?;
        let placed = [Kind::VIRTUAL_IP, Kind::FREE_VIRTUAL_IP];
        for newer in (Kind::NEWER..=Kind::COMMUNITY_MAX).map(Kind) {
            if !placed.contains(&newer) {
                self.write_opaque(newer, &mut out)?;
            }
        }
        self.write_indexes(&mut out)?;
        out.record(Kind::CHUNKING, &Chunking::default())
    }

    fn write_nodes(&self, out: &mut Writer<'_, impl Write>) -> io::Result<()> {
        for row in self.nodes.values() {
            out.record(Kind::REGISTRATION, &Registration::of(&row.node))?;
            for service in row.services.values() {
                let service = Some(service.clone());
                let record = Registration { service, ..Registration::of(&row.node) };
                out.record(Kind::REGISTRATION, &record)?;
            }
            for check in row.checks.values() {
                let check = Some(check.clone());
                let record = Registration { check, ..Registration::of(&row.node) };
                out.record(Kind::REGISTRATION, &record)?;
            }
        }
        Ok(())
    }

    fn write_ca(&self, out: &mut Writer<'_, impl Write>) -> io::Result<()> {
        for root in &self.ca_roots.roots {
            out.record(Kind::CA_ROOT, root)?;
        }
        for state in self.ca_provider_states.values() {
            out.record(Kind::CA_PROVIDER_STATE, state)?;
        }
        if let Some(config) = &self.ca_config {
            out.record(Kind::CA_CONFIG, &**config)?;
        }
        Ok(())
    }

    fn write_indexes(&self, out: &mut Writer<'_, impl Write>) -> io::Result<()> {
        for (table, key) in Table::ALL {
            let index = self.indexes.get(table);
            if index > 0 && table.is_shared() {
                out.index(key.to_owned(), index)?;
            }
        }
        for (service, row) in &self.services {
            out.index(format!("{SERVICE_INDEX}{service}"), row.index)?;
        }
        let mut kinds = BTreeMap::<ServiceKind, u64>::new();
        for service in self.nodes.values().flat_map(|row| row.services.values()) {
            let index = kinds.entry(service.kind).or_default();
            *index = service.modify_index.max(*index);
        }
        for (kind, index) in kinds {
            let kind = match kind {
                ServiceKind::Typical => "typical",
                other => other.as_str(),
            };
            out.index(format!("{KIND_INDEX}{kind}"), index)?;
        }
        self.write_opaque(Kind::INDEX, out)
    }

    fn write_opaque(&self, wanted: Kind, out: &mut Writer<'_, impl Write>) -> io::Result<()> {
        for OpaqueRecord { kind, value } in &self.opaque {
            if Kind(*kind) == wanted {
                out.encoded(wanted, value)?;
            }
        }
        Ok(())
    }
}

impl<'a> KvRecord<'a> {
    fn of(entry: &'a DirEntry) -> Self {
        let DirEntry { lock_index, key, flags, value, session, create_index, modify_index } = entry;
        Self {
            lock_index: *lock_index,
            key,
            flags: *flags,
            value: Some(Bytes::new(value)).filter(|value| !value.is_empty()),
            session,
            create_index: *create_index,
            modify_index: *modify_index,
        }
    }
}

struct Writer<'a, W> {
    out: &'a mut W,
    /// One value at a time, its room used again.
    value: Vec<u8>,
}

impl<W: Write> Writer<'_, W> {
    fn value(&mut self, value: &impl Serialize) -> io::Result<()> {
        self.value.clear();
        msgpack::append(&mut self.value, value).map_err(io::Error::other)?;
        self.out.write_all(&self.value)
    }

    fn record(&mut self, kind: Kind, value: &impl Serialize) -> io::Result<()> {
        self.out.write_all(&[kind.0])?;
        self.value(value)
    }

    fn encoded(&mut self, kind: Kind, value: &[u8]) -> io::Result<()> {
        self.out.write_all(&[kind.0])?;
        self.out.write_all(value)
    }

    fn index(&mut self, key: String, value: u64) -> io::Result<()> {
        self.record(Kind::INDEX, &IndexRecord { key, value })
    }
}
