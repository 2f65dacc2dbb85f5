//! Pages over a million leases: every lease once, in order, and never more looked at than a page may.

use std::cell::Cell;

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
    ask_counting(table, wanted).0
}

/// The page, and how many leases were taken from the table for it.
fn ask_counting(table: &LeaseTable, wanted: &Wanted) -> (Page, usize) {
    let taken = Cell::new(0);
    let view = |lease: &LeaseRecord| Some(LeaseView::new(lease, false, Timestamp::ZERO, false, None));
    let search = wanted.search(table);
    let between = |first, last| search.between(first, last).inspect(|_| taken.set(taken.get() + 1));
    let page = page(wanted, between, view);
    (page, taken.get())
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
    let (first, looked_at) = ask_counting(&table, &wanted(100));
    assert_eq!(
        (first.leases.len(), first.scanned, looked_at),
        (100, 100, 100),
        "no more is looked at than is given"
    );
    assert_eq!(first.next, Some(Ipv4Addr::from_bits(0x0a00_0000 + 99)));
    // Nor is more looked at to find where a page begins, wherever that is.
    let last = Wanted { after: Some(Ipv4Addr::from_bits(0x0a00_0000 + LEASES - 51)), ..wanted(100) };
    let (last, looked_at) = ask_counting(&table, &last);
    assert_eq!((last.leases.len(), last.next, looked_at), (50, None, 50));

    let found = all(&table, wanted(usize::MAX));
    assert_eq!(found.len(), LEASES as usize);
    assert!(found.is_sorted_by(|a, b| a < b));

    // A filter that nothing passes looks at a bounded number all the same.
    let nobody = Wanted { hostname: Some("nobody".to_owned()), ..wanted(100) };
    let (page, looked_at) = ask_counting(&table, &nobody);
    assert_eq!((page.leases.len(), page.scanned, looked_at), (0, PAGE_SCAN_MAX, PAGE_SCAN_MAX));
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
    let ranges = |ranges: &[(u32, u32)]| Some(ranges.iter().map(|(a, b)| (at(*a), at(*b))).collect());
    assert_eq!(count(Wanted { ranges: ranges(&[(3, 5), (250, 260), (999, 5_000)]), ..base() }), 3 + 11 + 1);
    assert_eq!(count(Wanted { ranges: ranges(&[]), ..base() }), 0);
    assert_eq!(count(Wanted { state: Some(LeaseState::Free), ..base() }), 100);
    let hw = Wanted { hw_address: "02:00:00:00:00:05".parse().ok(), ..base() };
    assert_eq!(all(&table, hw), [at(5)]);
    assert_eq!(all(&table, Wanted { hostname: Some("host-99".to_owned()), ..base() }).len(), 11);
    assert_eq!(count(Wanted { client_id: Some(vec![1]), ..base() }), 0);
    assert_eq!(count(Wanted { after: Some(Ipv4Addr::BROADCAST), ..base() }), 0);
}

/// What a client is searched by finds what a look at every lease finds, whatever the indices leave out, and looks at little else.
#[test]
fn a_clients_leases_are_found_without_a_look_at_all_others() {
    let at = |n: u32| Ipv4Addr::from_bits(0x0a00_0000 + n);
    let hardware = record(5).hardware;
    let id = ClientKey::Id([0, 7].into());
    let of_five = |n: u32, state, client: &ClientKey| {
        let client = client.clone();
        LeaseRecord { state, client, hardware, ..record(n) }
    };
    let mut table = table(100_000);
    for lease in [
        of_five(70_000, LeaseState::Bound, &ClientKey::Id([1, 2, 0, 0, 0, 0, 5].into())),
        of_five(300, LeaseState::Bound, &id),
        of_five(90_000, LeaseState::Quarantined, &id),
        of_five(6, LeaseState::Quarantined, &ClientKey::nobody()),
        of_five(20, LeaseState::Free, &ClientKey::nobody()),
        LeaseRecord { state: LeaseState::Quarantined, ..record(50) },
    ] {
        table.put(lease);
    }
    let fits = |table: &LeaseTable, wanted: &Wanted| -> Vec<Ipv4Addr> {
        let is_in = |ranges: &Ranges, lease: &LeaseRecord| {
            ranges.iter().any(|(first, last)| (*first..=*last).contains(&lease.address))
        };
        table
            .between(Ipv4Addr::UNSPECIFIED, Ipv4Addr::BROADCAST)
            .filter(|lease| wanted.ranges.as_ref().is_none_or(|ranges| is_in(ranges, lease)))
            .filter(|lease| wanted.fits(lease))
            .map(|lease| lease.address)
            .collect()
    };
    let of_hardware = Wanted { hw_address: Some(hardware), limit: usize::MAX, ..Wanted::default() };
    assert_eq!(fits(&table, &of_hardware), [5, 6, 20, 300, 70_000, 90_000].map(at));
    let (found, looked_at) = ask_counting(&table, &of_hardware);
    assert_eq!((found.leases.len(), found.next, looked_at), (6, None, 7), "and another's quarantined one");

    let of_id = |id: &[u8]| Wanted { client_id: Some(id.to_vec()), ..Wanted::default() };
    let wanted = [
        of_hardware.clone(),
        of_id(&[0, 7]),
        of_id(&[]),
        Wanted { hw_address: Some(hardware), ..of_id(&[0, 7]) },
    ];
    let ranges: Ranges = [(at(0), at(20)), (at(200), at(80_000))].into();
    let free = Some(LeaseState::Free);
    for wanted in &wanted {
        for (ranges, state) in [(None, None), (Some(Arc::clone(&ranges)), None), (None, free)] {
            for limit in [1, 2, usize::MAX] {
                let wanted = Wanted { ranges: ranges.clone(), state, limit, ..wanted.clone() };
                assert_eq!(all(&table, wanted.clone()), fits(&table, &wanted), "{wanted:?}");
            }
        }
    }

    // One client with more leases than a page looks at: then each page is as if nothing were known of where they are.
    let many = 200..201 + u32::try_from(PAGE_SCAN_MAX).unwrap();
    let names = many.map(|n| of_five(n, LeaseState::Bound, &ClientKey::Id(n.to_be_bytes().into())));
    names.for_each(|lease| table.put(lease));
    let (found, looked_at) = ask_counting(&table, &Wanted { limit: 1, ..of_hardware.clone() });
    assert_eq!((found.leases.len(), looked_at), (1, 6));
    assert_eq!(all(&table, of_hardware.clone()), fits(&table, &of_hardware));
}

