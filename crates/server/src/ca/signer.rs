//! The authority opened for signing, from the replicated state.

use model::ca::{CaProviderState, CaRoot, IssuedCert};
use model::error::Error;
use model::spiffe::TrustDomain;
use model::time::Timestamp;
use pki::builtin::BuiltinCa;
use pki::ca_config::CaConfig;
use pki::csr::Csr;
use pki::provider::ProviderError;
use state::State;

use crate::ca::limit::Limits;

/// Told to who asks before the authority exists.
const NOT_READY: &str = "CA is uninitialized and unable to sign certificates yet: provider is nil";

/// An opened authority and the indexes it was opened at.
pub(crate) struct Signer {
    authority: BuiltinCa,
    limits: Limits,
    indexes: (u64, u64),
}

impl Signer {
    pub(crate) fn open(state: &State) -> Result<Self, Error> {
        let stored = state.ca_config().ok_or_else(not_ready)?;
        let config = CaConfig::parse(&stored.config).map_err(internal)?;
        let domain = TrustDomain::of_cluster(&stored.cluster_id).map_err(internal)?;
        let root = active_root(state).ok_or_else(not_ready)?;
        let keys = provider_state(state, &root, &config).ok_or_else(not_ready)?;
        let intermediates = root.intermediate_certs.clone().unwrap_or_default();
        let authority = BuiltinCa::open(&keys, &config, &domain)
            .map_err(internal)?
            .with_intermediates(&intermediates);
        let limits = limits(&config, stored.config.keys());
        Ok(Self { authority, limits, indexes: indexes(state) })
    }

    /// Whether nothing it was opened from has changed.
    pub(crate) fn is_of(&self, state: &State) -> bool {
        self.indexes == indexes(state)
    }

    pub(crate) fn limits(&self) -> Limits {
        self.limits
    }

    pub(crate) fn trust_domain(&self) -> &TrustDomain {
        self.authority.trust_domain()
    }

    pub(crate) fn authority(&self) -> &BuiltinCa {
        &self.authority
    }

    pub(crate) fn sign(&self, csr: &Csr, now: Timestamp) -> Result<IssuedCert, ProviderError> {
        self.authority.sign_leaf(csr, now)
    }
}

fn indexes(state: &State) -> (u64, u64) {
    (state.ca_config().map_or(0, |config| config.modify_index), state.ca_roots_index())
}

pub(crate) fn active_root(state: &State) -> Option<CaRoot> {
    state.ca_roots().roots.iter().find(|root| root.active).cloned()
}

/// The keys of `root`: stored under the name Consul derives from the settings, or under the
/// root's id when a root was replaced without a change of name.
pub(crate) fn provider_state(
    state: &State,
    root: &CaRoot,
    config: &CaConfig,
) -> Option<CaProviderState> {
    [root.id.clone(), config.state_id(true)]
        .iter()
        .filter_map(|id| state.ca_provider_state(id))
        .find(|keys| keys.root_cert.trim() == root.root_cert.trim())
        .map(|keys| (**keys).clone())
}

/// Consul caps signing at 50 a second because each leaf costs it a log entry and milliseconds.
/// Here none of that holds, so only a cap somebody wrote down counts; the number at once is bounded
/// by the cores.
fn limits<'a>(config: &CaConfig, mut keys: impl Iterator<Item = &'a String>) -> Limits {
    let is_rate = |key: &String| {
        let plain: String = key.chars().filter(|c| *c != '_').collect();
        plain.eq_ignore_ascii_case("csrmaxpersecond")
    };
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let asked = usize::try_from(config.csr_max_concurrent).unwrap_or(0);
    let is_rate_set = keys.any(is_rate) && config.csr_max_per_second > 0.0 && asked == 0;
    Limits {
        per_second: is_rate_set.then_some(config.csr_max_per_second),
        concurrent: if asked > 0 { asked } else { cores },
    }
}

fn not_ready() -> Error {
    Error::new(model::error::ErrorKind::Unavailable, NOT_READY)
}

fn internal(e: impl std::fmt::Display) -> Error {
    Error::internal(format!("could not open the certificate authority: {e}"))
}
