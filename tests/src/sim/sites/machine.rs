//! A machine: its disk, its clock, the program's maps, and the daemon over them, started and turned as the product's service
//! starts and turns it.

use std::{
    collections::{HashMap, VecDeque},
    net::Ipv4Addr,
    ops::Range,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use dhcp_common::abi::{Answer, Control, LeaseEntry};
use dhcp_user::{
    config::model::Config,
    fastpath::{error::FastPathError, kernel::Mark, lease_map::LeaseMap},
    lease::store::{Batch, Failure, LeaseStore, MemoryStore, MetaKey, StoreError},
    net::packet_socket::ReceivedFrame,
    server::{
        keeper::{Aftermath, Keeper, KeeperError, Withdrawal},
        memory::meta,
        sweep::Sweep,
        takeover::{Succession, remember},
        work::{Outgoing, Work},
    },
    site::{
        delegation::StoreId,
        node::{ClusterId, Input, Node, Output, Settings},
    },
    time::{Span, Timestamp},
    timeline::{BootId, Timeline},
};
use rand::{Rng as _, rngs::SmallRng};

use super::planted::Planted;
use crate::{
    parse::Message as Dhcp,
    sim::{
        kernel::KernelMaps,
        scenario::{MS, SEC},
        start::{ANCHOR_EVERY_NS, Ended, SWEEP_EVERY_NS, SWEEP_PART, WALL_NS, found, surroundings},
    },
};

/// What the boot clock of every machine shows at the start.
const BOOT_NS: u64 = 1_000 * SEC;
/// How long until no program uses an entry that was withdrawn.
const GRACE_NS: u64 = 3 * MS;
/// No reply is held for longer.
const HELD_NS: u64 = 3_500 * MS;

/// A disk, and after how many commits its machine's daemon dies.
#[derive(Default)]
pub struct DiskState {
    /// What is on it.
    pub store: MemoryStore,
    /// How many commits are left, and whether the last one still happens.
    pub fuse: Option<(u32, bool)>,
    /// What one flush carries; batches that are larger become durable in parts.
    pub bytes_max: Option<usize>,
    /// For how many more commits there is no room.
    pub full_for: u32,
    /// How many commits were made.
    pub commits: u64,
}

/// A daemon's hold on its disk.
#[derive(Clone, Default)]
pub struct Disk(Arc<Mutex<DiskState>>);

impl Disk {
    /// The disk.
    pub fn lock(&self) -> MutexGuard<'_, DiskState> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl LeaseStore for Disk {
    fn commit(&mut self, batch: &Batch) -> Result<(), StoreError> {
        let mut disk = self.lock();
        disk.commits += 1;
        if let Some(bytes_max) = disk.bytes_max
            && batch.parts(bytes_max).len() > 1
        {
            return Err(StoreError::BatchTooLarge { bytes: bytes_max + 1, bytes_max });
        }
        if let Some(fewer) = disk.full_for.checked_sub(1) {
            disk.full_for = fewer;
            disk.store.fail_next(Failure::Full);
            return disk.store.commit(batch);
        }
        if let Some((left, kept)) = disk.fuse {
            match left.checked_sub(1) {
                Some(fewer) => disk.fuse = Some((fewer, kept)),
                None => {
                    if kept {
                        disk.store.commit(batch)?;
                    }
                    return Err(StoreError::Poisoned { path: "sim: the daemon died".into() });
                }
            }
        }
        disk.store.commit(batch)
    }
}

/// A daemon's hold on its maps.
#[derive(Clone)]
pub struct Maps(Arc<Mutex<KernelMaps>>);

impl Maps {
    fn lock(&self) -> MutexGuard<'_, KernelMaps> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl LeaseMap for Maps {
    fn put_answer(&mut self, index: u32, answer: &Answer) -> Result<(), FastPathError> {
        self.lock().put_answer(index, answer)
    }

    fn publish(&mut self, entry: &LeaseEntry) -> bool {
        self.lock().publish(entry)
    }

    fn withdraw(&mut self, address: Ipv4Addr) {
        self.lock().withdraw(address);
    }

    fn renewed_boot_ns(&self, address: Ipv4Addr) -> Option<u64> {
        self.lock().renewed_boot_ns(address)
    }

    fn entries(&self) -> u32 {
        self.lock().entries()
    }

    fn marks(&self, entries: Range<u32>, since_boot_ns: u64) -> Vec<Mark> {
        self.lock().marks(entries, since_boot_ns)
    }

    fn set_authority_until_boot_ns(&mut self, deadline: u64) {
        self.lock().set_authority_until_boot_ns(deadline);
    }

    fn carry_mark(&mut self, mark: &Mark) {
        self.lock().carry_mark(mark);
    }
}

/// A machine.
pub struct Machine {
    /// The running daemon.
    pub keeper: Option<Keeper<Disk, Maps>>,
    /// The disk.
    pub disk: Disk,
    /// The maps of the attached program.
    pub maps: Option<Maps>,
    /// All maps a program may have written to that were not read to the end.
    pinned: Vec<Maps>,
    /// Its clock gains so many millionths.
    pub drift_ppm: i64,
    /// How far its wall clock is from the truth.
    pub wall_error_ns: i64,
    /// Its configuration has the later pools.
    pub later: bool,
    /// The timeline of its last daemon.
    pub timeline: Option<Timeline>,
    /// What its daemon is still to hear.
    pub inputs: VecDeque<Input>,
    /// Frames that came up.
    pub frames: VecDeque<Vec<u8>>,
    /// Withdrawn leases, and when no program uses them any more.
    graced: VecDeque<(u64, Vec<Withdrawal>)>,
    /// It is gone until then.
    pub down_until_ns: u64,
    /// Its daemon is not started before.
    pub start_ns: u64,
    /// Its daemon stands still until then.
    pub paused_until_ns: u64,
    /// Its messages take longer by so much, until then.
    pub slow: (u64, u64),
    /// Flushes of its disk take up to so long, until then.
    pub slow_disk: (u64, u64),
    /// Its daemon waits for a flush until then, and what comes of the turn that asked for it waits too.
    pub flushing_until_ns: u64,
    unflushed: Option<Turned>,
    /// When its disk was lost last.
    pub disk_lost_ns: u64,
    /// It hears of commands later by so much, until then.
    pub lag: (u64, u64),
    /// The last command its daemon was told of, and the last that is durable in its state machine.
    pub applied: u64,
    /// When messages of each transaction came up lately.
    asked_ns: HashMap<u32, VecDeque<u64>>,
    next_sweep_ns: u64,
    next_anchor_ns: u64,
}

/// What a turn came to.
#[derive(Default)]
pub struct Turned {
    /// When it was.
    pub at_ns: u64,
    /// Frames to send.
    pub send: Vec<Outgoing>,
    /// For the driver.
    pub site: Vec<Output>,
}

impl Machine {
    /// A machine without a daemon.
    pub fn new(drift_ppm: i64, wall_error_ns: i64) -> Self {
        Self {
            keeper: None,
            disk: Disk::default(),
            maps: None,
            pinned: Vec::new(),
            drift_ppm,
            wall_error_ns,
            later: false,
            timeline: None,
            inputs: VecDeque::new(),
            frames: VecDeque::new(),
            graced: VecDeque::new(),
            down_until_ns: 0,
            start_ns: 0,
            paused_until_ns: 0,
            slow: (0, 0),
            slow_disk: (0, 0),
            flushing_until_ns: 0,
            unflushed: None,
            disk_lost_ns: 0,
            lag: (0, 0),
            applied: 0,
            asked_ns: HashMap::new(),
            next_sweep_ns: 0,
            next_anchor_ns: 0,
        }
    }

    /// The boot clock at a moment of true time.
    pub fn boot_ns(&self, true_ns: u64) -> u64 {
        let gained = i128::from(true_ns) * i128::from(self.drift_ppm) / 1_000_000;
        (BOOT_NS + true_ns).saturating_add_signed(i64::try_from(gained).unwrap_or(0))
    }

    /// A moment of true time on the daemon's timeline.
    pub fn timestamp(&self, true_ns: u64) -> Timestamp {
        self.timeline.map_or(Timestamp::ZERO, |timeline| timeline.timestamp(self.boot_ns(true_ns)))
    }

    fn wall_ns(&self, true_ns: u64) -> u64 {
        (WALL_NS + true_ns).saturating_add_signed(self.wall_error_ns)
    }

    /// Whether a daemon runs and moves.
    pub fn runs(&self, now_ns: u64) -> bool {
        self.keeper.is_some() && now_ns >= self.paused_until_ns
    }

    /// Starts a daemon; `unnoticed` plants that it takes its disk for this one, with which it joined, whichever it is.
    ///
    /// # Errors
    /// If it dies before it is through.
    pub fn start(
        &mut self,
        now_ns: u64,
        config: &Arc<Config>,
        settings: Settings,
        unnoticed: Option<StoreId>,
        rng: &mut SmallRng,
    ) -> Result<(), Ended> {
        let (recovered, leases) = found(&self.disk.lock().store);
        let clocks = (self.boot_ns(now_ns), self.wall_ns(now_ns));
        let around = surroundings(config, BootId::new([1; 16]), clocks, rng);
        let (mut keeper, _) = remember(around, self.disk.clone(), &recovered, leases)?;
        self.timeline = Some(keeper.timeline);
        let kept = |key| meta(&recovered, key);
        let (cursors, mark) = (kept(MetaKey::SiteCursors), kept(MetaKey::SiteMember));
        let planted =
            unnoticed.map(|StoreId(store)| [&ClusterId::default()[..], &store.to_le_bytes()].concat());
        let mark = planted.as_deref().or(mark);
        keeper.join_cluster(Node::new(settings, rng.random_range(1..u64::MAX), cursors, mark));
        let mut succession = Predecessor {
            boot_ns: self.boot_ns(now_ns),
            config: Arc::clone(config),
            pinned: std::mem::take(&mut self.pinned),
            attached: self.maps.take(),
        };
        let authority = Span::from_secs(config.fastpath.authority_secs.into());
        keeper.sweep = Sweep::in_parts_of(SWEEP_PART);
        let done = keeper.take_over(&mut succession, authority);
        (self.maps, self.pinned) = (succession.attached, succession.pinned);
        done?;
        keeper.note_time(self.boot_ns(now_ns), self.wall_ns(now_ns)).map_err(KeeperError::from)?;
        self.keeper = Some(keeper);
        (self.next_sweep_ns, self.next_anchor_ns) = (now_ns, now_ns + ANCHOR_EVERY_NS);
        Ok(())
    }

    /// The daemon is dead; its machine's program goes on, unless the machine went too.
    pub fn die(&mut self, now_ns: u64, down_ns: u64, machine_too: bool) {
        self.keeper = None;
        self.inputs.clear();
        self.frames.clear();
        self.graced.clear();
        self.asked_ns.clear();
        self.paused_until_ns = 0;
        self.flushing_until_ns = 0;
        self.unflushed = None;
        self.start_ns = now_ns + down_ns;
        let mut disk = self.disk.lock();
        disk.fuse = None;
        drop(disk.store.crash());
        if machine_too {
            self.maps = None;
            self.pinned.clear();
            self.down_until_ns = now_ns + down_ns;
        }
    }

    /// Its disk is lost, and replaced by an empty one. What it had of the consensus log was on it.
    pub fn lose_disk(&mut self, now_ns: u64) {
        self.disk_lost_ns = now_ns;
        self.disk.lock().store = MemoryStore::default();
        self.applied = 0;
    }

    /// When the answer to a transaction that leaves now was decided at the earliest.
    pub fn decided_ns(&mut self, xid: u32, now_ns: u64) -> u64 {
        let Some(asked) = self.asked_ns.get_mut(&xid) else { return now_ns };
        // One flush may go by before the turn that lets it go, and one in that turn.
        let held_ns = HELD_NS + 2 * self.slow_disk.1;
        while asked.len() > 1 && asked.front().is_some_and(|at| at + held_ns < now_ns) {
            asked.pop_front();
        }
        asked.front().copied().unwrap_or(now_ns)
    }

    /// What of a turn takes effect now: nothing, where its disk is slow and more than `commits_before` were made. That is durable as its
    /// flush begins; what came of it waits until the flush has ended, and is lost if the daemon dies before.
    pub fn flush(
        &mut self,
        turned: Turned,
        commits_before: u64,
        now_ns: u64,
        rng: &mut SmallRng,
    ) -> Option<Turned> {
        let (until_ns, by_ns) = self.slow_disk;
        if now_ns >= until_ns || self.disk.lock().commits == commits_before {
            return Some(turned);
        }
        self.flushing_until_ns = now_ns + rng.random_range(1..=by_ns);
        self.unflushed = Some(turned);
        None
    }

    /// What waited for a flush that has ended now.
    pub fn flushed(&mut self, now_ns: u64) -> Option<Turned> {
        (now_ns >= self.flushing_until_ns).then(|| self.unflushed.take()).flatten()
    }

    /// A frame comes in: the program's answer, if it has one; else it goes up.
    pub fn arrive(&mut self, now_ns: u64, frame: Vec<u8>) -> Option<Vec<u8>> {
        if now_ns < self.down_until_ns {
            return None;
        }
        let boot_ns = self.boot_ns(now_ns);
        let answer = self.maps.as_ref().and_then(|maps| maps.lock().run(&frame, boot_ns));
        if answer.is_none() && self.keeper.is_some() && self.frames.len() < 1_024 {
            self.frames.push_back(frame);
        }
        answer
    }

    /// Lets the daemon do what it has to.
    ///
    /// # Errors
    /// If it dies of it.
    pub fn turn(&mut self, now_ns: u64, planted: Option<Planted>) -> Result<Turned, Ended> {
        let (boot_ns, wall_ns) = (self.boot_ns(now_ns), self.wall_ns(now_ns));
        let Some(keeper) = &mut self.keeper else { return Ok(Turned::default()) };
        let now = keeper.timeline.timestamp(boot_ns);
        let mut done = Aftermath::default();
        for input in self.inputs.drain(..) {
            done.append(keeper.site_input(now, input)?);
        }
        let mut work = Work::default();
        for octets in self.frames.drain(..) {
            if let Ok(message) = Dhcp::parse(&octets) {
                self.asked_ns.entry(message.xid).or_default().push_back(now_ns);
            }
            let mut frame = ReceivedFrame { octets, checksum_pending: false };
            keeper.core.receive(now, 0, &mut frame, &mut work);
        }
        while self.graced.front().is_some_and(|(at, _)| *at <= now_ns) {
            let Some((_, withdrawn)) = self.graced.pop_front() else { break };
            withdrawn.into_iter().for_each(|one| keeper.forgotten(now, one, &mut work));
        }
        keeper.core.tick(now, &mut work);
        let hasty = match planted {
            Some(Planted::ReplyBeforeReplication) => std::mem::take(&mut work.send),
            _ => Vec::new(),
        };
        done.append(keeper.settle(now, work)?);
        done.send.extend(hasty);
        if now_ns >= self.next_sweep_ns {
            let authority = Span::from_secs(keeper.core.engine.config().fastpath.authority_secs.into());
            done.append(keeper.sweep(boot_ns, authority)?);
            self.next_sweep_ns = now_ns + SWEEP_EVERY_NS;
        } else {
            done.append(keeper.sweep_on(boot_ns)?);
        }
        done.append(keeper.site_turn(now)?);
        if now_ns >= self.next_anchor_ns {
            keeper.note_time(boot_ns, wall_ns).map_err(KeeperError::from)?;
            self.next_anchor_ns = now_ns + ANCHOR_EVERY_NS;
        }
        if !done.withdrawn.is_empty() {
            self.graced.push_back((now_ns + GRACE_NS, done.withdrawn));
        }
        Ok(Turned { at_ns: now_ns, send: done.send, site: done.site })
    }
}

/// The kernel's side of a start.
struct Predecessor {
    boot_ns: u64,
    config: Arc<Config>,
    pinned: Vec<Maps>,
    attached: Option<Maps>,
}

impl Succession for Predecessor {
    type Map = Maps;

    fn boot_ns(&self) -> u64 {
        self.boot_ns
    }

    fn predecessor_marks(&self) -> Option<Vec<Mark>> {
        let marks = self.pinned.iter().flat_map(LeaseMap::all_marks).collect();
        (!self.pinned.is_empty()).then_some(marks)
    }

    fn load(&mut self, control: &Control) -> Result<Maps, FastPathError> {
        Ok(Maps(Arc::new(Mutex::new(KernelMaps::of(&self.config, control)))))
    }

    fn attach(&mut self, map: &mut Maps) -> Result<(), FastPathError> {
        self.pinned.push(map.clone());
        self.attached = Some(map.clone());
        Ok(())
    }

    fn wait_for_programs(&mut self) -> Result<(), FastPathError> {
        Ok(())
    }

    fn finish(&mut self) -> Result<(), FastPathError> {
        self.pinned.clear();
        self.pinned.extend(self.attached.clone());
        Ok(())
    }
}
