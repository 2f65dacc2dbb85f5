//! RELEASE, DECLINE and INFORM.

use super::*;

fn release(client: u8, address: Ipv4Addr) -> Msg {
    message(7, client).ciaddr(address).sent_to(SERVER)
}

fn decline(client: u8, address: Ipv4Addr) -> Msg {
    message(4, client).with(50, &address.octets()).with(54, &SERVER.octets())
}

#[test]
fn a_released_address_is_free_once_the_kernel_has_forgotten_it() {
    let mut lab = Lab::new(three_subnets());
    lab.join(1);
    let outcome = lab.expect(&release(1, ip(100)), SlowReason::Released);
    assert_eq!(outcome.effects.withdraw, [ip(100)]);
    assert!(outcome.effects.reply.is_none() && outcome.effects.commit.is_empty());
    lab.expect(&selecting(2, ip(100)), SlowReason::NakTaken);
    let effects = lab.engine.withdrawn(lab.now, ip(100), None);
    let [record] = effects.commit.as_slice() else { panic!("one commit") };
    assert_eq!((record.state, record.horizon, record.forms), (LeaseState::Free, lab.now, [None, None]));
    lab.expect(&selecting(2, ip(100)), SlowReason::AckedNew);
}

#[test]
fn only_the_holder_gives_back() {
    let mut lab = Lab::new(three_subnets());
    lab.join(1);
    for (message, reason) in [
        (release(2, ip(100)), SlowReason::IgnoredNotHolder),
        (release(1, ip(101)), SlowReason::IgnoredNotHolder),
        (release(1, ip(100)).with(54, &STRANGER.octets()), SlowReason::IgnoredOtherServer),
        (release(1, ip(100)).with(61, b"\x00other"), SlowReason::IgnoredNotHolder),
        (decline(2, ip(100)), SlowReason::IgnoredNotHolder),
        (message(4, 1), SlowReason::IgnoredContradictory),
    ] {
        assert!(lab.expect(&message, reason).effects.is_empty());
    }
    assert_eq!(lab.engine.leases().leaving(ip(100)), None);
}

#[test]
fn release_and_discover_at_once() {
    let mut lab = Lab::new(three_subnets());
    lab.join(1);
    lab.expect(&release(1, ip(100)), SlowReason::Released);
    assert_eq!(read(&lab.expect(&discover(1), SlowReason::Offered)).yiaddr, ip(100));
    lab.expect(&selecting(1, ip(100)), SlowReason::AckedNew);
    // The withdrawal comes through late: the lease stays, and the kernel is told again.
    let effects = lab.engine.withdrawn(lab.now, ip(100), Some(Timestamp::ZERO));
    assert_eq!((effects.publish, effects.commit[0].state), (vec![ip(100)], LeaseState::Bound));
    assert_eq!(lab.state(ip(100)), LeaseState::Bound);
}

#[test]
fn a_client_that_released_and_yet_renewed_keeps_its_lease() {
    let mut lab = Lab::new(three_subnets());
    lab.join(1);
    lab.pass(100);
    lab.expect(&release(1, ip(100)), SlowReason::Released);
    let mark = lab.now + Span::from_secs(1);
    lab.pass(2);
    let effects = lab.engine.withdrawn(lab.now, ip(100), Some(mark));
    assert_eq!(effects.publish, [ip(100)]);
    let lease = lab.engine.leases().get(ip(100)).unwrap();
    assert_eq!((lease.state, lease.expires), (LeaseState::Bound, mark + Span::from_secs(3_600)));
    assert_eq!(lab.engine.leases().leaving(ip(100)), None);
}

#[test]
fn a_declined_address_rests() {
    let mut lab = Lab::new(three_subnets());
    lab.join(1);
    let outcome = lab.expect(&decline(1, ip(100)), SlowReason::Declined);
    assert_eq!(outcome.effects.withdraw, [ip(100)]);
    assert_ne!(read(&lab.expect(&discover(1), SlowReason::Offered)).yiaddr, ip(100));
    let effects = lab.engine.withdrawn(lab.now, ip(100), Some(Timestamp::ZERO));
    assert_eq!(effects.commit[0].state, LeaseState::Quarantined);
    assert_eq!(effects.commit[0].expires, lab.now + QUARANTINE);
    lab.expect(&selecting(2, ip(100)), SlowReason::NakTaken);
    let _ = lab.settle(QUARANTINE.as_secs() - 1);
    lab.expect(&selecting(2, ip(100)), SlowReason::NakTaken);
    let effects = lab.settle(1 + CLOCK_ERROR.as_secs());
    assert_eq!((effects.commit[0].state, effects.commit[0].address), (LeaseState::Free, ip(100)));
    lab.expect(&selecting(2, ip(100)), SlowReason::AckedNew);
}

#[test]
fn declining_everything_empties_no_pool() {
    let mut lab = Lab::new(three_subnets());
    let mut oldest = Vec::new();
    for _ in 0..40 {
        let address = lab.join(1);
        lab.expect(&decline(1, address), SlowReason::Declined);
        let effects = lab.engine.withdrawn(lab.now, address, Some(Timestamp::ZERO));
        let freed = effects.commit.iter().filter(|record| record.state == LeaseState::Free);
        oldest.extend(freed.map(|record| record.address));
        lab.pass(1);
    }
    let resting = lab.engine.leases().iter().filter(|record| record.state == LeaseState::Quarantined).count();
    assert_eq!(resting, 25, "a quarter of the pool");
    assert_eq!(oldest, (100..115).map(ip).collect::<Vec<_>>());
    assert_eq!(lab.engine.pressure().quarantines_cut_short, 15);
}

#[test]
fn inform_grants_nothing() {
    let mut lab = Lab::new(three_subnets());
    let inform = message(8, 1).ciaddr(ip(50)).with(55, &[6, 3]).with(61, b"\x00x");
    let outcome = lab.expect(&inform, SlowReason::AckedInform);
    let ack = read(&outcome);
    assert_eq!(ack.codes(), [53, 54, 1, 6, 3, 42, 61]);
    assert_eq!((ack.kind(), ack.ciaddr, ack.yiaddr), (5, ip(50), Ipv4Addr::UNSPECIFIED));
    assert_eq!(destination(&outcome), Destination::Renewing { ciaddr: ip(50), mac: [0xee; 6] });
    assert!(outcome.effects.commit.is_empty() && outcome.effects.publish.is_empty());
    assert!(lab.engine.leases().is_empty());
}

#[test]
fn inform_is_not_turned_against_a_third() {
    let mut lab = Lab::new(three_subnets());
    let inform = message(8, 1).ciaddr(ip(50));
    let spoofed = Ingress { source_ip: ip(60), ..lab.ingress(&inform) };
    let outcome = lab.engine.handle(lab.now, &mut lab.rng, &spoofed, &inform.bytes());
    assert_eq!(outcome.reason, SlowReason::IgnoredInformAddress);
    lab.expect(&message(8, 1), SlowReason::IgnoredInformAddress);
    lab.expect(&message(8, 1).ciaddr(Ipv4Addr::new(198, 19, 99, 1)), SlowReason::IgnoredNoSubnet);
}
