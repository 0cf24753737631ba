//! A plain HTTP/1.1 client: what is asked goes out as written, what is answered comes back as sent.
//!
//! It normalises no path, follows no redirect and unpacks no body, because tests look at exactly those. One connection a
//! request, so that requests never wait for one another.

use std::fmt;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

/// Longest answer read: larger than any body the agents under test may send.
const BODY_BYTES_MAX: u64 = 64 << 20;
/// Longest header line read, with room over the 1 MiB that agents accept themselves.
const LINE_BYTES_MAX: u64 = 2 << 20;
/// Longest silence of a peer before a request fails. Held queries name their own wait.
pub const SILENCE_MAX: Duration = Duration::from_secs(20);

/// One answer as it came over the wire, chunks joined.
#[derive(Clone, Debug)]
pub struct Answer {
    pub status: u16,
    /// In the order sent, names as sent.
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

impl Answer {
    /// The first header of that name, in any case.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers
            .iter()
            .find(|(key, _)| key.eq_ignore_ascii_case(name))
            .map(|(_, value)| value.as_str())
    }

    /// The body as text; what is not UTF-8 shows as replacement characters.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The body as JSON; panics with the body when it is not.
    pub fn json(&self) -> serde_json::Value {
        match serde_json::from_slice(&self.body) {
            Ok(value) => value,
            Err(error) => panic!("not JSON ({error}): {} {}", self.status, self.text()),
        }
    }

    /// The index for the next blocking query, if the answer carries one.
    pub fn index(&self) -> Option<u64> {
        self.header("X-Consul-Index")?.parse().ok()
    }
}

impl fmt::Display for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.status)?;
        for (name, value) in &self.headers {
            writeln!(f, "{name}: {value}")?;
        }
        write!(f, "\n{}", self.text())
    }
}

/// Where requests go.
#[derive(Clone, Copy, Debug)]
pub struct Client {
    pub address: SocketAddr,
}

impl Client {
    pub fn new(address: SocketAddr) -> Client {
        Client { address }
    }

    pub fn get(&self, path: &str) -> io::Result<Answer> {
        self.send("GET", path, &[], b"")
    }

    /// As [`Client::get`], for a question that may be held for nearly `silence`.
    pub fn get_within(&self, path: &str, silence: Duration) -> io::Result<Answer> {
        self.begin("GET", path, &[], b"")?.finish_within(silence)
    }

    pub fn put(&self, path: &str, body: impl AsRef<[u8]>) -> io::Result<Answer> {
        self.send("PUT", path, &[], body.as_ref())
    }

    pub fn delete(&self, path: &str) -> io::Result<Answer> {
        self.send("DELETE", path, &[], b"")
    }

    /// Sends one request; `path` goes out byte for byte. A length is sent with every body and with every PUT and POST.
    ///
    /// Errors: what the socket says, `InvalidData` for an answer that is not HTTP.
    pub fn send(
        &self,
        method: &str,
        path: &str,
        headers: &[(String, String)],
        body: &[u8],
    ) -> io::Result<Answer> {
        self.begin(method, path, headers, body)?.finish()
    }

    /// Sends one request and leaves its answer for later.
    pub fn begin(
        &self,
        method: &str,
        path: &str,
        headers: &[(String, String)],
        body: &[u8],
    ) -> io::Result<Pending> {
        let mut head = format!("{method} {path} HTTP/1.1\r\nHost: {}\r\n", self.address);
        for (name, value) in headers {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        if !body.is_empty() || matches!(method, "PUT" | "POST") {
            head.push_str(&format!("Content-Length: {}\r\n", body.len()));
        }
        head.push_str("\r\n");
        let mut stream = self.connect()?;
        stream.write_all(head.as_bytes())?;
        // A server may refuse an oversize body before it has read it all, and answer: read that answer then.
        let sent = stream.write_all(body);
        Ok(Pending { stream, method: method.to_owned(), sent })
    }

    /// Sends bytes as they are and returns whatever comes back until the peer closes or falls silent for `silence`.
    pub fn raw(&self, bytes: &[u8], silence: Duration) -> io::Result<Vec<u8>> {
        let mut stream = self.connect()?;
        stream.set_read_timeout(Some(silence))?;
        stream.write_all(bytes)?;
        let mut answer = Vec::new();
        match stream.take(BODY_BYTES_MAX).read_to_end(&mut answer) {
            Ok(_) => Ok(answer),
            Err(error) if is_silence(&error) => Ok(answer),
            Err(error) if answer.is_empty() => Err(error),
            Err(_) => Ok(answer),
        }
    }

    /// Opens a streamed answer and hands over its status, headers and the reader of its still undecoded body.
    pub fn stream(&self, method: &str, path: &str) -> io::Result<(Answer, impl BufRead + use<>)> {
        let mut stream = self.connect()?;
        stream.write_all(
            format!("{method} {path} HTTP/1.1\r\nHost: {}\r\n\r\n", self.address).as_bytes(),
        )?;
        let mut reader = BufReader::new(stream);
        let answer = read_head(&mut reader)?;
        Ok((answer, reader))
    }

    fn connect(&self) -> io::Result<TcpStream> {
        let stream = TcpStream::connect_timeout(&self.address, SILENCE_MAX)?;
        stream.set_read_timeout(Some(SILENCE_MAX))?;
        stream.set_write_timeout(Some(SILENCE_MAX))?;
        stream.set_nodelay(true)?;
        Ok(stream)
    }
}

/// A request on its way.
#[derive(Debug)]
pub struct Pending {
    stream: TcpStream,
    method: String,
    sent: io::Result<()>,
}

impl Pending {
    /// As [`Pending::finish`], for an answer that may take nearly `silence`.
    pub fn finish_within(self, silence: Duration) -> io::Result<Answer> {
        self.stream.set_read_timeout(Some(silence))?;
        self.finish()
    }

