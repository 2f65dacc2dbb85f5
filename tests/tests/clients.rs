//! Real clients in the harness against the scripted responder: each is bound, renews, rebinds and releases.
//!
//! With `DHCP_RECORD` set, the frames they send become the fixtures in `fixtures/clients`.

use std::{fs, net::Ipv4Addr, time::Duration};

use dhcp_tests::{
    client::{self, Kind},
    fixture::{self, Fixture},
    netns::NetNs,
    parse::Message,
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
fn steady(frame: &[u8]) -> Message {
    let mut message = Message::parse(frame).unwrap();
    message.xid = 0;
    message.secs = 0;
    message
}

/// Runs the client called `name` through its life. `times`: lease, T1, T2 in seconds.
fn life(name: &str, times: (u32, u32, u32)) {
    let (server, client_ns) = (NetNs::new("s").unwrap(), NetNs::new("c").unwrap());
    let pair = Veth::new(&server, "s0", &client_ns, "c0").unwrap();
    veth::add_address(&server, "s0", SERVER, 16).unwrap();
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
    let responder = Responder::start(&server, "s0", script).unwrap();
    let mut client = client::start(name, &client_ns, "c0").unwrap();

    let (bound, event) = client.wait_event(Kind::Bound, 0, SOON).unwrap();
    assert_eq!(event.address, Some(ADDRESS));
    let (_, discover) = responder.wait_frame(SOON, "DISCOVER", 0, |m| m.kind() == 1).unwrap();
    let selecting = |m: &Message| m.kind() == 3 && m.option_address(54) == Some(SERVER);
    let (at, request) = responder.wait_frame(SOON, "REQUEST", 0, selecting).unwrap();

    let renewing = |m: &Message| m.kind() == 3 && m.dst == SERVER && m.ciaddr == ADDRESS;
    client.renew().unwrap();
    let (at, renew) = responder.wait_frame(LATER, "renewal", at + 1, renewing).unwrap();
    let (renewed, _) = client.wait_event(Kind::Renewed, bound + 1, SOON).unwrap();
    client.renew().unwrap();
    let (at, second) = responder.wait_frame(LATER, "second renewal", at + 1, renewing).unwrap();
    assert_eq!(steady(&renew), steady(&second), "{name} changes its renewals");
    let (renewed, _) = client.wait_event(Kind::Renewed, renewed + 1, SOON).unwrap();

    responder.set_silent_to_unicast(true);
    let rebinding = |m: &Message| m.kind() == 3 && m.dst == Ipv4Addr::BROADCAST && m.ciaddr == ADDRESS;
    let (at, rebind) = responder.wait_frame(LATER, "rebinding", at + 1, rebinding).unwrap();
    client.wait_event(Kind::Renewed, renewed + 1, SOON).unwrap();

    let version = client.version().unwrap();
    client.release().unwrap();
    let (_, release) = responder.wait_frame(SOON, "RELEASE", at + 1, |m| m.kind() == 7).unwrap();

    if std::env::var_os("DHCP_RECORD").is_some() {
        let folder = fixture::folder().join("clients").join(name);
        fs::create_dir_all(&folder).unwrap();
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
            fs::write(folder.join(format!("{number}-{kind}.hex")), fixture.text()).unwrap();
        }
    }
}

#[test]
fn udhcpc() {
    life("udhcpc", (20, 10, 17));
}

#[test]
fn dhclient() {
    life("dhclient", (60, 4, 8));
}

#[test]
fn dhcpcd() {
    life("dhcpcd", (60, 10, 14));
}

#[test]
fn networkd() {
    life("networkd", (60, 4, 8));
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
