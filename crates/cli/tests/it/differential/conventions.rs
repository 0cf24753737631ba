//! What all endpoints share: methods, paths, scope, consistency, waiting, indentation, compression, refusals.

use testkit::differential::{delete, get, post, put, step};
use testkit::process::Spec;

#[test]
fn paths_and_methods() {
    let mut steps = vec![
        get("/"),
        put("/", ""),
        get("/v1"),
        get("/v1/"),
        get("/v1/nothing"),
        get("/v2/kv/a"),
        get("/nothing"),
        get("/ui"),
        get("/favicon.ico"),
        get("/v1/agent"),
        get("/v1/agent/"),
        get("/v1/catalog"),
        get("/v1/catalog/"),
        get("/v1/catalog/nodes/"),
        get("/v1//catalog/nodes"),
        get("/v1/./catalog/nodes"),
        get("/v1/catalog/../catalog/nodes"),
        get("/V1/catalog/nodes"),
        get("/v1/Catalog/nodes"),
        get("/v1/catalog/nodes%2F"),
        get("/v1%2Fcatalog/nodes"),
        get("/v1/catalog/service"),
        get("/v1/catalog/service/"),
        get("/v1/health"),
        get("/v1/health/service/web/extra"),
        get("/v1/connect"),
        get("/v1/connect/"),
        get("/debug/pprof/"),
        step("BREW", "/v1/catalog/nodes", ""),
        step("TRACE", "/v1/catalog/nodes", ""),
        step("HEAD", "/v1/catalog/nodes", ""),
        step("CONNECT", "/v1/catalog/nodes", ""),
        step("PATCH", "/v1/agent/self", "x"),
        post("/v1/catalog/nodes", ""),
        delete("/v1/catalog/nodes"),
        put("/v1/catalog/nodes", ""),
        put("/v1/catalog/datacenters", ""),
        get("/v1/catalog/register"),
        get("/v1/catalog/deregister"),
        post("/v1/catalog/register", "{}"),
    ];
    for path in [
        "/v1/agent/self",
        "/v1/agent/members",
        "/v1/agent/services",
        "/v1/agent/service/web",
        "/v1/agent/checks",
        "/v1/agent/reload",
        "/v1/agent/leave",
        "/v1/agent/monitor",
        "/v1/agent/metrics",
        "/v1/agent/host",
        "/v1/agent/maintenance",
        "/v1/agent/join/x",
        "/v1/agent/force-leave/x",
        "/v1/agent/token/x",
        "/v1/agent/service/register",
        "/v1/agent/service/deregister/x",
        "/v1/agent/service/maintenance/x",
        "/v1/agent/check/register",
        "/v1/agent/check/deregister/x",
        "/v1/agent/check/pass/x",
        "/v1/agent/check/warn/x",
        "/v1/agent/check/fail/x",
        "/v1/agent/check/update/x",
        "/v1/agent/health/service/name/x",
        "/v1/agent/health/service/id/x",
        "/v1/agent/connect/authorize",
        "/v1/agent/connect/ca/roots",
        "/v1/agent/connect/ca/leaf/x",
        "/v1/catalog/register",
        "/v1/catalog/deregister",
        "/v1/catalog/datacenters",
        "/v1/catalog/nodes",
        "/v1/catalog/services",
        "/v1/catalog/service/x",
        "/v1/catalog/connect/x",
        "/v1/catalog/node/x",
        "/v1/catalog/node-services/x",
        "/v1/catalog/gateway-services/x",
        "/v1/health/node/x",
        "/v1/health/checks/x",
        "/v1/health/service/x",
        "/v1/health/connect/x",
        "/v1/health/state/any",
        "/v1/health/ingress/x",
        "/v1/kv/x",
        "/v1/session/create",
        "/v1/session/destroy/x",
        "/v1/session/renew/x",
        "/v1/session/info/x",
        "/v1/session/node/x",
        "/v1/session/list",
        "/v1/status/leader",
        "/v1/status/peers",
        "/v1/connect/ca/roots",
        "/v1/connect/ca/configuration",
        "/v1/connect/intentions",
        "/v1/connect/intentions/match",
        "/v1/connect/intentions/check",
        "/v1/connect/intentions/x",
        "/v1/config",
        "/v1/config/service-defaults",
        "/v1/config/service-defaults/x",
        "/v1/txn",
        "/v1/event/list",
        "/v1/coordinate/nodes",
        "/v1/operator/raft/configuration",
        "/v1/snapshot",
        "/v1/query",
        "/v1/internal/ui/services",
        "/v1/internal/ui/nodes",
        "/v1/discovery-chain/x",
        "/v1/acl/tokens",
    ] {
        steps.push(step("OPTIONS", path, ""));
    }
    let wanted = super::whole(
        &[
            "OPTIONS /v1/txn",
            "OPTIONS /v1/query",
            "OPTIONS /v1/internal/ui/services",
            "OPTIONS /v1/internal/ui/nodes",
            "OPTIONS /v1/discovery-chain/x",
            "OPTIONS /v1/acl/tokens",
        ],
        "not there yet",
    );
    super::run("conventions_paths", steps, &wanted);
}

