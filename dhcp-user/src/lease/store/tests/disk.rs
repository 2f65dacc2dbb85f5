//! Disks that are full, fail or may not be written, and directories already in use.

use std::{
    fs,
    io::{BufRead, BufReader},
    os::unix::fs::PermissionsExt,
    process::{Command, Stdio},
};

use super::*;
use crate::lease::store::LeaseStore;

/// Set for the child process that runs inside a small file system of its own.
const FULL_DIR: &str = "DHCP_TEST_FULL_DIR";

/// Set for the child process that is killed while it writes.
const KILLED_DIR: &str = "DHCP_TEST_KILLED_DIR";

#[test]
fn two_cannot_have_one_store() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("store");
    let (mut store, ..) = open(&path).unwrap();
    let error = open(&path).map(|_| ()).unwrap_err().to_string();
    assert!(error.contains(&format!("is open in process {}", std::process::id())), "{error}");
    store.commit(&batch(1, 1)).unwrap();
    drop(store);
    open(&path).unwrap();
}

#[test]
fn files_are_closed_to_others() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("store");
    let (mut store, ..) = open(&path).unwrap();
    store.commit(&batch(1, 1)).unwrap();
    let mut seen = 0;
    for entry in fs::read_dir(&path).unwrap() {
        let mode = entry.unwrap().metadata().unwrap().permissions().mode();
        assert_eq!(mode & 0o007, 0);
        seen += 1;
    }
    assert_eq!(seen, 3, "lock, mark and a segment");
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o027, 0);
}

#[test]
fn a_path_that_cannot_be_a_store_is_named() {
    let error = open(Path::new("/proc/no/store")).map(|_| ()).unwrap_err();
    assert!(matches!(error, StoreError::Io { action: "make the directory", .. }), "{error}");
    // A directory even root cannot write to.
    let error = open(Path::new("/proc/self/fdinfo")).map(|_| ()).unwrap_err();
    assert!(error.to_string().contains("cannot open /proc/self/fdinfo/lock"), "{error}");
}

/// Runs the body of this very test in a mount namespace with a tmpfs of 1 MiB.
#[test]
fn a_full_disk_refuses_and_recovers() {
    if let Some(dir) = std::env::var_os(FULL_DIR) {
        return on_a_full_disk(Path::new(&dir));
    }
    let dir = tempfile::tempdir().unwrap();
    let name = "lease::store::tests::disk::a_full_disk_refuses_and_recovers";
    let script = r#"mount -t tmpfs -o size=1m tmpfs "$1" && exec "$2" --exact "$3" --nocapture"#;
    let done = Command::new("unshare")
        .args(if rustix::process::getuid().is_root() {
            &["--mount"][..]
        } else {
            &["--map-root-user", "--mount"]
        })
        .args(["sh", "-c", script, "sh"])
        .arg(dir.path())
        .arg(std::env::current_exe().unwrap())
        .arg(name)
        .env(FULL_DIR, dir.path())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&done.stdout).into_owned() + &String::from_utf8_lossy(&done.stderr);
    assert!(done.status.success() && said.contains("1 passed"), "{said}");
}

fn on_a_full_disk(dir: &Path) {
    let path = dir.join("store");
    let mut model = Contents::default();
    let (mut store, ..) = open(&path).unwrap();
    fs::write(dir.join("ballast"), vec![1; 600 << 10]).unwrap();
    let mut write = 0;
    let mut commit = |store: &mut LogStore| {
        write += 1;
        // Ever new addresses: nothing can be cleaned away.
        let leases = (0..50).map(|i| lease(write * 50 + i, u64::from(write))).collect();
        let batch = Batch { leases, ..Batch::default() };
        store.commit(&batch).map(|()| model.apply(&batch))
    };
    let full = (0..1_000).find_map(|_| commit(&mut store).err()).expect("1 MiB is not endless");
    assert!(matches!(&full, StoreError::Full { .. }), "{full}");
    assert!(full.to_string().contains("free some space"), "{full}");
    let again = commit(&mut store).unwrap_err();
    assert!(matches!(again, StoreError::Full { .. }), "{again}");
    fs::remove_file(dir.join("ballast")).unwrap();
    commit(&mut store).expect("space was freed");
    crash(store);
    let (_, contents, _) = open(&path).unwrap();
    assert_eq!(contents, model);
}

/// Runs the body of this very test in a child and kills it at some moment, several times over one store.
#[test]
fn a_killed_process_loses_nothing_it_acknowledged() {
    if let Some(dir) = std::env::var_os(KILLED_DIR) {
        return acknowledge_until_killed(Path::new(&dir));
    }
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("store");
    for round in 1..=5_u64 {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "lease::store::tests::disk::a_killed_process_loses_nothing_it_acknowledged"])
            .arg("--nocapture")
            .env(KILLED_DIR, &path)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let acknowledged = |line: String| line.split_once("acknowledged ")?.1.parse::<u64>().ok();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map_while(Result::ok);
        let mut last = lines.by_ref().filter_map(acknowledged).find(|write| *write >= round * 97).unwrap();
        child.kill().unwrap();
        // What it still got out before it died counts as well.
        last = lines.filter_map(acknowledged).last().unwrap_or(last);
        assert!(!child.wait().unwrap().success(), "killed, not done");
        let (store, contents, recovered) = open(&path).unwrap();
        let sequence = recovered.report.sequence;
        assert!((last..=last + 1).contains(&sequence), "{last} acknowledged, {sequence} found");
        let mut model = Contents::default();
        (1..=sequence).for_each(|write| model.apply(&batch(write, 30)));
        assert_eq!(contents, model);
        crash(store);
    }
}

fn acknowledge_until_killed(path: &Path) {
    let (mut store, ..) = open(path).unwrap();
    // Far beyond what is waited for, so that a parent that dies leaves no child for long.
    for write in store.sequence() + 1..20_000 {
        store.commit(&batch(write, 30)).unwrap();
        println!("acknowledged {write}");
    }
}
