//! The thread that does the work: it gathers what has come in, lets the core think, and does what that asks in the
//! order that keeps promises: one flush for the whole batch, then the kernel, then the replies.

use std::{
    collections::BTreeMap,
    net::Ipv4Addr,
    os::fd::OwnedFd,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
        mpsc::{Receiver, RecvTimeoutError, Sender},
    },
    time::{Duration, Instant},
};

use aya_log::EbpfLogger;
use dhcp_common::reason::Counters;
use tokio::sync::oneshot;

use super::{
    clock::{self, Clock, ClockWatch, Look},
    desk::{Change, Page, ServiceHealth, SubnetPart, Wanted},
    explain::{Explanation, Subject},
    feed::Feed,
    inbox::Inbox,
    keeper::{Aftermath, Keeper, KeeperError, Withdrawal},
    latency::{Latency, Taken},
    outbox::Outbox,
    queries::Queries,
    reload::swap::Order,
    reserve,
    sealing::Sealing,
    shared_address::SharedAddresses,
    slice,
    tap::{Running, TapOrder},
    view::{LeaseView, StatsView},
    watch::{Mending, Watch},
    work::Work,
};
use crate::{
    audit::{AuditEvent, Journal, Kind, Known, Line},
    fastpath::kernel::KernelPath,
    lease::store::TimedStore,
    net::packet_socket::ReceivedFrame,
    probe::{Question, echo::EchoSocket},
    site::{
        delegation::NodeId,
        driver::pump::{FromNode, ToPump},
        node::{Input, View},
    },
    time::{Span, Timestamp},
};

/// How often the kernel's marks are read: what `leases list` shows is at most this old.
const SWEEP_EVERY: Duration = Duration::from_millis(500);
/// The longest the thread sleeps.
const IDLE: Duration = Duration::from_millis(100);
/// The longest it sleeps while an offer may be waiting for a probe, or the kernel for what it is to be taught.
const IDLE_SOON: Duration = Duration::from_millis(10);
/// Events taken up before the work is done, each frame counted as one; a last event may have some more.
const EVENTS_MAX: usize = 1_024;

/// What the thread is told.
#[derive(Debug)]
pub enum Event {
    /// Somebody answered for an address that was asked for; with the hardware address if it was by ARP.
    InUse(Ipv4Addr, Option<[u8; 6]>),
    /// Frames came up on the interface with this index, and were read at this moment.
    Frames(usize, Instant, Vec<ReceivedFrame>),
    /// No program can be using these leases any more.
    Graced(Vec<Withdrawal>),
    /// Somebody asks.
    Query(Query),
    /// To take up another configuration.
    Reload(Box<Order>),
    /// To change reservations.
    Reserve(Box<reserve::Order>),
    /// What the node of a cluster is told.
    Site(Input),
    /// There is a link to this node, and this is its number.
    Linked(NodeId, u64),
    /// Consensus has stopped on this node: why.
    ConsensusLost(String),
    /// What was begun is durable, or is not.
    Durable,
    /// To stop in order.
    Stop,
}

/// What somebody asks.
#[derive(Debug)]
pub enum Query {
    /// A page of the leases that are wanted.
    Page(Wanted, oneshot::Sender<Page>),
    /// One lease.
    Lease(Ipv4Addr, oneshot::Sender<Option<LeaseView>>),
    /// Counters.
    Stats(oneshot::Sender<StatsView>),
    /// Some of the subnets and their pools, from an address on.
    Subnets(Ipv4Addr, oneshot::Sender<SubnetPart>),
    /// Whether all parts are there.
    Health(oneshot::Sender<ServiceHealth>),
    /// Why a client gets the answer it gets.
    Explain(Subject, oneshot::Sender<Explanation>),
    /// What the node of a cluster shows; none on a single node.
    Sites(oneshot::Sender<Option<View>>),
    /// A change to a lease.
    Change(Change),
    /// A capture of what the kernel answers.
    Tap(TapOrder),
}

