//! Socket options, and the listening sockets.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use socket2::{Domain, Protocol, SockRef, Socket, TcpKeepalive, Type};
use tokio::net::TcpStream;

/// Connections the kernel holds for us between two accepts; it lowers this to its own limit.
const BACKLOG: i32 = 1024;
/// Silence after which the kernel asks whether the other host is still there, and between further questions.
const KEEPALIVE_IDLE: Duration = Duration::from_secs(60);
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(15);
/// Never paces. Hosts that default to BBR pace even over loopback, where it costs half the throughput.
const SAME_HOST_CONGESTION: &[u8] = b"reno";

/// Sets what every connection gets. Options the system refuses are only lost speed.
pub(crate) fn tune(stream: &TcpStream) {
    let socket = SockRef::from(stream);
    let _ = socket.set_tcp_nodelay(true);
    let keepalive = TcpKeepalive::new().with_time(KEEPALIVE_IDLE).with_interval(KEEPALIVE_INTERVAL);
    let _ = socket.set_tcp_keepalive(&keepalive);
    if is_same_host(stream) {
        #[cfg(target_os = "linux")]
        let _ = socket.set_tcp_congestion(SAME_HOST_CONGESTION);
    }
}

fn is_same_host(stream: &TcpStream) -> bool {
    match (stream.local_addr(), stream.peer_addr()) {
        (Ok(local), Ok(peer)) => local.ip() == peer.ip() || peer.ip().is_loopback(),
        _ => false,
    }
}

/// Opens a listening socket.
pub(crate) fn listen(address: SocketAddr) -> io::Result<std::net::TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    // Lets a restarted proxy have its port while old connections linger; a live listener still excludes it.
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}
