//! The address that a site's nodes share: a real client is bound through it, its node is killed, the address appears at the
//! other with gratuitous ARP, and the client's next renewal, straight to it, is answered there in the kernel.

use std::{net::Ipv4Addr, time::Duration};

use dhcp_tests::{
    client::{self, Kind},
    cluster::{AGREED, Cluster, Node},
    lab::{INTERFACE, Stats, set},
    netns::NetNs,
    raw::RawSocket,
    veth::{self, Veth},
    wait::wait_until,
};
use serde_json::{Value, json};

/// What the nodes of the site share.
const SHARED: Ipv4Addr = Ipv4Addr::new(198, 18, 0, 2);
/// Within so long of the address's moving a renewal is answered.
const MOVED_WITHIN: Duration = Duration::from_secs(1);
/// Time for what a client does when one of its times has come.
const LATER: Duration = Duration::from_secs(60);

/// Brings the cable of a node to the link all of its site share. Its own address and hardware address are other than its
/// neighbour's.
fn join_link(node: &Node, link: &NetNs, number: u8) {
    node.server.ns.ip(&format!("addr flush dev {INTERFACE}")).expect("the machine of a node");
    veth::add_address(&node.server.ns, INTERFACE, Ipv4Addr::new(198, 18, 0, 11 + number), 16)
        .expect("the machine of a node");
    node.server
        .ns
        .ip(&format!("link set {INTERFACE} address 02:00:00:00:02:{number:02x}"))
        .expect("the machine of a node");
    let cable = &node.cable.ns;
    cable.ip("link add br0 type bridge").expect("the machine of a node");
    let port = format!("p{number}");
    Veth::with_macs((cable, "x0", [2, 0, 0, 0, 3, number]), (link, &port, [2, 0, 0, 0, 4, number]))
        .expect("the machine of a node");
    for enslaved in ["c0", "x0"] {
        cable.ip(&format!("link set {enslaved} master br0")).expect("the machine of a node");
    }
    cable.ip("link set br0 up").expect("the machine of a node");
    link.ip(&format!("link set {port} master br0")).expect("the machine of a node");
}

fn has_address(node: &Node) -> bool {
    veth::addresses(&node.server.ns, INTERFACE).expect("the machine of a node").contains(&SHARED)
}

fn wait_address(node: &Node, there: bool) {
    let what = format!("{SHARED} to be {} at {}", if there { "there" } else { "gone" }, node.name);
    wait_until(AGREED, &what, || has_address(node) == there)
        .unwrap_or_else(|error| panic!("{error:#}\n{}", node.log()));
    if there {
        node.wait("it to be shown", &["site", "sync"], |sync| sync["service_addresses_here"] == true)
            .expect("the machine of a node");
    }
}

/// A client's renewal straight to the shared address, as it comes into the link.
fn hear_renewal(port: &RawSocket) -> Vec<u8> {
    let heard = port.receive_where(LATER, |frame| {
        let to_server = frame.get(12..14)? == [8, 0]
            && frame.get(30..34)? == SHARED.octets()
            && frame.get(36..38)? == 67_u16.to_be_bytes();
        to_server.then(|| frame.to_vec())
    });
    heard.expect("the link").expect("a renewal of the client")
}

/// Waits for word on the link, both ways, that an Ethernet address has the shared address.
fn hear_announcements(socket: &RawSocket, mac: [u8; 6]) {
    for operation in [1, 2] {
        let heard = socket.receive_where(AGREED, |frame| {
            let body = frame.get(12..)?.strip_prefix(&[0x08, 0x06, 0, 1, 8, 0, 6, 4, 0, operation])?;
            (body.starts_with(&mac) && body.get(6..10)? == SHARED.octets()).then_some(())
        });
        heard
            .expect("the machine of a node")
            .unwrap_or_else(|| panic!("no gratuitous ARP with operation {operation}"));
    }
}

