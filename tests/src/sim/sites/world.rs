//! Everything outside the nodes: clients that turn to one machine or another, links, the consensus log, what goes wrong, and
//! the ledger of promises over all machines.

mod machines;
mod troubles;
mod verdicts;
mod visitors;
mod wires;

use std::{
    collections::{BTreeMap, HashSet},
    net::Ipv4Addr,
};

use dhcp_user::{
    lease::record::LeaseState,
    site::{
        authority::Right,
        delegation::{Command, NodeId},
        node::{Input, Message, Order, Output, view::Role},
        replication::Cursor,
    },
    time::Span,
};
use rand::{Rng as _, SeedableRng as _, rngs::SmallRng};

use super::{
    Outcome,
    consensus::Consensus,
    links::{GIVEN_UP_AFTER_NS, Pair, WATCH_EVERY_NS},
    machine::{Machine, Turned},
    planted::Planted,
    scenario::{Fault, Scenario},
};
use crate::{
    parse::Message as Dhcp,
    sim::{
        agenda::Agenda,
        client::{Client, Deeds},
        crowd, network,
        oracle::{Evidence, Oracle, Violation, client_mac},
        scenario::{MS, Rates, SEC},
    },
};

/// The longest a daemon waits for something to do.
const TURN_EVERY_NS: u64 = 200 * MS;
/// How long a client that keeps asking in the calm may be without an address while its node has some free.
const PATIENCE_NS: u64 = 150 * SEC;
/// Lines of history kept.
const HISTORY_MAX: usize = 400_000;

enum Event {
    Arrive(usize, Vec<u8>),
    Deliver(u16, Box<Dhcp>),
    Wake(u16),
    Turn(usize),
    /// Something waits for a daemon.
    Soon(usize),
    /// An operator has a drained node serve again.
    Undrain(usize),
    /// An operator says that these machines are lost, while that is so: until then.
    Lost(Vec<usize>, u64),
    Watch,
    /// A proposal of a machine reaches the others, or not.
    Agree(usize, Command, u64),
    Learn(usize),
    Start(usize),
    Fault(usize),
    /// Clients of a machine that is gone turn to another.
    Fetch(usize),
}

/// The world.
pub struct World {
    now_ns: u64,
    agenda: Agenda<Event>,
    rng: SmallRng,
    scenario: Scenario,
    planted: Option<Planted>,
    machines: Vec<Machine>,
    pairs: BTreeMap<(usize, usize), Pair>,
    consensus: Consensus,
    /// The machines that decide: all of them, or those that are left since they were told that the others are lost.
    deciders: Vec<usize>,
    clients: Vec<Client>,
    /// The machine each client turns to.
    attached: Vec<usize>,
    oracle: Oracle,
    violation: Option<Violation>,
    /// Which clients each machine's daemon has answered, with which address.
    served: HashSet<(usize, u16, Ipv4Addr)>,
    /// When each machine had no address free, by subnet.
    full_ns: Vec<[u64; 2]>,
    outcome: Outcome,
    tracing: bool,
}

impl World {
    /// A world at its beginning.
    pub fn new(scenario: Scenario, planted: Option<Planted>, tracing: bool) -> Self {
        let mut rng = SmallRng::seed_from_u64(scenario.base.seed ^ 0xc105);
        let nodes = scenario.nodes();
        let machines = (0..nodes)
            .map(|node| {
                let drift_ppm = scenario.drift_ppm.get(node).copied().unwrap_or(0);
                Machine::new(drift_ppm, rng.random_range(-10_000..10_000) * SEC.cast_signed())
            })
            .collect();
        let mut pairs = BTreeMap::new();
        for one in 0..nodes {
            for other in one + 1..nodes {
                let near = scenario.site_of(one) == scenario.site_of(other);
                let latency_ns = if near { MS } else { rng.random_range(5 * MS..120 * MS) };
                pairs.insert((one, other), Pair { latency_ns, ..Pair::default() });
            }
        }
        let mut world = Self {
            now_ns: 0,
            agenda: Agenda::default(),
            planted,
            machines,
            pairs,
            consensus: Consensus::default(),
            deciders: (0..nodes).collect(),
            clients: Vec::new(),
            attached: Vec::new(),
            oracle: Oracle::default(),
            violation: None,
            served: HashSet::new(),
            full_ns: vec![[0; 2]; nodes],
            outcome: Outcome::default(),
            tracing,
            rng,
            scenario,
        };
        world.populate();
        world
    }

