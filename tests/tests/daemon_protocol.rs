//! RFC 2131 on the wire: how the daemon's replies are addressed, padded and summed, and what INFORM, DECLINE, rapid commit
//! and refusals look like. What is inside a reply is the engine's to prove; here it is what leaves the machine.

use std::{net::Ipv4Addr, time::Duration};

use dhcp_tests::{
    client::scripted::Scripted,
    lab::{self, Cable, SERVER, SERVER_MAC, Server, Stats, set, wait_lease},
    parse::Message,
};
use serde_json::json;

/// The flag with which a client asks for broadcasts.
const BROADCAST: u16 = 0x8000;

const SOON: Duration = Duration::from_secs(10);

/// What holds for each reply; its checksums were checked when it was taken apart.
fn assert_sound(reply: &Message, frame: &[u8]) {
    assert_eq!((reply.src_mac, reply.src, reply.src_port), (SERVER_MAC, SERVER, 67));
    assert_eq!((reply.op, reply.htype, reply.hlen, reply.hops, reply.secs), (2, 1, 6, 0, 0));
    assert_eq!(reply.option_address(54), Some(SERVER));
    assert!(reply.bootp_len >= 300, "{} octets (RFC 1542 section 2.1)", reply.bootp_len);
    assert_eq!(frame.len(), 14 + 20 + 8 + reply.bootp_len, "octets behind the datagram");
    assert_ne!(frame.get(40..42), Some(&[0, 0][..]), "no UDP checksum");
}

#[test]
fn replies_go_to_the_hardware_address_unless_broadcast_is_asked_for() {
    let server = Server::new().unwrap();
    let cable = Cable::new(&server).unwrap();
    let _daemon = server.start(&server.config()).unwrap();
    let client = Scripted::new(&cable.socket, 1);
    let address = client.dora().unwrap().address;
    let discover = client.message(1, &[]);
    let request = client.message(3, &[(50, &address.octets()), (54, &SERVER.octets())]);
    for (what, frame, kind) in [("DISCOVER", discover, 2), ("REQUEST", request, 5)] {
        let (reply, octets) = client.ask(&frame).unwrap();
        assert_sound(&reply, &octets);
        assert_eq!((reply.kind(), reply.yiaddr, reply.flags), (kind, address, 0), "{what}");
        // The client has no address to answer ARP for: the frame is for its hardware address.
        assert_eq!((reply.dst_mac, reply.dst, reply.dst_port), (client.mac(), address, 68), "{what}");

        let (reply, octets) = client.ask(&frame.flags(BROADCAST)).unwrap();
        assert_sound(&reply, &octets);
        assert_eq!((reply.kind(), reply.yiaddr, reply.flags), (kind, address, BROADCAST), "{what}");
        assert_eq!(
            (reply.dst_mac, reply.dst, reply.dst_port),
            ([0xff; 6], Ipv4Addr::BROADCAST, 68),
            "{what}"
        );
    }
    // Nobody was asked by ARP, which the client could not have answered.
    let neighbours = server.ns.ip("neighbour show dev s0").unwrap();
    assert!(!neighbours.contains(&address.to_string()), "{neighbours}");
    // A client with an address is answered there, whatever its flag says (RFC 2131 section 4.1).
    let (reply, octets) = client.ask(&client.renewal(address).flags(BROADCAST)).unwrap();
    assert_sound(&reply, &octets);
    assert_eq!((reply.kind(), reply.dst_mac, reply.dst), (5, client.mac(), address));
}

#[test]
fn inform_is_answered_with_options_and_without_an_address() {
    let server = Server::new().unwrap();
    let cable = Cable::new(&server).unwrap();
    let daemon = server.start(&server.config()).unwrap();
    let client = Scripted::new(&cable.socket, 1);
    let own = Ipv4Addr::new(198, 18, 7, 7);
    let inform = client.message(8, &[]).ciaddr(own).src(own);
    for frame in [inform.clone(), inform.dst(SERVER).dst_mac(SERVER_MAC)] {
        let (reply, octets) = client.ask(&frame).unwrap();
        assert_sound(&reply, &octets);
        assert_eq!((reply.kind(), reply.yiaddr), (5, Ipv4Addr::UNSPECIFIED));
        assert_eq!((reply.dst_mac, reply.dst, reply.dst_port), (client.mac(), own, 68));
        assert_eq!((reply.option(51), reply.option(58), reply.option(59)), (None, None, None));
        assert_eq!(reply.option(6), Some(vec![198, 18, 0, 53]));
    }
    let stats = Stats::of(&daemon).unwrap();
    assert_eq!((stats.messages("acked_inform"), stats.answered()), (2, 0));
    assert_eq!(stats.0.pointer("/leases/bound"), None, "an INFORM made a lease");
}

#[test]
fn a_declined_address_is_nobodys_for_a_while() {
    let server = Server::new().unwrap();
    let cable = Cable::new(&server).unwrap();
    let mut config = server.config();
    set(&mut config, "/dhcp/subnets/0/pools", json!([{"range": "198.18.1.10-198.18.1.11"}]));
    let daemon = server.start(&config).unwrap();
    let client = Scripted::new(&cable.socket, 1);
    let declined = client.dora().unwrap().address;
    let words = [(50, &declined.octets()[..]), (54, &SERVER.octets()[..])];
    client.ask_in_vain(&client.message(4, &words)).unwrap();
    let quarantined =
        |lease: &serde_json::Value| lease["state"] == "quarantined" && lease["kernel"].is_null();
    wait_lease(&daemon, declined, SOON, "the quarantine", quarantined).unwrap();
    // Its renewal is refused, and not by the kernel.
    let (nak, _) = client.ask(&client.rebinding(declined)).unwrap();
    assert_eq!(nak.kind(), 6);
    assert_eq!(Stats::of(&daemon).unwrap().answered(), 0);
    // The client gets the other address, and the next one gets none.
    assert_ne!(client.dora().unwrap().address, declined);
    let next = Scripted::new(&cable.socket, 2);
    next.ask_in_vain(&next.message(1, &[])).unwrap();
    assert_eq!(Stats::of(&daemon).unwrap().messages("ignored_no_free_address"), 1);
}

