//! Many seeds, on as many threads as there are processors; each seed for itself is one thread and one clock.

use std::{
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

/// Violations shown; beyond these they are only counted.
pub const VIOLATIONS_MAX: usize = 5;

/// Which seeds to run, and when not to go on.
#[derive(Clone, Copy, Debug)]
pub struct Seeds {
    /// The first seed.
    pub first: u64,
    /// How many.
    pub count: u64,
    /// Begin no seed after this time.
    pub time_max: Option<Duration>,
    /// Stop at the first violation.
    pub stop_at_first: bool,
}

impl Seeds {
    /// Runs them: `one` runs a seed, and says whether it broke an invariant. Those that did, in order.
    pub fn run(&self, one: impl Fn(u64) -> bool + Sync) -> Vec<u64> {
        let began = Instant::now();
        let (next, broken) = (AtomicU64::new(0), AtomicU64::new(0));
        let failing = Mutex::new(Vec::new());
        let work = || {
            loop {
                let late = self.time_max.is_some_and(|max| began.elapsed() >= max);
                let enough = self.stop_at_first && broken.load(Ordering::Relaxed) != 0;
                let number = next.fetch_add(1, Ordering::Relaxed);
                if late || enough || number >= self.count {
                    return;
                }
                let seed = self.first + number;
                if one(seed) {
                    broken.fetch_add(1, Ordering::Relaxed);
                    failing.lock().unwrap_or_else(PoisonError::into_inner).push(seed);
                }
            }
        };
        thread::scope(|scope| {
            for _ in 0..thread::available_parallelism().map_or(1, usize::from) {
                scope.spawn(work);
            }
        });
        let mut failing = failing.into_inner().unwrap_or_else(PoisonError::into_inner);
        failing.sort_unstable();
        failing
    }
}
