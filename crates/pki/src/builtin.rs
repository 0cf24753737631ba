//! The provider that needs nothing else: its key lies in the replicated state.
//!
//! It signs from memory and keeps nothing per certificate, so issuing costs one verification and
//! one signature whatever was issued before, on any server and without a log entry.

use std::future::ready;

use model::ca::{CaProviderState, CaRoot, IssuedCert};
use model::spiffe::{SpiffeId, TrustDomain};
use model::time::{GoDuration, Timestamp};

use crate::ca_config::CaConfig;
use crate::certificate::{self, CertificateInfo, hex};
use crate::csr::{self, Csr};
use crate::der::Date;
use crate::issuer::{self, Issuer, Serial, Validity};
use crate::key::{KeyError, PrivateKey};
use crate::pem;
use crate::provider::{Answer, Provider, ProviderError};
use crate::svid;

/// How far certificates are dated back, so that peers with slow clocks take them at once.
const BACKDATE: GoDuration = GoDuration::from_secs(-60);

/// Life of a cross-signed root: leaves of the old root are all replaced by then.
const CROSS_SIGNED_TTL: GoDuration = GoDuration::from_secs(7 * 24 * 3600);

/// Life of a root in calendar years, unless set.
const ROOT_YEARS: i64 = 10;

/// The name that Consul gives all roots of this provider.
const ROOT_NAME: &str = "Consul CA Root Cert";

/// An authority opened from its state: everything parsed, ready to sign, never changing.
#[derive(Debug)]
pub struct BuiltinCa {
    trust_domain: TrustDomain,
    config: CaConfig,
    state: CaProviderState,
    /// `None` in a secondary datacenter until the primary has signed its intermediate.
    issuer: Option<Issuer>,
    /// PEM appended to every leaf: the own intermediate, then cross-signed ones.
    chain: String,
}

impl BuiltinCa {
    /// Opens the authority of the primary datacenter for the first time: with the key and root of
    /// `config`, or whichever of them is missing made new. Replicate [`BuiltinCa::state`] before
    /// telling anyone of its root.
    pub fn create(
        config: &CaConfig,
        trust_domain: &TrustDomain,
        now: Timestamp,
    ) -> Result<Self, ProviderError> {
        let key = match config.private_key.as_str() {
            "" => PrivateKey::generate(config.key_kind),
            text => PrivateKey::from_pem(text),
        }
        .map_err(ProviderError::PrivateKey)?;
        let root_cert = match config.root_cert.as_str() {
            "" => new_root(&key, config, trust_domain, now).map_err(ProviderError::Sign)?,
            text => text.to_owned(),
        };
        let state = CaProviderState {
            id: config.state_id(true),
            private_key: key.to_pem().map_err(ProviderError::PrivateKey)?.to_string(),
            root_cert,
            ..CaProviderState::default()
        };
        let opened = Self::open(&state, config, trust_domain)?;
        match &opened.issuer {
            Some(issuer) if issuer.not_after <= now => Err(ProviderError::IssuerExpired),
            _ => Ok(opened),
        }
    }

    /// Makes the state of a secondary datacenter's authority, which cannot sign until
    /// [`Provider::intermediate_csr`] was answered by the primary.
    pub fn create_secondary(config: &CaConfig, trust_domain: &TrustDomain) -> Self {
        Self {
            trust_domain: trust_domain.clone(),
            config: config.clone(),
            state: CaProviderState { id: config.state_id(false), ..CaProviderState::default() },
            issuer: None,
            chain: String::new(),
        }
    }

    /// Opens the authority from its replicated state.
    ///
    /// Errors: `UnfitRoot` and the parse errors say what in the state cannot be used; a state made
    /// here always can.
    pub fn open(
        state: &CaProviderState,
        config: &CaConfig,
        trust_domain: &TrustDomain,
    ) -> Result<Self, ProviderError> {
        let issuer = match (state.intermediate_cert.as_str(), state.root_cert.as_str()) {
            ("", "") => None,
            ("", root) => Some(open_issuer(&state.private_key, root, trust_domain)?),
            (intermediate, _) => Some(open_issuer(&state.private_key, intermediate, trust_domain)?),
        };
        Ok(Self {
            trust_domain: trust_domain.clone(),
            config: config.clone(),
            state: state.clone(),
            issuer,
            chain: with_line_end(&state.intermediate_cert),
        })
    }

    /// Appends certificates (PEM) to the chain of every leaf: the cross-signed ones of the active
    /// root, so that peers that know only the previous root accept the leaf.
    pub fn with_intermediates(mut self, intermediates: &[String]) -> Self {
        self.chain = with_line_end(&self.state.intermediate_cert);
        for intermediate in intermediates {
            self.chain.push_str(&with_line_end(intermediate));
        }
        self
    }

    pub fn state(&self) -> &CaProviderState {
        &self.state
    }

    pub fn config(&self) -> &CaConfig {
        &self.config
    }

