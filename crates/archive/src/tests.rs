//! Archives of a real agent, our own, and damaged ones.

mod damage;
mod golden;
mod plain;

use std::io::Write;

use flate2::Compression;
use flate2::write::GzEncoder;
use state::State;

use crate::digest::Digest;
use crate::{METADATA, Metadata, Origin, STATE, SUMS, Server, tar};

/// Saved by a real 1.8.7 that had one of everything; see `testdata/README.md`.
const GOLDEN: &[u8] = include_bytes!("../testdata/consul-1.8.7.snap");

/// What comes before the first record: a map of one key and a small number.
const HEADER_BYTES: usize = 12;

fn origin() -> Origin {
    let server = |suffrage, id: &str, address: &str| Server {
        suffrage,
        id: id.into(),
        address: address.into(),
    };
    Origin {
        term: 2,
        unix_millis: 1_796_078_962_806,
        servers: vec![server(0, "a", "127.0.0.1:29503"), server(1, "b", "127.0.0.2:29503")],
        configuration_index: 1,
    }
}

fn archive_of(state: &State) -> Vec<u8> {
    let mut bytes = Vec::new();
    crate::save(&origin(), state, &mut bytes).unwrap();
    bytes
}

fn records_of(state: &State) -> Vec<u8> {
    let mut bytes = Vec::new();
    state.write_archive(&mut bytes).unwrap();
    bytes
}

fn hash(content: &[u8]) -> String {
    let mut digest = Digest::new();
    digest.write_all(content).unwrap();
    digest.hex()
}

/// Names and contents.
type Files = Vec<(&'static str, Vec<u8>)>;

/// The files of a sound archive around `records`.
fn files(records: &[u8]) -> Files {
    let metadata = Metadata::new(&origin(), 7, records.len() as u64).to_json();
    let sums = format!("{}  {METADATA}\n{}  {STATE}\n", hash(&metadata), hash(records));
    vec![(METADATA, metadata), (STATE, records.to_vec()), (SUMS, sums.into_bytes())]
}

fn tarred(files: &[(&str, Vec<u8>)]) -> Vec<u8> {
    let mut out = Vec::new();
    for (name, content) in files {
        out.extend(tar::header(name, content.len() as u64, 0));
        out.extend(content);
        tar::pad(&mut out, content.len() as u64).unwrap();
    }
    tar::end(&mut out).unwrap();
    out
}

fn zipped(bytes: &[u8]) -> Vec<u8> {
    let mut out = GzEncoder::new(Vec::new(), Compression::fast());
    out.write_all(bytes).unwrap();
    out.finish().unwrap()
}
