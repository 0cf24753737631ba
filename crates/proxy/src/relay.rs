//! Copies one connection: plain bytes of the application on one side, TLS records of the peer on the other.
//!
//! Both directions run in the one task that owns both sockets. A read goes straight into the slots of records, which
//! are sealed where they lie and written in one call; what comes back is opened in the read buffer and written from
//! there. Neither direction allocates, and neither reads more before the last read is written, so a slow reader
//! slows its sender and nothing piles up here.
//!
//! Ends are passed on as they come. A FIN becomes `close_notify` and FIN and the other way round, each direction on
//! its own. A reset becomes a reset. A peer that ends without `close_notify` may have been cut off by somebody else
//! (RFC 8446 section 6.1), so the application sees a reset and not an end it could take for the whole.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::io::{self, IoSlice, IoSliceMut};
use std::ops::Range;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, Interest, ReadBuf};
use tokio::net::TcpStream;
use tokio::net::tcp::{ReadHalf, WriteHalf};

use crate::buffers::{Buffer, Pool, RECORDS_PER_ROUND, SMALL_BYTES};
use crate::control::{Control, Cut};
use crate::handshake::{Kernel, Session};
use crate::metrics::Traffic;
use crate::record::{
    CONTENT_BYTES_MAX, ContentType, HEADER_BYTES, Opened, Opener, PREFIX_BYTES_MAX, RecordError,
    SUFFIX_BYTES_MAX, Sealer,
};
use crate::tls::Era;

/// A round of full TLS 1.3 records: where a large read ends, so that a bulk sender's records end there too and no
/// part of the next one has to be moved. Unit: bytes.
const ROUND_BYTES: usize =
    RECORDS_PER_ROUND * (HEADER_BYTES + CONTENT_BYTES_MAX + SUFFIX_BYTES_MAX);
/// Opened records written to the application in one call.
const SLICES_MAX: usize = 16;
/// Records at most this long are moved together, which is cheaper than a slice each. Unit: bytes.
const JOINED_BYTES_MAX: usize = 1024;
/// Records in a row that carry nothing for the application before the peer is taken for hostile.
const IDLE_RECORDS_MAX: u32 = 64;
/// Longest handshake message after the handshake; a ticket holds our own certificate chain. Unit: bytes.
const MESSAGE_BYTES_MAX: usize = 32 * 1024;

const ALERT_CLOSE_NOTIFY: u8 = 0;
const ALERT_USER_CANCELED: u8 = 90;
pub(crate) const ALERT_FATAL: u8 = 2;
pub(crate) const ALERT_ACCESS_DENIED: u8 = 49;
const MESSAGE_NEW_SESSION_TICKET: u8 = 4;
const MESSAGE_KEY_UPDATE: u8 = 24;

/// How a connection ended.
#[derive(Debug)]
pub(crate) enum Ending {
    /// Both sides said they were done.
    Clean,
    /// The application's socket failed, most often by a reset.
    App(io::Error),
    /// The peer's socket failed, most often by a reset.
    Peer(io::Error),
    /// The peer's stream ended without `close_notify`.
    Truncated,
    /// The peer sent a fatal alert.
    Alert(u8),
    /// The peer broke the protocol.
    Protocol(RecordError),
    Cut(Cut),
}

/// Which direction a byte goes.
#[derive(Clone, Copy)]
enum Way {
    ToPeer,
    ToApp,
}

impl Way {
    fn read_error(self, error: io::Error) -> Ending {
        match self {
            Self::ToPeer => Ending::App(error),
            Self::ToApp => Ending::Peer(error),
        }
    }

    fn write_error(self, error: io::Error) -> Ending {
        match self {
            Self::ToPeer => Ending::Peer(error),
            Self::ToApp => Ending::App(error),
        }
    }
}

