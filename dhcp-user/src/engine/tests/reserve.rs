//! Reservations that come and go under a running engine: what they do is what a changed configuration would do, and
//! whatever the kernel might answer otherwise is told.

use proptest::prelude::*;

use super::*;
use crate::engine::reserve::ReservationChange;

/// What is reserved: the address's last octet, and the client's number; by option 61 in place of the hardware address if
/// that is above 100.
type Reserved = BTreeMap<u8, u8>;

fn identity(client: u8) -> HostIdentity {
    match client.checked_sub(100) {
        None => HostIdentity::Hardware(mac(client)),
        Some(id) => HostIdentity::ClientId(vec![0, id]),
    }
}

fn with(reserved: &Reserved) -> Arc<Config> {
    let mut config = three_subnets();
    let policy = config.subnets[0].policy.clone();
    config.subnets[0].reservations = reserved
        .iter()
        .map(|(last, client)| Reservation {
            address: ip(*last),
            identity: identity(*client),
            hostname: None,
            policy: policy.clone(),
            made: None,
        })
        .collect();
    Arc::new(config)
}

/// Changes the reservation of one address, as the keeper does; the leases touched.
fn reserve(lab: &mut Lab, reserved: &mut Reserved, last: u8, client: Option<u8>) -> Vec<Ipv4Addr> {
    let before = reserved.remove(&last);
    // One client has one address.
    reserved.retain(|_, other| Some(*other) != client);
    reserved.extend(client.map(|client| (last, client)));
    let (old, config) = (Arc::clone(lab.engine.config()), with(reserved));
    let of = |config: &Config| -> BTreeMap<Ipv4Addr, HostIdentity> {
        let all = config.subnets[0].reservations.iter();
        all.map(|reservation| (reservation.address, reservation.identity.clone())).collect()
    };
    let (was, is) = (of(&old), of(&config));
    let changed = was.keys().chain(is.keys()).filter(|address| was.get(address) != is.get(address));
    let changes: std::collections::BTreeSet<_> = changed.copied().collect();
    let changes: Vec<_> = changes
        .into_iter()
        .map(|address| ReservationChange {
            address,
            before: was.get(&address).cloned(),
            after: is.get(&address).cloned(),
        })
        .collect();
    assert!(before != client || changes.is_empty());
    let touched = lab.engine.touched_by(&changes);
    lab.engine.reserve(lab.now, config, &changes, &touched);
    touched
}

fn named(client: u8, message: Msg) -> Msg {
    message.with(61, &[0, client])
}

#[test]
fn an_address_reserved_is_nobody_elses_and_is_again_afterwards() {
    let mut lab = Lab::new(three_subnets());
    let mut reserved = Reserved::new();
    let free = lab.engine.free_addresses(0);
    assert_eq!(reserve(&mut lab, &mut reserved, 100, Some(7)), Vec::<Ipv4Addr>::new());
    assert_eq!(lab.engine.free_addresses(0), free - 1);
    assert_eq!(lab.join(1), ip(101));
    assert_eq!(lab.join(7), ip(100));
    lab.expect(&selecting(2, ip(100)), SlowReason::NakTaken);
    assert_eq!(reserve(&mut lab, &mut reserved, 100, None), [ip(100)]);
    lab.expect(&renewing(7, ip(100)), SlowReason::AckedRenewal);
    let _ = lab.settle(3 * u64::from(HOUR));
    assert_eq!(lab.state(ip(100)), LeaseState::Free);
    assert_eq!(lab.engine.free_addresses(0), free);
    lab.expect(&selecting(2, ip(100)), SlowReason::AckedNew);
}

#[test]
fn an_offer_of_an_address_that_is_reserved_meanwhile_is_worth_nothing() {
    let mut lab = Lab::new(three_subnets());
    let offered = read(&lab.send(&discover(1))).yiaddr;
    assert_eq!(offered, ip(100));
    reserve(&mut lab, &mut Reserved::new(), 100, Some(7));
    lab.expect(&selecting(1, ip(100)), SlowReason::NakNotEntitled);
    assert_eq!(read(&lab.send(&discover(7))).yiaddr, ip(100));
}

