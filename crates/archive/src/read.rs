//! Reading an archive: nothing of it counts until all of it was found sound.

use std::collections::BTreeMap;
use std::io::{self, BufRead, BufReader, Read};

use flate2::bufread::GzDecoder;
use model::snapshot::RESTORE_BYTES_MAX;
use state::State;
use state::archive::{ArchiveError, Counted, Kind, count};

use crate::digest::{Digest, Digesting};
use crate::metadata::Metadata;
use crate::{METADATA, STATE, SUMS, tar};

/// Longest `meta.json` and `SHA256SUMS`: some thousand servers. Unit: bytes.
const TEXT_BYTES_MAX: u64 = 1 << 20;
/// Read at once. Unit: bytes.
const PIECE_BYTES: usize = 64 * 1024;
/// Bytes behind the end that are counted to be told. Unit: bytes.
const TRAILING_BYTES_MAX: u64 = 1 << 20;
const GZIP_HEAD: [u8; 3] = [0x1f, 0x8b, 8];
const GZIP_HEAD_BYTES: usize = 10;

/// Why an archive was not read; the texts are those Consul's tools show. Nothing of it is used.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// Cut off or damaged where it is compressed, or its source failed.
    #[error("{}", go_text(.0))]
    Io(#[from] io::Error),
    #[error("failed to decompress snapshot: {0}")]
    Compression(&'static str),
    #[error("failed to read snapshot file: {0}")]
    File(String),
    #[error("{0} unread uncompressed bytes remain")]
    Unread(u64),
    #[error("compressed data is followed by something else")]
    Followed,
    #[error("failed to read snapshot records: {0}")]
    Records(#[source] ArchiveError),
}

impl ReadError {
    pub(crate) fn file(reason: impl Into<String>) -> Self {
        Self::File(reason.into())
    }
}

/// What is told of an archive that was found sound.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Inspection {
    pub metadata: Metadata,
    pub records: BTreeMap<Kind, Counted>,
}

/// Reads the state of an archive.
pub fn restore(input: impl Read) -> Result<(Metadata, State), ReadError> {
    read(input, |records| State::read_archive(records))
}

/// Reads all of an archive to tell what is in it; records of any type are counted.
pub fn inspect(input: impl Read) -> Result<Inspection, ReadError> {
    let (metadata, records) = read(input, |records| count(records))?;
    Ok(Inspection { metadata, records })
}

/// What the files said before they are held against each other.
struct Files<T> {
    metadata: Option<(Metadata, Digest)>,
    state: Option<(T, Digest)>,
    sums: Option<String>,
}

fn read<T>(
    input: impl Read,
    read_records: impl Fn(&mut dyn Read) -> Result<T, ArchiveError>,
) -> Result<(Metadata, T), ReadError> {
    let mut input = BufReader::with_capacity(PIECE_BYTES, input);
    check_head(&mut input)?;
    let mut input = GzDecoder::new(input);
    let mut files = Files { metadata: None, state: None, sums: None };
    while let Some(entry) = tar::next(&mut input).map_err(in_file)? {
        let tar::Entry { name, size } = entry;
        let file = (&mut input).take(size);
        match name.as_str() {
            METADATA if files.metadata.is_none() => {
                let (json, digest) = read_text(file, size, &name)?;
                files.metadata = Some((Metadata::from_json(&json)?, digest));
            }
            STATE if files.state.is_none() => {
                files.state = Some(read_state(file, size, &read_records)?);
            }
            SUMS if files.sums.is_none() => {
                let (text, _) = read_text(file, size, &name)?;
                files.sums = Some(String::from_utf8_lossy(&text).into_owned());
            }
            METADATA | STATE | SUMS => {
                return Err(ReadError::file(format!("file {name:?} twice in snapshot")));
            }
            _ => return Err(ReadError::file(format!("unexpected file {name:?} in snapshot"))),
        }
        tar::skip_padding(&mut input, size).map_err(in_file)?;
    }
    // The checksum of the compression comes behind the last byte.
    let unread = io::copy(&mut (&mut input).take(TRAILING_BYTES_MAX), &mut io::sink())?;
    if unread > 0 {
        return Err(ReadError::Unread(unread));
    }
    if !input.into_inner().fill_buf()?.is_empty() {
        return Err(ReadError::Followed);
    }
    files.verified()
}

/// Tells what is no gzip at all from what is damaged.
fn check_head(input: &mut impl BufRead) -> Result<(), ReadError> {
    // A source may hand out less at first; what is compressed is then still told as cut off.
    let head = input.fill_buf()?;
    match head.len() {
        0 => Err(ReadError::Compression("EOF")),
        length if !GZIP_HEAD.starts_with(&head[..length.min(GZIP_HEAD.len())]) => {
            Err(ReadError::Compression(match length < GZIP_HEAD_BYTES {
                true => "unexpected EOF",
                false => "gzip: invalid header",
            }))
        }
        _ => Ok(()),
    }
}

fn read_text(
    file: io::Take<impl Read>,
    size: u64,
    name: &str,
) -> Result<(Vec<u8>, Digest), ReadError> {
    if size > TEXT_BYTES_MAX {
        return Err(ReadError::file(format!("file {name:?} has more than {TEXT_BYTES_MAX} bytes")));
    }
    let mut file = Digesting { input: file, digest: Digest::new() };
    let mut text = Vec::new();
    file.read_to_end(&mut text).map_err(in_file)?;
    check_length(file.digest.bytes, size)?;
    Ok((text, file.digest))
}

fn read_state<T>(
    file: io::Take<impl Read>,
    size: u64,
    read_records: &impl Fn(&mut dyn Read) -> Result<T, ArchiveError>,
) -> Result<(T, Digest), ReadError> {
    if size > RESTORE_BYTES_MAX {
        let text = format!("file {STATE:?} has more than {RESTORE_BYTES_MAX} bytes");
        return Err(ReadError::file(text));
    }
    let mut file = Digesting { input: file, digest: Digest::new() };
    let records = read_records(&mut file).map_err(|error| match error {
        ArchiveError::Io(error) => in_file(error),
        error => ReadError::Records(error),
    })?;
    check_length(file.digest.bytes, size)?;
    Ok((records, file.digest))
}

fn check_length(length: u64, size: u64) -> Result<(), ReadError> {
    match length == size {
        true => Ok(()),
        false => Err(ReadError::file("unexpected EOF")),
    }
}

impl<T> Files<T> {
    fn verified(self) -> Result<(Metadata, T), ReadError> {
        let missing = |name: &str| integrity(format!("file missing for {name:?}"));
        let (metadata, metadata_digest) = self.metadata.ok_or_else(|| missing(METADATA))?;
        let (state, state_digest) = self.state.ok_or_else(|| missing(STATE))?;
        let mut found =
            BTreeMap::from([(METADATA, metadata_digest.hex()), (STATE, state_digest.hex())]);
        for line in self.sums.ok_or_else(|| missing(SUMS))?.lines() {
            let Some((sum, name)) = line.split_once("  ") else {
                return Err(integrity(format!("no sum in line {line:?}")));
            };
            match found.remove(name) {
                None => return Err(integrity(format!("list missing hash for {name:?}"))),
                Some(hex) if hex.eq_ignore_ascii_case(sum) => {}
                Some(_) => return Err(integrity(format!("hash check failed for {name:?}"))),
            }
        }
        if let Some(name) = found.keys().next() {
            return Err(missing(name));
        }
        if metadata.size != state_digest.bytes {
            let (is, said) = (state_digest.bytes, metadata.size);
            return Err(ReadError::file(format!("size didn't match ({is} != {said})")));
        }
        Ok((metadata, state))
    }
}

fn integrity(reason: String) -> ReadError {
    ReadError::file(format!("failed checking integrity of snapshot: {reason}"))
}

fn in_file(error: io::Error) -> ReadError {
    ReadError::File(go_text(&error))
}

/// The words of those who know this from Go.
fn go_text(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::UnexpectedEof => "unexpected EOF".to_owned(),
        _ => error.to_string(),
    }
}
