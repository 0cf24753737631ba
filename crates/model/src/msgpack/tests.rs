//! What a real server (1.8.7) sent, what its HTTP API showed at the same time, and strangers' bytes.
//!
//! `golden/NAME.hex` is the body of a reply, `golden/NAME.json` the answer of the HTTP endpoint.

use std::collections::BTreeMap;
use std::sync::Arc;

use proptest::prelude::*;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::*;
use crate::ca::{CaConfiguration, CaRoots};
use crate::catalog::{NodeServiceList, NodeServices, RegisterRequest, ServiceNode};
use crate::check::{CheckStatus, HealthCheck};
use crate::config_entry::{ConfigEntry, ConfigEntryBlob, ConfigEntryOp};
use crate::coordinate::{DatacenterMap, NodeCoordinate};
use crate::health::CheckServiceNode;
use crate::intention::Intention;
use crate::keyring::KeyringResponse;
use crate::kv::DirEntry;
use crate::node::Node;
use crate::operator::{AutopilotConfiguration, ClusterHealth, RaftConfiguration};
use crate::session::Session;

macro_rules! golden {
    ($name:literal, hex) => {
        unhex(include_str!(concat!("golden/", $name, ".hex")))
    };
    ($name:literal, json) => {
        serde_json::from_str::<Value>(include_str!(concat!("golden/", $name, ".json"))).unwrap()
    };
}

fn unhex(text: &str) -> Vec<u8> {
    let digits: Vec<u8> = text.bytes().filter(u8::is_ascii_hexdigit).collect();
    let pair = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap();
    digits.chunks(2).map(pair).collect()
}

/// One field of a map.
fn field<T: DeserializeOwned>(bytes: &[u8], name: &str) -> T {
    let map: BTreeMap<String, Raw> = from_slice(bytes).unwrap();
    from_slice(&map[name].0).unwrap_or_else(|error| panic!("{name}: {error}"))
}

/// Go shows a float that is an integer as one.
fn as_go_shows(value: Value) -> Value {
    match value {
        Value::Number(number) => match number.as_f64() {
            Some(float) if float.fract() == 0.0 => Value::from(float as i64),
            _ => Value::Number(number),
        },
        Value::Array(values) => values.into_iter().map(as_go_shows).collect(),
        Value::Object(map) => map.into_iter().map(|(key, v)| (key, as_go_shows(v))).collect(),
        other => other,
    }
}

/// The record reads to what HTTP shows, and is the same after it was written and read again.
fn same<T: DeserializeOwned + Serialize + PartialEq + std::fmt::Debug>(record: T, shown: Value) {
    assert_eq!(as_go_shows(serde_json::to_value(&record).unwrap()), shown);
    assert_eq!(from_slice::<T>(&to_vec(&record).unwrap()).unwrap(), record);
}

#[test]
fn records_of_a_real_server() {
    macro_rules! check {
        ($name:literal, $field:literal, $type:ty) => {
            same::<$type>(field(&golden!($name, hex), $field), golden!($name, json))
        };
        ($name:literal, $type:ty) => {
            same::<$type>(from_slice(&golden!($name, hex)).unwrap(), golden!($name, json))
        };
    }
    check!("nodes", "Nodes", Vec<Arc<Node>>);
    check!("services", "Services", BTreeMap<String, Vec<String>>);
    check!("service_nodes", "ServiceNodes", Vec<ServiceNode>);
    check!("service_nodes_connect", "ServiceNodes", Vec<ServiceNode>);
    check!("node_services", "NodeServices", Option<NodeServices>);
    check!("node_services_none", "NodeServices", Option<NodeServices>);
    check!("node_service_list", "NodeServices", Option<NodeServiceList>);
    check!("checks_in_state", "HealthChecks", Vec<Arc<HealthCheck>>);
    check!("node_checks", "HealthChecks", Vec<Arc<HealthCheck>>);
    check!("service_checks", "HealthChecks", Vec<Arc<HealthCheck>>);
    check!("health", "Nodes", Vec<CheckServiceNode>);
    check!("health_connect", "Nodes", Vec<CheckServiceNode>);
    check!("health_none", "Nodes", Vec<CheckServiceNode>);
    check!("kv", "Entries", Vec<DirEntry>);
    check!("kv_list", "Entries", Vec<DirEntry>);
    check!("kv_keys", "Keys", Vec<String>);
    check!("session", "Sessions", Vec<Session>);
    check!("sessions", "Sessions", Vec<Session>);
    check!("node_sessions", "Sessions", Vec<Session>);
    check!("intentions", "Intentions", Vec<Intention>);
    check!("ca_roots", CaRoots);
    check!("coordinates", "Coordinates", Vec<NodeCoordinate>);
    check!("node_coordinates", "Coordinates", Vec<NodeCoordinate>);
    check!("coordinate_datacenters", Vec<DatacenterMap>);
    check!("raft_configuration", RaftConfiguration);
    check!("autopilot_configuration", AutopilotConfiguration);
    check!("keyring", "Responses", Vec<KeyringResponse>);
}

