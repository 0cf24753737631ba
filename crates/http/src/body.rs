//! Request bodies: JSON as Go's `encoding/json` reads it. Keys match in any letter case, `null`
//! leaves the default, and mistakes are told in the words tools know.

use std::fmt;

use config::json;
use config::tree::{Node, Object, Value};
use serde::de::value::StrDeserializer;
use serde::de::{self, DeserializeOwned, DeserializeSeed, IntoDeserializer as _, Visitor};

/// How a body is read.
#[derive(Clone, Copy)]
pub(crate) struct Rules {
    /// What Go calls the type of the whole body where a field of it is wrong; empty for a type
    /// without name.
    pub(crate) owner: &'static str,
    /// What Go calls it where the body itself is.
    pub(crate) type_name: &'static str,
    /// Whether keys nobody knows are refused.
    pub(crate) refuses_unknown: bool,
}

/// Reads `bytes`. Errors: the text that follows `Request decode failed: `.
pub(crate) fn decode<T: DeserializeOwned>(bytes: &[u8], rules: Rules) -> Result<T, String> {
    let node = json::parse_body(bytes).map_err(|error| error.message)?;
    let place = Place { parent: None, name: "", owner: rules.owner };
    let item = Item { node: &node, place: &place, rules: &rules };
    T::deserialize(item).map_err(|BodyError(text)| text)
}

/// Whether `bytes` give `null` for `name`, which for a few fields is not the same as nothing.
pub(crate) fn has_null(bytes: &[u8], name: &str) -> bool {
    let Ok(Node { value: Value::Object(object), .. }) = json::parse_body(bytes) else {
        return false;
    };
    object.iter().any(|(key, node)| key.eq_ignore_ascii_case(name) && node.value == Value::Null)
}

#[derive(Debug)]
struct BodyError(String);

impl fmt::Display for BodyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for BodyError {}

impl de::Error for BodyError {
    fn custom<T: fmt::Display>(message: T) -> Self {
        Self(message.to_string())
    }
}

/// Where a value stands: the names of the fields that lead to it.
struct Place<'a> {
    parent: Option<&'a Place<'a>>,
    name: &'a str,
    /// Type of the innermost record around it.
    owner: &'static str,
}

impl Place<'_> {
    fn is_root(&self) -> bool {
        self.parent.is_none()
    }

    fn path(&self) -> String {
        match self.parent {
            None => String::new(),
            Some(parent) if parent.is_root() || self.name.is_empty() => {
                format!("{}{}", parent.path(), self.name)
            }
            Some(parent) => format!("{}.{}", parent.path(), self.name),
        }
    }
}

struct Item<'a> {
    node: &'a Node,
    place: &'a Place<'a>,
    rules: &'a Rules,
}

/// Records that Go reads by a method of their own, which knows nothing of the strictness around it.
const LENIENT: [&str; 1] = ["HealthCheckDefinition"];

impl<'a> Item<'a> {
    fn refuses_unknown(&self, record: &str) -> bool {
        self.rules.refuses_unknown && !LENIENT.contains(&record)
    }

    fn mismatch(&self, wanted: &str) -> BodyError {
        let found = match &self.node.value {
            Value::Null => "null",
            Value::Bool(_) => "bool",
            Value::Int(_) | Value::Float(_) => "number",
            Value::Text(_) => "string",
            Value::List(_) => "array",
            Value::Object(_) => "object",
        };
        self.refuse(found, wanted)
    }

    fn refuse(&self, found: &str, wanted: &str) -> BodyError {
        let into = match self.place.is_root() {
            true => format!("Go value of type {}", self.rules.type_name),
            false => {
                let Place { owner, .. } = self.place;
                format!("Go struct field {owner}.{} of type {wanted}", self.place.path())
            }
        };
        BodyError(format!("json: cannot unmarshal {found} into {into}"))
    }

    fn object(&self, wanted: &str) -> Result<Option<&'a Object>, BodyError> {
        match &self.node.value {
            Value::Object(object) => Ok(Some(object)),
            Value::Null => Ok(None),
            _ => Err(self.mismatch(wanted)),
        }
    }
}

/// Whole numbers, each with Go's word for the type.
macro_rules! whole_numbers {
    ($($method:ident $word:literal),+) => {$(
        fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, BodyError> {
            match self.node.value {
                Value::Null => visitor.visit_u64(0),
                Value::Int(number) => {
                    let result = match u64::try_from(number) {
                        Ok(number) => visitor.visit_u64::<BodyError>(number),
                        Err(_) => visitor.visit_i64(number),
                    };
                    result.map_err(|_| self.refuse(&format!("number {number}"), $word))
                }
                _ => Err(self.mismatch($word)),
            }
        }
    )+};
}

macro_rules! texts {
    ($($method:ident),+) => {$(
        fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, BodyError> {
            match &self.node.value {
                Value::Text(text) => visitor.visit_str(text),
                Value::Null => visitor.visit_str(""),
                _ => Err(self.mismatch("string")),
            }
        }
    )+};
}

