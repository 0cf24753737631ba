//! Recursive descent over a filter text, with ordered choice: the first form that fits wins.
//!
//! Consul's parser is generated from a grammar and reports, as such parsers do, the farthest
//! position where something was expected together with all that was expected there. Scripts and
//! tests compare those texts, so this parser keeps the same book: every failed terminal is noted in
//! [`Parser::expect`], and two alternatives are tried in the order of that grammar. Errors in
//! literals do not stop it; all of them are reported, one a line.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use crate::expression::{Expression, Match, Operator};
use crate::go;

/// Longest accepted text. A filter comes in a URL, whose length the HTTP edge bounds more tightly;
/// this bounds the other doors.
pub const EXPRESSION_BYTES_MAX: usize = 64 * 1024;

/// Deepest nesting of parentheses and `not`. Humans write three; the bound keeps the recursion off
/// the stack's end.
pub const DEPTH_MAX: usize = 64;

/// Why a text is no filter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ParseError {
    /// Longer than [`EXPRESSION_BYTES_MAX`].
    TooLong,
    /// Nested deeper than [`DEPTH_MAX`].
    TooDeep,
    /// Not of the language: line, column and byte offset, and what was expected; several lines at
    /// most.
    Syntax(String),
}

impl fmt::Display for ParseError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ParseError::TooLong => {
                write!(f, "expression is longer than {EXPRESSION_BYTES_MAX} bytes")
            }
            ParseError::TooDeep => write!(f, "expression is nested deeper than {DEPTH_MAX} levels"),
            ParseError::Syntax(text) => f.write_str(text),
        }
    }
}

impl std::error::Error for ParseError {}

pub(crate) fn parse(text: &str) -> Result<Expression, ParseError> {
    if text.len() > EXPRESSION_BYTES_MAX {
        return Err(ParseError::TooLong);
    }
    let mut parser = Parser {
        text,
        at: 0,
        farthest: 0,
        expected: BTreeSet::new(),
        errors: Vec::new(),
        disjunctions: BTreeMap::new(),
        depth: 0,
        is_too_deep: false,
    };
    let found = parser.input();
    if parser.is_too_deep {
        return Err(ParseError::TooDeep);
    }
    match found {
        Some(expression) if parser.errors.is_empty() => Ok(expression),
        _ => Err(ParseError::Syntax(parser.explain())),
    }
}

struct Parser<'a> {
    text: &'a str,
    at: usize,
    /// The farthest offset where a terminal did not fit, and the terminals tried there.
    farthest: usize,
    expected: BTreeSet<&'static str>,
    /// Errors with a text of their own, in order of discovery, each once.
    errors: Vec<String>,
    /// What [`Parser::disjunction`] found at an offset, so that going back costs nothing: without
    /// it, unclosed parentheses take time exponential in their number.
    disjunctions: BTreeMap<usize, Option<(Expression, usize)>>,
    depth: usize,
    is_too_deep: bool,
}

