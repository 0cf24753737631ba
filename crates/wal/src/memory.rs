//! A log that keeps nothing: for servers that hold no data beyond their own life (`-dev`).

use crate::{Batch, Error, Log};

#[derive(Debug, Default)]
pub struct MemoryLog;

impl Log for MemoryLog {
    fn write(&mut self, _batch: &Batch) -> Result<(), Error> {
        Ok(())
    }

    fn sync(&mut self) -> Result<(), Error> {
        Ok(())
    }

    fn compact(&mut self, _through: u64) -> Result<(), Error> {
        Ok(())
    }

    fn disk_bytes(&self) -> u64 {
        0
    }
}
