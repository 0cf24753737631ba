//! Writing an archive.

use std::io::{self, Write};

use flate2::Compression;
use flate2::write::GzEncoder;
use state::State;

use crate::digest::Digest;
use crate::metadata::{Metadata, Origin};
use crate::{METADATA, STATE, SUMS, tar};

/// Writes `state` and where it came from.
///
/// The records' length and hash stand in front of them, so they are made twice: once to be
/// measured, once to be written. That costs time beside everything else; the alternatives cost a
/// second state in memory or on disk.
pub fn save(origin: &Origin, state: &State, out: impl Write) -> io::Result<Metadata> {
    let mut digest = Digest::new();
    state.write_archive(&mut digest)?;
    let metadata = Metadata::new(origin, state.index(), digest.bytes);
    let json = metadata.to_json();
    let mut json_digest = Digest::new();
    json_digest.write_all(&json)?;
    let sums = format!("{}  {METADATA}\n{}  {STATE}\n", json_digest.hex(), digest.hex());

    let mut out = GzEncoder::new(out, Compression::fast());
    let seconds = origin.unix_millis / 1000;
    out.write_all(&tar::header(METADATA, json.len() as u64, seconds))?;
    out.write_all(&json)?;
    tar::pad(&mut out, json.len() as u64)?;
    out.write_all(&tar::header(STATE, digest.bytes, seconds))?;
    state.write_archive(&mut out)?;
    tar::pad(&mut out, digest.bytes)?;
    out.write_all(&tar::header(SUMS, sums.len() as u64, seconds))?;
    out.write_all(sums.as_bytes())?;
    tar::pad(&mut out, sums.len() as u64)?;
    tar::end(&mut out)?;
    out.finish()?.flush()?;
    Ok(metadata)
}