#[test]
fn server_health_of_a_real_server() {
    let mut health: ClusterHealth = from_slice(&golden!("server_health", hex)).unwrap();
    // HTTP shows whole seconds.
    health.servers[0].stable_since.nanos = 0;
    same(health, golden!("server_health", json));
}

#[test]
fn ca_configuration_of_a_real_server() {
    let config: CaConfiguration = from_slice(&golden!("ca_config", hex)).unwrap();
    assert_eq!(config.cluster_id.len(), 36);
    assert_eq!(config.provider, "consul");
    assert_eq!(serde_json::to_value(&config.config).unwrap(), golden!("ca_config", json)["Config"]);
    assert_eq!(from_slice::<CaConfiguration>(&to_vec(&config).unwrap()), Ok(config));
}

#[test]
fn nothing_found_reads_as_nothing() {
    let check = |bytes: Vec<u8>, name: &str| {
        assert!(field::<Option<Vec<Value>>>(&bytes, name).is_none(), "{name}");
        assert!(field::<Vec<Value>>(&bytes, name).is_empty(), "{name}");
    };
    check(golden!("kv_none", hex), "Entries");
    check(golden!("kv_keys_none", hex), "Keys");
    check(golden!("session_none", hex), "Sessions");
    check(golden!("gateway_services", hex), "Services");
    let list: NodeServiceList = field(&golden!("node_service_list_none", hex), "NodeServices");
    assert_eq!(list, NodeServiceList::default());
}

#[test]
fn config_entries_of_a_real_server() {
    // The reply is text; inside are a kind, the entry and what is said of the answer.
    let inside = |bytes: Vec<u8>| from_slice::<serde_bytes::ByteBuf>(&bytes).unwrap().into_vec();
    let check = |bytes: Vec<u8>, kind: &str, shown: Value| {
        let bytes = inside(bytes);
        let mut decoder = Decoder::new(&bytes);
        assert_eq!(String::deserialize(&mut decoder).unwrap(), kind);
        same(ConfigEntry::deserialize(&mut decoder).unwrap(), shown);
    };
    let shown = golden!("config_entry", json);
    check(golden!("config_entry", hex), "service-defaults", shown);
    let shown = golden!("config_entry_proxy", json);
    check(golden!("config_entry_proxy", hex), "proxy-defaults", shown);

    let bytes = inside(golden!("config_entries_all", hex));
    let mut decoder = Decoder::new(&bytes);
    assert_eq!(u64::deserialize(&mut decoder).unwrap(), 2);
    assert_eq!(String::deserialize(&mut decoder).unwrap(), "");
    let entries: Vec<ConfigEntry> = field(decoder.rest(), "Entries");
    assert_eq!(entries.iter().map(ConfigEntry::name).collect::<Vec<_>>(), ["global", "web"]);
}

