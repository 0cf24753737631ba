//! Certificates of every kind of oddness, each with its verdict. They are made by another library
//! (`rcgen`, extensions written by hand) and judged the way a handshake judges them.

use model::time::GoDuration;
use rcgen::CustomExtension;
use rustls_pki_types::CertificateDer;

use super::*;
use crate::chain::{self, Peer, VerifyError};
use crate::roots::Roots;
use crate::testing::*;

const WEB: &str = "spiffe://a.consul/ns/default/dc/dc1/svc/web";

const DIGITAL_SIGNATURE: u16 = 1;
const CERT_SIGN: u16 = 1 << 5;
const CRL_SIGN: u16 = 1 << 6;

const SERVER: Option<u8> = Some(1);
const CLIENT: Option<u8> = Some(2);
const CODE_SIGNING: Option<u8> = Some(3);

fn domain() -> TrustDomain {
    "a.consul".parse().unwrap()
}

fn authority_extensions() -> Vec<CustomExtension> {
    vec![constraints(true), usage(true, CERT_SIGN | CRL_SIGN), uri("spiffe://a.consul")]
}

fn root() -> OddCa {
    OddCa::root("root", authority_extensions())
}

/// What every leaf here has unless its case is about it.
fn usual() -> Vec<CustomExtension> {
    vec![constraints(false), usage(true, DIGITAL_SIGNATURE), extended_usage(&[CLIENT, SERVER])]
}

fn usual_with(extra: CustomExtension) -> Vec<CustomExtension> {
    let mut extensions = usual();
    extensions.push(extra);
    extensions
}

fn verdict(root: &OddCa, chain: &[&[u8]], now: Timestamp) -> Result<Peer, VerifyError> {
    let roots = Roots::new(&domain(), [root.pem().as_str()]).unwrap();
    let chain: Vec<_> = chain.iter().map(|der| CertificateDer::from(*der)).collect();
    chain::verify(&roots, &chain, now)
}

fn leaf_verdict(root: &OddCa, extensions: Vec<CustomExtension>) -> Result<SpiffeId, VerifyError> {
    verdict(root, &[&root.sign(&params("leaf", extensions))], noon()).map(|peer| peer.id)
}

#[test]
fn the_usual_leaf_is_taken() {
    let root = root();
    let leaf = root.sign(&params("leaf", usual_with(uri(WEB))));
    let peer = verdict(&root, &[&leaf], noon()).unwrap();
    assert_eq!(peer.id.to_string(), WEB);
    assert_eq!(peer.not_before, "2020-01-01T00:00:00Z".parse().unwrap());
    assert_eq!(peer.not_after, "2040-01-01T00:00:00Z".parse().unwrap());
}

#[test]
fn exactly_one_uri() {
    let root = root();
    let (web, db) = (WEB.as_bytes(), "spiffe://a.consul/ns/default/dc/dc1/svc/db".as_bytes());
    let check = |given: &[(u8, &[u8])], want: Result<(), SvidError>| {
        let found = leaf_verdict(&root, usual_with(names(false, given)));
        assert_eq!(found.map(|_| ()), want.map_err(VerifyError::Svid), "{given:?}");
    };
    check(&[(6, web)], Ok(()));
    check(&[(2, b"web.local"), (6, web)], Ok(()));
    check(&[(1, b"a@b"), (2, b"x"), (6, web), (7, &[127, 0, 0, 1]), (7, &[0; 16])], Ok(()));
    check(&[(6, web), (6, web)], Err(SvidError::Uris(2)));
    check(&[(6, web), (6, db)], Err(SvidError::Uris(2)));
    check(&[(6, web), (2, b"x"), (6, db), (6, b"https://x")], Err(SvidError::Uris(3)));
    check(&[(2, b"web.local")], Err(SvidError::Uris(0)));
    check(&[(6, web), (7, &[1, 2, 3])], Err(SvidError::Malformed));
    check(&[(6, b"\xff\xfe")], Err(SvidError::Malformed));
    let none = leaf_verdict(&root, usual());
    assert_eq!(none, Err(VerifyError::Svid(SvidError::Uris(0))));
}

