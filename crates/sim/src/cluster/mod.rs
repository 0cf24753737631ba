//! Whole clusters from a seed: real replicas on simulated disks, clocks and links, clients that ask
//! any of them, and faults that come and go. At the end everything heals and must come together
//! within a bound of virtual time.
//!
//! [`Cluster::run`] is the loop. What a server does with its replica's effects is in `server`, what
//! clients do in `client` and `asking`, what breaks in `faults`, and the end in `healing`.

mod asking;
mod client;
mod clock;
mod deed;
mod faults;
mod healing;
mod history;
mod log_terms;
mod network;
mod observed;
mod roster;
mod server;
mod settings;

use std::collections::BTreeMap;
use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use model::error::Error;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use replica::{Input, Message, Mono, Response, Snapshot};

use crate::bug::Bug;
use crate::trace::Trace;
use crate::violation::Violation;

use asking::{Call, Question};
use client::Client;
use faults::Faults;
use network::{Network, Weather};
use observed::Observed;
use roster::Roster;
use server::Server;

pub use settings::{ClusterReport, ClusterSettings, Drift, FaultMix};

/// Where true time begins. Unit: nanoseconds.
const BEGIN: Mono = Mono(1_000_000_000);
/// How often old histories are judged.
const JUDGE_EVERY: Duration = Duration::from_secs(5);

/// What goes over the network.
enum Parcel {
    Input(Box<Input>),
    Snapshot {
        from: u64,
        /// Of the sender, who is told how it ended.
        life: u64,
        message: Box<Message>,
        snapshot: Box<Snapshot>,
    },
    Question {
        from: u64,
        call: u64,
        question: Box<Question>,
    },
    Answer {
        call: u64,
        result: Box<Result<Response, Error>>,
    },
}

enum Event {
    Tick {
        server: u64,
        life: u64,
    },
    /// Takes in nothing; what waited for company goes on.
    Flush {
        server: u64,
        life: u64,
    },
    Synced {
        server: u64,
        life: u64,
        ticket: u64,
    },
    /// The replica hears that its write is durable, which it may not be.
    CalledDurable {
        server: u64,
        life: u64,
        ticket: u64,
    },
    SnapshotWritten {
        server: u64,
        life: u64,
        snapshot: Box<Snapshot>,
    },
    Deliver {
        to: u64,
        parcel: Parcel,
    },
    /// A client's request is taken up by the server it was sent to.
    Ask {
        call: u64,
    },
    TimeOut {
        call: u64,
    },
    /// A client does its next deed.
    Act {
        client: u64,
    },
    Register {
        server: u64,
        life: u64,
        waiter: u64,
    },
    Propose {
        server: u64,
        call: u64,
        deed: Box<deed::Deed>,
    },
    Fault,
    EndFault(u64),
    Restart {
        server: u64,
    },
    /// Gossip tells a server who belongs to the pool by now.
    Members {
        server: u64,
    },
    /// A server that leaves hands over, should it lead, until it is let go.
    Leave {
        server: u64,
    },
    /// Gossip takes a silent server for failed.
    Suspect {
        server: u64,
        life: u64,
    },
    Judge,
}

/// A cluster, its clients and what befalls them.
pub struct Cluster {
    settings: ClusterSettings,
    rng: StdRng,
    now: Mono,
    events: BTreeMap<(Mono, u64), Event>,
    next_event: u64,
    /// Of requests, calls, clients, written values and faults.
    next_number: u64,
    servers: BTreeMap<u64, Server>,
    network: Network,
    roster: Roster,
    clients: BTreeMap<u64, Client>,
    calls: BTreeMap<u64, Call>,
    faults: Faults,
    observed: Observed,
    /// The newest term in which a leader was ready, and that leader.
    newest_leader: (u64, u64),
    trace: Trace,
    report: ClusterReport,
}

impl Cluster {
    /// Runs `seed` to its end. Anything that goes wrong, a panic too, is a violation.
    pub fn run(seed: u64, settings: ClusterSettings) -> Result<ClusterReport, Violation> {
        let mut cluster = Self::new(seed, settings);
        let result = catch_unwind(AssertUnwindSafe(|| cluster.live()));
        let what = match result {
            Ok(Ok(())) => return Ok(cluster.conclude()),
            Ok(Err(what)) => what,
            Err(panic) => format!("panicked: {}", panic_text(panic.as_ref())),
        };
        let last_lines = cluster.trace.last_lines();
        Err(Violation { seed, what, test: "one_cluster_seed", last_lines })
    }

    fn new(seed: u64, settings: ClusterSettings) -> Self {
        let mut rng = StdRng::seed_from_u64(seed);
        let usual = Weather {
            loss_percent: rng.random_range(0..3),
            duplication_percent: rng.random_range(0..3),
            delay_max: Duration::from_millis([2, 5, 15][rng.random_range(0..3)]),
        };
        let mut cluster = Self {
            settings,
            rng,
            now: BEGIN,
            events: BTreeMap::new(),
            next_event: 0,
            next_number: 0,
            servers: BTreeMap::new(),
            network: Network::new(usual),
            roster: Roster::new(settings.servers),
            clients: BTreeMap::new(),
            calls: BTreeMap::new(),
            faults: Faults::default(),
            observed: Observed::default(),
            newest_leader: (0, 0),
            trace: Trace::default(),
            report: ClusterReport::default(),
        };
        cluster.found();
        for client in 1..=settings.clients {
            cluster.clients.insert(client, Client::default());
            cluster.after_millis(0..50, Event::Act { client });
        }
        cluster.after(settings.fault_every, Event::Fault);
        cluster.after(JUDGE_EVERY, Event::Judge);
        cluster
    }

