//! Settings of the authority: the `Config` map of `/v1/connect/ca/configuration`, read once into
//! typed values.
//!
//! Reading is as lenient as Consul's: keys in any case, numbers as text, durations as text or
//! nanoseconds, unknown keys passed over. Messages are Consul's where a client could know them; the
//! caller puts `error configuring provider: ` before them.

use std::collections::BTreeMap;
use std::fmt;

use aws_lc_rs::digest;
use model::duration::DurationError;
use model::time::GoDuration;
use serde_json::Value;

use crate::certificate::hex;
use crate::key::{Curve, KeyKind};

const HOUR: i64 = 3600;

const LEAF_TTL_MIN: GoDuration = GoDuration::from_secs(HOUR);
const LEAF_TTL_MAX: GoDuration = GoDuration::from_secs(365 * 24 * HOUR);
const INTERMEDIATE_TTL_MIN: GoDuration = GoDuration::from_secs(3 * HOUR);
/// An intermediate must outlive the leaves below it by this factor.
const INTERMEDIATE_TO_LEAF: i64 = 3;

/// The built-in provider's settings, valid as a whole.
#[derive(Clone, PartialEq)]
pub struct CaConfig {
    /// PEM; empty to have one made.
    pub private_key: String,
    /// PEM; empty to have one made. Needs `private_key`.
    pub root_cert: String,
    pub leaf_cert_ttl: GoDuration,
    pub intermediate_cert_ttl: GoDuration,
    /// Life of roots made here; `None` for ten calendar years.
    pub root_cert_ttl: Option<GoDuration>,
    /// What key to make when none is given.
    pub key_kind: KeyKind,
    /// Leaves signed per second and server; zero or less for no limit.
    pub csr_max_per_second: f64,
    /// Leaves signed at once per server; zero or less for no limit. Used instead of the rate.
    pub csr_max_concurrent: i64,
    /// Kept for those who set it; nothing rotates by time.
    pub rotation_period: GoDuration,
}

impl Default for CaConfig {
    fn default() -> Self {
        Self {
            private_key: String::new(),
            root_cert: String::new(),
            leaf_cert_ttl: GoDuration::from_secs(72 * HOUR),
            intermediate_cert_ttl: GoDuration::from_secs(365 * 24 * HOUR),
            root_cert_ttl: None,
            key_kind: KeyKind::Ec(Curve::P256),
            csr_max_per_second: 50.0,
            csr_max_concurrent: 0,
            rotation_period: GoDuration::from_secs(90 * 24 * HOUR),
        }
    }
}

impl fmt::Debug for CaConfig {
    /// Without the private key.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CaConfig")
            .field("leaf_cert_ttl", &self.leaf_cert_ttl)
            .field("key_kind", &self.key_kind)
            .finish_non_exhaustive()
    }
}

/// Why settings are refused. Never shows the private key.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum ConfigError {
    #[error("error decoding config: 1 error(s) decoding:\n\n* error decoding '{key}': {error}")]
    Duration { key: &'static str, error: DurationError },
    #[error("error decoding config: 1 error(s) decoding:\n\n* '{key}' expected type '{want}'")]
    Type { key: &'static str, want: &'static str },
    #[error("error decoding config: 1 error(s) decoding:\n\n* cannot parse '{key}' as {want}")]
    Number { key: &'static str, want: &'static str },
    #[error("leaf cert TTL must be greater or equal than {LEAF_TTL_MIN}")]
    LeafTtlMin,
    #[error("leaf cert TTL must be less than {LEAF_TTL_MAX}")]
    LeafTtlMax,
    #[error("Intermediate Cert TTL must be greater or equal than 3h")]
    IntermediateTtlMin,
    #[error("Intermediate Cert TTL must be greater or equal than 3 * LeafCertTTL (>={0}).")]
    IntermediateTtlOfLeaf(GoDuration),
    #[error("root cert TTL must be greater than the intermediate cert TTL")]
    RootTtl,
    #[error("private key type must be either 'ec' or 'rsa'")]
    KeyType,
    #[error("EC key length must be one of (224, 256, 384, 521) bits")]
    EcBits,
    /// Consul takes 224, which no TLS library speaks any more.
    #[error("EC key length of 224 bits is not supported, use 256, 384 or 521")]
    EcBits224,
    #[error("RSA key length must be 2048 or 4096 bits")]
    RsaBits,
    #[error("must provide a private key when providing a root cert")]
    RootWithoutKey,
}

