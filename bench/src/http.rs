//! HTTP answers as a load generator reads them: the status, the index, where the end is.

use std::io::{self, ErrorKind, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

/// Longest silence of a server before a request counts as lost.
pub(crate) const SILENCE_MAX: Duration = Duration::from_secs(30);
/// What ends a chunked body.
const LAST_CHUNK: &[u8] = b"\r\n0\r\n\r\n";

/// One answer, read piece by piece. Never more than one is under way on a connection.
#[derive(Default)]
pub(crate) struct Answer {
    head: Vec<u8>,
    framing: Option<Framing>,
    pub(crate) status: u16,
    pub(crate) index: u64,
    /// All of it, head and framing included.
    pub(crate) bytes: usize,
}

enum Framing {
    /// How much of the body is still to come.
    Length(usize),
    /// The end of what came.
    Chunks(Vec<u8>),
}

impl Answer {
    /// Takes what came; true once the answer is whole.
    pub(crate) fn feed(&mut self, mut bytes: &[u8]) -> bool {
        self.bytes += bytes.len();
        if self.framing.is_none() {
            let before = self.head.len();
            self.head.extend_from_slice(bytes);
            let Some(end) = self.head.windows(4).position(|window| window == b"\r\n\r\n") else {
                return false;
            };
            bytes = &bytes[end + 4 - before..];
            self.head.truncate(end);
            self.framing = Some(self.parse_head());
        }
        match self.framing.as_mut().expect("set above") {
            Framing::Length(left) => {
                *left = left.saturating_sub(bytes.len());
                *left == 0
            }
            Framing::Chunks(tail) => {
                tail.extend_from_slice(&bytes[bytes.len().saturating_sub(LAST_CHUNK.len())..]);
                tail.drain(..tail.len().saturating_sub(LAST_CHUNK.len()));
                tail.ends_with(LAST_CHUNK)
            }
        }
    }

    fn parse_head(&mut self) -> Framing {
        let head = String::from_utf8_lossy(&self.head).to_ascii_lowercase();
        let value = |name: &str| {
            let line = head.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
            line.map(str::trim)
        };
        self.status = head.get(9..12).and_then(|code| code.parse().ok()).unwrap_or(0);
        self.index = value("x-consul-index").and_then(|text| text.parse().ok()).unwrap_or(0);
        match value("content-length").and_then(|text| text.parse().ok()) {
            Some(length) => Framing::Length(length),
            // The head's own last line end may serve as that before an empty last chunk.
            None => Framing::Chunks(b"\r\n".to_vec()),
        }
    }
}

/// One request with what every server wants of it.
pub(crate) fn request(method: &str, path: &str, body: &[u8]) -> Vec<u8> {
    let length = body.len();
    let head =
        format!("{method} {path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {length}\r\n\r\n");
    [head.as_bytes(), body].concat()
}

/// A connection kept open from request to request.
pub(crate) struct Connection(TcpStream);

impl Connection {
    pub(crate) fn try_open(address: SocketAddr) -> io::Result<Self> {
        let stream = TcpStream::connect(address)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(SILENCE_MAX))?;
        Ok(Self(stream))
    }

    pub(crate) fn open(address: SocketAddr) -> Self {
        Self::try_open(address)
            .unwrap_or_else(|error| panic!("cannot connect to {address}: {error}"))
    }

    /// Sends a request without waiting for its answer.
    pub(crate) fn send(&mut self, method: &str, path: &str, body: &[u8]) -> io::Result<()> {
        self.0.write_all(&request(method, path, body))
    }

    /// Waits for the answer to what was sent.
    pub(crate) fn receive(&mut self) -> io::Result<Answer> {
        let mut answer = Answer::default();
        let mut buffer = vec![0; 64 << 10];
        loop {
            match self.0.read(&mut buffer)? {
                0 => return Err(ErrorKind::UnexpectedEof.into()),
                count if answer.feed(&buffer[..count]) => return Ok(answer),
                _ => {}
            }
        }
    }

    pub(crate) fn try_ask(&mut self, method: &str, path: &str, body: &[u8]) -> io::Result<Answer> {
        self.send(method, path, body)?;
        self.receive()
    }

    /// Asks what the server must accept.
    pub(crate) fn ask(&mut self, method: &str, path: &str, body: &[u8]) -> Answer {
        let answer = self.try_ask(method, path, body);
        let answer = answer.unwrap_or_else(|error| panic!("{method} {path}: {error}"));
        assert_eq!(answer.status, 200, "{method} {path}");
        answer
    }

    pub(crate) fn into_stream(self) -> TcpStream {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_ends_where_its_framing_says() {
        let check = |text: &str, index: u64| {
            for step in [1, 7, text.len()] {
                let mut answer = Answer::default();
                let pieces: Vec<&[u8]> = text.as_bytes().chunks(step).collect();
                let (last, before) = pieces.split_last().expect("not empty");
                assert!(before.iter().all(|piece| !answer.feed(piece)), "{text:?} by {step}");
                assert!(answer.feed(last), "{text:?} by {step}");
                assert_eq!((answer.status, answer.index), (200, index));
            }
        };
        check("HTTP/1.1 200 OK\r\nContent-Length: 3\r\nX-Consul-Index: 7\r\n\r\nabc", 7);
        check("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n", 0);
        let chunks = "\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n";
        check(&format!("HTTP/1.1 200 OK\r\nX-Consul-Index: 12{chunks}"), 12);
        check("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 0);
    }
}
