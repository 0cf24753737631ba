//! The archive of a real agent, in and out again.

use std::io::Read;

use flate2::read::GzDecoder;

use super::{GOLDEN, HEADER_BYTES, archive_of, origin, plain, records_of};
use crate::{Metadata, inspect, restore, tar};

/// The records inside an archive.
fn records_in(archive: &[u8]) -> Vec<u8> {
    let mut tarred = Vec::new();
    GzDecoder::new(archive).read_to_end(&mut tarred).unwrap();
    let mut rest = tarred.as_slice();
    loop {
        let entry = tar::next(&mut rest).unwrap().expect("there are records");
        let (content, behind) = rest.split_at(entry.size as usize);
        rest = behind;
        if entry.name == "state.bin" {
            return content.to_vec();
        }
        tar::skip_padding(&mut rest, entry.size).unwrap();
    }
}

#[test]
fn everything_of_a_real_agent_comes_in() {
    let (metadata, state) = restore(GOLDEN).unwrap();
    assert_eq!((metadata.version, metadata.term, metadata.index), (1, 2, 62));
    assert_eq!(metadata.size, records_in(GOLDEN).len() as u64);
    assert_eq!(metadata.configuration.servers.len(), 1);
    assert_eq!(state.index(), 62);

    assert_eq!(state.nodes().count(), 3);
    assert_eq!(state.node_services("ext1").count(), 3);
    assert_eq!(state.node_checks("EXT1").count(), 2);
    assert_eq!(state.sessions().count(), 2);
    assert_eq!(state.intentions().count(), 2);
    assert_eq!(state.config_entries().count(), 4);
    let proxy = state.service("ext1", "web1-sidecar-proxy").unwrap();
    assert_eq!(proxy.proxy.config["a"], 1);
    assert_eq!(proxy.proxy.config["b"], 2.5);
    let bytes: Vec<u8> = (0..=255).collect();
    assert_eq!(state.kv_entry("bin").unwrap().value, bytes);
    assert_eq!(state.kv_entry("uml/ä").unwrap().value, "ü".as_bytes());
    let lock = state.kv_entry("lock/a").unwrap();
    assert_eq!(state.session(&lock.session).unwrap().name, "s1");
    assert_eq!(lock.lock_index, 1);
    let roots = state.ca_roots();
    assert_eq!(roots.roots.len(), 2);
    assert_eq!(format!("{}.consul", state.ca_config().unwrap().cluster_id), roots.trust_domain);
    assert_eq!(state.ca_roots_index(), 60);

    let kept: Vec<_> = state.opaque_counts().into_iter().collect();
    let want = [
        ("ACLAuthMethod", 1),
        ("ACLBindingRule", 1),
        ("ACLPolicy", 2),
        ("ACLRole", 1),
        ("ACLToken", 3),
        ("FederationState", 1),
        ("KVS", 1),
        ("PreparedQuery", 2),
        ("ingress-gateway", 1),
        ("service-resolver", 1),
        ("service-router", 1),
        ("service-splitter", 1),
        ("terminating-gateway", 1),
    ];
    assert_eq!(kept, want.map(|(name, count)| (name.to_owned(), count)));
}

/// Value by value, whatever is empty being as good as absent.
#[test]
fn nothing_is_lost_on_the_way_through() {
    let (_, state) = restore(GOLDEN).unwrap();
    let (want, written) =
        (plain::records(&records_in(GOLDEN)), plain::records(&records_of(&state)));
    assert_eq!(want.keys().collect::<Vec<_>>(), written.keys().collect::<Vec<_>>());
    for (kind, want) in want {
        let written = &written[&kind];
        for (want, written) in want.iter().zip(written) {
            assert_eq!(want, written, "record of type {kind}");
        }
        assert_eq!(want.len(), written.len(), "records of type {kind}");
    }
}

#[test]
fn the_container_is_the_real_ones() {
    let (_, state) = restore(GOLDEN).unwrap();
    let archive = archive_of(&state);
    let (metadata, again) = restore(archive.as_slice()).unwrap();
    assert_eq!(state.hash(), again.hash());
    assert_eq!(records_of(&state), records_in(&archive));
    let size = records_of(&state).len();
    assert_eq!(metadata, Metadata::new(&origin(), 62, size as u64));
    let json = String::from_utf8(metadata.to_json()).unwrap();
    assert_eq!(
        json,
        format!(
            r#"{{"Version":1,"ID":"2-62-1796078962806","Index":62,"Term":2,"Peers":"ka8xMjcuMC4wLjE6Mjk1MDM=","Configuration":{{"Servers":[{{"Suffrage":0,"ID":"a","Address":"127.0.0.1:29503"}},{{"Suffrage":1,"ID":"b","Address":"127.0.0.2:29503"}}]}},"ConfigurationIndex":1,"Size":{size}}}
"#
        )
    );
}

#[test]
fn an_inspection_counts_every_record() {
    let inspection = inspect(GOLDEN).unwrap();
    let bytes: u64 = inspection.records.values().map(|counted| counted.bytes).sum();
    assert_eq!(bytes + HEADER_BYTES as u64, inspection.metadata.size);
    let names: Vec<_> = inspection
        .records
        .iter()
        .map(|(kind, counted)| (kind.to_string(), counted.count))
        .collect();
    assert_eq!(names[0], ("Register".to_owned(), 13));
    assert!(names.contains(&("Index".to_owned(), 33)), "{names:?}");
}
