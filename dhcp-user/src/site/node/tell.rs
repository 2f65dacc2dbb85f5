//! What becomes durable here is told to the others, and what they acknowledged lets horizons move (docs/sites.md, rules 2
//! and 4).

use std::net::Ipv4Addr;

use super::{
    Node, Output,
    ahead::{AHEAD_MAX, AHEAD_OCTETS_MAX},
    message::Message,
    peer::{Flight, WINDOW},
};
use crate::{
    audit::{AuditEvent, End},
    config::model::SyncMode,
    engine::Engine,
    lease::{
        record::{LeaseRecord, LeaseState},
        table::Leaving,
    },
    server::{unsaved::Unsaved, work::Work},
    site::{
        blocks::BlockId,
        delegation::{NodeId, Presence},
        replication::{BATCH_OCTETS_MAX, Changed, Cursor, UPDATES_MAX, Update, encode},
    },
    time::{Span, Timestamp},
};

/// A lease that was given back, until everybody knows.
#[derive(Clone, Copy, Debug)]
pub(super) struct Returned {
    seq: u64,
    incarnation: u64,
    /// A peer was started anew meanwhile, and may have forgotten what it granted: the horizon decides.
    void: bool,
}

/// A horizon that moves to where its address is kept when everybody has acknowledged that.
#[derive(Clone, Copy, Debug)]
pub(super) struct Waiting {
    pub(super) seq: u64,
    /// Until when the address is kept, as the others were told.
    pub(super) reach: Timestamp,
}

impl Node {
    /// Takes up what became durable: `leases` as they are in the engine now, and those that were given back.
    pub fn committed(&mut self, engine: &Engine, leases: &[LeaseRecord], returned: &[Ipv4Addr]) {
        for lease in leases {
            if engine
                .authority()
                .is_some_and(|authority| authority.blocks().of_address(lease.address).is_some())
            {
                self.touch(engine, lease.address, false);
            }
        }
        for &address in returned {
            if !self.returned.contains_key(&address) {
                let seq = self.log.end().seq;
                let entry = Returned { seq, incarnation: self.incarnation, void: false };
                self.returned.insert(address, entry);
                let seq = self.touch(engine, address, false);
                if let Some(entry) = self.returned.get_mut(&address) {
                    entry.seq = seq;
                }
            }
        }
    }

    /// Takes note of a change; its number.
    pub(super) fn touch(&mut self, engine: &Engine, address: Ipv4Addr, anew: bool) -> u64 {
        let Some(lease) = engine.leases().get(address) else { return self.log.end().seq };
        let shown = self.shown(engine, lease);
        if shown.state != LeaseState::Bound {
            self.asked.forget(address);
        }
        let identity = self.digest_of(&shown);
        // Who has acknowledged a horizon that waits has all that matters of the lease; counted as another change, each
        // renewal would put off the moment in which it may be used.
        if let Some(waiting) = self.awaiting.get(&address).filter(|_| !anew)
            && waiting.reach == lease.reach()
            && self.log.identity_of(address) == Some(identity)
            && shown.state == LeaseState::Bound
            && lease.kept_until > lease.horizon
            && engine.authority().is_some_and(|authority| authority.holds(address))
        {
            return waiting.seq;
        }
        let before = self.log.seq_of(address);
        let pressed = before.is_some_and(|seq| self.pressing.remove(&seq).is_some());
        let seq = match anew {
            true => self.log.touch_anew(address, identity),
            false => self.log.touch(address, identity),
        };
        self.awaiting.remove(&address);
        let held = engine.authority().is_some_and(|authority| authority.holds(address));
        let stays = shown.state == LeaseState::Bound && engine.leases().leaving(address).is_none();
        if stays && lease.kept_until > lease.horizon && held {
            self.awaiting.insert(address, Waiting { seq, reach: lease.reach() });
            self.pressing.insert(seq, address);
        } else if pressed && shown.state == LeaseState::Bound {
            // Who waited for the earlier change waits for this one now.
            self.pressing.insert(seq, address);
        }
        if shown.state == LeaseState::Bound {
            // It came back.
            self.returned.remove(&address);
        }
        seq
    }

