//! Who we are and whom we trust: the own leaf with its key, and the roots.

use std::fmt;
use std::sync::Arc;

use model::spiffe::SpiffeId;
use model::time::Timestamp;
use rustls::sign::CertifiedKey;

use crate::certificate::CertificateError;
use crate::chain::leaf_digest;
use crate::crypto::crypto;
use crate::key::{KeyError, PrivateKey};
use crate::pem;
use crate::roots::{Roots, RootsEpoch};
use crate::svid::{self, Svid, SvidError};

/// The own leaf and the roots peers are verified by; both never change.
pub struct Identity {
    roots: Arc<Roots>,
    pub(crate) leaf: Arc<CertifiedKey>,
    svid: Svid,
    generation: Generation,
}

/// Tells identities apart; sessions live only as long as theirs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Generation {
    roots: RootsEpoch,
    leaf: [u8; 32],
}

/// Why an own leaf cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum IdentityError {
    #[error("own certificate: {0}")]
    Certificate(#[from] CertificateError),
    #[error("own {0}")]
    Svid(#[from] SvidError),
    #[error("own private key: {0}")]
    Key(#[from] KeyError),
    #[error("own private key and certificate do not belong together")]
    Mismatch,
}

impl Identity {
    /// `cert_pem` is the chain to show, leaf first; `key_pem` the leaf's key. That the leaf leads
    /// to `roots` is not asked: while roots rotate, either may arrive first.
    pub fn new(roots: Arc<Roots>, cert_pem: &str, key_pem: &str) -> Result<Self, IdentityError> {
        let chain = pem::certificates(cert_pem).map_err(CertificateError::from)?;
        let leaf = chain.first().ok_or(IdentityError::Mismatch)?;
        let svid = svid::check_leaf(leaf, roots.trust_domain())?;
        let generation = Generation { roots: roots.epoch(), leaf: leaf_digest(leaf) };
        let key = PrivateKey::from_pem(key_pem)?.to_der()?;
        let leaf =
            CertifiedKey::from_der(chain, key, crypto()).map_err(|_| IdentityError::Mismatch)?;
        Ok(Self { roots, leaf: Arc::new(leaf), svid, generation })
    }

    pub fn id(&self) -> &SpiffeId {
        &self.svid.id
    }

    pub fn roots(&self) -> &Arc<Roots> {
        &self.roots
    }

    pub fn serial_number(&self) -> &str {
        &self.svid.serial_number
    }

    pub fn not_before(&self) -> Timestamp {
        self.svid.not_before
    }

    pub fn not_after(&self) -> Timestamp {
        self.svid.not_after
    }

    pub(crate) fn generation(&self) -> Generation {
        self.generation
    }
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Identity").field("svid", &self.svid).field("roots", &self.roots).finish()
    }
}