#[test]
fn who_is_touched() {
    let mut lab = Lab::new(three_subnets());
    let mut reserved = Reserved::new();
    let (first, second) = (lab.join(1), lab.join(2));
    lab.expect(&named(3, selecting(3, ip(150))), SlowReason::AckedNew);
    // Whoever is to have another address, whoever has this one, whoever had it, by whatever it is named.
    assert_eq!(reserve(&mut lab, &mut reserved, 10, Some(1)), [first]);
    assert_eq!(reserve(&mut lab, &mut reserved, 101, Some(1)), [first, second]);
    assert_eq!(reserve(&mut lab, &mut reserved, 11, Some(103)), [ip(150)]);
    assert_eq!(reserve(&mut lab, &mut reserved, 101, Some(9)), [first, second]);
    assert_eq!(reserve(&mut lab, &mut reserved, 101, Some(9)), Vec::<Ipv4Addr>::new());
    assert_eq!(reserve(&mut lab, &mut reserved, 12, Some(9)), [second]);
    assert_eq!(reserve(&mut lab, &mut reserved, 13, Some(4)), Vec::<Ipv4Addr>::new());
    // Its lease in another subnet stands for itself.
    lab.interface = 1;
    lab.expect(&discover(4), SlowReason::Offered);
    let elsewhere = Ipv4Addr::new(198, 19, 0, 100);
    lab.expect(&selecting(4, elsewhere), SlowReason::AckedNew);
    assert_eq!(reserve(&mut lab, &mut reserved, 13, None), Vec::<Ipv4Addr>::new());
}

#[test]
fn another_holder_is_told_unless_it_leaves() {
    let mut lab = Lab::new(three_subnets());
    let address = lab.join(1);
    assert!(lab.engine.held_by_another(address, &identity(1)).is_none());
    assert!(lab.engine.held_by_another(address, &identity(2)).is_some());
    assert!(lab.engine.held_by_another(ip(199), &identity(2)).is_none());
    let _ = lab.engine.release_for_operator(lab.now, address);
    assert!(lab.engine.held_by_another(address, &identity(2)).is_none());
}

/// What anybody's renewal and first message would come to.
fn judgements(lab: &Lab) -> Vec<String> {
    let mut said = Vec::new();
    for client in 1..6 {
        for message in [discover(client), named(client, discover(client))] {
            said.push(format!("{:?}", lab.engine.foresee(lab.now, &lab.ingress(&message), &message.bytes())));
        }
        for last in [10, 100, 101, 102, 103, 104] {
            for message in [renewing(client, ip(last)), named(client, rebinding(client, ip(last)))] {
                let foreseen = lab.engine.foresee(lab.now, &lab.ingress(&message), &message.bytes());
                said.push(format!("{client} {last} {foreseen:?}"));
            }
        }
    }
    said
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(150))]

    /// The same life twice, once with reservations that change by themselves and once with whole configurations: who may
    /// have what, and how much is free, is the same after every step. Of addresses that are free, the choice may differ.
    #[test]
    fn a_reservation_alone_does_what_a_configuration_with_it_does(
        steps in prop::collection::vec((0_u8..7, 1_u8..6, prop::sample::select(vec![10_u8, 100, 101, 102, 103, 104])), 1..40),
    ) {
        let (mut alone, mut whole) = (Lab::new(three_subnets()), Lab::new(three_subnets()));
        let mut reserved = Reserved::new();
        for (step, client, last) in steps {
            match step {
                0 | 1 => {
                    let to = if step == 0 { client } else { 100 + client };
                    let touched = reserve(&mut alone, &mut reserved, last, Some(to));
                    for address in &touched {
                        prop_assert_eq!(alone.engine.leases().get(*address).unwrap().forms, [None, None]);
                    }
                    whole.engine.reconfigure(whole.now, with(&reserved), vec![SERVER, SECOND_SERVER], None);
                }
                2 => {
                    reserve(&mut alone, &mut reserved, last, None);
                    whole.engine.reconfigure(whole.now, with(&reserved), vec![SERVER, SECOND_SERVER], None);
                }
                3 => for lab in [&mut alone, &mut whole] { let _ = lab.settle(2_000); },
                _ => {
                    let message = match step {
                        4 => init_reboot(client, ip(last)),
                        5 => selecting(client, ip(last)),
                        _ => named(client, selecting(client, ip(last))),
                    };
                    let outcomes = [&mut alone, &mut whole].map(|lab| {
                        let outcome = lab.send(&message);
                        for address in &outcome.effects.withdraw {
                            let _ = lab.engine.withdrawn(lab.now, *address, Some(Timestamp::ZERO));
                        }
                        (outcome.reason, outcome.effects.withdraw)
                    });
                    prop_assert_eq!(&outcomes[0], &outcomes[1]);
                }
            }
            prop_assert_eq!(alone.engine.free_addresses(0), whole.engine.free_addresses(0));
            prop_assert_eq!(alone.engine.leases().counts(), whole.engine.leases().counts());
            for (a, b) in judgements(&alone).iter().zip(judgements(&whole)) {
                prop_assert_eq!(a, &b);
            }
        }
    }
}
