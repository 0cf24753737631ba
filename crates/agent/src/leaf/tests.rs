//! Leaves over a fake cluster with a real authority.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};

use model::spiffe::TrustDomain;
use pki::builtin::BuiltinCa;
use pki::ca_config::CaConfig;
use pki::csr::Csr;
use pki::key::PrivateKey;

use super::*;
use crate::testing::FakeCluster;
use crate::views::Views;

const SPREAD: Duration = Duration::from_secs(30);

fn authority() -> Arc<BuiltinCa> {
    let config = CaConfig::parse(&BTreeMap::new()).unwrap();
    let trust_domain = TrustDomain::of_cluster("11111111-2222-3333-4444-555555555555").unwrap();
    Arc::new(BuiltinCa::create(&config, &trust_domain, wall_now()).unwrap())
}

/// Makes `ca` the active authority of the fake.
fn install(cluster: &FakeCluster, ca: &Arc<BuiltinCa>) {
    let signing = Arc::clone(ca);
    cluster.set_signer(Box::new(move |request| {
        let request =
            Csr::from_pem(request).map_err(|error| ClusterError::invalid(error.to_string()))?;
        request
            .check(signing.trust_domain(), "dc1")
            .map_err(|error| ClusterError::invalid(error.to_string()))?;
        signing
            .sign_leaf(&request, wall_now())
            .map_err(|error| ClusterError::internal(error.to_string()))
    }));
    let root = ca.ca_root().unwrap();
    cluster.set_roots(CaRoots {
        active_root_id: root.id.clone(),
        trust_domain: ca.trust_domain().as_str().to_owned(),
        roots: vec![root],
    });
}

fn start(cluster: &Arc<FakeCluster>) -> Arc<Leaves> {
    let (stop, tasks) = (CancellationToken::new(), TaskTracker::new());
    let cluster: Arc<dyn Cluster> = Arc::clone(cluster) as _;
    let views = Views::new(Arc::clone(&cluster), stop.clone(), tasks.clone());
    let roots = RootsView::new(&views, Token::default()).unwrap();
    Leaves::start(cluster, roots, "dc1".into(), SPREAD, stop, tasks)
}

async fn get(leaves: &Arc<Leaves>, service: &str) -> Result<Cached<Arc<IssuedCert>>, Error> {
    leaves.get(service, &WaitOptions::default(), Token::default()).await
}

async fn get_newer(leaves: &Arc<Leaves>, service: &str, min_index: u64) -> Cached<Arc<IssuedCert>> {
    let wait = WaitOptions { min_index, wait: Some(Duration::from_secs(100 * 3600)) };
    leaves.get(service, &wait, Token::default()).await.unwrap()
}

#[tokio::test(start_paused = true)]
async fn signs_once_and_keeps() {
    let cluster = FakeCluster::new();
    let ca = authority();
    install(&cluster, &ca);
    let leaves = start(&cluster);
    let first = get(&leaves, "web").await.unwrap();
    assert!(!first.cache.hit);
    let leaf = &first.value;
    assert_eq!(leaf.service, "web");
    assert_eq!(
        leaf.service_uri,
        "spiffe://11111111-2222-3333-4444-555555555555.consul/ns/default/dc/dc1/svc/web"
    );
    assert!(leaf.private_key_pem.starts_with("-----BEGIN EC PRIVATE KEY-----"));
    assert_eq!(leaf.modify_index, first.index);
    let key = PrivateKey::from_pem(&leaf.private_key_pem).unwrap();
    let root = ca.ca_root().unwrap();
    assert_eq!(signer_of(&leaf.cert_pem), Some(root.signing_key_id));
    let (_, pem) = x509_parser::pem::parse_x509_pem(leaf.cert_pem.as_bytes()).unwrap();
    let cert = pem.parse_x509().unwrap();
    assert_eq!(cert.public_key().raw, key.public_key());

    let again = get(&leaves, "web").await.unwrap();
    assert!(again.cache.hit && Arc::ptr_eq(&again.value, leaf));
    assert!(!format!("{leaf:?}").contains("PRIVATE"), "keys stay out of debug output");
    get(&leaves, "db").await.unwrap();
    assert_eq!(cluster.signed(), 2);
}

#[tokio::test(start_paused = true)]
async fn many_ask_at_once_and_one_is_signed() {
    let cluster = FakeCluster::new();
    install(&cluster, &authority());
    let leaves = start(&cluster);
    let asking: Vec<_> = (0..50)
        .map(|_| {
            let leaves = Arc::clone(&leaves);
            tokio::spawn(async move { get(&leaves, "web").await.unwrap().value })
        })
        .collect();
    let mut serials = std::collections::BTreeSet::new();
    for one in asking {
        serials.insert(one.await.unwrap().serial_number.clone());
    }
    assert_eq!((serials.len(), cluster.signed()), (1, 1));
}

