//! What commands print, as files in `fixtures/cli`: before a fake service, whose leases and figures are always the same.
//! After a change that is meant: `UPDATE_SNAPSHOTS=1 cargo xtask test --tests-only -- --test cli_output`, and look at the
//! difference.

use std::{
    fs,
    os::unix::net::UnixListener,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result};
use dhcp_tests::daemon::binary;
use dhcp_user::api::{fake::Fake, listen::serve_local};

const CONFIG: &str = r#"{"dhcp": {"interfaces": ["eth0"], "subnets": [
    {"subnet": "198.18.0.0/16", "interface": "eth0", "pools": [{"range": "198.18.1.0-198.18.200.255"}],
     "reservations": [{"hw_address": "02:00:00:00:00:01", "address": "198.18.250.1", "hostname": "db1"},
                      {"client_id": "text:x", "address": "198.18.250.2"}]},
    {"subnet": "198.19.0.0/24", "relays": ["198.18.0.9"], "pools": [{"range": "198.19.0.10-198.19.0.19"}]}
  ]}}"#;

/// The fake service on a socket, for as long as this lives.
struct World {
    _runtime: tokio::runtime::Runtime,
    folder: tempfile::TempDir,
    socket: PathBuf,
}

impl World {
    fn new() -> Result<Self> {
        let folder = tempfile::tempdir()?;
        let socket = folder.path().join("control.sock");
        let fake = Fake::new(12, |n| format!("host-{n}"));
        let api = fake.api(CONFIG, folder.path()).map_err(anyhow::Error::from_boxed)?;
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
        let listener = UnixListener::bind(&socket)?;
        listener.set_nonblocking(true)?;
        let guard = runtime.enter();
        let listener = tokio::net::UnixListener::from_std(listener)?;
        drop(guard);
        runtime.spawn(serve_local(listener, api.router()));
        Ok(Self { _runtime: runtime, folder, socket })
    }

    /// A command, how it ended, and all it printed.
    fn run(&self, words: &[&str]) -> Result<String> {
        let mut command = Command::new(binary()?);
        command.args(words).current_dir(self.folder.path());
        // These ask no daemon.
        if !matches!(words, ["config", "check", ..] | ["audit", ..]) {
            command.arg("--socket").arg(&self.socket);
        }
        let output = command.output().with_context(|| format!("cannot run {words:?}"))?;
        let text = |octets: &[u8]| String::from_utf8_lossy(octets).into_owned();
        let mut said = format!("$ simple-dhcpd-datacenter {}\n{}", words.join(" "), text(&output.stdout));
        if !output.stderr.is_empty() {
            said += &format!("--- stderr\n{}", text(&output.stderr));
        }
        if !output.status.success() {
            said += &format!("--- exit {}\n", output.status.code().unwrap_or(-1));
        }
        Ok(said.replace(&self.folder.path().display().to_string(), "FOLDER"))
    }
}

impl World {
    fn file(&self, name: &str, text: &str) {
        fs::write(self.folder.path().join(name), text).expect("a file");
    }

    /// Compares what commands print, one after the other, with the file.
    fn snapshot(&self, name: &str, commands: &[&[&str]]) {
        let said: Vec<_> = commands.iter().map(|words| self.run(words).expect("the command runs")).collect();
        is_as_in(name, &said.join("\n"));
    }
}

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/cli").join(format!("{name}.txt"))
}

/// Compares with the file, or writes it.
fn is_as_in(name: &str, said: &str) {
    let path = fixture(name);
    if std::env::var_os("UPDATE_SNAPSHOTS").is_some() {
        fs::write(&path, said).expect("the fixture can be written");
    }
    let known = fs::read_to_string(&path).unwrap_or_default();
    assert_eq!(said, known, "{} is not what is printed now; see this file for the command", path.display());
}

fn snapshot(name: &str, commands: &[&[&str]]) {
    World::new().expect("a fake service").snapshot(name, commands);
}

