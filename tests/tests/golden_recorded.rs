//! Frames recorded from real clients: each one's first renewal and first rebinding after its DISCOVER and REQUEST are
//! answered in the kernel as the daemon would, and damaged ones are not, or are answered as the daemon would.

use std::{collections::BTreeMap, net::Ipv4Addr};

use dhcp_common::reason::Reason;
use dhcp_tests::{
    fixture,
    oracle::{judge::hex, mutate, run, world::World},
    parse::Message,
};
use dhcp_user::engine::SlowReason;
use rand::{SeedableRng as _, rngs::StdRng};

/// Where the frames were recorded: the server and the one address it had to give.
const JSON: &str = r#"{"dhcp": {
    "interfaces": [{"name": "a", "address": "198.18.0.1"}],
    "options": [
        {"name": "routers", "value": "198.18.0.1"},
        {"name": "domain-name-servers", "value": ["198.18.0.53"]},
        {"name": "domain-name", "value": "example.org"}
    ],
    "subnets": [{"subnet": "198.18.0.0/16", "interface": "a", "pools": [{"range": "198.18.1.10-198.18.1.10"}]}]}}"#;
const ADDRESS: Ipv4Addr = Ipv4Addr::new(198, 18, 1, 10);
/// Damaged copies of each frame.
const DAMAGED: u32 = 2_000;

/// The frames of each client, by what they are.
fn clients() -> BTreeMap<String, BTreeMap<String, Vec<u8>>> {
    let mut clients = BTreeMap::<_, BTreeMap<_, _>>::new();
    for (file, fixture) in fixture::clients().expect("recorded frames") {
        let field = |key: &str| {
            fixture.field(key).unwrap_or_else(|| panic!("{key} in {}", file.display())).to_owned()
        };
        clients.entry(field("client")).or_default().insert(field("kind"), fixture.frame.clone());
    }
    clients
}

/// A world in which a client has been given its address.
fn joined(name: &str, frames: &BTreeMap<String, Vec<u8>>) -> World {
    let mut world = World::new(JSON, 3).expect("a world");
    for (kind, reason, answer) in [("discover", SlowReason::Offered, 2), ("request", SlowReason::AckedNew, 5)]
    {
        let (became, sent) = world.deliver(0, &frames[kind]).expect("maps to write to");
        assert_eq!(became, Some(reason), "{name}");
        let message = Message::parse(&sent[0]).expect("a sound answer");
        assert_eq!((message.kind(), message.yiaddr), (answer, ADDRESS), "{name}");
    }
    world
}

#[test]
fn first_renewals_of_real_clients_are_answered_in_the_kernel() {
    let clients = clients();
    assert!(clients.len() >= 4, "frames of {} clients", clients.len());
    for (name, frames) in &clients {
        let mut world = joined(name, frames);
        for kind in ["renew", "rebind"] {
            let verdict =
                world.judge(0, &frames[kind]).unwrap().unwrap_or_else(|error| panic!("{name}: {error}"));
            assert_eq!(verdict.reason, Reason::Answered, "{name}, {kind}: {}", hex(&frames[kind]));
            let ack = Message::parse(&verdict.frame).unwrap();
            assert_eq!((ack.kind(), ack.yiaddr, ack.dst), (5, ADDRESS, ADDRESS), "{name}, {kind}");
        }
        let verdict = world.judge(0, &frames["release"]).unwrap().unwrap();
        assert_eq!(
            (verdict.reason, verdict.daemon),
            (Reason::Fingerprint, Some(SlowReason::Released)),
            "{name}"
        );
    }
}

#[test]
fn damaged_frames_of_real_clients_are_judged_alike() {
    let seed = run::seed();
    let mut rng = StdRng::seed_from_u64(seed);
    let (mut judged, mut answered) = (0, 0);
    for (name, frames) in &clients() {
        let mut world = joined(name, frames);
        for frame in frames.values() {
            for _ in 0..DAMAGED {
                let mut damaged = frame.clone();
                mutate::damage(&mut damaged, &mut rng);
                let verdict = world.judge(0, &damaged).unwrap();
                let verdict = verdict.unwrap_or_else(|error| panic!("{name}, seed {seed}: {error}"));
                judged += 1;
                answered += u32::from(verdict.reason == Reason::Answered);
            }
        }
    }
    println!("{answered} of {judged} answered");
    assert!(judged >= 4 * 5 * DAMAGED && answered > judged / 100, "{answered} of {judged} answered");
}