/// What both directions of a connection share.
struct Link<'a> {
    pool: &'a Rc<Pool>,
    traffic: &'a Traffic,
    sealer: RefCell<Sealer>,
    kernel: RefCell<Kernel>,
    era: Option<Era>,
    /// Which directions have ended well.
    is_to_peer_done: Cell<bool>,
    is_to_app_done: Cell<bool>,
    /// The peer updated its key and wants ours updated before we send on, RFC 8446 section 4.6.3.
    is_update_owed: Cell<bool>,
    is_close_sent: Cell<bool>,
    /// Session tickets not sent yet: sealed before anything else, so they must go before anything else.
    tickets: RefCell<Vec<u8>>,
    /// Part of a record may have been written, so that nothing else can be.
    is_mid_record: Cell<bool>,
}

/// Copies until both directions have ended or one of them fails; then both sockets can be dropped.
///
/// Shape: bytes are counted in `traffic` as they pass. After a failure both sockets are set to reset on close, so
/// that neither side takes it for a proper end.
pub(crate) async fn relay(
    app: &mut TcpStream,
    peer: &mut TcpStream,
    session: Session,
    pool: &Rc<Pool>,
    traffic: &Traffic,
    control: &Control,
) -> Ending {
    let Session { sealer, opener, kernel, incoming, era, outgoing } = session;
    let link = Link {
        pool,
        traffic,
        sealer: RefCell::new(sealer),
        kernel: RefCell::new(kernel),
        era,
        is_to_peer_done: Cell::new(false),
        is_to_app_done: Cell::new(false),
        is_update_owed: Cell::new(false),
        is_close_sent: Cell::new(false),
        tickets: RefCell::new(outgoing),
        is_mid_record: Cell::new(false),
    };
    let ending = both(app, peer, &link, opener, incoming, control).await;
    if !matches!(ending, Ending::Clean) {
        match &ending {
            Ending::Protocol(error) => link.send_alert(peer, error.alert()),
            Ending::Cut(Cut::Denied) => link.send_alert(peer, ALERT_ACCESS_DENIED),
            // The other direction may have ended well; this one did not, and must not look as if it had.
            _ => reset_on_close(peer),
        }
        reset_on_close(app);
    }
    ending
}

/// Makes the kernel send RST instead of FIN when the socket is dropped.
pub(crate) fn reset_on_close(socket: &TcpStream) {
    // Fails only on a socket that is gone already.
    let _ = socket.set_zero_linger();
}

async fn both(
    app: &mut TcpStream,
    peer: &mut TcpStream,
    link: &Link<'_>,
    opener: Opener,
    incoming: Vec<u8>,
    control: &Control,
) -> Ending {
    let (mut app_read, app_write) = app.split();
    let (mut peer_read, peer_write) = peer.split();
    let mut to_peer = pin!(async {
        match link.to_peer(&mut app_read, peer_write).await {
            Ok(()) => ended(&link.is_to_peer_done, &app_read, Way::ToPeer).await,
            Err(ending) => ending,
        }
    });
    let mut to_app = pin!(async {
        match link.to_app(&mut peer_read, app_write, opener, incoming).await {
            Ok(()) => ended(&link.is_to_app_done, &peer_read, Way::ToApp).await,
            Err(ending) => ending,
        }
    });
    poll_fn(|cx| {
        if let Poll::Ready(reason) = control.poll_cut(cx) {
            return Poll::Ready(Ending::Cut(reason));
        }
        // Both run until they fail: one that has ended well stays to notice a reset.
        if let Poll::Ready(ending) = to_app.as_mut().poll(cx) {
            return Poll::Ready(ending);
        }
        if let Poll::Ready(ending) = to_peer.as_mut().poll(cx) {
            return Poll::Ready(ending);
        }
        let is_done = link.is_to_peer_done.get() && link.is_to_app_done.get();
        if is_done { Poll::Ready(Ending::Clean) } else { Poll::Pending }
    })
    .await
}

/// Marks a direction as ended and waits for its source to fail, which it may while the other direction goes on.
async fn ended(done: &Cell<bool>, source: &ReadHalf<'_>, way: Way) -> Ending {
    done.set(true);
    way.read_error(reset(source).await)
}

/// Waits until a socket is in error, and takes the error.
async fn reset(socket: &ReadHalf<'_>) -> io::Error {
    match socket.ready(Interest::ERROR).await {
        Err(error) => error,
        Ok(_) => match socket.as_ref().take_error() {
            Ok(Some(error)) | Err(error) => error,
            Ok(None) => io::ErrorKind::ConnectionReset.into(),
        },
    }
}

