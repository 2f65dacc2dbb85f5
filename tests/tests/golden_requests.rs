//! Golden frames: which requests are renewals, whose they are, and what in them must bring the daemon in (RFC 2131
//! section 4.3.2 and table 4, section 4.2; RFC 3046, RFC 3396, RFC 6842).

use std::net::Ipv4Addr;

use dhcp_common::reason::Reason;
use dhcp_tests::{
    oracle::{
        lab::{
            Case, Expected, LEASE_SECS, Lab, NAME_SERVER, OTHER_SERVER, RELAY, RELAY_INFORMATION, ROUTER_MAC,
            SERVER, Who, ack_to, answer, assert_all, by_relay, pass, plain_ack, relayed_ack,
        },
        world::server_mac,
    },
    packet::Frame,
    parse::Message,
};
use dhcp_user::engine::SlowReason;

#[test]
fn renewals_and_rebindings_are_answered() {
    let mut lab = Lab::new().unwrap();
    let mut cases = vec![
        answer("RENEWING: unicast, ciaddr, no 50 and 54", &Who::Plain.renews(), plain_ack()),
        answer("REBINDING: broadcast", &Who::Plain.rebinds(), plain_ack()),
        answer("REBINDING from 0.0.0.0", &Who::Plain.rebinds().src(Ipv4Addr::UNSPECIFIED), plain_ack()),
        answer(
            "renewing through a router: its answer goes back to the router",
            &Who::Plain.renews().src_mac(ROUTER_MAC).ttl(61),
            plain_ack().dst_mac(ROUTER_MAC),
        ),
        answer(
            "relayed: giaddr and option 82 are the known ones",
            &Who::Relayed.relays().option(82, &RELAY_INFORMATION),
            relayed_ack().option(82, &RELAY_INFORMATION),
        ),
        answer(
            "relayed to everybody",
            &Who::Relayed.relays().option(82, &RELAY_INFORMATION).dst(Ipv4Addr::BROADCAST).dst_mac([0xff; 6]),
            relayed_ack().option(82, &RELAY_INFORMATION),
        ),
        answer(
            "a relayed client renewing by itself: no option 82 in, none out",
            &Who::Relayed.renews().src_mac(ROUTER_MAC),
            ack_to(Who::Relayed.mac(), Who::Relayed.address(), |frame| frame)
                .dst_mac(ROUTER_MAC)
                .option(6, &NAME_SERVER)
                .option(61, &Who::Relayed.id()),
        ),
    ];
    for who in [Who::Tagged, Who::Stacked] {
        let ack = who.ack().option(6, &NAME_SERVER).option(61, &who.id());
        cases.push(answer("renewing on a VLAN", &who.renews(), ack.clone()));
        cases.push(answer("rebinding on a VLAN", &who.rebinds(), ack));
    }
    assert_all(&mut lab, &cases);
}

#[test]
fn whatever_else_a_client_says_is_passed() {
    let mut lab = Lab::new().unwrap();
    let (plain, address) = (Who::Plain, Who::Plain.address().octets());
    let selecting = plain.says(3).option(50, &address).option(54, &SERVER.octets());
    let of_type = |kind: u8| {
        let mut frame = plain.renews().no_options().option(53, &[kind]);
        frame = frame.option(55, &[1, 3, 6]).option(57, &[5, 220]).option(61, &plain.id());
        frame
    };
    let cases = [
        pass("SELECTING", &selecting, Reason::NotRenewal),
        pass(
            "SELECTING another server",
            &plain.says(3).option(50, &address).option(54, &[198, 18, 0, 2]),
            Reason::NotRenewal,
        ),
        pass("INIT-REBOOT", &plain.says(3).option(50, &address), Reason::NotRenewal),
        pass(
            "INIT-REBOOT for a wrong address",
            &plain.says(3).option(50, &[198, 18, 0, 77]),
            Reason::NotRenewal,
        ),
        pass("DISCOVER", &plain.says(1), Reason::NotRenewal),
        pass("DISCOVER of a client that has an address", &of_type(1), Reason::Fingerprint),
        pass("DECLINE", &plain.says(4).option(50, &address).option(54, &SERVER.octets()), Reason::NotRenewal),
        pass("DECLINE with ciaddr", &of_type(4), Reason::Fingerprint),
        pass("RELEASE", &of_type(7), Reason::Fingerprint),
        pass("INFORM", &of_type(8), Reason::Fingerprint),
        pass("LEASEQUERY", &of_type(10), Reason::Fingerprint),
        pass("an ACK that came to us as a request", &of_type(5), Reason::Fingerprint),
        pass("BOOTP: no message type", &plain.renews().no_options(), Reason::Fingerprint),
        pass(
            "renewing with 54 naming another server",
            &plain.renews().option(54, &[198, 18, 0, 2]),
            Reason::Fingerprint,
        ),
        pass(
            "renewing with 50 naming another address",
            &plain.renews().option(50, &[198, 18, 0, 12]),
            Reason::Fingerprint,
        ),
        pass(
            "through a relay we know nothing of",
            &by_relay(plain.says(3).ciaddr(plain.address())),
            Reason::UnknownForm,
        ),
    ];
    assert_all(&mut lab, &cases);
    let unknown = |address: [u8; 4]| plain.renews().ciaddr(address.into()).src(address.into());
    let nobodys = [
        pass("an address of no pool: never a NAK", &unknown([198, 18, 0, 50]), Reason::NoLease),
        pass("an address of no subnet", &unknown([198, 18, 77, 1]), Reason::UnknownAddress),
        pass("a free address", &unknown([198, 18, 0, 150]), Reason::NoLease),
        pass("another's address", &unknown(Who::Boots.address().octets()), Reason::OtherClient),
    ];
    assert_all(&mut lab, &nobodys);
}

