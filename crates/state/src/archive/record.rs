//! Counts the records of a stream by type, for `snapshot inspect`.

use std::collections::BTreeMap;
use std::io::Read;

use super::scan::{Fault, Records};
use super::{ArchiveError, Header, Kind};

/// Records of one type.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counted {
    pub count: u64,
    /// With their type bytes. Unit: bytes.
    pub bytes: u64,
}

/// Walks over a whole stream without taking its records in; any type is counted.
///
/// Errors: `Io`, `Header`, `Record` for what is no value.
pub fn count(input: impl Read) -> Result<BTreeMap<Kind, Counted>, ArchiveError> {
    let mut records = Records::new(input);
    header(&mut records)?;
    let mut counts = BTreeMap::<Kind, Counted>::new();
    let mut number = 0;
    loop {
        let before = records.bytes;
        let Some(kind) = records.kind()?.map(Kind) else { return Ok(counts) };
        number += 1;
        value(&mut records, number, kind)?;
        let counted = counts.entry(kind).or_default();
        counted.count += 1;
        counted.bytes += records.bytes - before;
    }
}

pub(super) fn header(records: &mut Records<impl Read>) -> Result<u64, ArchiveError> {
    let value = records.value().map_err(|fault| match fault {
        Fault::Io(error) => ArchiveError::Io(error),
        Fault::Value(error) => ArchiveError::Header(error.to_string()),
    })?;
    let header: Header = model::msgpack::from_slice(value)
        .map_err(|error| ArchiveError::Header(error.to_string()))?;
    Ok(header.last_index)
}

pub(super) fn value<R: Read>(
    records: &mut Records<R>,
    number: u64,
    kind: Kind,
) -> Result<&[u8], ArchiveError> {
    records.value().map_err(|fault| match fault {
        Fault::Io(error) => ArchiveError::Io(error),
        Fault::Value(error) => ArchiveError::Record { number, kind, reason: error.to_string() },
    })
}
