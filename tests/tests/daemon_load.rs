//! Thousands of leases by perfdhcp, which checks every reply; then its renewals again, from the kernel.
//!
//! perfdhcp plays a relay whose clients leave out the parameter request list when they renew: nobody can foresee that, so
//! a client's first renewal is the daemon's, which learns it, and the next one the kernel's.

use std::{
    collections::BTreeMap,
    net::Ipv4Addr,
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::Duration,
};

use dhcp_tests::{
    client::program,
    lab::{Cable, INTERFACE, SERVER, Server, Stats, set},
    parse::Message,
    raw::RawSocket,
    veth,
};
use serde_json::json;

/// Clients, one lease each.
const CLIENTS: usize = 2_000;

/// New clients in a second, and renewals in the same second.
const RATES: (&str, &str) = ("250", "200");

/// How long perfdhcp waits for a reply, seconds.
const PATIENCE_SECS: &str = "5";

/// Renewals sent again before their replies are read.
const AT_ONCE: usize = 50;

/// The numbers of one kind of exchange in perfdhcp's report.
fn numbers(report: &str, exchange: &str) -> BTreeMap<String, u64> {
    let title = format!("***Statistics for: {exchange}***");
    let lines = report.lines().skip_while(|line| *line != title).skip(1);
    lines
        .take_while(|line| !line.is_empty())
        .filter_map(|line| {
            let (name, value) = line.split_once(": ")?;
            Some((name.to_owned(), value.trim_end_matches(" %").parse::<f64>().ok()? as u64))
        })
        .collect()
}

#[test]
fn perfdhcp_accepts_every_reply_and_its_second_renewals_are_the_kernels() {
    let server = Server::new().unwrap();
    let cable = Cable::new(&server).unwrap();
    let relay = Ipv4Addr::new(198, 18, 0, 2);
    veth::add_address(&cable.ns, "c0", relay, 16).unwrap();
    let mut config = server.config();
    set(&mut config, "/dhcp/subnets/0/pools", json!([{"range": "198.18.16.0-198.18.31.255"}]));
    set(&mut config, "/dhcp/lease_secs", json!(600));
    // In memory: a veth end with an XDP program holds 256 frames, and replies to what came while a busy disk flushed for
    // a second are more.
    let store = tempfile::Builder::new().prefix("dhcptest-").tempdir_in("/dev/shm").unwrap();
    set(&mut config, "/dhcp/store/path", json!(store.path().join("leases")));
    let daemon = server.start(&config).unwrap();

    // What the kernel passes up is seen here too.
    let passed_up = RawSocket::open(&server.ns, INTERFACE).unwrap();
    let done = AtomicBool::new(false);
    let (report, renewals) = thread::scope(|scope| {
        let listen = scope.spawn(|| {
            let mut renewals = BTreeMap::new();
            while !done.load(Ordering::Relaxed) {
                if let Some(frame) = passed_up.receive(Duration::from_millis(50)).unwrap()
                    && let Ok(message) = Message::parse(&frame)
                    && message.op == 1
                    && !message.ciaddr.is_unspecified()
                {
                    renewals.insert(message.ciaddr, frame);
                }
            }
            renewals
        });
        let mut command = cable.ns.command(program("perfdhcp").unwrap());
        let clients = CLIENTS.to_string();
        command.args(["-4", "-l", "c0", "-r", RATES.0, "-f", RATES.1, "-n", &clients, "-R", &clients]);
        let output = command
            .args(["-u", "-d", PATIENCE_SECS, "-W", "500000"])
            .arg(SERVER.to_string())
            .output()
            .unwrap();
        done.store(true, Ordering::Relaxed);
        let report = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(output.status.success(), "{}: {report}", output.status);
        (report, listen.join().unwrap())
    });
    let mut renewed = 0;
    for exchange in ["DISCOVER-OFFER", "REQUEST-ACK", "REQUEST-ACK (renewal)"] {
        let numbers = numbers(&report, exchange);
        renewed = numbers["sent packets"];
        assert_eq!(numbers["received packets"], renewed, "{exchange}: {report}");
        for bad in ["drops", "rejected leases", "non unique addresses"] {
            assert_eq!(numbers[bad], 0, "{exchange}: {bad}: {report}");
        }
    }
    assert!(report.contains("Malformed packets: 0"), "{report}");
    assert!(renewed > 1_000, "{report}");
    let stats = Stats::of(&daemon).unwrap();
    assert_eq!(stats.0.pointer("/leases/bound"), Some(&json!(CLIENTS)));
    assert_eq!((stats.answered(), stats.renewed_by_daemon()), (0, renewed), "{:#}", stats.0);
    assert_eq!(stats.passed("fingerprint"), renewed, "{:#}", stats.0);
    assert_eq!(renewals.len() as u64, renewed);

    // Once more, in portions that any socket's buffer holds; the cable's own is full of replies to perfdhcp.
    let socket = RawSocket::open(&cable.ns, "c0").unwrap();
    let frames: Vec<_> = renewals.into_iter().collect();
    for some in frames.chunks(AT_ONCE) {
        for (_, frame) in some {
            socket.send(frame).unwrap();
        }
        for _ in some {
            let ack = |frame: &[u8]| Message::parse(frame).ok().filter(|m| m.op == 2 && m.kind() == 5);
            let ack = socket.receive_where(Duration::from_secs(3), ack).unwrap().expect("no ACK");
            assert_eq!((ack.src, ack.dst, ack.giaddr, ack.dst_port), (SERVER, relay, relay, 67));
            assert!(some.iter().any(|(address, _)| *address == ack.yiaddr));
        }
    }
    let stats = Stats::of(&daemon).unwrap();
    assert_eq!((stats.answered(), stats.renewed_by_daemon()), (renewed, renewed), "{:#}", stats.0);
    println!("{CLIENTS} leases; {renewed} first renewals by the daemon, {renewed} second ones by the kernel");
}
