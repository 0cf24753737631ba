//! Reads values by Go's rules.

use std::borrow::Cow;

use serde::Deserialize;
use serde::de::{self, DeserializeSeed, Visitor};

use super::head::{Head, head};
use super::scan::Scanner;
use super::{DEPTH_MAX, DecodeError, raw};

/// Memory a value may unfold into for each of its bytes. A list of structs that are all `nil`
/// takes a byte for hundreds; honest records name their fields and stay below ten.
const MEMORY_PER_BYTE: usize = 24;
/// Memory any value may unfold into, however short.
const MEMORY_BASE: usize = 64 * 1024;

/// The one value `bytes` hold.
///
/// Errors: `Trailing` when more follows; else as [`DecodeError`] tells.
pub fn from_slice<'de, T: Deserialize<'de>>(bytes: &'de [u8]) -> Result<T, DecodeError> {
    let mut decoder = Decoder::new(bytes);
    let value = T::deserialize(&mut decoder)?;
    match decoder.rest.len() {
        0 => Ok(value),
        more => Err(DecodeError::Trailing(more)),
    }
}

/// The value at the front of `bytes` and its length; `None` while it is cut off.
///
/// Errors: never `Incomplete`.
pub fn front<'de, T: Deserialize<'de>>(
    bytes: &'de [u8],
) -> Result<Option<(T, usize)>, DecodeError> {
    let Some(length) = Scanner::new(usize::MAX).scan(bytes)? else {
        return Ok(None);
    };
    Ok(Some((from_slice(&bytes[..length])?, length)))
}

/// A deserializer over bytes that are all there.
#[derive(Debug)]
pub struct Decoder<'de> {
    rest: &'de [u8],
    /// Levels it may still descend.
    depth: usize,
    /// Memory it may still fill.
    memory: usize,
}

impl<'de> Decoder<'de> {
    pub fn new(bytes: &'de [u8]) -> Self {
        let memory = bytes.len().saturating_mul(MEMORY_PER_BYTE).saturating_add(MEMORY_BASE);
        Self { rest: bytes, depth: DEPTH_MAX, memory }
    }

    /// What was not read yet.
    pub fn rest(&self) -> &'de [u8] {
        self.rest
    }

    fn peek(&self) -> Result<Head, DecodeError> {
        head(self.rest).map(|(head, _)| head)
    }

    fn next(&mut self) -> Result<Head, DecodeError> {
        let (head, width) = head(self.rest)?;
        self.rest = &self.rest[width..];
        Ok(head)
    }

    fn take(&mut self, length: usize) -> Result<&'de [u8], DecodeError> {
        let (taken, rest) = self.rest.split_at_checked(length).ok_or(DecodeError::Incomplete)?;
        self.rest = rest;
        Ok(taken)
    }

    /// Takes a `nil`, if that is next.
    fn take_nil(&mut self) -> Result<bool, DecodeError> {
        let is_nil = self.peek()? == Head::Nil;
        if is_nil {
            self.rest = &self.rest[1..];
        }
        Ok(is_nil)
    }

    fn charge(&mut self, bytes: usize) -> Result<(), DecodeError> {
        self.memory = self.memory.checked_sub(bytes).ok_or(DecodeError::TooLarge)?;
        Ok(())
    }

    fn descend<T>(
        &mut self,
        read: impl FnOnce(&mut Self) -> Result<T, DecodeError>,
    ) -> Result<T, DecodeError> {
        self.depth = self.depth.checked_sub(1).ok_or(DecodeError::TooDeep)?;
        let value = read(self);
        self.depth += 1;
        value
    }

    fn skip(&mut self) -> Result<(), DecodeError> {
        let (found, width) = head(self.rest)?;
        match found {
            Head::Raw(length) | Head::Other(length) => {
                return self.take(width.saturating_add(length)).map(drop);
            }
            // What stands inside needs a scan.
            Head::List(1..) | Head::Map(1..) => {}
            _ => return self.take(width).map(drop),
        }
        match Scanner::new(self.rest.len()).scan(self.rest) {
            Ok(Some(length)) => self.take(length).map(drop),
            // Whatever goes on behind the end of all bytes was cut off.
            Ok(None) | Err(DecodeError::TooLong(_)) => Err(DecodeError::Incomplete),
            Err(error) => Err(error),
        }
    }

    fn text(&mut self, length: usize) -> Result<Cow<'de, str>, DecodeError> {
        // Go's text need not be UTF-8, the output of a check for one. JSON shows it like this.
        self.take(length).map(String::from_utf8_lossy)
    }

    fn list<V: Visitor<'de>>(
        &mut self,
        length: usize,
        visitor: V,
    ) -> Result<V::Value, DecodeError> {
        self.descend(|decoder| {
            let mut elements = Elements { decoder, left: length };
            let value = visitor.visit_seq(&mut elements)?;
            let Elements { decoder, left } = elements;
            for _ in 0..left {
                decoder.skip()?;
            }
            Ok(value)
        })
    }

    fn map<V: Visitor<'de>>(&mut self, length: usize, visitor: V) -> Result<V::Value, DecodeError> {
        self.descend(|decoder| {
            let mut elements = Elements { decoder, left: length };
            let value = visitor.visit_map(&mut elements)?;
            let Elements { decoder, left } = elements;
            for _ in 0..left {
                decoder.skip()?;
                decoder.skip()?;
            }
            Ok(value)
        })
    }
}

