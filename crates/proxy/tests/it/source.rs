//! Following an agent: every part heard of, changes taken in as they come, and the agent's absence outlived.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use http_body_util::{BodyExt, Full};
use hyper::body::{Bytes, Incoming};
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use mesh::{DefaultPolicy, ProxySnapshot};
use model::intention::IntentionAction;
use proxy::source::{Role, Source, questions};
use proxy::{Metrics, Question};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::world::{Authority, DEADLINE, DOMAIN, intention, run, until};

/// An agent that answers from a table and holds questions until the table changes.
struct Agent {
    state: Arc<State>,
    address: SocketAddr,
    task: JoinHandle<()>,
}

struct State {
    /// Answers by path, queries left out.
    answers: Mutex<BTreeMap<String, Value>>,
    version: watch::Sender<u64>,
    /// Whether it speaks as agents before 1.9 do: no default policy, no index with matches.
    is_old: bool,
}

impl Agent {
    async fn start(is_old: bool) -> Self {
        let state = State { answers: Mutex::default(), version: watch::Sender::new(7), is_old };
        Self::serve(Arc::new(state), "127.0.0.1:0".parse().expect("an address")).await
    }

    async fn serve(state: Arc<State>, address: SocketAddr) -> Self {
        let listener = TcpListener::bind(address).await.expect("binds");
        let address = listener.local_addr().expect("is bound");
        let served = state.clone();
        let task = tokio::spawn(async move {
            let mut connections = tokio::task::JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                let state = served.clone();
                let answer =
                    hyper::service::service_fn(move |request| answer(state.clone(), request));
                let http = hyper::server::conn::http1::Builder::new();
                connections.spawn(http.serve_connection(TokioIo::new(stream), answer));
            }
        });
        Self { state, address, task }
    }

    fn set(&self, path: &str, answer: Value) {
        self.state.answers.lock().expect("is sound").insert(path.into(), answer);
        self.state.version.send_modify(|version| *version += 1);
    }

    /// Ends all at once, connections too.
    async fn stop(self) -> (Arc<State>, SocketAddr) {
        self.task.abort();
        let _ = self.task.await;
        (self.state, self.address)
    }
}

async fn answer(
    state: Arc<State>,
    request: Request<Incoming>,
) -> Result<Response<Full<Bytes>>, Infallible> {
    let (path, query) =
        (request.uri().path().to_owned(), request.uri().query().unwrap_or_default().to_owned());
    let value_of = |name: &str| {
        query
            .split('&')
            .find_map(|pair| pair.strip_prefix(name)?.strip_prefix('='))
            .unwrap_or_default()
    };
    let mut version = state.version.subscribe();
    let waited_on = match (value_of("index"), value_of("hash")) {
        ("", hash) => hash.trim_start_matches('h').to_owned(),
        (index, _) => index.to_owned(),
    };
    if let Ok(waited_on) = waited_on.parse::<u64>() {
        let news = version.wait_for(|version| *version > waited_on);
        let _ = tokio::time::timeout(DEADLINE, news).await;
    }
    let body = request.into_body().collect().await.map(|body| body.to_bytes()).unwrap_or_default();
    let version = *version.borrow();
    let answer = state.answers.lock().expect("is sound").get(&path).cloned();
    let Some(mut answer) = answer else {
        let missing = Response::builder().status(404).body(Full::new(Bytes::from("nothing here")));
        return Ok(missing.expect("is complete"));
    };
    if path.ends_with("/authorize") {
        let asked: Value = serde_json::from_slice(&body).expect("JSON");
        answer["Reason"] = asked["ClientCertURI"].clone();
    }
    let mut response = Response::builder();
    if path.contains("/agent/service/") {
        response = response.header("X-Consul-ContentHash", format!("h{version}"));
    } else if !(state.is_old && path.ends_with("/match")) {
        response = response.header("X-Consul-Index", version);
    }
    if !state.is_old {
        response = response.header("X-Consul-Default-ACL-Policy", "deny");
    }
    Ok(response.body(Full::new(Bytes::from(answer.to_string()))).expect("is complete"))
}

