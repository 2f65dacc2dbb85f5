//! The differential test: whatever the kernel answers, the daemon would have answered with the same octets; whatever it
//! does not answer leaves it unchanged, with one counter moved by one; and the shared code on the host agrees.
//!
//! `ORACLE_SEED` repeats a run or looks elsewhere, `ORACLE_TIMES` makes it longer.

use dhcp_common::reason::Reason;
use dhcp_tests::oracle::{
    client::{Place, Relay},
    run::{Plan, Tally, run},
};

/// Frames in each of the four tests below: 200,000 in all, and some.
const FRAMES: u64 = 52_000;
/// The least share of them that the kernel must answer, percent: it cannot pass by answering nothing.
const ANSWERED_PERCENT_MIN: u64 = 20;

fn place(interface: usize, tags: &[(u16, u16)]) -> Place {
    Place { interface, tags: tags.to_vec(), relay: None }
}

fn behind(giaddr: [u8; 4], server: [u8; 4], information: Option<&[u8]>) -> Place {
    let relay =
        Relay { giaddr: giaddr.into(), server: server.into(), information: information.map(<[u8]>::to_vec) };
    Place { interface: 0, tags: Vec::new(), relay: Some(relay) }
}

#[track_caller]
fn check(plan: &Plan<'_>, reasons: &[Reason]) -> Tally {
    let tally = run(plan).unwrap_or_else(|error| panic!("{error:#}"));
    assert!(tally.frames >= FRAMES);
    assert!(tally.answered_percent() > ANSWERED_PERCENT_MIN, "only {} % answered", tally.answered_percent());
    assert!(tally.adopted > 20, "the state must move: {} frames let through", tally.adopted);
    for &reason in reasons {
        assert!(tally.count(reason) > 0, "no frame came to {}", reason.as_str());
    }
    tally
}

/// What any mix of damage comes to.
const USUAL: [Reason; 16] = [
    Reason::NotIpv4,
    Reason::NotDhcp,
    Reason::Ipv4Options,
    Reason::Fragment,
    Reason::Truncated,
    Reason::OptionsTooLong,
    Reason::OtherMac,
    Reason::NotRequest,
    Reason::Hardware,
    Reason::NotCookie,
    Reason::NamesInUse,
    Reason::SourceMismatch,
    Reason::UnknownAddress,
    Reason::NoLease,
    Reason::OtherClient,
    Reason::Fingerprint,
];

/// Two interfaces, a shared network, reservations, boot files, lease times by pool and by wish.
const DIRECT: &str = r#"{"dhcp": {
    "interfaces": [{"name": "a", "address": "198.18.0.1"}, {"name": "b", "address": "198.19.0.1"}],
    "lease_secs": 3600, "lease_min_secs": 600, "lease_max_secs": 86400,
    "options": [
        {"name": "domain-name-servers", "value": ["198.18.0.53", "198.19.0.53"]},
        {"name": "domain-search", "value": ["dc1.example.com", "example.com"]},
        {"name": "ipv6-only-preferred", "value": 1800, "always": true}
    ],
    "subnets": [
        {"subnet": "198.18.0.0/22", "interface": "a",
         "options": [{"name": "routers", "value": "198.18.0.1"}, {"name": "interface-mtu", "value": 9000, "always": true}],
         "pools": [
            {"range": "198.18.1.0-198.18.1.40", "lease_secs": 7200, "lease_max_secs": 7200, "t1_percent": 33.3},
            {"range": "198.18.1.41-198.18.2.200", "next_server": "198.18.0.9", "server_name": "boot", "boot_file": "ipxe.efi",
             "options": [{"name": "domain-search", "value": null}, {"code": 43, "value": "f1:04:c6:12:00:09"}]}],
         "reservations": [
            {"hw_address": "02:10:00:00:00:03", "address": "198.18.1.10", "hostname": "db1"},
            {"hw_address": "02:10:00:00:00:04", "address": "198.18.3.4", "lease_secs": 700, "boot_file": "four"},
            {"client_id": "hex:01021000000005", "address": "198.18.3.5", "options": [{"name": "domain-name", "value": "five"}]}]},
        {"subnet": "198.18.8.0/24", "interface": "a", "pools": [{"range": "198.18.8.10-198.18.8.60"}]},
        {"subnet": "198.19.0.0/24", "interface": "b", "pools": [{"range": "198.19.0.16-198.19.0.254"}]}
    ]}}"#;

#[test]
fn direct_clients() {
    let places = vec![place(0, &[]), place(0, &[]), place(1, &[])];
    let tally = check(&Plan { json: DIRECT, places, clients: 60, frames: FRAMES }, &USUAL);
    assert!(
        tally.exact.iter().take(3).all(|&count| count > 1_000),
        "every way was answered: {:?}",
        tally.exact
    );
}

/// VLAN and QinQ links, one of them priority-tagged, none authoritative.
const TAGGED: &str = r#"{"dhcp": {
    "interfaces": [{"name": "a", "address": "198.18.0.1"}, {"name": "b", "address": "198.19.0.1"}],
    "authoritative": false,
    "lease_secs": 1200,
    "options": [{"name": "routers", "value": "198.18.0.1"}, {"name": "domain-name", "value": "example.org", "always": true}],
    "subnets": [
        {"subnet": "198.18.0.0/24", "interface": "a", "pools": [{"range": "198.18.0.16-198.18.0.254"}]},
        {"subnet": "198.18.1.0/24", "interface": "a", "vlan": 10, "pools": [{"range": "198.18.1.16-198.18.1.254"}]},
        {"subnet": "198.18.2.0/24", "interface": "a", "vlans": [100, 7], "pools": [{"range": "198.18.2.16-198.18.2.254"}]},
        {"subnet": "198.18.3.0/24", "interface": "a", "vlans": [100, 8], "lease_secs": 900,
         "pools": [{"range": "198.18.3.16-198.18.3.254"}]},
        {"subnet": "198.19.1.0/24", "interface": "b", "vlan": 10, "pools": [{"range": "198.19.1.16-198.19.1.254"}]}
    ]}}"#;

