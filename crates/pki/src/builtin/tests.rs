//! Tests of the built-in authority, with `openssl` as the independent judge of what it signs.

use super::*;
use crate::csr::CsrError;
use crate::key::{Curve, KeyKind};
use crate::testing::{openssl, openssl_with, verify_with_openssl};

const CLUSTER: &str = "458884c2-7743-8784-498f-a3b3e3d58792";

fn domain() -> TrustDomain {
    TrustDomain::of_cluster(CLUSTER).unwrap()
}

fn now() -> Timestamp {
    std::time::SystemTime::now().into()
}

fn authority() -> BuiltinCa {
    BuiltinCa::create(&CaConfig::default(), &domain(), now()).unwrap()
}

fn request(service: &str) -> (PrivateKey, Csr) {
    let key = PrivateKey::generate(KeyKind::LEAF).unwrap();
    let id = SpiffeId::service(&domain(), "dc1", service).unwrap();
    let csr = Csr::from_pem(&csr::build(&key, &id).unwrap()).unwrap();
    (key, csr)
}

fn text_of(pem: &str) -> String {
    openssl_with(&["x509", "-noout", "-text"], pem)
}

/// Lines of the text form that follow `heading`, trimmed and joined.
fn after(text: &str, heading: &str) -> String {
    let mut lines = text.lines().map(str::trim).skip_while(|line| !line.starts_with(heading));
    lines.next().unwrap_or_else(|| panic!("{heading} is not in {text}"));
    lines.next().unwrap().to_owned()
}

/// The shape observed on Consul 1.8.7, field by field.
#[test]
fn a_root_looks_like_consuls() {
    let now = now();
    let ca = BuiltinCa::create(&CaConfig::default(), &domain(), now).unwrap();
    let text = text_of(ca.root_cert());
    assert_eq!(
        after(&text, "X509v3 Key Usage: critical"),
        "Digital Signature, Certificate Sign, CRL Sign"
    );
    assert_eq!(after(&text, "X509v3 Basic Constraints: critical"), "CA:TRUE");
    assert_eq!(
        after(&text, "X509v3 Subject Alternative Name"),
        format!("URI:spiffe://{CLUSTER}.consul")
    );
    let key_id = after(&text, "X509v3 Subject Key Identifier");
    assert_eq!(after(&text, "X509v3 Authority Key Identifier"), key_id);
    assert!(text.contains("Signature Algorithm: ecdsa-with-SHA256"));
    assert!(text.contains("NIST CURVE: P-256"));

    let subject =
        openssl_with(&["x509", "-noout", "-subject", "-nameopt", "RFC2253"], ca.root_cert());
    let name = subject.trim().strip_prefix("subject=CN=pri-").unwrap();
    assert_eq!(name.split_once('.').unwrap().1, "consul.ca.458884c2.consul");
    let issuer =
        openssl_with(&["x509", "-noout", "-issuer", "-nameopt", "RFC2253"], ca.root_cert());
    assert_eq!(issuer.strip_prefix("issuer="), subject.strip_prefix("subject="));

    let root = ca.ca_root().unwrap();
    let fingerprint = openssl_with(&["x509", "-noout", "-fingerprint", "-sha1"], ca.root_cert());
    assert_eq!(fingerprint.trim().split_once('=').unwrap().1.to_lowercase(), root.id);
    assert_eq!(key_id.to_lowercase(), root.signing_key_id);
    let serial = openssl_with(&["x509", "-noout", "-serial"], ca.root_cert());
    let serial = u64::from_str_radix(serial.trim().split_once('=').unwrap().1, 16);
    assert_eq!(serial, Ok(root.serial_number));
    assert_eq!(root.name, "Consul CA Root Cert");
    assert_eq!(root.external_trust_domain, CLUSTER);
    assert_eq!((root.private_key_type.as_str(), root.private_key_bits), ("ec", 256));
    assert_eq!(root.not_before, Timestamp::from_unix(now.unix_seconds));
    let (from, until) = (Date::of(root.not_before), Date::of(root.not_after));
    assert_eq!(Date { year: from.year + 10, ..from }, until);
    assert!(root.active && root.intermediate_certs.is_none());
}

