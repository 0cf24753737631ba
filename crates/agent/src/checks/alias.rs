//! The alias check: takes over the worst status of a node, or of a service on it.

use std::ops::ControlFlow;
use std::sync::Arc;

use model::check::{CheckStatus, HealthCheck};
use model::query::{Query, QueryOptions, Reply, Token};
use rpc::Cluster;
use tokio_util::sync::CancellationToken;

use super::Outcome;
use crate::local::{Local, UpdateRules};
use crate::views::follow;

/// Whom an alias check follows.
#[derive(Clone, Debug)]
pub(crate) struct Alias {
    pub(crate) check_id: String,
    /// Empty: this agent, answered from what is registered here.
    pub(crate) node: String,
    /// Empty: the node alone.
    pub(crate) service: String,
    pub(crate) rules: UpdateRules,
}

impl Alias {
    /// Follows what is registered here until `stop` fires.
    pub(crate) async fn follow_local(self, local: Arc<Local>, stop: CancellationToken) {
        let watcher = local.watch_checks(&self.service);
        let mut has_existed = self.service.is_empty();
        loop {
            let notified = watcher.notified();
            tokio::pin!(notified);
            // Armed before the look, so that no change falls between.
            notified.as_mut().enable();
            let outcome = {
                let state = local.read();
                let checks = state.checks_of(&self.service);
                // What is only provisional is nothing to take over yet.
                let is_settled = checks
                    .iter()
                    .all(|row| !row.is_provisional || row.check.check_id == self.check_id);
                has_existed |= state.services.contains_key(&self.service);
                is_settled.then(|| self.evaluate(has_existed, checks.iter().map(|row| &*row.check)))
            };
            if let Some(Outcome { status, output }) = outcome {
                local.update_check(&self.check_id, status, &output, self.rules);
            }
            tokio::select! {
                () = notified => {}
                () = stop.cancelled() => return,
            }
        }
    }

    /// Follows another node in the catalog until `stop` fires.
    pub(crate) async fn follow_remote(
        self,
        local: Arc<Local>,
        cluster: Arc<dyn Cluster>,
        token: Token,
        stop: CancellationToken,
    ) {
        let query = Query::NodeChecks { node: self.node.clone() };
        let options = QueryOptions { token, ..QueryOptions::default() };
        follow(Arc::clone(&cluster), query, options.clone(), stop, |result| {
            let (alias, cluster, options) = (&self, &cluster, options.clone());
            let local = &local;
            async move {
                let outcome = match result.map(|answer| answer.body) {
                    Ok(body) => match &body.reply {
                        Reply::Checks(checks) => {
                            let exists = alias.exists_remotely(&**cluster, options).await;
                            alias.evaluate(exists, checks.iter().map(|check| &**check))
                        }
                        _ => Outcome::critical("unexpected answer"),
                    },
                    Err(error) => Outcome::critical(format!(
                        "Failure checking aliased node or service: {error}"
                    )),
                };
                local.update_check(&alias.check_id, outcome.status, &outcome.output, alias.rules);
                ControlFlow::Continue(())
            }
        })
        .await;
    }

    async fn exists_remotely(&self, cluster: &dyn Cluster, options: QueryOptions) -> bool {
        if self.service.is_empty() {
            return true;
        }
        let query = Query::NodeServices { node: self.node.clone() };
        match cluster.query(query, options).await.map(|answer| answer.body) {
            Ok(body) => match &body.reply {
                Reply::NodeServices(Some(services)) => {
                    services.services.contains_key(&self.service)
                }
                _ => false,
            },
            Err(_) => false,
        }
    }

    /// The worst of the checks that bear on what is followed, itself left out. As in 1.8.7, a
    /// service that never was there is critical, while one that went has no checks and passes.
    fn evaluate<'a>(
        &self,
        has_existed: bool,
        checks: impl Iterator<Item = &'a HealthCheck>,
    ) -> Outcome {
        if !has_existed {
            return Outcome::critical(format!(
                "Service {} could not be found on node {}",
                self.service, self.node
            ));
        }
        let mut worst = Outcome::passing("No checks found.");
        for check in checks {
            let is_own = check.check_id == self.check_id;
            if is_own || !(check.is_node_level() || check.service_id == self.service) {
                continue;
            }
            if check.status > worst.status {
                let output = format!("Aliased check {:?} failing: {}", check.name, check.output);
                worst = Outcome { status: check.status, output };
            } else if worst.status == CheckStatus::Passing {
                worst.output = "All checks passing.".to_owned();
            }
        }
        worst
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn takes_over_the_worst() {
        let alias = Alias {
            check_id: "self".into(),
            node: String::new(),
            service: "web".into(),
            rules: UpdateRules { defer_for: None, discard_output: false },
        };
        let check = |exists, rows: &[(&str, &str, CheckStatus)], want: Outcome| {
            let checks: Vec<HealthCheck> = rows
                .iter()
                .map(|(id, service, status)| HealthCheck {
                    check_id: (*id).into(),
                    name: (*id).into(),
                    service_id: (*service).into(),
                    status: *status,
                    output: "why".into(),
                    ..HealthCheck::default()
                })
                .collect();
            assert_eq!(alias.evaluate(exists, checks.iter()), want, "{rows:?}");
        };
        use CheckStatus::{Critical, Passing, Warning};
        check(false, &[], Outcome::critical("Service web could not be found on node "));
        check(true, &[], Outcome::passing("No checks found."));
        check(true, &[("self", "web", Critical)], Outcome::passing("No checks found."));
        check(true, &[("x", "db", Critical)], Outcome::passing("No checks found."));
        check(true, &[("a", "web", Passing)], Outcome::passing("All checks passing."));
        let warning =
            Outcome { status: Warning, output: "Aliased check \"w\" failing: why".into() };
        check(true, &[("a", "web", Passing), ("w", "web", Warning), ("z", "", Passing)], warning);
        let critical = Outcome::critical("Aliased check \"n\" failing: why");
        check(
            true,
            &[("w", "web", Warning), ("n", "", Critical), ("o", "web", Critical)],
            critical,
        );
    }
}
