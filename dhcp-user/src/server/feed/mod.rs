//! What happened to leases and to sites lately, for whoever follows: rings of bounded length that are written by the service's
//! thread and by who watches the sites, and read by the event streams. Numbers are given to both together. Sites have a ring of
//! their own, so that no storm of leases pushes out what happened to them. A reader that is too slow misses events and is told
//! so; the writers never wait.

mod event;

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio::sync::watch;

pub use self::event::{FeedEvent, LeaseEvent, SiteChange, SiteEvent, SiteNews};
use super::view::{shown_name, state_name};
use crate::{lease::record::LeaseRecord, time::Timestamp};

/// Events of leases kept for readers that come back.
pub const EVENTS_KEPT: usize = 16_384;
/// Events of sites kept.
pub const SITE_EVENTS_KEPT: usize = 1_024;

/// The rings.
#[derive(Debug)]
pub struct Feed {
    rings: Mutex<Rings>,
    last: watch::Sender<u64>,
}

/// Number, moment, and what happened.
#[derive(Clone, Debug)]
struct Kept<T> {
    id: u64,
    at: Timestamp,
    what: Arc<T>,
}

/// Of either kind.
#[derive(Clone, Debug)]
enum Either {
    Lease(Kept<LeaseRecord>),
    Site(Kept<SiteNews>),
}

#[derive(Debug, Default)]
struct Rings {
    leases: VecDeque<Kept<LeaseRecord>>,
    sites: VecDeque<Kept<SiteNews>>,
    /// The number before the first of this daemon.
    base: u64,
    last: u64,
}

/// What a reader gets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Taken {
    /// Events after the one asked for, the oldest first.
    pub events: Vec<FeedEvent>,
    /// How many between these, and before them, were gone already.
    pub missed: u64,
}

impl Default for Feed {
    fn default() -> Self {
        Self { rings: Mutex::default(), last: watch::Sender::new(0) }
    }
}

/// Adds to a ring of so many.
fn add<T>(ring: &mut VecDeque<Kept<T>>, kept_max: usize, last: &mut u64, at: Timestamp, all: Vec<Arc<T>>) {
    for what in all {
        *last += 1;
        if ring.len() == kept_max {
            ring.pop_front();
        }
        ring.push_back(Kept { id: *last, at, what });
    }
}

impl Feed {
    /// Begun at a moment of the wall clock, by which its numbers begin: those of an earlier daemon are lower, if that wrote
    /// less than a million events a second.
    pub fn begun_at(wall: Timestamp) -> Self {
        let base = wall.as_secs().min(u64::from(u32::MAX)) << 20;
        let rings = Rings { base, last: base, ..Rings::default() };
        Self { rings: Mutex::new(rings), last: watch::Sender::new(base) }
    }

    fn rings(&self) -> MutexGuard<'_, Rings> {
        self.rings.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds what became of leases at a moment.
    pub fn leases(&self, at: Timestamp, records: Vec<LeaseRecord>) {
        let records: Vec<_> = records
            .into_iter()
            // Not shown, and what makes records large.
            .map(|record| Arc::new(LeaseRecord { relay_information: Box::default(), ..record }))
            .collect();
        let mut rings = self.rings();
        let Rings { leases, last, .. } = &mut *rings;
        add(leases, EVENTS_KEPT, last, at, records);
        self.tell(rings);
    }

    /// Adds what was noticed of sites at a moment.
    pub fn sites(&self, at: Timestamp, news: Vec<SiteNews>) {
        let news = news.into_iter().map(Arc::new).collect();
        let mut rings = self.rings();
        let Rings { sites, last, .. } = &mut *rings;
        add(sites, SITE_EVENTS_KEPT, last, at, news);
        self.tell(rings);
    }

    fn tell(&self, rings: MutexGuard<'_, Rings>) {
        let last = rings.last;
        drop(rings);
        // Of two that write at once the later may tell first.
        self.last.send_if_modified(|told| {
            let newer = *told < last;
            *told = last.max(*told);
            newer
        });
    }

    /// The number after which come the latest `recent` events.
    pub fn before(&self, recent: u64) -> u64 {
        let rings = self.rings();
        rings.last.saturating_sub(recent).max(rings.base)
    }

    /// Tells when there are newer ones.
    pub fn watch(&self) -> watch::Receiver<u64> {
        self.last.subscribe()
    }

    /// The latest `recent` events of sites, without those after the one with this number.
    pub fn sites_until(&self, id: u64, recent: usize) -> Vec<FeedEvent> {
        let rings = self.rings();
        let until = rings.sites.partition_point(|kept| kept.id <= id);
        let first = rings.sites.len().saturating_sub(recent).min(until);
        let kept: Vec<_> = rings.sites.range(first..until).cloned().collect();
        drop(rings);
        kept.into_iter().map(|kept| shown(Either::Site(kept))).collect()
    }

    /// At most `limit` events after the one with this number. One of another daemon's is taken for the beginning, and
    /// something was missed; 0 is the beginning itself.
    pub fn after(&self, id: u64, limit: usize) -> Taken {
        let (kept, missed) = self.kept_after(id, limit);
        // Formatted without the lock: the service's thread waits for that whenever it settles.
        Taken { events: kept.into_iter().map(shown).collect(), missed }
    }

