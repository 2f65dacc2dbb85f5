//! Another configuration under a running daemon: what clients see of it, that nothing is lost by it, that it is all or
//! nothing, and the way back.

use std::{fs, os::unix::fs::PermissionsExt as _, path::PathBuf, time::Duration};

use dhcp_tests::{
    client::scripted::{Lease, Scripted},
    daemon::Daemon,
    lab::{self, Cable, Server, Stats, set},
    parse::Message,
    wait::wait_for,
};
use rustix::process::Signal;
use serde_json::{Value, json};

const SOON: Duration = Duration::from_secs(15);
const NEW_DNS: [u8; 4] = [198, 18, 0, 54];

struct World {
    daemon: Daemon,
    cable: Cable,
    server: Server,
    config: Value,
}

impl World {
    fn new() -> Self {
        let server = Server::new().expect("as arranged");
        let cable = Cable::new(&server).expect("as arranged");
        let config = server.config();
        let daemon = server.start(&config).expect("as arranged");
        Self { daemon, cable, server, config }
    }

    fn file(&self) -> PathBuf {
        self.server.folder.path().join("dhcp.json")
    }

    /// Its configuration with other name servers and a lease time of 30 s.
    fn changed(&self) -> Value {
        let mut config = self.config.clone();
        set(&mut config, "/dhcp/subnets/0/options/1/value", json!(["198.18.0.54"]));
        set(&mut config, "/dhcp/lease_secs", json!(30));
        config
    }

    fn write(&self, config: &Value) {
        fs::write(self.file(), config.to_string()).expect("as arranged");
    }

    /// Writes it beside the file, for the command line.
    fn beside(&self, config: &Value) -> String {
        let path = self.server.folder.path().join("other.json");
        fs::write(&path, config.to_string()).expect("as arranged");
        path.to_str().expect("as arranged").to_owned()
    }

    fn refused(&self, words: &[&str], because: &str) {
        let said = format!("{:#}", self.daemon.ask(words).expect_err("refused"));
        assert!(said.contains(because), "{because:?} is not in {said}");
    }

    /// Renewals answered by the kernel and by the daemon.
    fn answered(&self) -> (u64, u64) {
        let stats = Stats::of(&self.daemon).expect("as arranged");
        (stats.answered(), stats.messages("acked_renewal"))
    }

    fn log_says(&self, words: &str) {
        wait_for(SOON, words, || Ok(self.daemon.log().contains(words).then_some(()))).expect("as arranged");
    }
}

fn renew(client: &Scripted<'_>, lease: &Lease) -> Message {
    let (ack, _) = client.ask(&client.renewal(lease.address)).expect("as arranged");
    assert_eq!((ack.kind(), ack.yiaddr), (5, lease.address));
    ack
}

#[test]
fn sighup_changes_what_clients_are_told_and_loses_nothing() {
    let mut world = World::new();
    let client = Scripted::new(&world.cable.socket, 1);
    let lease = client.dora().unwrap();
    // Renewed by the kernel just before: the daemon has not heard of it.
    renew(&client, &lease);
    assert_eq!(world.answered(), (1, 0));
    let before = lab::lease(&world.daemon, lease.address).unwrap();
    world.write(&world.changed());
    renew(&client, &lease);
    world.daemon.signal(Signal::HUP).unwrap();
    world.log_says("another configuration is in force");
    let after = lab::lease(&world.daemon, lease.address).unwrap();
    for key in ["renewed_at", "expires_at", "horizon"] {
        assert!(after[key].as_str() >= before[key].as_str(), "{key}: {before:#} {after:#}");
    }
    assert_eq!((&after["state"], &after["renewed_by"]), (&json!("bound"), &json!("kernel")), "{after:#}");
    assert_eq!(after["kernel"]["forms"], json!([]));
    assert_eq!(world.answered(), (2, 0), "counting goes on");

    let told = |ack: &Message| (ack.option(6), ack.option_u32(51));
    let new = (Some(NEW_DNS.to_vec()), Some(30));
    assert_eq!(told(&renew(&client, &lease)), new);
    assert_eq!(world.answered(), (2, 1), "an old answer was replayed");
    assert_eq!(told(&renew(&client, &lease)), new);
    assert_eq!(world.answered(), (3, 1), "the kernel has not learnt the new answer");

    // It is the one in force after a kill, too: the kernel goes on from there.
    world.daemon.kill().unwrap();
    assert_eq!(told(&renew(&client, &lease)), new);
    world.daemon.restart(&world.server.ns).unwrap();
    assert_eq!(told(&renew(&client, &lease)), new);
    assert_eq!(world.answered(), (1, 0));
}

