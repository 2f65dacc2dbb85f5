//! Keeps promises: does the core's work on store and kernel in the one order in which no promise can be lost.
//!
//! Time is told, store and kernel are behind traits: the simulator runs this very code.

use std::{collections::HashMap, net::Ipv4Addr};

use dhcp_common::abi::LeaseEntry;

use super::{
    begun::Begun,
    cluster::Held,
    core::Core,
    memory::Memory,
    sweep::{Part, Sweep},
    unsaved::Unsaved,
    work::{Outgoing, Work},
};
use crate::{
    audit::AuditEvent,
    fastpath::{error::FastPathError, kernel::Mark, lease_map::LeaseMap, stored::encode_answer},
    lease::{
        record::LeaseRecord,
        store::{Batch, LeaseStore, MetaKey, StoreError},
    },
    probe::Question,
    site::node::{Node, Output},
    time::{Span, Timestamp},
    timeline::Timeline,
};

/// Leases made durable at once when marks move many horizons ahead.
pub(super) const MARKS_BATCH: usize = 4_096;

/// Why nothing more can be promised.
#[derive(Debug, thiserror::Error)]
pub enum KeeperError {
    /// Nothing can be made durable any more.
    #[error("the lease store failed and nothing more can be promised: {0}")]
    Store(#[from] StoreError),
    /// The kernel refuses.
    #[error(transparent)]
    FastPath(#[from] FastPathError),
    /// Nothing more is agreed on with the other nodes.
    #[error("consensus with the other nodes has stopped, and the daemon starts anew: {0}")]
    Consensus(String),
    /// It happened while another configuration was being put in force; the service's own end says more.
    #[error("another configuration was half in force when the store or the kernel failed: the daemon stops")]
    Halfway,
}

/// The core with what it acts on.
pub struct Keeper<S, K> {
    /// Engine and learner.
    pub core: Core,
    /// Where promises are made durable.
    pub store: S,
    /// The kernel's maps; `None` without a fast path.
    pub kernel: Option<K>,
    /// Where the boot clock stands on the timeline.
    pub timeline: Timeline,
    /// Renewals the kernel granted from here on are all known.
    pub marks_known_since: Timestamp,
    /// Answers that leases in memory name and that are not durable yet, for the disk was full: they go with the next
    /// batch, so that no durable lease ever names an answer that is not, and its number is given to no other.
    pub(super) unsaved_answers: Vec<u32>,
    /// Leases in memory that are ahead of what is durable.
    pub(super) unsaved: Unsaved,
    /// The last withdrawal of each address whose grace period is not known to be over, unless published since.
    withdrawals: HashMap<Ipv4Addr, u64>,
    next_ticket: u64,
    /// Batches made durable.
    pub commits: u64,
    /// Replies not sent because their leases could not be made durable.
    pub store_refusals: u64,
    /// Leases whose horizon was moved ahead because the kernel had renewed them.
    pub horizons_moved: u64,
    /// This node, where there are several.
    pub site: Option<Node>,
    pub(super) held: Held,
    pub(super) begun: Option<Begun>,
    /// How far the kernel's marks are read.
    pub sweep: Sweep,
    /// What the audit log is to say of what an earlier daemon's program did.
    pub inherited: Vec<AuditEvent>,
}

/// A lease withdrawn from the kernel, once: an address that is published again and withdrawn again is another matter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Withdrawal {
    /// The address.
    pub address: Ipv4Addr,
    ticket: u64,
}

/// What is left to do outside.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[must_use]
pub struct Aftermath {
    /// Leases that were changed here, durably.
    pub changed: Vec<LeaseRecord>,
    /// For the audit log, before anything is sent.
    pub audit: Vec<AuditEvent>,
    /// Questions to send.
    pub ask: Vec<Question>,
    /// Replies to send: what they promise is durable.
    pub send: Vec<Outgoing>,
    /// Leases withdrawn from the kernel: after a grace period, tell [`Keeper::forgotten`].
    pub withdrawn: Vec<Withdrawal>,
    /// For the driver of sites, in this order.
    pub site: Vec<Output>,
}

impl Aftermath {
    /// Adds what came after.
    pub fn append(&mut self, other: Self) {
        self.changed.extend(other.changed);
        self.audit.extend(other.audit);
        self.ask.extend(other.ask);
        self.send.extend(other.send);
        self.withdrawn.extend(other.withdrawn);
        self.site.extend(other.site);
    }
}

impl<S: LeaseStore, K: LeaseMap> Keeper<S, K> {
    /// A keeper of what was remembered; there is no kernel yet.
    pub fn new(core: Core, store: S, timeline: Timeline, memory: &Memory) -> Self {
        Self {
            core,
            store,
            kernel: None,
            timeline,
            marks_known_since: memory.marks_known_since,
            unsaved_answers: Vec::new(),
            unsaved: Unsaved::default(),
            withdrawals: HashMap::new(),
            next_ticket: 0,
            commits: 0,
            store_refusals: 0,
            horizons_moved: 0,
            site: None,
            held: Held::default(),
            begun: None,
            sweep: Sweep::default(),
            inherited: Vec::new(),
        }
    }

