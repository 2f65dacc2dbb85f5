//! A flood of DISCOVERs from random hardware addresses, many times what is let through: every renewal is answered, new
//! clients get their leases, and the daemon does not grow. `cargo xtask bench overload` does the same at full speed.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use dhcp_tests::{
    client::scripted::{REPLY, Scripted},
    daemon::Daemon,
    lab::{Cable, Server, Stats, set},
    packet::Frame,
    raw::RawSocket,
};
use serde_json::json;

/// Clients with leases, which renew all the time.
const KNOWN: u8 = 16;
/// Clients that come while the flood goes on.
const NEW: u8 = 6;
/// Strangers' frames for each renewal.
const STRANGERS: u64 = 20;
/// Renewals at least.
const RENEWALS: u64 = 400;
/// When a client asks again, and how often: as impatient ones do.
const AGAIN: (Duration, u32) = (Duration::from_secs(1), 15);
/// How long all of it may take.
const PATIENCE: Duration = Duration::from_secs(40);
/// What the daemon may grow by.
const GROWTH_MAX_KIB: u64 = 24 * 1024;

fn memory_kib(daemon: &Daemon) -> u64 {
    daemon.memory_octets().expect("the kernel tells a process's memory").0 / 1024
}

/// A number that looks random, another one for each `number` (SplitMix64).
fn scatter(number: u64) -> u64 {
    let mixed = number.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let mixed = (mixed ^ mixed >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed ^ mixed >> 27
}

fn stranger(number: u64) -> Vec<u8> {
    let [a, b, c, d, e, ..] = scatter(number).to_be_bytes();
    Frame::request(1, [6, a, b, c, d, e]).option(55, &[1, 3, 6]).build()
}

/// DISCOVER and REQUEST, each as often as need be; how often in all.
fn join(client: &Scripted<'_>, server: [u8; 4]) -> Result<u32> {
    let persist = |frame: &Frame, kind| -> Result<_> {
        for tries in 1..=AGAIN.1 {
            if let Some((reply, _)) = client.ask_for(frame, AGAIN.0)? {
                ensure!(reply.kind() == kind, "not of type {kind}: {reply:?}");
                return Ok((reply, tries));
            }
        }
        anyhow::bail!("no reply to {} messages {frame:?}", AGAIN.1)
    };
    let (offer, discovers) = persist(&client.message(1, &[]), 2)?;
    let wanted = [(50, &offer.yiaddr.octets()[..]), (54, &server[..])];
    let (_, requests) = persist(&client.message(3, &wanted), 5).context("after an OFFER")?;
    Ok(discovers + requests)
}

#[test]
fn renewals_and_new_clients_get_through_a_flood() {
    let server = Server::new().unwrap();
    let cable = Cable::new(&server).unwrap();
    let mut config = server.config();
    set(&mut config, "/dhcp/lease_secs", json!(3600));
    set(&mut config, "/dhcp/subnets/0/pools", json!([{"range": "198.18.16.0-198.18.17.255"}]));
    set(
        &mut config,
        "/dhcp/limits",
        json!({"client_per_sec": 20, "overall_per_sec": 400, "overall_burst": 80}),
    );
    let daemon = server.start(&config).unwrap();
    let known: Vec<_> = (0..KNOWN)
        .map(|number| {
            let client = Scripted::new(&cable.socket, number);
            let address = client.dora().unwrap().address;
            (client, address)
        })
        .collect();
    let (before, memory_before) = (Stats::of(&daemon).unwrap(), memory_kib(&daemon));

    let joined = AtomicU64::new(0);
    let begun = Instant::now();
    let (renewals, strangers, messages) = thread::scope(|scope| {
        let new: Vec<_> = (0..NEW)
            .map(|number| {
                let (joined, ns) = (&joined, &cable.ns);
                scope.spawn(move || {
                    let socket = RawSocket::open(ns, "c0").unwrap();
                    let tries = join(&Scripted::new(&socket, 100 + number), [198, 18, 0, 1]);
                    joined.fetch_add(1, Ordering::Relaxed);
                    tries
                })
            })
            .collect();
        let (mut renewals, mut strangers) = (0, 0);
        while (renewals < RENEWALS || joined.load(Ordering::Relaxed) < u64::from(NEW))
            && begun.elapsed() < PATIENCE
        {
            for _ in 0..STRANGERS {
                cable.socket.send(&stranger(strangers)).unwrap();
                strangers += 1;
            }
            let (client, address) = &known[renewals as usize % known.len()];
            let ack = client.ask_for(&client.renewal(*address), REPLY).unwrap();
            let (ack, _) = ack.unwrap_or_else(|| panic!("renewal {renewals} is not answered"));
            assert_eq!((ack.kind(), ack.yiaddr), (5, *address));
            renewals += 1;
        }
        let messages: Vec<u32> = new.into_iter().map(|client| client.join().unwrap().unwrap()).collect();
        (renewals, strangers, messages)
    });
    let (after, memory_after) = (Stats::of(&daemon).unwrap(), memory_kib(&daemon));
    let moved = |reason: &str| after.passed(reason) - before.passed(reason);
    println!(
        "{strangers} strangers and {renewals} renewals in {:?}; {} of the strangers dropped; new clients sent {messages:?} \
         messages; memory {memory_before} to {memory_after} KiB",
        begun.elapsed(),
        moved("limited_new"),
    );
    assert_eq!(
        after.answered() - before.answered(),
        renewals,
        "every renewal is the kernel's: {:#}",
        after.0
    );
    assert!(moved("limited_new") > strangers * 3 / 4, "that was no flood: {:#}", after.0);
    for never in ["limited_known", "limited_relay", "write_failed"] {
        assert_eq!(moved(never), 0, "{never}: {:#}", after.0);
    }
    assert_eq!(after.0.pointer("/leases/bound"), Some(&json!(KNOWN + NEW)));
    assert!(memory_after < memory_before + GROWTH_MAX_KIB, "{memory_before} KiB, then {memory_after} KiB");
    assert_eq!(after.0.pointer("/kernel/limits/overall_per_sec"), Some(&json!(400)));
}

/// With limits off the same flood reaches the daemon, which bounds what waits and what it offers by itself.
#[test]
fn without_limits_the_daemon_bounds_itself() {
    let server = Server::new().unwrap();
    let cable = Cable::new(&server).unwrap();
    let mut config = server.config();
    set(&mut config, "/dhcp/limits", json!({"enabled": false}));
    let daemon = server.start(&config).unwrap();
    let memory_before = memory_kib(&daemon);
    let client = Scripted::new(&cable.socket, 1);
    for round in 0..200 {
        for number in 0..50 {
            cable.socket.send(&stranger(round * 50 + number)).unwrap();
        }
        // Keeps step with the daemon, so that its queue and not the cable is what is tried.
        if round % 20 == 0 {
            client.dora_patiently(AGAIN.0, AGAIN.1).unwrap();
        }
    }
    client.dora_patiently(AGAIN.0, AGAIN.1).unwrap();
    let stats = Stats::of(&daemon).unwrap();
    let daemon_says = |what: &str| {
        stats.0.pointer(&format!("/daemon/{what}")).and_then(serde_json::Value::as_u64).expect("stats has it")
    };
    assert!(daemon_says("offers") <= 256, "{:#}", stats.0);
    assert!(daemon_says("offers_gave_way") > 0, "{:#}", stats.0);
    assert_eq!(stats.passed("limited_new"), 0);
    let memory_after = memory_kib(&daemon);
    assert!(memory_after < memory_before + GROWTH_MAX_KIB, "{memory_before} KiB, then {memory_after} KiB");
}
