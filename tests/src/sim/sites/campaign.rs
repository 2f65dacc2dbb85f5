//! Many seeds of several nodes.

use std::{
    sync::{Mutex, PoisonError},
    time::Instant,
};

use serde::Serialize;

use super::{Outcome, planted::Planted, run, scenario::Scenario};
use crate::sim::seeds::{Seeds, VIOLATIONS_MAX};

/// Lines of history shown of each violation.
const LINES_MAX: usize = 120;
/// Runs spent on finding out which faults a violation takes.
const RUNS_MAX: usize = 120;

/// What to run.
#[derive(Clone, Copy, Debug)]
pub struct Campaign {
    /// Which seeds.
    pub seeds: Seeds,
    /// How many sites.
    pub sites: usize,
    /// How many nodes each has.
    pub nodes: usize,
    /// A deliberate fault.
    pub planted: Option<Planted>,
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
    /// Flushes that a daemon had to wait for.
    pub slow_flushes: u64,
    /// Blocks taken over.
    pub takeovers: u64,
    /// How often other pools became the cluster's.
    pub recuts: u64,
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
    /// The faults it takes, as far as that was found out.
    pub faults: Vec<String>,
    /// The last of what happened to the address and the clients it is about, and among the nodes.
    pub history: Vec<String>,
}

impl Campaign {
    /// Runs it.
    pub fn run(&self) -> Report {
        let began = Instant::now();
        let total = Mutex::new(Report::default());
        let failing = self.seeds.run(|seed| {
            let outcome = self.outcome(seed, false);
            total.lock().unwrap_or_else(PoisonError::into_inner).add(&outcome);
            outcome.violation.is_some()
        });
        let mut report = total.into_inner().unwrap_or_else(PoisonError::into_inner);
        report.violated_seeds = failing.len() as u64;
        report.seconds = began.elapsed().as_secs_f64();
        report.seeds_per_s = report.seeds as f64 / report.seconds.max(1e-9);
        report.violations = failing.iter().take(VIOLATIONS_MAX).filter_map(|seed| self.tell(*seed)).collect();
        report
    }

    fn scenario(&self, seed: u64) -> Scenario {
        Scenario::new(seed, self.sites, self.nodes)
    }

    fn outcome(&self, seed: u64, tracing: bool) -> Outcome {
        run(&self.scenario(seed), self.planted, tracing)
    }

    /// The scenario without the faults that the same violation does not take.
    fn shrunk(&self, mut scenario: Scenario, invariant: &str) -> Scenario {
        let (mut at, mut runs) = (0, 0);
        while at < scenario.faults.len() && runs < RUNS_MAX {
            let mut fewer = scenario.clone();
            fewer.faults.remove(at);
            runs += 1;
            match run(&fewer, self.planted, false).violation {
                Some(found) if found.invariant == invariant => scenario = fewer,
                _ => at += 1,
            }
        }
        scenario
    }

    /// Runs a seed again, with as few faults as it takes, for its history.
    fn tell(&self, seed: u64) -> Option<Found> {
        let invariant = self.outcome(seed, false).violation?.invariant;
        let scenario = self.shrunk(self.scenario(seed), invariant);
        let outcome = run(&scenario, self.planted, true);
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
            faults: scenario
                .faults
                .iter()
                .map(|(at_ns, fault)| format!("{:.3} s: {fault:?}", *at_ns as f64 / 1e9))
                .collect(),
            history: lines.into_iter().skip(skipped).collect(),
        })
    }
}

impl Report {
    fn add(&mut self, outcome: &Outcome) {
        self.seeds += 1;
        self.steps += outcome.steps;
        self.renewals_by_kernel += outcome.renewals_by_kernel;
        self.warm_renewals += outcome.warm_renewals;
        self.acks_by_daemon += outcome.acks_by_daemon;
        self.crashes += outcome.crashes;
        self.disks_lost += outcome.disks_lost;
        self.slow_flushes += outcome.slow_flushes;
        self.takeovers += outcome.takeovers;
        self.recuts += outcome.recuts;
        self.handed_on += outcome.handed_on;
        self.updates += outcome.updates;
    }
}
