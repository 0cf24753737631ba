//! `/v1/connect/intentions*`: who may talk to whom, by id, by match and by check.

use std::time::Duration;

use testkit::differential::{Step, collect, delete, get, post, put, step};

/// An intention nobody made.
const UNKNOWN: &str = "11111111-2222-3333-4444-555555555555";

fn create(source: &str, destination: &str, action: &str) -> Step {
    let body = format!(
        r#"{{"SourceName":"{source}","DestinationName":"{destination}","Action":"{action}"}}"#
    );
    post("/v1/connect/intentions", body).name(&format!("{action} {source} to {destination}"))
}

#[test]
fn life() {
    let steps = vec![
        get("/v1/connect/intentions"),
        create("web", "db", "allow").capture("web-db", "/ID"),
        get("/v1/connect/intentions"),
        get("/v1/connect/intentions?pretty"),
        get("/v1/connect/intentions/{web-db}"),
        get("/v1/connect/intentions/{web-db}?pretty"),
        get(format!("/v1/connect/intentions/{UNKNOWN}")),
        get("/v1/connect/intentions/x"),
        get("/v1/connect/intentions/"),
        create("web", "db", "deny"),
        create("web", "db", "allow"),
        put(
            "/v1/connect/intentions/{web-db}",
            r#"{"SourceName":"web","DestinationName":"db","Action":"deny","Description":"changed","Meta":{"a":"b"}}"#,
        ),
        get("/v1/connect/intentions/{web-db}"),
        put("/v1/connect/intentions/{web-db}", r#"{"Action":"allow"}"#),
        put(
            "/v1/connect/intentions/{web-db}",
            r#"{"SourceName":"web","DestinationName":"other","Action":"allow"}"#,
        ),
        get("/v1/connect/intentions/{web-db}"),
        put(
            format!("/v1/connect/intentions/{UNKNOWN}"),
            r#"{"SourceName":"new","DestinationName":"db","Action":"allow"}"#,
        ),
        put(
            "/v1/connect/intentions/x",
            r#"{"SourceName":"new","DestinationName":"db","Action":"allow"}"#,
        ),
        put("/v1/connect/intentions/{web-db}", "not json"),
        put("/v1/connect/intentions/{web-db}", ""),
        create("*", "db", "deny"),
        create("web", "*", "allow"),
        create("*", "*", "deny"),
        create("api", "db", "allow"),
        get("/v1/connect/intentions"),
        get("/v1/connect/intentions?filter=Action+==+deny"),
        get("/v1/connect/intentions?filter=SourceName+==+web"),
        get("/v1/connect/intentions?filter=Bad+==+1"),
        get("/v1/connect/intentions?stale"),
        get("/v1/connect/intentions?consistent"),
        get("/v1/connect/intentions/match?by=destination&name=db"),
        get("/v1/connect/intentions/match?by=destination&name=none"),
        get("/v1/connect/intentions/match?by=source&name=web"),
        get("/v1/connect/intentions/match?by=source&name=none"),
        get("/v1/connect/intentions/match?by=destination&name=db&name=none"),
        get("/v1/connect/intentions/match?by=destination&name=*"),
        get("/v1/connect/intentions/match?by=destination&name=default/db"),
        get("/v1/connect/intentions/match?by=destination&name=team/db"),
        get("/v1/connect/intentions/match?by=destination"),
        get("/v1/connect/intentions/match?by=middle&name=db"),
        get("/v1/connect/intentions/match?name=db"),
        get("/v1/connect/intentions/match"),
        get("/v1/connect/intentions/match?by=destination&name="),
        get("/v1/connect/intentions/match?by=destination&name=db&pretty"),
        get("/v1/connect/intentions/check?source=web&destination=db"),
        get("/v1/connect/intentions/check?source=api&destination=db"),
        get("/v1/connect/intentions/check?source=none&destination=none"),
        get("/v1/connect/intentions/check?source=web&destination=none"),
        get("/v1/connect/intentions/check?source=web"),
        get("/v1/connect/intentions/check?destination=db"),
        get("/v1/connect/intentions/check"),
        get("/v1/connect/intentions/check?source=*&destination=db"),
        get("/v1/connect/intentions/check?source=web&destination=*"),
        get("/v1/connect/intentions/check?source=web&destination=db&source-type=nothing"),
        get("/v1/connect/intentions/check?source=web&destination=db&source-type=consul&pretty"),
        get("/v1/connect/intentions/check?source=a/b/c&destination=db"),
        delete("/v1/connect/intentions/{web-db}"),
        delete("/v1/connect/intentions/{web-db}"),
        delete(format!("/v1/connect/intentions/{UNKNOWN}")),
        delete("/v1/connect/intentions/x"),
        delete("/v1/connect/intentions/"),
        delete("/v1/connect/intentions"),
        put("/v1/connect/intentions", "{}"),
        post("/v1/connect/intentions/{web-db}", "{}"),
        post("/v1/connect/intentions/match", ""),
        post("/v1/connect/intentions/check", ""),
        step("OPTIONS", "/v1/connect/intentions", ""),
        step("OPTIONS", "/v1/connect/intentions/match", ""),
        step("OPTIONS", "/v1/connect/intentions/{web-db}", ""),
        get("/v1/connect/intentions").capture_header("index", "X-Consul-Index"),
        get("/v1/connect/intentions?index={index}&wait=50ms").waits(Duration::from_millis(50)),
        get("/v1/connect/intentions?index={index}&wait=60s").hold("list"),
        get("/v1/connect/intentions/match?by=destination&name=late&index={index}&wait=60s")
            .hold("match"),
        create("web", "late", "allow").capture("late", "/ID"),
        collect("list"),
        collect("match"),
        get("/v1/connect/intentions/{late}").capture_header("index", "X-Consul-Index"),
        get("/v1/connect/intentions/{late}?index={index}&wait=60s").hold("one"),
        delete("/v1/connect/intentions/{late}"),
        collect("one"),
    ];
    let wanted = [super::row(
        "*",
        "header x-consul-default-acl-policy",
        "as later versions do; with it a proxy decides alone what no intention speaks of",
    )];
    super::run("intention_life", steps, &wanted);
}

#[test]
fn fields() {
    let mut steps: Vec<Step> = Vec::new();
    for (n, body) in [
        r#"{"SourceName":"a","DestinationName":"b","Action":"allow","Description":"d","Meta":{"k":"v"},"SourceType":"consul","SourceNS":"default","DestinationNS":"default"}"#,
        r#"{"sourcename":"c","destinationname":"d","action":"deny"}"#,
        r#"{"source_name":"e","destination_name":"f","action":"deny"}"#,
        r#"{"SourceName":"","DestinationName":"b","Action":"allow"}"#,
        r#"{"SourceName":"a","Action":"allow"}"#,
        r#"{"SourceName":"a2","DestinationName":"b"}"#,
        r#"{"SourceName":"a3","DestinationName":"b","Action":""}"#,
        r#"{"SourceName":"a4","DestinationName":"b","Action":"maybe"}"#,
        r#"{"SourceName":"a5","DestinationName":"b","Action":"ALLOW"}"#,
        r#"{"SourceName":"a*","DestinationName":"b","Action":"allow"}"#,
        r#"{"SourceName":"a","DestinationName":"*b","Action":"allow"}"#,
        r#"{"SourceNS":"*","SourceName":"a6","DestinationName":"b","Action":"allow"}"#,
        r#"{"SourceNS":"team","SourceName":"a7","DestinationName":"b","Action":"allow"}"#,
        r#"{"SourceNS":"t*","SourceName":"a8","DestinationName":"b","Action":"allow"}"#,
        r#"{"DestinationNS":"*","SourceName":"a9","DestinationName":"b","Action":"allow"}"#,
        r#"{"SourceType":"nothing","SourceName":"a10","DestinationName":"b","Action":"allow"}"#,
        r#"{"SourceType":"","SourceName":"a11","DestinationName":"b","Action":"allow"}"#,
        r#"{"ID":"11111111-2222-3333-4444-555555555555","SourceName":"a12","DestinationName":"b","Action":"allow"}"#,
        r#"{"SourceName":"a13","DestinationName":"b","Action":"allow","Precedence":1,"CreatedAt":"2001-01-01T00:00:00Z","Hash":"aGFzaA==","CreateIndex":5}"#,
        r#"{"SourceName":"a14","DestinationName":"b","Action":"allow","Meta":{"":"empty"}}"#,
        r#"{"SourceName":"a15","DestinationName":"b","Action":"allow","Meta":{"sp ace":"x"}}"#,
        r#"{"SourceName":"a16","DestinationName":"b","Action":"allow","Meta":{"consul-x":"x"}}"#,
        r#"{"SourceName":"a17","DestinationName":"b","Action":"allow","Meta":{"n":5}}"#,
        r#"{"SourceName":"a18","DestinationName":"b","Action":"allow","DefaultAddr":"x","DefaultPort":5}"#,
        r#"{"SourceName":"a19","DestinationName":"b","Action":"allow","Unknown":1}"#,
        r#"{"SourceName":"a20","DestinationName":"b","Action":"allow","Permissions":[]}"#,
        r#"{"SourceName":"sp ace","DestinationName":"sl/ash","Action":"allow"}"#,
        r#"{"SourceName":5,"DestinationName":"b","Action":"allow"}"#,
        r#"{"SourceName":"UPPER","DestinationName":"Case","Action":"allow"}"#,
        r#"{"SourceName":"upper","DestinationName":"case","Action":"deny"}"#,
        r#"{}"#,
        r#"[]"#,
        r#"null"#,
        r#""#,
        r#"{"SourceName":"#,
        r#"not json"#,
    ]
    .into_iter()
    .enumerate()
    {
        let id = format!("i{n}");
        steps.push(post("/v1/connect/intentions", body).name(&format!("create {body}")).capture(&id, "/ID"));
        steps.push(get(format!("/v1/connect/intentions/{{{id}}}")).name(&format!("read {body}")));
    }
    steps.extend([
        post("/v1/connect/intentions", format!(r#"{{"SourceName":"long","DestinationName":"b","Action":"allow","Description":"{}"}}"#, "d".repeat(513))).name("create with too long a description"),
        post("/v1/connect/intentions", format!(r#"{{"SourceName":"meta","DestinationName":"b","Action":"allow","Meta":{{"k":"{}"}}}}"#, "d".repeat(513))).name("create with too long a meta value"),
        post("/v1/connect/intentions", format!(r#"{{"SourceName":"metakey","DestinationName":"b","Action":"allow","Meta":{{"{}":"v"}}}}"#, "d".repeat(129))).name("create with too long a meta key"),
        post("/v1/connect/intentions?dc=dc9", r#"{"SourceName":"far","DestinationName":"b","Action":"allow"}"#),
        get("/v1/connect/intentions"),
    ]);
    super::run("intention_fields", steps, &[]);
}