/// What is left of a list, or of a map in pairs.
#[derive(Debug)]
struct Elements<'d, 'de> {
    decoder: &'d mut Decoder<'de>,
    left: usize,
}

impl Elements<'_, '_> {
    /// Never more than bytes are left, as each element takes one.
    fn hint(&self) -> usize {
        self.left.min(self.decoder.rest.len())
    }
}

impl<'de> de::SeqAccess<'de> for Elements<'_, 'de> {
    type Error = DecodeError;

    fn next_element_seed<T: DeserializeSeed<'de>>(
        &mut self,
        seed: T,
    ) -> Result<Option<T::Value>, DecodeError> {
        let Some(left) = self.left.checked_sub(1) else { return Ok(None) };
        self.left = left;
        self.decoder.charge(size_of::<T::Value>())?;
        seed.deserialize(&mut *self.decoder).map(Some)
    }

    fn size_hint(&self) -> Option<usize> {
        Some(self.hint())
    }
}

impl<'de> de::MapAccess<'de> for Elements<'_, 'de> {
    type Error = DecodeError;

    fn next_key_seed<K: DeserializeSeed<'de>>(
        &mut self,
        seed: K,
    ) -> Result<Option<K::Value>, DecodeError> {
        let Some(left) = self.left.checked_sub(1) else { return Ok(None) };
        self.left = left;
        self.decoder.charge(size_of::<K::Value>())?;
        seed.deserialize(&mut *self.decoder).map(Some)
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(
        &mut self,
        seed: V,
    ) -> Result<V::Value, DecodeError> {
        self.decoder.charge(size_of::<V::Value>())?;
        seed.deserialize(&mut *self.decoder)
    }

    fn size_hint(&self) -> Option<usize> {
        Some(self.hint())
    }
}

/// `nil` as the default, else whatever is there; the visitor says what it cannot take.
macro_rules! scalars {
    ($($method:ident => $visit:ident($default:expr);)+) => {
        $(fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, DecodeError> {
            if self.take_nil()? {
                return visitor.$visit($default);
            }
            self.deserialize_any(visitor)
        })+
    };
}

