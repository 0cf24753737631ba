//! The one thing others may do to an open connection: cut it.

use std::cell::{Cell, RefCell};
use std::task::{Context, Poll, Waker};

/// Why a connection was ended from outside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cut {
    /// The intentions changed and no longer allow it.
    Denied,
    /// It was still open when the time to drain was over.
    Drained,
    /// Its handshake was the oldest of too many.
    Crowded,
}

/// Shared between a connection's task and its worker, on one thread.
#[derive(Default)]
pub(crate) struct Control {
    cut: Cell<Option<Cut>>,
    waker: RefCell<Option<Waker>>,
}

impl Control {
    /// Ends the connection; the first reason stays.
    pub(crate) fn cut(&self, reason: Cut) {
        if self.cut.get().is_none() {
            self.cut.set(Some(reason));
            if let Some(waker) = self.waker.take() {
                waker.wake();
            }
        }
    }

    pub(crate) fn poll_cut(&self, cx: &mut Context<'_>) -> Poll<Cut> {
        if let Some(reason) = self.cut.get() {
            return Poll::Ready(reason);
        }
        let mut waker = self.waker.borrow_mut();
        match &mut *waker {
            Some(waker) if waker.will_wake(cx.waker()) => {}
            waker => *waker = Some(cx.waker().clone()),
        }
        Poll::Pending
    }

    /// Runs `future` unless and until the connection is cut.
    pub(crate) async fn guard<F: Future>(&self, future: F) -> Result<F::Output, Cut> {
        let mut future = std::pin::pin!(future);
        std::future::poll_fn(|cx| {
            if let Poll::Ready(reason) = self.poll_cut(cx) {
                return Poll::Ready(Err(reason));
            }
            future.as_mut().poll(cx).map(Ok)
        })
        .await
    }
}