const REGISTRATION: &str = "/v1/agent/service/web-sidecar-proxy";
const ROOTS: &str = "/v1/agent/connect/ca/roots";
const LEAF: &str = "/v1/agent/connect/ca/leaf/web";
const MATCH: &str = "/v1/connect/intentions/match";
const LIST: &str = "/v1/connect/intentions";
const INSTANCES: &str = "/v1/health/connect/db";
const AUTHORIZE: &str = "/v1/agent/connect/authorize";

fn registration(upstreams: Value) -> Value {
    json!({
        "Kind": "connect-proxy", "ID": "web-sidecar-proxy", "Service": "web-sidecar-proxy", "Port": 21_000,
        "Proxy": {"DestinationServiceName": "web", "LocalServicePort": 80, "Upstreams": upstreams},
    })
}

fn instance(port: u16) -> Value {
    json!({
        "Node": {"Node": "one", "Address": "127.0.0.1", "Datacenter": "dc1"},
        "Service": {
            "Kind": "connect-proxy", "ID": "db-sidecar-proxy", "Service": "db-sidecar-proxy", "Port": port,
            "Proxy": {"DestinationServiceName": "db"},
        },
        "Checks": [],
    })
}

/// Tells everything about a web that leads to db.
fn tell(agent: &Agent, authority: &Authority) {
    agent.set(ROOTS, serde_json::to_value(&*authority.roots()).expect("serializes"));
    agent.set(LEAF, serde_json::to_value(&*authority.leaf("web")).expect("serializes"));
    agent
        .set(REGISTRATION, registration(json!([{"DestinationName": "db", "LocalBindPort": 5000}])));
    agent.set(INSTANCES, json!([instance(1)]));
    agent.set(LIST, json!([]));
    agent.set(MATCH, json!({"web": []}));
}

fn allow_api() -> Value {
    json!({"web": [&*intention("api", "web", IntentionAction::Allow)]})
}

struct Followed {
    snapshots: watch::Receiver<Option<Arc<ProxySnapshot>>>,
    metrics: Arc<Metrics>,
    ask: mpsc::Sender<Question>,
    _stop: tokio_util::sync::DropGuard,
}

fn follow(agent: &Agent) -> Followed {
    let config = api::ClientConfig {
        address: agent.address.to_string().parse().expect("an address"),
        ..api::ClientConfig::default()
    };
    let (snapshots, receiver) = watch::channel(None);
    let (ask, questions) = questions();
    let proxy = proxy::Proxy::new(proxy::Settings::default());
    let source = Source {
        client: api::Client::new(config).expect("a client"),
        role: Role::Registered { proxy_id: "web-sidecar-proxy".into() },
        snapshots,
        questions,
        metrics: proxy.metrics(),
    };
    let shutdown = CancellationToken::new();
    tokio::spawn(source.run(shutdown.clone()));
    Followed { snapshots: receiver, metrics: proxy.metrics(), ask, _stop: shutdown.drop_guard() }
}

impl Followed {
    async fn until(
        &mut self,
        what: &str,
        is_it: impl Fn(&ProxySnapshot) -> bool,
    ) -> Arc<ProxySnapshot> {
        let held = self.snapshots.wait_for(|held| held.as_ref().is_some_and(|held| is_it(held)));
        let held = tokio::time::timeout(DEADLINE, held).await;
        let held = held.unwrap_or_else(|_| panic!("never came: {what}"));
        held.expect("follows").clone().expect("is one")
    }
}

fn intentions(snapshot: &ProxySnapshot) -> usize {
    snapshot.inbound.as_ref().map_or(0, |inbound| inbound.intentions.len())
}