#[test]
fn a_renewal_straight_to_a_dead_node_is_answered_by_its_neighbour() {
    let mut cluster = Cluster::new(&[("us-east", 2), ("us-west", 1)], |config| {
        set(config, "/dhcp/interfaces", json!([INTERFACE]));
        for (key, value) in [("lease_secs", json!(60)), ("t1_percent", json!(10)), ("t2_percent", json!(80))]
        {
            set(config, &format!("/dhcp/{key}"), value);
        }
        set(
            config,
            "/dhcp/datacenter/multi_site/sites/0/service_addresses",
            json!([{"address": SHARED, "interface": INTERFACE}]),
        );
    })
    .unwrap();
    let (link, client_ns) = (NetNs::new("l").unwrap(), NetNs::new("c").unwrap());
    link.ip("link add br0 type bridge").unwrap();
    link.ip("link set br0 up").unwrap();
    for (number, node) in (0..2).zip(&cluster.nodes) {
        join_link(node, &link, number);
    }
    Veth::with_macs((&link, "pc", [2, 0, 0, 0, 5, 1]), (&client_ns, "c0", [2, 0, 0, 0, 5, 2])).unwrap();
    link.ip("link set pc master br0").unwrap();
    // Left behind by somebody: not for long.
    veth::add_address(&cluster.nodes[1].server.ns, INTERFACE, SHARED, 32).unwrap();
    cluster.start().unwrap();
    wait_address(&cluster.nodes[0], true);
    wait_address(&cluster.nodes[1], false);
    for node in &cluster.nodes {
        node.wait("addresses to give out", &["site", "sync"], |sync| {
            sync["role"] == "active" && sync["blocks_held"].as_u64() > Some(0)
        })
        .unwrap();
    }

    let client = client::start("dhclient", &client_ns, "c0").unwrap();
    let renewed = |count: usize| {
        wait_until(LATER, &format!("{count} renewals"), || {
            client.events().unwrap().iter().filter(|event| event.kind == Kind::Renewed).count() >= count
        })
        .unwrap_or_else(|error| panic!("{error:#}\n{}", client.output()));
    };
    wait_until(LATER, "the client to be bound", || {
        client.events().unwrap().iter().any(|event| event.kind == Kind::Bound)
    })
    .unwrap_or_else(|error| panic!("{error:#}\n{}", client.output()));
    let address = client.events().unwrap()[0].address.expect("it is bound").to_string();
    wait_until(AGREED, "the neighbour's kernel to know the client", || {
        let lease = cluster.nodes[1].ask(&["leases", "show", &address]).unwrap_or_default();
        lease.pointer("/kernel/forms").and_then(Value::as_array).is_some_and(|forms| !forms.is_empty())
    })
    .unwrap_or_else(|error| panic!("{error:#}\n{}", cluster.nodes[1].log()));

    // Its server dies without a word. The kernel of its machine takes the address away by itself.
    let wire = RawSocket::open(&client_ns, "c0").unwrap();
    let mut renewal = hear_renewal(&RawSocket::open(&link, "pc").unwrap());
    let so_far = client.events().unwrap().iter().filter(|event| event.kind == Kind::Renewed).count();
    cluster.nodes[0].daemon.as_mut().unwrap().kill().unwrap();
    let answered = |node: &Node| Stats::of(node.daemon.as_ref().unwrap()).unwrap();
    let before = answered(&cluster.nodes[1]).renewed_by_daemon();
    let neighbour = [2, 0, 0, 0, 2, 1];
    hear_announcements(&wire, neighbour);
    // The client's own next renewal may be a while away: the last one once more, to where the address is now.
    renewal[..6].copy_from_slice(&neighbour);
    wire.send(&renewal).unwrap();
    let answer = wire.receive_where(MOVED_WITHIN, |frame| {
        let answers = frame.get(6..12)? == neighbour && frame.get(36..38)? == 68_u16.to_be_bytes();
        answers.then_some(())
    });
    assert!(answer.unwrap().is_some(), "no answer within {MOVED_WITHIN:?}\n{}", cluster.nodes[1].log());
    let by_ours = answered(&cluster.nodes[1]).answered();
    wait_address(&cluster.nodes[1], true);
    wait_until(AGREED, "the dead node's address to run out", || !has_address(&cluster.nodes[0])).unwrap();
    let by_clients = || answered(&cluster.nodes[1]).answered() > by_ours;
    wait_until(LATER, "the client's renewal in the neighbour's kernel", by_clients)
        .unwrap_or_else(|error| panic!("{error:#}\n{}\n{}", client.output(), cluster.nodes[1].log()));
    renewed(so_far + 1);
    assert_eq!(answered(&cluster.nodes[1]).renewed_by_daemon(), before, "none took the daemon");

    // It comes back, and has the address again; when it is stopped in order, the neighbour has it at once.
    cluster.nodes[0].start().unwrap();
    wait_address(&cluster.nodes[0], true);
    wait_address(&cluster.nodes[1], false);
    cluster.nodes[0].daemon.take().unwrap().stop().unwrap();
    assert!(!has_address(&cluster.nodes[0]), "it was left behind");
    assert!(cluster.nodes[1].daemon.is_some());
    wait_address(&cluster.nodes[1], true);
    let lost = client.events().unwrap().into_iter().find(|event| event.kind == Kind::Lost);
    assert!(lost.is_none(), "{lost:?}\n{}", client.output());
}
