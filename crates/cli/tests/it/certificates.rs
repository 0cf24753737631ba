//! What the authority issues, judged by `openssl` and by an independent reader of certificates.

use std::fs;
use std::time::Duration;

use serde_json::{Value, json};
use tempfile::TempDir;
use testkit::command::{Cli, Output};
use testkit::differential::{is_substituted, subject};
use testkit::process::{Agent, Spec};
use testkit::request::Client;
use testkit::wait;
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::{GeneralName, ParsedExtension};
use x509_parser::pem::Pem;
use x509_parser::prelude::FromDer as _;

use crate::minted::{Minted, key_pem};

/// How long a leaf is to live. Unit: seconds.
const LEAF_SECONDS: i64 = 72 * 3600;
/// How far the start of a leaf may lie back, for clocks that are slow. Unit: seconds.
const BACKDATED_SECONDS_MAX: i64 = 120;
/// Longest way of a new root into a kept leaf: agents spread that over up to half a minute.
const ROTATION_MAX: Duration = Duration::from_secs(60);

fn start() -> Agent {
    let program = subject(env!("CARGO_BIN_EXE_lictor"));
    Spec::new(program).config(json!({ "log_level": "TRACE" })).start()
}

fn roots(http: &Client) -> Value {
    http.get("/v1/agent/connect/ca/roots").expect("the agent answers").json()
}

fn text<'a>(value: &'a Value, key: &str) -> &'a str {
    value[key].as_str().unwrap_or_default()
}

fn active(roots: &Value) -> &Value {
    let rows = roots["Roots"].as_array().expect("roots are a list");
    rows.iter().find(|root| root["Active"] == json!(true)).expect("one root is active")
}

/// Gives the authority a new key, and so a new root.
fn rotate(http: &Client) -> String {
    let key = key_pem();
    let config =
        json!({ "Provider": "consul", "Config": { "PrivateKey": key, "LeafCertTTL": "72h" } });
    let answer = http.put("/v1/connect/ca/configuration", config.to_string());
    let answer = answer.expect("the agent answers");
    assert_eq!(answer.status, 200, "{answer}");
    key
}

/// `openssl` in a folder with `files`.
fn openssl(files: &[(&str, &str)], args: &[&str]) -> Output {
    let folder = TempDir::with_prefix("openssl-").expect("a temporary folder can be made");
    for (name, text) in files {
        fs::write(folder.path().join(name), text).expect("a temporary folder is writable");
    }
    Cli::new("openssl").current_dir(folder.path()).run(args)
}

/// Has `openssl` judge the first certificate of `chain` by `root`, with the rest of the chain at hand.
fn verify(root: &str, chain: &str, purpose: &str) -> Output {
    let files = [("root.pem", root), ("chain.pem", chain)];
    let args = [
        "verify",
        "-x509_strict",
        "-purpose",
        purpose,
        "-no-CApath",
        "-no-CAstore",
        "-CAfile",
        "root.pem",
        "-untrusted",
        "chain.pem",
        "chain.pem",
    ];
    openssl(&files, &args)
}

pub(crate) fn assert_verifies(root: &str, chain: &str, why: &str) {
    for purpose in ["sslserver", "sslclient"] {
        let output = verify(root, chain, purpose);
        assert_eq!(output.code, Some(0), "{why}, as {purpose}: {output:?}\n{root}\n{chain}");
    }
}

fn pems(text: &str) -> Vec<Pem> {
    Pem::iter_from_buffer(text.as_bytes()).collect::<Result<_, _>>().expect("PEM")
}

