//! Everything outside the daemon, on one virtual clock: clients, wire, kernel, disk, clocks, and what goes wrong with
//! them. It goes on while the daemon waits for a flush or a grace period.

use std::{
    collections::VecDeque,
    net::Ipv4Addr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use dhcp_common::abi::Control;
use dhcp_user::{
    config::model::Config, fastpath::error::FastPathError, lease::store::MemoryStore,
    server::keeper::Withdrawal, timeline::Timeline,
};
use rand::{Rng as _, SeedableRng as _, rngs::SmallRng};

use super::{
    agenda::Agenda,
    client::{Client, Deeds},
    clocks::timestamp,
    crowd,
    kernel::{Kernel, KernelMaps},
    network,
    oracle::{Evidence, Oracle, Violation},
    planted::Planted,
    scenario::{Rates, SEC, Scenario},
};
use crate::parse::Message;

/// The world, shared by the daemon's store and maps.
pub type Shared = Arc<Mutex<World>>;

/// The world, locked.
pub fn lock(shared: &Shared) -> MutexGuard<'_, World> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Frames that wait for the daemon at most.
const INBOX_MAX: usize = 4_096;

/// Something that will happen.
pub enum Event {
    /// A frame reaches the server's machine.
    Arrive(Vec<u8>),
    /// A message reaches a client.
    Deliver(u16, Box<Message>),
    /// A client's time has come, if it still waits for this moment.
    Wake(u16),
    /// A program that stood still goes on.
    Finish(u64),
    /// No program uses these leases any more; for the daemon with this number.
    Graced(u32, Vec<Withdrawal>),
    /// The fault with this number begins.
    Fault(usize),
}

/// What waits for the daemon.
pub enum Input {
    /// A frame.
    Frame(Vec<u8>),
    /// Withdrawn leases.
    Graced(Vec<Withdrawal>),
    /// The configuration file has changed, to this one.
    Reload(u8),
}

/// A kernel answer to compare with the engine's.
pub struct Shadow {
    /// The request.
    pub before: Vec<u8>,
    /// The answer.
    pub after: Vec<u8>,
    /// When.
    pub boot_ns: u64,
    /// By which maps.
    pub maps: usize,
}

/// How the daemon ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Death {
    /// How long it is down.
    pub down_ns: u64,
    /// Whether the machine went with it, and whether its wall clock is right afterwards.
    pub power: Option<bool>,
    /// The configuration it comes back with.
    pub variant: Option<u8>,
    /// Whether program and maps are unloaded.
    pub unload: bool,
}

/// The machine's clocks.
#[derive(Clone, Copy, Debug)]
pub struct Machine {
    /// Whether it runs.
    pub up: bool,
    /// When it began to, in true time.
    pub booted_ns: u64,
    /// Which boot it is.
    pub boot: u8,
    /// How wrong the wall clock is.
    pub wall_error_ns: i64,
    /// How wrong it was when the daemon last noted what it shows.
    pub wall_error_noted_ns: i64,
}

/// A line of history.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    /// When, in true time.
    pub at_ns: u64,
    /// About which address.
    pub address: Option<Ipv4Addr>,
    /// About which client.
    pub client: Option<u16>,
    /// What.
    pub text: String,
}

/// Passing conditions: each lasts until its moment.
#[derive(Clone, Copy, Debug, Default)]
pub struct Conditions {
    /// Flushes take up to so long.
    pub slow_disk: (u64, u64),
    /// Commits fail in so many of a hundred cases.
    pub full_disk: (u64, u8),
    /// The next flush fails, its batch kept or not.
    pub flush_fails: Option<bool>,
    /// The daemon stands still.
    pub hang_until_ns: u64,
    /// The machine sleeps.
    pub asleep_until_ns: u64,
    /// How long it has slept, or will have when it wakes, in this boot.
    pub slept_ns: u64,
    /// Clients cut off: divisor and rest.
    pub partition: (u64, u16, u16),
    /// Programs stand still in so many of a hundred cases, up to so long.
    pub stall: (u64, u8, u64),
    /// Grants are declined in so many of a hundred cases.
    pub decline: (u64, u8),
}