#[test]
fn what_is_wrong_or_needs_a_restart_changes_nothing() {
    let mut world = World::new();
    let client = Scripted::new(&world.cable.socket, 1);
    let lease = client.dora().unwrap();
    let folder = world.server.folder.path().to_owned();
    for (path, value, key) in [
        ("/dhcp/store/path", json!(folder.join("elsewhere")), "dhcp.store.path"),
        ("/dhcp/control/socket", json!(folder.join("elsewhere.sock")), "dhcp.control.socket"),
        ("/dhcp/fastpath/pin_path", json!("/sys/fs/bpf/elsewhere"), "dhcp.fastpath.pin_path"),
        ("/dhcp/interfaces/0/mode", json!("off"), "dhcp.interfaces"),
        ("/dhcp/api", json!({"listen": "127.0.0.1:9999"}), "dhcp.api.listen"),
    ] {
        let mut config = world.changed();
        set(&mut config, path, value);
        world.write(&config);
        world.refused(&["config", "reload"], key);
    }
    let mut config = world.changed();
    set(&mut config, "/dhcp/lease_secs", json!("long"));
    world.write(&config);
    world.refused(&["config", "reload"], "dhcp.lease_secs");
    fs::write(world.file(), "{").unwrap();
    world.daemon.signal(Signal::HUP).unwrap();
    world.log_says("not reloaded, the configuration stays as it was");
    let mut config = world.changed();
    set(&mut config, "/dhcp/interfaces/0/name", json!("s9"));
    set(&mut config, "/dhcp/subnets/0/interface", json!("s9"));
    world.write(&config);
    world.refused(&["config", "reload"], "there is no interface s9");

    let ack = renew(&client, &lease);
    assert_eq!(ack.option_u32(51), Some(20));
    assert_eq!(world.answered(), (1, 0), "the kernel was made to forget");
    world.write(&world.config);
    assert_eq!(world.daemon.ask(&["config", "reload"]).unwrap()["changed"], json!(false));
    assert_eq!(renew(&client, &lease).option_u32(51), Some(20));
    assert_eq!(world.answered(), (2, 0));
}

#[test]
fn applied_and_taken_back() {
    let world = World::new();
    let client = Scripted::new(&world.cable.socket, 1);
    let lease = client.dora().unwrap();
    let secs = || renew(&client, &lease).option_u32(51);
    let before = fs::read_to_string(world.file()).unwrap();
    world.refused(&["config", "rollback"], "there is no earlier configuration to go back to");
    let other = world.beside(&world.changed());
    let diff = world.daemon.ask(&["config", "diff", &other]).unwrap();
    assert_eq!(diff["changes"], json!(true));
    let differences = diff["differences"].as_array().unwrap();
    let lease_secs = json!({"path": "dhcp.lease_secs", "before": 20, "after": 30});
    assert!(differences.len() == 2 && differences.contains(&lease_secs), "{diff:#}");
    assert_eq!(secs(), Some(20));

    let done = world.daemon.ask(&["config", "apply", &other]).unwrap();
    assert_eq!(done["changed"], json!(true), "{done:#}");
    assert_eq!((secs(), secs(), world.answered()), (Some(30), Some(30), (2, 1)));
    assert_eq!(fs::read_to_string(world.file()).unwrap(), fs::read_to_string(&other).unwrap());
    assert_eq!(fs::metadata(world.file()).unwrap().permissions().mode() & 0o137, 0);

    // A file that somebody is editing is not overwritten.
    fs::write(world.file(), "{").unwrap();
    world.refused(&["config", "apply", &other], "the file was changed and not reloaded");
    world.refused(&["config", "rollback"], "the file was changed and not reloaded");
    assert_eq!(fs::read_to_string(world.file()).unwrap(), "{");
    fs::copy(&other, world.file()).unwrap();

    world.daemon.ask(&["config", "rollback"]).unwrap();
    assert_eq!((fs::read_to_string(world.file()).unwrap(), secs()), (before, Some(20)));
    world.daemon.ask(&["config", "rollback"]).unwrap();
    assert_eq!(secs(), Some(30));

    let record = fs::read_to_string(world.server.store().join("api/changes.ndjson")).unwrap();
    let applied = record.lines().filter(|line| line.contains("\"PUT\"") && line.contains("\"status\":200"));
    assert_eq!(applied.count(), 1, "{record}");
}

