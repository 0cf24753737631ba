//! Writes values in the old msgpack specification, which every reader knows.

use serde::ser::{self, Serialize};

use super::{EncodeError, raw};

/// The binary form of `value`; structs become maps of their field names.
pub fn to_vec(value: &(impl Serialize + ?Sized)) -> Result<Vec<u8>, EncodeError> {
    let mut bytes = Vec::new();
    append(&mut bytes, value)?;
    Ok(bytes)
}

/// Appends the binary form of `value`.
pub fn append(bytes: &mut Vec<u8>, value: &(impl Serialize + ?Sized)) -> Result<(), EncodeError> {
    value.serialize(&mut Encoder { bytes, is_verbatim: false })
}

/// A serializer into memory.
#[derive(Debug)]
pub struct Encoder<'a> {
    bytes: &'a mut Vec<u8>,
    /// The bytes that come next are a value already.
    is_verbatim: bool,
}

impl Encoder<'_> {
    fn unsigned(&mut self, number: u64) {
        match number {
            0..0x80 => self.bytes.push(number as u8),
            0x80..0x100 => self.tagged(0xcc, &[number as u8]),
            0x100..0x1_0000 => self.tagged(0xcd, &(number as u16).to_be_bytes()),
            0x1_0000..0x1_0000_0000 => self.tagged(0xce, &(number as u32).to_be_bytes()),
            _ => self.tagged(0xcf, &number.to_be_bytes()),
        }
    }

    fn tagged(&mut self, tag: u8, digits: &[u8]) {
        self.bytes.push(tag);
        self.bytes.extend_from_slice(digits);
    }

    fn raw(&mut self, content: &[u8]) -> Result<(), EncodeError> {
        match content.len() {
            length @ 0..32 => self.bytes.push(0xa0 | length as u8),
            length @ 32..0x1_0000 => self.tagged(0xda, &(length as u16).to_be_bytes()),
            length => self.tagged(0xdb, &count(length)?.to_be_bytes()),
        }
        self.bytes.extend_from_slice(content);
        Ok(())
    }

    fn list(&mut self, length: usize) -> Result<(), EncodeError> {
        match length {
            0..16 => self.bytes.push(0x90 | length as u8),
            16..0x1_0000 => self.tagged(0xdc, &(length as u16).to_be_bytes()),
            _ => self.tagged(0xdd, &count(length)?.to_be_bytes()),
        }
        Ok(())
    }

    fn map(&mut self, length: usize) -> Result<(), EncodeError> {
        match length {
            0..16 => self.bytes.push(0x80 | length as u8),
            16..0x1_0000 => self.tagged(0xde, &(length as u16).to_be_bytes()),
            _ => self.tagged(0xdf, &count(length)?.to_be_bytes()),
        }
        Ok(())
    }
}

fn count(length: usize) -> Result<u32, EncodeError> {
    u32::try_from(length).map_err(|_| EncodeError("a value is longer than 4 GiB".to_owned()))
}

/// A list or map whose length is written first.
#[derive(Debug)]
pub struct Compound<'e, 'a> {
    encoder: &'e mut Encoder<'a>,
    /// Elements or pairs not yet written.
    left: usize,
}

impl<'e, 'a> Compound<'e, 'a> {
    fn element(&mut self, value: &(impl Serialize + ?Sized)) -> Result<(), EncodeError> {
        self.left = self.left.checked_sub(1).ok_or_else(miscounted)?;
        value.serialize(&mut *self.encoder)
    }

    fn field(&mut self, key: &str, value: &(impl Serialize + ?Sized)) -> Result<(), EncodeError> {
        self.left = self.left.checked_sub(1).ok_or_else(miscounted)?;
        self.encoder.raw(key.as_bytes())?;
        value.serialize(&mut *self.encoder)
    }

    fn end(self) -> Result<(), EncodeError> {
        if self.left == 0 { Ok(()) } else { Err(miscounted()) }
    }
}

fn miscounted() -> EncodeError {
    EncodeError("a value holds another number of elements than it announced".to_owned())
}

/// Lists and maps that do not know their length, flattened structs among them: counted at the end.
#[derive(Debug)]
pub struct Growing<'e, 'a> {
    encoder: &'e mut Encoder<'a>,
    inside: Vec<u8>,
    count: usize,
    is_map: bool,
}

/// Either way to write a list or a map.
#[derive(Debug)]
pub enum Elements<'e, 'a> {
    Counted(Compound<'e, 'a>),
    Growing(Growing<'e, 'a>),
}

