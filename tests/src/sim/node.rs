//! The daemon: the product's keeper over the simulator's store and maps, started as `server::start` starts it and turned
//! as `server::service` turns it.

use std::sync::Arc;

use dhcp_common::abi::Control;
use dhcp_user::{
    config::model::Config,
    fastpath::{error::FastPathError, kernel::Mark, lease_map::LeaseMap},
    net::packet_socket::ReceivedFrame,
    server::{
        keeper::{Aftermath, Keeper, KeeperError, Withdrawal},
        sweep::Sweep,
        takeover::{Succession, remember},
        work::{Outgoing, Work},
    },
    time::{Span, Timestamp},
    timeline::step,
};

use super::{
    clocks::timestamp,
    kernel::SimMap,
    planted::Planted,
    reload::reload,
    scenario::{MS, SEC},
    start::{ANCHOR_EVERY_NS, Ended, SWEEP_EVERY_NS, SWEEP_PART, found, surroundings},
    store::SimStore,
    world::{Event, Input, Shadow, Shared, lock},
};

/// How long until it is tried again when there was no room for it.
const ANCHOR_AGAIN_NS: u64 = SEC;
/// How long a part of the marks takes to read, and the daemon to see that a flush has ended.
const PART_NS: u64 = MS / 4;
const INPUTS_MAX: usize = 1_024;
/// How long a client that keeps asking in the calm may be without an address while there are some free.
const PATIENCE_NS: u64 = 150 * SEC;

/// A running daemon.
pub struct Node {
    shared: Shared,
    keeper: Keeper<SimStore, SimMap>,
    number: u32,
    maps: Option<usize>,
    authority: Span,
    next_sweep_ns: u64,
    /// When it was decided what was begun last.
    begun_ns: u64,
    next_anchor_ns: u64,
    /// Boot clock and wall clock at the last look.
    clocks_seen: (u64, u64),
    started_ns: u64,
    /// When each subnet last had no address free.
    full_ns: Vec<u64>,
}

impl Node {
    /// Starts a daemon with the configuration `config`.
    ///
    /// # Errors
    /// If it dies, or the disk fails, before it is through.
    pub fn start(shared: &Shared, number: u32, config: &Arc<Config>) -> Result<Self, Ended> {
        let (around, recovered, leases) = {
            let mut world = lock(shared);
            world.listener = Some(number);
            world.config = Arc::clone(config);
            let (id, clocks) = (world.boot_id(), (world.boot_ns(), world.wall_ns()));
            let around = surroundings(config, id, clocks, &mut world.rng);
            let (recovered, leases) = found(&world.disk);
            (around, recovered, leases)
        };
        let authority = Span::from_secs(config.fastpath.authority_secs.into());
        let (mut keeper, resume) = remember(around, SimStore(Arc::clone(shared)), &recovered, leases)?;
        {
            let mut world = lock(shared);
            world.note(None, None, || format!("daemon {number} starts: {resume:?}"));
            world.timeline = Some(keeper.timeline);
            let (now_ns, booted_ns, timeline) = (world.now_ns, world.machine.booted_ns, world.timeline);
            let found = world
                .oracle
                .recovered(world.disk.durable(), now_ns, &|ns| timestamp(timeline, booted_ns, ns));
            if let Err((address, (invariant, what, clients))) = found {
                world.violated(invariant, what, Some(address), &clients);
            }
        }
        let earlier = lock(shared).kernel.sets.clone();
        let mut succession =
            SimSuccession { shared: Arc::clone(shared), config: Arc::clone(config), earlier, fresh: None };
        keeper.sweep = Sweep::in_parts_of(SWEEP_PART);
        keeper.take_over(&mut succession, authority)?;
        let now_ns = lock(shared).now_ns;
        let mut node = Self {
            shared: Arc::clone(shared),
            keeper,
            number,
            maps: succession.fresh,
            authority,
            next_sweep_ns: now_ns,
            begun_ns: now_ns,
            next_anchor_ns: now_ns + ANCHOR_EVERY_NS,
            clocks_seen: (0, 0),
            started_ns: now_ns,
            full_ns: vec![0; config.subnets.len()],
        };
        node.clocks_seen = node.clocks();
        node.note_time()?;
        Ok(node)
    }

