//! REQUEST in SELECTING and INIT-REBOOT, to us and to others.

use super::*;

#[test]
fn an_ack_is_covered_by_a_commit_and_published() {
    let mut lab = Lab::new(three_subnets());
    lab.send(&discover(1));
    let outcome = lab.expect(&selecting(1, ip(100)).with(12, b"host"), SlowReason::AckedNew);
    let ack = read(&outcome);
    assert_eq!((ack.kind(), ack.yiaddr, ack.ciaddr, ack.secs(51)), (5, ip(100), Ipv4Addr::UNSPECIFIED, HOUR));
    let [record] = outcome.effects.commit.as_slice() else { panic!("one commit") };
    assert_eq!((record.address, record.state, &record.client), (ip(100), LeaseState::Bound, &key(1)));
    assert_eq!((record.granted_at, record.expires), (lab.now, lab.now + Span::from_secs(3_600)));
    assert_eq!(record.horizon, lab.now + Span::from_secs(5_400));
    assert_eq!(&*record.hostname, b"host");
    assert_eq!(outcome.effects.publish, [ip(100)]);
    assert_eq!(lab.engine.leases().get(ip(100)), Some(record));
    assert_eq!(lab.engine.offers_len(), 0);
}

#[test]
fn selecting_table() {
    let elsewhere = Ipv4Addr::new(198, 19, 0, 100);
    for (address, reason) in [
        (ip(100), SlowReason::AckedNew),
        (ip(120), SlowReason::AckedNew),
        (ip(101), SlowReason::NakTaken),
        (ip(102), SlowReason::NakTaken),
        (ip(50), SlowReason::NakNotEntitled),
        (elsewhere, SlowReason::NakWrongLink),
    ] {
        let mut lab = Lab::new(three_subnets());
        lab.expect(&discover(1), SlowReason::Offered);
        lab.join(2);
        lab.expect(&discover(3), SlowReason::Offered);
        let outcome = lab.expect(&selecting(1, address), reason);
        let kind = if reason == SlowReason::AckedNew { 5 } else { 6 };
        assert_eq!(read(&outcome).kind(), kind, "{address}");
    }
}

#[test]
fn a_nak_is_bare_and_broadcast() {
    let mut lab = Lab::new(three_subnets());
    let request = selecting(1, ip(50)).with(61, b"\x00x").with(55, &[1, 3]);
    let outcome = lab.expect(&request, SlowReason::NakNotEntitled);
    let nak = read(&outcome);
    assert_eq!(nak.codes(), [53, 54, 61]);
    assert_eq!((nak.yiaddr, nak.siaddr, nak.flags), (Ipv4Addr::UNSPECIFIED, Ipv4Addr::UNSPECIFIED, 0));
    assert_eq!(destination(&outcome), Destination::Broadcast);
    assert!(outcome.effects.commit.is_empty() && outcome.effects.publish.is_empty());
}

#[test]
fn another_servers_client_frees_our_offer() {
    let mut lab = Lab::new(three_subnets());
    lab.send(&discover(1));
    let free = lab.engine.free_addresses(0);
    let other = message(3, 1).with(50, &ip(100).octets()).with(54, &STRANGER.octets());
    let outcome = lab.expect(&other, SlowReason::IgnoredOtherServer);
    assert!(outcome.effects.is_empty());
    assert_eq!((lab.engine.offers_len(), lab.engine.free_addresses(0)), (0, free + 1));
}

#[test]
fn requests_that_make_no_sense() {
    let mut lab = Lab::new(three_subnets());
    lab.join(1);
    for request in [
        message(3, 1),
        message(3, 1).with(54, &SERVER.octets()),
        renewing(1, ip(100)).with(50, &ip(101).octets()),
    ] {
        assert!(lab.expect(&request, SlowReason::IgnoredContradictory).effects.is_empty());
    }
}

