//! The two applications. They know nothing of the mesh: plain TCP on localhost.

use std::io;
use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;

/// Longest wait for an answer.
const ANSWER_MAX: Duration = Duration::from_secs(5);
/// Longest line either side accepts. Unit: bytes.
const LINE_BYTES_MAX: u64 = 256;

/// `db`: answers each line `get N` with `value N`.
pub(super) struct Database {
    pub(super) port: u16,
    accepting: tokio::task::JoinHandle<()>,
}

impl Database {
    pub(super) async fn start() -> io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let port = listener.local_addr()?.port();
        let accepting = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(answer(stream));
            }
        });
        Ok(Self { port, accepting })
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

async fn answer(stream: TcpStream) -> io::Result<()> {
    let mut stream = BufReader::new(stream);
    loop {
        let line = read_line(&mut stream).await?;
        let Some(number) = line.strip_prefix("get ") else { return Ok(()) };
        stream.get_mut().write_all(format!("value {number}\n").as_bytes()).await?;
    }
}

/// A line without its end. Errors: `UnexpectedEof` when the peer closed first.
async fn read_line(stream: &mut BufReader<TcpStream>) -> io::Result<String> {
    use tokio::io::AsyncReadExt as _;
    let mut line = String::new();
    stream.take(LINE_BYTES_MAX).read_line(&mut line).await?;
    match line.strip_suffix('\n') {
        Some(line) => Ok(line.to_owned()),
        None => Err(io::ErrorKind::UnexpectedEof.into()),
    }
}

/// One connection of `web` to `db`, by way of its local upstream port.
pub(super) struct Connection {
    stream: BufReader<TcpStream>,
    asked: u64,
}

impl Connection {
    pub(super) async fn open(port: u16) -> io::Result<Self> {
        let stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await?;
        stream.set_nodelay(true)?;
        Ok(Self { stream: BufReader::new(stream), asked: 0 })
    }

    /// One question and its answer.
    pub(super) async fn ask(&mut self) -> io::Result<()> {
        self.asked += 1;
        let question = format!("get {}\n", self.asked);
        self.stream.get_mut().write_all(question.as_bytes()).await?;
        let answer = timeout(ANSWER_MAX, read_line(&mut self.stream)).await??;
        match answer == format!("value {}", self.asked) {
            true => Ok(()),
            false => Err(io::Error::other(format!("wrong answer {answer:?}"))),
        }
    }
}

/// What became of one request over a connection of its own.
#[derive(Clone, Copy, Debug)]
pub(super) enum Attempt {
    /// Time from connecting to the answer.
    Answered(Duration),
    Refused,
}

impl Attempt {
    pub(super) fn is_answered(&self) -> bool {
        matches!(self, Self::Answered(_))
    }
}

/// One request over a new connection: every connection is authorized for itself.
pub(super) async fn attempt(port: u16) -> Attempt {
    let start = Instant::now();
    let exchange = async { Connection::open(port).await?.ask().await };
    match exchange.await {
        Ok(()) => Attempt::Answered(start.elapsed()),
        Err(_) => Attempt::Refused,
    }
}
