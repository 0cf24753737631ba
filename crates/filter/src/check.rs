//! A filter checked against a record type, ready to be asked about records.

use std::fmt;
use std::marker::PhantomData;

use regex::{Regex, RegexBuilder};

use crate::expression::{Expression, Match, Operator};
use crate::go;
use crate::parse::ParseError;
use crate::record::{FieldKind, Record, Value};

/// Largest compiled form of one regular expression. A name pattern takes a few kilobytes; this
/// stops `x{1000}{1000}`.
const REGEX_BYTES_MAX: usize = 1 << 20;

/// An expression whose selectors, operators and values fit the record type `R`. Cheap to ask,
/// shared between threads.
pub struct Filter<R> {
    test: Test,
    record: PhantomData<fn(&R)>,
}

/// Why an expression does not fit a record type. The caller's fault; the same whatever records
/// there are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CheckError {
    /// There is no such field; the selector up to and with the part that does not exist.
    UnknownSelector(String),
    /// The field there is not of a kind the operator works on.
    WrongOperator { operator: Operator, selector: String },
    /// The value cannot be read as what the field holds.
    WrongValue { value: String, selector: String, reason: String },
    /// The value is no regular expression.
    WrongPattern { value: String, reason: String },
}

/// Why a text is no filter for a record type.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FilterError {
    Parse(ParseError),
    Check(CheckError),
}

impl<R: Record> Filter<R> {
    /// Parses `text` and checks it against `R`.
    ///
    /// Errors: as [`Expression::parse`] and [`Filter::check`]. Their texts are what follows
    /// "Failed to create boolean expression evaluator: " in Consul's answers.
    pub fn new(text: &str) -> Result<Filter<R>, FilterError> {
        let expression = Expression::parse(text).map_err(FilterError::Parse)?;
        Filter::check(&expression).map_err(FilterError::Check)
    }

    /// Checks `expression` against `R`: every selector leads to a field, every operator fits it,
    /// every value too.
    pub fn check(expression: &Expression) -> Result<Filter<R>, CheckError> {
        let test = compile(expression, &FieldKind::Record(R::field_kind))?;
        Ok(Filter { test, record: PhantomData })
    }

    /// Whether `record` passes.
    pub fn matches(&self, record: &R) -> bool {
        self.test.holds(record)
    }
}

enum Test {
    Any(Vec<Test>),
    All(Vec<Test>),
    Not(Box<Test>),
    One { selector: Vec<String>, negated: bool, probe: Probe },
}

/// What is asked of the value a selector leads to; the negated operators negate the answer.
enum Probe {
    EqualText(String),
    EqualInt(i64),
    EqualUint(u64),
    EqualFloat(f64),
    EqualBool(bool),
    /// A text holds it as a part.
    Substring(String),
    /// A map has the key.
    HasKey(String),
    /// A list has an element that passes.
    HasElement(Box<Probe>),
    Empty,
    Pattern(Regex),
}

fn compile(expression: &Expression, root: &FieldKind) -> Result<Test, CheckError> {
    let compile_all = |terms: &[Expression]| {
        terms.iter().map(|term| compile(term, root)).collect::<Result<_, _>>()
    };
    Ok(match expression {
        Expression::Or(terms) => Test::Any(compile_all(terms)?),
        Expression::And(terms) => Test::All(compile_all(terms)?),
        Expression::Not(inner) => Test::Not(Box::new(compile(inner, root)?)),
        Expression::Match(one) => {
            let kind = resolve(&one.selector, root)?;
            Test::One {
                selector: one.selector.clone(),
                negated: is_negated(one.operator),
                probe: probe(one, &kind)?,
            }
        }
    })
}

/// The kind of field `selector` leads to. Lists of records are passed through.
fn resolve(selector: &[String], root: &FieldKind) -> Result<FieldKind, CheckError> {
    let mut kind = root.clone();
    for (i, part) in selector.iter().enumerate() {
        if let FieldKind::List(element) = kind {
            kind = *element;
        }
        let next = match kind {
            FieldKind::Record(field_kind) => field_kind(part),
            FieldKind::Map(element) => Some(*element),
            _ => None,
        };
        kind = next.ok_or_else(|| {
            let reached = selector.iter().take(i + 1).map(String::as_str).collect::<Vec<_>>();
            CheckError::UnknownSelector(reached.join("."))
        })?;
    }
    Ok(kind)
}

fn is_negated(operator: Operator) -> bool {
    match operator {
        Operator::NotEqual | Operator::NotIn | Operator::IsNotEmpty | Operator::NotMatches => true,
        Operator::Equal | Operator::In | Operator::IsEmpty | Operator::Matches => false,
    }
}

fn probe(one: &Match, kind: &FieldKind) -> Result<Probe, CheckError> {
    match (one.operator, kind) {
        (Operator::Equal | Operator::NotEqual, kind) => equality(one, kind),
        (Operator::In | Operator::NotIn, FieldKind::Text) => {
            Ok(Probe::Substring(one.value.clone()))
        }
        (Operator::In | Operator::NotIn, FieldKind::Map(_)) => Ok(Probe::HasKey(one.value.clone())),
        (Operator::In | Operator::NotIn, FieldKind::List(element)) => {
            Ok(Probe::HasElement(Box::new(equality(one, element)?)))
        }
        (Operator::IsEmpty | Operator::IsNotEmpty, FieldKind::List(_) | FieldKind::Map(_)) => {
            Ok(Probe::Empty)
        }
        (Operator::Matches | Operator::NotMatches, FieldKind::Text) => {
            pattern(&one.value).map(Probe::Pattern)
        }
        _ => Err(wrong_operator(one)),
    }
}