    /// Waits for the answer.
    pub fn finish(self) -> io::Result<Answer> {
        match read_answer(&mut BufReader::new(&self.stream), &self.method) {
            Ok(answer) => Ok(answer),
            Err(error) => Err(self.sent.err().unwrap_or(error)),
        }
    }
}

fn is_silence(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut)
}

fn invalid(what: impl Into<String>) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what.into())
}

/// Reads one answer: informational ones are skipped, the body ends by length, last chunk or end of connection.
fn read_answer(reader: &mut impl BufRead, method: &str) -> io::Result<Answer> {
    let mut answer = read_head(reader)?;
    while answer.status < 200 {
        answer = read_head(reader)?;
    }
    if method == "HEAD" || answer.status == 204 || answer.status == 304 {
        return Ok(answer);
    }
    let chunked = answer
        .header("Transfer-Encoding")
        .is_some_and(|coding| coding.eq_ignore_ascii_case("chunked"));
    let length = answer
        .header("Content-Length")
        .map(str::parse::<u64>)
        .transpose()
        .map_err(|e| invalid(e.to_string()))?;
    if chunked {
        answer.body = read_chunks(reader)?;
    } else if let Some(length) = length {
        reader.take(length.min(BODY_BYTES_MAX)).read_to_end(&mut answer.body)?;
        if answer.body.len() as u64 != length {
            return Err(invalid(format!(
                "body of {} bytes, announced {length}",
                answer.body.len()
            )));
        }
    } else {
        reader.take(BODY_BYTES_MAX).read_to_end(&mut answer.body)?;
    }
    Ok(answer)
}

fn read_head(reader: &mut impl BufRead) -> io::Result<Answer> {
    let first = read_line(reader)?;
    let status = first
        .strip_prefix("HTTP/1.")
        .and_then(|rest| rest.get(2..5))
        .and_then(|code| code.parse().ok());
    let status = status.ok_or_else(|| invalid(format!("no HTTP status line: {first:?}")))?;
    let mut headers = Vec::new();
    loop {
        let line = read_line(reader)?;
        if line.is_empty() {
            return Ok(Answer { status, headers, body: Vec::new() });
        }
        let (name, value) =
            line.split_once(':').ok_or_else(|| invalid(format!("no header line: {line:?}")))?;
        headers.push((name.to_owned(), value.trim().to_owned()));
    }
}

fn read_chunks(reader: &mut impl BufRead) -> io::Result<Vec<u8>> {
    let mut body = Vec::new();
    loop {
        let line = read_line(reader)?;
        let size = line.split(';').next().unwrap_or_default().trim();
        let size = u64::from_str_radix(size, 16)
            .map_err(|_| invalid(format!("no chunk size: {line:?}")))?;
        if size == 0 {
            while !read_line(reader)?.is_empty() {}
            return Ok(body);
        }
        let before = body.len() as u64;
        reader.by_ref().take(size.min(BODY_BYTES_MAX)).read_to_end(&mut body)?;
        if body.len() as u64 - before != size || !read_line(reader)?.is_empty() {
            return Err(invalid("a chunk ended early"));
        }
    }
}

fn read_line(reader: &mut impl BufRead) -> io::Result<String> {
    let mut line = Vec::new();
    reader.take(LINE_BYTES_MAX).read_until(b'\n', &mut line)?;
    if line.pop() != Some(b'\n') {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    if line.last() == Some(&b'\r') {
        line.pop();
    }
    Ok(String::from_utf8_lossy(&line).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(wire: &str) -> io::Result<Answer> {
        read_answer(&mut wire.as_bytes(), "GET")
    }

    #[test]
    fn bodies_end_where_their_framing_says() {
        let check = |wire: &str, body: &str| {
            assert_eq!(read(wire).expect("an answer").text(), body, "{wire:?}")
        };
        check("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nabcd", "ab");
        check("HTTP/1.1 200 OK\r\n\r\nabcd", "abcd");
        check(
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n1\r\nc\r\n0\r\n\r\n",
            "abc",
        );
        check("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 204 No Content\r\n\r\n", "");
    }

    #[test]
    fn a_cut_answer_is_an_error() {
        assert!(read("HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nab").is_err());
        assert!(read("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nab\r\n").is_err());
        assert!(read("garbage\r\n\r\n").is_err());
    }
}
