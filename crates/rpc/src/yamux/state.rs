//! What both ends of a session know of its streams. No sockets and no clock: frames in, frames out.
//!
//! Nothing is queued that the peer could make grow: what is owed to it is kept as a few flags and
//! counters per stream, and turned into frames when the socket takes them.

use std::collections::{HashMap, VecDeque};
use std::task::Waker;

use bytes::{Buf, BytesMut};

use super::frame::{ACK, FIN, Header, Kind, RST, SYN, Violation};

/// Credit each side has for a new stream, by the protocol.
pub(super) const WINDOW_BYTES: u32 = 256 * 1024;
/// Bytes a stream keeps until the session takes them. Enough to fill frames; writers wait beyond.
const SEND_BYTES_MAX: usize = 64 * 1024;
/// Longest data frame sent, so that streams take turns.
const FRAME_BYTES_MAX: usize = 32 * 1024;
/// Refusals kept for a peer that does not read them, before it is taken for a flood.
const RESETS_MAX: usize = 64 * 1024;
/// Pings answered at once; who sends more before reading answers gets none.
const PONGS_MAX: usize = 16;

/// Which ids an end chooses: client odd, server even.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    Client,
    Server,
}

#[derive(Debug, Default)]
struct Stream {
    received: BytesMut,
    /// What the peer may still send.
    receive_window: u32,
    /// Consumed here and not yet given back as credit.
    consumed: u32,
    to_send: BytesMut,
    send_window: u32,
    /// SYN or ACK, not sent yet.
    opening: u16,
    finishing: Half,
    peer_finished: bool,
    /// The peer has reset it, or the session is gone.
    is_broken: bool,
    is_queued: bool,
    reader: Option<Waker>,
    writer: Option<Waker>,
}

/// Our half of a stream.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Half {
    #[default]
    Open,
    /// FIN goes out after the bytes before it.
    Closing,
    Closed,
}

impl Stream {
    fn new(opening: u16) -> Self {
        Self { opening, receive_window: WINDOW_BYTES, send_window: WINDOW_BYTES, ..Self::default() }
    }

    fn wake(&mut self) {
        for waker in [self.reader.take(), self.writer.take()].into_iter().flatten() {
            waker.wake();
        }
    }
}

/// What reading or writing came to.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Progress {
    Moved(usize),
    End,
    Broken,
    Wait,
}

#[derive(Debug)]
pub(super) struct State {
    side: Side,
    streams: HashMap<u32, Stream>,
    streams_max: usize,
    next_id: u32,
    /// Streams with something to send, in turn.
    queue: VecDeque<u32>,
    /// Streams dropped here, of which the peer is still to be told.
    resets: VecDeque<u32>,
    pongs: VecDeque<u32>,
    ping: Option<u32>,
    pings_sent: u32,
    pings_answered: u32,
    is_closed: bool,
    /// The peer is still to be told that it should open no more streams.
    goes_away: bool,
    peer_leaves: bool,
    /// The task that writes, when it has nothing to do.
    sender: Option<Waker>,
}

impl State {
    pub(super) fn new(side: Side, streams_max: usize) -> Self {
        Self {
            side,
            streams: HashMap::new(),
            streams_max,
            next_id: if side == Side::Client { 1 } else { 2 },
            queue: VecDeque::new(),
            resets: VecDeque::new(),
            pongs: VecDeque::new(),
            ping: None,
            pings_sent: 0,
            pings_answered: 0,
            is_closed: false,
            goes_away: false,
            peer_leaves: false,
            sender: None,
        }
    }

    pub(super) fn is_closed(&self) -> bool {
        self.is_closed
    }

    /// Whether new streams can be opened.
    pub(super) fn is_usable(&self) -> bool {
        !self.is_closed && !self.peer_leaves && self.next_id < u32::MAX - 2
    }

    pub(super) fn stream_count(&self) -> usize {
        self.streams.len()
    }

    /// Ends everything; all who wait are told.
    pub(super) fn close(&mut self) {
        self.is_closed = true;
        for stream in self.streams.values_mut() {
            stream.is_broken = true;
            stream.wake();
        }
        self.wake_sender();
    }

    /// Tells the peer to open no more streams. Those it has, and those under way, go on.
    pub(super) fn go_away(&mut self) {
        self.goes_away = true;
        self.wake_sender();
    }

    /// Opens a stream; the peer learns of it with the next frames.
    pub(super) fn open(&mut self) -> Option<u32> {
        if !self.is_usable() || self.streams.len() >= self.streams_max {
            return None;
        }
        let id = self.next_id;
        self.next_id += 2;
        self.streams.insert(id, Stream::new(SYN));
        self.enqueue(id);
        Some(id)
    }

