//! A cluster made of nothing, for tests of what stands on one: it holds a catalog, intentions, roots
//! and configuration entries, wakes who waits, and fails on demand.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use model::ca::{CaConfiguration, CaRoots, IssuedCert};
use model::catalog::{NodeServices, RegisterRequest};
use model::check::HealthCheck;
use model::command::{Command, Outcome};
use model::config_entry::ConfigEntry;
use model::coordinate::NodeCoordinate;
use model::error::{Error, ErrorKind};
use model::intention::Intention;
use model::node::Node;
use model::query::{Query, QueryMeta, QueryOptions, Reply, Token};
use model::service::NodeService;
use model::session::Session;
use parking_lot::Mutex;
use rpc::{Answer, Body, Cluster, Pending, Status};
use tokio::sync::watch;

/// Signs requests in the fake; the authority is the test's business.
pub type Signer = Box<dyn Fn(&str) -> Result<IssuedCert, Error> + Send + Sync>;

#[derive(Default)]
struct Contents {
    nodes: BTreeMap<String, FakeNode>,
    intentions: Vec<Arc<Intention>>,
    roots: Arc<CaRoots>,
    entries: Vec<Arc<ConfigEntry>>,
    coordinates: Vec<Arc<NodeCoordinate>>,
    failure: Option<Error>,
    commands: Vec<(Command, Token)>,
    queries: u64,
    signed: u64,
}

#[derive(Clone, Default)]
struct FakeNode {
    node: Node,
    services: BTreeMap<String, Arc<NodeService>>,
    checks: BTreeMap<String, Arc<HealthCheck>>,
}

/// The fake. Every change moves one index, which wakes all waits.
pub struct FakeCluster {
    contents: Mutex<Contents>,
    index: watch::Sender<u64>,
    signer: Mutex<Option<Signer>>,
}

impl FakeCluster {
    pub fn new() -> Arc<Self> {
        Arc::new(Self {
            contents: Mutex::default(),
            index: watch::channel(1).0,
            signer: Mutex::default(),
        })
    }

    fn change(&self, change: impl FnOnce(&mut Contents)) {
        change(&mut self.contents.lock());
        self.index.send_modify(|index| *index += 1);
    }

    pub fn set_intentions(&self, intentions: Vec<Intention>) {
        self.change(|contents| {
            contents.intentions = intentions.into_iter().map(Arc::new).collect();
        });
    }

    pub fn set_roots(&self, roots: CaRoots) {
        self.change(|contents| contents.roots = Arc::new(roots));
    }

    pub fn set_entries(&self, entries: Vec<ConfigEntry>) {
        self.change(|contents| contents.entries = entries.into_iter().map(Arc::new).collect());
    }

    pub fn set_signer(&self, signer: Signer) {
        *self.signer.lock() = Some(signer);
    }

    /// Fails every query, command and signing from now on, waits under way among them; `None` heals.
    pub fn fail_with(&self, failure: Option<Error>) {
        self.change(|contents| contents.failure = failure);
    }

    /// Writes to the catalog behind the agent's back.
    pub fn register(&self, request: RegisterRequest) {
        self.change(|contents| contents.apply(&Command::Register(Box::new(request))));
    }

    pub fn service(&self, node: &str, id: &str) -> Option<Arc<NodeService>> {
        self.contents.lock().nodes.get(node)?.services.get(id).cloned()
    }

    pub fn check(&self, node: &str, id: &str) -> Option<Arc<HealthCheck>> {
        self.contents.lock().nodes.get(node)?.checks.get(id).cloned()
    }

    pub fn node(&self, node: &str) -> Option<Node> {
        self.contents.lock().nodes.get(node).map(|row| row.node.clone())
    }

    /// Commands received so far.
    pub fn commands(&self) -> Vec<(Command, Token)> {
        self.contents.lock().commands.clone()
    }

    /// Queries received so far.
    pub fn queries(&self) -> u64 {
        self.contents.lock().queries
    }

    /// Leaves signed so far.
    pub fn signed(&self) -> u64 {
        self.contents.lock().signed
    }

    /// Resolves once `condition` holds; looks again after each change.
    pub async fn until(&self, condition: impl Fn(&Self) -> bool) {
        let mut index = self.index.subscribe();
        while !condition(self) {
            index.changed().await.expect("the sender is in self");
        }
    }

    fn answer(&self, query: &Query) -> Result<Answer, Error> {
        let index = *self.index.borrow();
        let contents = self.contents.lock();
        if let Some(failure) = &contents.failure {
            return Err(failure.clone());
        }
        let meta = QueryMeta { index, known_leader: true, ..QueryMeta::default() };
        Ok(Answer { meta, body: Body::new(contents.reply(query)?) })
    }
}

