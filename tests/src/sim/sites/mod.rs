//! Several nodes in the deterministic simulator: the real keeper, engine, learner and [`dhcp_user::site::node`] of each, over
//! links that lose connections, delay, and let through one way only, with clocks that run apart, a consensus log that
//! needs a majority, machines that die and processes that stand still; one ledger of promises over all of them.
//!
//! * [`scenario`]: what a seed stands for; [`world`]: clients, what goes wrong, and the ledger.
//! * [`machine`]: a node's disk, maps and daemon; [`links`]: between machines; [`consensus`]: the log.
//! * [`planted`]: faults it must find; [`campaign`]: many seeds.

pub mod campaign;
pub mod consensus;
pub mod links;
pub mod machine;
pub mod planted;
pub mod scenario;
pub mod world;

use self::{planted::Planted, scenario::Scenario, world::World};
use super::oracle::Violation;

/// What became of a run.
#[derive(Clone, Debug, Default)]
pub struct Outcome {
    /// The first invariant broken.
    pub violation: Option<Violation>,
    /// Events.
    pub steps: u64,
    /// Renewals the kernels granted.
    pub renewals_by_kernel: u64,
    /// Those of clients whom the daemon of that node had never answered: other nodes told how they ask.
    pub warm_renewals: u64,
    /// ACKs of the daemons.
    pub acks_by_daemon: u64,
    /// How often a daemon died.
    pub crashes: u64,
    /// How often a disk was lost.
    pub disks_lost: u64,
    /// Flushes that a daemon had to wait for.
    pub slow_flushes: u64,
    /// How often a node's blocks were taken over.
    pub takeovers: u64,
    /// How often other pools became the cluster's.
    pub recuts: u64,
    /// Blocks handed on.
    pub handed_on: u64,
    /// Updates taken up.
    pub updates: u64,
    /// What happened, if asked for.
    pub history: Vec<String>,
}

/// Runs a scenario to its end or its first violation. `tracing` keeps a history.
pub fn run(scenario: &Scenario, planted: Option<Planted>, tracing: bool) -> Outcome {
    World::new(scenario.clone(), planted, tracing).run()
}
