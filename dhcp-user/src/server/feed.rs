//! What happened to leases lately, for whoever follows: a ring of bounded length that the service's thread writes and the
//! event streams read. A reader that is too slow misses events and is told so; the writer never waits.

use std::{
    collections::VecDeque,
    net::Ipv4Addr,
    sync::{Arc, Mutex, PoisonError},
};

use serde::{Deserialize, Serialize};
use tokio::sync::watch;
use utoipa::ToSchema;

use super::view::{shown_name, state_name};
use crate::{lease::record::LeaseRecord, time::Timestamp};

/// Events kept for readers that come back.
pub const EVENTS_KEPT: usize = 16_384;

/// Something that happened to a lease.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct LeaseEvent {
    /// Number of the event: one more for each, and more after each start of the daemon.
    pub id: u64,
    /// The address.
    #[schema(value_type = String, format = "ipv4")]
    pub address: Ipv4Addr,
    /// What its state is now: `bound`, `free`, `quarantined`.
    pub state: String,
    /// The client's hardware address.
    pub hw_address: String,
    /// Its host name, with what is not printable escaped.
    #[serde(default)]
    pub hostname: Option<String>,
    /// When it happened, RFC 3339.
    #[serde(default)]
    pub at: String,
    /// When the grant ends, RFC 3339.
    pub expires_at: String,
}

/// The ring.
#[derive(Debug)]
pub struct Feed {
    ring: Mutex<Ring>,
    last: watch::Sender<u64>,
}

/// Number, moment, and what became of the lease.
type Kept = (u64, Timestamp, Arc<LeaseRecord>);

#[derive(Debug, Default)]
struct Ring {
    events: VecDeque<Kept>,
    /// The number before the first of this daemon.
    base: u64,
    last: u64,
}

/// What a reader gets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Taken {
    /// Events after the one asked for, the oldest first.
    pub events: Vec<LeaseEvent>,
    /// How many were gone already.
    pub missed: u64,
}

impl Default for Feed {
    fn default() -> Self {
        Self { ring: Mutex::default(), last: watch::Sender::new(0) }
    }
}

impl Feed {
    /// Begun at a moment of the wall clock, by which its numbers begin: those of an earlier daemon are lower, if that wrote
    /// less than a million events a second.
    pub fn begun_at(wall: Timestamp) -> Self {
        let base = wall.as_secs().min(u64::from(u32::MAX)) << 20;
        let ring = Ring { base, last: base, ..Ring::default() };
        Self { ring: Mutex::new(ring), last: watch::Sender::new(base) }
    }

    /// Adds what became of leases at a moment.
    pub fn leases(&self, at: Timestamp, records: Vec<LeaseRecord>) {
        let records: Vec<_> = records
            .into_iter()
            // Not shown, and what makes records large.
            .map(|record| Arc::new(LeaseRecord { relay_information: Box::default(), ..record }))
            .collect();
        let mut ring = self.ring.lock().unwrap_or_else(PoisonError::into_inner);
        for record in records {
            ring.last += 1;
            let id = ring.last;
            if ring.events.len() == EVENTS_KEPT {
                ring.events.pop_front();
            }
            ring.events.push_back((id, at, record));
        }
        let last = ring.last;
        drop(ring);
        self.last.send_replace(last);
    }

    /// The number after which come the latest `recent` events.
    pub fn before(&self, recent: u64) -> u64 {
        let ring = self.ring.lock().unwrap_or_else(PoisonError::into_inner);
        ring.last.saturating_sub(recent).max(ring.base)
    }

    /// Tells when there are newer ones.
    pub fn watch(&self) -> watch::Receiver<u64> {
        self.last.subscribe()
    }