impl<'de> de::Deserializer<'de> for Item<'_> {
    type Error = BodyError;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, BodyError> {
        match &self.node.value {
            Value::Null => visitor.visit_unit(),
            Value::Bool(truth) => visitor.visit_bool(*truth),
            Value::Int(number) => visitor.visit_i64(*number),
            Value::Float(number) => visitor.visit_f64(*number),
            Value::Text(text) => visitor.visit_str(text),
            Value::List(_) => self.deserialize_seq(visitor),
            Value::Object(_) => self.deserialize_map(visitor),
        }
    }

    fn deserialize_bool<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, BodyError> {
        match self.node.value {
            Value::Bool(truth) => visitor.visit_bool(truth),
            Value::Null => visitor.visit_bool(false),
            _ => Err(self.mismatch("bool")),
        }
    }

    whole_numbers!(
        deserialize_i8 "int", deserialize_i16 "int", deserialize_i32 "int",
        deserialize_i64 "int64", deserialize_u8 "int", deserialize_u16 "int",
        deserialize_u32 "int", deserialize_u64 "uint64"
    );

    fn deserialize_f32<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, BodyError> {
        self.deserialize_f64(visitor)
    }

    fn deserialize_f64<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, BodyError> {
        match self.node.value {
            Value::Int(number) => visitor.visit_f64(number as f64),
            Value::Float(number) => visitor.visit_f64(number),
            Value::Null => visitor.visit_f64(0.0),
            _ => Err(self.mismatch("float64")),
        }
    }

    texts!(
        deserialize_str,
        deserialize_string,
        deserialize_char,
        deserialize_identifier,
        deserialize_bytes,
        deserialize_byte_buf
    );

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, BodyError> {
        match self.node.value {
            Value::Null => visitor.visit_none(),
            _ => visitor.visit_some(self),
        }
    }

    fn deserialize_unit<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, BodyError> {
        visitor.visit_unit()
    }

    fn deserialize_unit_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        visitor: V,
    ) -> Result<V::Value, BodyError> {
        visitor.visit_unit()
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        visitor: V,
    ) -> Result<V::Value, BodyError> {
        // A word of its own type, whose name Go tells.
        if name == "SessionBehavior" && !matches!(self.node.value, Value::Text(_) | Value::Null) {
            return Err(self.mismatch("structs.SessionBehavior"));
        }
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, BodyError> {
        let list = match &self.node.value {
            Value::List(list) => list.as_slice(),
            Value::Null => &[],
            _ => return Err(self.mismatch("[]string")),
        };
        visitor.visit_seq(List { rest: list.iter(), place: self.place, rules: self.rules })
    }

    fn deserialize_tuple<V: Visitor<'de>>(
        self,
        _length: usize,
        visitor: V,
    ) -> Result<V::Value, BodyError> {
        self.deserialize_seq(visitor)
    }

    fn deserialize_tuple_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        _length: usize,
        visitor: V,
    ) -> Result<V::Value, BodyError> {
        self.deserialize_seq(visitor)
    }

    fn deserialize_map<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, BodyError> {
        let object = self.object("map[string]string")?;
        let pairs = object.map(|object| object.iter().collect()).unwrap_or_default();
        // Go's words name fields of records alone.
        let pairs = Pairs::new(pairs, self.place, self.place.owner, self.rules);
        visitor.visit_map(Pairs { names_fields: false, ..pairs })
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, BodyError> {
        let object = self.object(&format!("structs.{name}"))?;
        let mut known: Vec<(&str, &Node)> = Vec::new();
        let mut unknown: Option<(&str, &Node)> = None;
        for (key, node) in object.into_iter().flat_map(Object::iter) {
            let exact = fields.iter().find(|field| **field == key);
            let field =
                exact.or_else(|| fields.iter().find(|field| field.eq_ignore_ascii_case(key)));
            match field {
                Some(_) if node.value == Value::Null => {}
                Some(field) => match known.iter_mut().find(|(name, _)| name == field) {
                    // Two spellings of one key: the exact one counts.
                    Some(twice) if exact.is_some() => twice.1 = node,
                    Some(_) => {}
                    None => known.push((field, node)),
                },
                // The one that stands first in the body is told.
                None if unknown.is_none_or(|(_, first)| node.at < first.at) => {
                    unknown = Some((key, node));
                }
                None => {}
            }
        }
        if let Some((key, _)) = unknown
            && self.refuses_unknown(name)
        {
            return Err(BodyError(format!("json: unknown field {key:?}")));
        }
        let owner = if self.place.is_root() { self.rules.owner } else { name };
        visitor.visit_map(Pairs::new(known, self.place, owner, self.rules))
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        name: &'static str,
        _variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, BodyError> {
        match &self.node.value {
            Value::Text(text) => {
                let text: StrDeserializer<'_, BodyError> = text.as_str().into_deserializer();
                visitor.visit_enum(text)
            }
            _ => Err(self.mismatch(&format!("structs.{name}"))),
        }
    }

    fn deserialize_ignored_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, BodyError> {
        visitor.visit_unit()
    }
}

struct List<'a> {
    rest: std::slice::Iter<'a, Node>,
    place: &'a Place<'a>,
    rules: &'a Rules,
}