impl Link<'_> {
    /// Seals what the application sends until it ends its side.
    async fn to_peer(&self, app: &mut ReadHalf<'_>, mut peer: WriteHalf<'_>) -> Result<(), Ending> {
        const WAY: Way = Way::ToPeer;
        let layout = Layout::of(&self.sealer.borrow());
        let mut is_bulk = false;
        loop {
            let (mut buffer, content_bytes) =
                poll_fn(|cx| poll_read_slots(app, cx, self.pool, layout, is_bulk))
                    .await
                    .map_err(|error| WAY.read_error(error))?;
            is_bulk = content_bytes >= CONTENT_BYTES_MAX;
            self.is_mid_record.set(true);
            let tickets = self.tickets.take();
            if !tickets.is_empty() {
                peer.write_all(&tickets).await.map_err(|error| WAY.write_error(error))?;
            }
            let is_tls13 = self.sealer.borrow().is_tls13();
            let needs_update = self.sealer.borrow().needs_update(RECORDS_PER_ROUND as u64 + 1);
            if is_tls13 && (self.is_update_owed.get() || needs_update) {
                self.update_key(&mut peer).await?;
            }
            if content_bytes == 0 {
                drop(buffer);
                return self.close(&mut peer).await;
            }
            self.traffic.add_to_peer(content_bytes);
            let sealed_bytes = layout
                .seal(&mut self.sealer.borrow_mut(), &mut buffer, content_bytes)
                .map_err(Ending::Protocol)?;
            write_buffer(&mut peer, app, buffer, 0..sealed_bytes, WAY).await?;
            self.is_mid_record.set(false);
        }
    }

    /// Announces a new key and turns to it.
    async fn update_key(&self, peer: &mut WriteHalf<'_>) -> Result<(), Ending> {
        // key_update, length 1, update_not_requested
        let record = self.control_record(ContentType::Handshake, &[MESSAGE_KEY_UPDATE, 0, 0, 1, 0]);
        let record = record.map_err(Ending::Protocol)?;
        peer.write_all(record.bytes()).await.map_err(Ending::Peer)?;
        let records_max = self.sealer.borrow().records_max();
        let updated = self.kernel.borrow_mut().update_sealer(records_max);
        *self.sealer.borrow_mut() = updated.map_err(Ending::Protocol)?;
        self.is_update_owed.set(false);
        Ok(())
    }

    /// Tells the peer that nothing more will come.
    async fn close(&self, peer: &mut WriteHalf<'_>) -> Result<(), Ending> {
        let record = self.control_record(ContentType::Alert, &[1, ALERT_CLOSE_NOTIFY]);
        let record = record.map_err(Ending::Protocol)?;
        self.is_close_sent.set(true);
        peer.write_all(record.bytes()).await.map_err(Ending::Peer)?;
        shutdown(peer).await.map_err(Ending::Peer)
    }

    /// Sends a fatal alert, as far as the socket takes it at once, instead of a reset.
    fn send_alert(&self, peer: &TcpStream, alert: u8) {
        if self.is_close_sent.get() || self.is_mid_record.get() {
            return reset_on_close(peer);
        }
        let mut bytes = self.tickets.take();
        if let Ok(record) = self.control_record(ContentType::Alert, &[ALERT_FATAL, alert]) {
            bytes.extend_from_slice(record.bytes());
            // An alert is a courtesy: a peer that does not take it is not waited for.
            let _ = peer.try_write(&bytes);
        }
    }

    fn control_record(
        &self,
        content_type: ContentType,
        content: &[u8],
    ) -> Result<ControlRecord, RecordError> {
        ControlRecord::seal(&mut self.sealer.borrow_mut(), content_type, content)
    }

    /// Opens what the peer sends until it ends its side.
    async fn to_app(
        &self,
        peer: &mut ReadHalf<'_>,
        mut app: WriteHalf<'_>,
        mut opener: Opener,
        incoming: Vec<u8>,
    ) -> Result<(), Ending> {
        const WAY: Way = Way::ToApp;
        let mut messages = Messages::default();
        let mut window = Window::new(self.pool, &incoming);
        drop(incoming);
        loop {
            let opened = self.open_records(&mut opener, &mut window, &mut messages)?;
            let Round { slices, is_closed } = opened;
            if !slices.is_empty() {
                let bytes = slices.bytes();
                let buffer = window.buffer.as_ref().expect("slices lie in a buffer");
                write_slices(&mut app, peer, buffer, slices, WAY).await?;
                self.traffic.add_to_app(bytes);
            }
            if is_closed {
                return shutdown(&mut app).await.map_err(|error| WAY.write_error(error));
            }
            if window.has_whole_record(&opener).map_err(Ending::Protocol)? {
                continue;
            }
            window.make_room(self.pool, &opener).map_err(Ending::Protocol)?;
            let read = poll_fn(|cx| window.poll_read(peer, cx, self.pool)).await;
            if read.map_err(|error| WAY.read_error(error))? == 0 {
                return Err(Ending::Truncated);
            }
        }
    }

    /// Opens the whole records of the window, as many as one write takes.
    fn open_records(
        &self,
        opener: &mut Opener,
        window: &mut Window,
        messages: &mut Messages,
    ) -> Result<Round, Ending> {
        let mut round = Round { slices: Slices::default(), is_closed: false };
        let Some(buffer) = &mut window.buffer else { return Ok(round) };
        while !round.slices.is_full() {
            let at = window.start;
            let opened = opener.open(&mut buffer[at..window.end]).map_err(Ending::Protocol)?;
            let Some(Opened { content_type, content, record_bytes }) = opened else { break };
            window.start += record_bytes;
            let content = at + content.start..at + content.end;
            if content_type == ContentType::ApplicationData && !content.is_empty() {
                messages.idle_records = 0;
                if messages.is_partial() {
                    return Err(Ending::Protocol(RecordError::Unexpected));
                }
                round.slices.push(buffer, content);
                continue;
            }
            messages.idle_records += 1;
            if messages.idle_records > IDLE_RECORDS_MAX {
                return Err(Ending::Protocol(RecordError::Unexpected));
            }
            match content_type {
                ContentType::ApplicationData => {}
                ContentType::Alert => match buffer[content] {
                    [_, ALERT_CLOSE_NOTIFY] => {
                        round.is_closed = true;
                        break;
                    }
                    [_, ALERT_USER_CANCELED] => {}
                    [_, alert] => return Err(Ending::Alert(alert)),
                    _ => return Err(Ending::Protocol(RecordError::Unexpected)),
                },
                ContentType::Handshake => {
                    self.take_messages(opener, messages, &buffer[content])
                        .map_err(Ending::Protocol)?;
                }
                // Allowed only before the handshake is over, RFC 8446 section 5.
                ContentType::ChangeCipherSpec => {
                    return Err(Ending::Protocol(RecordError::Unexpected));
                }
            }
        }
        Ok(round)
    }

    /// Handshake messages of an established session: tickets and key updates.
    fn take_messages(
        &self,
        opener: &mut Opener,
        messages: &mut Messages,
        content: &[u8],
    ) -> Result<(), RecordError> {
        // TLS 1.2 knows none but renegotiation, which is refused.
        if !self.sealer.borrow().is_tls13() {
            return Err(RecordError::Unexpected);
        }
        messages.bytes.extend_from_slice(content);
        while let Some((kind, payload)) = messages.next()? {
            match (kind, payload.as_slice()) {
                (MESSAGE_NEW_SESSION_TICKET, ticket) => {
                    if self.era.as_ref().is_none_or(Era::is_current) {
                        self.kernel.borrow_mut().take_ticket(ticket)?;
                    }
                }
                (MESSAGE_KEY_UPDATE, [request @ (0 | 1)]) => {
                    // The key changes with the next record, so this one must end here.
                    if messages.is_partial() {
                        return Err(RecordError::Unexpected);
                    }
                    *opener = self.kernel.borrow_mut().update_opener()?;
                    if *request == 1 {
                        self.is_update_owed.set(true);
                    }
                }
                _ => return Err(RecordError::Unexpected),
            }
        }
        Ok(())
    }
}

