//! Bad input and bad surroundings: the daemon's binary ends with the right exit code and says what, where and the way out.

use std::{
    fs,
    net::{Ipv4Addr, UdpSocket},
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use anyhow::Result;
use dhcp_tests::{
    client::scripted::Scripted,
    cluster::pki,
    daemon::{Daemon, binary},
    lab::{self, Cable, INTERFACE, SERVER, Server, Stats, set},
    netns::NetNs,
    raw::RawSocket,
    veth::{self, Veth},
};
use serde_json::{Value, json};

/// Time for the daemon to refuse.
const SOON: Duration = Duration::from_secs(15);

/// Exit code when something is in the way.
const FAILED: i32 = 1;

/// Exit code when the configuration is wrong.
const WRONG: i32 = 2;

/// Starts the daemon with `config`, which it must refuse with `code`; what it printed.
fn refused(server: &Server, config: &Value, code: i32) -> Result<String> {
    let mut daemon = Daemon::spawn(&server.ns, server.folder.path(), config)?;
    let status = daemon.wait(SOON)?;
    let log = daemon.log();
    assert_eq!(status.code(), Some(code), "{log}");
    Ok(log)
}

/// Runs the daemon's binary in the server's namespace with these arguments; its exit code and stderr.
fn run(command: &mut Command) -> Result<(Option<i32>, String)> {
    let output = command.output()?;
    Ok((output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned()))
}

fn assert_says(text: &str, words: &[&str]) {
    for word in words {
        assert!(text.contains(word), "{word:?} is not in:\n{text}");
    }
}

/// A server with its interface, but nobody at the other end.
fn server_with_cable() -> Result<(Server, Cable)> {
    let server = Server::new()?;
    let cable = Cable::new(&server)?;
    Ok((server, cable))
}

fn write_config(server: &Server, config: &Value) -> Result<PathBuf> {
    let file = server.folder.path().join("written.json");
    fs::write(&file, config.to_string())?;
    Ok(file)
}

#[test]
fn without_root() {
    let (server, _cable) = server_with_cable().unwrap();
    fs::set_permissions(server.folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let config = server.config();
    let file = write_config(&server, &config).unwrap();
    let as_nobody = |file: &Path| {
        let mut command = server.ns.command("setpriv");
        command.args(["--reuid=65534", "--regid=65534", "--clear-groups"]).arg(binary().unwrap());
        command.arg("--config").arg(file);
        run(&mut command).unwrap()
    };
    // Where nothing may even be written, that is what is said, with the way out.
    let (code, text) = as_nobody(&file);
    assert_eq!(code, Some(FAILED), "{text}");
    assert_says(&text, &["control.sock", "Permission denied", "run as root"]);
    // Where files may be written, the kernel refuses.
    let own = server.folder.path().join("nobody");
    fs::create_dir(&own).unwrap();
    std::os::unix::fs::chown(&own, Some(65534), Some(65534)).unwrap();
    let mut config = config;
    set(&mut config, "/dhcp/control/socket", json!(own.join("control.sock")));
    set(&mut config, "/dhcp/store/path", json!(own.join("leases")));
    let (code, text) = as_nobody(&write_config(&server, &config).unwrap());
    assert_eq!(code, Some(FAILED), "{text}");
    assert_says(&text, &["no UDP port 67 on s0: Permission denied", "run as root, or with CAP_NET_RAW"]);
}

#[test]
fn no_such_interface() {
    let server = Server::new().unwrap();
    let text = refused(&server, &server.config(), FAILED).unwrap();
    assert_says(&text, &["there is no interface s0", "`ip link` lists those there are"]);
}

#[test]
fn an_interface_without_an_address() {
    let (server, _cable) = server_with_cable().unwrap();
    server.ns.ip("address flush dev s0").unwrap();
    let mut config = server.config();
    set(&mut config, "/dhcp/interfaces", json!([INTERFACE]));
    let text = refused(&server, &config, FAILED).unwrap();
    assert_says(&text, &["s0 has no IPv4 address", "set `address` for it in dhcp.interfaces"]);
}

#[test]
fn an_interface_without_driver_xdp_takes_generic_mode_if_it_may() {
    let server = Server::new().unwrap();
    let client = NetNs::new("c").unwrap();
    // A bridge has no XDP of its own; the cable is one of its ports.
    Veth::new(&server.ns, "port0", &client, "c0").unwrap();
    for step in
        ["link add s0 address 02:00:00:00:00:0a type bridge", "link set port0 master s0", "link set s0 up"]
    {
        server.ns.ip(step).unwrap();
    }
    veth::add_address(&server.ns, INTERFACE, SERVER, 16).unwrap();
    let mut config = server.config();
    set(&mut config, "/dhcp/interfaces/0/mode", json!("driver"));
    let text = refused(&server, &config, FAILED).unwrap();
    assert_says(
        &text,
        &[
            "the XDP program cannot be attached to s0 in driver mode",
            "the driver has no XDP support: use mode \"generic\" or \"auto\"",
        ],
    );

    set(&mut config, "/dhcp/interfaces/0/mode", json!("auto"));
    let daemon = server.start(&config).unwrap();
    assert_says(
        &daemon.log(),
        &["WARN", "the driver has no XDP support: generic mode is used", "a fifth of driver mode's rate"],
    );
    let stats = Stats::of(&daemon).unwrap();
    assert_eq!(stats.0.pointer("/kernel/interfaces/s0"), Some(&json!("generic")));
    // Slower, but it works.
    let socket = RawSocket::open(&client, "c0").unwrap();
    let client = Scripted::new(&socket, 1);
    let lease = client.dora().unwrap();
    let (ack, _) = client.ask(&client.renewal(lease.address)).unwrap();
    assert_eq!((ack.kind(), ack.dst), (5, lease.address));
    let stats = Stats::of(&daemon).unwrap();
    assert_eq!((stats.answered(), stats.renewed_by_daemon()), (1, 0), "{:#}", stats.0);
}

#[test]
fn pools_and_reservations_that_contradict() {
    let server = Server::new().unwrap();
    let changed = |path: &str, value: Value| {
        let mut config = server.config();
        set(&mut config, path, value);
        refused(&server, &config, WRONG).unwrap()
    };
    let pools = |ranges: &[&str]| ranges.iter().map(|range| json!({"range": range})).collect::<Value>();
    let text =
        changed("/dhcp/subnets/0/pools", pools(&["198.18.1.0-198.18.1.99", "198.18.1.50-198.18.1.150"]));
    assert_says(&text, &["dhcp.subnets[0].pools[1]", "dhcp.json:", "overlaps"]);
    let text = changed("/dhcp/subnets/0/pools", pools(&["198.19.1.0-198.19.1.99"]));
    assert_says(&text, &["dhcp.subnets[0].pools[0]", "198.18.0.0/16"]);
    let reservation = |mac: &str, address: &str| json!({"hw_address": mac, "address": address});
    let text = changed(
        "/dhcp/subnets/0/reservations",
        json!([
            reservation("02:00:00:00:01:01", "198.18.2.1"),
            reservation("02:00:00:00:01:01", "198.18.2.2")
        ]),
    );
    assert_says(
        &text,
        &["dhcp.subnets[0].reservations[1]", "this client has an address already in reservations[0]"],
    );
    let text = changed(
        "/dhcp/subnets/0/reservations",
        json!([
            reservation("02:00:00:00:01:01", "198.18.2.1"),
            reservation("02:00:00:00:01:02", "198.18.2.1")
        ]),
    );
    assert_says(&text, &["dhcp.subnets[0].reservations[1]", "198.18.2.1"]);
    // Nothing has been made by a daemon that refused its configuration.
    assert!(!server.store().exists() && !server.pins.path().exists());
}

#[test]
fn the_servers_own_address_in_a_pool() {
    let (server, _cable) = server_with_cable().unwrap();
    let mut config = server.config();
    set(&mut config, "/dhcp/interfaces", json!([INTERFACE]));
    set(&mut config, "/dhcp/subnets/0/pools", json!([{"range": "198.18.0.1-198.18.0.9"}]));
    let text = refused(&server, &config, FAILED).unwrap();
    assert_says(&text, &["s0 has the address 198.18.0.1", "take it out of dhcp.subnets' pools"]);
}

#[test]
fn a_missing_configuration() {
    let server = Server::new().unwrap();
    let file = server.folder.path().join("nowhere.json");
    for flag in ["--config", "--check-config"] {
        let (code, text) = run(server.ns.command(binary().unwrap()).arg(flag).arg(&file)).unwrap();
        assert_eq!(code, Some(WRONG), "{text}");
        assert_says(&text, &[file.to_str().unwrap(), "there is no such file", "--config FILE"]);
    }
}

#[test]
fn a_damaged_store() {
    let (server, cable) = server_with_cable().unwrap();
    let config = server.config();
    let mut daemon = server.start(&config).unwrap();
    for number in 1..=3 {
        Scripted::new(&cable.socket, number).dora().unwrap();
    }
    assert!(daemon.stop().unwrap().success(), "{}", daemon.log());
    server.unload().unwrap();
    let files = |extension: &str| -> Vec<PathBuf> {
        let found = fs::read_dir(server.store()).unwrap().map(|entry| entry.unwrap().path());
        found.filter(|path| path.to_string_lossy().contains(extension)).collect()
    };
    let largest = files("").into_iter().max_by_key(|path| fs::metadata(path).unwrap().len()).unwrap();
    let whole = fs::read(&largest).unwrap();
    let used = whole.iter().rposition(|&octet| octet != 0).unwrap();

    let mut flipped = whole.clone();
    flipped[used / 2] ^= 1;
    let truncated = whole[..used / 2].to_vec();
    for (what, octets) in [("flipped", flipped), ("truncated", truncated)] {
        fs::write(&largest, octets).unwrap();
        let text = refused(&server, &config, FAILED).unwrap();
        assert!(text.contains(largest.to_str().unwrap()), "{what}: {text}");
        assert_says(&text, &["Acknowledged leases are lost or in doubt, so the store is refused", "restore"]);
    }
    // What was refused was left alone: put right, it is all there.
    fs::write(&largest, &whole).unwrap();
    let daemon = server.start(&config).unwrap();
    assert_eq!(daemon.ask(&["leases", "list"]).unwrap().as_array().unwrap().len(), 3);
}

#[test]
fn a_store_that_cannot_be_used() {
    let (server, _cable) = server_with_cable().unwrap();
    let config = server.config();
    fs::write(server.store(), "no directory").unwrap();
    let text = refused(&server, &config, FAILED).unwrap();
    assert_says(&text, &[server.store().to_str().unwrap(), "is not a directory"]);
    fs::remove_file(server.store()).unwrap();
    fs::create_dir(server.store()).unwrap();
    fs::set_permissions(server.store(), fs::Permissions::from_mode(0o777)).unwrap();
    let text = refused(&server, &config, FAILED).unwrap();
    assert_says(&text, &["the lease store", server.store().to_str().unwrap(), "mode 0777", "chmod o-w"]);
    fs::set_permissions(server.store(), fs::Permissions::from_mode(0o770)).unwrap();
    std::os::unix::fs::chown(server.store(), None, Some(65534)).unwrap();
    let text = refused(&server, &config, FAILED).unwrap();
    assert_says(&text, &["can be written by group 65534 (mode 0770)", "chmod g-w"]);
    std::os::unix::fs::chown(server.store(), Some(65534), Some(0)).unwrap();
    let text = refused(&server, &config, FAILED).unwrap();
    assert_says(&text, &["belongs to user 65534", "neither root nor the daemon's user (0)", "chown 0"]);
}

#[test]
fn a_configuration_others_could_have_written() {
    let server = Server::new().unwrap();
    let own = server.folder.path().join("etc");
    fs::create_dir(&own).unwrap();
    let file = own.join("dhcp.json");
    fs::write(&file, server.config().to_string()).unwrap();
    let mode = |path: &Path, mode| fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    let chown = |path: &Path, user, group| std::os::unix::fs::chown(path, Some(user), Some(group)).unwrap();
    let refused = |words: &[&str]| {
        let mut command = server.ns.command(binary().unwrap());
        let (code, text) = run(command.arg("--config").arg(&file)).unwrap();
        assert_eq!(code, Some(WRONG), "{text}");
        assert_says(&text, words);
    };
    mode(&file, 0o666);
    refused(&["the configuration /", "by everyone (mode 0666)", "run chmod o-w"]);
    mode(&file, 0o664);
    chown(&file, 0, 65534);
    refused(&["the configuration /", "by group 65534 (mode 0664)", "run chmod g-w"]);
    mode(&file, 0o644);
    chown(&file, 65534, 65534);
    refused(&["the configuration /", "belongs to user 65534", "run chown 0"]);
    chown(&file, 0, 0);
    mode(&own, 0o777);
    refused(&["the configuration's directory", "by everyone (mode 0777)"]);
    mode(&own, 0o775);
    chown(&own, 0, 65534);
    refused(&["the configuration's directory", "by group 65534 (mode 0775)"]);
    mode(&own, 0o755);
    chown(&own, 65534, 0);
    refused(&["the configuration's directory", "belongs to user 65534"]);
    // Trusted again, it is the interface that is missing.
    chown(&own, 0, 0);
    let (code, text) = run(server.ns.command(binary().unwrap()).arg("--config").arg(&file)).unwrap();
    assert_eq!(code, Some(FAILED), "{text}");
}

/// A configuration of a node of two, with its certificates; where its state is.
fn node(server: &Server) -> Result<(Value, PathBuf)> {
    let (authority, state) = (server.folder.path().join("pki"), server.folder.path().join("sites"));
    pki(&["init", "--authority"], &authority)?;
    let out = state.display().to_string();
    pki(&["node", "a.example", "--out", &out, "--authority"], &authority)?;
    let mut config = server.config();
    set(
        &mut config,
        "/dhcp/datacenter",
        json!({"multi_site": {
            "enabled": true, "local_site": "a", "node": "a.example",
            "sites": [{"name": "a", "nodes": ["a.example"]}, {"name": "b", "nodes": ["b.example"]}],
            "link": {
                "listen": "198.18.0.1:8067", "state_path": state,
                "addresses": [{"node": "b.example", "address": "198.18.0.9:8067"}],
            },
        }}),
    );
    Ok((config, state))
}

#[test]
fn keys_others_could_have_read_and_certificates_they_could_have_written() {
    let (server, _cable) = server_with_cable().unwrap();
    let (mut config, state) = node(&server).unwrap();
    let mode = |file: &str, mode| {
        fs::set_permissions(state.join(file), fs::Permissions::from_mode(mode)).unwrap();
    };
    let refused = |config: &Value, words: &[&str]| {
        let text = refused(&server, config, FAILED).unwrap();
        assert_says(&text, words);
    };
    mode("key.pem", 0o644);
    refused(&config, &["links to other nodes", "key.pem can be read by everyone (mode 0644)", "chmod o-rwx"]);
    mode("key.pem", 0o602);
    refused(&config, &["key.pem can be written by everyone (mode 0602)", "chmod o-w"]);
    mode("key.pem", 0o600);
    for file in ["ca.pem", "certificate.pem"] {
        mode(file, 0o646);
        refused(&config, &[file, "can be written by everyone (mode 0646)", "chmod o-w"]);
        mode(file, 0o644);
    }
    // The API's as well.
    set(&mut config, "/dhcp/datacenter", json!({}));
    let (certificate, key) = (state.join("certificate.pem"), state.join("key.pem"));
    set(&mut config, "/dhcp/api", json!({"certificate": certificate, "key": key}));
    mode("key.pem", 0o604);
    refused(&config, &["key.pem can be read by everyone (mode 0604)", "chmod o-rwx"]);
    mode("key.pem", 0o600);
    mode("certificate.pem", 0o666);
    refused(&config, &["certificate.pem can be written by everyone (mode 0666)", "chmod o-w"]);
}

#[test]
fn what_nodes_agreed_on_where_others_could_have_written() {
    let (server, _cable) = server_with_cable().unwrap();
    let (mut config, state) = node(&server).unwrap();
    // Elsewhere, so that it is not the certificates' directory that is refused.
    let own = server.folder.path().join("agreed");
    let file = |name: &str| json!(state.join(name));
    for (key, name) in [("certificate", "certificate.pem"), ("key", "key.pem"), ("ca", "ca.pem")] {
        set(&mut config, &format!("/dhcp/datacenter/multi_site/link/{key}"), file(name));
    }
    set(&mut config, "/dhcp/datacenter/multi_site/link/state_path", json!(own));
    let mut daemon = server.start(&config).unwrap();
    assert!(daemon.stop().unwrap().success(), "{}", daemon.log());
    let mode = |path: &Path, mode| fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    let says = |words: &[&str]| assert_says(&refused(&server, &config, FAILED).unwrap(), words);
    mode(&own, 0o777);
    says(&["what the nodes agreed on", own.to_str().unwrap(), "by everyone (mode 0777)", "chmod o-w"]);
    mode(&own, 0o700);
    std::os::unix::fs::chown(&own, Some(65534), Some(0)).unwrap();
    says(&["what the nodes agreed on", "belongs to user 65534", "chown 0"]);
    std::os::unix::fs::chown(&own, Some(0), Some(0)).unwrap();
    let database = own.join("consensus.redb");
    mode(&database, 0o666);
    says(&["what the nodes agreed on", "consensus.redb can be written by everyone (mode 0666)"]);
    mode(&database, 0o600);
    server.start(&config).unwrap();
}

#[test]
fn an_audit_log_that_cannot_be_kept() {
    let (server, _cable) = server_with_cable().unwrap();
    let mut config = server.config();
    let path = server.folder.path().join("audit");
    set(&mut config, "/dhcp/audit", json!({"path": path}));
    fs::write(&path, "no directory").unwrap();
    let text = refused(&server, &config, FAILED).unwrap();
    assert_says(&text, &["the audit log", path.to_str().unwrap(), "name another in dhcp.audit.path"]);
    fs::remove_file(&path).unwrap();
    fs::create_dir(&path).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o777)).unwrap();
    let text = refused(&server, &config, FAILED).unwrap();
    assert_says(&text, &["the audit log's directory", "by everyone (mode 0777)"]);
}

