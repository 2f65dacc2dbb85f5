//! Where the newest entry of each key stands in the log, so that cleaning knows what is still alive.
//!
//! Leases are found by pages of 256 addresses: pools are dense, and a page costs 8 octets an address where a hash map
//! costs over 20. The bound is 2 KiB for each /24 in use.

use std::{
    collections::HashMap,
    hash::{BuildHasherDefault, Hasher},
};

use super::frame::{ALIGN, Kind};

/// A place in the log, in 64 bits: segment number (33), offset / 8 (20), length / 8 (11).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Location(u64);

/// The highest segment number; at 100 MB a second it lasts 20 years.
pub const SEGMENT_MAX: u64 = (1 << 33) - 1;
/// The largest segment, in octets.
pub const SEGMENT_BYTES_MAX: usize = ALIGN << 20;
/// The largest entry, in octets with header and padding.
pub const ENTRY_BYTES_MAX: usize = ALIGN * ((1 << 11) - 1);

impl Location {
    /// A place; `None` if a bound above is broken.
    pub fn new(segment: u64, offset: usize, bytes: usize) -> Option<Self> {
        let aligned = offset.is_multiple_of(ALIGN) && bytes.is_multiple_of(ALIGN);
        if !aligned || segment > SEGMENT_MAX || offset >= SEGMENT_BYTES_MAX || bytes > ENTRY_BYTES_MAX {
            return None;
        }
        Some(Self(segment << 31 | ((offset / ALIGN) as u64) << 11 | (bytes / ALIGN) as u64))
    }

    /// Octets of the entry there.
    pub const fn bytes(self) -> u64 {
        (self.0 & ((1 << 11) - 1)) * ALIGN as u64
    }

    const fn is_some(self) -> bool {
        self.0 != 0
    }
}

type Page = Box<[Location; 256]>;

/// Spreads page numbers, which the configured pools bound and no client chooses.
#[derive(Default)]
struct PageHasher(u64);

impl Hasher for PageHasher {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, octets: &[u8]) {
        for octet in octets {
            self.write_u32(u32::from(*octet));
        }
    }

    fn write_u32(&mut self, number: u32) {
        self.0 = (self.0 ^ u64::from(number)).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(32);
    }
}

/// The newest entry of each key.
#[derive(Default)]
pub struct Index {
    leases: HashMap<u32, Page, BuildHasherDefault<PageHasher>>,
    answers: HashMap<u32, Location>,
    meta: HashMap<u32, Location>,
    reservations: HashMap<u32, Location>,
    live_bytes: u64,
    lease_count: u64,
}

impl Index {
    /// Octets of all entries that are still the newest of their key.
    pub const fn live_bytes(&self) -> u64 {
        self.live_bytes
    }

    /// Number of leases known.
    pub const fn lease_count(&self) -> u64 {
        self.lease_count
    }

    /// Takes note of an entry written at `location`.
    pub fn apply(&mut self, kind: Kind, key: u32, location: Location) {
        let (before, after) = match kind {
            Kind::Lease => (self.set_lease(key, location), location),
            Kind::ForgottenLease => (self.set_lease(key, Location::default()), Location::default()),
            Kind::Answer => (self.answers.insert(key, location).unwrap_or_default(), location),
            Kind::DroppedAnswer => (self.answers.remove(&key).unwrap_or_default(), Location::default()),
            Kind::Meta => (self.meta.insert(key, location).unwrap_or_default(), location),
            Kind::Reservation => (self.reservations.insert(key, location).unwrap_or_default(), location),
            Kind::DroppedReservation => {
                (self.reservations.remove(&key).unwrap_or_default(), Location::default())
            }
        };
        self.live_bytes = (self.live_bytes + after.bytes()).saturating_sub(before.bytes());
    }

    /// Whether the entry at `location` is the newest of its key.
    pub fn is_live(&self, kind: Kind, key: u32, location: Location) -> bool {
        let newest = match kind {
            Kind::Lease => self.leases.get(&(key >> 8)).map(|page| page[(key & 0xff) as usize]),
            Kind::Answer => self.answers.get(&key).copied(),
            Kind::Meta => self.meta.get(&key).copied(),
            Kind::Reservation => self.reservations.get(&key).copied(),
            // What they speak of is older than they are, so it left the log before them.
            Kind::ForgottenLease | Kind::DroppedAnswer | Kind::DroppedReservation => None,
        };
        newest == Some(location)
    }

    fn set_lease(&mut self, address: u32, location: Location) -> Location {
        let page_of = address >> 8;
        if !location.is_some() && !self.leases.contains_key(&page_of) {
            return Location::default();
        }
        let page = self.leases.entry(page_of).or_insert_with(|| Box::new([Location::default(); 256]));
        let before = std::mem::replace(&mut page[(address & 0xff) as usize], location);
        self.lease_count =
            (self.lease_count + u64::from(location.is_some())).saturating_sub(u64::from(before.is_some()));
        if !location.is_some() && before.is_some() && page.iter().all(|place| !place.is_some()) {
            self.leases.remove(&page_of);
        }
        before
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn knows_the_newest_and_the_live_octets() {
        let mut index = Index::default();
        let (a, b) = (Location::new(1, 40, 64).unwrap(), Location::new(1, 104, 80).unwrap());
        index.apply(Kind::Lease, 7, a);
        index.apply(Kind::Lease, 7, b);
        index.apply(Kind::Answer, 7, a);
        assert!(index.is_live(Kind::Lease, 7, b) && !index.is_live(Kind::Lease, 7, a));
        assert!(index.is_live(Kind::Answer, 7, a) && !index.is_live(Kind::Meta, 7, a));
        assert_eq!((index.live_bytes(), index.lease_count()), (144, 1));
        index.apply(Kind::ForgottenLease, 7, Location::default());
        index.apply(Kind::ForgottenLease, 7, Location::default());
        index.apply(Kind::DroppedAnswer, 7, Location::default());
        assert_eq!((index.live_bytes(), index.lease_count()), (0, 0));
        assert!(index.leases.is_empty(), "an empty page is given back");
    }

    #[test]
    fn places_keep_their_bounds() {
        let last = Location::new(SEGMENT_MAX, SEGMENT_BYTES_MAX - ALIGN, ENTRY_BYTES_MAX).unwrap();
        assert_eq!(last.bytes(), ENTRY_BYTES_MAX as u64);
        assert_eq!(Location::new(SEGMENT_MAX + 1, 8, 8), None);
        assert_eq!(Location::new(1, SEGMENT_BYTES_MAX, 8), None);
        assert_eq!(Location::new(1, 8, ENTRY_BYTES_MAX + ALIGN), None);
        assert_eq!(Location::new(1, 4, 8), None);
    }
}
