//! The syntax tree of a filter expression, and its text form.

use std::fmt;

use crate::parse::{self, ParseError};

/// A parsed filter, not yet checked against a record type.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Expression {
    /// True when any is; two or more, tried in order.
    Or(Vec<Expression>),
    /// True when all are; two or more, tried in order.
    And(Vec<Expression>),
    Not(Box<Expression>),
    Match(Match),
}

/// One comparison: what is looked at, how, and against which text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Match {
    /// Field names and map keys from the outside in; never empty.
    pub selector: Vec<String>,
    pub operator: Operator,
    /// The operand as written, unquoted; empty for the two emptiness tests.
    pub value: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operator {
    Equal,
    NotEqual,
    /// `value in selector` and `selector contains value` are the same test.
    In,
    NotIn,
    IsEmpty,
    IsNotEmpty,
    Matches,
    NotMatches,
}

impl Expression {
    /// Parses `text`.
    ///
    /// Errors: the text is longer than [`crate::EXPRESSION_BYTES_MAX`], nested deeper than
    /// [`crate::DEPTH_MAX`], or not of the language; the message says where and what was expected
    /// there.
    pub fn parse(text: &str) -> Result<Expression, ParseError> {
        parse::parse(text)
    }
}

impl Operator {
    /// The name error messages use.
    pub fn name(self) -> &'static str {
        match self {
            Operator::Equal => "Equal",
            Operator::NotEqual => "Not Equal",
            Operator::In => "In",
            Operator::NotIn => "Not In",
            Operator::IsEmpty => "Is Empty",
            Operator::IsNotEmpty => "Is Not Empty",
            Operator::Matches => "Matches",
            Operator::NotMatches => "Not Matches",
        }
    }
}

/// Prints a text that parses to the same tree: values always quoted, groups always in parentheses.
impl fmt::Display for Expression {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Expression::Or(terms) => join(f, terms, " or "),
            Expression::And(terms) => join(f, terms, " and "),
            Expression::Not(inner) => write!(f, "not {}", Grouped(inner)),
            Expression::Match(one) => write!(f, "{one}"),
        }
    }
}

fn join(f: &mut fmt::Formatter<'_>, terms: &[Expression], word: &str) -> fmt::Result {
    for (i, term) in terms.iter().enumerate() {
        if i > 0 {
            f.write_str(word)?;
        }
        write!(f, "{}", Grouped(term))?;
    }
    Ok(())
}

struct Grouped<'a>(&'a Expression);

impl fmt::Display for Grouped<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Expression::Or(_) | Expression::And(_) => write!(f, "({})", self.0),
            Expression::Not(_) | Expression::Match(_) => write!(f, "{}", self.0),
        }
    }
}

impl fmt::Display for Match {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let selector = SelectorText(&self.selector);
        let value = Quoted(&self.value);
        match self.operator {
            Operator::Equal => write!(f, "{selector} == {value}"),
            Operator::NotEqual => write!(f, "{selector} != {value}"),
            Operator::In => write!(f, "{value} in {selector}"),
            Operator::NotIn => write!(f, "{value} not in {selector}"),
            Operator::IsEmpty => write!(f, "{selector} is empty"),
            Operator::IsNotEmpty => write!(f, "{selector} is not empty"),
            Operator::Matches => write!(f, "{selector} matches {value}"),
            Operator::NotMatches => write!(f, "{selector} not matches {value}"),
        }
    }
}

struct SelectorText<'a>(&'a [String]);

impl fmt::Display for SelectorText<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, part) in self.0.iter().enumerate() {
            match (i, is_identifier(part)) {
                (0, _) => f.write_str(part)?,
                (_, true) => write!(f, ".{part}")?,
                (_, false) => write!(f, "[{}]", Quoted(part))?,
            }
        }
        Ok(())
    }
}

fn is_identifier(text: &str) -> bool {
    let mut bytes = text.bytes();
    bytes.next().is_some_and(|b| b.is_ascii_alphabetic())
        && bytes.all(|b| b.is_ascii_alphanumeric() || b == b'_')
}

/// Text between double quotes with everything escaped that the language cannot hold literally, the
/// quote included.
struct Quoted<'a>(&'a str);

impl fmt::Display for Quoted<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("\"")?;
        for c in self.0.chars() {
            match c {
                '\\' => f.write_str("\\\\")?,
                '"' => f.write_str("\\x22")?,
                c if c.is_ascii_control() => write!(f, "\\x{:02x}", u32::from(c))?,
                c => write!(f, "{c}")?,
            }
        }
        f.write_str("\"")
    }
}
