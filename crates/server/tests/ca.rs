//! The authority through the server: coming into being, signing, limits, rotation.

use std::collections::BTreeMap;
use std::sync::Arc;

use model::ca::{CaConfiguration, CaRoots, IssuedCert};
use model::error::{Error, ErrorKind};
use model::query::{Query, QueryOptions, Reply, Token};
use model::spiffe::{SpiffeId, TrustDomain};
use pki::csr;
use pki::key::{Curve, KeyKind, PrivateKey};
use rpc::Cluster;
use serde_json::{Value, json};
use server::{CaSettings, Server, ServerConfig};

async fn start(config: ServerConfig) -> Arc<Server> {
    let server = Arc::new(Server::start(config).unwrap());
    server.ready().await.unwrap();
    server
}

/// Roots once there is an active one other than `old`.
async fn roots(server: &Server, old: &str) -> Arc<CaRoots> {
    let mut options = QueryOptions::default();
    loop {
        let answer = server.query(Query::CaRoots, options.clone()).await.unwrap();
        let Reply::CaRoots(roots) = &answer.body.reply else { panic!() };
        if !roots.active_root_id.is_empty() && roots.active_root_id != old {
            return roots.clone();
        }
        options.min_index = answer.meta.index;
    }
}

fn request(trust_domain: &str, service: &str) -> String {
    let domain: TrustDomain = trust_domain.parse().unwrap();
    let id = SpiffeId::service(&domain, "dc1", service).unwrap();
    let key = PrivateKey::generate(KeyKind::Ec(Curve::P256)).unwrap();
    csr::build(&key, &id).unwrap()
}

async fn sign(server: &Server, csr: String) -> Result<IssuedCert, Error> {
    server.sign_leaf(csr, Token::default()).await
}

async fn configure(server: &Server, config: Value) -> Result<(), Error> {
    let config = CaConfiguration {
        provider: "consul".into(),
        config: serde_json::from_value(config).unwrap(),
        ..CaConfiguration::default()
    };
    server.configure_ca(config, Token::default()).await
}

#[tokio::test]
async fn a_new_cluster_signs_and_keeps_its_authority_through_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let config = ServerConfig { data_dir: Some(dir.path().into()), ..ServerConfig::new("dc1") };
    let server = start(config.clone()).await;
    let first = roots(&server, "").await;
    let leaf = sign(&server, request(&first.trust_domain, "web")).await.unwrap();
    assert_eq!(leaf.service, "web");
    assert!(leaf.private_key_pem.is_empty() && leaf.create_index > 0);
    let log_entries = server.metrics().log_entries;
    sign(&server, request(&first.trust_domain, "db")).await.unwrap();
    assert_eq!(server.metrics().log_entries, log_entries, "a leaf costs no log entry");
    server.shutdown().await;
    drop(server);
    let server = start(config).await;
    assert_eq!(*roots(&server, "").await, *first);
    sign(&server, request(&first.trust_domain, "web")).await.unwrap();
}

#[tokio::test]
async fn requests_for_others_are_refused() {
    let server = start(ServerConfig::new("dc1")).await;
    let domain = roots(&server, "").await.trust_domain.clone();
    let foreign = request("11111111-2222-3333-4444-555555555555.consul", "web");
    for csr in [foreign, "garbage".into(), String::new()] {
        assert_eq!(sign(&server, csr).await.unwrap_err().kind, ErrorKind::Invalid);
    }
    assert_eq!(server.metrics().leaves_refused, 3);
    sign(&server, request(&domain, "web")).await.unwrap();
}

#[tokio::test]
async fn a_written_rate_limits_and_says_when_to_come_back() {
    let server = start(ServerConfig::new("dc1")).await;
    let domain = roots(&server, "").await.trust_domain.clone();
    configure(&server, json!({ "CSRMaxPerSecond": 0.1 })).await.unwrap();
    sign(&server, request(&domain, "web")).await.unwrap();
    let limited = sign(&server, request(&domain, "web")).await.unwrap_err();
    assert_eq!(limited.message, "Rate limit reached, try again later");
    assert!(limited.retry_after.is_some());
    configure(&server, json!({ "CSRMaxConcurrent": 2, "CSRMaxPerSecond": 0.1 })).await.unwrap();
    for _ in 0..5 {
        sign(&server, request(&domain, "web")).await.unwrap();
    }
}

