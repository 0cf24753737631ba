//! Tags travel as a node's metadata: a mark and one map.

use std::collections::BTreeMap;

use bytes::Bytes;

use crate::wire::WireError;
use crate::wire::message::META_BYTES_MAX;
use crate::wire::msgpack::{Reader, Writer};

/// First byte of metadata that is a map.
const MARK: u8 = 0xff;

/// Tags of a member, by name.
pub type Tags = BTreeMap<String, String>;

/// None when they take more than 512 bytes.
pub(crate) fn encode(tags: &Tags) -> Option<Bytes> {
    let mut writer = Writer::with_type(MARK);
    writer.map(tags.len());
    for (name, value) in tags {
        writer.raw(name);
        writer.raw(value);
    }
    let bytes = writer.finish();
    (bytes.len() <= META_BYTES_MAX).then(|| bytes.into())
}

/// Reads what a peer sent; metadata without the mark is the bare role of an ancient peer, damaged metadata no tags.
pub(crate) fn decode(meta: &[u8]) -> Tags {
    match meta {
        [] => Tags::new(),
        [MARK, map @ ..] => decode_map(map).unwrap_or_default(),
        role => [("role".to_owned(), String::from_utf8_lossy(role).into_owned())].into(),
    }
}

fn decode_map(map: &[u8]) -> Result<Tags, WireError> {
    let mut reader = Reader::new(map);
    let mut tags = Tags::new();
    for _ in 0..reader.map_length()? {
        let name = reader.text()?;
        tags.insert(name, reader.text()?);
    }
    Ok(tags)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metadata_is_tags() {
        let check = |meta: &[u8], want: &[(&str, &str)]| {
            let want: Tags = want.iter().map(|(k, v)| (k.to_string(), v.to_string())).collect();
            assert_eq!(decode(meta), want, "{meta:x?}");
        };
        check(b"\xff\x82\xa2dc\xa3dc1\xa4role\xa4node", &[("dc", "dc1"), ("role", "node")]);
        check(b"web", &[("role", "web")]);
        check(b"", &[]);
        check(b"\xff\x82\xa2dc", &[]);
        let tags: Tags = [("dc".to_owned(), "dc1".to_owned())].into();
        assert_eq!(decode(&encode(&tags).unwrap()), tags);
        assert_eq!(encode(&[("a".to_owned(), "b".repeat(600))].into()), None);
    }
}
