//! A store that is timed: how long flushes take is what an operator wants to know of a disk. Beside the log, which reads
//! no clock.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Instant,
};

use super::{Batch, LeaseStore, LogStore, StoreError};

/// Upper bounds of the histogram's buckets, microseconds.
pub const FLUSH_BOUNDS_US: [u64; 12] =
    [50, 100, 250, 500, 1_000, 2_500, 5_000, 10_000, 25_000, 100_000, 500_000, 2_500_000];

/// How long flushes took since the start, and whether the last one failed.
#[derive(Debug, Default)]
pub struct FlushTimes {
    /// Flushes by the first bound they are within; the last is for those beyond all.
    counts: [AtomicU64; FLUSH_BOUNDS_US.len() + 1],
    sum_us: AtomicU64,
    failing: AtomicBool,
}

/// [`FlushTimes`] at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FlushSnapshot {
    /// Flushes by bucket, not accumulated.
    pub counts: Vec<u64>,
    /// Microseconds altogether.
    pub sum_us: u64,
    /// Whether the last batch could not be made durable.
    pub failing: bool,
}

impl FlushTimes {
    /// What they are now.
    pub fn snapshot(&self) -> FlushSnapshot {
        FlushSnapshot {
            counts: self.counts.iter().map(|count| count.load(Ordering::Relaxed)).collect(),
            sum_us: self.sum_us.load(Ordering::Relaxed),
            failing: self.failing.load(Ordering::Relaxed),
        }
    }

    fn note(&self, took_us: u64, failed: bool) {
        let bucket = FLUSH_BOUNDS_US.iter().position(|bound| took_us <= *bound);
        if let Some(count) = self.counts.get(bucket.unwrap_or(FLUSH_BOUNDS_US.len())) {
            count.fetch_add(1, Ordering::Relaxed);
        }
        self.sum_us.fetch_add(took_us, Ordering::Relaxed);
        self.failing.store(failed, Ordering::Relaxed);
    }
}

/// The store on disk, timed.
pub struct TimedStore {
    store: LogStore,
    times: Arc<FlushTimes>,
}

impl TimedStore {
    /// Times `store`.
    pub fn new(store: LogStore) -> Self {
        Self { store, times: Arc::default() }
    }

    /// The times, to be looked at from elsewhere.
    pub fn times(&self) -> Arc<FlushTimes> {
        Arc::clone(&self.times)
    }

    /// As [`LogStore::seal`].
    ///
    /// # Errors
    /// As that.
    pub fn seal(&mut self) -> Result<(), StoreError> {
        self.store.seal()
    }

    /// As [`LogStore::close`].
    ///
    /// # Errors
    /// As that.
    pub fn close(self) -> Result<(), StoreError> {
        self.store.close()
    }
}

impl LeaseStore for TimedStore {
    fn commit(&mut self, batch: &Batch) -> Result<(), StoreError> {
        let began = Instant::now();
        let done = self.store.commit(batch);
        let took_us = u64::try_from(began.elapsed().as_micros()).unwrap_or(u64::MAX);
        self.times.note(took_us, done.is_err());
        done
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_flush_is_in_one_bucket() {
        let times = FlushTimes::default();
        for took_us in [0, 50, 51, 2_500_000, 2_500_001, 1 << 40] {
            times.note(took_us, took_us == 51);
        }
        let counts = times.snapshot().counts;
        assert_eq!(counts, [2, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 2]);
        assert!(!times.snapshot().failing);
        times.note(1, true);
        assert!(times.snapshot().failing);
    }
}
