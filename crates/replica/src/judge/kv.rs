//! Keys and values: limits, and the delay before a lost lock may be taken.

use std::collections::{BTreeMap, BTreeSet};

use model::command::{Command, Outcome};
use model::duration::GoDuration;
use model::error::Error;
use model::kv::{KvOp, KvRequest};

use crate::Mono;
use crate::judge::{Context, Judged};

/// Keys whose lock was lost with its session, until when nobody may take them. On monotonic time
/// of this server, so a clock step neither shortens nor lengthens a delay. Bounded: a delay is at
/// most a minute, and a key appears once.
#[derive(Clone, Debug, Default)]
pub struct LockDelays {
    until: BTreeMap<String, Mono>,
    by_time: BTreeSet<(Mono, String)>,
}

impl LockDelays {
    pub fn extend(&mut self, released: Vec<(String, GoDuration)>, now: Mono) {
        for (key, delay) in released {
            let until = now.plus(delay.to_std());
            if let Some(before) = self.until.insert(key.clone(), until) {
                self.by_time.remove(&(before, key.clone()));
            }
            self.by_time.insert((until, key));
        }
    }

    pub fn is_delayed(&self, key: &str, now: Mono) -> bool {
        self.until.get(key).is_some_and(|until| *until > now)
    }

    pub fn forget_passed(&mut self, now: Mono) {
        while self.by_time.first().is_some_and(|(until, _)| *until <= now) {
            if let Some((_, key)) = self.by_time.pop_first() {
                self.until.remove(&key);
            }
        }
    }
}

pub(super) fn judge(mut request: KvRequest, context: &Context<'_>) -> Result<Judged, Error> {
    let KvRequest { op, entry } = &mut request;
    // A tree may be the whole store; anything else is one key.
    if entry.key.is_empty() && *op != KvOp::DeleteTree {
        return Err(Error::invalid("Must provide key"));
    }
    let (size, limit) = (entry.value.len(), context.rules.kv_value_bytes_max);
    if size > limit {
        return Err(Error::invalid(format!(
            "Value exceeds {limit} byte limit ({size} bytes); see limits.kv_max_value_size"
        )));
    }
    match op {
        // Only taking a lock looks the session up; releasing compares it with the holder.
        KvOp::Lock if !entry.session.is_empty() && entry.session.len() != 36 => {
            return Err(Error::invalid(super::session::BAD_ID));
        }
        KvOp::Lock if context.lock_delays.is_delayed(&entry.key, context.now.mono) => {
            return Ok(Judged::Answer(Outcome::Applied(false)));
        }
        // Only compare-and-set operations bring an index, and none brings a lock count.
        KvOp::Cas | KvOp::DeleteCas => {}
        _ => entry.modify_index = 0,
    }
    (entry.create_index, entry.lock_index) = (0, 0);
    Ok(Judged::Propose(Command::Kv(request)))
}
