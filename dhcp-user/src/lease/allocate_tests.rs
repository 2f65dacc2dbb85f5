//! The allocator against its rules.

use std::collections::HashSet;

use rand::{SeedableRng as _, rngs::SmallRng};

use super::*;
use crate::{
    lease::{
        octets::Octets,
        record::{ClientKey, LeaseRecord},
    },
    time::{Span, Timestamp},
};

fn record(address: Ipv4Addr, state: LeaseState, expires: u64) -> LeaseRecord {
    let hardware = crate::lease::record::HardwareAddress::ethernet([2, 0, 0, 0, 0, 1]);
    let expires = Timestamp::ZERO + Span::from_secs(expires);
    LeaseRecord {
        address,
        state,
        client: ClientKey::nobody(),
        hardware,
        hostname: Octets::default(),
        relay_information: Box::default(),
        granted_at: expires,
        expires,
        horizon: expires,
        kept_until: Timestamp::ZERO,
        forms: [None, None],
    }
}

fn ip(third: u8, last: u8) -> Ipv4Addr {
    Ipv4Addr::new(198, 18, third, last)
}

#[test]
fn each_address_once_then_the_longest_free() {
    let mut table = LeaseTable::from_records([
        record(ip(0, 3), LeaseState::Free, 20),
        record(ip(0, 5), LeaseState::Bound, 30),
        record(ip(0, 7), LeaseState::Free, 10),
    ]);
    let mut rng = SmallRng::seed_from_u64(3);
    let mut allocator = Allocator::new([(ip(0, 1), ip(0, 9))], [ip(0, 2)], &mut table);
    assert_eq!(allocator.free(0), 7);
    let mut picked = Vec::new();
    while let Some(address) = allocator.pick(0, &table, &mut rng) {
        allocator.hold(address, &mut table);
        picked.push(address.octets()[3]);
    }
    assert_eq!(picked, [1, 4, 6, 8, 9, 7, 3]);
    assert_eq!(allocator.free(0), 0);
    // What was offered in vain keeps its turn; what is freed goes to the end.
    allocator.freed(ip(0, 7), &mut table);
    allocator.lapse(ip(0, 3), &mut table);
    allocator.lapse(ip(0, 2), &mut table);
    assert_eq!(allocator.pick(0, &table, &mut rng), Some(ip(0, 3)));
    allocator.lapse(ip(0, 9), &mut table);
    assert_eq!(allocator.pick(0, &table, &mut rng), Some(ip(0, 9)), "never used comes first");
    assert_eq!(allocator.free(0), 3);
}

#[test]
fn freeing_twice_lists_once() {
    let mut table = LeaseTable::from_records([
        record(ip(0, 1), LeaseState::Free, 1),
        record(ip(0, 2), LeaseState::Free, 2),
    ]);
    let mut rng = SmallRng::seed_from_u64(3);
    let mut allocator = Allocator::new([(ip(0, 1), ip(0, 2))], [], &mut table);
    allocator.freed(ip(0, 1), &mut table);
    allocator.freed(ip(0, 1), &mut table);
    assert_eq!(allocator.free(0), 2);
    assert_eq!(allocator.pick(0, &table, &mut rng), Some(ip(0, 2)));
}

#[test]
fn quarantine_takes_a_quarter_and_never_all() {
    for (size, most) in [(1, 0), (2, 1), (3, 1), (4, 1), (7, 1), (8, 2), (100, 25)] {
        let mut table =
            LeaseTable::from_records((1..=size).map(|last| record(ip(0, last), LeaseState::Quarantined, 1)));
        let mut allocator = Allocator::new([(ip(0, 1), ip(0, size))], [], &mut LeaseTable::default());
        let mut resting = 0;
        for last in 1..=size {
            match allocator.quarantined(ip(0, last), &mut table) {
                None => resting += 1,
                Some(oldest) => {
                    assert_eq!(oldest, ip(0, last - most), "the oldest of {size}");
                    allocator.freed(oldest, &mut table);
                }
            }
        }
        assert_eq!(resting, most, "of {size}");
        assert_eq!(allocator.free(0), u64::from(size - most));
    }
}

#[test]
fn a_large_pool_gives_every_address_once() {
    let mut table = LeaseTable::default();
    let mut rng = SmallRng::seed_from_u64(3);
    let (first, last) = (Ipv4Addr::new(198, 18, 0, 0), Ipv4Addr::new(198, 18, 255, 254));
    let mut allocator = Allocator::new([(first, last)], [], &mut table);
    let mut seen = HashSet::new();
    while let Some(address) = allocator.pick(0, &table, &mut rng) {
        assert!(first <= address && address <= last && seen.insert(address), "{address}");
        allocator.hold(address, &mut table);
    }
    assert_eq!(seen.len(), 65_535);
}