impl<'de> de::SeqAccess<'de> for List<'_> {
    type Error = BodyError;

    fn next_element_seed<T: DeserializeSeed<'de>>(
        &mut self,
        seed: T,
    ) -> Result<Option<T::Value>, BodyError> {
        let Some(node) = self.rest.next() else { return Ok(None) };
        // Elements have no name of their own; only a list as the whole body would be at the root.
        let place = Place { parent: Some(self.place), name: "", owner: self.place.owner };
        seed.deserialize(Item { node, place: &place, rules: self.rules }).map(Some)
    }
}

struct Pairs<'a> {
    rest: std::vec::IntoIter<(&'a str, &'a Node)>,
    next: Option<(&'a str, &'a Node)>,
    /// Whether the keys are fields of a record.
    names_fields: bool,
    place: &'a Place<'a>,
    owner: &'static str,
    rules: &'a Rules,
}

impl<'a> Pairs<'a> {
    fn new(
        pairs: Vec<(&'a str, &'a Node)>,
        place: &'a Place<'a>,
        owner: &'static str,
        rules: &'a Rules,
    ) -> Self {
        Self { rest: pairs.into_iter(), next: None, names_fields: true, place, owner, rules }
    }
}

impl<'de> de::MapAccess<'de> for Pairs<'_> {
    type Error = BodyError;

    fn next_key_seed<K: DeserializeSeed<'de>>(
        &mut self,
        seed: K,
    ) -> Result<Option<K::Value>, BodyError> {
        let Some((key, node)) = self.rest.next() else { return Ok(None) };
        self.next = Some((key, node));
        let key: StrDeserializer<'_, BodyError> = key.into_deserializer();
        seed.deserialize(key).map(Some)
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, BodyError> {
        let (key, node) = self.next.take().expect("a value is asked for after its key");
        let name = if self.names_fields { key } else { "" };
        let place = Place { parent: Some(self.place), name, owner: self.owner };
        seed.deserialize(Item { node, place: &place, rules: self.rules })
    }
}

#[cfg(test)]
mod tests {
    use model::catalog::RegisterRequest;

    use super::*;

    const RULES: Rules = Rules {
        owner: "RegisterRequest",
        type_name: "structs.RegisterRequest",
        refuses_unknown: true,
    };

    #[test]
    fn mistakes_are_told_as_consul_does() {
        let check = |body: &str, want: &str| {
            let read = decode::<RegisterRequest>(body.as_bytes(), RULES);
            assert_eq!(read.map(|_| ()).unwrap_err(), want, "{body}");
        };
        check("", "EOF");
        check(r#"{"Node":"#, "unexpected EOF");
        check("not json", "invalid character 'o' in literal null (expecting 'u')");
        check("[]", "json: cannot unmarshal array into Go value of type structs.RegisterRequest");
        check(
            r#"{"Node":5}"#,
            "json: cannot unmarshal number into Go struct field RegisterRequest.Node of type string",
        );
        check(
            r#"{"Service":{"Service":"s","Port":"80"}}"#,
            "json: cannot unmarshal string into Go struct field NodeService.Service.Port of type int",
        );
        check(r#"{"node_meta":{"a":"b"}}"#, "json: unknown field \"node_meta\"");
        check(r#"{"z_first":1,"a_second":1}"#, "json: unknown field \"z_first\"");
        check(
            r#"{"NodeMeta":{"a":5}}"#,
            "json: cannot unmarshal number into Go struct field RegisterRequest.NodeMeta of type string",
        );
    }

    #[test]
    fn keys_match_in_any_case_and_null_is_nothing() {
        let body = r#"{"NODE":"n","checks":null,"nodemeta":{"Key":"v"},"service":{"service":"s",
            "Tags":null,"taggedAddresses":{"lan":{"address":"a","PORT":5}},"Weights":null,
            "proxy":{"Config":{"deep":[1,2.5,null,{"x":true}]}}},"Checks":[{"Name":"c","Status":"passing",
            "Definition":{"Interval":"10s"}}]} trailing"#;
        let read: RegisterRequest = decode(body.as_bytes(), RULES).unwrap();
        let service = read.service.unwrap();
        assert_eq!((read.node.as_str(), service.name.as_str()), ("n", "s"));
        assert_eq!(read.node_meta.unwrap()["Key"], "v");
        assert_eq!(service.tagged_addresses["lan"].port, 5);
        assert_eq!(service.weights.passing, 1);
        assert_eq!(service.proxy.config["deep"], serde_json::json!([1, 2.5, null, {"x": true}]));
        assert_eq!(read.checks[0].definition.interval.0, 10_000_000_000);
    }
}