    pub fn trust_domain(&self) -> &TrustDomain {
        &self.trust_domain
    }

    /// PEM of the root; empty in a secondary datacenter that has none yet.
    pub fn root_cert(&self) -> &str {
        &self.state.root_cert
    }

    /// The record of the root, active and without intermediates.
    pub fn ca_root(&self) -> Result<CaRoot, ProviderError> {
        if self.state.root_cert.is_empty() {
            return Err(ProviderError::NotReady);
        }
        let info =
            CertificateInfo::from_pem(&self.state.root_cert).map_err(ProviderError::RootCert)?;
        let signing_key_id = match self.state.intermediate_cert.as_str() {
            "" => info.key_id,
            text => {
                CertificateInfo::from_pem(text).map_err(ProviderError::IntermediateCert)?.key_id
            }
        };
        Ok(CaRoot {
            id: info.fingerprint,
            name: ROOT_NAME.to_owned(),
            serial_number: info.serial_low,
            signing_key_id,
            external_trust_domain: self.trust_domain.cluster_id().to_owned(),
            not_before: info.not_before,
            not_after: info.not_after,
            root_cert: with_line_end(&self.state.root_cert),
            intermediate_certs: None,
            active: true,
            rotated_out_at: Timestamp::default(),
            private_key_type: info.key_kind.type_name().to_owned(),
            private_key_bits: info.key_kind.bits(),
            create_index: 0,
            modify_index: 0,
        })
    }

    /// Signs a leaf: the key and identity of `csr`, good from a minute ago for the configured time
    /// and never longer than the authority. Costs some 30 us.
    ///
    /// Shape: chain PEM, leaf first; no private key and no service name filled in for agents.
    pub fn sign_leaf(&self, csr: &Csr, now: Timestamp) -> Result<IssuedCert, ProviderError> {
        let issuer = self.issuer.as_ref().ok_or(ProviderError::NotReady)?;
        let validity = bounded(issuer, now, self.config.leaf_cert_ttl)?;
        let serial = Serial::wide().map_err(ProviderError::Sign)?;
        let id = csr.id();
        // Only agents serve by name; a service is known by its identity alone.
        let (dns, ips) = match id {
            SpiffeId::Agent(_) => (csr.dns.as_slice(), csr.ips.as_slice()),
            _ => Default::default(),
        };
        let der = issuer
            .leaf(id, &csr.public_key, dns, ips, serial, validity)
            .map_err(ProviderError::Sign)?;
        let mut cert_pem = pem::encode("CERTIFICATE", &der);
        cert_pem.push_str(&self.chain);
        let (service, service_uri) = match id.as_service() {
            Some(service) => (service.service.to_string(), id.to_string()),
            None => Default::default(),
        };
        Ok(IssuedCert {
            serial_number: hex(serial.bytes()),
            cert_pem,
            private_key_pem: String::new(),
            service,
            service_uri,
            valid_after: validity.not_before,
            valid_before: validity.not_after,
            create_index: 0,
            modify_index: 0,
        })
    }

    /// The other root (PEM), signed by this authority for a week; PEM.
    pub fn cross_sign_root(&self, root: &str, now: Timestamp) -> Result<String, ProviderError> {
        let issuer = self.issuer.as_ref().ok_or(ProviderError::NotReady)?;
        let der = pem::certificate(root).map_err(|error| ProviderError::RootCert(error.into()))?;
        let other = certificate::parse(&der).map_err(ProviderError::RootCert)?;
        svid::check_authority(&other, &self.trust_domain)
            .map_err(|_| ProviderError::UnfitRoot("it is no authority of this trust domain"))?;
        let validity = bounded(issuer, now, CROSS_SIGNED_TTL)?;
        let signed = Serial::wide()
            .and_then(|serial| issuer.cross_signed(&other, serial, validity))
            .map_err(ProviderError::Sign)?;
        Ok(pem::encode("CERTIFICATE", &signed))
    }

    fn sign_intermediate_cert(&self, csr: &Csr, now: Timestamp) -> Result<String, ProviderError> {
        let issuer = self.issuer.as_ref().ok_or(ProviderError::NotReady)?;
        match &csr.id {
            SpiffeId::Signing { trust_domain } if *trust_domain == self.trust_domain => {}
            _ => return Err(ProviderError::NotIntermediate),
        }
        let validity = bounded(issuer, now, self.config.intermediate_cert_ttl)?;
        let signed = Serial::wide()
            .and_then(|serial| {
                issuer.intermediate(
                    &self.trust_domain,
                    &csr.subject,
                    &csr.public_key,
                    serial,
                    validity,
                )
            })
            .map_err(ProviderError::Sign)?;
        Ok(pem::encode("CERTIFICATE", &signed))
    }

