//! Forgetting: members that failed or left long ago, and intents about nodes that never came.

use std::time::Duration;

use super::{Gossip, Step, Timer};
use crate::input::Event;
use crate::member::Status;
use crate::serf::tags::Tags;

/// Tag by which a member chooses when it is forgotten after it failed, as a duration.
const RECONNECT_TAG: &str = "rc_tm";

impl Gossip {
    pub(crate) fn reap_tick(&mut self, step: &mut Step<'_>) {
        self.every(self.config.profile.reap_interval, Timer::Reap, step);
        self.serf.forget_intents(step.now);
        self.serf.prune_queues();
        let profile = &self.config.profile;
        let mut forgotten = Vec::new();
        for (name, record) in &self.serf.members {
            let gone_for = step.now.since(record.gone_at);
            let keep = match record.member.status {
                Status::Failed => {
                    chosen_timeout(&record.member.tags).unwrap_or(profile.reconnect_timeout)
                }
                Status::Left => profile.tombstone_timeout,
                Status::Alive | Status::Leaving => continue,
            };
            if gone_for > keep && *name != self.config.name {
                forgotten.push(name.clone());
            }
        }
        for name in forgotten {
            self.forget(&name, step);
        }
    }

    /// Erases a member.
    pub(crate) fn forget(&mut self, name: &str, step: &mut Step<'_>) {
        if let Some(record) = self.serf.members.remove(name) {
            self.vivaldi.forget(name);
            step.event(Event::MemberReap(record.member));
        }
    }
}

fn chosen_timeout(tags: &Tags) -> Option<Duration> {
    parse_duration(tags.get(RECONNECT_TAG)?)
}

/// Reads durations such as `72h0m0s` or `1.5h`.
fn parse_duration(text: &str) -> Option<Duration> {
    let mut rest = text;
    let mut seconds = 0.0;
    while !rest.is_empty() {
        let number = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let (value, unit_and_rest) = rest.split_at(number);
        let unit = unit_and_rest
            .find(|c: char| c.is_ascii_digit() || c == '.')
            .unwrap_or(unit_and_rest.len());
        let (unit, next) = unit_and_rest.split_at(unit);
        let factor = match unit {
            "h" => 3600.0,
            "m" => 60.0,
            "s" => 1.0,
            "ms" => 1e-3,
            "us" | "µs" => 1e-6,
            "ns" => 1e-9,
            _ => return None,
        };
        seconds += value.parse::<f64>().ok()? * factor;
        rest = next;
    }
    (!text.is_empty()).then(|| Duration::try_from_secs_f64(seconds).ok())?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations() {
        let check = |text, milliseconds: Option<u64>| {
            assert_eq!(parse_duration(text), milliseconds.map(Duration::from_millis), "{text}");
        };
        check("72h0m0s", Some(72 * 3_600_000));
        check("1.5h", Some(5_400_000));
        check("250ms", Some(250));
        check("1m30s", Some(90_000));
        check("", None);
        check("7", None);
        check("h", None);
        check("1..5s", None);
        check("3 days", None);
    }
}