impl<'e, 'a> Elements<'e, 'a> {
    fn value(
        &mut self,
        value: &(impl Serialize + ?Sized),
        completes: bool,
    ) -> Result<(), EncodeError> {
        match self {
            Self::Counted(compound) => {
                if completes {
                    return compound.element(value);
                }
                value.serialize(&mut *compound.encoder)
            }
            Self::Growing(growing) => {
                growing.count += usize::from(completes);
                append(&mut growing.inside, value)
            }
        }
    }

    fn end(self) -> Result<(), EncodeError> {
        match self {
            Self::Counted(compound) => compound.end(),
            Self::Growing(Growing { encoder, inside, count, is_map }) => {
                if is_map {
                    encoder.map(count)?
                } else {
                    encoder.list(count)?
                }
                encoder.bytes.extend_from_slice(&inside);
                Ok(())
            }
        }
    }
}

impl<'e, 'a> ser::Serializer for &'e mut Encoder<'a> {
    type Ok = ();
    type Error = EncodeError;
    type SerializeSeq = Elements<'e, 'a>;
    type SerializeTuple = Compound<'e, 'a>;
    type SerializeTupleStruct = Compound<'e, 'a>;
    type SerializeTupleVariant = Compound<'e, 'a>;
    type SerializeMap = Elements<'e, 'a>;
    type SerializeStruct = Compound<'e, 'a>;
    type SerializeStructVariant = Compound<'e, 'a>;

    fn is_human_readable(&self) -> bool {
        false
    }

    fn serialize_bool(self, value: bool) -> Result<(), EncodeError> {
        self.bytes.push(if value { 0xc3 } else { 0xc2 });
        Ok(())
    }

    fn serialize_i8(self, value: i8) -> Result<(), EncodeError> {
        self.serialize_i64(value.into())
    }

    fn serialize_i16(self, value: i16) -> Result<(), EncodeError> {
        self.serialize_i64(value.into())
    }

    fn serialize_i32(self, value: i32) -> Result<(), EncodeError> {
        self.serialize_i64(value.into())
    }

    fn serialize_i64(self, value: i64) -> Result<(), EncodeError> {
        match value {
            0.. => self.unsigned(value as u64),
            -32..0 => self.bytes.push(value as u8),
            -0x80..-32 => self.tagged(0xd0, &(value as i8).to_be_bytes()),
            -0x8000..-0x80 => self.tagged(0xd1, &(value as i16).to_be_bytes()),
            -0x8000_0000..-0x8000 => self.tagged(0xd2, &(value as i32).to_be_bytes()),
            _ => self.tagged(0xd3, &value.to_be_bytes()),
        }
        Ok(())
    }

    fn serialize_u8(self, value: u8) -> Result<(), EncodeError> {
        self.serialize_u64(value.into())
    }

    fn serialize_u16(self, value: u16) -> Result<(), EncodeError> {
        self.serialize_u64(value.into())
    }

    fn serialize_u32(self, value: u32) -> Result<(), EncodeError> {
        self.serialize_u64(value.into())
    }

    fn serialize_u64(self, value: u64) -> Result<(), EncodeError> {
        self.unsigned(value);
        Ok(())
    }

    fn serialize_f32(self, value: f32) -> Result<(), EncodeError> {
        self.tagged(0xca, &value.to_be_bytes());
        Ok(())
    }

    fn serialize_f64(self, value: f64) -> Result<(), EncodeError> {
        self.tagged(0xcb, &value.to_be_bytes());
        Ok(())
    }

    fn serialize_char(self, value: char) -> Result<(), EncodeError> {
        self.raw(value.encode_utf8(&mut [0; 4]).as_bytes())
    }

    fn serialize_str(self, value: &str) -> Result<(), EncodeError> {
        self.raw(value.as_bytes())
    }

    fn serialize_bytes(self, value: &[u8]) -> Result<(), EncodeError> {
        if self.is_verbatim {
            self.is_verbatim = false;
            self.bytes.extend_from_slice(value);
            return Ok(());
        }
        self.raw(value)
    }

    fn serialize_none(self) -> Result<(), EncodeError> {
        self.serialize_unit()
    }

    fn serialize_some<T: Serialize + ?Sized>(self, value: &T) -> Result<(), EncodeError> {
        value.serialize(self)
    }

    fn serialize_unit(self) -> Result<(), EncodeError> {
        self.bytes.push(0xc0);
        Ok(())
    }

    fn serialize_unit_struct(self, _: &'static str) -> Result<(), EncodeError> {
        self.serialize_unit()
    }

    fn serialize_unit_variant(
        self,
        _: &'static str,
        _: u32,
        variant: &'static str,
    ) -> Result<(), EncodeError> {
        self.serialize_str(variant)
    }

