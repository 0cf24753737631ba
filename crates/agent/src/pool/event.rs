//! User events as they travel through gossip, and which of them concern this agent.

use model::event::{EVENT_VERSION, UserEvent};
use regex::{Regex, RegexBuilder};
use serde::{Deserialize, Serialize};

/// What the names of user events begin with; the pool carries others, too.
pub(super) const PREFIX: &str = "consul:event:";
/// Sent by a server that has won leadership; the payload is its node name.
pub(super) const NEW_LEADER: &str = "consul:new-leader";

/// Compiled size of one filter. Whoever may fire an event chooses it. Unit: bytes.
const FILTER_BYTES_MAX: usize = 1 << 20;

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

/// Whether `event` is meant for the node `node` that has `services`, each with its tags.
pub(crate) fn is_meant_for<'a>(
    event: &UserEvent,
    node: &str,
    services: impl Iterator<Item = (&'a str, &'a [String])>,
) -> bool {
    if event.version > EVENT_VERSION {
        return false;
    }
    // What does not compile meets nothing.
    let compile = |text: &str| match text {
        "" => Some(None),
        text => compile(text).map(Some),
    };
    let (Some(nodes), Some(of_service), Some(of_tag)) =
        (compile(&event.node_filter), compile(&event.service_filter), compile(&event.tag_filter))
    else {
        return false;
    };
    if nodes.is_some_and(|nodes| !nodes.is_match(node)) {
        return false;
    }
    let Some(of_service) = of_service else { return true };
    services.into_iter().any(|(name, tags)| {
        of_service.is_match(name)
            && of_tag.as_ref().is_none_or(|of_tag| tags.iter().any(|tag| of_tag.is_match(tag)))
    })
}

fn compile(text: &str) -> Option<Regex> {
    RegexBuilder::new(text).size_limit(FILTER_BYTES_MAX).build().ok()
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

    #[test]
    fn filters_choose_who_takes_note() {
        let tags = ["blue".to_owned(), "v2".to_owned()];
        let check = |event: &UserEvent, want: bool| {
            let services = [("web", &tags[..]), ("db", &[])];
            assert_eq!(is_meant_for(event, "node1", services.into_iter()), want, "{event:?}");
        };
        check(&event("", "", ""), true);
        check(&event("^node", "", ""), true);
        check(&event("^other", "", ""), false);
        check(&event("", "^web$", ""), true);
        check(&event("", "^we$", ""), false);
        check(&event("", "web", "blue"), true);
        check(&event("", "db", "blue"), false);
        check(&event("(", "", ""), false);
        check(&UserEvent { version: 2, ..event("", "", "") }, false);
    }
}
