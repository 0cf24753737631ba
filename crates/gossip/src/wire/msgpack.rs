//! The msgpack dialect of the Go side: text and bytes are one family without `str8` and `bin`, and maps stand
//! for structs.
//!
//! Reading is lenient as the Go side is: `nil` is the zero value of anything, integers come in any form, bytes in
//! either family, unknown keys are skipped. A container of the wrong kind is an error.

use super::WireError;

/// Deepest nesting that is skipped over: an unknown key may hold anything, the stack may not.
const DEPTH_MAX: usize = 32;

/// Appends values to a buffer.
#[derive(Debug, Default)]
pub struct Writer {
    bytes: Vec<u8>,
}

impl Writer {
    /// Starts a message with its type byte.
    pub fn with_type(kind: u8) -> Self {
        Self { bytes: vec![kind] }
    }

    pub fn finish(self) -> Vec<u8> {
        self.bytes
    }

    /// Bytes that are no msgpack: the next message of a sequence.
    pub fn append(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
    }

    pub fn map(&mut self, entries: usize) {
        self.container(0x80, 0xde, entries);
    }

    pub fn array(&mut self, entries: usize) {
        self.container(0x90, 0xdc, entries);
    }

    pub fn nil(&mut self) {
        self.bytes.push(0xc0);
    }

    pub fn bool(&mut self, value: bool) {
        self.bytes.push(if value { 0xc3 } else { 0xc2 });
    }

    pub fn unsigned(&mut self, value: u64) {
        if value < 0x80 {
            self.bytes.push(value as u8);
        } else if let Ok(value) = u8::try_from(value) {
            self.bytes.extend([0xcc, value]);
        } else if let Ok(value) = u16::try_from(value) {
            self.bytes.push(0xcd);
            self.bytes.extend(value.to_be_bytes());
        } else if let Ok(value) = u32::try_from(value) {
            self.bytes.push(0xce);
            self.bytes.extend(value.to_be_bytes());
        } else {
            self.bytes.push(0xcf);
            self.bytes.extend(value.to_be_bytes());
        }
    }

    pub fn float(&mut self, value: f64) {
        self.bytes.push(0xcb);
        self.bytes.extend(value.to_be_bytes());
    }

    /// Text or bytes.
    pub fn raw(&mut self, value: impl AsRef<[u8]>) {
        let value = value.as_ref();
        if value.len() < 32 {
            self.bytes.push(0xa0 | value.len() as u8);
        } else if let Ok(length) = u16::try_from(value.len()) {
            self.bytes.push(0xda);
            self.bytes.extend(length.to_be_bytes());
        } else {
            self.bytes.push(0xdb);
            self.bytes.extend((value.len() as u32).to_be_bytes());
        }
        self.bytes.extend_from_slice(value);
    }

    fn container(&mut self, short: u8, long: u8, entries: usize) {
        if entries < 16 {
            self.bytes.push(short | entries as u8);
        } else if let Ok(entries) = u16::try_from(entries) {
            self.bytes.push(long);
            self.bytes.extend(entries.to_be_bytes());
        } else {
            self.bytes.push(long + 1);
            self.bytes.extend((entries as u32).to_be_bytes());
        }
    }
}

