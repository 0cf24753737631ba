//! `/v1/catalog/*`: registration of nodes, services and checks by hand, reading them back in every form.

use std::time::Duration;

use testkit::differential::{Step, collect, get, put};

use super::row;

/// Why a node that is not there has another index than 1.
const NO_NODE: &str = "has the index of the tables, so that who waits learns that it went";

fn register(body: &str) -> Step {
    put("/v1/catalog/register", body)
}

fn deregister(body: &str) -> Step {
    put("/v1/catalog/deregister", body)
}

/// Three nodes with services of all kinds.
fn population() -> Vec<Step> {
    vec![
        register(
            r#"{"Node":"alpha","Address":"10.0.0.1","ID":"aaaaaaaa-1111-2222-3333-444444444444","TaggedAddresses":{"lan":"10.0.0.1","wan":"192.0.2.1"},
            "NodeMeta":{"rack":"r1","zone":"a"},"Service":{"ID":"web1","Service":"web","Tags":["v1","blue"],"Address":"10.1.0.1","Port":8080,
            "Meta":{"version":"1"},"TaggedAddresses":{"lan":{"address":"10.1.0.1","port":8080},"wan":{"address":"192.0.2.10","port":80}},
            "Weights":{"Passing":10,"Warning":1},"EnableTagOverride":true},
            "Check":{"Node":"alpha","CheckID":"service:web1","Name":"web alive","Status":"passing","ServiceID":"web1","Notes":"n","Output":"o"}}"#,
        ),
        register(
            r#"{"Node":"alpha","Address":"10.0.0.1","SkipNodeUpdate":true,"Service":{"Service":"db","Port":5432}}"#,
        ),
        register(
            r#"{"Node":"beta","Address":"10.0.0.2","NodeMeta":{"rack":"r2"},"Service":{"ID":"web2","Service":"web","Tags":["v2"],"Port":8081},
            "Checks":[{"CheckID":"service:web2","Name":"a","Status":"warning","ServiceID":"web2"},{"CheckID":"disk","Name":"disk","Status":"passing"}]}"#,
        ),
        register(
            r#"{"Node":"beta","Address":"10.0.0.2","Service":{"Kind":"connect-proxy","ID":"web2-proxy","Service":"web-proxy","Port":20000,
            "Proxy":{"DestinationServiceName":"web","DestinationServiceID":"web2","LocalServiceAddress":"127.0.0.1","LocalServicePort":8081,
            "Config":{"a":1},"Upstreams":[{"DestinationType":"service","DestinationName":"db","LocalBindPort":9191,"Config":{"b":"c"}}]}}}"#,
        ),
        register(
            r#"{"Node":"gamma","Address":"10.0.0.3","Service":{"ID":"native","Service":"web","Port":1,"Connect":{"Native":true}}}"#,
        ),
        register(
            r#"{"Node":"gamma","Address":"10.0.0.3","Check":{"Name":"no id","Status":"critical"}}"#,
        ),
        register(r#"{"Node":"bare","Address":"10.0.0.4"}"#),
    ]
}

