//! The moments at which something must happen to a lease, in order. With millions of leases every octet counts: a moment is
//! kept to the millisecond, in six octets, so that one of a lease takes ten. An address comes up late by that much at most,
//! and never early.

use std::collections::BTreeSet;

use crate::time::Timestamp;

const NANOS: u64 = 1_000_000;

/// The first whole millisecond that is not before a moment, in three words, the highest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Tick([u16; 3]);

impl Tick {
    /// Later than any moment.
    pub(super) const NEVER: Self = Self([u16::MAX; 3]);

    /// The tick for what is to happen at `at`.
    #[expect(clippy::cast_possible_truncation, reason = "the words of a number below 2^45")]
    pub(super) const fn of(at: Timestamp) -> Self {
        let millis = at.0.div_ceil(NANOS);
        Self([(millis >> 32) as u16, (millis >> 16) as u16, millis as u16])
    }

    /// When it begins.
    pub(super) fn begins(self) -> Timestamp {
        let millis = self.0.iter().fold(0, |above, &word| above << 16 | u64::from(word));
        Timestamp(millis.saturating_mul(NANOS))
    }
}

/// A slot's number in two words, so that it needs no more room than its octets.
type Slot = [u16; 2];

#[expect(clippy::cast_possible_truncation, reason = "the words of the number")]
const fn packed(slot: u32) -> Slot {
    [(slot >> 16) as u16, slot as u16]
}

/// Slots of the table by their tick; of each slot one at most is to be in here, which the table sees to.
#[derive(Clone, Default)]
pub(super) struct Deadlines(BTreeSet<(Tick, Slot)>);

impl Deadlines {
    /// The first, and when it is due.
    pub(super) fn first(&self) -> Option<(Timestamp, u32)> {
        let &(tick, [high, low]) = self.0.first()?;
        Some((tick.begins(), u32::from(high) << 16 | u32::from(low)))
    }

    pub(super) fn pop_first(&mut self) {
        self.0.pop_first();
    }

    /// Moves a slot from one tick (`NEVER` if it has none) to another.
    pub(super) fn shift(&mut self, slot: u32, before: Tick, after: Tick) {
        if before != Tick::NEVER {
            self.0.remove(&(before, packed(slot)));
        }
        self.0.insert((after, packed(slot)));
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }
}

impl FromIterator<(Tick, u32)> for Deadlines {
    fn from_iter<I: IntoIterator<Item = (Tick, u32)>>(slots: I) -> Self {
        Self(slots.into_iter().map(|(tick, slot)| (tick, packed(slot))).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
        assert_eq!(size_of::<(Tick, Slot)>(), 10);
    }

    #[test]
    fn slots_come_in_the_order_of_their_ticks() {
        let at = |millis| Tick::of(Timestamp(millis * NANOS));
        let mut deadlines: Deadlines = [(at(9), 70_000), (at(3), 1)].into_iter().collect();
        deadlines.shift(1, at(3), at(70_000));
        assert_eq!(deadlines.first(), Some((Timestamp(9 * NANOS), 70_000)));
        deadlines.pop_first();
        assert_eq!((deadlines.first(), deadlines.len()), (Some((Timestamp(70_000 * NANOS), 1)), 1));
    }
}
