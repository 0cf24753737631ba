//! The applications on both ends of a mesh connection: a server that echoes and remembers, a client that asks.

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

/// Longest silence on a toy connection before it counts as broken.
const SILENCE_MAX: Duration = Duration::from_secs(15);
/// Said by the server after the client has ended its side, so that a passed-on half close can be seen.
pub const FAREWELL: &[u8] = b"<farewell>";

/// An echo server on a port of its own; goes on until the tests end, as nothing but the process holds its thread.
#[derive(Debug)]
pub struct Application {
    pub port: u16,
    seen: Arc<Mutex<Seen>>,
}

/// What has reached an application.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Seen {
    pub bytes: u64,
    /// Connections that ever carried a byte. Those without one tell nothing: health checks make them.
    pub talking: u64,
}

impl Application {
    pub fn start() -> Application {
        let listener =
            TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("loopback has a free port");
        let port = listener.local_addr().expect("a bound socket has an address").port();
        let seen = Arc::new(Mutex::new(Seen::default()));
        let shared = seen.clone();
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let seen = shared.clone();
                // A client that breaks off is its own affair.
                thread::spawn(move || echo(stream, &seen));
            }
        });
        Application { port, seen }
    }

    pub fn seen(&self) -> Seen {
        *self.seen.lock().expect("no holder panics")
    }
}

fn echo(mut stream: TcpStream, seen: &Mutex<Seen>) -> io::Result<()> {
    let mut buffer = vec![0; 64 << 10];
    let mut is_first = true;
    loop {
        let length = stream.read(&mut buffer)?;
        if length == 0 {
            stream.write_all(FAREWELL)?;
            return stream.shutdown(Shutdown::Write);
        }
        let mut seen = seen.lock().expect("no holder panics");
        seen.bytes += length as u64;
        seen.talking += u64::from(is_first);
        drop(seen);
        is_first = false;
        stream.write_all(&buffer[..length])?;
    }
}

/// Dials a port of loopback.
pub fn dial(port: u16) -> io::Result<TcpStream> {
    let stream =
        TcpStream::connect_timeout(&SocketAddr::from((Ipv4Addr::LOCALHOST, port)), SILENCE_MAX)?;
    stream.set_read_timeout(Some(SILENCE_MAX))?;
    stream.set_write_timeout(Some(SILENCE_MAX))?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

/// Sends `bytes` over a new connection and returns the echo; an error when anything less comes back.
pub fn exchange(port: u16, bytes: &[u8]) -> io::Result<()> {
    exchange_over(&mut dial(port)?, bytes)
}

/// Sends `bytes`, reads as many back while sending, and compares.
pub fn exchange_over(stream: &mut TcpStream, bytes: &[u8]) -> io::Result<()> {
    let mut writer = stream.try_clone()?;
    let mut back = vec![0; bytes.len()];
    thread::scope(|scope| {
        let sending = scope.spawn(move || writer.write_all(bytes));
        let received = stream.read_exact(&mut back);
        if received.is_err() {
            // The writer must not wait for a peer that reads no more.
            let _ = stream.shutdown(Shutdown::Both);
        }
        let sent = sending.join().expect("sending does not panic");
        received.and(sent)
    })?;
    if back == bytes {
        Ok(())
    } else {
        Err(io::Error::new(io::ErrorKind::InvalidData, "the echo differs from what was sent"))
    }
}

/// Dials, sends, and reads until the other side ends: how many bytes came back of it.
pub fn offer(port: u16, bytes: &[u8]) -> io::Result<usize> {
    let mut back = Vec::new();
    let mut offered = || {
        let mut stream = dial(port)?;
        // A refusal may come before all is sent.
        let _ = stream.write_all(bytes);
        stream.read_to_end(&mut back)
    };
    match offered() {
        Ok(_) => Ok(back.len()),
        // Any time from the dialling on.
        Err(error) if error.kind() == io::ErrorKind::ConnectionReset => Ok(back.len()),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_echo_is_counted_and_ends_with_a_farewell() {
        let application = Application::start();
        exchange(application.port, &[7; 300_000]).expect("an echo");
        let mut stream = dial(application.port).expect("it listens");
        exchange_over(&mut stream, b"word").expect("an echo");
        stream.shutdown(Shutdown::Write).expect("an open socket");
        let mut rest = Vec::new();
        stream.read_to_end(&mut rest).expect("an orderly end");
        assert_eq!(rest, FAREWELL);
        assert_eq!(application.seen(), Seen { bytes: 300_004, talking: 2 });
    }
}