    /// At most `limit` events after the one with this number. One of another daemon's is taken for the beginning, and
    /// something was missed; 0 is the beginning itself.
    pub fn after(&self, id: u64, limit: usize) -> Taken {
        let (kept, missed) = self.kept_after(id, limit);
        // Formatted without the lock: the service's thread waits for that whenever it settles.
        let events = kept.into_iter().map(|(id, at, record)| LeaseEvent {
            id,
            address: record.address,
            state: state_name(record.state).to_owned(),
            hw_address: record.hardware.to_string(),
            hostname: shown_name(&record.hostname),
            at: at.to_string(),
            expires_at: record.expires.to_string(),
        });
        Taken { events: events.collect(), missed }
    }

    /// As [`after`](Self::after), as they are kept.
    fn kept_after(&self, id: u64, limit: usize) -> (Vec<Kept>, u64) {
        let ring = self.ring.lock().unwrap_or_else(PoisonError::into_inner);
        let ours = (ring.base..=ring.last).contains(&id);
        let after = if ours { id } else { ring.base };
        let oldest = ring.events.front().map_or(ring.last + 1, |(id, ..)| *id);
        let missed = oldest.saturating_sub(after + 1).max(u64::from(!ours && id > 0));
        let skip = usize::try_from((after + 1).saturating_sub(oldest)).unwrap_or(usize::MAX);
        // Of no more than there are: `limit` may be anything.
        (ring.events.range(skip.min(ring.events.len())..).take(limit).cloned().collect(), missed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lease::record::{ClientKey, HardwareAddress, LeaseState};

    fn record(n: u32) -> LeaseRecord {
        LeaseRecord {
            address: Ipv4Addr::from_bits(0xc612_0000 + n),
            state: LeaseState::Bound,
            client: ClientKey::nobody(),
            hardware: HardwareAddress::ethernet([2, 0, 0, 0, 0, 1]),
            hostname: Box::default(),
            relay_information: Box::default(),
            granted_at: Timestamp::ZERO,
            expires: Timestamp::ZERO,
            horizon: Timestamp::ZERO,
            kept_until: Timestamp::ZERO,
            forms: [None, None],
        }
    }

    fn ids(taken: &Taken) -> Vec<u64> {
        taken.events.iter().map(|event| event.id).collect()
    }

    #[test]
    fn a_number_of_another_daemon_is_the_beginning_and_something_was_missed() {
        let earlier = Feed::begun_at(Timestamp(1_000_000_000_000_000));
        let feed = Feed::begun_at(Timestamp(1_000_001_000_000_000));
        earlier.leases(Timestamp::ZERO, (0..100).map(record).collect());
        feed.leases(Timestamp::ZERO, (0..200).map(record).collect());
        let first = feed.before(0) - 199;
        for elsewhere in [earlier.before(83), feed.before(0) + 1] {
            let taken = feed.after(elsewhere, 1);
            assert_eq!((ids(&taken), taken.missed), (vec![first], 1));
        }
        assert_eq!(feed.after(0, 1).missed, 0);
        assert_eq!(feed.before(1_000), first - 1);
    }

    #[test]
    fn a_reader_resumes_where_it_was_and_is_told_what_it_missed() {
        let feed = Feed::default();
        assert_eq!(feed.after(0, 9), Taken { events: Vec::new(), missed: 0 });
        feed.leases(Timestamp::ZERO, vec![record(1), record(2), record(3)]);
        assert_eq!(ids(&feed.after(0, 9)), [1, 2, 3]);
        assert_eq!(ids(&feed.after(1, 1)), [2]);
        assert_eq!(ids(&feed.after(3, 9)), [0; 0]);
        let many: Vec<_> = (0..EVENTS_KEPT as u32 + 5).map(record).collect();
        let count = many.len() as u64;
        feed.leases(Timestamp::ZERO, many);
        let taken = feed.after(3, usize::MAX);
        assert_eq!((taken.missed, taken.events.len()), (5, EVENTS_KEPT));
        assert_eq!(taken.events.last().unwrap().id, feed.before(0));
        assert_eq!(feed.before(0), 3 + count);
        assert_eq!(feed.before(2), 1 + count);
    }
}
