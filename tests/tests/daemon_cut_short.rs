//! A start that is cut short between the swap of the program and the moving of names: the next one must find what the
//! swapped-in program renewed.

use std::{
    fs,
    path::Path,
    time::{Duration, Instant},
};

use dhcp_tests::{
    client::scripted::Scripted,
    lab::{self, Cable, Server, Stats},
    wait::wait_for,
};
use serde_json::json;

const SOON: Duration = Duration::from_secs(15);

/// Links all pins of a folder, but for programs' links, into another one.
fn link_pins(from: &Path, to: &Path) {
    fs::create_dir_all(to).expect("as arranged");
    for entry in fs::read_dir(from).expect("as arranged").flatten() {
        let name = entry.file_name().into_string().expect("as arranged");
        if entry.path() == to {
            continue;
        }
        if entry.file_type().expect("as arranged").is_dir() {
            link_pins(&entry.path(), &to.join(name));
        } else if !name.starts_with("link-") {
            fs::hard_link(entry.path(), to.join(name)).expect("as arranged");
        }
    }
}

fn sets(pins: &Path) -> Vec<String> {
    let names = fs::read_dir(pins)
        .expect("as arranged")
        .flatten()
        .map(|entry| entry.file_name().into_string().expect("as arranged"));
    let mut sets: Vec<_> = names.filter(|name| name.starts_with("set-")).collect();
    sets.sort();
    sets
}

/// Makes pins look as they did when the second daemon was killed: the link runs its program, the names are the first's.
fn as_if_killed_before_the_names_moved(pins: &Path, kept: &Path) {
    for entry in fs::read_dir(pins).expect("as arranged").flatten() {
        let name = entry.file_name().into_string().expect("as arranged");
        if entry.file_type().expect("as arranged").is_file() && !name.starts_with("link-") {
            if sets(pins).is_empty() {
                // As builds without sets called it.
                fs::rename(entry.path(), pins.join(format!("next-{name}"))).expect("as arranged");
            } else {
                fs::remove_file(entry.path()).expect("as arranged");
            }
        }
    }
    link_pins(kept, pins);
    fs::remove_dir_all(kept).expect("as arranged");
}

#[test]
fn renewals_between_the_swap_and_the_names_are_found() {
    let server = Server::new().unwrap();
    let cable = Cable::new(&server).unwrap();
    let pins = server.pins.path();
    let kept = pins.join("kept");
    let mut daemon = server.start(&server.config()).unwrap();
    let clients = [1, 2].map(|number| Scripted::new(&cable.socket, number));
    let leases = clients.each_ref().map(|client| client.dora().unwrap());
    let renew = |n: usize| {
        let (ack, _) = clients[n].ask(&clients[n].renewal(leases[n].address)).unwrap();
        assert_eq!((ack.kind(), ack.yiaddr), (5, leases[n].address));
    };
    renew(0);
    assert_eq!(Stats::of(&daemon).unwrap().answered(), 1);
    daemon.kill().unwrap();
    link_pins(pins, &kept);

    daemon.restart(&server.ns).unwrap();
    daemon.kill().unwrap();
    as_if_killed_before_the_names_moved(pins, &kept);

    // Times are shown in whole seconds: renew until the list must show a later one.
    let start = Instant::now();
    wait_for(SOON, "two seconds to pass with renewals", || {
        renew(0);
        Ok((start.elapsed() > Duration::from_secs(2)).then_some(()))
    })
    .unwrap();
    daemon.restart(&server.ns).unwrap();
    let [renewed, idle] = leases.each_ref().map(|lease| lab::lease(&daemon, lease.address).unwrap());
    assert!(renewed["renewed_at"].as_str() > idle["renewed_at"].as_str(), "{renewed:#} {idle:#}");
    assert_eq!(renewed["renewed_by"], json!("kernel"), "{renewed:#}");
    // Everything that others left is durable now, and gone.
    assert_eq!(sets(pins).len(), 1, "{:?}", sets(pins));
    renew(1);
    assert_eq!(Stats::of(&daemon).unwrap().answered(), 1);
}

#[test]
fn starts_cut_short_again_and_again_do_not_pile_up() {
    let server = Server::new().unwrap();
    let cable = Cable::new(&server).unwrap();
    let pins = server.pins.path();
    let kept = pins.join("kept");
    let mut daemon = server.start(&server.config()).unwrap();
    let client = Scripted::new(&cable.socket, 1);
    let lease = client.dora().unwrap();
    daemon.kill().unwrap();
    // Sets of daemons that were killed before their programs were attached, one of them before it had all its maps.
    for (number, whole) in [(2, true), (3, true), (4, false)] {
        link_pins(&pins.join(&sets(pins)[0]), &kept);
        fs::remove_file(kept.join("program-s0")).unwrap();
        if !whole {
            fs::remove_file(kept.join("leases")).unwrap();
        }
        fs::rename(&kept, pins.join(format!("set-{number}"))).unwrap();
    }
    daemon.restart(&server.ns).unwrap();
    // They made way before the new one was made.
    assert_eq!(sets(pins), ["set-2"]);
    assert!(pins.join("set-2/leases").exists() && pins.join("set-2/program-s0").exists());
    let (ack, _) = client.ask(&client.renewal(lease.address)).unwrap();
    assert_eq!(ack.kind(), 5);
    assert_eq!(Stats::of(&daemon).unwrap().answered(), 1);
    assert!(daemon.stop().unwrap().success());
    let said = server.unload().unwrap();
    assert!(said.contains("detached from s0") && !pins.exists(), "{said}");
}