    /// Waits for something to do, and does it.
    ///
    /// # Errors
    /// If it dies, or store or kernel fail.
    pub fn turn(&mut self) -> Result<(), Ended> {
        let inputs = self.wait();
        self.compare_shadows();
        let (decided_ns, now, planted) = {
            let world = lock(&self.shared);
            if world.death.is_some() || world.over() {
                return Ok(());
            }
            (world.now_ns, self.keeper.timeline.timestamp(world.boot_ns()), world.planted)
        };
        let mut work = Work::default();
        let mut reload_to = None;
        for input in inputs {
            match input {
                Input::Reload(variant) => reload_to = Some(variant),
                Input::Frame(octets) => {
                    let mut frame = ReceivedFrame { octets, checksum_pending: false };
                    self.keeper.core.receive(now, 0, &mut frame, &mut work);
                }
                Input::Graced(withdrawn) => {
                    self.land()?;
                    for one in withdrawn {
                        self.forgotten(now, one, planted, &mut work);
                    }
                }
            }
        }
        self.keeper.core.tick(now, &mut work);
        if planted == Some(Planted::PublishBeforeCommit) {
            self.publish_early(&work);
        }
        if planted == Some(Planted::ReplyBeforeCommit) {
            self.send(std::mem::take(&mut work.send), decided_ns);
        }
        self.land()?;
        let aftermath = self.keeper.begin(now, work)?;
        self.finish(aftermath, decided_ns);
        self.begun_ns = decided_ns;
        if let Some(variant) = reload_to {
            self.land()?;
            self.reload(variant)?;
        }
        self.sweep_if_due()?;
        let (boot_ns, wall_ns) = self.clocks();
        let clocks = (boot_ns, wall_ns);
        let stepped = step(std::mem::replace(&mut self.clocks_seen, clocks), clocks).is_some();
        if lock(&self.shared).now_ns >= self.next_anchor_ns || stepped {
            self.note_time()?;
        }
        Ok(())
    }

    /// Ends what was begun.
    fn land(&mut self) -> Result<(), Ended> {
        let aftermath = self.keeper.end()?;
        self.finish(aftermath, self.begun_ns);
        Ok(())
    }

    fn reload(&mut self, variant: u8) -> Result<(), Ended> {
        if let Some((config, maps)) = reload(&self.shared, &mut self.keeper, variant)? {
            self.maps = Some(maps);
            self.authority = Span::from_secs(config.fastpath.authority_secs.into());
        }
        Ok(())
    }

    fn wait(&mut self) -> Vec<Input> {
        let mut world = lock(&self.shared);
        // What the kernel answers before it is told what was begun is not what the daemon knows already.
        let begun = self.keeper.has_begun();
        world.shadowing = !begun;
        let hang_ns = world.conditions.hang_until_ns;
        if hang_ns > world.now_ns {
            world.run_until(hang_ns, false);
        }
        let part_ns = if begun || self.keeper.is_sweeping() { world.now_ns + PART_NS } else { u64::MAX };
        let until_ns = self.next_sweep_ns.max(world.now_ns).min(part_ns);
        world.run_until(until_ns, true);
        world.shadowing = false;
        // Frames that are a moment apart share a turn.
        let few = world.inbox.len().min(INPUTS_MAX);
        world.inbox.drain(..few).collect()
    }

