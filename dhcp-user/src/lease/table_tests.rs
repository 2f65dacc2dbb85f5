//! The lease table against a plain model, and its weight.

use std::collections::HashMap;

use proptest::prelude::*;

use super::*;
use crate::{
    lease::{octets::Octets, record::HardwareAddress},
    time::Span,
};

pub(super) fn record(address: u8, client: u8, state: LeaseState, expires: u64) -> LeaseRecord {
    let hardware = HardwareAddress::ethernet([2, 0, 0, 0, 0, client]);
    let expires = Timestamp::ZERO + Span::from_secs(expires);
    LeaseRecord {
        address: Ipv4Addr::new(198, 18, 0, address),
        state,
        client: ClientKey::Hardware(hardware),
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

fn prefix() -> Ipv4Net {
    "198.18.0.0/24".parse().unwrap()
}

#[test]
fn an_entry_weighs_at_most_176_octets() {
    assert!(size_of::<Entry>() <= 176, "{}", size_of::<Entry>());
}

#[test]
fn a_clients_best_lease() {
    let mut table = LeaseTable::from_records([
        record(1, 7, LeaseState::Free, 900),
        record(2, 7, LeaseState::Bound, 100),
        record(3, 7, LeaseState::Bound, 50),
        record(4, 7, LeaseState::Quarantined, 999),
        record(5, 8, LeaseState::Bound, 999),
    ]);
    let client = record(0, 7, LeaseState::Free, 0).client;
    let best =
        |table: &LeaseTable| table.best_of_client(&client, prefix()).map(|lease| lease.address.octets()[3]);
    assert_eq!(best(&table), Some(2));
    table.leave(Ipv4Addr::new(198, 18, 0, 2), Leaving::Expired, Timestamp::ZERO);
    assert_eq!(best(&table), Some(3));
    assert_eq!(table.of_client(&client, prefix()).count(), 3, "quarantined ones excepted");
    assert_eq!(table.best_of_client(&client, "198.19.0.0/24".parse().unwrap()), None);
}

#[test]
fn due_comes_in_order_once_and_lazily() {
    let mut table = LeaseTable::from_records([
        record(1, 1, LeaseState::Bound, 10),
        record(2, 2, LeaseState::Bound, 5),
        record(3, 3, LeaseState::Free, 1),
    ]);
    let at = |secs| Timestamp::ZERO + Span::from_secs(secs);
    assert_eq!((table.due(at(4)), table.next_due()), (None, Some(at(5))));
    table.put(record(2, 2, LeaseState::Bound, 50));
    assert_eq!(table.due(at(20)), Some(Ipv4Addr::new(198, 18, 0, 2)), "at its first moment, to be put back");
    table.schedule(Ipv4Addr::new(198, 18, 0, 2), at(50));
    assert_eq!(table.due(at(20)), Some(Ipv4Addr::new(198, 18, 0, 1)));
    assert_eq!(table.due(at(20)), None);
    table.put(record(2, 2, LeaseState::Bound, 30));
    assert_eq!(table.next_due(), Some(at(30)), "an earlier one replaces");
    assert_eq!((table.due(at(60)), table.due(at(60))), (Some(Ipv4Addr::new(198, 18, 0, 2)), None));
}

proptest! {
    #[test]
    fn the_table_agrees_with_a_map(puts in prop::collection::vec((0..40_u8, 0..6_u8, 0..3_u8, 0..99_u64), 0..300)) {
        let mut table = LeaseTable::default();
        let mut model = HashMap::new();
        for (address, client, state, expires) in puts {
            let state = [LeaseState::Bound, LeaseState::Free, LeaseState::Quarantined][usize::from(state)];
            let record = record(address, client, state, expires);
            table.put(record.clone());
            model.insert(record.address, record);
        }
        prop_assert_eq!(table.len(), model.len());
        for (address, record) in &model {
            prop_assert_eq!(table.get(*address), Some(record));
        }
        for client in 0..6 {
            let client = record(0, client, LeaseState::Free, 0).client;
            let mut found: Vec<_> = table.of_client(&client, prefix()).map(|lease| lease.address).collect();
            found.sort_unstable();
            let kept = model.values().filter(|r| r.client == client && r.state != LeaseState::Quarantined);
            let mut expected: Vec<_> = kept.map(|lease| lease.address).collect();
            expected.sort_unstable();
            prop_assert_eq!(found, expected);
        }
    }
}

/// A lease of a client that is known by its hardware address, by the option 61 that tells it, by another, or of nobody any more; on
/// a circuit.
fn named(address: u8, client: u8, by: u8, circuit: u8, state: LeaseState) -> LeaseRecord {
    let lease = record(address, client, state, 9);
    let id = match by {
        0 => lease.client.clone(),
        1 => ClientKey::Id([1, 2, 0, 0, 0, 0, client].into()),
        2 => ClientKey::nobody(),
        _ => ClientKey::Id([0, address % 3].into()),
    };
    let relay_information = if circuit == 0 { Box::default() } else { Box::from([1, 1, circuit]) };
    LeaseRecord { client: id, relay_information, ..lease }
}

proptest! {
    #[test]
    fn clients_are_found_by_whatever_a_reservation_names(
        recovered in 0..60_usize,
        puts in prop::collection::vec((0..20_u8, 0..4_u8, 0..4_u8, 0..3_u8, 0..3_u8), 0..120),
    ) {
        let puts: Vec<_> = puts
            .into_iter()
            .map(|(address, client, by, circuit, state)| {
                let state = [LeaseState::Bound, LeaseState::Free, LeaseState::Quarantined][usize::from(state)];
                named(address, client, by, circuit, state)
            })
            .collect();
        let model: HashMap<_, _> = puts.iter().map(|record| (record.address, record.clone())).collect();
        let recovered = recovered.min(puts.len());
        let mut table = LeaseTable::from_records(puts[..recovered].iter().cloned());
        puts[recovered..].iter().for_each(|record| table.put(record.clone()));
        let expected = |fits: &dyn Fn(&LeaseRecord) -> bool| {
            let kept = model.values().filter(|lease| lease.state != LeaseState::Quarantined && fits(lease));
            let kept = kept.filter(|lease| !lease.client.is_nobody());
            let mut kept: Vec<_> = kept.map(|lease| lease.address).collect();
            kept.sort_unstable();
            kept
        };
        let found = |leases: &mut dyn Iterator<Item = &LeaseRecord>| {
            let mut found: Vec<_> = leases.map(|lease| lease.address).collect();
            found.sort_unstable();
            found
        };
        for n in 0..4 {
            let hardware = HardwareAddress::ethernet([2, 0, 0, 0, 0, n]);
            prop_assert_eq!(found(&mut table.of_hardware(&hardware)), expected(&|lease| lease.hardware == hardware));
            // A search is told of those that are left out, too, each once and in order.
            let mut all: Vec<_> = model.values().filter(|lease| lease.hardware == hardware).collect();
            all.sort_unstable_by_key(|lease| lease.address);
            for most in [0, 99] {
                let search = table.search(None, Some(&hardware), most);
                let searched = search.between(Ipv4Addr::UNSPECIFIED, Ipv4Addr::BROADCAST);
                let searched: Vec<_> = searched.filter(|lease| lease.hardware == hardware).collect();
                prop_assert_eq!(searched, all.clone());
            }
        }
        for n in 1..3 {
            prop_assert_eq!(found(&mut table.of_circuit(&[n])), expected(&|lease| *lease.relay_information == [1, 1, n]));
        }
        prop_assert_eq!(table.of_circuit(&[9]).count(), 0);
    }
}

#[test]
fn what_was_recovered_at_once_is_as_if_it_came_one_by_one() {
    // Out of order, one address twice, one lease that has no end.
    let records = [
        record(9, 1, LeaseState::Bound, 500),
        record(3, 2, LeaseState::Free, 100),
        record(7, 3, LeaseState::Quarantined, 300),
        record(9, 4, LeaseState::Bound, 400),
        record(1, 5, LeaseState::Bound, 200),
    ];
    let mut at_once = LeaseTable::from_records(records.clone());
    let mut singly = LeaseTable::default();
    records.into_iter().for_each(|record| singly.put(record));
    let everywhere = (Ipv4Addr::UNSPECIFIED, Ipv4Addr::BROADCAST);
    for table in [&at_once, &singly] {
        let addresses: Vec<u8> =
            table.between(everywhere.0, everywhere.1).map(|lease| lease.address.octets()[3]).collect();
        assert_eq!((table.len(), addresses), (4, vec![1, 3, 7, 9]));
        assert_eq!(table.counts(), StateCounts { bound: 2, free: 1, quarantined: 1 });
        let client = |octet| ClientKey::Hardware(HardwareAddress::ethernet([2, 0, 0, 0, 0, octet]));
        assert_eq!(table.best_of_client(&client(1), prefix()), None, "its address is another's");
        assert!(table.best_of_client(&client(4), prefix()).is_some());
    }
    let due = |table: &mut LeaseTable| -> Vec<u8> {
        let late = Timestamp::ZERO + Span::from_secs(1_000);
        std::iter::from_fn(|| table.due(late)).map(|address| address.octets()[3]).collect()
    };
    assert_eq!(due(&mut at_once), [1, 7, 9]);
    assert_eq!(due(&mut singly), [1, 7, 9]);
}
