//! Kea's own load generator, to check ours against.

use std::process::Stdio;

use anyhow::{Context as _, Result};

use super::{
    ground::{GATEWAY, Ground, ROUTER, ROUTER_MAC, SERVER},
    report::Perfdhcp,
};
use crate::{
    netns::NetNs,
    veth::{self, colons},
};

/// Gives the router the addresses that perfdhcp, which speaks through UDP sockets, needs.
///
/// # Errors
///
/// When `ip` refuses.
pub fn prepare(ground: &Ground) -> Result<()> {
    ground.clients.ip(&format!("link set c0 address {}", colons(ROUTER_MAC)))?;
    veth::add_address(&ground.clients, "c0", ROUTER, 24)?;
    // perfdhcp plays a relay at the address it sends from; the server is to take it for the clients' gateway.
    veth::add_address(&ground.clients, "c0", GATEWAY, 11)
}

/// New leases at a rate for some seconds, as perfdhcp sees them.
///
/// # Errors
///
/// When it is missing or prints something unknown.
pub fn run(clients: &NetNs, rate: f64, secs: u64) -> Result<Perfdhcp> {
    let mut command = clients.command("/usr/sbin/perfdhcp");
    let rate = rate.max(1.0) as u64;
    command.args(["-4", "-l"]).arg(GATEWAY.to_string()).arg("-r").arg(rate.to_string());
    command.args(["-p", &secs.to_string(), "-R", "1000000", "-W", "500000", "-u"]);
    let output = command
        .arg(SERVER.to_string())
        .stdin(Stdio::null())
        .output()
        .context("cannot start perfdhcp: it is in Debian's kea-admin")?;
    let text = String::from_utf8_lossy(&output.stdout);
    let (mut sent, mut received, mut acked) = (0, 0, 0);
    let mut title = "";
    for line in text.lines() {
        if let Some(name) = line.strip_prefix("***Statistics for: ") {
            title = name;
        }
        if let Some((name, value)) = line.split_once(": ") {
            let value: u64 = value.trim().parse().unwrap_or(0);
            match name {
                "sent packets" => sent += value,
                "received packets" => {
                    received += value;
                    if title.starts_with("REQUEST") {
                        acked = value;
                    }
                }
                _ => {}
            }
        }
    }
    anyhow::ensure!(sent > 0, "perfdhcp counted nothing: {text}{}", String::from_utf8_lossy(&output.stderr));
    Ok(Perfdhcp {
        asked_per_s: rate as f64,
        per_s: f64::from(u32::try_from(acked)?) / secs as f64,
        loss: 1.0 - received as f64 / sent as f64,
    })
}
