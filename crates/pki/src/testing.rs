//! What the tests of this crate share.

use std::io::Write as _;
use std::process::{Command, Stdio};

use model::time::Timestamp;
use rcgen::CustomExtension;

use crate::der::{BIT_STRING, Writer, context, context_primitive};

/// Runs `openssl`, which every machine that runs the tests has.
pub(crate) fn openssl(arguments: &[&str]) -> String {
    openssl_with(arguments, "")
}

/// As [`openssl`], with `input` on its standard input.
pub(crate) fn openssl_with(arguments: &[&str], input: &str) -> String {
    let mut child = Command::new("openssl")
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("openssl is on the path");
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "openssl {arguments:?}: {said}");
    String::from_utf8(output.stdout).unwrap()
}

/// Has `openssl` judge a chain: the first certificate of `leaf`, by `root` and `untrusted` alone.
pub(crate) fn verify_with_openssl(root: &str, untrusted: &str, leaf: &str) {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let (root, leaf) = (write("root.pem", root), write("leaf.pem", leaf));
    let untrusted_path = write("untrusted.pem", untrusted);
    let mut arguments = vec!["verify", "-x509_strict", "-purpose", "sslserver", "-CAfile", &root];
    arguments.extend_from_slice(&["-no-CApath", "-no-CAstore"]);
    if !untrusted.is_empty() {
        arguments.extend_from_slice(&["-untrusted", &untrusted_path]);
    }
    arguments.push(&leaf);
    openssl(&arguments);
}

/// An authority of the tests, made by another library than the one under test, so that each odd
/// certificate can be had.
pub(crate) struct OddCa {
    issuer: rcgen::Issuer<'static, rcgen::KeyPair>,
    pub(crate) der: Vec<u8>,
}

impl OddCa {
    pub(crate) fn root(name: &str, extensions: Vec<CustomExtension>) -> Self {
        let key = rcgen::KeyPair::generate().unwrap();
        let params = params(name, extensions);
        let der = params.self_signed(&key).unwrap().der().to_vec();
        Self { issuer: rcgen::Issuer::new(params, key), der }
    }

    pub(crate) fn of(params: rcgen::CertificateParams, key: rcgen::KeyPair, der: Vec<u8>) -> Self {
        Self { issuer: rcgen::Issuer::new(params, key), der }
    }

    /// An authority below this one.
    pub(crate) fn below(&self, name: &str, extensions: Vec<CustomExtension>) -> Self {
        let key = rcgen::KeyPair::generate().unwrap();
        let params = params(name, extensions);
        let der = self.sign_key(&params, &key);
        Self::of(params, key, der)
    }

    /// Signs for a key that nobody keeps.
    pub(crate) fn sign(&self, params: &rcgen::CertificateParams) -> Vec<u8> {
        self.sign_key(params, &rcgen::KeyPair::generate().unwrap())
    }

    pub(crate) fn sign_key(
        &self,
        params: &rcgen::CertificateParams,
        key: &rcgen::KeyPair,
    ) -> Vec<u8> {
        params.signed_by(key, &self.issuer).unwrap().der().to_vec()
    }

    pub(crate) fn pem(&self) -> String {
        crate::pem::encode("CERTIFICATE", &self.der)
    }
}

/// Without any extension but `extensions`, good from 2020 to 2040.
pub(crate) fn params(name: &str, extensions: Vec<CustomExtension>) -> rcgen::CertificateParams {
    let mut params = rcgen::CertificateParams::default();
    params.not_before = rcgen::date_time_ymd(2020, 1, 1);
    params.not_after = rcgen::date_time_ymd(2040, 1, 1);
    params.distinguished_name = rcgen::DistinguishedName::new();
    if !name.is_empty() {
        params.distinguished_name.push(rcgen::DnType::CommonName, name);
    }
    params.custom_extensions = extensions;
    params
}

/// Within the lives of all that [`params`] makes.
pub(crate) fn noon() -> Timestamp {
    "2030-01-01T12:00:00Z".parse().unwrap()
}

pub(crate) fn extension(
    number: u64,
    critical: bool,
    content: impl FnOnce(&mut Writer),
) -> CustomExtension {
    let mut writer = Writer::default();
    content(&mut writer);
    let mut made = CustomExtension::from_oid_content(&[2, 5, 29, number], writer.into_bytes());
    made.set_criticality(critical);
    made
}

/// Names by the number of their choice: 1 mail, 2 DNS, 6 URI, 7 address.
pub(crate) fn names(critical: bool, names: &[(u8, &[u8])]) -> CustomExtension {
    extension(17, critical, |w| {
        w.sequence(|w| {
            for (kind, bytes) in names {
                w.primitive(context_primitive(*kind), bytes);
            }
        });
    })
}

pub(crate) fn uri(text: &str) -> CustomExtension {
    names(false, &[(6, text.as_bytes())])
}

pub(crate) fn constraints(ca: bool) -> CustomExtension {
    extension(19, true, |w| {
        w.sequence(|w| {
            if ca {
                w.boolean_true();
            }
        });
    })
}

/// Bit 0 of `bits` is digitalSignature, bit 8 decipherOnly.
pub(crate) fn usage(critical: bool, bits: u16) -> CustomExtension {
    let mut bytes = [0u8; 2];
    for bit in (0..9).filter(|bit| bits & 1 << bit != 0) {
        bytes[bit / 8] |= 0x80 >> (bit % 8);
    }
    let length = if bytes[1] != 0 { 2 } else { usize::from(bytes[0] != 0) };
    let unused = bytes[..length].last().map_or(0, |last| last.trailing_zeros() as u8);
    let content: Vec<u8> = std::iter::once(unused).chain(bytes[..length].iter().copied()).collect();
    extension(15, critical, |w| w.primitive(BIT_STRING, &content))
}

/// Extended usages by their last number below `id-kp`; `None` stands for any usage.
pub(crate) fn extended_usage(purposes: &[Option<u8>]) -> CustomExtension {
    extension(37, false, |w| {
        w.sequence(|w| {
            for purpose in purposes {
                match purpose {
                    Some(number) => w.oid(&[0x2b, 6, 1, 5, 5, 7, 3, *number]),
                    None => w.oid(&[0x55, 0x1d, 0x25, 0]),
                }
            }
        });
    })
}

/// Constraints on one kind of names (2 DNS, 6 URI), permitted or excluded.
pub(crate) fn name_constraints(permitted: bool, kind: u8, base: &str) -> CustomExtension {
    extension(30, true, |w| {
        w.sequence(|w| {
            w.nest(context(u8::from(!permitted)), |w| {
                w.sequence(|w| w.primitive(context_primitive(kind), base.as_bytes()));
            });
        });
    })
}