/// RFC 1541 clients, and some of today, put 50 and 54 into renewals: the daemon answers the first, the kernel the next.
#[test]
fn renewals_with_50_and_54_are_learned() {
    let mut lab = Lab::new().unwrap();
    let (address, server) = (Who::Plain.address().octets(), SERVER.octets());
    let old = Who::Plain.renews().option(50, &address).option(54, &server);
    assert_all(&mut lab, &[pass("the first", &old, Reason::Fingerprint)]);
    assert_eq!(lab.ask(&old.build()).unwrap(), Message::parse(&plain_ack().build()).unwrap());
    assert_all(&mut lab, &[answer("the next", &old.xid(7), plain_ack().xid(7))]);
}

#[test]
fn a_renewal_is_its_clients_own() {
    let mut lab = Lab::new().unwrap();
    let plain = Who::Plain;
    let chaddr = |mac: [u8; 6], padding: u8| -> [u8; 16] {
        std::array::from_fn(|at| mac.get(at).copied().unwrap_or(padding))
    };
    let without_id =
        plain.renews().no_options().option(53, &[3]).option(55, &[1, 3, 6]).option(57, &[5, 220]);
    let tagged = Who::Tagged;
    let untagged = Frame::request(3, tagged.mac()).option(55, &[1, 3, 6]).option(57, &[5, 220]);
    let untagged = untagged.option(61, &tagged.id()).ciaddr(tagged.address()).src(tagged.address());
    let untagged = untagged.dst(SERVER).dst_mac(server_mac(0));
    let cases = [
        pass(
            "the same hardware with another identifier",
            &without_id.clone().option(61, b"\0other"),
            Reason::Fingerprint,
        ),
        pass("the same hardware without its identifier", &without_id, Reason::Fingerprint),
        pass("the identifier twice", &plain.renews().option(61, &plain.id()), Reason::Fingerprint),
        pass(
            "a cloned identifier on other hardware",
            &plain.renews().chaddr(chaddr([2, 0x10, 0, 0, 0, 9], 0)),
            Reason::OtherClient,
        ),
        pass(
            "octets behind the hardware address",
            &plain.renews().chaddr(chaddr(plain.mac(), 1)),
            Reason::Fingerprint,
        ),
        pass("InfiniBand", &plain.renews().htype(32).hlen(0), Reason::Hardware),
        pass("hlen 16", &plain.renews().hlen(16), Reason::Hardware),
        pass(
            "another's source address",
            &plain.renews().src(Ipv4Addr::new(198, 18, 0, 12)),
            Reason::SourceMismatch,
        ),
        pass("unicast from nowhere", &plain.renews().src(Ipv4Addr::UNSPECIFIED), Reason::SourceMismatch),
        pass("on a VLAN that is not its own", &plain.renews().tag(0x8100, 10), Reason::Fingerprint),
        pass("without its VLAN", &untagged, Reason::Fingerprint),
        pass("yiaddr filled in", &plain.renews().yiaddr(plain.address()), Reason::Fingerprint),
        pass("siaddr filled in", &plain.renews().siaddr(SERVER), Reason::Fingerprint),
        pass("hops without a relay", &plain.renews().hops(1), Reason::Fingerprint),
    ];
    assert_all(&mut lab, &cases);
    let elsewhere = plain.renews().dst_mac(server_mac(1)).build();
    assert_eq!(lab.judge_on(1, &elsewhere).unwrap().reason, Reason::Fingerprint, "on another interface");
}

