//! From a presented chain to a peer's identity, with memory of chains verified before.
//!
//! The same function serves full handshakes, resumed ones and connections that are judged again
//! later, so that they cannot come to differ. What is remembered is bound to the roots it was
//! verified by and still has its dates judged at each use.

use std::cell::Cell;
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use aws_lc_rs::digest;
use model::spiffe::SpiffeId;
use model::time::Timestamp;
use parking_lot::Mutex;
use rustls::CertificateError;
use rustls_pki_types::{CertificateDer, UnixTime};
use webpki::{EndEntityCert, KeyUsage, VerifiedPath};

use crate::certificate;
use crate::crypto::crypto;
use crate::roots::{Roots, RootsEpoch};
use crate::svid::{self, SvidError};

/// Longest chain looked at, leaf included: two intermediates and two cross-signed roots.
pub const CHAIN_CERTIFICATES_MAX: usize = 8;

/// Most peers remembered. At some 300 bytes each this stays near a megabyte; a proxy with more
/// peers than that at once verifies some of them again.
pub(crate) const CHAINS_REMEMBERED_MAX: usize = 4096;

/// Who is at the other end, as verified by the roots of `epoch`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Peer {
    pub id: SpiffeId,
    /// Serial number of the leaf, lower-case hex with colons.
    pub serial_number: String,
    /// When the whole chain is good: the latest begin and the earliest end in it.
    pub not_before: Timestamp,
    pub not_after: Timestamp,
    pub epoch: RootsEpoch,
}

/// Why a peer is not let in. Always the peer's fault, or that its roots are not known here.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum VerifyError {
    #[error("peer has shown no certificate")]
    NoCertificate,
    #[error("peer has shown more than {CHAIN_CERTIFICATES_MAX} certificates")]
    TooMany,
    #[error("peer certificate has expired")]
    Expired,
    #[error("peer certificate is not yet valid")]
    NotYetValid,
    #[error("peer certificate does not lead to a known root")]
    UnknownAuthority,
    #[error("peer certificate chain: {0}")]
    Chain(webpki::Error),
    #[error("peer {0}")]
    Svid(#[from] SvidError),
    #[error("peer is {found}, wanted {expected}")]
    Unexpected { expected: Box<SpiffeId>, found: Box<SpiffeId> },
}

impl From<VerifyError> for rustls::Error {
    fn from(error: VerifyError) -> Self {
        use VerifyError::*;
        Self::InvalidCertificate(match error {
            NoCertificate => return Self::NoCertificatesPresented,
            Expired => CertificateError::Expired,
            NotYetValid => CertificateError::NotValidYet,
            UnknownAuthority => CertificateError::UnknownIssuer,
            Svid(SvidError::Malformed) => CertificateError::BadEncoding,
            Svid(_) | TooMany | Chain(_) | Unexpected { .. } => {
                CertificateError::Other(rustls::OtherError(Arc::new(error)))
            }
        })
    }
}

/// Verifies a chain, leaf first, by `roots` alone.
pub(crate) fn verify(
    roots: &Roots,
    chain: &[CertificateDer<'_>],
    now: Timestamp,
) -> Result<Peer, VerifyError> {
    let [leaf, intermediates @ ..] = chain else { return Err(VerifyError::NoCertificate) };
    if chain.len() > CHAIN_CERTIFICATES_MAX {
        return Err(VerifyError::TooMany);
    }
    // First, because it is cheap and bounds what the rest will look at.
    let svid = svid::check_leaf(leaf, roots.trust_domain())?;
    let end_entity = EndEntityCert::try_from(leaf).map_err(chain_error)?;
    let anchors = roots.current(now);
    let time = UnixTime::since_unix_epoch(Duration::from_secs(
        u64::try_from(now.unix_seconds).unwrap_or_default(),
    ));
    let refused = Cell::new(None);
    let check_path = |path: &VerifiedPath<'_>| {
        path.intermediate_certificates().try_for_each(|authority| {
            let judged = certificate::parse(&authority.der())
                .map_err(|_| SvidError::Malformed)
                .and_then(|parsed| svid::check_authority(&parsed, roots.trust_domain()));
            judged.map_err(|error| {
                refused.set(Some(error));
                webpki::Error::UnknownIssuer
            })
        })
    };
    // Which of both usages is asked for makes no difference: leaf and authorities must have both.
    let path = end_entity
        .verify_for_usage(
            crypto().signature_verification_algorithms.all,
            &anchors,
            intermediates,
            time,
            KeyUsage::client_auth(),
            None,
            Some(&check_path),
        )
        .map_err(|error| refused.get().map_or_else(|| chain_error(error), VerifyError::Svid))?;
    let (mut not_before, mut not_after) = (svid.not_before, svid.not_after);
    for authority in path.intermediate_certificates() {
        let der = authority.der();
        let parsed = certificate::parse(&der).map_err(|_| SvidError::Malformed)?;
        let (from, until) = svid::lifetime(&parsed);
        (not_before, not_after) = (not_before.max(from), not_after.min(until));
    }
    if let Some(end) = roots.end_of(path.anchor()) {
        not_after = not_after.min(end);
    }
    Ok(Peer {
        id: svid.id,
        serial_number: svid.serial_number,
        not_before,
        not_after,
        epoch: roots.epoch(),
    })
}

