//! Certificates made by hand, in another library than the one under test: right ones, and each wrong in one way.

use rcgen::{
    BasicConstraints, CertificateParams, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, SanType, date_time_ymd,
};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use testkit::request::Client;

/// A certificate with what comes after it in the chain, and its key.
pub(crate) struct Minted {
    pub(crate) chain_pem: String,
    pub(crate) key_pem: String,
}

impl Minted {
    pub(crate) fn chain(&self) -> Vec<CertificateDer<'static>> {
        let chain = CertificateDer::pem_slice_iter(self.chain_pem.as_bytes());
        chain.collect::<Result<_, _>>().expect("a chain is PEM")
    }

    pub(crate) fn key(&self) -> PrivateKeyDer<'static> {
        PrivateKeyDer::from_pem_slice(self.key_pem.as_bytes()).expect("a key is PEM")
    }

    /// What an agent hands out for a service.
    pub(crate) fn by_agent(http: &Client, service: &str) -> Minted {
        let answer = http.get(&format!("/v1/agent/connect/ca/leaf/{service}"));
        let leaf = answer.expect("the agent answers").json();
        let text = |key: &str| leaf[key].as_str().unwrap_or_default().to_owned();
        Minted { chain_pem: text("CertPEM"), key_pem: text("PrivateKeyPEM") }
    }
}

/// How a certificate is to be.
pub(crate) struct Wish<'a> {
    pub(crate) uris: &'a [&'a str],
    /// First and last year in which it is valid, from and to the first of January.
    pub(crate) years: (i32, i32),
    pub(crate) is_ca: bool,
    pub(crate) usages: &'a [ExtendedKeyUsagePurpose],
}

const BOTH: &[ExtendedKeyUsagePurpose] =
    &[ExtendedKeyUsagePurpose::ClientAuth, ExtendedKeyUsagePurpose::ServerAuth];

impl Default for Wish<'_> {
    fn default() -> Self {
        Wish { uris: &[], years: (2020, 2100), is_ca: false, usages: BOTH }
    }
}

/// An authority whose key the test knows.
pub(crate) struct Authority {
    issuer: Issuer<'static, KeyPair>,
    pub(crate) root_pem: String,
    pub(crate) key_pem: String,
}

/// A key for an authority, as it is put into settings.
pub(crate) fn key_pem() -> String {
    KeyPair::generate().expect("a key can be made").serialize_pem()
}

impl Authority {
    /// The authority of an agent that was given `key_pem` for its own.
    pub(crate) fn of_agent(http: &Client, key_pem: &str) -> Authority {
        let roots = http.get("/v1/connect/ca/roots").expect("the agent answers").json();
        let active = roots["Roots"].as_array().and_then(|roots| {
            roots.iter().find(|root| root["Active"] == serde_json::Value::Bool(true))
        });
        let root = active.and_then(|root| root["RootCert"].as_str());
        let root_pem = root.expect("an agent has an active root").to_owned();
        let key = KeyPair::from_pem(key_pem).expect("the test's own key");
        let issuer = Issuer::from_ca_cert_pem(&root_pem, key).expect("a root can sign");
        Authority { issuer, root_pem, key_pem: key_pem.to_owned() }
    }

    /// A stranger that calls itself as `like` does, with a key of its own.
    pub(crate) fn impostor(like: &Authority, trust_domain: &str) -> Authority {
        let key = KeyPair::generate().expect("a key can be made");
        let key_pem = key.serialize_pem();
        let mut params = params(&Wish {
            uris: &[&format!("spiffe://{trust_domain}")],
            is_ca: true,
            ..Wish::default()
        });
        let (_, root) = x509_parser::pem::parse_x509_pem(like.root_pem.as_bytes()).expect("PEM");
        let root = root.parse_x509().expect("a certificate");
        let name = root.subject().iter_common_name().next().and_then(|name| name.as_str().ok());
        params.distinguished_name.push(rcgen::DnType::CommonName, name.unwrap_or_default());
        let root_pem = params.self_signed(&key).expect("a root can be made").pem();
        Authority { issuer: Issuer::new(params, key), root_pem, key_pem }
    }

    pub(crate) fn sign(&self, wish: &Wish<'_>) -> Minted {
        let key = KeyPair::generate().expect("a key can be made");
        let certificate = params(wish).signed_by(&key, &self.issuer).expect("it can be signed");
        Minted { chain_pem: certificate.pem(), key_pem: key.serialize_pem() }
    }
}

/// A certificate that vouches for itself.
pub(crate) fn self_signed(wish: &Wish<'_>) -> Minted {
    let key = KeyPair::generate().expect("a key can be made");
    let certificate = params(wish).self_signed(&key).expect("it can be signed");
    Minted { chain_pem: certificate.pem(), key_pem: key.serialize_pem() }
}

fn params(wish: &Wish<'_>) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = rcgen::DistinguishedName::new();
    let uri = |uri: &&str| SanType::URI((*uri).try_into().expect("a URI is ASCII"));
    params.subject_alt_names = wish.uris.iter().map(uri).collect();
    params.not_before = date_time_ymd(wish.years.0, 1, 1);
    params.not_after = date_time_ymd(wish.years.1, 1, 1);
    params.use_authority_key_identifier_extension = true;
    if wish.is_ca {
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    } else {
        params.is_ca = IsCa::ExplicitNoCa;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = wish.usages.to_vec();
    }
    params
}