/// The parts the thread works with.
pub struct Service {
    pub(super) keeper: Keeper<TimedStore, KernelPath>,
    pub(super) modes: BTreeMap<String, String>,
    pub(super) loggers: Vec<EbpfLogger<&'static dyn log::Log>>,
    pub(super) outbox: Outbox,
    /// UDP port 67 on each interface, held so that nobody else takes it.
    pub(super) _ports: Vec<OwnedFd>,
    pub(super) clock: Clock,
    pub(super) authority: Span,
    pub(super) grace: Option<Sender<Vec<Withdrawal>>>,
    pub(super) events: Receiver<Event>,
    pub(super) inbox: Arc<Inbox>,
    /// Questions that wait.
    pub(super) queries: Queries,
    pub(super) counts: Counts,
    pub(super) feed: Arc<Feed>,
    /// How long messages take.
    pub(super) latency: Arc<Latency>,
    /// The messages whose work has begun.
    pub(super) taken: Taken,
    /// Asks for addresses behind relay agents, if that is wanted.
    pub(super) echo: Option<Arc<EchoSocket>>,
    /// The audit log, if one is kept.
    pub(super) journal: Option<Journal>,
    /// Where what the node of a cluster wants done is carried out.
    pub(super) sites: Option<ToPump>,
    /// The capture that is on, if one is.
    pub(super) running_tap: Option<Running>,
    /// The addresses that the nodes of this site share, if there are such.
    pub(super) shared: Option<SharedAddresses>,
    /// Whether interfaces and programs are as they should be.
    pub(super) watch: Arc<Watch>,
    /// What was done about those that were not.
    pub(super) mending: Mending,
    /// Counts the turns of the thread: whoever watches sees that it is alive.
    pub(super) turns: Arc<AtomicU64>,
}

/// What the thread itself counts.
#[derive(Clone, Copy, Debug, Default)]
pub struct Counts {
    pub(super) probe_send_errors: u64,
    kernel_write_failures: u64,
    pub(super) quarantines_cut_short: u64,
    pub(super) answers_refused: u64,
    /// What was counted by programs over maps that are gone.
    pub(super) kernel: Counters,
}

impl Counts {
    /// The kernel's counters begin anew, and so does the table of its answers; so far they were these.
    pub(super) fn kernel_before(&mut self, counters: Option<Counters>) {
        (self.kernel_write_failures, self.answers_refused) = (0, 0);
        counters.iter().for_each(|counters| self.kernel.add(counters));
    }
}

impl Service {
    /// Works until told to stop.
    ///
    /// # Errors
    /// If the store or the kernel fail: then nothing more may be promised. The kernel goes on within its horizons.
    pub fn run(mut self) -> Result<(), KeeperError> {
        slice::ask_for_short_ones();
        let mut next_sweep = Instant::now();
        let mut clocks = ClockWatch::just_noted();
        let mut stop_at = None;
        let mut sealing = Sealing::new(self.keeper.commits, Instant::now());
        let inherited = std::mem::take(&mut self.keeper.inherited);
        self.record(&inherited);
        self.expect_programs();
        loop {
            self.turns.fetch_add(1, Ordering::Relaxed);
            let stop = self.take_events()?;
            if sealing.is_due(self.keeper.commits, Instant::now()) {
                self.keeper.store.seal()?;
            }
            if Instant::now() >= next_sweep || stop {
                self.sweep()?;
                next_sweep = Instant::now() + SWEEP_EVERY;
            } else if self.keeper.is_sweeping() {
                self.sweep_on()?;
            }
            self.look_at_clocks(&mut clocks)?;
            if stop {
                stop_at.get_or_insert_with(|| self.hand_addresses_on());
            }
            if stop_at.is_some_and(|at| Instant::now() >= at || self.addresses_are_handed_on()) {
                return self.stop();
            }
        }
    }

    /// Says when the wall clock was set or the machine slept, and notes the time then and now and again.
    fn look_at_clocks(&mut self, clocks: &mut ClockWatch) -> Result<(), KeeperError> {
        let Look { step, slept, to_note } = clocks.look();
        if let Some(slept) = slept {
            tracing::warn!(
                slept_secs = slept.as_secs(),
                "the machine was suspended: that counts as time, and what ran out meanwhile has run out"
            );
        }
        if let Some(step) = step {
            tracing::warn!(
                "the wall clock was set {step}: no promise changes, for they are kept by the boot clock; dates shown go \
                 on as they were until a reboot"
            );
        }
        if let Some((boot_ns, wall_ns)) = to_note {
            clocks.noted(self.keeper.note_time(boot_ns, wall_ns)?);
        }
        Ok(())
    }

