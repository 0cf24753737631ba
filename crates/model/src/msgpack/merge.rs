//! One map out of several structs, as Go embeds structs: their fields side by side.

use serde::Serialize;

use super::head::{Head, head};
use super::{EncodeError, append};

/// Tag of a map whose length takes two bytes.
const MAP_16: u8 = 0xde;

/// A map under way.
///
/// To read the parts again, read each struct from the bytes of the whole map: what belongs to the
/// other parts is passed over.
#[derive(Debug)]
pub struct MergedMap<'a> {
    bytes: &'a mut Vec<u8>,
    /// Where the length belongs.
    length_at: usize,
    fields: usize,
}

impl<'a> MergedMap<'a> {
    /// Begins a map at the end of `bytes`.
    pub fn begin(bytes: &'a mut Vec<u8>) -> Self {
        bytes.push(MAP_16);
        let length_at = bytes.len();
        bytes.extend_from_slice(&[0; 2]);
        Self { bytes, length_at, fields: 0 }
    }

    /// Adds the fields of a map that was encoded before.
    pub fn with_encoded(mut self, part: &[u8]) -> Result<Self, EncodeError> {
        let Ok((Head::Map(fields), width)) = head(part) else {
            return Err(EncodeError("only maps can be merged".to_owned()));
        };
        self.bytes.extend_from_slice(&part[width..]);
        self.fields += fields;
        Ok(self)
    }

    /// Adds the fields of a struct or map.
    pub fn with(mut self, part: &impl Serialize) -> Result<Self, EncodeError> {
        let start = self.bytes.len();
        append(self.bytes, part)?;
        let Ok((Head::Map(fields), width)) = head(&self.bytes[start..]) else {
            return Err(EncodeError("only maps can be merged".to_owned()));
        };
        self.bytes.drain(start..start + width);
        self.fields += fields;
        Ok(self)
    }

    pub fn end(self) -> Result<(), EncodeError> {
        let length = u16::try_from(self.fields)
            .map_err(|_| EncodeError("a merged map has too many fields".to_owned()))?;
        self.bytes[self.length_at..self.length_at + 2].copy_from_slice(&length.to_be_bytes());
        Ok(())
    }
}
