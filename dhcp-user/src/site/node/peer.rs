//! What is known of a peer: how far each is in the other's change log, and what its clock shows.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    net::Ipv4Addr,
};

use super::Message;
use crate::{
    site::{delegation::NodeId, replication::Cursor},
    time::{Span, Timestamp},
};

/// A link whose round trip takes longer carries no leases (docs/sites.md, rule 7).
pub const ROUND_TRIP_MAX: Span = Span::from_secs(2);
/// A reading of a peer's clock is used for so long: clocks drift.
const READING_AGE_MAX: Span = Span::from_secs(60);
/// How often a peer's clock is asked for.
const ASK_EVERY: Span = Span::from_secs(2);
/// How long a peer is given to go on from where it was asked to, before it is asked again.
const RESUME_AGAIN: Span = Span::from_secs(1);
/// Batches that may be under way to a peer, or wait here to be taken up.
pub const WINDOW: usize = 4;

/// What a peer's clock showed, at some moment between asking and hearing.
#[derive(Clone, Copy, Debug)]
pub struct Reading {
    asked_at: Timestamp,
    clock: Timestamp,
    heard_at: Timestamp,
}

impl Reading {
    /// The earliest moment of our clock that a moment of the peer's can be.
    pub fn convert(&self, theirs: Timestamp) -> Timestamp {
        let ours = i128::from(theirs.0) + i128::from(self.asked_at.0) - i128::from(self.clock.0);
        Timestamp(u64::try_from(ours.max(0)).unwrap_or(u64::MAX))
    }
}

/// A batch that is under way to a peer.
#[derive(Debug)]
pub struct Flight {
    /// The number of the last change in it.
    pub until: u64,
    /// The leases that were told whole: by which change, and a digest of what was told of them.
    pub told: Vec<(Ipv4Addr, u64, u64)>,
    /// The leases that were told ahead of their turn, and by which change.
    pub ahead: Vec<(Ipv4Addr, u64)>,
    /// If nothing is left to tell after it: when that was so.
    pub complete_at: Option<Timestamp>,
}

/// A batch that came and is not taken up yet.
#[derive(Debug)]
pub struct Arrived {
    /// From after this change on.
    pub after: Cursor,
    /// Up to this change.
    pub until: u64,
    /// The updates.
    pub octets: Vec<u8>,
}

/// Why a peer's word is not taken: it does not know yet what we granted. What it granted is heard nevertheless, or two
/// nodes that object to each other would wait for ever.
#[derive(Clone, Copy, Debug)]
pub struct Objection {
    /// The change of our log that it must hear of.
    pub seq: u64,
    /// The change of its log up to which its grants have been taken up meanwhile.
    pub heard: u64,
}

/// What was counted of a peer.
#[derive(Clone, Copy, Debug, Default)]
pub struct Traffic {
    pub updates_sent: u64,
    pub octets_sent: u64,
    pub updates_received: u64,
    pub octets_received: u64,
}

/// A peer.
#[derive(Debug)]
pub struct Peer {
    pub node: NodeId,
    pub connected: bool,
    /// It has said where it is in our log since it was connected.
    pub resumed: bool,
    /// The last change of our log that it has durably; 0 if that is not known.
    pub acked: u64,
    /// The last change of our log up to which it has taken up our grants, though it objects to the rest.
    pub heard: u64,
    /// The last change that was sent to it.
    pub sent: u64,
    pub flights: VecDeque<Flight>,
    /// Up to which change it has been sent, ahead of their turn, those that somebody waits for.
    pub sent_ahead: u64,
    /// Changes beyond `acked` that it has durably.
    pub ahead: BTreeMap<Ipv4Addr, u64>,
    /// Since when there has been something it does not have, or it was last heard to have some of that: it is told by this.
    pub behind_since: Option<Timestamp>,
    /// Since when it has lacked something, whatever it was told meanwhile; `None` if it had everything at the last look.
    pub lacks_since: Option<Timestamp>,
    /// When it last had everything of ours, or we of it.
    pub last_sync: Option<Timestamp>,
    /// Its log when it was last heard of; 0 if it never was.
    pub log: u64,
    /// What is durable here of a log of its.
    pub cursor: Cursor,
    pub arrived: VecDeque<Arrived>,
    /// Leases that the first of these batches ends, until the kernel has forgotten them.
    pub suspended: BTreeSet<Ipv4Addr>,
    pub objection: Option<Objection>,
    /// When it was last asked to go on from our cursor, unless what fits has come since.
    asked_at: Option<Timestamp>,
    /// It is to be asked that again when it has had time to do so.
    pub astray: bool,
    /// It made no sense: nothing is heard until it is connected anew.
    pub muted: bool,
    pub reading: Option<Reading>,
    next_ask: Timestamp,
    /// Half the last round trip.
    pub latency: Option<Span>,
    pub free: u64,
    pub traffic: Traffic,
}