#[test]
fn a_leaf_looks_like_consuls() {
    let ca = authority();
    let (key, csr) = request("web");
    let now = now();
    let leaf = ca.sign_leaf(&csr, now).unwrap();
    let uri = format!("spiffe://{CLUSTER}.consul/ns/default/dc/dc1/svc/web");
    assert_eq!((leaf.service.as_str(), &leaf.service_uri), ("web", &uri));
    assert_eq!(leaf.valid_after.unix_seconds, now.unix_seconds - 60);
    assert_eq!(leaf.valid_before.unix_seconds, now.unix_seconds - 60 + 72 * 3600);
    assert!(leaf.private_key_pem.is_empty());

    let text = text_of(&leaf.cert_pem);
    assert_eq!(
        after(&text, "X509v3 Key Usage: critical"),
        "Digital Signature, Key Encipherment, Data Encipherment, Key Agreement",
    );
    assert_eq!(
        after(&text, "X509v3 Extended Key Usage:"),
        "TLS Web Client Authentication, TLS Web Server Authentication",
    );
    assert_eq!(after(&text, "X509v3 Basic Constraints: critical"), "CA:FALSE");
    assert_eq!(after(&text, "X509v3 Subject Alternative Name:"), format!("URI:{uri}"));
    let authority_key = after(&text, "X509v3 Authority Key Identifier:").to_lowercase();
    assert_eq!(authority_key, ca.ca_root().unwrap().signing_key_id);
    assert!(text.contains("Subject: CN = web.svc.default.458884c2.consul"), "{text}");

    let public = openssl_with(&["x509", "-noout", "-pubkey"], &leaf.cert_pem);
    assert_eq!(openssl_with(&["pkey", "-pubout"], &key.to_pem().unwrap()), public);
    verify_with_openssl(ca.root_cert(), "", &leaf.cert_pem);
}

#[test]
fn serial_numbers_are_wide_and_random() {
    let ca = authority();
    let (_, csr) = request("web");
    let mut seen = std::collections::BTreeSet::new();
    for _ in 0..64 {
        let leaf = ca.sign_leaf(&csr, now()).unwrap();
        let bytes: Vec<u8> =
            leaf.serial_number.split(':').map(|hex| u8::from_str_radix(hex, 16).unwrap()).collect();
        assert_eq!(bytes.len(), 16);
        assert_eq!(bytes[0] & 0xc0, 0x40, "positive and of 127 bits");
        let info = CertificateInfo::from_pem(&leaf.cert_pem).unwrap();
        assert_eq!(info.serial_number, leaf.serial_number);
        assert!(seen.insert(leaf.serial_number));
    }
}

#[test]
fn no_leaf_outlives_its_authority() {
    let ca = authority();
    let (_, csr) = request("web");
    let end = ca.ca_root().unwrap().not_after;
    let late = end.plus(GoDuration::from_secs(-3600));
    assert_eq!(ca.sign_leaf(&csr, late).unwrap().valid_before, end);
    assert_eq!(ca.sign_leaf(&csr, end), Err(ProviderError::IssuerExpired));
    assert_eq!(ca.cross_sign_root(ca.root_cert(), end), Err(ProviderError::IssuerExpired));
}

#[test]
fn every_kind_of_authority_key_signs() {
    for kind in [KeyKind::Ec(Curve::P384), KeyKind::Ec(Curve::P521), KeyKind::Rsa(2048)] {
        let config = CaConfig { key_kind: kind, ..CaConfig::default() };
        let ca = BuiltinCa::create(&config, &domain(), now()).unwrap();
        let root = ca.ca_root().unwrap();
        assert_eq!(
            (root.private_key_type.as_str(), root.private_key_bits),
            (kind.type_name(), kind.bits())
        );
        let leaf = ca.sign_leaf(&request("web").1, now()).unwrap();
        verify_with_openssl(ca.root_cert(), "", &leaf.cert_pem);
    }
}

#[test]
fn the_same_authority_opens_from_its_state() {
    let ca = authority();
    let again = BuiltinCa::open(ca.state(), &CaConfig::default(), &domain()).unwrap();
    assert_eq!(again.ca_root(), ca.ca_root());
    let leaf = again.sign_leaf(&request("web").1, now()).unwrap();
    verify_with_openssl(ca.root_cert(), "", &leaf.cert_pem);
    assert!(!format!("{again:?}").contains("PRIVATE"), "the key is shown");
}

/// A leaf of the new root is good for those who know only the old one, and for those who know only
/// the new one.
#[test]
fn rotation_is_vouched_for_by_the_old_root() {
    let old = authority();
    let kinds = [KeyKind::Ec(Curve::P256), KeyKind::Ec(Curve::P384), KeyKind::Rsa(2048)];
    for key_kind in kinds {
        let config = CaConfig { key_kind, ..CaConfig::default() };
        let new = BuiltinCa::create(&config, &domain(), now()).unwrap();
        let cross = old.cross_sign_root(new.root_cert(), now()).unwrap();
        let new = new.with_intermediates(std::slice::from_ref(&cross));
        let leaf = new.sign_leaf(&request("web").1, now()).unwrap();
        assert_eq!(leaf.cert_pem.matches("BEGIN CERTIFICATE").count(), 2);
        verify_with_openssl(new.root_cert(), "", &leaf.cert_pem);
        verify_with_openssl(old.root_cert(), &cross, &leaf.cert_pem);

        let info = CertificateInfo::from_pem(&cross).unwrap();
        assert_eq!(info.key_id, new.ca_root().unwrap().signing_key_id);
        assert_eq!(info.not_after.since(info.not_before), GoDuration::from_secs(7 * 24 * 3600));
        let text = text_of(&cross);
        assert_eq!(after(&text, "X509v3 Basic Constraints: critical"), "CA:TRUE");
        assert_eq!(
            after(&text, "X509v3 Authority Key Identifier").to_lowercase(),
            old.ca_root().unwrap().signing_key_id
        );
        assert_eq!(
            after(&text, "X509v3 Subject Alternative Name"),
            format!("URI:spiffe://{CLUSTER}.consul")
        );
    }
}

