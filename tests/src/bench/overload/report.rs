//! The figures, for people and for programs.

use std::{collections::BTreeMap, fmt::Write as _};

use serde::Serialize;

use crate::{bench::machine::Machine, lab::Stats};

/// Renewals and new clients under a flood, under one set of limits.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Loaded {
    /// Renewals sent a second while the flood goes on.
    pub renewals_offered_per_s: f64,
    /// And answered.
    pub renewals_loaded_per_s: f64,
    /// The fraction answered, of the fraction answered without a flood.
    pub renewals_kept_ratio: f64,
    /// DISCOVERs from random hardware addresses, a second.
    pub flood_per_s: f64,
    /// Which is so many times what the daemon answers.
    pub flood_times_capacity: f64,
    /// Of those that were passed up, a second.
    pub flood_passed_per_s: f64,
    /// Clients that came in the meantime.
    pub new_clients_wanted: u32,
    /// And got a lease.
    pub new_clients_served: u32,
    /// How long they waited for it, seconds, the middle one and the longest.
    pub new_clients_waited_s: [f64; 2],
    /// Memory of the daemon before the flood.
    pub daemon_rss_before_bytes: u64,
    /// The most it had.
    pub daemon_rss_peak_bytes: u64,
    /// Frames dropped, by reason.
    pub drops: BTreeMap<String, u64>,
}

/// Everything measured.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// The most of one processor that the daemon may have, percent; 100 for all there are.
    pub daemon_percent: u32,
    /// Renewals a second that one processor makes, answers and counts, and does nothing else.
    pub renewals_ceiling_per_s: f64,
    /// Renewals answered a second without a flood, at the rate of the comparison.
    pub renewals_unloaded_per_s: f64,
    /// DISCOVERs a second that the daemon answers, without limits.
    pub discover_capacity_per_s: f64,
    /// With the default limits.
    #[serde(flatten)]
    pub limited: Loaded,
    /// The same flood with `limits.enabled` false.
    pub without_limits: Loaded,
    /// Where.
    pub machine: Machine,
}

/// What was dropped between two moments, by reason.
pub fn drops(before: &Stats, after: &Stats) -> BTreeMap<String, u64> {
    let mut drops = BTreeMap::new();
    let kernel = after.0.pointer("/kernel/reasons").and_then(|reasons| reasons.as_object());
    for reason in kernel.into_iter().flatten().map(|(reason, _)| reason).filter(|r| r.starts_with("limited_"))
    {
        drops.insert(reason.clone(), after.passed(reason) - before.passed(reason));
    }
    for name in ["queue_drops", "queue_gave_way", "offers_gave_way"] {
        let count = |stats: &Stats| {
            stats.0.pointer(&format!("/daemon/{name}")).and_then(serde_json::Value::as_u64).unwrap_or(0)
        };
        drops.insert(name.to_owned(), count(after) - count(before));
    }
    drops
}

impl Report {
    /// The figures as a table.
    pub fn table(&self) -> String {
        let mut out = String::new();
        let mut row = |name: &str, value: String| {
            let _ = writeln!(out, "{name:<44} {value}");
        };
        row("of a processor the daemon has at most, %", self.daemon_percent.to_string());
        row("renewals a second, one processor's ceiling", format!("{:.0}", self.renewals_ceiling_per_s));
        row("renewals answered a second, no flood", format!("{:.0}", self.renewals_unloaded_per_s));
        row("DISCOVERs a second the daemon answers", format!("{:.0}", self.discover_capacity_per_s));
        for (what, loaded) in [("default limits", &self.limited), ("no limits", &self.without_limits)] {
            row(&format!("-- {what}"), String::new());
            row("flood, DISCOVERs a second", format!("{:.0}", loaded.flood_per_s));
            row("  times what the daemon answers", format!("{:.1}", loaded.flood_times_capacity));
            row("  of them passed up", format!("{:.0}", loaded.flood_passed_per_s));
            row(
                "renewals sent and answered a second",
                format!("{:.0} {:.0}", loaded.renewals_offered_per_s, loaded.renewals_loaded_per_s),
            );
            row("renewals kept", format!("{:.4}", loaded.renewals_kept_ratio));
            row(
                "new clients served",
                format!("{} of {}", loaded.new_clients_served, loaded.new_clients_wanted),
            );
            let [middle, longest] = loaded.new_clients_waited_s;
            row("  after seconds, middle and longest", format!("{middle:.2} {longest:.2}"));
            let mib = |octets: u64| octets as f64 / f64::from(1 << 20);
            row(
                "daemon's memory before and at most, MiB",
                format!(
                    "{:.1} {:.1}",
                    mib(loaded.daemon_rss_before_bytes),
                    mib(loaded.daemon_rss_peak_bytes)
                ),
            );
            for (reason, count) in &loaded.drops {
                row(&format!("  {reason}"), count.to_string());
            }
        }
        let Machine { cpu, cores, kernel, load } = &self.machine;
        let _ = write!(out, "{cpu}, {cores} processors, Linux {kernel}, load {load}");
        out
    }
}
