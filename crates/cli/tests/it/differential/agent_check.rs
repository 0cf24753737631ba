//! `/v1/agent/check*`: every kind of check, its answers, and the ways to get one wrong.

use testkit::differential::{Step, get, post, put, step};
use testkit::process::Spec;

use super::row;

fn register(body: &str) -> Step {
    put("/v1/agent/check/register", body).name(&format!("register {body}"))
}

#[test]
fn fields() {
    let mut steps =
        vec![put("/v1/agent/service/register", r#"{"Name":"web","Port":1,"Tags":["t"]}"#)];
    for body in [
        r#"{"Name":"ttl","TTL":"1h"}"#,
        r#"{"ID":"full","Name":"full name","Notes":"n","ServiceID":"web","Status":"passing","TTL":"1h","DeregisterCriticalServiceAfter":"90m","SuccessBeforePassing":1,"FailuresBeforeCritical":1,"OutputMaxSize":100}"#,
        r#"{"id":"snake","name":"snake","notes":"n","service_id":"web","status":"warning","ttl":"1h","deregister_critical_service_after":"90m"}"#,
        r#"{"name":"snake2","ttl":"1h","success_before_passing":1}"#,
        r#"{"name":"snake3","ttl":"1h","failures_before_critical":1}"#,
        r#"{"name":"snake4","ttl":"1h","output_max_size":100}"#,
        r#"{"name":"snake5","docker_container_id":"x","script_args":["true"],"interval":"1h"}"#,
        r#"{"Name":"number","TTL":3600000000000}"#,
        r#"{"Name":"text","TTL":"3600"}"#,
        r#"{"Name":"bad","TTL":"x"}"#,
        r#"{"Name":"zero","TTL":"0s"}"#,
        r#"{"Name":"negative","TTL":"-1s"}"#,
        r#"{"Name":"nothing"}"#,
        r#"{"TTL":"1h"}"#,
        r#"{"ID":"noname","TTL":"1h"}"#,
        r#"{"Name":""}"#,
        r#"{"Name":"status","TTL":"1h","Status":"maintenance"}"#,
        r#"{"Name":"status2","TTL":"1h","Status":""}"#,
        r#"{"Name":"status3","TTL":"1h","Status":"PASSING"}"#,
        r#"{"Name":"lost","TTL":"1h","ServiceID":"none"}"#,
        r#"{"Name":"http","HTTP":"http://127.0.0.1:1/","Interval":"1h"}"#,
        r#"{"Name":"http2","HTTP":"http://127.0.0.1:1/","Method":"POST","Header":{"a":["b","c"]},"Body":"x","Interval":"1h","Timeout":"1s","TLSSkipVerify":true}"#,
        r#"{"name":"http3","http":"https://127.0.0.1:1/","method":"POST","header":{"a":["b"]},"interval":"1h","timeout":"1s","tls_skip_verify":true}"#,
        r#"{"Name":"nointerval","HTTP":"http://127.0.0.1:1/"}"#,
        r#"{"Name":"zerointerval","HTTP":"http://127.0.0.1:1/","Interval":"0s"}"#,
        r#"{"Name":"badinterval","HTTP":"http://127.0.0.1:1/","Interval":"x"}"#,
        r#"{"Name":"badheader","HTTP":"http://127.0.0.1:1/","Interval":"1h","Header":{"a":"b"}}"#,
        r#"{"Name":"tcp","TCP":"127.0.0.1:1","Interval":"1h"}"#,
        r#"{"Name":"tcp2","TCP":"127.0.0.1:1","Interval":"1h","Timeout":"100ms"}"#,
        r#"{"Name":"tcp3","TCP":"127.0.0.1:1"}"#,
        r#"{"Name":"grpc","GRPC":"127.0.0.1:1","Interval":"1h"}"#,
        r#"{"Name":"grpc2","GRPC":"127.0.0.1:1/svc","GRPCUseTLS":true,"Interval":"1h"}"#,
        r#"{"name":"grpc3","grpc":"127.0.0.1:1","grpc_use_tls":false,"interval":"1h"}"#,
        r#"{"Name":"args","Args":["true"],"Interval":"1h"}"#,
        r#"{"Name":"scriptargs","ScriptArgs":["true"],"Interval":"1h"}"#,
        r#"{"Name":"script","Script":"true","Interval":"1h"}"#,
        r#"{"Name":"docker","DockerContainerID":"x","Args":["true"],"Interval":"1h"}"#,
        r#"{"Name":"alias","AliasService":"web"}"#,
        // A check that follows another node ends the real agent.
        r#"{"name":"alias4","alias_service":"none"}"#,
        r#"{"Name":"alias5","AliasService":"web","Interval":"1h"}"#,
        r#"{"Name":"two","TTL":"1h","TCP":"127.0.0.1:1","Interval":"1h"}"#,
        r#"{"Name":"two2","HTTP":"http://127.0.0.1:1/","TCP":"127.0.0.1:1","Interval":"1h"}"#,
        r#"{"Name":"outsize","TTL":"1h","OutputMaxSize":-1}"#,
        r#"{"Name":"unknown","TTL":"1h","Unknown":1}"#,
        r#"{"Name":"checkid","TTL":"1h","CheckID":"x"}"#,
        r#"{"Name":"token","TTL":"1h","Token":"secret"}"#,
        r#"{"Name":"namespace","TTL":"1h","Namespace":"default"}"#,
        r#"{"Name":"sp ace","TTL":"1h"}"#,
        r#"{"Name":5,"TTL":"1h"}"#,
        r#"{"Name":"short","HTTP":"http://127.0.0.1:1/","Interval":"1h","DeregisterCriticalServiceAfter":"1s"}"#,
        r#"{"Name":"badafter","TTL":"1h","DeregisterCriticalServiceAfter":"x"}"#,
        r#"{}"#,
        r#"[]"#,
        r#"null"#,
        r#""#,
        r#"{"Name":"#,
        r#"not json"#,
    ] {
        steps.push(register(body));
    }
    for taken in ["snake2", "snake3", "snake4", "grpc3", "alias4", "x"] {
        // Ours took them.
        steps.push(put(format!("/v1/agent/check/deregister/{taken}"), ""));
    }
    steps.extend([
        // Kinds that go out and look are critical until they have; what they say is their own matter.
        get("/v1/agent/checks").ignore("/*/Output").ignore("/*/Status"),
        get("/v1/agent/checks?filter=Name+==+ttl"),
        get("/v1/agent/checks?filter=CheckID+==+full&pretty"),
        // The agent tells the catalog of its checks one by one, in no order.
        get("/v1/health/node/node1")
            .until_length(19)
            .ignore("/*/Output")
            .ignore("/*/Status")
            .ignore("/*/CreateIndex")
            .ignore("/*/ModifyIndex"),
        put("/v1/agent/check/deregister/full", ""),
        put("/v1/agent/check/deregister/full", ""),
        put("/v1/agent/check/deregister/none", ""),
        put("/v1/agent/check/deregister/", ""),
        put("/v1/agent/check/deregister/sp%20ace", ""),
        get("/v1/agent/checks?filter=CheckID+==+full"),
        post("/v1/agent/check/register", "{}"),
        get("/v1/agent/check/register"),
        get("/v1/agent/check/pass/ttl"),
        step("OPTIONS", "/v1/agent/check/update/ttl", ""),
        put("/v1/agent/checks", ""),
        get("/v1/agent/check/nothing/ttl"),
    ]);
    let mut wanted = super::whole(
        &[
            r#"register {"name":"snake2","ttl":"1h","success_before_passing":1}"#,
            r#"register {"name":"snake3","ttl":"1h","failures_before_critical":1}"#,
            r#"register {"name":"snake4","ttl":"1h","output_max_size":100}"#,
            r#"register {"name":"grpc3","grpc":"127.0.0.1:1","grpc_use_tls":false,"interval":"1h"}"#,
            r#"register {"name":"alias4","alias_service":"none"}"#,
            r#"register {"Name":"checkid","TTL":"1h","CheckID":"x"}"#,
        ],
        "every spelling that files and later versions know is taken",
    );
    wanted.push(row("register []", "body", "Go's own dump of a type"));
    super::run("agent_check_fields", steps, &wanted);
}

#[test]
fn time_to_live() {
    let update =
        |body: &str| put("/v1/agent/check/update/beat", body).name(&format!("update {body}"));
    let look = |when: &str| get("/v1/agent/checks").name(&format!("checks after {when}"));
    let mut steps = vec![
        register(r#"{"Name":"beat","TTL":"1h"}"#),
        look("registration"),
        put("/v1/agent/check/pass/beat", ""),
        look("pass"),
        put("/v1/agent/check/pass/beat?note=all%20well", ""),
        look("pass with a note"),
        put("/v1/agent/check/warn/beat?note=%3Chm%3E", ""),
        look("warn"),
        put("/v1/agent/check/fail/beat?note=", ""),
        look("fail"),
        put("/v1/agent/check/pass/beat?note=a&note=b", ""),
        look("two notes"),
        put("/v1/agent/check/pass/none", ""),
        put("/v1/agent/check/warn/none", ""),
        put("/v1/agent/check/fail/none", ""),
        put("/v1/agent/check/pass/", ""),
        put("/v1/agent/check/pass/serfHealth", ""),
        put("/v1/agent/check/pass/beat", "a body"),
        put("/v1/agent/check/pass/beat?pretty", ""),
    ];
    for body in [
        r#"{"Status":"passing","Output":"fine"}"#,
        r#"{"Status":"warning"}"#,
        r#"{"Status":"critical","Output":"<down>"}"#,
        r#"{"status":"passing","output":"lower"}"#,
        r#"{"Status":"PASSING"}"#,
        r#"{"Status":"nothing"}"#,
        r#"{"Status":""}"#,
        r#"{"Output":"no status"}"#,
        r#"{"Status":5}"#,
        r#"{"Status":"passing","Unknown":1}"#,
        r#"{}"#,
        r#"null"#,
        r#"[]"#,
        r#""#,
        r#"not json"#,
    ] {
        steps.push(update(body));
        steps.push(look(body));
    }
    steps.extend([
        put(
            "/v1/agent/check/update/beat",
            format!(r#"{{"Status":"passing","Output":"{}"}}"#, "0123456789".repeat(410)),
        )
        .name("update with 4100 bytes"),
        look("a long output"),
        put(
            "/v1/agent/check/update/beat",
            format!(r#"{{"Status":"passing","Output":"{}"}}"#, "0123456789".repeat(500)),
        )
        .name("update with 5000 bytes"),
        look("a longer output"),
        put("/v1/agent/check/update/none", r#"{"Status":"passing"}"#),
        put("/v1/agent/check/update/", r#"{"Status":"passing"}"#),
        // Left alone, it fails by itself.
        register(r#"{"Name":"brief","TTL":"150ms","Status":"passing"}"#),
        get("/v1/agent/checks?filter=CheckID+==+brief").until("critical"),
        put("/v1/agent/check/pass/brief?note=back", ""),
        get("/v1/agent/checks?filter=CheckID+==+brief").until("critical").name("critical again"),
        get("/v1/health/node/node1")
            .until("brief")
            .ignore("/*/CreateIndex")
            .ignore("/*/ModifyIndex")
            .ignore("/*/Output")
            .ignore("/*/Status"),
        // Which of its checks the agent told the catalog last is chance, and so is the table's index.
        get("/v1/health/checks/none").ignore_header("x-consul-index"),
    ]);
    super::run("agent_check_ttl", steps, &[]);
}

#[test]
fn kinds_that_look() {
    let spec = |program: &std::path::Path| {
        Spec::new(program).config(serde_json::json!({ "enable_script_checks": true }))
    };
    let look = |id: &str, until: &str| {
        get(format!("/v1/agent/checks?filter=CheckID+==+%22{id}%22"))
            .until(until)
            .name(&format!("{id} until {until}"))
    };
    let steps = vec![
        put(
            "/v1/agent/service/register",
            r#"{"Name":"web","Port":1,"Check":{"CheckID":"web:ttl","TTL":"1h","Status":"passing"}}"#,
        ),
        // Of a service: one of the node would follow the node's checks, and so itself.
        put("/v1/agent/service/register", r#"{"Name":"other"}"#),
        register(r#"{"Name":"alias","AliasService":"web","ServiceID":"other"}"#),
        // The real one sometimes misses its own beginning; a change wakes it.
        put("/v1/agent/check/warn/web:ttl?note=hm", ""),
        look("alias", "warning"),
        put("/v1/agent/check/pass/web:ttl", ""),
        look("alias", "passing"),
        put("/v1/agent/check/fail/web:ttl", ""),
        look("alias", "critical"),
        put("/v1/agent/service/deregister/web", ""),
        look("alias", "No checks").name("alias of a service that went"),
        put("/v1/agent/check/deregister/alias", ""),
        register(
            r#"{"Name":"true","Args":["/bin/sh","-c","echo fine; echo err >&2"],"Interval":"100ms"}"#,
        ),
        look("true", "passing"),
        register(r#"{"Name":"warn","Args":["/bin/sh","-c","echo hm; exit 1"],"Interval":"100ms"}"#),
        look("warn", "warning"),
        register(
            r#"{"Name":"fail","Args":["/bin/sh","-c","echo bad; exit 2"],"Interval":"100ms"}"#,
        ),
        look("fail", "bad"),
        register(r#"{"Name":"missing","Args":["/no/such/program"],"Interval":"100ms"}"#),
        look("missing", "no such"),
        register(
            r#"{"Name":"slow","Args":["/bin/sleep","60"],"Interval":"100ms","Timeout":"100ms"}"#,
        ),
        look("slow", "imed"),
        register(
            r#"{"Name":"noisy","Args":["/bin/sh","-c","head -c 6000 /dev/zero | tr '\\0' x"],"Interval":"100ms"}"#,
        ),
        look("noisy", "xxx"),
        register(r#"{"Name":"args","Args":[],"Interval":"100ms"}"#),
        register(r#"{"Name":"shell","Args":["echo $HOME"],"Interval":"100ms"}"#),
        look("shell", "not found"),
        register(r#"{"Name":"tcp","TCP":"127.0.0.1:1","Interval":"100ms"}"#),
        look("tcp", "refused"),
        register(r#"{"Name":"http","HTTP":"http://127.0.0.1:1/","Interval":"100ms"}"#),
        look("http", "refused"),
        register(r#"{"Name":"grpc","GRPC":"127.0.0.1:1","Interval":"100ms"}"#),
        get("/v1/agent/checks?filter=CheckID+==+grpc").until("\"grpc\""),
    ];
    super::run_with("agent_check_kinds", spec, steps, &[]);
}

#[test]
fn toward_a_server() {
    // The agents look at each other's side of nothing: a listener of our own answers both alike.
    let server = super::Answering::start();
    let look = |id: &str, until: &str| {
        get(format!("/v1/agent/checks?filter=CheckID+==+{id}"))
            .until(until)
            .name(&format!("{id} until {until}"))
    };
    let check = |name: &str, path: &str, more: &str| {
        put("/v1/agent/check/register", format!(r#"{{"Name":"{name}","HTTP":"http://127.0.0.1:{}{path}","Interval":"100ms"{more}}}"#, server.port)).name(&format!("register {name}"))
    };
    let steps = vec![
        check("ok", "/200", ""),
        look("ok", "passing").ignore("/ok/Definition"),
        check("created", "/204", ""),
        look("created", "passing"),
        check("moved", "/302", ""),
        look("moved", "Location"),
        check("busy", "/429", ""),
        look("busy", "warning"),
        check("missing", "/404", ""),
        look("missing", "HTTP GET"),
        check("broken", "/500", ""),
        look("broken", "HTTP GET"),
        check(
            "posted",
            "/echo",
            r#","Method":"POST","Body":"hello","Header":{"X-One":["1"],"Host":["named.example"]}"#,
        ),
        look("posted", "hello"),
        put(
            "/v1/agent/check/register",
            format!(r#"{{"Name":"tcp","TCP":"127.0.0.1:{}","Interval":"100ms"}}"#, server.port),
        )
        .name("register tcp"),
        look("tcp", "passing"),
        put(
            "/v1/agent/check/register",
            format!(
                r#"{{"Name":"tls","HTTP":"https://127.0.0.1:{}/","Interval":"100ms"}}"#,
                server.port
            ),
        )
        .name("register tls"),
        look("tls", "Get"),
        check("counted", "/200", r#","SuccessBeforePassing":3,"FailuresBeforeCritical":3"#),
        look("counted", "passing"),
    ];
    let wanted =
        [row("posted until hello", "body/posted/Output", "short answers are not asked for packed")];
    super::run("agent_check_http", steps, &wanted);
}