/// A root made elsewhere: key and certificate of a user.
struct Made {
    config: CaConfig,
}

fn made(key: &str, arguments: &[&str]) -> Made {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("key.pem");
    std::fs::write(&path, key).unwrap();
    let mut all = vec!["req", "-x509", "-new", "-key", path.to_str().unwrap(), "-sha256"];
    all.extend_from_slice(arguments);
    let root_cert = openssl(&all);
    Made { config: CaConfig { private_key: key.to_owned(), root_cert, ..CaConfig::default() } }
}

const P256_KEY: &[&str] = &["ecparam", "-name", "prime256v1", "-genkey", "-noout"];

#[test]
fn roots_of_users_are_taken() {
    let check = |key: &str, arguments: &[&str]| {
        let Made { config } = made(key, arguments);
        let ca = BuiltinCa::create(&config, &domain(), now()).unwrap();
        let leaf = ca.sign_leaf(&request("web").1, now()).unwrap();
        verify_with_openssl(&config.root_cert, "", &leaf.cert_pem);
        let serial = openssl_with(&["x509", "-noout", "-serial"], &config.root_cert);
        let digits = serial.trim().split_once('=').unwrap().1;
        let low = u64::from_str_radix(&digits[digits.len() - 16..], 16);
        assert_eq!(low, Ok(ca.ca_root().unwrap().serial_number));
    };
    let usage = "keyUsage=critical,keyCertSign,cRLSign";
    let own = format!("subjectAltName=URI:spiffe://{CLUSTER}.consul");
    let key = openssl(P256_KEY);
    check(&key, &["-subj", "/CN=mine", "-days", "400", "-addext", usage]);
    check(&key, &["-subj", "/CN=mine", "-days", "400", "-addext", usage, "-addext", &own]);
    let rsa = openssl(&["genrsa", "-traditional", "2048"]);
    check(&rsa, &["-subj", "/C=IT/O=Mine/CN=mine", "-days", "400", "-addext", usage]);
}

#[test]
fn a_given_key_alone_gets_a_root() {
    let key = openssl(P256_KEY);
    let config = CaConfig { private_key: key.clone(), ..CaConfig::default() };
    let ca = BuiltinCa::create(&config, &domain(), now()).unwrap();
    let public = openssl_with(&["x509", "-noout", "-pubkey"], ca.root_cert());
    assert_eq!(openssl_with(&["pkey", "-pubout"], &key), public);
    assert_eq!(ca.state().id, config.state_id(true));
}

#[test]
fn unfit_roots_are_refused() {
    let key = openssl(P256_KEY);
    let check = |made: Made, want: &str| {
        let error = BuiltinCa::create(&made.config, &domain(), now()).unwrap_err();
        assert_eq!(error.to_string(), want);
        assert!(!error.to_string().contains("PRIVATE"));
    };
    let foreign = ["-subj", "/CN=x", "-addext", "subjectAltName=URI:spiffe://foreign.consul"];
    check(made(&key, &foreign), "root certificate cannot be used: it is of another trust domain");
    let service = format!("subjectAltName=URI:spiffe://{CLUSTER}.consul/ns/default/dc/dc1/svc/a");
    check(
        made(&key, &["-subj", "/CN=x", "-addext", &service]),
        "root certificate cannot be used: its URI name is no identity of an authority",
    );
    let usage = ["-subj", "/CN=x", "-addext", "keyUsage=critical,digitalSignature"];
    check(
        made(&key, &usage),
        "root certificate cannot be used: its key usage does not allow signing certificates",
    );
    let constrained =
        ["-subj", "/CN=x", "-addext", "nameConstraints=critical,permitted;URI:a.consul"];
    check(
        made(&key, &constrained),
        "root certificate cannot be used: it carries URI name constraints",
    );
    let config_leaf = ["-subj", "/CN=x", "-addext", "basicConstraints=critical,CA:FALSE"];
    check(made(&key, &config_leaf), "root certificate cannot be used: it is not a CA certificate");

    let mut swapped = made(&key, &["-subj", "/CN=x"]);
    swapped.config.private_key = openssl(P256_KEY);
    check(swapped, "root certificate cannot be used: it does not belong to the private key");
    let config = CaConfig { private_key: "zz".into(), ..CaConfig::default() };
    check(Made { config }, "error parsing private key: no PEM-encoded data found");
    let config = CaConfig { private_key: key, root_cert: "yy".into(), ..CaConfig::default() };
    check(Made { config }, "error parsing root certificate: no PEM-encoded data found");
}