#[test]
fn a_second_extension_of_names_is_refused() {
    let root = root();
    let mut extensions = usual_with(uri(WEB));
    extensions.push(uri("spiffe://a.consul/ns/default/dc/dc1/svc/db"));
    let found = leaf_verdict(&root, extensions);
    assert_eq!(found, Err(VerifyError::Svid(SvidError::Twice)));
}

#[test]
fn the_uri_is_an_identity_of_the_trust_domain() {
    use SpiffeError::*;
    let root = root();
    let check = |text: &str, want: Result<(), SvidError>| {
        let found = leaf_verdict(&root, usual_with(uri(text))).map(|_| ());
        assert_eq!(found, want.map_err(VerifyError::Svid), "{text}");
    };
    let long = |length: usize| {
        let head = "spiffe://a.consul/ns/default/dc/dc1/svc/";
        format!("{head}{}", "x".repeat(length - head.len()))
    };
    check(WEB, Ok(()));
    check("SPIFFE://a.consul/ns/default/dc/dc1/svc/web", Ok(()));
    check("spiffe://a.consul/ap/p/ns/n/dc/dc1/svc/Web_1.2-3", Ok(()));
    check("spiffe://a.consul/agent/client/dc/dc1/id/n1", Ok(()));
    check("spiffe://a.consul/agent/server/dc/dc1", Ok(()));
    check("spiffe://a.consul/gateway/mesh/dc/dc1", Ok(()));
    check(&long(2048), Ok(()));
    check(&long(2049), Err(SvidError::Id(TooLong)));
    check("spiffe://b.consul/ns/default/dc/dc1/svc/web", Err(SvidError::TrustDomain));
    check("spiffe://a.consul.b/ns/default/dc/dc1/svc/web", Err(SvidError::TrustDomain));
    check("spiffe://sub.a.consul/ns/default/dc/dc1/svc/web", Err(SvidError::TrustDomain));
    check("spiffe://a.consul", Err(SvidError::IsAuthority));
    check("spiffe://A.consul/ns/default/dc/dc1/svc/web", Err(SvidError::Id(TrustDomain)));
    check("spiffe://a.consul:80/ns/default/dc/dc1/svc/web", Err(SvidError::Id(TrustDomain)));
    check("spiffe://x@a.consul/ns/default/dc/dc1/svc/web", Err(SvidError::Id(TrustDomain)));
    check("spiffe:///ns/default/dc/dc1/svc/web", Err(SvidError::Id(TrustDomain)));
    check("https://a.consul/ns/default/dc/dc1/svc/web", Err(SvidError::Id(NotSpiffe)));
    check("urn:spiffe:web", Err(SvidError::Id(NotSpiffe)));
    check("", Err(SvidError::Id(NotSpiffe)));
    for tail in ["/", "?x", "#x", "%41", "//", "/.", "/..", " ", "\u{7f}", "*", "\\"] {
        check(&format!("{WEB}{tail}"), Err(SvidError::Id(Path)));
    }
    check("spiffe://a.consul/", Err(SvidError::Id(Path)));
    check("spiffe://a.consul/web", Err(SvidError::Id(UnknownForm)));
    check("spiffe://a.consul/ns/default/dc/dc1/svc/web/x", Err(SvidError::Id(UnknownForm)));
}

/// All 512 sets of usages, critical and not: judged by the rule as the standard words it.
#[test]
fn key_usage_of_leaves() {
    let root = root();
    for bits in 0..512u16 {
        for critical in [true, false] {
            let extensions = vec![constraints(false), usage(critical, bits), uri(WEB)];
            let found = leaf_verdict(&root, extensions).map(|_| ());
            let fits = critical
                && bits & DIGITAL_SIGNATURE != 0
                && bits & CERT_SIGN == 0
                && bits & CRL_SIGN == 0;
            let want = if fits { Ok(()) } else { Err(VerifyError::Svid(SvidError::LeafUsage)) };
            assert_eq!(found, want, "{bits:#b} {critical}");
        }
    }
    let without = leaf_verdict(&root, vec![constraints(false), uri(WEB)]);
    assert_eq!(without, Err(VerifyError::Svid(SvidError::LeafUsage)));
}