impl CaConfig {
    /// Reads and judges the whole map; what is not set keeps its default.
    pub fn parse(map: &BTreeMap<String, Value>) -> Result<Self, ConfigError> {
        let mut config = Self::default();
        let (mut key_type, mut key_bits) = ("ec".to_owned(), None);
        for (name, value) in map {
            if value.is_null() {
                continue;
            }
            let plain: String = name.chars().filter(|c| *c != '_').collect();
            match plain.to_ascii_lowercase().as_str() {
                "privatekey" => config.private_key = text("PrivateKey", value)?,
                "rootcert" => config.root_cert = text("RootCert", value)?,
                "leafcertttl" => config.leaf_cert_ttl = duration("LeafCertTTL", value)?,
                "intermediatecertttl" => {
                    config.intermediate_cert_ttl = duration("IntermediateCertTTL", value)?;
                }
                "rootcertttl" => config.root_cert_ttl = Some(duration("RootCertTTL", value)?),
                "privatekeytype" => key_type = text("PrivateKeyType", value)?,
                "privatekeybits" => key_bits = Some(integer("PrivateKeyBits", value)?),
                "csrmaxpersecond" => {
                    config.csr_max_per_second = float("CSRMaxPerSecond", value)?;
                }
                "csrmaxconcurrent" => {
                    config.csr_max_concurrent = integer("CSRMaxConcurrent", value)?;
                }
                "rotationperiod" => config.rotation_period = duration("RotationPeriod", value)?,
                _ => {}
            }
        }
        config.check_lives()?;
        config.key_kind = key_kind(&key_type, key_bits)?;
        if config.private_key.is_empty() && !config.root_cert.is_empty() {
            return Err(ConfigError::RootWithoutKey);
        }
        Ok(config)
    }

    fn check_lives(&self) -> Result<(), ConfigError> {
        if self.leaf_cert_ttl < LEAF_TTL_MIN {
            return Err(ConfigError::LeafTtlMin);
        }
        if self.leaf_cert_ttl > LEAF_TTL_MAX {
            return Err(ConfigError::LeafTtlMax);
        }
        if self.intermediate_cert_ttl < INTERMEDIATE_TTL_MIN {
            return Err(ConfigError::IntermediateTtlMin);
        }
        let least = GoDuration(self.leaf_cert_ttl.0.saturating_mul(INTERMEDIATE_TO_LEAF));
        if self.intermediate_cert_ttl < least {
            return Err(ConfigError::IntermediateTtlOfLeaf(least));
        }
        match self.root_cert_ttl {
            Some(ttl) if ttl <= self.intermediate_cert_ttl => Err(ConfigError::RootTtl),
            _ => Ok(()),
        }
    }

    /// Names the replicated provider state that belongs to these settings: same key and root
    /// settings, same state. Consul's own derivation, so that its snapshots are understood.
    pub fn state_id(&self, is_primary: bool) -> String {
        let text = format!("{},{},{is_primary}", self.private_key, self.root_cert);
        hex(digest::digest(&digest::SHA256, text.as_bytes()).as_ref())
    }
}

fn key_kind(key_type: &str, bits: Option<i64>) -> Result<KeyKind, ConfigError> {
    match (key_type, bits.unwrap_or(256)) {
        ("ec", 256) => Ok(KeyKind::Ec(Curve::P256)),
        ("ec", 384) => Ok(KeyKind::Ec(Curve::P384)),
        ("ec", 521) => Ok(KeyKind::Ec(Curve::P521)),
        ("ec", 224) => Err(ConfigError::EcBits224),
        ("ec", _) => Err(ConfigError::EcBits),
        ("rsa", 2048) => Ok(KeyKind::Rsa(2048)),
        ("rsa", 4096) => Ok(KeyKind::Rsa(4096)),
        ("rsa", _) => Err(ConfigError::RsaBits),
        _ => Err(ConfigError::KeyType),
    }
}

fn text(key: &'static str, value: &Value) -> Result<String, ConfigError> {
    match value {
        Value::String(text) => Ok(text.clone()),
        Value::Number(number) => Ok(number.to_string()),
        Value::Bool(flag) => Ok(if *flag { "1" } else { "0" }.to_owned()),
        _ => Err(ConfigError::Type { key, want: "string" }),
    }
}

fn duration(key: &'static str, value: &Value) -> Result<GoDuration, ConfigError> {
    match value {
        Value::String(text) => text.parse().map_err(|error| ConfigError::Duration { key, error }),
        other => Ok(GoDuration(integer(key, other)?)),
    }
}

fn integer(key: &'static str, value: &Value) -> Result<i64, ConfigError> {
    let wrong = ConfigError::Number { key, want: "int" };
    match value {
        Value::String(text) => text.parse().map_err(|_| wrong),
        // A fraction is cut off, as Consul's decoder does.
        Value::Number(number) => {
            number.as_i64().or(number.as_f64().map(|float| float as i64)).ok_or(wrong)
        }
        Value::Bool(flag) => Ok(i64::from(*flag)),
        _ => Err(ConfigError::Type { key, want: "int" }),
    }
}

