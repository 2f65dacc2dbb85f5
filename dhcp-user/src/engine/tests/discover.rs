//! DISCOVER: which address is offered, for how long, and how the answer travels.

use super::*;

fn reserve(config: &mut Config, subnet: usize, address: Ipv4Addr, identity: HostIdentity) {
    let policy = Arc::new(Policy { lease_default_secs: 1_800, ..policy() });
    let hostname = Some("printer".to_owned());
    let reservations = &mut config.subnets[subnet].reservations;
    reservations.push(Reservation { address, identity, hostname, policy, made: None });
    // As a configuration has them.
    reservations.sort_by_key(|reservation| reservation.address);
}

#[test]
fn an_offer_says_what_the_rfc_wants() {
    let mut lab = Lab::new(three_subnets());
    let outcome = lab.expect(&discover(1).with(55, &[6, 3, 99, 6, 1]), SlowReason::Offered);
    let offer = read(&outcome);
    assert_eq!(offer.kind(), 2);
    assert_eq!(offer.yiaddr, ip(100));
    assert_eq!((offer.ciaddr, offer.siaddr), (Ipv4Addr::UNSPECIFIED, ip(5)));
    // The protocol's own, then the wishes in their order, then what everybody gets; 108 was not asked for.
    assert_eq!(offer.codes(), [53, 54, 51, 1, 6, 3, 42]);
    assert_eq!(offer.get(54).unwrap(), SERVER.octets());
    assert_eq!(offer.secs(51), 3_600);
    assert_eq!(destination(&outcome), Destination::Client { mac: mac(1), yiaddr: ip(100) });
    assert!(outcome.effects.commit.is_empty() && outcome.effects.publish.is_empty());
    assert_eq!(outcome.effects.reply.unwrap().source, SERVER);
}

#[test]
fn who_takes_t1_and_t2_by_itself_is_not_told_them_unless_it_asks() {
    let told = |config: Config, message: Msg| {
        let offer = read(&Lab::new(config).send(&message));
        [58, 59].map(|code| offer.get(code).map(|_| offer.secs(code)))
    };
    let usual = [Some(1_800), Some(3_150)];
    assert_eq!(told(three_subnets(), discover(1).with(55, &[1, 3])), [None, None]);
    assert_eq!(told(three_subnets(), discover(1).with(55, &[1, 59])), usual);
    assert_eq!(told(three_subnets(), discover(1).with(55, &[58])), usual);
    assert_eq!(told(three_subnets(), discover(1)), usual, "who names no parameters gets all");
    for (t1_permille, t2_permille, times) in [(500, 800, (1_800, 2_880)), (250, 875, (900, 3_150))] {
        let mut config = three_subnets();
        config.subnets[0].pools[0].policy = Arc::new(Policy { t1_permille, t2_permille, ..policy() });
        assert_eq!(told(config, discover(1).with(55, &[1, 3])), [Some(times.0), Some(times.1)]);
    }
}

#[test]
fn the_broadcast_flag_and_foreign_hardware_get_broadcasts() {
    let mut lab = Lab::new(three_subnets());
    let mut flagged = discover(1);
    flagged.flags = 0x8000;
    let outcome = lab.send(&flagged);
    assert_eq!((destination(&outcome), read(&outcome).flags), (Destination::Broadcast, 0x8000));
    let mut infiniband = discover(2).with(61, &[0xff, 1, 2, 3]);
    (infiniband.htype, infiniband.hardware) = (32, vec![]);
    assert_eq!(destination(&lab.send(&infiniband)), Destination::Broadcast);
}

#[test]
fn the_lease_time_is_the_clients_within_bounds() {
    for (wish, granted) in [(None, 3_600), (Some(60_u32), 600), (Some(5_000), 5_000), (Some(u32::MAX), 7_200)]
    {
        let mut lab = Lab::new(three_subnets());
        let mut message = discover(1);
        if let Some(secs) = wish {
            message = message.with(51, &secs.to_be_bytes());
        }
        assert_eq!(read(&lab.send(&message)).secs(51), granted, "{wish:?}");
    }
}

#[test]
fn options_wanted_or_not() {
    for (list, expected) in [
        (None, vec![3, 6, 15, 42]),
        (Some(vec![]), vec![42]),
        (Some(vec![108]), vec![108, 42]),
        (Some(vec![15, 15, 51, 54, 255, 0, 82, 61]), vec![15, 42]),
    ] {
        let mut lab = Lab::new(three_subnets());
        let mut message = discover(1);
        if let Some(list) = &list {
            message = message.with(55, list);
        }
        let codes = read(&lab.send(&message)).codes();
        let mask = codes.iter().position(|code| *code == 1).unwrap();
        assert_eq!(codes[mask + 1..], expected, "{list:?}");
    }
}

