//! The cluster as an agent without a server sees it: what was asked once is kept up to date here, and answered at once
//! from then on, also while no server can be reached.
//!
//! For readers that take an answer of any server, such as DNS. Everything else goes to the servers.

use std::sync::Arc;

use model::ca::{CaConfiguration, IssuedCert};
use model::command::{Command, Outcome};
use model::error::Error;
use model::query::{Consistency, Query, QueryOptions, Reply, Token};
use model::session::Session;
use rpc::{Answer, Cluster, Pending, Status};

use crate::views::Views;

/// See the module.
pub struct Remembered {
    servers: Arc<dyn Cluster>,
    views: Arc<Views>,
}

impl Remembered {
    pub(crate) fn new(servers: Arc<dyn Cluster>, views: Arc<Views>) -> Arc<Self> {
        Arc::new(Self { servers, views })
    }
}

impl Cluster for Remembered {
    fn query(&self, query: Query, options: QueryOptions) -> Pending<'_, Answer> {
        Box::pin(async move {
            let is_kept = may_be_kept(&options);
            let answer = self.servers.query(query.clone(), options.clone()).await?;
            // Names that do not exist are the asker's to invent, and would fill the views.
            if is_kept && !is_empty(&answer.body.reply) {
                self.views.begin(query, &options);
            }
            Ok(answer)
        })
    }

    fn query_now(&self, query: &Query, options: &QueryOptions) -> Option<Result<Answer, Error>> {
        if let Some(result) = self.servers.query_now(query, options) {
            return Some(result);
        }
        if !may_be_kept(options) {
            return None;
        }
        self.views.kept(query, options).map(Ok)
    }

    fn command(&self, command: Command, token: Token) -> Pending<'_, Outcome> {
        self.servers.command(command, token)
    }

    fn renew_session(&self, id: String, token: Token) -> Pending<'_, Option<Arc<Session>>> {
        self.servers.renew_session(id, token)
    }

    fn sign_leaf(&self, csr_pem: String, token: Token) -> Pending<'_, IssuedCert> {
        self.servers.sign_leaf(csr_pem, token)
    }

    fn configure_ca(&self, config: CaConfiguration, token: Token) -> Pending<'_, ()> {
        self.servers.configure_ca(config, token)
    }

    fn status(&self) -> Status {
        self.servers.status()
    }

    fn version(&self) -> Option<u64> {
        self.servers.version().or_else(|| Some(self.views.version()))
    }
}

/// An answer of any age within the bound is asked for, now.
fn may_be_kept(options: &QueryOptions) -> bool {
    options.consistency == Consistency::Stale && options.min_index == 0
}

fn is_empty(reply: &Reply) -> bool {
    match reply {
        Reply::Health(rows) => rows.is_empty(),
        Reply::NodeServices(found) => found.is_none(),
        // DNS asks for little else, and those are few.
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use model::catalog::RegisterRequest;
    use model::error::ErrorKind;
    use tokio_util::sync::CancellationToken;
    use tokio_util::task::TaskTracker;

    use super::*;
    use crate::testing::FakeCluster;

    fn stale() -> QueryOptions {
        QueryOptions { consistency: Consistency::Stale, ..QueryOptions::default() }
    }

    #[tokio::test(start_paused = true)]
    async fn what_was_asked_once_is_kept_up_to_date() {
        let servers = FakeCluster::new();
        let views = Views::new(servers.clone() as _, CancellationToken::new(), TaskTracker::new());
        let kept = Remembered::new(servers.clone(), views);
        let register = |node: &str| {
            servers.register(RegisterRequest { node: node.into(), ..RegisterRequest::default() });
        };
        register("n1");
        let query = Query::NodeServices { node: "n1".into() };
        assert!(kept.query_now(&query, &stale()).is_none());
        kept.query(query.clone(), stale()).await.unwrap();
        let version = kept.version();
        while kept.query_now(&query, &stale()).is_none() {
            tokio::task::yield_now().await;
        }
        // A newer answer changes the version.
        register("n1");
        while kept.version() == version {
            tokio::task::yield_now().await;
        }
        // With the servers gone it stays.
        servers.fail_with(Some(Error::new(ErrorKind::Unavailable, "gone")));
        tokio::time::sleep(std::time::Duration::from_secs(60)).await;
        assert!(kept.query_now(&query, &stale()).unwrap().is_ok());
        let bounded =
            QueryOptions { max_stale: Some(std::time::Duration::from_secs(5)), ..stale() };
        assert!(kept.query_now(&query, &bounded).is_none());
        // Others are never answered from here.
        assert!(kept.query_now(&query, &QueryOptions::default()).is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn what_does_not_exist_is_not_kept() {
        let servers = FakeCluster::new();
        let views = Views::new(servers.clone() as _, CancellationToken::new(), TaskTracker::new());
        let kept = Remembered::new(servers.clone(), views.clone());
        let query = Query::NodeServices { node: "invented".into() };
        kept.query(query.clone(), stale()).await.unwrap();
        assert!(!views.is_following(&query));
    }
}