/// Everything outside the daemon.
pub struct World {
    /// True time since the start.
    pub now_ns: u64,
    agenda: Agenda<Event>,
    /// What is drawn while it runs.
    pub rng: SmallRng,
    /// The seed's scenario.
    pub scenario: Arc<Scenario>,
    /// The deliberate fault.
    pub planted: Option<Planted>,
    /// All clients.
    pub clients: Vec<Client>,
    /// Clocks.
    pub machine: Machine,
    /// Maps and programs.
    pub kernel: Kernel,
    /// The disk.
    pub disk: MemoryStore,
    /// The ledger.
    pub oracle: Oracle,
    /// The first violation; nothing happens after it.
    pub violation: Option<Violation>,
    /// What waits for the daemon.
    pub inbox: VecDeque<Input>,
    /// The number of the daemon that listens.
    pub listener: Option<u32>,
    /// How the daemon has just died, until that is noticed.
    pub death: Option<Death>,
    /// After how many writes it dies.
    pub fuse: Option<(u32, Death)>,
    /// What lasts for a while.
    pub conditions: Conditions,
    /// The timeline of the last daemon.
    pub timeline: Option<Timeline>,
    /// Its configuration.
    pub config: Arc<Config>,
    /// The number of the configuration in the file.
    pub variant: u8,
    /// How often a running daemon took up another.
    pub reloads: u64,
    /// Kernel answers to be compared; only while the daemon is between two turns.
    pub shadows: Vec<Shadow>,
    /// Whether they are.
    pub shadowing: bool,
    /// Events so far.
    pub steps: u64,
    /// ACKs of the daemon to renewals.
    pub acks_by_daemon: u64,
    history: Option<Vec<Line>>,
}

impl World {
    /// A world at its beginning. `tracing` keeps a history.
    pub fn new(scenario: Arc<Scenario>, planted: Option<Planted>, tracing: bool) -> Self {
        let mut rng = SmallRng::seed_from_u64(scenario.seed ^ 0x5eed);
        let mut agenda = Agenda::default();
        let mut clients = Vec::new();
        for index in 0..scenario.clients {
            let (client, start_ns, _) = crowd::drawn(&scenario, index, 0);
            clients.push(client);
            agenda.put(start_ns, Event::Wake(index));
        }
        for (number, (at_ns, _)) in scenario.faults.iter().enumerate() {
            agenda.put(*at_ns, Event::Fault(number));
        }
        let wall_error_ns = if rng.random_bool(0.2) { -3_600 * SEC.cast_signed() } else { 0 };
        let mut disk = MemoryStore::new();
        if planted == Some(Planted::LyingDisk) {
            disk.lie();
        }
        Self {
            now_ns: 0,
            agenda,
            rng,
            planted,
            clients,
            machine: Machine {
                up: true,
                booted_ns: 0,
                boot: 1,
                wall_error_ns,
                wall_error_noted_ns: wall_error_ns,
            },
            kernel: Kernel::default(),
            disk,
            oracle: Oracle::default(),
            violation: None,
            inbox: VecDeque::new(),
            listener: None,
            death: None,
            fuse: None,
            conditions: Conditions::default(),
            timeline: None,
            config: Arc::new(scenario.config(0)),
            variant: 0,
            reloads: 0,
            shadows: Vec::new(),
            shadowing: false,
            steps: 0,
            acks_by_daemon: 0,
            history: tracing.then(Vec::new),
            scenario,
        }
    }

    /// Whether nothing goes wrong any more.
    pub fn calm(&self) -> bool {
        self.now_ns >= self.scenario.calm_from_ns
    }

    /// Whether it is over.
    pub fn over(&self) -> bool {
        self.violation.is_some()
            || self.now_ns >= self.scenario.end_ns
            || self.steps >= self.scenario.steps_max
    }

    /// How clients and network behave now.
    pub fn rates(&self) -> Rates {
        if self.calm() {
            return Rates::default();
        }
        let mut rates = self.scenario.rates;
        if self.now_ns < self.conditions.decline.0 {
            rates.decline = u16::from(self.conditions.decline.1) * 10;
        }
        rates
    }

    /// Makes something happen later.
    pub fn schedule(&mut self, at_ns: u64, event: Event) {
        self.agenda.put(at_ns.max(self.now_ns), event);
    }

    /// Lets everything up to `until_ns` happen, or up to the daemon's death, a violation or, if asked, an input. Who
    /// waits for that on a machine that goes to sleep meanwhile waits at least until it wakes.
    pub fn run_until(&mut self, until_ns: u64, stop_at_input: bool) {
        loop {
            let stop = stop_at_input && !self.inbox.is_empty() && !self.asleep();
            if self.death.is_some() || self.over() || stop {
                return;
            }
            let until_ns = until_ns.max(self.conditions.asleep_until_ns);
            let Some((at_ns, event)) = self.agenda.next(until_ns) else {
                self.now_ns = self.now_ns.max(until_ns);
                return;
            };
            self.now_ns = self.now_ns.max(at_ns);
            self.steps += 1;
            self.happen(event);
        }
    }

    fn happen(&mut self, event: Event) {
        match event {
            // What goes on on a machine that sleeps goes on when it wakes.
            Event::Finish(_) | Event::Graced(..) if self.asleep() => {
                self.agenda.put(self.conditions.asleep_until_ns, event);
            }
            Event::Arrive(frame) => self.arrive(frame),
            Event::Finish(run) => self.finish(run),
            Event::Fault(number) => self.begin_fault(number),
            Event::Graced(daemon, addresses) if self.listener == Some(daemon) => {
                self.inbox.push_back(Input::Graced(addresses));
            }
            Event::Graced(..) => {}
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
        }
    }