    /// A lease as the others are to know it: one that was given back is free for its client alone until it has rested.
    fn shown(&self, engine: &Engine, lease: &LeaseRecord) -> LeaseRecord {
        let returned = self.returned.contains_key(&lease.address)
            && matches!(engine.leases().leaving(lease.address), Some(Leaving::Returned(_)));
        match returned {
            true => LeaseRecord { state: LeaseState::Free, ..lease.clone() },
            false => lease.clone(),
        }
    }

    /// The last change that every node which is counted on has; the end of the log if there is none.
    pub fn acknowledged(&self) -> u64 {
        let audience = self.state.audience(self.settings.me);
        audience.map(|node| self.acked(node)).min().unwrap_or_else(|| self.log.end().seq)
    }

    /// The number of an address's last change; 0 if there was none.
    pub fn last_change(&self, address: Ipv4Addr) -> u64 {
        self.log.seq_of(address).unwrap_or(0)
    }

    /// The last change that every other member has, whether it is counted on or not.
    fn known_everywhere(&self) -> u64 {
        let others = self.state.members().map(|(node, _)| node).filter(|node| *node != self.settings.me);
        others.map(|node| self.acked(node)).min().unwrap_or_else(|| self.log.end().seq)
    }

    pub(super) fn acked(&self, node: NodeId) -> u64 {
        self.peers.iter().find(|peer| peer.node == node).map_or(0, |peer| peer.acked)
    }

    /// Lets horizons move, and leases end, as far as the others know of it.
    pub(super) fn advance(&mut self, now: Timestamp, engine: &mut Engine, work: &mut Work) {
        let acknowledged = self.acknowledged();
        while let Some((&seq, &address)) = self.pressing.first_key_value() {
            if seq > acknowledged || now >= self.held_until {
                break;
            }
            self.pressing.remove(&seq);
            if let Some(waiting) = self.awaiting.get(&address).copied().filter(|waiting| waiting.seq == seq) {
                self.awaiting.remove(&address);
                work.take(engine.horizon_known(now, address, waiting.reach));
            }
        }
        self.advance_ahead(now, engine, work);
        let everywhere = self.known_everywhere();
        let known: Vec<Ipv4Addr> = self
            .returned
            .iter()
            .filter(|(address, entry)| {
                // It may have become part of a later change since.
                let seq = self.last_change(**address).max(entry.seq);
                !entry.void && seq <= everywhere && entry.incarnation == self.incarnation
            })
            .map(|(address, _)| *address)
            .collect();
        if now < self.held_until && now >= self.struck_until {
            for address in known {
                self.returned.remove(&address);
                let lease = engine.leases().get(address).cloned();
                let leaving = engine.leases().leaving(address);
                let effects = engine.return_known(now, address);
                let ended = lease.zip(leaving).filter(|_| !effects.is_empty());
                if let Some((lease, Leaving::Returned(at))) = ended {
                    let lease = Box::new(lease);
                    work.audit.push(AuditEvent::Ended { lease, how: End::Released, by: None, at });
                }
                work.take(effects);
            }
        }
    }

    /// A peer was started anew: it may have forgotten what it granted and did not tell.
    pub(super) fn started_anew(&mut self) {
        self.incarnation += 1;
        self.returned.values_mut().for_each(|entry| entry.void = true);
    }

    pub(super) fn forget_returned(&mut self, first: Ipv4Addr, last: Ipv4Addr) {
        let gone: Vec<Ipv4Addr> = self.returned.range(first..=last).map(|(address, _)| *address).collect();
        for address in gone {
            self.returned.remove(&address);
        }
        let gone: Vec<(Ipv4Addr, u64)> =
            self.awaiting.range(first..=last).map(|(address, waiting)| (*address, waiting.seq)).collect();
        for (address, seq) in gone {
            self.awaiting.remove(&address);
            self.pressing.remove(&seq);
        }
    }

