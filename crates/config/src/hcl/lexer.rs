//! The tokens of HCL 1.

use std::fmt;

use crate::tree::{Position, Scanner, SyntaxError};

#[derive(Clone, Debug, PartialEq)]
pub(super) enum Token {
    /// A bare word: a key, `true` or `false`.
    Word(String),
    /// A quoted text or a heredoc.
    Text(String),
    Int(i64),
    Float(f64),
    Assign,
    Comma,
    OpenBrace,
    CloseBrace,
    OpenBracket,
    CloseBracket,
    End,
}

impl fmt::Display for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Token::Word(word) => f.write_str(word),
            // The text may be a secret.
            Token::Text(_) => f.write_str("a text"),
            Token::Int(number) => write!(f, "{number}"),
            Token::Float(number) => write!(f, "{number}"),
            Token::Assign => f.write_str("="),
            Token::Comma => f.write_str("a comma"),
            Token::OpenBrace => f.write_str("{"),
            Token::CloseBrace => f.write_str("}"),
            Token::OpenBracket => f.write_str("["),
            Token::CloseBracket => f.write_str("]"),
            Token::End => f.write_str("the end"),
        }
    }
}

pub(super) struct Lexer<'a> {
    scanner: Scanner<'a>,
}

impl<'a> Lexer<'a> {
    pub(super) fn new(text: &'a str) -> Lexer<'a> {
        Lexer { scanner: Scanner::new(text) }
    }

    pub(super) fn at(&self) -> Position {
        self.scanner.at()
    }

    pub(super) fn next(&mut self) -> Result<(Position, Token), SyntaxError> {
        self.skip_space_and_comments()?;
        let at = self.scanner.at();
        let Some(c) = self.scanner.peek() else {
            return Ok((at, Token::End));
        };
        let token = match c {
            '=' => self.sign(Token::Assign),
            ',' => self.sign(Token::Comma),
            '{' => self.sign(Token::OpenBrace),
            '}' => self.sign(Token::CloseBrace),
            '[' => self.sign(Token::OpenBracket),
            ']' => self.sign(Token::CloseBracket),
            '"' => Token::Text(self.quoted()?),
            '<' => Token::Text(self.heredoc()?),
            '-' | '0'..='9' => self.number()?,
            c if c.is_alphabetic() || c == '_' => Token::Word(
                self.scanner
                    .take_while(|c| c.is_alphanumeric() || matches!(c, '_' | '-' | '.'))
                    .to_owned(),
            ),
            c => return self.scanner.error(format!("unexpected character {c:?}")),
        };
        Ok((at, token))
    }

    fn sign(&mut self, token: Token) -> Token {
        self.scanner.bump();
        token
    }

    fn skip_space_and_comments(&mut self) -> Result<(), SyntaxError> {
        loop {
            self.scanner.take_while(|c| matches!(c, ' ' | '\t' | '\r' | '\n'));
            let rest = self.scanner.rest();
            if rest.starts_with('#') || rest.starts_with("//") {
                self.scanner.take_while(|c| c != '\n');
            } else if rest.starts_with("/*") {
                let Some(length) = rest.find("*/") else {
                    return self.scanner.error("the comment is not closed by */");
                };
                let after = rest.len() - length - "*/".len();
                while self.scanner.rest().len() > after {
                    self.scanner.bump();
                }
            } else {
                return Ok(());
            }
        }
    }

    fn number(&mut self) -> Result<Token, SyntaxError> {
        let at = self.scanner.at();
        let start = self.scanner.rest();
        self.scanner.eat('-');
        let is_hex = self.scanner.rest().starts_with("0x") || self.scanner.rest().starts_with("0X");
        let mut is_integer = true;
        if is_hex {
            self.scanner.bump();
            self.scanner.bump();
            self.scanner.take_while(|c| c.is_ascii_hexdigit());
        } else {
            self.scanner.take_while(|c| c.is_ascii_digit());
            if self.scanner.eat('.') {
                is_integer = false;
                self.scanner.take_while(|c| c.is_ascii_digit());
            }
            if self.scanner.eat('e') || self.scanner.eat('E') {
                is_integer = false;
                let _ = self.scanner.eat('+') || self.scanner.eat('-');
                self.scanner.take_while(|c| c.is_ascii_digit());
            }
        }
        let text = start.get(..start.len() - self.scanner.rest().len()).unwrap_or_default();
        let number = if is_integer {
            integer(text).map(Token::Int)
        } else {
            text.parse().ok().filter(|number: &f64| number.is_finite()).map(Token::Float)
        };
        number.ok_or_else(|| SyntaxError {
            at,
            message: format!("{text} is no number, or out of range"),
        })
    }

    /// A text in double quotes. Inside `${…}` everything is literal, quotes and newlines too.
    fn quoted(&mut self) -> Result<String, SyntaxError> {
        let at = self.scanner.at();
        let unclosed =
            || SyntaxError { at, message: "the text is not closed by a double quote".to_owned() };
        self.scanner.bump();
        let mut out = String::new();
        let mut braces = 0_usize;
        loop {
            let escape_at = self.scanner.at();
            let c = self.scanner.bump().ok_or_else(unclosed)?;
            if braces > 0 {
                match c {
                    '{' => braces += 1,
                    '}' => braces -= 1,
                    _ => {}
                }
                out.push(c);
                continue;
            }
            match c {
                '"' => return Ok(out),
                '\n' => return Err(unclosed()),
                '\\' => out.push(self.escape(escape_at)?),
                '$' if self.scanner.eat('{') => {
                    out.push_str("${");
                    braces = 1;
                }
                c => out.push(c),
            }
        }
    }

    fn escape(&mut self, at: Position) -> Result<char, SyntaxError> {
        let unknown = || SyntaxError {
            at,
            message: "unknown escape in the text; write \\\\ for a backslash".to_owned(),
        };
        let code = match self.scanner.bump().ok_or_else(unknown)? {
            'a' => 0x07,
            'b' => 0x08,
            'f' => 0x0c,
            'n' => 0x0a,
            'r' => 0x0d,
            't' => 0x09,
            'v' => 0x0b,
            c @ ('\\' | '"') => u32::from(c),
            'x' => self.digits(0, 2, 16).ok_or_else(unknown)?,
            'u' => self.digits(0, 4, 16).ok_or_else(unknown)?,
            'U' => self.digits(0, 8, 16).ok_or_else(unknown)?,
            c @ '0'..='7' => {
                self.digits(c.to_digit(8).unwrap_or_default(), 2, 8).ok_or_else(unknown)?
            }
            _ => return Err(unknown()),
        };
        char::from_u32(code).ok_or_else(unknown)
    }

    fn digits(&mut self, start: u32, count: usize, base: u32) -> Option<u32> {
        let mut value = start;
        for _ in 0..count {
            let digit = self.scanner.peek()?.to_digit(base)?;
            self.scanner.bump();
            value = value.checked_mul(base)?.checked_add(digit)?;
        }
        Some(value)
    }

    /// Lines between `<<MARK` and a line that is `MARK`. With `<<-MARK` the closing mark may be
    /// indented, and its indentation is taken off all lines if all have it.
    fn heredoc(&mut self) -> Result<String, SyntaxError> {
        let at = self.scanner.at();
        let fail = |message: String| Err(SyntaxError { at, message });
        self.scanner.bump();
        if !self.scanner.eat('<') {
            return fail("unexpected character '<'".to_owned());
        }
        let is_indented = self.scanner.eat('-');
        let mark = self.scanner.take_while(|c| c.is_alphanumeric() || c == '_').to_owned();
        self.scanner.eat('\r');
        if mark.is_empty() || !self.scanner.eat('\n') {
            return fail("a heredoc opens with << and a word at the end of the line".to_owned());
        }
        let mut lines = Vec::new();
        loop {
            if self.scanner.peek().is_none() {
                return fail(format!("the heredoc is not closed by a line {mark}"));
            }
            let line = self.scanner.take_while(|c| c != '\n');
            let is_last = !self.scanner.eat('\n');
            let bare = line.strip_suffix('\r').unwrap_or(line);
            let closing = if is_indented { bare.trim_start_matches([' ', '\t']) } else { bare };
            if closing == mark {
                let indentation = bare.strip_suffix(&mark).unwrap_or_default();
                return Ok(unindent(&lines, indentation));
            }
            lines.push(line);
            if is_last {
                return fail(format!("the heredoc is not closed by a line {mark}"));
            }
        }
    }
}

fn unindent(lines: &[&str], indentation: &str) -> String {
    let is_shared = lines.iter().all(|line| line.starts_with(indentation));
    let mut out = String::new();
    for line in lines {
        out.push_str(if is_shared { line.strip_prefix(indentation).unwrap_or(line) } else { line });
        out.push('\n');
    }
    out
}

/// Decimal, `0x` hexadecimal or `0` octal, as Go reads integers of base zero.
fn integer(text: &str) -> Option<i64> {
    let (negative, digits) = match text.strip_prefix('-') {
        Some(digits) => (true, digits),
        None => (false, text),
    };
    let lower = digits.to_ascii_lowercase();
    let magnitude = match lower.strip_prefix("0x") {
        Some(hex) => i128::from_str_radix(hex, 16),
        None if lower.len() > 1 && lower.starts_with('0') => i128::from_str_radix(&lower, 8),
        None => lower.parse(),
    };
    magnitude
        .ok()
        .and_then(|magnitude| i64::try_from(if negative { -magnitude } else { magnitude }).ok())
}
