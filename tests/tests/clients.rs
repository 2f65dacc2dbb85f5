//! Real clients in the harness against the scripted responder: each is bound, renews, rebinds and releases.
//!
//! With `DHCP_RECORD` set, the frames they send become the fixtures in `fixtures/clients`.

use std::{fs, net::Ipv4Addr, time::Duration};

use anyhow::Result;
use dhcp_tests::{
    client::{self, Kind},
    fixture::{self, Fixture},
    netns::NetNs,
    parse::Message,
    relay::Relay,
    responder::{Responder, Script},
    veth::{self, Veth},
};

const SERVER: Ipv4Addr = Ipv4Addr::new(198, 18, 0, 1);
const ADDRESS: Ipv4Addr = Ipv4Addr::new(198, 18, 1, 10);

/// Time for what a client does at once.
const SOON: Duration = Duration::from_secs(10);

/// Time for what it does when one of its times has come; the longest is half of the lease time.
const LATER: Duration = Duration::from_secs(40);

/// Everything of a frame that is the same in every renewal: `xid`, `secs`, the datagram's identification and checksums
/// left out.
fn steady(frame: &[u8]) -> Result<Message> {
    let mut message = Message::parse(frame)?;
    message.xid = 0;
    message.secs = 0;
    Ok(message)
}

/// Runs the client called `name` through its life. `times`: lease, T1, T2 in seconds.
fn life(name: &str, times: (u32, u32, u32)) -> Result<()> {
    let (server, client_ns) = (NetNs::new("s")?, NetNs::new("c")?);
    let pair = Veth::new(&server, "s0", &client_ns, "c0")?;
    veth::add_address(&server, "s0", SERVER, 16)?;
    let (lease_secs, renew_secs, rebind_secs) = times;
    let script = Script {
        mac: pair.a.mac,
        server: SERVER,
        address: ADDRESS,
        delay: Duration::from_millis(5),
        lease_secs,
        renew_secs,
        rebind_secs,
    };
    let responder = Responder::start(&server, "s0", script)?;
    let mut client = client::start(name, &client_ns, "c0")?;

    let (bound, event) = client.wait_event(Kind::Bound, 0, SOON)?;
    assert_eq!(event.address, Some(ADDRESS));
    let (_, discover) = responder.wait_frame(SOON, "DISCOVER", 0, |m| m.kind() == 1)?;
    let selecting = |m: &Message| m.kind() == 3 && m.option_address(54) == Some(SERVER);
    let (at, request) = responder.wait_frame(SOON, "REQUEST", 0, selecting)?;

    let renewing = |m: &Message| m.kind() == 3 && m.dst == SERVER && m.ciaddr == ADDRESS;
    client.renew()?;
    let (at, renew) = responder.wait_frame(LATER, "renewal", at + 1, renewing)?;
    let (renewed, _) = client.wait_event(Kind::Renewed, bound + 1, SOON)?;
    client.renew()?;
    let (at, second) = responder.wait_frame(LATER, "second renewal", at + 1, renewing)?;
    assert_eq!(steady(&renew)?, steady(&second)?, "{name} changes its renewals");
    let (renewed, _) = client.wait_event(Kind::Renewed, renewed + 1, SOON)?;

    responder.set_silent_to_unicast(true);
    let rebinding = |m: &Message| m.kind() == 3 && m.dst == Ipv4Addr::BROADCAST && m.ciaddr == ADDRESS;
    let (at, rebind) = responder.wait_frame(LATER, "rebinding", at + 1, rebinding)?;
    client.wait_event(Kind::Renewed, renewed + 1, SOON)?;

    let version = client.version()?;
    client.release()?;
    let (_, release) = responder.wait_frame(SOON, "RELEASE", at + 1, |m| m.kind() == 7)?;

    if std::env::var_os("DHCP_RECORD").is_some() {
        let folder = fixture::folder().join("clients").join(name);
        fs::create_dir_all(&folder)?;
        let frames = [discover, request, renew, rebind, release];
        for (number, (kind, frame)) in
            (1..).zip(["discover", "request", "renew", "rebind", "release"].iter().zip(frames))
        {
            let header = vec![
                format!("client: {version}"),
                format!("kind: {kind}"),
                format!("server: {SERVER}"),
                format!("address: {ADDRESS}"),
                format!("times: lease {lease_secs} s, T1 {renew_secs} s, T2 {rebind_secs} s"),
            ];
            let fixture = Fixture { header, frame };
            fs::write(folder.join(format!("{number}-{kind}.hex")), fixture.text())?;
        }
    }
    Ok(())
}

