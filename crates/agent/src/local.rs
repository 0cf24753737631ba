//! What is registered with this agent: services and checks, who registered them, and whether the
//! catalog knows. This is the truth; the catalog is brought in line with it.
//!
//! [`LocalState`] is plain: times come in as arguments. [`Local`] shares it and tells those who wait.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use model::check::{CheckStatus, HealthCheck};
use model::query::Token;
use model::service::NodeService;
use parking_lot::{Mutex, MutexGuard};
use serde::{Deserialize, Serialize};
use tokio::sync::Notify;
use tokio::time::Instant;

/// Where a registration came from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Source {
    /// A configuration file: comes and goes with it.
    #[serde(rename = "local")]
    File,
    /// The API: outlives a restart.
    #[default]
    #[serde(rename = "remote")]
    Api,
}

#[derive(Clone, Debug)]
pub struct LocalService {
    /// As it was registered.
    pub registered: Arc<NodeService>,
    /// As it counts: with the defaults of the cluster merged in.
    pub service: Arc<NodeService>,
    pub token: Token,
    pub source: Source,
    /// Registered through its parent, and removed with it.
    pub is_sidecar: bool,
    pub in_sync: bool,
    /// Notified when the service changes or goes.
    changed: Arc<Notify>,
}

#[derive(Clone, Debug)]
pub struct LocalCheck {
    pub check: Arc<HealthCheck>,
    pub token: Token,
    pub source: Source,
    pub in_sync: bool,
    /// Since when it has been critical without a break.
    pub critical_since: Option<Instant>,
    /// Remove the service once critical for so long.
    pub reap_after: Option<Duration>,
    /// The catalog has older output and hears of the change then.
    pub deferred_until: Option<Instant>,
    /// Nothing is known of it since the agent started: what the catalog says still counts, so that
    /// a restart alone turns nothing critical.
    pub is_provisional: bool,
}

/// Everything registered here.
#[derive(Debug, Default)]
pub struct LocalState {
    pub services: BTreeMap<String, LocalService>,
    pub checks: BTreeMap<String, LocalCheck>,
    /// Gone here, still to be removed from the catalog; with the token that may.
    pub removed_services: BTreeMap<String, Token>,
    pub removed_checks: BTreeMap<String, Token>,
    /// Whether the catalog has this node as configured.
    pub node_in_sync: bool,
    /// Ids of the checks of each service; those of the node under the empty id.
    by_service: BTreeMap<String, BTreeSet<String>>,
    /// Services whose being or checks changed and nobody was told yet; the node as the empty id.
    touched: BTreeSet<String>,
}

/// How changes of a check are taken in.
#[derive(Clone, Copy, Debug)]
pub struct UpdateRules {
    /// How long a change of output alone may wait; `None` sends each at once.
    pub defer_for: Option<Duration>,
    pub discard_output: bool,
}

impl LocalState {
    /// Registers or replaces a service. What is the same already stays in sync.
    pub fn put_service(
        &mut self,
        registered: Arc<NodeService>,
        service: Arc<NodeService>,
        token: Token,
        source: Source,
        is_sidecar: bool,
    ) {
        let id = service.id.clone();
        self.removed_services.remove(&id);
        let old = self.services.remove(&id);
        let changed = old.as_ref().map(|old| Arc::clone(&old.changed)).unwrap_or_default();
        let in_sync = old
            .is_some_and(|old| old.in_sync && old.service.is_same(&service) && old.token == token);
        changed.notify_waiters();
        self.touched.insert(id.clone());
        let row = LocalService { registered, service, token, source, is_sidecar, in_sync, changed };
        self.services.insert(id, row);
    }

    /// Replaces the effective form of a service, if it is still the one that was merged.
    pub fn put_merged(&mut self, registered: &Arc<NodeService>, merged: NodeService) -> bool {
        let Some(row) = self.services.get_mut(&merged.id) else { return false };
        if !Arc::ptr_eq(&row.registered, registered) || row.service.is_same(&merged) {
            return false;
        }
        row.service = Arc::new(merged);
        row.in_sync = false;
        row.changed.notify_waiters();
        true
    }

    /// Removes a service; its checks are removed on their own.
    pub fn remove_service(&mut self, id: &str) -> Option<LocalService> {
        let row = self.services.remove(id)?;
        self.removed_services.insert(id.to_owned(), row.token.clone());
        self.touched.insert(id.to_owned());
        row.changed.notify_waiters();
        Some(row)
    }

