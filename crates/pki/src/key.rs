//! Private keys: made by agents for their leaves, by servers or users for authorities.
//!
//! A key never shows itself: `Debug` tells the kind only, and text forms are wiped when dropped.

use std::fmt;

use aws_lc_rs::encoding::{AsDer, EcPrivateKeyRfc5915Der, Pkcs8V1Der, PublicKeyX509Der};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::{KeyPair as RsaKeyPair, KeySize};
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_ASN1_SIGNING, ECDSA_P384_SHA384_ASN1_SIGNING, ECDSA_P521_SHA512_ASN1_SIGNING,
    EcdsaKeyPair, EcdsaSigningAlgorithm, KeyPair as _, RSA_PKCS1_SHA256,
};
use aws_lc_rs::{digest, error};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer, PrivateSec1KeyDer};
use zeroize::Zeroizing;

use crate::pem;

/// Bits of RSA keys that sign or are signed; larger ones only cost time.
pub const RSA_BITS_MIN: u32 = 2048;
pub const RSA_BITS_MAX: u32 = 4096;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Curve {
    P256,
    P384,
    P521,
}

impl Curve {
    pub(crate) const ALL: [Self; 3] = [Self::P256, Self::P384, Self::P521];

    fn signing(self) -> &'static EcdsaSigningAlgorithm {
        match self {
            Self::P256 => &ECDSA_P256_SHA256_ASN1_SIGNING,
            Self::P384 => &ECDSA_P384_SHA384_ASN1_SIGNING,
            Self::P521 => &ECDSA_P521_SHA512_ASN1_SIGNING,
        }
    }
}

/// What sort of key, as the `PrivateKeyType` and `PrivateKeyBits` of a CA configuration say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyKind {
    Ec(Curve),
    /// Size of the modulus in bits.
    Rsa(u32),
}

impl KeyKind {
    /// What leaves always use: the fastest to sign with among those every peer accepts.
    pub const LEAF: Self = Self::Ec(Curve::P256);

    pub fn type_name(self) -> &'static str {
        match self {
            Self::Ec(_) => "ec",
            Self::Rsa(_) => "rsa",
        }
    }

    pub fn bits(self) -> u32 {
        match self {
            Self::Ec(Curve::P256) => 256,
            Self::Ec(Curve::P384) => 384,
            Self::Ec(Curve::P521) => 521,
            Self::Rsa(bits) => bits,
        }
    }

    /// The `AlgorithmIdentifier` of signatures this kind of key makes, as DER.
    pub(crate) fn signature_algorithm(self) -> &'static [u8] {
        match self {
            Self::Ec(Curve::P256) => ECDSA_SHA256,
            Self::Ec(Curve::P384) => ECDSA_SHA384,
            Self::Ec(Curve::P521) => ECDSA_SHA512,
            Self::Rsa(_) => RSA_SHA256,
        }
    }
}

const ECDSA_SHA256: &[u8] =
    &[0x30, 0x0a, 0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x04, 0x03, 0x02];
const ECDSA_SHA384: &[u8] =
    &[0x30, 0x0a, 0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x04, 0x03, 0x03];
const ECDSA_SHA512: &[u8] =
    &[0x30, 0x0a, 0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x04, 0x03, 0x04];
const RSA_SHA256: &[u8] =
    &[0x30, 0x0d, 0x06, 0x09, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x0b, 0x05, 0x00];

/// A private key with its public half at hand.
pub struct PrivateKey {
    pair: Pair,
    kind: KeyKind,
    /// `SubjectPublicKeyInfo`, DER.
    public_key: Vec<u8>,
}