#[tokio::test(start_paused = true)]
async fn a_new_root_brings_a_new_leaf_to_who_waits() {
    let cluster = FakeCluster::new();
    install(&cluster, &authority());
    let leaves = start(&cluster);
    let old = get(&leaves, "web").await.unwrap();
    let waiting = tokio::spawn({
        let leaves = Arc::clone(&leaves);
        async move { get_newer(&leaves, "web", old.index).await }
    });
    tokio::task::yield_now().await;
    let next = authority();
    let start = Instant::now();
    install(&cluster, &next);
    let new = waiting.await.unwrap();
    assert!(new.index > old.index);
    assert!(start.elapsed() <= SPREAD + Duration::from_secs(1));
    assert_eq!(signer_of(&new.value.cert_pem), Some(next.ca_root().unwrap().signing_key_id));
    // It settles: the same roots again renew nothing.
    install(&cluster, &next);
    tokio::time::sleep(SPREAD * 4).await;
    assert_eq!(cluster.signed(), 2);
}

#[tokio::test(start_paused = true)]
async fn renews_inside_the_window() {
    let cluster = FakeCluster::new();
    install(&cluster, &authority());
    let leaves = start(&cluster);
    let old = get(&leaves, "web").await.unwrap();
    let start = Instant::now();
    get_newer(&leaves, "web", old.index).await;
    let hours = start.elapsed().as_secs_f64() / 3600.0;
    assert!((72.0 * 0.59..72.0 * 0.91).contains(&hours), "{hours}");
}

#[tokio::test(start_paused = true)]
async fn keeps_the_old_leaf_while_signing_fails_and_tries_on() {
    let cluster = FakeCluster::new();
    let ca = authority();
    install(&cluster, &ca);
    let leaves = start(&cluster);
    let old = get(&leaves, "web").await.unwrap();
    cluster.fail_with(Some(ClusterError::no_leader()));
    tokio::time::sleep(Duration::from_secs(70 * 3600)).await;
    assert!(Arc::ptr_eq(&get(&leaves, "web").await.unwrap().value, &old.value));
    cluster.fail_with(None);
    let start = Instant::now();
    get_newer(&leaves, "web", old.index).await;
    assert!(start.elapsed() <= Duration::from_secs(61), "{:?}", start.elapsed());
}

#[tokio::test(start_paused = true)]
async fn over_the_rate_limit_the_caller_waits_his_turn() {
    let cluster = FakeCluster::new();
    let ca = authority();
    install(&cluster, &ca);
    let refusals = AtomicU64::new(2);
    let signing = Arc::clone(&ca);
    cluster.set_signer(Box::new(move |request| {
        let left =
            refusals.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1));
        if left.is_ok() {
            let mut error = ClusterError::new(ErrorKind::Unavailable, "rate limit reached");
            error.retry_after = Some(Duration::from_millis(200));
            return Err(error);
        }
        let request = Csr::from_pem(request).unwrap();
        Ok(signing.sign_leaf(&request, wall_now()).unwrap())
    }));
    let leaves = start(&cluster);
    get(&leaves, "web").await.unwrap();
    assert_eq!(cluster.signed(), 1);
}

#[tokio::test(start_paused = true)]
async fn refusals_reach_the_caller_and_are_not_kept() {
    let cluster = FakeCluster::new();
    install(&cluster, &authority());
    let leaves = start(&cluster);
    let error = get(&leaves, "").await.unwrap_err();
    assert_eq!(error.to_string(), "URI must be either service or agent");
    let error = get(&leaves, "bad name").await.unwrap_err();
    assert!(
        matches!(&error, Error::Cluster(error) if error.kind == ErrorKind::Invalid),
        "{error:?}"
    );

    cluster.fail_with(Some(ClusterError::new(ErrorKind::Denied, "Permission denied")));
    let error = get(&leaves, "web").await.unwrap_err();
    assert_eq!(error.to_string(), "Permission denied");
    cluster.fail_with(None);
    install(&cluster, &authority());
    get(&leaves, "web").await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn forgets_what_nobody_asks_for() {
    let cluster = FakeCluster::new();
    install(&cluster, &authority());
    let leaves = start(&cluster);
    get(&leaves, "web").await.unwrap();
    get(&leaves, "db").await.unwrap();
    assert_eq!(leaves.len(), 2);
    for _ in 0..10 {
        tokio::time::sleep(Duration::from_secs(24 * 3600)).await;
        get(&leaves, "db").await.unwrap();
    }
    assert_eq!(leaves.len(), 1);
}