/// What one pass over the read buffer yielded.
struct Round {
    slices: Slices,
    is_closed: bool,
}

/// Handshake messages that are not whole yet.
#[derive(Default)]
struct Messages {
    bytes: Vec<u8>,
    idle_records: u32,
}

impl Messages {
    fn is_partial(&self) -> bool {
        !self.bytes.is_empty()
    }

    /// Takes out the first message if it is all there.
    fn next(&mut self) -> Result<Option<(u8, Vec<u8>)>, RecordError> {
        let Some([kind, length @ ..]) = self.bytes.first_chunk::<4>() else { return Ok(None) };
        let kind = *kind;
        let end = 4
            + usize::from(length[0]) * 65_536
            + usize::from(length[1]) * 256
            + usize::from(length[2]);
        if end > MESSAGE_BYTES_MAX {
            return Err(RecordError::TooLong);
        }
        if self.bytes.len() < end {
            return Ok(None);
        }
        let payload = self.bytes[4..end].to_vec();
        self.bytes.drain(..end);
        if self.bytes.is_empty() {
            // Tickets come once in a connection's life: their room is not kept.
            self.bytes = Vec::new();
        }
        Ok(Some((kind, payload)))
    }
}

/// Where records and their contents lie in a buffer that is read into.
#[derive(Clone, Copy)]
struct Layout {
    prefix_bytes: usize,
    suffix_bytes: usize,
}

