//! From which log index on a read is good enough: whoever asks while a question is under way waits
//! for the next one, which is asked for all of them.

use std::sync::Arc;

use model::error::Error;
use model::query::Consistency;
use parking_lot::Mutex;
use tokio::sync::oneshot;

use crate::link::{Answer, Request};
use crate::shared::Shared;

/// One for each kind of question.
#[derive(Debug, Default)]
pub(crate) struct Confirmers {
    by_lease: Batch,
    by_round: Batch,
}

#[derive(Debug, Default)]
struct Batch(Mutex<Waiting>);

#[derive(Debug, Default)]
struct Waiting {
    is_asking: bool,
    waiting: Vec<oneshot::Sender<Result<u64, Error>>>,
}

impl Shared {
    /// Waits until a read of the published state is as fresh as asked for.
    pub(crate) async fn confirm(self: &Arc<Self>, consistency: Consistency) -> Result<(), Error> {
        if self.may_answer(consistency) {
            return Ok(());
        }
        let index = self.confirmed_index(consistency == Consistency::Default).await?;
        self.await_applied(index).await
    }

    async fn confirmed_index(self: &Arc<Self>, by_lease: bool) -> Result<u64, Error> {
        let (reply, replied) = oneshot::channel();
        let must_ask = {
            let mut batch = self.batch(by_lease).0.lock();
            batch.waiting.push(reply);
            !std::mem::replace(&mut batch.is_asking, true)
        };
        if must_ask {
            // A task of its own, since this future may be dropped while others wait.
            let shared = self.clone();
            tokio::spawn(async move { shared.ask_for_all(by_lease).await });
        }
        replied.await.unwrap_or_else(|_| Err(self.closed_error()))
    }

    async fn ask_for_all(&self, by_lease: bool) {
        loop {
            let asking = {
                let mut batch = self.batch(by_lease).0.lock();
                if batch.waiting.is_empty() {
                    batch.is_asking = false;
                    return;
                }
                std::mem::take(&mut batch.waiting)
            };
            let answer = match self.ask_leader(Request::Confirm { by_lease }).await {
                Ok(Answer::Confirmed { index }) => Ok(index),
                Ok(_) => Err(Error::internal("an answer of another kind than asked for")),
                Err(e) => Err(e),
            };
            for reply in asking {
                // Who is gone has given up waiting.
                let _ = reply.send(answer.clone());
            }
        }
    }

    fn batch(&self, by_lease: bool) -> &Batch {
        if by_lease { &self.confirmers.by_lease } else { &self.confirmers.by_round }
    }
}