    /// Registers or replaces a check. An existing check of the same id keeps its status and output.
    pub fn put_check(
        &mut self,
        mut check: HealthCheck,
        token: Token,
        source: Source,
        reap_after: Option<Duration>,
        now: Instant,
    ) {
        let id = check.check_id.clone();
        self.removed_checks.remove(&id);
        let old = self.take_check(&id);
        if let Some(old) = &old {
            check.status = old.check.status;
            check.output.clone_from(&old.check.output);
        }
        let critical_since = match check.status {
            CheckStatus::Critical => {
                Some(old.as_ref().and_then(|old| old.critical_since).unwrap_or(now))
            }
            _ => None,
        };
        let in_sync =
            old.is_some_and(|old| old.in_sync && old.check.is_same(&check) && old.token == token);
        let row = LocalCheck {
            check: Arc::new(check),
            token,
            source,
            in_sync,
            critical_since,
            reap_after,
            deferred_until: None,
            is_provisional: false,
        };
        let service_id = row.check.service_id.clone();
        self.touched.insert(service_id.clone());
        self.by_service.entry(service_id).or_default().insert(id.clone());
        self.checks.insert(id, row);
    }

    fn take_check(&mut self, id: &str) -> Option<LocalCheck> {
        let row = self.checks.remove(id)?;
        let service_id = &row.check.service_id;
        self.touched.insert(service_id.clone());
        if let Some(ids) = self.by_service.get_mut(service_id) {
            ids.remove(id);
            if ids.is_empty() {
                self.by_service.remove(service_id);
            }
        }
        Some(row)
    }

    pub fn remove_check(&mut self, id: &str) -> Option<LocalCheck> {
        let row = self.take_check(id)?;
        self.removed_checks.insert(id.to_owned(), row.token.clone());
        Some(row)
    }

    /// Takes in what a check found. `defer_at` is when the catalog is to hear of it should only the
    /// output have changed. Returns whether anything changed.
    pub fn update_check(
        &mut self,
        id: &str,
        status: CheckStatus,
        output: &str,
        now: Instant,
        rules: UpdateRules,
    ) -> bool {
        let Some(row) = self.checks.get_mut(id) else { return false };
        row.is_provisional = false;
        row.critical_since = match status {
            CheckStatus::Critical => Some(row.critical_since.unwrap_or(now)),
            _ => None,
        };
        let output = if rules.discard_output { "" } else { output };
        if row.check.status == status && row.check.output == output {
            return false;
        }
        self.touched.insert(row.check.service_id.clone());
        let is_output_only = row.check.status == status;
        let check = Arc::make_mut(&mut row.check);
        check.status = status;
        output.clone_into(&mut check.output);
        match rules.defer_for {
            Some(defer_for) if is_output_only => {
                // In sync means that everything but the output is.
                if row.in_sync && row.deferred_until.is_none() {
                    row.deferred_until = Some(now + defer_for);
                }
            }
            _ => {
                row.in_sync = false;
                row.deferred_until = None;
            }
        }
        true
    }

    /// Lets checks count as the catalog has them until they report or the catalog is compared.
    pub fn begin_provisional(&mut self, is_unknown: impl Fn(&LocalCheck) -> bool) {
        for row in self.checks.values_mut() {
            row.is_provisional = is_unknown(row);
        }
    }

    /// Takes over what the catalog says of checks that have not reported since the agent started.
    pub fn end_provisional(&mut self, catalog: &BTreeMap<&str, &HealthCheck>) {
        for (id, row) in self.checks.iter_mut().filter(|(_, row)| row.is_provisional) {
            row.is_provisional = false;
            self.touched.insert(row.check.service_id.clone());
            let Some(there) = catalog.get(id.as_str()) else { continue };
            let is_same = there.kind == row.check.kind && there.service_id == row.check.service_id;
            if !is_same || there.status == row.check.status {
                continue;
            }
            let check = Arc::make_mut(&mut row.check);
            check.status = there.status;
            check.output.clone_from(&there.output);
            if there.status != CheckStatus::Critical {
                row.critical_since = None;
            }
        }
    }

    /// The first date at which a deferred output is due.
    pub fn next_deferred(&self) -> Option<Instant> {
        self.checks.values().filter_map(|row| row.deferred_until).min()
    }