/// Takes values off the front of a slice.
#[derive(Clone, Debug)]
pub struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    pub fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    /// What was not read yet.
    pub fn rest(&self) -> &'a [u8] {
        self.rest
    }

    pub fn take(&mut self, count: usize) -> Result<&'a [u8], WireError> {
        let (head, rest) = self.rest.split_at_checked(count).ok_or(WireError::Short)?;
        self.rest = rest;
        Ok(head)
    }

    /// One byte that is no msgpack: a type or a count.
    pub fn byte(&mut self) -> Result<u8, WireError> {
        Ok(self.take(1)?[0])
    }

    /// Reads a struct: `field` is called with each key and either reads the value and returns true, or leaves it to
    /// be skipped.
    pub fn map(
        &mut self,
        mut field: impl FnMut(&[u8], &mut Self) -> Result<bool, WireError>,
    ) -> Result<(), WireError> {
        for _ in 0..self.map_length()? {
            let key = self.bytes()?;
            if !field(key, self)? {
                self.skip()?;
            }
        }
        Ok(())
    }

    pub fn map_length(&mut self) -> Result<usize, WireError> {
        match self.byte()? {
            0xc0 => Ok(0),
            marker @ 0x80..=0x8f => Ok(usize::from(marker & 0x0f)),
            0xde => Ok(self.big_endian(2)? as usize),
            0xdf => Ok(self.big_endian(4)? as usize),
            _ => Err(WireError::Malformed("a map is expected")),
        }
    }

    pub fn array_length(&mut self) -> Result<usize, WireError> {
        match self.byte()? {
            0xc0 => Ok(0),
            marker @ 0x90..=0x9f => Ok(usize::from(marker & 0x0f)),
            0xdc => Ok(self.big_endian(2)? as usize),
            0xdd => Ok(self.big_endian(4)? as usize),
            _ => Err(WireError::Malformed("a list is expected")),
        }
    }

    /// Text or bytes of either family.
    pub fn bytes(&mut self) -> Result<&'a [u8], WireError> {
        let length = match self.byte()? {
            0xc0 => 0,
            marker @ 0xa0..=0xbf => usize::from(marker & 0x1f),
            0xc4 | 0xd9 => self.big_endian(1)? as usize,
            0xc5 | 0xda => self.big_endian(2)? as usize,
            0xc6 | 0xdb => self.big_endian(4)? as usize,
            _ => return Err(WireError::Malformed("text is expected")),
        };
        self.take(length)
    }

    /// Text; what is not UTF-8 is refused, as names here end up in catalogs and files.
    pub fn text(&mut self) -> Result<String, WireError> {
        match std::str::from_utf8(self.bytes()?) {
            Ok(text) => Ok(text.to_owned()),
            Err(_) => Err(WireError::Malformed("text is not UTF-8")),
        }
    }

    pub fn bool(&mut self) -> Result<bool, WireError> {
        match self.byte()? {
            0xc0 | 0xc2 => Ok(false),
            0xc3 => Ok(true),
            _ => Err(WireError::Malformed("a boolean is expected")),
        }
    }

    /// A number of any form that fits `T`.
    pub fn number<T: TryFrom<i128>>(&mut self) -> Result<T, WireError> {
        let value = match self.byte()? {
            0xc0 => 0,
            marker @ 0x00..=0x7f => i128::from(marker),
            marker @ 0xe0..=0xff => i128::from(marker as i8),
            0xcc => i128::from(self.big_endian(1)?),
            0xcd => i128::from(self.big_endian(2)?),
            0xce => i128::from(self.big_endian(4)?),
            0xcf => i128::from(self.big_endian(8)?),
            0xd0 => i128::from(self.big_endian(1)? as i8),
            0xd1 => i128::from(self.big_endian(2)? as i16),
            0xd2 => i128::from(self.big_endian(4)? as i32),
            0xd3 => i128::from(self.big_endian(8)? as i64),
            _ => return Err(WireError::Malformed("a number is expected")),
        };
        T::try_from(value).map_err(|_| WireError::Malformed("a number is out of range"))
    }

    pub fn float(&mut self) -> Result<f64, WireError> {
        match self.rest.first() {
            Some(0xcb) => {
                self.byte()?;
                Ok(f64::from_bits(self.big_endian(8)?))
            }
            Some(0xca) => {
                self.byte()?;
                Ok(f64::from(f32::from_bits(self.big_endian(4)? as u32)))
            }
            _ => Ok(self.number::<i64>()? as f64),
        }
    }

    /// Passes over one value of any kind.
    pub fn skip(&mut self) -> Result<(), WireError> {
        self.skip_nested(DEPTH_MAX)
    }

    fn skip_nested(&mut self, depth: usize) -> Result<(), WireError> {
        let Some(depth) = depth.checked_sub(1) else {
            return Err(WireError::Malformed("values nest too deeply"));
        };
        let entries = match self.rest.first().copied().ok_or(WireError::Short)? {
            0x80..=0x8f | 0xde | 0xdf => self.map_length()?.saturating_mul(2),
            0x90..=0x9f | 0xdc | 0xdd => self.array_length()?,
            0xa0..=0xbf | 0xc4..=0xc6 | 0xd9..=0xdb => {
                self.bytes()?;
                0
            }
            marker => {
                self.byte()?;
                self.take(scalar_length(marker)?)?;
                0
            }
        };
        for _ in 0..entries {
            self.skip_nested(depth)?;
        }
        Ok(())
    }

    fn big_endian(&mut self, count: usize) -> Result<u64, WireError> {
        Ok(self.take(count)?.iter().fold(0, |value, byte| (value << 8) | u64::from(*byte)))
    }
}

