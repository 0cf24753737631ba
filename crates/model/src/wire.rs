//! Small serde helpers shared by the nouns: Go's `null` for empty collections, base64 bytes.

use base64::Engine as _;
use serde::{Deserialize, Deserializer, Serializer};

/// Reads `null` as the type's default, as Go's decoders do.
pub(crate) fn null_as_default<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de> + Default,
{
    Ok(Option::<T>::deserialize(deserializer)?.unwrap_or_default())
}

/// Writes an empty map as `nil` where humans do not read, as Go does with one never made.
pub(crate) fn empty_as_nil<S: Serializer>(
    map: &std::collections::BTreeMap<String, String>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    if map.is_empty() && !serializer.is_human_readable() {
        return serializer.serialize_none();
    }
    serde::Serialize::serialize(map, serializer)
}

pub(crate) fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

/// Bytes: base64 text (or `null` when empty) where humans read, raw bytes elsewhere.
pub(crate) mod bytes {
    use super::*;

    pub(crate) fn serialize<S: Serializer>(bytes: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
        if !serializer.is_human_readable() {
            return serializer.serialize_bytes(bytes);
        }
        if bytes.is_empty() {
            return serializer.serialize_none();
        }
        serializer.serialize_str(&base64::engine::general_purpose::STANDARD.encode(bytes))
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Vec<u8>, D::Error> {
        if !deserializer.is_human_readable() {
            return Ok(Option::<serde_bytes::ByteBuf>::deserialize(deserializer)?
                .map(serde_bytes::ByteBuf::into_vec)
                .unwrap_or_default());
        }
        match Option::<String>::deserialize(deserializer)? {
            None => Ok(Vec::new()),
            Some(text) => base64::engine::general_purpose::STANDARD
                .decode(text)
                .map_err(serde::de::Error::custom),
        }
    }
}

/// Text whose bytes must not change: refused when it is not UTF-8, instead of read with
/// replacements as binary text is elsewhere.
pub(crate) mod exact_text {
    use super::*;

    pub(crate) fn serialize<S: Serializer>(text: &str, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(text)
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<String, D::Error> {
        if deserializer.is_human_readable() {
            return String::deserialize(deserializer);
        }
        let bytes = serde_bytes::ByteBuf::deserialize(deserializer)?;
        String::from_utf8(bytes.into_vec())
            .map_err(|_| serde::de::Error::custom("a key is not UTF-8"))
    }
}

/// A service's name: text where humans read, a struct of one field elsewhere.
pub(crate) mod service_name {
    use super::*;

    #[derive(Default, serde::Serialize, serde::Deserialize)]
    #[serde(rename_all = "PascalCase", default)]
    struct ServiceName {
        name: String,
    }

    pub(crate) fn serialize<S: Serializer>(name: &str, serializer: S) -> Result<S::Ok, S::Error> {
        if serializer.is_human_readable() {
            return serializer.serialize_str(name);
        }
        serde::Serialize::serialize(&ServiceName { name: name.to_owned() }, serializer)
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<String, D::Error> {
        if deserializer.is_human_readable() {
            return String::deserialize(deserializer);
        }
        ServiceName::deserialize(deserializer).map(|service| service.name)
    }
}