#[test]
fn each_client_gets_its_own_address_and_keeps_it() {
    let mut lab = Lab::new(three_subnets());
    let first = read(&lab.send(&discover(1))).yiaddr;
    let second = read(&lab.send(&discover(2))).yiaddr;
    assert_ne!(first, second);
    assert_eq!(read(&lab.send(&discover(1))).yiaddr, first, "its offer stands");
    lab.expect(&selecting(1, first), SlowReason::AckedNew);
    assert_eq!(read(&lab.send(&discover(1))).yiaddr, first, "its lease stands");
    // The wish for another address counts less than the one it has.
    assert_eq!(read(&lab.send(&discover(1).with(50, &ip(150).octets()))).yiaddr, first);
    assert_eq!(read(&lab.send(&discover(3).with(50, &ip(150).octets()))).yiaddr, ip(150));
    assert_ne!(read(&lab.send(&discover(4).with(50, &ip(150).octets()))).yiaddr, ip(150), "it is offered");
    assert_ne!(read(&lab.send(&discover(5).with(50, &first.octets()))).yiaddr, first, "it is bound");
    assert_ne!(read(&lab.send(&discover(6).with(50, &ip(50).octets()))).yiaddr, ip(50), "it is in no pool");
}

#[test]
fn a_client_identifier_is_the_client() {
    let mut lab = Lab::new(three_subnets());
    let one = read(&lab.send(&discover(1).with(61, b"\x00one")));
    let two = read(&lab.send(&discover(1).with(61, b"\x00two")));
    assert_ne!(one.yiaddr, two.yiaddr, "one hardware address, two clients");
    assert_eq!(one.get(61).unwrap(), b"\x00one", "RFC 6842");
    assert_eq!(
        read(&lab.send(&discover(9).with(61, b"\x00one"))).yiaddr,
        one.yiaddr,
        "new card, same client"
    );
}

#[test]
fn offers_lapse_and_keep_their_turn() {
    let mut lab = Lab::new(three_subnets());
    lab.interface = 1;
    let taken: Vec<_> = (1..=4).map(|client| read(&lab.send(&discover(client))).yiaddr).collect();
    lab.expect(&discover(5), SlowReason::IgnoredNoFreeAddress);
    assert_eq!(lab.engine.offers_len(), 4);
    let _ = lab.settle(OFFER_TIME.as_secs());
    assert_eq!((lab.engine.offers_len(), lab.engine.free_addresses(2)), (0, 4));
    assert_eq!(read(&lab.send(&discover(5))).yiaddr, taken[0]);
}

/// A flood of DISCOVERs that nobody follows up takes every address there is, for moments only: who comes next gets the
/// oldest offer, and who takes its own at once keeps it.
#[test]
fn unwanted_offers_give_way_when_nothing_else_is_left() {
    let mut lab = Lab::new(three_subnets());
    lab.interface = 1;
    for stranger in 1..=200 {
        lab.now = lab.now + Span::from_millis(10);
        lab.expect(&discover(stranger), SlowReason::Offered);
    }
    assert_eq!(lab.engine.offers_len(), 4);
    assert_eq!(lab.engine.pressure().offers_gave_way, 196);
    let address = read(&lab.expect(&discover(250), SlowReason::Offered)).yiaddr;
    lab.now = lab.now + Span::from_millis(15);
    lab.expect(&discover(201), SlowReason::Offered);
    let request = message(3, 250).with(50, &address.octets()).with(54, &SECOND_SERVER.octets());
    lab.expect(&request, SlowReason::AckedNew);
    for stranger in 1..=200 {
        lab.now = lab.now + Span::from_millis(10);
        let offer = lab.expect(&discover(stranger), SlowReason::Offered);
        assert_ne!(read(&offer).yiaddr, address, "a lease is no offer");
    }
    assert_eq!(lab.engine.free_addresses(2), 0);
    // Within twenty milliseconds nobody loses an offer to another.
    lab.pass(1);
    let outcomes: Vec<_> = (1..=5).map(|client| lab.send(&discover(client)).reason).collect();
    assert_eq!(outcomes[..3], [SlowReason::Offered; 3]);
    assert_eq!(outcomes[3..], [SlowReason::IgnoredNoFreeAddress; 2]);
}

#[test]
fn the_longest_free_address_is_reused_first_and_its_last_client_gets_it_back() {
    let mut lab = Lab::new(three_subnets());
    lab.interface = 1;
    let selecting = |client, address: Ipv4Addr| {
        message(3, client).with(50, &address.octets()).with(54, &SECOND_SERVER.octets())
    };
    let mut held = Vec::new();
    for client in 1..=4 {
        let address = read(&lab.expect(&discover(client), SlowReason::Offered)).yiaddr;
        lab.expect(&selecting(client, address), SlowReason::AckedNew);
        held.push(address);
    }
    for client in [3, 1, 2] {
        let release = message(7, client).ciaddr(held[usize::from(client) - 1]).sent_to(SECOND_SERVER);
        lab.expect(&release, SlowReason::Released);
        let _ = lab.settle(1);
        let withdrawn = lab.engine.withdrawn(lab.now, held[usize::from(client) - 1], Some(Timestamp::ZERO));
        assert_eq!(withdrawn.commit.len(), 1);
    }
    assert_eq!(read(&lab.send(&discover(1))).yiaddr, held[0], "its own again");
    assert_eq!(read(&lab.send(&discover(8))).yiaddr, held[2], "the longest free");
    assert_eq!(read(&lab.send(&discover(9))).yiaddr, held[1]);
    lab.expect(&discover(10), SlowReason::IgnoredNoFreeAddress);
}

