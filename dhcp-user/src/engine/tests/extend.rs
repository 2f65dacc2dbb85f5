//! RENEWING and REBINDING, and that the answer the kernel is taught is the answer the engine gives.

use super::*;

#[test]
fn renewing_and_rebinding_table() {
    let foreign = Ipv4Addr::new(198, 19, 0, 100);
    let nowhere = Ipv4Addr::new(198, 19, 200, 1);
    for (name, request, authoritative, reason) in [
        ("renewing", renewing(1, ip(100)), true, SlowReason::AckedRenewal),
        ("with 50", renewing(1, ip(100)).with(50, &ip(100).octets()), true, SlowReason::AckedRenewal),
        ("with 54", renewing(1, ip(100)).with(54, &SERVER.octets()), true, SlowReason::AckedRenewal),
        (
            "54 not ours",
            renewing(1, ip(100)).with(54, &STRANGER.octets()),
            true,
            SlowReason::IgnoredOtherServer,
        ),
        ("rebinding", rebinding(1, ip(100)), true, SlowReason::AckedRebinding),
        ("relayed", rebinding(1, ip(100)).relayed(ip(1)), true, SlowReason::AckedRebinding),
        ("another's", renewing(2, ip(100)), true, SlowReason::NakTaken),
        ("another's, meek", rebinding(2, ip(100)), false, SlowReason::NakTaken),
        ("free", renewing(2, ip(150)), true, SlowReason::AckedRecreated),
        ("free, rebinding", rebinding(2, ip(150)), true, SlowReason::AckedRecreated),
        ("free, rebinding, meek", rebinding(2, ip(150)), false, SlowReason::IgnoredNotAuthoritative),
        ("free, but it has one", renewing(1, ip(150)), true, SlowReason::NakWrongAddress),
        ("no pool", renewing(2, ip(50)), true, SlowReason::NakNotEntitled),
        ("no pool, meek", renewing(2, ip(50)), false, SlowReason::IgnoredNotAuthoritative),
        ("wrong link", rebinding(2, foreign), true, SlowReason::NakWrongLink),
        ("wrong link, meek", rebinding(2, foreign), false, SlowReason::IgnoredNotAuthoritative),
        (
            "wrong relay",
            rebinding(1, ip(100)).relayed(Ipv4Addr::new(198, 18, 7, 1)),
            true,
            SlowReason::NakWrongLink,
        ),
        ("unknown subnet", renewing(2, nowhere), true, SlowReason::IgnoredNoSubnet),
        ("unknown, rebinding", rebinding(2, nowhere), true, SlowReason::NakWrongLink),
    ] {
        let mut lab = Lab::new(Config { authoritative, ..three_subnets() });
        lab.join(1);
        lab.pass(1_800);
        let outcome = lab.send(&request);
        assert_eq!(outcome.reason, reason, "{name}");
    }
}

#[test]
fn a_renewal_moves_the_lease_and_goes_to_the_clients_address() {
    let mut lab = Lab::new(three_subnets());
    let first = lab.now;
    lab.join(1);
    lab.pass(1_800);
    let mut request = renewing(1, ip(100)).with(55, &[3]);
    request.flags = 0x8000;
    let outcome = lab.expect(&request, SlowReason::AckedRenewal);
    let ack = read(&outcome);
    assert_eq!((ack.ciaddr, ack.yiaddr, ack.secs(51)), (ip(100), ip(100), HOUR));
    // The ciaddr rule comes before the broadcast flag (RFC 2131 section 4.1).
    assert_eq!(destination(&outcome), Destination::Renewing { ciaddr: ip(100), mac: [0xee; 6] });
    assert_eq!(outcome.effects.commit[0].expires, first + Span::from_secs(1_800 + 3_600));
    assert_eq!(outcome.effects.commit[0].horizon, first + Span::from_secs(1_800 + 5_400));
    assert_eq!(outcome.effects.publish, [ip(100)]);
}

#[test]
fn a_shorter_grant_takes_nothing_back() {
    let mut lab = Lab::new(three_subnets());
    lab.join(1);
    let before = lab.engine.leases().get(ip(100)).unwrap().clone();
    let request = renewing(1, ip(100)).with(51, &600_u32.to_be_bytes());
    let outcome = lab.expect(&request, SlowReason::AckedRenewal);
    let after = &outcome.effects.commit[0];
    assert_eq!((after.horizon, after.expires), (before.horizon, before.expires));
    assert_eq!(after.granted_at, before.expires - Span::from_secs(600), "the lease time is the new one");
    // A kernel renewal before that moment promises nothing new, one after it does.
    assert!(lab.engine.renewed_by_kernel(lab.now, ip(100), after.granted_at).is_empty());
    let mark = after.granted_at + Span::from_secs(1);
    let _ = lab.engine.renewed_by_kernel(mark, ip(100), mark);
    let lease = lab.engine.leases().get(ip(100)).unwrap();
    assert_eq!(lease.expires, before.expires + Span::from_secs(1));
}

#[test]
fn renewal_sent_to_another_of_our_addresses_is_answered_from_it() {
    let mut lab = Lab::new(three_subnets());
    lab.join(1);
    let outcome = lab.expect(&renewing(1, ip(100)).sent_to(SECOND_SERVER), SlowReason::AckedRenewal);
    assert_eq!(read(&outcome).get(54).unwrap(), SECOND_SERVER.octets());
    assert_eq!(outcome.effects.reply.unwrap().source, SECOND_SERVER);
}

