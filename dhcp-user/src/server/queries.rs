//! Questions that wait for the service's thread, and how much of its time they get: frames go first, and between two batches of
//! them questions are answered for a moment. Changes of leases wait no longer than a batch, and share one flush.

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

use super::{
    desk::Change,
    keeper::KeeperError,
    service::{Query, Service},
};
use crate::time::Timestamp;

/// Questions that may wait.
pub const WAITING_MAX: usize = 256;
/// How long questions are answered between two batches of frames. One is answered at least.
const ANSWER_TIME: Duration = Duration::from_millis(2);

impl Query {
    /// Whether nobody waits for the answer any more. The end of a capture is carried out all the same.
    pub fn is_abandoned(&self) -> bool {
        match self {
            Self::Page(_, to) => to.is_closed(),
            Self::Lease(_, to) => to.is_closed(),
            Self::Stats(to) => to.is_closed(),
            Self::Subnets(_, to) => to.is_closed(),
            Self::Health(to) => to.is_closed(),
            Self::Explain(_, to) => to.is_closed(),
            Self::Sites(to) => to.is_closed(),
            // Whoever asked was told that it was not done.
            Self::Change(change) => change.to.is_closed(),
            Self::Tap(_) => false,
        }
    }
}

/// The questions that wait.
#[derive(Debug, Default)]
pub struct Queries {
    waiting: VecDeque<Query>,
}

impl Queries {
    /// Has a question wait; health goes first. Whoever asks sees to it that no more than [`WAITING_MAX`] wait: one beyond
    /// them and those that were given up is dropped.
    pub fn push(&mut self, query: Query) {
        if self.waiting.len() >= 2 * WAITING_MAX {
            self.waiting.retain(|query| !query.is_abandoned());
            if self.waiting.len() >= 2 * WAITING_MAX {
                return;
            }
        }
        match query {
            Query::Health(_) => self.waiting.push_front(query),
            _ => self.waiting.push_back(query),
        }
    }

    /// Whether none waits.
    pub fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// The next that somebody still waits for.
    pub fn take_next(&mut self) -> Option<Query> {
        std::iter::from_fn(|| self.waiting.pop_front()).find(|query| !query.is_abandoned())
    }

    /// All changes of leases that somebody still waits for, in the order they came in.
    pub fn take_changes(&mut self) -> Vec<Change> {
        let mut changes = Vec::new();
        if !self.waiting.iter().any(|query| matches!(query, Query::Change(_))) {
            return changes;
        }
        for query in std::mem::take(&mut self.waiting) {
            match query {
                Query::Change(change) if change.to.is_closed() => {}
                Query::Change(change) => changes.push(change),
                other => self.waiting.push_back(other),
            }
        }
        changes
    }
}

impl Service {
    /// Makes the changes that wait, and answers questions for a moment.
    ///
    /// # Errors
    /// As [`Keeper::settle`](super::keeper::Keeper::settle).
    pub(super) fn answer_some(&mut self, now: Timestamp) -> Result<(), KeeperError> {
        let changes = self.queries.take_changes();
        if !changes.is_empty() {
            self.change(now, changes)?;
        }
        let began = Instant::now();
        while let Some(query) = self.queries.take_next() {
            self.answer(query);
            if began.elapsed() >= ANSWER_TIME {
                break;
            }
        }
        Ok(())
    }

    fn answer(&mut self, query: Query) {
        // Whoever asked may be gone by now; that is theirs to know.
        match query {
            Query::Page(wanted, to) => drop(to.send(self.page(&wanted))),
            Query::Subnets(from, to) => drop(to.send(self.subnet_part(from))),
            Query::Health(to) => drop(to.send(self.health())),
            Query::Explain(subject, to) => drop(to.send(self.explain(&subject))),
            Query::Sites(to) => drop(to.send(self.node_view())),
            Query::Lease(address, to) => {
                let lease = self.keeper.core.engine.leases().get(address);
                drop(to.send(lease.map(|lease| self.lease_view(lease))));
            }
            Query::Stats(to) => drop(to.send(self.stats())),
            Query::Tap(order) => self.tap(order),
            // Taken before.
            Query::Change(_) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use tokio::sync::oneshot;

    use super::*;
    use crate::server::{
        desk::{Act, ActError},
        view::LeaseView,
    };

    type Done = Result<LeaseView, ActError>;

    fn change(n: u8) -> (Query, oneshot::Receiver<Done>) {
        let (to, answer) = oneshot::channel();
        let address = Ipv4Addr::new(198, 18, 0, n);
        (Query::Change(Change { address, act: Act::Release, expected: None, to }), answer)
    }

    #[test]
    fn who_gave_up_is_not_answered_and_who_asks_for_health_is_first() {
        let mut queries = Queries::default();
        let (to, subnets) = oneshot::channel();
        queries.push(Query::Subnets(Ipv4Addr::UNSPECIFIED, to));
        let (to, gave_up) = oneshot::channel();
        queries.push(Query::Stats(to));
        drop(gave_up);
        let (to, _health) = oneshot::channel();
        queries.push(Query::Health(to));
        assert!(matches!(queries.take_next(), Some(Query::Health(_))));
        assert!(matches!(queries.take_next(), Some(Query::Subnets(..))));
        assert!(queries.take_next().is_none() && queries.is_empty());
        drop(subnets);
    }

    #[test]
    fn changes_are_taken_together_in_their_order_and_leave_the_others() {
        let mut queries = Queries::default();
        let (first, _first) = change(1);
        let (given_up, answer) = change(2);
        let (last, _last) = change(3);
        let (to, _stats) = oneshot::channel();
        queries.push(first);
        queries.push(Query::Stats(to));
        queries.push(given_up);
        queries.push(last);
        drop(answer);
        let taken: Vec<_> = queries.take_changes().iter().map(|change| change.address.octets()[3]).collect();
        assert_eq!(taken, [1, 3]);
        assert!(matches!(queries.take_next(), Some(Query::Stats(_))));
        assert!(queries.take_changes().is_empty());
    }

    #[test]
    fn what_waits_is_bounded_whoever_asks() {
        let mut queries = Queries::default();
        let mut answers = Vec::new();
        for round in 0..8 * WAITING_MAX {
            let (to, answer) = oneshot::channel();
            queries.push(Query::Stats(to));
            // Three of four give up.
            if round % 4 == 0 && answers.len() < WAITING_MAX {
                answers.push(answer);
            }
        }
        assert!(queries.waiting.len() <= 2 * WAITING_MAX, "{} wait", queries.waiting.len());
        let answered = std::iter::from_fn(|| queries.take_next()).count();
        assert_eq!(answered, WAITING_MAX, "nobody who waits was dropped");
    }
}
