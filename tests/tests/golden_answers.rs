//! Golden frames: what an answer says and where it goes (RFC 2131 sections 4.1 and 4.3.1, RFC 3046, RFC 1542), what may be
//! odd about the packet it answers, and the faults seen in another server's XDP program.

use std::net::Ipv4Addr;

use dhcp_common::reason::Reason;
use dhcp_tests::{
    oracle::{
        lab::{
            Case, Expected, LEASE_SECS, Lab, NAME_SERVER, OTHER_SERVER, RELAY_INFORMATION, SERVER, Who,
            ack_to, answer, assert_all, pass, plain_ack, relayed_ack,
        },
        world::server_mac,
    },
    packet::{Checksum, Frame},
    parse::Message,
};

/// A frame with octets put right or wrong by hand.
fn edited(name: &'static str, frame: &Frame, edit: impl FnOnce(&mut Vec<u8>), expected: Expected) -> Case {
    let mut frame = frame.build();
    edit(&mut frame);
    Case { name, frame, expected }
}

#[test]
fn answers_go_where_the_rfcs_send_them() {
    let mut lab = Lab::new().unwrap();
    let renewal = Who::Plain.renews();
    let relayed = Who::Relayed.relays().option(82, &RELAY_INFORMATION);
    let relayed_ack = relayed_ack().option(82, &RELAY_INFORMATION);
    let cases = [
        answer(
            "ciaddr comes before the broadcast bit",
            &renewal.clone().flags(0x8000),
            plain_ack().flags(0x8000),
        ),
        answer("all flags come back", &renewal.clone().flags(0xffff), plain_ack().flags(0xffff)),
        answer(
            "the relay's broadcast bit is its own",
            &relayed.clone().flags(0x8000),
            relayed_ack.clone().flags(0x8000),
        ),
        answer("xid comes back, secs does not", &renewal.clone().xid(0).secs(0xffff), plain_ack().xid(0)),
        answer("whatever port a client has, 68 is its", &renewal.clone().src_port(1_068), plain_ack()),
        answer("whatever port a relay has, 67 is its", &relayed.clone().src_port(1_067), relayed_ack),
        answer("to our address in a broadcast frame", &renewal.clone().dst_mac([0xff; 6]), plain_ack()),
        pass(
            "to another host's Ethernet address",
            &renewal.clone().dst_mac([2, 0, 0, 0, 0, 0x0b]),
            Reason::OtherMac,
        ),
        pass("to an Ethernet group", &renewal.clone().dst_mac([1, 0, 0x5e, 0, 0, 1]), Reason::OtherMac),
        pass(
            "to the subnet's broadcast address",
            &renewal.clone().dst(Ipv4Addr::new(198, 18, 0, 255)),
            Reason::OtherAddress,
        ),
        pass("to another address of ours", &renewal.clone().dst(OTHER_SERVER), Reason::OtherAddress),
        pass("to a group", &renewal.clone().dst(Ipv4Addr::new(224, 0, 0, 12)), Reason::OtherAddress),
        pass(
            "by broadcast on a link that is not its subnet's",
            &Who::Relayed.rebinds(),
            Reason::OtherAddress,
        ),
    ];
    assert_all(&mut lab, &cases);
}

#[test]
fn boot_server_and_file_are_in_the_answer() {
    let mut lab = Lab::new().unwrap();
    let mut sname = [0; 64];
    sname[..16].copy_from_slice(b"boot.example.org");
    let mut file = [0; 128];
    file[..8].copy_from_slice(b"ipxe.efi");
    let ack = Who::Boots.ack().siaddr(Ipv4Addr::new(198, 18, 0, 9)).sname(sname).file(file);
    let ack = ack.option(3, &SERVER.octets()).option(6, &NAME_SERVER).option(61, &Who::Boots.id());
    let renewal = Who::Boots.renews();
    let to_boot_server = renewal.clone().dst(Ipv4Addr::new(198, 18, 0, 9));
    assert_all(
        &mut lab,
        &[
            answer("siaddr, sname and file", &renewal, ack),
            pass("a client that renews with its boot server", &to_boot_server, Reason::OtherAddress),
        ],
    );
}

