//! Servers that answer what they are told to and remember what they were asked.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
use model::ca::{CaConfiguration, IssuedCert};
use model::command::{Command, Outcome};
use model::error::{Error, ErrorKind};
use model::event::UserEvent;
use model::keyring::{KeyringRequest, KeyringResponse};
use model::operator::{OperatorReply, OperatorRequest};
use model::query::{Consistency, Query, QueryMeta, QueryOptions, Reply, Token};
use model::session::Session;
use parking_lot::Mutex;
use rpc::{
    Answer, Archive, Body, Chunks, Cluster, LinkHandler, Pending, Remote, RemoteSettings,
    ServeSettings, ServerAddress, Status, serve,
};
use tokio::net::TcpListener;
use tokio::sync::{Notify, mpsc};
use tokio_util::sync::CancellationToken;

/// What was asked, beside queries.
#[derive(Debug, PartialEq)]
pub(crate) enum Seen {
    Command(Command, String),
    Renew(String),
    Sign(String),
    Configure(CaConfiguration),
    Operator(OperatorRequest),
    Event(UserEvent),
    Keyring(KeyringRequest),
    Restored(Vec<u8>),
}

#[derive(Default)]
pub(crate) struct Fake {
    /// Answers in their order; the last is given again and again.
    pub(crate) replies: Mutex<VecDeque<Result<Reply, Error>>>,
    pub(crate) outcome: Mutex<Option<Outcome>>,
    pub(crate) queries: Mutex<Vec<(Query, QueryOptions)>>,
    pub(crate) seen: Mutex<Vec<Seen>>,
    /// Commands wait until told, too.
    pub(crate) holds_commands: std::sync::atomic::AtomicBool,
    /// Queries that wait do so until told.
    pub(crate) woken: Notify,
    pub(crate) waiting: std::sync::atomic::AtomicUsize,
}

impl Fake {
    pub(crate) fn reply(&self, reply: Reply) {
        *self.replies.lock() = [Ok(reply)].into();
    }

    pub(crate) fn waiting(&self) -> usize {
        self.waiting.load(std::sync::atomic::Ordering::SeqCst)
    }

    fn next(&self) -> Result<Reply, Error> {
        let mut replies = self.replies.lock();
        match replies.len() {
            0 => Err(Error::internal("the fake was given no answer")),
            1 => replies[0].clone(),
            _ => replies.pop_front().unwrap(),
        }
    }

    fn saw(&self, seen: Seen) {
        self.seen.lock().push(seen);
    }
}

/// One fewer waits, however it ends.
struct Waits<'a>(&'a Fake);

impl Drop for Waits<'_> {
    fn drop(&mut self) {
        self.0.waiting.fetch_sub(1, std::sync::atomic::Ordering::SeqCst);
    }
}

