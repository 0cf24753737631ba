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

mod messages;
mod slots;
mod window;
mod write;

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::io;
use std::pin::pin;
use std::rc::Rc;
use std::task::Poll;

use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::net::tcp::{ReadHalf, WriteHalf};

use crate::alert::{
    ALERT_ACCESS_DENIED, ALERT_CLOSE_NOTIFY, ALERT_FATAL, ALERT_USER_CANCELED, ControlRecord,
};
use crate::buffers::{Pool, RECORDS_PER_ROUND};
use crate::control::{Control, Cut};
use crate::handshake::{Kernel, Session};
use crate::metrics::Traffic;
use crate::record::{CONTENT_BYTES_MAX, ContentType, Opened, Opener, RecordError, Sealer};
use crate::tls::Era;
use messages::{MESSAGE_KEY_UPDATE, MESSAGE_NEW_SESSION_TICKET, Messages};
use slots::{Layout, poll_read_slots};
use window::Window;
use write::{Slices, reset, shutdown, write_buffer, write_slices};

/// Records in a row that carry nothing for the application before the peer is taken for hostile.
const IDLE_RECORDS_MAX: u32 = 64;

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

#[cfg(test)]
mod tests;