impl Layout {
    const fn of(sealer: &Sealer) -> Self {
        Self { prefix_bytes: sealer.prefix_bytes(), suffix_bytes: sealer.suffix_bytes() }
    }

    const fn slot_bytes(self) -> usize {
        self.prefix_bytes + CONTENT_BYTES_MAX + self.suffix_bytes
    }

    /// Seals `content_bytes` that fill the slots of `buffer` one after the other; returns the length of the records,
    /// which lie back to back.
    fn seal(
        self,
        sealer: &mut Sealer,
        buffer: &mut Buffer,
        content_bytes: usize,
    ) -> Result<usize, RecordError> {
        let mut left = content_bytes;
        let mut sealed = 0;
        for slot in buffer.chunks_mut(self.slot_bytes()) {
            if left == 0 {
                break;
            }
            let content = left.min(CONTENT_BYTES_MAX);
            sealed += sealer.seal(ContentType::ApplicationData, slot, content)?;
            left -= content;
        }
        Ok(sealed)
    }
}

/// Reads into the content of the first slot, or of all when the last read filled the first.
///
/// No buffer is held while there is nothing to read. The plain read of one slot also tells the runtime that the
/// socket is drained when it comes back short, which a vectored one does not.
fn poll_read_slots(
    app: &mut ReadHalf<'_>,
    cx: &mut Context<'_>,
    pool: &Rc<Pool>,
    layout: Layout,
    is_bulk: bool,
) -> Poll<io::Result<(Buffer, usize)>> {
    let mut buffer = pool.large();
    if !is_bulk {
        let start = layout.prefix_bytes;
        let mut content = ReadBuf::new(&mut buffer[start..start + CONTENT_BYTES_MAX]);
        ready!(Pin::new(app).poll_read(cx, &mut content))?;
        let read = content.filled().len();
        return Poll::Ready(Ok((buffer, read)));
    }
    loop {
        let mut slots = buffer.chunks_exact_mut(layout.slot_bytes());
        let mut contents: [IoSliceMut<'_>; RECORDS_PER_ROUND] = std::array::from_fn(|_| {
            let slot = slots.next().expect("a large buffer has room for a round");
            IoSliceMut::new(&mut slot[layout.prefix_bytes..][..CONTENT_BYTES_MAX])
        });
        match app.try_read_vectored(&mut contents) {
            Ok(read) => return Poll::Ready(Ok((buffer, read))),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                ready!(app.as_ref().poll_read_ready(cx))?;
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Poll::Ready(Err(error)),
        }
    }
}

/// The part of a read buffer that holds records not opened yet.
struct Window {
    buffer: Option<Buffer>,
    start: usize,
    end: usize,
    /// The last read brought so much that the next one gets a large buffer.
    is_bulk: bool,
}

