//! A store in memory for simulation and tests, that fails and forgets on command as disks do.

use std::{collections::BTreeMap, net::Ipv4Addr};

use super::{Batch, LeaseStore, MetaKey, StoreError};
use crate::lease::record::LeaseRecord;

/// What a store holds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Contents {
    /// Leases by address.
    pub leases: BTreeMap<Ipv4Addr, LeaseRecord>,
    /// Answers by id.
    pub answers: BTreeMap<u32, Vec<u8>>,
    /// Bookkeeping values.
    pub meta: BTreeMap<MetaKey, Vec<u8>>,
    /// Reservations made while the daemon runs, by address.
    pub reservations: BTreeMap<Ipv4Addr, Vec<u8>>,
}

impl Contents {
    /// Applies a batch as every store must.
    pub fn apply(&mut self, batch: &Batch) {
        self.leases.extend(batch.leases.iter().map(|lease| (lease.address, lease.clone())));
        for address in &batch.forgotten {
            self.leases.remove(address);
        }
        self.answers.extend(batch.answers.iter().map(|answer| (answer.id, answer.bytes.clone())));
        for id in &batch.dropped_answers {
            self.answers.remove(id);
        }
        self.meta.extend(batch.meta.iter().cloned());
        let reservations = batch.reservations.iter();
        self.reservations.extend(reservations.map(|made| (made.address, made.bytes.clone())));
        for address in &batch.dropped_reservations {
            self.reservations.remove(address);
        }
    }
}

/// How the next commit fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failure {
    /// [`StoreError::Full`]: nothing is written, the next commit may succeed.
    Full,
    /// The flush fails and the batch is lost at a crash.
    FlushLost,
    /// The flush fails, yet the batch is there after a crash.
    FlushKept,
}

/// A [`LeaseStore`] whose disk is a struct.
///
/// [`Failure`] makes the next commit fail; [`MemoryStore::crash`] is a crash and a restart.
#[derive(Debug, Default)]
pub struct MemoryStore {
    durable: Contents,
    fail_next: Option<Failure>,
    poisoned: bool,
    lying: Option<Vec<Batch>>,
    commits: u64,
}

impl MemoryStore {
    /// An empty store.
    pub fn new() -> Self {
        Self::default()
    }

    /// Makes the next commit fail.
    pub const fn fail_next(&mut self, failure: Failure) {
        self.fail_next = Some(failure);
    }

    /// From here on commits are acknowledged and yet lost at the next crash, as on a disk that lies about its flushes:
    /// for tests that must notice a broken promise.
    pub fn lie(&mut self) {
        self.lying.get_or_insert_default();
    }

    /// What would be there after a crash now.
    pub const fn durable(&self) -> &Contents {
        &self.durable
    }

    /// Number of commits acknowledged.
    pub const fn commits(&self) -> u64 {
        self.commits
    }

    /// A crash and a restart: whatever was not durable is gone, and the store works again. Returns what was lost
    /// although it had been acknowledged, which is something only after [`MemoryStore::lie`].
    pub fn crash(&mut self) -> Vec<Batch> {
        self.poisoned = false;
        self.fail_next = None;
        self.lying.take().unwrap_or_default()
    }
}

impl LeaseStore for MemoryStore {
    fn commit(&mut self, batch: &Batch) -> Result<(), StoreError> {
        if self.poisoned {
            return Err(StoreError::Poisoned { path: "memory".into() });
        }
        let failure = self.fail_next.take();
        if failure == Some(Failure::Full) {
            let source = std::io::ErrorKind::StorageFull.into();
            return Err(StoreError::Full { path: "memory".into(), source });
        }
        if failure != Some(Failure::FlushLost) {
            match &mut self.lying {
                Some(unflushed) => unflushed.push(batch.clone()),
                None => self.durable.apply(batch),
            }
        }
        if failure.is_some() {
            self.poisoned = true;
            let source = std::io::Error::other("told to fail");
            return Err(StoreError::Io { action: "flush", path: "memory".into(), source });
        }
        self.commits += 1;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn batch(value: u8) -> Batch {
        Batch { meta: vec![(MetaKey::Generation, vec![value])], ..Batch::default() }
    }

    fn generation(store: &MemoryStore) -> Option<u8> {
        store.durable().meta.get(&MetaKey::Generation).map(|value| value[0])
    }

    #[test]
    fn fails_and_forgets_as_told() {
        let mut store = MemoryStore::new();
        store.commit(&batch(1)).unwrap();
        store.fail_next(Failure::Full);
        assert!(matches!(store.commit(&batch(2)), Err(StoreError::Full { .. })));
        store.commit(&batch(3)).unwrap();
        store.fail_next(Failure::FlushLost);
        assert!(matches!(store.commit(&batch(4)), Err(StoreError::Io { .. })));
        assert!(matches!(store.commit(&batch(5)), Err(StoreError::Poisoned { .. })));
        assert_eq!((store.crash(), generation(&store)), (vec![], Some(3)));
        store.fail_next(Failure::FlushKept);
        assert!(store.commit(&batch(6)).is_err());
        assert_eq!((store.crash(), generation(&store), store.commits()), (vec![], Some(6), 2));
        store.lie();
        store.commit(&batch(7)).unwrap();
        assert_eq!((store.crash(), generation(&store)), (vec![batch(7)], Some(6)));
    }
}