impl Parser<'_> {
    fn input(&mut self) -> Option<Expression> {
        self.attempt(|p| {
            p.skip_space();
            p.literal("(", "\"(\"")?;
            p.skip_space();
            let inner = p.disjunction()?;
            p.skip_space();
            p.literal(")", "\")\"")?;
            p.end().then_some(inner)
        })
        .or_else(|| {
            self.attempt(|p| {
                p.skip_space();
                let whole = p.disjunction()?;
                p.end().then_some(whole)
            })
        })
    }

    fn end(&mut self) -> bool {
        self.skip_space();
        if self.at < self.text.len() {
            self.expect("EOF");
        }
        self.at == self.text.len()
    }

    fn disjunction(&mut self) -> Option<Expression> {
        let start = self.at;
        if let Some(known) = self.disjunctions.get(&start) {
            let (expression, end) = known.clone()?;
            self.at = end;
            return Some(expression);
        }
        let found = self.chain("or", "\"or\"", Expression::Or, Self::conjunction);
        self.disjunctions.insert(start, found.clone().map(|expression| (expression, self.at)));
        found
    }

    fn conjunction(&mut self) -> Option<Expression> {
        self.chain("and", "\"and\"", Expression::And, Self::negation)
    }

    /// One or more `term`s with `word` between them.
    fn chain(
        &mut self,
        word: &str,
        shown: &'static str,
        build: fn(Vec<Expression>) -> Expression,
        term: fn(&mut Self) -> Option<Expression>,
    ) -> Option<Expression> {
        let first = term(self)?;
        let mut terms = vec![first];
        while let Some(next) = self.attempt(|p| {
            p.space()?;
            p.literal(word, shown)?;
            p.space()?;
            term(p)
        }) {
            terms.push(next);
        }
        if terms.len() == 1 { terms.pop() } else { Some(build(terms)) }
    }

    fn negation(&mut self) -> Option<Expression> {
        self.nested(|p| {
            p.attempt(|p| {
                p.literal("not", "\"not\"")?;
                p.space()?;
                Some(Expression::Not(Box::new(p.negation()?)))
            })
        })
        .or_else(|| self.group())
    }

    fn group(&mut self) -> Option<Expression> {
        let open = |p: &mut Self| {
            p.literal("(", "\"(\"")?;
            p.skip_space();
            let inner = p.disjunction()?;
            p.skip_space();
            Some(inner)
        };
        self.nested(|p| {
            p.attempt(|p| {
                let inner = open(p)?;
                p.literal(")", "\")\"")?;
                Some(inner)
            })
        })
        .or_else(|| self.comparison().map(Expression::Match))
        .or_else(|| {
            self.nested(|p| {
                p.attempt(|p| {
                    open(p)?;
                    p.error("grouping", "Unmatched parentheses");
                    None
                })
            })
        })
    }

    fn comparison(&mut self) -> Option<Match> {
        self.attempt(|p| {
            let selector = p.selector()?;
            let operator = p.operator_with_value()?;
            let value = p.value()?;
            Some(Match { selector, operator, value })
        })
        .or_else(|| {
            self.attempt(|p| {
                let selector = p.selector()?;
                let operator = p.emptiness()?;
                Some(Match { selector, operator, value: String::new() })
            })
        })
        .or_else(|| {
            self.attempt(|p| {
                let value = p.value()?;
                let operator = p.membership()?;
                match p.selector() {
                    Some(selector) => Some(Match { selector, operator, value }),
                    None => {
                        p.error("match", "Invalid selector");
                        None
                    }
                }
            })
        })
    }

    fn operator_with_value(&mut self) -> Option<Operator> {
        let symbol = |p: &mut Self, sign: &str, shown: &'static str| {
            p.attempt(|p| {
                p.skip_space();
                p.literal(sign, shown)?;
                p.skip_space();
                Some(())
            })
        };
        symbol(self, "==", "\"==\"")
            .map(|()| Operator::Equal)
            .or_else(|| symbol(self, "!=", "\"!=\"").map(|()| Operator::NotEqual))
            .or_else(|| self.words(&[("contains", "\"contains\"")], Operator::In))
            .or_else(|| {
                self.words(&[("not", "\"not\""), ("contains", "\"contains\"")], Operator::NotIn)
            })
            .or_else(|| self.words(&[("matches", "\"matches\"")], Operator::Matches))
            .or_else(|| {
                self.words(&[("not", "\"not\""), ("matches", "\"matches\"")], Operator::NotMatches)
            })
    }

    fn membership(&mut self) -> Option<Operator> {
        self.words(&[("in", "\"in\"")], Operator::In)
            .or_else(|| self.words(&[("not", "\"not\""), ("in", "\"in\"")], Operator::NotIn))
    }

    /// The emptiness tests, which no space need follow.
    fn emptiness(&mut self) -> Option<Operator> {
        self.attempt(|p| {
            p.word("is", "\"is\"")?;
            p.word("empty", "\"empty\"")?;
            Some(Operator::IsEmpty)
        })
        .or_else(|| {
            self.attempt(|p| {
                p.word("is", "\"is\"")?;
                p.word("not", "\"not\"")?;
                p.word("empty", "\"empty\"")?;
                Some(Operator::IsNotEmpty)
            })
        })
    }

    /// Words each with space before it, and space after the last.
    fn words(&mut self, words: &[(&str, &'static str)], operator: Operator) -> Option<Operator> {
        self.attempt(|p| {
            for (word, shown) in words {
                p.word(word, shown)?;
            }
            p.space()?;
            Some(operator)
        })
    }

    fn word(&mut self, word: &str, shown: &'static str) -> Option<()> {
        self.space()?;
        self.literal(word, shown)
    }

    fn selector(&mut self) -> Option<Vec<String>> {
        let mut parts = vec![self.identifier()?];
        loop {
            let part = self
                .attempt(|p| {
                    p.literal(".", "\".\"")?;
                    p.identifier()
                })
                .or_else(|| self.index());
            match part {
                Some(part) => parts.push(part),
                None => return Some(parts),
            }
        }
    }

    fn identifier(&mut self) -> Option<String> {
        let start = self.at;
        self.byte("[a-zA-Z]", |b| b.is_ascii_alphabetic())?;
        while self.byte("[a-zA-Z0-9_]", |b| b.is_ascii_alphanumeric() || b == b'_').is_some() {}
        self.text.get(start..self.at).map(str::to_owned)
    }

    fn index(&mut self) -> Option<String> {
        self.attempt(|p| {
            p.literal("[", "\"[\"")?;
            p.skip_space();
            let Some(key) = p.string() else {
                p.error("index", "Invalid index");
                return None;
            };
            p.skip_space();
            if p.literal("]", "\"]\"").is_none() {
                p.error("index", "Unclosed index expression");
                return None;
            }
            Some(key)
        })
    }

    /// A bare word stands for itself; several with dots or indexes between them are joined by dots.
    fn value(&mut self) -> Option<String> {
        self.selector()
            .map(|parts| parts.join("."))
            .or_else(|| self.number())
            .or_else(|| self.string())
    }

    fn number(&mut self) -> Option<String> {
        self.attempt(|p| {
            let start = p.at;
            // A missing minus is noted as expected, like every terminal.
            let _ = p.literal("-", "\"-\"");
            if p.literal("0", "\"0\"").is_none() {
                p.byte("[1-9]", |b| matches!(b, b'1'..=b'9'))?;
                while p.byte("[0-9]", |b| b.is_ascii_digit()).is_some() {}
            }
            p.attempt(|p| {
                p.literal(".", "\".\"")?;
                p.byte("[0-9]", |b| b.is_ascii_digit())?;
                while p.byte("[0-9]", |b| b.is_ascii_digit()).is_some() {}
                Some(())
            });
            if !p.is_number_over() {
                p.error("number", "Invalid number literal");
                return None;
            }
            p.text.get(start..p.at).map(str::to_owned)
        })
    }

    fn is_number_over(&mut self) -> bool {
        let start = self.at;
        let space = self.space();
        self.at = start;
        if space.is_some() || start == self.text.len() {
            return true;
        }
        self.expect("EOF");
        let is_closed = self.literal(")", "\")\"").is_some();
        self.at = start;
        is_closed
    }

    fn string(&mut self) -> Option<String> {
        let start = self.at;
        let quote = if self.literal("`", "\"`\"").is_some() {
            '`'
        } else {
            self.literal("\"", "\"\\\"\"")?;
            '"'
        };
        let Some(length) = self.rest().find(quote) else {
            self.at = self.text.len();
            self.error("string", "Unterminated string literal");
            self.at = start;
            return None;
        };
        let end = self.at + length + quote.len_utf8();
        let literal = self.text.get(start..end).unwrap_or_default();
        let value = go::unquote(literal);
        if value.is_none() {
            self.at = start;
            self.error("string", "invalid syntax");
        }
        self.at = end;
        Some(value.unwrap_or_default())
    }

    fn space(&mut self) -> Option<()> {
        let is_space = |b| matches!(b, b' ' | b'\t' | b'\r' | b'\n');
        self.byte("[ \\t\\r\\n]", is_space)?;
        while self.byte("[ \\t\\r\\n]", is_space).is_some() {}
        Some(())
    }

    fn skip_space(&mut self) {
        let _ = self.space();
    }

    fn literal(&mut self, text: &str, shown: &'static str) -> Option<()> {
        if self.rest().starts_with(text) {
            self.at += text.len();
            Some(())
        } else {
            self.expect(shown);
            None
        }
    }

    fn byte(&mut self, shown: &'static str, fits: impl Fn(u8) -> bool) -> Option<()> {
        match self.text.as_bytes().get(self.at) {
            Some(b) if fits(*b) => {
                self.at += 1;
                Some(())
            }
            _ => {
                self.expect(shown);
                None
            }
        }
    }

    fn rest(&self) -> &str {
        self.text.get(self.at..).unwrap_or_default()
    }

    /// Runs `form` and goes back to where it started if it does not fit.
    fn attempt<T>(&mut self, form: impl FnOnce(&mut Self) -> Option<T>) -> Option<T> {
        let start = self.at;
        let found = form(self);
        if found.is_none() {
            self.at = start;
        }
        found
    }

    fn nested<T>(&mut self, form: impl FnOnce(&mut Self) -> Option<T>) -> Option<T> {
        if self.is_too_deep || self.depth == DEPTH_MAX {
            self.is_too_deep = true;
            return None;
        }
        self.depth += 1;
        let found = form(self);
        self.depth -= 1;
        found
    }

    fn expect(&mut self, shown: &'static str) {
        if self.at > self.farthest {
            self.farthest = self.at;
            self.expected.clear();
        }
        if self.at == self.farthest {
            self.expected.insert(shown);
        }
    }

    fn error(&mut self, rule: &str, text: &str) {
        let line = format!("{}: rule \"{rule}\": {text}", Position::of(self.text, self.at));
        if !self.errors.contains(&line) {
            self.errors.push(line);
        }
    }

    fn explain(&self) -> String {
        if !self.errors.is_empty() {
            return self.errors.join("\n");
        }
        let mut shown: Vec<&str> = self.expected.iter().copied().filter(|e| *e != "EOF").collect();
        if self.expected.contains("EOF") {
            shown.push("EOF");
        }
        let list = match shown.split_last() {
            Some((last, [])) => (*last).to_owned(),
            Some((last, others)) => format!("{} or {last}", others.join(", ")),
            None => String::new(),
        };
        format!("{}: no match found, expected: {list}", Position::of(self.text, self.farthest))
    }
}

/// Line and column in characters, both from one, and the byte offset from zero.
struct Position {
    line: usize,
    column: usize,
    offset: usize,
}

impl Position {
    /// A newline counts as column zero of the line it opens.
    fn of(text: &str, offset: usize) -> Position {
        let mut position = Position { line: 1, column: 0, offset };
        let through = text.char_indices().take_while(|(i, _)| *i <= offset);
        for (_, c) in through {
            if c == '\n' {
                position.line += 1;
                position.column = 0;
            } else {
                position.column += 1;
            }
        }
        if offset >= text.len() {
            position.column += 1;
        }
        position
    }
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{} ({})", self.line, self.column, self.offset)
    }
}
