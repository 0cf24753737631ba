//! The trusted roots, followed from the start so that they are there when asked for.

use std::sync::Arc;

use model::ca::CaRoots;
use model::query::{Query, Reply, Token};
use rpc::{Answer, Body};
use tokio::sync::watch;

use crate::error::Error;
use crate::views::{Cached, ViewState, Views, WaitOptions, wait_newer};

/// A held view of the roots.
#[derive(Clone)]
pub(crate) struct RootsView {
    state: watch::Receiver<ViewState>,
}

impl RootsView {
    pub(crate) fn new(views: &Arc<Views>, token: Token) -> Result<Self, Error> {
        let state = views.subscribe(Query::CaRoots, token).ok_or(Error::ShuttingDown)?;
        Ok(Self { state })
    }

    /// The roots and their encoding, newer than `wait` asks for or as they are when the wait is over.
    ///
    /// Shape: the reply is [`Reply::CaRoots`].
    pub(crate) async fn get(&self, wait: &WaitOptions) -> Result<Cached<Arc<Body>>, Error> {
        let Cached { value: Answer { body, .. }, index, cache } =
            wait_newer(&mut self.state.clone(), wait).await?;
        Ok(Cached { value: body, index, cache })
    }

    /// The roots once they are known.
    pub(crate) async fn known(&self) -> Result<Arc<CaRoots>, Error> {
        let body = self.get(&WaitOptions::default()).await?.value;
        of_reply(&body.reply).ok_or_else(unexpected)
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
    model::error::Error::internal("servers answered the roots query with something else").into()
}
