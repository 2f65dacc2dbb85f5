//! Somebody takes the kernel program off an interface, or the interface itself away: the daemon notices, says so where readiness
//! and alerts are asked for, and puts the program back.

use std::{process::Command, time::Duration};

use anyhow::{Context as _, Result};
use dhcp_tests::{
    client::scripted::{Lease, Scripted},
    daemon::Daemon,
    lab::{Cable, INTERFACE, Server, Stats, set},
    pins::Pins,
    process,
    wait::wait_for,
};
use serde_json::{Value, json};

const SOON: Duration = Duration::from_secs(15);

/// What readiness says; the daemon answers whether it is ready or not.
fn ready(daemon: &Daemon) -> Result<Value> {
    match daemon.get("/readyz", SOON) {
        Ok(said) => Ok(said),
        Err(error) => {
            let error = format!("{error:#}");
            let (head, body) = error.split_once(": {").with_context(|| error.clone())?;
            assert!(head.contains("503"), "{error}");
            Ok(serde_json::from_str(&format!("{{{body}"))?)
        }
    }
}

fn wait_until_ready_is(daemon: &Daemon, wanted: bool) -> Value {
    let what = format!("/readyz to say {wanted}");
    wait_for(SOON, &what, || Ok(Some(ready(daemon)?).filter(|said| said["ready"] == json!(wanted))))
        .with_context(|| daemon.log())
        .expect("it goes as it should")
}

/// What the alert looks at: interfaces wanted, attached, lost, and how often the program was attached again.
fn figures(daemon: &Daemon) -> [Option<u64>; 4] {
    let text = daemon.text("/metrics", SOON).expect("it goes as it should");
    let figure = |name: &str| {
        text.lines().find_map(|line| line.strip_prefix(name)?.trim().parse::<f64>().ok()).map(|at| at as u64)
    };
    [
        figure("dhcp_kernel_interfaces_wanted "),
        figure("dhcp_kernel_interfaces_attached "),
        figure("dhcp_interfaces_lost "),
        figure("dhcp_kernel_attached_again_total "),
    ]
}

fn renew_in_the_kernel(daemon: &Daemon, client: &Scripted<'_>, lease: &Lease) {
    let answered = Stats::of(daemon).expect("it goes as it should").answered();
    client.ask(&client.renewal(lease.address)).expect("it goes as it should");
    assert_eq!(Stats::of(daemon).expect("it goes as it should").answered(), answered + 1, "{}", daemon.log());
}

/// `take` takes the program of the server's interface away.
fn comes_back(take: impl Fn(&Pins)) {
    let server = Server::new().expect("it goes as it should");
    let cable = Cable::new(&server).expect("it goes as it should");
    let daemon = server.start(&server.config()).expect("it goes as it should");
    let client = Scripted::new(&cable.socket, 1);
    let lease = client.dora().expect("it goes as it should");
    renew_in_the_kernel(&daemon, &client, &lease);
    assert_eq!(wait_until_ready_is(&daemon, true)["problems"], json!([]));

    take(&server.pins);
    wait_for(SOON, "the program to be attached again", || {
        Ok(daemon.log().contains("the kernel program is attached again").then_some(()))
    })
    .with_context(|| daemon.log())
    .expect("it goes as it should");
    assert!(daemon.log().contains("the kernel program was taken off s0"), "{}", daemon.log());
    wait_until_ready_is(&daemon, true);
    assert_eq!(figures(&daemon), [Some(1), Some(1), Some(0), Some(1)]);
    // What the kernel knew, it knows.
    renew_in_the_kernel(&daemon, &client, &lease);
}

#[test]
fn a_link_that_was_detached_is_attached_again() {
    comes_back(|pins| {
        let pin = pins.path().join(format!("link-{INTERFACE}"));
        process::stdout(Command::new("bpftool").args(["link", "detach", "pinned"]).arg(pin)).unwrap();
    });
}

#[test]
fn a_link_whose_pin_was_removed_is_attached_again() {
    comes_back(|pins| std::fs::remove_file(pins.path().join(format!("link-{INTERFACE}"))).unwrap());
}

#[test]
fn another_program_in_the_place_of_ours_is_named_until_it_goes() {
    let server = Server::new().unwrap();
    let cable = Cable::new(&server).unwrap();
    let daemon = server.start(&server.config()).unwrap();
    wait_until_ready_is(&daemon, true);
    // Ours goes and that one comes; should the daemon be faster, once more.
    let pin = server.pins.path().join(format!("link-{INTERFACE}"));
    let pass = wait_for(SOON, "the interface to be free for another program", || {
        let _ = std::fs::remove_file(&pin);
        Ok(cable.pair.a.pass(&server.ns).ok())
    })
    .unwrap();
    let said = wait_until_ready_is(&daemon, false);
    assert_eq!((&said["fast_path"], &said["interfaces"]), (&json!(false), &json!(true)), "{said:#}");
    let problems = said["problems"].to_string();
    assert!(problems.contains("another XDP program") && problems.contains("runs on s0"), "{problems}");
    assert_eq!(figures(&daemon)[..3], [Some(1), Some(0), Some(0)]);
    drop(pass);
    wait_until_ready_is(&daemon, true);
}

#[test]
fn an_interface_that_was_removed_is_named_until_the_daemon_starts_anew() {
    for mode in ["auto", "off"] {
        let server = Server::new().unwrap();
        let cable = Cable::new(&server).unwrap();
        let mut config = server.config();
        set(&mut config, "/dhcp/interfaces/0/mode", json!(mode));
        let mut daemon = server.start(&config).unwrap();
        wait_until_ready_is(&daemon, true);
        drop(cable);
        let _ = server.ns.ip("link delete dev s0");
        let said = wait_until_ready_is(&daemon, false);
        assert_eq!(said["interfaces"], json!(false), "{said:#}");
        let problems = said["problems"].to_string();
        assert!(problems.contains("the interface s0 (index") && problems.contains("is gone"), "{problems}");

        let cable = Cable::new(&server).unwrap();
        wait_for(SOON, "the new interface to be told from the old", || {
            let said = ready(&daemon)?;
            Ok((said["problems"].to_string().contains("made anew")).then_some(()))
        })
        .with_context(|| daemon.log())
        .unwrap();
        let wanted = u64::from(mode == "auto");
        assert_eq!(figures(&daemon)[..3], [Some(wanted), Some(0), Some(1)]);

        daemon.stop().unwrap();
        daemon.restart(&server.ns).unwrap();
        wait_until_ready_is(&daemon, true);
        Scripted::new(&cable.socket, 1).dora().unwrap();
    }
}
