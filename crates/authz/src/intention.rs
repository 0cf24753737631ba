//! Intentions: which of them wins, and whether a source may connect to a destination.
//!
//! [`IntentionTable`] is what a data plane asks, once per connection; [`winning`] answers for one pair over any
//! store that can look a pair up; [`matching`] lists what bears on a name. All three follow one rule: the most
//! specific intention wins, the destination counts before the source, so exact to exact (9) before any to exact (8)
//! before exact to any (6) before any to any (5). If none matches, the default policy decides. Names match
//! whatever their letter case.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use foldhash::fast::FixedState;
use model::intention::{DEFAULT_NAMESPACE, Intention, IntentionAction, MatchSide, WILDCARD};

/// Whether a connection may be made, and why.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Decision<'a> {
    pub allowed: bool,
    pub reason: Reason<'a>,
}

/// What a decision rests on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason<'a> {
    Matched(&'a Intention),
    /// No intention matches: the default policy.
    Default,
}

impl fmt::Display for Reason<'_> {
    /// The wording of Consul's authorize endpoint for a match, observed on 1.8.7.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Matched(intention) => write!(f, "Matched intention: {}", Described(intention)),
            Self::Default => f.write_str("Default behavior configured by ACLs"),
        }
    }
}

/// Shows an intention in one line, as reasons and logs do.
pub struct Described<'a>(pub &'a Intention);

impl fmt::Display for Described<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Intention {
            id,
            source_namespace,
            source_name,
            destination_namespace,
            destination_name,
            action,
            precedence,
            ..
        } = self.0;
        let action = match action {
            IntentionAction::Allow => "ALLOW",
            IntentionAction::Deny => "DENY",
        };
        write!(
            f,
            "{action} {source_namespace}/{source_name} => {destination_namespace}/{destination_name} \
             (ID: {id}, Precedence: {precedence})"
        )
    }
}

/// Looked up, never iterated, so no order can leak from it. The fixed seed is safe because names are compared in full
/// and are chosen by whoever may write intentions.
#[expect(clippy::disallowed_types, reason = "an ordered map costs seventeen string comparisons")]
type BySource = std::collections::HashMap<Box<str>, u32, FixedState>;

/// Every intention that bears on one destination, compiled so that a decision is one hash lookup however many
/// there are.
///
/// Where any to exact exists, an exact to any below it can never win and is left out, so that a source has at most
/// one entry and all others share one fallback.
#[derive(Clone, Debug, Default)]
pub struct IntentionTable {
    intentions: Vec<Arc<Intention>>,
    /// By source name, the index into `intentions` of the one that wins.
    exact: BySource,
    /// What decides for all other sources.
    fallback: Option<u32>,
}

impl IntentionTable {
    /// Compiles those of `intentions` that bear on `destination`; others are left out.
    ///
    /// Should the same pair occur twice, which no store allows, deny wins.
    pub fn new<I>(destination: &str, intentions: I) -> Self
    where
        I: IntoIterator,
        I::Item: Into<Arc<Intention>>,
    {
        let mut kept: Vec<Arc<Intention>> = Vec::new();
        let mut by_source: BTreeMap<String, u32> = BTreeMap::new();
        for intention in intentions {
            let intention: Arc<Intention> = intention.into();
            if !is_on_side(&intention, MatchSide::Destination, destination)
                || !is_in_default_namespace(&intention)
            {
                continue;
            }
            let index = u32::try_from(kept.len()).expect("fewer than 2^32 intentions");
            let rank = rank(&intention);
            let best = by_source.entry(intention.source_name.to_lowercase()).or_insert(index);
            if let Some(held) = kept.get(*best as usize)
                && is_better(rank, intention.action, held)
            {
                *best = index;
            }
            kept.push(intention);
        }

        let fallback = by_source.remove(WILDCARD);
        let fallback_rank = fallback.map(|index| rank(&kept[index as usize]));
        let mut exact = BySource::default();
        for (source, index) in by_source {
            if fallback_rank.is_none_or(|fallback| rank(&kept[index as usize]) > fallback) {
                exact.insert(source.into_boxed_str(), index);
            }
        }
        Self { intentions: kept, exact, fallback }
    }

