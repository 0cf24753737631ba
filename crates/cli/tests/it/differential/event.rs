//! `/v1/event/*`: user events.

use testkit::differential::{Step, collect, get, post, put, step};

/// Ids are made at random, and the index is made from the last of them.
fn list(path: &str) -> Step {
    get(path).ignore_header("X-Consul-Index").ignore("/*/LTime")
}

#[test]
fn events() {
    let wide = "a".repeat(600);
    let steps = vec![
        get("/v1/event/list"),
        put("/v1/event/fire/", ""),
        put("/v1/event/fire/e?node=(", ""),
        put("/v1/event/fire/e?service=(", ""),
        put("/v1/event/fire/e?tag=(", ""),
        put("/v1/event/fire/e?tag=(&service=x", ""),
        put("/v1/event/fire/e?node=a)", ""),
        put("/v1/event/fire/e?node=[a", ""),
        put("/v1/event/fire/e?node=*", ""),
        put("/v1/event/fire/e?dc=dc9", ""),
        put("/v1/event/fire/wide", &wide),
        put("/v1/event/fire/limit", "a".repeat(406)),
        put("/v1/event/fire/limit", "a".repeat(407)),
        put("/v1/event/fire/limit", "a".repeat(420)),
        get("/v1/event/fire/e"),
        put("/v1/event/fire/deploy", "hello"),
        list("/v1/event/list").until("deploy").name("one event"),
        put("/v1/event/fire/other?pretty", ""),
        list("/v1/event/list").until("other").name("two events"),
        put("/v1/event/fire/a/b?node=^node", [0, 159, 146, 150]),
        list("/v1/event/list?name=a/b").until("a/b").name("by name"),
        // For another node, and for a service nobody offers: not for us.
        put("/v1/event/fire/elsewhere?node=^other", "x"),
        put("/v1/event/fire/nobody?service=none&tag=t", "x"),
        put("/v1/agent/service/register", r#"{"Name":"web","Tags":["blue","v1"]}"#),
        put("/v1/event/fire/green?service=^we&tag=green", "x"),
        put("/v1/event/fire/blue?service=^we&tag=^bl", "x"),
        list("/v1/event/list").until("blue").name("those meant for this agent"),
        get("/v1/event/list?name=none"),
        get("/v1/event/list?name=none&index=1&wait=50ms"),
        list("/v1/event/list?index=5&wait=1s").name("another index answers at once"),
        get("/v1/event/list?wait=x"),
        get("/v1/event/list?index=x"),
        list("/v1/event/list?dc=dc9").name("the datacenter is passed over"),
        list("/v1/event/list?name=").name("an empty name is none"),
        // A watcher: waits for the next event of a name.
        get("/v1/event/list?name=deploy")
            .name("before waiting")
            .ignore_header("X-Consul-Index")
            .ignore("/*/LTime")
            .capture_header("index", "X-Consul-Index"),
        get("/v1/event/list?name=deploy&index={index}&wait=10s")
            .hold("watcher")
            .ignore_header("X-Consul-Index")
            .ignore("/*/LTime"),
        put("/v1/event/fire/unrelated", ""),
        put("/v1/event/fire/deploy", "again"),
        collect("watcher").ignore_header("X-Consul-Index").ignore("/*/LTime"),
        post("/v1/event/fire/e", ""),
        post("/v1/event/list", ""),
        step("OPTIONS", "/v1/event/fire/e", ""),
        step("OPTIONS", "/v1/event/list", ""),
        get("/v1/event/"),
    ];
    super::run("event", steps, &[]);
}