#[test]
fn scope_and_consistency() {
    let mut steps = Vec::new();
    for path in [
        "/v1/catalog/nodes",
        "/v1/health/service/consul",
        "/v1/kv/none",
        "/v1/session/list",
        "/v1/connect/intentions",
        "/v1/config/service-defaults",
        "/v1/connect/ca/roots",
        "/v1/catalog/services",
    ] {
        for query in [
            "?dc=dc1",
            "?dc=dc9",
            "?dc=",
            "?ns=default",
            "?ns=team",
            "?ns=",
            "?ns=*",
            "?stale",
            "?consistent",
            "?stale&consistent",
            "?leader",
            "?stale&max_stale=10s",
            "?stale&max_stale=x",
            "?consistent&max_stale=10s",
            "?cached",
            "?cached&stale",
            "?cached&consistent",
            "?index=abc",
            "?index=-1",
            "?wait=abc",
            "?index=0&wait=-1s",
            "?index=1&wait=50ms",
            "?index=1&index=2&wait=50ms",
            "?token=anything",
            "?token=",
            "?pretty",
            "?pretty=false",
            "?pretty=0",
            "?unknown=1",
            "?filter=",
            "?near=_agent",
            "?near=nobody",
            "?node-meta=a:b",
            "?node-meta=a",
            "?node-meta=",
        ] {
            steps.push(get(format!("{path}{query}")));
        }
    }
    for (name, value) in [
        ("X-Consul-Token", "anything"),
        ("Authorization", "Bearer anything"),
        ("Authorization", "Basic YTpi"),
        ("X-Consul-Namespace", "default"),
        ("X-Consul-Namespace", "team"),
        ("Accept", "text/html"),
        ("Accept-Encoding", "gzip"),
        ("Accept-Encoding", "deflate, gzip;q=1.0, *;q=0.5"),
        ("Accept-Encoding", "gzip;q=0"),
        ("Accept-Encoding", "br"),
        ("Cache-Control", "no-cache"),
        ("Cache-Control", "max-age=10"),
        ("Cache-Control", "max-age=x"),
        ("Cache-Control", "stale-if-error=10"),
        ("Cache-Control", "must-revalidate"),
        ("Origin", "http://elsewhere.example"),
        ("If-None-Match", "*"),
        ("Range", "bytes=0-3"),
        ("Expect", "100-continue"),
    ] {
        steps.push(
            get("/v1/catalog/nodes")
                .header(name, value)
                .name(&format!("nodes with {name}: {value}")),
        );
        steps.push(
            get("/v1/health/service/consul?cached")
                .header(name, value)
                .name(&format!("cached with {name}: {value}")),
        );
    }
    // A small answer and a large one: only the large one is worth compressing.
    steps.push(put("/v1/kv/large", "x".repeat(4000)));
    steps.push(get("/v1/kv/large").header("Accept-Encoding", "gzip"));
    steps.push(get("/v1/kv/large?raw").header("Accept-Encoding", "gzip"));
    steps.push(get("/v1/kv/none").header("Accept-Encoding", "gzip"));
    super::run("conventions_scope", steps, &[]);
}

#[test]
fn an_agent_in_development_indents() {
    let steps = vec![
        get("/v1/catalog/nodes"),
        get("/v1/catalog/services"),
        get("/v1/status/leader"),
        put("/v1/kv/a", "x"),
        get("/v1/kv/a"),
        get("/v1/kv/?keys"),
        get("/v1/session/list"),
        get("/v1/connect/intentions"),
        get("/v1/connect/ca/roots"),
        put("/v1/agent/check/pass/none", ""),
        put("/v1/agent/service/register", r#"{"Name":"web"}"#),
        get("/v1/agent/services"),
        get("/v1/agent/health/service/name/web"),
        get("/"),
    ];
    let wanted = super::whole(&["GET /"], "no pages are served yet");
    super::run_with("conventions_dev", |program| Spec::new(program).dev(), steps, &wanted);
}

#[test]
fn headers_of_the_configuration() {
    let spec = |program: &std::path::Path| {
        Spec::new(program).config(serde_json::json!({
            "http_config": {
                "response_headers": { "X-Team": "blue", "Access-Control-Allow-Origin": "*" },
                "block_endpoints": ["/v1/agent/metrics", "/v1/session"],
            },
            "limits": { "kv_max_value_size": 100 },
        }))
    };
    let steps = vec![
        get("/v1/status/leader"),
        get("/v1/nothing"),
        get("/v1/agent/metrics"),
        get("/v1/session/list"),
        put("/v1/session/create", ""),
        step("OPTIONS", "/v1/session/list", ""),
        put("/v1/kv/a", "x".repeat(100)),
        put("/v1/kv/a", "x".repeat(101)),
        get("/"),
    ];
    super::run_with("conventions_config", spec, steps, &[]);
}