fn equality(one: &Match, kind: &FieldKind) -> Result<Probe, CheckError> {
    let text = one.value.as_str();
    let number = |function: &str, error: go::NumberError| wrong_value(one, function, error.text());
    match kind {
        FieldKind::Text => Ok(Probe::EqualText(text.to_owned())),
        FieldKind::Int => {
            go::parse_int(text).map(Probe::EqualInt).map_err(|e| number("ParseInt", e))
        }
        FieldKind::Uint => {
            go::parse_uint(text).map(Probe::EqualUint).map_err(|e| number("ParseUint", e))
        }
        FieldKind::Float => {
            go::parse_float(text).map(Probe::EqualFloat).map_err(|e| number("ParseFloat", e))
        }
        FieldKind::Bool => go::parse_bool(text)
            .map(Probe::EqualBool)
            .ok_or_else(|| wrong_value(one, "ParseBool", go::NumberError::Syntax.text())),
        FieldKind::List(_) | FieldKind::Map(_) | FieldKind::Record(_) => Err(wrong_operator(one)),
    }
}

fn wrong_operator(one: &Match) -> CheckError {
    CheckError::WrongOperator { operator: one.operator, selector: one.selector.join(".") }
}

fn wrong_value(one: &Match, function: &str, reason: &str) -> CheckError {
    CheckError::WrongValue {
        value: one.value.clone(),
        selector: one.selector.join("."),
        reason: format!("strconv.{function}: parsing {}: {reason}", go::quote(&one.value)),
    }
}

fn pattern(text: &str) -> Result<Regex, CheckError> {
    let wrong = |reason: String| CheckError::WrongPattern { value: text.to_owned(), reason };
    RegexBuilder::new(text).size_limit(REGEX_BYTES_MAX).build().map_err(|error| match error {
        regex::Error::Syntax(explained) => {
            // The crate's text is a drawing of several lines that ends with the reason.
            let reason = explained.lines().last().unwrap_or_default().trim_start_matches("error: ");
            wrong(format!("error parsing regexp: {reason}: `{text}`"))
        }
        other => wrong(format!("error parsing regexp: {other}")),
    })
}

impl Test {
    fn holds(&self, record: &dyn Record) -> bool {
        match self {
            Test::Any(tests) => tests.iter().any(|test| test.holds(record)),
            Test::All(tests) => tests.iter().all(|test| test.holds(record)),
            Test::Not(test) => !test.holds(record),
            Test::One { selector, negated, probe } => {
                let asked = Asked { negated: *negated, probe };
                asked.of(Value::Record(record), selector)
            }
        }
    }
}

struct Asked<'a> {
    negated: bool,
    probe: &'a Probe,
}

impl Asked<'_> {
    fn of(&self, value: Value<'_>, selector: &[String]) -> bool {
        let Some((part, rest)) = selector.split_first() else {
            return match value {
                Value::Absent => self.of_absent(),
                value => self.probe.holds(value) != self.negated,
            };
        };
        let next = match value {
            Value::Record(record) => record.field(part),
            Value::Map(map) => map.get(part),
            // Any element will do, for the negated operators too: none passes for an empty list.
            Value::List(list) => return list.any(&mut |element| self.of(element, selector)),
            _ => None,
        };
        match next {
            Some(value) => self.of(value, rest),
            None => self.of_absent(),
        }
    }

    /// A missing map key passes every test but equality, membership and being not empty. That a
    /// pattern passes too is odd, and what Consul 1.8.7 answers.
    fn of_absent(&self) -> bool {
        match self.probe {
            Probe::Empty => !self.negated,
            Probe::Pattern(_) => true,
            _ => self.negated,
        }
    }
}

impl Probe {
    fn holds(&self, value: Value<'_>) -> bool {
        match (self, value) {
            (Probe::EqualText(wanted), Value::Text(text)) => text == wanted,
            (Probe::EqualInt(wanted), Value::Int(number)) => number == *wanted,
            (Probe::EqualUint(wanted), Value::Uint(number)) => number == *wanted,
            (Probe::EqualFloat(wanted), Value::Float(number)) => number == *wanted,
            (Probe::EqualBool(wanted), Value::Bool(truth)) => truth == *wanted,
            (Probe::Substring(wanted), Value::Text(text)) => text.contains(wanted.as_str()),
            (Probe::HasKey(wanted), Value::Map(map)) => map.get(wanted).is_some(),
            (Probe::HasElement(element), Value::List(list)) => {
                list.any(&mut |value| element.holds(value))
            }
            (Probe::Empty, Value::List(list)) => list.is_empty(),
            (Probe::Empty, Value::Map(map)) => map.is_empty(),
            (Probe::Pattern(pattern), Value::Text(text)) => pattern.is_match(text),
            _ => false,
        }
    }
}

impl fmt::Display for CheckError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            CheckError::UnknownSelector(selector) => {
                write!(f, "Selector {} is not valid", go::quote(selector))
            }
            CheckError::WrongOperator { operator, selector } => {
                write!(
                    f,
                    "Invalid match operator {:?} for selector {}",
                    operator.name(),
                    go::quote(selector)
                )
            }
            CheckError::WrongValue { value, selector, reason } => {
                write!(
                    f,
                    "Failed to coerce value {} for selector {}: {reason}",
                    go::quote(value),
                    go::quote(selector)
                )
            }
            CheckError::WrongPattern { value, reason } => {
                write!(f, "Failed to compile regular expression {}: {reason}", go::quote(value))
            }
        }
    }
}

impl fmt::Display for FilterError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            FilterError::Parse(error) => write!(f, "{error}"),
            FilterError::Check(error) => write!(f, "{error}"),
        }
    }
}

impl std::error::Error for CheckError {}
impl std::error::Error for FilterError {}

impl<R> fmt::Debug for Filter<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Filter")
    }
}

#[cfg(test)]
mod tests;