#[test]
fn tagged_clients() {
    let places = vec![
        place(0, &[(0x8100, 0xe000)]),
        place(0, &[(0x8100, 10)]),
        place(0, &[(0x8100, 0x600a)]),
        place(0, &[(0x88a8, 100), (0x8100, 7)]),
        place(0, &[(0x8100, 100), (0x8100, 8)]),
        place(1, &[(0x8100, 10)]),
    ];
    let plan = Plan { json: TAGGED, places, clients: 60, frames: FRAMES };
    let tally = check(&plan, &[&USUAL[..], &[Reason::TooManyTags]].concat());
    assert!(
        tally.exact.iter().take(3).all(|&count| count > 1_000),
        "every way was answered: {:?}",
        tally.exact
    );
}

/// Relays with and without option 82, link selection, server identifier override, circuits, two addresses of ours.
const RELAYED: &str = r#"{"dhcp": {
    "interfaces": [{"name": "a", "address": "198.18.0.1"}, {"name": "b", "address": "198.19.0.1"}],
    "lease_secs": 3600, "lease_min_secs": 600, "lease_max_secs": 7200,
    "options": [{"name": "domain-name-servers", "value": ["198.18.0.53"]}],
    "subnets": [
        {"subnet": "198.18.0.0/24", "interface": "a", "pools": [{"range": "198.18.0.16-198.18.0.254"}]},
        {"subnet": "198.18.16.0/24", "options": [{"name": "routers", "value": "198.18.16.1"}],
         "pools": [{"range": "198.18.16.10-198.18.16.254"}],
         "reservations": [
            {"circuit_id": "hex:00070001", "address": "198.18.16.5", "lease_secs": 900},
            {"circuit_id": "hex:00070002", "address": "198.18.16.6", "hostname": "two"}]},
        {"subnet": "198.18.17.0/24", "relays": ["198.19.255.1"], "boot_file": "seventeen",
         "pools": [{"range": "198.18.17.10-198.18.17.254", "options": [
            {"name": "classless-static-routes", "value": [{"to": "0.0.0.0/0", "via": "198.18.17.1"}], "always": true},
            {"code": 224, "type": "u32", "value": 7}]}]},
        {"subnet": "198.18.18.0/24", "pools": [{"range": "198.18.18.10-198.18.18.254"}]}
    ]}}"#;

#[test]
fn relayed_clients() {
    let (a, b) = ([198, 18, 0, 1], [198, 19, 0, 1]);
    let link_selection = [5, 4, 198, 18, 18, 0];
    let server_override = [11, 4, 198, 18, 16, 1, 2, 3, 9, 9, 9];
    let places = vec![
        behind([198, 18, 16, 1], a, Some(&[])),
        behind([198, 18, 16, 1], a, None),
        behind([198, 18, 16, 2], b, Some(&server_override)),
        behind([198, 19, 255, 1], a, Some(&[2, 2, 1, 2])),
        behind([198, 19, 255, 1], b, Some(&link_selection)),
        behind([198, 18, 16, 3], a, Some(&[19, 0])),
    ];
    let plan = Plan { json: RELAYED, places, clients: 60, frames: FRAMES };
    let tally = check(&plan, &[&USUAL[..], &[Reason::Hops, Reason::UnknownForm]].concat());
    let [unicast, .., relayed, broadcast] = tally.exact;
    assert!(unicast.min(relayed).min(broadcast) > 1_000, "every way was answered: {:?}", tally.exact);
}

/// Answers around and beyond the longest the kernel holds, with overload, and few of them.
const LONG: &str = r#"{"dhcp": {
    "interfaces": [{"name": "a", "address": "198.18.0.1"}],
    "lease_secs": 3600, "lease_min_secs": 60, "lease_max_secs": 100000,
    "fastpath": {"answers_max": 48},
    "options": [
        {"name": "domain-name-servers", "value": ["198.18.0.53"], "always": true},
        {"code": 224, "type": "string", "value": "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"},
        {"code": 225, "type": "string", "value": "bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb"}
    ],
    "subnets": [
        {"subnet": "198.18.0.0/24", "interface": "a", "pools": [
            {"range": "198.18.0.16-198.18.0.99"},
            {"range": "198.18.0.100-198.18.0.109", "options": [
                {"code": 226, "type": "string", "always": true, "value": "cccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccc"}]},
            {"range": "198.18.0.110-198.18.0.120", "options": [{"code": 224, "value": null}, {"code": 225, "value": null}]},
            {"range": "198.18.0.121-198.18.0.250"}]}
    ]}}"#;

#[test]
fn clients_with_long_answers() {
    let plan = Plan { json: LONG, places: vec![place(0, &[])], clients: 110, frames: FRAMES };
    let tally = check(&plan, &USUAL);
    assert!(tally.count(Reason::UnknownForm) > 0, "some renewals stay with the daemon");
}