#[test]
fn leases() {
    snapshot(
        "leases",
        &[
            &["leases", "list"],
            &["leases", "show", "198.18.1.3"],
            &["leases", "show", "198.18.1.3", "--json"],
            &["leases", "show", "198.18.9.9"],
            &["leases", "extend", "198.18.1.3"],
            &["leases", "release", "198.18.1.3"],
            &["leases", "release", "198.18.1.3"],
            &["leases", "export", "--format", "csv"],
            &["leases", "list", "--state", "free"],
            &["leases", "list", "--range", "198.18.1.3-198.18.1.5", "--limit", "2"],
            &["leases", "list", "--limit", "2", "--json"],
            &["leases", "list", "--hostname", "nobody", "--json"],
            &["leases", "list", "--mac", "02:00:00:00:00:07", "--subnet", "198.18.0.0/16"],
            &["leases", "list", "--site", "east"],
            &["leases", "list", "--range", "198.18.1.5"],
            &["leases", "export", "--hostname", "host-7"],
        ],
    );
}

/// The same file twice, and one of which some is refused.
#[test]
fn imports() {
    let world = World::new().expect("a fake service");
    let entry = |n: u8, more: &str| {
        format!(r#"{{"address": "198.18.250.{n}", "hw_address": "02:00:00:00:01:{n:02}"{more}}}"#)
    };
    let lines: Vec<_> = (10..13).map(|n| entry(n, r#", "hostname": "web""#)).collect();
    world.file("lines.json", &lines.join("\n"));
    let list = [entry(10, ""), entry(13, r#", "lease_secs": 0"#), entry(14, "")];
    world.file("list.json", &format!(r#"{{"reservations": [{}]}}"#, list.join(", ")));
    world.file("wrong.json", "[1]");
    let commands: &[&[&str]] = &[
        &["reservations", "import", "lines.json"],
        &["reservations", "import", "lines.json"],
        &["reservations", "import", "list.json"],
        &["reservations", "import", "list.json", "--json"],
        &["reservations", "import", "wrong.json"],
        &["reservations", "import", "none.json"],
        &["reservations", "list"],
    ];
    world.snapshot("import", commands);
}

/// What is wrong with a file is said by its own name, and is exit code 2.
#[test]
fn configurations() {
    let world = World::new().expect("a fake service");
    let elsewhere = CONFIG.replace("eth0", "nosuch0");
    let bad = CONFIG.replace("198.19.0.10-", "198.20.0.10-").replace("\"relays\"", "\"rellays\"");
    for (name, text) in
        [("good.json", CONFIG), ("elsewhere.json", &elsewhere), ("bad.json", &bad), ("torn.json", "{")]
    {
        world.file(name, text);
    }
    let commands: &[&[&str]] = &[
        &["config", "check", "good.json"],
        &["config", "check", "bad.json"],
        &["config", "check", "torn.json"],
        &["config", "check", "none.json"],
        &["config", "check", "good.json", "--json"],
        &["config", "check", "bad.json", "--json"],
        &["config", "check", "none.json", "--json"],
        &["config", "diff", "elsewhere.json"],
        &["config", "diff", "bad.json"],
        &["config", "diff", "none.json"],
        &["config", "apply", "bad.json"],
        &["config", "apply", "torn.json"],
    ];
    world.snapshot("config", commands);
}

#[test]
fn tokens() {
    let world = World::new().expect("a fake service");
    let made = world.run(&["token", "create", "backup", "--role", "viewer"]).expect("the command runs");
    // What is random: the token is the last line but for what goes to stderr.
    assert!(made.contains("(backup), viewer, until ") && made.contains('_'), "{made}");
    let listed = world.run(&["token", "list"]).expect("the command runs");
    let row = listed.lines().last().expect("a row");
    assert!(row.contains("viewer") && row.ends_with("backup"), "{listed}");
    let id = row.split_whitespace().next().expect("an identifier");
    let revoked = world.run(&["token", "revoke", id]).expect("the command runs");
    assert!(revoked.ends_with(&format!("token {id} is revoked\n")), "{revoked}");
    let commands: &[&[&str]] = &[
        &["token", "list"],
        &["token", "list", "--json"],
        &["token", "revoke", "0123456789abcdef"],
        &["token", "revoke", "../x"],
        &["token", "create", "backup"],
        &["token", "create", "backup", "--role", "viewer", "--days", "0"],
    ];
    world.snapshot("token", commands);
}

#[test]
fn holders_of_an_address() {
    let world = World::new().expect("a fake service");
    fs::create_dir(world.folder.path().join("audit")).expect("a directory");
    let line = |at: &str, event: &str, more: &str| {
        format!("{{\"at\":\"2026-01-31T{at}Z\",\"event\":\"{event}\",\"address\":\"198.18.1.7\"{more}}}\n")
    };
    let host = |n: u8| {
        format!(
            ",\"hw_address\":\"02:00:00:00:00:0{n}\",\"hostname\":\"h{n}\",\"until\":\"2026-01-31T15:00:00Z\""
        )
    };
    let log = [
        line("10:00:00", "granted", &host(1)),
        line("10:30:00", "renewed", &host(1)),
        line("11:00:00", "released", &host(1)),
        line("11:30:00", "conflict", &host(9)),
        "{\"at\": \"20".to_owned() + "\n",
        line("12:00:00", "granted", &host(2)),
    ];
    world.file("audit/audit-0000000001.jsonl", &log.concat());
    let commands: &[&[&str]] = &[
        &["audit", "198.18.1.7", "--path", "audit"],
        &["audit", "198.18.1.7", "--path", "audit", "--at", "2026-01-31T10:45:00Z"],
        &["audit", "198.18.1.7", "--path", "audit", "--at", "2026-01-31T11:15:00Z"],
        &["audit", "198.18.1.7", "--path", "audit", "--at", "2026-01-31T12:30:00Z", "--json"],
        &["audit", "198.18.1.8", "--path", "audit"],
        &["audit", "198.18.1.7", "--path", "none"],
        &["audit", "198.18.1.7", "--path", "audit", "--at", "noon"],
    ];
    world.snapshot("audit", commands);
}

/// Of a single node; of clusters it is `daemon_sites` that asks.
#[test]
fn sites() {
    snapshot(
        "site",
        &[
            &["site", "status"],
            &["sites", "sync"],
            &["site", "show", "east"],
            &["site", "show", "../east"],
            &["site", "drain", "--site", "east"],
            &["site", "drill", "--site", "east"],
            &["site", "partner-down", "node2"],
            &["site", "partner-down", "--site", "east"],
            &["site", "partner-down", "--site", "east", "--certain"],
            &["site", "member", "remove", "node2"],
        ],
    );
}

#[test]
fn explanations() {
    snapshot(
        "explain",
        &[
            &["explain", "198.18.1.7"],
            &["explain", "198.18.1.7", "--json"],
            &["explain", "02:00:00:00:00:07"],
            &["explain", "no-such-file"],
        ],
    );
}

#[test]
fn reservations() {
    snapshot(
        "reservations",
        &[
            &["reservations"],
            &[
                "reservations",
                "add",
                "198.18.250.9",
                "--hw-address",
                "02:00:00:00:00:77",
                "--hostname",
                "web1",
            ],
            &["reservations", "show", "198.18.250.9"],
            &["reservations", "change", "198.18.250.9", "--client-id", "text:web1"],
            &["leases", "reserve", "198.18.1.4"],
            &["reservations", "list"],
            &["reservations", "add", "198.18.1.3", "--hw-address", "02:00:00:00:00:78"],
            &["reservations", "add", "198.20.0.1", "--hw-address", "02:00:00:00:00:78"],
            &["reservations", "add", "198.18.250.8"],
            &["reservations", "remove", "198.18.250.9"],
            &["reservations", "remove", "198.18.250.1"],
        ],
    );
}

#[test]
fn how_it_is() {
    snapshot(
        "state",
        &[&["subnets"], &["stats"], &["stats", "--json"], &["top", "--once"], &["capture", "-w", "x"]],
    );
}

/// Every command's help: nothing changes there unseen.
#[test]
fn help() {
    let run = |words: &[String]| -> String {
        let output =
            Command::new(binary().expect("a binary")).args(words).arg("--help").output().expect("help");
        String::from_utf8(output.stdout).expect("text")
    };
    let mut all = String::new();
    let mut waiting = vec![Vec::<String>::new()];
    while let Some(words) = waiting.pop() {
        let text = run(&words);
        let commands = text.split("\nCommands:\n").nth(1).unwrap_or_default();
        let names = commands.lines().take_while(|line| line.starts_with("  "));
        let names =
            names.filter(|line| !line.starts_with("   ")).filter_map(|line| line.split_whitespace().next());
        let mut inner: Vec<_> = names
            .filter(|name| *name != "help")
            .map(|name| [words.clone(), vec![name.to_owned()]].concat())
            .collect();
        inner.reverse();
        waiting.append(&mut inner);
        all += &format!(
            "$ simple-dhcpd-datacenter {}--help\n{text}\n",
            words.iter().map(|word| format!("{word} ")).collect::<String>()
        );
    }
    is_as_in("help", &all);
}