impl<'de> de::Deserializer<'de> for &mut Decoder<'de> {
    type Error = DecodeError;

    fn is_human_readable(&self) -> bool {
        false
    }

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, DecodeError> {
        match self.next()? {
            Head::Nil => visitor.visit_unit(),
            Head::Bool(value) => visitor.visit_bool(value),
            Head::Unsigned(number) => visitor.visit_u64(number),
            Head::Signed(number) => visitor.visit_i64(number),
            Head::Float(number) => visitor.visit_f64(number),
            Head::Raw(length) => match self.text(length)? {
                Cow::Borrowed(text) => visitor.visit_borrowed_str(text),
                Cow::Owned(text) => visitor.visit_string(text),
            },
            Head::List(length) => self.list(length, visitor),
            Head::Map(length) => self.map(length, visitor),
            Head::Other(_) => {
                Err(DecodeError::Mismatch("an extension stands where none is known".to_owned()))
            }
        }
    }

    scalars! {
        deserialize_bool => visit_bool(false);
        deserialize_i8 => visit_u64(0);
        deserialize_i16 => visit_u64(0);
        deserialize_i32 => visit_u64(0);
        deserialize_i64 => visit_u64(0);
        deserialize_u8 => visit_u64(0);
        deserialize_u16 => visit_u64(0);
        deserialize_u32 => visit_u64(0);
        deserialize_u64 => visit_u64(0);
        deserialize_f32 => visit_f64(0.0);
        deserialize_f64 => visit_f64(0.0);
        deserialize_char => visit_char('\0');
        deserialize_str => visit_borrowed_str("");
        deserialize_string => visit_borrowed_str("");
        deserialize_identifier => visit_borrowed_str("");
    }

    fn deserialize_bytes<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, DecodeError> {
        match self.peek()? {
            Head::Nil => {
                self.next()?;
                visitor.visit_borrowed_bytes(&[])
            }
            Head::Raw(length) => {
                self.next()?;
                visitor.visit_borrowed_bytes(self.take(length)?)
            }
            _ => self.deserialize_any(visitor),
        }
    }

    fn deserialize_byte_buf<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, DecodeError> {
        self.deserialize_bytes(visitor)
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, DecodeError> {
        if self.take_nil()? { visitor.visit_none() } else { visitor.visit_some(self) }
    }

    fn deserialize_unit<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, DecodeError> {
        self.skip()?;
        visitor.visit_unit()
    }

    fn deserialize_unit_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, DecodeError> {
        self.deserialize_unit(visitor)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        visitor: V,
    ) -> Result<V::Value, DecodeError> {
        if name == raw::NAME {
            let all = self.rest;
            self.skip()?;
            return visitor.visit_borrowed_bytes(&all[..all.len() - self.rest.len()]);
        }
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, DecodeError> {
        if self.take_nil()? { self.list(0, visitor) } else { self.deserialize_any(visitor) }
    }

    fn deserialize_tuple<V: Visitor<'de>>(
        self,
        _: usize,
        visitor: V,
    ) -> Result<V::Value, DecodeError> {
        self.deserialize_seq(visitor)
    }

    fn deserialize_tuple_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: usize,
        visitor: V,
    ) -> Result<V::Value, DecodeError> {
        self.deserialize_seq(visitor)
    }

    fn deserialize_map<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, DecodeError> {
        if self.take_nil()? { self.map(0, visitor) } else { self.deserialize_any(visitor) }
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, DecodeError> {
        self.charge(size_of::<V::Value>())?;
        match self.peek()? {
            Head::Nil | Head::Map(_) => self.deserialize_map(visitor),
            // A derived reader would take a list for the fields in their order; Go refuses.
            other => Err(DecodeError::Mismatch(format!("{} where a map belongs", other.kind()))),
        }
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, DecodeError> {
        match self.next()? {
            Head::Nil => visitor.visit_enum(Variant { decoder: self, name: Some("".into()) }),
            Head::Raw(length) => {
                let name = Some(self.text(length)?);
                visitor.visit_enum(Variant { decoder: self, name })
            }
            Head::Map(1) => {
                self.descend(|decoder| visitor.visit_enum(Variant { decoder, name: None }))
            }
            other => Err(DecodeError::Mismatch(format!("{} where a choice belongs", other.kind()))),
        }
    }

    fn deserialize_ignored_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, DecodeError> {
        self.skip()?;
        visitor.visit_unit()
    }
}

/// A variant of an enum: alone, or as the one key of a map that holds its content.
struct Variant<'d, 'de> {
    decoder: &'d mut Decoder<'de>,
    /// Set when it stands alone.
    name: Option<Cow<'de, str>>,
}

impl<'de> de::EnumAccess<'de> for Variant<'_, 'de> {
    type Error = DecodeError;
    type Variant = Self;

    fn variant_seed<V: DeserializeSeed<'de>>(
        mut self,
        seed: V,
    ) -> Result<(V::Value, Self), DecodeError> {
        let value = match self.name.take() {
            None => seed.deserialize(&mut *self.decoder)?,
            Some(name) => {
                let name = de::value::CowStrDeserializer::<DecodeError>::new(name);
                let value = seed.deserialize(name)?;
                return Ok((value, Self { name: Some(Cow::Borrowed("")), ..self }));
            }
        };
        Ok((value, self))
    }
}

impl<'de> Variant<'_, 'de> {
    fn content(&mut self) -> Result<&mut Decoder<'de>, DecodeError> {
        match self.name {
            None => Ok(self.decoder),
            Some(_) => Err(DecodeError::Mismatch("a choice lacks its content".to_owned())),
        }
    }
}

impl<'de> de::VariantAccess<'de> for Variant<'_, 'de> {
    type Error = DecodeError;

    fn unit_variant(self) -> Result<(), DecodeError> {
        match self.name {
            Some(_) => Ok(()),
            None => self.decoder.skip(),
        }
    }

    fn newtype_variant_seed<T: DeserializeSeed<'de>>(
        mut self,
        seed: T,
    ) -> Result<T::Value, DecodeError> {
        seed.deserialize(self.content()?)
    }

    fn tuple_variant<V: Visitor<'de>>(
        mut self,
        _: usize,
        visitor: V,
    ) -> Result<V::Value, DecodeError> {
        de::Deserializer::deserialize_seq(self.content()?, visitor)
    }

    fn struct_variant<V: Visitor<'de>>(
        mut self,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, DecodeError> {
        de::Deserializer::deserialize_map(self.content()?, visitor)
    }
}