    fn carry_out(&mut self, index: u16, deeds: Deeds) {
        let Some(client) = self.clients.get(usize::from(index)) else { return };
        let (wake_ns, xid, last) = (client.wake_ns, client.xid(), client.transactions);
        let state = client.state;
        self.schedule(wake_ns, Event::Wake(index));
        if let Some(address) = deeds.gives_back {
            self.oracle.given_back(index, address, last);
            self.note(Some(address), Some(index), || "given back by its client".to_owned());
        }
        for (frame, asks_for) in deeds.send {
            self.oracle.asked(xid, asks_for);
            self.note(asks_for, Some(index), || format!("client sends {xid:08x} ({state:?})"));
            if self.cut_off(index) {
                continue;
            }
            self.travel(|| Event::Arrive(frame.clone()));
        }
    }

    fn cut_off(&self, index: u16) -> bool {
        let (until_ns, by, rest) = self.conditions.partition;
        self.now_ns < until_ns && by != 0 && index % by == rest
    }

    /// A frame goes up to the daemon, if there is one.
    pub fn pass_up(&mut self, frame: Vec<u8>) {
        if self.listener.is_some() && self.inbox.len() < INBOX_MAX {
            self.inbox.push_back(Input::Frame(frame));
        }
    }

    /// A reply leaves the machine.
    pub fn leave(&mut self, frame: &[u8], decided_ns: u64, by_kernel: bool) {
        let message = match Message::parse(frame) {
            Ok(message) => message,
            Err(error) => {
                let what = format!("a reply that left is no sound DHCP frame: {error:#}");
                return self.violated("sound-reply", what, None, &[]);
            }
        };
        let index = (message.xid >> 16) as u16;
        let by = if by_kernel { "kernel" } else { "daemon" };
        self.note(Some(message.yiaddr), Some(index), || {
            format!(
                "{by} answers {:08x} with type {}, lease {:?} s",
                message.xid,
                message.kind(),
                message.option_u32(51)
            )
        });
        if !by_kernel && message.kind() == 5 && !message.ciaddr.is_unspecified() {
            self.acks_by_daemon += 1;
        }
        let (timeline, booted_ns) = (self.timeline, self.machine.booted_ns);
        let to_timeline = move |true_ns: u64| timestamp(timeline, booted_ns, true_ns);
        let evidence = Evidence {
            durable: self.disk.durable(),
            timeline: &to_timeline,
            configs: std::slice::from_ref(&self.config),
            now_ns: self.now_ns,
            decided_ns,
            by_kernel,
        };
        if let Err((invariant, what, clients)) = self.oracle.left(&message, &evidence) {
            return self.violated(invariant, what, Some(message.yiaddr), &clients);
        }
        if self.cut_off(index) {
            return;
        }
        self.travel(|| Event::Deliver(index, Box::new(message.clone())));
    }

    /// A frame is under way, if it is not lost; doubled it arrives twice.
    fn travel(&mut self, arrival: impl Fn() -> Event) {
        let rates = self.rates();
        let journeys: Vec<u64> = network::journeys(&mut self.rng, &rates).collect();
        for journey in journeys {
            self.schedule(self.now_ns + journey, arrival());
        }
    }

    /// Notes the first violation.
    pub fn violated(
        &mut self,
        invariant: &'static str,
        what: String,
        address: Option<Ipv4Addr>,
        clients: &[u16],
    ) {
        let at_ns = self.now_ns;
        let clients = clients.to_vec();
        self.violation.get_or_insert(Violation { invariant, what, at_ns, address, clients });
    }

    /// Adds to the history, if one is kept.
    pub fn note(&mut self, address: Option<Ipv4Addr>, client: Option<u16>, text: impl FnOnce() -> String) {
        if let Some(history) = &mut self.history {
            history.push(Line { at_ns: self.now_ns, address, client, text: text() });
        }
    }

    /// The history so far.
    pub fn take_history(&mut self) -> Vec<Line> {
        self.history.take().unwrap_or_default()
    }

    /// The daemon is about to write: whether it is dead, or dies of that.
    pub fn burn(&mut self) -> bool {
        if let Some((left, death)) = &mut self.fuse {
            match left.checked_sub(1) {
                Some(fewer) => *left = fewer,
                None => {
                    self.death = Some(*death);
                    self.fuse = None;
                }
            }
        }
        self.death.is_some()
    }

    /// Another such moment in what it does with the kernel.
    ///
    /// # Errors
    /// If it is dead.
    pub fn live(&mut self) -> Result<(), FastPathError> {
        if self.burn() { Err(FastPathError::Missing("daemon: it died")) } else { Ok(()) }
    }

    /// Maps for a configuration; their number.
    pub fn new_maps(&mut self, config: &Config, control: &Control) -> usize {
        let id = self.kernel.maps.len();
        self.kernel.maps.push(KernelMaps::of(config, control));
        id
    }
}
