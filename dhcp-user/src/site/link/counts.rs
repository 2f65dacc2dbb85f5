//! What links count, and what of it is told once: a peer that fails the same way every second fills no log.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
};

/// Failures remembered as told; beyond them all is forgotten and told again.
const TOLD_MAX: usize = 1_024;

/// Counters of all links of a node.
#[derive(Debug, Default)]
pub struct Counts {
    failures: Mutex<Failures>,
    /// Octets sent, with the chunks' headers, before encryption.
    pub sent: AtomicU64,
    /// Octets received, likewise.
    pub received: AtomicU64,
    /// Octets of messages before compression.
    pub plain: AtomicU64,
    /// The same after it.
    pub packed: AtomicU64,
    /// Messages that found no room on their lane, and were left to a later one.
    pub dropped: AtomicU64,
}

#[derive(Debug, Default)]
struct Failures {
    by_kind: BTreeMap<&'static str, u64>,
    told: BTreeSet<(String, &'static str)>,
}

impl Counts {
    /// Counts a failure with somebody; whether it is the first of its kind with them, and to be told.
    pub fn failed(&self, with: &str, kind: &'static str) -> bool {
        let mut failures = self.failures.lock().unwrap_or_else(PoisonError::into_inner);
        *failures.by_kind.entry(kind).or_default() += 1;
        if failures.told.len() >= TOLD_MAX {
            failures.told.clear();
        }
        failures.told.insert((with.to_owned(), kind))
    }

    /// All is well with somebody: the next failure is news again. Whether it had not been.
    pub fn well(&self, with: &str) -> bool {
        let mut failures = self.failures.lock().unwrap_or_else(PoisonError::into_inner);
        let before = failures.told.len();
        failures.told.retain(|(whom, _)| whom != with);
        failures.told.len() != before
    }

    /// Whether a failure was told of somebody and not yet that all is well.
    pub fn is_troubled(&self, with: &str) -> bool {
        let failures = self.failures.lock().unwrap_or_else(PoisonError::into_inner);
        failures.told.iter().any(|(whom, _)| whom == with)
    }

    /// Failures by kind.
    pub fn failures(&self) -> BTreeMap<String, u64> {
        let failures = self.failures.lock().unwrap_or_else(PoisonError::into_inner);
        failures.by_kind.iter().map(|(kind, count)| ((*kind).to_owned(), *count)).collect()
    }

    /// Adds to a counter.
    pub fn add(counter: &AtomicU64, octets: u64) {
        counter.fetch_add(octets, Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_is_counted_always_and_told_once() {
        let counts = Counts::default();
        assert!(counts.failed("a", "name") && !counts.failed("a", "name") && counts.failed("b", "name"));
        assert!(counts.is_troubled("a") && counts.well("a"));
        assert!(!counts.is_troubled("a") && !counts.well("a"), "it was well already");
        assert!(counts.failed("a", "name") && !counts.failed("b", "name"));
        assert_eq!(counts.failures(), [("name".to_owned(), 5)].into());
        assert!((0..TOLD_MAX + 9).all(|n| counts.failed(&n.to_string(), "tls")));
        assert!(counts.failures.lock().unwrap().told.len() <= TOLD_MAX);
    }
}
