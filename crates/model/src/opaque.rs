//! Settings whose keys belong to somebody else, on their way through binary forms.
//!
//! Go reads every number of such a map from JSON as a float and sends it so; shown again it looks
//! like an integer when it is one. The conversions here keep both true.

use std::collections::BTreeMap;

use serde::de::{Deserialize, Deserializer};
use serde::ser::{Serialize, SerializeMap, SerializeSeq, Serializer};
use serde_json::{Number, Value};

use crate::service::OpaqueConfig;

/// Integers up to here are floats without loss.
const EXACT_MAX: u64 = 1 << 53;

/// `#[serde(with = "opaque")]`: numbers as floats where humans do not read; `null` reads as empty.
pub(crate) fn serialize<S: Serializer>(
    config: &OpaqueConfig,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    if serializer.is_human_readable() {
        return config.serialize(serializer);
    }
    let mut map = serializer.serialize_map(Some(config.len()))?;
    for (key, value) in config {
        map.serialize_entry(key, &Binary(value))?;
    }
    map.end()
}

pub(crate) fn deserialize<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<OpaqueConfig, D::Error> {
    option::deserialize(deserializer).map(Option::unwrap_or_default)
}

/// The same for a map that may be absent.
pub(crate) mod option {
    use super::*;

    pub(crate) fn serialize<S: Serializer>(
        config: &Option<OpaqueConfig>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        match config {
            None => serializer.serialize_none(),
            Some(config) => super::serialize(config, serializer),
        }
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Option<OpaqueConfig>, D::Error> {
        let is_binary = !deserializer.is_human_readable();
        let mut config = Option::<BTreeMap<String, Value>>::deserialize(deserializer)?;
        if is_binary {
            config.iter_mut().flat_map(BTreeMap::values_mut).for_each(integers);
        }
        Ok(config)
    }
}

/// Turns floats that are integers into these. Nested as deep as what was read, which is bounded.
fn integers(value: &mut Value) {
    match value {
        Value::Number(number) => {
            let Some(float) = number.as_f64().filter(|_| number.is_f64()) else { return };
            if float.fract() == 0.0 && float.abs() <= EXACT_MAX as f64 {
                *number = Number::from(float as i64);
            }
        }
        Value::Array(values) => values.iter_mut().for_each(integers),
        Value::Object(map) => map.values_mut().for_each(integers),
        Value::Null | Value::Bool(_) | Value::String(_) => {}
    }
}

/// A value with its numbers as floats.
struct Binary<'a>(&'a Value);

impl Serialize for Binary<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0 {
            Value::Number(number) => match (number.as_f64(), number.as_i64()) {
                (_, Some(integer)) if integer.unsigned_abs() > EXACT_MAX => {
                    serializer.serialize_i64(integer)
                }
                (Some(float), _) => serializer.serialize_f64(float),
                (None, _) => number.serialize(serializer),
            },
            Value::Array(values) => {
                let mut list = serializer.serialize_seq(Some(values.len()))?;
                for value in values {
                    list.serialize_element(&Binary(value))?;
                }
                list.end()
            }
            Value::Object(map) => {
                let mut written = serializer.serialize_map(Some(map.len()))?;
                for (key, value) in map {
                    written.serialize_entry(key, &Binary(value))?;
                }
                written.end()
            }
            other => other.serialize(serializer),
        }
    }
}