#[test]
fn extended_usage_of_leaves() {
    let root = root();
    let kinds = [SERVER, CLIENT, CODE_SIGNING, None];
    for set in 1..16 {
        let purposes: Vec<_> =
            (0..4).filter(|bit| set & 1 << bit != 0).map(|bit| kinds[bit]).collect();
        let extensions = vec![
            constraints(false),
            usage(true, DIGITAL_SIGNATURE),
            extended_usage(&purposes),
            uri(WEB),
        ];
        let found = leaf_verdict(&root, extensions).map(|_| ());
        let fits = purposes.contains(&SERVER) && purposes.contains(&CLIENT);
        let want = if fits { Ok(()) } else { Err(VerifyError::Svid(SvidError::ExtendedUsage)) };
        assert_eq!(found, want, "{purposes:?}");
    }
    let without = vec![constraints(false), usage(true, DIGITAL_SIGNATURE), uri(WEB)];
    assert!(leaf_verdict(&root, without).is_ok(), "only judged if present");
}

#[test]
fn an_authority_is_no_peer() {
    let root = root();
    let own = verdict(&root, &[&root.der], noon());
    assert_eq!(own, Err(VerifyError::Svid(SvidError::IsAuthority)));
    let extensions = vec![
        constraints(true),
        usage(true, DIGITAL_SIGNATURE),
        extended_usage(&[CLIENT, SERVER]),
        uri(WEB),
    ];
    let found = leaf_verdict(&root, extensions);
    assert_eq!(found, Err(VerifyError::Svid(SvidError::IsAuthority)));
    let implied = vec![usage(true, DIGITAL_SIGNATURE), extended_usage(&[CLIENT, SERVER]), uri(WEB)];
    assert!(leaf_verdict(&root, implied).is_ok(), "no basic constraints mean no authority");
}

#[test]
fn names_are_critical_where_there_is_no_subject() {
    let root = root();
    let check = |subject: &str, critical: bool, want: Result<(), SvidError>| {
        let extensions = usual_with(names(critical, &[(6, WEB.as_bytes())]));
        let leaf = root.sign(&params(subject, extensions));
        let found = verdict(&root, &[&leaf], noon()).map(|_| ());
        assert_eq!(found, want.map_err(VerifyError::Svid));
    };
    check("leaf", false, Ok(()));
    check("leaf", true, Ok(()));
    check("", true, Ok(()));
    check("", false, Err(SvidError::NamesNotCritical));
}

#[test]
fn constraints_on_uri_names_are_refused_everywhere() {
    let root = root();
    for permitted in [true, false] {
        let constrained = usual_with(name_constraints(permitted, 6, "a.consul"));
        let mut leaf = constrained;
        leaf.push(uri(WEB));
        let found = leaf_verdict(&root, leaf);
        assert_eq!(found, Err(VerifyError::Svid(SvidError::NameConstraints)), "in a leaf");

        let mut extensions = authority_extensions();
        extensions.push(name_constraints(permitted, 6, "a.consul"));
        let below = root.below("below", extensions.clone());
        let leaf = below.sign(&params("leaf", usual_with(uri(WEB))));
        let found = verdict(&root, &[&leaf, &below.der], noon()).map(|_| ());
        assert!(found.is_err(), "in an intermediate, {permitted}: {found:?}");

        let odd_root = OddCa::root("odd", extensions);
        let error = Roots::new(&domain(), [odd_root.pem().as_str()]).unwrap_err();
        assert_eq!(error, crate::roots::RootsError::None, "in a root");
    }
    let mut extensions = authority_extensions();
    extensions.push(name_constraints(true, 2, "a.consul"));
    let below = root.below("below", extensions);
    let leaf = below.sign(&params("leaf", usual_with(uri(WEB))));
    assert!(verdict(&root, &[&leaf, &below.der], noon()).is_ok(), "on DNS names webpki sees to it");
}