    fn populate(&mut self) {
        let base = self.scenario.base.clone();
        for index in 0..base.clients {
            let (client, start_ns, mut own) = crowd::drawn(&base, index, 15 * SEC);
            self.clients.push(client);
            self.attached.push(own.random_range(0..self.scenario.nodes()));
            self.schedule(start_ns, Event::Wake(index));
        }
        for node in 0..self.scenario.nodes() {
            self.machines[node].disk.lock().bytes_max = self.scenario.flush_octets;
            let start_ns = self.rng.random_range(0..2 * SEC);
            self.schedule(start_ns, Event::Start(node));
            self.schedule(start_ns, Event::Learn(node));
            self.schedule(start_ns, Event::Turn(node));
        }
        for number in 0..self.scenario.faults.len() {
            let at_ns = self.scenario.faults[number].0;
            self.schedule(at_ns, Event::Fault(number));
        }
        self.schedule(0, Event::Watch);
    }

    /// Runs to the end, or the first violation.
    pub fn run(mut self) -> Outcome {
        let last_ns = self.scenario.base.end_ns.saturating_sub(1);
        while self.violation.is_none()
            && let Some((at_ns, event)) = self.agenda.next(last_ns)
        {
            self.now_ns = at_ns;
            self.outcome.steps += 1;
            self.happen(event);
        }
        if self.violation.is_none() && self.planted.is_none() {
            self.look_at_the_end();
        }
        for machine in &self.machines {
            if let Some(keeper) = &machine.keeper
                && let Some(site) = &keeper.site
            {
                let view = site.view(machine.timestamp(self.now_ns), &keeper.core.engine);
                self.outcome.takeovers += view.counts.taken_over;
                self.outcome.handed_on += view.counts.handed_on;
                self.outcome.updates += view.peers.iter().map(|peer| peer.updates_received).sum::<u64>();
            }
        }
        self.outcome.violation = self.violation;
        self.outcome
    }

    fn schedule(&mut self, at_ns: u64, event: Event) {
        self.agenda.put(at_ns.max(self.now_ns), event);
    }

    fn note(&mut self, text: impl FnOnce() -> String) {
        if self.tracing && self.outcome.history.len() < HISTORY_MAX {
            let line = format!("{:9.3} {}", self.now_ns as f64 / 1e9, text());
            self.outcome.history.push(line);
        }
    }

    fn calm(&self) -> bool {
        self.now_ns >= self.scenario.base.calm_from_ns
    }

    fn rates(&self) -> Rates {
        if self.calm() { Rates::default() } else { self.scenario.base.rates }
    }

    fn violated(
        &mut self,
        invariant: &'static str,
        what: String,
        address: Option<Ipv4Addr>,
        clients: &[u16],
    ) {
        let (at_ns, clients) = (self.now_ns, clients.to_vec());
        self.note(|| format!("VIOLATION {invariant}: {what}"));
        self.violation.get_or_insert(Violation { invariant, what, at_ns, address, clients });
    }

    fn happen(&mut self, event: Event) {
        match event {
            Event::Arrive(node, frame) => self.arrive(node, frame),
            Event::Wake(index) => {
                if let Some(deeds) = crowd::wake(&mut self.clients, index, self.now_ns, &mut self.rng) {
                    self.carry_out(index, deeds);
                }
            }
            Event::Deliver(index, message) => {
                let (now_ns, rates) = (self.now_ns, self.rates());
                let clients = &mut self.clients;
                if let Some(deeds) = crowd::deliver(clients, index, now_ns, &message, &rates, &mut self.rng) {
                    self.carry_out(index, deeds);
                }
            }
            Event::Turn(node) => {
                self.turn(node);
                let at_ns = self.now_ns + TURN_EVERY_NS;
                self.schedule(at_ns, Event::Turn(node));
            }
            Event::Soon(node) => self.turn(node),
            Event::Undrain(node) => self.tell(node, Input::Order(Order::Resume)),
            Event::Lost(lost, until_ns) => self.lost(lost, until_ns),
            Event::Watch => {
                self.watch();
                if self.now_ns.is_multiple_of(SEC) {
                    (0..self.machines.len()).for_each(|node| self.look_at_the_horizons(node));
                    self.take_back();
                }
                self.schedule(self.now_ns + WATCH_EVERY_NS, Event::Watch);
            }
            Event::Agree(node, command, until_ns) => self.agree(node, command, until_ns),
            Event::Learn(node) => self.learn(node),
            Event::Start(node) => self.start(node),
            Event::Fault(number) => self.begin_fault(number),
            Event::Fetch(node) => {
                if !self.machines[node].runs(self.now_ns) {
                    for index in 0..self.attached.len() {
                        if self.attached[index] == node {
                            self.attached[index] = self.rng.random_range(0..self.machines.len());
                        }
                    }
                }
            }
        }
    }
}
