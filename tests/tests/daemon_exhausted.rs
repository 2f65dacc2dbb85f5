//! What runs out, in a real daemon: room for answers in the kernel, addresses, and addresses because somebody declines
//! them all. Everybody who can be served is served, nothing that exists is lost, and what happened is counted and said.
//!
//! There are no other tables that clients could fill: the map of leases has an entry for every address that can be given
//! out, and renewals are marked in it and pass through no ring (`daemon_capture` fills the ring of a capture,
//! `daemon_overload` the daemon's queue).

use std::{net::Ipv4Addr, time::Duration};

use dhcp_tests::{
    client::scripted::Scripted,
    daemon::Daemon,
    lab::{self, Cable, SERVER, Server, Stats, set},
    wait::wait_until,
};
use serde_json::{Value, json};

/// Time for what is done at once.
const SOON: Duration = Duration::from_secs(15);
const LEASE_SECS: u32 = 600;

fn renew(client: &Scripted<'_>, address: Ipv4Addr, secs: u32) {
    let (ack, _) = client.ask(&client.renewal(address)).expect("an answer");
    assert_eq!((ack.kind(), ack.yiaddr, ack.option_u32(51)), (5, address, Some(secs)));
}

/// How many renewals kernel and daemon have granted.
fn renewals(daemon: &Daemon) -> (u64, u64) {
    let stats = Stats::of(daemon).expect("counters");
    (stats.answered(), stats.renewed_by_daemon())
}

fn count(daemon: &Daemon, pointer: &str) -> u64 {
    let stats = Stats::of(daemon).expect("counters");
    stats.0.pointer(pointer).and_then(Value::as_u64).unwrap_or_else(|| panic!("no {pointer}: {:#}", stats.0))
}

fn says(daemon: &Daemon, words: &str) {
    wait_until(SOON, &format!("{words:?} in the log"), || daemon.log().contains(words))
        .unwrap_or_else(|error| panic!("{error:#}:\n{}", daemon.log()));
}

#[test]
fn the_table_of_answers() {
    const FULL: &str = "the kernel's table of answers is full";
    let server = Server::new().unwrap();
    let cable = Cable::new(&server).unwrap();
    let mut config = server.config();
    for (key, secs) in [("lease_secs", LEASE_SECS), ("lease_min_secs", 60), ("lease_max_secs", 3_600)] {
        set(&mut config, &format!("/dhcp/{key}"), json!(secs));
    }
    set(&mut config, "/dhcp/fastpath/answers_max", json!(1));
    let mut daemon = server.start(&config).unwrap();
    let (one, like_it) = (Scripted::new(&cable.socket, 1), Scripted::new(&cable.socket, 2));
    // It asks for another lease time, so its answer is another.
    let other = Scripted::new(&cable.socket, 3).with(51, &900_u32.to_be_bytes());

    let first = one.dora().unwrap().address;
    assert!(!daemon.log().contains(FULL));
    let third = other.dora().unwrap().address;
    let second = like_it.dora().unwrap().address;
    says(&daemon, FULL);
    let round = |daemon: &Daemon| {
        renew(&one, first, LEASE_SECS);
        renew(&other, third, 900);
        renew(&like_it, second, LEASE_SECS);
        renewals(daemon)
    };
    assert_eq!(round(&daemon), (2, 1), "the daemon answers whom the kernel cannot");
    let unpublishable = count(&daemon, "/daemon/unpublishable");
    assert_eq!(round(&daemon), (4, 2), "again and again");
    assert!(count(&daemon, "/daemon/unpublishable") > unpublishable);
    assert_eq!((count(&daemon, "/kernel/answers"), count(&daemon, "/kernel/answers_max")), (1, 1));
    assert_eq!(daemon.log().matches(FULL).count(), 1, "said once");
    let lease = lab::lease(&daemon, third).unwrap();
    assert!(lease["state"] == "bound" && lease["expires_in_secs"].as_u64() > Some(800), "{lease:#}");

    // A daemon that died knows its answer again, and has no room for the other still.
    daemon.kill().unwrap();
    renew(&one, first, LEASE_SECS);
    daemon.restart(&server.ns).unwrap();
    assert_eq!(round(&daemon), (2, 1));
    says(&daemon, FULL);

    // More room, by a reload: each client's next renewal is the daemon's, and from then on all are the kernel's.
    set(&mut config, "/dhcp/fastpath/answers_max", json!(2));
    std::fs::write(server.folder.path().join("dhcp.json"), config.to_string()).unwrap();
    daemon.ask(&["config", "reload"]).unwrap();
    let (in_kernel, by_daemon) = round(&daemon);
    assert_eq!(round(&daemon), (in_kernel + 3, by_daemon));
}