    /// The intention that decides for `source`, `None` if the default policy does.
    pub fn winning(&self, source: &str) -> Option<&Intention> {
        let exact = match is_lower_case(source) {
            true => self.exact.get(source),
            false => self.exact.get(source.to_lowercase().as_str()),
        };
        let index = exact.copied().or(self.fallback)?;
        Some(&self.intentions[index as usize])
    }

    /// Decides whether `source` may connect; `default_allow` when no intention matches.
    ///
    /// Shape: one hash lookup; allocates only for a name with capital letters. `source` is a service of
    /// the default namespace.
    pub fn decide(&self, source: &str, default_allow: bool) -> Decision<'_> {
        decision(self.winning(source), default_allow)
    }

    pub fn len(&self) -> usize {
        self.intentions.len()
    }

    pub fn is_empty(&self) -> bool {
        self.intentions.is_empty()
    }
}

/// Turns the winning intention, or its absence, into a decision.
pub fn decision(winning: Option<&Intention>, default_allow: bool) -> Decision<'_> {
    match winning {
        Some(intention) => Decision {
            allowed: intention.action == IntentionAction::Allow,
            reason: Reason::Matched(intention),
        },
        None => Decision { allowed: default_allow, reason: Reason::Default },
    }
}

/// Finds the intention that decides for one pair, by at most four look-ups of exact pairs in `lookup`.
pub fn winning<T>(
    source: &str,
    destination: &str,
    mut lookup: impl FnMut(&str, &str) -> Option<T>,
) -> Option<T> {
    lookup(source, destination)
        .or_else(|| lookup(WILDCARD, destination))
        .or_else(|| lookup(source, WILDCARD))
        .or_else(|| lookup(WILDCARD, WILDCARD))
}

/// Lists the intentions that bear on `name` as source or destination, most specific first.
///
/// Shape: exact and wildcard entries for `name`; among equals by source, then destination, then id.
pub fn matching<'a>(
    intentions: impl IntoIterator<Item = &'a Arc<Intention>>,
    side: MatchSide,
    name: &str,
) -> Vec<&'a Arc<Intention>> {
    let mut found: Vec<_> =
        intentions.into_iter().filter(|intention| is_on_side(intention, side, name)).collect();
    found.sort_by(|one, other| by_precedence(one, other));
    found
}

/// The order in which lists of intentions are shown: most specific first, then by names and id.
pub fn by_precedence(one: &Intention, other: &Intention) -> std::cmp::Ordering {
    let key = |intention: &Intention| std::cmp::Reverse(rank(intention));
    let names = |intention: &Intention| {
        let Intention { source_namespace, source_name, destination_namespace, .. } = intention;
        let names = [source_namespace, source_name, destination_namespace];
        names.map(String::clone)
    };
    key(one).cmp(&key(other)).then_with(|| {
        names(one)
            .cmp(&names(other))
            .then_with(|| one.destination_name.cmp(&other.destination_name))
            .then_with(|| one.id.cmp(&other.id))
    })
}

fn rank(intention: &Intention) -> u8 {
    Intention::precedence_of(&intention.source_name, &intention.destination_name)
}

fn is_better(rank_new: u8, action: IntentionAction, held: &Intention) -> bool {
    let rank_held = rank(held);
    rank_new > rank_held || (rank_new == rank_held && action == IntentionAction::Deny)
}

fn is_on_side(intention: &Intention, side: MatchSide, name: &str) -> bool {
    let own = match side {
        MatchSide::Source => &intention.source_name,
        MatchSide::Destination => &intention.destination_name,
    };
    own == WILDCARD || is_same_name(own, name)
}

/// Names are compared whatever their letter case, as the catalog compares them: a rule about `Web`
/// must hold for `web`.
fn is_same_name(one: &str, other: &str) -> bool {
    one == other
        || (!(is_lower_case(one) && is_lower_case(other))
            && one.to_lowercase() == other.to_lowercase())
}

/// Whether a name is its own lower case. Names beyond ASCII are not looked into.
fn is_lower_case(name: &str) -> bool {
    name.bytes().all(|byte| byte.is_ascii() && !byte.is_ascii_uppercase())
}

/// Intentions of other namespaces come only from Enterprise agents and say nothing about ours; one for any
/// namespace does.
fn is_in_default_namespace(intention: &Intention) -> bool {
    [&intention.source_namespace, &intention.destination_namespace]
        .into_iter()
        .all(|name| matches!(name.as_str(), "" | DEFAULT_NAMESPACE | WILDCARD))
}

#[cfg(test)]
mod tests;