    /// Does the work, in order, behind what was [begun](Self::begin). What freed addresses ask for in turn (without a fast
    /// path) is done too.
    ///
    /// # Errors
    /// If the store or the kernel fail: then nothing more may be promised.
    pub fn settle(&mut self, now: Timestamp, work: Work) -> Result<Aftermath, KeeperError> {
        let mut aftermath = self.end()?;
        let (mut work, mut promised) = (work, false);
        let mut send = Vec::new();
        while !work.is_empty() {
            let (mut next, mut durable) = (Work::default(), true);
            if !work.batch.is_empty() || !work.adopted.is_empty() {
                let own = work.batch.leases.len();
                work.batch.leases.append(&mut work.adopted);
                self.bring_unsaved_answers(&mut work);
                if self.commit(&work.batch)? {
                    self.unsaved.saved(&work.batch.leases);
                } else {
                    (work, durable) = (self.refuse(now, own, work), false);
                }
                work.batch.leases.truncate(own);
                if own != 0 && durable {
                    promised = true;
                }
            }
            if let Some(site) = &mut self.site {
                for (address, form, template) in std::mem::take(&mut work.asked) {
                    site.asked(address, form, template);
                }
                site.committed(&self.core.engine, &work.batch.leases, &work.returned);
                site.settled(now, durable);
                site.withdrawing(&work.withdraw);
            }
            let entries = self.entries(&work.publish);
            self.tell_kernel(now, &work, &entries, &mut next, &mut aftermath)?;
            aftermath.changed.append(&mut work.batch.leases);
            aftermath.audit.extend(work.audit);
            aftermath.ask.extend(work.ask);
            send.extend(work.send);
            work = next;
        }
        if promised {
            send = self.hold_replies(now, send);
        }
        aftermath.send.extend(send);
        Ok(aftermath)
    }

    /// Puts answers that found no room before into the work.
    pub(super) fn bring_unsaved_answers(&mut self, work: &mut Work) {
        for index in std::mem::take(&mut self.unsaved_answers) {
            if let Some(answer) = self.core.learner.answers.get(index) {
                work.add_answer(index, encode_answer(answer));
            }
        }
    }

    /// What is left of work that found no room on the disk, the first `own` of whose leases were changed here.
    pub(super) fn refuse(&mut self, now: Timestamp, own: usize, mut work: Work) -> Work {
        self.unsaved.refused(now, &work.batch.leases, own);
        self.store_refusals += work.send.len() as u64;
        self.unsaved_answers = work.answers;
        // What the kernel forgets promises nothing, and who waits for it must not take it for done.
        work.withdraw.retain(|address| !work.replaced.contains(address));
        work.replaced.iter().for_each(|address| self.core.engine.not_replaced(*address));
        work.audit.retain(AuditEvent::stands_unsaved);
        let (withdraw, audit) = (work.withdraw, work.audit);
        Work { withdraw, audit, ..Work::default() }
    }

    /// Tries again to make durable what found no room on the disk; only then kernel and other nodes hear of it.
    ///
    /// # Errors
    /// As [`settle`](Self::settle).
    pub(super) fn save(&mut self, now: Timestamp) -> Result<Aftermath, KeeperError> {
        let mut work = Work::default();
        for (address, own) in self.unsaved.due(now) {
            let Some(lease) = self.core.engine.leases().get(address).cloned() else {
                self.unsaved.gone(address);
                continue;
            };
            work.publish.push(address);
            if own { work.batch.leases.push(lease) } else { work.adopted.push(lease) }
        }
        self.settle(now, work)
    }