#[test]
fn the_port_is_taken() {
    let (server, _cable) = server_with_cable().unwrap();
    let other = server.ns.run(|| UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 67))).unwrap().unwrap();
    let text = refused(&server, &server.config(), FAILED).unwrap();
    assert_says(&text, &["UDP port 67 on s0 is taken", "another DHCP server is running", "ss -lunp"]);
    drop(other);
    server.start(&server.config()).unwrap();
}

#[test]
fn two_daemons() {
    let (server, cable) = server_with_cable().unwrap();
    let config = server.config();
    let daemon = server.start(&config).unwrap();
    let client = Scripted::new(&cable.socket, 1);
    let lease = client.dora().unwrap();

    // With one configuration.
    let file = write_config(&server, &config).unwrap();
    let (code, text) = run(server.ns.command(binary().unwrap()).arg("--config").arg(&file)).unwrap();
    assert_eq!(code, Some(FAILED), "{text}");
    assert_says(&text, &["a daemon is answering on", "control.sock", "stop it"]);
    let refused_by_another = |second: &Server, config: &Value| {
        let mut other = Daemon::spawn(&server.ns, second.folder.path(), config).unwrap();
        let status = other.wait(SOON).unwrap();
        assert_eq!(status.code(), Some(FAILED), "{}", other.log());
        other.log()
    };
    // With a store in common.
    let second = Server::new().unwrap();
    let mut config = second.config();
    set(&mut config, "/dhcp/store/path", json!(server.store()));
    let text = refused_by_another(&second, &config);
    assert_says(&text, &["the lease store", "is open in", &daemon.id().to_string()]);
    // With pins in common.
    let mut config = second.config();
    set(&mut config, "/dhcp/fastpath/pin_path", json!(server.pins.path()));
    let text = refused_by_another(&second, &config);
    assert_says(&text, &["another daemon is using the pins in", server.pins.path().to_str().unwrap()]);
    // With nothing but the interface in common.
    let text = refused_by_another(&second, &second.config());
    assert_says(&text, &["UDP port 67 on s0 is taken"]);

    // None of them has harmed the first.
    let (ack, _) = client.ask(&client.renewal(lease.address)).unwrap();
    assert_eq!(ack.kind(), 5);
    assert_eq!(Stats::of(&daemon).unwrap().answered(), 1);
}