enum Pair {
    Ec(EcdsaKeyPair),
    Rsa(RsaKeyPair),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    #[error(transparent)]
    Pem(#[from] pem::PemError),
    #[error("private key is not an EC P-256, P-384, P-521 or RSA key that can be used")]
    Unusable,
    #[error("RSA key must have {RSA_BITS_MIN} to {RSA_BITS_MAX} bits")]
    RsaBits,
    /// The cryptographic library failed; nothing the caller gave is at fault.
    #[error("cryptographic operation failed")]
    Crypto,
}

impl From<error::Unspecified> for KeyError {
    fn from(_: error::Unspecified) -> Self {
        Self::Crypto
    }
}

impl PrivateKey {
    /// Makes a new key from the system's generator. RSA takes a second; EC takes microseconds.
    pub fn generate(kind: KeyKind) -> Result<Self, KeyError> {
        match kind {
            KeyKind::Ec(curve) => Self::from_ec(EcdsaKeyPair::generate(curve.signing())?, curve),
            KeyKind::Rsa(bits) => {
                let size = match bits {
                    2048 => KeySize::Rsa2048,
                    3072 => KeySize::Rsa3072,
                    4096 => KeySize::Rsa4096,
                    _ => return Err(KeyError::RsaBits),
                };
                Self::from_rsa(RsaKeyPair::generate(size)?)
            }
        }
    }

    /// Reads the first private key of a PEM text: SEC 1 (`EC PRIVATE KEY`), PKCS#1
    /// (`RSA PRIVATE KEY`) or PKCS#8 (`PRIVATE KEY`), not encrypted.
    ///
    /// Errors: none of them shows any part of the text.
    pub fn from_pem(text: &str) -> Result<Self, KeyError> {
        let der = PrivateKeyDer::from_pem_slice(pem::bounded(text)?).map_err(|_| pem::PemError)?;
        match der {
            PrivateKeyDer::Sec1(der) => Self::from_ec_der(der.secret_sec1_der()),
            PrivateKeyDer::Pkcs1(der) => Self::from_rsa(
                RsaKeyPair::from_der(der.secret_pkcs1_der()).map_err(|_| KeyError::Unusable)?,
            ),
            PrivateKeyDer::Pkcs8(der) => {
                let der = der.secret_pkcs8_der();
                match RsaKeyPair::from_pkcs8(der) {
                    Ok(pair) => Self::from_rsa(pair),
                    Err(_) => Self::from_ec_der(der),
                }
            }
            _ => Err(KeyError::Unusable),
        }
    }

    fn from_ec_der(der: &[u8]) -> Result<Self, KeyError> {
        Curve::ALL
            .into_iter()
            .find_map(|curve| {
                let pair = EcdsaKeyPair::from_private_key_der(curve.signing(), der).ok()?;
                Some(Self::from_ec(pair, curve))
            })
            .unwrap_or(Err(KeyError::Unusable))
    }

    fn from_ec(pair: EcdsaKeyPair, curve: Curve) -> Result<Self, KeyError> {
        let public_key = AsDer::<PublicKeyX509Der>::as_der(pair.public_key())?.as_ref().to_vec();
        Ok(Self { pair: Pair::Ec(pair), kind: KeyKind::Ec(curve), public_key })
    }

    fn from_rsa(pair: RsaKeyPair) -> Result<Self, KeyError> {
        let bits = pair.public_modulus_len() as u32 * 8;
        if !(RSA_BITS_MIN..=RSA_BITS_MAX).contains(&bits) {
            return Err(KeyError::RsaBits);
        }
        let public_key = AsDer::<PublicKeyX509Der>::as_der(pair.public_key())?.as_ref().to_vec();
        Ok(Self { pair: Pair::Rsa(pair), kind: KeyKind::Rsa(bits), public_key })
    }

    pub fn kind(&self) -> KeyKind {
        self.kind
    }

    /// The text form Consul's leaf endpoint gives: `EC PRIVATE KEY` (SEC 1); for RSA
    /// `PRIVATE KEY` (PKCS#8).
    pub fn to_pem(&self) -> Result<Zeroizing<String>, KeyError> {
        Ok(Zeroizing::new(match self.to_der()? {
            PrivateKeyDer::Sec1(der) => pem::encode("EC PRIVATE KEY", der.secret_sec1_der()),
            der => pem::encode("PRIVATE KEY", der.secret_der()),
        }))
    }