    /// A block is another's, or under another epoch: what was granted of it here is told once more. Whoever heard of it
    /// before may have been overtaken, and have acknowledged it without taking it up.
    pub(super) fn tell_again(&mut self, engine: &Engine, block: BlockId) {
        let range = engine.authority().and_then(|authority| authority.blocks().get(block).copied());
        let Some(range) = range.filter(|_| self.log.end().seq != 0) else { return };
        let leases = engine.leases();
        // Nothing was granted here of what its client gave back here.
        let here = |lease: &&LeaseRecord| {
            lease.state == LeaseState::Bound
                && self.log.seq_of(lease.address).is_some()
                && !matches!(leases.leaving(lease.address), Some(Leaving::Returned(_)))
        };
        let granted: Vec<Ipv4Addr> =
            leases.between(range.first, range.last).filter(here).map(|lease| lease.address).collect();
        for address in granted {
            self.touch(engine, address, true);
        }
    }

    /// Tells peers what they do not know, as far as it is time to.
    pub(super) fn pump(&mut self, now: Timestamp, engine: &Engine, unsaved: &Unsaved) {
        for index in 0..self.peers.len() {
            while self.tell(now, engine, unsaved, index) {}
        }
    }

    /// Whether a peer is to hear of changes at once.
    fn in_haste(&self, node: NodeId) -> bool {
        let joining = |node| {
            matches!(self.state.member(node).map(|member| &member.presence), Some(Presence::Joining { .. }))
        };
        let soon = Span(self.settings.mclt.0 / 4);
        self.settings.mode == SyncMode::Sync
            || self.moving.is_some()
            || self.objecting()
            || joining(node)
            || joining(self.settings.me)
            || !self.awaiting.is_empty() && self.settings.interval > soon
    }

    fn tell(&mut self, now: Timestamp, engine: &Engine, unsaved: &Unsaved, index: usize) -> bool {
        let Some(peer) = self.peers.get(index) else { return false };
        let (node, log_end) = (peer.node, self.log.end());
        if !peer.resumed || peer.flights.len() >= WINDOW || peer.sent >= log_end.seq {
            return false;
        }
        let batch_max = self.settings.batch_size.clamp(1, UPDATES_MAX - AHEAD_MAX);
        let since = Cursor { seq: peer.sent, ..log_end };
        let behind_since = peer.behind_since.unwrap_or(now);
        let due = behind_since + self.settings.interval <= now
            || self.in_haste(node)
            || self.log.lag(since, batch_max) >= batch_max;
        if !due {
            return false;
        }
        let receiver = self.settings.receiver(node);
        let (changes, mut end) = self.log.after(receiver, since, batch_max);
        let (mut updates, mut told) = (Vec::with_capacity(changes.len()), Vec::new());
        let (mut octets_max, mut last) = (0, since.seq);
        for change in changes {
            if unsaved.contains(change.address) {
                // What others hear of must outlast this process. It is told when the disk has room.
                end.seq = last;
                break;
            }
            let Some((update, identity)) = self.update_of(engine, node, &change) else { continue };
            octets_max += update.octets_max();
            if octets_max > BATCH_OCTETS_MAX - AHEAD_OCTETS_MAX {
                end.seq = last;
                break;
            }
            last = change.seq;
            if update.identity.is_some() {
                told.push((change.address, change.seq, identity));
            }
            updates.push(update);
        }
        if end.seq <= since.seq {
            return false;
        }
        let (mut ahead, mut sent_ahead) = (Vec::new(), end.seq);
        for change in self.changes_ahead(index, end.seq) {
            let update = self.update_of(engine, node, &change).filter(|(update, _)| update.epoch != 0);
            let Some((update, identity)) = update.filter(|_| !unsaved.contains(change.address)) else {
                sent_ahead = change.seq;
                continue;
            };
            octets_max += update.octets_max();
            if octets_max > BATCH_OCTETS_MAX {
                // The next batch begins with it.
                break;
            }
            sent_ahead = change.seq;
            ahead.push((change.address, change.seq));
            if update.identity.is_some() {
                told.push((change.address, change.seq, identity));
            }
            updates.push(update);
        }
        let count = updates.len() as u64;
        let octets = encode(&mut updates, now);
        if let Some(peer) = self.peers.get_mut(index) {
            peer.traffic.updates_sent += count;
            peer.traffic.octets_sent += octets.len() as u64;
            (peer.sent, peer.sent_ahead) = (end.seq, peer.sent_ahead.max(sent_ahead));
            let complete_at = (end.seq >= log_end.seq).then_some(now);
            peer.flights.push_back(Flight { until: end.seq, told, ahead, complete_at });
        }
        let message = Message::Updates { after: since, until: end.seq, octets };
        self.out.push(Output::Send(node, message));
        true
    }

