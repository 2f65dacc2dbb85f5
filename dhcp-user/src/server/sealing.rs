//! When the store is to be sealed: once nothing has been made durable for a moment. Until then a power cut could hide the
//! loss of what was acknowledged last; sealing costs a flush, which a busy store is spared.

use std::time::{Duration, Instant};

/// How long nothing is made durable before the store is sealed.
const SEAL_AFTER: Duration = Duration::from_secs(1);

/// Watches the batches made durable.
#[derive(Clone, Copy, Debug)]
pub struct Sealing {
    commits: u64,
    unsealed_since: Option<Instant>,
}

impl Sealing {
    /// After `commits` batches, none of which is sealed.
    pub const fn new(commits: u64, now: Instant) -> Self {
        Self { commits, unsealed_since: Some(now) }
    }

    /// Whether to seal the store now; not again until there is more to seal.
    pub fn is_due(&mut self, commits: u64, now: Instant) -> bool {
        if self.commits != commits {
            self.commits = commits;
            self.unsealed_since = Some(now);
            return false;
        }
        self.unsealed_since.take_if(|since| now.saturating_duration_since(*since) >= SEAL_AFTER).is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_idle_store_is_sealed_once_and_a_busy_one_not() {
        let begun = Instant::now();
        let after = |ms: u64| begun + Duration::from_millis(ms);
        let mut sealing = Sealing::new(3, begun);
        assert!(!sealing.is_due(3, after(999)));
        assert!(sealing.is_due(3, after(1_000)), "what was made durable before counts too");
        assert!(!sealing.is_due(3, after(9_000)), "there is nothing new to seal");
        for (commits, ms) in [(4, 9_500), (5, 10_400), (6, 11_300)] {
            assert!(!sealing.is_due(commits, after(ms)));
        }
        assert!(!sealing.is_due(6, after(12_200)));
        assert!(sealing.is_due(6, after(12_300)));
    }
}