#[test]
fn the_addresses_of_a_pool() {
    let server = Server::new().unwrap();
    let cable = Cable::new(&server).unwrap();
    let mut config = server.config();
    set(&mut config, "/dhcp/lease_secs", json!(LEASE_SECS));
    set(&mut config, "/dhcp/subnets/0/pools", json!([{"range": "198.18.1.10-198.18.1.12"}]));
    let daemon = server.start(&config).unwrap();
    let holders = [1, 2, 3].map(|number| {
        let client = Scripted::new(&cable.socket, number);
        let address = client.dora().unwrap().address;
        (client, address)
    });
    let waiting = Scripted::new(&cable.socket, 4);
    waiting.ask_in_vain(&waiting.message(1, &[])).unwrap();
    // It may ask for any of them: none is taken from its holder.
    for (_, address) in &holders {
        let words = [(50, &address.octets()[..])];
        let reply = waiting.ask_for(&waiting.message(3, &words), Duration::from_millis(300)).unwrap();
        assert!(reply.is_none_or(|(nak, _)| nak.kind() == 6), "{address} is another's");
    }
    assert!(count(&daemon, "/daemon/messages/ignored_no_free_address") > 0);
    let metrics = daemon.text("/metrics", SOON).unwrap();
    let free = metrics.lines().find(|line| line.starts_with("dhcp_pool_free_addresses{"));
    assert!(free.is_some_and(|line| line.ends_with(" 0")), "{free:?}");
    for (client, address) in &holders {
        renew(client, *address, LEASE_SECS);
    }
    assert_eq!(renewals(&daemon), (3, 0), "the kernel's, as ever");

    // Who goes makes room for who waits.
    let (leaver, freed) = &holders[1];
    leaver.release(*freed).unwrap();
    let (got, _) = waiting.dora_patiently(Duration::from_secs(1), 15).unwrap();
    assert_eq!(got, *freed);
}

#[test]
fn addresses_by_declining_them_all() {
    const ADDRESSES: u64 = 16;
    const DECLINES: u64 = 12;
    let server = Server::new().unwrap();
    let cable = Cable::new(&server).unwrap();
    let mut config = server.config();
    set(&mut config, "/dhcp/lease_secs", json!(LEASE_SECS));
    set(&mut config, "/dhcp/subnets/0/pools", json!([{"range": "198.18.1.16-198.18.1.31"}]));
    // Its limit would stop the hostile client before it is what is to be tried.
    set(&mut config, "/dhcp/limits", json!({"enabled": false}));
    let daemon = server.start(&config).unwrap();
    let holder = Scripted::new(&cable.socket, 1);
    let held = holder.dora().unwrap().address;
    let hostile = Scripted::new(&cable.socket, 2);
    for declined in 1..=DECLINES {
        let (address, _) = hostile.dora_patiently(Duration::from_secs(1), 15).unwrap();
        let words = [(50, &address.octets()[..]), (54, &SERVER.octets()[..])];
        cable.socket.send(&hostile.message(4, &words).build()).unwrap();
        let counted = || Stats::of(&daemon).is_ok_and(|stats| stats.messages("declined") == declined);
        wait_until(SOON, "the decline", counted).unwrap();
    }
    says(&daemon, "clients have declined a quarter of a pool within an hour");
    let cut_short = || count(&daemon, "/daemon/quarantines_cut_short") >= DECLINES - ADDRESSES / 4;
    wait_until(SOON, "quarantines cut short", cut_short).unwrap();
    assert!(count(&daemon, "/leases/quarantined") <= ADDRESSES / 4);
    // Nobody lost anything, and there is room for others.
    renew(&holder, held, LEASE_SECS);
    assert_eq!(renewals(&daemon), (1, 0));
    for number in 3..6 {
        let (address, _) =
            Scripted::new(&cable.socket, number).dora_patiently(Duration::from_secs(1), 15).unwrap();
        assert_ne!(address, held);
    }
}
