//! The catalog and the health of what is in it.

use crate::world::World;

const WEB: &str = r#"{"Node":"alpha","Address":"10.0.0.1","NodeMeta":{"rack":"r1"},"Service":{"ID":"web1",
    "Service":"web","Tags":["v1","blue"],"Port":8080,"taggedaddresses":{"lan":{"address":"10.1.0.1","port":8080}}},
    "Checks":[{"CheckID":"service:web1","Name":"a","Status":"passing","ServiceID":"web1"},
    {"Name":"disk","Status":"warning"}]}"#;

#[tokio::test]
async fn registrations_are_read_back() {
    let world = World::new().await;
    assert_eq!(world.put("/v1/catalog/register", WEB).await.text(), "true");
    let answer = world.get("/v1/catalog/service/WEB?tag=BLUE&node-meta=rack:r1").await;
    let index = answer.index();
    assert_eq!(
        answer.text(),
        format!(
            "[{{\"ID\":\"\",\"Node\":\"alpha\",\"Address\":\"10.0.0.1\",\"Datacenter\":\"dc1\",\
             \"TaggedAddresses\":null,\"NodeMeta\":{{\"rack\":\"r1\"}},\"ServiceKind\":\"\",\
             \"ServiceID\":\"web1\",\"ServiceName\":\"web\",\"ServiceTags\":[\"v1\",\"blue\"],\
             \"ServiceAddress\":\"\",\"ServiceTaggedAddresses\":{{\"lan\":{{\"Address\":\"10.1.0.1\",\
             \"Port\":8080}}}},\"ServiceWeights\":{{\"Passing\":1,\"Warning\":1}},\"ServiceMeta\":{{}},\
             \"ServicePort\":8080,\"ServiceEnableTagOverride\":false,\"ServiceProxy\":{{\"MeshGateway\":\
             {{}},\"Expose\":{{}}}},\"ServiceConnect\":{{}},\"CreateIndex\":{index},\"ModifyIndex\":{index}}}]"
        )
    );
    let node = world.get("/v1/catalog/node/alpha").await;
    assert!(node.text().contains(
        "\"web1\":{\"ID\":\"web1\",\"Service\":\"web\",\"Tags\":[\"v1\",\"blue\"],\"Address\":\"\""
    ));
    assert!(node.text().contains("\"Meta\":null,\"Port\":8080"), "{}", node.text());
    assert_eq!(world.get("/v1/catalog/node/none").await.text(), "null");
    assert_eq!(
        world.get("/v1/catalog/node-services/none").await.text(),
        "{\"Node\":null,\"Services\":null}"
    );
    assert_eq!(world.get("/v1/catalog/datacenters").await.text(), "[\"dc1\"]");
    assert_eq!(world.get("/v1/catalog/gateway-services/x").await.text(), "null");
    let services = world.get("/v1/catalog/services").await;
    assert!(services.text().contains("\"web\":[\"blue\",\"v1\"]"), "{}", services.text());

    let health = async |query: &str| {
        let answer = world.get(&format!("/v1/health/service/web{query}")).await;
        serde_json::from_slice::<serde_json::Value>(&answer.body).unwrap()
    };
    let all = health("").await;
    assert_eq!(all[0]["Checks"].as_array().unwrap().len(), 2);
    assert_eq!(health("?passing").await, serde_json::json!([]), "a node check warns");
    assert_eq!(health("?passing=false").await, all);
    assert_eq!(health("?filter=Service.Port==8080").await, all);
    assert_eq!(health("?filter=Checks.Status==critical").await, serde_json::json!([]));
    let answer = world.get("/v1/health/service/web?passing=maybe").await;
    assert_eq!((answer.status, answer.text()), (400, "Invalid value for ?passing"));
    assert!(world.get("/v1/health/state/warning").await.text().contains("disk"));
    assert_eq!(world.get("/v1/health/state/nothing").await.text(), "[]");
    for path in ["catalog/service/", "health/service/", "health/checks/", "catalog/connect/"] {
        let answer = world.get(&format!("/v1/{path}")).await;
        assert_eq!((answer.status, answer.text()), (400, "Missing service name"), "{path}");
    }

    assert_eq!(world.put("/v1/catalog/deregister", r#"{"node":"alpha"}"#).await.text(), "true");
    assert_eq!(world.get("/v1/health/service/web").await.text(), "[]");
}

#[tokio::test]
async fn bodies_are_refused_in_known_words() {
    let world = World::new().await;
    let check = async |body: &str, status: u16, want: &str| {
        let answer = world.put("/v1/catalog/register", body).await;
        assert_eq!((answer.status, answer.text()), (status, want), "{body}");
    };
    check("", 400, "Request decode failed: EOF").await;
    check("{\"Node\":", 400, "Request decode failed: unexpected EOF").await;
    check("null", 500, "Must provide node").await;
    check(r#"{"Node":"x"}"#, 500, "Must provide address if SkipNodeUpdate is not set").await;
    check(r#"{"Node":"x","Address":"a","Datacenter":"dc9"}"#, 500, "No path to datacenter").await;
    check(
        r#"{"Node":"x","Address":"a","Check":{"Name":"n","ServiceID":"none"}}"#,
        500,
        "failed inserting check: Missing service registration on node \"x\"",
    )
    .await;
}

#[tokio::test]
async fn cached_answers_say_so() {
    let world = World::new().await;
    let answer = world.get("/v1/health/service/none?cached").await;
    assert!(answer.header("x-cache").is_some());
    assert_eq!(world.get("/v1/health/service/none").await.header("x-cache"), None);
    assert_eq!(world.get("/v1/health/node/node1?cached").await.header("x-cache"), None);
}

#[tokio::test]
async fn entries_of_configuration() {
    let world = World::new().await;
    let put = async |query: &str, body: &str| {
        let answer = world.put(&format!("/v1/config{query}"), body).await;
        (answer.status, answer.text().to_owned())
    };
    let web = r#"{"kind":"service-defaults","name":"web","protocol":"http"}"#;
    assert_eq!(put("?cas=0", web).await, (200, "true".into()));
    assert_eq!(put("?cas=0", web).await, (200, "false".into()));
    let unknown = "Bad request: Request decoding failed: invalid config entry kind: nothing";
    assert_eq!(put("", r#"{"Kind":"nothing","Name":"x"}"#).await, (400, unknown.into()));
    let answer = world.get("/v1/config/service-defaults/web").await;
    let index = answer.index();
    assert_eq!(
        answer.text(),
        format!(
            "{{\"Kind\":\"service-defaults\",\"Name\":\"web\",\"Protocol\":\"http\",\"MeshGateway\":{{}},\
             \"Expose\":{{}},\"CreateIndex\":{index},\"ModifyIndex\":{index}}}"
        )
    );
    assert_eq!(world.get("/v1/config/proxy-defaults").await.text(), "[]");
    let missing = world.get("/v1/config/proxy-defaults/global").await;
    let text = "Config entry not found for \"proxy-defaults\" / \"global\"";
    assert_eq!((missing.status, missing.text()), (404, text));
    assert_eq!(world.delete("/v1/config/service-defaults/web").await.text(), "{}");
    let answer = world.delete("/v1/config/service-defaults").await;
    assert_eq!(answer.text(), "Must provide both a kind and name to delete");
}
