//! The server side of a request: from a method name and bytes to a reply.

use std::pin::Pin;
use std::sync::Arc;

use model::command::{Command, Outcome};
use model::msgpack::{self, EncodeError, MergedMap};
use model::query::{Query, QueryMeta, QueryOptions, Reply, Token};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::coordinate::Updates;
use crate::failure::{Fault, NO_PATH};
use crate::wire::{Credentials, Empty, Scope, WireMeta, WireOptions};
use crate::{Answer, Cluster, methods};

/// What handlers work with.
pub(crate) struct Service {
    pub(crate) cluster: Arc<dyn Cluster>,
    pub(crate) datacenter: String,
    pub(crate) updates: Updates,
}

impl std::fmt::Debug for Service {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Service").field("datacenter", &self.datacenter).finish_non_exhaustive()
    }
}

/// An encoded body, or the text of an error.
pub(crate) type Handled = Result<Vec<u8>, Fault>;
pub(crate) type Handling<'a> = Pin<Box<dyn Future<Output = Handled> + Send + 'a>>;

/// One request.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Call<'a> {
    pub(crate) service: &'a Service,
    pub(crate) body: &'a [u8],
}

impl Service {
    /// Answers one request. Dropped while it waits, it stops waiting.
    pub(crate) async fn handle(&self, method: &str, body: &[u8]) -> Handled {
        let method = methods::find(method)?;
        let call = Call { service: self, body };
        if !method.is_wrapped {
            call.check_datacenter(&call.read::<Scope>()?)?;
        }
        (method.handler)(call).await
    }
}

impl Call<'_> {
    /// Part of the arguments. Errors: the stream cannot go on.
    pub(crate) fn read<T: DeserializeOwned>(&self) -> Result<T, Fault> {
        msgpack::from_slice(self.body).map_err(Fault::from)
    }

    /// None named is ours, as newer servers take it.
    pub(crate) fn check_datacenter(&self, scope: &Scope) -> Result<(), Fault> {
        match scope.datacenter.as_str() {
            "" => Ok(()),
            named if named.eq_ignore_ascii_case(&self.service.datacenter) => Ok(()),
            _ => Err(Fault::new(NO_PATH)),
        }
    }

    pub(crate) fn options(&self) -> Result<QueryOptions, Fault> {
        self.read::<WireOptions>().map(WireOptions::options)
    }

    pub(crate) fn token(&self) -> Result<Token, Fault> {
        self.read::<Credentials>().map(Credentials::token)
    }

    /// Asks in the way the request wants it.
    pub(crate) async fn ask(&self, query: Query) -> Result<Answer, Fault> {
        let options = self.options()?;
        self.ask_with(query, options).await
    }

    pub(crate) async fn ask_with(
        &self,
        query: Query,
        options: QueryOptions,
    ) -> Result<Answer, Fault> {
        let cluster = &self.service.cluster;
        match cluster.query_now(&query, &options) {
            Some(answer) => Ok(answer?),
            None => Ok(cluster.query(query, options).await?),
        }
    }

    /// Asks and answers with the rows as they are.
    pub(crate) async fn answer(&self, query: Query) -> Handled {
        let answer = self.ask(query).await?;
        respond(&answer)
    }

    /// What `command` came to, with the request's token. A refusal is an error.
    pub(crate) async fn run(&self, command: Command) -> Result<Outcome, Fault> {
        let token = self.token()?;
        match self.service.cluster.command(command, token).await? {
            Outcome::Refused(text) => Err(Fault::new(text)),
            other => Ok(other),
        }
    }

    /// Runs and says nothing.
    pub(crate) async fn write(&self, command: Command) -> Handled {
        self.run(command).await?;
        nothing()
    }
}

/// Whether a request waits for something to change.
pub(crate) fn waits(body: &[u8]) -> bool {
    msgpack::from_slice::<WireOptions>(body).is_ok_and(|options| options.options().min_index > 0)
}

pub(crate) fn nothing() -> Handled {
    encode(&Empty {})
}

pub(crate) fn encode(value: &(impl Serialize + ?Sized)) -> Handled {
    Ok(msgpack::to_vec(value)?)
}

/// Rows and what is said of them, in one map.
pub(crate) fn with_meta(rows: &impl Serialize, meta: &QueryMeta) -> Handled {
    Ok(crate::wire::merged(&WireMeta::of(meta), rows)?)
}

/// The reply made of an answer. Its rows are encoded once for all who wait for the same.
pub(crate) fn respond(answer: &Answer) -> Handled {
    let rows = answer.body.binary(rows)?;
    let mut bytes = Vec::with_capacity(128 + rows.len());
    MergedMap::begin(&mut bytes)
        .with(&WireMeta::of(&answer.meta))?
        .with(&msgpack::Raw(rows.to_vec()))?
        .end()?;
    Ok(bytes)
}

/// A reply's rows as a map of one key.
fn rows(reply: &Reply) -> Result<Vec<u8>, EncodeError> {
    let row = |name: &'static str, rows: &dyn Rows| rows.under(name);
    match reply {
        Reply::Nodes(rows) => row("Nodes", rows),
        Reply::Services(rows) => row("Services", rows),
        Reply::ServiceNodes(rows) => row("ServiceNodes", rows),
        Reply::NodeServices(found) => row("NodeServices", found),
        // Never `nil`: agents look inside without asking.
        Reply::NodeServiceList(found) => row("NodeServices", &found.clone().unwrap_or_default()),
        Reply::GatewayServices(rows) => row("Services", rows),
        Reply::Checks(rows) => row("HealthChecks", rows),
        Reply::Health(rows) => row("Nodes", rows),
        Reply::KvEntries(rows) => row("Entries", rows),
        Reply::KvKeys(rows) => row("Keys", rows),
        Reply::Sessions(rows) => row("Sessions", rows),
        Reply::Intentions(rows) => row("Intentions", rows),
        Reply::IntentionMatches(lists) => row("Matches", lists),
        Reply::CaRoots(roots) => msgpack::to_vec(&**roots),
        Reply::CaConfiguration(config) => msgpack::to_vec(config),
        Reply::Coordinates(rows) => row("Coordinates", rows),
        Reply::AutopilotConfiguration(config) => msgpack::to_vec(&**config),
        // Wrapped in their own way by those who answer with them.
        Reply::ConfigEntry(_) | Reply::ConfigEntries(_) => msgpack::to_vec(&Empty {}),
    }
}

/// Anything that goes under one key.
trait Rows {
    fn under(&self, name: &'static str) -> Result<Vec<u8>, EncodeError>;
}

impl<T: Serialize> Rows for T {
    fn under(&self, name: &'static str) -> Result<Vec<u8>, EncodeError> {
        let mut bytes = vec![0x81];
        msgpack::append(&mut bytes, name)?;
        msgpack::append(&mut bytes, self)?;
        Ok(bytes)
    }
}
