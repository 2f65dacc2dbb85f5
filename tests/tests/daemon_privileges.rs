//! Least privilege: the daemon as its own user with five capabilities, of which three stay; files closed to others; and
//! the shipped unit as its service manager reads it.

use std::{
    fs,
    os::unix::fs::{MetadataExt as _, PermissionsExt as _, chown},
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use dhcp_tests::{
    client::scripted::Scripted,
    daemon::{Daemon, binary},
    lab::{Cable, Server, Stats, set},
    process,
    wait::wait_for,
};
use serde_json::json;

/// `nobody`: a user with no rights of its own.
const USER: u32 = 65534;

/// What README and unit name: needed to start.
const STARTS_WITH: &str = "bpf,net_admin,perfmon,net_raw,net_bind_service";

/// What README names: `CAP_BPF` (39), `CAP_PERFMON` (38), `CAP_NET_ADMIN` (12).
const KEEPS: u64 = 1 << 39 | 1 << 38 | 1 << 12;

/// The values of a field in the status of every thread of a process.
fn of_threads(id: u32, field: &str) -> Vec<(String, String)> {
    let threads = fs::read_dir(format!("/proc/{id}/task")).expect("of a running daemon");
    threads
        .map(|thread| {
            let status = fs::read_to_string(thread.expect("of a running daemon").path().join("status"))
                .expect("of a running daemon");
            let value = |field: &str| {
                let line = status.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(':'));
                line.expect("of a running daemon").trim().to_owned()
            };
            (value("Name"), value(field))
        })
        .collect()
}

fn assert_least_privilege(daemon: &Daemon) {
    let threads = of_threads(daemon.id(), "CapEff").len();
    assert!(threads >= 4, "only {threads} threads");
    for (set, allowed) in [("CapEff", KEEPS), ("CapPrm", KEEPS), ("CapInh", 0), ("CapAmb", 0)] {
        for (thread, held) in of_threads(daemon.id(), set) {
            assert_eq!(
                u64::from_str_radix(&held, 16).expect("of a running daemon"),
                allowed,
                "{set} of thread {thread}: {held}"
            );
        }
    }
    for (thread, flag) in of_threads(daemon.id(), "NoNewPrivs") {
        assert_eq!(flag, "1", "{thread} may gain privileges");
    }
}

/// DORA and a renewal by the kernel.
fn assert_serves(daemon: &Daemon, cable: &Cable, number: u8) {
    let client = Scripted::new(&cable.socket, number);
    let lease = client.dora().expect("of a running daemon");
    let before = Stats::of(daemon).expect("of a running daemon").answered();
    let (ack, _) = client.ask(&client.renewal(lease.address)).expect("of a running daemon");
    assert_eq!(ack.kind(), 5);
    let stats = Stats::of(daemon).expect("of a running daemon");
    assert_eq!((stats.answered(), stats.renewed_by_daemon()), (before + 1, 0), "{:#}", stats.0);
}

#[test]
fn as_a_user_of_its_own_with_five_capabilities() {
    let server = Server::new().unwrap();
    let cable = Cable::new(&server).unwrap();
    fs::set_permissions(server.folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let own = server.folder.path().join("own");
    // As the unit and the fragments of sysusers.d and tmpfiles.d prepare it.
    for folder in [own.as_path(), server.pins.path()] {
        fs::create_dir(folder).unwrap();
        chown(folder, Some(USER), Some(USER)).unwrap();
    }
    let mut config = server.config();
    set(&mut config, "/dhcp/control/socket", json!(own.join("control.sock")));
    set(&mut config, "/dhcp/store/path", json!(own.join("leases")));
    let only = |sign: &str| format!("-all,{sign}{}", STARTS_WITH.replace(',', &format!(",{sign}")));
    let user = format!("--reuid={USER}");
    let group = format!("--regid={USER}");
    let (inherited, ambient, bounding) = (
        format!("--inh-caps={}", only("+")),
        format!("--ambient-caps={}", only("+")),
        format!("--bounding-set={}", only("+")),
    );
    let through = ["setpriv", &user, &group, "--clear-groups", &inherited, &ambient, &bounding];
    let mut daemon = Daemon::start_through(&server.ns, server.folder.path(), &config, &through).unwrap();
    assert_eq!(of_threads(daemon.id(), "Uid")[0].1, format!("{USER}\t{USER}\t{USER}\t{USER}"));
    assert_least_privilege(&daemon);
    assert_serves(&daemon, &cable, 1);

    // Nothing of it is open to others.
    let mut seen = 0;
    let mut folders = vec![own.join("leases")];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).unwrap() {
            let entry = entry.unwrap();
            let metadata = entry.metadata().unwrap();
            let (mode, path) = (metadata.mode() & 0o7777, entry.path());
            if metadata.is_dir() {
                assert_eq!(mode & 0o027, 0, "{}: {mode:04o}", path.display());
                folders.push(path);
            } else {
                assert_eq!(mode & 0o137, 0, "{}: {mode:04o}", path.display());
                seen += 1;
            }
            assert_eq!(metadata.uid(), USER);
        }
    }
    assert!(seen >= 3, "only {seen} files");
    let socket = fs::metadata(own.join("control.sock")).unwrap();
    assert_eq!((socket.mode() & 0o7777, socket.uid(), socket.gid()), (0o660, USER, USER));

    // With the three that stay another configuration is taken up.
    set(&mut config, "/dhcp/lease_secs", json!(30));
    fs::write(server.folder.path().join("dhcp.json"), config.to_string()).unwrap();
    daemon.ask(&["config", "reload"]).unwrap();
    assert_least_privilege(&daemon);
    assert_serves(&daemon, &cable, 3);

    // The next one takes over with no more rights.
    daemon.kill().unwrap();
    daemon.restart(&server.ns).unwrap();
    assert_least_privilege(&daemon);
    assert_serves(&daemon, &cable, 2);
    assert!(daemon.stop().unwrap().success(), "{}", daemon.log());
}

