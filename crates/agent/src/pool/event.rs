//! User events as they travel through gossip.

use model::event::{EVENT_VERSION, UserEvent};
use serde::{Deserialize, Serialize};

/// What the names of user events begin with; the pool carries others, too.
pub(super) const PREFIX: &str = "consul:event:";
/// Sent by a server that has won leadership; the payload is its node name.
pub(super) const NEW_LEADER: &str = "consul:new-leader";

/// The payload of a user event. Source: captured from a real agent.
#[derive(Serialize, Deserialize, Default)]
#[serde(default)]
struct Payload {
    #[serde(rename = "ID")]
    id: String,
    #[serde(rename = "n")]
    name: String,
    #[serde(rename = "p", with = "serde_bytes", skip_serializing_if = "Vec::is_empty")]
    payload: Vec<u8>,
    #[serde(rename = "nf", skip_serializing_if = "String::is_empty")]
    node_filter: String,
    #[serde(rename = "sf", skip_serializing_if = "String::is_empty")]
    service_filter: String,
    #[serde(rename = "tf", skip_serializing_if = "String::is_empty")]
    tag_filter: String,
    #[serde(rename = "v")]
    version: u32,
}

pub(super) fn encode(event: UserEvent) -> Vec<u8> {
    let UserEvent {
        id,
        name,
        payload,
        node_filter,
        service_filter,
        tag_filter,
        version: _,
        lamport_time: _,
    } = event;
    let version = EVENT_VERSION;
    let payload = Payload { id, name, payload, node_filter, service_filter, tag_filter, version };
    rmp_serde::to_vec_named(&payload).expect("texts and bytes encode")
}

/// `None` for what is no user event.
pub(super) fn decode(lamport_time: u64, bytes: &[u8]) -> Option<UserEvent> {
    let Payload { id, name, payload, node_filter, service_filter, tag_filter, version } =
        rmp_serde::from_slice(bytes).ok()?;
    Some(UserEvent {
        id,
        name,
        payload,
        node_filter,
        service_filter,
        tag_filter,
        version,
        lamport_time,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(node: &str, service: &str, tag: &str) -> UserEvent {
        UserEvent {
            id: "0b3f7b6d-5a7e-4d0c-9d5e-0a7b3f1c2d4e".into(),
            name: "deploy".into(),
            payload: vec![0, 255],
            node_filter: node.into(),
            service_filter: service.into(),
            tag_filter: tag.into(),
            version: EVENT_VERSION,
            lamport_time: 0,
        }
    }

    #[test]
    fn events_come_back_as_they_were() {
        for event in [event("", "", ""), event("n.*", "web", "blue")] {
            let want = UserEvent { lamport_time: 7, ..event.clone() };
            assert_eq!(decode(7, &encode(event)), Some(want));
        }
        assert_eq!(decode(1, b"\x93"), None);
        assert_eq!(decode(1, b""), None);
    }
}