#[test]
fn another_xdp_program_is_in_the_way() {
    let (server, cable) = server_with_cable().unwrap();
    let _pass = cable.pair.a.pass(&server.ns).unwrap();
    let text = refused(&server, &server.config(), FAILED).unwrap();
    assert_says(&text, &["cannot be attached to s0", "another XDP program is attached there", "bpftool net"]);
}

#[test]
fn pins_outside_of_a_bpf_file_system() {
    let (server, _cable) = server_with_cable().unwrap();
    let mut config = server.config();
    let path = server.folder.path().join("pins");
    set(&mut config, "/dhcp/fastpath/pin_path", json!(path));
    let text = refused(&server, &config, FAILED).unwrap();
    assert_says(&text, &[path.to_str().unwrap(), "is not on a BPF file system", "mount -t bpf"]);
    assert!(!path.exists());
}

#[test]
fn nobody_to_ask() {
    let server = Server::new().unwrap();
    let socket = server.folder.path().join("control.sock");
    for words in [&["stats"][..], &["leases", "list"]] {
        let (code, text) =
            run(Command::new(binary().unwrap()).args(words).arg("--socket").arg(&socket)).unwrap();
        assert_eq!(code, Some(FAILED), "{text}");
        assert_says(&text, &["no daemon answers on", socket.to_str().unwrap(), "is it running"]);
    }
    let (server, _cable) = server_with_cable().unwrap();
    let daemon = server.start(&server.config()).unwrap();
    let error = lab::lease(&daemon, Ipv4Addr::new(198, 18, 1, 7)).unwrap_err().to_string();
    assert_says(&error, &["there is no lease of 198.18.1.7"]);
}

/// A kernel that lacks what the program calls is played by a library that answers for it, and by a release that is old.
#[test]
fn on_a_kernel_without_a_needed_feature() {
    let (server, _cable) = server_with_cable().unwrap();
    let library = server.folder.path().join("old_kernel.so");
    let source = concat!(env!("CARGO_MANIFEST_DIR"), "/src/old_kernel.c");
    let built = Command::new("cc").args(["-shared", "-fPIC", "-o"]).arg(&library).arg(source).status();
    assert!(built.unwrap().success());
    let file = write_config(&server, &server.config()).unwrap();
    let mut command = server.ns.command("setarch");
    command.arg("--uname-2.6").arg(binary().unwrap()).arg("--config").arg(file).env("LD_PRELOAD", &library);
    let (code, text) = run(&mut command).unwrap();
    assert_eq!(code, Some(FAILED), "{text}");
    assert_says(
        &text,
        &[
            "the kernel refuses the XDP program",
            "unknown func bpf_xdp_load_bytes",
            "Linux 5.18 or later is needed, and this is 2.6.",
        ],
    );
}
