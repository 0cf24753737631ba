//! Length and SHA-256 of what passes through.

use std::io::{self, Read, Write};

use aws_lc_rs::digest::{Context, SHA256};

pub(crate) struct Digest {
    context: Context,
    pub(crate) bytes: u64,
}

impl Digest {
    pub(crate) fn new() -> Self {
        Self { context: Context::new(&SHA256), bytes: 0 }
    }

    fn update(&mut self, bytes: &[u8]) {
        self.context.update(bytes);
        self.bytes += bytes.len() as u64;
    }

    /// Lower-case hex.
    pub(crate) fn hex(&self) -> String {
        let digest = self.context.clone().finish();
        digest.as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
    }
}

/// Writes nowhere.
impl Write for Digest {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.update(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Reads on, and takes note.
pub(crate) struct Digesting<R> {
    pub(crate) input: R,
    pub(crate) digest: Digest,
}

impl<R: Read> Read for Digesting<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let length = self.input.read(buffer)?;
        self.digest.update(&buffer[..length]);
        Ok(length)
    }
}
