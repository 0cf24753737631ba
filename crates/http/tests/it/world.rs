//! One agent with its server behind a listening HTTP API, and a client that shows what came.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use agent::{Agent, AgentSettings, Life};
use http::{Api, Settings, Timeouts};
use server::{Server, ServerConfig};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

pub(crate) struct World {
    pub(crate) address: SocketAddr,
    pub(crate) stop: CancellationToken,
    pub(crate) serving: JoinHandle<()>,
    /// The pool the agent is in.
    pub(crate) alone: Arc<agent::Alone>,
}

/// What came back, with header names in lower case.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
}

impl Answer {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(found, _)| found == name).map(|(_, value)| value.as_str())
    }

    pub(crate) fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }

    pub(crate) fn index(&self) -> u64 {
        self.header("x-consul-index").unwrap().parse().unwrap()
    }
}

impl World {
    pub(crate) async fn new() -> Self {
        Self::with(Settings::default()).await
    }

    pub(crate) async fn with(http_settings: Settings) -> Self {
        Self::of(AgentSettings::default(), http_settings).await
    }

    /// A client agent in front of the same server.
    pub(crate) async fn client() -> Self {
        let settings = AgentSettings { is_server: false, ..AgentSettings::default() };
        Self::of(settings, Settings::default()).await
    }

    async fn of(settings: AgentSettings, http_settings: Settings) -> Self {
        let mut config = ServerConfig::new("dc1");
        config.member = Some(replica::duty::Member {
            id: "7f4f8e1c-35a7-4b0e-9d2c-2f6b1a5c9e01".into(),
            name: "node1".into(),
            address: "127.0.0.1".into(),
            ..Default::default()
        });
        let server = Arc::new(Server::start(config).unwrap());
        server.ready().await.unwrap();
        let life = Life { stop: CancellationToken::new(), tasks: TaskTracker::new() };
        let alone = agent::Alone::new(&settings);
        let agent = Agent::start(settings, server, alone.clone(), life).await.unwrap();
        let timeouts =
            Timeouts { head: Duration::from_millis(300), drain: Duration::from_millis(300) };
        let api = Api::new(agent, http_settings).timeouts(timeouts).build();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let stop = CancellationToken::new();
        let serving = tokio::spawn(http::serve(listener, api, stop.clone()));
        let world = Self { address, alone, stop, serving };
        // The node of the server appears shortly after its start; sessions need its health check.
        let mut index = 0;
        while !world.get("/v1/health/node/node1").await.text().contains("serfHealth") {
            let answer = world.get(&format!("/v1/health/node/node1?index={index}&wait=10s")).await;
            index = answer.index();
        }
        world
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        self.send("GET", path, "", b"").await
    }

    pub(crate) async fn put(&self, path: &str, body: impl AsRef<[u8]>) -> Answer {
        self.send("PUT", path, "", body.as_ref()).await
    }

    pub(crate) async fn delete(&self, path: &str) -> Answer {
        self.send("DELETE", path, "", b"").await
    }

    /// `headers` are whole lines.
    pub(crate) async fn send(
        &self,
        method: &str,
        path: &str,
        headers: &str,
        body: &[u8],
    ) -> Answer {
        let length = match body.is_empty() {
            true => String::new(),
            false => format!("Content-Length: {}\r\n", body.len()),
        };
        let head = format!(
            "{method} {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n{length}{headers}\r\n"
        );
        self.raw(&[head.as_bytes(), body].concat()).await
    }

    /// Sends bytes and reads to the end of the connection.
    pub(crate) async fn raw(&self, bytes: &[u8]) -> Answer {
        parse(&self.raw_bytes(bytes).await)
    }

    pub(crate) async fn raw_bytes(&self, bytes: &[u8]) -> Vec<u8> {
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        // The other side may refuse before it has read everything.
        let _ = stream.write_all(bytes).await;
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer).await;
        answer
    }
}

pub(crate) fn parse(bytes: &[u8]) -> Answer {
    let at = bytes.windows(4).position(|four| four == b"\r\n\r\n").expect("an answer has a head");
    let head = std::str::from_utf8(&bytes[..at]).unwrap();
    let mut lines = head.split("\r\n");
    let status = lines.next().unwrap().split(' ').nth(1).unwrap().parse().unwrap();
    let headers = lines
        .map(|line| line.split_once(": ").unwrap())
        .map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned()))
        .collect();
    Answer { status, headers, body: bytes[at + 4..].to_vec() }
}