#[test]
fn a_leaf_is_as_spiffe_demands() {
    let agent = start();
    let http = agent.http();
    let roots = roots(&http);
    let root_pem = text(active(&roots), "RootCert").to_owned();
    let leaf = http.get("/v1/agent/connect/ca/leaf/web").expect("the agent answers").json();
    let domain = text(&roots, "TrustDomain").to_owned();
    let uri = format!("spiffe://{domain}/ns/default/dc/dc1/svc/web");

    assert_verifies(&root_pem, text(&leaf, "CertPEM"), "a leaf under its root");

    let chain = pems(text(&leaf, "CertPEM"));
    let certificate = chain[0].parse_x509().expect("a certificate");
    assert_eq!(certificate.version().0, 2, "version 3 counts from zero");
    assert_eq!(uris(&certificate), [uri.as_str()]);
    assert_eq!(text(&leaf, "ServiceURI"), uri);
    let usage = certificate.key_usage().expect("readable").expect("present");
    assert!(usage.critical, "key usage is critical");
    assert!(usage.value.digital_signature(), "{:?}", usage.value);
    assert!(!usage.value.key_cert_sign() && !usage.value.crl_sign(), "{:?}", usage.value);
    let purposes = certificate.extended_key_usage().expect("readable").expect("present");
    assert!(purposes.value.client_auth && purposes.value.server_auth && !purposes.value.any);
    let constraints = certificate.basic_constraints().expect("readable").expect("present");
    assert!(!constraints.value.ca, "a leaf signs nothing");
    let validity = certificate.validity();
    let (from, to) = (validity.not_before.timestamp(), validity.not_after.timestamp());
    let lifetime = to - from;
    assert!(
        (LEAF_SECONDS..=LEAF_SECONDS + BACKDATED_SECONDS_MAX).contains(&lifetime),
        "a leaf lives {lifetime} seconds"
    );
    assert!(validity.is_valid(), "a new leaf is valid now");
    assert!(certificate.serial.bits() > 0, "a serial number is positive");

    let root = pems(&root_pem);
    let root = root[0].parse_x509().expect("a certificate");
    assert_eq!(uris(&root), [format!("spiffe://{domain}")], "a root carries the trust domain");
    let usage = root.key_usage().expect("readable").expect("present").value;
    assert!(usage.key_cert_sign(), "{usage:?}");
    let constraints = root.basic_constraints().expect("readable").expect("present");
    assert!(constraints.value.ca && constraints.critical);
    assert_eq!(issuing_key(&certificate), own_key(&root), "the leaf names its root's key");
    certificate.verify_signature(Some(root.public_key())).expect("signed by the root");

    let shown = openssl(
        &[("leaf.pem", text(&leaf, "CertPEM"))],
        &["x509", "-in", "leaf.pem", "-noout", "-text"],
    );
    for fact in [
        "Version: 3 (0x2)",
        "Signature Algorithm: ecdsa-with-SHA256",
        "Public Key Algorithm: id-ecPublicKey",
        "ASN1 OID: prime256v1",
        "CA:FALSE",
        "TLS Web Client Authentication",
        "TLS Web Server Authentication",
        &format!("URI:{uri}"),
    ] {
        assert!(shown.stdout.contains(fact), "`{fact}` is missing: {}", shown.stdout);
    }
    let public = openssl(
        &[("leaf.pem", text(&leaf, "CertPEM"))],
        &["x509", "-in", "leaf.pem", "-noout", "-pubkey"],
    );
    let own = openssl(
        &[("key.pem", text(&leaf, "PrivateKeyPEM"))],
        &["pkey", "-in", "key.pem", "-pubout"],
    );
    assert_eq!(public.stdout, own.stdout, "the key is the certificate's");
    assert!(own.stdout.contains("BEGIN PUBLIC KEY"));
}

fn uris<'a>(certificate: &'a X509Certificate<'_>) -> Vec<&'a str> {
    let names = certificate.subject_alternative_name().expect("readable").expect("present");
    let uri = |name: &'a GeneralName<'_>| match name {
        GeneralName::URI(uri) => *uri,
        other => panic!("a name that is no URI: {other:?}"),
    };
    names.value.general_names.iter().map(uri).collect()
}

fn own_key(certificate: &X509Certificate<'_>) -> Vec<u8> {
    let id =
        certificate.extensions().iter().find_map(|extension| match extension.parsed_extension() {
            ParsedExtension::SubjectKeyIdentifier(id) => Some(id.0.to_vec()),
            _ => None,
        });
    id.expect("a subject key id")
}

fn issuing_key(certificate: &X509Certificate<'_>) -> Vec<u8> {
    let id =
        certificate.extensions().iter().find_map(|extension| match extension.parsed_extension() {
            ParsedExtension::AuthorityKeyIdentifier(id) => {
                id.key_identifier.as_ref().map(|id| id.0.to_vec())
            }
            _ => None,
        });
    id.expect("an authority key id")
}

#[test]
fn keys_are_made_once_a_service_and_never_logged() {
    let agent = start();
    let http = agent.http();
    let (web, again) = (Minted::by_agent(&http, "web"), Minted::by_agent(&http, "web"));
    let db = Minted::by_agent(&http, "db");
    assert_eq!(web.key_pem, again.key_pem, "a kept leaf is handed out again");
    assert_ne!(web.key_pem, db.key_pem, "services share no key");
    let ca_key = rotate(&http);
    let fresh = Minted::by_agent(&http, "fresh");
    let log = agent.log();
    assert!(log.contains("/v1/agent/connect/ca/leaf/web"), "the log tells of requests: {log}");
    for key in [&web.key_pem, &db.key_pem, &fresh.key_pem, &ca_key] {
        let body = key.lines().nth(1).expect("a key has lines");
        assert!(!log.contains(body), "a private key is in the log");
    }
    assert!(!log.contains("PRIVATE KEY"), "a private key is in the log");
}