#[test]
fn the_relays_option_is_repeated_whole_and_last() {
    let mut lab = Lab::new().unwrap();
    let first = Who::Relayed.relays().no_options().option(53, &[3]).option(82, &RELAY_INFORMATION);
    let first = first.option(55, &[1, 3, 6]).option(57, &[5, 220]).option(61, &Who::Relayed.id());
    assert_all(&mut lab, &[pass("where it was not before", &first, Reason::Fingerprint)]);
    lab.ask(&first.build()).unwrap();
    let ack = relayed_ack().option(82, &RELAY_INFORMATION);
    assert_all(&mut lab, &[answer("wherever it stands in the request", &first, ack)]);

    for len in [0_u8, 1, 2, 100] {
        let mut information = vec![151, len];
        information.resize(usize::from(len) + 2, 7);
        let long = Who::Relayed.relays().option(82, &information);
        lab.ask(&long.build()).unwrap();
        let ack = relayed_ack().option(82, &information);
        assert_all(&mut lab, &[answer("of any length, on odd octets and even ones", &long, ack)]);
    }
}

#[test]
fn lease_times_and_parameters_are_those_of_the_daemon() {
    let mut lab = Lab::new().unwrap();
    let mac = [2, 0x10, 0, 0, 0, 6];
    let address = Ipv4Addr::new(198, 18, 0, 16);
    let says = |kind| Frame::request(kind, mac).option(55, &[6, 108, 3, 99, 6]);
    let renewal = says(3).ciaddr(address).src(address).dst(SERVER).dst_mac(server_mac(0));
    assert_eq!(lab.join(says).unwrap(), address);
    let times = |lease: u32, t1: u32, t2: u32| {
        let ack =
            ack_to(mac, address, |frame| frame).no_options().option(53, &[5]).option(54, &SERVER.octets());
        let ack = ack.option(51, &lease.to_be_bytes()).option(58, &t1.to_be_bytes());
        ack.option(59, &t2.to_be_bytes()).option(1, &[255, 255, 255, 0])
    };
    let in_its_order = |ack: Frame| {
        ack.option(6, &NAME_SERVER).option(108, &1_800_u32.to_be_bytes()).option(3, &SERVER.octets())
    };
    let ack = in_its_order(times(LEASE_SECS, 900, 2_880));
    assert_all(&mut lab, &[answer("T1, T2, the client's order, 108 because it asked", &renewal, ack)]);

    for (wish, lease) in [(900, 900), (1, 600), (u32::MAX, 7_200)] {
        let wishing = renewal.clone().option(51, &u32::to_be_bytes(wish));
        lab.ask(&wishing.build()).unwrap();
        let ack = in_its_order(times(lease, lease / 4, lease / 5 * 4));
        assert_all(&mut lab, &[answer("the lease time it wishes, within bounds", &wishing, ack)]);
    }
    let silent = renewal.no_options().option(53, &[3]);
    lab.ask(&silent.build()).unwrap();
    let ack = times(LEASE_SECS, 900, 2_880).option(3, &SERVER.octets()).option(6, &NAME_SERVER);
    assert_all(&mut lab, &[answer("all parameters for who names none, but not 108", &silent, ack)]);
}

