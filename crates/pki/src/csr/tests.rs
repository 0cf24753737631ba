//! Requests good and bad, each with its verdict; the good ones are also read by `openssl`.

use super::*;
use crate::der::{BIT_STRING, OCTET_STRING};
use crate::testing::{openssl, openssl_with};

const WEB: &str = "spiffe://a.consul/ns/default/dc/dc1/svc/web";

fn domain() -> TrustDomain {
    "a.consul".parse().unwrap()
}

fn key() -> PrivateKey {
    PrivateKey::generate(KeyKind::LEAF).unwrap()
}

/// A `subjectAltName` extension of URIs.
fn uris(w: &mut Writer, uris: &[&str]) {
    w.sequence(|w| {
        w.oid(&[0x55, 0x1d, 17]);
        w.nest(OCTET_STRING, |w| {
            w.sequence(|w| {
                for uri in uris {
                    w.primitive(0x86, uri.as_bytes());
                }
            });
        });
    });
}

fn request(extensions: impl FnOnce(&mut Writer)) -> String {
    write(&key(), "x", extensions).unwrap()
}

fn read(text: &str) -> Result<Csr, CsrError> {
    Csr::from_pem(text)
}

fn judged(text: &str) -> Result<(), CsrError> {
    read(text)?.check(&domain(), "dc1")
}

#[test]
fn our_own_requests_are_read_by_openssl() {
    let key = key();
    let id = SpiffeId::service(&domain(), "dc1", "web").unwrap();
    let text = build(&key, &id).unwrap();
    let shown = openssl_with(&["req", "-noout", "-verify", "-text"], &text);
    assert!(shown.contains(&format!("URI:{WEB}")), "{shown}");
    assert!(shown.contains("CN = web.svc.default.a.consul"), "{shown}");
    let public = openssl_with(&["req", "-noout", "-pubkey"], &text);
    assert_eq!(openssl_with(&["pkey", "-pubout"], &key.to_pem().unwrap()), public);

    let csr = read(&text).unwrap();
    assert_eq!(csr.id(), &id);
    assert_eq!(csr.public_key, key.public_key());
    assert_eq!(csr.check(&domain(), "dc1"), Ok(()));
}

#[test]
fn requests_of_others_are_read() {
    let check = |arguments: &[&str], want: Result<(), CsrError>| {
        let san = format!("subjectAltName=URI:{WEB}");
        let mut all = vec!["req", "-new", "-nodes", "-keyout", "/dev/null", "-subj", "/CN=x"];
        all.extend_from_slice(&["-addext", &san]);
        all.extend_from_slice(arguments);
        assert_eq!(judged(&openssl(&all)), want, "{arguments:?}");
    };
    let p256 = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"];
    let with = |extra: &'static [&'static str]| [&p256[..], extra].concat();
    check(&with(&["-sha256"]), Ok(()));
    check(&with(&["-sha384"]), Ok(()));
    check(&with(&["-sha512"]), Ok(()));
    check(&with(&["-sha1"]), Err(CsrError::Algorithm));
    check(&with(&["-sha256", "-addext", "1.2.3.4=DER:0500"]), Ok(()));
    check(&with(&["-sha256", "-addext", "keyUsage=critical,digitalSignature"]), Ok(()));
    check(&with(&["-sha256", "-addext", "basicConstraints=CA:FALSE"]), Ok(()));
    check(&with(&["-sha256", "-addext", "basicConstraints=CA:TRUE"]), Err(CsrError::Authority));
    check(&["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-384", "-sha384"], Ok(()));
    check(&["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-521", "-sha512"], Ok(()));
    check(&["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:secp224r1"], Err(CsrError::Key));
    check(&["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:secp256k1"], Err(CsrError::Key));
    check(&["-newkey", "rsa:2048", "-sha256"], Ok(()));
    check(&["-newkey", "rsa:1024", "-sha256"], Err(CsrError::Key));
    check(&["-newkey", "ed25519"], Err(CsrError::Key));
}