    /// Takes up what has come in and does the work; whether it was told to stop.
    fn take_events(&mut self) -> Result<bool, KeeperError> {
        let idle = if !self.queries.is_empty() || self.keeper.is_sweeping() {
            Duration::ZERO
        } else if self.keeper.core.engine.is_probing() || self.keeper.has_untaught() {
            IDLE_SOON
        } else {
            IDLE
        };
        let mut next = match self.events.recv_timeout(idle) {
            Ok(event) => Some(event),
            Err(RecvTimeoutError::Timeout) => None,
            Err(RecvTimeoutError::Disconnected) => {
                self.land()?;
                return Ok(true);
            }
        };
        let mut now = self.clock.now();
        let mut work = Work::default();
        let (mut for_node, mut taken) = (Vec::new(), Taken::default());
        let (mut orders, mut reservations) = (Vec::new(), Vec::new());
        let mut stop = false;
        let mut room = EVENTS_MAX;
        while let Some(event) = next {
            // Anew for each: this process may have stood still since the last, and what came meanwhile is not to be granted
            // from before it was asked for.
            now = self.clock.now();
            // Frames are thought about while the batch before becomes durable; whatever else there is waits for that.
            if self.keeper.has_ended() || !matches!(event, Event::Frames(..)) {
                self.land()?;
            }
            match event {
                Event::Durable => {}
                Event::Frames(interface, read, frames) => {
                    let count = frames.len();
                    taken.add(read, count);
                    for mut frame in frames {
                        self.inbox.taken(&frame);
                        self.keeper.core.receive(now, interface, &mut frame, &mut work);
                    }
                    room = room.saturating_sub(count.saturating_sub(1));
                }
                Event::InUse(address, mac) => {
                    self.inbox.answer_taken();
                    self.keeper.core.found_in_use(now, address, mac, &mut work);
                }
                Event::Graced(withdrawn) => {
                    withdrawn.into_iter().for_each(|one| self.keeper.forgotten(now, one, &mut work));
                }
                Event::Site(input) => for_node.push((input, None)),
                Event::Linked(node, number) => for_node.push((Input::Connected(node), Some(number))),
                Event::Query(query) => self.queries.push(query),
                Event::Reload(order) => orders.push(order),
                Event::Reserve(order) => reservations.push(order),
                Event::ConsensusLost(why) => return Err(KeeperError::Consensus(why)),
                Event::Stop => stop = true,
            }
            room = room.saturating_sub(1);
            next = if room == 0 { None } else { self.events.try_recv().ok() };
        }
        self.keeper.core.tick(now, &mut work);
        self.begin(now, work, taken)?;
        if stop
            || !(for_node.is_empty()
                && self.queries.is_empty()
                && reservations.is_empty()
                && orders.is_empty())
        {
            self.land()?;
        }
        self.node_turn(self.clock.now(), for_node)?;
        self.answer_some(now)?;
        for order in reservations {
            self.carry_out(now, *order)?;
        }
        for order in orders {
            self.change_configuration(*order)?;
        }
        Ok(stop)
    }

    /// Begins what messages ask for; offers promise nothing, and need not wait for a flush.
    fn begin(&mut self, now: Timestamp, mut work: Work, taken: Taken) -> Result<(), KeeperError> {
        let offers = work.take_offers();
        if !offers.is_empty() {
            self.outbox.send(offers);
        }
        if work.is_empty() {
            taken.done(&self.latency);
            return Ok(());
        }
        self.land()?;
        let aftermath = self.keeper.begin(now, work)?;
        self.conclude(aftermath);
        self.taken = taken;
        if !self.keeper.has_begun() {
            std::mem::take(&mut self.taken).done(&self.latency);
        }
        Ok(())
    }

    /// Waits until what was begun is durable, and tells who waits for it.
    pub(super) fn land(&mut self) -> Result<(), KeeperError> {
        if self.keeper.has_begun() {
            let aftermath = self.keeper.end()?;
            self.conclude(aftermath);
            std::mem::take(&mut self.taken).done(&self.latency);
        }
        Ok(())
    }