#[test]
fn a_rotation_leaves_nobody_without_a_way_to_verify() {
    let agent = start();
    let http = agent.http();
    let before = roots(&http);
    let old_root = text(active(&before), "RootCert").to_owned();
    let old_leaf = Minted::by_agent(&http, "web");

    // Questions held over the change: they are answered by it.
    let held = |path: &str| {
        let index = http.get(path).expect("the agent answers").index().expect("an index");
        let path = format!("{path}?index={index}&wait=60s");
        let address = http.address;
        std::thread::spawn(move || Client::new(address).get_within(&path, ROTATION_MAX))
    };
    let held_roots = held("/v1/agent/connect/ca/roots");
    let held_leaf = held("/v1/agent/connect/ca/leaf/web");
    rotate(&http);

    let after = held_roots.join().expect("asking does not panic").expect("an answer").json();
    let new_root = text(active(&after), "RootCert").to_owned();
    assert_ne!(old_root, new_root, "the held question shows the new root");
    let all = after["Roots"].as_array().expect("roots are a list");
    assert_eq!(all.len(), 2, "the old root is still trusted: {after}");
    assert!(all.iter().any(|root| text(root, "RootCert") == old_root));

    // Who knows both roots verifies both leaves, who knows only the old one verifies the new leaf by the cross-signed
    // certificate in its chain.
    let fresh = Minted::by_agent(&http, "fresh");
    assert_verifies(&old_root, &old_leaf.chain_pem, "an old leaf under the old root");
    assert_verifies(&new_root, &fresh.chain_pem, "a new leaf under the new root");
    assert_verifies(&old_root, &fresh.chain_pem, "a new leaf under the old root, by its chain");
    let alone = pems(&fresh.chain_pem);
    assert!(alone.len() > 1, "the chain carries the cross-signed certificate");
    let wrong = verify(&new_root, &old_leaf.chain_pem, "sslserver");
    assert_ne!(wrong.code, Some(0), "an old leaf does not verify under the new root");

    let woken = held_leaf.join().expect("asking does not panic").expect("an answer").json();
    assert_ne!(text(&woken, "CertPEM"), old_leaf.chain_pem, "the held leaf is a new one");
    assert_verifies(&new_root, text(&woken, "CertPEM"), "the renewed leaf under the new root");
    let renewed = pems(text(&woken, "CertPEM"));
    let (_, renewed) = X509Certificate::from_der(&renewed[0].contents).expect("a certificate");
    let new = pems(&new_root);
    let (_, new) = X509Certificate::from_der(&new[0].contents).expect("a certificate");
    assert_eq!(issuing_key(&renewed), own_key(&new));
}

#[test]
fn a_root_survives_a_restart() {
    let mut agent = start();
    let before = text(active(&roots(&agent.http())), "ID").to_owned();
    let domain = text(&roots(&agent.http()), "TrustDomain").to_owned();
    let leaf = Minted::by_agent(&agent.http(), "web");
    agent.kill();
    agent.restart();
    // A real agent asks its servers for the roots once they lead again.
    let after = wait::until("roots are known again", ROTATION_MAX, || {
        let roots = agent.http().get("/v1/agent/connect/ca/roots").ok()?;
        (roots.status == 200 && roots.text().contains("RootCert")).then(|| roots.json())
    });
    assert_eq!(text(active(&after), "ID"), before);
    assert_eq!(text(&after, "TrustDomain"), domain);
    assert_verifies(text(active(&after), "RootCert"), &leaf.chain_pem, "a leaf from before");
    let again = Minted::by_agent(&agent.http(), "web");
    assert_verifies(text(active(&after), "RootCert"), &again.chain_pem, "a leaf from after");
    if !is_substituted() {
        let (old, new) = (pems(&leaf.chain_pem), pems(&again.chain_pem));
        let serial = |pem: &Pem| pem.parse_x509().expect("a certificate").raw_serial_as_string();
        assert_ne!(serial(&old[0]), serial(&new[0]), "a serial number is used once");
    }
}
