//! The status page of a running daemon, looked at with Debian's Chromium (`tests/page/look.py`) in the daemon's namespace: it
//! shows what there is and what happens, a lease is found and released by whoever may, and axe finds nothing serious.

use std::{path::PathBuf, time::Duration};

use anyhow::{Context as _, Result};
use dhcp_tests::{
    client::scripted::Scripted,
    lab::{Cable, Server, Stats, lease, set},
    process::Process,
    wait::wait_for,
};
use serde_json::json;

const SOON: Duration = Duration::from_secs(60);

/// A file below the target directory this test was built in.
fn target(path: &str) -> Result<PathBuf> {
    let own = std::env::current_exe().context("cannot tell where this test's binary is")?;
    Ok(own.ancestors().nth(3).context("this test is in no target directory")?.join(path))
}

#[test]
fn the_page_shows_what_there_is_and_lets_operators_act() {
    let server = Server::new().unwrap();
    let cable = Cable::new(&server).unwrap();
    let mut config = server.config();
    set(&mut config, "/dhcp/lease_secs", json!(600));
    let daemon = server.start(&config).unwrap();
    let first = Scripted::new(&cable.socket, 1).with(12, b"web-1");
    let address = first.dora().unwrap().address;
    Scripted::new(&cable.socket, 2).dora().unwrap();
    let token = |role: &str| -> Result<String> {
        let made = daemon.ask(&["token", "create", role, "--role", role])?;
        Ok(made["token"].as_str().context("no token")?.to_owned())
    };

    let python = target("tools/page/bin/python").unwrap();
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/page/look.py");
    let mut look = server.ns.command(python);
    look.arg(script).arg(target("page").unwrap());
    look.env("TOKEN_VIEWER", token("viewer").unwrap()).env("TOKEN_OPERATOR", token("operator").unwrap());
    look.env("HOME", server.folder.path()).env("TMPDIR", server.folder.path());
    let mut look = Process::start(&mut look, &server.folder.path().join("page.log")).unwrap();

    look.wait_output("come", SOON).unwrap();
    Scripted::new(&cable.socket, 3).dora().unwrap();
    first.ask(&first.renewal(address)).unwrap();
    assert_eq!(Stats::of(&daemon).unwrap().answered(), 1);

    look.wait_output("all is well", SOON).unwrap();
    assert!(look.wait(SOON).unwrap().success(), "{}", look.output());
    let found = wait_for(SOON, "the lease", || lease(&daemon, address).map(Some)).unwrap();
    assert_eq!(found["state"], "free", "released with the page");
}
