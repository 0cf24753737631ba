//! What has to be committed so that the authority is as it should be: looks at the state, makes
//! keys where they are missing, answers steps. Interrupted between two steps, the next look
//! continues from what is there.

use std::collections::BTreeMap;

use model::ca::{CaConfiguration, CaRequest, CaRoot};
use model::error::Error;
use model::spiffe::TrustDomain;
use model::time::Timestamp;
use pki::builtin::BuiltinCa;
use pki::ca_config::CaConfig;
use serde_json::{Value, json};
use state::State;

use crate::ca::CaSettings;
use crate::ca::signer::{Signer, active_root, provider_state};

/// The only provider so far.
const PROVIDER: &str = "consul";

/// One commit, in order.
#[derive(Debug)]
pub(crate) enum Step {
    Plain(CaRequest),
    /// The one that makes a new root the active one.
    Decisive(CaRequest),
}

/// Steps towards an authority that can sign; none when there is one.
pub(crate) fn bring_into_being(
    state: &State,
    settings: &CaSettings,
    now: Timestamp,
) -> Result<Vec<Step>, Error> {
    let Some(stored) = state.ca_config() else {
        return Ok(vec![Step::Plain(CaRequest::SetConfig(Box::new(first_config(settings)?)))]);
    };
    let config = parse(&stored.config)?;
    let domain = trust_domain(&stored.cluster_id)?;
    if let Some(root) = active_root(state)
        && provider_state(state, &root, &config).is_some()
    {
        return Ok(Vec::new());
    }
    // Keys without a root are left from an interrupted start; any root they belong to is lost. So
    // are keys that do not open: those of a plan made before the state was replaced.
    let id = config.state_id(true);
    let left = state.ca_provider_state(&id);
    let authority = match left.and_then(|keys| BuiltinCa::open(keys, &config, &domain).ok()) {
        Some(authority) => authority,
        None => BuiltinCa::create(&config, &domain, now).map_err(provider_fault)?,
    };
    let roots = with_new_root(state, authority.ca_root().map_err(provider_fault)?, now);
    Ok(vec![
        Step::Plain(CaRequest::SetProviderState(Box::new(authority.state().clone()))),
        Step::Decisive(CaRequest::SetRoots { expected_index: state.ca_roots_index(), roots }),
    ])
}

/// Steps towards `wanted`: new settings alone, or a new root that the old one vouches for.
///
/// Errors: `Invalid` with Consul's texts.
pub(crate) fn configure(
    state: &State,
    mut wanted: CaConfiguration,
    now: Timestamp,
) -> Result<Vec<Step>, Error> {
    check_provider(&wanted.provider)?;
    let config = parse(&wanted.config)?;
    let signer = Signer::open(state)?;
    let stored = state.ca_config().ok_or_else(|| Error::internal("no CA configuration"))?;
    wanted.cluster_id.clone_from(&stored.cluster_id);
    // Replaces exactly what this plan was made from.
    wanted.modify_index = stored.modify_index;
    if wanted.config == stored.config && wanted.provider == stored.provider {
        return Ok(Vec::new());
    }
    let old = signer.authority();
    let old_root = active_root(state).ok_or_else(|| Error::internal("no active root"))?;
    let is_same_key = config.state_id(true) == old.config().state_id(true)
        && (!config.private_key.is_empty() || has_kind(&old_root, &config));
    if is_same_key {
        return Ok(vec![Step::Plain(CaRequest::SetConfig(Box::new(wanted)))]);
    }
    let mut authority =
        BuiltinCa::create(&config, old.trust_domain(), now).map_err(provider_fault)?;
    let mut root = authority.ca_root().map_err(provider_fault)?;
    if root.id == old_root.id {
        return Ok(vec![Step::Plain(CaRequest::SetConfig(Box::new(wanted)))]);
    }
    if !wanted.force_without_cross_signing {
        let vouched = old
            .cross_sign_root(&root.root_cert, now)
            .map_err(|e| Error::internal(format!("error cross-signing the new root: {e}")))?;
        root.intermediate_certs = Some(vec![vouched]);
    }
    let old_id = old.state().id.clone();
    let mut keys = authority.state().clone();
    if keys.id == old_id {
        keys.id.clone_from(&root.id);
        authority = BuiltinCa::open(&keys, &config, old.trust_domain()).map_err(provider_fault)?;
    }
    let roots = with_new_root(state, root, now);
    let expected_index = state.ca_roots_index();
    let config = Box::new(wanted);
    Ok(vec![
        Step::Plain(CaRequest::SetProviderState(Box::new(authority.state().clone()))),
        Step::Decisive(CaRequest::SetRootsAndConfig { expected_index, roots, config }),
        // Nothing signs with the old key any more, so it should not lie about.
        Step::Plain(CaRequest::DeleteProviderState(old_id)),
    ])
}

/// The present roots with `root` as the active one.
fn with_new_root(state: &State, root: CaRoot, now: Timestamp) -> Vec<CaRoot> {
    let present = state.ca_roots();
    let mut roots: Vec<CaRoot> =
        present.roots.iter().filter(|present| present.id != root.id).cloned().collect();
    for old in roots.iter_mut().filter(|old| old.active) {
        old.active = false;
        old.rotated_out_at = now;
    }
    roots.push(CaRoot { active: true, ..root });
    roots
}

fn first_config(settings: &CaSettings) -> Result<CaConfiguration, Error> {
    let provider = match settings.provider.as_str() {
        "" => PROVIDER,
        named => named,
    };
    check_provider(provider)?;
    let mut config: BTreeMap<String, Value> =
        [("LeafCertTTL", "72h"), ("IntermediateCertTTL", "8760h"), ("RotationPeriod", "2160h")]
            .into_iter()
            .map(|(key, value)| (key.to_owned(), json!(value)))
            .collect();
    config.extend(settings.config.clone());
    parse(&config)?;
    let cluster_id = match settings.cluster_id.as_str() {
        "" => new_cluster_id(),
        chosen => chosen.to_owned(),
    };
    trust_domain(&cluster_id)?;
    let provider = provider.to_owned();
    Ok(CaConfiguration { cluster_id, provider, config, ..CaConfiguration::default() })
}

/// A random UUID, version 4.
fn new_cluster_id() -> String {
    let bits = (rand::random::<u128>() & !(0xf << 76) & !(0x3 << 62)) | (0x4 << 76) | (0x2 << 62);
    let hex = format!("{bits:032x}");
    [&hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..]].join("-")
}

fn check_provider(provider: &str) -> Result<(), Error> {
    if provider == PROVIDER {
        return Ok(());
    }
    Err(Error::invalid(format!("could not initialize provider: unknown CA provider {provider:?}")))
}

fn parse(config: &BTreeMap<String, Value>) -> Result<CaConfig, Error> {
    CaConfig::parse(config).map_err(|e| Error::invalid(format!("error configuring provider: {e}")))
}

fn trust_domain(cluster_id: &str) -> Result<TrustDomain, Error> {
    TrustDomain::of_cluster(cluster_id)
        .map_err(|e| Error::invalid(format!("cluster id {cluster_id:?}: {e}")))
}

fn provider_fault(e: pki::provider::ProviderError) -> Error {
    Error::invalid(format!("error configuring provider: {e}"))
}

fn has_kind(root: &CaRoot, config: &CaConfig) -> bool {
    root.private_key_type == config.key_kind.type_name()
        && root.private_key_bits == config.key_kind.bits()
}