#[test]
fn a_refusal_is_broadcast() {
    let server = Server::new().unwrap();
    let cable = Cable::new(&server).unwrap();
    let daemon = server.start(&server.config()).unwrap();
    let client = Scripted::new(&cable.socket, 1);
    client.dora().unwrap();
    let elsewhere = Ipv4Addr::new(198, 19, 5, 5);
    // INIT-REBOOT with an address of another network.
    let (nak, octets) = client.ask(&client.message(3, &[(50, &elsewhere.octets())])).unwrap();
    assert_sound(&nak, &octets);
    assert_eq!((nak.kind(), nak.yiaddr, nak.ciaddr), (6, Ipv4Addr::UNSPECIFIED, Ipv4Addr::UNSPECIFIED));
    assert_eq!((nak.dst_mac, nak.dst, nak.dst_port), ([0xff; 6], Ipv4Addr::BROADCAST, 68));
    assert_eq!((nak.option(51), nak.option(6)), (None, None));
    // A client we know nothing of is another server's: silence (RFC 2131 section 4.3.2).
    let stranger = Scripted::new(&cable.socket, 2);
    let known = Ipv4Addr::new(198, 18, 1, 77);
    stranger.ask_in_vain(&stranger.message(3, &[(50, &known.octets())])).unwrap();
    assert_eq!(Stats::of(&daemon).unwrap().messages("ignored_no_record"), 1);
}

#[test]
fn rapid_commit_takes_two_messages_and_renews_in_the_kernel() {
    let server = Server::new().unwrap();
    let cable = Cable::new(&server).unwrap();
    let daemon = server.start(&server.config()).unwrap();
    let client = Scripted::new(&cable.socket, 1);
    let (ack, octets) = client.ask(&client.message(1, &[(80, &[])])).unwrap();
    assert_sound(&ack, &octets);
    assert_eq!((ack.kind(), ack.option(80)), (5, Some(Vec::new())));
    let address = ack.yiaddr;
    assert_eq!(lab::lease(&daemon, address).unwrap()["state"], json!("bound"));
    for _ in 0..2 {
        let (ack, _) = client.ask(&client.renewal(address)).unwrap();
        assert_eq!((ack.kind(), ack.yiaddr, ack.option(80)), (5, address, None));
    }
    // The first renewal is one the daemon cannot have foreseen (it has seen no REQUEST), the second one it has.
    let stats = Stats::of(&daemon).unwrap();
    assert_eq!((stats.renewed_by_daemon(), stats.answered()), (1, 1), "{:#}", stats.0);
}

#[test]
fn frames_for_others_and_spoilt_ones_are_not_answered() {
    let server = Server::new().unwrap();
    let cable = Cable::new(&server).unwrap();
    let daemon = server.start(&server.config()).unwrap();
    let client = Scripted::new(&cable.socket, 1);
    let lease = client.dora().unwrap();
    let renewal = client.renewal(lease.address);
    let other = Ipv4Addr::new(198, 18, 0, 99);
    client.ask_in_vain(&renewal.clone().dst(other)).unwrap();
    client.ask_in_vain(&renewal.clone().dst_mac([2, 0, 0, 0, 0, 0x77])).unwrap();
    client.ask_in_vain(&renewal.clone().op(2)).unwrap();
    client.ask_in_vain(&renewal.clone().cookie([1, 2, 3, 4])).unwrap();
    client.ask_in_vain(&renewal.clone().fragment(0x2000)).unwrap();
    let stats = Stats::of(&daemon).unwrap();
    assert_eq!((stats.answered(), stats.renewed_by_daemon()), (0, 0), "{:#}", stats.0);
    let reasons = ["other_address", "other_mac", "not_request", "not_cookie", "fragment"];
    assert_eq!(reasons.map(|reason| stats.passed(reason)), [1; 5], "{:#}", stats.0);
    // And the right one is answered still.
    assert_eq!(client.ask(&renewal).unwrap().0.kind(), 5);
    assert_eq!(Stats::of(&daemon).unwrap().answered(), 1);
}

#[test]
fn an_answer_much_longer_than_the_request_is_the_kernels_too() {
    let server = Server::new().unwrap();
    let cable = Cable::new(&server).unwrap();
    let mut config = server.config();
    let long = json!([{"code": 224, "type": "string", "value": "x".repeat(180), "always": true}]);
    set(&mut config, "/dhcp/options", long);
    let daemon = server.start(&config).unwrap();
    // As short as networkd's, which does not pad: on a veth pair there may be no room behind the frame.
    let client = Scripted::new(&cable.socket, 1);
    let address = client.dora().unwrap().address;
    for (count, len_min) in (1..).zip([300, 272, 260]) {
        let (ack, octets) = client.ask(&client.renewal(address).bootp_len_min(len_min)).unwrap();
        assert_sound(&ack, &octets);
        assert_eq!((ack.kind(), ack.yiaddr, ack.option(224)), (5, address, Some(vec![b'x'; 180])));
        let stats = Stats::of(&daemon).unwrap();
        assert_eq!(stats.answered(), count, "a request of {len_min} octets: {:#}", stats.0);
    }
}