#[test]
fn an_expired_root_is_refused() {
    let made = made(&openssl(P256_KEY), &["-subj", "/CN=x", "-days", "1"]);
    let later = now().plus(GoDuration::from_secs(2 * 24 * 3600));
    let error = BuiltinCa::create(&made.config, &domain(), later).unwrap_err();
    assert_eq!(error, ProviderError::IssuerExpired);
}

/// The built-in provider answers at once, so its futures can be read without a runtime.
fn answered<T>(answer: Answer<'_, T>) -> Result<T, ProviderError> {
    let mut answer = answer;
    let mut context = std::task::Context::from_waker(std::task::Waker::noop());
    match answer.as_mut().poll(&mut context) {
        std::task::Poll::Ready(result) => result,
        std::task::Poll::Pending => panic!("the built-in provider waits"),
    }
}

#[test]
fn a_secondary_signs_below_the_primary() {
    let primary: Box<dyn Provider> = Box::new(authority());
    let config = CaConfig::default();
    let secondary = BuiltinCa::create_secondary(&config, &domain());
    let (_, leaf_csr) = request("web");
    assert_eq!(secondary.sign_leaf(&leaf_csr, now()), Err(ProviderError::NotReady));
    assert_eq!(secondary.ca_root(), Err(ProviderError::NotReady));

    let (state, request) = answered(secondary.intermediate_csr()).unwrap();
    let csr = Csr::from_pem(&request).unwrap();
    assert_eq!(csr.check(&domain(), "dc1"), Err(CsrError::Form), "not to be had as a leaf");
    let intermediate = answered(primary.sign_intermediate(&csr, now())).unwrap();
    let root = answered(primary.root()).unwrap();

    let secondary = BuiltinCa::open(&state, &config, &domain()).unwrap();
    let state = answered(secondary.set_intermediate(&intermediate, &root.root_cert)).unwrap();
    let secondary = BuiltinCa::open(&state, &config, &domain()).unwrap();
    assert_eq!(answered(secondary.signing_cert()).unwrap(), intermediate);
    assert_eq!(secondary.ca_root().unwrap().id, root.id);
    assert_ne!(secondary.ca_root().unwrap().signing_key_id, root.signing_key_id);

    let leaf = answered(secondary.sign(&leaf_csr, now())).unwrap();
    assert_eq!(leaf.cert_pem.matches("BEGIN CERTIFICATE").count(), 2);
    verify_with_openssl(&root.root_cert, &intermediate, &leaf.cert_pem);
    assert_eq!(
        after(&text_of(&intermediate), "X509v3 Basic Constraints: critical"),
        "CA:TRUE, pathlen:0"
    );

    let leaf_as_intermediate = answered(primary.sign_intermediate(&leaf_csr, now()));
    assert_eq!(leaf_as_intermediate, Err(ProviderError::NotIntermediate));
}

/// Further names are an agent's only: a service must not come to be called like a host.
#[test]
fn only_agents_keep_further_names() {
    let ca = authority();
    let key = PrivateKey::generate(KeyKind::LEAF).unwrap();
    let (dns, ips) =
        (["localhost".to_owned()], ["127.0.0.1".parse().unwrap(), "::1".parse().unwrap()]);
    let names_of = |id: &SpiffeId| {
        let asked = csr::CsrNames { id, dns: &dns, ips: &ips };
        let csr = Csr::from_pem(&csr::build(&key, asked).unwrap()).unwrap();
        csr.check(&domain(), "dc1").unwrap();
        after(
            &text_of(&ca.sign_leaf(&csr, now()).unwrap().cert_pem),
            "X509v3 Subject Alternative Name",
        )
    };
    let service = SpiffeId::service(&domain(), "dc1", "web").unwrap();
    assert_eq!(names_of(&service), format!("URI:{service}"));
    let agent = SpiffeId::agent(&domain(), "dc1", "n1").unwrap();
    assert_eq!(
        names_of(&agent),
        format!("DNS:localhost, IP Address:127.0.0.1, IP Address:0:0:0:0:0:0:0:1, URI:{agent}"),
    );
}