    fn forgotten(&mut self, now: Timestamp, one: Withdrawal, planted: Option<Planted>, work: &mut Work) {
        if planted == Some(Planted::ReuseAtExpiry) {
            let kernel = self.keeper.kernel.as_ref();
            let marked = kernel.and_then(|kernel| kernel.renewed_boot_ns(one.address));
            let last = marked.map_or(Timestamp::ZERO, |at| self.keeper.timeline.timestamp(at));
            self.keeper.core.withdrawn(now, one.address, Some(last), work);
        } else {
            self.keeper.forgotten(now, one, work);
        }
    }

    fn publish_early(&mut self, work: &Work) {
        let Some(kernel) = &mut self.keeper.kernel else { return };
        for &index in &work.answers {
            if let Some(answer) = self.keeper.core.learner.answers.get(index) {
                let _ = kernel.put_answer(index, answer);
            }
        }
        for &address in &work.publish {
            if let Some(entry) = self.keeper.core.entry(address, &self.keeper.timeline) {
                kernel.publish(&entry);
            }
        }
    }

    fn finish(&mut self, aftermath: Aftermath, decided_ns: u64) {
        self.send(aftermath.send, decided_ns);
        if aftermath.withdrawn.is_empty() {
            return;
        }
        let mut world = lock(&self.shared);
        let graced_ns = match world.planted {
            Some(Planted::NoGraceWait) => world.now_ns,
            _ => world.programs_end_ns() + MS,
        };
        world.schedule(graced_ns, Event::Graced(self.number, aftermath.withdrawn));
    }

    fn send(&mut self, replies: Vec<Outgoing>, decided_ns: u64) {
        let mut world = lock(&self.shared);
        for reply in replies {
            if world.burn() {
                return;
            }
            world.leave(&reply.frame, decided_ns, false);
        }
    }

    fn sweep_if_due(&mut self) -> Result<(), Ended> {
        let (now_ns, boot_ns) = {
            let world = lock(&self.shared);
            (world.now_ns, world.boot_ns())
        };
        if now_ns < self.next_sweep_ns {
            let aftermath = self.keeper.sweep_on(boot_ns)?;
            self.finish(aftermath, now_ns);
            return Ok(());
        }
        self.land()?;
        let aftermath = self.keeper.sweep(boot_ns, self.authority)?;
        self.finish(aftermath, now_ns);
        let now_ns = lock(&self.shared).now_ns;
        self.next_sweep_ns = now_ns + SWEEP_EVERY_NS;
        self.look_for_the_forgotten(now_ns);
        Ok(())
    }

    fn note_time(&mut self) -> Result<(), Ended> {
        let (boot_ns, wall_ns) = self.clocks();
        let noted = self.keeper.note_time(boot_ns, wall_ns).map_err(KeeperError::from)?;
        let again_ns = if noted { ANCHOR_EVERY_NS } else { ANCHOR_AGAIN_NS };
        self.next_anchor_ns = lock(&self.shared).now_ns + again_ns;
        Ok(())
    }

    fn clocks(&self) -> (u64, u64) {
        let world = lock(&self.shared);
        (world.boot_ns(), world.wall_ns())
    }

    /// In the calm: who keeps asking while there are addresses free is given one.
    fn look_for_the_forgotten(&mut self, now_ns: u64) {
        let mut world = lock(&self.shared);
        if !world.calm() {
            return;
        }
        for (subnet, full_ns) in self.full_ns.iter_mut().enumerate() {
            if self.keeper.core.engine.free_addresses(subnet) == 0 {
                *full_ns = now_ns;
            }
        }
        let calm_from_ns = world.scenario.calm_from_ns.max(self.started_ns);
        let forgotten = world.clients.iter().find_map(|client| {
            let full_ns = *self.full_ns.get(usize::from(client.style.relayed))?;
            let since_ns = client.asking_since_ns?.max(calm_from_ns).max(full_ns);
            (now_ns.saturating_sub(since_ns) > PATIENCE_NS).then_some(client.index)
        });
        if let Some(client) = forgotten {
            let what = format!(
                "client {client} has been asking for {} s, and addresses are free",
                PATIENCE_NS / SEC
            );
            world.violated("liveness", what, None, &[client]);
        }
    }

