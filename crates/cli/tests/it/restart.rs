//! What outlives a restart, what a reload changes, and how an agent ends.

use std::collections::BTreeMap;
use std::time::Duration;

use rustix::process::Signal;
use serde_json::{Value, json};
use tempfile::TempDir;
use testkit::background::Background;
use testkit::differential::{is_substituted, subject};
use testkit::process::{Agent, Spec};
use testkit::wait;

/// Longest way of a reload or a registration to where it shows.
const EFFECT_MAX: Duration = Duration::from_secs(20);
/// Longest unattended demo.
const DEMO_MAX: Duration = Duration::from_secs(180);

fn spec() -> Spec {
    Spec::new(subject(env!("CARGO_BIN_EXE_lictor")))
}

fn get(agent: &Agent, path: &str) -> Value {
    let answer = agent.http().get(path).expect("the agent answers");
    assert_eq!(answer.status, 200, "{path}: {answer}");
    answer.json()
}

fn put(agent: &Agent, path: &str, body: &Value) -> Value {
    let answer = agent.http().put(path, body.to_string()).expect("the agent answers");
    assert_eq!(answer.status, 200, "{path}: {answer}");
    serde_json::from_slice(&answer.body).unwrap_or(Value::Null)
}

/// Touches an endpoint that takes no body.
fn touch(agent: &Agent, path: &str) {
    let answer = agent.http().put(path, "").expect("the agent answers");
    assert_eq!(answer.status, 200, "{path}: {answer}");
}

/// The status of every check in the catalog, by id.
fn statuses(agent: &Agent) -> BTreeMap<String, String> {
    let checks = get(agent, "/v1/health/node/node1");
    let text = |check: &Value, key: &str| check[key].as_str().unwrap_or_default().to_owned();
    let rows = checks.as_array().expect("checks are a list");
    rows.iter().map(|check| (text(check, "CheckID"), text(check, "Status"))).collect()
}

fn services(agent: &Agent) -> Vec<String> {
    let services = get(agent, "/v1/agent/services");
    services.as_object().expect("services are an object").keys().cloned().collect()
}

#[test]
fn registrations_survive_kill_nine() {
    let mut agent = spec().file("file.hcl", "service { name = \"file\" port = 1 }").start();
    let web = json!({
        "Name": "web", "ID": "web-1", "Port": 80, "Tags": ["v1"], "Meta": { "team": "green" },
        "Check": { "CheckID": "web-alive", "TTL": "1h" },
        "Connect": { "SidecarService": { "Port": 20999, "Checks": [{ "TTL": "1h", "Status": "passing" }] } },
    });
    put(&agent, "/v1/agent/service/register", &web);
    put(
        &agent,
        "/v1/agent/check/register",
        &json!({ "Name": "disk", "TTL": "1h", "Notes": "of the node" }),
    );
    put(&agent, "/v1/agent/service/register", &json!({ "Name": "gone", "Port": 81 }));
    touch(&agent, "/v1/agent/check/pass/web-alive?note=well");
    touch(&agent, "/v1/agent/check/warn/disk?note=filling");
    touch(&agent, "/v1/agent/service/deregister/gone");
    touch(&agent, "/v1/agent/service/maintenance/file?enable=true&reason=upgrade");
    let wanted: BTreeMap<&str, &str> =
        [("web-alive", "passing"), ("disk", "warning"), ("_service_maintenance:file", "critical")]
            .into();
    let known = |agent: &Agent| {
        let statuses = statuses(agent);
        wanted.iter().all(|(id, status)| statuses.get(*id).is_some_and(|is| is == status))
    };
    wait::until("the catalog knows the checks", EFFECT_MAX, || known(&agent).then_some(()));
    let before = (services(&agent), get(&agent, "/v1/agent/service/web-1"));

    agent.kill();
    agent.restart();

    let after = wait::until("the agent knows its services again", EFFECT_MAX, || {
        (services(&agent) == before.0).then(|| get(&agent, "/v1/agent/service/web-1"))
    });
    assert_eq!(after, before.1, "the registration is as it was");
    assert!(!before.0.contains(&"gone".to_owned()), "{before:?}");
    let restored = wait::poll(EFFECT_MAX, || known(&agent).then_some(()));
    assert!(restored.is_some(), "{:?} is not {wanted:?}", statuses(&agent));
    let checks = get(&agent, "/v1/agent/checks");
    assert_eq!(checks["web-alive"]["Output"], "well", "{checks}");
    assert_eq!(checks["disk"]["Output"], "filling", "{checks}");
    wait::until("the service is healthy again", EFFECT_MAX, || {
        let healthy = get(&agent, "/v1/health/checks/web");
        (healthy.as_array()?.len() == 1 && healthy[0]["Status"] == "passing").then_some(())
    });
    // What is registered goes on to work: the check can be updated, the service removed.
    touch(&agent, "/v1/agent/check/fail/web-alive");
    touch(&agent, "/v1/agent/service/deregister/web-1");
    wait::until("the service is gone with its sidecar", EFFECT_MAX, || {
        (services(&agent) == ["file"]).then_some(())
    });
}

