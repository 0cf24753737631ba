//! Opening connections to the server port of others.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;

use crate::port::{self, Socket, tune};
use crate::tls::Outgoing;

/// Longest time until a connection is ready for use.
const CONNECT_MAX: Duration = Duration::from_secs(10);

/// A connection to another of our servers, for consensus, within TLS if that is set.
pub async fn dial_link(
    address: SocketAddr,
    datacenter: &str,
    tls: Option<&Outgoing>,
) -> io::Result<Box<dyn Socket>> {
    dial(address, datacenter, tls, port::LINK).await
}

/// A connection that begins with `first`, within TLS if that is set.
pub(crate) async fn dial(
    address: SocketAddr,
    datacenter: &str,
    tls: Option<&Outgoing>,
    first: u8,
) -> io::Result<Box<dyn Socket>> {
    let dialled = async {
        let mut socket = TcpStream::connect(address).await?;
        tune(&socket);
        let Some(tls) = tls else {
            socket.write_u8(first).await?;
            return Ok(Box::new(socket) as Box<dyn Socket>);
        };
        socket.write_u8(port::TLS).await?;
        let name = tls
            .name_of(datacenter)
            .ok_or_else(|| io::Error::other("the datacenter cannot be part of a name"))?;
        let mut socket = tls.connector().connect(name, socket).await?;
        socket.write_u8(first).await?;
        socket.flush().await?;
        Ok(Box::new(socket) as Box<dyn Socket>)
    };
    match tokio::time::timeout(CONNECT_MAX, dialled).await {
        Ok(dialled) => dialled,
        Err(_) => Err(io::ErrorKind::TimedOut.into()),
    }
}