    fn make_intermediate_csr(&self) -> Result<(CaProviderState, String), ProviderError> {
        let key = PrivateKey::generate(self.config.key_kind).map_err(ProviderError::Sign)?;
        let request =
            csr::build_authority(&key, &self.trust_domain).map_err(ProviderError::Sign)?;
        let private_key = key.to_pem().map_err(ProviderError::PrivateKey)?.to_string();
        Ok((
            CaProviderState {
                id: self.config.state_id(false),
                private_key,
                ..CaProviderState::default()
            },
            request,
        ))
    }

    fn take_intermediate(
        &self,
        intermediate: &str,
        root: &str,
    ) -> Result<CaProviderState, ProviderError> {
        let state = CaProviderState {
            intermediate_cert: with_line_end(intermediate),
            root_cert: with_line_end(root),
            ..self.state.clone()
        };
        Self::open(&state, &self.config, &self.trust_domain)?;
        Ok(state)
    }
}

impl Provider for BuiltinCa {
    fn kind(&self) -> &'static str {
        "consul"
    }

    fn state(&self) -> &CaProviderState {
        &self.state
    }

    fn supports_cross_signing(&self) -> bool {
        true
    }

    fn generate_root(&self, now: Timestamp) -> Answer<'_, CaProviderState> {
        let state = if self.state.root_cert.is_empty() {
            Self::create(&self.config, &self.trust_domain, now).map(|made| made.state)
        } else {
            Ok(self.state.clone())
        };
        Box::pin(ready(state))
    }

    fn root(&self) -> Answer<'_, CaRoot> {
        Box::pin(ready(self.ca_root()))
    }

    fn signing_cert(&self) -> Answer<'_, String> {
        let text = match (self.state.intermediate_cert.as_str(), self.state.root_cert.as_str()) {
            ("", "") => Err(ProviderError::NotReady),
            ("", root) => Ok(root.to_owned()),
            (intermediate, _) => Ok(intermediate.to_owned()),
        };
        Box::pin(ready(text))
    }

    fn intermediate_csr(&self) -> Answer<'_, (CaProviderState, String)> {
        Box::pin(ready(self.make_intermediate_csr()))
    }

    fn set_intermediate(&self, intermediate: &str, root: &str) -> Answer<'_, CaProviderState> {
        Box::pin(ready(self.take_intermediate(intermediate, root)))
    }

    fn sign<'a>(&'a self, csr: &'a Csr, now: Timestamp) -> Answer<'a, IssuedCert> {
        Box::pin(ready(self.sign_leaf(csr, now)))
    }

    fn sign_intermediate<'a>(&'a self, csr: &'a Csr, now: Timestamp) -> Answer<'a, String> {
        Box::pin(ready(self.sign_intermediate_cert(csr, now)))
    }

    fn cross_sign<'a>(&'a self, root: &'a str, now: Timestamp) -> Answer<'a, String> {
        Box::pin(ready(self.cross_sign_root(root, now)))
    }

    fn cleanup(&self) -> Answer<'_, ()> {
        Box::pin(ready(Ok(())))
    }
}

fn open_issuer(
    private_key: &str,
    authority: &str,
    trust_domain: &TrustDomain,
) -> Result<Issuer, ProviderError> {
    let key = PrivateKey::from_pem(private_key).map_err(ProviderError::PrivateKey)?;
    let der = pem::certificate(authority).map_err(|error| ProviderError::RootCert(error.into()))?;
    let parsed = certificate::parse(&der).map_err(ProviderError::RootCert)?;
    svid::check_authority(&parsed, trust_domain)
        .map_err(|error| ProviderError::UnfitRoot(error.reason()))?;
    Issuer::new(key, &parsed)
        .ok_or(ProviderError::UnfitRoot("it does not belong to the private key"))
}

fn new_root(
    key: &PrivateKey,
    config: &CaConfig,
    trust_domain: &TrustDomain,
    now: Timestamp,
) -> Result<String, KeyError> {
    let not_after = match config.root_cert_ttl {
        Some(ttl) => now.plus(ttl),
        None => {
            let date = Date::of(now);
            Date { year: date.year + ROOT_YEARS, ..date }.to_timestamp()
        }
    };
    let validity = Validity { not_before: now, not_after };
    let der = issuer::root(key, trust_domain, Serial::low()?, validity)?;
    Ok(pem::encode("CERTIFICATE", &der))
}

/// From a minute ago for `ttl`, cut where the issuer ends.
fn bounded(issuer: &Issuer, now: Timestamp, ttl: GoDuration) -> Result<Validity, ProviderError> {
    if issuer.not_after <= now {
        return Err(ProviderError::IssuerExpired);
    }
    // Certificates tell whole seconds; what is told of them must not be more exact.
    let not_before = Timestamp::from_unix(now.unix_seconds).plus(BACKDATE);
    Ok(Validity { not_before, not_after: not_before.plus(ttl).min(issuer.not_after) })
}

fn with_line_end(text: &str) -> String {
    match text.trim_end() {
        "" => String::new(),
        trimmed => format!("{trimmed}\n"),
    }
}

#[cfg(test)]
mod tests;
