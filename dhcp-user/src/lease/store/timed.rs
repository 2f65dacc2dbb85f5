//! A store that is timed: how long flushes take is what an operator wants to know of a disk. Beside the log, which reads
//! no clock.

use std::{
    io,
    path::PathBuf,
    sync::{
        Arc, Mutex, MutexGuard,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Instant,
};

use super::{Batch, LeaseStore, LogStore, StoreError, worker::Worker};

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

/// The store on disk, timed; once it has a [`Worker`], batches become durable beside whoever begins them.
pub struct TimedStore {
    shared: Shared,
    worker: Option<Worker>,
}

/// What the store and its worker share.
#[derive(Clone)]
struct Shared {
    store: Arc<Mutex<LogStore>>,
    path: PathBuf,
    times: Arc<FlushTimes>,
}

impl Shared {
    fn hold(&self) -> Result<MutexGuard<'_, LogStore>, StoreError> {
        self.store.lock().map_err(|_| StoreError::Poisoned { path: self.path.clone() })
    }

    fn commit(&self, batch: &Batch) -> Result<(), StoreError> {
        let began = Instant::now();
        let done = self.hold()?.commit(batch);
        let took_us = u64::try_from(began.elapsed().as_micros()).unwrap_or(u64::MAX);
        self.times.note(took_us, done.is_err());
        done
    }
}

impl TimedStore {
    /// Times `store`.
    pub fn new(store: LogStore) -> Self {
        let path = store.path().into();
        let shared = Shared { store: Arc::new(Mutex::new(store)), path, times: Arc::default() };
        Self { shared, worker: None }
    }

    /// Starts a thread that makes durable what is begun. It begins with `prepare`, and calls `ended` whenever something is
    /// durable, or is not.
    ///
    /// # Errors
    /// If the system refuses a thread.
    pub fn work_beside(
        &mut self,
        prepare: impl FnOnce() + Send + 'static,
        ended: impl Fn() + Send + 'static,
    ) -> io::Result<()> {
        let shared = self.shared.clone();
        let path = shared.path.clone();
        self.worker = Some(Worker::start(path, prepare, move |batch| shared.commit(batch), ended)?);
        Ok(())
    }

    /// The times, to be looked at from elsewhere.
    pub fn times(&self) -> Arc<FlushTimes> {
        Arc::clone(&self.shared.times)
    }

    /// As [`LogStore::seal`].
    ///
    /// # Errors
    /// As that.
    pub fn seal(&mut self) -> Result<(), StoreError> {
        self.wait();
        self.shared.hold()?.seal()
    }

    /// As [`LogStore::close`].
    ///
    /// # Errors
    /// As that.
    pub fn close(self) -> Result<(), StoreError> {
        let Self { shared: Shared { store, path, .. }, worker } = self;
        // Ends its thread: nobody else holds the store then.
        drop(worker);
        let store = Arc::into_inner(store).and_then(|store| store.into_inner().ok());
        store.ok_or(StoreError::Poisoned { path })?.close()
    }

    fn wait(&mut self) {
        if let Some(worker) = &mut self.worker {
            worker.wait();
        }
    }
}

impl LeaseStore for TimedStore {
    fn commit(&mut self, batch: &Batch) -> Result<(), StoreError> {
        self.wait();
        self.shared.commit(batch)
    }

    fn begin(&mut self, batch: &Arc<Batch>) -> Option<Result<(), StoreError>> {
        match &mut self.worker {
            Some(worker) => {
                worker.begin(batch);
                None
            }
            None => Some(self.commit_in_parts(batch)),
        }
    }

    fn has_ended(&mut self) -> bool {
        self.worker.as_mut().is_none_or(Worker::has_ended)
    }

    fn end(&mut self) -> Result<(), StoreError> {
        self.worker.as_mut().map_or(Ok(()), Worker::end)
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
