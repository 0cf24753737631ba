//! Questions about names outside our domains, passed on to the configured servers.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpStream, UdpSocket};
use tokio::time::timeout;

use crate::message::{TYPE_A, TYPE_AAAA};
use crate::respond::Transport;
use crate::settings::Settings;

const UDP_BYTES_MAX: usize = 65_535;
/// Addresses taken over for one host name.
const HOST_ADDRESSES_MAX: usize = 16;

/// The first answer any recursor gives to `packet`, tried in order, each with the set timeout.
pub(crate) async fn forward(
    settings: &Settings,
    packet: &[u8],
    transport: Transport,
) -> Option<Vec<u8>> {
    for server in &settings.recursors {
        let asked = async {
            match transport {
                Transport::Udp => over_udp(*server, packet).await,
                Transport::Tcp => over_tcp(*server, packet).await,
            }
        };
        match timeout(settings.recursor_timeout, asked).await {
            // Dropping the exchange at the timeout closes its socket.
            Err(_) => tracing::debug!(%server, "recursor did not answer in time"),
            Ok(Err(error)) => tracing::debug!(%server, %error, "recursor failed"),
            Ok(Ok(answer)) => return Some(answer),
        }
    }
    None
}

async fn over_udp(server: SocketAddr, packet: &[u8]) -> io::Result<Vec<u8>> {
    let local: IpAddr = match server {
        SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    let socket = UdpSocket::bind((local, 0)).await?;
    // Connected, so that only this server's packets are heard.
    socket.connect(server).await?;
    socket.send(packet).await?;
    let mut buffer = vec![0; UDP_BYTES_MAX];
    loop {
        let length = socket.recv(&mut buffer).await?;
        if is_answer_to(packet, &buffer[..length]) {
            buffer.truncate(length);
            return Ok(buffer);
        }
    }
}

async fn over_tcp(server: SocketAddr, packet: &[u8]) -> io::Result<Vec<u8>> {
    let mut stream = TcpStream::connect(server).await?;
    stream.write_u16(packet.len() as u16).await?;
    stream.write_all(packet).await?;
    let length = stream.read_u16().await?;
    let mut answer = vec![0; usize::from(length)];
    stream.read_exact(&mut answer).await?;
    match is_answer_to(packet, &answer) {
        true => Ok(answer),
        false => Err(io::Error::other("the answer does not belong to the question")),
    }
}

/// Same id, marked as an answer.
fn is_answer_to(question: &[u8], answer: &[u8]) -> bool {
    answer.len() >= 12 && question[..2] == answer[..2] && answer[2] & 0x80 != 0
}

/// The addresses recursors know for a host, IPv4 and IPv6, with their times to live in seconds. Empty
/// when nobody knows.
pub(crate) async fn resolve(settings: &Settings, host: &[u8]) -> Vec<(IpAddr, u32)> {
    let mut addresses = Vec::new();
    for qtype in [TYPE_A, TYPE_AAAA] {
        let id: u16 = rand::random();
        let mut packet = id.to_be_bytes().to_vec();
        packet.extend([1, 0, 0, 1, 0, 0, 0, 0, 0, 0]);
        packet.extend(host);
        packet.push(0);
        packet.extend(qtype.to_be_bytes());
        packet.extend([0, 1]);
        if let Some(answer) = forward(settings, &packet, Transport::Udp).await {
            addresses.extend(addresses_in(&answer, packet.len()).unwrap_or_default());
        }
    }
    addresses.truncate(HOST_ADDRESSES_MAX);
    addresses
}

/// Address records of an answer whose question ends at `at`, whatever their owner: the chain of
/// aliases before them is the recursor's affair.
fn addresses_in(answer: &[u8], at: usize) -> Option<Vec<(IpAddr, u32)>> {
    let count = u16::from_be_bytes([*answer.get(6)?, *answer.get(7)?]);
    let mut rest = answer.get(at..)?;
    let mut addresses = Vec::new();
    for _ in 0..count.min(64) {
        let (record_type, _, after) = crate::message::skip_record(rest)?;
        let record = &rest[..rest.len() - after.len()];
        // The time to live stands before the two bytes of the length, at the end the data.
        match record_type {
            TYPE_A => {
                let (head, data) = record.split_last_chunk::<4>()?;
                addresses.push((Ipv4Addr::from(*data).into(), time_to_live(head)?));
            }
            TYPE_AAAA => {
                let (head, data) = record.split_last_chunk::<16>()?;
                addresses.push((Ipv6Addr::from(*data).into(), time_to_live(head)?));
            }
            _ => {}
        }
        rest = after;
    }
    Some(addresses)
}

/// The time to live at the end of a record's head, which ends with the data's length.
fn time_to_live(head: &[u8]) -> Option<u32> {
    let (before, _length) = head.split_last_chunk::<2>()?;
    Some(u32::from_be_bytes(*before.last_chunk::<4>()?))
}