    /// Makes a batch durable. `false` if the store has no room for it but goes on: then nothing of it was promised.
    ///
    /// # Errors
    /// If nobody knows what is durable.
    pub fn commit(&mut self, batch: &Batch) -> Result<bool, StoreError> {
        let done = self.store.commit_in_parts(batch);
        self.committed(done)
    }

    /// What [`commit`](Self::commit) makes of what the store says.
    pub(super) fn committed(&mut self, done: Result<(), StoreError>) -> Result<bool, StoreError> {
        match done {
            Ok(()) => {
                self.commits += 1;
                Ok(true)
            }
            Err(error @ StoreError::Full { .. }) => {
                tracing::error!(%error, "leases were not granted because they cannot be made durable");
                Ok(false)
            }
            Err(error) => Err(error),
        }
    }

    /// What the kernel is to know of addresses, as the engine has them now; nothing without a kernel.
    pub(super) fn entries(&self, publish: &[Ipv4Addr]) -> Vec<(Ipv4Addr, Option<LeaseEntry>)> {
        if self.kernel.is_none() {
            return Vec::new();
        }
        publish.iter().map(|&address| (address, self.core.entry(address, &self.timeline))).collect()
    }

    /// Tells the kernel what is durable: answers, then entries, then what it must forget.
    pub(super) fn tell_kernel(
        &mut self,
        now: Timestamp,
        work: &Work,
        entries: &[(Ipv4Addr, Option<LeaseEntry>)],
        next: &mut Work,
        aftermath: &mut Aftermath,
    ) -> Result<(), FastPathError> {
        let Some(kernel) = &mut self.kernel else {
            // Without a fast path nothing was ever granted behind the engine's back.
            for &address in &work.withdraw {
                self.core.withdrawn(now, address, Some(Timestamp::ZERO), next);
                if let Some(site) = &mut self.site {
                    site.forgotten(address);
                }
            }
            return Ok(());
        };
        for &index in &work.answers {
            if let Some(answer) = self.core.learner.answers.get(index) {
                kernel.put_answer(index, answer)?;
            }
        }
        for (address, entry) in entries.iter().filter(|(address, _)| !self.unsaved.contains(*address)) {
            match entry {
                Some(entry) => {
                    // A withdrawal before this says nothing of the entry from here on.
                    self.withdrawals.remove(address);
                    kernel.publish(entry);
                }
                None => kernel.withdraw(*address),
            }
        }
        for &address in &work.withdraw {
            kernel.withdraw(address);
            let ticket = self.next_ticket;
            self.next_ticket += 1;
            self.withdrawals.insert(address, ticket);
            aftermath.withdrawn.push(Withdrawal { address, ticket });
        }
        Ok(())
    }

    /// No program uses an entry that was withdrawn any more: what did the kernel grant last? Nothing if the entry has been
    /// published or withdrawn again since, for then another grace period counts.
    pub fn forgotten(&mut self, now: Timestamp, withdrawal: Withdrawal, work: &mut Work) {
        let Withdrawal { address, ticket } = withdrawal;
        if self.withdrawals.get(&address) != Some(&ticket) {
            return;
        }
        self.withdrawals.remove(&address);
        if let Some(site) = &mut self.site {
            site.forgotten(address);
        }
        let Some(lease) = self.core.engine.leases().get(address) else { return };
        let marked = self.kernel.as_ref().and_then(|kernel| kernel.renewed_boot_ns(address));
        let last = match marked.map(|boot_ns| self.timeline.timestamp(boot_ns)) {
            // A mark carried over from an earlier program tells nothing of later ones that were lost.
            Some(at) if at.max(lease.granted_at) >= self.marks_known_since => Some(at.max(lease.granted_at)),
            // The entry that was withdrawn may have been in other maps than today's (a changed configuration): what
            // was granted from it is in the lease.
            None if lease.granted_at >= self.marks_known_since => Some(lease.granted_at),
            Some(_) | None => None,
        };
        self.core.withdrawn(now, address, last, work);
    }