#[test]
fn one_machine_may_hold_two_leases() {
    let mut lab = Lab::new().unwrap();
    let mac = [2, 0x10, 0, 0, 0, 7];
    let says = |kind, id: &[u8]| Frame::request(kind, mac).option(61, id).option(55, &[3, 1]);
    for (id, last) in [(&b"first"[..], 13), (b"second", 14)] {
        let address = lab.join(|kind| says(kind, id)).unwrap();
        assert_eq!(address, Ipv4Addr::new(198, 18, 0, last));
    }
    let renewal = |id, last| {
        let address = Ipv4Addr::new(198, 18, 0, last);
        says(3, id).ciaddr(address).src(address).dst(SERVER).dst_mac(server_mac(0))
    };
    let ack = |id: &[u8], last| {
        let ack = ack_to(mac, Ipv4Addr::new(198, 18, 0, last), |frame| frame);
        ack.option(3, &[198, 18, 0, 1]).option(61, id)
    };
    let cases = [
        answer("the first", &renewal(b"first", 13), ack(b"first", 13)),
        answer("the second", &renewal(b"second", 14), ack(b"second", 14)),
        pass("one with the other's address", &renewal(b"first", 14), Reason::Fingerprint),
    ];
    assert_all(&mut lab, &cases);
}

/// Identifiers of every length come back (RFC 6842), wherever they stand.
#[test]
fn identifiers_of_any_length_are_echoed() {
    for len in [1_usize, 2, 7, 64, 254, 255] {
        let mut lab = Lab::new().unwrap();
        let mac = [2, 0x10, 0, 0, 0, 8];
        let id: Vec<u8> = (0..len).map(|at| u8::try_from(at).unwrap() | 1).collect();
        let says = |kind| Frame::request(kind, mac).option(55, &[3]).option(61, &id).bootp_len_min(0);
        let address = lab.join(says).unwrap();
        let renewal = says(3).ciaddr(address).src(address).dst(SERVER).dst_mac(server_mac(0));
        let ack = ack_to(mac, address, |frame| frame).option(3, &[198, 18, 0, 1]).option(61, &id);
        assert_all(&mut lab, &[answer("echoed", &renewal, ack)]);
    }
}

#[test]
fn anything_new_in_the_options_brings_the_daemon_in() {
    let mut lab = Lab::new().unwrap();
    let renewal = Who::Plain.renews();
    let other_list = |list: &[u8]| {
        let frame = renewal.clone().no_options().option(53, &[3]).option(55, list).option(57, &[5, 220]);
        frame.option(61, &Who::Plain.id())
    };
    let size = |size: u16| {
        let frame = renewal.clone().no_options().option(53, &[3]).option(55, &[1, 3, 6]);
        frame.option(57, &size.to_be_bytes()).option(61, &Who::Plain.id())
    };
    let mut cases = vec![
        pass("overload", &renewal.clone().option(52, &[1]), Reason::Fingerprint),
        pass("overload in use", &renewal.clone().option(52, &[1]).file([255; 128]), Reason::NamesInUse),
        pass(
            "a server name",
            &renewal.clone().sname(std::array::from_fn(|at| u8::from(at == 0))),
            Reason::NamesInUse,
        ),
        pass(
            "another lease time",
            &renewal.clone().option(51, &LEASE_SECS.to_be_bytes()),
            Reason::Fingerprint,
        ),
        pass("another list", &other_list(&[1, 6, 3]), Reason::Fingerprint),
        pass("a shorter list", &other_list(&[1, 3]), Reason::Fingerprint),
        pass("a smaller message", &size(576), Reason::Fingerprint),
        pass("a larger message", &size(1501), Reason::Fingerprint),
        pass("the type twice", &renewal.clone().option(53, &[3]), Reason::Fingerprint),
        pass("the list in two parts", &renewal.clone().option(55, &[15]), Reason::Fingerprint),
        pass(
            "an option that runs out of the message",
            &renewal.clone().raw_options(&[12, 200, 1]),
            Reason::Fingerprint,
        ),
        pass("octets behind the end", &renewal.clone().raw_options(&[255, 12, 1, 65]), Reason::Fingerprint),
        pass(
            "pads between the options",
            &renewal.clone().no_options().raw_options(&[0, 53, 1, 3]),
            Reason::Fingerprint,
        ),
        pass("too many octets", &renewal.clone().bootp_len_min(561), Reason::OptionsTooLong),
    ];
    for code in [12, 60, 77, 81, 82, 90, 93, 97, 116, 118, 124, 125] {
        cases.push(pass(
            "an option it did not have",
            &renewal.clone().option(code, &[1, 2, 3, 4]),
            Reason::Fingerprint,
        ));
    }
    let unclosed = Case {
        name: "no end option",
        frame: renewal.build_unclosed(),
        expected: Expected::Pass(Reason::Fingerprint),
    };
    cases.push(unclosed);
    assert_all(&mut lab, &cases);
}