    /// Takes a frame without data, or the header of one with. `Some`: the peer opened that stream.
    pub(super) fn receive(&mut self, header: Header) -> Result<Option<u32>, Violation> {
        match header.kind {
            Kind::Ping if header.flags & SYN != 0 => {
                if self.pongs.len() < PONGS_MAX {
                    self.pongs.push_back(header.length);
                    self.wake_sender();
                }
                Ok(None)
            }
            Kind::Ping => {
                self.pings_answered = self.pings_answered.max(header.length.min(self.pings_sent));
                Ok(None)
            }
            Kind::GoAway => {
                self.peer_leaves = true;
                Ok(None)
            }
            Kind::Data | Kind::WindowUpdate => self.receive_for_stream(header),
        }
    }

    fn receive_for_stream(&mut self, header: Header) -> Result<Option<u32>, Violation> {
        let Header { kind, flags, stream: id, length } = header;
        let mut opened = None;
        if flags & SYN != 0 {
            let is_theirs = (id % 2 == 1) == (self.side == Side::Server) && id != 0;
            if !is_theirs || self.streams.contains_key(&id) {
                return Err(Violation::StreamId);
            }
            if self.resets.len() >= RESETS_MAX {
                return Err(Violation::Flood);
            }
            if self.streams.len() >= self.streams_max {
                self.resets.push_back(id);
                self.wake_sender();
                return Ok(None);
            }
            self.streams.insert(id, Stream::new(ACK));
            // Acknowledged at once: a peer opens no more than 256 unacknowledged streams, and a
            // reply may be minutes away.
            self.enqueue(id);
            opened = Some(id);
        }
        // Frames of streams dropped here are still under way; they are passed over.
        let Some(stream) = self.streams.get_mut(&id) else { return Ok(opened) };
        if kind == Kind::WindowUpdate {
            stream.send_window = stream.send_window.saturating_add(length);
            if !stream.to_send.is_empty() {
                self.enqueue(id);
            }
        } else if length > stream.receive_window {
            return Err(Violation::Window);
        } else {
            stream.receive_window -= length;
        }
        if flags & RST != 0 {
            let stream = self.streams.get_mut(&id).expect("looked up above");
            stream.is_broken = true;
            stream.wake();
        } else if flags & FIN != 0 && length == 0 {
            self.peer_finished(id);
        }
        Ok(opened)
    }

    fn peer_finished(&mut self, id: u32) {
        if let Some(stream) = self.streams.get_mut(&id) {
            stream.peer_finished = true;
            stream.wake();
        }
    }

    /// Takes a piece of the data of `header`; `is_last` with its last byte.
    pub(super) fn receive_data(&mut self, header: Header, data: &[u8], is_last: bool) {
        if let Some(stream) = self.streams.get_mut(&header.stream) {
            stream.received.extend_from_slice(data);
            if let Some(reader) = stream.reader.take() {
                reader.wake();
            }
        }
        if is_last && header.flags & FIN != 0 {
            self.peer_finished(header.stream);
        }
    }

    pub(super) fn read(
        &mut self,
        id: u32,
        space: usize,
        take: impl FnOnce(&[u8]),
        waker: &Waker,
    ) -> Progress {
        let Some(stream) = self.streams.get_mut(&id) else { return Progress::Broken };
        let count = space.min(stream.received.len());
        if count == 0 {
            if stream.peer_finished {
                return Progress::End;
            }
            if stream.is_broken {
                return Progress::Broken;
            }
            stream.reader = Some(waker.clone());
            return Progress::Wait;
        }
        take(&stream.received[..count]);
        stream.received.advance(count);
        if stream.received.is_empty() {
            // A reader of one large reply shall not hold its memory while it waits for the next.
            stream.received = BytesMut::new();
        }
        stream.consumed += count as u32;
        if stream.consumed >= WINDOW_BYTES / 2 && !stream.peer_finished {
            self.enqueue(id);
        }
        Progress::Moved(count)
    }

    pub(super) fn write(&mut self, id: u32, data: &[u8], waker: &Waker) -> Progress {
        let Some(stream) = self.streams.get_mut(&id) else { return Progress::Broken };
        if stream.is_broken || stream.finishing != Half::Open {
            return Progress::Broken;
        }
        let count = data.len().min(SEND_BYTES_MAX - stream.to_send.len());
        if count == 0 {
            stream.writer = Some(waker.clone());
            return Progress::Wait;
        }
        stream.to_send.extend_from_slice(&data[..count]);
        self.enqueue(id);
        Progress::Moved(count)
    }

