//! Many seeds of several nodes.

use std::{
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use serde::Serialize;

use super::{planted::Planted, run, scenario::Scenario};

/// Violations kept; beyond these they are only counted.
const VIOLATIONS_MAX: usize = 5;
/// Lines of history shown of each.
const LINES_MAX: usize = 120;

/// Which seeds to run.
#[derive(Clone, Copy, Debug)]
pub struct Campaign {
    /// The first seed.
    pub first: u64,
    /// How many.
    pub seeds: u64,
    /// How many sites.
    pub sites: usize,
    /// How many nodes each has.
    pub nodes: usize,
    /// A deliberate fault.
    pub planted: Option<Planted>,
    /// Begin no seed after this time.
    pub time_max: Option<Duration>,
    /// Stop at the first violation.
    pub stop_at_first: bool,
}

/// What came of it.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Report {
    /// Seeds run.
    pub seeds: u64,
    /// Events in all of them.
    pub steps: u64,
    /// Seeds that broke an invariant.
    pub violated_seeds: u64,
    /// The first of them.
    pub violations: Vec<Found>,
    /// Wall-clock time, seconds.
    pub seconds: f64,
    /// Seeds in a second.
    pub seeds_per_s: f64,
    /// Renewals the kernels granted.
    pub renewals_by_kernel: u64,
    /// Those of clients whom the daemon of that node had never answered.
    pub warm_renewals: u64,
    /// ACKs of the daemons.
    pub acks_by_daemon: u64,
    /// How often a daemon died.
    pub crashes: u64,
    /// How often a disk was lost.
    pub disks_lost: u64,
    /// Blocks taken over.
    pub takeovers: u64,
    /// Blocks handed on.
    pub handed_on: u64,
    /// Updates taken up.
    pub updates: u64,
}

/// A violation.
#[derive(Clone, Debug, Serialize)]
pub struct Found {
    /// The seed that shows it.
    pub seed: u64,
    /// The invariant broken.
    pub invariant: String,
    /// How.
    pub what: String,
    /// The last of what happened to the address and the clients it is about, and among the nodes.
    pub history: Vec<String>,
}

impl Campaign {
    /// Runs it.
    pub fn run(&self) -> Report {
        let began = Instant::now();
        let (next, broken) = (AtomicU64::new(0), AtomicU64::new(0));
        let total = Mutex::new(Report::default());
        let failing = Mutex::new(Vec::new());
        let work = || {
            loop {
                let late = self.time_max.is_some_and(|max| began.elapsed() >= max);
                let enough = self.stop_at_first && broken.load(Ordering::Relaxed) != 0;
                let number = next.fetch_add(1, Ordering::Relaxed);
                if late || enough || number >= self.seeds {
                    return;
                }
                let seed = self.first + number;
                let outcome = run(&Scenario::new(seed, self.sites, self.nodes), self.planted, false);
                let mut total = total.lock().unwrap_or_else(PoisonError::into_inner);
                total.seeds += 1;
                total.steps += outcome.steps;
                total.renewals_by_kernel += outcome.renewals_by_kernel;
                total.warm_renewals += outcome.warm_renewals;
                total.acks_by_daemon += outcome.acks_by_daemon;
                total.crashes += outcome.crashes;
                total.disks_lost += outcome.disks_lost;
                total.takeovers += outcome.takeovers;
                total.handed_on += outcome.handed_on;
                total.updates += outcome.updates;
                drop(total);
                if outcome.violation.is_some() {
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
        let mut report = total.into_inner().unwrap_or_else(PoisonError::into_inner);
        let mut failing = failing.into_inner().unwrap_or_else(PoisonError::into_inner);
        failing.sort_unstable();
        report.violated_seeds = failing.len() as u64;
        report.seconds = began.elapsed().as_secs_f64();
        report.seeds_per_s = report.seeds as f64 / report.seconds.max(1e-9);
        report.violations = failing.iter().take(VIOLATIONS_MAX).filter_map(|seed| self.tell(*seed)).collect();
        report
    }

    /// Runs a seed again, for its history.
    fn tell(&self, seed: u64) -> Option<Found> {
        let outcome = run(&Scenario::new(seed, self.sites, self.nodes), self.planted, true);
        let violation = outcome.violation?;
        let address = violation.address.map(|address| address.to_string());
        let clients: Vec<String> =
            violation.clients.iter().map(|client| format!("client {client} ")).collect();
        let xids: Vec<String> =
            violation.clients.iter().map(|client| format!("answers {client:04x}")).collect();
        let concerns = |line: &&String| {
            let about = ["fault", "agreed", "starts", "dies", "VIOLATION", "connected"];
            about.iter().any(|word| line.contains(word))
                || address.as_ref().is_some_and(|address| line.contains(address.as_str()))
                || clients.iter().chain(&xids).any(|client| line.contains(client.as_str()))
        };
        let lines: Vec<String> = outcome.history.iter().filter(concerns).cloned().collect();
        let skipped = lines.len().saturating_sub(LINES_MAX);
        Some(Found {
            seed,
            invariant: violation.invariant.to_owned(),
            what: violation.what,
            history: lines.into_iter().skip(skipped).collect(),
        })
    }
}
