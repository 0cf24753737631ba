//! What an authority must be able to do, whoever holds its keys.
//!
//! A provider never changes under its users: what would change it answers the state to replicate
//! instead, and the caller, once that is committed, opens the provider anew from it, on every
//! server alike. Signing may therefore run anywhere and at once. The built-in provider answers
//! immediately; a remote one (Vault, a cloud's CA) does its calls in the futures it answers, with
//! the HTTP client of the crate it lives in.

use std::future::Future;
use std::pin::Pin;

use model::ca::{CaProviderState, CaRoot, IssuedCert};
use model::time::Timestamp;

use crate::certificate::CertificateError;
use crate::csr::{Csr, CsrError};
use crate::key::KeyError;

/// What a provider says in its own time.
pub type Answer<'a, T> = Pin<Box<dyn Future<Output = Result<T, ProviderError>> + Send + 'a>>;

pub trait Provider: Send + Sync {
    /// As in `Provider` of the CA configuration: `consul`, `vault`, `aws-pca`.
    fn kind(&self) -> &'static str;

    /// What to replicate so that another server can open the same provider.
    fn state(&self) -> &CaProviderState;

    /// Whether a rotation away from this provider can be vouched for by its root.
    fn supports_cross_signing(&self) -> bool;

    /// Sees that there is a root, in the primary datacenter. Answers the state to replicate.
    fn generate_root(&self, now: Timestamp) -> Answer<'_, CaProviderState>;

    /// The record of the root, marked active, without intermediates.
    fn root(&self) -> Answer<'_, CaRoot>;

    /// PEM of the certificate whose key signs leaves: an intermediate, or the root itself.
    fn signing_cert(&self) -> Answer<'_, String>;

    /// Makes a key for a secondary datacenter and a request (PEM) to have it signed by the
    /// primary. The state holds the new key: replicate it before sending the request.
    fn intermediate_csr(&self) -> Answer<'_, (CaProviderState, String)>;

    /// Takes what the primary signed: PEM of the intermediate and of the root it leads to.
    fn set_intermediate(&self, intermediate: &str, root: &str) -> Answer<'_, CaProviderState>;

    /// Signs a leaf. The caller has judged whether the sender may have [`Csr::id`].
    fn sign<'a>(&'a self, csr: &'a Csr, now: Timestamp) -> Answer<'a, IssuedCert>;

    /// Signs a secondary datacenter's intermediate; answers PEM.
    fn sign_intermediate<'a>(&'a self, csr: &'a Csr, now: Timestamp) -> Answer<'a, String>;

    /// Vouches for another root (PEM): answers it signed by ours, PEM.
    fn cross_sign<'a>(&'a self, root: &'a str, now: Timestamp) -> Answer<'a, String>;

    /// Gives up what the provider holds outside of the replicated state, after it was replaced.
    fn cleanup(&self) -> Answer<'_, ()>;
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProviderError {
    /// The settings or the state name a key that cannot be used.
    #[error("error parsing private key: {0}")]
    PrivateKey(KeyError),
    #[error("error parsing root certificate: {0}")]
    RootCert(CertificateError),
    #[error("error parsing intermediate certificate: {0}")]
    IntermediateCert(CertificateError),
    /// The settings give a root that leaves could not be verified by.
    #[error("root certificate cannot be used: {0}")]
    UnfitRoot(&'static str),
    #[error(transparent)]
    Csr(#[from] CsrError),
    #[error("certificate request is not for an intermediate of this trust domain")]
    NotIntermediate,
    /// A secondary datacenter that has not been given its intermediate yet; trying again helps.
    #[error("no signing certificate yet")]
    NotReady,
    #[error("signing certificate has expired")]
    IssuerExpired,
    /// The cryptographic library failed.
    #[error("error signing: {0}")]
    Sign(KeyError),
    /// A remote provider could not be reached or refused; the text is for people.
    #[error("{0}")]
    Remote(String),
}