    /// Whether everything written was handed to the socket.
    pub(super) fn flush(&mut self, id: u32, waker: &Waker) -> Progress {
        let Some(stream) = self.streams.get_mut(&id) else { return Progress::Broken };
        if stream.is_broken {
            return Progress::Broken;
        }
        if stream.to_send.is_empty() {
            return Progress::End;
        }
        stream.writer = Some(waker.clone());
        Progress::Wait
    }

    /// Ends our half after what was written.
    pub(super) fn finish(&mut self, id: u32) {
        let Some(stream) = self.streams.get_mut(&id) else { return };
        if stream.finishing == Half::Open {
            stream.finishing = Half::Closing;
            self.enqueue(id);
        }
    }

    /// Forgets a stream whose handle is gone. What was written before an end is still sent.
    pub(super) fn release(&mut self, id: u32) {
        let Some(stream) = self.streams.get_mut(&id) else { return };
        let is_done = stream.finishing == Half::Closed && stream.peer_finished;
        let was_reset = stream.is_broken;
        self.streams.remove(&id);
        if !is_done && !was_reset && !self.is_closed {
            self.resets.push_back(id);
            self.wake_sender();
        }
    }

    /// Asks the peer for a sign of life. False: the last one was not answered.
    pub(super) fn ping(&mut self) -> bool {
        if self.pings_answered < self.pings_sent {
            return false;
        }
        self.pings_sent += 1;
        self.ping = Some(self.pings_sent);
        self.wake_sender();
        true
    }

    fn enqueue(&mut self, id: u32) {
        if let Some(stream) = self.streams.get_mut(&id)
            && !stream.is_queued
        {
            stream.is_queued = true;
            self.queue.push_back(id);
        }
        self.wake_sender();
    }

    fn wake_sender(&mut self) {
        if let Some(sender) = self.sender.take() {
            sender.wake();
        }
    }

    /// Fills `out` with frames up to about `bytes_max`. None and not closed: `waker` is woken when
    /// there are some.
    pub(super) fn send(&mut self, out: &mut Vec<u8>, bytes_max: usize, waker: &Waker) {
        let session = |kind, flags, length| Header { kind, flags, stream: 0, length };
        if std::mem::take(&mut self.goes_away) {
            // 0: nothing went wrong.
            session(Kind::GoAway, 0, 0).write(out);
        }
        while let Some(number) = self.pongs.pop_front() {
            session(Kind::Ping, ACK, number).write(out);
        }
        if let Some(number) = self.ping.take() {
            session(Kind::Ping, SYN, number).write(out);
        }
        while out.len() < bytes_max
            && let Some(id) = self.resets.pop_front()
        {
            Header { kind: Kind::WindowUpdate, flags: RST, stream: id, length: 0 }.write(out);
        }
        while out.len() < bytes_max
            && let Some(id) = self.queue.pop_front()
        {
            let Some(stream) = self.streams.get_mut(&id) else { continue };
            stream.is_queued = false;
            if send_stream(id, stream, out) {
                self.enqueue(id);
            }
        }
        if out.is_empty() {
            self.sender = Some(waker.clone());
        }
    }
}

/// Writes what one stream owes; true when it has more.
fn send_stream(id: u32, stream: &mut Stream, out: &mut Vec<u8>) -> bool {
    if stream.is_broken {
        stream.to_send.clear();
        return false;
    }
    let frame = |kind, flags, length| Header { kind, flags, stream: id, length };
    if stream.opening != 0 || stream.consumed >= WINDOW_BYTES / 2 {
        let credit = if stream.consumed >= WINDOW_BYTES / 2 { stream.consumed } else { 0 };
        stream.consumed -= credit;
        stream.receive_window += credit;
        frame(Kind::WindowUpdate, std::mem::take(&mut stream.opening), credit).write(out);
    }
    let count = stream.to_send.len().min(stream.send_window as usize).min(FRAME_BYTES_MAX);
    if count > 0 {
        frame(Kind::Data, 0, count as u32).write(out);
        out.extend_from_slice(&stream.to_send[..count]);
        stream.to_send.advance(count);
        stream.send_window -= count as u32;
        if let Some(writer) = stream.writer.take() {
            writer.wake();
        }
    }
    if !stream.to_send.is_empty() {
        return stream.send_window > 0;
    }
    stream.to_send = BytesMut::new();
    if stream.finishing == Half::Closing {
        stream.finishing = Half::Closed;
        frame(Kind::WindowUpdate, FIN, 0).write(out);
    }
    false
}
