//! The trusted roots, followed from the start so that they are there when asked for.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use model::ca::CaRoots;
use model::error::{Error as ClusterError, ErrorKind};
use model::query::{Query, Reply, Token};
use rpc::{Answer, Body};
use tokio::sync::watch;
use tokio::time::Instant;

use crate::error::Error;
use crate::views::{Cached, FIRST_ANSWER_WAIT, ViewState, Views, WaitOptions, wait_newer};

/// A held view of the roots.
#[derive(Clone)]
pub(crate) struct RootsView {
    state: watch::Receiver<ViewState>,
    /// Asked for from outside before; the first asking counts as a miss, as if it had fetched them.
    is_asked: Arc<AtomicBool>,
}

impl RootsView {
    pub(crate) fn new(views: &Arc<Views>, token: Token) -> Result<Self, Error> {
        let state = views.subscribe(Query::CaRoots, token).ok_or(Error::ShuttingDown)?;
        Ok(Self { state, is_asked: Arc::default() })
    }

    /// The roots and their encoding, newer than `wait` asks for or as they are when the wait is over.
    ///
    /// Shape: the reply is [`Reply::CaRoots`].
    pub(crate) async fn get(&self, wait: &WaitOptions) -> Result<Cached<Arc<Body>>, Error> {
        let Cached { value: Answer { body, .. }, index, cache } =
            wait_newer(&mut self.state.clone(), wait).await?;
        Ok(Cached { value: body, index, cache })
    }

    /// As [`RootsView::get`], for callers outside.
    pub(crate) async fn ask(&self, wait: &WaitOptions) -> Result<Cached<Arc<Body>>, Error> {
        let mut answer = self.get(wait).await?;
        answer.cache.hit &= self.is_asked.swap(true, Ordering::Relaxed);
        Ok(answer)
    }

    /// The roots once there is an authority: a young cluster has none for a moment.
    pub(crate) async fn known(&self) -> Result<Arc<CaRoots>, Error> {
        let mut wait = WaitOptions::default();
        let deadline = Instant::now() + FIRST_ANSWER_WAIT;
        loop {
            let Cached { value, index, .. } = self.get(&wait).await?;
            let roots = of_reply(&value.reply).ok_or_else(unexpected)?;
            if !roots.active_root_id.is_empty() {
                return Ok(roots);
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(ClusterError::new(
                    ErrorKind::Unavailable,
                    "CA is uninitialized and unable to sign certificates yet",
                )
                .into());
            }
            wait = WaitOptions { min_index: index, wait: Some(left) };
        }
    }

    /// Resolves at the next change after the last call. Dropping it loses nothing.
    pub(crate) async fn changed(&mut self) -> Result<Option<Arc<CaRoots>>, Error> {
        self.state.changed().await.map_err(|_| Error::ShuttingDown)?;
        Ok(of_state(&self.state.borrow_and_update()))
    }
}

fn of_state(state: &ViewState) -> Option<Arc<CaRoots>> {
    of_reply(&state.answer.as_ref()?.body.reply)
}

fn of_reply(reply: &Reply) -> Option<Arc<CaRoots>> {
    match reply {
        Reply::CaRoots(roots) => Some(Arc::clone(roots)),
        _ => None,
    }
}

fn unexpected() -> Error {
    ClusterError::internal("servers answered the roots query with something else").into()
}
