//! What is shipped beside the daemon is accepted by the programs it is for: alert rules by promtool, which also runs their
//! tests, and the unit by systemd.

use std::{fs, path::PathBuf, process::Command};

use dhcp_tests::{daemon::binary, process::stdout, tools};

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

#[test]
fn the_daemon_takes_the_configuration_of_the_kubernetes_example() {
    let example = fs::read_to_string(packaging("kubernetes/daemonset.yaml")).unwrap();
    let (_, rest) = example.split_once("  dhcp.json: |\n").unwrap();
    let json: String = rest.lines().map_while(|line| line.strip_prefix("    ")).collect();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("dhcp.json");
    fs::write(&path, json).unwrap();
    stdout(Command::new(binary().unwrap()).arg("--check-config").arg(&path)).unwrap();
}
