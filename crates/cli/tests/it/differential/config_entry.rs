//! `/v1/config*`: proxy-defaults and service-defaults, writing under conditions, listing, refusals.

use std::time::Duration;

use testkit::differential::{Step, collect, delete, get, post, put, step};

#[test]
fn life() {
    let steps = vec![
        get("/v1/config/service-defaults"),
        get("/v1/config/proxy-defaults"),
        get("/v1/config/service-defaults/web"),
        get("/v1/config/proxy-defaults/global"),
        get("/v1/config"),
        get("/v1/config/"),
        get("/v1/config/nothing"),
        get("/v1/config/nothing/web"),
        get("/v1/config//web"),
        put("/v1/config", r#"{"Kind":"service-defaults","Name":"web","Protocol":"http"}"#),
        get("/v1/config/service-defaults/web").capture("index", "/ModifyIndex"),
        get("/v1/config/service-defaults/web?pretty"),
        get("/v1/config/service-defaults"),
        put("/v1/config", r#"{"Kind":"service-defaults","Name":"web","Protocol":"http"}"#),
        get("/v1/config/service-defaults/web"),
        put(
            "/v1/config?cas={index}",
            r#"{"Kind":"service-defaults","Name":"web","Protocol":"tcp"}"#,
        ),
        get("/v1/config/service-defaults/web").capture("index", "/ModifyIndex"),
        put(
            "/v1/config?cas={index}",
            r#"{"Kind":"service-defaults","Name":"web","Protocol":"grpc"}"#,
        ),
        put(
            "/v1/config?cas={index}",
            r#"{"Kind":"service-defaults","Name":"web","Protocol":"http2"}"#,
        ),
        put("/v1/config?cas=0", r#"{"Kind":"service-defaults","Name":"web","Protocol":"http2"}"#),
        put("/v1/config?cas=0", r#"{"Kind":"service-defaults","Name":"fresh","Protocol":"http2"}"#),
        put("/v1/config?cas=x", r#"{"Kind":"service-defaults","Name":"web"}"#),
        put("/v1/config?cas=", r#"{"Kind":"service-defaults","Name":"web"}"#),
        put("/v1/config?cas=-1", r#"{"Kind":"service-defaults","Name":"web"}"#),
        put("/v1/config?pretty", r#"{"Kind":"service-defaults","Name":"api"}"#),
        get("/v1/config/service-defaults/api"),
        get("/v1/config/service-defaults"),
        get("/v1/config/service-defaults/WEB"),
        put(
            "/v1/config",
            r#"{"Kind":"proxy-defaults","Name":"global","Config":{"local_connect_timeout_ms":1000,"text":"t","list":[1,"a"],"map":{"a":{"b":1.5}},"yes":true}}"#,
        ),
        get("/v1/config/proxy-defaults/global"),
        get("/v1/config/proxy-defaults"),
        get("/v1/config/proxy-defaults/other"),
        put("/v1/config", r#"{"Kind":"proxy-defaults","Name":"other"}"#),
        delete("/v1/config/service-defaults/api"),
        delete("/v1/config/service-defaults/api"),
        delete("/v1/config/service-defaults/never"),
        delete("/v1/config/proxy-defaults/global?pretty"),
        delete("/v1/config/nothing/web"),
        delete("/v1/config/service-defaults"),
        delete("/v1/config/service-defaults/"),
        delete("/v1/config"),
        get("/v1/config/service-defaults/api"),
        get("/v1/config/service-defaults?filter=Name+==+web"),
        get("/v1/config/service-defaults?filter=bad"),
        post("/v1/config", "{}"),
        post("/v1/config/service-defaults", "{}"),
        step("OPTIONS", "/v1/config", ""),
        step("OPTIONS", "/v1/config/service-defaults/web", ""),
        get("/v1/config/service-defaults").capture_header("index", "X-Consul-Index"),
        get("/v1/config/service-defaults?index={index}&wait=50ms").waits(Duration::from_millis(50)),
        get("/v1/config/service-defaults?index={index}&wait=60s").hold("list"),
        get("/v1/config/service-defaults/late?index={index}&wait=60s").hold("one"),
        put("/v1/config", r#"{"Kind":"service-defaults","Name":"late"}"#),
        collect("list"),
        collect("one"),
        get("/v1/config/service-defaults?stale"),
        get("/v1/config/service-defaults/web?consistent"),
        get("/v1/config/service-defaults/web?dc=dc9"),
        put("/v1/config?dc=dc9", r#"{"Kind":"service-defaults","Name":"far"}"#),
    ];
    super::run("config_life", steps, &[]);
}

#[test]
fn fields() {
    let mut steps: Vec<Step> = Vec::new();
    for body in [
        r#"{"Kind":"service-defaults","Name":"x","Protocol":"HTTP","MeshGateway":{"Mode":"local"},"Expose":{"Checks":true,"Paths":[{"ListenerPort":21500,"Path":"/healthz","LocalPathPort":8080,"Protocol":"http2"}]},"ExternalSNI":"sni.example"}"#,
        r#"{"kind":"service-defaults","name":"x","protocol":"http","mesh_gateway":{"mode":"remote"},"external_sni":"s","expose":{"checks":true,"paths":[{"listener_port":1,"path":"/","local_path_port":2,"protocol":"http"}]}}"#,
        r#"{"Kind":"service-defaults","Name":"x","MeshGateway":{"Mode":"sideways"}}"#,
        r#"{"Kind":"service-defaults","Name":"x","MeshGateway":{"Mode":"none"}}"#,
        r#"{"Kind":"service-defaults","Name":"x","Expose":{"Paths":[{"Path":"no-slash"}]}}"#,
        r#"{"Kind":"service-defaults","Name":"x","Protocol":"smoke"}"#,
        r#"{"Kind":"service-defaults","Name":"x","Protocol":""}"#,
        r#"{"Kind":"service-defaults","Name":"x","Protocol":5}"#,
        r#"{"Kind":"service-defaults","Name":"x","Unknown":1}"#,
        r#"{"Kind":"service-defaults","Name":"x","Namespace":"default"}"#,
        r#"{"Kind":"service-defaults","Name":"x","Namespace":"team"}"#,
        r#"{"Kind":"service-defaults","Name":"x","Meta":{"a":"b"}}"#,
        r#"{"Kind":"service-defaults","Name":"x","CreateIndex":5,"ModifyIndex":7}"#,
        r#"{"Kind":"service-defaults","Name":""}"#,
        r#"{"Kind":"service-defaults"}"#,
        r#"{"Kind":"service-defaults","Name":"*"}"#,
        r#"{"Kind":"service-defaults","Name":"sp ace"}"#,
        r#"{"Kind":"Service-Defaults","Name":"x"}"#,
        r#"{"Kind":"","Name":"x"}"#,
        r#"{"Kind":"nothing","Name":"x"}"#,
        r#"{"Kind":5,"Name":"x"}"#,
        r#"{"Name":"x"}"#,
        r#"{}"#,
        r#"[]"#,
        r#"null"#,
        r#"5"#,
        r#""#,
        r#"{"Kind":"#,
        r#"not json"#,
        r#"{"Kind":"proxy-defaults","Name":"global"}"#,
        r#"{"Kind":"proxy-defaults"}"#,
        r#"{"Kind":"proxy-defaults","Name":"global","Config":{}}"#,
        r#"{"Kind":"proxy-defaults","Name":"global","Config":null}"#,
        r#"{"Kind":"proxy-defaults","Name":"global","Config":[]}"#,
        r#"{"Kind":"proxy-defaults","Name":"global","Config":{"protocol":"http"},"MeshGateway":{"Mode":"local"},"Expose":{"Checks":true}}"#,
        r#"{"Kind":"proxy-defaults","Name":"global","config":{"Snake_Case":1,"camelCase":2}}"#,
        r#"{"Kind":"proxy-defaults","Name":"global","MeshGateway":{"Mode":"bad"}}"#,
    ] {
        let name = if body.contains("\"Kind\":\"proxy") {
            "proxy-defaults/global"
        } else {
            "service-defaults/x"
        };
        steps.push(put("/v1/config", body).name(&format!("write {body}")));
        steps.push(get(format!("/v1/config/{name}")).name(&format!("read after {body}")));
    }
    steps.extend([
        // The defaults reach a sidecar's registration only through the agent's own merging.
        put("/v1/config", r#"{"Kind":"proxy-defaults","Name":"global","Config":{"from":"defaults","shared":"defaults"}}"#),
        put("/v1/config", r#"{"Kind":"service-defaults","Name":"merged","Protocol":"http"}"#),
        put("/v1/agent/service/register", r#"{"Name":"merged","Port":9000,"Connect":{"SidecarService":{"Proxy":{"Config":{"shared":"own"}}}}}"#),
        get("/v1/agent/service/merged-sidecar-proxy").until("\"from\""),
        get("/v1/catalog/service/merged-sidecar-proxy").until("\"from\""),
        put("/v1/config", r#"{"Kind":"proxy-defaults","Name":"global","Config":{"from":"changed"}}"#),
        get("/v1/agent/service/merged-sidecar-proxy").until("\"changed\""),
    ]);
    super::run("config_fields", steps, &[]);
}