impl Cluster for Fake {
    fn query(&self, query: Query, options: QueryOptions) -> Pending<'_, Answer> {
        Box::pin(async move {
            let consistency = options.consistency;
            let waits = options.min_index > 0;
            self.queries.lock().push((query, options));
            if waits {
                self.waiting.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
                let _waits = Waits(self);
                self.woken.notified().await;
            }
            let last_contact = std::time::Duration::from_millis(5);
            let meta = QueryMeta { index: 42, last_contact, known_leader: true, consistency };
            Ok(Answer { meta, body: Body::new(self.next()?) })
        })
    }

    fn query_now(&self, _: &Query, _: &QueryOptions) -> Option<Result<Answer, Error>> {
        None
    }

    fn command(&self, command: Command, token: Token) -> Pending<'_, Outcome> {
        self.saw(Seen::Command(command, token.0.to_string()));
        let outcome = self.outcome.lock().clone();
        Box::pin(async move {
            if self.holds_commands.load(std::sync::atomic::Ordering::SeqCst) {
                self.woken.notified().await;
            }
            Ok(outcome.unwrap_or(Outcome::Done))
        })
    }

    fn renew_session(&self, id: String, _: Token) -> Pending<'_, Option<Arc<Session>>> {
        self.saw(Seen::Renew(id.clone()));
        let session = Session { id, ..Session::default() };
        Box::pin(async move { Ok(Some(session).filter(|s| !s.id.starts_with('0')).map(Arc::new)) })
    }

    fn sign_leaf(&self, csr_pem: String, _: Token) -> Pending<'_, IssuedCert> {
        self.saw(Seen::Sign(csr_pem));
        let serial_number = "01:02".to_owned();
        Box::pin(async move { Ok(IssuedCert { serial_number, ..IssuedCert::default() }) })
    }

    fn configure_ca(&self, config: CaConfiguration, _: Token) -> Pending<'_, ()> {
        self.saw(Seen::Configure(config));
        Box::pin(async { Ok(()) })
    }

    fn status(&self) -> Status {
        Status {
            leader: Some("127.0.0.1:8300".into()),
            peers: vec!["127.0.0.1:8300".into(), "127.0.0.2:8300".into()],
            applied_index: 42,
            ..Status::default()
        }
    }

    fn operator(&self, request: OperatorRequest, _: Token) -> Pending<'_, OperatorReply> {
        let reply = match &request {
            OperatorRequest::RaftConfiguration => {
                OperatorReply::RaftConfiguration(crate::samples::raft_configuration())
            }
            OperatorRequest::Health => OperatorReply::Health(crate::samples::health()),
            _ => OperatorReply::Done,
        };
        self.saw(Seen::Operator(request));
        Box::pin(async move { Ok(reply) })
    }

    fn fire_event(&self, event: UserEvent, _: Token) -> Pending<'_, ()> {
        self.saw(Seen::Event(event));
        Box::pin(async { Ok(()) })
    }

    fn keyring(&self, request: KeyringRequest, _: Token) -> Pending<'_, Vec<KeyringResponse>> {
        self.saw(Seen::Keyring(request));
        Box::pin(async { Ok(vec![crate::samples::keyring()]) })
    }

    fn save_snapshot(&self, consistency: Consistency, _: Token) -> Pending<'_, Archive> {
        Box::pin(async move {
            let (sender, chunks) = mpsc::channel(1);
            tokio::spawn(async move {
                for piece in 0..100u8 {
                    let _ = sender.send(Ok(Bytes::from(vec![piece; 10_000]))).await;
                }
            });
            Ok(Archive { meta: QueryMeta { index: 7, consistency, ..Default::default() }, chunks })
        })
    }

    fn restore_snapshot(&self, mut archive: Chunks, _: Token) -> Pending<'_, ()> {
        Box::pin(async move {
            let mut all = Vec::new();
            while let Some(chunk) = archive.recv().await {
                all.extend_from_slice(&chunk?);
                if all.starts_with(b"bad") {
                    return Err(Error::new(ErrorKind::Invalid, "that is no archive"));
                }
            }
            self.saw(Seen::Restored(all));
            Ok(())
        })
    }
}

/// A server port over a fake, and a client of it.
pub(crate) struct World {
    pub(crate) fake: Arc<Fake>,
    pub(crate) address: SocketAddr,
    pub(crate) remote: Arc<Remote>,
    pub(crate) links: mpsc::UnboundedReceiver<rpc::Link>,
    pub(crate) stop: CancellationToken,
}

impl Drop for World {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

pub(crate) fn server(address: SocketAddr) -> ServerAddress {
    ServerAddress { name: "s1".into(), address, datacenter: "dc1".into(), use_tls: false }
}

pub(crate) async fn world() -> World {
    world_with(ServeSettings::new("dc1"), RemoteSettings::new("dc1")).await
}

pub(crate) async fn world_with(serving: ServeSettings, asking: RemoteSettings) -> World {
    let fake = Arc::new(Fake::default());
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (sender, links) = mpsc::unbounded_channel();
    let on_link: LinkHandler = Arc::new(move |link| sender.send(link).unwrap());
    let stop = CancellationToken::new();
    tokio::spawn(serve(listener, serving, fake.clone(), on_link, stop.clone()));
    let remote = Remote::new(asking);
    remote.set_servers(vec![server(address)]);
    World { fake, address, remote, links, stop }
}

/// Waits until something is so; panics when it never is.
pub(crate) async fn until(mut is_so: impl FnMut() -> bool) {
    for _ in 0..2000 {
        if is_so() {
            return;
        }
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
    panic!("it never came to be");
}