    pub(crate) fn to_der(&self) -> Result<PrivateKeyDer<'static>, KeyError> {
        Ok(match &self.pair {
            Pair::Ec(pair) => {
                let der: EcPrivateKeyRfc5915Der<'_> = pair.private_key().as_der()?;
                PrivateKeyDer::Sec1(PrivateSec1KeyDer::from(der.as_ref().to_vec()))
            }
            Pair::Rsa(pair) => {
                let der: Pkcs8V1Der<'_> = pair.as_der()?;
                PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(der.as_ref().to_vec()))
            }
        })
    }

    /// `SubjectPublicKeyInfo`, DER.
    pub fn public_key(&self) -> &[u8] {
        &self.public_key
    }

    /// Signs with the algorithm that [`KeyKind::signature_algorithm`] names.
    pub(crate) fn sign(&self, message: &[u8]) -> Result<Vec<u8>, KeyError> {
        let random = SystemRandom::new();
        match &self.pair {
            Pair::Ec(pair) => Ok(pair.sign(&random, message)?.as_ref().to_vec()),
            Pair::Rsa(pair) => {
                let mut signature = vec![0; pair.public_modulus_len()];
                pair.sign(&RSA_PKCS1_SHA256, &random, message, &mut signature)?;
                Ok(signature)
            }
        }
    }
}

impl fmt::Debug for PrivateKey {
    /// The kind only.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PrivateKey").field("kind", &self.kind).finish_non_exhaustive()
    }
}

/// How certificates name a key: SHA-256 over its `SubjectPublicKeyInfo`, as Consul does.
pub(crate) fn key_id(public_key: &[u8]) -> digest::Digest {
    digest::digest(&digest::SHA256, public_key)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::openssl;

    #[test]
    fn keys_survive_their_text_form() {
        for kind in [
            KeyKind::Ec(Curve::P256),
            KeyKind::Ec(Curve::P384),
            KeyKind::Ec(Curve::P521),
            KeyKind::Rsa(2048),
        ] {
            let key = PrivateKey::generate(kind).unwrap();
            let text = key.to_pem().unwrap();
            let again = PrivateKey::from_pem(&text).unwrap();
            assert_eq!(again.kind(), kind);
            assert_eq!(again.public_key(), key.public_key());
            assert_eq!(*again.to_pem().unwrap(), *text);
        }
    }

    #[test]
    fn foreign_text_forms_are_read() {
        let check = |arguments: &[&str], kind: KeyKind| {
            let text = openssl(arguments);
            assert_eq!(
                PrivateKey::from_pem(&text).map(|key| key.kind()),
                Ok(kind),
                "{arguments:?}"
            );
        };
        check(&["ecparam", "-name", "prime256v1", "-genkey", "-noout"], KeyKind::Ec(Curve::P256));
        check(&["ecparam", "-name", "prime256v1", "-genkey"], KeyKind::Ec(Curve::P256));
        check(&["ecparam", "-name", "secp384r1", "-genkey", "-noout"], KeyKind::Ec(Curve::P384));
        let pkcs8 = ["genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256"];
        check(&pkcs8, KeyKind::Ec(Curve::P256));
        check(&["genrsa", "-traditional", "2048"], KeyKind::Rsa(2048));
        check(&["genrsa", "2048"], KeyKind::Rsa(2048));
    }

    #[test]
    fn what_is_no_key_is_refused() {
        let check = |text: &str, error: KeyError| {
            assert_eq!(PrivateKey::from_pem(text).map(|key| key.kind()), Err(error));
        };
        check("", KeyError::Pem(pem::PemError));
        check("zz", KeyError::Pem(pem::PemError));
        check(&pem::encode("CERTIFICATE", &[0x30, 0]), KeyError::Pem(pem::PemError));
        check(&pem::encode("EC PRIVATE KEY", &[0x30, 0]), KeyError::Unusable);
        check(&pem::encode("RSA PRIVATE KEY", &[0x30, 0]), KeyError::Unusable);
        check(&pem::encode("PRIVATE KEY", &[0x30, 0]), KeyError::Unusable);
        let p224 = openssl(&["ecparam", "-name", "secp224r1", "-genkey", "-noout"]);
        check(&p224, KeyError::Unusable);
        check(&openssl(&["genrsa", "-traditional", "1024"]), KeyError::Unusable);
        check(&openssl(&["genpkey", "-algorithm", "ed25519"]), KeyError::Unusable);
    }

    #[test]
    fn a_key_never_shows_itself() {
        let key = PrivateKey::generate(KeyKind::LEAF).unwrap();
        assert_eq!(format!("{key:?}"), "PrivateKey { kind: Ec(P256), .. }");
    }
}
