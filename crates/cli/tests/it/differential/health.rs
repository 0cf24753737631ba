//! `/v1/health/*`: which instances are well, by node, service, state and mesh.

use std::time::Duration;

use testkit::differential::{Step, collect, get, put};

use super::row;

fn register(body: &str) -> Step {
    put("/v1/catalog/register", body)
}

/// One service with an instance of each health, one of them with a proxy.
fn population() -> Vec<Step> {
    let mut steps = vec![];
    for (n, (node, status)) in
        [("alpha", "passing"), ("beta", "warning"), ("gamma", "critical")].into_iter().enumerate()
    {
        steps.push(register(&format!(
            r#"{{"Node":"{node}","Address":"10.0.0.{n}","NodeMeta":{{"rack":"r{n}"}},"TaggedAddresses":{{"lan":"10.0.0.{n}"}},
            "Service":{{"ID":"web{n}","Service":"web","Tags":["v{n}","all"],"Port":808{n},"Meta":{{"n":"{n}"}}}},
            "Checks":[{{"CheckID":"service:web{n}","Name":"web","Status":"{status}","ServiceID":"web{n}"}},{{"CheckID":"serfHealth","Name":"Serf","Status":"passing"}}]}}"#
        )));
    }
    steps.extend([
        register(r#"{"Node":"sick","Address":"10.0.0.9","Service":{"Service":"web","Port":9},"Checks":[{"CheckID":"serfHealth","Name":"Serf","Status":"critical"}]}"#),
        register(r#"{"Node":"maint","Address":"10.0.0.8","Service":{"Service":"web","Port":9},"Checks":[{"CheckID":"_node_maintenance","Name":"Node Maintenance Mode","Status":"critical"}]}"#),
        register(
            r#"{"Node":"alpha","Address":"10.0.0.0","Service":{"Kind":"connect-proxy","ID":"p","Service":"web-proxy","Port":20000,"Tags":["v0"],
            "Proxy":{"DestinationServiceName":"web"}},"Check":{"CheckID":"service:p","Name":"p","Status":"passing","ServiceID":"p"}}"#,
        ),
        register(r#"{"Node":"bare","Address":"10.0.0.4"}"#),
    ]);
    steps
}

#[test]
fn reading() {
    let mut steps = population();
    for path in [
        "/v1/health/node/alpha",
        "/v1/health/node/node1",
        "/v1/health/node/bare",
        "/v1/health/node/none",
        "/v1/health/node/",
        "/v1/health/checks/web",
        "/v1/health/checks/none",
        "/v1/health/checks/",
        "/v1/health/checks/consul",
        "/v1/health/service/web",
        "/v1/health/service/none",
        "/v1/health/service/",
        "/v1/health/service/consul",
        "/v1/health/connect/web",
        "/v1/health/connect/none",
        "/v1/health/connect/",
        "/v1/health/connect/web-proxy",
        "/v1/health/ingress/web",
        "/v1/health/ingress/",
        "/v1/health/state/any",
        "/v1/health/state/passing",
        "/v1/health/state/warning",
        "/v1/health/state/critical",
        "/v1/health/state/nothing",
        "/v1/health/state/",
        "/v1/health/state/PASSING",
        "/v1/health/state/unknown",
    ] {
        steps.push(get(path));
    }
    for query in [
        "passing",
        "passing=1",
        "passing=true",
        "passing=0",
        "passing=false",
        "passing=maybe",
        "passing=",
        "tag=v0",
        "tag=all&tag=v1",
        "tag=V0",
        "tag=none",
        "tag=&passing",
        "near=beta",
        "near=_agent&passing",
        "node-meta=rack:r1",
        "node-meta=rack:r1&node-meta=x:y",
        "stale",
        "consistent",
        "stale&consistent",
        "pretty",
        "filter=Service.Port+==+8080",
        "filter=Node.Meta.rack+==+r1",
        "filter=Checks.Status+==+warning",
        "filter=%22v1%22+in+Service.Tags",
        "filter=Service.Meta.n+==+1",
        "filter=Node.Node+==+alpha&passing",
        "filter=Bad+==+1",
        "filter=((",
        "filter=Checks.CheckID+contains+serf",
        "filter=Service.Tags+is+empty",
        "filter=any+Checks+as+c+{+c.Status+==+passing+}",
        "dc=dc1",
        "dc=dc9",
        "index=0",
        "ns=default",
    ] {
        steps.push(get(format!("/v1/health/service/web?{query}")));
    }
    for query in
        ["passing", "tag=v0", "filter=Service.Kind+==+%22connect-proxy%22", "near=alpha", "pretty"]
    {
        steps.push(get(format!("/v1/health/connect/web?{query}")));
    }
    for query in [
        "filter=Status+==+passing",
        "filter=Node+==+alpha",
        "near=alpha",
        "node-meta=rack:r0",
        "filter=Bad+==+1",
        "pretty",
    ] {
        steps.push(get(format!("/v1/health/state/any?{query}")));
        steps.push(get(format!("/v1/health/checks/web?{query}")));
        steps.push(get(format!("/v1/health/node/alpha?{query}")));
    }
    for path in ["/v1/health/service/web", "/v1/health/connect/web", "/v1/health/node/alpha"] {
        steps.push(get(format!("{path}?cached")).name(&format!("first cached {path}")));
        steps.push(get(format!("{path}?cached")).name(&format!("second cached {path}")));
        steps.push(get(format!("{path}?cached&passing")));
        steps.push(get(format!("{path}?cached")).header("Cache-Control", "max-age=3600"));
        steps.push(
            get(format!("{path}?cached")).header("Cache-Control", "max-age=0, stale-if-error=10"),
        );
    }
    let labels = "a node may come to carry the label, or lose it";
    let wanted = [
        row("GET /v1/health/state/any?node-meta=rack:r0", "header x-consul-index", labels),
        row("GET /v1/health/checks/web?node-meta=rack:r0", "header x-consul-index", labels),
    ];
    super::run("health_reading", steps, &wanted);
}