#[test]
fn reading() {
    let mut steps = population();
    for path in [
        "/v1/catalog/nodes",
        "/v1/catalog/service/web",
        "/v1/catalog/service/db",
        "/v1/catalog/service/web-proxy",
        "/v1/catalog/service/none",
        "/v1/catalog/connect/web",
        "/v1/catalog/connect/none",
        "/v1/catalog/connect/web-proxy",
        "/v1/catalog/node/alpha",
        "/v1/catalog/node/beta",
        "/v1/catalog/node/bare",
        "/v1/catalog/node/none",
        "/v1/catalog/node/node1",
        "/v1/catalog/node-services/alpha",
        "/v1/catalog/node-services/beta",
        "/v1/catalog/node-services/bare",
        "/v1/catalog/node-services/none",
        "/v1/catalog/node/aaaaaaaa-1111-2222-3333-444444444444",
        "/v1/catalog/node-services/aaaaaaaa-1111-2222-3333-444444444444",
        "/v1/catalog/node/ALPHA",
        "/v1/catalog/service/WEB",
        "/v1/catalog/datacenters",
        "/v1/catalog/gateway-services/none",
        "/v1/catalog/service/",
        "/v1/catalog/connect/",
        "/v1/catalog/node/",
        "/v1/catalog/node-services/",
        "/v1/catalog/gateway-services/",
        "/v1/catalog/service/we%62",
        "/v1/catalog/service/a%2Fb",
        "/v1/catalog/service/web/",
    ] {
        steps.push(get(path));
    }
    for query in [
        "pretty",
        "stale",
        "consistent",
        "stale&consistent",
        "cached",
        "tag=v1",
        "tag=V1",
        "tag=none",
        "tag=v1&tag=blue",
        "tag=v1&tag=v2",
        "tag=",
        "near=alpha",
        "near=_agent",
        "near=nobody",
        "node-meta=rack:r1",
        "node-meta=rack:r1&node-meta=zone:a",
        "node-meta=rack:r1&node-meta=zone:b",
        "node-meta=rack",
        "node-meta=rack:",
        "node-meta=:",
        "filter=ServicePort+==+8080",
        "filter=ServiceMeta.version+==+%221%22",
        "filter=Node+matches+%22^a%22",
        "filter=%22v2%22+in+ServiceTags",
        "filter=ServiceTags+contains+v1+and+not+Node+==+beta",
        "filter=ServiceAddress+is+empty",
        "filter=NodeMeta.rack+is+not+empty",
        "filter=Nothing+==+1",
        "filter=ServicePort+==+x",
        "filter=ServicePort",
        "filter=(",
        "filter=Node+==",
        "filter=Node+==+%22unclosed",
        "filter=ServiceConnect.Native+==+true",
        "filter=ServiceProxy.DestinationServiceName+==+web",
        "filter=NodeMeta[%22rack%22]+==+r1",
        "filter=Node+in+ServiceTags",
        "filter=ServiceWeights.Passing+==+10",
        "filter=ServiceTaggedAddresses.lan.Address+==+%2210.1.0.1%22",
        "filter=Node+!=+alpha+or+Node+==+alpha",
    ] {
        steps.push(get(format!("/v1/catalog/service/web?{query}")));
    }
    for query in [
        "node-meta=rack:r1",
        "filter=Meta.rack+==+r1",
        "filter=Node+==+alpha",
        "filter=Bad+==+1",
        "near=alpha",
        "near=beta&pretty",
        "filter=TaggedAddresses.wan+==+%22192.0.2.1%22",
        "filter=ID+is+empty",
        "filter=Address+matches+%22^10%22",
        "filter=Datacenter+==+dc1",
    ] {
        steps.push(get(format!("/v1/catalog/nodes?{query}")));
    }
    for query in
        ["node-meta=rack:r1", "filter=Node+==+alpha", "near=alpha", "cached", "tag=v1", "stale"]
    {
        // Tags come out of a set there.
        steps.push(get(format!("/v1/catalog/services?{query}")).unordered("/*"));
    }
    steps.push(get("/v1/catalog/services").unordered("/*"));
    for query in [
        "filter=Service+==+web",
        "filter=Port+==+5432",
        "filter=Bad+==+1",
        "filter=Meta.version+==+1",
        "filter=Tags+contains+blue",
    ] {
        steps.push(get(format!("/v1/catalog/node/alpha?{query}")));
        steps.push(get(format!("/v1/catalog/node-services/alpha?{query}")));
    }
    steps.extend([
        get("/v1/catalog/connect/web?tag=v1"),
        get("/v1/catalog/connect/web?filter=ServiceKind+==+%22connect-proxy%22"),
        get("/v1/catalog/connect/web?cached"),
        get("/v1/catalog/datacenters?cached"),
        get("/v1/catalog/datacenters?cached"),
        get("/v1/catalog/datacenters?pretty"),
        get("/v1/catalog/service/web?cached").name("cached again"),
        get("/v1/catalog/services?cached").unordered("/*").name("services cached again"),
    ]);
    let wanted = [
        row("GET /v1/catalog/node/none", "header x-consul-index", NO_NODE),
        row("GET /v1/catalog/node-services/none", "header x-consul-index", NO_NODE),
    ];
    super::run("catalog_reading", steps, &wanted);
}

