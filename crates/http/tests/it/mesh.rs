//! Intentions by id and by name, decisions, certificates, and the agent's own services.

use crate::world::World;

async fn write(world: &World, method: &str, path: &str, body: &str) -> (u16, String) {
    let answer = world.send(method, path, "", body.as_bytes()).await;
    (answer.status, answer.text().to_owned())
}

const INTENTIONS: &str = "/v1/connect/intentions";
const EXACT: &str = "/v1/connect/intentions/exact?source=web&destination=db";

#[tokio::test]
async fn intentions_by_id() {
    let world = World::new().await;
    let allow = r#"{"sourcename":"web","DestinationName":"db","Action":"allow"}"#;
    let (status, body) = write(&world, "POST", INTENTIONS, allow).await;
    assert_eq!(status, 200, "{body}");
    let id = serde_json::from_str::<serde_json::Value>(&body).unwrap()["ID"]
        .as_str()
        .unwrap()
        .to_owned();
    let (status, text) = write(&world, "POST", INTENTIONS, allow).await;
    assert_eq!(status, 500);
    assert!(text.starts_with("duplicate intention found: ALLOW default/web => default/db (ID: "));
    let shown = world.get(&format!("{INTENTIONS}/{id}")).await;
    let head = format!(
        "{{\"ID\":\"{id}\",\"Description\":\"\",\"SourceNS\":\"default\",\"SourceName\":\"web\",\
         \"DestinationNS\":\"default\",\"DestinationName\":\"db\",\"SourceType\":\"consul\",\
         \"Action\":\"allow\",\"DefaultAddr\":\"\",\"DefaultPort\":0,\"Meta\":{{}},\"Precedence\":9,"
    );
    assert!(shown.text().starts_with(&head), "{}", shown.text());
    let check = async |path: &str, status: u16, want: &str| {
        let answer = world.get(&format!("{INTENTIONS}{path}")).await;
        assert_eq!((answer.status, answer.text()), (status, want), "{path}");
    };
    check(
        "/x",
        400,
        "Bad request: failed intention lookup: index error: UUID must be 36 characters",
    )
    .await;
    check("/11111111-2222-3333-4444-555555555555", 404, "Intention not found").await;
    check("/match?by=destination&name=none", 200, "{\"none\":null}").await;
    check(
        "/match?by=middle&name=db",
        500,
        "'by' parameter must be one of 'source' or 'destination'",
    )
    .await;
    check("/check?source=web&destination=db", 200, "{\"Allowed\":true}").await;
    check("/check?source=web", 500, "required query parameter 'destination' not set").await;
    check(
        "/check?source=a/b/c&destination=db",
        500,
        "source \"a/b/c\" is invalid: input can contain at most one '/'",
    )
    .await;
    let unnamed = r#"{"SourceName":"","DestinationName":"b"}"#;
    let want = "2 errors occurred:\n\t* SourceName must be set\n\t* Action must be set to 'allow' or 'deny'\n\n";
    assert_eq!(write(&world, "POST", INTENTIONS, unnamed).await, (500, want.into()));
    let snake = r#"{"source_name":"e"}"#;
    let want = "Failed to decode request body: json: unknown field \"source_name\"";
    assert_eq!(write(&world, "POST", INTENTIONS, snake).await, (500, want.into()));
    assert_eq!(world.delete(&format!("{INTENTIONS}/{id}")).await.text(), "true");
    check("", 200, "[]").await;
}