#[test]
fn the_state_survives_a_restart() {
    let mut agent = spec().start();
    put(&agent, "/v1/kv/a/b", &json!("value"));
    let session = put(&agent, "/v1/session/create", &json!({ "Name": "mine", "TTL": "1h" }));
    let session = session["ID"].as_str().expect("a session has an id").to_owned();
    touch(&agent, &format!("/v1/kv/lock?acquire={session}"));
    let intention = json!({ "SourceName": "web", "DestinationName": "db", "SourceType": "consul", "Action": "deny" });
    let created =
        agent.http().send("POST", "/v1/connect/intentions", &[], intention.to_string().as_bytes());
    assert_eq!(created.expect("the agent answers").status, 200);
    put(
        &agent,
        "/v1/config",
        &json!({ "Kind": "service-defaults", "Name": "web", "Protocol": "http" }),
    );
    put(
        &agent,
        "/v1/catalog/register",
        &json!({ "Node": "far", "Address": "10.0.0.1", "Service": { "Service": "far" } }),
    );
    let paths = [
        "/v1/kv/a/b".to_owned(),
        "/v1/kv/lock".to_owned(),
        format!("/v1/session/info/{session}"),
        "/v1/connect/intentions".to_owned(),
        "/v1/config/service-defaults/web".to_owned(),
        "/v1/catalog/node/far".to_owned(),
        "/v1/connect/ca/roots".to_owned(),
    ];
    let read =
        |agent: &Agent| -> Vec<Value> { paths.iter().map(|path| get(agent, path)).collect() };
    let before = read(&agent);
    let index = |agent: &Agent| {
        agent.http().get("/v1/kv/?keys").ok().and_then(|answer| answer.index()).unwrap_or_default()
    };
    let index_before = index(&agent);
    // Once by force, once in order.
    agent.kill();
    agent.restart();
    assert_eq!(read(&agent), before, "after a kill");
    agent.terminate();
    agent.restart();
    assert_eq!(read(&agent), before, "after an orderly stop");
    assert!(index(&agent) >= index_before, "an index never falls");
    // A session goes on: it can be renewed and gives its lock back.
    touch(&agent, &format!("/v1/session/renew/{session}"));
    touch(&agent, &format!("/v1/kv/lock?release={session}"));
}