    /// What the kernel answered while this daemon was idle is what it would have answered itself.
    fn compare_shadows(&mut self) {
        let shadows = std::mem::take(&mut lock(&self.shared).shadows);
        for Shadow { before, after, boot_ns, maps } in shadows {
            if Some(maps) != self.maps {
                continue;
            }
            let mut core = self.keeper.core.clone();
            let mut work = Work::default();
            let mut frame = ReceivedFrame { octets: before, checksum_pending: false };
            core.receive(self.keeper.timeline.timestamp(boot_ns), 0, &mut frame, &mut work);
            if work.send.first().map(|reply| &reply.frame) != Some(&after) {
                let what = "the kernel's answer is not the engine's".to_owned();
                lock(&self.shared).violated("kernel-as-engine", what, None, &[]);
            }
        }
    }

    /// Every frame that came up was counted once.
    pub fn check_counts(&self) {
        let frames = self.keeper.core.frames;
        let messages: u64 = self.keeper.core.messages().map(|(_, count)| count).sum();
        let counted = messages + frames.malformed + frames.other_host + frames.bad_checksum;
        let mut world = lock(&self.shared);
        if counted != frames.received {
            let what = format!("{} frames came up and {counted} reasons were counted", frames.received);
            world.violated("one-reason", what, None, &[]);
        }
        let running = world.kernel.runs.len() as u64;
        if world.kernel.counted + running != world.kernel.seen {
            let what =
                format!("{} frames and {} reasons in the kernel", world.kernel.seen, world.kernel.counted);
            world.violated("one-reason", what, None, &[]);
        }
    }
}

/// The kernel's side of a start.
struct SimSuccession {
    shared: Shared,
    config: Arc<Config>,
    /// All maps an earlier program may have written to.
    earlier: Vec<usize>,
    fresh: Option<usize>,
}

impl Succession for SimSuccession {
    type Map = SimMap;

    fn boot_ns(&self) -> u64 {
        lock(&self.shared).boot_ns()
    }

    fn predecessor_marks(&self) -> Option<Vec<Mark>> {
        let world = lock(&self.shared);
        let earlier = self.earlier.iter().filter_map(|id| world.kernel.maps.get(*id));
        let marks = if world.planted == Some(Planted::LostMark) {
            Vec::new()
        } else {
            earlier.flat_map(LeaseMap::all_marks).collect()
        };
        (!self.earlier.is_empty()).then_some(marks)
    }

    fn load(&mut self, control: &Control) -> Result<SimMap, FastPathError> {
        let mut world = lock(&self.shared);
        world.live()?;
        let id = world.new_maps(&self.config, control);
        // As `Predecessor::remove_unused`.
        let attached = world.kernel.attached;
        world.kernel.sets.retain(|id| Some(*id) == attached);
        world.kernel.sets.push(id);
        self.fresh = Some(id);
        Ok(SimMap { shared: Arc::clone(&self.shared), id })
    }

    fn attach(&mut self, map: &mut SimMap) -> Result<(), FastPathError> {
        let mut world = lock(&self.shared);
        world.live()?;
        world.kernel.attached = Some(map.id);
        Ok(())
    }

    fn wait_for_programs(&mut self) -> Result<(), FastPathError> {
        let mut world = lock(&self.shared);
        let end_ns = world.programs_end_ns() + MS;
        world.run_until(end_ns, false);
        match world.death {
            Some(_) => Err(FastPathError::Missing("daemon: it died")),
            None => Ok(()),
        }
    }

    fn finish(&mut self) -> Result<(), FastPathError> {
        let mut world = lock(&self.shared);
        world.live()?;
        world.kernel.sets.retain(|id| Some(*id) == self.fresh);
        Ok(())
    }
}
