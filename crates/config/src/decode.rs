//! The one decoder: from value trees to typed values, for agent files, definitions in them, request
//! bodies and config entries.
//!
//! A setting may be written in several sources. [`Values`] holds what each of them says, the
//! weightiest last, and decoding merges as it reads: scalars replace, blocks merge, lists append.
//! So there is no second form of a struct with everything optional, and every error knows where its
//! value stands.
//!
//! [`Fields`] keeps the names that were asked for, so that [`Fields::finish`] can refuse the
//! others.

use std::cell::RefCell;
use std::collections::BTreeMap;

use model::query::Token;
use model::time::GoDuration;

use crate::error::{Problem, SettingError};
use crate::tree::{Node, Position, Value};

/// How strictly values are taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rules {
    /// Agent files: types are exact, durations are texts. A block stands for a list of one, and a
    /// list of one block for the block, because HCL cannot tell them apart.
    File,
    /// Request bodies: types are exact, durations may be nanoseconds, names may be in either
    /// spelling.
    Body,
    /// Config entries: texts, numbers and truth values turn into one another, names may be in
    /// either spelling.
    Entry,
}

/// What the sources say about one setting, the weightiest last; never empty.
#[derive(Clone)]
pub struct Values<'a> {
    said: Vec<(&'a str, &'a Node)>,
    key: String,
    rules: Rules,
}

/// A type a setting can have.
pub trait Decode: Sized {
    fn decode(values: &Values<'_>) -> Result<Self, SettingError>;
}

impl<'a> Values<'a> {
    /// The root of what is decoded: one tree a source, the weightiest last. `None` if they say
    /// nothing.
    pub fn root(
        sources: impl IntoIterator<Item = (&'a str, &'a Node)>,
        rules: Rules,
    ) -> Option<Values<'a>> {
        Values::of(sources.into_iter().collect(), String::new(), rules)
    }

