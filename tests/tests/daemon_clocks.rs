//! The wall clock is set by hours both ways, while the daemon runs, while it is away, and across a reboot: no promise
//! changes, the kernel goes on answering, and the log says what was seen. The daemon has a wall clock of its own for that;
//! the machine's is not touched. And the machine sleeps, which counts as time: what a machine is that slept, a time
//! namespace plays, where the boot clock has gone and the monotonic clock has not.

use std::{
    net::Ipv4Addr,
    path::Path,
    time::{Duration, Instant},
};

use anyhow::Result;
use dhcp_tests::{
    client::scripted::{Lease, Scripted},
    daemon::Daemon,
    fake_clock::FakeClock,
    lab::{self, Cable, Server, Stats, set},
    wait::wait_until,
};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};

const LEASE_SECS: u64 = 600;
const HOUR_SECS: i64 = 3_600;
/// How long the daemon may take to see what its clock shows.
const SOON: Duration = Duration::from_secs(10);

/// Two clients with leases from a daemon with a wall clock of its own.
struct World {
    server: Server,
    cable: Cable,
    clock: FakeClock,
    /// When the leases were granted at the latest.
    granted: Instant,
    addresses: [Ipv4Addr; 2],
    daemon: Daemon,
}

fn start(server: &Server, clock: &FakeClock, through: &[String]) -> Result<Daemon> {
    let mut config = server.config();
    set(&mut config, "/dhcp/lease_secs", json!(LEASE_SECS));
    let words = [through, &clock.words()].concat();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    Daemon::start_through(&server.ns, server.folder.path(), &config, &words)
}

impl World {
    fn new() -> Result<Self> {
        let server = Server::new()?;
        let cable = Cable::new(&server)?;
        let clock = FakeClock::new(server.folder.path())?;
        let daemon = start(&server, &clock, &[])?;
        let mut addresses = [Ipv4Addr::UNSPECIFIED; 2];
        for (number, address) in (1..).zip(&mut addresses) {
            let Lease { address: granted, .. } = client(&cable, number).dora()?;
            *address = granted;
        }
        Ok(Self { server, cable, clock, granted: Instant::now(), addresses, daemon })
    }

    /// Sets the clock of the running daemon and waits until it says so in these words.
    fn set_clock(&self, secs: i64, words: &str) {
        let said = self.daemon.log().len();
        self.clock.set_off_by(secs).expect("the clock is set off");
        let says = || self.daemon.log().get(said..).is_some_and(|new| new.contains(words));
        wait_until(SOON, &format!("the daemon to say {words:?}"), says)
            .unwrap_or_else(|error| panic!("{error:#}:\n{}", self.daemon.log()));
    }

    fn lease(&self, number: u8) -> Value {
        lab::lease(&self.daemon, self.addresses[usize::from(number) - 1]).expect("the lease is shown")
    }

    /// The second client has not renewed: its lease has what is left of the time it was granted, no more and no less.
    fn nothing_has_changed(&self, first_seen: &Value) {
        let lease = self.lease(2);
        for field in ["state", "renewed_at", "expires_at", "horizon"] {
            assert_eq!(lease[field], first_seen[field], "{field}: {lease:#}");
        }
        let left = LEASE_SECS - self.granted.elapsed().as_secs();
        let shown = lease["expires_in_secs"].as_u64().expect("a number");
        assert!((left - 2..=left + 1).contains(&shown), "{shown} s left, not {left}");
    }

    /// The first client renews for its whole lease time; the kernel answers, and the list shows it.
    fn the_kernel_renews(&self) {
        let answered = Stats::of(&self.daemon).expect("counters").answered();
        renew(&self.cable, self.addresses[0]);
        let stats = Stats::of(&self.daemon).expect("counters");
        assert_eq!((stats.answered(), stats.renewed_by_daemon()), (answered + 1, 0), "{:#}", stats.0);
        let renewed = |lease: &Value| {
            lease["renewed_by"] == json!("kernel")
                && lease["expires_in_secs"].as_u64().is_some_and(|left| left + 3 >= LEASE_SECS)
        };
        lab::wait_lease(&self.daemon, self.addresses[0], SOON, "the renewal to be seen", renewed)
            .expect("the renewal is seen");
    }

