//! `/v1/agent/*` about the agent itself: self, members, metrics, host, monitor, reload, join, tokens, leave.

use testkit::differential::{get, post, put, step};
use testkit::process::Spec;

use super::row;

#[test]
fn itself() {
    let steps = vec![
        // What the agent says of its machine, build and moment is its own.
        get("/v1/agent/self")
            .ignore("/Config/Version")
            .ignore("/Config/Revision")
            .ignore("/DebugConfig")
            .ignore("/Stats")
            .ignore("/Coord/Vec/*")
            .ignore("/Coord/Error")
            .ignore("/Coord/Height")
            .ignore("/Coord/Adjustment")
            .ignore("/Member/Tags/build")
            .ignore("/xDS"),
        get("/v1/agent/self?pretty")
            .ignore("/Config")
            .ignore("/DebugConfig")
            .ignore("/Stats")
            .ignore("/Coord")
            .ignore("/Member")
            .ignore("/xDS"),
        get("/v1/agent/members").ignore("/*/Tags/build"),
        get("/v1/agent/members?wan").ignore("/*/Tags/build"),
        get("/v1/agent/members?wan=1").ignore("/*/Tags/build"),
        get("/v1/agent/members?segment=_all").ignore("/*/Tags/build"),
        get("/v1/agent/members?segment=none"),
        get("/v1/agent/members?wan&segment=x"),
        get("/v1/agent/metrics")
            .ignore("/Gauges")
            .ignore("/Points")
            .ignore("/Counters")
            .ignore("/Samples"),
        get("/v1/agent/metrics?format=prometheus"),
        get("/v1/agent/host")
            .ignore("/Memory")
            .ignore("/CPU")
            .ignore("/Host")
            .ignore("/Disk")
            .ignore("/CollectionTime")
            .ignore("/Errors"),
        get("/v1/agent/monitor?loglevel=nothing"),
        post("/v1/agent/self", ""),
        get("/v1/agent/reload"),
        put("/v1/agent/reload", ""),
        put("/v1/agent/reload?pretty", "ignored"),
        put("/v1/agent/join/127.0.0.1:1", ""),
        put("/v1/agent/join/", ""),
        put("/v1/agent/join/127.0.0.1:1?wan", ""),
        get("/v1/agent/join/127.0.0.1"),
        put("/v1/agent/force-leave/none", ""),
        put("/v1/agent/force-leave/", ""),
        put("/v1/agent/force-leave/none?prune", ""),
        get("/v1/agent/force-leave/none"),
        put("/v1/agent/token/default", r#"{"Token":"x"}"#),
        put("/v1/agent/token/acl_token", r#"{"Token":"x"}"#),
        put("/v1/agent/token/nothing", r#"{"Token":"x"}"#),
        put("/v1/agent/token/default", "not json"),
        put("/v1/agent/token/default", ""),
        get("/v1/agent/token/default"),
        put("/v1/agent/nothing", ""),
        step("OPTIONS", "/v1/agent/self", ""),
        get("/v1/agent/services"),
        get("/v1/agent/checks"),
        get("/v1/agent/leave"),
        put("/v1/agent/leave", ""),
    ];
    let pool = "why nobody was reached, in other words";
    let wanted = [
        row("GET /v1/agent/self", "body/Config/Product", "our own name"),
        row("GET /v1/agent/self", "body/Config/ProductVersion", "our own version"),
        row("*", "body/Member/Tags/lictor", "how our servers know one another"),
        row("*", "body/0/Tags/lictor", "how our servers know one another"),
        row("PUT /v1/agent/join/127.0.0.1:1", "body", pool),
        row("PUT /v1/agent/join/", "body", pool),
        row("PUT /v1/agent/join/127.0.0.1:1?wan", "body", pool),
    ];
    super::run("agent", steps, &wanted);
}

#[test]
fn files() {
    let spec = |program: &std::path::Path| {
        Spec::new(program)
            .config(serde_json::json!({ "node_meta": { "rack": "r1" }, "enable_local_script_checks": true }))
            .file(
                "web.hcl",
                r#"service {
  name = "web"
  id = "web-1"
  port = 8080
  tags = ["a", "b"]
  meta { version = "1" }
  token = "secret"
  enable_tag_override = true
  weights { passing = 5 warning = 2 }
  tagged_addresses {
    lan { address = "10.0.0.1" port = 80 }
    wan = { address = "192.0.2.1", port = 81 }
  }
  check {
    id = "web-ttl"
    name = "heartbeat"
    ttl = "1h"
    status = "passing"
  }
  checks = [
    { name = "second", ttl = "2h", status = "warning" },
  ]
  connect {
    sidecar_service {
      port = 20000
      proxy {
        upstreams = [
          { destination_name = "db", local_bind_port = 9191, config { connect_timeout_ms = 3000 } }
        ]
        config { local_connect_timeout_ms = 500 }
      }
    }
  }
}
check {
  name = "node alive"
  args = ["/bin/true"]
  interval = "1h"
  status = "passing"
}
"#,
            )
            .file("db.json", r#"{"services":[{"name":"db","port":5432},{"id":"db2","name":"db","port":5433,"check":{"ttl":"1h","notes":"n"}}],"checks":[{"id":"mem","name":"mem","ttl":"1h","service_id":"db2"}]}"#)
    };
    let steps = vec![
        get("/v1/agent/services"),
        get("/v1/agent/checks").ignore("/*/Output").ignore("/*/Status"),
        get("/v1/agent/service/web-1"),
        get("/v1/agent/service/web-1-sidecar-proxy"),
        get("/v1/catalog/node/node1")
            .until("web-1-sidecar-proxy")
            .ignore_header("X-Consul-Index")
            .ignore("/Services/*/CreateIndex")
            .ignore("/Services/*/ModifyIndex")
            .ignore("/Node/CreateIndex")
            .ignore("/Node/ModifyIndex"),
        get("/v1/catalog/nodes?node-meta=rack:r1"),
        get("/v1/agent/members").ignore("/*/Tags/build"),
        put("/v1/agent/service/deregister/db2", ""),
        get("/v1/agent/services").name("services without db2"),
        put("/v1/agent/reload", ""),
        get("/v1/agent/services").name("services after the reload"),
        get("/v1/agent/checks")
            .ignore("/*/Output")
            .ignore("/*/Status")
            .name("checks after the reload"),
    ];
    let mark = "how our servers know one another";
    let wanted = [row("GET /v1/agent/members", "body/0/Tags/lictor", mark)];
    super::run_with("agent_files", spec, steps, &wanted);
}
