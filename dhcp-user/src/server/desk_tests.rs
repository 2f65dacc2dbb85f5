//! Pages over a million leases: every lease once, in order, and never more looked at than a page may.

use std::time::Instant;

use super::*;
use crate::{
    lease::{record::HardwareAddress, table::LeaseTable},
    time::Span,
};

const LEASES: u32 = 1_000_000;

fn record(n: u32) -> LeaseRecord {
    let [_, a, b, c] = n.to_be_bytes();
    let hardware = HardwareAddress::ethernet([2, 0, 0, a, b, c]);
    let expires = Timestamp::ZERO + Span::from_secs(1_000);
    LeaseRecord {
        address: Ipv4Addr::from_bits(0x0a00_0000 + n),
        state: if n.is_multiple_of(10) { LeaseState::Free } else { LeaseState::Bound },
        client: ClientKey::Hardware(hardware),
        hardware,
        hostname: format!("Host-{n}").into_bytes().into(),
        relay_information: Box::default(),
        granted_at: Timestamp::ZERO,
        expires,
        horizon: expires,
        kept_until: Timestamp::ZERO,
        forms: [None, None],
    }
}

/// Addresses are first used in an order that is not theirs.
fn table(leases: u32) -> LeaseTable {
    LeaseTable::from_records((0..leases).map(|n| record((u64::from(n) * 7_919 % u64::from(leases)) as u32)))
}

fn ask(table: &LeaseTable, wanted: &Wanted) -> Page {
    let view = |lease: &LeaseRecord| Some(LeaseView::new(lease, Timestamp::ZERO, false, None));
    page(wanted, |first, last| table.between(first, last), view)
}

fn all(table: &LeaseTable, mut wanted: Wanted) -> Vec<Ipv4Addr> {
    let mut addresses = Vec::new();
    loop {
        let page = ask(table, &wanted);
        assert!(page.scanned <= PAGE_SCAN_MAX && page.leases.len() <= PAGE_LEASES_MAX);
        addresses.extend(page.leases.iter().map(|lease| lease.address));
        match page.next {
            Some(next) => wanted.after = Some(next),
            None => return addresses,
        }
    }
}

#[test]
fn pages_of_a_million_leases_are_bounded_and_show_each_lease_once() {
    let table = table(LEASES);
    let wanted = |limit| Wanted { limit, ..Wanted::default() };
    let began = Instant::now();
    let first = ask(&table, &wanted(100));
    println!("the first 100 of {LEASES} leases: {:?}", began.elapsed());
    assert_eq!((first.leases.len(), first.scanned), (100, 100), "no more is looked at than is given");
    assert_eq!(first.next, Some(Ipv4Addr::from_bits(0x0a00_0000 + 99)));

    let found = all(&table, wanted(usize::MAX));
    assert_eq!(found.len(), LEASES as usize);
    assert!(found.is_sorted_by(|a, b| a < b));

    // A filter that nothing passes looks at a bounded number all the same.
    let nobody = Wanted { hostname: Some("nobody".to_owned()), ..wanted(100) };
    let began = Instant::now();
    let page = ask(&table, &nobody);
    println!("a page that nothing passes: {:?}", began.elapsed());
    assert_eq!((page.leases.len(), page.scanned), (0, PAGE_SCAN_MAX));
    assert!(page.next.is_some());
    let counts = table.counts();
    assert_eq!((counts.bound, counts.free, counts.quarantined), (900_000, 100_000, 0));
}

#[test]
fn every_filter_filters() {
    let table = table(1_000);
    let at = |n: u32| Ipv4Addr::from_bits(0x0a00_0000 + n);
    let base = || Wanted { limit: usize::MAX, ..Wanted::default() };
    let count = |wanted| all(&table, wanted).len();
    assert_eq!(count(base()), 1_000);
    assert_eq!(count(Wanted { first: Some(at(10)), last: Some(at(19)), ..base() }), 10);
    assert_eq!(count(Wanted { first: Some(at(19)), last: Some(at(10)), ..base() }), 0);
    assert_eq!(count(Wanted { within: vec!["10.0.1.0/24".parse().unwrap()], ..base() }), 256);
    let two = vec!["10.0.1.0/30".parse().unwrap(), "10.0.3.0/30".parse().unwrap()];
    assert_eq!(count(Wanted { within: two, ..base() }), 8);
    let ranges = |ranges: &[(u32, u32)]| Some(ranges.iter().map(|(a, b)| (at(*a), at(*b))).collect());
    assert_eq!(count(Wanted { ranges: ranges(&[(3, 5), (250, 260), (999, 5_000)]), ..base() }), 3 + 11 + 1);
    assert_eq!(count(Wanted { ranges: ranges(&[]), ..base() }), 0);
    assert_eq!(count(Wanted { state: Some(LeaseState::Free), ..base() }), 100);
    let hw = Wanted { hw_address: Some("02:00:00:00:00:05".to_owned()), ..base() };
    assert_eq!(all(&table, hw), [at(5)]);
    assert_eq!(all(&table, Wanted { hostname: Some("host-99".to_owned()), ..base() }).len(), 11);
    assert_eq!(count(Wanted { client_id: Some(vec![1]), ..base() }), 0);
    assert_eq!(count(Wanted { after: Some(Ipv4Addr::BROADCAST), ..base() }), 0);
}

#[test]
fn the_version_changes_with_client_state_and_time() {
    let base = record(1);
    let version = super::super::view::version;
    for other in [
        LeaseRecord { state: LeaseState::Quarantined, ..base.clone() },
        LeaseRecord { client: record(2).client, ..base.clone() },
        LeaseRecord { expires: base.expires + Span::from_secs(1), ..base.clone() },
    ] {
        assert_ne!(version(&other), version(&base));
    }
    assert_eq!(version(&record(1)), version(&base));
}
