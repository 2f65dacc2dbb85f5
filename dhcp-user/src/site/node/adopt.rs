//! What peers tell is taken up: by a standby what the holder says, by the holder what a standby granted. Nothing is
//! acknowledged before it is durable, and no lease's end before the kernel has forgotten the lease.

use std::net::Ipv4Addr;

use super::{
    Node, Output,
    account::account,
    message::Message,
    peer::{Arrived, Objection, ROUND_TRIP_MAX, WINDOW},
};
use crate::{
    engine::{CLOCK_ERROR, Engine},
    lease::{
        record::{LeaseRecord, LeaseState},
        store::MetaKey,
    },
    server::work::Work,
    site::{
        delegation::NodeId,
        replication::{Asked, Cursor, Update, WireError, decode, put_number, updated},
    },
    time::{Span, Timestamp},
};

/// What is to be done with a batch.
enum Judgement {
    /// It is taken up.
    Take(Taken),
    /// Not yet: the consensus log, or the kernel, is not so far.
    Wait,
    /// The kernel must forget these first.
    Suspend(Vec<Ipv4Addr>),
    /// The sender must hear first what we granted: up to this change of our log. What it granted is taken up.
    Object(u64, Vec<Told>),
    /// It is objected to already: what it granted is taken up.
    Hear(Vec<Told>),
    /// It tells times of a lease that we do not know: from the beginning, then.
    Unknown,
    /// It makes no sense.
    Nonsense(WireError),
}

/// A lease as a peer has it, and how its client asks if the peer told all of it.
type Told = (LeaseRecord, Option<Asked>);

#[derive(Default)]
struct Taken {
    adopted: Vec<Told>,
    told: Vec<Told>,
    overtaken: u64,
}

impl Node {
    pub(super) fn on_updates(&mut self, now: Timestamp, from: NodeId, arrived: Arrived) {
        let own_log = self.log.end().log;
        let Some(peer) = self.peers.iter_mut().find(|peer| peer.node == from) else { return };
        if peer.muted {
            return;
        }
        let misfit = arrived.after != peer.expected() || arrived.until < arrived.after.seq;
        if misfit || peer.arrived.len() >= WINDOW {
            self.counts.nonsense += 1;
            self.out.extend(peer.ask_again(now, own_log).map(|message| Output::Send(from, message)));
            return;
        }
        peer.arrives(arrived);
    }

    /// Takes up what can be, if there is `room` on the disk: one batch of each peer, for each is a commit.
    pub(super) fn take_up(&mut self, now: Timestamp, engine: &mut Engine, room: bool, work: &mut Work) {
        for index in 0..self.peers.len() {
            self.go_on(now, index);
            if room {
                self.take_first(now, engine, index, work);
            }
        }
    }

    /// Has a peer go on from our cursor if what it tells can be taken again, or was not what was asked for.
    fn go_on(&mut self, now: Timestamp, index: usize) {
        let own_log = self.log.end().log;
        let Some(peer) = self.peers.get_mut(index).filter(|peer| peer.connected) else { return };
        let lifted = peer.objection.is_some_and(|objection| peer.knows() >= objection.seq);
        if lifted {
            peer.objection = None;
        }
        if lifted || peer.astray {
            let node = peer.node;
            self.out.extend(peer.ask_again(now, own_log).map(|message| Output::Send(node, message)));
        }
    }

    /// Whether somebody must hear first what was granted here.
    pub(super) fn objecting(&self) -> bool {
        self.peers.iter().any(|peer| peer.objection.is_some())
    }

    fn take_first(&mut self, now: Timestamp, engine: &mut Engine, index: usize, work: &mut Work) {
        let Some(peer) = self.peers.get(index) else { return };
        let Some(first) = peer.arrived.front() else { return };
        // What is taken up into a store that is not marked could not be told from leases of its own after a start.
        if self.applied_index < self.adopted_under || !self.restored || !self.has_mark() {
            return;
        }
        let Some(reading) = peer.clock(now) else {
            self.counts.too_slow += 1;
            return;
        };
        let judgement = match decode(&first.octets) {
            Err(error) => Judgement::Nonsense(error),
            Ok((updates, _)) => {
                let convert = |update: Update| Update {
                    granted_at: reading.convert(update.granted_at),
                    expires: reading.convert(update.expires),
                    horizon: reading.convert(update.horizon),
                    kept_until: reading.convert(update.kept_until),
                    ..update
                };
                self.judge(engine, index, updates.into_iter().map(convert))
            }
        };
        let own_log = self.log.end().log;
        match judgement {
            Judgement::Wait => {}
            Judgement::Take(taken) => self.take(now, engine, index, taken, work),
            Judgement::Suspend(addresses) => {
                for &address in &addresses {
                    work.take(engine.suspend(now, address));
                }
                if let Some(peer) = self.peers.get_mut(index) {
                    peer.suspended.extend(addresses);
                }
            }
            Judgement::Object(seq, told) => {
                self.counts.objections += 1;
                self.release_suspended(engine, index, work);
                if let Some(peer) = self.peers.get_mut(index) {
                    peer.objection = Some(Objection { seq, heard: 0 });
                }
                self.hear(now, engine, index, told, work);
            }
            Judgement::Hear(told) => self.hear(now, engine, index, told, work),
            Judgement::Unknown => {
                if let Some(peer) = self.peers.get_mut(index) {
                    peer.cursor = Cursor::default();
                    let node = peer.node;
                    self.out.extend(peer.ask_again(now, own_log).map(|message| Output::Send(node, message)));
                }
            }
            Judgement::Nonsense(error) => {
                self.counts.nonsense += 1;
                if let Some(peer) = self.peers.get_mut(index) {
                    let node = peer.node.0;
                    tracing::error!(node, %error, "a peer's updates make no sense: nothing of it is heard until it connects again");
                    peer.arrived.clear();
                    peer.muted = true;
                }
            }
        }
    }

