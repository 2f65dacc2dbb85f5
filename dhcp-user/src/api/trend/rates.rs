//! From counters to rates: a ring of the last ten minutes, a sample a second, and by reason for the last minute.

use std::{
    collections::{BTreeMap, VecDeque},
    time::{Duration, Instant},
};

use dhcp_common::reason::Reason;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::{engine::SlowReason, server::view::StatsView, time::Timestamp};

/// Samples kept: ten minutes.
pub const SAMPLES_KEPT: usize = 600;
/// Averages are of this time.
const WINDOW: Duration = Duration::from_secs(60);
/// Looks kept for averages; the counters of the oldest are what the newest are compared with.
const LOOKS_KEPT: usize = 64;
/// Renewals the daemon granted, by what it calls them.
const RENEWED: [SlowReason; 3] =
    [SlowReason::AckedRenewal, SlowReason::AckedRebinding, SlowReason::AckedRecreated];
/// Leases it gave to clients that had none, or not this one.
const GRANTED: [SlowReason; 3] = [SlowReason::AckedNew, SlowReason::AckedRapid, SlowReason::AckedReboot];
/// Frames of other protocols are no message that anybody waits for an answer to.
const NO_DHCP: [&str; 2] = [Reason::NotIpv4.as_str(), Reason::NotDhcp.as_str()];

/// What was answered and passed, per second.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Pace {
    /// Renewals answered in the kernel.
    pub kernel_renewals: f64,
    /// Renewals answered by the daemon.
    pub daemon_renewals: f64,
    /// Leases granted to clients that did not have them.
    pub grants: f64,
    /// DHCP frames that the kernel passed up or dropped.
    pub passed: f64,
}

/// One second.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct RateSample {
    /// Number of the sample since the daemon started, from 1.
    pub number: u64,
    /// When it ended, RFC 3339.
    pub at: String,
    /// The rates.
    #[serde(flatten)]
    pub pace: Pace,
}

/// Why frames were not answered in the kernel.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct PassedView {
    /// The name of the counter.
    pub reason: String,
    /// What it means.
    pub meaning: String,
    /// Frames since the program was loaded.
    pub total: u64,
    /// Frames per second, on the average of the window.
    pub per_sec: f64,
}

/// How fast things go.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct RatesView {
    /// A sample for every second that was looked at, the oldest first; ten minutes are kept.
    pub samples: Vec<RateSample>,
    /// Averages are of so many seconds.
    pub window_secs: f64,
    /// The rates on that average.
    pub average: Pace,
    /// Frames not answered in the kernel, by reason; reasons never met are left out.
    pub passed: Vec<PassedView>,
}

#[derive(Clone, Debug)]
struct Look {
    at: Instant,
    counts: Counts,
    reasons: BTreeMap<String, u64>,
}

#[derive(Clone, Copy, Debug)]
struct Counts {
    kernel: u64,
    renewed: u64,
    granted: u64,
    passed: u64,
}

/// The ring.
#[derive(Debug, Default)]
pub struct Rates {
    samples: VecDeque<RateSample>,
    looks: VecDeque<Look>,
    last: u64,
}

impl Counts {
    fn of(stats: &StatsView) -> Self {
        let messages = |reasons: &[SlowReason]| {
            reasons.iter().filter_map(|reason| stats.daemon.messages.get(reason.as_str())).sum()
        };
        let kernel = stats.kernel.as_ref();
        let passed = kernel.into_iter().flat_map(|kernel| &kernel.reasons);
        Self {
            kernel: kernel.map_or(0, |kernel| kernel.answered),
            renewed: messages(&RENEWED),
            granted: messages(&GRANTED),
            passed: passed
                .filter(|(reason, _)| !NO_DHCP.contains(&reason.as_str()))
                .map(|(_, count)| count)
                .sum(),
        }
    }

    fn pace_since(&self, earlier: &Self, secs: f64) -> Pace {
        // Counters begin anew when another program takes the kernel's place: that second counts as empty.
        let rate = |now: u64, then: u64| per_sec(now.saturating_sub(then), secs);
        Pace {
            kernel_renewals: rate(self.kernel, earlier.kernel),
            daemon_renewals: rate(self.renewed, earlier.renewed),
            grants: rate(self.granted, earlier.granted),
            passed: rate(self.passed, earlier.passed),
        }
    }
}

