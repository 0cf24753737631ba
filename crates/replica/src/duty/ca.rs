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

#[cfg(test)]
mod tests {
    use model::ca::CaRoot;
    use model::time::Timestamp;
    use serde_json::json;

    use super::*;
    use crate::Mono;

    #[test]
    fn an_old_root_goes_two_leaf_lives_after_it_was_replaced() {
        let at = |hours: i64| Timestamp::from_unix(1_800_000_000 + hours * 3600);
        let root = |id: &str, active, rotated_out_at| CaRoot {
            id: id.into(),
            active,
            rotated_out_at,
            ..CaRoot::default()
        };
        let mut state = State::new();
        let config = CaConfiguration {
            cluster_id: "c".into(),
            provider: "consul".into(),
            config: [("LeafCertTTL".to_owned(), json!("10h"))].into(),
            ..CaConfiguration::default()
        };
        state.apply(1, Command::Ca(CaRequest::SetConfig(Box::new(config))));
        let roots = vec![root("new", true, Timestamp::default()), root("old", false, at(0))];
        state.apply(2, Command::Ca(CaRequest::SetRoots { expected_index: 0, roots }));
        let plan = |state: &State, hours| {
            plan_prune(state, Now { mono: Mono(0), wall: at(hours) }).commands
        };
        assert!(plan(&state, 20).is_empty());
        let commands = plan(&state, 21);
        assert_eq!(commands.len(), 1);
        for command in commands {
            state.apply(3, command);
        }
        let left: Vec<_> = state.ca_roots().roots.iter().map(|root| root.id.clone()).collect();
        assert_eq!(left, ["new"]);
        assert!(plan(&state, 22).is_empty());
    }
}