    fn of(mut said: Vec<(&'a str, &'a Node)>, key: String, rules: Rules) -> Option<Values<'a>> {
        said.retain(|(_, node)| node.value != Value::Null);
        (!said.is_empty()).then_some(Values { said, key, rules })
    }

    /// Path of names from the root; empty for the root.
    pub fn key(&self) -> &str {
        &self.key
    }

    pub fn rules(&self) -> Rules {
        self.rules
    }

    /// An error about the weightiest value.
    pub fn error(&self, problem: Problem) -> SettingError {
        let (source, at) =
            self.said.last().map_or(("", Position::default()), |(source, node)| (*source, node.at));
        SettingError { source: source.to_owned(), at, key: self.key.clone(), problem }
    }

    pub fn invalid(&self, reason: impl Into<String>) -> SettingError {
        self.error(Problem::Invalid(reason.into()))
    }

    fn wrong_type(&self, one: (&str, &Node), expected: &'static str) -> SettingError {
        SettingError {
            source: one.0.to_owned(),
            at: one.1.at,
            key: self.key.clone(),
            problem: Problem::WrongType { expected, found: one.1.value.kind() },
        }
    }

    /// Reads a scalar in every source, so that a wrong one is found even where it is overridden;
    /// gives the last.
    fn scalar<T>(
        &self,
        expected: &'static str,
        read: impl Fn(&Value, Rules) -> Option<T>,
    ) -> Result<T, SettingError> {
        let mut last = None;
        for (source, node) in &self.said {
            let value = &only(node, self.rules).value;
            let read = read(value, self.rules);
            last = Some(read.ok_or_else(|| self.wrong_type((source, node), expected))?);
        }
        last.ok_or_else(|| self.invalid("missing"))
    }

    /// Every element of the lists of all sources, in order.
    fn elements(&self) -> Result<Vec<Values<'a>>, SettingError> {
        let mut elements = Vec::new();
        for (source, node) in &self.said {
            let list: Vec<&Node> = match &node.value {
                Value::List(list) => list.iter().collect(),
                Value::Object(_) if self.rules != Rules::Body => vec![node],
                Value::Bool(_) | Value::Int(_) | Value::Float(_) | Value::Text(_)
                    if self.rules == Rules::Entry =>
                {
                    vec![node]
                }
                _ => return Err(self.wrong_type((source, node), "a list")),
            };
            for node in list {
                let key = format!("{}[{}]", self.key, elements.len());
                elements.push(Values { said: vec![(source, node)], key, rules: self.rules });
            }
        }
        Ok(elements)
    }

    /// Every name in the blocks of all sources, with what they say about it.
    fn entries(&self) -> Result<Vec<(&'a str, Values<'a>)>, SettingError> {
        let mut entries: BTreeMap<&str, Vec<(&str, &Node)>> = BTreeMap::new();
        for (source, object) in self.objects()? {
            for (name, node) in object.iter() {
                entries.entry(name).or_default().push((source, node));
            }
        }
        let values = entries.into_iter().filter_map(|(name, said)| {
            let key = format!("{}[{name}]", self.key);
            Values::of(said, key, self.rules).map(|values| (name, values))
        });
        Ok(values.collect())
    }

    fn objects(&self) -> Result<Vec<(&'a str, &'a crate::tree::Object)>, SettingError> {
        let mut objects = Vec::new();
        for (source, node) in &self.said {
            match &only(node, self.rules).value {
                Value::Object(object) => objects.push((*source, object)),
                Value::List(list) if list.len() > 1 => {
                    let times = list.len();
                    let reason = format!(
                        "written {times} times in one file; write one block with all of it"
                    );
                    return Err(self.invalid(reason));
                }
                _ => return Err(self.wrong_type((source, node), "a block")),
            }
        }
        Ok(objects)
    }

    /// Opens a block whose names are in `snake_case`; request bodies and config entries may use
    /// CamelCase too.
    pub fn fields(&self) -> Result<Fields<'a>, SettingError> {
        self.open(self.rules != Rules::File)
    }

    /// Opens a block whose names may be in either spelling in files, too.
    pub fn fields_either_spelling(&self) -> Result<Fields<'a>, SettingError> {
        self.open(true)
    }

    fn open(&self, takes_camel: bool) -> Result<Fields<'a>, SettingError> {
        Ok(Fields {
            objects: self.objects()?,
            key: self.key.clone(),
            rules: self.rules,
            takes_camel,
            asked: RefCell::new(Vec::new()),
        })
    }

    /// The weightiest value as it is.
    pub fn last(&self) -> Option<&'a Node> {
        self.said.last().map(|(_, node)| *node)
    }
}

/// A list of one stands for its element.
fn only(node: &Node, rules: Rules) -> &Node {
    match &node.value {
        Value::List(list) if rules != Rules::Body => match list.as_slice() {
            [one] => one,
            _ => node,
        },
        _ => node,
    }
}

/// The names of a block, in all sources.
pub struct Fields<'a> {
    objects: Vec<(&'a str, &'a crate::tree::Object)>,
    key: String,
    rules: Rules,
    takes_camel: bool,
    asked: RefCell<Vec<&'static str>>,
}

impl<'a> Fields<'a> {
    /// Reads the setting `name`, if any source has it.
    pub fn get<T: Decode>(&self, name: &'static str) -> Result<Option<T>, SettingError> {
        self.values(name).map(|values| T::decode(&values)).transpose()
    }

    /// Reads the setting `name`, or takes the type's default.
    pub fn or_default<T: Decode + Default>(&self, name: &'static str) -> Result<T, SettingError> {
        Ok(self.get(name)?.unwrap_or_default())
    }

    /// Reads a setting that has two names.
    pub fn alias<T: Decode>(
        &self,
        name: &'static str,
        other: &'static str,
    ) -> Result<Option<T>, SettingError> {
        let second = self.get(other)?;
        Ok(self.get(name)?.or(second))
    }