impl Contents {
    fn reply(&self, query: &Query) -> Result<Reply, Error> {
        Ok(match query {
            Query::Nodes { .. } => {
                Reply::Nodes(self.nodes.values().map(|row| Arc::new(row.node.clone())).collect())
            }
            Query::NodeServices { node } => {
                Reply::NodeServices(self.nodes.get(node).map(|row| NodeServices {
                    node: Some(Arc::new(row.node.clone())),
                    services: row.services.clone(),
                }))
            }
            Query::NodeChecks { node } => Reply::Checks(
                self.nodes
                    .get(node)
                    .into_iter()
                    .flat_map(|row| row.checks.values().cloned())
                    .collect(),
            ),
            Query::IntentionMatch { .. } => Reply::IntentionMatches(vec![self.intentions.clone()]),
            Query::CaRoots => Reply::CaRoots(Arc::clone(&self.roots)),
            Query::ConfigEntries { .. } => Reply::ConfigEntries(self.entries.clone()),
            Query::NodeCoordinates { .. } => Reply::Coordinates(self.coordinates.clone()),
            other => return Err(Error::invalid(format!("the fake does not know {other:?}"))),
        })
    }

    /// As with servers, a name stays with the node that has it.
    fn is_reserved(&self, command: &Command) -> bool {
        let Command::Register(request) = command else { return false };
        let holder = self.nodes.get(&request.node).map_or("", |row| &row.node.id);
        !holder.is_empty() && !request.id.is_empty() && holder != request.id
    }

    fn apply(&mut self, command: &Command) {
        match command {
            Command::Register(request) => {
                let row = self.nodes.entry(request.node.clone()).or_default();
                if !request.skip_node_update || row.node.name.is_empty() {
                    row.node = Node {
                        id: request.id.clone(),
                        name: request.node.clone(),
                        address: request.address.clone(),
                        datacenter: request.datacenter.clone(),
                        tagged_addresses: request.tagged_addresses.clone(),
                        meta: request.node_meta.clone(),
                        ..Node::default()
                    };
                }
                if let Some(service) = &request.service {
                    row.services.insert(service.id.clone(), Arc::new(service.clone()));
                }
                for check in request.check.iter().chain(&request.checks) {
                    row.checks.insert(check.check_id.clone(), Arc::new(check.clone()));
                }
            }
            Command::Deregister(request) => {
                let Some(row) = self.nodes.get_mut(&request.node) else { return };
                if !request.check_id.is_empty() {
                    row.checks.remove(&request.check_id);
                } else if !request.service_id.is_empty() {
                    row.services.remove(&request.service_id);
                    row.checks.retain(|_, check| check.service_id != request.service_id);
                }
            }
            Command::Coordinates(rows) => {
                self.coordinates = rows.iter().cloned().map(Arc::new).collect();
            }
            _ => {}
        }
    }
}

impl Cluster for FakeCluster {
    fn query(&self, query: Query, options: QueryOptions) -> Pending<'_, Answer> {
        Box::pin(async move {
            self.contents.lock().queries += 1;
            let wait = options.max_wait.unwrap_or(Duration::from_secs(300));
            let mut index = self.index.subscribe();
            let newer = index.wait_for(|index| *index > options.min_index);
            // A wait that runs out answers with what there is.
            let _ = tokio::time::timeout(wait, newer).await;
            self.answer(&query)
        })
    }

    fn query_now(&self, _: &Query, _: &QueryOptions) -> Option<Result<Answer, Error>> {
        None
    }

    fn command(&self, command: Command, token: Token) -> Pending<'_, Outcome> {
        Box::pin(async move {
            if let Some(failure) = &self.contents.lock().failure {
                return Err(failure.clone());
            }
            let mut outcome = Outcome::Done;
            self.change(|contents| {
                if contents.is_reserved(&command) {
                    outcome = Outcome::Refused("Node name is reserved".to_owned());
                } else {
                    contents.apply(&command);
                }
                contents.commands.push((command, token));
            });
            Ok(outcome)
        })
    }

    fn renew_session(&self, _: String, _: Token) -> Pending<'_, Option<Arc<Session>>> {
        Box::pin(async { Ok(None) })
    }

    fn sign_leaf(&self, csr_pem: String, _: Token) -> Pending<'_, IssuedCert> {
        Box::pin(async move {
            if let Some(failure) = &self.contents.lock().failure {
                return Err(failure.clone());
            }
            let signed = match &*self.signer.lock() {
                Some(signer) => signer(&csr_pem),
                None => Err(Error::new(ErrorKind::Unavailable, "the fake has no authority")),
            };
            if signed.is_ok() {
                self.contents.lock().signed += 1;
            }
            signed
        })
    }

    fn configure_ca(&self, _: CaConfiguration, _: Token) -> Pending<'_, ()> {
        Box::pin(async { Ok(()) })
    }

    fn status(&self) -> Status {
        Status { leader: Some("127.0.0.1:8300".into()), is_leader: true, ..Status::default() }
    }
}