#[test]
fn exactly_one_uri() {
    let check = |given: &[&str], want: Result<(), CsrError>| {
        assert_eq!(judged(&request(|w| uris(w, given))), want, "{given:?}");
    };
    check(&[WEB], Ok(()));
    check(&[], Err(CsrError::Uris(0)));
    check(&[WEB, WEB], Err(CsrError::Uris(2)));
    check(&[WEB, "spiffe://a.consul/ns/default/dc/dc1/svc/db"], Err(CsrError::Uris(2)));
    check(&[WEB, "https://x", "y:z"], Err(CsrError::Uris(3)));
    assert_eq!(judged(&request(|_| {})), Err(CsrError::Uris(0)));
    let twice = request(|w| {
        uris(w, &[WEB]);
        uris(w, &["spiffe://a.consul/ns/default/dc/dc1/svc/db"]);
    });
    assert_eq!(judged(&twice), Err(CsrError::Malformed));
}

/// Two requests for extensions: a reader might see either, so neither is taken.
#[test]
fn two_requests_for_extensions_are_refused() {
    let key = key();
    let mut content = Writer::default();
    content.sequence(|w| {
        w.unsigned(&[0]);
        w.raw(&subject::name("x"));
        w.raw(key.public_key());
        w.nest(context(0), |w| {
            for uri in [WEB, "spiffe://a.consul/ns/default/dc/dc1/svc/db"] {
                w.sequence(|w| {
                    w.oid(EXTENSION_REQUEST);
                    w.nest(SET, |w| w.sequence(|w| uris(w, &[uri])));
                });
            }
        });
    });
    let der = seal(&key, &content.into_bytes()).unwrap();
    assert_eq!(Csr::from_der(&der), Err(CsrError::Malformed));
}

#[test]
fn the_identity_is_judged_for_the_cluster() {
    use SpiffeError::{NotSpiffe, Path, TooLong, UnknownForm};
    let check = |text: &str, want: Result<(), CsrError>| {
        assert_eq!(judged(&request(|w| uris(w, &[text]))), want, "{text}");
    };
    check(WEB, Ok(()));
    check("spiffe://a.consul/ns/default/dc/dc1/svc/Web_1.2-3", Ok(()));
    check("spiffe://a.consul/ap/default/ns/default/dc/dc1/svc/web", Ok(()));
    check("spiffe://a.consul/agent/client/dc/dc1/id/n1", Ok(()));
    check("spiffe://b.consul/ns/default/dc/dc1/svc/web", Err(CsrError::TrustDomain));
    check("spiffe://b.consul", Err(CsrError::TrustDomain));
    check("spiffe://a.consul/ns/default/dc/dc2/svc/web", Err(CsrError::Datacenter));
    check("spiffe://a.consul/ns/default/dc/DC1/svc/web", Err(CsrError::Datacenter));
    check("spiffe://a.consul/agent/client/dc/dc2/id/n1", Err(CsrError::Datacenter));
    check("spiffe://a.consul/ns/other/dc/dc1/svc/web", Err(CsrError::Namespace));
    check("spiffe://a.consul/ap/p/ns/default/dc/dc1/svc/web", Err(CsrError::Namespace));
    check("spiffe://a.consul/ap/p/agent/client/dc/dc1/id/n1", Err(CsrError::Namespace));
    check("spiffe://a.consul/agent/server/dc/dc1", Err(CsrError::Form));
    check("spiffe://a.consul/gateway/mesh/dc/dc1", Err(CsrError::Form));
    check("spiffe://a.consul", Err(CsrError::Form));
    check("https://a.consul", Err(CsrError::Id(NotSpiffe)));
    check("", Err(CsrError::Id(NotSpiffe)));
    check("spiffe://A.consul/x", Err(CsrError::Id(SpiffeError::TrustDomain)));
    check("spiffe://a.consul/web", Err(CsrError::Id(UnknownForm)));
    for tail in ["/", "?x", "#x", "%41", "//", "/..", " ", "*", "\\"] {
        check(&format!("{WEB}{tail}"), Err(CsrError::Id(Path)));
    }
    check(&format!("{WEB}{}", "x".repeat(2048)), Err(CsrError::Id(TooLong)));
}