    /// As [`after`](Self::after), as they are kept.
    fn kept_after(&self, id: u64, limit: usize) -> (Vec<Either>, u64) {
        let rings = self.rings();
        let ours = (rings.base..=rings.last).contains(&id);
        let after = if ours { id } else { rings.base };
        let mut leases =
            rings.leases.range(rings.leases.partition_point(|kept| kept.id <= after)..).peekable();
        let mut sites = rings.sites.range(rings.sites.partition_point(|kept| kept.id <= after)..).peekable();
        // Of no more than there are: `limit` may be anything.
        let mut kept = Vec::with_capacity(limit.min(leases.len() + sites.len()));
        let mut last = after;
        while kept.len() < limit {
            let site_first = match (leases.peek(), sites.peek()) {
                (Some(lease), Some(site)) => site.id < lease.id,
                (lease, _) => lease.is_none(),
            };
            let next = match site_first {
                true => sites.next().cloned().map(|site| (site.id, Either::Site(site))),
                false => leases.next().cloned().map(|lease| (lease.id, Either::Lease(lease))),
            };
            let Some((id, next)) = next else { break };
            last = id;
            kept.push(next);
        }
        // Every number was given to an event: those that are in neither ring are gone.
        let missed = (last - after).saturating_sub(kept.len() as u64);
        (kept, missed.max(u64::from(!ours && id > 0)))
    }
}

/// As the API shows it.
fn shown(kept: Either) -> FeedEvent {
    match kept {
        Either::Lease(Kept { id, at, what: record }) => FeedEvent::Lease(LeaseEvent {
            id,
            address: record.address,
            state: state_name(record.state).to_owned(),
            hw_address: record.hardware.to_string(),
            hostname: shown_name(&record.hostname),
            at: at.to_string(),
            expires_at: record.expires.to_string(),
        }),
        Either::Site(Kept { id, at, what: news }) => {
            FeedEvent::Site(SiteEvent { id, at: at.to_string(), news: (*news).clone() })
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;
    use crate::lease::{
        octets::Octets,
        record::{ClientKey, HardwareAddress, LeaseState},
    };

    fn record(n: u32) -> LeaseRecord {
        LeaseRecord {
            address: Ipv4Addr::from_bits(0xc612_0000 + n),
            state: LeaseState::Bound,
            client: ClientKey::nobody(),
            hardware: HardwareAddress::ethernet([2, 0, 0, 0, 0, 1]),
            hostname: Octets::default(),
            relay_information: Box::default(),
            granted_at: Timestamp::ZERO,
            expires: Timestamp::ZERO,
            horizon: Timestamp::ZERO,
            kept_until: Timestamp::ZERO,
            forms: [None, None],
        }
    }

    fn ids(taken: &Taken) -> Vec<u64> {
        taken.events.iter().map(FeedEvent::id).collect()
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
        assert_eq!(taken.events.last().unwrap().id(), feed.before(0));
        assert_eq!(feed.before(0), 3 + count);
        assert_eq!(feed.before(2), 1 + count);
    }

    fn news(n: u32) -> SiteNews {
        let (before, now) = (Some("active".to_owned()), Some("down".to_owned()));
        let detail = format!("news {n}");
        SiteNews { kind: SiteChange::Status, site: None, node: None, before, now, blocks: Some(n), detail }
    }

    #[test]
    fn sites_and_leases_come_in_the_order_in_which_they_happened() {
        let feed = Feed::default();
        feed.leases(Timestamp::ZERO, vec![record(1), record(2)]);
        feed.sites(Timestamp::ZERO, vec![news(3)]);
        feed.leases(Timestamp::ZERO, vec![record(4)]);
        feed.sites(Timestamp::ZERO, vec![news(5), news(6)]);
        let taken = feed.after(0, 9);
        assert_eq!((ids(&taken), taken.missed), (vec![1, 2, 3, 4, 5, 6], 0));
        let of_sites = |event: &FeedEvent| matches!(event, FeedEvent::Site(_));
        assert_eq!(
            taken.events.iter().map(of_sites).collect::<Vec<_>>(),
            [false, false, true, false, true, true]
        );
        assert_eq!(ids(&feed.after(2, 2)), [3, 4]);
        let until =
            |id, recent| -> Vec<u64> { feed.sites_until(id, recent).iter().map(FeedEvent::id).collect() };
        assert_eq!((until(6, 9), until(5, 9), until(4, 2)), (vec![3, 5, 6], vec![3, 5], vec![]));
    }

    #[test]
    fn a_storm_of_leases_pushes_out_nothing_of_sites_and_what_is_missed_is_counted_once() {
        let feed = Feed::default();
        feed.leases(Timestamp::ZERO, vec![record(1)]);
        feed.sites(Timestamp::ZERO, vec![news(2)]);
        feed.leases(Timestamp::ZERO, (0..EVENTS_KEPT as u32 + 10).map(record).collect());
        let (mut after, mut missed, mut seen) = (0, 0, 0);
        loop {
            let taken = feed.after(after, 100);
            missed += taken.missed;
            seen += taken.events.len() as u64;
            let Some(last) = taken.events.last() else { break };
            after = last.id();
        }
        assert_eq!((after, missed), (EVENTS_KEPT as u64 + 12, 11), "the first lease and ten of the storm");
        assert_eq!(seen + missed, after);
        let many: Vec<_> = (0..SITE_EVENTS_KEPT as u32 + 1).map(news).collect();
        feed.sites(Timestamp::ZERO, many);
        assert_eq!(feed.sites_until(u64::MAX, usize::MAX).len(), SITE_EVENTS_KEPT);
    }
}