#[test]
fn config_entry_changes_are_text_that_holds_a_kind_and_a_map() {
    let bytes = from_slice::<serde_bytes::ByteBuf>(&golden!("config_entry_proxy", hex)).unwrap();
    let mut decoder = Decoder::new(&bytes);
    String::deserialize(&mut decoder).unwrap();
    let entry = ConfigEntry::deserialize(&mut decoder).unwrap();
    let blob = ConfigEntryBlob {
        op: ConfigEntryOp::UpsertCas,
        datacenter: "dc1".into(),
        entry,
        token: String::new(),
    };
    let bytes = blob.to_bytes().unwrap();
    assert_eq!(&bytes[..15], b"\xaeproxy-defaults");
    assert_eq!(ConfigEntryBlob::from_bytes(&bytes).unwrap(), blob);
    let unknown = ConfigEntryBlob::from_bytes(b"\xa5bogus\x80").unwrap_err();
    assert_eq!(unknown.to_string(), "invalid config entry kind: bogus");
}

#[derive(Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct Everything {
    flag: bool,
    small: u8,
    signed: i16,
    large: u64,
    float: f64,
    single: f32,
    text: String,
    maybe: Option<String>,
    list: Vec<u32>,
    map: BTreeMap<String, i64>,
    node: Node,
    status: CheckStatus,
}

#[test]
fn nil_is_the_default_of_everything() {
    let names = [
        "Flag", "Small", "Signed", "Large", "Float", "Single", "Text", "Maybe", "List", "Map",
        "Node", "Status",
    ];
    let nils: BTreeMap<&str, ()> = names.into_iter().map(|name| (name, ())).collect();
    assert_eq!(from_slice::<Everything>(&to_vec(&nils).unwrap()), Ok(Everything::default()));
    assert_eq!(from_slice::<Everything>(&[0xc0]), Ok(Everything::default()));
}

#[test]
fn numbers_of_any_width() {
    let check = |bytes: &[u8], want: i64| {
        assert_eq!(from_slice::<i64>(bytes), Ok(want), "{bytes:x?}");
        assert_eq!(from_slice::<f64>(bytes), Ok(want as f64), "{bytes:x?}");
    };
    check(&[5], 5);
    check(&[0xff], -1);
    check(&[0xcc, 5], 5);
    check(&[0xcd, 0, 5], 5);
    check(&[0xce, 0, 0, 0, 5], 5);
    check(&[0xcf, 0, 0, 0, 0, 0, 0, 0, 5], 5);
    check(&[0xd0, 5], 5);
    check(&[0xd0, 0xfb], -5);
    check(&[0xd1, 0, 5], 5);
    check(&[0xd2, 0xff, 0xff, 0xff, 0xfb], -5);
    check(&[0xd3, 0, 0, 0, 0, 0, 0, 0, 5], 5);
    assert_eq!(from_slice::<u8>(&[0xd3, 0, 0, 0, 0, 0, 0, 0, 5]), Ok(5));
    assert!(from_slice::<u8>(&[0xcd, 1, 0]).is_err());
    assert_eq!(from_slice::<f64>(&[0xca, 0x3f, 0xc0, 0, 0]), Ok(1.5));
    assert_eq!(from_slice::<f32>(&[0xcb, 0x3f, 0xf8, 0, 0, 0, 0, 0, 0]), Ok(1.5));
}

#[test]
fn text_of_either_specification() {
    let check = |bytes: &[u8], want: &str| {
        assert_eq!(from_slice::<String>(bytes).unwrap(), want, "{bytes:x?}");
        let raw = from_slice::<serde_bytes::ByteBuf>(bytes).unwrap();
        assert_eq!(String::from_utf8_lossy(&raw), want, "{bytes:x?}");
    };
    check(b"\xa2ab", "ab");
    check(b"\xd9\x02ab", "ab");
    check(b"\xda\x00\x02ab", "ab");
    check(b"\xdb\x00\x00\x00\x02ab", "ab");
    check(b"\xc4\x02ab", "ab");
    check(b"\xc5\x00\x02ab", "ab");
    check(b"\xc6\x00\x00\x00\x02ab", "ab");
    // The output of a check may be anything.
    check(b"\xa3a\xffb", "a\u{fffd}b");
    // Written, text of 32 bytes and more has no one-byte length, which old readers do not know.
    assert_eq!(to_vec(&"x".repeat(40)).unwrap()[..3], [0xda, 0, 40]);
    assert_eq!(to_vec(serde_bytes::Bytes::new(&[7; 40])).unwrap()[..3], [0xda, 0, 40]);
}

