//! The shortest history found for a failing seed: fewer clients, fewer faults, fewer kinds of trouble on the wire, for as
//! long as the same invariant breaks.

use super::{
    Outcome,
    planted::Planted,
    run,
    scenario::{Rates, Scenario},
    world::Line,
};

/// Runs spent on one failure.
const RUNS_MAX: u32 = 120;
/// Lines of history shown.
const LINES_MAX: usize = 60;

/// A failing scenario made small.
#[derive(Clone, Debug)]
pub struct Shrunk {
    /// The scenario.
    pub scenario: Scenario,
    /// What became of it.
    pub outcome: Outcome,
}

/// Makes a failing scenario small. `None` if it does not fail.
pub fn shrink(scenario: &Scenario, planted: Option<Planted>) -> Option<Shrunk> {
    let first = run(scenario, planted, false);
    let invariant = first.violation.as_ref()?.invariant;
    let mut best = scenario.clone();
    let mut steps = first.steps;
    let mut runs = 0;
    let mut attempt = |candidate: &Scenario, steps: &mut u64| {
        if runs >= RUNS_MAX {
            return false;
        }
        runs += 1;
        let outcome = run(candidate, planted, false);
        let same = outcome.violation.as_ref().is_some_and(|found| found.invariant == invariant);
        // Fewer causes are worth some more events.
        let better = same && outcome.steps <= *steps * 2;
        if better {
            *steps = outcome.steps;
        }
        better
    };
    let mut at = 0;
    while at < best.faults.len() {
        let mut fewer = best.clone();
        fewer.faults.remove(at);
        if attempt(&fewer, &mut steps) {
            best = fewer;
        } else {
            at += 1;
        }
    }
    for calmer in calmer_rates() {
        let mut candidate = best.clone();
        calmer(&mut candidate.rates);
        if candidate != best && attempt(&candidate, &mut steps) {
            best = candidate;
        }
    }
    let mut low = 1;
    while low < best.clients {
        let mut fewer = best.clone();
        fewer.clients = low + (best.clients - low) / 2;
        if attempt(&fewer, &mut steps) {
            best = fewer;
        } else {
            low = fewer.clients + 1;
        }
    }
    let outcome = run(&best, planted, true);
    Some(Shrunk { scenario: best, outcome })
}

fn calmer_rates() -> [fn(&mut Rates); 8] {
    [
        |rates| rates.loss = 0,
        |rates| rates.duplicate = 0,
        |rates| rates.delay = 0,
        |rates| rates.release = 0,
        |rates| rates.sleep = 0,
        |rates| rates.reboot = 0,
        |rates| rates.forget = 0,
        |rates| rates.decline = 0,
    ]
}

/// The lines of a history that concern its violation, the last ones.
pub fn relevant(outcome: &Outcome) -> Vec<String> {
    let Some(violation) = &outcome.violation else { return Vec::new() };
    let concerns = |line: &&Line| {
        line.address.is_none() && line.client.is_none()
            || line.address.is_some() && line.address == violation.address
            || line.client.is_some_and(|client| violation.clients.contains(&client))
    };
    let lines: Vec<&Line> = outcome.history.iter().filter(concerns).collect();
    let skipped = lines.len().saturating_sub(LINES_MAX);
    lines.into_iter().skip(skipped).map(ToString::to_string).collect()
}

impl std::fmt::Display for Line {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:>10.3} s", self.at_ns as f64 / 1e9)?;
        match (self.address, self.client) {
            (Some(address), Some(client)) => write!(f, "  {address} client {client}: ")?,
            (Some(address), None) => write!(f, "  {address}: ")?,
            (None, Some(client)) => write!(f, "  client {client}: ")?,
            (None, None) => write!(f, "  ")?,
        }
        f.write_str(&self.text)
    }
}