    /// A client that was never there gets an address that is nobody's, for the whole lease time.
    fn a_stranger_is_served(&self, number: u8) {
        let lease = client(&self.cable, number).dora().expect("a lease");
        assert!(!self.addresses.contains(&lease.address), "{} is another's", lease.address);
        assert_eq!(lease.ack.option_u32(51), Some(LEASE_SECS as u32));
    }
}

fn client(cable: &Cable, number: u8) -> Scripted<'_> {
    Scripted::new(&cable.socket, number)
}

fn renew(cable: &Cable, address: Ipv4Addr) {
    let client = client(cable, 1);
    let (ack, _) = client.ask(&client.renewal(address)).expect("an answer");
    assert_eq!((ack.kind(), ack.yiaddr, ack.option_u32(51)), (5, address, Some(LEASE_SECS as u32)));
}

#[test]
fn set_while_the_daemon_runs() {
    let world = World::new().unwrap();
    let first_seen = world.lease(2);
    world.the_kernel_renews();
    for (number, (hours, words)) in
        (3..).zip([(3, "ahead by 10800 s"), (-3, "back by 21600 s"), (0, "ahead by 10800 s")])
    {
        world.set_clock(hours * HOUR_SECS, &format!("the wall clock was set {words}"));
        world.nothing_has_changed(&first_seen);
        world.the_kernel_renews();
        world.a_stranger_is_served(number);
    }
}

#[test]
fn wrong_when_the_daemon_comes_back() {
    let mut world = World::new().unwrap();
    let first_seen = world.lease(2);
    let restarts = [
        (-5, "the store's latest time is ahead of the wall clock, which was set back by 18000 s since"),
        (5, "the wall clock was set ahead by 36000 s since the store noted it"),
    ];
    for (number, (hours, words)) in (3..).zip(restarts) {
        world.daemon.kill().unwrap();
        world.clock.set_off_by(hours * HOUR_SECS).unwrap();
        renew(&world.cable, world.addresses[0]);
        world.daemon.restart(&world.server.ns).unwrap();
        assert!(world.daemon.log().contains(words), "{}", world.daemon.log());
        world.nothing_has_changed(&first_seen);
        world.the_kernel_renews();
        world.a_stranger_is_served(number);
    }
    // Told once: the next start finds nothing new.
    world.daemon.kill().unwrap();
    let said = world.daemon.log().len();
    world.daemon.restart(&world.server.ns).unwrap();
    let log = world.daemon.log();
    assert!(log[said..].contains("resumed") && !log[said..].contains("wall clock"), "{}", &log[said..]);
    world.nothing_has_changed(&first_seen);
}

/// Words before a command line that make it believe in another boot.
fn after_a_reboot(folder: &Path) -> Vec<String> {
    let boot_id = folder.join("boot-id");
    std::fs::write(&boot_id, "01234567-89ab-4def-8123-456789abcdef\n").expect("a file of its own");
    let script = r#"mount --bind "$0" /proc/sys/kernel/random/boot_id && exec "$@""#;
    let words = ["unshare", "--mount", "--propagation", "private", "sh", "-c", script];
    words.into_iter().map(str::to_owned).chain([boot_id.display().to_string()]).collect()
}

#[test]
fn behind_after_a_reboot() {
    let mut world = World::new().unwrap();
    assert!(world.daemon.stop().unwrap().success());
    world.server.unload().unwrap();
    world.clock.set_off_by(-2 * HOUR_SECS).unwrap();
    let through = after_a_reboot(world.server.folder.path());
    world.daemon = start(&world.server, &world.clock, &through).unwrap();
    let log = world.daemon.log();
    assert!(
        log.contains("the wall clock is behind the store's latest time") && log.contains("behind_secs=7"),
        "{log}"
    );
    // How long the machine was away nobody can tell: promises last as long as they had to when it went, or longer.
    let least = LEASE_SECS - world.granted.elapsed().as_secs() - 2;
    let left = world.lease(2)["expires_in_secs"].as_u64().unwrap();
    assert!((least..=LEASE_SECS).contains(&left), "{left} s left, not {least}");
    world.the_kernel_renews();
    world.a_stranger_is_served(3);
}

