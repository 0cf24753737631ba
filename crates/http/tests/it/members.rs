//! Pools and events: what differs for clients, and waiting for an event.

use model::event::UserEvent;
use rpc::Pools as _;

use crate::world::World;

#[tokio::test]
async fn clients_are_in_one_pool() {
    let world = World::client().await;
    let members = world.get("/v1/agent/members").await;
    assert!(members.text().contains(r#""role":"node""#), "{}", members.text());
    assert_eq!(world.get("/v1/agent/members?wan=1").await.text(), "null");
    let joined = world.put("/v1/agent/join/10.0.0.1?wan=1", b"").await;
    assert_eq!((joined.status, joined.text()), (500, "Must be a server to join WAN cluster"));
    let keys = world.get("/v1/operator/keyring").await;
    let text = "keyring operations must run against a server node";
    assert_eq!((keys.status, keys.text()), (500, text));
    assert_eq!(world.get("/v1/coordinate/datacenters").await.text(), "[]");
    assert_eq!(world.get("/v1/status/leader").await.status, 200);
}

#[tokio::test]
async fn a_wait_ends_with_the_next_event_of_its_name() {
    let world = World::new().await;
    let fire = |name: &str, id: &str| {
        let event = UserEvent { name: name.into(), id: id.into(), ..UserEvent::default() };
        world.alone.fire_event(event)
    };
    assert_eq!(world.get("/v1/event/list").await.text(), "[]");
    fire("a", "0abafbaa-1297-5c51-2199-7d85434c115c").await.unwrap();
    let first = world.get("/v1/event/list?index=1&wait=10s").await;
    assert_eq!(first.index(), 3108475705610685709);
    let waiting = world.get("/v1/event/list?name=a&index=3108475705610685709&wait=10s");
    let (second, ()) = tokio::join!(waiting, async {
        fire("b", "00000000-0000-0000-0000-000000000005").await.unwrap();
        fire("a", "00000000-0000-0000-0000-000000000007").await.unwrap();
    });
    assert_eq!(second.index(), 7);
    assert_eq!(second.text().matches(r#""Name":"a""#).count(), 2);
    assert_eq!(second.text().matches(r#""Name":"b""#).count(), 0);
}
