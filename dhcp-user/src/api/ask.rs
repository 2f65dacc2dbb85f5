//! Asks the service's thread, and gives up in time: nobody who waits for an answer may wait for ever.

use std::{sync::mpsc::SyncSender, time::Duration};

use tokio::{sync::oneshot, time::timeout};

use super::problem::Problem;
use crate::server::service::{Event, Query};

/// How long the service may take for one answer, which is bounded work.
const PATIENCE: Duration = Duration::from_secs(5);

/// The way to the service's thread.
#[derive(Clone, Debug)]
pub struct ServiceHandle(SyncSender<Event>);

impl ServiceHandle {
    /// To the thread that receives these.
    pub const fn new(events: SyncSender<Event>) -> Self {
        Self(events)
    }

    /// Asks, and waits for the answer.
    ///
    /// # Errors
    /// 503 if the service is too busy, too slow or gone.
    pub async fn ask<T>(&self, query: impl FnOnce(oneshot::Sender<T>) -> Query) -> Result<T, Problem> {
        let (to, answer) = oneshot::channel();
        self.0
            .try_send(Event::Query(query(to)))
            .map_err(|_| Problem::unavailable("the service is too busy to answer, or stopping; ask again"))?;
        match timeout(PATIENCE, answer).await {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(_)) => Err(Problem::unavailable("the service is stopping")),
            Err(_) => Err(Problem::unavailable("the service did not answer in time")),
        }
    }
}
