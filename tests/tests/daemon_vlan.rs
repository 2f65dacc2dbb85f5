//! Clients behind one and two VLAN tags, by frames: leases from the daemon and renewals from the kernel, both with the
//! tags the request had, and nothing from the kernel on another VLAN.

use dhcp_tests::{
    client::scripted::Scripted,
    lab::{Cable, INTERFACE, SERVER_MAC, Server, Stats, set},
};
use serde_json::json;

/// IEEE 802.1Q.
const VLAN: u16 = 0x8100;

/// IEEE 802.1ad, the outer of two.
const QINQ: u16 = 0x88a8;

/// TPID and TCI of each tag, the outer one first.
type Tags<'a> = &'a [(u16, u16)];

#[test]
fn tags_are_kept_and_tell_clients_apart() {
    let server = Server::new().unwrap();
    let cable = Cable::new(&server).unwrap();
    let mut config = server.config();
    let subnet = |third: u8, key: &str, tags: serde_json::Value| {
        json!({
            "subnet": format!("198.19.{third}.0/24"),
            "interface": INTERFACE,
            key: tags,
            "pools": [{"range": format!("198.19.{third}.10-198.19.{third}.20")}],
        })
    };
    let untagged = config["dhcp"]["subnets"][0].take();
    let all = json!([
        untagged,
        subnet(10, "vlan", json!(10)),
        subnet(20, "vlan", json!(20)),
        subnet(30, "vlans", json!([100, 200])),
    ]);
    set(&mut config, "/dhcp/subnets", all);
    let daemon = server.start(&config).unwrap();

    let bare = Scripted::new(&cable.socket, 1);
    // Priority 3 beside VLAN 10, 5 and 1 beside the two.
    let (on_10, on_20) = ([(VLAN, 0x6000 | 10)], [(VLAN, 20)]);
    let on_both = [(QINQ, 0xa000 | 100), (VLAN, 0x2000 | 200)];
    let cases: [(Tags<'_>, [u8; 3]); 4] =
        [(&[], [198, 18, 1]), (&on_10, [198, 19, 10]), (&on_20, [198, 19, 20]), (&on_both, [198, 19, 30])];
    let mut answered = 0;
    let mut leases = Vec::new();
    for (tags, [a, b, c]) in cases {
        let client = bare.clone().on(tags);
        let lease = client.dora().unwrap();
        let [x, y, z, _] = lease.address.octets();
        assert_eq!([x, y, z], [a, b, c], "{tags:?}");
        assert_eq!((&lease.offer.tags[..], &lease.ack.tags[..]), (tags, tags));
        for renewal in [client.renewal(lease.address), client.rebinding(lease.address)] {
            let (ack, _) = client.ask(&renewal).unwrap();
            assert_eq!((ack.kind(), ack.yiaddr, ack.dst), (5, lease.address, lease.address), "{tags:?}");
            assert_eq!((&ack.tags[..], ack.src_mac, ack.dst_mac), (tags, SERVER_MAC, client.mac()));
            answered += 1;
            assert_eq!(Stats::of(&daemon).unwrap().answered(), answered, "{tags:?}");
        }
        leases.push(lease.address);
    }
    // On any other VLAN the same client's rebinding is the daemon's to judge, and wrong for the link.
    for (i, (tags, _)) in cases.iter().enumerate() {
        for (j, address) in leases.iter().enumerate().filter(|(j, _)| *j != i) {
            let client = bare.clone().on(tags);
            let (nak, _) = client.ask(&client.rebinding(*address)).unwrap();
            assert_eq!((nak.kind(), &nak.tags[..]), (6, *tags), "{address} of {j} on {tags:?}");
        }
    }
    // Where no subnet is, nobody answers.
    for tags in [&[(VLAN, 11)][..], &[(QINQ, 200), (VLAN, 100)], &[(VLAN, 10), (VLAN, 10)]] {
        let client = bare.clone().on(tags);
        client.ask_in_vain(&client.rebinding(leases[1])).unwrap();
        client.ask_in_vain(&client.message(1, &[])).unwrap();
    }
    let stats = Stats::of(&daemon).unwrap();
    assert_eq!((stats.answered(), stats.renewed_by_daemon()), (answered, 0), "{:#}", stats.0);
    assert_eq!(stats.passed("fingerprint"), 12 + 3, "{:#}", stats.0);

    // A renewal sent straight to us may have come through a router, so no link is wrong for it: but the kernel, which
    // knows it from another link, leaves that to the daemon.
    let client = bare.on(&on_20);
    let (ack, _) = client.ask(&client.renewal(leases[1])).unwrap();
    assert_eq!((ack.kind(), &ack.tags[..]), (5, &on_20[..]));
    let stats = Stats::of(&daemon).unwrap();
    assert_eq!((stats.answered(), stats.renewed_by_daemon()), (answered, 1), "{:#}", stats.0);
}

#[test]
fn three_tags_are_nobodys() {
    let server = Server::new().unwrap();
    let cable = Cable::new(&server).unwrap();
    let daemon = server.start(&server.config()).unwrap();
    let client = Scripted::new(&cable.socket, 1).on(&[(QINQ, 1), (VLAN, 2), (VLAN, 3)]);
    client.ask_in_vain(&client.message(1, &[])).unwrap();
    let stats = Stats::of(&daemon).unwrap();
    assert_eq!(stats.passed("too_many_tags"), 1, "{:#}", stats.0);
    assert_eq!(stats.messages("offered"), 0);
}
