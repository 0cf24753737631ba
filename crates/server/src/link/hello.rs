//! The greeting on every connection: who speaks, for which cluster, and whom it wants to reach.
//! What does not fit is refused with a reason that names both sides.

use std::io;
use std::sync::Arc;

use bytes::BytesMut;
use replica::Position;
use serde::{Deserialize, Serialize};
use tokio::io::AsyncWriteExt;
use tokio::time::timeout;

use super::frame::{self, kind};
use super::{DIAL_TIMEOUT, HELLO_TIMEOUT, Stream};
use crate::shared::Shared;

/// Raised when servers of earlier releases could not understand this one.
const PROTOCOL_VERSION: u32 = 1;
/// Raised when earlier releases could not read the entries and snapshots of this one.
const DATA_FORMAT_VERSION: u32 = 1;
/// Longest greeting. Unit: bytes.
const HELLO_BYTES_MAX: usize = 16 * 1024;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Lane {
    Log,
    Request,
    Snapshot,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Hello {
    pub(super) lane: Lane,
    pub(super) protocol: u32,
    pub(super) data_format: u32,
    pub(super) datacenter: String,
    /// 0 for a server that belongs to none.
    pub(super) cluster_id: u64,
    pub(super) consensus_id: u64,
    /// Whom the sender wants to reach, or has been reached by.
    pub(super) to: u64,
    pub(super) node_id: String,
    pub(super) name: String,
    pub(super) position: Position,
}

impl Hello {
    fn of(shared: &Shared, lane: Lane, to: u64) -> Self {
        let member = shared.config.member.clone().unwrap_or_default();
        Self {
            lane,
            protocol: PROTOCOL_VERSION,
            data_format: DATA_FORMAT_VERSION,
            datacenter: shared.config.datacenter.clone(),
            cluster_id: shared.membership.load().cluster_id,
            consensus_id: shared.id,
            to,
            node_id: member.id,
            name: member.name,
            position: *shared.position.lock(),
        }
    }

    /// Why servers that say this to each other have nothing in common.
    fn fault(&self, own: &Self) -> Option<String> {
        let whose = |hello: &Self| format!("server {:?} ({:016x})", hello.name, hello.consensus_id);
        let (them, us) = (whose(self), whose(own));
        if self.protocol != own.protocol {
            let (theirs, ours) = (self.protocol, own.protocol);
            return Some(format!("{them} speaks protocol {theirs}, {us} speaks {ours}"));
        }
        if self.data_format != own.data_format {
            let (theirs, ours) = (self.data_format, own.data_format);
            return Some(format!("{them} writes data of version {theirs}, {us} reads {ours}"));
        }
        if self.datacenter != own.datacenter {
            let (theirs, ours) = (&self.datacenter, &own.datacenter);
            return Some(format!("{them} is of datacenter {theirs:?}, {us} of {ours:?}"));
        }
        if self.consensus_id == own.consensus_id {
            return Some(format!(
                "{them} and {us} have the same consensus id: was a data directory copied?"
            ));
        }
        if self.to != own.consensus_id {
            return Some(format!("{them} wants to reach server {:016x}, this is {us}", self.to));
        }
        if self.cluster_id != own.cluster_id && self.cluster_id != 0 && own.cluster_id != 0 {
            let (theirs, ours) = (self.cluster_id, own.cluster_id);
            return Some(format!("{them} is of cluster {theirs:016x}, {us} of {ours:016x}"));
        }
        None
    }
}

/// Opens a lane to server `to`.
pub(super) async fn connect(
    shared: &Arc<Shared>,
    address: &str,
    to: u64,
    lane: Lane,
) -> io::Result<Stream> {
    let Some(dial) = &shared.config.dial else { return Err(io::ErrorKind::Unsupported.into()) };
    let late = |_| io::Error::from(io::ErrorKind::TimedOut);
    let mut stream = timeout(DIAL_TIMEOUT, dial.dial(address)).await.map_err(late)??;
    let own = Hello::of(shared, lane, to);
    let greeting = async {
        write(&mut stream, &own).await?;
        let frame = frame::read(&mut stream, HELLO_BYTES_MAX).await?;
        let frame = frame.ok_or(io::ErrorKind::UnexpectedEof)?;
        if frame.kind == kind::REFUSED {
            let reason = String::from_utf8_lossy(&frame.body).into_owned();
            return Err(io::Error::new(io::ErrorKind::ConnectionRefused, reason));
        }
        let theirs = decode(&frame)?;
        match theirs.fault(&own) {
            Some(reason) => Err(io::Error::new(io::ErrorKind::ConnectionRefused, reason)),
            None => Ok(()),
        }
    };
    timeout(HELLO_TIMEOUT, greeting).await.map_err(late)??;
    Ok(stream)
}

/// Takes a greeting in and answers it.
pub(super) async fn accept(shared: &Shared, stream: &mut Stream) -> io::Result<Hello> {
    let greeting = async {
        let frame = frame::read(stream, HELLO_BYTES_MAX).await?;
        let theirs = decode(&frame.ok_or(io::ErrorKind::UnexpectedEof)?)?;
        let own = Hello::of(shared, theirs.lane, theirs.consensus_id);
        if let Some(reason) = theirs.fault(&own) {
            let mut out = BytesMut::new();
            frame::put(&mut out, kind::REFUSED, reason.as_bytes());
            stream.write_all(&out).await?;
            stream.flush().await?;
            return Err(io::Error::new(io::ErrorKind::ConnectionRefused, reason));
        }
        write(stream, &own).await?;
        Ok(theirs)
    };
    let late = |_| io::Error::from(io::ErrorKind::TimedOut);
    timeout(HELLO_TIMEOUT, greeting).await.map_err(late)?
}

async fn write(stream: &mut Stream, hello: &Hello) -> io::Result<()> {
    let body = rmp_serde::to_vec_named(hello).map_err(io::Error::other)?;
    let mut out = BytesMut::new();
    frame::put(&mut out, kind::HELLO, &body);
    stream.write_all(&out).await?;
    stream.flush().await
}

fn decode(frame: &frame::Frame) -> io::Result<Hello> {
    if frame.kind != kind::HELLO {
        return Err(io::Error::other("no greeting"));
    }
    rmp_serde::from_slice(&frame.body).map_err(io::Error::other)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_does_not_fit_is_refused_by_name() {
        let hello = |consensus_id, to| Hello {
            lane: Lane::Log,
            protocol: 1,
            data_format: 1,
            datacenter: "dc1".into(),
            cluster_id: 5,
            consensus_id,
            to,
            node_id: String::new(),
            name: format!("s{consensus_id}"),
            position: Position::default(),
        };
        let own = hello(2, 1);
        let check = |change: fn(&mut Hello), expected: Option<&str>| {
            let mut theirs = hello(1, 2);
            change(&mut theirs);
            match (theirs.fault(&own), expected) {
                (None, None) => {}
                (Some(found), Some(expected)) => {
                    assert!(found.contains(expected) && found.contains("\"s2\""), "{found}");
                }
                (found, expected) => panic!("{found:?} for {expected:?}"),
            }
        };
        check(|_| (), None);
        check(|h| h.cluster_id = 0, None);
        check(|h| h.cluster_id = 6, Some("of cluster 0000000000000006"));
        check(|h| h.protocol = 2, Some("speaks protocol 2"));
        check(|h| h.data_format = 2, Some("data of version 2"));
        check(|h| h.datacenter = "dc2".into(), Some("datacenter \"dc2\""));
        check(|h| h.consensus_id = 2, Some("same consensus id"));
        check(|h| h.to = 3, Some("wants to reach server 0000000000000003"));
    }
}