#[test]
fn blocking() {
    let check = |status: &str| {
        register(&format!(
            r#"{{"Node":"a","Address":"10.0.0.1","SkipNodeUpdate":true,"Check":{{"CheckID":"service:web","Name":"w","Status":"{status}","ServiceID":"web"}}}}"#
        ))
    };
    let held = |name: &str, path: &str| {
        get(format!("{path}{}index={{index}}&wait=60s", if path.contains('?') { "&" } else { "?" }))
            .hold(name)
    };
    let steps = vec![
        register(
            r#"{"Node":"a","Address":"10.0.0.1","Service":{"Service":"web","Port":1},"Check":{"CheckID":"service:web","Name":"w","Status":"passing","ServiceID":"web"}}"#,
        ),
        get("/v1/health/service/web").capture_header("index", "X-Consul-Index"),
        get("/v1/health/service/web?index={index}&wait=50ms").waits(Duration::from_millis(50)),
        get("/v1/health/service/none?index={index}&wait=50ms").waits(Duration::from_millis(50)),
        held("service", "/v1/health/service/web"),
        held("passing", "/v1/health/service/web?passing"),
        held("checks", "/v1/health/checks/web"),
        held("node", "/v1/health/node/a"),
        held("state", "/v1/health/state/warning"),
        held("any", "/v1/health/state/any"),
        held("cached", "/v1/health/service/web?cached"),
        held("connect", "/v1/health/connect/web"),
        check("warning"),
        collect("service"),
        collect("passing"),
        collect("checks"),
        collect("node"),
        collect("state"),
        collect("any"),
        collect("cached"),
        register(
            r#"{"Node":"a","Address":"10.0.0.1","Service":{"Kind":"connect-proxy","Service":"web-proxy","Port":3,"Proxy":{"DestinationServiceName":"web"}}}"#,
        ),
        collect("connect"),
        get("/v1/health/service/web").capture_header("index", "X-Consul-Index"),
        // The same status again is no news.
        check("warning"),
        get("/v1/health/service/web?index={index}&wait=50ms").waits(Duration::from_millis(50)),
        held("gone", "/v1/health/service/web"),
        put("/v1/catalog/deregister", r#"{"Node":"a","ServiceID":"web"}"#),
        collect("gone"),
        get("/v1/health/service/web").capture_header("index", "X-Consul-Index"),
        held("born", "/v1/health/service/web"),
        register(r#"{"Node":"a","Address":"10.0.0.1","Service":{"Service":"web","Port":1}}"#),
        collect("born"),
        get("/v1/health/service/web").capture_header("index", "X-Consul-Index"),
        held("node change", "/v1/health/service/web"),
        register(r#"{"Node":"a","Address":"10.0.0.2"}"#),
        collect("node change"),
    ];
    super::run("health_blocking", steps, &[]);
}