    fn judge(&self, engine: &Engine, index: usize, updates: impl Iterator<Item = Update>) -> Judgement {
        let (Some(peer), Some(authority)) = (self.peers.get(index), engine.authority()) else {
            return Judgement::Wait;
        };
        // By whose blocks it is told is not known before the log is as far as the sender's.
        if authority.is_strange() {
            return Judgement::Wait;
        }
        let hearing = peer.objection.is_some();
        let mut taken = Taken::default();
        let (mut ending, mut waiting, mut objection) = (Vec::new(), false, None);
        for mut update in updates {
            let asked = update.identity.is_some().then(|| std::mem::take(&mut update.asked));
            let delegation = authority.blocks().of_address(update.address).and_then(|b| self.state.block(b));
            let Some(delegation) = delegation else { continue };
            let known = engine.leases().get(update.address);
            if update.epoch > delegation.epoch {
                return Judgement::Wait;
            }
            if update.epoch == 0 && delegation.holder == self.settings.me {
                taken.told.extend(updated(update, known).map(|record| (record, asked)));
                continue;
            }
            if hearing || objection.is_some() {
                continue;
            }
            if update.epoch != delegation.epoch || delegation.holder != peer.node {
                taken.overtaken += 1;
                continue;
            }
            let Some(mut record) = updated(update, known) else { return Judgement::Unknown };
            if let Some(known) = known.filter(|known| known.state == LeaseState::Bound) {
                let goes_on = record.state == LeaseState::Bound
                    && record.client == known.client
                    && record.hardware == known.hardware;
                let unheard = self.log.seq_of(record.address).filter(|seq| *seq > peer.knows());
                // Two readings of a clock put one moment at two, both too early: the later one is nearer. And what was granted
                // here within what an earlier holder told us, the one that took over from it learns from us. A reply that
                // is held may rest on either.
                if goes_on && (unheard.is_some() || known.horizon.since(record.horizon) <= ROUND_TRIP_MAX) {
                    record.horizon = record.horizon.max(known.horizon);
                }
                match (goes_on, unheard) {
                    // What was granted here may be later than what the holder knows.
                    (true, _) if known.expires > record.expires && known.expires <= record.horizon => {
                        (record.granted_at, record.expires) = (known.granted_at, known.expires);
                        record.forms = known.forms;
                    }
                    (true, _) => {}
                    (false, Some(seq)) => objection = Some(seq),
                    (false, None) if !peer.suspended.contains(&record.address) => ending.push(record.address),
                    (false, None) => waiting |= self.forgetting.contains(&record.address),
                }
            }
            taken.adopted.push((record, asked));
        }
        if let Some(seq) = objection {
            Judgement::Object(seq, taken.told)
        } else if hearing {
            Judgement::Hear(taken.told)
        } else if !ending.is_empty() {
            Judgement::Suspend(ending)
        } else if waiting {
            Judgement::Wait
        } else {
            Judgement::Take(taken)
        }
    }

    fn take(&mut self, now: Timestamp, engine: &mut Engine, index: usize, taken: Taken, work: &mut Work) {
        self.counts.overtaken += taken.overtaken;
        let suspended = self.peers.get_mut(index).map(|peer| std::mem::take(&mut peer.suspended));
        for address in suspended.unwrap_or_default() {
            engine.unsuspend(address);
            work.publish.push(address);
        }
        let count = taken.adopted.len() + taken.told.len();
        let fresh = self.fresh();
        for (record, asked) in taken.adopted {
            self.forgetting.remove(&record.address);
            account(now, fresh, engine.leases().get(record.address), &record, &mut work.audit);
            self.learn_of(&record, asked, engine.leases().get(record.address));
            work.publish.push(record.address);
            engine.adopt(record.clone());
            work.adopted.push(record);
        }
        self.take_grants(now, engine, taken.told, work);
        let Some(peer) = self.peers.get_mut(index) else { return };
        let Some(first) = peer.arrived.pop_front() else { return };
        peer.traffic.octets_received += first.octets.len() as u64;
        peer.traffic.updates_received += count as u64;
        let before = peer.cursor;
        peer.cursor = Cursor { log: first.after.log, seq: first.until };
        if peer.arrived.is_empty() {
            peer.last_sync = Some(now);
        }
        self.undurable.push((index, before));
        work.batch.meta.push((MetaKey::SiteCursors, self.encode_cursors()));
    }