#[test]
fn reservations_by_every_identity() {
    let mut config = three_subnets();
    reserve(&mut config, 0, ip(10), HostIdentity::Hardware(mac(1)));
    reserve(&mut config, 0, ip(100), HostIdentity::ClientId(b"\x00box".to_vec()));
    reserve(&mut config, 0, ip(12), HostIdentity::CircuitId(b"eth0/1".to_vec()));
    let mut lab = Lab::new(config);
    let by_hardware = read(&lab.send(&discover(1).with(55, &[12])));
    assert_eq!((by_hardware.yiaddr, by_hardware.secs(51)), (ip(10), 1_800));
    assert_eq!(by_hardware.get(12).unwrap(), b"printer");
    assert_eq!(read(&lab.send(&discover(2).with(61, b"\x00box"))).yiaddr, ip(100));
    let circuit = [&[1, 6][..], b"eth0/1"].concat();
    assert_eq!(read(&lab.send(&discover(3).with(82, &circuit))).yiaddr, ip(12));
    // Nobody else gets what is reserved, whether they wish for it or not.
    assert_eq!(read(&lab.send(&discover(4))).yiaddr, ip(101));
    assert_ne!(read(&lab.send(&discover(5).with(50, &ip(100).octets()))).yiaddr, ip(100));
    lab.expect(&selecting(6, ip(10)), SlowReason::NakTaken);
    let _ = lab.settle(OFFER_TIME.as_secs());
    lab.expect(&selecting(6, ip(10)), SlowReason::NakNotEntitled);
}

#[test]
fn a_reserved_machine_keeps_its_address_from_boot_rom_to_system() {
    let mut config = three_subnets();
    reserve(&mut config, 0, ip(10), HostIdentity::Hardware(mac(1)));
    let mut lab = Lab::new(config);
    let rom = |message: Msg| message.with(61, b"\x00rom");
    lab.expect(&rom(discover(1)), SlowReason::Offered);
    assert_eq!(read(&lab.expect(&discover(1), SlowReason::Offered)).yiaddr, ip(10), "though it is offered");
    lab.expect(&rom(selecting(1, ip(10))), SlowReason::AckedNew);
    assert_eq!(read(&lab.expect(&discover(1), SlowReason::Offered)).yiaddr, ip(10));
    let outcome = lab.expect(&selecting(1, ip(10)), SlowReason::AckedNew);
    assert_eq!(outcome.effects.commit[0].client, key(1));
}

#[test]
fn a_shared_network_gives_from_any_of_its_subnets() {
    let mut config = config(vec![
        subnet("198.18.0.0/24", Some(0), &[(100, 100)]),
        subnet("198.18.1.0/24", Some(0), &[(100, 101)]),
    ]);
    config.subnets[1].relays.push(Ipv4Addr::new(198, 18, 9, 9));
    let mut lab = Lab::new(config);
    assert_eq!(lab.join(1), ip(100));
    let second = Ipv4Addr::new(198, 18, 1, 100);
    assert_eq!(lab.join(2), second);
    assert_eq!(read(&lab.send(&discover(2))).yiaddr, second, "it stays where it is");
    let by_first = discover(3).relayed(ip(1));
    assert_eq!(read(&lab.send(&by_first)).yiaddr, Ipv4Addr::new(198, 18, 1, 101));
}

#[test]
fn nowhere_to_allocate_from() {
    let mut lab = Lab::new(three_subnets());
    lab.expect(&discover(1).relayed(Ipv4Addr::new(198, 19, 77, 1)), SlowReason::IgnoredNoSubnet);
    lab.interface = 5;
    lab.expect(&discover(1), SlowReason::IgnoredNoServerAddress);
}

#[test]
fn rapid_commit() {
    let mut lab = Lab::new(three_subnets());
    let outcome = lab.expect(&discover(1).with(80, &[]).with(55, &[3]), SlowReason::AckedRapid);
    let ack = read(&outcome);
    assert_eq!(ack.codes(), [53, 54, 51, 1, 80, 3, 42]);
    assert_eq!((ack.kind(), ack.yiaddr, outcome.effects.commit.len()), (5, ip(100), 1));
    assert_eq!(destination(&outcome), Destination::Client { mac: mac(1), yiaddr: ip(100) });
    assert_eq!(lab.state(ip(100)), LeaseState::Bound);

    let mut config = three_subnets();
    config.subnets[0].pools[0].policy = Arc::new(Policy { rapid_commit: false, ..policy() });
    let mut lab = Lab::new(config);
    assert!(read(&lab.expect(&discover(1).with(80, &[]), SlowReason::Offered)).get(80).is_none());
}

#[test]
fn a_ciaddr_in_a_discover_does_not_aim_the_offer() {
    let mut lab = Lab::new(three_subnets());
    let outcome = lab.expect(&discover(1).ciaddr(ip(77)), SlowReason::Offered);
    assert!(matches!(destination(&outcome), Destination::Client { .. }));
}
