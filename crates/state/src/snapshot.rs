//! The state as a stream of bytes: header, records, trailer, each checked before it is used.
//!
//! A record is what Consul's snapshots hold under the same type number: one msgpack value. Ours
//! travel in frames of type, length and checksum, so that damage is found before anything is
//! decoded; the trailer tells that none is missing. Archives for others are made from these
//! records elsewhere.

use std::io::{self, Read, Write};
use std::sync::Arc;

use crc32fast::Hasher;
use model::Meta;
use model::ca::{CaConfiguration, CaProviderState, CaRoot};
use model::check::HealthCheck;
use model::config_entry::TaggedConfigEntry;
use model::coordinate::NodeCoordinate;
use model::intention::Intention;
use model::kv::DirEntry;
use model::node::Node;
use model::operator::AutopilotConfiguration;
use model::service::NodeService;
use model::session::Session;
use model::snapshot::RESTORE_BYTES_MAX;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_bytes::ByteBuf;

use crate::index::Table;
use crate::name::{Name, fold, name};
use crate::restore::Staged;
use crate::{OpaqueRecord, State};

/// Version of the stream's form, in its header. The one before, which had no records of its own
/// kind but the trailer, is still read.
pub const SNAPSHOT_VERSION: u32 = 2;

const MAGIC: &[u8; 8] = b"lictorst";

/// Longest record read back: well above the largest value or configuration a command may carry.
const RECORD_BYTES_MAX: u32 = 64 << 20;

const REGISTRATION: u8 = 0;
const KV: u8 = 2;
const SESSION: u8 = 3;
const TOMBSTONE: u8 = 5;
const COORDINATES: u8 = 6;
const AUTOPILOT: u8 = 9;
const INTENTION: u8 = 12;
const CA_ROOT: u8 = 13;
const CA_PROVIDER_STATE: u8 = 14;
const CA_CONFIG: u8 = 15;
const INDEX: u8 = 16;
const CONFIG_ENTRY: u8 = 22;
/// Ours alone from here on. A piece of a restore under way.
const STAGED: u8 = 253;
/// A record without a noun here, under its own type number.
const OPAQUE: u8 = 254;
/// The last record.
const TRAILER: u8 = 255;

/// Type, length and checksum before each record.
const FRAME_HEAD_BYTES: usize = 9;
/// Read at once.
const PIECE_BYTES_MAX: usize = 64 * 1024;

/// Prefixes of the keys of index records that belong to one service name.
pub(crate) const SERVICE_INDEX: &str = "service.";
const MESH_INDEX: &str = "mesh.";