#[tokio::test]
async fn another_key_rotates_and_the_old_root_vouches_for_the_new() {
    let server = start(ServerConfig::new("dc1")).await;
    let before = roots(&server, "").await;
    // Settings alone change no root.
    configure(&server, json!({ "LeafCertTTL": "24h" })).await.unwrap();
    assert_eq!(roots(&server, "").await.active_root_id, before.active_root_id);

    let key = PrivateKey::generate(KeyKind::Ec(Curve::P256)).unwrap();
    let pem = key.to_pem().unwrap().to_string();
    configure(&server, json!({ "LeafCertTTL": "24h", "PrivateKey": pem })).await.unwrap();
    let after = roots(&server, &before.active_root_id).await;
    assert_eq!(after.trust_domain, before.trust_domain);
    assert_eq!(after.roots.len(), 2);
    let old = after.roots.iter().find(|root| root.id == before.active_root_id).unwrap();
    let new = after.roots.iter().find(|root| root.active).unwrap();
    assert!(!old.active && !old.rotated_out_at.is_zero());
    let vouched = new.intermediate_certs.as_ref().unwrap();
    assert_eq!(vouched.len(), 1);
    let leaf = sign(&server, request(&after.trust_domain, "web")).await.unwrap();
    assert!(leaf.cert_pem.contains(vouched[0].trim()), "the chain reaches the old root");

    // The same again is no change; another kind of key is one more rotation.
    configure(&server, json!({ "LeafCertTTL": "24h", "PrivateKey": pem })).await.unwrap();
    assert_eq!(roots(&server, "").await.active_root_id, after.active_root_id);
    configure(&server, json!({ "PrivateKeyBits": 384 })).await.unwrap();
    let third = roots(&server, &after.active_root_id).await;
    assert_eq!(third.roots.len(), 3);
    assert_eq!(third.roots.iter().find(|root| root.active).unwrap().private_key_bits, 384);
    configure(&server, json!({ "PrivateKeyBits": 256 })).await.unwrap();
    let fourth = roots(&server, &third.active_root_id).await;
    sign(&server, request(&fourth.trust_domain, "web")).await.unwrap();
    assert_eq!(server.metrics().ca_rotations, 3);
}

#[tokio::test]
async fn bad_settings_are_refused_with_the_texts_clients_know() {
    let server = start(ServerConfig::new("dc1")).await;
    roots(&server, "").await;
    let bad = configure(&server, json!({ "LeafCertTTL": "1m" })).await.unwrap_err();
    assert_eq!(
        bad.message,
        "error configuring provider: leaf cert TTL must be greater or equal than 1h0m0s"
    );
    let foreign = CaConfiguration { provider: "foo".into(), ..CaConfiguration::default() };
    let bad = server.configure_ca(foreign, Token::default()).await.unwrap_err();
    assert_eq!(bad.message, "could not initialize provider: unknown CA provider \"foo\"");
}

#[tokio::test]
async fn a_chosen_cluster_id_and_settings_found_the_authority() {
    let cluster_id = "11111111-2222-3333-4444-555555555555";
    let settings = CaSettings {
        cluster_id: cluster_id.into(),
        config: BTreeMap::from([("LeafCertTTL".to_owned(), json!("2h"))]),
        ..CaSettings::default()
    };
    let server = start(ServerConfig { ca: Some(settings), ..ServerConfig::new("dc1") }).await;
    assert_eq!(roots(&server, "").await.trust_domain, format!("{cluster_id}.consul"));
    let state = server.state();
    let config = &state.ca_config().unwrap().config;
    assert_eq!(config["LeafCertTTL"], json!("2h"));
    assert_eq!(config["RotationPeriod"], json!("2160h"));
}