#[test]
fn udhcpc() {
    life("udhcpc", (20, 10, 17)).unwrap();
}

#[test]
fn dhclient() {
    life("dhclient", (60, 4, 8)).unwrap();
}

#[test]
fn dhcpcd() {
    life("dhcpcd", (60, 10, 14)).unwrap();
}

#[test]
fn networkd() {
    life("networkd", (60, 4, 8)).unwrap();
}

#[test]
fn a_client_behind_a_relay_is_bound() {
    let (server, middle, client_ns) =
        (NetNs::new("s").unwrap(), NetNs::new("r").unwrap(), NetNs::new("c").unwrap());
    let upstream = Veth::new(&server, "s0", &middle, "up0").unwrap();
    Veth::with_macs((&middle, "down0", [2, 0, 0, 0, 0, 0x1a]), (&client_ns, "c0", [2, 0, 0, 0, 0, 0x1b]))
        .unwrap();
    let gateway = Ipv4Addr::new(198, 19, 0, 1);
    let address = Ipv4Addr::new(198, 19, 1, 10);
    veth::add_address(&server, "s0", SERVER, 16).unwrap();
    veth::add_address(&middle, "up0", Ipv4Addr::new(198, 18, 0, 2), 16).unwrap();
    veth::add_address(&middle, "down0", gateway, 16).unwrap();
    server.ip("route add 198.19.0.0/16 via 198.18.0.2").unwrap();
    let script = Script {
        mac: upstream.a.mac,
        server: SERVER,
        address,
        delay: Duration::from_millis(5),
        lease_secs: 60,
        renew_secs: 30,
        rebind_secs: 50,
    };
    let responder = Responder::start(&server, "s0", script).unwrap();
    let relay = Relay::start(&middle, "down0", "up0", SERVER, true).unwrap();
    let client = client::start("udhcpc", &client_ns, "c0").unwrap();
    let (_, event) =
        client.wait_event(Kind::Bound, 0, SOON).unwrap_or_else(|e| panic!("{e:#}\n{}", relay.output()));
    assert_eq!(event.address, Some(address));
    let (_, request) = responder.wait_frame(SOON, "relayed REQUEST", 0, |m| m.kind() == 3).unwrap();
    let request = Message::parse(&request).unwrap();
    assert_eq!((request.giaddr, request.hops, request.src_port), (gateway, 1, 67));
    // Option 82, its first sub-option the circuit: the relay's interface.
    assert_eq!(request.option(82).unwrap().get(..7), Some(&[1, 5, b'd', b'o', b'w', b'n', b'0'][..]));
}

#[test]
fn every_recorded_frame_is_sound_and_of_its_kind() {
    let fixtures = fixture::clients().unwrap();
    assert!(fixtures.len() >= 20, "only {} fixtures", fixtures.len());
    for (file, fixture) in fixtures {
        let message =
            Message::parse(&fixture.frame).unwrap_or_else(|error| panic!("{}: {error:#}", file.display()));
        let kind = match fixture.field("kind") {
            Some("discover") => 1,
            Some("request" | "renew" | "rebind") => 3,
            Some("release") => 7,
            other => panic!("{}: kind {other:?}", file.display()),
        };
        assert_eq!(message.kind(), kind, "{}", file.display());
    }
}