impl Window {
    /// Starts with what came in behind the handshake.
    fn new(pool: &Rc<Pool>, incoming: &[u8]) -> Self {
        if incoming.is_empty() {
            return Self { buffer: None, start: 0, end: 0, is_bulk: false };
        }
        let mut buffer = pool.large();
        buffer[..incoming.len()].copy_from_slice(incoming);
        Self { buffer: Some(buffer), start: 0, end: incoming.len(), is_bulk: false }
    }

    fn has_whole_record(&self, opener: &Opener) -> Result<bool, RecordError> {
        let Some(buffer) = &self.buffer else { return Ok(false) };
        let bytes = &buffer[self.start..self.end];
        Ok(opener.record_bytes(bytes)?.is_some_and(|record| record <= bytes.len()))
    }

    /// Moves the rest to the front of a buffer that has room for the record it starts; none is held for no rest.
    fn make_room(&mut self, pool: &Rc<Pool>, opener: &Opener) -> Result<(), RecordError> {
        let Some(mut buffer) = self.buffer.take() else { return Ok(()) };
        let rest = self.start..self.end;
        (self.start, self.end) = (0, rest.len());
        if rest.is_empty() {
            return Ok(());
        }
        let wanted = opener.record_bytes(&buffer[rest.clone()])?.unwrap_or(0);
        self.buffer = Some(if wanted > buffer.len() {
            let mut larger = pool.large();
            larger[..rest.len()].copy_from_slice(&buffer[rest]);
            larger
        } else {
            buffer.copy_within(rest, 0);
            buffer
        });
        Ok(())
    }

    /// Reads behind the rest. While there is nothing to read, no more than a rest is held.
    fn poll_read(
        &mut self,
        peer: &mut ReadHalf<'_>,
        cx: &mut Context<'_>,
        pool: &Rc<Pool>,
    ) -> Poll<io::Result<usize>> {
        let fresh = || if self.is_bulk { pool.large() } else { pool.small() };
        let mut buffer = self.buffer.take().unwrap_or_else(fresh);
        let end = if buffer.is_large() { ROUND_BYTES } else { SMALL_BYTES };
        let mut room = ReadBuf::new(&mut buffer[self.end..end]);
        let polled = Pin::new(peer).poll_read(cx, &mut room);
        let read = room.filled().len();
        self.end += read;
        if polled.is_pending() && self.end == 0 {
            return Poll::Pending;
        }
        self.buffer = Some(buffer);
        ready!(polled)?;
        self.is_bulk = read >= SMALL_BYTES;
        Poll::Ready(Ok(read))
    }
}

/// Parts of a buffer to be written in order.
#[derive(Default)]
struct Slices {
    ranges: [Range<u32>; SLICES_MAX],
    count: usize,
}

impl Slices {
    fn is_empty(&self) -> bool {
        self.count == 0
    }

    fn is_full(&self) -> bool {
        self.count == SLICES_MAX
    }

    fn bytes(&self) -> usize {
        self.ranges[..self.count].iter().map(|range| range.len()).sum()
    }

    /// Adds a part; a short one is moved up to the end of the one before it.
    fn push(&mut self, buffer: &mut Buffer, content: Range<usize>) {
        let bytes = content.len();
        if bytes <= JOINED_BYTES_MAX
            && let Some(last) = self.ranges[..self.count].last_mut()
        {
            let end = last.end as usize;
            buffer.copy_within(content, end);
            last.end = narrow(end + bytes);
            return;
        }
        self.ranges[self.count] = narrow(content.start)..narrow(content.end);
        self.count += 1;
    }

    /// Drops what was written.
    fn advance(&mut self, mut written: usize) {
        let mut done = 0;
        for range in &mut self.ranges[..self.count] {
            let step = written.min(range.len());
            range.start += narrow(step);
            written -= step;
            if range.start < range.end {
                break;
            }
            done += 1;
        }
        self.ranges[..self.count].rotate_left(done);
        self.count -= done;
    }
}

fn narrow(offset: usize) -> u32 {
    u32::try_from(offset).expect("buffers are far below 4 GB")
}