    /// What to tell a peer of a change, and a digest of it but for its times; `None` if it is no business of its.
    fn update_of(&self, engine: &Engine, peer: NodeId, change: &Changed) -> Option<(Update, u64)> {
        let lease = engine.leases().get(change.address)?;
        let epoch = self.epoch_for(engine, change.address, peer)?;
        let shown = self.shown(engine, lease);
        if epoch == 0 && shown.state != LeaseState::Bound {
            return None;
        }
        // What we granted without holding the block is told whole: the holder may not know the client.
        let anew = change.anew || epoch == 0;
        let asked = if anew { self.asked_of(&shown) } else { [None, None] };
        let identity = self.digest_of(&shown);
        Some((Update { asked, ..Update::of(&shown, epoch, anew) }, identity))
    }

    /// Under which epoch to tell a peer of an address: 0 if its block is the peer's; `None` if it is no business of its.
    fn epoch_for(&self, engine: &Engine, address: Ipv4Addr, peer: NodeId) -> Option<u32> {
        let block = engine.authority()?.blocks().of_address(address)?;
        let delegation = self.state.block(block)?;
        if delegation.holder == self.settings.me {
            Some(delegation.epoch)
        } else {
            (delegation.holder == peer).then_some(0)
        }
    }

    /// A peer says where it is in our log.
    pub(super) fn on_resume(&mut self, now: Timestamp, from: NodeId, cursor: Cursor, log: u64) {
        let receiver = self.settings.receiver(from);
        let at = self.log.resume(receiver, cursor);
        let mut anew = false;
        if let Some(peer) = self.peers.iter_mut().find(|peer| peer.node == from) {
            anew = peer.log != log;
            if anew {
                // What has arrived is of another log.
                peer.arrived.clear();
            }
            (peer.log, peer.resumed) = (log, true);
            (peer.acked, peer.sent) = (at.seq, at.seq);
            peer.flights.clear();
            peer.forget_ahead();
            if at.seq < self.log.end().seq {
                peer.behind_since.get_or_insert(now);
            }
        }
        if anew {
            self.started_anew();
        }
    }

    /// A peer that objects has taken up what was granted here, up to there: it may be told more, but has acknowledged
    /// nothing.
    pub(super) fn on_heard(&mut self, from: NodeId, cursor: Cursor) {
        let end = self.log.end();
        let Some(peer) = self.peers.iter_mut().find(|peer| peer.node == from) else { return };
        if cursor.log != end.log || cursor.seq > end.seq || !peer.resumed {
            self.counts.nonsense += 1;
            return;
        }
        peer.heard = peer.heard.max(cursor.seq);
        while peer.flights.front().is_some_and(|flight| flight.until <= cursor.seq) {
            peer.flights.pop_front();
        }
    }

    /// A peer has durably what it was told up to there.
    pub(super) fn on_acknowledge(&mut self, now: Timestamp, from: NodeId, cursor: Cursor) {
        let (end, receiver) = (self.log.end(), self.settings.receiver(from));
        let Some(peer) = self.peers.iter_mut().find(|peer| peer.node == from) else { return };
        if cursor.log != end.log || cursor.seq > peer.sent || !peer.resumed {
            self.counts.nonsense += 1;
            return;
        }
        peer.acked = peer.acked.max(cursor.seq);
        while peer.flights.front().is_some_and(|flight| flight.until <= cursor.seq) {
            let Some(flight) = peer.flights.pop_front() else { break };
            // Where something changes all the time, nobody ever has everything that is there now.
            peer.last_sync = peer.last_sync.max(flight.complete_at);
            for (address, seq, identity) in flight.told {
                self.log.acknowledged(receiver, address, seq, identity);
            }
            peer.ahead.extend(flight.ahead);
        }
        let (acked, log) = (peer.acked, &self.log);
        peer.ahead.retain(|address, seq| *seq > acked && log.seq_of(*address) == Some(*seq));
        if peer.acked >= end.seq {
            (peer.behind_since, peer.last_sync) = (None, Some(now));
        } else {
            peer.behind_since = Some(now);
        }
        self.heard_ahead |= self.is_told_ahead();
    }
}