/// How many bytes follow the marker of a number, boolean or extension.
fn scalar_length(marker: u8) -> Result<usize, WireError> {
    match marker {
        0x00..=0x7f | 0xe0..=0xff | 0xc0 | 0xc2 | 0xc3 => Ok(0),
        0xcc | 0xd0 => Ok(1),
        0xcd | 0xd1 | 0xd4 => Ok(2),
        0xd5 => Ok(3),
        0xca | 0xce | 0xd2 => Ok(4),
        0xd6 => Ok(5),
        0xcb | 0xcf | 0xd3 => Ok(8),
        0xd7 => Ok(9),
        0xd8 => Ok(17),
        _ => Err(WireError::Malformed("value of an unused kind")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_read_in_any_form() {
        let check = |bytes: &[u8], value: Result<i64, WireError>| {
            assert_eq!(Reader::new(bytes).number::<i64>(), value, "{bytes:x?}")
        };
        check(&[0x07], Ok(7));
        check(&[0xff], Ok(-1));
        check(&[0xd1, 0x00, 0x80], Ok(128));
        check(&[0xcd, 0x01, 0x00], Ok(256));
        check(&[0xd3, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xfe], Ok(-2));
        check(&[0xc0], Ok(0));
        check(&[0xcd, 0x01], Err(WireError::Short));
        check(&[0xa1, 0x41], Err(WireError::Malformed("a number is expected")));
        assert!(Reader::new(&[0xff]).number::<u8>().is_err());
        assert!(Reader::new(&[0xcd, 0x01, 0x00]).number::<u8>().is_err());
    }

    #[test]
    fn bytes_are_written_in_the_old_family_and_read_in_both() {
        let check = |length: usize, head: &[u8]| {
            let mut writer = Writer::default();
            writer.raw(vec![b'x'; length]);
            let written = writer.finish();
            assert_eq!(&written[..head.len()], head, "{length}");
            assert_eq!(Reader::new(&written).bytes().unwrap().len(), length);
        };
        check(0, &[0xa0]);
        check(31, &[0xbf]);
        check(32, &[0xda, 0, 32]);
        check(256, &[0xda, 1, 0]);
        check(65536, &[0xdb, 0, 1, 0, 0]);
        assert_eq!(Reader::new(&[0xc4, 1, 9]).bytes(), Ok(&[9u8][..]));
        assert_eq!(Reader::new(&[0xd9, 1, 9]).bytes(), Ok(&[9u8][..]));
        assert_eq!(Reader::new(&[0xc0]).bytes(), Ok(&[][..]));
    }

    #[test]
    fn unknown_keys_are_skipped_whatever_they_hold() {
        // {"x": [1, {"y": 2.5}, bin 1], "A": 7}
        let bytes =
            [0x82, 0xa1, b'x', 0x93, 1, 0x81, 0xa1, b'y', 0xca, 0x40, 0x20, 0, 0, 0xc4, 1, 9];
        let bytes = [&bytes[..], &[0xa1, b'A', 7]].concat();
        let mut found = 0;
        let mut reader = Reader::new(&bytes);
        let read = reader.map(|key, reader| {
            if key == b"A" {
                found = reader.number()?;
            }
            Ok(key == b"A")
        });
        assert_eq!((read, found, reader.rest().len()), (Ok(()), 7, 0));
    }

    #[test]
    fn nesting_is_bounded() {
        let bytes = vec![0x91; 100_000];
        assert!(matches!(Reader::new(&bytes).skip(), Err(WireError::Malformed(_))));
    }
}
