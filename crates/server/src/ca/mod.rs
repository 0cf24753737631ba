//! The certificate authority of the cluster: brings it into being, signs leaves, rotates roots.
//!
//! Everything it is lies in the replicated state; keys are made here, then committed, and whoever
//! signs opens them from the state. Signing touches neither the consensus thread nor the log.

mod limit;
mod plan;
mod signer;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use arc_swap::ArcSwapOption;
use event_listener::Listener;
use model::ca::{CaConfiguration, CaRequest, IssuedCert};
use model::command::{Command, Outcome};
use model::error::{Error, ErrorKind};
use model::query::Consistency;
use model::time::Timestamp;
use pki::csr::Csr;
use serde_json::Value;
use tokio::sync::oneshot;

use crate::link::Request;
use crate::metrics::add;
use crate::shared::{Job, Shared};
use limit::Limiter;
use plan::Step;
use signer::Signer;

/// Pause before a failed start of the authority is tried again.
const RETRY: Duration = Duration::from_secs(1);
/// How often a compare-and-set of roots is tried against other writers.
const ROTATION_TRIES: usize = 3;

/// How the authority starts. Settings: `connect.enabled`, `connect.ca_provider`,
/// `connect.ca_config`.
#[derive(Clone, Debug, Default)]
pub struct CaSettings {
    /// Empty for the built-in one.
    pub provider: String,
    /// Provider settings of a new cluster, as users write them; an existing cluster keeps its own.
    pub config: BTreeMap<String, Value>,
    /// UUID of a new cluster; drawn when empty.
    pub cluster_id: String,
}

/// The authority as this server runs it.
pub(crate) struct Authority {
    shared: Arc<Shared>,
    settings: Option<CaSettings>,
    signer: ArcSwapOption<Signer>,
    limiter: Limiter,
    /// One change of the authority at a time on this server.
    changing: tokio::sync::Mutex<()>,
}

impl Authority {
    pub(crate) fn new(shared: Arc<Shared>, settings: Option<CaSettings>) -> Self {
        Self {
            shared,
            settings,
            signer: ArcSwapOption::empty(),
            limiter: Limiter::default(),
            changing: tokio::sync::Mutex::new(()),
        }
    }

    /// Brings the authority into being whenever this server comes to lead one without. Runs on a
    /// thread of its own until the server ends.
    pub(crate) fn watch_over(&self) {
        let Some(settings) = &self.settings else { return };
        loop {
            let changed = self.shared.leadership_changed.listen();
            if self.shared.is_closed() {
                return;
            }
            if !self.shared.leadership.load().is_ready {
                changed.wait();
                continue;
            }
            match self.bring_into_being(settings) {
                Ok(()) => changed.wait(),
                Err(e) => {
                    tracing::error!(error = %e, "could not start the certificate authority");
                    changed.wait_timeout(RETRY);
                }
            }
        }
    }

    fn bring_into_being(&self, settings: &CaSettings) -> Result<(), Error> {
        loop {
            let state = self.shared.state.load_full();
            let steps = plan::bring_into_being(&state, settings, now())?;
            if steps.is_empty() {
                return Ok(());
            }
            for step in steps {
                if !commit_blocking(&self.shared, step)? {
                    // Somebody else was first; look again.
                    break;
                }
            }
        }
    }

    /// Signs a leaf for the identity in `csr_pem`.
    pub(crate) async fn sign_leaf(self: &Arc<Self>, csr_pem: String) -> Result<IssuedCert, Error> {
        let signer = match self.signer() {
            // The state may be a moment old: one as good as a read has what was there before.
            Err(e) if e.kind == ErrorKind::Unavailable => {
                self.shared.confirm(Consistency::Default).await?;
                self.signer()?
            }
            signer => signer?,
        };
        let _permit = self.limiter.admit(signer.limits()).await.inspect_err(|_| {
            add(&self.shared.metrics.leaves_limited, 1);
        })?;
        let authority = self.clone();
        // A verification and a signature: computing that does not belong on the runtime's threads.
        // Dropped, the leaf is made and thrown away.
        tokio::task::spawn_blocking(move || authority.sign_now(&signer, &csr_pem))
            .await
            .map_err(|_| Error::internal("signing a leaf panicked"))?
    }

