//! Values of records without knowledge of what they mean, to hold those of two programs against
//! each other.

use std::collections::BTreeMap;

use model::msgpack::Scanner;

/// A value; whatever is absent, `nil` or empty is the same as not there.
#[derive(Clone, Debug, PartialEq, PartialOrd)]
pub(super) enum Plain {
    Nothing,
    Truth,
    Whole(i128),
    Float(f64),
    Raw(String),
    List(Vec<Plain>),
    Map(BTreeMap<String, Plain>),
}

/// The records of a stream by type, each type's in an order of its own.
pub(super) fn records(mut stream: &[u8]) -> BTreeMap<u8, Vec<Plain>> {
    cut(&mut stream);
    let mut all = BTreeMap::<u8, Vec<Plain>>::new();
    while let Some((kind, rest)) = stream.split_first() {
        stream = rest;
        let mut value = cut(&mut stream);
        let value = match kind {
            22 => config_entry(value),
            _ => read(&mut value),
        };
        all.entry(*kind).or_default().push(value);
    }
    for values in all.values_mut() {
        values.sort_by(|a, b| a.partial_cmp(b).expect("numbers are comparable"));
    }
    all
}

fn cut<'a>(stream: &mut &'a [u8]) -> &'a [u8] {
    let length = Scanner::new(usize::MAX).scan(stream).unwrap().expect("a whole value");
    let (value, rest) = stream.split_at(length);
    *stream = rest;
    value
}

/// The entry alone: the request around it is not the same in two programs.
fn config_entry(mut value: &[u8]) -> Plain {
    let blob = raw(&mut value);
    let mut blob = blob.as_slice();
    let kind = read(&mut blob);
    let Plain::Map(mut request) = read(&mut blob) else { panic!("no request") };
    let mut entry = request.remove("Entry").unwrap();
    if kind == Plain::Raw("proxy-defaults".into()) {
        let Plain::Raw(inside) = entry else { panic!("not wrapped") };
        let inside: Vec<u8> = inside.chars().map(|c| c as u8).collect();
        entry = read(&mut inside.as_slice());
    }
    Plain::List(vec![kind, entry])
}

fn raw(stream: &mut &[u8]) -> Vec<u8> {
    let Plain::Raw(text) = read(stream) else { panic!("no raw value") };
    text.chars().map(|c| c as u8).collect()
}

fn read(stream: &mut &[u8]) -> Plain {
    let [kind] = take(stream);
    match kind {
        0..=0x7f => whole(kind.into()),
        0x80..=0x8f => map(stream, (kind & 15).into()),
        0x90..=0x9f => list(stream, (kind & 15).into()),
        0xa0..=0xbf => text(stream, (kind & 31).into()),
        0xc0 | 0xc2 => Plain::Nothing,
        0xc3 => Plain::Truth,
        0xc4 | 0xd9 => {
            let [length] = take(stream);
            text(stream, length.into())
        }
        0xc5 | 0xda => {
            let length = u16::from_be_bytes(take(stream));
            text(stream, length.into())
        }
        0xc6 | 0xdb => {
            let length = u32::from_be_bytes(take(stream));
            text(stream, length as usize)
        }
        0xcb => match f64::from_be_bytes(take(stream)) {
            0.0 => Plain::Nothing,
            number => Plain::Float(number),
        },
        0xcc => whole(u8::from_be_bytes(take(stream)).into()),
        0xcd => whole(u16::from_be_bytes(take(stream)).into()),
        0xce => whole(u32::from_be_bytes(take(stream)).into()),
        0xcf => whole(u64::from_be_bytes(take(stream)).into()),
        0xd0 => whole(i8::from_be_bytes(take(stream)).into()),
        0xd1 => whole(i16::from_be_bytes(take(stream)).into()),
        0xd2 => whole(i32::from_be_bytes(take(stream)).into()),
        0xd3 => whole(i64::from_be_bytes(take(stream)).into()),
        0xca => Plain::Float(f32::from_be_bytes(take(stream)).into()),
        0xdc => {
            let length = u16::from_be_bytes(take(stream));
            list(stream, length.into())
        }
        0xde => {
            let length = u16::from_be_bytes(take(stream));
            map(stream, length.into())
        }
        0xe0..=0xff => whole((kind as i8).into()),
        other => panic!("byte {other:#x}"),
    }
}

fn take<const N: usize>(stream: &mut &[u8]) -> [u8; N] {
    let (head, rest) = stream.split_first_chunk().expect("a whole value");
    *stream = rest;
    *head
}

fn whole(number: i128) -> Plain {
    if number == 0 { Plain::Nothing } else { Plain::Whole(number) }
}

/// Bytes as characters of the same number.
fn text(stream: &mut &[u8], length: usize) -> Plain {
    let (text, rest) = stream.split_at(length);
    *stream = rest;
    // No time at all is none.
    let is_no_time = length == 15 && text[1..13] == [0; 12];
    if text.is_empty() || is_no_time {
        return Plain::Nothing;
    }
    // An offset of nothing and none at all are the same time.
    let text = match text.strip_suffix(&[0, 0]) {
        Some(time) if length == 15 && text[0] == 1 => &[time, &[0xff, 0xff]].concat(),
        _ => text,
    };
    Plain::Raw(text.iter().map(|byte| char::from(*byte)).collect())
}

fn list(stream: &mut &[u8], length: usize) -> Plain {
    let items: Vec<_> = (0..length).map(|_| read(stream)).collect();
    if items.is_empty() { Plain::Nothing } else { Plain::List(items) }
}

fn map(stream: &mut &[u8], length: usize) -> Plain {
    let mut items = BTreeMap::new();
    for _ in 0..length {
        let Plain::Raw(key) = read(stream) else { panic!("no key") };
        match read(stream) {
            Plain::Nothing => {}
            value => drop(items.insert(key, value)),
        }
    }
    if items.is_empty() { Plain::Nothing } else { Plain::Map(items) }
}