#[test]
fn further_names_have_bounds() {
    let id: SpiffeId = "spiffe://a.consul/agent/client/dc/dc1/id/n1".parse().unwrap();
    let check = |dns: &[String], ips: &[IpAddr], want: Result<(), CsrError>| {
        let text = build(&key(), CsrNames { id: &id, dns, ips }).unwrap();
        assert_eq!(judged(&text), want, "{dns:?}");
    };
    let one = |name: &str| [name.to_owned()];
    check(&one("localhost"), &[IpAddr::from([127, 0, 0, 1])], Ok(()));
    check(&one("n1.client.dc1.consul"), &[], Ok(()));
    check(&vec!["n".to_owned(); CSR_NAMES_MAX], &[], Ok(()));
    check(&vec!["n".to_owned(); CSR_NAMES_MAX + 1], &[], Err(CsrError::Names));
    check(&one("server.dc1.consul"), &[], Err(CsrError::ServerName));
    check(&one("SERVER.dc1.consul"), &[], Err(CsrError::ServerName));
    check(&one("*.dc1.consul"), &[], Err(CsrError::ServerName));
    check(&one("a b"), &[], Err(CsrError::Malformed));
    check(&one("ü"), &[], Err(CsrError::Malformed));
    check(&one(""), &[], Err(CsrError::Malformed));
    check(&one(&"n".repeat(254)), &[], Err(CsrError::Malformed));
}

#[test]
fn the_sender_must_hold_the_key() {
    let (ours, other) = (key(), key());
    let content = |public_key: &[u8]| {
        let mut content = Writer::default();
        content.sequence(|w| {
            w.unsigned(&[0]);
            w.raw(&subject::name("x"));
            w.raw(public_key);
            w.nest(context(0), |w| {
                w.sequence(|w| {
                    w.oid(EXTENSION_REQUEST);
                    w.nest(SET, |w| w.sequence(|w| uris(w, &[WEB])));
                });
            });
        });
        content.into_bytes()
    };
    assert!(Csr::from_der(&seal(&ours, &content(ours.public_key())).unwrap()).is_ok());
    let stolen = seal(&ours, &content(other.public_key())).unwrap();
    assert_eq!(Csr::from_der(&stolen), Err(CsrError::Signature));
    let mut unsigned = Writer::default();
    unsigned.sequence(|w| {
        w.raw(&content(ours.public_key()));
        w.raw(KeyKind::LEAF.signature_algorithm());
        w.primitive(BIT_STRING, &[0]);
    });
    assert_eq!(Csr::from_der(&unsigned.into_bytes()), Err(CsrError::Signature));
}

#[test]
fn what_is_no_request_is_refused() {
    assert_eq!(read(""), Err(CsrError::Pem(PemError)));
    assert_eq!(read("zz"), Err(CsrError::Pem(PemError)));
    let wrong_label = request(|w| uris(w, &[WEB])).replace("CERTIFICATE REQUEST", "CERTIFICATE");
    assert_eq!(read(&wrong_label), Err(CsrError::Pem(PemError)));
    assert_eq!(read(&pem::encode("CERTIFICATE REQUEST", &[0x30, 0])), Err(CsrError::Malformed));
    assert_eq!(Csr::from_der(&[]), Err(CsrError::Malformed));
    assert_eq!(Csr::from_der(&vec![0x30; CSR_BYTES_MAX + 1]), Err(CsrError::TooLong));
    assert_eq!(read(&"a".repeat(CSR_BYTES_MAX * 2 + 1)), Err(CsrError::TooLong));
}

#[test]
fn damaged_requests_never_panic_nor_change_their_meaning() {
    let der = pem::request(&request(|w| uris(w, &[WEB]))).unwrap();
    let whole = Csr::from_der(&der).unwrap();
    for position in 0..der.len() {
        for flip in [0x01, 0x80, 0xff] {
            let mut damaged = der.to_vec();
            damaged[position] ^= flip;
            // The signature does not cover the outer tags; a parser may pass over damage there.
            if let Ok(read) = Csr::from_der(&damaged) {
                assert_eq!(read, whole, "byte {position} ^ {flip:#x}");
            }
        }
        assert!(Csr::from_der(&der[..position]).is_err(), "cut at {position}");
    }
    let mut longer = der.to_vec();
    longer.push(0);
    assert_eq!(Csr::from_der(&longer), Err(CsrError::Malformed));
}
