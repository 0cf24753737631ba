//! Writers that go on while things break, and what was acknowledged to them.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use testkit::cluster::Cluster;
use testkit::request::Client;
use testkit::wait;

use crate::cluster::steps::PATIENCE;

/// Writers at once: enough that writes share a batch, few enough for a small machine.
const WRITERS: usize = 3;
/// Longest wait for one answer, above what an agent holds a request while there is no leader.
const ANSWER_MAX: Duration = Duration::from_secs(20);

/// What writers have seen so far.
#[derive(Debug, Default)]
pub(crate) struct History {
    acknowledged: Mutex<Vec<String>>,
    failures: Mutex<Vec<String>>,
    count: AtomicUsize,
    stop: AtomicBool,
}

impl History {
    /// Has writers put keys below `prefix` through the agents on `hosts` while `work` goes on.
    pub(crate) fn during(
        cluster: &mut Cluster,
        hosts: &[usize],
        prefix: &str,
        work: impl FnOnce(&mut Cluster, &History),
    ) -> History {
        let history = History::default();
        let agents: Vec<Client> = hosts.iter().map(|host| cluster.http(*host)).collect();
        let door = cluster.network.door();
        std::thread::scope(|scope| {
            for writer in 0..WRITERS {
                let (history, agent, door) = (&history, agents[writer % agents.len()], &door);
                let prefix = format!("{prefix}/{writer}");
                scope.spawn(move || door.inside(|| history.write(agent, &prefix)));
            }
            // Writers end when the work panics, too, so that the test does.
            let _stop = Stop(&history.stop);
            work(cluster, &history);
        });
        history
    }

    fn write(&self, agent: Client, prefix: &str) {
        let mut number = 0;
        while !self.stop.load(Ordering::Relaxed) {
            let key = format!("{prefix}/{number:05}");
            number += 1;
            let answer = agent
                .begin("PUT", &format!("/v1/kv/{key}"), &[], key.as_bytes())
                .and_then(|pending| pending.finish_within(ANSWER_MAX));
            match answer {
                Ok(answer) if answer.status == 200 && answer.text().trim() == "true" => {
                    self.acknowledged.lock().expect("no holder panics").push(key);
                    self.count.fetch_add(1, Ordering::Relaxed);
                }
                Ok(answer) => self.failed(&key, &answer.to_string()),
                Err(error) => self.failed(&key, &error.to_string()),
            }
        }
    }

    fn failed(&self, key: &str, why: &str) {
        self.failures.lock().expect("no holder panics").push(format!("{key}: {why}"));
    }

    /// Waits until `more` writes were acknowledged from now on.
    pub(crate) fn await_more(&self, more: usize) {
        let wanted = self.count.load(Ordering::Relaxed) + more;
        wait::until("writes are acknowledged", PATIENCE, || {
            (self.count.load(Ordering::Relaxed) >= wanted).then_some(())
        });
    }

    pub(crate) fn assert_no_failure(&self) {
        let failures = self.failures.lock().expect("no holder panics");
        let count = self.count.load(Ordering::Relaxed);
        assert!(failures.is_empty(), "of {count} writes these failed: {failures:#?}");
    }

    /// Every write that was acknowledged is on each of `servers`, by its own word.
    pub(crate) fn assert_kept(&self, cluster: &Cluster, servers: &[usize]) {
        let acknowledged = self.acknowledged.lock().expect("no holder panics");
        assert!(!acknowledged.is_empty(), "nothing was written");
        let prefix = acknowledged[0].split('/').next().expect("a key has a prefix");
        for server in servers {
            let http = cluster.http(*server);
            let missing = || {
                let answer = http.get(&format!("/v1/kv/{prefix}/?recurse&stale")).ok()?;
                let rows = (answer.status == 200).then(|| answer.json())?;
                let rows = rows.as_array()?.iter();
                let found: std::collections::BTreeMap<&str, &str> = rows
                    .filter_map(|row| Some((row["Key"].as_str()?, row["Value"].as_str()?)))
                    .collect();
                let is_missing = |key: &&String| {
                    found.get(key.as_str()) != Some(&BASE64_STANDARD.encode(key).as_str())
                };
                Some(acknowledged.iter().filter(is_missing).cloned().collect::<Vec<String>>())
            };
            // A follower may still be catching up.
            let caught_up =
                cluster.inside(|| wait::poll(PATIENCE, || missing().filter(Vec::is_empty)));
            if caught_up.is_none() {
                panic!("acknowledged and not on server {server}: {:?}", cluster.inside(missing));
            }
        }
    }
}

/// Ends the writers when dropped.
struct Stop<'a>(&'a AtomicBool);

impl Drop for Stop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}