    /// Lets the catalog hear of outputs whose date has come.
    pub fn end_deferrals(&mut self, now: Instant) {
        for row in self.checks.values_mut() {
            if row.deferred_until.is_some_and(|at| at <= now) {
                row.deferred_until = None;
                row.in_sync = false;
            }
        }
    }

    /// Services to remove because a check has been critical for too long, each with that check.
    pub fn services_to_reap(&self, now: Instant) -> BTreeMap<String, String> {
        self.checks
            .values()
            .filter(|row| {
                let gone = row.critical_since.map(|since| now.duration_since(since));
                let is_over = gone.zip(row.reap_after).is_some_and(|(gone, after)| gone > after);
                is_over && !row.check.is_node_level()
            })
            .map(|row| (row.check.service_id.clone(), row.check.check_id.clone()))
            .collect()
    }

    /// Checks that bear on a service instance: its own and those of the node, by id. An empty id
    /// means the node alone.
    pub fn checks_of(&self, service_id: &str) -> Vec<&LocalCheck> {
        let ids = |service_id: &str| self.by_service.get(service_id).into_iter().flatten();
        let own = if service_id.is_empty() { None } else { Some(ids(service_id)) };
        let mut all: Vec<&LocalCheck> =
            ids("").chain(own.into_iter().flatten()).filter_map(|id| self.checks.get(id)).collect();
        all.sort_by(|one, other| one.check.check_id.cmp(&other.check.check_id));
        all
    }

    /// Ids of the checks of a service itself.
    pub fn own_check_ids(&self, service_id: &str) -> Vec<String> {
        self.by_service.get(service_id).into_iter().flatten().cloned().collect()
    }
}

/// The local state, shared.
#[derive(Debug, Default)]
pub struct Local {
    state: Mutex<LocalState>,
    /// Wakes the sync loop.
    pub(crate) unsynced: Notify,
    /// Told when a service, by id, comes or goes or its checks change; for alias checks.
    watchers: Mutex<HashMap<String, Arc<Notify>>>,
}

impl Local {
    /// The state under its lock, for reading; never held across an await.
    pub fn read(&self) -> MutexGuard<'_, LocalState> {
        self.state.lock()
    }

    /// Changes the state and tells those who wait.
    pub fn change<T>(&self, change: impl FnOnce(&mut LocalState) -> T) -> T {
        let (result, touched) = {
            let mut state = self.state.lock();
            let result = change(&mut state);
            (result, std::mem::take(&mut state.touched))
        };
        self.tell(&touched);
        self.unsynced.notify_one();
        result
    }

    /// Takes in what a check found; see [`LocalState::update_check`].
    pub fn update_check(&self, id: &str, status: CheckStatus, output: &str, rules: UpdateRules) {
        let now = Instant::now();
        let touched = {
            let mut state = self.state.lock();
            state.update_check(id, status, output, now, rules);
            std::mem::take(&mut state.touched)
        };
        if !touched.is_empty() {
            self.tell(&touched);
            self.unsynced.notify_one();
        }
    }

    fn tell(&self, touched: &BTreeSet<String>) {
        if touched.is_empty() {
            return;
        }
        let mut watchers = self.watchers.lock();
        watchers.retain(|_, watcher| Arc::strong_count(watcher) > 1);
        if touched.contains("") {
            // What happens to the node bears on all its services.
            watchers.values().for_each(|watcher| watcher.notify_waiters());
            return;
        }
        for id in touched {
            if let Some(watcher) = watchers.get(id) {
                watcher.notify_waiters();
            }
        }
    }

    /// What tells of the next change of the checks that bear on a service (empty: the node).
    ///
    /// As with [`Local::watch_service`], arm the notification before looking at the checks.
    pub(crate) fn watch_checks(&self, service_id: &str) -> Arc<Notify> {
        let mut watchers = self.watchers.lock();
        Arc::clone(watchers.entry(service_id.to_owned()).or_default())
    }

    /// The effective form of a service and what tells of its next change.
    ///
    /// The notification must be armed before the service is looked at again, else a change between
    /// the two is missed; arm it with `Notified::enable`.
    pub(crate) fn watch_service(&self, id: &str) -> Option<Arc<Notify>> {
        self.state.lock().services.get(id).map(|row| Arc::clone(&row.changed))
    }
}

#[cfg(test)]
mod tests;
