//! Keys, sessions and locks over HTTP.

use crate::world::World;

#[tokio::test]
async fn values_come_back() {
    let world = World::new().await;
    assert_eq!(world.get("/v1/kv/a").await.status, 404);
    assert_eq!(world.put("/v1/kv/a?flags=42", "<one>").await.text(), "true");
    let answer = world.get("/v1/kv/a").await;
    let index = answer.index();
    assert_eq!(
        answer.text(),
        format!(
            "[{{\"LockIndex\":0,\"Key\":\"a\",\"Flags\":42,\"Value\":\"PG9uZT4=\",\
             \"CreateIndex\":{index},\"ModifyIndex\":{index}}}]"
        )
    );
    let raw = world.get("/v1/kv/a?raw").await;
    assert_eq!(raw.text(), "<one>");
    assert_eq!(raw.header("content-type"), Some("text/plain"));
    assert_eq!(raw.header("content-security-policy"), Some("sandbox"));
    assert_eq!(raw.header("x-content-type-options"), Some("nosniff"));
    world.put("/v1/kv/empty", "").await;
    assert!(world.get("/v1/kv/empty").await.text().contains("\"Value\":null"));
    world.put("/v1/kv/d/%FF%3Cx%26", "").await;
    world.put("/v1/kv/d/sub/y", "").await;
    let keys = world.get("/v1/kv/d/?keys&separator=/").await;
    assert_eq!(keys.text(), "[\"d/sub/\",\"d/\\ufffd\\u003cx\\u0026\"]");
    assert_eq!(world.delete("/v1/kv/d/?recurse").await.text(), "true");
    assert_eq!(world.get("/v1/kv/d/?keys").await.status, 404);
    assert_eq!(world.get("/v1/kv/?keys&separator=/").await.text(), "[\"a\",\"empty\"]");
}

#[tokio::test]
async fn conditions_and_mistakes() {
    let world = World::new().await;
    let check = async |method: &str, path: &str, status: u16, body: &str| {
        let answer = world.send(method, path, "", b"").await;
        assert_eq!((answer.status, answer.text()), (status, body), "{method} {path}");
    };
    let syntax = |text: &str| format!("strconv.ParseUint: parsing {text:?}: invalid syntax");
    check("PUT", "/v1/kv/a?flags=-1", 500, &syntax("-1")).await;
    check("PUT", "/v1/kv/a?cas=", 500, &syntax("")).await;
    let range = "strconv.ParseUint: parsing \"18446744073709551616\": value out of range";
    check("PUT", "/v1/kv/a?flags=18446744073709551616", 500, range).await;
    check("PUT", "/v1/kv/a?cas=0", 200, "true").await;
    check("PUT", "/v1/kv/a?cas=0", 200, "false").await;
    check("DELETE", "/v1/kv/a?cas=1", 200, "false").await;
    check("DELETE", "/v1/kv/none?cas=1", 200, "true").await;
    check("DELETE", "/v1/kv/a?recurse&cas=3", 400, "Conflicting flags: cas=3&recurse=").await;
    check("GET", "/v1/kv/", 400, "Missing key name").await;
    check("PUT", "/v1/kv/a?acquire=", 500, "missing session").await;
    let bad = "failed session lookup: index error: UUID must be 36 characters";
    check("PUT", "/v1/kv/a?acquire=x", 500, bad).await;
    check("GET", "/v1/session/info/x", 500, bad).await;
    check("GET", "/v1/session/info/", 400, "Missing session").await;
    let unknown = "11111111-2222-3333-4444-555555555555";
    check(
        "PUT",
        &format!("/v1/session/renew/{unknown}"),
        404,
        &format!("Session id '{unknown}' not found"),
    )
    .await;
}

#[tokio::test]
async fn a_lock_is_held_by_its_session() {
    let world = World::new().await;
    let create = async |body: &str| {
        let answer = world.put("/v1/session/create", body).await;
        let value: serde_json::Value = serde_json::from_slice(&answer.body).unwrap_or_default();
        (answer.status, value["ID"].as_str().unwrap_or(answer.text()).to_owned())
    };
    let (status, one) = create(r#"{"name":"one","LockDelay":0,"Unknown":1}"#).await;
    assert_eq!(status, 200, "{one}");
    let (_, two) = create("").await;
    let refused = create(r#"{"Behavior":"nothing"}"#).await;
    assert_eq!(refused, (500, "Invalid Behavior setting 'nothing'".into()));
    let refused = create(r#"{"TTL":20}"#).await;
    let text = "Request decode failed: json: cannot unmarshal number into Go struct field .TTL of type string";
    assert_eq!(refused, (400, text.into()));
    let refused = create(r#"{"LockDelay":"20"}"#).await;
    let text = "Request decode failed: time: missing unit in duration \"20\"";
    assert_eq!(refused, (400, text.into()));

    let lock = async |how: &str, session: &str| {
        world.put(&format!("/v1/kv/lock?{how}={session}"), "v").await.text().to_owned()
    };
    assert_eq!(lock("acquire", &one).await, "true");
    assert_eq!(lock("acquire", &two).await, "false");
    let shown = world.get(&format!("/v1/session/info/{one}")).await;
    assert!(shown.text().contains("\"Name\":\"one\",\"Node\":\"node1\",\"LockDelay\":0,"));
    assert_eq!(world.put(&format!("/v1/session/destroy/{one}"), "").await.text(), "true");
    assert_eq!(lock("acquire", &two).await, "true");
    assert_eq!(lock("release", &two).await, "true");
}

#[tokio::test]
async fn a_held_question_is_answered_by_the_change() {
    let world = World::new().await;
    world.put("/v1/kv/b/x", "1").await;
    let index = world.get("/v1/kv/b/x").await.index();
    let held = format!("/v1/kv/b/x?index={index}&wait=60s");
    let tree = format!("/v1/kv/b?recurse&index={index}&wait=60s");
    let (one, all, _) = tokio::join!(world.get(&held), world.get(&tree), async {
        world.put("/v1/kv/elsewhere", "1").await;
        world.put("/v1/kv/b/x", "2").await
    });
    assert!(one.index() > index && all.index() > index);
    assert!(one.text().contains("\"Value\":\"Mg==\""), "{}", one.text());
    assert_eq!(one.text(), all.text());
    let unchanged = world.get(&format!("/v1/kv/b/x?index={}&wait=1ms", one.index())).await;
    assert_eq!(unchanged.index(), one.index());
}