#[test]
fn dates_are_judged_along_the_chain() {
    let root = root();
    let day = GoDuration::from_secs(24 * 3600);
    let mut shorter = params("leaf", usual_with(uri(WEB)));
    shorter.not_before = rcgen::date_time_ymd(2025, 6, 1);
    shorter.not_after = rcgen::date_time_ymd(2025, 6, 4);
    let leaf = root.sign(&shorter);
    let begin: Timestamp = "2025-06-01T00:00:00Z".parse().unwrap();
    let end: Timestamp = "2025-06-04T00:00:00Z".parse().unwrap();
    let second = GoDuration::from_secs(1);
    let back = |span: GoDuration| GoDuration(-span.0);
    let check = |now: Timestamp, want: Result<(), VerifyError>| {
        assert_eq!(verdict(&root, &[&leaf], now).map(|_| ()), want, "{now}");
    };
    check(begin.plus(back(day)), Err(VerifyError::NotYetValid));
    check(begin.plus(back(second)), Err(VerifyError::NotYetValid));
    check(begin, Ok(()));
    check(begin.plus(day), Ok(()));
    check(end, Ok(()));
    check(end.plus(second), Err(VerifyError::Expired));

    // The end of an intermediate is the end of what it vouches for.
    let mut brief = params("below", authority_extensions());
    brief.not_after = rcgen::date_time_ymd(2031, 1, 1);
    let key = rcgen::KeyPair::generate().unwrap();
    let below_der = root.sign_key(&brief, &key);
    let leaf = OddCa::of(brief, key, below_der.clone()).sign(&params("leaf", usual_with(uri(WEB))));
    let peer = verdict(&root, &[&leaf, &below_der], noon()).unwrap();
    assert_eq!(peer.not_after, "2031-01-01T00:00:00Z".parse().unwrap());
    let late = verdict(&root, &[&leaf, &below_der], "2031-01-02T00:00:00Z".parse().unwrap());
    assert_eq!(late, Err(VerifyError::Expired));

    // So is the end of a root, which webpki itself does not know.
    let leaf = root.sign(&{
        let mut outliving = params("leaf", usual_with(uri(WEB)));
        outliving.not_after = rcgen::date_time_ymd(2050, 1, 1);
        outliving
    });
    let peer = verdict(&root, &[&leaf], noon()).unwrap();
    assert_eq!(peer.not_after, "2040-01-01T00:00:00Z".parse().unwrap());
    let late = verdict(&root, &[&leaf], "2040-01-02T00:00:00Z".parse().unwrap());
    assert_eq!(late, Err(VerifyError::UnknownAuthority));
}

#[test]
fn chains_lead_to_our_roots_only() {
    let (ours, other) = (root(), root());
    let leaf = other.sign(&params("leaf", usual_with(uri(WEB))));
    // The same names and another key: webpki finds a root of that name and a wrong signature.
    assert!(verdict(&ours, &[&leaf], noon()).is_err());
    assert!(
        verdict(&ours, &[&leaf, &other.der], noon()).is_err(),
        "a root cannot be brought along"
    );
    let stranger = OddCa::root("stranger", authority_extensions());
    let leaf = stranger.sign(&params("leaf", usual_with(uri(WEB))));
    let found = verdict(&ours, &[&leaf, &stranger.der], noon());
    assert_eq!(found, Err(VerifyError::UnknownAuthority));
    assert_eq!(verdict(&ours, &[], noon()), Err(VerifyError::NoCertificate));
    let many = vec![leaf.as_slice(); crate::chain::CHAIN_CERTIFICATES_MAX + 1];
    assert_eq!(verdict(&ours, &many, noon()), Err(VerifyError::TooMany));
}