#[test]
fn what_relays_say_must_be_what_they_said() {
    let mut lab = Lab::new().unwrap();
    let relayed = Who::Relayed.relays();
    let other = [1, 4, 0, 7, 0, 2, 2, 4, 9, 8, 7, 6];
    let cases = [
        pass("another circuit", &relayed.clone().option(82, &other), Reason::Fingerprint),
        pass("no option 82", &relayed, Reason::Fingerprint),
        pass("link selection", &relayed.clone().option(82, &[5, 4, 198, 18, 0, 0]), Reason::Fingerprint),
        pass(
            "another relay",
            &relayed.clone().giaddr(Ipv4Addr::new(198, 18, 7, 2)).option(82, &RELAY_INFORMATION),
            Reason::Fingerprint,
        ),
        pass("more hops", &relayed.clone().hops(2).option(82, &RELAY_INFORMATION), Reason::Fingerprint),
        pass(
            "option 82 of a client",
            &Who::Plain.renews().option(82, &RELAY_INFORMATION),
            Reason::Fingerprint,
        ),
    ];
    assert_all(&mut lab, &cases);
}

/// RFC 8357: a relay that wants its answers at the port it sends from is answered by the daemon alone.
#[test]
fn relays_with_a_port_of_their_own_stay_with_the_daemon() {
    let mut lab = Lab::new().unwrap();
    let information = [19, 0, 1, 1, 9];
    let renewal = Who::Relayed.relays().src_port(4_067).option(82, &information);
    assert_all(&mut lab, &[pass("the first", &renewal, Reason::Fingerprint)]);
    assert_eq!(lab.ask(&renewal.build()).unwrap().dst_port, 4_067);
    assert_all(&mut lab, &[pass("the next", &renewal, Reason::UnknownForm)]);
}

/// RFC 5107: what relays tell clients to take for the server. Sent to another address of ours, such a renewal is answered
/// from there; sent to everybody, from the interface's: the one answer known to the kernel fits only the first.
#[test]
fn the_relays_word_for_the_server_is_kept() {
    let mut lab = Lab::new().unwrap();
    let information = [11, 4, 198, 18, 7, 1];
    for (server, everybody) in [(SERVER, Reason::Answered), (OTHER_SERVER, Reason::OtherAddress)] {
        let renewal = Who::Relayed.relays().dst(server).option(82, &information);
        let said = lab.ask(&renewal.build()).unwrap();
        assert_eq!((said.src, said.option_address(54)), (server, Some(RELAY)));
        let verdict = lab.judge(&renewal.build()).unwrap();
        assert_eq!(Message::parse(&verdict.frame).unwrap(), said);
        let to_all = renewal.dst(Ipv4Addr::BROADCAST).dst_mac([0xff; 6]).build();
        assert_eq!(lab.judge(&to_all).unwrap().reason, everybody, "after a renewal sent to {server}");
        let (_, sent) = lab.world.deliver(0, &to_all).unwrap();
        assert_eq!(Message::parse(&sent[0]).unwrap().src, SERVER);
    }
}

/// What the daemon makes of what the kernel passed: the states are told apart there.
#[test]
fn the_daemon_tells_the_states_apart() {
    let mut lab = Lab::new().unwrap();
    let (plain, address) = (Who::Plain, Who::Plain.address().octets());
    let cases = [
        (plain.says(1), SlowReason::Offered),
        (plain.says(3).option(50, &address).option(54, &SERVER.octets()), SlowReason::AckedNew),
        (plain.says(3).option(50, &address).option(54, &[198, 18, 0, 2]), SlowReason::IgnoredOtherServer),
        (plain.says(3).option(50, &address), SlowReason::AckedReboot),
        (plain.says(3).option(50, &[198, 18, 0, 77]), SlowReason::NakWrongAddress),
        (plain.renews().option(12, b"new"), SlowReason::AckedRenewal),
        (plain.rebinds().option(12, b"new"), SlowReason::AckedRebinding),
        (plain.renews().option(54, &[198, 18, 0, 2]), SlowReason::IgnoredOtherServer),
    ];
    for (frame, reason) in cases {
        let verdict = lab.judge(&frame.build()).unwrap();
        assert_eq!(verdict.daemon, Some(reason));
        assert_ne!(verdict.reason, Reason::Answered);
    }
}
