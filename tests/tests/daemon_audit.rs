//! The audit log of a running daemon: the right holder at every moment, whether daemon or kernel granted, and real renewals
//! in the list of leases within a second.

use std::{
    net::Ipv4Addr,
    process::Command,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use anyhow::Result;
use dhcp_tests::{
    client::scripted::{Lease, Scripted},
    daemon::{Daemon, binary},
    lab::{self, Cable, Server, Stats, set},
    process,
    wait::wait_for,
};
use dhcp_user::{audit::Moment, time::Timestamp};
use serde_json::{Value, json};

const SOON: Duration = Duration::from_secs(15);

/// A pool of one address, so that the next client gets the same.
fn one_address(server: &Server) -> Value {
    let mut config = server.config();
    set(&mut config, "/dhcp/subnets/0/pools", json!([{"range": "198.18.1.0-198.18.1.0"}]));
    set(&mut config, "/dhcp/audit", json!({"renewals_secs": 0}));
    config
}

fn now() -> Moment {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).expect("of a running daemon");
    // To the millisecond, as lines are written.
    Moment(Timestamp(u64::try_from(since.as_millis()).expect("of a running daemon") * 1_000_000))
}

/// What the `audit` command prints.
fn audit(server: &Server, address: Ipv4Addr, at: Option<Moment>) -> Result<Value> {
    let mut command = Command::new(binary()?);
    command.arg("--config").arg(server.folder.path().join("dhcp.json"));
    command.args(["audit", &address.to_string(), "--json"]);
    if let Some(at) = at {
        command.args(["--at", &at.to_string()]);
    }
    Ok(serde_json::from_str(&process::stdout(&mut command)?)?)
}

/// Who held the address at a moment, by its hardware address.
fn holder(server: &Server, address: Ipv4Addr, at: Moment) -> Option<String> {
    let said = audit(server, address, Some(at)).expect("of a running daemon");
    said.pointer("/holdings/0/hw_address").and_then(Value::as_str).map(str::to_owned)
}

/// Waits for the clock to show another millisecond.
fn later() -> Moment {
    let (start, began) = (now(), Instant::now());
    while now() == start && began.elapsed() < SOON {
        std::hint::spin_loop();
    }
    now()
}

fn renew(daemon: &Daemon, client: &Scripted<'_>, lease: &Lease) {
    let before = Stats::of(daemon).expect("of a running daemon").answered();
    let (ack, _) = client.ask(&client.renewal(lease.address)).expect("of a running daemon");
    assert_eq!(ack.kind(), 5);
    assert_eq!(
        Stats::of(daemon).expect("of a running daemon").answered(),
        before + 1,
        "the kernel did not answer"
    );
}

fn wait_state(daemon: &Daemon, address: Ipv4Addr, state: &str) {
    lab::wait_lease(daemon, address, SOON, state, |lease| lease["state"] == json!(state))
        .expect("of a running daemon");
}

#[test]
fn the_right_holder_at_several_moments() {
    let server = Server::new().unwrap();
    let cable = Cable::new(&server).unwrap();
    let mut daemon = server.start(&one_address(&server)).unwrap();
    let (first, second) = (Scripted::new(&cable.socket, 1), Scripted::new(&cable.socket, 2));
    let (one, two) = (Some("02:00:00:00:01:01".to_owned()), Some("02:00:00:00:01:02".to_owned()));

    let before = now();
    later();
    let lease = first.dora().unwrap();
    let address = lease.address;
    let held = later();
    assert_eq!(holder(&server, address, before), None);
    assert_eq!(holder(&server, address, held), one);

    // Renewed by the kernel, with the daemon and without.
    renew(&daemon, &first, &lease);
    let on_record = || {
        let all = audit(&server, address, None).unwrap();
        let last = all.pointer("/holdings/0/last_granted").and_then(Value::as_str).unwrap().to_owned();
        Moment::parse(&last).unwrap()
    };
    let until = now();
    wait_for(SOON, "the kernel's renewal in the audit log", || Ok((on_record() > held).then_some(())))
        .unwrap();
    assert!(on_record() <= until, "a renewal of {} is on record for {}", until, on_record());
    daemon.kill().unwrap();
    let down = later();
    let (ack, _) = first.ask(&first.renewal(address)).unwrap();
    assert_eq!(ack.kind(), 5);
    daemon.restart(&server.ns).unwrap();
    wait_for(SOON, "the renewal of the time without a daemon", || Ok((on_record() >= down).then_some(())))
        .unwrap();

    // Given back; for a while nobody's.
    first.release(address).unwrap();
    wait_state(&daemon, address, "free");
    let free = later();
    later();
    assert_eq!(second.dora().unwrap().address, address);
    let taken = later();
    assert_eq!(
        [before, held, down, free, taken].map(|at| holder(&server, address, at)),
        [None, one.clone(), one, None, two]
    );
    let all = audit(&server, address, None).unwrap();
    assert_eq!(all.pointer("/holdings/0/ended"), Some(&json!("released")), "{all:#}");
    assert_eq!(all.pointer("/holdings/1/to"), Some(&Value::Null), "{all:#}");
    assert_eq!(all["doubts"], json!([]), "{all:#}");
    // It needs no daemon; and people can read it.
    assert!(daemon.stop().unwrap().success(), "{}", daemon.log());
    let text = process::stdout(
        Command::new(binary().unwrap())
            .args(["audit", &address.to_string(), "--path"])
            .arg(server.store().join("audit")),
    )
    .unwrap();
    assert!(text.contains("released") && text.contains("02:00:00:00:01:02"), "{text}");
}