    /// What the sources say about `name`.
    pub fn values(&self, name: &'static str) -> Option<Values<'a>> {
        self.asked.borrow_mut().push(name);
        let mut said = Vec::new();
        for (source, object) in &self.objects {
            let fitting = object.iter().filter(|(written, _)| self.is_spelling_of(written, name));
            said.extend(fitting.map(|(_, node)| (*source, node)));
        }
        Values::of(said, self.path(name), self.rules)
    }

    fn is_spelling_of(&self, written: &str, name: &str) -> bool {
        let is_camel = || {
            written.len() < name.len()
                && written
                    .bytes()
                    .map(|b| b.to_ascii_lowercase())
                    .eq(name.bytes().filter(|b| *b != b'_'))
        };
        written.eq_ignore_ascii_case(name) || (self.takes_camel && is_camel())
    }

    fn path(&self, name: &str) -> String {
        if self.key.is_empty() { name.to_owned() } else { format!("{}.{name}", self.key) }
    }

    /// An error about the setting `name`, where it is written, or about its default.
    pub fn invalid(&self, name: &'static str, reason: impl Into<String>) -> SettingError {
        let key = self.path(name);
        match self.values(name) {
            Some(values) => SettingError { key, ..values.invalid(reason) },
            None => SettingError::invalid(&key, reason),
        }
    }

    /// Refuses names nobody asked for.
    pub fn finish(self) -> Result<(), SettingError> {
        let asked = self.asked.borrow();
        for (source, object) in &self.objects {
            let unknown = object
                .iter()
                .find(|(written, _)| !asked.iter().any(|name| self.is_spelling_of(written, name)));
            if let Some((written, node)) = unknown {
                return Err(SettingError {
                    source: (*source).to_owned(),
                    at: node.at,
                    key: self.path(written),
                    problem: Problem::Unknown { nearest: nearest(written, &asked) },
                });
            }
        }
        Ok(())
    }
}

/// The known name that differs least, if it differs by no more than a slip or two.
fn nearest(written: &str, known: &[&'static str]) -> Option<&'static str> {
    let written = written.to_ascii_lowercase();
    // Longer texts are no slips, and comparing them costs.
    if written.len() > 64 {
        return None;
    }
    let closest = known.iter().map(|name| (distance(&written, name), *name)).min()?;
    (closest.0 <= 1 + closest.1.len() / 4).then_some(closest.1)
}

/// Insertions, deletions and replacements from one text to the other (Levenshtein, 1965).
fn distance(from: &str, to: &str) -> usize {
    let mut row: Vec<usize> = (0..=to.len()).collect();
    for (i, a) in from.bytes().enumerate() {
        let mut diagonal = i;
        let mut left = i + 1;
        for (cell, b) in row.iter_mut().skip(1).zip(to.bytes()) {
            let next = (diagonal + usize::from(a != b)).min(left + 1).min(*cell + 1);
            diagonal = *cell;
            *cell = next;
            left = next;
        }
        if let Some(first) = row.first_mut() {
            *first = i + 1;
        }
    }
    row.last().copied().unwrap_or_default()
}

impl Decode for String {
    fn decode(values: &Values<'_>) -> Result<String, SettingError> {
        values.scalar("text", |value, rules| match (value, rules) {
            (Value::Text(text), _) => Some(text.clone()),
            (Value::Bool(truth), Rules::Entry) => Some(u8::from(*truth).to_string()),
            (Value::Int(number), Rules::Entry) => Some(number.to_string()),
            (Value::Float(number), Rules::Entry) => Some(number.to_string()),
            _ => None,
        })
    }
}

impl Decode for Token {
    fn decode(values: &Values<'_>) -> Result<Token, SettingError> {
        String::decode(values).map(|text| Token(text.into()))
    }
}

impl Decode for bool {
    fn decode(values: &Values<'_>) -> Result<bool, SettingError> {
        values.scalar("true or false", |value, rules| match (value, rules) {
            (Value::Bool(truth), _) => Some(*truth),
            (Value::Int(number), Rules::Entry) => Some(*number != 0),
            (Value::Float(number), Rules::Entry) => Some(*number != 0.0),
            (Value::Text(text), Rules::Entry) => match text.as_str() {
                "1" | "t" | "T" | "TRUE" | "true" | "True" => Some(true),
                "" | "0" | "f" | "F" | "FALSE" | "false" | "False" => Some(false),
                _ => None,
            },
            _ => None,
        })
    }
}

impl Decode for f64 {
    fn decode(values: &Values<'_>) -> Result<f64, SettingError> {
        values.scalar("a number", |value, rules| match (value, rules) {
            (Value::Int(number), _) => Some(*number as f64),
            (Value::Float(number), _) => Some(*number),
            (Value::Text(text), Rules::Entry) => text.parse().ok(),
            _ => None,
        })
    }
}

impl Decode for i64 {
    fn decode(values: &Values<'_>) -> Result<i64, SettingError> {
        values.scalar("a whole number", |value, rules| match (value, rules) {
            (Value::Int(number), _) => Some(*number),
            // 2^53: beyond it a float no longer tells whole numbers apart.
            (Value::Float(number), Rules::File | Rules::Entry)
                if number.fract() == 0.0 && number.abs() < 9_007_199_254_740_992.0 =>
            {
                Some(*number as i64)
            }
            (Value::Text(text), Rules::Entry) => text.parse().ok(),
            (Value::Bool(truth), Rules::Entry) => Some(i64::from(*truth)),
            _ => None,
        })
    }
}

macro_rules! decode_narrower {
    ($($type:ty),+) => {$(
        impl Decode for $type {
            fn decode(values: &Values<'_>) -> Result<$type, SettingError> {
                let number = i64::decode(values)?;
                <$type>::try_from(number).map_err(|_| {
                    values.invalid(format!(
                        "{number} is out of range; write a number from {} to {}",
                        <$type>::MIN,
                        <$type>::MAX,
                    ))
                })
            }
        }
    )+};
}

decode_narrower!(u16, u32, u64);

impl Decode for GoDuration {
    fn decode(values: &Values<'_>) -> Result<GoDuration, SettingError> {
        let read = values.scalar("a duration", |value, rules| match (value, rules) {
            (Value::Text(text), _) => {
                Some(text.parse::<GoDuration>().map_err(|error| error.to_string()))
            }
            (Value::Int(nanos), Rules::Body | Rules::Entry) => Some(Ok(GoDuration(*nanos))),
            // Go cuts fractions of a nanosecond off.
            (Value::Float(nanos), Rules::Body | Rules::Entry) => {
                Some(Ok(GoDuration(*nanos as i64)))
            }
            _ => None,
        })?;
        read.map_err(|reason| values.error(Problem::Duration(reason)))
    }
}

impl<T: Decode> Decode for Option<T> {
    fn decode(values: &Values<'_>) -> Result<Option<T>, SettingError> {
        T::decode(values).map(Some)
    }
}

impl<T: Decode> Decode for Box<T> {
    fn decode(values: &Values<'_>) -> Result<Box<T>, SettingError> {
        T::decode(values).map(Box::new)
    }
}

/// Null elements are passed over.
impl<T: Decode> Decode for Vec<T> {
    fn decode(values: &Values<'_>) -> Result<Vec<T>, SettingError> {
        let elements = values.elements()?;
        elements
            .iter()
            .filter(|element| element.last().is_some_and(|node| node.value != Value::Null))
            .map(T::decode)
            .collect()
    }
}

impl<T: Decode> Decode for BTreeMap<String, T> {
    fn decode(values: &Values<'_>) -> Result<BTreeMap<String, T>, SettingError> {
        let entries = values.entries()?;
        entries.iter().map(|(name, values)| Ok(((*name).to_owned(), T::decode(values)?))).collect()
    }
}

/// Whatever is written, as it is, the weightiest source alone.
impl Decode for serde_json::Value {
    fn decode(values: &Values<'_>) -> Result<serde_json::Value, SettingError> {
        Ok(values.last().map(Node::to_json).unwrap_or_default())
    }
}

/// As the JSON value, with positions.
impl Decode for Node {
    fn decode(values: &Values<'_>) -> Result<Node, SettingError> {
        values.last().cloned().ok_or_else(|| values.invalid("missing"))
    }
}
