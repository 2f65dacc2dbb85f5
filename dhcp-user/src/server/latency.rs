//! How long messages take the daemon: from the moment they are read off the socket until their replies, durable, are on
//! their way. The wait in the queue is part of it, for that is what grows when a node is behind.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::{Duration, Instant},
};

/// Upper bounds of the histogram's buckets, microseconds.
pub const LATENCY_BOUNDS_US: [u64; 14] =
    [50, 100, 250, 500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 1_000_000, 5_000_000];

/// Messages by how long they took, since the start.
#[derive(Debug, Default)]
pub struct Latency {
    /// By the first bound they are within; the last is for those beyond all.
    counts: [AtomicU64; LATENCY_BOUNDS_US.len() + 1],
    sum_us: AtomicU64,
}

/// Messages of one batch, by when they were read.
#[derive(Debug, Default)]
pub(super) struct Taken(Vec<(Instant, u64)>);

impl Latency {
    /// By bucket, not accumulated, and the microseconds altogether.
    pub fn snapshot(&self) -> (Vec<u64>, u64) {
        let counts = self.counts.iter().map(|count| count.load(Ordering::Relaxed)).collect();
        (counts, self.sum_us.load(Ordering::Relaxed))
    }

    fn note(&self, took: Duration, messages: u64) {
        let took_us = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        let bucket = LATENCY_BOUNDS_US.iter().position(|bound| took_us <= *bound);
        if let Some(count) = self.counts.get(bucket.unwrap_or(LATENCY_BOUNDS_US.len())) {
            count.fetch_add(messages, Ordering::Relaxed);
        }
        self.sum_us.fetch_add(took_us.saturating_mul(messages), Ordering::Relaxed);
    }
}

impl Taken {
    /// Some messages, read at a moment, are worked on.
    pub(super) fn add(&mut self, read: Instant, messages: usize) {
        self.0.push((read, messages as u64));
    }

    /// They are done.
    pub(super) fn done(self, latency: &Latency) {
        let now = Instant::now();
        self.0.into_iter().for_each(|(read, messages)| {
            latency.note(now.saturating_duration_since(read), messages);
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_message_is_in_one_bucket() {
        let latency = Latency::default();
        latency.note(Duration::from_micros(50), 2);
        latency.note(Duration::from_micros(51), 1);
        latency.note(Duration::from_secs(6), 3);
        let (counts, sum_us) = latency.snapshot();
        assert_eq!(counts, [2, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 3]);
        assert_eq!(sum_us, 100 + 51 + 18_000_000);
        let mut taken = Taken::default();
        taken.add(Instant::now(), 4);
        taken.done(&latency);
        assert_eq!(latency.snapshot().0.iter().sum::<u64>(), 10);
    }
}
