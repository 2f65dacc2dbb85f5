//! A campaign of many seeds, and what it found.

use std::{
    sync::{Mutex, PoisonError},
    time::Instant,
};

use serde::Serialize;

use super::{
    Outcome,
    planted::Planted,
    run,
    scenario::Scenario,
    seeds::{Seeds, VIOLATIONS_MAX},
    shrink,
};

/// What to run.
#[derive(Clone, Copy, Debug)]
pub struct Campaign {
    /// Which seeds.
    pub seeds: Seeds,
    /// Events of a seed at most.
    pub steps_max: u64,
    /// A deliberate fault.
    pub planted: Option<Planted>,
    /// So many clients in every seed, in place of as many as it says.
    pub clients: Option<u16>,
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
        let total = Mutex::new(Report::default());
        let failing = self.seeds.run(|seed| {
            let outcome = run(&self.scenario(seed), self.planted, false);
            total.lock().unwrap_or_else(PoisonError::into_inner).add(&outcome);
            outcome.violation.is_some()
        });
        let mut report = total.into_inner().unwrap_or_else(PoisonError::into_inner);
        report.violated_seeds = failing.len() as u64;
        let small = failing.into_iter().take(VIOLATIONS_MAX);
        report.violations = small.filter_map(|seed| Found::of(&self.scenario(seed), self.planted)).collect();
        report.seconds = began.elapsed().as_secs_f64();
        report
    }

    fn scenario(&self, seed: u64) -> Scenario {
        Scenario::of(seed, self.steps_max, self.clients)
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