/// Writes the contents of opened records. They stay in their buffer, with the records behind them.
async fn write_slices(
    app: &mut WriteHalf<'_>,
    source: &ReadHalf<'_>,
    buffer: &Buffer,
    mut slices: Slices,
    way: Way,
) -> Result<(), Ending> {
    while !slices.is_empty() {
        let write = poll_fn(|cx| {
            if let [range] = &slices.ranges[..slices.count] {
                let bytes = &buffer[range.start as usize..range.end as usize];
                return Pin::new(&mut *app).poll_write(cx, bytes);
            }
            let parts: [IoSlice<'_>; SLICES_MAX] = std::array::from_fn(|at| {
                let range = &slices.ranges[at];
                let is_used = at < slices.count;
                let bytes =
                    if is_used { &buffer[range.start as usize..range.end as usize] } else { &[] };
                IoSlice::new(bytes)
            });
            Pin::new(&mut *app).poll_write_vectored(cx, &parts[..slices.count])
        });
        let written = unless_reset(write, source, way).await?;
        slices.advance(written);
    }
    Ok(())
}

/// Writes sealed records. If little is left of them when the socket is full, that moves to a small buffer.
async fn write_buffer(
    peer: &mut WriteHalf<'_>,
    source: &ReadHalf<'_>,
    buffer: Buffer,
    range: Range<usize>,
    way: Way,
) -> Result<(), Ending> {
    let (mut buffer, mut range) = (Some(buffer), range);
    while !range.is_empty() {
        let write = poll_fn(|cx| {
            let held = buffer.as_ref().expect("is put back after every move");
            let polled = Pin::new(&mut *peer).poll_write(cx, &held[range.clone()]);
            if polled.is_pending() && held.is_large() && range.len() <= SMALL_BYTES {
                buffer = buffer.take().map(|large| large.moved(range.clone()));
                range = 0..range.len();
            }
            polled
        });
        let written = unless_reset(write, source, way).await?;
        range.start += written;
    }
    Ok(())
}

/// Completes a write, or fails as soon as the socket that fed it is reset: while the reader is slow nobody reads
/// from the sender, and its reset would go unnoticed.
async fn unless_reset(
    write: impl Future<Output = io::Result<usize>>,
    source: &ReadHalf<'_>,
    way: Way,
) -> Result<usize, Ending> {
    let mut write = pin!(write);
    // Most writes complete at once; only a stalled one watches its source.
    let first = poll_fn(|cx| Poll::Ready(write.as_mut().poll(cx))).await;
    let written = match first {
        Poll::Ready(written) => written,
        Poll::Pending => {
            tokio::select! {
                biased;
                written = &mut write => written,
                // Dropping the write loses nothing: the connection ends here.
                error = reset(source) => return Err(way.read_error(error)),
            }
        }
    };
    match written {
        Ok(0) => Err(way.write_error(io::ErrorKind::WriteZero.into())),
        Ok(written) => Ok(written),
        Err(error) => Err(way.write_error(error)),
    }
}

/// Sends FIN. A socket that the other side already took down is as good as ended.
async fn shutdown(half: &mut WriteHalf<'_>) -> io::Result<()> {
    match half.shutdown().await {
        Err(error) if error.kind() == io::ErrorKind::NotConnected => Ok(()),
        other => other,
    }
}

/// A sealed record that carries an alert or a short message.
pub(crate) struct ControlRecord {
    bytes: [u8; PREFIX_BYTES_MAX + CONTROL_BYTES_MAX + SUFFIX_BYTES_MAX],
    length: usize,
}

/// Unit: bytes.
const CONTROL_BYTES_MAX: usize = 8;

impl ControlRecord {
    pub(crate) fn seal(
        sealer: &mut Sealer,
        content_type: ContentType,
        content: &[u8],
    ) -> Result<Self, RecordError> {
        let mut bytes = [0; PREFIX_BYTES_MAX + CONTROL_BYTES_MAX + SUFFIX_BYTES_MAX];
        bytes[sealer.prefix_bytes()..][..content.len()].copy_from_slice(content);
        let length = sealer.seal(content_type, &mut bytes, content.len())?;
        Ok(Self { bytes, length })
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        &self.bytes[..self.length]
    }
}

#[cfg(test)]
mod tests;
