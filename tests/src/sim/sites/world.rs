//! Everything outside the nodes: clients that turn to one machine or another, links, the consensus log, what goes wrong, and
//! the ledger of promises over all machines.

use std::{collections::BTreeMap, net::Ipv4Addr};

use dhcp_user::{
    lease::record::LeaseState,
    site::{
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
        client::{Client, Deeds},
        network,
        oracle::{Evidence, Oracle, Violation, client_mac},
        scenario::{MS, Rates, SEC},
        style::Style,
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
    queue: BTreeMap<(u64, u64), Event>,
    scheduled: u64,
    rng: SmallRng,
    scenario: Scenario,
    planted: Option<Planted>,
    machines: Vec<Machine>,
    pairs: BTreeMap<(usize, usize), Pair>,
    consensus: Consensus,
    clients: Vec<Client>,
    /// The machine each client turns to.
    attached: Vec<usize>,
    oracle: Oracle,
    violation: Option<Violation>,
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
            queue: BTreeMap::new(),
            scheduled: 0,
            planted,
            machines,
            pairs,
            consensus: Consensus::default(),
            clients: Vec::new(),
            attached: Vec::new(),
            oracle: Oracle::default(),
            violation: None,
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
            let mut own = SmallRng::seed_from_u64(base.seed << 16 | u64::from(index));
            let start_ns = 15 * SEC + own.random_range(0..u64::from(base.lease_secs) * 2 * SEC);
            self.clients.push(Client::new(index, Style::draw(index, base.lease_secs, &mut own), start_ns));
            self.attached.push(own.random_range(0..self.scenario.nodes()));
            self.schedule(start_ns, Event::Wake(index));
        }
        for node in 0..self.scenario.nodes() {
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
        while let Some(entry) = self.queue.first_entry() {
            let (at_ns, _) = *entry.key();
            if self.violation.is_some() || at_ns >= self.scenario.base.end_ns {
                break;
            }
            let event = entry.remove();
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
        self.queue.insert((at_ns.max(self.now_ns), self.scheduled), event);
        self.scheduled += 1;
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
                let now_ns = self.now_ns;
                let Some(client) = self.clients.get_mut(usize::from(index)) else { return };
                if client.wake_ns <= now_ns {
                    let deeds = client.wake(now_ns, &mut self.rng);
                    self.carry_out(index, deeds);
                }
            }
            Event::Deliver(index, message) => {
                let (now_ns, rates) = (self.now_ns, self.rates());
                let Some(client) = self.clients.get_mut(usize::from(index)) else { return };
                if let Some(deeds) = client.receive(now_ns, &message, &rates, &mut self.rng) {
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
            Event::Watch => {
                self.watch();
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

    // --- machines ---

    fn start(&mut self, node: usize) {
        let now_ns = self.now_ns;
        let (config, mut settings) = (self.scenario.config(), self.scenario.settings(node));
        if self.planted == Some(Planted::TakeOverEarly) && node.is_multiple_of(2) {
            // It takes its delegations to last for longer than the others wait.
            settings.delegation = Span::from_secs(900);
        }
        let Some(machine) = self.machines.get_mut(node) else { return };
        if machine.keeper.is_some() || now_ns < machine.start_ns || now_ns < machine.down_until_ns {
            return;
        }
        match machine.start(now_ns, &config, settings, &mut self.rng) {
            Ok(()) => {
                // The state machine's last snapshot may be older than what was applied.
                let index = machine.applied - self.rng.random_range(0..=machine.applied.min(4));
                machine.applied = index;
                let state = Box::new(self.consensus.state(index));
                machine.inputs.push_back(Input::Restored { index, state });
                self.note(|| format!("node {node} starts at command {index}"));
            }
            Err(error) => {
                self.note(|| format!("node {node} dies as it starts: {error}"));
                self.die(node, SEC, false);
            }
        }
    }

    fn die(&mut self, node: usize, down_ns: u64, machine_too: bool) {
        let now_ns = self.now_ns;
        let calm_ns = self.scenario.base.calm_from_ns.max(now_ns + SEC);
        let down_ns = down_ns.min(calm_ns - now_ns);
        self.outcome.crashes += 1;
        self.note(|| format!("node {node} dies for {} ms, machine too: {machine_too}", down_ns / MS));
        if let Some(machine) = self.machines.get_mut(node) {
            machine.die(now_ns, down_ns, machine_too);
        }
        for other in 0..self.machines.len() {
            let Some(pair) = self.pairs.get_mut(&(node.min(other), node.max(other))) else { continue };
            if pair.connected {
                pair.tear();
                self.tell(other, Input::Lost(NodeId(node as u16)));
            }
        }
        self.schedule(now_ns + down_ns, Event::Start(node));
        let fetched_ns = now_ns + self.rng.random_range(SEC / 2..4 * SEC);
        self.schedule(fetched_ns, Event::Fetch(node));
    }

    fn tell(&mut self, node: usize, input: Input) {
        if let Some(machine) = self.machines.get_mut(node).filter(|machine| machine.keeper.is_some()) {
            machine.inputs.push_back(input);
        }
    }

    fn turn(&mut self, node: usize) {
        let (now_ns, planted) = (self.now_ns, self.planted);
        if !self.machines[node].runs(now_ns) {
            return;
        }
        self.collect(node);
        match self.machines[node].turn(now_ns, planted) {
            Ok(Turned { send, site }) => {
                for output in site {
                    self.output(node, output);
                }
                for reply in send {
                    self.leave(node, &reply.frame, false);
                }
                self.look_for_the_forgotten(node);
            }
            Err(error) => {
                self.note(|| format!("node {node}: {error}"));
                let down_ns = self.rng.random_range(SEC..10 * SEC);
                self.die(node, down_ns, false);
            }
        }
    }

    /// Takes in what has arrived for a machine.
    fn collect(&mut self, node: usize) {
        for other in 0..self.machines.len() {
            let now_ns = self.now_ns;
            let direction = usize::from(other > node);
            while let Some(message) = self
                .pairs
                .get_mut(&(node.min(other), node.max(other)))
                .and_then(|pair| pair.arrived(direction, now_ns))
            {
                self.hear(node, other, message);
            }
        }
    }

    fn hear(&mut self, node: usize, from: usize, message: Message) {
        let peer = NodeId(from as u16);
        match (&message, self.planted) {
            (Message::Updates { after, until, .. }, Some(Planted::AcknowledgeBeforeDurable)) => {
                let cursor = Cursor { log: after.log, seq: *until };
                self.send(node, from, Message::Acknowledge { cursor });
            }
            (Message::Acknowledge { cursor }, Some(Planted::OneForAll)) => {
                for third in (0..self.machines.len()).filter(|third| *third != node && *third != from) {
                    let copy = Message::Acknowledge { cursor: *cursor };
                    self.tell(node, Input::Message(NodeId(third as u16), copy));
                }
            }
            (Message::Told { asked_at, clock, free }, Some(Planted::ClockMisread)) => {
                let clock = *clock - Span::from_secs(30);
                let told = Message::Told { asked_at: *asked_at, clock, free: *free };
                self.tell(node, Input::Message(peer, told));
                return;
            }
            _ => {}
        }
        self.tell(node, Input::Message(peer, message));
    }

    // --- links and consensus ---

    fn output(&mut self, node: usize, output: Output) {
        match output {
            Output::Propose(command) => self.propose(node, command),
            Output::Send(to, message) => self.send(node, usize::from(to.0), message),
        }
    }

    fn propose(&mut self, node: usize, command: Command) {
        if !matches!(command, Command::Renew { .. }) {
            self.note(|| format!("node {node} proposes {command:?}"));
        }
        // Some are lost, some linger: whoever proposed may be dead by the time they come true.
        let delay_ns = match self.rng.random_range(0..100) {
            0..3 if !self.calm() => return,
            3..8 if !self.calm() => self.rng.random_range(SEC..15 * SEC),
            _ => self.rng.random_range(2 * MS..300 * MS),
        };
        let at_ns = self.now_ns + delay_ns;
        self.schedule(at_ns, Event::Agree(node, command, at_ns + 10 * SEC));
    }

    fn agree(&mut self, node: usize, command: Command, until_ns: u64) {
        if self.reaches_majority(node) {
            if let (Some(Planted::InAtOnce), Command::Join { node: joining }) = (self.planted, &command) {
                let state = self.consensus.state(self.consensus.len());
                let attempt = state.member(*joining).map_or(0, |member| member.attempt) + 1;
                self.consensus.agree(command.clone());
                for by in state.members_in().collect::<Vec<_>>() {
                    self.consensus.agree(Command::Confirm { node: *joining, attempt, by });
                }
                return;
            }
            if !matches!(command, Command::Renew { .. }) {
                self.note(|| format!("agreed: {command:?}"));
            }
            self.consensus.agree(command);
        } else if self.now_ns < until_ns {
            let again_ns = self.now_ns + self.rng.random_range(100 * MS..SEC);
            self.schedule(again_ns, Event::Agree(node, command, until_ns));
        }
    }

    fn open_between(&self, one: usize, other: usize) -> bool {
        let pair = self.pairs.get(&(one.min(other), one.max(other)));
        pair.is_some_and(|pair| pair.ways.iter().all(|way| way.is_open(self.now_ns)))
    }

    /// Whether a machine's daemon runs and reaches, itself included, more than half of all.
    fn reaches_majority(&self, node: usize) -> bool {
        let runs = |node: usize| self.machines[node].runs(self.now_ns);
        let reached = (0..self.machines.len())
            .filter(|&other| runs(other) && (other == node || self.open_between(node, other)))
            .count();
        runs(node) && reached * 2 > self.machines.len()
    }

    fn learn(&mut self, node: usize) {
        let now_ns = self.now_ns;
        if self.reaches_majority(node) {
            let all = self.consensus.len();
            let machine = &mut self.machines[node];
            let behind = all.saturating_sub(machine.applied);
            // Mostly everything, now and then only some of it.
            let few = if self.rng.random_bool(0.8) { behind } else { self.rng.random_range(0..=behind) };
            for _ in 0..few {
                machine.applied += 1;
                let index = machine.applied;
                if let Some(command) = self.consensus.get(index) {
                    machine.inputs.push_back(Input::Applied { index, command: command.clone() });
                }
            }
        }
        let (until_ns, by_ns) = self.machines[node].lag;
        let late_ns = if now_ns < until_ns { by_ns } else { 0 };
        let next_ns = now_ns + self.rng.random_range(20 * MS..250 * MS) + late_ns;
        self.schedule(next_ns, Event::Learn(node));
    }

    fn send(&mut self, from: usize, to: usize, message: Message) {
        let now_ns = self.now_ns;
        let (slow_until_ns, by_ns) = self.machines[from].slow;
        let extra_ns = if now_ns < slow_until_ns { self.rng.random_range(0..by_ns.max(1)) } else { 0 };
        let jitter_ns = self.rng.random_range(0..5 * MS);
        let Some(pair) = self.pairs.get_mut(&(from.min(to), from.max(to))) else { return };
        if pair.connected
            && let Some(way) = pair.ways.get_mut(usize::from(from > to))
        {
            let at_ns = way.send(now_ns, pair.latency_ns + extra_ns + jitter_ns, message);
            self.schedule(at_ns, Event::Soon(to));
        }
    }

    fn watch(&mut self) {
        let now_ns = self.now_ns;
        let keys: Vec<(usize, usize)> = self.pairs.keys().copied().collect();
        for (one, other) in keys {
            let up = [one, other].iter().all(|node| self.machines[*node].runs(now_ns));
            let Some(pair) = self.pairs.get_mut(&(one, other)) else { continue };
            if let Some(made) = pair.watch(now_ns, up) {
                let (first, second) = (NodeId(one as u16), NodeId(other as u16));
                let input = |peer| if made { Input::Connected(peer) } else { Input::Lost(peer) };
                self.note(|| format!("nodes {one} and {other}: connected {made}"));
                self.tell(one, input(second));
                self.tell(other, input(first));
            }
        }
    }

    // --- clients ---

    fn carry_out(&mut self, index: u16, deeds: Deeds) {
        let Some(client) = self.clients.get(usize::from(index)) else { return };
        let (wake_ns, xid, last, state) = (client.wake_ns, client.xid(), client.transactions, client.state);
        self.schedule(wake_ns, Event::Wake(index));
        if let Some(address) = deeds.gives_back {
            self.oracle.given_back(index, address, last);
            self.note(|| format!("client {index} gives {address} back"));
        }
        let node = self.attached[usize::from(index)];
        for (frame, asks_for) in deeds.send {
            self.oracle.asked(xid, asks_for);
            self.note(|| format!("client {index} sends {xid:08x} to node {node} ({state:?}, {asks_for:?})"));
            let rates = self.rates();
            let journeys: Vec<u64> = network::journeys(&mut self.rng, &rates).collect();
            for journey in journeys {
                self.schedule(self.now_ns + journey, Event::Arrive(node, frame.clone()));
            }
        }
    }

    fn arrive(&mut self, node: usize, frame: Vec<u8>) {
        let now_ns = self.now_ns;
        let Some(machine) = self.machines.get_mut(node) else { return };
        match machine.arrive(now_ns, frame) {
            Some(answer) => {
                self.outcome.renewals_by_kernel += 1;
                self.leave(node, &answer, true);
            }
            None => {
                // Frames that come within a moment share a turn.
                let soon_ns = now_ns + 2 * MS;
                if self.machines[node].frames.len() == 1 {
                    self.schedule(soon_ns, Event::Soon(node));
                }
            }
        }
    }

    fn leave(&mut self, node: usize, frame: &[u8], by_kernel: bool) {
        let message = match Dhcp::parse(frame) {
            Ok(message) => message,
            Err(error) => {
                let what = format!("a reply that left is no sound DHCP frame: {error:#}");
                return self.violated("sound-reply", what, None, &[]);
            }
        };
        let now_ns = self.now_ns;
        let index = (message.xid >> 16) as u16;
        let by = if by_kernel { "kernel" } else { "daemon" };
        self.note(|| {
            format!(
                "node {node}: {by} answers {:08x} with type {}, {}, lease {:?} s",
                message.xid,
                message.kind(),
                message.yiaddr,
                message.option_u32(51)
            )
        });
        if !by_kernel && message.kind() == 5 {
            self.outcome.acks_by_daemon += 1;
        }
        let decided_ns = match by_kernel {
            true => now_ns,
            false => self.machines[node].decided_ns(message.xid, now_ns),
        };
        let machine = &self.machines[node];
        // A promise is so many seconds of the clock that made it, which drifts.
        let drift = Span::from_millis(200);
        let to_timeline = |true_ns: u64| machine.timestamp(true_ns) - drift;
        let config = self.scenario.config();
        let disk = machine.disk.lock();
        let evidence = Evidence {
            durable: disk.store.durable(),
            timeline: &to_timeline,
            config: &config,
            now_ns,
            decided_ns,
            by_kernel,
        };
        let judged = self.oracle.left(&message, &evidence);
        drop(disk);
        if let Err((invariant, what, clients)) = judged {
            return self.violated(invariant, format!("node {node}: {what}"), Some(message.yiaddr), &clients);
        }
        if self.scenario.sync && !by_kernel && message.kind() == 5 {
            self.look_at_the_peers(node, &message, decided_ns);
        }
        let rates = self.rates();
        let journeys: Vec<u64> = network::journeys(&mut self.rng, &rates).collect();
        for journey in journeys {
            self.schedule(now_ns + journey, Event::Deliver(index, Box::new(message.clone())));
        }
    }

    /// In mode `sync`: whoever may take over from the node that has just promised has the promise on its disk.
    fn look_at_the_peers(&mut self, node: usize, message: &Dhcp, decided_ns: u64) {
        let Some(secs) = message.option_u32(51) else { return };
        let client = (message.xid >> 16) as u16;
        let address = message.yiaddr;
        let until_ns = decided_ns + u64::from(secs) * SEC;
        let Some(site) = self.machines[node].keeper.as_ref().and_then(|keeper| keeper.site.as_ref()) else {
            return;
        };
        if !self.holds(node, address) {
            return;
        }
        let audience: Vec<NodeId> = site.state().audience(NodeId(node as u16)).collect();
        for peer in audience {
            let machine = &self.machines[usize::from(peer.0)];
            let wanted = machine.timestamp(until_ns.saturating_sub(6 * SEC));
            let held = {
                let disk = machine.disk.lock();
                disk.store.durable().leases.get(&address).is_some_and(|lease| {
                    let bound = lease.state == LeaseState::Bound;
                    let theirs = lease.hardware.as_ethernet() == Some(client_mac(client));
                    // It may have given the address back since.
                    theirs && (!bound || lease.reach() >= wanted)
                })
            };
            if !held {
                let what = format!(
                    "node {node} promised {address} to client {client}, and node {} does not know",
                    peer.0
                );
                return self.violated("peers-know-before-ack", what, Some(address), &[client]);
            }
        }
    }

    /// Whether a node's own view is that it holds an address's block.
    fn holds(&self, node: usize, address: Ipv4Addr) -> bool {
        let keeper = self.machines[node].keeper.as_ref();
        keeper.and_then(|keeper| keeper.core.engine.authority()).is_some_and(|authority| {
            authority.blocks().of_address(address).and_then(|block| authority.held(block)).is_some()
        })
    }

    fn look_for_the_forgotten(&mut self, node: usize) {
        if !self.calm() || self.planted.is_some() {
            return;
        }
        let now_ns = self.now_ns;
        let Some(keeper) = &self.machines[node].keeper else { return };
        for (subnet, full_ns) in self.full_ns[node].iter_mut().enumerate() {
            if keeper.core.engine.free_addresses(subnet) == 0 {
                *full_ns = now_ns;
            }
        }
        let calm_ns = self.scenario.base.calm_from_ns + self.scenario.mclt_secs * SEC;
        let full = self.full_ns[node];
        let forgotten = self.clients.iter().find_map(|client| {
            let full_ns = *full.get(usize::from(client.style.relayed))?;
            let since_ns = client.asking_since_ns?.max(calm_ns).max(full_ns);
            let here = self.attached[usize::from(client.index)] == node;
            (here && now_ns.saturating_sub(since_ns) > PATIENCE_NS).then_some(client.index)
        });
        if let Some(client) = forgotten {
            let what = format!(
                "client {client} has been asking node {node} for {} s, and addresses are free",
                PATIENCE_NS / SEC
            );
            self.violated("liveness", what, None, &[client]);
        }
    }

    /// At the end of a long calm everybody is in, and has been told everything.
    fn look_at_the_end(&mut self) {
        for node in 0..self.machines.len() {
            let machine = &self.machines[node];
            let view = machine.keeper.as_ref().and_then(|keeper| {
                Some(keeper.site.as_ref()?.view(machine.timestamp(self.now_ns), &keeper.core.engine))
            });
            let Some(view) = view else {
                return self.violated("converges", format!("node {node} does not run"), None, &[]);
            };
            let late = view.peers.iter().any(|peer| peer.lag_secs > self.scenario.interval_secs + 10);
            if view.role != Role::Active || late || view.blocks_closed != 0 {
                return self.violated("converges", format!("node {node} at the end: {view:?}"), None, &[]);
            }
        }
    }

    // --- faults ---

    fn begin_fault(&mut self, number: usize) {
        let Some(&(_, fault)) = self.scenario.faults.get(number) else { return };
        self.note(|| format!("fault: {fault:?}"));
        let now_ns = self.now_ns;
        let calm_ns = self.scenario.base.calm_from_ns;
        let until = |for_ns: u64| (now_ns + for_ns).min(calm_ns);
        match fault {
            Fault::Kill { node, after_commits, down_ns } => match after_commits {
                Some(commits) => {
                    let kept = self.rng.random_bool(0.5);
                    self.machines[node].disk.lock().fuse = Some((commits, kept));
                }
                None => self.die(node, down_ns, false),
            },
            Fault::MachineDown { node, down_ns } => self.die(node, down_ns, true),
            Fault::Pause { node, for_ns } => {
                self.machines[node].paused_until_ns = until(for_ns);
                let fetched_ns = now_ns + self.rng.random_range(SEC / 2..GIVEN_UP_AFTER_NS * 2);
                self.schedule(fetched_ns, Event::Fetch(node));
            }
            Fault::CutSite { site, for_ns } => {
                for (&(one, other), pair) in &mut self.pairs {
                    if (self.scenario.site_of(one) == site) != (self.scenario.site_of(other) == site) {
                        pair.ways.iter_mut().for_each(|way| way.cut_until_ns = until(for_ns));
                    }
                }
            }
            Fault::CutOneWay { from, to, for_ns } => {
                if let Some(pair) = self.pairs.get_mut(&(from.min(to), from.max(to)))
                    && let Some(way) = pair.ways.get_mut(usize::from(from > to))
                {
                    way.cut_until_ns = until(for_ns);
                }
            }
            Fault::Flap { one, other, for_ns } => {
                if let Some(pair) = self.pairs.get_mut(&(one.min(other), one.max(other))) {
                    pair.ways.iter_mut().for_each(|way| way.flap_until_ns = until(for_ns));
                }
            }
            Fault::Slow { node, by_ns, for_ns } => self.machines[node].slow = (until(for_ns), by_ns),
            Fault::Lag { node, by_ns, for_ns } => self.machines[node].lag = (until(for_ns), by_ns),
            Fault::Roam { percent } => {
                for index in 0..self.attached.len() {
                    if self.rng.random_range(0..100) < percent {
                        self.attached[index] = self.rng.random_range(0..self.machines.len());
                    }
                }
            }
            Fault::Drain { node, for_ns } => {
                let until_ns = until(for_ns);
                self.tell(node, Input::Order(Order::Drain));
                self.schedule(until_ns, Event::Undrain(node));
            }
        }
    }
}
