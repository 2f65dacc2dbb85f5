//! The thread that does the work: it gathers what has come in, lets the core think, and does what that asks in the
//! order that keeps promises: one flush for the whole batch, then the kernel, then the replies.

use std::{
    collections::BTreeMap,
    net::Ipv4Addr,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
        mpsc::{Receiver, RecvTimeoutError, Sender},
    },
    time::{Duration, Instant},
};

use aya_log::EbpfLogger;
use dhcp_common::{abi::Form, reason::Reason};
use tokio::sync::oneshot;

use super::{
    clock::{self, Clock},
    core::Core,
    view::{DaemonStats, KernelStats, KernelView, LeaseView, StatsView, state_name},
    work::Work,
};
use crate::{
    engine::SlowReason,
    fastpath::{error::FastPathError, kernel::KernelPath},
    lease::store::{Batch, LeaseStore, LogStore, MetaKey, StoreError},
    net::packet_socket::{PacketSocket, ReceivedFrame},
    time::{Span, Timestamp},
};

/// How often the kernel's marks are read: what `leases list` shows is at most this old.
const SWEEP_EVERY: Duration = Duration::from_millis(500);
/// How often the time reached is noted in the store, for a restart with a wrong wall clock.
const ANCHOR_EVERY: Duration = Duration::from_secs(60);
/// A program takes the time before it leaves its mark: a mark may be this much older than a sweep that missed it.
const MARK_DELAY: Span = Span::from_millis(100);
/// The longest the thread sleeps.
const IDLE: Duration = Duration::from_millis(100);
/// Events taken up before the work is done.
const EVENTS_MAX: usize = 1_024;
/// Leases made durable at once when the kernel's marks move many horizons ahead.
const SWEEP_BATCH: usize = 4_096;

/// What the thread is told.
#[derive(Debug)]
pub enum Event {
    /// A frame came up on the interface with this index.
    Frame(usize, ReceivedFrame),
    /// No program can be using these leases any more.
    Graced(Vec<Ipv4Addr>),
    /// Somebody asks.
    Query(Query),
    /// To stop in order.
    Stop,
}

/// What somebody asks.
#[derive(Debug)]
pub enum Query {
    /// Leases after an address, at most so many.
    Leases {
        /// The last address already seen.
        after: Option<Ipv4Addr>,
        /// The most to give.
        limit: usize,
        /// Where to.
        to: oneshot::Sender<Vec<LeaseView>>,
    },
    /// One lease.
    Lease(Ipv4Addr, oneshot::Sender<Option<LeaseView>>),
    /// Counters.
    Stats(oneshot::Sender<StatsView>),
}

