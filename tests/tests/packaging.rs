//! What is shipped beside the daemon is accepted by the programs it is for: alert rules and what dashboards ask for by promtool,
//! which also runs the rules' tests, and the unit by systemd.

use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::Command,
};

use dhcp_tests::{daemon::binary, process::stdout, tools};
use serde_json::{Value, json};

fn packaging(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../packaging").join(name)
}

#[test]
fn promtool_takes_the_rules_and_they_fire_when_they_should() {
    let promtool = tools::promtool().unwrap();
    let folder = packaging("prometheus");
    let checked = stdout(Command::new(&promtool).current_dir(&folder).args([
        "check",
        "rules",
        "simple-dhcpd.rules.yml",
    ]));
    let checked = checked.unwrap();
    assert!(checked.contains("SUCCESS"), "{checked}");
    let tested =
        stdout(Command::new(promtool).current_dir(&folder).args(["test", "rules", "simple-dhcpd.test.yml"]));
    assert!(tested.unwrap().contains("SUCCESS"));
}

/// The queries of a dashboard, however deep in it.
fn expressions<'a>(part: &'a Value, found: &mut Vec<&'a str>) {
    match part {
        Value::Object(fields) => {
            found.extend(fields.get("expr").and_then(Value::as_str));
            fields.values().for_each(|part| expressions(part, found));
        }
        Value::Array(parts) => parts.iter().for_each(|part| expressions(part, found)),
        _ => {}
    }
}

#[test]
fn promtool_takes_what_the_dashboards_ask_for() {
    let folder = tempfile::tempdir().unwrap();
    for entry in fs::read_dir(packaging("grafana")).unwrap() {
        let file = entry.unwrap().path();
        let dashboard: Value = serde_json::from_str(&fs::read_to_string(&file).unwrap()).unwrap();
        let mut found = Vec::new();
        expressions(&dashboard, &mut found);
        assert!(found.len() > 10, "{} has {} queries", file.display(), found.len());
        let rules = (0..).zip(&found).map(|(number, found)| {
            // With a value for each of Grafana's variables.
            let query = found.replace("$__rate_interval", "5m").replace("$instance", ".*");
            assert!(!query.contains('$'), "a variable without a value in {query}");
            json!({"record": format!("dashboard:query_{number}"), "expr": query})
        });
        let rules = json!({"groups": [{"name": "dashboard", "rules": rules.collect::<Vec<_>>()}]});
        // What is JSON is YAML.
        let path = folder.path().join("queries.rules.yml");
        fs::write(&path, rules.to_string()).unwrap();
        let mut check = Command::new(tools::promtool().unwrap());
        let checked = stdout(check.args(["check", "rules"]).arg(&path)).unwrap();
        assert!(checked.contains(&format!("SUCCESS: {} rules found", found.len())), "{checked}");
    }
}

#[test]
fn systemd_takes_the_unit() {
    let folder = tempfile::tempdir().unwrap();
    // It looks whether the programs are there; the daemon is not installed here.
    let unit = fs::read_to_string(packaging("systemd/simple-dhcpd-datacenter.service")).unwrap();
    let unit = unit.replace("/usr/bin/simple-dhcpd-datacenter", binary().unwrap().to_str().unwrap());
    let path = folder.path().join("simple-dhcpd-datacenter.service");
    fs::write(&path, unit).unwrap();
    let output = Command::new("systemd-analyze").arg("verify").arg(&path).output().unwrap();
    let said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
    // It looks at the units of the host too, of which some may be out of order.
    let ours: Vec<_> = said.lines().filter(|line| line.contains("simple-dhcpd")).collect();
    assert!(ours.is_empty(), "{said}");
}

#[test]
fn manual_pages_and_completions_are_written() {
    let folder = tempfile::tempdir().unwrap();
    let daemon = binary().unwrap();
    stdout(Command::new(&daemon).args(["man", "--dir"]).arg(folder.path())).unwrap();
    let pages = fs::read_dir(folder.path()).unwrap().count();
    assert!(pages > 20, "{pages} pages");
    let bash = stdout(Command::new(&daemon).args(["completions", "bash"])).unwrap();
    let script = folder.path().join("completions.bash");
    fs::write(&script, bash).unwrap();
    stdout(Command::new("bash").arg("-n").arg(&script)).unwrap();
    // A reader that leaves early is no reason to panic.
    let cut =
        stdout(Command::new("sh").args(["-c", "\"$0\" completions zsh 2>&1 | head -c 10"]).arg(&daemon));
    assert_eq!(cut.unwrap(), "#compdef s");
}

/// Whether whatever runs an example can have two of it serve at a time, or one after the other on two machines, where the
/// second knows nothing of the first one's leases.
fn may_run_on_several_machines(example: &str) -> bool {
    let says = |line: &str| example.lines().any(|found| found.trim() == line);
    !(says("kind: Deployment")
        && says("replicas: 1")
        && says("strategy: {type: Recreate}")
        && example.lines().any(|line| line.trim().starts_with("nodeSelector: {kubernetes.io/hostname: ")))
}