#[test]
fn an_address_given_back_just_before_is_free_soon() {
    let world = World::new();
    let clients: Vec<_> = (1..=20).map(|number| Scripted::new(&world.cable.socket, number)).collect();
    let leases: Vec<_> = clients.iter().map(|client| client.dora().unwrap()).collect();
    world.write(&world.changed());
    for (client, lease) in clients.iter().zip(&leases) {
        client.release(lease.address).unwrap();
    }
    world.daemon.ask(&["config", "reload"]).unwrap();
    for lease in &leases {
        lab::wait_lease(&world.daemon, lease.address, SOON, "the address to be free", |lease| {
            lease["state"] == json!("free")
        })
        .unwrap();
    }
    let again = clients[0].dora().unwrap();
    assert_eq!((again.address, again.ack.option_u32(51)), (leases[0].address, Some(30)));
}

#[test]
fn a_new_subnet_of_a_relay_and_one_that_is_gone() {
    let world = World::new();
    let client = Scripted::new(&world.cable.socket, 1);
    let lease = client.dora().unwrap();
    let mut config = world.changed();
    let subnets = json!([{
        "subnet": "198.18.0.0/16", "interface": "s0",
        "pools": [{"range": "198.18.7.0-198.18.7.255"}],
    }, {
        "subnet": "198.19.0.0/24", "relays": ["198.19.0.1"],
        "pools": [{"range": "198.19.0.10-198.19.0.20"}],
    }]);
    set(&mut config, "/dhcp/subnets", subnets);
    world.write(&config);
    world.daemon.ask(&["config", "reload"]).unwrap();
    let shown = world.daemon.ask(&["subnets"]).unwrap();
    assert_eq!(shown.as_array().map(Vec::len), Some(2), "{shown:#}");
    // Its address is in no pool any more; it is told so, and gets another.
    let (answer, _) = client.ask(&client.rebinding(lease.address)).unwrap();
    assert_eq!(answer.kind(), 6);
    let moved = client.dora().unwrap();
    assert_eq!(moved.address.octets()[2], 7);
    renew(&client, &moved);
    assert_eq!(world.answered().0, 1);
}

#[test]
fn where_the_file_cannot_be_written_what_was_applied_stands_for_it() {
    let server = Server::new().unwrap();
    let cable = Cable::new(&server).unwrap();
    let config = server.config();
    let file = server.folder.path().join("dhcp.json");
    // Mounted alone, as in a container: it cannot be replaced by name. Under the packaged unit its folder is read-only.
    let mount = format!("mount --bind {0} {0} && exec \"$0\" \"$@\"", file.display());
    let mut daemon = server.start_through(&config, &["unshare", "-m", "sh", "-c", &mount]).unwrap();
    let in_file = fs::read_to_string(&file).unwrap();
    let client = Scripted::new(&cable.socket, 1);
    let lease = client.dora().unwrap();
    let changed = |secs: u64| {
        let mut config = config.clone();
        set(&mut config, "/dhcp/lease_secs", json!(secs));
        let path = server.folder.path().join("other.json");
        fs::write(&path, config.to_string()).expect("as arranged");
        path.to_str().expect("as arranged").to_owned()
    };
    let granted = || renew(&client, &lease).option_u32(51);
    let done = daemon.ask(&["config", "apply", &changed(30)]).unwrap();
    assert_eq!((&done["changed"], &done["in_file"]), (&json!(true), &json!(false)), "{done}");
    assert_eq!((granted(), fs::read_to_string(&file).unwrap()), (Some(30), in_file.clone()));
    daemon.restart(&server.ns).unwrap();
    assert_eq!(granted(), Some(30), "it is in force after a restart");
    daemon.ask(&["config", "apply", &changed(40)]).unwrap();
    assert_eq!(granted(), Some(40));
    daemon.ask(&["config", "rollback"]).unwrap();
    assert_eq!(granted(), Some(30));
    let reloaded = daemon.ask(&["config", "reload"]).unwrap();
    assert_eq!((&reloaded["changed"], &reloaded["in_file"]), (&json!(false), &json!(false)), "{reloaded}");
    // Whoever edits the file has the last word.
    let mut edited = config.clone();
    set(&mut edited, "/dhcp/lease_secs", json!(50));
    fs::write(&file, edited.to_string()).unwrap();
    daemon.ask(&["config", "reload"]).unwrap();
    assert_eq!(granted(), Some(50));
    daemon.restart(&server.ns).unwrap();
    assert_eq!(granted(), Some(50));
}
