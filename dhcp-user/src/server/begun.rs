//! Work whose batch becomes durable while the core thinks about the next messages: the disk and the processor work at the
//! same time, and nobody who comes meanwhile waits for a flush that is not theirs.
//!
//! Only thinking overlaps. The engine has in memory what is not durable yet, as it has between a message and its flush
//! anyway; kernel and network hear of the work when it is durable ([`Keeper::end`]), in the same order as if nothing had come in
//! between, and before anything later is begun. What the kernel is told of a lease is what it was when its batch was begun: by
//! then the engine may know of a longer promise that is not durable.
//!
//! Work that does more than grant is not begun but done ([`Keeper::settle`]): where leases are withdrawn, what becomes of a
//! batch without room changes what the engine knows; and with sites a batch is told to other nodes.

use std::{net::Ipv4Addr, sync::Arc};

use dhcp_common::abi::LeaseEntry;

use super::{
    keeper::{Aftermath, Keeper, KeeperError},
    work::Work,
};
use crate::{
    fastpath::lease_map::LeaseMap,
    lease::store::{Batch, LeaseStore, StoreError},
    time::Timestamp,
};

/// Work that was begun.
pub(super) struct Begun {
    now: Timestamp,
    batch: Arc<Batch>,
    /// The rest of it.
    work: Work,
    /// What the kernel is to know.
    entries: Vec<(Ipv4Addr, Option<LeaseEntry>)>,
    /// What came of it, where the store did it at once.
    outcome: Option<Result<(), StoreError>>,
}

/// Whether all that work does is grant, and tell.
fn only_grants(work: &Work) -> bool {
    let Work { batch, adopted, withdraw, replaced, returned, asked, .. } = work;
    !batch.is_empty()
        && adopted.is_empty()
        && withdraw.is_empty()
        && replaced.is_empty()
        && returned.is_empty()
        && asked.is_empty()
}

impl<S: LeaseStore, K: LeaseMap> Keeper<S, K> {
    /// Ends what was begun before, and begins the work: its aftermath comes from [`end`](Self::end). Work that cannot
    /// be begun is done. What is returned is the aftermath of all that was done.
    ///
    /// # Errors
    /// As [`settle`](Self::settle).
    pub fn begin(&mut self, now: Timestamp, mut work: Work) -> Result<Aftermath, KeeperError> {
        let mut aftermath = self.end()?;
        if self.site.is_some() || !only_grants(&work) {
            aftermath.append(self.settle(now, work)?);
            return Ok(aftermath);
        }
        self.bring_unsaved_answers(&mut work);
        let batch = Arc::new(std::mem::take(&mut work.batch));
        let entries = self.entries(&work.publish);
        let outcome = self.store.begin(&batch);
        self.begun = Some(Begun { now, batch, work, entries, outcome });
        Ok(aftermath)
    }

    /// Whether there is work whose aftermath is not known yet.
    pub const fn has_begun(&self) -> bool {
        self.begun.is_some()
    }

    /// Whether [`end`](Self::end) would not wait.
    pub fn has_ended(&mut self) -> bool {
        self.begun.as_ref().is_none_or(|begun| begun.outcome.is_some()) || self.store.has_ended()
    }

    /// Waits until what was begun is durable, and does the rest of it.
    ///
    /// # Errors
    /// As [`settle`](Self::settle).
    pub fn end(&mut self) -> Result<Aftermath, KeeperError> {
        let mut aftermath = Aftermath::default();
        let Some(Begun { now, batch, mut work, entries, outcome }) = self.begun.take() else {
            return Ok(aftermath);
        };
        let outcome = outcome.unwrap_or_else(|| self.store.end());
        let durable = self.committed(outcome)?;
        // The store has let go of it.
        work.batch = Arc::unwrap_or_clone(batch);
        if durable {
            self.unsaved.saved(&work.batch.leases);
            // Without withdrawals nothing follows from it.
            self.tell_kernel(now, &work, &entries, &mut Work::default(), &mut aftermath)?;
        } else {
            work = self.refuse(now, work.batch.leases.len(), work);
        }
        aftermath.changed = work.batch.leases;
        aftermath.audit = work.audit;
        aftermath.ask = work.ask;
        aftermath.send = work.send;
        Ok(aftermath)
    }
}

#[cfg(test)]
mod tests {
    use super::{
        super::keeper::tests::{Map, SEC, Start, started, think},
        *,
    };
    use crate::lease::store::{Failure, MemoryStore};

    const ADDRESS: Ipv4Addr = Ipv4Addr::new(198, 18, 0, 12);
    const OTHER: Ipv4Addr = Ipv4Addr::new(198, 18, 0, 13);

    type TestKeeper = Keeper<MemoryStore, Map>;

    fn keeper() -> TestKeeper {
        started(MemoryStore::new(), Start(10 * SEC, None, None))
    }

    fn begin(keeper: &mut TestKeeper, boot_ns: u64, work: Work) -> Aftermath {
        keeper.begin(keeper.timeline.timestamp(boot_ns), work).unwrap()
    }