#[test]
fn kubernetes_examples_are_taken_and_give_no_address_twice() {
    let mut seen = [0; 2];
    for entry in fs::read_dir(packaging("kubernetes")).unwrap() {
        let file = entry.unwrap().path();
        let (example, shown) = (fs::read_to_string(&file).unwrap(), file.display());
        let (_, rest) = example.split_once("  dhcp.json: |\n").unwrap();
        let text: String = rest.lines().map_while(|line| line.strip_prefix("    ")).collect();
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("dhcp.json");
        fs::write(&path, &text).unwrap();
        stdout(Command::new(binary().unwrap()).arg("--check-config").arg(&path)).unwrap();

        let config: Value = serde_json::from_str(&text).unwrap();
        let sites = &config["dhcp"]["datacenter"]["multi_site"];
        let nodes: usize = sites["sites"]
            .as_array()
            .map_or(0, |all| all.iter().map(|site| site["nodes"].as_array().unwrap().len()).sum());
        let several = may_run_on_several_machines(&example);
        if several {
            assert!(
                sites["enabled"] == true && nodes > 1,
                "{shown}: several servers of one pool, and no multi_site"
            );
            assert_eq!(sites["node"], Value::Null, "{shown}: one name for all machines");
        }
        seen[usize::from(several)] += 1;
        // On the network of the machine: whoever reaches that would read them.
        let metrics = config["dhcp"]["api"]["metrics_listen"].as_str().unwrap();
        assert!(metrics.starts_with("127.0.0.1:"), "{shown}: figures on {metrics}");
        let port = metrics.rsplit(':').next().unwrap();
        let probes = example.lines().filter(|line| line.contains("httpGet: "));
        let probes: Vec<_> = probes.filter(|line| !line.trim().starts_with('#')).collect();
        assert_eq!(probes.len(), 3, "{shown}");
        for probe in probes {
            assert!(
                probe.contains("host: 127.0.0.1") && probe.contains(&format!("port: {port}")),
                "{shown}: {probe}"
            );
        }
    }
    assert_eq!(seen, [1, 1], "one example for one machine, one for several");
    let daemon_set =
        "kind: DaemonSet\nreplicas: 1\nstrategy: {type: Recreate}\nnodeSelector: {kubernetes.io/hostname: a}";
    assert!(may_run_on_several_machines(daemon_set));
    assert!(!may_run_on_several_machines(&daemon_set.replace("DaemonSet", "Deployment")));
}

/// Runs the package's script after an upgrade, with programs around it that note how they are called; what they noted, and what
/// the script said. `takes_over` is what the new binary says of the daemon that runs.
fn configure_after_an_upgrade(takes_over: bool) -> (String, String) {
    let folder = tempfile::tempdir().expect("the test's own files");
    let (bin, notes) = (folder.path().join("bin"), folder.path().join("notes"));
    fs::create_dir(&bin).expect("the test's own files");
    for name in
        ["systemd-sysusers", "systemd-tmpfiles", "deb-systemd-helper", "deb-systemd-invoke", "systemctl"]
    {
        stub(&bin.join(name), &notes, true);
    }
    stub(&bin.join("simple-dhcpd-datacenter"), &notes, takes_over);
    let script = fs::read_to_string(packaging("debian/postinst")).expect("the test's own files");
    let path = folder.path().display();
    let script = script.replace("/run/systemd/system", &format!("{path}/bin"));
    let script = script.replace("/etc/systemd/system", &format!("{path}/etc"));
    let mut sh = Command::new("sh");
    sh.args(["-c", &script, "postinst", "configure", "0.1.0-1"]);
    let ran =
        sh.env("PATH", format!("{}:/usr/bin:/bin", bin.display())).output().expect("the test's own files");
    let said = String::from_utf8_lossy(&ran.stderr).into_owned();
    assert!(ran.status.success(), "{said}");
    (fs::read_to_string(&notes).expect("the test's own files"), said)
}

/// A program that notes how it is called.
fn stub(path: &Path, notes: &Path, succeeds: bool) {
    let name = path.file_name().expect("the test's own files").to_string_lossy();
    let end = if succeeds { "exit 0" } else { "echo 'of layout version 9' >&2; exit 1" };
    fs::write(path, format!("#!/bin/sh\necho \"{name} $*\" >> '{}'\n{end}\n", notes.display()))
        .expect("the test's own files");
    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).expect("the test's own files");
}

#[test]
fn an_upgrade_that_cannot_take_over_leaves_the_old_daemon_running() {
    let restart = "deb-systemd-invoke try-restart simple-dhcpd-datacenter.service";
    let (called, said) = configure_after_an_upgrade(true);
    assert!(
        called.contains("simple-dhcpd-datacenter --check-takeover") && called.contains(restart),
        "{called}"
    );
    assert!(!said.contains("cannot take over"), "{said}");
    let (called, said) = configure_after_an_upgrade(false);
    assert!(!called.contains("deb-systemd-invoke"), "{called}");
    for words in ["of layout version 9", "cannot take over", "serves on", "unload"] {
        assert!(said.contains(words), "{words:?} is not in {said}");
    }
}
