//! What commands print: lines, tables, JSON, and failures.

use std::io::{self, Write as _};

use serde::Serialize;

/// An exit code, or what to say before leaving with one.
pub(crate) type CommandResult = Result<u8, Failure>;

#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) message: String,
    pub(crate) code: u8,
}

impl Failure {
    pub(crate) fn new(message: impl Into<String>) -> Self {
        Self { message: message.into(), code: 1 }
    }

    /// For `map_err`: what was being done, then the cause.
    pub(crate) fn during<E: std::fmt::Display>(doing: impl Into<String>) -> impl FnOnce(E) -> Self {
        let doing = doing.into();
        move |cause| Self::new(format!("Error {doing}: {cause}"))
    }
}

impl From<api::Error> for Failure {
    fn from(error: api::Error) -> Self {
        Self::new(error.to_string())
    }
}

impl std::fmt::Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.message)
    }
}

/// An error and all that led to it, in one line.
pub(crate) fn with_causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}

/// Exit code of a program whose reader went away: 128 and the number of the broken-pipe signal.
const BROKEN_PIPE: i32 = 141;

/// Writes bytes to standard output. If nobody reads any more there is nothing left to do, so the
/// process ends.
pub(crate) fn raw(bytes: &[u8]) {
    let mut out = io::stdout().lock();
    if out.write_all(bytes).and_then(|()| out.flush()).is_err() {
        std::process::exit(BROKEN_PIPE);
    }
}

pub(crate) fn line(text: &str) {
    raw(format!("{text}\n").as_bytes());
}

/// Writes a line to standard error.
pub(crate) fn note(text: &str) {
    let _ = writeln!(io::stderr().lock(), "{text}");
}

/// Rows aligned in columns two spaces apart; the last column is as wide as its text.
pub(crate) fn table(rows: &[Vec<String>]) -> String {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let mut widths = vec![0; columns];
    for row in rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let lines: Vec<String> = rows.iter().map(|row| aligned(row, &widths, 2)).collect();
    lines.join("\n")
}

/// Rows of name and value, the values six spaces beyond the longest name. Each row has its line
/// end; blanks at the very end are left out.
pub(crate) fn pairs(rows: &[(&str, String)]) -> String {
    let width = rows.iter().map(|(name, _)| name.chars().count()).max().unwrap_or(0);
    let lines: Vec<String> = rows
        .iter()
        .map(|(name, value)| aligned(&[(*name).to_owned(), value.clone()], &[width, 0], 6))
        .collect();
    lines.join("\n").trim_end().to_owned()
}

fn aligned(row: &[String], widths: &[usize], gap: usize) -> String {
    let mut line = String::new();
    for (at, (cell, width)) in row.iter().zip(widths).enumerate() {
        line.push_str(cell);
        if at + 1 < row.len() {
            let blanks = width.saturating_sub(cell.chars().count()) + gap;
            line.extend(std::iter::repeat_n(' ', blanks));
        }
    }
    line
}

/// JSON over several lines, indented by `indent`.
pub(crate) fn json(value: &impl Serialize, indent: &str) -> Result<String, Failure> {
    let mut bytes = Vec::new();
    let formatter = serde_json::ser::PrettyFormatter::with_indent(indent.as_bytes());
    let mut serializer = serde_json::Serializer::with_formatter(&mut bytes, formatter);
    value.serialize(&mut serializer).map_err(Failure::during("writing JSON"))?;
    String::from_utf8(bytes).map_err(Failure::during("writing JSON"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_are_aligned() {
        let rows = [["Node", "ID", "Meta"], ["ext", "", ""], ["n1", "0de97d9f", "ä=b"]];
        let rows: Vec<Vec<String>> =
            rows.iter().map(|row| row.iter().map(|cell| (*cell).to_owned()).collect()).collect();
        assert_eq!(table(&rows), "Node  ID        Meta\next             \nn1    0de97d9f  ä=b");
    }

    #[test]
    fn pairs_are_aligned() {
        let rows = [("Flags", "0".to_owned()), ("LockIndex", String::new())];
        assert_eq!(pairs(&rows), "Flags          0\nLockIndex");
    }
}
