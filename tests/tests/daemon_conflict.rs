//! Addresses that somebody uses without a lease: found by ARP or ICMP echo before they are offered, while other clients are
//! served as ever.

use std::{net::Ipv4Addr, time::Duration};

use dhcp_tests::{
    client::scripted::{REPLY, Scripted},
    daemon::Daemon,
    lab::{self, Cable, Server, Stats, set},
    parse::Message,
    veth,
    wait::wait_for,
};
use serde_json::{Value, json};

const SOON: Duration = Duration::from_secs(15);

const FIRST: Ipv4Addr = Ipv4Addr::new(198, 18, 1, 0);
const SECOND: Ipv4Addr = Ipv4Addr::new(198, 18, 1, 1);

fn probes(daemon: &Daemon, what: &str) -> u64 {
    let stats = Stats::of(daemon).expect("of a running daemon");
    stats.0.pointer(&format!("/probes/{what}")).and_then(Value::as_u64).expect("of a running daemon")
}

/// Waits until every question asked ahead is answered or given up: then nobody waits for one of these addresses.
fn settled(daemon: &Daemon, client: &Scripted<'_>) -> Ipv4Addr {
    let (offer, _) = client.ask(&client.message(1, &[])).expect("of a running daemon");
    assert_eq!(offer.kind(), 2);
    assert!(probes(daemon, "asked") >= 16);
    offer.yiaddr
}

#[test]
fn an_address_in_use_is_offered_to_nobody() {
    let server = Server::new().unwrap();
    let cable = Cable::new(&server).unwrap();
    // Who has this address answers ARP for it, and has no lease.
    veth::add_address(&cable.ns, "c0", FIRST, 16).unwrap();
    let daemon = server.start(&server.config()).unwrap();
    let client = Scripted::new(&cable.socket, 1);
    let lease = client.dora().unwrap();
    assert_eq!(lease.address, SECOND);
    let kept = lab::lease(&daemon, FIRST).unwrap();
    assert_eq!(kept["state"], json!("quarantined"), "{kept:#}");
    // On record with the hardware address of whoever is there.
    let link = cable.ns.ip("-o link show dev c0").unwrap();
    let mac = link.split("link/ether ").nth(1).unwrap().split(' ').next().unwrap();
    assert_eq!(kept["hw_address"], json!(mac), "{kept:#}");
    let log = server.store().join("audit");
    let on_record = dhcp_user::audit::history::of(&log, FIRST, None).unwrap();
    assert_eq!((on_record.holdings.len(), on_record.conflicts.len()), (0, 1), "{on_record:?}");
    assert_eq!(on_record.conflicts[0].hw_address.as_deref(), Some(mac));
    assert_eq!(probes(&daemon, "conflicts"), 1);
    assert!(daemon.log().contains("the address is in use by a host that holds no lease"), "{}", daemon.log());
    // Nor is it granted to one that asks for it by name.
    let other = Scripted::new(&cable.socket, 2);
    let request = [(50, &FIRST.octets()[..]), (54, &lab::SERVER.octets()[..])];
    let (nak, _) = other.ask(&other.message(3, &request)).unwrap();
    assert_eq!(nak.kind(), 6);
    // What the kernel answers is what it was.
    let (ack, _) = client.ask(&client.renewal(SECOND)).unwrap();
    assert_eq!(ack.kind(), 5);
    assert_eq!(Stats::of(&daemon).unwrap().answered(), 1);
}

#[test]
fn one_that_waits_holds_up_nobody() {
    let server = Server::new().unwrap();
    let cable = Cable::new(&server).unwrap();
    let mut config = server.config();
    set(&mut config, "/dhcp/conflict_detection", json!({"wait_ms": 1500}));
    let daemon = server.start(&config).unwrap();
    settled(&daemon, &Scripted::new(&cable.socket, 1));
    let offered = || Stats::of(&daemon).unwrap().messages("offered");
    assert_eq!(offered(), 1);

    // An address far from those asked for ahead, at the client's wish: it waits.
    let far = Ipv4Addr::new(198, 18, 1, 200);
    let slow = Scripted::new(&cable.socket, 2);
    let discover = slow.message(1, &[(50, &far.octets())]).xid(0x5107);
    cable.socket.send(&discover.build()).unwrap();
    wait_for(SOON, "the question", || Ok((Stats::of(&daemon)?.messages("probing") == 2).then_some(())))
        .unwrap();
    // Others, new ones too, do not.
    let quick = Scripted::new(&cable.socket, 3);
    let lease = quick.dora().unwrap();
    assert_eq!(lease.address, SECOND);
    assert_eq!(offered(), 2, "the offer that waited is out already, or the other waited for it");
    let offer = cable
        .socket
        .receive_where(REPLY, |frame| Message::parse(frame).ok().filter(|reply| reply.xid == 0x5107))
        .unwrap()
        .expect("no offer after the wait");
    assert_eq!((offer.kind(), offer.yiaddr), (2, far));
    assert_eq!(offered(), 3);
    assert_eq!(probes(&daemon, "conflicts"), 0);
}

#[test]
fn behind_a_relay_agent_by_icmp_echo() {
    let server = Server::new().unwrap();
    let cable = Cable::new(&server).unwrap();
    let (relay, used) = (Ipv4Addr::new(198, 19, 0, 1), Ipv4Addr::new(198, 19, 1, 0));
    veth::add_address(&cable.ns, "c0", Ipv4Addr::new(198, 18, 0, 2), 16).unwrap();
    for address in [relay, used] {
        cable.ns.ip(&format!("address add {address}/32 dev lo")).unwrap();
    }
    server.ns.ip("route add 198.19.0.0/16 via 198.18.0.2").unwrap();
    let mut config = server.config();
    let subnet = json!([{"subnet": "198.19.0.0/16", "pools": [{"range": "198.19.1.0-198.19.1.255"}]}]);
    set(&mut config, "/dhcp/subnets", subnet);
    let daemon = server.start(&config).unwrap();
    let client = Scripted::new(&cable.socket, 1);
    let discover = client.message(1, &[]).giaddr(relay).src(relay).src_port(67);
    let (offer, _) = client.ask(&discover).unwrap();
    assert_eq!((offer.kind(), offer.yiaddr), (2, Ipv4Addr::new(198, 19, 1, 1)));
    assert_eq!(probes(&daemon, "conflicts"), 1);
    assert_eq!(lab::lease(&daemon, used).unwrap()["state"], json!("quarantined"));
}

#[test]
fn switched_off_nobody_is_asked() {
    let server = Server::new().unwrap();
    let cable = Cable::new(&server).unwrap();
    veth::add_address(&cable.ns, "c0", FIRST, 16).unwrap();
    let mut config = server.config();
    set(&mut config, "/dhcp/conflict_detection", json!({"mode": "off"}));
    let daemon = server.start(&config).unwrap();
    assert_eq!(Scripted::new(&cable.socket, 1).dora().unwrap().address, FIRST);
    let stats = Stats::of(&daemon).unwrap();
    assert_eq!((&stats.0["probes"], stats.messages("probing")), (&Value::Null, 0));
}