/// Why a snapshot was not read. Nothing of it is used then.
#[derive(Debug, thiserror::Error)]
pub enum SnapshotError {
    #[error("read the snapshot")]
    Io(#[from] io::Error),
    #[error("this is not a state snapshot")]
    Foreign,
    #[error("the snapshot has version {0}, this program reads version {SNAPSHOT_VERSION}")]
    Version(u32),
    #[error("the snapshot is damaged: {0}")]
    Damaged(String),
    #[error("the state is larger than {RESTORE_BYTES_MAX} bytes, the most that can be restored")]
    TooLarge,
}

/// A node alone, or with one of its services or checks. Indexes beside it are the node's.
#[derive(Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(crate) struct Registration {
    pub(crate) datacenter: String,
    #[serde(rename = "ID")]
    pub(crate) id: String,
    pub(crate) node: String,
    pub(crate) address: String,
    pub(crate) tagged_addresses: Meta,
    pub(crate) node_meta: Meta,
    pub(crate) service: Option<Arc<NodeService>>,
    pub(crate) check: Option<Arc<HealthCheck>>,
    pub(crate) create_index: u64,
    pub(crate) modify_index: u64,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct IndexRecord {
    pub(crate) key: String,
    pub(crate) value: u64,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Trailer {
    last_index: u64,
    records: u64,
    #[serde(default)]
    offset: u64,
    #[serde(default)]
    restored_at: u64,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Opaque {
    kind: u8,
    value: ByteBuf,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct StagedPiece {
    #[serde(rename = "ID")]
    id: String,
    bytes: ByteBuf,
}

impl State {
    /// Writes the whole state. The bytes depend on the content alone.
    pub fn write_snapshot(&self, out: &mut impl Write) -> io::Result<()> {
        let mut out = Writer { out, whole: Hasher::new(), records: 0 };
        out.bytes(MAGIC)?;
        out.bytes(&SNAPSHOT_VERSION.to_le_bytes())?;
        for row in self.nodes.values() {
            out.record(REGISTRATION, &Registration::of(&row.node))?;
            for service in row.services.values() {
                let service = Some(service.clone());
                out.record(REGISTRATION, &Registration { service, ..Registration::of(&row.node) })?;
            }
            for check in row.checks.values() {
                let check = Some(check.clone());
                out.record(REGISTRATION, &Registration { check, ..Registration::of(&row.node) })?;
            }
        }
        for session in self.sessions.values() {
            out.record(SESSION, session)?;
        }
        for entry in self.kv.values() {
            out.record(KV, entry)?;
        }
        for (key, index) in &self.tombstones {
            let key = key.to_string();
            out.record(TOMBSTONE, &DirEntry { key, modify_index: *index, ..Default::default() })?;
        }
        for intention in self.intentions.values() {
            out.record(INTENTION, intention)?;
        }
        for root in &self.ca_roots.roots {
            out.record(CA_ROOT, root)?;
        }
        for state in self.ca_provider_states.values() {
            out.record(CA_PROVIDER_STATE, state)?;
        }
        if let Some(config) = &self.ca_config {
            out.record(CA_CONFIG, config)?;
        }
        for entry in self.config_entries.values() {
            out.record(CONFIG_ENTRY, &TaggedConfigEntry::from((**entry).clone()))?;
        }
        for coordinate in self.coordinates.values() {
            out.record(COORDINATES, &[coordinate])?;
        }
        if let Some(autopilot) = &self.autopilot {
            out.record(AUTOPILOT, autopilot)?;
        }
        for (table, key) in Table::ALL {
            out.index(key.to_owned(), self.indexes.get(table))?;
        }
        for (service, row) in &self.services {
            out.index(format!("{SERVICE_INDEX}{service}"), row.index)?;
        }
        for (service, row) in &self.mesh {
            out.index(format!("{MESH_INDEX}{service}"), row.index)?;
        }
        for OpaqueRecord { kind, value } in &self.opaque {
            let value = ByteBuf::from(value.to_vec());
            out.record(OPAQUE, &Opaque { kind: *kind, value })?;
        }
        if let Some(staged) = &self.staged {
            for piece in &staged.pieces {
                let (id, bytes) = (staged.id.clone(), ByteBuf::from(piece.to_vec()));
                out.record(STAGED, &StagedPiece { id, bytes })?;
            }
        }
        let Self { index: last_index, offset, restored_at, .. } = *self;
        out.record(TRAILER, &Trailer { last_index, records: out.records, offset, restored_at })?;
        let whole = out.whole.clone().finalize();
        out.bytes(&whole.to_le_bytes())
    }

    /// Reads what [`State::write_snapshot`] wrote, and nothing after it.
    pub fn read_snapshot(input: &mut impl Read) -> Result<Self, SnapshotError> {
        let mut decoder = Decoder::new();
        // Grown as bytes arrive: a damaged length must not reserve memory for nothing.
        let mut piece = vec![0; PIECE_BYTES_MAX];
        loop {
            let missing = decoder.missing().min(PIECE_BYTES_MAX);
            if missing == 0 {
                return decoder.finish();
            }
            match input.read(&mut piece[..missing]) {
                Ok(0) => return decoder.finish(),
                Ok(length) => decoder.feed(&piece[..length])?,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error.into()),
            }
        }
    }

    pub(crate) fn restore_registration(
        &mut self,
        record: Registration,
    ) -> Result<(), SnapshotError> {
        let Registration {
            datacenter,
            id,
            node,
            address,
            tagged_addresses,
            node_meta,
            service,
            check,
            create_index,
            modify_index,
        } = record;
        let key = name(&node);
        if service.is_none() && check.is_none() {
            self.insert_node(Arc::new(Node {
                id,
                name: node,
                address,
                datacenter,
                tagged_addresses,
                meta: node_meta,
                create_index,
                modify_index,
            }));
        } else if !self.nodes.contains_key(&key) {
            return Err(damaged("a service or check comes before its node"));
        }
        if let Some(service) = service {
            self.insert_service(&key, service);
        }
        if let Some(check) = check {
            self.insert_check(&key, check);
        }
        Ok(())
    }

    fn restore_index(&mut self, record: &IndexRecord) -> Result<(), SnapshotError> {
        let IndexRecord { key, value } = record;
        if let Some((table, _)) = Table::ALL.iter().find(|(_, name)| name == key) {
            self.indexes.set(*table, *value);
            return Ok(());
        }
        let row = if let Some(service) = key.strip_prefix(SERVICE_INDEX) {
            self.services.get_mut(&*fold(service))
        } else if let Some(service) = key.strip_prefix(MESH_INDEX) {
            self.mesh.get_mut(&*fold(service))
        } else {
            None
        };
        match row {
            Some(row) => row.index = *value,
            None => return Err(damaged(format!("index {key:?} belongs to nothing"))),
        }
        Ok(())
    }

    /// A fingerprint of the content: equal states have equal ones, on every machine.
    pub fn hash(&self) -> u64 {
        let mut hash = Fnv1a(0xcbf2_9ce4_8422_2325);
        self.write_snapshot(&mut hash).expect("hashing does not fail, and all records encode");
        hash.0
    }
}

impl Registration {
    pub(crate) fn of(node: &Node) -> Self {
        let Node {
            id,
            name,
            address,
            datacenter,
            tagged_addresses,
            meta,
            create_index,
            modify_index,
        } = node.clone();
        Self {
            datacenter,
            id,
            node: name,
            address,
            tagged_addresses,
            node_meta: meta,
            service: None,
            check: None,
            create_index,
            modify_index,
        }
    }
}

struct Writer<'a, W> {
    out: &'a mut W,
    /// Over every byte so far.
    whole: Hasher,
    records: u64,
}

impl<W: Write> Writer<'_, W> {
    fn bytes(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.whole.update(bytes);
        self.out.write_all(bytes)
    }

    fn record(&mut self, kind: u8, value: &impl Serialize) -> io::Result<()> {
        let payload = rmp_serde::to_vec_named(value).map_err(io::Error::other)?;
        let length = u32::try_from(payload.len()).ok().filter(|length| *length <= RECORD_BYTES_MAX);
        let length = length.ok_or_else(|| io::Error::other("a record exceeds the longest"))?;
        self.bytes(&[kind])?;
        self.bytes(&length.to_le_bytes())?;
        self.bytes(&checksum(kind, &payload).to_le_bytes())?;
        self.records += 1;
        self.bytes(&payload)
    }

    fn index(&mut self, key: String, value: u64) -> io::Result<()> {
        self.record(INDEX, &IndexRecord { key, value })
    }
}

/// Reads a state from its stream in pieces of any length.
#[derive(Clone)]
pub(crate) struct Decoder {
    state: State,
    /// Put in place together, at the end.
    roots: Vec<CaRoot>,
    /// Came and not read yet: less than one frame.
    pending: Vec<u8>,
    whole: Hasher,
    records: u64,
    at: At,
    /// A restore that was under way is read by a decoder of its own, which expects none.
    is_nested: bool,
}

/// What the next bytes are.
#[derive(Clone, Copy)]
enum At {
    Header,
    Record,
    /// Checksum of everything, which was found to be this.
    End(u32),
    Behind,
}

impl Decoder {
    pub(crate) fn new() -> Self {
        Self {
            state: State::new(),
            roots: Vec::new(),
            pending: Vec::new(),
            whole: Hasher::new(),
            records: 0,
            at: At::Header,
            is_nested: false,
        }
    }