/// Why the service stopped.
#[derive(Debug, thiserror::Error)]
pub enum ServiceError {
    /// Nothing can be made durable any more, so nothing may be promised any more.
    #[error("the lease store failed and nothing more can be promised: {0}")]
    Store(#[from] StoreError),
    /// The kernel refuses.
    #[error(transparent)]
    FastPath(#[from] FastPathError),
}

/// The parts the thread works with.
pub struct Service {
    pub(super) core: Core,
    pub(super) store: LogStore,
    pub(super) kernel: Option<KernelPath>,
    pub(super) modes: BTreeMap<String, String>,
    pub(super) loggers: Vec<EbpfLogger<&'static dyn log::Log>>,
    pub(super) sockets: Vec<Option<Arc<PacketSocket>>>,
    pub(super) clock: Clock,
    pub(super) authority: Span,
    /// Renewals the kernel granted from here on are all known.
    pub(super) marks_known_since: Timestamp,
    pub(super) grace: Option<Sender<Vec<Ipv4Addr>>>,
    pub(super) events: Receiver<Event>,
    pub(super) queue_drops: Arc<AtomicU64>,
    pub(super) counts: Counts,
}

/// What the thread itself counts.
#[derive(Clone, Copy, Debug, Default)]
pub struct Counts {
    send_errors: u64,
    store_refusals: u64,
    commits: u64,
    kernel_write_failures: u64,
}

impl Service {
    /// Works until told to stop.
    ///
    /// # Errors
    /// If the store or the kernel fail: then nothing more may be promised. The kernel goes on within its horizons.
    pub fn run(mut self) -> Result<(), ServiceError> {
        let mut next_sweep = Instant::now();
        let mut next_anchor = Instant::now() + ANCHOR_EVERY;
        let mut swept_until_boot_ns = 0;
        loop {
            let stop = self.take_events()?;
            if Instant::now() >= next_sweep || stop {
                let since = swept_until_boot_ns;
                swept_until_boot_ns = clock::boot_ns();
                self.sweep(since)?;
                next_sweep = Instant::now() + SWEEP_EVERY;
            }
            if Instant::now() >= next_anchor {
                self.note_time()?;
                next_anchor = Instant::now() + ANCHOR_EVERY;
            }
            if stop {
                return self.stop();
            }
        }
    }

    /// Takes up what has come in and does the work; whether it was told to stop.
    fn take_events(&mut self) -> Result<bool, ServiceError> {
        let mut work = Work::default();
        let mut stop = false;
        let mut queries = Vec::new();
        let mut next = match self.events.recv_timeout(IDLE) {
            Ok(event) => Some(event),
            Err(RecvTimeoutError::Timeout) => None,
            Err(RecvTimeoutError::Disconnected) => return Ok(true),
        };
        let now = self.clock.now();
        for _ in 0..EVENTS_MAX {
            match next.take() {
                None => break,
                Some(Event::Frame(interface, mut frame)) => {
                    self.core.receive(now, interface, &mut frame, &mut work)
                }
                Some(Event::Graced(addresses)) => {
                    addresses.into_iter().for_each(|address| self.forgotten(now, address, &mut work));
                }
                Some(Event::Query(query)) => queries.push(query),
                Some(Event::Stop) => stop = true,
            }
            next = self.events.try_recv().ok();
        }
        if let Some(event) = next {
            // The bound was reached with one event in hand.
            if let Event::Frame(interface, mut frame) = event {
                self.core.receive(now, interface, &mut frame, &mut work);
            } else if let Event::Query(query) = event {
                queries.push(query);
            } else if let Event::Graced(addresses) = event {
                addresses.into_iter().for_each(|address| self.forgotten(now, address, &mut work));
            } else {
                stop = true;
            }
        }
        self.core.tick(now, &mut work);
        self.settle(work)?;
        queries.into_iter().for_each(|query| self.answer(query));
        Ok(stop)
    }

    /// Does the work, in order. What freed addresses ask for in turn (without a fast path) is done too.
    fn settle(&mut self, work: Work) -> Result<(), ServiceError> {
        let mut work = work;
        while !work.is_empty() {
            let mut next = Work::default();
            if !work.batch.is_empty() && !self.commit(&work.batch)? {
                self.counts.store_refusals += work.send.len() as u64;
                return Ok(());
            }
            self.tell_kernel(&work, &mut next)?;
            for outgoing in work.send {
                let socket = self.sockets.get(outgoing.interface).and_then(Option::as_ref);
                if let Some(Err(error)) = socket.map(|socket| socket.send(&outgoing.frame)) {
                    self.counts.send_errors += 1;
                    tracing::debug!(%error, "a reply could not be sent");
                }
            }
            work = next;
        }
        Ok(())
    }

    /// Makes a batch durable. `false` if the store has no room for it but goes on: then nothing of it was promised.
    fn commit(&mut self, batch: &Batch) -> Result<bool, ServiceError> {
        match self.store.commit(batch) {
            Ok(()) => {
                self.counts.commits += 1;
                Ok(true)
            }
            Err(error @ (StoreError::Full { .. } | StoreError::BatchTooLarge { .. })) => {
                tracing::error!(%error, "leases were not granted because they cannot be made durable");
                Ok(false)
            }
            Err(error) => Err(error.into()),
        }
    }

    fn tell_kernel(&mut self, work: &Work, next: &mut Work) -> Result<(), ServiceError> {
        let now = self.clock.now();
        let Some(kernel) = &mut self.kernel else {
            // Without a fast path nothing was ever granted behind the engine's back.
            for &address in &work.withdraw {
                self.core.withdrawn(now, address, Some(Timestamp::ZERO), next);
            }
            return Ok(());
        };
        for &index in &work.answers {
            if let Some(answer) = self.core.learner.answers.get(index) {
                kernel.put_answer(index, answer)?;
            }
        }
        for &address in &work.publish {
            match self.core.entry(address, self.clock.timeline()) {
                Some(entry) => {
                    kernel.publish(&entry);
                }
                None => kernel.withdraw(address),
            }
        }
        if !work.withdraw.is_empty() {
            work.withdraw.iter().for_each(|&address| kernel.withdraw(address));
            if let Some(grace) = &self.grace
                && grace.send(work.withdraw.clone()).is_err()
            {
                tracing::error!(
                    "the grace thread is gone: withdrawn addresses stay reserved until their horizons"
                );
            }
        }
        Ok(())
    }

    /// No program uses an address's entry any more: what did the kernel grant last?
    fn forgotten(&mut self, now: Timestamp, address: Ipv4Addr, work: &mut Work) {
        let Some(lease) = self.core.engine.leases().get(address) else { return };
        let marked = self.kernel.as_ref().and_then(|kernel| kernel.renewed_boot_ns(address));
        let last = match marked {
            Some(boot_ns) => Some(self.clock.timeline().timestamp(boot_ns)),
            None if lease.granted_at >= self.marks_known_since => Some(Timestamp::ZERO),
            None => None,
        };
        self.core.withdrawn(now, address, last, work);
    }

    /// Reads the kernel's marks, moves horizons ahead, and moves the kernel's own deadline.
    fn sweep(&mut self, since_boot_ns: u64) -> Result<(), ServiceError> {
        self.loggers.iter_mut().for_each(EbpfLogger::flush);
        let Some(kernel) = &self.kernel else { return Ok(()) };
        kernel.set_authority_until_boot_ns(clock::boot_ns().saturating_add(self.authority.0));
        let failed = kernel.counters()?.write_failed;
        if failed > self.counts.kernel_write_failures {
            tracing::error!(
                frames = failed - self.counts.kernel_write_failures,
                "the kernel program dropped frames it could not finish answering: please report this"
            );
            self.counts.kernel_write_failures = failed;
        }
        let marks: Vec<_> = kernel.marks(since_boot_ns.saturating_sub(MARK_DELAY.0)).collect();
        let now = self.clock.now();
        for some in marks.chunks(SWEEP_BATCH) {
            let mut work = Work::default();
            for mark in some {
                self.core.renewed(now, mark, self.clock.timeline(), &mut work);
            }
            self.settle(work)?;
        }
        Ok(())
    }

    fn note_time(&mut self) -> Result<(), ServiceError> {
        let anchor = self.clock.timeline().anchor(self.clock.now()).encode();
        let batch = Batch { meta: vec![(MetaKey::TimelineAnchor, anchor)], ..Batch::default() };
        self.commit(&batch)?;
        Ok(())
    }

    fn stop(mut self) -> Result<(), ServiceError> {
        self.note_time()?;
        self.store.close()?;
        if self.kernel.is_some() {
            tracing::info!(
                authority_secs = self.authority.as_secs(),
                "stopped; the kernel goes on answering renewals until its horizons or its authority end \
                 (`simple-dhcpd-datacenter unload` detaches it)"
            );
        }
        Ok(())
    }

    fn answer(&self, query: Query) {
        // Whoever asked may be gone; that is theirs to know.
        match query {
            Query::Leases { after, limit, to } => drop(to.send(self.leases(after, limit))),
            Query::Lease(address, to) => {
                drop(to.send(self.core.engine.leases().get(address).map(|lease| self.lease_view(lease))));
            }
            Query::Stats(to) => drop(to.send(self.stats())),
        }
    }

    fn leases(&self, after: Option<Ipv4Addr>, limit: usize) -> Vec<LeaseView> {
        let mut leases: Vec<_> = self
            .core
            .engine
            .leases()
            .iter()
            .filter(|lease| after.is_none_or(|after| lease.address > after))
            .collect();
        leases.sort_unstable_by_key(|lease| lease.address);
        leases.into_iter().take(limit).map(|lease| self.lease_view(lease)).collect()
    }

    fn lease_view(&self, lease: &crate::lease::record::LeaseRecord) -> LeaseView {
        let kernel = self.kernel.as_ref().and_then(|kernel| kernel.entry(lease.address));
        let by_kernel = kernel.is_some_and(|(_, cell)| {
            let marked = cell.renewed_boot_ns();
            marked != 0 && self.clock.timeline().timestamp(marked) >= lease.granted_at
        });
        let view = kernel.filter(|(_, cell)| cell.horizon_boot_ns() != 0).map(|(index, cell)| KernelView {
            index,
            renewals: cell.renewals(),
            forms: [(Form::Direct, "direct"), (Form::Relayed, "relayed")]
                .into_iter()
                .filter(|(form, _)| cell.fingerprint(*form) != 0)
                .map(|(_, name)| name.to_owned())
                .collect(),
        });
        LeaseView::new(lease, self.clock.now(), by_kernel, view)
    }

    fn stats(&self) -> StatsView {
        let kernel = self.kernel.as_ref().and_then(|kernel| {
            let counters = kernel
                .counters()
                .inspect_err(|error| tracing::warn!(%error, "the kernel's counters cannot be read"))
                .ok()?;
            Some(KernelStats {
                answered: counters.answered,
                reasons: Reason::ALL
                    .iter()
                    .filter(|&&reason| reason != Reason::Answered && counters.get(reason) != 0)
                    .map(|&reason| (reason.as_str().to_owned(), counters.get(reason)))
                    .collect(),
                interfaces: self.modes.clone(),
                answers: self.core.learner.answers.len() as u64,
                answers_max: self.core.learner.answers.max().into(),
                lease_slots: kernel.layout().leases().into(),
            })
        });
        let messages: BTreeMap<_, _> = self.core.messages().filter(|(_, count)| *count != 0).collect();
        let acks = messages.iter().filter(|(reason, _)| is_ack(**reason)).map(|(_, count)| count).sum();
        let mut leases = BTreeMap::new();
        for lease in self.core.engine.leases().iter() {
            *leases.entry(state_name(lease.state).to_owned()).or_insert(0) += 1;
        }
        StatsView {
            kernel,
            daemon: DaemonStats {
                acks,
                messages: messages
                    .into_iter()
                    .map(|(reason, count)| (reason.as_str().to_owned(), count))
                    .collect(),
                frames: self.core.frames.by_name(),
                queue_drops: self.queue_drops.load(Ordering::Relaxed),
                send_errors: self.counts.send_errors,
                store_refusals: self.counts.store_refusals,
                commits: self.counts.commits,
                unpublishable: self.core.learner.unpublishable,
                offers: self.core.engine.offers_len() as u64,
            },
            leases,
        }
    }
}

const fn is_ack(reason: SlowReason) -> bool {
    matches!(
        reason,
        SlowReason::AckedRapid
            | SlowReason::AckedNew
            | SlowReason::AckedReboot
            | SlowReason::AckedRenewal
            | SlowReason::AckedRebinding
            | SlowReason::AckedRecreated
            | SlowReason::AckedInform
    )
}