#[test]
fn what_the_kernel_is_taught_is_what_is_sent() {
    let giaddr = ip(1);
    for (name, request) in [
        ("plain", renewing(1, ip(100))),
        ("wishes", renewing(1, ip(100)).with(55, &[15, 3, 108]).with(57, &1_500_u16.to_be_bytes())),
        ("lease time", renewing(1, ip(100)).with(51, &1_000_u32.to_be_bytes())),
        ("rebinding", rebinding(1, ip(100)).with(12, b"other")),
        ("relayed", rebinding(1, ip(100)).relayed(giaddr).with(82, &[1, 3, b'a', b'b', b'c'])),
        ("override", renewing(1, ip(100)).relayed(giaddr).with(82, &[11, 4, 198, 18, 0, 77])),
        ("buggy", renewing(1, ip(100)).with(50, &ip(100).octets()).with(54, &SERVER.octets())),
    ] {
        let mut lab = Lab::new(three_subnets());
        lab.join(1);
        let (ingress, bytes) = (lab.ingress(&request), request.bytes());
        let parsed = Request::parse(&bytes).unwrap();
        let lease = lab.engine.leases().get(ip(100)).unwrap().clone();
        let taught = lab.engine.renewal_reply(&ingress, &parsed, &lease).expect(name);
        let outcome = lab.send(&request);
        assert_eq!(outcome.effects.reply.as_ref().unwrap().payload, taught, "{name}");
        assert_eq!(Some(read(&outcome).secs(51)), lab.engine.renewal_secs(&parsed, &lease), "{name}");
        // And it stays so: the next one's answer differs in nothing.
        let lease = lab.engine.leases().get(ip(100)).unwrap().clone();
        assert_eq!(lab.engine.renewal_reply(&ingress, &parsed, &lease), Some(taught), "{name}");
    }
}

#[test]
fn nothing_is_taught_that_would_not_be_acknowledged() {
    let mut lab = Lab::new(three_subnets());
    lab.join(1);
    lab.join(2);
    let lease = lab.engine.leases().get(ip(100)).unwrap().clone();
    for request in [
        renewing(2, ip(100)),
        renewing(1, ip(101)),
        selecting(1, ip(100)),
        init_reboot(1, ip(100)),
        message(1, 1).ciaddr(ip(100)),
        renewing(1, ip(100)).with(54, &STRANGER.octets()),
        rebinding(1, ip(100)).relayed(Ipv4Addr::new(198, 18, 7, 1)),
    ] {
        let (ingress, bytes) = (lab.ingress(&request), request.bytes());
        let parsed = Request::parse(&bytes).unwrap();
        assert_eq!(lab.engine.renewal_reply(&ingress, &parsed, &lease), None, "{request:?}");
    }
    let free = LeaseRecord { state: LeaseState::Free, ..lease };
    let request = renewing(1, ip(100));
    let (ingress, bytes) = (lab.ingress(&request), request.bytes());
    assert_eq!(lab.engine.renewal_reply(&ingress, &Request::parse(&bytes).unwrap(), &free), None);
}

#[test]
fn forms_live_as_long_as_client_hardware_and_lease_time() {
    let form = Some(KnownForm { fingerprint: std::num::NonZeroU64::MIN, answer: 3, echo_sum: 3 });
    for (request, kept) in [
        (renewing(1, ip(100)).with(61, b"\x00c"), true),
        (renewing(1, ip(100)).with(61, b"\x00c").with(51, &1_000_u32.to_be_bytes()), false),
        (renewing(2, ip(100)).with(61, b"\x00c"), false),
    ] {
        let mut lab = Lab::new(three_subnets());
        lab.expect(&selecting(1, ip(100)).with(61, b"\x00c"), SlowReason::AckedNew);
        assert_eq!(lab.engine.set_forms(ip(100), [form, None]).unwrap().forms, [form, None]);
        let outcome = lab.expect(&request, SlowReason::AckedRenewal);
        assert_eq!(outcome.effects.commit[0].forms[0].is_some(), kept, "{request:?}");
    }
}

#[test]
fn a_circuits_reservation_is_remembered_when_the_client_renews_without_the_relay() {
    let mut config = three_subnets();
    let policy = Arc::new(Policy { lease_default_secs: 700, ..policy() });
    let identity = HostIdentity::CircuitId(b"port7".to_vec());
    config.subnets[0].reservations.push(Reservation {
        address: ip(10),
        identity,
        hostname: None,
        policy,
        made: None,
    });
    let mut lab = Lab::new(config);
    let circuit = [&[1, 5][..], b"port7"].concat();
    let relayed = |message: Msg| message.relayed(ip(1)).with(82, &circuit);
    lab.expect(&relayed(discover(1)), SlowReason::Offered);
    lab.expect(&relayed(selecting(1, ip(10))), SlowReason::AckedNew);
    let outcome = lab.expect(&renewing(1, ip(10)), SlowReason::AckedRenewal);
    assert_eq!(read(&outcome).secs(51), 700);
    assert!(read(&outcome).get(82).is_none(), "what did not come is not echoed");
}
