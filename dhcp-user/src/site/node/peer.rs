//! What is known of a peer: how far each is in the other's change log, and what its clock shows.

use std::{collections::VecDeque, net::Ipv4Addr};

use super::Message;
use crate::{
    site::{delegation::NodeId, replication::Cursor},
    time::{Span, Timestamp},
};

/// A link whose round trip takes longer carries no leases (docs/sites.md, rule 7).
const ROUND_TRIP_MAX: Span = Span::from_secs(2);
/// A reading of a peer's clock is used for so long: clocks drift.
const READING_AGE_MAX: Span = Span::from_secs(60);
/// How often a peer's clock is asked for.
const ASK_EVERY: Span = Span::from_secs(2);
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
    /// The leases that were told whole, with what was told of them.
    pub told: Vec<(Ipv4Addr, u64)>,
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
    /// The last change that was sent to it.
    pub sent: u64,
    pub flights: VecDeque<Flight>,
    /// Since when there has been something it does not have.
    pub behind_since: Option<Timestamp>,
    /// When it last had everything of ours, or we of it.
    pub last_sync: Option<Timestamp>,
    /// Its log; 0 before it is known.
    pub log: u64,
    /// What is durable here of a log of its.
    pub cursor: Cursor,
    pub arrived: VecDeque<Arrived>,
    /// Leases that the first of these batches ends, until the kernel has forgotten them.
    pub suspended: Vec<Ipv4Addr>,
    /// Its word is not taken before it has acknowledged this change of our log: it does not know yet what we granted.
    pub objection: Option<u64>,
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
            sent: 0,
            flights: VecDeque::new(),
            behind_since: None,
            last_sync: None,
            log: 0,
            cursor,
            arrived: VecDeque::new(),
            suspended: Vec::new(),
            objection: None,
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
        self.flights.clear();
        self.arrived.clear();
        self.next_ask = Timestamp::ZERO;
        // Whose clock it is now is not known: it may have been started anew.
        self.reading = None;
    }

    /// What to say of where we are in its log.
    pub fn resume(&self, own_log: u64) -> Message {
        Message::Resume { cursor: self.cursor, log: own_log }
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