fn per_sec(count: u64, secs: f64) -> f64 {
    if secs <= 0.0 { 0.0 } else { (count as f64 / secs * 1_000.0).round() / 1_000.0 }
}

impl Rates {
    /// Takes in what the counters are at a moment.
    pub fn note(&mut self, at: Instant, wall: Timestamp, stats: &StatsView) {
        let reasons = stats.kernel.as_ref().map(|kernel| kernel.reasons.clone()).unwrap_or_default();
        let look = Look { at, counts: Counts::of(stats), reasons };
        if let Some(before) = self.looks.back() {
            let secs = at.saturating_duration_since(before.at).as_secs_f64();
            self.last += 1;
            if self.samples.len() == SAMPLES_KEPT {
                self.samples.pop_front();
            }
            let pace = look.counts.pace_since(&before.counts, secs);
            self.samples.push_back(RateSample { number: self.last, at: wall.to_string(), pace });
        }
        self.looks.push_back(look);
        let old = |look: &Look| at.saturating_duration_since(look.at) > WINDOW;
        while self.looks.len() > LOOKS_KEPT || self.looks.len() > 2 && self.looks.front().is_some_and(old) {
            self.looks.pop_front();
        }
    }

    /// What is known, with the samples after the one with this number.
    pub fn view(&self, after: u64) -> RatesView {
        let samples = self.samples.iter().filter(|sample| sample.number > after).cloned().collect();
        let (Some(first), Some(last)) = (self.looks.front(), self.looks.back()) else {
            return RatesView { samples, window_secs: 0.0, average: Pace::default(), passed: Vec::new() };
        };
        let secs = last.at.saturating_duration_since(first.at).as_secs_f64();
        let passed = Reason::ALL.iter().filter_map(|reason| {
            let total = *last.reasons.get(reason.as_str())?;
            let before = first.reasons.get(reason.as_str()).copied().unwrap_or(0);
            Some(PassedView {
                reason: reason.as_str().to_owned(),
                meaning: reason.describe().trim().to_owned(),
                total,
                per_sec: per_sec(total.saturating_sub(before), secs),
            })
        });
        RatesView {
            samples,
            window_secs: (secs * 10.0).round() / 10.0,
            average: last.counts.pace_since(&first.counts, secs),
            passed: passed.collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::tests::stats_with;

    #[test]
    fn rates_are_of_the_time_that_has_passed() {
        let mut rates = Rates::default();
        assert_eq!(rates.view(0).samples, []);
        let began = Instant::now();
        for (secs, answered, renewed, horizon) in [(0, 100, 5, 1), (1, 400, 7, 1), (3, 1_000, 7, 7)] {
            let stats =
                stats_with(answered, &[("acked_renewal", renewed)], &[("horizon", horizon), ("not_ipv4", 9)]);
            rates.note(began + Duration::from_secs(secs), Timestamp(secs * 1_000_000_000), &stats);
        }
        let view = rates.view(0);
        let pace = |at: usize| view.samples[at].pace;
        assert_eq!((pace(0).kernel_renewals, pace(0).daemon_renewals, pace(0).passed), (300.0, 2.0, 0.0));
        assert_eq!((pace(1).kernel_renewals, pace(1).daemon_renewals, pace(1).passed), (300.0, 0.0, 3.0));
        assert_eq!((view.window_secs, view.average.kernel_renewals, view.average.passed), (3.0, 300.0, 2.0));
        let horizon = view.passed.iter().find(|passed| passed.reason == "horizon").unwrap();
        assert_eq!((horizon.total, horizon.per_sec), (7, 2.0));
        assert!(horizon.meaning.contains("horizon"));
        assert_eq!(rates.view(1).samples.len(), 1);
    }

    #[test]
    fn counters_that_begin_anew_are_no_negative_rate_and_what_is_kept_is_bounded() {
        let mut rates = Rates::default();
        let began = Instant::now();
        for second in 0..SAMPLES_KEPT as u64 + 50 {
            let stats = stats_with(if second % 2 == 0 { 1_000 } else { 0 }, &[], &[]);
            rates.note(began + Duration::from_secs(second), Timestamp::ZERO, &stats);
        }
        let view = rates.view(0);
        assert_eq!((view.samples.len(), rates.looks.len()), (SAMPLES_KEPT, 61));
        assert_eq!(view.window_secs, 60.0);
        assert!(view.samples.iter().all(|sample| sample.pace.kernel_renewals >= 0.0));
    }
}