/// Of what lies between two ranges nothing is looked at, and no cursor tells of it.
#[test]
fn what_is_between_ranges_costs_and_tells_nothing() {
    let table = table(100_000);
    let at = |n: u32| Ipv4Addr::from_bits(0x0a00_0000 + n);
    let range = |first: u32, last: u32| (at(first), at(last));
    let distant: Ranges = [range(10, 19), range(90_000, 90_009)].into();
    let wanted = Wanted { ranges: Some(Arc::clone(&distant)), limit: usize::MAX, ..Wanted::default() };
    let (found, looked_at) = ask_counting(&table, &wanted);
    assert_eq!((found.leases.len(), found.next, looked_at), (20, None, 20));
    // Whatever the limit and the filter: each cursor is inside.
    for (limit, hostname) in [(1, None), (3, None), (usize::MAX, Some("nobody".to_owned()))] {
        let mut wanted = Wanted { limit, hostname, ..wanted.clone() };
        while let Some(next) = ask(&table, &wanted).next {
            assert!(distant.iter().any(|(first, last)| (*first..=*last).contains(&next)), "{next}");
            wanted.after = Some(next);
        }
    }
    // Ranges without leases are counted, too, and the cursor after many of them is the end of one.
    let empty: Ranges = (0..10_000).map(|n| range(1_000_000 + 4 * n, 1_000_001 + 4 * n)).collect();
    let mut wanted = Wanted { ranges: Some(Arc::clone(&empty)), ..wanted };
    let mut pages = 0;
    loop {
        let page = ask(&table, &wanted);
        assert!(page.scanned <= PAGE_SCAN_MAX);
        pages += 1;
        let Some(next) = page.next else { break };
        assert!(empty.iter().any(|(_, last)| *last == next));
        wanted.after = Some(next);
    }
    assert_eq!(pages, 10_000_usize.div_ceil(PAGE_SCAN_MAX));
}

#[test]
fn subnets_are_shown_in_parts_that_end_with_a_whole_subnet() {
    let text: Vec<String> = (0..300)
        .map(|n| {
            let (a, b) = (n / 250, n % 250);
            format!(
                r#"{{"subnet": "10.{a}.{b}.0/24", "relays": ["10.200.{a}.{b}"],
                    "pools": [{{"range": "10.{a}.{b}.10-10.{a}.{b}.19"}}, {{"range": "10.{a}.{b}.30-10.{a}.{b}.39"}}]}}"#
            )
        })
        .collect();
    let text = format!(r#"{{"dhcp": {{"interfaces": ["eth0"], "subnets": [{}]}}}}"#, text.join(","));
    let config = crate::config::parse(&text, "the test").unwrap();
    let (mut from, mut seen, mut parts) = (Ipv4Addr::UNSPECIFIED, Vec::new(), 0);
    loop {
        let mut pools = 0;
        let part = subnets(&config, from, |_, _| {
            pools += 1;
            3
        });
        assert!(pools <= PART_POOLS, "{pools} pools at once");
        parts += 1;
        seen.extend(part.subnets.iter().map(|subnet| subnet.subnet));
        match part.next {
            Some(next) => from = next,
            None => break,
        }
    }
    let all: Vec<_> = config.subnets.iter().map(|subnet| subnet.prefix).collect();
    assert_eq!((seen, parts), (all, 2));
}

#[test]
fn the_version_changes_with_client_state_and_time() {
    let base = record(1);
    let version = |lease: &LeaseRecord| super::super::view::version(lease, false);
    for other in [
        LeaseRecord { state: LeaseState::Quarantined, ..base.clone() },
        LeaseRecord { client: record(2).client, ..base.clone() },
        LeaseRecord { expires: base.expires + Span::from_secs(1), ..base.clone() },
    ] {
        assert_ne!(version(&other), version(&base));
    }
    assert_eq!(version(&record(1)), version(&base));
    assert_ne!(super::super::view::version(&base, true), version(&base), "it is on its way out");
}
