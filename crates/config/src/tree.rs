//! The dynamic value tree that HCL, JSON and flags are read into before anything is decoded.

use std::collections::BTreeMap;
use std::fmt;

/// Largest accepted input. Real agent files have kilobytes; large ones list hundreds of services.
pub const INPUT_BYTES_MAX: usize = 4 << 20;

/// Deepest nesting of lists and objects. Real files have about eight levels; the bound keeps the
/// parsers' recursion off the stack's end.
pub const DEPTH_MAX: usize = 64;

/// Where something stands in its input. Units: lines and characters, both from one; line 0 means
/// that the value was not read from a text.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Position {
    pub line: u32,
    pub column: u32,
}

/// One value and where it began.
#[derive(Clone, Debug, PartialEq)]
pub struct Node {
    pub value: Value,
    pub at: Position,
}

#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    Null,
    Bool(bool),
    Int(i64),
    Float(f64),
    Text(String),
    List(Vec<Node>),
    Object(Object),
}

/// Names, which differ in spelling, and values.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Object {
    entries: BTreeMap<String, Node>,
}

impl Object {
    pub fn get(&self, name: &str) -> Option<&Node> {
        self.entries.get(name)
    }

    pub fn get_mut(&mut self, name: &str) -> Option<&mut Node> {
        self.entries.get_mut(name)
    }

    /// Sets `name`, in place of an earlier value.
    pub fn insert(&mut self, name: impl Into<String>, node: impl Into<Node>) {
        self.entries.insert(name.into(), node.into());
    }

    pub fn iter(&self) -> impl Iterator<Item = (&str, &Node)> {
        self.entries.iter().map(|(name, node)| (name.as_str(), node))
    }

    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    pub fn len(&self) -> usize {
        self.entries.len()
    }
}

impl Value {
    /// What the value is, for error messages.
    pub fn kind(&self) -> &'static str {
        match self {
            Value::Null => "nothing",
            Value::Bool(_) => "true or false",
            Value::Int(_) | Value::Float(_) => "a number",
            Value::Text(_) => "text",
            Value::List(_) => "a list",
            Value::Object(_) => "a block",
        }
    }
}

impl Node {
    /// The tree as a JSON value; positions are lost, numbers no JSON can hold become null.
    pub fn to_json(&self) -> serde_json::Value {
        match &self.value {
            Value::Null => serde_json::Value::Null,
            Value::Bool(truth) => (*truth).into(),
            Value::Int(number) => (*number).into(),
            Value::Float(number) => (*number).into(),
            Value::Text(text) => text.as_str().into(),
            Value::List(list) => list.iter().map(Node::to_json).collect(),
            Value::Object(object) => object
                .iter()
                .map(|(name, node)| (name.to_owned(), node.to_json()))
                .collect::<serde_json::Map<_, _>>()
                .into(),
        }
    }
}

impl From<Value> for Node {
    fn from(value: Value) -> Node {
        Node { value, at: Position::default() }
    }
}

impl From<Object> for Node {
    fn from(object: Object) -> Node {
        Value::Object(object).into()
    }
}

impl From<&str> for Node {
    fn from(text: &str) -> Node {
        Value::Text(text.to_owned()).into()
    }
}

impl From<String> for Node {
    fn from(text: String) -> Node {
        Value::Text(text).into()
    }
}

impl From<bool> for Node {
    fn from(truth: bool) -> Node {
        Value::Bool(truth).into()
    }
}

impl From<i64> for Node {
    fn from(number: i64) -> Node {
        Value::Int(number).into()
    }
}

impl From<Vec<String>> for Node {
    fn from(texts: Vec<String>) -> Node {
        Value::List(texts.into_iter().map(Node::from).collect()).into()
    }
}

/// Why an input is not of its language.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SyntaxError {
    pub at: Position,
    pub message: String,
}

impl fmt::Display for SyntaxError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}, column {}: {}", self.at.line, self.at.column, self.message)
    }
}

impl std::error::Error for SyntaxError {}

/// Characters of an input with the position of the next one. Both readers stand on it.
pub(crate) struct Scanner<'a> {
    rest: std::str::Chars<'a>,
    line: u32,
    column: u32,
}

impl<'a> Scanner<'a> {
    /// A byte order mark at the start is skipped.
    pub(crate) fn new(text: &'a str) -> Scanner<'a> {
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        Scanner { rest: text.chars(), line: 1, column: 1 }
    }

    pub(crate) fn at(&self) -> Position {
        Position { line: self.line, column: self.column }
    }

    pub(crate) fn rest(&self) -> &'a str {
        self.rest.as_str()
    }

    pub(crate) fn peek(&self) -> Option<char> {
        self.rest.clone().next()
    }

    pub(crate) fn bump(&mut self) -> Option<char> {
        let c = self.rest.next()?;
        if c == '\n' {
            self.line += 1;
            self.column = 1;
        } else {
            self.column += 1;
        }
        Some(c)
    }

    /// Takes `c` if it comes next.
    pub(crate) fn eat(&mut self, c: char) -> bool {
        let found = self.peek() == Some(c);
        if found {
            self.bump();
        }
        found
    }

    pub(crate) fn take_while(&mut self, fits: impl Fn(char) -> bool) -> &'a str {
        let rest = self.rest();
        while self.peek().is_some_and(&fits) {
            self.bump();
        }
        rest.get(..rest.len() - self.rest().len()).unwrap_or_default()
    }

    pub(crate) fn error<T>(&self, message: impl Into<String>) -> Result<T, SyntaxError> {
        Err(SyntaxError { at: self.at(), message: message.into() })
    }
}
