//! `/v1/coordinate/*`, and answers sorted by the distance from a node.

use testkit::differential::{Step, get, put, step};
use testkit::process::Spec;

/// Where a node stands in one direction, in seconds.
fn at(node: &str, seconds: &str) -> Step {
    let body = format!(
        r#"{{"Node":"{node}","Coord":{{"Vec":[{seconds},0,0,0,0,0,0,0],"Error":1.5,"Adjustment":0,"Height":0}}}}"#
    );
    put("/v1/coordinate/update", body).name(&format!("{node} stands at {seconds}"))
}

/// Replicated rows that two servers reach at different indexes.
fn rows(path: &str) -> Step {
    get(path)
        .ignore_header("X-Consul-Index")
        .ignore("/*/CreateIndex")
        .ignore("/*/ModifyIndex")
        .ignore("/*/Node/CreateIndex")
        .ignore("/*/Node/ModifyIndex")
        .ignore("/*/Service/CreateIndex")
        .ignore("/*/Service/ModifyIndex")
        .ignore("/*/Checks/*/CreateIndex")
        .ignore("/*/Checks/*/ModifyIndex")
}

#[test]
fn coordinates() {
    let register = |node: &str| {
        let body = format!(
            r#"{{"Node":"{node}","Address":"192.0.2.1","Service":{{"Service":"web"}},"Check":{{"Name":"c","ServiceID":"web","Status":"passing"}}}}"#
        );
        put("/v1/catalog/register", body).name(&format!("register {node}"))
    };
    let steps = vec![
        get("/v1/coordinate/datacenters")
            .ignore("/*/Coordinates/*/Coord/Vec/*")
            .ignore("/*/Coordinates/*/Coord/Error")
            .ignore("/*/Coordinates/*/Coord/Height")
            .ignore("/*/Coordinates/*/Coord/Adjustment"),
        get("/v1/coordinate/datacenters?dc=dc9")
            .ignore("/*/Coordinates/*/Coord/Vec/*")
            .ignore("/*/Coordinates/*/Coord/Error")
            .ignore("/*/Coordinates/*/Coord/Height")
            .ignore("/*/Coordinates/*/Coord/Adjustment"),
        get("/v1/coordinate/node/none"),
        get("/v1/coordinate/node/"),
        get("/v1/coordinate/nodes?dc=dc9"),
        put("/v1/coordinate/update", ""),
        put("/v1/coordinate/update", "x"),
        put("/v1/coordinate/update", r#"{"Node":"n","Bogus":1}"#),
        put("/v1/coordinate/update", r#"{"Node":"n","Coord":{"Vec":[1,2,3]}}"#),
        put("/v1/coordinate/update", r#"{"Node":5}"#),
        put("/v1/coordinate/update?dc=dc9", r#"{"Node":"n","Coord":{"Vec":[0,0,0,0,0,0,0,0]}}"#),
        put(
            "/v1/coordinate/update",
            r#"{"Datacenter":"dc9","Node":"n","Coord":{"Vec":[0,0,0,0,0,0,0,0]}}"#,
        ),
        put(
            "/v1/coordinate/update",
            r#"{"Node":"n","Segment":"s","Coord":{"Vec":[0,0,0,0,0,0,0,0]}}"#,
        )
        .name("of a node nobody knows"),
        register("a"),
        register("b"),
        register("c"),
        register("d"),
        at("a", "0.3"),
        at("c", "0.1"),
        at("d", "-0.2"),
        at("node1", "0"),
        rows("/v1/coordinate/node/a").until("0.3"),
        rows("/v1/coordinate/node/d").until("-0.2"),
        rows("/v1/coordinate/node/A"),
        rows("/v1/coordinate/node/a?segment="),
        rows("/v1/coordinate/node/a?segment=x"),
        rows("/v1/coordinate/nodes?segment=x"),
        rows("/v1/coordinate/nodes").until("node1"),
        rows("/v1/catalog/nodes?near=a"),
        rows("/v1/catalog/nodes?near=d"),
        rows("/v1/catalog/nodes?near=b").name("near a node nobody has placed"),
        rows("/v1/catalog/nodes?near=none"),
        rows("/v1/catalog/nodes?near=_ip"),
        rows("/v1/catalog/nodes?near="),
        rows("/v1/catalog/nodes?near=_agent"),
        rows("/v1/catalog/service/web?near=a"),
        rows("/v1/catalog/service/web?near=_agent"),
        rows("/v1/catalog/connect/web?near=a"),
        rows("/v1/health/service/web?near=a"),
        rows("/v1/health/service/web?near=c&passing"),
        rows("/v1/health/checks/web?near=a"),
        rows("/v1/health/state/any?near=a").ignore("/*/Output"),
        rows("/v1/health/node/a?near=a"),
        rows("/v1/catalog/services?near=a"),
        put("/v1/coordinate/nodes", ""),
        step("OPTIONS", "/v1/coordinate/nodes", ""),
        step("OPTIONS", "/v1/coordinate/update", ""),
        get("/v1/coordinate/"),
    ];
    // What the agents say of themselves would come at a time of its own.
    let silent = |program: &std::path::Path| {
        Spec::new(program).config(serde_json::json!({ "sync_coordinate_interval_min": "1h" }))
    };
    super::run_with("coordinate", silent, steps, &[]);
}

#[test]
fn coordinates_switched_off() {
    let off = |program: &std::path::Path| {
        Spec::new(program).config(serde_json::json!({ "disable_coordinates": true }))
    };
    let steps = vec![
        get("/v1/agent/self")
            .ignore("/Config")
            .ignore("/DebugConfig")
            .ignore("/Stats")
            .ignore("/Member")
            .ignore("/xDS"),
        get("/v1/coordinate/nodes"),
        get("/v1/coordinate/node/node1"),
        put("/v1/coordinate/update", ""),
        get("/v1/catalog/nodes?near=_agent")
            .ignore_header("X-Consul-Index")
            .ignore("/*/CreateIndex")
            .ignore("/*/ModifyIndex"),
        get("/v1/coordinate/datacenters"),
    ];
    super::run_with("coordinate_off", off, steps, &[]);
}