    fn sign_now(&self, signer: &Signer, csr_pem: &str) -> Result<IssuedCert, Error> {
        let metrics = &self.shared.metrics;
        let refuse = |message: String| {
            add(&metrics.leaves_refused, 1);
            Error::invalid(message)
        };
        let csr = Csr::from_pem(csr_pem).map_err(|e| refuse(e.to_string()))?;
        csr.check(signer.trust_domain(), &self.shared.config.datacenter)
            .map_err(|e| refuse(e.to_string()))?;
        let mut leaf = signer.sign(&csr, now()).map_err(|e| Error::internal(e.to_string()))?;
        let index = self.shared.state.load().index();
        (leaf.create_index, leaf.modify_index) = (index, index);
        add(&metrics.leaves_signed, 1);
        Ok(leaf)
    }

    /// The signer of the replicated state as it is, opened again only when that changed.
    fn signer(&self) -> Result<Arc<Signer>, Error> {
        let state = self.shared.state.load();
        if let Some(signer) = self.signer.load_full().filter(|signer| signer.is_of(&state)) {
            return Ok(signer);
        }
        if self.settings.is_none() {
            return Err(Error::internal("Connect must be enabled in order to use this endpoint"));
        }
        let opened = Arc::new(Signer::open(&state)?);
        self.signer.store(Some(opened.clone()));
        Ok(opened)
    }

    /// Takes new settings, with a new root when they ask for another key. The leader does it.
    pub(crate) async fn configure(&self, config: CaConfiguration) -> Result<(), Error> {
        self.shared.ask_leader(Request::ConfigureCa(Box::new(config))).await.map(|_| ())
    }

    pub(crate) async fn configure_here(&self, config: CaConfiguration) -> Result<(), Error> {
        let _changing = self.changing.lock().await;
        for _ in 0..ROTATION_TRIES {
            let (state, config) = (self.shared.state.load_full(), config.clone());
            // RSA keys take long to make.
            let planned =
                tokio::task::spawn_blocking(move || plan::configure(&state, config, now()))
                    .await
                    .map_err(|_| Error::internal("planning a rotation panicked"))?;
            let steps = planned?;
            let is_rotation = steps.iter().any(|step| matches!(step, Step::Decisive(_)));
            if self.commit_all(steps).await? {
                add(&self.shared.metrics.ca_rotations, u64::from(is_rotation));
                return Ok(());
            }
        }
        Err(Error::new(ErrorKind::Conflict, "could not atomically update roots and config"))
    }

    /// Whether all went through; false when another writer changed the roots meanwhile.
    async fn commit_all(&self, steps: Vec<Step>) -> Result<bool, Error> {
        for step in steps {
            let command = Box::new(Command::Ca(step.request()));
            let outcome = self.shared.ask_here(|reply| Job::Command(command, reply)).await?;
            if outcome == Outcome::Applied(false) {
                return Ok(false);
            }
        }
        Ok(true)
    }
}

/// Commits one step from a thread outside the runtime. False when its condition did not hold.
fn commit_blocking(shared: &Shared, step: Step) -> Result<bool, Error> {
    let (reply, replied) = oneshot::channel();
    shared.submit(Job::Command(Box::new(Command::Ca(step.request())), reply))?;
    let outcome = replied.blocking_recv().map_err(|_| shared.closed_error())??;
    Ok(outcome != Outcome::Applied(false))
}

fn now() -> Timestamp {
    SystemTime::now().into()
}

impl Step {
    fn request(self) -> CaRequest {
        match self {
            Self::Plain(request) | Self::Decisive(request) => request,
        }
    }
}