    /// How long ago a lease may have been granted that is told as soon as it is time to.
    const fn fresh(&self) -> Span {
        Span(self.settings.interval.0.saturating_add(CLOCK_ERROR.0))
    }

    /// Takes up what a standby granted of blocks that are held here.
    fn take_grants(&mut self, now: Timestamp, engine: &mut Engine, told: Vec<Told>, work: &mut Work) {
        let fresh = self.fresh();
        for (told, asked) in told {
            let before = engine.leases().get(told.address).cloned();
            work.take(engine.granted_elsewhere(now, &told, asked.is_some()));
            // It is this node's to say what the lease is: the client may be another by now.
            let lease = engine.leases().get(told.address);
            if let Some(lease) = lease.filter(|lease| lease.state == LeaseState::Bound)
                && (&lease.client, &lease.hardware) == (&told.client, &told.hardware)
            {
                account(now, fresh, before.as_ref(), lease, &mut work.audit);
                self.learn_of(lease, asked, Some(lease));
            }
        }
    }

    /// Takes up what a peer granted, and nothing else of the batch: that comes again when it has heard of our grants.
    fn hear(&mut self, now: Timestamp, engine: &mut Engine, index: usize, told: Vec<Told>, work: &mut Work) {
        let count = told.len() as u64;
        self.take_grants(now, engine, told, work);
        let Some(peer) = self.peers.get_mut(index) else { return };
        let Some(first) = peer.arrived.pop_front() else { return };
        if let Some(objection) = &mut peer.objection {
            objection.heard = first.until;
        }
        peer.traffic.octets_received += first.octets.len() as u64;
        peer.traffic.updates_received += count;
        self.hearing.push((index, Cursor { log: first.after.log, seq: first.until }));
        // As if there were something new to say: what was heard must be durable before that is said.
        work.batch.meta.push((MetaKey::SiteCursors, self.encode_cursors()));
    }

    /// What was taken up is durable, or could not be made so for want of room: then it is asked for again.
    pub fn settled(&mut self, now: Timestamp, durable: bool) {
        self.mark_settled(durable);
        for (index, cursor) in std::mem::take(&mut self.hearing) {
            let Some(peer) = self.peers.get_mut(index) else { continue };
            if durable {
                self.out.push(Output::Send(peer.node, Message::Heard { cursor }));
            } else {
                peer.refuse(now);
            }
        }
        for (index, before) in std::mem::take(&mut self.undurable) {
            let Some(peer) = self.peers.get_mut(index) else { continue };
            if durable {
                let message = Message::Acknowledge { cursor: peer.cursor };
                self.out.push(Output::Send(peer.node, message));
            } else {
                peer.cursor = before;
                peer.refuse(now);
            }
        }
    }

    /// Leases that were to end go on: their end came from one who has no say any more, or must hear of us first.
    fn release_suspended(&mut self, engine: &mut Engine, index: usize, work: &mut Work) {
        let Some(peer) = self.peers.get_mut(index) else { return };
        for address in std::mem::take(&mut peer.suspended) {
            self.forgetting.remove(&address);
            engine.unsuspend(address);
            work.publish.push(address);
        }
    }

    /// Drops what waits of peers that have no say any more, or are gone.
    pub(super) fn drop_suspended(&mut self, engine: &mut Engine, work: &mut Work) {
        for index in 0..self.peers.len() {
            if self.peers.get(index).is_some_and(|peer| !peer.suspended.is_empty()) {
                self.release_suspended(engine, index, work);
            }
        }
    }

    /// The kernel is told to forget these leases.
    pub fn withdrawing(&mut self, addresses: &[Ipv4Addr]) {
        let suspended = |address: &&Ipv4Addr| self.peers.iter().any(|peer| peer.suspended.contains(*address));
        let these: Vec<Ipv4Addr> = addresses.iter().filter(suspended).copied().collect();
        self.forgetting.extend(these);
    }

    /// It has forgotten a lease, and what it granted last is known.
    pub fn forgotten(&mut self, address: Ipv4Addr) {
        self.forgetting.remove(&address);
    }

    fn encode_cursors(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(16 + self.peers.len() * 20);
        put_number(1, &mut out);
        put_number(self.applied_index, &mut out);
        for peer in &self.peers {
            put_number(peer.node.0.into(), &mut out);
            put_number(peer.cursor.log, &mut out);
            put_number(peer.cursor.seq, &mut out);
        }
        out
    }
}

/// What was known of the peers' logs, and under which command at least, as a store keeps it.
pub(super) fn decode_cursors(octets: &[u8]) -> Option<(u64, Vec<(NodeId, Cursor)>)> {
    let mut rest = crate::site::replication::Reader(octets);
    if rest.number().ok()? != 1 {
        return None;
    }
    let index = rest.number().ok()?;
    let mut cursors = Vec::new();
    while !rest.0.is_empty() {
        let node = NodeId(u16::try_from(rest.number().ok()?).ok()?);
        cursors.push((node, Cursor { log: rest.number().ok()?, seq: rest.number().ok()? }));
    }
    Some((index, cursors))
}