#[tokio::test]
async fn intentions_by_name() {
    let world = World::new().await;
    assert_eq!(world.get(EXACT).await.status, 404);
    assert_eq!(write(&world, "PUT", EXACT, r#"{"Action":"deny"}"#).await, (200, "true".into()));
    assert_eq!(write(&world, "PUT", EXACT, r#"{"Action":"allow"}"#).await, (200, "true".into()));
    let all = world.get(INTENTIONS).await;
    assert_eq!(all.text().matches("\"Action\":\"allow\"").count(), 1);
    assert_eq!(world.delete(EXACT).await.text(), "true");
    assert_eq!(world.delete(EXACT).await.text(), "true", "nothing is left to do");
    let answer = world.get("/v1/connect/intentions/exact?source=web").await;
    assert_eq!(answer.status, 400);
}

#[tokio::test]
async fn decisions_and_certificates() {
    let world = World::new().await;
    let mut index = 0;
    let roots = loop {
        let answer = world.get(&format!("/v1/agent/connect/ca/roots?index={index}&wait=10s")).await;
        if answer.text().contains("BEGIN CERTIFICATE") {
            break answer;
        }
        index = answer.index();
    };
    assert_eq!(roots.header("x-consul-knownleader"), Some("false"));
    let roots: serde_json::Value = serde_json::from_slice(&roots.body).unwrap();
    let leaf = world.get("/v1/agent/connect/ca/leaf/web").await;
    assert_eq!(leaf.status, 200, "{}", leaf.text());
    assert!(leaf.header("x-cache").is_some() && leaf.index() > 0);
    let leaf: serde_json::Value = serde_json::from_slice(&leaf.body).unwrap();
    let uri = leaf["ServiceURI"].as_str().unwrap();
    let domain = roots["TrustDomain"].as_str().unwrap();
    assert_eq!(uri, format!("spiffe://{domain}/ns/default/dc/dc1/svc/web"));

    let authorize =
        async |body: String| write(&world, "POST", "/v1/agent/connect/authorize", &body).await;
    let question = format!(r#"{{"Target":"db","ClientCertURI":"{uri}","ClientCertSerial":"04"}}"#);
    let (status, text) = authorize(question.clone()).await;
    assert_eq!(
        (status, text.as_str()),
        (200, "{\"Authorized\":true,\"Reason\":\"ACLs disabled, access is allowed by default\"}")
    );
    let spelled = question.replace("Target", "target");
    assert_eq!(authorize(spelled).await, (status, text));
    for (body, want) in [
        ("{}", "Bad request: Target service must be specified"),
        (r#"{"Target":"web"}"#, "Bad request: ClientCertURI not a valid Connect identifier"),
        (
            r#"{"Target":5}"#,
            "Bad request: Request decode failed: json: cannot unmarshal number into Go struct field ConnectAuthorizeRequest.Target of type string",
        ),
    ] {
        assert_eq!(authorize(body.into()).await, (400, want.into()));
    }
    let pem = world.get("/v1/connect/ca/roots?pem=true").await;
    assert_eq!(pem.header("content-type"), Some("application/pem-certificate-chain"));
    let configuration = world.get("/v1/connect/ca/configuration").await;
    assert!(configuration.text().contains("\"State\":null,\"ForceWithoutCrossSigning\":false,"));
    assert!(!configuration.text().contains("ClusterID"));
}

#[tokio::test]
async fn services_of_the_agent() {
    let world = World::new().await;
    let register =
        async |body: &str| write(&world, "PUT", "/v1/agent/service/register", body).await;
    let web = r#"{"name":"web","port":80,"check":{"ttl":"1h","status":"passing"}}"#;
    assert_eq!(register(web).await, (200, String::new()));
    assert_eq!(register("{}").await, (400, "Missing service name".into()));
    let shown = world.get("/v1/agent/service/web").await;
    let hash = shown.header("x-consul-contenthash").unwrap().to_owned();
    assert!(shown.text().contains(&format!("\"ContentHash\":\"{hash}\"")));
    let held = format!("/v1/agent/service/web?hash={hash}&wait=60s");
    let (changed, _) = tokio::join!(world.get(&held), async {
        register(r#"{"name":"web","port":81,"check":{"ttl":"1h","status":"passing"}}"#).await
    });
    assert_ne!(changed.header("x-consul-contenthash"), Some(hash.as_str()));
    let check = async |path: &str, status: u16, reason: &str, body: &str| {
        let answer = world.get(&format!("/v1/agent/health/service/{path}")).await;
        assert_eq!(answer.status, status, "{path}");
        assert_eq!(answer.header("x-consul-reason"), Some(reason), "{path}");
        assert!(answer.text().starts_with(body), "{}", answer.text());
    };
    check("name/web", 200, "passing", "[{\"AggregatedStatus\":\"passing\"").await;
    assert_eq!(world.put("/v1/agent/check/fail/service:web?note=hm", "").await.status, 200);
    check("id/web?format=text", 503, "critical", "critical").await;
    check("id/none?format=text", 404, "ServiceId none not found", "\"ServiceId none not found\"")
        .await;
    check("name/none", 404, "ServiceName none Not Found", "[]").await;
    let answer = world.put("/v1/agent/check/update/none", r#"{"Status":"passing"}"#).await;
    assert_eq!(
        (answer.status, answer.text()),
        (500, "CheckID \"none\" does not have associated TTL")
    );
    let answer = world.put("/v1/agent/service/maintenance/web?enable=x", "").await;
    assert_eq!((answer.status, answer.text()), (400, "Invalid value for enable: \"x\""));
    assert_eq!(world.put("/v1/agent/service/deregister/web", "").await.status, 200);
    assert_eq!(world.get("/v1/agent/services").await.text(), "{}");
    let me = world.get("/v1/agent/self").await;
    assert!(me.text().contains("\"Version\":\"1.8.7\""));
}
