//! A standby's kernel is warm: what a node that died had granted is renewed by another's XDP program from the client's very
//! first request there, directly and through a relay agent.

use std::{net::Ipv4Addr, time::Duration};

use dhcp_tests::{
    client::scripted::Scripted,
    cluster::{AGREED, Cluster, Node},
    lab::{SERVER, SERVER_MAC, Stats, set},
    packet::Frame,
    parse::Message,
    wait::{wait_for, wait_until},
};
use serde_json::{Value, json};

/// The relay agent, at any node.
const RELAY: Ipv4Addr = Ipv4Addr::new(198, 19, 7, 1);
/// How long a client waits for a reply on a busy machine.
const PATIENCE: Duration = Duration::from_secs(1);

/// As a relay agent sends a client's message on.
fn relayed(frame: Frame, circuit: u8) -> Frame {
    frame
        .giaddr(RELAY)
        .hops(1)
        .src(RELAY)
        .src_port(67)
        .dst(SERVER)
        .dst_mac(SERVER_MAC)
        .option(82, &[1, 2, b'p', circuit])
}

/// A lease through the relay agent.
fn lease_relayed(client: &Scripted<'_>, circuit: u8) -> Ipv4Addr {
    // The node may not have been given addresses of this pool yet.
    let ask = |frame: Frame| -> Message {
        let frame = relayed(frame, circuit);
        let reply = wait_for(AGREED, "a reply to the relay agent", || client.ask_for(&frame, PATIENCE));
        reply.expect("it has addresses in the end").0
    };
    let offer = ask(client.message(1, &[]));
    let ack = ask(client.message(3, &[(50, &offer.yiaddr.octets()), (54, &SERVER.octets())]));
    assert_eq!((ack.kind(), ack.yiaddr), (5, offer.yiaddr));
    ack.yiaddr
}

/// Waits until a node's kernel knows how an address will be renewed.
fn wait_warm(node: &Node, address: Ipv4Addr, form: &str) {
    wait_until(AGREED, &format!("the kernel of {} to know {address}, {form}", node.name), || {
        let lease = node.ask(&["leases", "show", &address.to_string()]).unwrap_or_default();
        let forms = lease.pointer("/kernel/forms").and_then(Value::as_array).cloned().unwrap_or_default();
        forms.contains(&json!(form))
    })
    .unwrap_or_else(|error| panic!("{error:#}\n{}", node.log()));
}

#[test]
fn the_first_renewal_after_a_node_died_is_answered_in_the_kernel_of_another() {
    let mut cluster = Cluster::new(&[("us-east", 1), ("us-west", 1), ("eu-central", 1)], |config| {
        set(config, "/dhcp/lease_secs", json!(120));
        let subnets = config.pointer_mut("/dhcp/subnets").and_then(Value::as_array_mut).unwrap();
        subnets.push(json!({
            "subnet": "198.19.7.0/24", "relays": [RELAY], "pools": [{"range": "198.19.7.16-198.19.7.250"}],
        }));
    })
    .unwrap();
    cluster.start().unwrap();
    for node in &cluster.nodes {
        node.wait("addresses to give out", &["site", "sync"], |sync| {
            sync["role"] == "active" && sync["blocks_held"].as_u64() > Some(0)
        })
        .unwrap();
    }
    // Two clients of a kind, which share a template, and one behind a relay agent.
    let gone = 1;
    let named = |number: u8| {
        let socket = &cluster.nodes[gone].cable.socket;
        let id = [1, 2, 0, 0, 0, 1, number];
        Scripted::new(socket, number).with(61, &id).with(12, format!("host{number}").as_bytes())
    };
    let first = named(1).dora().unwrap().address;
    let second = named(2).dora().unwrap().address;
    let far = lease_relayed(&named(3), 7);
    let survivor = &cluster.nodes[2];
    for (address, form) in [(first, "direct"), (second, "direct"), (far, "relayed"), (far, "direct")] {
        wait_warm(survivor, address, form);
    }
    // Its kernel knows what no frame has taught it.
    assert_eq!(Stats::of(survivor.daemon.as_ref().unwrap()).unwrap().answered(), 0);
    cluster.nodes[gone].daemon.as_mut().unwrap().kill().unwrap();

    let survivor = &cluster.nodes[2];
    let socket = &survivor.cable.socket;
    let named = |number: u8| {
        let id = [1, 2, 0, 0, 0, 1, number];
        Scripted::new(socket, number).with(61, &id).with(12, format!("host{number}").as_bytes())
    };
    for (client, frame, address) in [
        (named(1), named(1).renewal(first), first),
        (named(2), named(2).rebinding(second), second),
        (named(3), relayed(named(3).message(3, &[]).ciaddr(far), 7), far),
        (named(3), named(3).renewal(far), far),
    ] {
        let (ack, _) = client.ask(&frame).unwrap();
        assert_eq!((ack.kind(), ack.yiaddr, ack.option_u32(51)), (5, address, Some(120)));
    }
    let stats = Stats::of(survivor.daemon.as_ref().unwrap()).unwrap();
    assert_eq!((stats.answered(), stats.renewed_by_daemon()), (4, 0), "{:#}", stats.0);
}