#[test]
fn as_root_it_keeps_no_more() {
    let server = Server::new().unwrap();
    let cable = Cable::new(&server).unwrap();
    let mut daemon = server.start(&server.config()).unwrap();
    assert_least_privilege(&daemon);
    for (thread, held) in of_threads(daemon.id(), "CapBnd") {
        assert_eq!(u64::from_str_radix(&held, 16).unwrap(), KEEPS, "CapBnd of thread {thread}: {held}");
    }
    assert_serves(&daemon, &cable, 1);
    assert!(daemon.stop().unwrap().success(), "{}", daemon.log());
}

fn packaging() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../packaging")
}

#[test]
fn the_shipped_unit_is_sound_and_closed() {
    let folder = tempfile::tempdir().unwrap();
    let name = "simple-dhcpd-datacenter.service";
    let text = fs::read_to_string(packaging().join("systemd").join(name)).unwrap();
    let wanted: Vec<String> =
        STARTS_WITH.split(',').map(|name| format!("CAP_{}", name.to_uppercase())).collect();
    for key in ["AmbientCapabilities", "CapabilityBoundingSet"] {
        let line = format!("{key}={}\n", wanted.join(" "));
        assert!(text.contains(&line), "the unit does not say {line}");
    }
    // Where it is not installed, the program is elsewhere.
    let unit = folder.path().join(name);
    let text = text.replace("/usr/bin/simple-dhcpd-datacenter", binary().unwrap().to_str().unwrap());
    fs::write(&unit, text).unwrap();
    let verified = Command::new("systemd-analyze").args(["verify", "--man=no"]).arg(&unit).output().unwrap();
    let said = String::from_utf8_lossy(&verified.stderr);
    let ours: Vec<&str> = said.lines().filter(|line| line.contains("simple-dhcpd")).collect();
    assert_eq!(ours, [""; 0]);
    let words = ["security", "--offline=true", "--no-pager"];
    let report = process::stdout(Command::new("systemd-analyze").args(words).arg(&unit)).unwrap();
    let overall = report.lines().find_map(|line| line.split("Overall exposure level").nth(1)).unwrap();
    let exposure: f64 =
        overall.split_whitespace().find_map(|word| word.parse().ok()).unwrap_or_else(|| panic!("{overall}"));
    println!("exposure: {exposure}");
    // What is left is what a DHCP server is: the network, raw frames, BPF.
    assert!(exposure <= 2.5, "{report:#}");
}

#[test]
fn the_service_manager_is_told() {
    let server = Server::new().unwrap();
    let _cable = Cable::new(&server).unwrap();
    let path = server.folder.path().join("notify.sock");
    let manager = std::os::unix::net::UnixDatagram::bind(&path).unwrap();
    manager.set_read_timeout(Some(Duration::from_millis(100))).unwrap();
    let notify = format!("NOTIFY_SOCKET={}", path.display());
    let script = "WATCHDOG_PID=$$ exec env \"$@\"";
    let through = ["sh", "-c", script, "sh", &notify, "WATCHDOG_USEC=400000"];
    let mut daemon =
        Daemon::start_through(&server.ns, server.folder.path(), &server.config(), &through).unwrap();
    let told = |wanted: &str| {
        wait_for(Duration::from_secs(10), wanted, || {
            let mut octets = [0; 256];
            let Ok(len) = manager.recv(&mut octets) else { return Ok(None) };
            let said = String::from_utf8_lossy(&octets[..len]).into_owned();
            Ok(said.lines().any(|line| line == wanted).then_some(()))
        })
        .unwrap();
    };
    told("READY=1");
    told("WATCHDOG=1");
    told("WATCHDOG=1");
    daemon.signal(rustix::process::Signal::HUP).unwrap();
    told("RELOADING=1");
    told("READY=1");
    assert!(daemon.stop().unwrap().success());
    told("STOPPING=1");
}
