//! Drives a `rustls` handshake over a socket, then takes the connection's keys out of it.
//!
//! Nothing is kept for a client that has sent nothing yet. Records are handed to `rustls` one by one, so that what
//! follows the handshake stays undecrypted for our own record layer, and so that no byte of the application is
//! looked at before the peer has been judged.

use std::io;
use std::sync::Arc;

use bytes::BufMut;
use rustls::client::{ClientConnectionData, UnbufferedClientConnection};
use rustls::kernel::KernelConnection;
use rustls::pki_types::ServerName;
use rustls::server::{ServerConnectionData, UnbufferedServerConnection};
use rustls::unbuffered::{ConnectionState, EncodeError, EncodeTlsData, UnbufferedStatus};
use rustls::{
    ClientConfig, CommonState, ExtractedSecrets, HandshakeKind, ProtocolVersion, ServerConfig,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::record::{HEADER_BYTES, Opener, RecordError, Sealer};
use crate::tls::Era;

/// Where the buffer for incoming handshake records starts. Unit: bytes.
const INCOMING_BYTES_START: usize = 4096;
/// What a peer may send before it is known. Certificate chains are a few kilobytes; more is refused. A large buffer
/// of the relay has room for all of it. Unit: bytes.
const INCOMING_BYTES_MAX: usize = 64 * 1024;
/// Unit: bytes.
const OUTGOING_BYTES_START: usize = 4096;

/// Why a handshake failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum HandshakeError {
    #[error("connection failed during the handshake")]
    Io(#[source] io::Error),
    #[error("peer closed the connection during the handshake")]
    Closed,
    /// As health checks do.
    #[error("peer closed the connection before it said anything")]
    Silent,
    #[error("handshake refused")]
    Tls(#[source] rustls::Error),
    #[error("handshake longer than {INCOMING_BYTES_MAX} bytes")]
    TooLong,
    #[error("handshake not finished in time")]
    TimedOut,
    #[error("session keys unusable")]
    Keys(#[source] RecordError),
}

/// What stays of `rustls` after the handshake: key schedule and, for clients, the session store.
pub(crate) enum Kernel {
    Client(Box<KernelConnection<ClientConnectionData>>),
    Server(Box<KernelConnection<ServerConnectionData>>),
}

impl Kernel {
    pub(crate) fn update_sealer(&mut self, records_max: u64) -> Result<Sealer, RecordError> {
        let (version, secrets) = match self {
            Self::Client(kernel) => (kernel.protocol_version(), kernel.update_tx_secret()),
            Self::Server(kernel) => (kernel.protocol_version(), kernel.update_tx_secret()),
        };
        Sealer::new(version, &secrets.map_err(|_| RecordError::Unexpected)?, records_max)
    }

    pub(crate) fn update_opener(&mut self) -> Result<Opener, RecordError> {
        let (version, secrets) = match self {
            Self::Client(kernel) => (kernel.protocol_version(), kernel.update_rx_secret()),
            Self::Server(kernel) => (kernel.protocol_version(), kernel.update_rx_secret()),
        };
        Opener::new(version, &secrets.map_err(|_| RecordError::Unexpected)?)
    }

    /// Stores a ticket for later connections. Servers never get one.
    pub(crate) fn take_ticket(&mut self, payload: &[u8]) -> Result<(), RecordError> {
        match self {
            Self::Client(kernel) => {
                kernel.handle_new_session_ticket(payload).map_err(|_| RecordError::Unexpected)
            }
            Self::Server(_) => Err(RecordError::Unexpected),
        }
    }
}

/// An established session: its keys, and the bytes that were read or made but belong to what comes next.
pub(crate) struct Session {
    pub(crate) sealer: Sealer,
    pub(crate) opener: Opener,
    pub(crate) kernel: Kernel,
    /// Records that came in behind the handshake, still sealed.
    pub(crate) incoming: Vec<u8>,
    /// When tickets of this session are worth keeping; `None` where there is nothing to tell eras apart.
    pub(crate) era: Option<Era>,
    /// Session tickets, sealed but not sent yet: they ride with the first bytes that go out.
    pub(crate) outgoing: Vec<u8>,
}

/// A finished handshake whose peer has not been judged yet.
pub(crate) struct Handshaken<C> {
    connection: C,
    incoming: Vec<u8>,
    outgoing: Vec<u8>,
}

/// Makes the server's side of a handshake. Cancel safe in that dropping it drops the connection.
pub(crate) async fn accept(
    stream: &mut TcpStream,
    config: Arc<ServerConfig>,
) -> Result<Handshaken<UnbufferedServerConnection>, HandshakeError> {
    // Before the first byte nothing is allocated, so a client that only connects costs a socket and a timer.
    if stream.peek(&mut [0]).await.map_err(HandshakeError::Io)? == 0 {
        return Err(HandshakeError::Silent);
    }
    let connection = UnbufferedServerConnection::new(config).map_err(HandshakeError::Tls)?;
    drive(stream, connection).await
}

/// Makes the client's side of a handshake.
pub(crate) async fn connect(
    stream: &mut TcpStream,
    config: Arc<ClientConfig>,
    name: ServerName<'static>,
) -> Result<Handshaken<UnbufferedClientConnection>, HandshakeError> {
    let connection = UnbufferedClientConnection::new(config, name).map_err(HandshakeError::Tls)?;
    drive(stream, connection).await
}

/// The two kinds of `rustls` connections, which share no trait.
pub(crate) trait Machine {
    type Data;
    const IS_SERVER: bool;

    fn step<'c, 'i>(&'c mut self, incoming: &'i mut [u8]) -> UnbufferedStatus<'c, 'i, Self::Data>;
    fn common(&self) -> &CommonState;
    fn into_parts(self) -> Result<(ExtractedSecrets, Kernel), rustls::Error>;
}

impl Machine for UnbufferedServerConnection {
    type Data = ServerConnectionData;
    const IS_SERVER: bool = true;

    fn step<'c, 'i>(&'c mut self, incoming: &'i mut [u8]) -> UnbufferedStatus<'c, 'i, Self::Data> {
        self.process_tls_records(incoming)
    }

    fn common(&self) -> &CommonState {
        self
    }

    fn into_parts(self) -> Result<(ExtractedSecrets, Kernel), rustls::Error> {
        let (secrets, kernel) = self.dangerous_into_kernel_connection()?;
        Ok((secrets, Kernel::Server(Box::new(kernel))))
    }
}

impl Machine for UnbufferedClientConnection {
    type Data = ClientConnectionData;
    const IS_SERVER: bool = false;

    fn step<'c, 'i>(&'c mut self, incoming: &'i mut [u8]) -> UnbufferedStatus<'c, 'i, Self::Data> {
        self.process_tls_records(incoming)
    }

    fn common(&self) -> &CommonState {
        self
    }

    fn into_parts(self) -> Result<(ExtractedSecrets, Kernel), rustls::Error> {
        let (secrets, kernel) = self.dangerous_into_kernel_connection()?;
        Ok((secrets, Kernel::Client(Box::new(kernel))))
    }
}

impl<C: Machine> Handshaken<C> {
    /// What the peer is to be judged by.
    pub(crate) fn common(&self) -> &CommonState {
        self.connection.common()
    }

    pub(crate) fn is_resumed(&self) -> bool {
        self.common().handshake_kind() == Some(HandshakeKind::Resumed)
    }

    /// Takes the keys out of `rustls`; from here on records are ours.
    pub(crate) fn into_session(self) -> Result<Session, HandshakeError> {
        let Self { connection, incoming, outgoing } = self;
        let common = connection.common();
        let version = common.protocol_version();
        let suite = common.negotiated_cipher_suite();
        let (Some(version), Some(suite)) = (version, suite) else {
            return Err(HandshakeError::Tls(rustls::Error::HandshakeNotComplete));
        };
        let records_max = match suite {
            rustls::SupportedCipherSuite::Tls13(suite) => suite.common.confidentiality_limit,
            rustls::SupportedCipherSuite::Tls12(suite) => suite.common.confidentiality_limit,
        };
        let (secrets, kernel) = connection.into_parts().map_err(HandshakeError::Tls)?;
        Ok(Session {
            sealer: Sealer::new(version, &secrets.tx, records_max).map_err(HandshakeError::Keys)?,
            opener: Opener::new(version, &secrets.rx).map_err(HandshakeError::Keys)?,
            kernel,
            incoming,
            era: None,
            outgoing,
        })
    }
}

/// What a step of the state machine asks for, free of its borrow.
enum Next {
    Go,
    Send,
    Read,
    Done,
}

async fn drive<C: Machine>(
    stream: &mut TcpStream,
    mut connection: C,
) -> Result<Handshaken<C>, HandshakeError> {
    let mut incoming: Vec<u8> = Vec::new();
    let mut outgoing: Vec<u8> = Vec::new();
    // How much of `incoming` the machine is shown: whole records, one more each time it wants more.
    let mut window = 0;
    loop {
        let UnbufferedStatus { discard, state } = connection.step(&mut incoming[..window]);
        let next = match state {
            Ok(ConnectionState::EncodeTlsData(mut data)) => {
                encode(&mut data, &mut outgoing)?;
                Next::Go
            }
            Ok(ConnectionState::TransmitTlsData(data)) => {
                data.done();
                Next::Send
            }
            Ok(ConnectionState::BlockedHandshake) => Next::Read,
            Ok(ConnectionState::WriteTraffic(_)) => Next::Done,
            Ok(ConnectionState::PeerClosed | ConnectionState::Closed) => {
                return Err(HandshakeError::Closed);
            }
            // Early data is never offered, and traffic is never shown to the machine.
            Ok(_) => return Err(HandshakeError::Keys(RecordError::Unexpected)),
            Err(error) => {
                incoming.drain(..discard);
                window -= discard;
                send_alert(stream, &mut connection, &mut incoming, window);
                return Err(HandshakeError::Tls(error));
            }
        };
        incoming.drain(..discard);
        window -= discard;

        let is_handshaking = connection.common().is_handshaking();
        match next {
            Next::Go => {}
            Next::Send if !is_handshaking && has_only_tickets_to_send(&connection) => {}
            Next::Send => {
                stream.write_all(&outgoing).await.map_err(HandshakeError::Io)?;
                outgoing.clear();
            }
            Next::Done if !is_handshaking => {
                return Ok(Handshaken { connection, incoming, outgoing });
            }
            Next::Read | Next::Done => {
                window = next_record(stream, &mut incoming, window).await?;
            }
        }
    }
}

/// In TLS 1.3 what a server sends after the handshake are tickets, which can wait for company. In TLS 1.2 tickets come before the server's last message.
fn has_only_tickets_to_send<C: Machine>(connection: &C) -> bool {
    C::IS_SERVER && connection.common().protocol_version() == Some(ProtocolVersion::TLSv1_3)
}

/// Appends what the machine wants to send.
fn encode<Data>(
    data: &mut EncodeTlsData<'_, Data>,
    outgoing: &mut Vec<u8>,
) -> Result<(), HandshakeError> {
    let start = outgoing.len();
    outgoing.resize(start + OUTGOING_BYTES_START, 0);
    loop {
        match data.encode(&mut outgoing[start..]) {
            Ok(written) => {
                outgoing.truncate(start + written);
                return Ok(());
            }
            Err(EncodeError::InsufficientSize(size)) => {
                outgoing.resize(start + size.required_size, 0);
            }
            Err(EncodeError::AlreadyEncoded) => {
                outgoing.truncate(start);
                return Ok(());
            }
        }
    }
}

/// Tells the peer why it was refused, as far as the socket takes it at once.
///
/// The machine must go on seeing the bytes it has not discarded, for it holds offsets into them, and must not be
/// stepped once it has given out the alert, for it would judge those bytes again.
fn send_alert<C: Machine>(
    stream: &TcpStream,
    connection: &mut C,
    incoming: &mut Vec<u8>,
    mut window: usize,
) {
    let mut outgoing = Vec::new();
    loop {
        let UnbufferedStatus { discard, state } = connection.step(&mut incoming[..window]);
        let Ok(ConnectionState::EncodeTlsData(mut data)) = state else { break };
        let start = outgoing.len();
        if encode(&mut data, &mut outgoing).is_err() {
            return;
        }
        // Parts of an open flight may come before the alert, which is sealed when the flight is.
        if !matches!(outgoing.get(start), Some(20 | 22)) {
            break;
        }
        incoming.drain(..discard);
        window -= discard;
    }
    // An alert is a courtesy: a peer that does not take it is not waited for.
    let _ = stream.try_write(&outgoing);
}

/// Makes one more record visible behind `window`, reading as much as it takes; returns the new window.
async fn next_record(
    stream: &mut TcpStream,
    incoming: &mut Vec<u8>,
    window: usize,
) -> Result<usize, HandshakeError> {
    loop {
        if let Some(header) = incoming.get(window..window + HEADER_BYTES) {
            // A record of unknown type is shown as far as it goes, so that the machine refuses it at once.
            if !(20..=23).contains(&header[0]) {
                return Ok(incoming.len());
            }
            let body = usize::from(u16::from_be_bytes([header[3], header[4]]));
            let end = window + HEADER_BYTES + body;
            if end > INCOMING_BYTES_MAX {
                return Err(HandshakeError::TooLong);
            }
            if incoming.len() >= end {
                return Ok(end);
            }
            incoming.reserve(end - incoming.len());
        } else {
            incoming.reserve(INCOMING_BYTES_START.saturating_sub(incoming.len()).max(HEADER_BYTES));
        }
        let room = INCOMING_BYTES_MAX - incoming.len();
        if stream.read_buf(&mut incoming.limit(room)).await.map_err(HandshakeError::Io)? == 0 {
            return Err(HandshakeError::Closed);
        }
    }
}
