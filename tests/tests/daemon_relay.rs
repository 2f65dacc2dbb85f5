//! A real client behind a real relay: lease with option 82, renewal straight to the server through the relay's host as a
//! router, rebinding through the relay; the last two from the kernel.

use std::{fs, net::Ipv4Addr, time::Duration};

use anyhow::{Context as _, Result};
use dhcp_tests::{
    client::{self, Kind},
    lab::{self, INTERFACE, SERVER, Server, Stats, set},
    netns::NetNs,
    parse::Message,
    raw::RawSocket,
    relay::Relay,
    veth::{self, Veth},
};
use serde_json::json;

/// Time for what is done at once.
const SOON: Duration = Duration::from_secs(15);

/// Time for what a client does when one of its times has come.
const LATER: Duration = Duration::from_secs(60);

/// The relay at the client's side.
const GATEWAY: Ipv4Addr = Ipv4Addr::new(198, 19, 0, 1);

/// The relay at the server's side.
const NEXT_HOP: Ipv4Addr = Ipv4Addr::new(198, 18, 0, 2);

fn set_forwarding(ns: &NetNs, on: bool) -> Result<()> {
    let value = if on { "1" } else { "0" };
    ns.run(|| fs::write("/proc/sys/net/ipv4/ip_forward", value))?.context("cannot switch routing")
}

#[test]
fn a_relayed_client_renews_and_rebinds_in_the_kernel() {
    let server = Server::new().unwrap();
    let (middle, client_ns) = (NetNs::new("r").unwrap(), NetNs::new("c").unwrap());
    let upstream = Veth::new(&server.ns, INTERFACE, &middle, "up0").unwrap();
    Veth::with_macs((&middle, "down0", [2, 0, 0, 0, 0, 0x1a]), (&client_ns, "c0", [2, 0, 0, 0, 0, 0x1b]))
        .unwrap();
    veth::add_address(&server.ns, INTERFACE, SERVER, 16).unwrap();
    veth::add_address(&middle, "up0", NEXT_HOP, 16).unwrap();
    veth::add_address(&middle, "down0", GATEWAY, 16).unwrap();
    server.ns.ip("route add 198.19.0.0/16 via 198.18.0.2").unwrap();
    client_ns.ip("route add 198.18.0.0/16 via 198.19.0.1 dev c0 onlink").unwrap();
    set_forwarding(&middle, true).unwrap();
    let _pass = upstream.b.pass(&middle).unwrap();
    let wire = RawSocket::open(&middle, "up0").unwrap();
    let mut config = server.config();
    set(
        &mut config,
        "/dhcp/subnets",
        json!([{
            "subnet": "198.19.0.0/16",
            "pools": [{"range": "198.19.1.0-198.19.1.255"}],
            "options": [{"name": "routers", "value": [GATEWAY]}],
        }]),
    );
    for (key, value) in [("lease_secs", json!(60)), ("t1_percent", json!(7)), ("t2_percent", json!(14))] {
        set(&mut config, &format!("/dhcp/{key}"), value);
    }
    let daemon = server.start(&config).unwrap();
    let relay = Relay::start(&middle, "down0", "up0", SERVER, true).unwrap();
    let reply = |what: &str, patience, kind: u8, relayed: bool| -> Message {
        let wanted = |frame: &[u8]| {
            let message = Message::parse(frame).ok()?;
            let right = (message.op, message.kind(), message.dst == GATEWAY) == (2, kind, relayed);
            right.then_some(message)
        };
        let found = wire.receive_where(patience, wanted).unwrap();
        found.unwrap_or_else(|| panic!("no {what}; the relay: {}", relay.output()))
    };

    let mut client = client::start("dhclient", &client_ns, "c0").unwrap();
    let ack = reply("relayed ACK", SOON, 5, true);
    let circuit = [1, 5, b'd', b'o', b'w', b'n', b'0'];
    let echoed_last = |message: &Message| {
        let (code, value) = message.options.last().unwrap();
        assert_eq!((*code, value.get(..7)), (82, Some(&circuit[..])), "{:?}", message.options);
        assert_eq!((message.giaddr, message.dst, message.dst_port), (GATEWAY, GATEWAY, 67));
    };
    echoed_last(&ack);
    let (bound, event) = client.wait_event(Kind::Bound, 0, SOON).unwrap();
    let address = event.address.unwrap();
    assert_eq!(lab::lease(&daemon, address).unwrap()["kernel"]["forms"], json!(["direct", "relayed"]));

    // Straight to the server, so without the relay's option (RFC 3046 section 2.1: it is the relay's to add).
    let ack = reply("renewal", LATER, 5, false);
    assert_eq!((ack.dst, ack.yiaddr, ack.dst_port, ack.option(82)), (address, address, 68, None));
    assert_eq!(ack.dst_mac, upstream.b.mac, "the answer goes back to the router the request came from");
    let (renewed, _) = client.wait_event(Kind::Renewed, bound + 1, SOON).unwrap();
    let in_the_kernel = |count| {
        let stats = Stats::of(&daemon).unwrap();
        assert_eq!((stats.answered(), stats.renewed_by_daemon()), (count, 0), "{:#}", stats.0);
        assert_eq!(stats.renewals_passed(), []);
    };
    // dhcrelay relays what it only overhears, so the same renewal comes a second time, with its option.
    echoed_last(&reply("relayed copy of the renewal", SOON, 5, true));
    in_the_kernel(2);

    // No way to the server but the relay.
    set_forwarding(&middle, false).unwrap();
    let ack = reply("rebinding", LATER, 5, true);
    echoed_last(&ack);
    assert_eq!((ack.yiaddr, ack.ciaddr), (address, address));
    client.wait_event(Kind::Renewed, renewed + 1, SOON).unwrap();
    in_the_kernel(3);
    client.release().unwrap();
}
