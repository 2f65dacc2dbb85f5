//! The moments at which something must happen to a lease, in order, to a quarter of a second: an address comes up late by that
//! much at most, and never early. Leases of one such tick are a list through the table's entries: with millions of leases a
//! place of its own for each in an ordered set costs more octets, and a miss of the cache for each of its levels.

use std::{collections::BTreeMap, net::Ipv4Addr};

use super::{LeaseTable, NONE};
use crate::time::Timestamp;

const NANOS: u64 = 250_000_000;

/// The first whole tick that is not before a moment, in three words, the highest first, so that it needs no more room than its
/// octets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Tick([u16; 3]);

impl Tick {
    /// Later than any moment.
    pub(super) const NEVER: Self = Self([u16::MAX; 3]);

    /// The tick for what is to happen at `at`.
    #[expect(clippy::cast_possible_truncation, reason = "the words of a number below 2^37")]
    const fn of(at: Timestamp) -> Self {
        let ticks = at.0.div_ceil(NANOS);
        Self([(ticks >> 32) as u16, (ticks >> 16) as u16, ticks as u16])
    }

    /// When it begins.
    fn begins(self) -> Timestamp {
        let ticks = self.0.iter().fold(0, |above, &word| above << 16 | u64::from(word));
        Timestamp(ticks.saturating_mul(NANOS))
    }
}

/// The first slot of each tick that has any.
#[derive(Clone, Default)]
pub(super) struct Deadlines(BTreeMap<Tick, u32>);

impl LeaseTable {
    /// Takes the address whose moment came first, if it is not after `now`; up to a quarter of a second after that moment. An
    /// address may come early, for a moment that has since moved on: look at its record, and [`schedule`](Self::schedule) it
    /// again.
    pub fn due(&mut self, now: Timestamp) -> Option<Ipv4Addr> {
        let (tick, &slot) = self.deadlines.0.first_key_value()?;
        if tick.begins() > now {
            return None;
        }
        self.dequeue(slot);
        Some(self.entry(slot)?.record.address)
    }

    /// When the next address is due.
    pub fn next_due(&self) -> Option<Timestamp> {
        Some(self.deadlines.0.first_key_value()?.0.begins())
    }

    /// Makes an address due at `at`, unless it is due before that anyway.
    pub fn schedule(&mut self, address: Ipv4Addr, at: Timestamp) {
        if let Some(slot) = self.slot(address) {
            self.queue(slot, at);
        }
    }

    pub(super) fn queue(&mut self, slot: u32, at: Timestamp) {
        let tick = Tick::of(at);
        // A later moment costs nothing now: the entry comes up at the earlier one and is put back then.
        if self.entry(slot).is_none_or(|entry| tick >= entry.tick) {
            return;
        }
        self.dequeue(slot);
        let next = self.deadlines.0.insert(tick, slot).unwrap_or(NONE);
        if let Some(entry) = self.entry_mut(slot) {
            (entry.tick, entry.tick_previous, entry.tick_next) = (tick, NONE, next);
        }
        if let Some(next) = self.entry_mut(next) {
            next.tick_previous = slot;
        }
    }

    fn dequeue(&mut self, slot: u32) {
        let Some(entry) = self.entry_mut(slot) else { return };
        let (tick, previous, next) = (entry.tick, entry.tick_previous, entry.tick_next);
        (entry.tick, entry.tick_previous, entry.tick_next) = (Tick::NEVER, NONE, NONE);
        if tick == Tick::NEVER {
            return;
        }
        match self.entry_mut(previous) {
            Some(previous) => previous.tick_next = next,
            None if next == NONE => drop(self.deadlines.0.remove(&tick)),
            None => drop(self.deadlines.0.insert(tick, next)),
        }
        if let Some(next) = self.entry_mut(next) {
            next.tick_previous = previous;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::{super::tests::record, *};
    use crate::{
        lease::record::{LeaseRecord, LeaseState},
        time::Span,
    };

    #[test]
    fn a_tick_is_never_before_its_moment() {
        for nanos in [0, 1, NANOS - 1, NANOS, NANOS + 1, 1_700_000_000_123_456_789, u64::MAX] {
            let begins = Tick::of(Timestamp(nanos)).begins().0;
            assert!(begins >= nanos && begins - nanos < NANOS, "{nanos}");
            assert!(Tick::of(Timestamp(nanos)) < Tick::NEVER);
        }
        assert!(
            Tick::of(Timestamp(NANOS << 16)) > Tick::of(Timestamp(NANOS * 65_535)),
            "the highest word first"
        );
    }

    fn bound(number: u8, expires: Timestamp) -> LeaseRecord {
        LeaseRecord { expires, horizon: expires, ..record(number, number, LeaseState::Bound, 0) }
    }

    proptest! {
        /// Leases are told moments, and come up: each once for the earliest it was told since it last did.
        #[test]
        fn each_comes_up_once_for_its_earliest_moment(
            recovered in 0..20_u8,
            steps in prop::collection::vec((0..20_u8, 0..4_000_u64, prop::bool::weighted(0.3)), 0..200),
        ) {
            let at = |millis| Timestamp::ZERO + Span::from_millis(millis);
            let address = |number| Ipv4Addr::new(198, 18, 0, number);
            let first = |number: u8| at(u64::from(number) * 130);
            let mut table = LeaseTable::from_records((0..recovered).map(|number| bound(number, first(number))));
            let mut waiting: BTreeMap<Ipv4Addr, Tick> =
                (0..recovered).map(|number| (address(number), Tick::of(first(number)))).collect();
            for (number, millis, come_up) in steps {
                if come_up {
                    while let Some(address) = table.due(at(millis)) {
                        let tick = waiting.remove(&address);
                        prop_assert!(tick.is_some_and(|tick| tick.begins() <= at(millis)), "{address}");
                        prop_assert!(waiting.values().all(|other| Some(*other) >= tick), "the first first");
                    }
                    prop_assert!(waiting.values().all(|tick| tick.begins() > at(millis)));
                } else {
                    table.put(bound(number, at(millis)));
                    let tick = Tick::of(at(millis));
                    waiting.entry(address(number)).and_modify(|told| *told = tick.min(*told)).or_insert(tick);
                }
                prop_assert_eq!(table.next_due(), waiting.values().min().map(|tick| tick.begins()));
            }
            while let Some(address) = table.due(at(10_000)) {
                prop_assert!(waiting.remove(&address).is_some());
            }
            prop_assert!(waiting.is_empty() && table.deadlines.0.is_empty());
        }
    }
}