#[test]
fn odd_packets_that_are_right_are_answered() {
    let mut lab = Lab::new().unwrap();
    let renewal = Who::Plain.renews();
    let cases = [
        answer(
            "Ethernet's padding behind the datagram",
            &renewal.clone().trailer(vec![0xa5; 46]),
            plain_ack(),
        ),
        answer("no checksum", &renewal.clone().udp_checksum(Checksum::Absent), plain_ack()),
        answer("fields of the packet's own", &renewal.clone().tos(0xff).ttl(1).ip_id(0xffff), plain_ack()),
        answer("don't fragment", &renewal.clone().fragment(0x4000), plain_ack()),
        answer("not padded to 300 octets", &renewal.clone().bootp_len_min(0), plain_ack()),
        answer("exactly 300 octets", &renewal.clone().bootp_len_min(300), plain_ack()),
        answer("padded to the last octet looked at", &renewal.clone().bootp_len_min(240 + 288), plain_ack()),
        edited(
            "a UDP datagram shorter than its packet",
            &renewal.clone().udp_checksum(Checksum::Absent),
            |frame| {
                frame.extend([0; 10]);
                let total = u16::from_be_bytes([frame[16], frame[17]]) + 10;
                frame[16..18].copy_from_slice(&total.to_be_bytes());
            },
            Expected::Answer(Box::new(plain_ack())),
        ),
        answer("priority-tagged", &renewal.clone().tag(0x8100, 0xe000), plain_ack().tag(0x8100, 0xe000)),
        answer(
            "the tag's priority stays",
            &Who::Plain.renews().tag(0x8100, 0x2000),
            plain_ack().tag(0x8100, 0x2000),
        ),
    ];
    assert_all(&mut lab, &cases);
}

/// The kernel looks at no checksum of a request: what the answer depends on is vouched for by the fingerprint, and
/// damage to anything else (`xid`, `secs`, `flags`, ports, the checksum itself) can only make an answer its client does
/// not take. This is the one thing in which the daemon, which drops such a frame, is another judge: stated here so that
/// a change of either is noticed. The answer's own checksums are right.
#[test]
fn wrong_checksums_of_requests_are_not_looked_at() {
    let mut lab = Lab::new().unwrap();
    let cases = [
        answer("UDP", &Who::Plain.renews().udp_checksum(Checksum::Wrong), plain_ack()),
        edited(
            "IPv4",
            &Who::Plain.renews(),
            |frame| frame[24] ^= 0xff,
            Expected::Answer(Box::new(plain_ack())),
        ),
    ];
    assert_all(&mut lab, &cases);
}

#[test]
fn packets_that_are_not_right_are_passed() {
    let mut lab = Lab::new().unwrap();
    let renewal = Who::Plain.renews();
    let set =
        |at: usize, octets: [u8; 2]| move |frame: &mut Vec<u8>| frame[at..at + 2].copy_from_slice(&octets);
    let wrong = |reason| Expected::Pass(reason);
    let mut cases = vec![
        pass("IHL 6", &renewal.clone().ip_options(vec![1; 4]), Reason::Ipv4Options),
        pass("IHL 15", &renewal.clone().ip_options(vec![1; 40]), Reason::Ipv4Options),
        edited("IHL 4", &renewal, |frame| frame[14] = 0x44, wrong(Reason::NotIpv4)),
        edited("version 6", &renewal, |frame| frame[14] = 0x65, wrong(Reason::NotIpv4)),
        pass("more fragments", &renewal.clone().fragment(0x2000), Reason::Fragment),
        pass("a later fragment", &renewal.clone().fragment(1), Reason::Fragment),
        pass("the last fragment", &renewal.clone().fragment(0x1fff), Reason::Fragment),
        edited("a packet longer than the frame", &renewal, set(16, [1, 0xff]), wrong(Reason::Truncated)),
        edited("a packet shorter than its datagram", &renewal, set(16, [0, 28]), wrong(Reason::Truncated)),
        edited("a datagram longer than its packet", &renewal, set(38, [1, 0xff]), wrong(Reason::Truncated)),
        edited("a datagram shorter than its header", &renewal, set(38, [0, 7]), wrong(Reason::Truncated)),
        edited("a datagram without room for options", &renewal, set(38, [0, 248]), wrong(Reason::Truncated)),
        edited("cut inside its options", &renewal, set(38, [1, 0]), wrong(Reason::Fingerprint)),
        pass("TCP", &renewal.clone().ip_protocol(6), Reason::NotDhcp),
        pass("to another port", &renewal.clone().dst_port(68), Reason::NotDhcp),
        pass("ARP", &renewal.clone().ether_type(0x0806), Reason::NotIpv4),
        pass("IPv6", &renewal.clone().ether_type(0x86dd), Reason::NotIpv4),
        pass(
            "three tags",
            &renewal.clone().tag(0x88a8, 1).tag(0x8100, 2).tag(0x8100, 3),
            Reason::TooManyTags,
        ),
        pass("a tag of another kind", &renewal.clone().tag(0x9100, 0), Reason::NotIpv4),
        pass("a reply", &renewal.clone().op(2), Reason::NotRequest),
        pass("neither request nor reply", &renewal.clone().op(0), Reason::NotRequest),
        pass("another cookie", &renewal.clone().cookie([0; 4]), Reason::NotCookie),
    ];
    // Every length a frame can be cut to, down to the least the kernel takes.
    let whole = renewal.build();
    cases.extend((14..whole.len()).map(|len| Case {
        name: "cut short",
        frame: whole[..len].to_vec(),
        expected: Expected::Pass(Reason::Truncated),
    }));
    assert_all(&mut lab, &cases);
}

