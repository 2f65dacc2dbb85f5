//! The contract behind `cargo xtask check-api`: schemathesis reads the API's description from a running daemon and asks
//! whatever that allows and forbids; no answer may be a failure of the server, or one that the description does not have.

use std::{path::PathBuf, time::Duration};

use anyhow::{Context as _, Result, bail};
use clap::Parser;
use dhcp_tests::{
    client::scripted::Scripted,
    lab::{Cable, Server, set},
    process,
    wait::wait_until,
};
use serde_json::json;

const URL: &str = "https://127.0.0.1:8081";
/// Who has leases.
const CLIENTS: u8 = 8;

/// Holds a running daemon to its API's description. `cargo xtask check-api` starts this with what it needs.
#[derive(Debug, Parser)]
struct Arguments {
    /// The program schemathesis.
    #[arg(long, hide = true)]
    schemathesis: PathBuf,
    /// Requests made up for each endpoint, at most.
    #[arg(long, default_value_t = 50)]
    examples: u32,
    /// The seed of what is made up.
    #[arg(long, default_value_t = 1)]
    seed: u32,
}

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    let server = Server::new()?;
    let cable = Cable::new(&server)?;
    let mut config = server.config();
    set(&mut config, "/dhcp/lease_secs", json!(600));
    set(&mut config, "/dhcp/api", json!({"requests_per_sec": 1_000_000}));
    let daemon = server.start(&config)?;
    for number in 1..=CLIENTS {
        Scripted::new(&cable.socket, number).dora()?;
    }
    let token = daemon.ask(&["token", "create", "contract", "--role", "admin"])?;
    let token = token["token"].as_str().context("no token")?;
    wait_until(Duration::from_secs(20), "the API to listen", || {
        let mut curl = server.ns.command("curl");
        process::stdout(curl.args(["-ks", "--fail", &format!("{URL}/healthz")])).is_ok()
    })?;
    let mut check = server.ns.command(&arguments.schemathesis);
    let settings = concat!(env!("CARGO_MANIFEST_DIR"), "/contract/schemathesis.toml");
    check.args(["--config-file", settings]);
    check.current_dir(server.folder.path());
    check.args(["run", &format!("{URL}/api/v1/openapi.json"), "--tls-verify", "false"]);
    check.args(["--header", &format!("Authorization: Bearer {token}")]);
    check.args(["--max-examples", &arguments.examples.to_string(), "--seed", &arguments.seed.to_string()]);
    check.args(["--continue-on-failure", "--request-timeout", "10"]);
    let status = check.status().context("cannot start schemathesis")?;
    // Whatever was asked, it still serves.
    daemon
        .ask(&["stats"])
        .with_context(|| format!("the daemon does not answer any more:\n{}", daemon.log()))?;
    if !status.success() {
        bail!("the API does not keep its contract; see above");
    }
    Ok(())
}
