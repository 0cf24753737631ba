//! `/v1/operator/*`: consensus, autopilot and gossip keys of a single server.

use testkit::differential::{Step, delete, get, post, put, step};

use super::whole;

#[test]
fn consensus() {
    let steps = vec![
        get("/v1/operator/raft/configuration").until("Voter").ignore("/Index"),
        get("/v1/operator/raft/configuration?stale&pretty").ignore("/Index"),
        get("/v1/operator/raft/configuration?stale&consistent"),
        get("/v1/operator/raft/configuration?dc=dc9"),
        delete("/v1/operator/raft/peer"),
        delete("/v1/operator/raft/peer?id=x&address=y"),
        delete("/v1/operator/raft/peer?id=&address="),
        delete("/v1/operator/raft/peer?id=x"),
        delete("/v1/operator/raft/peer?address=192.0.2.1:1"),
        delete("/v1/operator/raft/peer?id=x&dc=dc9"),
        get("/v1/operator/raft/peer?id=x"),
        put("/v1/operator/raft/configuration", ""),
        step("OPTIONS", "/v1/operator/raft/configuration", ""),
        step("OPTIONS", "/v1/operator/raft/peer", ""),
        get("/v1/operator/raft/"),
        post("/v1/operator/raft/transfer-leader?id=none", ""),
        get("/v1/operator/raft/transfer-leader"),
    ];
    let newer = "newer than 1.8.7";
    let newer: Vec<_> = [
        whole(&["POST /v1/operator/raft/transfer-leader?id=none"], newer),
        whole(&["GET /v1/operator/raft/transfer-leader"], newer),
    ]
    .concat();
    super::run("operator_raft", steps, &newer);
}

/// What a configuration says but for its indexes, which depend on what else a log holds.
fn configuration(path: &str) -> Step {
    get(path).ignore("/CreateIndex").ignore("/ModifyIndex")
}

#[test]
fn autopilot() {
    let path = "/v1/operator/autopilot/configuration";
    let steps = vec![
        get("/v1/operator/autopilot/health")
            .until("\"Healthy\":true")
            .ignore("/Servers/*/StableSince")
            .ignore("/Servers/*/LastIndex")
            .ignore("/Servers/*/LastTerm"),
        get("/v1/operator/autopilot/health?dc=dc9"),
        put("/v1/operator/autopilot/health", ""),
        configuration(path),
        get(format!("{path}?dc=dc9")),
        get(format!("{path}?stale&consistent")),
        put(path, ""),
        put(path, "x"),
        put(path, "[]"),
        put(path, r#"{"Bogus":1}"#),
        put(path, r#"{"MaxTrailingLogs":"x"}"#),
        put(path, r#"{"LastContactThreshold":"x"}"#),
        put(path, r#"{"LastContactThreshold":""}"#),
        put(format!("{path}?cas=x"), "{}"),
        put(format!("{path}?cas=1"), "{}"),
        put(format!("{path}?dc=dc9"), "{}"),
        put(path, "{}").name("all left out"),
        configuration(path).name("after all was left out"),
        put(
            path,
            r#"{"CleanupDeadServers":false,"LastContactThreshold":"300ms","MinQuorum":3,"ServerStabilizationTime":5000000000}"#,
        )
        .name("some set"),
        configuration(path).name("after some were set").capture("index", "/ModifyIndex"),
        put(format!("{path}?cas={{index}}"), r#"{"MaxTrailingLogs":7}"#).name("cas that holds"),
        put(format!("{path}?cas={{index}}"), r#"{"MaxTrailingLogs":8}"#).name("cas that lost"),
        configuration(path).name("after both"),
        put(path, "null"),
        step("OPTIONS", path, ""),
        get("/v1/operator/autopilot/state"),
    ];
    let wanted = whole(&["GET /v1/operator/autopilot/state"], "newer than 1.8.7");
    super::run("operator_autopilot", steps, &wanted);
}

#[test]
fn keyring() {
    let path = "/v1/operator/keyring";
    let key = r#"{"Key":"pUqJrVyVRj5jsiYEkM/tFQ=="}"#;
    let steps = vec![
        get(path),
        get(format!("{path}?local-only=true")),
        get(format!("{path}?local-only=no")),
        get(format!("{path}?relay-factor=5")),
        get(format!("{path}?relay-factor=6")),
        get(format!("{path}?relay-factor=-1")),
        get(format!("{path}?relay-factor=x")),
        post(path, ""),
        post(path, "{}"),
        post(path, key),
        put(path, key),
        step("DELETE", path, key),
        post(format!("{path}?local-only=true"), key),
        post(format!("{path}?relay-factor=9"), ""),
        put(path, r#"{"Key":"x"}"#),
        put(path, r##"{"key":"#"}"##),
        put(path, r#"{"key":"aGVsbG8"}"#),
        put(path, r#"{"key":"aG=VsbG8"}"#),
        put(path, r#"{"key":5}"#),
        put(path, r#"{"Bogus":"x"}"#),
        step("OPTIONS", path, ""),
        step("PATCH", path, ""),
    ];
    super::run("operator_keyring", steps, &[]);
}

#[test]
fn unknown_paths() {
    let steps = vec![get("/v1/operator/"), get("/v1/operator/nothing"), get("/v1/operator")];
    super::run("operator_paths", steps, &[]);
}
