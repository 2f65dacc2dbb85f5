//! The daemon's end and return: no lease is lost, the kernel goes on meanwhile, and what it renewed is known afterwards;
//! maps of another layout are refused; a changed configuration takes the kernel's answers away.

use std::{net::Ipv4Addr, process::Command, time::Duration};

use anyhow::{Context as _, Result};
use aya::maps::{Array, Map, MapData};
use dhcp_common::abi::{Control, VERSION};
use dhcp_tests::{
    client::scripted::{Lease, Scripted},
    daemon::{Daemon, binary},
    lab::{self, Cable, SERVER, Server, Stats, set},
    process,
    wait::wait_for,
};
use serde_json::{Value, json};

const SOON: Duration = Duration::from_secs(15);

fn leases(daemon: &Daemon) -> Result<Vec<Value>> {
    Ok(daemon.ask(&["leases", "list"])?.as_array().cloned().unwrap_or_default())
}

/// Two clients with a lease each.
fn two(cable: &Cable) -> Result<[(Scripted<'_>, Lease); 2]> {
    let one = |number| -> Result<_> {
        let client = Scripted::new(&cable.socket, number).with(61, &[1, 2, 0, 0, 0, 1, number]);
        let lease = client.dora()?;
        Ok((client, lease))
    };
    Ok([one(1)?, one(2)?])
}

fn renew_in_the_kernel(daemon: Option<&Daemon>, (client, lease): &(Scripted<'_>, Lease)) -> Result<()> {
    let answered = daemon.map(Stats::of).transpose()?.map(|stats| stats.answered());
    let (ack, _) = client.ask(&client.renewal(lease.address))?;
    assert_eq!((ack.kind(), ack.yiaddr, ack.dst), (5, lease.address, lease.address));
    assert_eq!(ack.option(61), lease.ack.option(61));
    if let (Some(daemon), Some(answered)) = (daemon, answered) {
        let stats = Stats::of(daemon)?;
        assert_eq!((stats.answered(), stats.renewed_by_daemon()), (answered + 1, 0), "{:#}", stats.0);
    }
    Ok(())
}

fn renewed_at(daemon: &Daemon, address: Ipv4Addr) -> Result<String> {
    Ok(lab::lease(daemon, address)?["renewed_at"].as_str().unwrap_or_default().to_owned())
}

/// `end` ends the daemon; what it knew and what the kernel did since must be there when it is back.
fn survives(end: impl Fn(&mut Daemon)) -> Result<()> {
    let server = Server::new()?;
    let cable = Cable::new(&server)?;
    let mut daemon = server.start(&server.config())?;
    let clients = two(&cable)?;
    renew_in_the_kernel(Some(&daemon), &clients[0])?;
    let before: Vec<String> =
        clients.iter().map(|(_, lease)| renewed_at(&daemon, lease.address)).collect::<Result<_>>()?;
    let first_answered = Stats::of(&daemon)?.answered();
    assert_eq!(first_answered, 1);

    end(&mut daemon);
    for client in &clients {
        renew_in_the_kernel(None, client)?;
    }
    // A new client waits: the kernel gives nothing to whom it does not know.
    let stranger = Scripted::new(&cable.socket, 9);
    stranger.ask_in_vain(&stranger.message(1, &[]))?;

    daemon.restart(&server.ns)?;
    let stats = Stats::of(&daemon)?;
    // Its maps are its own, so it counts from nothing.
    assert_eq!(stats.answered(), 0, "{:#}", stats.0);
    assert_eq!(stats.0.pointer("/kernel/interfaces/s0"), Some(&json!("driver")));
    assert!(daemon.log().contains("took_over=true"), "{}", daemon.log());
    assert_eq!(stats.0.pointer("/leases/bound"), Some(&json!(2)));
    let found = leases(&daemon)?;
    assert_eq!(found.len(), 2);
    for ((_, lease), earlier) in clients.iter().zip(&before) {
        let entry =
            found.iter().find(|found| found["address"] == json!(lease.address)).context("a lease is lost")?;
        assert_eq!((&entry["state"], &entry["kernel"]["forms"]), (&json!("bound"), &json!(["direct"])));
        // Renewed by the kernel while the daemon was away.
        let now = renewed_at(&daemon, lease.address)?;
        assert!(now >= *earlier, "{now} is before {earlier}");
    }
    for client in &clients {
        renew_in_the_kernel(Some(&daemon), client)?;
    }
    stranger.dora()?;
    Ok(())
}

#[test]
fn an_orderly_end() {
    survives(|daemon| assert!(daemon.stop().unwrap().success(), "{}", daemon.log())).unwrap();
}

#[test]
fn a_kill() {
    survives(|daemon| daemon.kill().unwrap()).unwrap();
}

#[test]
fn renewals_while_the_daemon_was_away_are_in_the_list() {
    let server = Server::new().unwrap();
    let cable = Cable::new(&server).unwrap();
    let mut daemon = server.start(&server.config()).unwrap();
    let clients = two(&cable).unwrap();
    daemon.kill().unwrap();
    // Times are shown in whole seconds: renew until the list must show a later one.
    let (_, lease) = &clients[0];
    let secs = |lease: &Lease| lease.ack.option_u32(51).unwrap();
    let start = std::time::Instant::now();
    wait_for(SOON, "two seconds to pass with renewals", || {
        renew_in_the_kernel(None, &clients[0]).unwrap();
        Ok((start.elapsed() > Duration::from_secs(2)).then_some(()))
    })
    .unwrap();
    daemon.restart(&server.ns).unwrap();
    let renewed = lab::lease(&daemon, lease.address).unwrap();
    let idle = lab::lease(&daemon, clients[1].1.address).unwrap();
    assert!(renewed["renewed_at"].as_str() > idle["renewed_at"].as_str(), "{renewed:#} {idle:#}");
    let left = renewed["expires_in_secs"].as_u64().unwrap();
    assert!(left + 2 >= u64::from(secs(lease)), "{left} s are left of a lease renewed just now");
    assert_eq!(renewed["renewed_by"], json!("kernel"), "{renewed:#}");
}

#[test]
fn without_its_pins_as_after_a_reboot() {
    let server = Server::new().unwrap();
    let cable = Cable::new(&server).unwrap();
    let mut daemon = server.start(&server.config()).unwrap();
    let clients = two(&cable).unwrap();
    assert!(daemon.stop().unwrap().success());
    let said = server.unload().unwrap();
    assert!(said.contains("detached from s0"), "{said}");
    assert!(!server.pins.path().exists());
    // Now nobody answers.
    clients[0].0.ask_in_vain(&clients[0].0.renewal(clients[0].1.address)).unwrap();
    assert!(server.unload().unwrap().contains("no program was attached"));

    daemon.restart(&server.ns).unwrap();
    assert_eq!(Stats::of(&daemon).unwrap().0.pointer("/kernel/interfaces/s0"), Some(&json!("driver")));
    for client in &clients {
        let entry = lab::lease(&daemon, client.1.address).unwrap();
        assert_eq!(entry["kernel"]["forms"], json!(["direct"]), "{entry:#}");
        renew_in_the_kernel(Some(&daemon), client).unwrap();
    }
}

#[test]
fn a_changed_xdp_mode_makes_the_link_anew() {
    let server = Server::new().unwrap();
    let cable = Cable::new(&server).unwrap();
    let mut config = server.config();
    let client = Scripted::new(&cable.socket, 1);
    // Starts have one log, one after the other.
    let (mut lease, mut logged) = (None, 0);
    // As configured, what runs then, and whether the link is the earlier daemon's.
    for (mode, runs, took_over) in [
        ("generic", "generic", false),
        ("auto", "generic", true),
        ("driver", "driver", false),
        ("auto", "driver", true),
        ("generic", "generic", false),
    ] {
        set(&mut config, "/dhcp/interfaces/0/mode", json!(mode));
        let mut daemon = server.start(&config).unwrap();
        let log = daemon.log().split_off(logged);
        let stats = Stats::of(&daemon).unwrap().0;
        assert_eq!(stats.pointer("/kernel/interfaces/s0"), Some(&json!(runs)), "{mode}: {log}");
        assert!(log.contains(&format!("took_over={took_over}")), "{mode}: {log}");
        assert_eq!(log.contains("configure mode"), mode == "auto" && runs == "generic", "{mode}: {log}");
        let held = lease.get_or_insert_with(|| client.dora().unwrap());
        // What was learnt is still known, in whichever mode.
        let (ack, _) = client.ask(&client.renewal(held.address)).unwrap();
        assert_eq!((ack.kind(), ack.yiaddr), (5, held.address));
        assert_eq!(Stats::of(&daemon).unwrap().answered(), 1, "{mode}: {log}");
        assert!(daemon.stop().unwrap().success());
        logged = daemon.log().len();
    }
}

#[test]
fn a_running_daemons_pins_are_not_unloaded() {
    let server = Server::new().unwrap();
    let _cable = Cable::new(&server).unwrap();
    let _daemon = server.start(&server.config()).unwrap();
    let error = format!("{:#}", server.unload().unwrap_err());
    assert!(error.contains("another daemon is using the pins in"), "{error}");
}

#[test]
fn pinned_maps_of_another_layout_are_refused() {
    let server = Server::new().unwrap();
    let cable = Cable::new(&server).unwrap();
    let config = server.config();
    let mut daemon = server.start(&config).unwrap();
    let clients = two(&cable).unwrap();
    // What an upgrade asks before it stops anything.
    let takeover = || {
        let file = server.folder.path().join("dhcp.json");
        let asked =
            Command::new(binary().unwrap()).arg("--config").arg(file).arg("--check-takeover").output();
        let asked = asked.unwrap();
        let said = String::from_utf8_lossy(&[asked.stdout, asked.stderr].concat()).into_owned();
        (asked.status.code(), said)
    };
    let (code, said) = takeover();
    assert!(code == Some(0) && said.contains("can be taken over"), "{code:?}: {said}");
    renew_in_the_kernel(Some(&daemon), &clients[0]).unwrap();
    assert!(daemon.stop().unwrap().success());

    // The same size, but another version in it.
    let pin = server.pins.path().join("control");
    let map = Map::Array(MapData::from_pin(&pin).unwrap());
    let mut control: Array<_, Control> = map.try_into().unwrap();
    let ours = control.get(&0, 0).unwrap();
    assert_eq!(ours.abi_version, VERSION);
    control.set(0, Control { abi_version: VERSION + 6, ..ours }, 0).unwrap();
    let refused = |what: &str, found: u32| {
        let mut daemon = Daemon::spawn(&server.ns, server.folder.path(), &config).unwrap();
        let status = daemon.wait(SOON).unwrap();
        let log = daemon.log();
        let last = log.lines().last().unwrap();
        assert_eq!(status.code(), Some(1), "{what}: {log}");
        for words in [
            format!("the maps pinned in {} are of layout version {found}", server.pins.path().display()),
            format!("this program reads version {VERSION}"),
            "simple-dhcpd-datacenter unload".to_owned(),
        ] {
            assert!(last.contains(&words), "{what}: {words:?} is not in {last}");
        }
        let (code, said) = takeover();
        assert!(
            code == Some(1) && said.contains(&format!("layout version {found}")),
            "{what}: {code:?}: {said}"
        );
    };
    refused("another version", VERSION + 6);
    // Refused, and left alone: the kernel goes on.
    renew_in_the_kernel(None, &clients[0]).unwrap();
    control.set(0, ours, 0).unwrap();
    drop(control);

    // Maps of quite another size, as those of a version before there was a number.
    server.unload().unwrap();
    std::fs::create_dir(server.pins.path()).unwrap();
    for (name, value) in [("control", "16"), ("leases", "24")] {
        let pin = server.pins.path().join(name);
        let words = ["type", "array", "key", "4", "value", value, "entries", "1", "name", name];
        process::stdout(Command::new("bpftool").args(["map", "create"]).arg(&pin).args(words)).unwrap();
    }
    refused("another size", 0);

    server.unload().unwrap();
    let (code, said) = takeover();
    assert!(code == Some(0) && said.contains("nothing to take over"), "{code:?}: {said}");
    let daemon = server.start(&config).unwrap();
    renew_in_the_kernel(Some(&daemon), &clients[1]).unwrap();
}

#[test]
fn a_changed_configuration_takes_the_kernels_answers_away() {
    let server = Server::new().unwrap();
    let cable = Cable::new(&server).unwrap();
    let mut config = server.config();
    let mut daemon = server.start(&config).unwrap();
    let client = Scripted::new(&cable.socket, 1);
    let lease = client.dora().unwrap();
    let old = [198, 18, 0, 53];
    assert_eq!(lease.ack.option(6), Some(old.to_vec()));
    let renew = || client.ask(&client.renewal(lease.address)).unwrap();
    let (before, _) = renew();
    assert_eq!(before.option(6), Some(old.to_vec()));
    assert_eq!(Stats::of(&daemon).unwrap().answered(), 1);

    assert!(daemon.stop().unwrap().success());
    let new = [198, 18, 0, 54];
    set(&mut config, "/dhcp/subnets/0/options/1/value", json!(["198.18.0.54"]));
    set(&mut config, "/dhcp/lease_secs", json!(30));
    let daemon = server.start(&config).unwrap();
    let counts = || {
        let stats = Stats::of(&daemon).unwrap();
        (stats.answered(), stats.messages("acked_renewal"))
    };
    assert_eq!(counts(), (0, 0));
    let (first, first_frame) = renew();
    assert_eq!(counts(), (0, 1), "an old answer was replayed");
    let expected = |message: &dhcp_tests::parse::Message| {
        assert_eq!((message.option(6), message.option_u32(51)), (Some(new.to_vec()), Some(30)));
        // Those of the lease time before would be wrong: T1 and T2 are left to the client.
        assert_eq!((message.option_u32(58), message.option_u32(59)), (None, None));
    };
    expected(&first);
    let (second, second_frame) = renew();
    assert_eq!(counts(), (1, 1), "the kernel has not learnt the new answer");
    expected(&second);
    // The kernel says what the daemon said, octet for octet but for the transaction and the checksum over it.
    let without_xid = |frame: &[u8]| {
        let mut frame = frame.to_vec();
        frame[40..42].fill(0);
        frame[46..50].fill(0);
        frame
    };
    assert_eq!(without_xid(&first_frame), without_xid(&second_frame));
    assert_eq!((second.src, second.option_address(54)), (SERVER, Some(SERVER)));
}