    fn live(&mut self) -> Result<(), String> {
        let end = self.now.plus(self.settings.duration);
        self.run_until(end)?;
        self.heal_and_converge()?;
        self.judge(true)
    }

    fn run_until(&mut self, end: Mono) -> Result<(), String> {
        while let Some(entry) = self.events.first_entry() {
            if entry.key().0 > end {
                break;
            }
            let ((at, _), event) = entry.remove_entry();
            self.now = at;
            match self.paused_until(&event) {
                Some(until) => self.at(until, event),
                None => self.happen(event)?,
            }
        }
        self.now = end;
        Ok(())
    }

    fn happen(&mut self, event: Event) -> Result<(), String> {
        match event {
            Event::Tick { server, life } if self.is_alive(server, life) => self.tick(server),
            Event::Flush { server, life } if self.is_alive(server, life) => self.flush(server),
            Event::Synced { server, life, ticket } if self.is_alive(server, life) => {
                self.synced(server, ticket)
            }
            Event::CalledDurable { server, life, ticket } if self.is_alive(server, life) => {
                self.step(server, Input::Persisted { ticket })
            }
            Event::SnapshotWritten { server, life, snapshot } if self.is_alive(server, life) => {
                self.snapshot_written(server, &snapshot)
            }
            Event::Register { server, life, waiter } if self.is_alive(server, life) => {
                self.register(server, waiter);
                Ok(())
            }
            Event::Members { server } => {
                let members = self.roster.members();
                self.step(server, Input::Members(members))
            }
            Event::Leave { server } => self.leave(server),
            Event::Suspect { server, life } => {
                self.suspect(server, life);
                Ok(())
            }
            Event::Deliver { to, parcel } => self.deliver(to, parcel),
            Event::Ask { call } => self.ask(call),
            Event::TimeOut { call } => {
                self.time_out(call);
                Ok(())
            }
            Event::Act { client } => {
                self.act(client);
                Ok(())
            }
            Event::Propose { server, call, deed } => self.propose_again(server, call, &deed),
            Event::Fault => self.draw_fault(),
            Event::EndFault(fault) => self.end_fault(fault),
            Event::Restart { server } => self.restart(server),
            Event::Judge => {
                self.after(JUDGE_EVERY, Event::Judge);
                self.judge(false)
            }
            // Of a life that is over.
            _ => Ok(()),
        }
    }

    /// Until when the server that `event` happens to stands still.
    fn paused_until(&self, event: &Event) -> Option<Mono> {
        let server = match event {
            Event::Tick { server, .. }
            | Event::Flush { server, .. }
            | Event::Synced { server, .. }
            | Event::CalledDurable { server, .. }
            | Event::SnapshotWritten { server, .. }
            | Event::Register { server, .. }
            | Event::Propose { server, .. }
            | Event::Members { server }
            | Event::Leave { server }
            | Event::Deliver { to: server, .. } => *server,
            Event::Ask { call } => self.calls.get(call)?.server,
            _ => return None,
        };
        self.servers.get(&server)?.paused_until.filter(|until| *until > self.now)
    }

    fn conclude(mut self) -> ClusterReport {
        let report = &mut self.report;
        report.trace_hash = self.trace.hash();
        report.simulated = Duration::from_nanos(self.now.0 - BEGIN.0);
        self.observed.report(report);
        report.woken += self.servers.values().map(|s| s.waits.answered()).sum::<u64>();
        *report
    }

    fn has_bug(&self, bug: Bug) -> bool {
        self.settings.bug == Some(bug)
    }

    fn number(&mut self) -> u64 {
        self.next_number += 1;
        self.next_number
    }

    fn at(&mut self, at: Mono, event: Event) {
        self.next_event += 1;
        self.events.insert((at, self.next_event), event);
    }

    fn after(&mut self, span: Duration, event: Event) {
        self.at(self.now.plus(span), event);
    }

    fn after_millis(&mut self, range: Range<u64>, event: Event) {
        let micros = self.rng.random_range(range.start * 1000..range.end * 1000);
        self.after(Duration::from_micros(micros), event);
    }

    fn one_in(&mut self, count: u32) -> bool {
        self.rng.random_range(0..count) == 0
    }

    fn pick<T: Copy>(&mut self, from: &[T]) -> Option<T> {
        (!from.is_empty()).then(|| from[self.rng.random_range(0..from.len())])
    }

    /// Sends what consensus sends again when it is lost.
    fn send(&mut self, from: u64, to: u64, input: impl Fn() -> Input) {
        for delay in self.network.deliveries(from, to, &mut self.rng) {
            self.after(delay, Event::Deliver { to, parcel: Parcel::Input(Box::new(input())) });
        }
    }
}

fn panic_text(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().cloned();
    text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()))
        .unwrap_or_else(|| "without a word".to_owned())
}
