//! What is wrong with a setting, where it is written, and what to do about it: one line each.

use std::fmt;
use std::io;

use crate::tree::{Position, SyntaxError};

/// Why a configuration cannot be used. Always the fault of who wrote it; trying again does not
/// help.
#[derive(Debug)]
pub enum Error {
    /// A file or directory cannot be read.
    Read { file: String, source: io::Error },
    /// A file is not of its language.
    Syntax { file: String, error: SyntaxError },
    /// A setting has a wrong name, type or value, or asks for what this version cannot do.
    Setting(SettingError),
}

/// One wrong setting.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SettingError {
    /// Who says it: a file's path, `-hcl`, or "command line"; empty for a request body.
    pub source: String,
    pub at: Position,
    /// Path of names from the root, such as `service.checks[0].interval`; empty for the root.
    pub key: String,
    pub problem: Problem,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Problem {
    /// There is no such setting here; perhaps this one is meant.
    Unknown { nearest: Option<&'static str> },
    /// Units: both are words for people, such as "a number".
    WrongType { expected: &'static str, found: &'static str },
    /// The text is no duration.
    Duration(String),
    /// The value is wrong for the reason given, which names the remedy.
    Invalid(String),
    /// The setting is known but what it asks for cannot be done; the remedy.
    Unavailable(String),
}

impl SettingError {
    /// A wrong value of a setting that is not read from one place.
    pub(crate) fn invalid(key: &str, reason: impl Into<String>) -> SettingError {
        SettingError {
            source: String::new(),
            at: Position::default(),
            key: key.to_owned(),
            problem: Problem::Invalid(reason.into()),
        }
    }

    /// The text that follows "Request decode failed: " when a body is refused, in Go's words.
    pub fn body_text(&self) -> String {
        let field = self.key.split(['.', '[']).next().unwrap_or_default();
        match &self.problem {
            Problem::Unknown { .. } => {
                let name = self.key.rsplit('.').next().unwrap_or_default();
                format!("json: unknown field {name:?}")
            }
            Problem::WrongType { expected, found } if self.key.is_empty() => {
                format!(
                    "json: cannot unmarshal {} into Go value of type {}",
                    go_kind(found),
                    go_type(expected)
                )
            }
            Problem::WrongType { expected, found } => format!(
                "json: cannot unmarshal {} into Go struct field .{} of type {}",
                go_kind(found),
                camel(field),
                go_type(expected)
            ),
            Problem::Duration(text) | Problem::Invalid(text) | Problem::Unavailable(text) => {
                text.clone()
            }
        }
    }
}

/// Go's word for a kind of JSON value.
fn go_kind(found: &str) -> &str {
    match found {
        "true or false" => "bool",
        "a number" => "number",
        "text" => "string",
        "a list" => "array",
        "a block" => "object",
        other => other,
    }
}

fn go_type(expected: &str) -> &str {
    match expected {
        "true or false" => "bool",
        "a whole number" => "int",
        "a number" => "float64",
        "text" => "string",
        "a list" => "[]string",
        "a list of blocks" => "[]struct",
        "a block" => "struct",
        other => other,
    }
}

/// A key as the API spells it: `local_bind_port` or `LocalBindPort` to the latter.
fn camel(key: &str) -> String {
    key.split('_')
        .map(|word| match word {
            "id" => "ID".to_owned(),
            word => {
                let mut chars = word.chars();
                chars
                    .next()
                    .map(|first| first.to_ascii_uppercase().to_string() + chars.as_str())
                    .unwrap_or_default()
            }
        })
        .collect()
}

impl fmt::Display for SettingError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.source.is_empty() {
            write!(f, "{}", self.source)?;
            if self.at.line > 0 {
                write!(f, ":{}:{}", self.at.line, self.at.column)?;
            }
            f.write_str(": ")?;
        }
        let name = self.key.rsplit('.').next().unwrap_or_default();
        match &self.problem {
            Problem::Unknown { nearest } => {
                write!(f, "invalid config key {}", self.key)?;
                match nearest {
                    Some(nearest) => write!(f, "; did you mean {nearest}? Correct or remove it"),
                    None => f.write_str("; there is no such setting, remove it"),
                }
            }
            Problem::WrongType { expected, found } => {
                write!(
                    f,
                    "{}: expected {expected}, found {found}; {}",
                    self.key,
                    remedy(name, expected)
                )
            }
            Problem::Duration(reason) => {
                write!(
                    f,
                    "{}: {reason}; write a duration with its unit, such as {name} = \"10s\"",
                    self.key
                )
            }
            Problem::Invalid(reason) => write!(f, "{}: {reason}", self.key),
            Problem::Unavailable(reason) => write!(f, "{}: {reason}", self.key),
        }
    }
}

/// How a value of the expected type is written.
fn remedy(name: &str, expected: &str) -> String {
    match expected {
        "true or false" => format!("write {name} = true or {name} = false, without quotes"),
        "a whole number" | "a number" => format!("write it without quotes, such as {name} = 1"),
        "text" => format!("write it in double quotes, such as {name} = \"x\""),
        "a duration" => {
            format!("write it in double quotes with its unit, such as {name} = \"10s\"")
        }
        "a list" => format!("write it in brackets, such as {name} = [\"x\"]"),
        _ => format!("write {name} {{ ... }}"),
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::Read { file, .. } => write!(f, "cannot read {file}"),
            Error::Syntax { file, error } => {
                write!(f, "{file}:{}:{}: {}", error.at.line, error.at.column, error.message)
            }
            Error::Setting(error) => write!(f, "{error}"),
        }
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Error::Read { source, .. } => Some(source),
            Error::Syntax { .. } | Error::Setting(_) => None,
        }
    }
}

impl std::error::Error for SettingError {}

impl From<SettingError> for Error {
    fn from(error: SettingError) -> Error {
        Error::Setting(error)
    }
}
