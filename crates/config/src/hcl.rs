//! HCL, version 1, to the value tree: the language of Consul's agent files and config entries.
//!
//! Labels of a block become nested objects, repeated blocks a list, a repeated list attribute one
//! longer list, and a repeated scalar its last value. An input that opens with `{` is JSON. `${…}`
//! is kept literally. What differs from HCL 2 and made other readers refuse real files: several
//! attributes on one line, commas after attributes, quoted keys, hexadecimal and octal numbers.
//!
//! Source: the behaviour of `consul validate` 1.8.7 on odd files. Stricter than it in one way: an
//! attribute without a value at the end of the file is an error here and nothing there.

mod lexer;
#[cfg(test)]
mod tests;

use lexer::{Lexer, Token};

use crate::json;
use crate::tree::{DEPTH_MAX, Node, Object, Position, SyntaxError, Value};

/// Reads a whole input; the answer is always an object.
pub fn parse(input: &[u8]) -> Result<Node, SyntaxError> {
    let text = json::decode(input)?;
    if text.trim_start_matches('\u{feff}').trim_start().starts_with('{') {
        return json::parse(input);
    }
    let mut parser = Parser { lexer: Lexer::new(&text), ahead: None, depth: 0 };
    let at = parser.lexer.at();
    let object = parser.body(End::Input)?;
    Ok(Node { value: Value::Object(object), at })
}

struct Parser<'a> {
    lexer: Lexer<'a>,
    /// The token seen but not taken.
    ahead: Option<(Position, Token)>,
    depth: usize,
}

/// What closes a body.
#[derive(Clone, Copy, PartialEq)]
enum End {
    Input,
    Brace,
}

impl Parser<'_> {
    fn next(&mut self) -> Result<(Position, Token), SyntaxError> {
        match self.ahead.take() {
            Some(ahead) => Ok(ahead),
            None => self.lexer.next(),
        }
    }

    fn peek(&mut self) -> Result<&Token, SyntaxError> {
        if self.ahead.is_none() {
            self.ahead = Some(self.lexer.next()?);
        }
        Ok(self.ahead.as_ref().map_or(&Token::End, |(_, token)| token))
    }

    /// The attributes and blocks up to `end`, which is taken.
    fn body(&mut self, end: End) -> Result<Object, SyntaxError> {
        let mut object = Object::default();
        loop {
            let (at, token) = self.next()?;
            let name = match token {
                Token::Word(name) | Token::Text(name) => name,
                Token::End if end == End::Input => return Ok(object),
                Token::CloseBrace if end == End::Brace => return Ok(object),
                Token::End => {
                    return fail(at, "expected } to close the block opened above, found the end");
                }
                other => return fail(at, format!("expected a key, found {other}")),
            };
            let node = self.after_key(&name, at)?;
            add(&mut object, name, node);
            // A comma may follow; `{ a = 1, b = 2 }`.
            if *self.peek()? == Token::Comma {
                self.next()?;
            }
        }
    }

    /// What follows a key: `= value`, or labels and a block.
    fn after_key(&mut self, key: &str, key_at: Position) -> Result<Node, SyntaxError> {
        let (at, token) = self.next()?;
        match token {
            Token::Assign => self.value(key),
            Token::OpenBrace => self.block(at),
            Token::Word(label) | Token::Text(label) => self.nested(at, |parser| {
                let inner = parser.after_label(key, &label, key_at)?;
                let mut object = Object::default();
                object.insert(label, inner);
                Ok(Value::Object(object))
            }),
            other => fail(at, format!("expected = or {{ after {key}, found {other}")),
        }
    }

    fn after_label(
        &mut self,
        key: &str,
        label: &str,
        key_at: Position,
    ) -> Result<Node, SyntaxError> {
        if *self.peek()? == Token::Assign {
            return fail(
                key_at,
                format!("{key} {label:?} has a label and must open a block, not be assigned"),
            );
        }
        self.after_key(label, key_at)
    }

    fn block(&mut self, at: Position) -> Result<Node, SyntaxError> {
        self.nested(at, |parser| parser.body(End::Brace).map(Value::Object))
    }

    fn value(&mut self, key: &str) -> Result<Node, SyntaxError> {
        let (at, token) = self.next()?;
        let value = match token {
            Token::Text(text) => Value::Text(text),
            Token::Int(number) => Value::Int(number),
            Token::Float(number) => Value::Float(number),
            Token::Word(word) if word == "true" => Value::Bool(true),
            Token::Word(word) if word == "false" => Value::Bool(false),
            Token::Word(word) => {
                return fail(at, format!("{word} is no value for {key}; text needs double quotes"));
            }
            Token::OpenBrace => return self.block(at),
            Token::OpenBracket => {
                return self.nested(at, |parser| parser.list(key).map(Value::List));
            }
            other => return fail(at, format!("expected a value for {key}, found {other}")),
        };
        Ok(Node { value, at })
    }

    fn list(&mut self, key: &str) -> Result<Vec<Node>, SyntaxError> {
        let mut list = Vec::new();
        loop {
            // Commas may be repeated and may stand first or last.
            while *self.peek()? == Token::Comma {
                self.next()?;
            }
            if *self.peek()? == Token::CloseBracket {
                self.next()?;
                return Ok(list);
            }
            if *self.peek()? == Token::End {
                return fail(self.next()?.0, format!("the list {key} is not closed by ]"));
            }
            list.push(self.value(key)?);
            if !matches!(self.peek()?, Token::Comma | Token::CloseBracket) {
                let (at, token) = self.next()?;
                return fail(at, format!("expected a comma or ] in the list {key}, found {token}"));
            }
        }
    }

    fn nested(
        &mut self,
        at: Position,
        form: impl FnOnce(&mut Self) -> Result<Value, SyntaxError>,
    ) -> Result<Node, SyntaxError> {
        if self.depth == DEPTH_MAX {
            return fail(at, format!("nested deeper than {DEPTH_MAX} levels"));
        }
        self.depth += 1;
        let value = form(self)?;
        self.depth -= 1;
        Ok(Node { value, at })
    }
}

/// Adds what is written once more to what is there.
fn add(object: &mut Object, name: String, node: Node) {
    let Some(known) = object.get_mut(&name) else {
        object.insert(name, node);
        return;
    };
    match (&mut known.value, node.value) {
        (Value::List(list), Value::List(more)) => list.extend(more),
        (Value::List(list), value @ Value::Object(_)) => list.push(Node { value, at: node.at }),
        (Value::Object(first), value @ Value::Object(_)) => {
            let first = Node { value: Value::Object(std::mem::take(first)), at: known.at };
            known.value = Value::List(vec![first, Node { value, at: node.at }]);
        }
        (_, value) => *known = Node { value, at: node.at },
    }
}

fn fail<T>(at: Position, message: impl Into<String>) -> Result<T, SyntaxError> {
    Err(SyntaxError { at, message: message.into() })
}