#[test]
fn init_reboot_table() {
    let wrong = Ipv4Addr::new(198, 19, 0, 100);
    for (client, address, authoritative, reason) in [
        (1, ip(100), true, SlowReason::AckedReboot),
        (1, ip(100), false, SlowReason::AckedReboot),
        (1, ip(101), true, SlowReason::NakWrongAddress),
        (1, ip(101), false, SlowReason::NakWrongAddress),
        (9, ip(100), true, SlowReason::IgnoredNoRecord),
        (9, ip(150), true, SlowReason::IgnoredNoRecord),
        (9, wrong, true, SlowReason::NakWrongLink),
        (9, wrong, false, SlowReason::IgnoredNotAuthoritative),
    ] {
        let mut lab = Lab::new(Config { authoritative, ..three_subnets() });
        lab.join(1);
        lab.expect(&init_reboot(client, address), reason);
    }
}

#[test]
fn init_reboot_after_the_lease_ended() {
    let mut lab = Lab::new(three_subnets());
    lab.join(1);
    let _ = lab.settle(2 * u64::from(HOUR));
    assert_eq!(lab.state(ip(100)), LeaseState::Free);
    let outcome = lab.expect(&init_reboot(1, ip(100)), SlowReason::AckedReboot);
    assert_eq!(outcome.effects.commit[0].state, LeaseState::Bound);
    let _ = lab.settle(2 * u64::from(HOUR));
    lab.expect(&selecting(2, ip(100)), SlowReason::AckedNew);
    lab.expect(&init_reboot(1, ip(100)), SlowReason::IgnoredNoRecord);
}

#[test]
fn a_lease_survives_a_new_engine() {
    let mut lab = Lab::new(three_subnets());
    lab.join(1);
    let records: Vec<_> = lab.engine.leases().iter().cloned().collect();
    let mut next = Lab::with_leases(three_subnets(), LeaseTable::from_records(records));
    next.now = lab.now;
    assert_eq!(read(&next.send(&discover(1))).yiaddr, ip(100));
    assert_eq!(read(&next.send(&discover(2))).yiaddr, ip(101));
    next.expect(&renewing(1, ip(100)), SlowReason::AckedRenewal);
}

#[test]
fn a_reservation_made_later_moves_the_client() {
    let mut lab = Lab::new(three_subnets());
    lab.join(1);
    let mut config = three_subnets();
    let policy = config.subnets[0].policy.clone();
    let identity = HostIdentity::Hardware(mac(1));
    config.subnets[0].reservations.push(Reservation {
        address: ip(10),
        identity,
        hostname: None,
        policy,
        made: None,
    });
    let probing = lab.engine.probing();
    lab.engine.reconfigure(lab.now, Arc::new(config), vec![SERVER, SECOND_SERVER], probing);
    lab.expect(&renewing(1, ip(100)), SlowReason::NakReservedElsewhere);
    assert_eq!(read(&lab.send(&discover(1))).yiaddr, ip(10));
    let outcome = lab.expect(&selecting(1, ip(10)), SlowReason::AckedNew);
    assert_eq!(outcome.effects.withdraw, [ip(100)], "the old address goes back");
    let freed = lab.engine.withdrawn(lab.now, ip(100), Some(Timestamp::ZERO));
    assert_eq!(freed.commit[0].state, LeaseState::Free);
    assert!(freed.commit[0].client.is_nobody(), "the client has its place elsewhere");
}

#[test]
fn a_client_that_takes_one_address_after_the_other_is_not_remembered_by_all() {
    let mut lab = Lab::new(three_subnets());
    for last in 100..150 {
        let outcome = lab.expect(&selecting(1, ip(last)), SlowReason::AckedNew);
        for address in outcome.effects.withdraw {
            let _ = lab.engine.withdrawn(lab.now, address, Some(Timestamp::ZERO));
        }
    }
    let prefix = "198.18.0.0/24".parse().unwrap();
    assert_eq!(lab.engine.leases().of_client(&key(1), prefix).count(), 1);
}
