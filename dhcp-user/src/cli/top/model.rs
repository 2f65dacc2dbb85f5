//! From what the API tells, twice, to what an operator wants to see: rates.

use std::{
    collections::{BTreeMap, VecDeque},
    time::Instant,
};

use crate::{
    server::{
        feed::FeedEvent,
        view::{StatsView, SubnetView},
    },
    site::driver::status::SiteDetail,
};

/// Looks kept for the curves.
pub const HISTORY_MAX: usize = 300;
/// Events kept.
pub const EVENTS_MAX: usize = 64;

/// One look.
#[derive(Clone, Debug, PartialEq)]
pub struct Sample {
    /// When.
    pub at: Instant,
    /// Counters.
    pub stats: StatsView,
    /// Pools.
    pub subnets: Vec<SubnetView>,
    /// Sites; none of a single node.
    pub sites: Vec<SiteDetail>,
}

/// A counter.
#[derive(Clone, Debug, PartialEq)]
pub struct Rate {
    /// Its name.
    pub name: String,
    /// Where it stands.
    pub count: u64,
    /// How fast it grows.
    pub per_sec: f64,
}

/// All that is shown.
#[derive(Clone, Debug, Default)]
pub struct Screen {
    before: Option<Sample>,
    /// The last look.
    pub now: Option<Sample>,
    /// Renewals a second, by the kernel and by the daemon, the oldest first.
    pub history: VecDeque<(u64, u64)>,
    /// What happened to leases and sites, the latest first.
    pub events: VecDeque<FeedEvent>,
    /// What is wrong now.
    pub trouble: Option<String>,
}

impl Screen {
    /// Takes another look.
    pub fn take(&mut self, sample: Sample) {
        self.before = self.now.replace(sample);
        self.trouble = None;
        if self.before.is_some() {
            let (kernel, daemon) = self.renewals();
            if self.history.len() == HISTORY_MAX {
                self.history.pop_front();
            }
            // Whole numbers are enough for a curve.
            self.history.push_back((kernel.round() as u64, daemon.round() as u64));
        }
    }

    /// Takes note of an event.
    pub fn happened(&mut self, event: FeedEvent) {
        self.events.truncate(EVENTS_MAX - 1);
        self.events.push_front(event);
    }

    /// Renewals a second, by the kernel and by the daemon.
    pub fn renewals(&self) -> (f64, f64) {
        let kernel = self.per_sec(|stats| stats.kernel.as_ref().map_or(0, |kernel| kernel.answered));
        let daemon = self.per_sec(|stats| {
            let of = |name: &str| stats.daemon.messages.get(name).copied().unwrap_or(0);
            of("acked_renewal") + of("acked_rebinding")
        });
        (kernel, daemon)
    }

    /// Why frames left the kernel program, the fastest first.
    pub fn kernel(&self) -> Vec<Rate> {
        self.rates(|stats| stats.kernel.as_ref().map(|kernel| &kernel.reasons))
    }

    /// What became of the daemon's messages, the fastest first.
    pub fn daemon(&self) -> Vec<Rate> {
        self.rates(|stats| Some(&stats.daemon.messages))
    }

    fn rates(&self, counters: impl Fn(&StatsView) -> Option<&BTreeMap<String, u64>>) -> Vec<Rate> {
        let Some(now) = self.now.as_ref().and_then(|sample| counters(&sample.stats)) else {
            return Vec::new();
        };
        let mut rates: Vec<Rate> = now
            .iter()
            .map(|(name, &count)| {
                let of =
                    |stats: &StatsView| counters(stats).and_then(|all| all.get(name)).copied().unwrap_or(0);
                Rate { name: name.clone(), count, per_sec: self.per_sec(of) }
            })
            .collect();
        rates.sort_by(|a, b| b.per_sec.total_cmp(&a.per_sec).then(b.count.cmp(&a.count)));
        rates
    }

    /// How fast a counter grows. One that has gone back belongs to a daemon that was started since: it began at zero.
    fn per_sec(&self, counter: impl Fn(&StatsView) -> u64) -> f64 {
        let (Some(before), Some(now)) = (&self.before, &self.now) else { return 0.0 };
        let (from, to) = (counter(&before.stats), counter(&now.stats));
        let grown = if to < from { to } else { to - from };
        let secs = now.at.saturating_duration_since(before.at).as_secs_f64();
        if secs > 0.0 { grown as f64 / secs } else { 0.0 }
    }
}