#[test]
fn keys_that_are_not_text_are_refused() {
    let entry = b"\x81\xa3Key\xa2a\xff";
    assert!(from_slice::<DirEntry>(entry).unwrap_err().to_string().contains("not UTF-8"));
}

#[test]
fn statuses_nobody_knows_are_critical() {
    assert_eq!(from_slice::<CheckStatus>(b"\xa5weird"), Ok(CheckStatus::Critical));
    assert!(serde_json::from_str::<CheckStatus>("\"weird\"").is_err());
}

#[test]
fn opaque_numbers_travel_as_floats() {
    let proxy = crate::service::ConnectProxyConfig {
        config: [("n".to_owned(), Value::from(5)), ("f".to_owned(), Value::from(1.5))].into(),
        ..Default::default()
    };
    let bytes = to_vec(&proxy).unwrap();
    let float = [&b"\xa1n\xcb"[..], &5.0f64.to_be_bytes()].concat();
    assert!(bytes.windows(float.len()).any(|window| window == float));
    assert_eq!(from_slice::<crate::service::ConnectProxyConfig>(&bytes).unwrap(), proxy);
}

#[test]
fn unknown_keys_are_passed_over() {
    let bytes = b"\x83\xa5Other\x92\x01\x81\xa1a\xc0\xa4Node\xa1n\xa4node\xa1x";
    assert_eq!(from_slice::<Node>(bytes).unwrap().name, "n");
}

#[test]
fn containers_of_the_wrong_kind_are_refused() {
    assert!(from_slice::<Node>(&[0x90]).is_err());
    assert!(from_slice::<Vec<u8>>(&[0x80]).is_err());
    assert!(from_slice::<BTreeMap<String, u8>>(&[0x91, 1]).is_err());
    assert!(from_slice::<Node>(b"\xa2ab").is_err());
}

#[test]
fn maps_are_merged_and_read_back_in_parts() {
    #[derive(Serialize)]
    #[serde(rename_all = "PascalCase")]
    struct Named {
        key: &'static str,
    }
    let coordinates = DatacenterMap { area_id: "s".into(), ..Default::default() };
    let mut bytes = vec![7];
    MergedMap::begin(&mut bytes)
        .with(&coordinates)
        .unwrap()
        .with(&Named { key: "k" })
        .unwrap()
        .end()
        .unwrap();
    assert_eq!(from_slice::<DatacenterMap>(&bytes[1..]).unwrap().area_id, "s");
    assert_eq!(from_slice::<DirEntry>(&bytes[1..]).unwrap().key, "k");
    assert!(MergedMap::begin(&mut bytes).with(&1).is_err());
}

#[test]
fn little_cannot_unfold_into_much() {
    // A million nodes of one byte each.
    let mut bytes = vec![0xdd, 0, 0x10, 0, 0];
    bytes.resize(bytes.len() + 0x10_0000, 0xc0);
    assert_eq!(from_slice::<Vec<Arc<Node>>>(&bytes), Err(DecodeError::TooLarge));
    // A list that announces four billion elements and brings one.
    assert_eq!(
        from_slice::<Vec<u64>>(&[0xdd, 0xff, 0xff, 0xff, 0xff, 1]),
        Err(DecodeError::Incomplete)
    );
    let mut deep = vec![0x91; DEPTH_MAX + 1];
    deep.push(1);
    assert_eq!(from_slice::<Value>(&deep), Err(DecodeError::TooDeep));
    assert_eq!(Scanner::new(1 << 20).scan(&deep), Err(DecodeError::TooDeep));
}

