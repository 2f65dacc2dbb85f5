//! Many seeds, on as many threads as there are processors; each seed for itself is one thread and one clock.

use std::{
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use serde::Serialize;

use super::{Outcome, planted::Planted, run, scenario::Scenario, shrink};

/// Violations kept and made small; beyond these they are only counted.
const VIOLATIONS_MAX: usize = 5;

/// Which seeds to run.
#[derive(Clone, Copy, Debug)]
pub struct Campaign {
    /// The first seed.
    pub first: u64,
    /// How many.
    pub seeds: u64,
    /// Events of a seed at most.
    pub steps_max: u64,
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
    /// The first of them, made small.
    pub violations: Vec<Found>,
    /// Wall-clock time, seconds.
    pub seconds: f64,
    /// Renewals the kernel granted.
    pub renewals_by_kernel: u64,
    /// Renewals the daemon granted.
    pub renewals_by_daemon: u64,
    /// How often a daemon died.
    pub crashes: u64,
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
    /// Clients in the shortest run found.
    pub clients: u16,
    /// Events up to the violation in it.
    pub steps: u64,
    /// The faults it takes, with their moments in seconds.
    pub faults: Vec<String>,
    /// What happened to the address and the clients it is about.
    pub history: Vec<String>,
}

impl Campaign {
    /// Runs it.
    pub fn run(&self) -> Report {
        let began = Instant::now();
        let next = AtomicU64::new(0);
        let broken = AtomicU64::new(0);
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
                let scenario = Scenario::new(self.first + number, self.steps_max);
                let outcome = run(&scenario, self.planted, false);
                total.lock().unwrap_or_else(PoisonError::into_inner).add(&outcome);
                if outcome.violation.is_some() {
                    broken.fetch_add(1, Ordering::Relaxed);
                    failing.lock().unwrap_or_else(PoisonError::into_inner).push(scenario);
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
        failing.sort_by_key(|scenario| scenario.seed);
        report.violated_seeds = failing.len() as u64;
        let small = failing.iter().take(VIOLATIONS_MAX);
        report.violations = small.filter_map(|scenario| Found::of(scenario, self.planted)).collect();
        report.seconds = began.elapsed().as_secs_f64();
        report
    }
}

impl Report {
    fn add(&mut self, outcome: &Outcome) {
        self.seeds += 1;
        self.steps += outcome.steps;
        self.renewals_by_kernel += outcome.renewals_by_kernel;
        self.renewals_by_daemon += outcome.renewals_by_daemon;
        self.crashes += outcome.crashes;
    }
}

impl Found {
    fn of(scenario: &Scenario, planted: Option<Planted>) -> Option<Self> {
        let shrunk = shrink::shrink(scenario, planted)?;
        let violation = shrunk.outcome.violation.clone()?;
        let fault = |(at_ns, fault): &(u64, _)| format!("{:.3} s: {fault:?}", *at_ns as f64 / 1e9);
        Some(Self {
            seed: scenario.seed,
            invariant: violation.invariant.to_owned(),
            what: violation.what,
            clients: shrunk.scenario.clients,
            steps: shrunk.outcome.steps,
            faults: shrunk
                .scenario
                .faults
                .iter()
                .filter(|(at, _)| *at <= violation.at_ns)
                .map(fault)
                .collect(),
            history: shrink::relevant(&shrunk.outcome),
        })
    }
}
