//! TLS of the server port: who must show a certificate, and whose is believed.
//!
//! Files are read elsewhere; here are their texts. Servers are known by the name
//! `server.<datacenter>.<domain>` in their certificate.

use std::sync::Arc;

use pki::tls::{KeyPairPem, ServerCheck, TlsError};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::verify_server_name;
use rustls::server::ParsedCertificate;
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
    /// Links of servers are taken from those alone who prove to be one, by a certificate in this domain.
    servers_of: Option<String>,
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
        let asked_for = match (self.verify_incoming, self.verify_server_hostname) {
            (true, _) => ClientCertificate::Required,
            (false, true) => ClientCertificate::IfShown,
            (false, false) => ClientCertificate::NotAskedFor,
        };
        let mut config = match (asked_for, &self.authorities) {
            (ClientCertificate::NotAskedFor, _) => (*pki::tls::server_config(own, None)?).clone(),
            (_, None) => return Err(TlsSettingsError::IncomingMaterial),
            (ClientCertificate::Required, Some(authorities)) => {
                (*pki::tls::server_config(own, Some(authorities))?).clone()
            }
            (ClientCertificate::IfShown, Some(authorities)) => {
                (*pki::tls::server_config_if_shown(own, authorities)?).clone()
            }
        };
        config.alpn_protocols =
            [ALPN_MULTIPLEXED, ALPN_SINGLE, ALPN_SNAPSHOT].map(<[u8]>::to_vec).to_vec();
        let mut anonymous = (*pki::tls::server_config(own, None)?).clone();
        anonymous.alpn_protocols.clear();
        Ok(Some(Incoming {
            config: Arc::new(config),
            anonymous: Arc::new(anonymous),
            is_required: self.verify_incoming,
            servers_of: self.verify_server_hostname.then(|| self.domain.clone()),
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

impl Incoming {
    /// Whether who showed `certificates` may open a link of servers: any, unless names are verified; then only one
    /// whose certificate carries the name of a server of `datacenter`.
    pub(crate) fn admits_link(
        &self,
        certificates: Option<&[CertificateDer<'_>]>,
        datacenter: &str,
    ) -> bool {
        let Some(domain) = &self.servers_of else { return true };
        let (Some([certificate, ..]), Some(name)) = (certificates, server_name(datacenter, domain))
        else {
            return false;
        };
        ParsedCertificate::try_from(certificate)
            .is_ok_and(|certificate| verify_server_name(&certificate, &name).is_ok())
    }
}

/// Who must prove who they are when they connect.
#[derive(Clone, Copy, PartialEq, Eq)]
enum ClientCertificate {
    NotAskedFor,
    /// Links of servers need one, everything else does not.
    IfShown,
    Required,
}

impl Outgoing {
    pub(crate) fn connector(&self) -> tokio_rustls::TlsConnector {
        self.config.clone().into()
    }

    /// The name servers of `datacenter` prove to have.
    pub(crate) fn name_of(&self, datacenter: &str) -> Option<ServerName<'static>> {
        server_name(datacenter, &self.domain)
    }
}

fn server_name(datacenter: &str, domain: &str) -> Option<ServerName<'static>> {
    let domain = domain.trim_end_matches('.');
    let domain = if domain.is_empty() { "consul" } else { domain };
    ServerName::try_from(format!("server.{datacenter}.{domain}")).ok()
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
