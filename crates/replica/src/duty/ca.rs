//! Drops old root certificates once no leaf signed under them can still be valid.

use std::time::Duration;

use model::ca::{CaConfiguration, CaRequest};
use model::command::Command;
use model::duration::GoDuration;
use state::State;

use crate::Now;
use crate::duty::Plan;

/// Source: Consul, roots are looked at every hour.
const INTERVAL: Duration = Duration::from_secs(3600);
/// An old root stays this many leaf lives: one for leaves signed just before, one in reserve.
const LEAF_LIVES: i64 = 2;
/// Leaf life when the configuration names none.
const LEAF_TTL_DEFAULT: GoDuration = GoDuration::from_secs(72 * 3600);

pub fn plan_prune(state: &State, now: Now) -> Plan {
    let next = now.mono.plus(INTERVAL);
    let roots = state.ca_roots();
    let kept_for =
        GoDuration(leaf_ttl(state.ca_config().map(|c| &**c)).0.saturating_mul(LEAF_LIVES));
    let is_kept = |root: &&model::ca::CaRoot| {
        root.active
            || root.rotated_out_at.is_zero()
            || now.wall.since(root.rotated_out_at) <= kept_for
    };
    let kept: Vec<_> = roots.roots.iter().filter(is_kept).cloned().collect();
    if kept.len() == roots.roots.len() {
        return Plan { commands: Vec::new(), next };
    }
    let request = CaRequest::SetRoots { expected_index: state.ca_roots_index(), roots: kept };
    Plan { commands: vec![Command::Ca(request)], next }
}

/// `LeafCertTTL` of the provider settings, text or nanoseconds.
fn leaf_ttl(config: Option<&CaConfiguration>) -> GoDuration {
    let value = config.and_then(|config| config.config.get("LeafCertTTL"));
    value
        .and_then(|value| match value.as_i64() {
            Some(nanos) => Some(GoDuration(nanos)),
            None => value.as_str()?.parse().ok(),
        })
        .filter(|ttl| ttl.0 > 0)
        .unwrap_or(LEAF_TTL_DEFAULT)
}
