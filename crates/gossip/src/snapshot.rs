//! The lines of a serf snapshot: whom a restarted agent tries first, and where its clocks stood.
//!
//! Pure: the file itself, when it is flushed and when it is rewritten belong to the driver. It appends each
//! [`SnapshotLine`] it is given; when the file has grown past [`rewrite_above`], it writes
//! [`Gossip::snapshot_lines`](crate::Gossip::snapshot_lines) into a new one.

use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;

use crate::wire::message::NAME_BYTES_MAX;
use crate::wire::stream::NODES_MAX;

/// How long lines may stay unflushed.
pub const FLUSH_INTERVAL: std::time::Duration = std::time::Duration::from_millis(500);

/// One change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SnapshotLine {
    Alive { name: String, address: SocketAddr },
    NotAlive { name: String },
    Clock(u64),
    EventClock(u64),
    QueryClock(u64),
    Leave,
}

impl fmt::Display for SnapshotLine {
    /// Without the line's end.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            SnapshotLine::Alive { name, address } => write!(f, "alive: {name} {address}"),
            SnapshotLine::NotAlive { name } => write!(f, "not-alive: {name}"),
            SnapshotLine::Clock(time) => write!(f, "clock: {time}"),
            SnapshotLine::EventClock(time) => write!(f, "event-clock: {time}"),
            SnapshotLine::QueryClock(time) => write!(f, "query-clock: {time}"),
            SnapshotLine::Leave => f.write_str("leave"),
        }
    }
}

/// What a file's lines amount to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Snapshot {
    pub alive: BTreeMap<String, SocketAddr>,
    /// Last times seen; a clock goes on above them.
    pub clock: u64,
    pub event_clock: u64,
    pub query_clock: u64,
}

impl Snapshot {
    /// Reads a file, whatever it holds: lines that are not understood are passed over. A `leave` wipes what stands
    /// before it, unless the agent is to rejoin after leaving.
    pub fn parse(text: &str, rejoin_after_leave: bool) -> Snapshot {
        let mut snapshot = Snapshot::default();
        for line in text.lines() {
            snapshot.apply(line, rejoin_after_leave);
        }
        snapshot
    }

    fn apply(&mut self, line: &str, rejoin_after_leave: bool) {
        if line == "leave" {
            if !rejoin_after_leave {
                *self = Snapshot::default();
            }
            return;
        }
        let Some((kind, value)) = line.split_once(": ") else { return };
        match kind {
            "alive" => {
                // The name may hold spaces, the address none.
                let Some((name, address)) = value.rsplit_once(' ') else { return };
                let Ok(address) = address.parse() else { return };
                if name.len() <= NAME_BYTES_MAX && self.alive.len() < NODES_MAX {
                    self.alive.insert(name.to_owned(), address);
                }
            }
            "not-alive" => {
                self.alive.remove(value);
            }
            "clock" => self.clock = value.parse().unwrap_or(self.clock),
            "event-clock" => self.event_clock = value.parse().unwrap_or(self.event_clock),
            "query-clock" => self.query_clock = value.parse().unwrap_or(self.query_clock),
            _ => {}
        }
    }
}

/// File size in bytes above which it is rewritten, in a pool of `nodes`.
pub fn rewrite_above(nodes: usize) -> usize {
    (128 << 10).max(nodes * 256)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_come_back_as_written() {
        let address: SocketAddr = "127.0.0.1:8301".parse().unwrap();
        let lines = [
            SnapshotLine::Alive { name: "a b".into(), address },
            SnapshotLine::Alive { name: "c".into(), address: "[::1]:8301".parse().unwrap() },
            SnapshotLine::NotAlive { name: "c".into() },
            SnapshotLine::Clock(7),
            SnapshotLine::EventClock(8),
            SnapshotLine::QueryClock(9),
        ];
        let text: String = lines.iter().map(|line| format!("{line}\n")).collect();
        let want = Snapshot {
            alive: [("a b".to_owned(), address)].into(),
            clock: 7,
            event_clock: 8,
            query_clock: 9,
        };
        assert_eq!(Snapshot::parse(&text, false), want);
        let left = format!("{text}{}\n", SnapshotLine::Leave);
        assert_eq!(Snapshot::parse(&left, true), want);
        assert_eq!(Snapshot::parse(&left, false), Snapshot::default());
    }

    #[test]
    fn other_lines_are_passed_over() {
        let text = "# comment\ncoordinate: {}\nalive: a\nalive: a nowhere\nclock: x\n: \n\0\nalive";
        assert_eq!(Snapshot::parse(text, false), Snapshot::default());
    }
}
