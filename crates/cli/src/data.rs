//! Arguments that stand for data: the text itself, `@file`, or `-` for standard input.

use std::io::Read as _;
use std::path::Path;

use crate::output::Failure;

/// Largest input read into memory, far above what any endpoint accepts. Unit: bytes.
const INPUT_BYTES_MAX: u64 = 64 << 20;

/// The data `argument` stands for; nothing for an empty one.
pub(crate) fn load(argument: &str) -> Result<Vec<u8>, Failure> {
    match argument.strip_prefix('@') {
        Some(path) => file(Path::new(path)),
        None if argument == "-" => stdin(),
        None => Ok(argument.as_bytes().to_vec()),
    }
}

/// The contents of a file, or of standard input for `-`.
pub(crate) fn file_or_stdin(argument: &str) -> Result<Vec<u8>, Failure> {
    if argument == "-" { stdin() } else { file(Path::new(argument)) }
}

pub(crate) fn file(path: &Path) -> Result<Vec<u8>, Failure> {
    let fail =
        |cause| Failure::new(format!("Error! Failed to read file: {}: {cause}", path.display()));
    let file = std::fs::File::open(path).map_err(|error| fail(error.to_string()))?;
    let mut bytes = Vec::new();
    file.take(INPUT_BYTES_MAX + 1)
        .read_to_end(&mut bytes)
        .map_err(|error| fail(error.to_string()))?;
    bounded(bytes)
}

fn stdin() -> Result<Vec<u8>, Failure> {
    let mut bytes = Vec::new();
    std::io::stdin()
        .lock()
        .take(INPUT_BYTES_MAX + 1)
        .read_to_end(&mut bytes)
        .map_err(Failure::during("reading standard input"))?;
    bounded(bytes)
}

fn bounded(bytes: Vec<u8>) -> Result<Vec<u8>, Failure> {
    if bytes.len() as u64 > INPUT_BYTES_MAX {
        return Err(Failure::new(format!(
            "Error! The input is larger than {INPUT_BYTES_MAX} bytes"
        )));
    }
    Ok(bytes)
}