    /// How many bytes are known to come still; 0 behind the end.
    fn missing(&self) -> usize {
        self.frame_bytes(&self.pending) - self.pending.len()
    }

    /// Length of the frame that begins with `bytes`, or of so much of it that tells more.
    fn frame_bytes(&self, bytes: &[u8]) -> usize {
        match (self.at, bytes.get(1..5)) {
            (At::Header, _) => MAGIC.len() + 4,
            (At::Record, Some(length)) if bytes.len() >= FRAME_HEAD_BYTES => {
                FRAME_HEAD_BYTES + number(length) as usize
            }
            (At::Record, _) => FRAME_HEAD_BYTES,
            (At::End(_), _) => 4,
            (At::Behind, _) => 0,
        }
    }

    /// Takes in the next bytes of the stream.
    pub(crate) fn feed(&mut self, bytes: &[u8]) -> Result<(), SnapshotError> {
        let mut pending = std::mem::take(&mut self.pending);
        pending.extend_from_slice(bytes);
        let mut rest = pending.as_slice();
        while !matches!(self.at, At::Behind) {
            if matches!(self.at, At::Record) && rest.len() >= FRAME_HEAD_BYTES {
                let length = number(&rest[1..5]);
                if length > RECORD_BYTES_MAX {
                    return Err(damaged("a record exceeds the longest"));
                }
            }
            let length = self.frame_bytes(rest);
            if rest.len() < length {
                break;
            }
            let (frame, behind) = rest.split_at(length);
            self.frame(frame)?;
            rest = behind;
        }
        if matches!(self.at, At::Behind) && !rest.is_empty() {
            return Err(damaged("something follows its end"));
        }
        self.pending = rest.to_vec();
        Ok(())
    }