    fn serialize_newtype_struct<T: Serialize + ?Sized>(
        self,
        name: &'static str,
        value: &T,
    ) -> Result<(), EncodeError> {
        self.is_verbatim = name == raw::NAME;
        value.serialize(self)
    }

    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        _: u32,
        variant: &'static str,
        value: &T,
    ) -> Result<(), EncodeError> {
        self.map(1)?;
        self.raw(variant.as_bytes())?;
        value.serialize(self)
    }

    fn serialize_seq(self, length: Option<usize>) -> Result<Elements<'e, 'a>, EncodeError> {
        let Some(left) = length else {
            return Ok(Elements::Growing(Growing {
                encoder: self,
                inside: Vec::new(),
                count: 0,
                is_map: false,
            }));
        };
        self.list(left)?;
        Ok(Elements::Counted(Compound { encoder: self, left }))
    }

    fn serialize_tuple(self, left: usize) -> Result<Compound<'e, 'a>, EncodeError> {
        self.list(left)?;
        Ok(Compound { encoder: self, left })
    }

    fn serialize_tuple_struct(
        self,
        _: &'static str,
        length: usize,
    ) -> Result<Compound<'e, 'a>, EncodeError> {
        self.serialize_tuple(length)
    }

    fn serialize_tuple_variant(
        self,
        _: &'static str,
        _: u32,
        variant: &'static str,
        length: usize,
    ) -> Result<Compound<'e, 'a>, EncodeError> {
        self.map(1)?;
        self.raw(variant.as_bytes())?;
        self.serialize_tuple(length)
    }

    fn serialize_map(self, length: Option<usize>) -> Result<Elements<'e, 'a>, EncodeError> {
        let Some(left) = length else {
            return Ok(Elements::Growing(Growing {
                encoder: self,
                inside: Vec::new(),
                count: 0,
                is_map: true,
            }));
        };
        self.map(left)?;
        Ok(Elements::Counted(Compound { encoder: self, left }))
    }

    fn serialize_struct(
        self,
        _: &'static str,
        left: usize,
    ) -> Result<Compound<'e, 'a>, EncodeError> {
        self.map(left)?;
        Ok(Compound { encoder: self, left })
    }

    fn serialize_struct_variant(
        self,
        name: &'static str,
        _: u32,
        variant: &'static str,
        length: usize,
    ) -> Result<Compound<'e, 'a>, EncodeError> {
        self.map(1)?;
        self.raw(variant.as_bytes())?;
        self.serialize_struct(name, length)
    }
}

impl ser::SerializeSeq for Elements<'_, '_> {
    type Ok = ();
    type Error = EncodeError;
    fn serialize_element<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), EncodeError> {
        self.value(value, true)
    }
    fn end(self) -> Result<(), EncodeError> {
        Elements::end(self)
    }
}

impl ser::SerializeMap for Elements<'_, '_> {
    type Ok = ();
    type Error = EncodeError;
    fn serialize_key<T: Serialize + ?Sized>(&mut self, key: &T) -> Result<(), EncodeError> {
        self.value(key, false)
    }
    fn serialize_value<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), EncodeError> {
        self.value(value, true)
    }
    fn end(self) -> Result<(), EncodeError> {
        Elements::end(self)
    }
}

impl ser::SerializeTuple for Compound<'_, '_> {
    type Ok = ();
    type Error = EncodeError;
    fn serialize_element<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), EncodeError> {
        self.element(value)
    }
    fn end(self) -> Result<(), EncodeError> {
        Compound::end(self)
    }
}

impl ser::SerializeTupleStruct for Compound<'_, '_> {
    type Ok = ();
    type Error = EncodeError;
    fn serialize_field<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), EncodeError> {
        self.element(value)
    }
    fn end(self) -> Result<(), EncodeError> {
        Compound::end(self)
    }
}

impl ser::SerializeTupleVariant for Compound<'_, '_> {
    type Ok = ();
    type Error = EncodeError;
    fn serialize_field<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), EncodeError> {
        self.element(value)
    }
    fn end(self) -> Result<(), EncodeError> {
        Compound::end(self)
    }
}

impl ser::SerializeStruct for Compound<'_, '_> {
    type Ok = ();
    type Error = EncodeError;
    fn serialize_field<T: Serialize + ?Sized>(
        &mut self,
        key: &'static str,
        value: &T,
    ) -> Result<(), EncodeError> {
        self.field(key, value)
    }
    fn end(self) -> Result<(), EncodeError> {
        Compound::end(self)
    }
}

impl ser::SerializeStructVariant for Compound<'_, '_> {
    type Ok = ();
    type Error = EncodeError;
    fn serialize_field<T: Serialize + ?Sized>(
        &mut self,
        key: &'static str,
        value: &T,
    ) -> Result<(), EncodeError> {
        self.field(key, value)
    }
    fn end(self) -> Result<(), EncodeError> {
        Compound::end(self)
    }
}
