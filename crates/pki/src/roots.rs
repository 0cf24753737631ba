//! The roots a peer's certificate must lead to: a trust domain with its bundle, never changing.

use std::fmt;

use aws_lc_rs::digest;
use model::ca::CaRoots;
use model::spiffe::{SpiffeError, TrustDomain};
use model::time::Timestamp;
use rustls_pki_types::{CertificateDer, TrustAnchor};

use crate::certificate::{self, CertificateError};
use crate::pem;
use crate::svid::{self, SvidError};

/// Most roots in a bundle: rotations that overlap, with room to spare.
pub const ROOTS_MAX: usize = 64;

/// Names the content of a bundle: equal for equal trust domain and roots, in any order.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RootsEpoch([u8; 32]);

impl fmt::Debug for RootsEpoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RootsEpoch({})", certificate::hex(&self.0[..4]))
    }
}

pub struct Roots {
    trust_domain: TrustDomain,
    /// What webpki builds chains to, and until when each is good, at the same positions.
    anchors: Vec<TrustAnchor<'static>>,
    ends: Vec<Timestamp>,
    epoch: RootsEpoch,
    unfit: Vec<UnfitRoot>,
}

/// A root that was left out of the bundle, to be logged by whoever built it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnfitRoot {
    /// SHA-1, as Consul names roots.
    pub fingerprint: String,
    pub reason: SvidError,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RootsError {
    #[error("roots: {0}")]
    TrustDomain(#[from] SpiffeError),
    #[error("roots: {0}")]
    Certificate(#[from] CertificateError),
    #[error("more than {ROOTS_MAX} roots")]
    TooMany,
    #[error("there is no root that can be used")]
    None,
}

impl Roots {
    /// Reads every certificate of the PEM texts. One that is no authority of `trust_domain` is left
    /// out and told of by [`Roots::unfit`], so that a single odd root does not stop the mesh.
    pub fn new<'a>(
        trust_domain: &TrustDomain,
        texts: impl IntoIterator<Item = &'a str>,
    ) -> Result<Self, RootsError> {
        let mut certificates = Vec::new();
        for text in texts {
            certificates.extend(pem::certificates(text).map_err(CertificateError::from)?);
            if certificates.len() > ROOTS_MAX {
                return Err(RootsError::TooMany);
            }
        }
        certificates.sort_unstable_by(|a, b| a.as_ref().cmp(b.as_ref()));
        certificates.dedup();
        let mut roots = Self {
            trust_domain: trust_domain.clone(),
            anchors: Vec::with_capacity(certificates.len()),
            ends: Vec::with_capacity(certificates.len()),
            epoch: epoch(trust_domain, &certificates),
            unfit: Vec::new(),
        };
        for der in &certificates {
            roots.take(der);
        }
        if roots.anchors.is_empty() { Err(RootsError::None) } else { Ok(roots) }
    }

    /// The bundle of a cluster, from its own record: every root, active or not yet gone.
    pub fn of_cluster(record: &CaRoots) -> Result<Self, RootsError> {
        let trust_domain = record.trust_domain.parse()?;
        Self::new(&trust_domain, record.roots.iter().map(|root| root.root_cert.as_str()))
    }

    fn take(&mut self, der: &CertificateDer<'_>) {
        let judged = certificate::parse(der).map_err(|_| SvidError::Malformed).and_then(|parsed| {
            svid::check_authority(&parsed, &self.trust_domain)?;
            let anchor = webpki::anchor_from_trusted_cert(der).map_err(|_| SvidError::Malformed)?;
            Ok((anchor.to_owned(), svid::lifetime(&parsed).1))
        });
        match judged {
            Ok((anchor, end)) => {
                self.anchors.push(anchor);
                self.ends.push(end);
            }
            Err(reason) => {
                self.unfit.push(UnfitRoot { fingerprint: certificate::fingerprint(der), reason });
            }
        }
    }

    pub fn trust_domain(&self) -> &TrustDomain {
        &self.trust_domain
    }

    pub fn epoch(&self) -> RootsEpoch {
        self.epoch
    }

    pub fn unfit(&self) -> &[UnfitRoot] {
        &self.unfit
    }

    /// The roots that have not ended at `now`; webpki itself knows no end of a root. Their begin is
    /// not judged: they came from our own servers, whose clock may be ahead of ours.
    pub(crate) fn current(&self, now: Timestamp) -> std::borrow::Cow<'_, [TrustAnchor<'static>]> {
        if self.ends.iter().all(|end| now <= *end) {
            return self.anchors.as_slice().into();
        }
        let pairs = self.anchors.iter().zip(&self.ends);
        pairs.filter(|(_, end)| now <= **end).map(|(anchor, _)| anchor.clone()).collect()
    }

    /// Until when the root is good.
    pub(crate) fn end_of(&self, anchor: &TrustAnchor<'_>) -> Option<Timestamp> {
        let position = self.anchors.iter().position(|known| known == anchor)?;
        self.ends.get(position).copied()
    }
}

impl fmt::Debug for Roots {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Roots")
            .field("trust_domain", &self.trust_domain)
            .field("count", &self.anchors.len())
            .field("epoch", &self.epoch)
            .finish_non_exhaustive()
    }
}

fn epoch(trust_domain: &TrustDomain, sorted: &[CertificateDer<'_>]) -> RootsEpoch {
    let mut context = digest::Context::new(&digest::SHA256);
    context.update(trust_domain.as_str().as_bytes());
    for der in sorted {
        // A separator that neither a trust domain nor the begin of a certificate contains.
        context.update(&[0]);
        context.update(der);
    }
    let mut bytes = [0; 32];
    bytes.copy_from_slice(context.finish().as_ref());
    RootsEpoch(bytes)
}
