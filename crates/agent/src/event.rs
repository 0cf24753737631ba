//! User events: which of those that reach this machine are meant for it, and how clients wait for
//! the next.

use std::sync::Arc;

use model::event::UserEvent;
use regex::{Regex, RegexBuilder};
use tokio::sync::watch;

use crate::agent::Agent;
use crate::local::LocalState;
use crate::pool::{Events, remember};

/// Largest compiled filter: far more than fits into an event. Unit: bytes.
const FILTER_BYTES_MAX: usize = 1 << 20;

impl Agent {
    /// The events meant for this agent as they came, the newest last.
    pub fn events(&self) -> watch::Receiver<Events> {
        self.own_events().subscribe()
    }

    /// Takes over from the pool what is meant for this agent, until the agent stops.
    pub(crate) async fn keep_events(self: Arc<Self>) {
        let mut heard = self.membership().events();
        let mut newest: Option<Arc<UserEvent>> = None;
        loop {
            let events = heard.borrow_and_update().clone();
            // All are new when so many came at once that the last one seen is forgotten.
            let seen = newest.as_ref().and_then(|newest| {
                events.iter().rposition(|event| Arc::ptr_eq(event, newest)).map(|at| at + 1)
            });
            for event in &events[seen.unwrap_or(0)..] {
                let name = &self.settings().node.name;
                if is_meant_for(event, name, &self.local().read()) {
                    remember(self.own_events(), (**event).clone());
                }
            }
            newest = events.last().cloned().or(newest);
            tokio::select! {
                changed = heard.changed() => if changed.is_err() { return },
                () = self.stop().cancelled() => return,
            }
        }
    }
}

/// Whether the filters of `event` choose this node and one of its services.
fn is_meant_for(event: &UserEvent, node: &str, state: &LocalState) -> bool {
    let matches = |filter: &str, text: &str| match parse_filter(filter) {
        Ok(filter) => filter.is_none_or(|filter| filter.is_match(text)),
        // Made by an agent that does not judge what it sends.
        Err(_) => false,
    };
    if !matches(&event.node_filter, node) {
        return false;
    }
    if event.service_filter.is_empty() {
        return true;
    }
    state.services.values().any(|row| {
        matches(&event.service_filter, &row.service.name)
            && (event.tag_filter.is_empty()
                || row.service.tags.iter().any(|tag| matches(&event.tag_filter, tag)))
    })
}

/// A filter of an event; `None` for the empty one, which chooses all.
///
/// Errors: the words in which Go's `regexp` refuses it.
pub fn parse_filter(text: &str) -> Result<Option<Regex>, String> {
    if text.is_empty() {
        return Ok(None);
    }
    let built = RegexBuilder::new(text).size_limit(FILTER_BYTES_MAX).build();
    built.map(Some).map_err(|error| {
        let explained = error.to_string();
        // The crate's text is a drawing of several lines that ends with the reason.
        let reason = explained.lines().last().unwrap_or_default().trim_start_matches("error: ");
        let from = |c: char| text.find(c).map_or(text, |at| &text[at..]);
        match reason {
            "unclosed group" => format!("error parsing regexp: missing closing ): `{text}`"),
            "unopened group" => format!("error parsing regexp: unexpected ): `{text}`"),
            "unclosed character class" => {
                format!("error parsing regexp: missing closing ]: `{}`", from('['))
            }
            "repetition operator missing expression" => {
                let operator = text.find(['*', '+', '?']).map_or(text, |at| &text[at..=at]);
                format!(
                    "error parsing regexp: missing argument to repetition operator: `{operator}`"
                )
            }
            other => format!("error parsing regexp: {other}: `{text}`"),
        }
    })
}

/// The id of a new event.
pub fn new_id() -> String {
    uuid::Uuid::new_v4().to_string()
}

/// The index clients wait on while the event `id` is the newest: both halves of its UUID folded
/// into one number.
pub fn wait_index(id: &str) -> u64 {
    match uuid::Uuid::parse_str(id) {
        Ok(id) => {
            let (high, low) = id.as_u64_pair();
            high ^ low
        }
        // Made by something that does not use UUIDs; any number will do that is not 0.
        Err(_) => 1,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn indexes_are_those_of_consul() {
        assert_eq!(wait_index("0abafbaa-1297-5c51-2199-7d85434c115c"), 3108475705610685709);
        assert_eq!(wait_index("no uuid"), 1);
    }

    #[test]
    fn filters_are_refused_in_the_words_of_go() {
        let check = |filter: &str, want: &str| {
            let refused = parse_filter(filter).map(|_| ()).unwrap_err();
            assert_eq!(refused, format!("error parsing regexp: {want}"), "{filter}");
        };
        check("(", "missing closing ): `(`");
        check("a)", "unexpected ): `a)`");
        check("x[a", "missing closing ]: `[a`");
        check("*", "missing argument to repetition operator: `*`");
        assert!(parse_filter("").unwrap().is_none());
        assert!(parse_filter("^n[0-9]+$").unwrap().unwrap().is_match("n12"));
    }
}