#[test]
fn writing() {
    let mut steps = population();
    for body in [
        r#"{}"#,
        r#"{"Node":"x"}"#,
        r#"{"Address":"1.2.3.4"}"#,
        r#"{"Node":"","Address":"1.2.3.4"}"#,
        r#"{"Node":"x","Address":""}"#,
        r#"{"Node":"x","Address":"1.2.3.4","ID":"not-a-uuid"}"#,
        r#"{"Node":"x","Address":"1.2.3.4","ID":"aaaaaaaa-1111-2222-3333-444444444444"}"#,
        r#"{"Node":"ALPHA","Address":"1.2.3.4","ID":"bbbbbbbb-1111-2222-3333-444444444444"}"#,
        r#"{"Node":"x","Address":"1.2.3.4","Service":{}}"#,
        r#"{"Node":"x","Address":"1.2.3.4","Service":{"ID":"only-id"}}"#,
        r#"{"Node":"x","Address":"1.2.3.4","Service":{"Service":"s","Port":"80"}}"#,
        r#"{"Node":"x","Address":"1.2.3.4","Service":{"Service":"odd","Port":-1}}"#,
        r#"{"Node":"x","Address":"1.2.3.4","Service":{"Service":"odd","Port":70000}}"#,
        r#"{"Node":"x","Address":"1.2.3.4","Service":{"Service":"odd","Kind":"nothing"}}"#,
        r#"{"Node":"x","Address":"1.2.3.4","Service":{"Service":"s","Kind":"connect-proxy"}}"#,
        r#"{"Node":"x","Address":"1.2.3.4","Service":{"Service":"s","Kind":"connect-proxy","Port":1}}"#,
        r#"{"Node":"x","Address":"1.2.3.4","Service":{"Service":"s","Kind":"connect-proxy","Proxy":{"DestinationServiceName":"web"}}}"#,
        r#"{"Node":"x","Address":"1.2.3.4","Service":{"Service":"s","Kind":"connect-proxy","Port":1,"Proxy":{"DestinationServiceName":"*"}}}"#,
        r#"{"Node":"x","Address":"1.2.3.4","Service":{"Service":"s","Kind":"connect-proxy","Port":1,"Connect":{"Native":true},"Proxy":{"DestinationServiceName":"web"}}}"#,
        r#"{"Node":"x","Address":"1.2.3.4","Service":{"Service":"s","Proxy":{"DestinationServiceName":"web"}}}"#,
        r#"{"Node":"x","Address":"1.2.3.4","Service":{"Service":"odd","Weights":{"Passing":-1,"Warning":1}}}"#,
        r#"{"Node":"x","Address":"1.2.3.4","Service":{"Service":"odd","Weights":{"Passing":70000,"Warning":1}}}"#,
        r#"{"Node":"x","Address":"1.2.3.4","Service":{"Service":"s","Meta":{"":"empty"}}}"#,
        r#"{"Node":"x","Address":"1.2.3.4","Service":{"service":"lower","port":5,"tags":["a"]}}"#,
        r#"{"node":"lower","address":"1.2.3.5","node_meta":{"a":"b"},"NodeMeta":{"c":"d"}}"#,
        r#"{"Node":"x","Address":"1.2.3.4","Check":{}}"#,
        r#"{"Node":"x","Address":"1.2.3.4","Check":{"Name":"n"}}"#,
        r#"{"Node":"x","Address":"1.2.3.4","Check":{"Name":"odd","Status":"nothing"}}"#,
        r#"{"Node":"x","Address":"1.2.3.4","Check":{"Name":"n","Status":"passing","ServiceID":"missing"}}"#,
        r#"{"Node":"x","Address":"1.2.3.4","Check":{"Node":"other","Name":"n","Status":"passing"}}"#,
        r#"{"Node":"x","Address":"1.2.3.4","Check":{"CheckID":"d","Name":"n","Status":"passing","Definition":{"HTTP":"http://x","Interval":"10s","Timeout":"1s","DeregisterCriticalServiceAfter":"1m","TCP":"a:1","Header":{"a":["b"]},"Method":"GET","TLSSkipVerify":true}}}"#,
        r#"{"Node":"x","Address":"1.2.3.4","Check":{"CheckID":"e","Name":"n","Status":"passing","Definition":{"IntervalDuration":"10s","Interval":5}}}"#,
        r#"{"Node":"x","Address":"1.2.3.4","Checks":[{"CheckID":"1","Name":"n","Status":"passing"},{"CheckID":"2","Name":"m","Status":"critical","Node":"x"}]}"#,
        r#"{"Node":"x","Address":"1.2.3.4","Datacenter":"dc1"}"#,
        r#"{"Node":"x","Address":"1.2.3.4","Datacenter":"dc9"}"#,
        r#"{"Node":"x","Address":"1.2.3.4","Unknown":1}"#,
        r#"{"Node":"x","Address":"1.2.3.4","NodeMeta":{"consul-reserved":"v"}}"#,
        r#"{"Node":"x","Address":"1.2.3.4","NodeMeta":{"sp ace":"v"}}"#,
        r#"{"Node":"x","Address":"1.2.3.4","TaggedAddresses":{"anything":"goes"}}"#,
        r#"{"Node":"sp ace","Address":"not an address"}"#,
        r#"{"Node":"x","Address":"1.2.3.4"}{"Node":"y","Address":"1.2.3.4"}"#,
        r#"{"Node":5,"Address":"1.2.3.4"}"#,
        r#"{"Node":"#,
        r#"[]"#,
        r#"null"#,
        r#""#,
        r#"not json"#,
    ] {
        steps.push(register(body).name(&format!("register {body}")));
    }
    // The real one took them.
    steps.push(deregister(r#"{"Node":"x","ServiceID":"odd"}"#));
    steps.push(deregister(r#"{"Node":"x","CheckID":"odd"}"#));
    // Every table moves on both sides, so that their indexes go together again.
    steps.push(register(
        r#"{"Node":"x","Address":"1.2.3.9","Service":{"Service":"after"},"Check":{"CheckID":"after","Name":"after"}}"#,
    ));
    steps.extend([
        get("/v1/catalog/nodes"),
        get("/v1/catalog/node/x"),
        get("/v1/health/node/x"),
        get("/v1/catalog/node/lower"),
        put("/v1/catalog/register?pretty", r#"{"Node":"x","Address":"1.2.3.4"}"#),
        // The same again moves no index; a change of one thing moves only its own.
        register(r#"{"Node":"still","Address":"10.9.9.9","Service":{"Service":"calm","Port":1},"Check":{"CheckID":"c","Name":"c","Status":"passing"}}"#),
        get("/v1/catalog/node/still"),
        register(r#"{"Node":"still","Address":"10.9.9.9","Service":{"Service":"calm","Port":1},"Check":{"CheckID":"c","Name":"c","Status":"passing"}}"#),
        get("/v1/catalog/node/still"),
        register(r#"{"Node":"still","Address":"10.9.9.9","Service":{"Service":"calm","Port":2}}"#),
        get("/v1/catalog/node/still"),
        get("/v1/health/node/still"),
        register(r#"{"Node":"still","Address":"10.9.9.8","SkipNodeUpdate":true,"Service":{"Service":"calm","Port":2}}"#),
        get("/v1/catalog/node/still"),
        register(r#"{"Node":"still","Address":"10.9.9.7"}"#),
        get("/v1/catalog/node/still"),
        get("/v1/catalog/service/calm"),
    ]);
    for body in [
        r#"{}"#,
        r#"{"Node":""}"#,
        r#"{"Node":"none"}"#,
        r#"{"Node":"alpha","ServiceID":"none"}"#,
        r#"{"Node":"alpha","CheckID":"none"}"#,
        r#"{"Node":"alpha","CheckID":"service:web1"}"#,
        r#"{"Node":"alpha","ServiceID":"web1"}"#,
        r#"{"Node":"alpha","ServiceID":"db","CheckID":"x"}"#,
        r#"{"node":"beta","serviceid":"web2"}"#,
        r#"{"Node":"beta","service_id":"web2-proxy"}"#,
        r#"{"Node":"gamma","Datacenter":"dc9"}"#,
        r#"{"Node":"gamma","Unknown":1}"#,
        r#"{"Node":"gamma"#,
        r#"[]"#,
        r#""#,
    ] {
        steps.push(deregister(body).name(&format!("deregister {body}")));
    }
    steps.extend([
        get("/v1/catalog/nodes"),
        get("/v1/catalog/services"),
        get("/v1/catalog/node/alpha"),
        get("/v1/catalog/node/beta"),
        get("/v1/health/node/beta"),
        put("/v1/catalog/deregister?pretty", r#"{"Node":"alpha"}"#),
        get("/v1/catalog/node/alpha"),
        get("/v1/catalog/service/web"),
    ]);
    let mut wanted = super::whole(
        &[
            r#"register {"Node":"x","Address":"1.2.3.4","Service":{"Service":"odd","Port":-1}}"#,
            r#"register {"Node":"x","Address":"1.2.3.4","Service":{"Service":"odd","Port":70000}}"#,
            r#"register {"Node":"x","Address":"1.2.3.4","Service":{"Service":"odd","Kind":"nothing"}}"#,
            r#"register {"Node":"x","Address":"1.2.3.4","Service":{"Service":"odd","Weights":{"Passing":-1,"Warning":1}}}"#,
            r#"register {"Node":"x","Address":"1.2.3.4","Service":{"Service":"odd","Weights":{"Passing":70000,"Warning":1}}}"#,
            r#"register {"Node":"x","Address":"1.2.3.4","Check":{"Name":"odd","Status":"nothing"}}"#,
        ],
        "what is no port, kind, weight or status is refused",
    );
    wanted.extend([
        row("GET /v1/catalog/node/lower", "header x-consul-index", NO_NODE),
        row("GET /v1/catalog/node/alpha (2)", "header x-consul-index", NO_NODE),
        row(
            "GET /v1/health/node/still",
            "header x-consul-index",
            "a check written again as it is moves no index",
        ),
    ]);
    super::run("catalog_writing", steps, &wanted);
}

#[test]
fn blocking() {
    let held = |name: &str, path: &str| {
        get(format!("{path}{}index={{index}}&wait=60s", if path.contains('?') { "&" } else { "?" }))
            .hold(name)
    };
    let steps = vec![
        register(r#"{"Node":"a","Address":"10.0.0.1","Service":{"Service":"web","Port":1}}"#),
        get("/v1/catalog/service/web").capture_header("index", "X-Consul-Index"),
        get("/v1/catalog/service/web?index={index}&wait=50ms").waits(Duration::from_millis(50)),
        get("/v1/catalog/service/none?index={index}&wait=50ms").waits(Duration::from_millis(50)),
        get("/v1/catalog/services?index={index}&wait=50ms"),
        get("/v1/catalog/nodes?index={index}&wait=50ms"),
        held("service", "/v1/catalog/service/web"),
        held("connect", "/v1/catalog/connect/web"),
        held("services", "/v1/catalog/services"),
        held("nodes", "/v1/catalog/nodes"),
        held("node", "/v1/catalog/node/a"),
        held("unborn", "/v1/catalog/service/late"),
        held("cached", "/v1/catalog/service/web?cached"),
        // Another service of another node: the service's own watchers sleep on.
        register(r#"{"Node":"b","Address":"10.0.0.2","Service":{"Service":"other","Port":1}}"#),
        collect("services"),
        collect("nodes"),
        register(r#"{"Node":"b","Address":"10.0.0.2","Service":{"Service":"late","Port":1}}"#),
        collect("unborn"),
        register(r#"{"Node":"a","Address":"10.0.0.1","Service":{"Service":"web","Port":2}}"#),
        collect("service"),
        collect("cached"),
        collect("node"),
        register(
            r#"{"Node":"a","Address":"10.0.0.1","Service":{"Kind":"connect-proxy","Service":"web-proxy","Port":3,"Proxy":{"DestinationServiceName":"web"}}}"#,
        ),
        collect("connect"),
        get("/v1/catalog/service/web").capture_header("index", "X-Consul-Index"),
        held("gone", "/v1/catalog/service/web"),
        held("node gone", "/v1/catalog/node/a"),
        deregister(r#"{"Node":"a"}"#),
        collect("gone"),
        collect("node gone"),
        get("/v1/catalog/service/web"),
        get("/v1/catalog/node/a"),
    ];
    let unborn = "who waits for a service is not woken by others";
    let wanted = [
        row("answer of unborn", "header x-consul-index", unborn),
        row("answer of unborn", "body length", unborn),
        row(
            "answer of connect",
            "header x-consul-index",
            "never below the index of what is shown, lest a change be slept over",
        ),
        row("GET /v1/catalog/node/a", "header x-consul-index", NO_NODE),
    ];
    super::run("catalog_blocking", steps, &wanted);
}
