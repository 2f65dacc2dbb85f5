//! The keeper as one of several nodes: what the node asks for goes the way of all work, and in mode `sync` replies wait
//! until the peers have what they promise.

use std::collections::VecDeque;

use super::{
    keeper::{Aftermath, Keeper, KeeperError},
    work::{Outgoing, Work},
};
use crate::{
    config::model::SyncMode,
    fastpath::lease_map::LeaseMap,
    lease::{
        record::{ClientKey, HardwareAddress, LeaseState},
        store::LeaseStore,
        table::LeaseTable,
    },
    site::{
        authority::Authority,
        blocks::Blocks,
        node::{Input, Node},
    },
    time::{Span, Timestamp},
};

/// How long a reply waits for the peers at most: a client asks again after four seconds.
const HELD_MAX: Span = Span::from_secs(3);
/// Replies that wait at most.
const HELD_REPLIES_MAX: usize = 65_536;
/// Leases whose renewals the kernel is taught in one turn at most: some 10 ms of work.
const TAUGHT_MAX: usize = 512;
/// Batches of peers taken up in one turn at most.
const BATCHES_MAX: usize = 64;

/// Replies that wait for acknowledgements.
#[derive(Debug, Default)]
pub(super) struct Held {
    waiting: VecDeque<Wait>,
    replies: usize,
}

#[derive(Debug)]
struct Wait {
    seq: u64,
    /// How often blocks had changed hands: by another holder's word the lease may be another's since.
    upheavals: u64,
    until: Timestamp,
    send: Vec<HeldReply>,
}

#[derive(Debug)]
struct HeldReply {
    reply: Outgoing,
    /// Whose the lease was that it speaks of, and until when it was granted, if it does of one.
    granted: Option<(ClientKey, HardwareAddress, Timestamp)>,
}

impl HeldReply {
    fn of(reply: Outgoing, leases: &LeaseTable) -> Self {
        let lease = reply.promises.and_then(|address| leases.get(address));
        let granted = lease.map(|lease| (lease.client.clone(), lease.hardware, lease.expires));
        Self { reply, granted }
    }

    /// Whether what it says is so still: its client may have given the lease back meanwhile, and another may have it; or
    /// whoever took its block over, and holds it now, knows of less than the one before said.
    fn stands(&self, leases: &LeaseTable) -> bool {
        let Some((client, hardware, until)) = &self.granted else { return true };
        let lease = self.reply.promises.and_then(|address| leases.get(address));
        lease.is_some_and(|lease| {
            let theirs = (&lease.client, &lease.hardware) == (client, hardware);
            let bound = theirs && lease.state == LeaseState::Bound && lease.horizon >= *until;
            bound && leases.leaving(lease.address).is_none()
        })
    }
}

impl<S: LeaseStore, K: LeaseMap> Keeper<S, K> {
    /// Serves as one of several nodes from here on: to be called before anything of the kernel's is taken over.
    pub fn join_cluster(&mut self, node: Node) {
        let blocks = Blocks::of(self.core.engine.config());
        let mut authority = Authority::new(blocks.into(), node.settings().mclt);
        // Until the cluster's state is known.
        authority.set_strange(true);
        self.core.engine.join_cluster(authority);
        self.site = Some(node);
    }

    /// Tells the node something, and does what that asks for.
    ///
    /// # Errors
    /// As [`settle`](Self::settle).
    pub fn site_input(&mut self, now: Timestamp, input: Input) -> Result<Aftermath, KeeperError> {
        let mut work = Work::default();
        if let Some(site) = &mut self.site {
            site.take_input(now, input, &mut self.core.engine, &mut work);
        }
        self.settle(now, work)
    }

    /// Lets the node act: after every batch of inputs, and several times a second.
    ///
    /// # Errors
    /// As [`settle`](Self::settle).
    pub fn site_turn(&mut self, now: Timestamp) -> Result<Aftermath, KeeperError> {
        let mut aftermath = self.save(now)?;
        let mut teach = TAUGHT_MAX;
        for _ in 0..BATCHES_MAX {
            let Some(site) = &mut self.site else { return Ok(aftermath) };
            let mut work = Work::default();
            site.turn(now, &mut self.core.engine, &self.unsaved, &mut work);
            teach = teach.saturating_sub(self.teach_told(teach, &mut work));
            let idle = work.is_empty();
            aftermath.append(self.settle(now, work)?);
            if idle || !self.site.as_ref().is_some_and(Node::has_more) {
                break;
            }
        }
        self.release_replies(now, &mut aftermath);
        if let Some(site) = &mut self.site {
            aftermath.site.extend(site.outputs(now, &self.core.engine, &self.unsaved));
        }
        Ok(aftermath)
    }