#[test]
fn scanner_tells_length_and_refuses_early() {
    let value = to_vec(&BTreeMap::from([("a", vec!["x".repeat(300); 3])])).unwrap();
    let mut stream = value.clone();
    stream.extend_from_slice(&[1, 2, 3]);
    let mut scanner = Scanner::new(4096);
    for end in 0..value.len() {
        assert_eq!(scanner.scan(&stream[..end]), Ok(None), "{end}");
    }
    assert_eq!(scanner.scan(&stream), Ok(Some(value.len())));
    assert_eq!(front::<Value>(&stream).unwrap().unwrap().1, value.len());
    assert_eq!(front::<Value>(&stream[..20]), Ok(None));
    // The announced length is enough to refuse.
    assert_eq!(Scanner::new(4096).scan(&[0xdb, 0, 1, 0, 0]), Err(DecodeError::TooLong(4096)));
    assert_eq!(Scanner::new(4096).scan(&[0xdf, 0, 1, 0, 0]), Err(DecodeError::TooLong(4096)));
    assert_eq!(Scanner::new(4).scan(&[0xa4, 1, 2, 3, 4]), Err(DecodeError::TooLong(4)));
    assert_eq!(Scanner::new(4).scan(&[0xa3, 1, 2, 3]), Ok(Some(4)));
    assert_eq!(Scanner::new(9).scan(&[0xc1]), Err(DecodeError::Reserved(0xc1)));
}

proptest! {
    #[test]
    fn strangers_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
        let _ = from_slice::<RegisterRequest>(&bytes);
        let _ = from_slice::<Vec<CheckServiceNode>>(&bytes);
        let _ = from_slice::<ConfigEntry>(&bytes);
        let _ = ConfigEntryBlob::from_bytes(&bytes);
        let _ = from_slice::<crate::command::Command>(&bytes);
        let _ = front::<Value>(&bytes);
    }

    #[test]
    fn damaged_records_never_panic(
        at in 0usize..2000,
        byte in any::<u8>(),
        cut in 0usize..2000,
    ) {
        let mut bytes = golden!("health", hex);
        let at = at % bytes.len();
        bytes[at] = byte;
        bytes.truncate(cut.max(1));
        let _ = from_slice::<BTreeMap<String, Raw>>(&bytes);
        #[derive(Default, Deserialize)]
        #[serde(rename_all = "PascalCase", default)]
        struct Reply { #[serde(rename = "Nodes")] _nodes: Vec<CheckServiceNode> }
        let _ = from_slice::<Reply>(&bytes);
    }

    #[test]
    fn scanner_and_reader_agree(bytes in proptest::collection::vec(any::<u8>(), 0..60)) {
        let scanned = Scanner::new(1 << 20).scan(&bytes);
        if let Ok(Some(length)) = scanned {
            prop_assert!(from_slice::<serde::de::IgnoredAny>(&bytes[..length]).is_ok());
        }
        if from_slice::<serde::de::IgnoredAny>(&bytes).is_ok() {
            prop_assert_eq!(scanned, Ok(Some(bytes.len())));
        }
    }

    #[test]
    fn integers_and_text_round_trip(
        number in any::<i64>(), large in any::<u64>(), text in ".{0,80}", float in any::<f64>(),
    ) {
        prop_assert_eq!(from_slice::<i64>(&to_vec(&number).unwrap()), Ok(number));
        prop_assert_eq!(from_slice::<u64>(&to_vec(&large).unwrap()), Ok(large));
        prop_assert_eq!(from_slice::<String>(&to_vec(&text).unwrap()), Ok(text));
        let back = from_slice::<f64>(&to_vec(&float).unwrap()).unwrap();
        prop_assert_eq!(back.to_bits(), float.to_bits());
    }
}