#[test]
fn every_part_is_heard_of_and_changes_are_taken_in() {
    run(async {
        let (agent, authority) = (Agent::start(false).await, Authority::new(DOMAIN));
        let mut followed = follow(&agent);
        tell(&agent, &authority);
        let known = |snapshot: &ProxySnapshot| snapshot.upstreams[0].instances.is_some();
        let snapshot = followed.until("all parts", known).await;
        let inbound = snapshot.inbound.as_ref().expect("is a sidecar");
        assert_eq!(inbound.default_policy, DefaultPolicy::Deny);
        assert_eq!(snapshot.identity.service.as_str(), "web");

        agent.set(MATCH, allow_api());
        followed.until("the intention", |snapshot| intentions(snapshot) == 1).await;
        agent.set(INSTANCES, json!([instance(1), instance(2)]));
        let two = |snapshot: &ProxySnapshot| {
            snapshot.upstreams[0].instances.as_ref().is_some_and(|instances| instances.len() == 2)
        };
        followed.until("the instance", two).await;
        let leaf = authority.leaf("web");
        agent.set(LEAF, serde_json::to_value(&*leaf).expect("serializes"));
        followed.until("the leaf", |snapshot| snapshot.leaf.cert_pem == leaf.cert_pem).await;
        agent.set(REGISTRATION, registration(json!([])));
        followed.until("the registration", |snapshot| snapshot.upstreams.is_empty()).await;
    });
}

#[test]
fn one_part_that_is_missing_means_no_snapshot() {
    run(async {
        let (agent, authority) = (Agent::start(false).await, Authority::new(DOMAIN));
        tell(&agent, &authority);
        agent.state.answers.lock().expect("is sound").remove(LEAF);
        let mut followed = follow(&agent);
        until("it fails", || followed.metrics.snapshot().is_agent_away == 1).await;
        assert!(followed.snapshots.borrow().is_none());
        agent.set(LEAF, serde_json::to_value(&*authority.leaf("web")).expect("serializes"));
        followed.until("all parts", |_| true).await;
        until("it is well", || followed.metrics.snapshot().is_agent_away == 0).await;
    });
}

#[test]
fn an_agent_that_is_away_is_outlived_and_found_again() {
    run(async {
        let (agent, authority) = (Agent::start(false).await, Authority::new(DOMAIN));
        tell(&agent, &authority);
        let mut followed = follow(&agent);
        let before = followed.until("all parts", |_| true).await;
        let (state, address) = agent.stop().await;
        until("it is noticed", || followed.metrics.snapshot().is_agent_away == 1).await;
        let during = followed.snapshots.borrow().clone().expect("is kept");
        assert!(Arc::ptr_eq(&before.leaf, &during.leaf));
        let agent = Agent::serve(state, address).await;
        agent.set(MATCH, allow_api());
        followed.until("the intention", |snapshot| intentions(snapshot) == 1).await;
        until("it is well", || followed.metrics.snapshot().is_agent_away == 0).await;
    });
}

#[test]
fn an_agent_of_old_is_waited_on_and_asked() {
    run(async {
        let (agent, authority) = (Agent::start(true).await, Authority::new(DOMAIN));
        tell(&agent, &authority);
        let mut followed = follow(&agent);
        let snapshot = followed.until("all parts", |_| true).await;
        let inbound = snapshot.inbound.as_ref().expect("is a sidecar");
        assert_eq!(inbound.default_policy, DefaultPolicy::AskAgent);
        agent.set(MATCH, allow_api());
        followed.until("the intention", |snapshot| intentions(snapshot) == 1).await;

        let ask = async |uri: &str| {
            let (reply, answer) = oneshot::channel();
            let question = Question { client_uri: uri.into(), client_serial: "01".into(), reply };
            followed.ask.send(question).await.expect("follows");
            tokio::time::timeout(DEADLINE, answer).await.expect("in time").expect("is answered")
        };
        agent.set(AUTHORIZE, json!({"Authorized": true}));
        let allowed = ask("spiffe://a").await;
        assert_eq!((allowed.is_allowed, allowed.reason.as_str()), (true, "spiffe://a"));
        agent.set(AUTHORIZE, json!({"Authorized": false}));
        assert!(!ask("spiffe://a").await.is_allowed);
        agent.state.answers.lock().expect("is sound").remove(AUTHORIZE);
        assert!(!ask("spiffe://a").await.is_allowed, "no answer is a no");
    });
}