impl Peer {
    pub fn new(node: NodeId, cursor: Cursor) -> Self {
        Self {
            node,
            connected: false,
            resumed: false,
            acked: 0,
            heard: 0,
            sent: 0,
            flights: VecDeque::new(),
            sent_ahead: 0,
            ahead: BTreeMap::new(),
            behind_since: None,
            lacks_since: None,
            last_sync: None,
            // Another one is another start of its daemon, whether that was before ours or after.
            log: cursor.log,
            cursor,
            arrived: VecDeque::new(),
            suspended: BTreeSet::new(),
            objection: None,
            asked_at: None,
            astray: false,
            muted: false,
            reading: None,
            next_ask: Timestamp::ZERO,
            latency: None,
            free: 0,
            traffic: Traffic::default(),
        }
    }

    /// There is a new connection, or there is none.
    pub fn reset(&mut self, connected: bool) {
        self.connected = connected;
        // It may come back with less: what it has it says itself.
        self.acked = 0;
        (self.resumed, self.muted, self.objection) = (false, false, None);
        (self.heard, self.asked_at, self.astray) = (0, None, false);
        self.flights.clear();
        self.forget_ahead();
        self.arrived.clear();
        self.next_ask = Timestamp::ZERO;
        // Whose clock it is now is not known: it may have been started anew.
        self.reading = None;
    }

    /// What it may have acknowledged ahead of its turn is to be told again.
    pub fn forget_ahead(&mut self) {
        (self.sent_ahead, self.ahead) = (0, BTreeMap::new());
    }

    /// Where a batch of its must begin.
    pub fn expected(&self) -> Cursor {
        match (self.arrived.back(), self.objection) {
            (Some(last), _) => Cursor { log: last.after.log, seq: last.until },
            (None, Some(objection)) => Cursor { log: self.log, seq: objection.heard },
            (None, None) => Cursor { log: self.log, seq: self.begin() },
        }
    }

    /// A batch comes that begins where it must.
    pub fn arrives(&mut self, batch: Arrived) {
        (self.asked_at, self.astray) = (None, false);
        self.arrived.push_back(batch);
    }

    /// What to say of where we are in its log, so that it goes on from there. `None` if that was just said: each time it
    /// would send all it may have under way once more, which does not fit any better.
    pub fn ask_again(&mut self, now: Timestamp, own_log: u64) -> Option<Message> {
        self.begin_anew();
        if self.asked_at.is_some_and(|at| now < at + RESUME_AGAIN) {
            self.astray = true;
            return None;
        }
        (self.asked_at, self.astray) = (Some(now), false);
        Some(Message::Resume { cursor: self.cursor, log: own_log })
    }

    /// What it told could not be taken up for want of room: it is asked for again, but not at once.
    pub fn refuse(&mut self, now: Timestamp) {
        self.begin_anew();
        (self.asked_at, self.astray) = (Some(now), true);
    }

    fn begin_anew(&mut self) {
        self.arrived.clear();
        let heard = self.begin();
        if let Some(objection) = &mut self.objection {
            objection.heard = heard;
        }
    }

    /// What is durable here of its present log.
    fn begin(&self) -> u64 {
        if self.cursor.log == self.log { self.cursor.seq } else { 0 }
    }

    /// The last change of our log up to which it knows what we granted.
    pub fn knows(&self) -> u64 {
        self.acked.max(self.heard)
    }

    /// The question for its clock, if it is time to ask.
    pub fn ask(&mut self, now: Timestamp) -> Option<Message> {
        if !self.connected || now < self.next_ask {
            return None;
        }
        self.next_ask = now + ASK_EVERY;
        Some(Message::Ask { asked_at: now })
    }

    /// Its clock showed `clock` at some moment since we asked.
    pub fn told(&mut self, now: Timestamp, asked_at: Timestamp, clock: Timestamp, free: u64) {
        if asked_at > now {
            return;
        }
        let round_trip = now.since(asked_at);
        self.latency = Some(Span(round_trip.0 / 2));
        self.free = free;
        if round_trip <= ROUND_TRIP_MAX {
            self.reading = Some(Reading { asked_at, clock, heard_at: now });
        }
    }

    /// How to convert its times, if that is known well enough.
    pub fn clock(&self, now: Timestamp) -> Option<Reading> {
        self.reading.filter(|reading| now.since(reading.heard_at) <= READING_AGE_MAX)
    }
}
