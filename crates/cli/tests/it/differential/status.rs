//! `/v1/status/*`: who leads and who takes part.

use testkit::differential::{get, post, put, step};

#[test]
fn leader_and_peers() {
    let steps = vec![
        get("/v1/status/leader"),
        get("/v1/status/leader?pretty"),
        get("/v1/status/peers"),
        get("/v1/status/peers?pretty"),
        get("/v1/status/leader?dc=dc1"),
        get("/v1/status/leader?dc=dc9"),
        get("/v1/status/peers?dc=dc9"),
        get("/v1/status/leader/"),
        get("/v1/status/leader/extra"),
        get("/v1/status/"),
        get("/v1/status"),
        put("/v1/status/leader", ""),
        post("/v1/status/peers", ""),
        step("OPTIONS", "/v1/status/leader", ""),
        step("HEAD", "/v1/status/leader", ""),
    ];
    super::run("status", steps, &[]);
}