    /// Whether leases that other nodes told of are still to be taught to the kernel.
    pub fn has_untaught(&self) -> bool {
        self.site.as_ref().is_some_and(Node::has_untaught)
    }

    /// Teaches the kernel renewals of leases that other nodes told of, before their clients come: of `max` leases at most;
    /// of how many.
    fn teach_told(&mut self, max: usize, work: &mut Work) -> usize {
        let Some(site) = &mut self.site else { return 0 };
        let told = site.take_untaught(max);
        let mut taught = 0;
        for (address, asked) in &told {
            let Some(lease) = self.core.engine.leases().get(*address) else { continue };
            if lease.state != LeaseState::Bound || self.core.engine.leases().leaving(*address).is_some() {
                continue;
            }
            let forms = self.core.learner.learn_told(&self.core.engine, lease, asked, work);
            if forms == lease.forms {
                continue;
            }
            taught += 1;
            // Nobody else's business: which requests are known here changes nothing that is told of a lease.
            work.adopted.extend(self.core.engine.set_forms(*address, forms));
            work.publish.push(*address);
        }
        site.count_taught(taught);
        told.len()
    }

    /// Replies to what has just been made durable: to be sent, or to wait until the peers have it too.
    pub(super) fn hold_replies(&mut self, now: Timestamp, send: Vec<Outgoing>) -> Vec<Outgoing> {
        let Some(site) = &mut self.site else { return send };
        let seq = site.log_end();
        if send.is_empty() || site.settings().mode == SyncMode::Async || site.acknowledged() >= seq {
            return send;
        }
        if self.held.replies + send.len() > HELD_REPLIES_MAX {
            site.count_replies(0, send.len() as u64);
            return Vec::new();
        }
        send.iter().filter_map(|reply| reply.promises).for_each(|address| site.press(address));
        site.count_replies(send.len() as u64, 0);
        self.held.replies += send.len();
        let (upheavals, until) = (site.upheavals(), now + HELD_MAX);
        let leases = self.core.engine.leases();
        let send = send.into_iter().map(|reply| HeldReply::of(reply, leases)).collect();
        self.held.waiting.push_back(Wait { seq, upheavals, until, send });
        Vec::new()
    }

    fn release_replies(&mut self, now: Timestamp, aftermath: &mut Aftermath) {
        let Some(site) = &mut self.site else { return };
        let (acknowledged, leases) = (site.acknowledged(), self.core.engine.leases());
        let mut released = Vec::new();
        if site.is_told_ahead() {
            // Where a peer is far behind: what its replies wait for it has ahead of its turn.
            let waiting = self.held.waiting.iter_mut();
            for wait in waiting.filter(|wait| wait.upheavals == site.upheavals() && now < wait.until) {
                let known =
                    |held: &HeldReply| held.reply.promises.is_some_and(|address| site.is_known(address));
                let (known, unknown): (Vec<_>, Vec<_>) =
                    std::mem::take(&mut wait.send).into_iter().partition(known);
                self.held.replies = self.held.replies.saturating_sub(known.len());
                released.extend(known);
                wait.send = unknown;
            }
        }
        // In their order: one that waits longer has waited longest.
        while let Some(first) = self.held.waiting.front() {
            let overtaken = first.upheavals != site.upheavals();
            let known = first.seq <= acknowledged && !overtaken;
            if !known && !overtaken && now < first.until {
                break;
            }
            let Some(Wait { until, upheavals, send, .. }) = self.held.waiting.pop_front() else { break };
            self.held.replies = self.held.replies.saturating_sub(send.len());
            // Late is as good as never: what was promised counts from when it was decided.
            if !known || now >= until {
                site.count_replies(0, send.len() as u64);
                continue;
            }
            // A lease that changed again meanwhile is told by its later change: who has the earlier one has not heard of it.
            let changed =
                |held: &HeldReply| held.reply.promises.map_or(0, |address| site.last_change(address));
            let (told, untold): (Vec<_>, Vec<_>) =
                send.into_iter().partition(|held| changed(held) <= acknowledged);
            released.extend(told);
            if let Some(seq) = untold.iter().map(changed).max() {
                self.held.replies += untold.len();
                self.held.waiting.push_back(Wait { seq, upheavals, until, send: untold });
            }
        }
        let (stand, void): (Vec<_>, Vec<_>) = released.into_iter().partition(|held| held.stands(leases));
        site.count_replies(0, void.len() as u64);
        aftermath.send.extend(stand.into_iter().map(|held| held.reply));
    }
}