#[test]
fn a_reload_takes_over_service_files() {
    let agent = spec()
        .file("keep.hcl", "service { name = \"keep\" port = 1 tags = [\"old\"] }")
        .file(
            "drop.hcl",
            "service { name = \"drop\" port = 2 check { name = \"d\" ttl = \"1h\" } }",
        )
        .start();
    put(&agent, "/v1/agent/service/register", &json!({ "Name": "api", "Port": 3 }));
    wait::until("all are known", EFFECT_MAX, || {
        (services(&agent) == ["api", "drop", "keep"]).then_some(())
    });

    agent.write_file("keep.hcl", "service { name = \"keep\" port = 1 tags = [\"new\"] }");
    agent.write_file("drop.hcl", "");
    agent.write_file(
        "added.json",
        &json!({ "service": { "name": "added", "port": 4 } }).to_string(),
    );
    agent.signal(Signal::HUP);
    wait::until("the files are taken over", EFFECT_MAX, || {
        let is_new = get(&agent, "/v1/agent/services")["keep"]["Tags"] == json!(["new"]);
        (is_new && services(&agent) == ["added", "api", "keep"]).then_some(())
    });
    wait::until("the catalog follows", EFFECT_MAX, || {
        let catalog = get(&agent, "/v1/catalog/services");
        let catalog = catalog.as_object()?;
        (catalog.contains_key("added") && !catalog.contains_key("drop")).then_some(())
    });
    assert!(!statuses(&agent).contains_key("service:drop"), "its check went with it");

    // By the API as well; and what cannot be read changes nothing.
    agent.write_file(
        "added.json",
        &json!({ "service": { "name": "again", "port": 4 } }).to_string(),
    );
    touch(&agent, "/v1/agent/reload");
    wait::until("the file is taken over", EFFECT_MAX, || {
        (services(&agent) == ["again", "api", "keep"]).then_some(())
    });
    agent.write_file("added.json", "{ broken");
    let answer = agent.http().put("/v1/agent/reload", "").expect("the agent answers");
    assert_eq!(answer.status, 500, "{answer}");
    agent.signal(Signal::HUP);
    agent.write_file(
        "added.json",
        &json!({ "service": { "name": "third", "port": 4 } }).to_string(),
    );
    touch(&agent, "/v1/agent/reload");
    wait::until("a good file is taken over again", EFFECT_MAX, || {
        (services(&agent) == ["api", "keep", "third"]).then_some(())
    });
}

#[test]
fn signals_end_an_agent_in_order() {
    for signal in [Signal::TERM, Signal::INT] {
        let folder = TempDir::with_prefix("end-").expect("a temporary folder can be made");
        let agent = spec().start();
        // A held question does not hold the end up.
        let index = agent.http().get("/v1/catalog/nodes").ok().and_then(|answer| answer.index());
        let index = index.expect("an index");
        let held = agent.http().begin(
            "GET",
            &format!("/v1/catalog/nodes?index={index}&wait=5m"),
            &[],
            b"",
        );
        assert_eq!(agent.http().get("/v1/status/leader").expect("the agent answers").status, 200);
        let status = end(agent, signal);
        drop((held, folder));
        // The real one ends with 1 unless it left the pool.
        if !is_substituted() {
            assert_eq!(status, Some(0), "{signal:?}");
        }
    }
}

/// Ends an agent by a signal, and returns its exit code.
fn end(mut agent: Agent, signal: Signal) -> Option<i32> {
    if signal == Signal::TERM {
        return agent.terminate().code();
    }
    agent.signal(signal);
    agent.wait().code()
}

#[test]
fn a_leaving_agent_ends_well() {
    let mut agent = spec().start();
    touch(&agent, "/v1/agent/leave");
    assert_eq!(agent.wait().code(), Some(0));
}

#[test]
fn the_demo_plays_its_story() {
    if is_substituted() {
        // The real one has none.
        return;
    }
    let folder = TempDir::with_prefix("demo-").expect("a temporary folder can be made");
    let program = subject(env!("CARGO_BIN_EXE_lictor"));
    let mut demo = Background::start(&program, &["demo", "--once"], folder.path().join("demo.log"));
    wait::poll(DEMO_MAX, || (!demo.is_running()).then_some(()));
    assert_eq!(demo.wait().code(), Some(0), "{}", demo.log());
    assert!(demo.log().contains("every step happened"), "{}", demo.log());
}