    /// Takes note of renewals the kernel granted, and moves horizons ahead.
    ///
    /// # Errors
    /// As [`settle`](Self::settle).
    pub fn take_marks(&mut self, now: Timestamp, marks: &[Mark]) -> Result<Aftermath, KeeperError> {
        let mut aftermath = Aftermath::default();
        for some in marks.chunks(MARKS_BATCH) {
            let mut work = Work::default();
            for mark in some {
                self.core.renewed(now, mark, &self.timeline, &mut work);
            }
            self.horizons_moved += work.publish.len() as u64;
            // Nobody follows what the kernel renews, of which there may be a million.
            aftermath.append(Aftermath { changed: Vec::new(), ..self.settle(now, work)? });
        }
        Ok(aftermath)
    }

    /// Does what is due twice a second: moves the kernel's own deadline to `authority` from now, tries to save what found no
    /// room, and begins to read the kernel's marks, which [`sweep_on`](Self::sweep_on) ends.
    ///
    /// # Errors
    /// As [`settle`](Self::settle).
    pub fn sweep(&mut self, boot_ns: u64, authority: Span) -> Result<Aftermath, KeeperError> {
        let mut aftermath = self.save(self.timeline.timestamp(boot_ns))?;
        if let Some(kernel) = &mut self.kernel {
            kernel.set_authority_until_boot_ns(boot_ns.saturating_add(authority.0));
            self.sweep.begin(boot_ns);
            aftermath.append(self.sweep_on(boot_ns)?);
        }
        Ok(aftermath)
    }

    /// Whether there are marks left to read.
    pub const fn is_sweeping(&self) -> bool {
        self.sweep.is_under_way()
    }

    /// Reads some of the marks the kernel has made, and takes note of them.
    ///
    /// # Errors
    /// As [`settle`](Self::settle).
    pub fn sweep_on(&mut self, boot_ns: u64) -> Result<Aftermath, KeeperError> {
        let marks = self.read_marks();
        self.take_marks(self.timeline.timestamp(boot_ns), &marks)
    }

    /// Reads some of the marks the kernel has made, to be [taken note of](Self::take_marks).
    pub fn read_marks(&mut self) -> Vec<Mark> {
        let Some(kernel) = &self.kernel else { return Vec::new() };
        let part = self.sweep.next(kernel.entries());
        part.map(|Part { entries, since_boot_ns }| kernel.marks(entries, since_boot_ns)).unwrap_or_default()
    }

    /// Fills a new kernel's maps with all that is known.
    ///
    /// # Errors
    /// If the kernel refuses.
    pub fn fill(&mut self, mut kernel: K) -> Result<(), FastPathError> {
        for (index, answer) in self.core.learner.answers.iter() {
            kernel.put_answer(index, answer)?;
        }
        let durable = |lease: &&LeaseRecord| !self.unsaved.contains(lease.address);
        for lease in self.core.engine.leases().iter().filter(durable) {
            if let Some(entry) = self.core.entry(lease.address, &self.timeline) {
                kernel.publish(&entry);
            }
        }
        self.kernel = Some(kernel);
        Ok(())
    }

    /// Notes since when renewals are known, durably.
    ///
    /// # Errors
    /// If it cannot be made durable.
    pub fn note_marks_known_since(&mut self, since: Timestamp) -> Result<(), StoreError> {
        let known = since.0.to_le_bytes().to_vec();
        self.store.commit(&Batch { meta: vec![(MetaKey::MarksKnownSince, known)], ..Batch::default() })
    }

    /// Notes the time reached and what the wall clock shows, for a reboot. `false` if there was no room on the disk, which
    /// costs only longer retention; to be tried again.
    ///
    /// # Errors
    /// If nobody knows what is durable.
    pub fn note_time(&mut self, boot_ns: u64, wall_ns: u64) -> Result<bool, StoreError> {
        let anchor = self.timeline.anchor(boot_ns, wall_ns).encode();
        let batch = Batch { meta: vec![(MetaKey::TimelineAnchor, anchor)], ..Batch::default() };
        self.commit(&batch)
    }
}

#[cfg(test)]
#[path = "keeper_tests.rs"]
pub(super) mod tests;
