//! `meta.json`: where a state came from.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use model::msgpack;
use serde::{Deserialize, Serialize};
use serde_bytes::ByteBuf;

use crate::read::ReadError;

/// Form of the metadata written and read.
const VERSION: u32 = 1;

/// As the file has it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Metadata {
    pub version: u32,
    /// `<term>-<index>-<milliseconds since 1970>`.
    #[serde(rename = "ID")]
    pub id: String,
    pub index: u64,
    pub term: u64,
    /// Addresses of the voters as base64 of msgpack, for readers of old.
    pub peers: String,
    pub configuration: Configuration,
    pub configuration_index: u64,
    /// Length of the records. Unit: bytes.
    pub size: u64,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Configuration {
    pub servers: Vec<Server>,
}

/// One server that took part in consensus.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Server {
    /// 0 voter, 1 non-voter, 2 on its way to be one.
    pub suffrage: u8,
    #[serde(rename = "ID")]
    pub id: String,
    /// `host:port` of the server port.
    pub address: String,
}

/// What is told of a state beside its records.
#[derive(Clone, Debug, Default)]
pub struct Origin {
    /// Consensus term.
    pub term: u64,
    /// Now. Unit: milliseconds since 1970.
    pub unix_millis: u64,
    pub servers: Vec<Server>,
    /// Log index of the list of servers.
    pub configuration_index: u64,
}

impl Metadata {
    pub(crate) fn new(origin: &Origin, index: u64, size: u64) -> Self {
        let Origin { term, unix_millis, servers, configuration_index } = origin;
        let voters = servers.iter().filter(|server| server.suffrage == 0);
        let voters: Vec<_> =
            voters.map(|server| ByteBuf::from(server.address.as_bytes())).collect();
        let peers = msgpack::to_vec(&voters).expect("a list of bytes encodes");
        Self {
            version: VERSION,
            id: format!("{term}-{index}-{unix_millis}"),
            index,
            term: *term,
            peers: STANDARD.encode(peers),
            configuration: Configuration { servers: servers.clone() },
            configuration_index: *configuration_index,
            size,
        }
    }

    pub(crate) fn to_json(&self) -> Vec<u8> {
        let mut json = serde_json::to_vec(self).expect("texts and numbers encode");
        json.push(b'\n');
        json
    }

    pub(crate) fn from_json(json: &[u8]) -> Result<Self, ReadError> {
        let metadata: Self = serde_json::from_slice(json).map_err(|error| {
            ReadError::file(format!("failed to decode snapshot metadata: {error}"))
        })?;
        match metadata.version {
            0..=VERSION => Ok(metadata),
            newer => Err(ReadError::file(format!("unknown snapshot version {newer}"))),
        }
    }
}