    fn published(keeper: &TestKeeper, address: Ipv4Addr) -> Option<Timestamp> {
        let entry = keeper.kernel.as_ref()?.entries.get(&address)?;
        Some(keeper.timeline.timestamp(entry.horizon_boot_ns))
    }

    fn durable(keeper: &TestKeeper, address: Ipv4Addr) -> Timestamp {
        keeper.store.durable().leases[&address].horizon
    }

    #[test]
    fn the_kernel_is_told_what_is_durable_and_not_what_was_thought_of_since() {
        let mut keeper = keeper();
        let work = think(&mut keeper, 11 * SEC, 1, ADDRESS);
        assert_eq!(begin(&mut keeper, 11 * SEC, work), Aftermath::default());
        assert!(keeper.has_begun() && keeper.has_ended());
        assert_eq!(published(&keeper, ADDRESS), None);
        let more = think(&mut keeper, 400 * SEC, 1, ADDRESS);
        assert!(keeper.core.engine.leases().get(ADDRESS).unwrap().horizon > durable(&keeper, ADDRESS));
        let aftermath = keeper.end().unwrap();
        assert_eq!((aftermath.send.len(), aftermath.changed.len(), aftermath.audit.len()), (1, 1, 1));
        assert_eq!(published(&keeper, ADDRESS), Some(durable(&keeper, ADDRESS)));
        assert!(!keeper.has_begun());
        let before = durable(&keeper, ADDRESS);
        assert_eq!(begin(&mut keeper, 400 * SEC, more), Aftermath::default());
        assert_eq!(keeper.end().unwrap().send.len(), 1);
        assert_eq!(published(&keeper, ADDRESS), Some(durable(&keeper, ADDRESS)));
        assert!(durable(&keeper, ADDRESS) > before);
    }

    #[test]
    fn what_is_begun_or_done_later_is_told_later() {
        let mut keeper = keeper();
        let work = think(&mut keeper, 11 * SEC, 1, ADDRESS);
        let first = begin(&mut keeper, 11 * SEC, work);
        let work = think(&mut keeper, 12 * SEC, 2, OTHER);
        let second = begin(&mut keeper, 12 * SEC, work);
        assert_eq!(first, Aftermath::default());
        assert_eq!(second.send.first().and_then(|outgoing| outgoing.promises), Some(ADDRESS));
        let again = think(&mut keeper, 13 * SEC, 1, ADDRESS);
        let third = keeper.settle(keeper.timeline.timestamp(13 * SEC), again).unwrap();
        let told: Vec<_> = third.send.iter().filter_map(|outgoing| outgoing.promises).collect();
        assert_eq!(told, [OTHER, ADDRESS]);
        assert_eq!(keeper.end().unwrap(), Aftermath::default());
    }

    #[test]
    fn what_finds_no_room_is_told_to_nobody_until_it_does() {
        let mut keeper = keeper();
        keeper.store.fail_next(Failure::Full);
        let work = think(&mut keeper, 11 * SEC, 1, ADDRESS);
        let _ = begin(&mut keeper, 11 * SEC, work);
        let other = think(&mut keeper, 11 * SEC, 2, OTHER);
        let refused = keeper.end().unwrap();
        assert_eq!(refused, Aftermath::default());
        assert_eq!((keeper.store_refusals, published(&keeper, ADDRESS)), (1, None));
        // The answer both share goes with the next that finds room.
        let _ = begin(&mut keeper, 11 * SEC, other);
        assert_eq!(keeper.end().unwrap().send.len(), 1);
        assert_eq!(published(&keeper, OTHER), Some(durable(&keeper, OTHER)));
        assert!(!keeper.store.durable().answers.is_empty());
        assert_eq!(published(&keeper, ADDRESS), None);
        let saved = keeper.save(keeper.timeline.timestamp(20 * SEC)).unwrap();
        assert!(saved.send.is_empty(), "its client asks again");
        assert_eq!(published(&keeper, ADDRESS), Some(durable(&keeper, ADDRESS)));
    }

    #[test]
    fn a_store_that_fails_ends_everything() {
        let mut keeper = keeper();
        keeper.store.fail_next(Failure::FlushLost);
        let work = think(&mut keeper, 11 * SEC, 1, ADDRESS);
        let _ = begin(&mut keeper, 11 * SEC, work);
        assert!(matches!(keeper.end(), Err(KeeperError::Store(_))));
        assert_eq!(published(&keeper, ADDRESS), None);
    }

    #[test]
    fn work_that_does_more_than_grant_is_done_at_once() {
        let mut keeper = keeper();
        let mut work = think(&mut keeper, 11 * SEC, 1, ADDRESS);
        work.withdraw.push(OTHER);
        let done = begin(&mut keeper, 11 * SEC, work);
        assert_eq!((done.send.len(), done.withdrawn.len()), (1, 1));
        assert!(!keeper.has_begun());
        let only_told = Work { send: done.send, ..Work::default() };
        assert_eq!(begin(&mut keeper, 11 * SEC, only_told).send.len(), 1);
    }
}