fn float(key: &'static str, value: &Value) -> Result<f64, ConfigError> {
    let wrong = ConfigError::Number { key, want: "float" };
    match value {
        Value::String(text) => text.parse().map_err(|_| wrong),
        Value::Number(number) => number.as_f64().ok_or(wrong),
        Value::Bool(flag) => Ok(f64::from(u8::from(*flag))),
        _ => Err(ConfigError::Type { key, want: "float" }),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn parsed(json: Value) -> Result<CaConfig, ConfigError> {
        CaConfig::parse(&serde_json::from_value(json).unwrap())
    }

    #[test]
    fn settings_in_every_spelling() {
        assert_eq!(parsed(json!({})).unwrap(), CaConfig::default());
        assert_eq!(parsed(json!({ "Foo": 1, "PrivateKey": null })).unwrap(), CaConfig::default());
        let check = |json: Value| {
            let config = parsed(json).unwrap();
            assert_eq!(config.leaf_cert_ttl, GoDuration::from_secs(2 * HOUR));
            assert_eq!(config.key_kind, KeyKind::Ec(Curve::P384));
            assert_eq!(config.csr_max_per_second, 7.5);
        };
        check(json!({ "LeafCertTTL": "2h", "PrivateKeyBits": 384, "CSRMaxPerSecond": 7.5 }));
        check(
            json!({ "leaf_cert_ttl": "2h", "private_key_bits": "384", "csr_max_per_second": "7.5" }),
        );
        check(
            json!({ "leafcertttl": 7_200_000_000_000i64, "PRIVATEKEYBITS": 384.0, "CsrMaxPerSecond": 7.5 }),
        );
        let config = parsed(json!({ "PrivateKeyType": "rsa", "PrivateKeyBits": 2048 })).unwrap();
        assert_eq!(config.key_kind, KeyKind::Rsa(2048));
    }

    /// Texts were given by Consul 1.8.7 for the same settings, save those for 224 bits and
    /// `RootCertTTL`.
    #[test]
    fn refusals() {
        let check = |json: Value, want: &str| {
            assert_eq!(parsed(json).unwrap_err().to_string(), want);
        };
        check(
            json!({ "LeafCertTTL": "30m" }),
            "leaf cert TTL must be greater or equal than 1h0m0s",
        );
        check(json!({ "LeafCertTTL": 5 }), "leaf cert TTL must be greater or equal than 1h0m0s");
        check(json!({ "LeafCertTTL": true }), "leaf cert TTL must be greater or equal than 1h0m0s");
        check(json!({ "LeafCertTTL": "9000h" }), "leaf cert TTL must be less than 8760h0m0s");
        check(
            json!({ "LeafCertTTL": "abc" }),
            "error decoding config: 1 error(s) decoding:\n\n* error decoding 'LeafCertTTL': time: invalid duration \"abc\"",
        );
        check(
            json!({ "IntermediateCertTTL": "100h" }),
            "Intermediate Cert TTL must be greater or equal than 3 * LeafCertTTL (>=216h0m0s).",
        );
        check(
            json!({ "IntermediateCertTTL": "30m", "LeafCertTTL": "2h" }),
            "Intermediate Cert TTL must be greater or equal than 3h",
        );
        check(json!({ "PrivateKeyType": "dsa" }), "private key type must be either 'ec' or 'rsa'");
        check(
            json!({ "PrivateKeyType": "ec", "PrivateKeyBits": 100 }),
            "EC key length must be one of (224, 256, 384, 521) bits",
        );
        check(json!({ "PrivateKeyType": "rsa" }), "RSA key length must be 2048 or 4096 bits");
        check(json!({ "RootCert": "yy" }), "must provide a private key when providing a root cert");
        check(
            json!({ "PrivateKeyBits": 224 }),
            "EC key length of 224 bits is not supported, use 256, 384 or 521",
        );
        check(
            json!({ "RootCertTTL": "1h" }),
            "root cert TTL must be greater than the intermediate cert TTL",
        );
        check(
            json!({ "CSRMaxPerSecond": "x" }),
            "error decoding config: 1 error(s) decoding:\n\n* cannot parse 'CSRMaxPerSecond' as float",
        );
        check(
            json!({ "PrivateKey": [] }),
            "error decoding config: 1 error(s) decoding:\n\n* 'PrivateKey' expected type 'string'",
        );
    }

    /// The id was found in a snapshot of Consul 1.8.7 with default settings.
    #[test]
    fn the_state_id_is_consuls() {
        assert_eq!(
            CaConfig::default().state_id(true),
            "07:80:c8:de:f6:41:86:29:8f:9c:b8:17:d6:48:c2:d5:c5:5c:7f:0c:03:f7:cf:97:5a:a7:c1:68:aa:23:ae:81",
        );
    }

    #[test]
    fn the_private_key_is_not_shown() {
        let config = parsed(json!({ "PrivateKey": "canary" })).unwrap();
        assert!(!format!("{config:?}").contains("canary"));
    }
}
