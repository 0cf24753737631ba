//! Measures what an agent does most: decisions from memory and leaves signed through it. Prints
//! figures, judges nothing.

use std::collections::BTreeMap;
use std::hint::black_box;
use std::sync::Arc;
use std::time::Instant;

use agent::testing::FakeCluster;
use agent::{Agent, AgentSettings, Life, WaitOptions};
use model::ca::CaRoots;
use model::intention::{Intention, IntentionAction};
use model::query::Token;
use model::spiffe::TrustDomain;
use pki::builtin::BuiltinCa;
use pki::ca_config::CaConfig;
use pki::csr::Csr;
use rpc::Cluster;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

const CLUSTER_ID: &str = "11111111-2222-3333-4444-555555555555";

#[tokio::main]
async fn main() {
    for count in [1, 1_000, 100_000] {
        decisions(count).await;
    }
    leaves(8, 4_000).await;
}

async fn start(cluster: &Arc<FakeCluster>) -> Arc<Agent> {
    let life = Life { stop: CancellationToken::new(), tasks: TaskTracker::new() };
    let cluster: Arc<dyn Cluster> = Arc::clone(cluster) as _;
    let settings = AgentSettings::default();
    let alone = agent::Alone::new(&settings);
    Agent::start(settings, cluster, alone, life).await.expect("no data dir to fail on")
}

async fn decisions(count: usize) {
    let cluster = FakeCluster::new();
    let rule = |at: usize| Intention {
        id: format!("id-{at}"),
        source_namespace: "default".into(),
        source_name: format!("web-{at}"),
        destination_namespace: "default".into(),
        destination_name: "db".into(),
        action: IntentionAction::Allow,
        ..Intention::default()
    };
    cluster.set_intentions((0..count).map(rule).collect());
    let agent = start(&cluster).await;
    let uri = |at: usize| format!("spiffe://{CLUSTER_ID}.consul/ns/default/dc/dc1/svc/web-{at}");
    agent.authorize("db", &uri(0), "").await.expect("the fake answers");

    const ROUNDS: usize = 2_000_000;
    let uris: Vec<String> = (0..count.min(1_000)).map(uri).collect();
    let sources: Vec<String> = (0..count.min(1_000)).map(|at| format!("web-{at}")).collect();
    let begin = Instant::now();
    for at in 0..ROUNDS {
        let uri = &uris[at % uris.len()];
        black_box(agent.authorize_now("db", black_box(uri)));
    }
    let whole = begin.elapsed().as_nanos() as f64 / ROUNDS as f64;
    let begin = Instant::now();
    for at in 0..ROUNDS {
        let source = &sources[at % sources.len()];
        black_box(agent.is_allowed_now("db", black_box(source)));
    }
    let bare = begin.elapsed().as_nanos() as f64 / ROUNDS as f64;
    println!(
        "{count:>7} intentions: authorize with reason {whole:.0} ns, bare decision {bare:.0} ns"
    );
}

async fn leaves(clients: usize, count: usize) {
    let cluster = FakeCluster::new();
    let config = CaConfig::parse(&BTreeMap::new()).expect("defaults are valid");
    let trust_domain = TrustDomain::of_cluster(CLUSTER_ID).expect("a valid id");
    let now = || std::time::SystemTime::now().into();
    let ca = Arc::new(BuiltinCa::create(&config, &trust_domain, now()).expect("a new authority"));
    let root = ca.ca_root().expect("it has a root");
    cluster.set_signer(Box::new(move |request| {
        let request = Csr::from_pem(request)
            .map_err(|error| model::error::Error::invalid(error.to_string()))?;
        ca.sign_leaf(&request, now())
            .map_err(|error| model::error::Error::internal(error.to_string()))
    }));
    cluster.set_roots(CaRoots {
        active_root_id: root.id.clone(),
        trust_domain: trust_domain.as_str().to_owned(),
        roots: vec![root],
    });
    let agent = start(&cluster).await;
    let begin = Instant::now();
    let clients: Vec<_> = (0..clients)
        .map(|client| {
            let agent = Arc::clone(&agent);
            tokio::spawn(async move {
                for at in 0..count {
                    let service = format!("s-{client}-{at}");
                    let wait = WaitOptions::default();
                    agent.leaf(&service, &wait, Token::default()).await.expect("it is signed");
                }
            })
        })
        .collect();
    let total = clients.len() * count;
    for client in clients {
        client.await.expect("a client does not panic");
    }
    let rate = total as f64 / begin.elapsed().as_secs_f64();
    println!("{total} leaves of distinct services, signing included: {rate:.0} a second");
}
