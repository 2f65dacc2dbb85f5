//! Asks the service's thread, and gives up in time: nobody who waits for an answer may wait for ever, and no more wait than the
//! thread has time for beside what it is there for.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
        mpsc::SyncSender,
    },
    time::Duration,
};

use tokio::{
    sync::{Semaphore, oneshot},
    time::timeout,
};

use super::problem::Problem;
use crate::server::{
    queries::WAITING_MAX,
    service::{Event, Query},
};

/// How long the service may take for one answer, which is bounded work.
const PATIENCE: Duration = Duration::from_secs(5);
/// Questions of the daemon's own that may wait beside those of callers: of whoever looks every second, on behalf of all
/// who want to see the same, or has something to bring to its end. They are few, whoever asks.
const OWN_WAITING_MAX: usize = 16;

/// The way to the service's thread.
#[derive(Clone, Debug)]
pub struct ServiceHandle {
    events: SyncSender<Event>,
    room: Arc<Semaphore>,
    room_for_itself: Arc<Semaphore>,
    refused: Arc<AtomicU64>,
}

impl ServiceHandle {
    /// To the thread that receives these.
    pub fn new(events: SyncSender<Event>) -> Self {
        Self {
            events,
            room: Arc::new(Semaphore::new(WAITING_MAX)),
            room_for_itself: Arc::new(Semaphore::new(OWN_WAITING_MAX)),
            refused: Arc::default(),
        }
    }

    /// Asks for a caller, and waits for the answer.
    ///
    /// # Errors
    /// 503 if the service is too busy, too slow or gone.
    pub async fn ask<T>(&self, query: impl FnOnce(oneshot::Sender<T>) -> Query) -> Result<T, Problem> {
        self.ask_in(&self.room, query).await
    }

    /// Asks for the daemon itself, which callers cannot take the places of.
    ///
    /// # Errors
    /// As [`ask`](Self::ask).
    pub async fn ask_for_itself<T>(
        &self,
        query: impl FnOnce(oneshot::Sender<T>) -> Query,
    ) -> Result<T, Problem> {
        self.ask_in(&self.room_for_itself, query).await
    }

    async fn ask_in<T>(
        &self,
        room: &Semaphore,
        query: impl FnOnce(oneshot::Sender<T>) -> Query,
    ) -> Result<T, Problem> {
        let (to, answer) = oneshot::channel();
        let query = query(to);
        // Kept until the answer is there, or nobody waits for it any more.
        let Ok(_place) = room.try_acquire() else { return Err(self.refuse()) };
        self.events.try_send(Event::Query(query)).map_err(|_| self.refuse())?;
        match timeout(PATIENCE, answer).await {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(_)) => Err(Problem::unavailable("the service is stopping")),
            Err(_) => Err(Problem::unavailable("the service did not answer in time")),
        }
    }

    /// Questions refused because too many waited.
    pub fn refused(&self) -> u64 {
        self.refused.load(Relaxed)
    }

    fn refuse(&self) -> Problem {
        self.refused.fetch_add(1, Relaxed);
        Problem::unavailable("the service is too busy to answer, or stopping; ask again")
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::sync_channel;

    use tokio::task::JoinSet;

    use super::*;

    #[tokio::test]
    async fn no_more_wait_than_may_and_the_daemon_has_room_of_its_own() {
        let (sender, receiver) = sync_channel(4 * WAITING_MAX);
        let service = ServiceHandle::new(sender);
        let mut waiting = JoinSet::new();
        for _ in 0..WAITING_MAX {
            let service = service.clone();
            waiting.spawn(async move { service.ask(Query::Stats).await });
        }
        while service.room.available_permits() > 0 {
            tokio::task::yield_now().await;
        }
        let refused = service.ask(Query::Stats).await.unwrap_err();
        assert_eq!((refused.status, refused.retry_after_secs, service.refused()), (503, Some(1), 1));
        let health = service.clone();
        let health = tokio::spawn(async move { health.ask_for_itself(Query::Health).await.map(drop) });
        while service.room_for_itself.available_permits() == OWN_WAITING_MAX {
            tokio::task::yield_now().await;
        }
        assert!(!health.is_finished());
        // Whoever gives up makes room, and the thread sees that nobody waits.
        waiting.shutdown().await;
        assert_eq!(service.room.available_permits(), WAITING_MAX);
        let events: Vec<_> = receiver.try_iter().collect();
        let nobody = |event: &&Event| matches!(event, Event::Query(query) if query.is_abandoned());
        assert_eq!((events.len(), events.iter().filter(nobody).count()), (WAITING_MAX + 1, WAITING_MAX));
        health.abort();
    }
}
