//! Recovery after too many servers were lost for good: an operator stops those that are left,
//! writes `peers.json` into the `raft` directory of each, the same everywhere, and starts them
//! again. Form and names are Consul's: a list of `{"id", "address", "non_voter"}`.
//!
//! Whatever a server's disk holds counts as committed then, and the cluster gets another identity:
//! a lost server that comes back after all is refused, as its history may differ.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use replica::{HardState, Membership, Peer, Recovered, ReplicaConfig, Snapshot};
use serde::Deserialize;

use crate::server::StartError;

const FILE: &str = "peers.json";
/// What it is called once it has come about.
const DONE_FILE: &str = "peers.info";

#[derive(Debug, Deserialize)]
struct Row {
    /// UUID of the node, or the consensus id as the file `server-id` holds it.
    id: String,
    address: String,
    #[serde(default)]
    non_voter: bool,
}

/// Does what the file in `dir` says, if there is one.
pub(crate) fn apply(
    dir: &Path,
    config: &ReplicaConfig,
    recovered: &mut Recovered,
    begin_anew: impl FnOnce(&Snapshot) -> Result<HardState, wal::Error>,
) -> Result<(), StartError> {
    let path = dir.join(FILE);
    let fault = |reason: String| StartError::PeersFile { path: path.clone(), reason };
    let text = match fs::read_to_string(&path) {
        Ok(text) => text,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        Err(e) => return Err(fault(e.to_string())),
    };
    let rows: Vec<Row> = serde_json::from_str(&text).map_err(|e| fault(e.to_string()))?;
    let before = known(config, recovered)?;
    let membership = membership_of(&rows, config.id, &before).map_err(fault)?;
    let snapshot =
        replica::rebuild(config, recovered.clone(), membership).map_err(StartError::Replica)?;
    let mut hard_state = begin_anew(&snapshot)?;
    hard_state.term = hard_state.term.max(recovered.hard_state.term);
    *recovered = Recovered { snapshot: Some(snapshot), hard_state, ..Recovered::default() };
    fs::rename(&path, dir.join(DONE_FILE)).map_err(|e| fault(e.to_string()))?;
    tracing::warn!(peers = text, "the servers of the cluster were set by the peers file");
    Ok(())
}

/// The servers as the log knows them to its end.
fn known(config: &ReplicaConfig, recovered: &Recovered) -> Result<Membership, StartError> {
    let found = replica::last_membership(config, recovered.clone());
    found.map_err(StartError::Replica)
}

fn membership_of(rows: &[Row], own: u64, before: &Membership) -> Result<Membership, String> {
    let mut membership = Membership { cluster_id: before.cluster_id, ..Membership::default() };
    for row in rows {
        let by_node = |(_, peer): &(&u64, &Peer)| peer.node_id == row.id;
        let id = before
            .peers
            .iter()
            .find(by_node)
            .map(|(id, _)| *id)
            .or_else(|| u64::from_str_radix(&row.id, 16).ok().filter(|_| row.id.len() == 16))
            .ok_or_else(|| format!("no server with id {:?} ever took part here", row.id))?;
        let list = if row.non_voter { &mut membership.learners } else { &mut membership.voters };
        list.push(id);
        let known = before.peers.get(&id).cloned().unwrap_or_default();
        membership.peers.insert(id, Peer { address: row.address.clone(), ..known });
    }
    if membership.voters.is_empty() {
        return Err("it names no server that votes".into());
    }
    if !membership.peers.contains_key(&own) {
        return Err(format!("it does not name this server, whose consensus id is {own:016x}"));
    }
    membership.voters.sort_unstable();
    membership.learners.sort_unstable();
    membership.cluster_id = new_cluster_id(before.cluster_id, &membership.peers);
    Ok(membership)
}

/// The same on every server that was given the same file.
fn new_cluster_id(before: u64, peers: &BTreeMap<u64, Peer>) -> u64 {
    let mut hash = before ^ 0xcbf2_9ce4_8422_2325;
    for byte in peers.keys().flat_map(|id| id.to_le_bytes()) {
        hash = (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
    }
    hash.max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_name_servers_by_node_or_consensus_id() {
        let peer = |id: &str| Peer { node_id: id.into(), ..Peer::default() };
        let before = Membership {
            voters: vec![7, 8, 9],
            cluster_id: 7,
            peers: [(7, peer("n7")), (8, peer("n8")), (9, peer("n9"))].into(),
            ..Membership::default()
        };
        let check = |text: &str, expected: Result<(Vec<u64>, Vec<u64>), &str>| {
            let rows: Vec<Row> = serde_json::from_str(text).unwrap();
            match (membership_of(&rows, 7, &before), expected) {
                (Ok(found), Ok(expected)) => {
                    assert_eq!((found.voters, found.learners), expected);
                    assert!(![0, 7].contains(&found.cluster_id));
                }
                (Err(e), Err(expected)) => assert!(e.contains(expected), "{e}"),
                (found, expected) => panic!("{found:?} for {expected:?}"),
            }
        };
        let address = r#""address": "10.0.0.1:8300""#;
        check(&format!(r#"[{{"id": "n7", {address}}}]"#), Ok((vec![7], vec![])));
        check(
            &format!(
                r#"[{{"id": "0000000000000007", {address}, "non_voter": false}}, {{"id": "n9", {address}, "non_voter": true}}]"#
            ),
            Ok((vec![7], vec![9])),
        );
        check(&format!(r#"[{{"id": "n8", {address}}}]"#), Err("does not name this server"));
        check(&format!(r#"[{{"id": "n5", {address}}}]"#), Err("ever took part"));
        check("[]", Err("no server that votes"));
    }
}
