//! The deterministic simulator: the real engine, lease table, allocator, learner, keeper and shared kernel code over a
//! virtual world, for as many seeds as one likes. One thread, one virtual clock, no socket, file or sleep: a seed always
//! tells the same story.
//!
//! * [`scenario`]: what a seed stands for; [`faults`]: what goes wrong in it.
//! * [`world`]: everything outside the daemon, as its [`agenda`] and `clocks` have it; [`client`], [`crowd`], [`style`]: DHCP clients;
//!   [`network`]: the wire.
//! * [`kernel`], [`store`]: maps, programs and disk as the daemon sees them; [`node`]: the daemon over them; [`start`]: what
//!   it starts from; `reload`: it takes up another configuration.
//! * [`oracle`]: who was promised what, from the frames that left; [`planted`]: faults it must find.
//! * [`sites`]: several nodes, over links, with a consensus log.
//! * [`shrink`]: the shortest history of a failure; [`campaign`]: many [`seeds`].

pub mod agenda;
pub mod campaign;
pub mod client;
mod clocks;
pub mod crowd;
mod faults;
pub mod kernel;
pub mod network;
pub mod node;
pub mod oracle;
pub mod planted;
mod reload;
pub mod scenario;
pub mod seeds;
pub mod shrink;
pub mod sites;
pub mod start;
pub mod store;
pub mod style;
pub mod world;

use std::sync::{Arc, Mutex};

use self::{
    node::Node,
    oracle::Violation,
    planted::Planted,
    scenario::{SEC, Scenario},
    world::{Death, Line, Shared, World, lock},
};

/// What became of a run.
#[derive(Clone, Debug, Default)]
pub struct Outcome {
    /// The first invariant broken.
    pub violation: Option<Violation>,
    /// Events.
    pub steps: u64,
    /// Renewals the kernel granted.
    pub renewals_by_kernel: u64,
    /// Renewals the daemon granted.
    pub renewals_by_daemon: u64,
    /// How often the daemon died.
    pub crashes: u64,
    /// How often a running daemon took up another configuration.
    pub reloads: u64,
    /// What happened, if asked for.
    pub history: Vec<Line>,
}

/// Runs a scenario to its end or its first violation. `tracing` keeps a history.
pub fn run(scenario: &Scenario, planted: Option<Planted>, tracing: bool) -> Outcome {
    let world = World::new(Arc::new(scenario.clone()), planted, tracing);
    let shared: Shared = Arc::new(Mutex::new(world));
    let (mut number, mut crashes) = (0, 0);
    while !lock(&shared).over() {
        number += 1;
        let config = Arc::new(scenario.config(lock(&shared).variant));
        let ended = Node::start(&shared, number, &config).and_then(|mut node| {
            let mut result = Ok(());
            while result.is_ok() && !lock(&shared).over() && lock(&shared).death.is_none() {
                result = node.turn();
            }
            node.check_counts();
            result
        });
        let mut world = lock(&shared);
        if world.over() {
            break;
        }
        crashes += 1;
        let said = ended.err().map(|error| error.to_string()).unwrap_or_default();
        world.note(None, None, || format!("daemon {number} dies: {said}"));
        let second = Death { down_ns: SEC, power: None, variant: None, unload: false };
        let death = world.death.unwrap_or(second);
        world.variant = death.variant.unwrap_or(world.variant);
        world.bury(death);
    }
    let mut world = lock(&shared);
    Outcome {
        violation: world.violation.clone(),
        steps: world.steps,
        renewals_by_kernel: world.kernel.answered,
        renewals_by_daemon: world.acks_by_daemon,
        crashes,
        reloads: world.reloads,
        history: world.take_history(),
    }
}

impl World {
    /// The daemon is dead: what goes with it goes, and time passes until somebody starts another.
    fn bury(&mut self, death: Death) {
        self.machine.wall_error_noted_ns = self.wall_error_noted_ns();
        self.listener = None;
        self.inbox.clear();
        self.shadows.clear();
        self.shadowing = false;
        self.fuse = None;
        drop(self.disk.crash());
        if self.planted == Some(Planted::LyingDisk) {
            self.disk.lie();
        }
        if death.power.is_some() || death.unload {
            self.kernel.attached = None;
            self.kernel.sets.clear();
        }
        if let Some(clock_mended) = death.power {
            self.machine.up = false;
            // Programs that stood still never go on.
            self.kernel.counted += self.kernel.runs.len() as u64;
            self.kernel.runs.clear();
            // After a reboot only the wall clock can tell how long the machine was away: a clock that comes back
            // further ahead than it was when it was last noted is beyond what is promised (and so is one that nobody
            // has looked at since it was stepped: the machine's hardware clock has not heard of that either).
            let noted_ns = self.machine.wall_error_noted_ns;
            let mended = if clock_mended { 0 } else { self.machine.wall_error_ns };
            self.machine.wall_error_ns = mended.min(noted_ns);
        }
        self.death = None;
        // Nobody is down for long once it is calm.
        let calm_ns = self.scenario.calm_from_ns.max(self.now_ns + SEC);
        self.run_until((self.now_ns + death.down_ns).min(calm_ns), false);
        if death.power.is_some() {
            self.conditions.slept_ns = 0;
            self.machine = world::Machine {
                up: true,
                booted_ns: self.now_ns,
                boot: self.machine.boot.wrapping_add(1),
                ..self.machine
            };
        }
    }
}
