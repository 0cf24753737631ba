//! TLS of the server port: who must show a certificate, and whose is believed.
//!
//! Files are read elsewhere; here are their texts. Servers are known by the name
//! `server.<datacenter>.<domain>` in their certificate.

use std::sync::Arc;

use pki::tls::{KeyPairPem, ServerCheck, TlsError};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, ServerConfig, SignatureScheme,
};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};

/// Protocols of native TLS, and what they carry.
pub(crate) const ALPN_SINGLE: &[u8] = b"consul/rpc-single";
pub(crate) const ALPN_MULTIPLEXED: &[u8] = b"consul/rpc-multi";
pub(crate) const ALPN_SNAPSHOT: &[u8] = b"consul/rpc-snapshot";

/// What the settings say about TLS between agents.
#[derive(Clone, Default)]
pub struct TlsSettings {
    /// PEM of the authorities whose certificates count (`ca_file`, `ca_path`).
    pub authorities: Option<String>,
    /// PEM of the own certificate (`cert_file`) with its chain.
    pub certificate: Option<String>,
    /// PEM of its key (`key_file`).
    pub key: Option<String>,
    pub verify_incoming: bool,
    pub verify_outgoing: bool,
    pub verify_server_hostname: bool,
    /// DNS domain, the last label of servers' names.
    pub domain: String,
}

impl std::fmt::Debug for TlsSettings {
    /// Without key and certificates.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TlsSettings")
            .field("verify_incoming", &self.verify_incoming)
            .field("verify_outgoing", &self.verify_outgoing)
            .field("verify_server_hostname", &self.verify_server_hostname)
            .finish_non_exhaustive()
    }
}

/// Settings that cannot be carried out.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum TlsSettingsError {
    #[error("verify_incoming needs a certificate authority and a certificate with its key")]
    IncomingMaterial,
    #[error("verify_outgoing needs a certificate authority")]
    OutgoingMaterial,
    #[error("TLS between agents")]
    Material(#[from] TlsError),
    #[error("TLS between agents: certificate authorities cannot be used")]
    Authorities,
}

/// How a server meets TLS connections.
#[derive(Clone, Debug)]
pub struct Incoming {
    pub(crate) config: Arc<ServerConfig>,
    /// For agents that have no certificate yet.
    pub(crate) anonymous: Arc<ServerConfig>,
    /// Plain connections are refused.
    pub(crate) is_required: bool,
}

/// How a client makes TLS connections.
#[derive(Clone, Debug)]
pub struct Outgoing {
    config: Arc<ClientConfig>,
    domain: String,
}

impl TlsSettings {
    fn own(&self) -> Option<KeyPairPem<'_>> {
        Some(KeyPairPem { cert: self.certificate.as_deref()?, key: self.key.as_deref()? })
    }

    /// `None`: there is no certificate, so TLS is not offered.
    pub fn incoming(&self) -> Result<Option<Incoming>, TlsSettingsError> {
        let Some(own) = self.own() else {
            return match self.verify_incoming {
                true => Err(TlsSettingsError::IncomingMaterial),
                false => Ok(None),
            };
        };
        let authorities = match (self.verify_incoming, &self.authorities) {
            (false, _) => None,
            (true, Some(authorities)) => Some(authorities.as_str()),
            (true, None) => return Err(TlsSettingsError::IncomingMaterial),
        };
        let mut config = (*pki::tls::server_config(own, authorities)?).clone();
        config.alpn_protocols =
            [ALPN_MULTIPLEXED, ALPN_SINGLE, ALPN_SNAPSHOT].map(<[u8]>::to_vec).to_vec();
        let mut anonymous = (*pki::tls::server_config(own, None)?).clone();
        anonymous.alpn_protocols.clear();
        Ok(Some(Incoming {
            config: Arc::new(config),
            anonymous: Arc::new(anonymous),
            is_required: self.verify_incoming,
        }))
    }

    /// `None`: connections are plain.
    pub fn outgoing(&self) -> Result<Option<Outgoing>, TlsSettingsError> {
        if !self.verify_outgoing && !self.verify_server_hostname {
            return Ok(None);
        }
        let authorities = self.authorities.as_deref().ok_or(TlsSettingsError::OutgoingMaterial)?;
        let check = ServerCheck::By { authorities };
        let mut config = (*pki::tls::client_config(check, self.own())?).clone();
        if !self.verify_server_hostname {
            let chain = pki::tls::server_verifier(authorities)?;
            config.dangerous().set_certificate_verifier(Arc::new(AnyName(chain)));
        }
        config.alpn_protocols.clear();
        Ok(Some(Outgoing { config: Arc::new(config), domain: self.domain.clone() }))
    }
}

impl Outgoing {
    pub(crate) fn connector(&self) -> tokio_rustls::TlsConnector {
        self.config.clone().into()
    }

    /// The name servers of `datacenter` prove to have.
    pub(crate) fn name_of(&self, datacenter: &str) -> Option<ServerName<'static>> {
        let domain = self.domain.trim_end_matches('.');
        let domain = if domain.is_empty() { "consul" } else { domain };
        ServerName::try_from(format!("server.{datacenter}.{domain}")).ok()
    }
}

/// Believes the chain and looks at no name: any holder of a certificate may be a server, which is
/// what `verify_outgoing` alone asks for.
#[derive(Debug)]
struct AnyName(Arc<dyn ServerCertVerifier>);

impl ServerCertVerifier for AnyName {
    fn verify_server_cert(
        &self,
        certificate: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        // Names are looked at last, when everything else was found good.
        match self.0.verify_server_cert(certificate, intermediates, name, ocsp, now) {
            Err(rustls::Error::InvalidCertificate(
                CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
            )) => Ok(ServerCertVerified::assertion()),
            other => other,
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.0.verify_tls12_signature(message, certificate, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.0.verify_tls13_signature(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.supported_verify_schemes()
    }
}
