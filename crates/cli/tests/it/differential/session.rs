//! `/v1/session/*`: creation with every field, bad input, listing, renewal, invalidation by checks.

use std::time::Duration;

use testkit::differential::{Step, collect, delete, get, post, put, step};

/// A session nobody created.
const UNKNOWN: &str = "11111111-2222-3333-4444-555555555555";

#[test]
fn life() {
    let steps = vec![
        get("/v1/session/list"),
        get("/v1/session/node/node1"),
        get("/v1/session/node/nobody"),
        get("/v1/session/node/"),
        get("/v1/session/node"),
        get(format!("/v1/session/info/{UNKNOWN}")),
        get("/v1/session/info/x"),
        get("/v1/session/info/"),
        get("/v1/session/info"),
        put("/v1/session/create", "").capture("plain", "/ID"),
        get("/v1/session/info/{plain}"),
        get("/v1/session/info/{plain}?pretty"),
        get("/v1/session/list"),
        get("/v1/session/node/node1"),
        put("/v1/session/create?pretty", "{}").capture("second", "/ID"),
        get("/v1/session/list").unordered(""),
        put("/v1/session/renew/{plain}", ""),
        put(format!("/v1/session/renew/{UNKNOWN}"), ""),
        put("/v1/session/renew/x", ""),
        put("/v1/session/renew/", ""),
        put("/v1/session/destroy/{plain}", ""),
        put("/v1/session/destroy/{plain}", ""),
        put(format!("/v1/session/destroy/{UNKNOWN}"), ""),
        put("/v1/session/destroy/x", ""),
        put("/v1/session/destroy/", ""),
        get("/v1/session/info/{plain}"),
        put("/v1/session/renew/{plain}", ""),
        get("/v1/session/list"),
        post("/v1/session/create", "{}"),
        get("/v1/session/create"),
        delete("/v1/session/destroy/{second}"),
        post("/v1/session/list", ""),
        step("OPTIONS", "/v1/session/create", ""),
        step("OPTIONS", "/v1/session/list", ""),
        put("/v1/session/list", ""),
        get("/v1/session/nothing"),
        // A held list wakes when a session appears, a held info when it goes.
        get("/v1/session/list").capture_header("index", "X-Consul-Index"),
        get("/v1/session/list?index={index}&wait=60s").hold("list").name("held list"),
        put("/v1/session/create", r#"{"Name":"waker"}"#).capture("waker", "/ID"),
        collect("list").unordered("").capture_header("index", "X-Consul-Index"),
        get("/v1/session/info/{second}?index={index}&wait=60s").hold("info"),
        put("/v1/session/destroy/{second}", ""),
        collect("info"),
        get("/v1/session/info/{waker}?index=1&wait=10s"),
        get("/v1/session/info/{waker}").capture_header("index", "X-Consul-Index"),
        get("/v1/session/info/{waker}?index={index}&wait=50ms").waits(Duration::from_millis(50)),
        get("/v1/session/list?stale&consistent"),
        get("/v1/session/list?stale"),
        get("/v1/session/list?consistent"),
    ];
    super::run("session_life", steps, &[]);
}

#[test]
fn fields() {
    let create = |body: &str| put("/v1/session/create", body);
    let mut steps: Vec<Step> = Vec::new();
    for (n, body) in [
        r#"{"Name":"all","Node":"node1","LockDelay":"30s","Behavior":"delete","TTL":"20s","Checks":["serfHealth"]}"#,
        r#"{"LockDelay":20}"#,
        r#"{"LockDelay":20000000000}"#,
        r#"{"LockDelay":"20"}"#,
        r#"{"LockDelay":"1m0.5s"}"#,
        r#"{"LockDelay":0}"#,
        r#"{"LockDelay":"0s"}"#,
        r#"{"LockDelay":"61s"}"#,
        r#"{"LockDelay":"-5s"}"#,
        r#"{"LockDelay":"x"}"#,
        r#"{"LockDelay":""}"#,
        r#"{"LockDelay":null}"#,
        r#"{"LockDelay":true}"#,
        r#"{"LockDelay":1500}"#,
        r#"{"TTL":"10s"}"#,
        r#"{"TTL":"9s"}"#,
        r#"{"TTL":"9.999s"}"#,
        r#"{"TTL":"86400s"}"#,
        r#"{"TTL":"24h1s"}"#,
        r#"{"TTL":"0s"}"#,
        r#"{"TTL":"0"}"#,
        r#"{"TTL":""}"#,
        r#"{"TTL":"x"}"#,
        r#"{"TTL":20}"#,
        r#"{"Behavior":"release"}"#,
        r#"{"Behavior":"nothing"}"#,
        r#"{"Behavior":""}"#,
        r#"{"Behavior":1}"#,
        r#"{"Node":"nobody"}"#,
        r#"{"Node":""}"#,
        r#"{"Node":1}"#,
        r#"{"Checks":[]}"#,
        r#"{"Checks":["nothing"]}"#,
        r#"{"Checks":null}"#,
        r#"{"Checks":["serfHealth","serfHealth"]}"#,
        r#"{"NodeChecks":["serfHealth"]}"#,
        r#"{"NodeChecks":[]}"#,
        r#"{"NodeChecks":["nothing"]}"#,
        r#"{"ServiceChecks":[{"ID":"service:web"}]}"#,
        r#"{"ServiceChecks":[]}"#,
        r#"{"NodeChecks":["serfHealth"],"Checks":["serfHealth"]}"#,
        r#"{"ID":"11111111-2222-3333-4444-555555555555"}"#,
        r#"{"name":"lower","ttl":"15s","lockdelay":"1s"}"#,
        r#"{"lock_delay":"1s"}"#,
        r#"{"Unknown":1}"#,
        r#"{"Name":"<&>"}"#,
        r#"{"Name":"two"}{"Name":"documents"}"#,
        r#"{"Name":"#,
        r#"[]"#,
        r#""text""#,
        r#"null"#,
        r#"5"#,
        "not json",
        " ",
    ]
    .into_iter()
    .enumerate()
    {
        let id = format!("s{n}");
        steps.push(create(body).name(&format!("create {body}")).capture(&id, "/ID"));
        steps.push(get(format!("/v1/session/info/{{{id}}}")).name(&format!("info of {body}")));
    }
    steps.extend([
        create(r#"{"Node":"node1"}"#).header("Content-Type", "text/plain"),
        put("/v1/session/create?dc=dc1", "{}"),
        put("/v1/session/create?dc=dc9", "{}"),
        get("/v1/session/list?dc=dc9"),
    ]);
    super::run("session_fields", steps, &[]);
}

#[test]
fn invalidation() {
    let steps = vec![
        put(
            "/v1/agent/check/register",
            r#"{"Name":"alive","ID":"alive","TTL":"10m","Status":"passing"}"#,
        ),
        get("/v1/health/node/node1").until("\"alive\""),
        put(
            "/v1/session/create",
            r#"{"Name":"on alive","Checks":["serfHealth","alive"],"LockDelay":"0s"}"#,
        )
        .capture("one", "/ID"),
        put("/v1/kv/held?acquire={one}", "x"),
        put("/v1/agent/check/warn/alive", ""),
        get("/v1/health/node/node1").until("warning"),
        get("/v1/session/info/{one}").ignore("/0/ModifyIndex"),
        put("/v1/agent/check/fail/alive", ""),
        get("/v1/health/node/node1").until("critical"),
        get("/v1/session/info/{one}"),
        get("/v1/kv/held"),
        put("/v1/session/create", r#"{"Checks":["alive"]}"#),
        put("/v1/agent/check/pass/alive", ""),
        get("/v1/health/node/node1").until_not("critical"),
        put(
            "/v1/session/create",
            r#"{"NodeChecks":["alive"],"LockDelay":"0s","Behavior":"delete"}"#,
        )
        .capture("two", "/ID"),
        put("/v1/kv/mortal?acquire={two}", "x"),
        put("/v1/agent/check/deregister/alive", ""),
        get("/v1/kv/mortal").until_status(404),
        get("/v1/session/info/{two}"),
        get("/v1/session/list"),
        // The node goes and takes its sessions along.
        put(
            "/v1/catalog/register",
            r#"{"Node":"guest","Address":"10.0.0.9","Check":{"CheckID":"c","Name":"c","Status":"passing"}}"#,
        ),
        put("/v1/session/create", r#"{"Node":"guest","NodeChecks":["c"],"LockDelay":"0s"}"#)
            .capture("three", "/ID"),
        get("/v1/session/node/guest"),
        put("/v1/kv/guests?acquire={three}", "x"),
        put("/v1/catalog/deregister", r#"{"Node":"guest"}"#),
        get("/v1/session/info/{three}"),
        get("/v1/session/node/guest"),
        get("/v1/kv/guests"),
        // The shortest TTL there is ends after at most twice its time; a renewed one lives on.
        put("/v1/session/create", r#"{"TTL":"10s","LockDelay":"0s","Behavior":"delete"}"#)
            .capture("short", "/ID"),
        put("/v1/session/renew/{short}", ""),
    ];
    super::run("session_invalidation", steps, &[]);
}
