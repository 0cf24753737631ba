//! As much of tar as three plain files take. Source: POSIX.1-1988, the `ustar` header.
//!
//! The end is two blocks of zeros and nothing more: Consul refuses the padding other programs add.

use std::io::{self, Read, Write};

const BLOCK_BYTES: usize = 512;
/// Owner may read and write, nobody else: keys and tokens are inside.
const MODE: u64 = 0o600;
const REGULAR: u8 = b'0';

const NAME: std::ops::Range<usize> = 0..100;
const SIZE: std::ops::Range<usize> = 124..136;
const CHECKSUM: std::ops::Range<usize> = 148..156;
const TYPE: usize = 156;
/// Begins the name when that is longer; names here never are.
const PREFIX: std::ops::Range<usize> = 345..500;

/// What a header says of the file that follows.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(crate) name: String,
    /// Unit: bytes.
    pub(crate) size: u64,
}

/// The header of a file changed last at `seconds` after 1970.
pub(crate) fn header(name: &str, size: u64, seconds: u64) -> [u8; BLOCK_BYTES] {
    let mut block = [0; BLOCK_BYTES];
    block[..name.len()].copy_from_slice(name.as_bytes());
    octal(&mut block[100..108], MODE);
    octal(&mut block[108..116], 0);
    octal(&mut block[116..124], 0);
    octal(&mut block[SIZE], size);
    octal(&mut block[136..148], seconds);
    block[TYPE] = REGULAR;
    block[257..265].copy_from_slice(b"ustar\x0000");
    let sum = checksum(&block);
    octal(&mut block[CHECKSUM.start..CHECKSUM.end - 1], sum);
    block[CHECKSUM.end - 1] = b' ';
    block
}

/// Fills the last block of a file of `size` bytes.
pub(crate) fn pad(out: &mut impl Write, size: u64) -> io::Result<()> {
    out.write_all(&[0; BLOCK_BYTES][..padding(size)])
}

pub(crate) fn end(out: &mut impl Write) -> io::Result<()> {
    out.write_all(&[0; 2 * BLOCK_BYTES])
}

/// The next file's header; `None` at the end. Errors: `InvalidData` for what is no plain file.
pub(crate) fn next(input: &mut impl Read) -> io::Result<Option<Entry>> {
    let Some(block) = next_block(input)? else { return Ok(None) };
    if block == [0; BLOCK_BYTES] {
        return match next_block(input)? {
            None => Ok(None),
            Some(second) if second == [0; BLOCK_BYTES] => Ok(None),
            Some(_) => Err(invalid("archive/tar: invalid tar header")),
        };
    }
    let size = number(&block[SIZE]);
    let (Some(size), true) = (size, number(&block[CHECKSUM]) == Some(checksum(&block))) else {
        return Err(invalid("archive/tar: invalid tar header"));
    };
    let name = text(&block[NAME]);
    if !matches!(block[TYPE], REGULAR | 0) || block[PREFIX][0] != 0 {
        return Err(invalid(&format!("{name:?} is no plain file in snapshot")));
    }
    Ok(Some(Entry { name, size }))
}

/// Reads over what fills the last block of a file of `size` bytes.
pub(crate) fn skip_padding(input: &mut impl Read, size: u64) -> io::Result<()> {
    input.read_exact(&mut [0; BLOCK_BYTES][..padding(size)])
}

fn next_block(input: &mut impl Read) -> io::Result<Option<[u8; BLOCK_BYTES]>> {
    let mut block = [0; BLOCK_BYTES];
    let mut have = 0;
    while have < BLOCK_BYTES {
        match input.read(&mut block[have..]) {
            Ok(0) if have == 0 => return Ok(None),
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(more) => have += more,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(Some(block))
}

fn padding(size: u64) -> usize {
    let over = (size % BLOCK_BYTES as u64) as usize;
    if over == 0 { 0 } else { BLOCK_BYTES - over }
}

/// Digits and a zero byte.
fn octal(field: &mut [u8], number: u64) {
    let digits = field.len() - 1;
    field[..digits].copy_from_slice(format!("{number:0digits$o}").as_bytes());
    field[digits] = 0;
}

fn number(field: &[u8]) -> Option<u64> {
    let text = std::str::from_utf8(field).ok()?;
    u64::from_str_radix(text.trim_matches(|c| c == ' ' || c == '\0'), 8).ok()
}

/// The sum of all bytes, those of the checksum itself counted as spaces.
fn checksum(block: &[u8; BLOCK_BYTES]) -> u64 {
    let field = |at| if CHECKSUM.contains(&at) { b' ' } else { block[at] };
    (0..BLOCK_BYTES).map(|at| u64::from(field(at))).sum()
}

fn text(field: &[u8]) -> String {
    let end = field.iter().position(|byte| *byte == 0).unwrap_or(field.len());
    String::from_utf8_lossy(&field[..end]).into_owned()
}

fn invalid(reason: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, reason)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_come_back_as_they_were() {
        let block = header("state.bin", 519_113, 1_796_078_962);
        // As `tar` writes it.
        assert_eq!(&block[SIZE], b"00001765711\0");
        assert_eq!(&block[100..108], b"0000600\0");
        let entry = next(&mut block.as_slice()).unwrap().unwrap();
        assert_eq!(entry, Entry { name: "state.bin".into(), size: 519_113 });
    }

    #[test]
    fn every_changed_byte_of_a_header_is_noticed() {
        let block = header("meta.json", 249, 1_796_078_962);
        for at in 0..BLOCK_BYTES {
            let mut damaged = block;
            damaged[at] ^= 0x11;
            let read = next(&mut damaged.as_slice());
            // A space, a zero and the missing end of a field all end its number.
            let is_end = CHECKSUM.contains(&at) && at >= CHECKSUM.end - 2;
            assert!(read.is_err() || is_end, "{at}: {read:?}");
        }
    }

    #[test]
    fn the_end_may_be_short_but_not_wrong() {
        let check = |bytes: &[u8], want: bool| {
            assert_eq!(matches!(next(&mut { bytes }), Ok(None)), want);
        };
        check(&[], true);
        check(&[0; 512], true);
        check(&[0; 1024], true);
        check(&[0; 700], false);
        let mut wrong = [0; 1024];
        wrong[600] = 1;
        check(&wrong, false);
    }

    #[test]
    fn links_and_long_names_are_refused() {
        for (at, byte) in [(TYPE, b'2'), (TYPE, b'5'), (TYPE, b'x'), (PREFIX.start, b'/')] {
            let mut block = header("state.bin", 1, 0);
            block[at] = byte;
            let sum = checksum(&block);
            octal(&mut block[CHECKSUM.start..CHECKSUM.end - 1], sum);
            next(&mut block.as_slice()).unwrap_err();
        }
    }
}