#[test]
fn an_expired_lease_and_a_gap_are_on_record() {
    let server = Server::new().unwrap();
    let cable = Cable::new(&server).unwrap();
    let mut config = one_address(&server);
    set(&mut config, "/dhcp/lease_secs", json!(4));
    let mut daemon = server.start(&config).unwrap();
    let first = Scripted::new(&cable.socket, 1);
    let lease = first.dora().unwrap();
    let granted = now();
    wait_state(&daemon, lease.address, "free");
    let all = audit(&server, lease.address, None).unwrap();
    assert_eq!(all.pointer("/holdings/0/ended"), Some(&json!("expired")), "{all:#}");
    // It ended when its time ran out, not when that was noticed.
    let to = all.pointer("/holdings/0/to").and_then(Value::as_str).unwrap();
    let held = Moment::parse(to).unwrap().0.since(granted.0).as_secs();
    assert!((3..=4).contains(&held), "held for {held} s: {all:#}");

    // Marks are lost with the pins, as by a reboot.
    let between = later();
    assert!(daemon.stop().unwrap().success());
    server.unload().unwrap();
    daemon.restart(&server.ns).unwrap();
    let all = audit(&server, lease.address, None).unwrap();
    assert_eq!(all.pointer("/doubts/0/what"), Some(&json!("gap")), "{all:#}");
    assert_eq!(audit(&server, lease.address, Some(between)).unwrap()["holdings"], json!([]));
}

#[test]
fn the_kernels_renewal_is_in_the_list_within_a_second() {
    let server = Server::new().unwrap();
    let cable = Cable::new(&server).unwrap();
    let daemon = server.start(&server.config()).unwrap();
    let client = Scripted::new(&cable.socket, 1);
    let lease = client.dora().unwrap();
    // Times are shown in whole seconds: the renewal must be of another second than the grant.
    let granted = lab::lease(&daemon, lease.address).unwrap();
    let second = |lease: &Value, key: &str| Moment::parse(lease[key].as_str().unwrap()).unwrap().0;
    wait_for(SOON, "another second", || {
        Ok((now().0.as_secs() > second(&granted, "renewed_at").as_secs()).then_some(()))
    })
    .unwrap();
    renew(&daemon, &client, &lease);
    let renewed = Instant::now();
    let shown = lab::wait_lease(&daemon, lease.address, SOON, "the renewal in the list", |lease| {
        lease["renewed_by"] == json!("kernel") && second(lease, "renewed_at") > second(&granted, "renewed_at")
    })
    .unwrap();
    // The sweep is every half second; the rest is for a busy machine.
    assert!(renewed.elapsed() < Duration::from_secs(3), "shown after {:?}", renewed.elapsed());
    assert_eq!(second(&shown, "expires_at").since(second(&shown, "renewed_at")).as_secs(), 20, "{shown:#}");
}

#[test]
fn a_full_disk_stops_no_client_and_is_on_record() {
    let server = Server::new().unwrap();
    let cable = Cable::new(&server).unwrap();
    let log = server.folder.path().join("audit");
    std::fs::create_dir(&log).unwrap();
    let mut config = one_address(&server);
    set(&mut config, "/dhcp/audit/path", json!(log));
    // One client asks as often as it takes to fill the disk.
    set(&mut config, "/dhcp/limits", json!({"enabled": false}));
    // A disk of its own, in a mount namespace that ends with the daemon.
    let script = format!("mount -t tmpfs -o size=16k,mode=750 none {} && exec \"$@\"", log.display());
    let through = ["unshare", "-m", "sh", "-c", &script, "sh"];
    let daemon = Daemon::start_through(&server.ns, server.folder.path(), &config, &through).unwrap();
    let seen = std::path::PathBuf::from(format!("/proc/{}/root{}", daemon.id(), log.display()));
    let filler = seen.join("filler");
    let full = std::fs::write(&filler, vec![0; 64 << 10]).unwrap_err();
    assert_eq!(full.kind(), std::io::ErrorKind::StorageFull);
    let lost = || {
        let stats = Stats::of(&daemon).unwrap();
        stats.0.pointer("/audit/lost").and_then(Value::as_u64).unwrap()
    };
    assert_eq!(lost(), 0);

    // The file has what is left of its page; then lines are lost, and leases granted all the same.
    let client = Scripted::new(&cable.socket, 1);
    let mut lease = client.dora().unwrap();
    for _ in 0..200 {
        if lost() != 0 {
            break;
        }
        lease = client.dora().unwrap();
    }
    assert!(lost() > 0, "{:#}", Stats::of(&daemon).unwrap().0);
    let unknown = now();
    assert_eq!(client.dora().unwrap().address, lease.address);
    assert!(daemon.log().contains("the audit log cannot be written"), "{}", daemon.log());

    std::fs::remove_file(&filler).unwrap();
    client.dora().unwrap();
    let history = dhcp_user::audit::history::of(&seen, lease.address, Some(unknown)).unwrap();
    assert_eq!(history.doubts.len(), 1, "{history:?}");
    assert_eq!(history.holdings.len(), 1, "{history:?}");
    assert!(history.unreadable_lines <= 1, "{history:?}");
    assert!(daemon.log().contains("the audit log is written again"), "{}", daemon.log());
}