/// Words before a command line that let the boot clock, and no other, have gone `secs` more: as after a sleep.
fn after_a_sleep(secs: u64) -> Vec<String> {
    let secs = secs.to_string();
    let words = ["unshare", "--time", "--boottime", &secs, "--fork", "--kill-child"];
    words.into_iter().map(str::to_owned).collect()
}

/// Kills the daemon that the process `unshare` runs, and waits until it has let go of everything.
fn kill_child(unshare: &mut Daemon) {
    let id = unshare.id();
    let children = std::fs::read_to_string(format!("/proc/{id}/task/{id}/children")).expect("it runs");
    let child = children.split_whitespace().next().and_then(|child| child.parse().ok());
    let child = child.and_then(Pid::from_raw).unwrap_or_else(|| panic!("unshare runs nothing: {children:?}"));
    kill_process(child, Signal::KILL).expect("it is ours");
    // It waits for its child, whose first thread is gone before the last of them and before its sockets.
    unshare.wait(SOON).expect("it ends with its child");
}

#[test]
fn sleep_counts_as_time() {
    const SLEPT_SECS: u64 = 400;
    let server = Server::new().unwrap();
    let cable = Cable::new(&server).unwrap();
    let clock = FakeClock::new(server.folder.path()).unwrap();
    let mut config = server.config();
    set(&mut config, "/dhcp/lease_secs", json!(LEASE_SECS));
    // The kernel program's clock is the machine's own, whatever namespace a process is in.
    set(&mut config, "/dhcp/fastpath", json!({"enabled": false, "pin_path": server.pins.path()}));
    let start = |slept_secs| {
        let words = [after_a_sleep(slept_secs), clock.words()].concat();
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        Daemon::start_through(&server.ns, server.folder.path(), &config, &words).unwrap()
    };
    let mut daemon = start(0);
    let address = client(&cable, 1).dora().unwrap().address;
    let granted = Instant::now();
    let sleep = |daemon: &mut Daemon, slept_secs: u64| {
        kill_child(daemon);
        // The wall clock goes on while a machine sleeps.
        clock.set_off_by(slept_secs.cast_signed()).unwrap();
        *daemon = start(slept_secs);
    };
    sleep(&mut daemon, SLEPT_SECS);
    let log = daemon.log();
    assert!(log.contains("resumed") && !log.contains("wall clock"), "all clocks agree: {log}");
    let left = LEASE_SECS - SLEPT_SECS - granted.elapsed().as_secs();
    let shown = lab::lease(&daemon, address).unwrap()["expires_in_secs"].as_u64().unwrap();
    assert!((left - 2..=left + 1).contains(&shown), "{shown} s left, not {left}");
    // Asleep for longer than that: it has run out, and with the time that clocks may differ by, is free.
    sleep(&mut daemon, LEASE_SECS + 60);
    lab::wait_lease(&daemon, address, SOON, "its end", |lease| lease["state"] == "free").unwrap();
}

/// The kernel program has the machine's boot clock: a daemon with another would publish promises that it does not keep.
#[test]
fn a_boot_clock_that_is_not_the_kernels_is_refused() {
    let server = Server::new().unwrap();
    let _cable = Cable::new(&server).unwrap();
    let mut daemon =
        Daemon::spawn_through(&server.ns, server.folder.path(), &server.config(), after_a_sleep(3_600))
            .unwrap();
    let status = daemon.wait(SOON).unwrap();
    assert_eq!(status.code(), Some(1), "{}", daemon.log());
    let log = daemon.log();
    for words in ["is 3600 s off the machine's", "time namespace", "dhcp.fastpath.enabled false"] {
        assert!(log.contains(words), "{words:?} is not in {log}");
    }
}