    fn frame(&mut self, frame: &[u8]) -> Result<(), SnapshotError> {
        match self.at {
            At::Header => {
                let (magic, version) = frame.split_at(MAGIC.len());
                if magic != MAGIC {
                    return Err(SnapshotError::Foreign);
                }
                match number(version) {
                    1..=SNAPSHOT_VERSION => self.at = At::Record,
                    other => return Err(SnapshotError::Version(other)),
                }
                self.whole.update(frame);
                Ok(())
            }
            At::Record => {
                self.whole.update(frame);
                self.records += 1;
                let (head, payload) = frame.split_at(FRAME_HEAD_BYTES);
                if checksum(head[0], payload) != number(&head[5..]) {
                    return Err(damaged(format!("checksum of record {}", self.records)));
                }
                self.record(head[0], payload)
            }
            At::End(whole) if number(frame) == whole => {
                self.at = At::Behind;
                Ok(())
            }
            At::End(_) | At::Behind => Err(damaged("records are missing or out of place")),
        }
    }

    fn record(&mut self, kind: u8, payload: &[u8]) -> Result<(), SnapshotError> {
        let state = &mut self.state;
        match kind {
            REGISTRATION => state.restore_registration(decode(payload)?)?,
            KV => {
                let entry: DirEntry = decode(payload)?;
                state.insert_entry(Name::from(entry.key.as_str()), Arc::new(entry));
            }
            SESSION => state.insert_session(Arc::new(decode::<Session>(payload)?)),
            TOMBSTONE => {
                let DirEntry { key, modify_index, .. } = decode(payload)?;
                state.tombstones.insert(key.into(), modify_index);
            }
            INTENTION => state.insert_intention(Arc::new(decode::<Intention>(payload)?)),
            CA_ROOT => self.roots.push(decode::<CaRoot>(payload)?),
            CA_PROVIDER_STATE => {
                let provider: CaProviderState = decode(payload)?;
                let id = Name::from(provider.id.as_str());
                state.ca_provider_states.insert(id, Arc::new(provider));
            }
            CA_CONFIG => state.insert_config(decode::<CaConfiguration>(payload)?),
            CONFIG_ENTRY => {
                state.insert_config_entry(decode::<TaggedConfigEntry>(payload)?.into());
            }
            COORDINATES => {
                for coordinate in decode::<Vec<NodeCoordinate>>(payload)? {
                    state.insert_coordinate(coordinate);
                }
            }
            AUTOPILOT => {
                state.autopilot = Some(Arc::new(decode::<AutopilotConfiguration>(payload)?));
            }
            INDEX => state.restore_index(&decode(payload)?)?,
            OPAQUE => {
                let Opaque { kind, value } = decode(payload)?;
                state.opaque.push_back(OpaqueRecord { kind, value: value.into_vec().into() });
            }
            STAGED if !self.is_nested => {
                let StagedPiece { id, bytes } = decode(payload)?;
                let staged = state.staged.get_or_insert_with(|| {
                    let mut staged = Staged::new(id.clone());
                    staged.decoder.is_nested = true;
                    Arc::new(staged)
                });
                Arc::make_mut(staged).take_in(&bytes)?;
            }
            TRAILER => {
                let Trailer { last_index, records, offset, restored_at } = decode(payload)?;
                let is_sound = offset <= last_index && restored_at <= last_index;
                if records + 1 != self.records || !is_sound {
                    return Err(damaged("records are missing or out of place"));
                }
                state.index = last_index;
                state.offset = offset;
                state.restored_at = restored_at;
                self.at = At::End(self.whole.clone().finalize());
            }
            other => return Err(damaged(format!("unknown record type {other}"))),
        }
        Ok(())
    }

    /// The state, once all of its stream has come.
    pub(crate) fn finish(self) -> Result<State, SnapshotError> {
        match self.at {
            At::Behind => {}
            At::Header if !MAGIC.starts_with(&self.pending) || self.pending.len() < MAGIC.len() => {
                return Err(SnapshotError::Foreign);
            }
            At::Header | At::Record | At::End(_) => return Err(damaged("it ends early")),
        }
        let Self { mut state, roots, .. } = self;
        if !roots.is_empty() {
            state.insert_roots(roots);
        }
        Ok(state)
    }
}

/// The number in four bytes.
fn number(bytes: &[u8]) -> u32 {
    u32::from_le_bytes(bytes.try_into().expect("callers cut out four bytes"))
}

fn checksum(kind: u8, payload: &[u8]) -> u32 {
    let mut hasher = Hasher::new();
    hasher.update(&[kind]);
    hasher.update(payload);
    hasher.finalize()
}

fn decode<T: DeserializeOwned>(payload: &[u8]) -> Result<T, SnapshotError> {
    rmp_serde::from_slice(payload).map_err(|error| damaged(error.to_string()))
}

fn damaged(what: impl Into<String>) -> SnapshotError {
    SnapshotError::Damaged(what.into())
}

/// The 64-bit Fowler-Noll-Vo hash, form 1a: the same everywhere and for ever.
struct Fnv1a(u64);

impl Write for Fnv1a {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        for byte in bytes {
            self.0 = (self.0 ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