    /// Finishes what messages and operators asked for, and tells whoever follows what became of leases.
    pub(super) fn conclude(&mut self, mut aftermath: Aftermath) {
        let changed = std::mem::take(&mut aftermath.changed);
        self.finish(aftermath);
        if !changed.is_empty() {
            self.feed.leases(self.clock.now(), changed);
        }
    }

    /// Sends the replies of settled work, and has the grace thread wait for what was withdrawn.
    pub(super) fn finish(&mut self, aftermath: Aftermath) {
        self.record(&aftermath.audit);
        aftermath.site.into_iter().for_each(|output| self.want(FromNode::Output(output)));
        aftermath.ask.iter().for_each(|question| self.ask(question));
        if !aftermath.send.is_empty() {
            self.outbox.send(aftermath.send);
        }
        if !aftermath.withdrawn.is_empty()
            && let Some(grace) = &self.grace
            && grace.send(aftermath.withdrawn).is_err()
        {
            tracing::error!(
                "the grace thread is gone: withdrawn addresses stay reserved until their horizons"
            );
        }
    }

    /// Asks whether an address is in use. A question that cannot be sent counts as one that nobody answers.
    fn ask(&mut self, question: &Question) {
        match question {
            Question::Arp(probe) => self.outbox.send(vec![probe.clone()]),
            Question::Echo(address) => {
                if let Some(Err(error)) = self.echo.as_ref().map(|socket| socket.ask(*address)) {
                    self.counts.probe_send_errors += 1;
                    tracing::debug!(%error, "a probe could not be sent");
                }
            }
        }
    }

    /// Writes what happened to the audit log.
    pub(super) fn record(&mut self, events: &[AuditEvent]) {
        if let Some(journal) = self.journal.as_mut().filter(|_| !events.is_empty()) {
            let (now, wall) = (self.clock.now(), Timestamp(clock::wall_ns()));
            journal.write(Known { leases: self.keeper.core.engine.leases(), now, wall }, events);
        }
    }

    /// Reads the kernel's messages and begins to read its marks.
    fn sweep(&mut self) -> Result<(), KeeperError> {
        self.land()?;
        self.loggers.iter_mut().for_each(EbpfLogger::flush);
        if let Some(kernel) = &self.keeper.kernel {
            let failed = kernel.counters()?.write_failed;
            if failed > self.counts.kernel_write_failures {
                tracing::error!(
                    frames = failed - self.counts.kernel_write_failures,
                    "the kernel program dropped frames it could not finish answering: please report this"
                );
                self.counts.kernel_write_failures = failed;
            }
        }
        self.alarm();
        self.mend_fast_path();
        let aftermath = self.keeper.sweep(clock::boot_ns(), self.authority)?;
        self.finish(aftermath);
        Ok(())
    }

    /// Reads all marks there are, so that who starts next knows them.
    fn sweep_to_the_end(&mut self) -> Result<(), KeeperError> {
        while self.keeper.is_sweeping() {
            self.sweep_on()?;
        }
        self.sweep()?;
        while self.keeper.is_sweeping() {
            self.sweep_on()?;
        }
        Ok(())
    }

    /// Reads on. Nothing that was begun is waited for where there are no marks, as among new clients.
    fn sweep_on(&mut self) -> Result<(), KeeperError> {
        let marks = self.keeper.read_marks();
        if !marks.is_empty() {
            self.land()?;
            let aftermath = self.keeper.take_marks(self.clock.now(), &marks)?;
            self.finish(aftermath);
        }
        Ok(())
    }

    fn stop(mut self) -> Result<(), KeeperError> {
        self.end_tap();
        self.shared = None;
        self.sweep_to_the_end()?;
        self.keeper.note_time(clock::boot_ns(), clock::wall_ns())?;
        if let Some(journal) = &mut self.journal {
            let now = self.clock.now();
            journal.note(now, Timestamp(clock::wall_ns()), Line::new(Kind::Stopped, now));
        }
        let Keeper { store, kernel, .. } = self.keeper;
        store.close()?;
        if kernel.is_some() {
            tracing::info!(
                authority_secs = self.authority.as_secs(),
                "stopped; the kernel goes on answering renewals until its horizons or its authority end \
                 (`simple-dhcpd-datacenter unload` detaches it)"
            );
        }
        Ok(())
    }
}