/// The faults listed of another server's XDP program, in their order; 2 and 10 (clocks, renewals nobody hears of) and
/// 11 (counted before the configuration is known to be there) are in `golden_reasons.rs`.
#[test]
fn faults_of_another_server() {
    let mut lab = Lab::new().unwrap();
    let (plain, address) = (Who::Plain, Who::Plain.address().octets());
    let selecting = |server: [u8; 4]| plain.says(3).option(50, &address).option(54, &server);
    let cases = [
        pass("1: SELECTING of another server is no renewal", &selecting([198, 18, 0, 2]), Reason::NotRenewal),
        pass(
            "1: INIT-REBOOT for a wrong address is no renewal",
            &plain.says(3).option(50, &[198, 18, 0, 99]),
            Reason::NotRenewal,
        ),
        answer("1: xid is the request's", &plain.renews().xid(0xfeed_beef), plain_ack().xid(0xfeed_beef)),
        pass(
            "3: a failure changes nothing, 60 octets of options or not",
            &plain.renews().bootp_len_min(300).option(12, b"x"),
            Reason::Fingerprint,
        ),
        answer(
            "4: option 82 comes back",
            &Who::Relayed.relays().option(82, &RELAY_INFORMATION),
            relayed_ack().option(82, &RELAY_INFORMATION),
        ),
        pass("7: IPv4 options", &plain.renews().ip_options(vec![1; 8]), Reason::Ipv4Options),
        pass("7: fragments", &plain.renews().fragment(0x2000), Reason::Fragment),
        answer("8: a renewal is answered by unicast", &plain.rebinds(), plain_ack()),
        pass(
            "9: the hardware address is not the client",
            &plain.renews().no_options().option(53, &[3]),
            Reason::Fingerprint,
        ),
        pass("9: htype", &plain.renews().htype(6), Reason::Hardware),
        pass("9: hlen", &plain.renews().hlen(8), Reason::Hardware),
    ];
    assert_all(&mut lab, &cases);

    // 5: options are where the client puts them, the type and option 82 too.
    let moved =
        Who::Relayed.relays().no_options().option(61, &Who::Relayed.id()).option(82, &RELAY_INFORMATION);
    let moved = moved.option(55, &[1, 3, 6]).option(53, &[3]);
    lab.ask(&moved.build()).unwrap();
    assert_all(&mut lab, &[answer("5", &moved, relayed_ack().option(82, &RELAY_INFORMATION))]);

    // 6 and 7: at least 300 octets, and a checksum that is there and right.
    let sent = lab.judge(&plain.renews().udp_checksum(Checksum::Absent).build()).unwrap().frame;
    let message = Message::parse(&sent).unwrap();
    assert!(message.bootp_len >= 300 && sent[40..42] != [0, 0]);

    // 11: without the daemon's word nothing is answered, nothing counted as a hit.
    let before = lab.world.kernel.counters().unwrap();
    lab.world.set_authority_until_boot_ns(0);
    assert_all(&mut lab, &[pass("11", &plain.renews(), Reason::Authority)]);
    let after = lab.world.kernel.counters().unwrap();
    assert_eq!((after.answered, after.authority), (before.answered, before.authority + 1));
}