#[test]
fn intermediates_must_be_authorities_of_the_domain() {
    let root = root();
    let check = |extensions: Vec<CustomExtension>, fits: bool| {
        let below = root.below("below", extensions);
        let leaf = below.sign(&params("leaf", usual_with(uri(WEB))));
        let found = verdict(&root, &[&leaf, &below.der], noon());
        assert_eq!(found.is_ok(), fits, "{found:?}");
    };
    let sign = || usage(true, CERT_SIGN);
    check(authority_extensions(), true);
    check(vec![constraints(true), sign()], true);
    check(vec![constraints(true)], true);
    check(vec![constraints(true), sign(), extended_usage(&[CLIENT, SERVER])], true);
    check(vec![constraints(true), sign(), extended_usage(&[CLIENT])], false);
    check(vec![constraints(true), sign(), extended_usage(&[SERVER])], false);
    check(vec![constraints(true), usage(true, DIGITAL_SIGNATURE | CRL_SIGN)], false);
    check(vec![constraints(false), sign()], false);
    check(vec![sign()], false);
    check(vec![constraints(true), sign(), uri("spiffe://b.consul")], false);
    check(vec![constraints(true), sign(), uri(WEB)], false);
    check(vec![constraints(true), sign(), uri("spiffe://a.consul/")], false);
    let two = names(false, &[(6, b"spiffe://a.consul"), (6, b"spiffe://a.consul")]);
    check(vec![constraints(true), sign(), two], false);
    check(vec![constraints(true), sign(), names(false, &[(2, b"ca.local")])], true);
}

/// A leaf must not be able to sign another one.
#[test]
fn a_leaf_is_no_authority() {
    let root = root();
    let leaf = root.below("leaf", usual_with(uri(WEB)));
    let forged =
        leaf.sign(&params("forged", usual_with(uri("spiffe://a.consul/ns/default/dc/dc1/svc/db"))));
    assert!(verdict(&root, &[&forged, &leaf.der], noon()).is_err());
}

#[test]
fn unknown_critical_extensions_are_refused() {
    let root = root();
    let made = |critical: bool| {
        let mut odd = CustomExtension::from_oid_content(&[1, 3, 6, 1, 4, 1, 99999, 1], vec![5, 0]);
        odd.set_criticality(critical);
        let mut extensions = usual_with(uri(WEB));
        extensions.push(odd);
        leaf_verdict(&root, extensions)
    };
    assert!(made(false).is_ok());
    assert!(matches!(made(true), Err(VerifyError::Chain(_))));
}

#[test]
fn serial_numbers_have_bounds() {
    let root = root();
    let check = |serial: &[u8], fits: bool| {
        let mut params = params("leaf", usual_with(uri(WEB)));
        params.serial_number = Some(rcgen::SerialNumber::from_slice(serial));
        assert_eq!(verdict(&root, &[&root.sign(&params)], noon()).is_ok(), fits, "{serial:?}");
    };
    check(&[1], true);
    check(&[0x7f; 20], true);
    check(&[0x7f; 21], false);
    check(&[0x80; 20], true);
}

#[test]
fn damaged_certificates_never_panic_nor_pass() {
    let root = root();
    let leaf = root.sign(&params("leaf", usual_with(uri(WEB))));
    for position in 0..leaf.len() {
        for flip in [0x01, 0x80, 0xff] {
            let mut damaged = leaf.clone();
            damaged[position] ^= flip;
            assert!(verdict(&root, &[&damaged], noon()).is_err(), "byte {position} ^ {flip:#x}");
        }
        assert!(verdict(&root, &[&leaf[..position]], noon()).is_err(), "cut at {position}");
    }
    let mut longer = leaf.clone();
    longer.push(0);
    assert_eq!(verdict(&root, &[&longer], noon()), Err(VerifyError::Svid(SvidError::Malformed)));
}
