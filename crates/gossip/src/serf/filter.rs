//! Whom a query is for: nodes by name, or by an expression over a tag's value.

use std::collections::{BTreeMap, BTreeSet};

use regex::RegexBuilder;

use crate::wire::WireError;
use crate::wire::message::read_name;
use crate::wire::msgpack::{Reader, Writer};

const NODES: u8 = 0;
const TAG: u8 = 1;
/// Most names in one filter: more do not fit into a query.
const NODES_MAX: usize = 1024;
/// Longest expression, which is as much as a query holds.
const EXPRESSION_BYTES_MAX: usize = 1024;
/// Most memory of a compiled expression: a stranger wrote it.
const COMPILED_BYTES_MAX: usize = 256 << 10;

/// One condition; a query's conditions must all hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Filter {
    Nodes(BTreeSet<String>),
    Tag { tag: String, expression: String },
}

impl Filter {
    /// Whether a node of that name and tags is meant. An expression that does not compile means nobody.
    pub fn matches(&self, name: &str, tags: &BTreeMap<String, String>) -> bool {
        match self {
            Filter::Nodes(nodes) => nodes.contains(name),
            Filter::Tag { tag, expression } => {
                if expression.len() > EXPRESSION_BYTES_MAX {
                    return false;
                }
                let compiled = RegexBuilder::new(expression)
                    .size_limit(COMPILED_BYTES_MAX)
                    .dfa_size_limit(COMPILED_BYTES_MAX)
                    .build();
                let value = tags.get(tag).map(String::as_str).unwrap_or_default();
                compiled.is_ok_and(|compiled| compiled.is_match(value))
            }
        }
    }

    pub(crate) fn encode(&self) -> Vec<u8> {
        match self {
            Filter::Nodes(nodes) => {
                let mut writer = Writer::with_type(NODES);
                writer.array(nodes.len());
                for node in nodes {
                    writer.raw(node);
                }
                writer.finish()
            }
            Filter::Tag { tag, expression } => {
                let mut writer = Writer::with_type(TAG);
                writer.map(2);
                writer.raw("Expr");
                writer.raw(expression);
                writer.raw("Tag");
                writer.raw(tag);
                writer.finish()
            }
        }
    }

    pub(crate) fn decode(bytes: &[u8]) -> Result<Filter, WireError> {
        let mut reader = Reader::new(bytes);
        match reader.byte()? {
            NODES => {
                let count = reader.array_length()?;
                if count > NODES_MAX {
                    return Err(WireError::TooLarge);
                }
                let mut nodes = BTreeSet::new();
                for _ in 0..count {
                    nodes.insert(read_name(&mut reader)?);
                }
                Ok(Filter::Nodes(nodes))
            }
            TAG => {
                let (mut tag, mut expression) = (String::new(), String::new());
                reader.map(|key, reader| {
                    match key {
                        b"Tag" => tag = reader.text()?,
                        b"Expr" => expression = reader.text()?,
                        _ => return Ok(false),
                    }
                    Ok(true)
                })?;
                Ok(Filter::Tag { tag, expression })
            }
            other => Err(WireError::UnknownType(other)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn filters() {
        let tags = BTreeMap::from([("role".to_owned(), "consul".to_owned())]);
        let tag = |tag: &str, expression: &str| Filter::Tag {
            tag: tag.into(),
            expression: expression.into(),
        };
        let check = |filter: Filter, want| {
            assert_eq!(filter.matches("a", &tags), want, "{filter:?}");
            assert_eq!(Filter::decode(&filter.encode()), Ok(filter));
        };
        check(Filter::Nodes(["a".to_owned(), "b".to_owned()].into()), true);
        check(Filter::Nodes(["b".to_owned()].into()), false);
        check(tag("role", "^con"), true);
        check(tag("role", "^sul"), false);
        check(tag("none", "^$"), true);
        check(tag("role", "("), false);
        check(tag("role", "(((a{99}){99}){99})"), false);
    }
}