fn chain_error(error: webpki::Error) -> VerifyError {
    match error {
        webpki::Error::CertExpired { .. } => VerifyError::Expired,
        webpki::Error::CertNotValidYet { .. } => VerifyError::NotYetValid,
        webpki::Error::UnknownIssuer => VerifyError::UnknownAuthority,
        other => VerifyError::Chain(other),
    }
}

type LeafDigest = [u8; 32];

/// Peers verified before, by the leaf they showed. A handshake with a known peer saves parsing and
/// a signature check; it never saves the dates or the proof that the peer holds the key.
///
/// The other certificates of the chain need not be compared: that the roots vouch for this leaf has
/// been shown once, whatever accompanies it now.
#[derive(Default)]
pub(crate) struct ChainMemory {
    known: Mutex<Known>,
}

#[derive(Default)]
struct Known {
    epoch: Option<RootsEpoch>,
    peers: BTreeMap<LeafDigest, Arc<Peer>>,
    /// In order of arrival; the oldest is forgotten first.
    arrival: VecDeque<LeafDigest>,
}

impl ChainMemory {
    /// As [`verify`], from memory where possible.
    pub(crate) fn verify(
        &self,
        roots: &Roots,
        chain: &[CertificateDer<'_>],
        now: Timestamp,
    ) -> Result<Arc<Peer>, VerifyError> {
        let leaf = chain.first().ok_or(VerifyError::NoCertificate)?;
        let digest = leaf_digest(leaf);
        if let Some(peer) = self.find(roots.epoch(), &digest) {
            return check_dates(&peer, now).map(|()| peer);
        }
        let peer = Arc::new(verify(roots, chain, now)?);
        self.remember(digest, &peer);
        Ok(peer)
    }

    fn find(&self, epoch: RootsEpoch, digest: &LeafDigest) -> Option<Arc<Peer>> {
        let known = self.known.lock();
        (known.epoch == Some(epoch)).then(|| known.peers.get(digest).cloned()).flatten()
    }

    fn remember(&self, digest: LeafDigest, peer: &Arc<Peer>) {
        let mut known = self.known.lock();
        if known.epoch != Some(peer.epoch) {
            *known = Known { epoch: Some(peer.epoch), ..Known::default() };
        }
        if known.peers.insert(digest, Arc::clone(peer)).is_none() {
            known.arrival.push_back(digest);
        }
        if known.arrival.len() > CHAINS_REMEMBERED_MAX
            && let Some(oldest) = known.arrival.pop_front()
        {
            known.peers.remove(&oldest);
        }
    }

    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.known.lock().peers.len()
    }
}

fn check_dates(peer: &Peer, now: Timestamp) -> Result<(), VerifyError> {
    // Whole seconds, as in the certificates: the second of the end is still good.
    if now.unix_seconds > peer.not_after.unix_seconds {
        return Err(VerifyError::Expired);
    }
    if now.unix_seconds < peer.not_before.unix_seconds {
        return Err(VerifyError::NotYetValid);
    }
    Ok(())
}

pub(crate) fn leaf_digest(der: &[u8]) -> LeafDigest {
    let mut bytes = [0; 32];
    bytes.copy_from_slice(digest::digest(&digest::SHA256, der).as_ref());
    bytes
}
