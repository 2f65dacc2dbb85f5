//! The benchmark behind `cargo xtask bench relay`, which builds and starts it.

use std::time::Duration;

use anyhow::Result;
use clap::Parser;
use dhcp_tests::{
    bench::machine::Machine,
    one_relay::{self, CLIENTS_MAX, Extent, ground::Ground},
};
use serde_json::json;

/// All clients of one relay agent come at once, then renew. `cargo xtask bench relay` starts this.
#[derive(Debug, Parser)]
struct Arguments {
    /// Clients.
    #[arg(long, default_value_t = CLIENTS_MAX, value_parser = clap::value_parser!(u32).range(1..=i64::from(CLIENTS_MAX)))]
    clients: u32,
    /// Shorten the waits of RFC 2131 section 4.1 (4, 8, 16... s) to this part.
    #[arg(long, default_value_t = 1.0)]
    scale: f64,
    /// Give up after so long, seconds.
    #[arg(long, default_value_t = 120)]
    secs: u64,
    /// Print one JSON object.
    #[arg(long)]
    json: bool,
}

fn main() -> Result<()> {
    let Arguments { clients, scale, secs, json } = Arguments::parse();
    let machine = Machine::this()?;
    let ground = Ground::new()?;
    let mut daemon = ground.server.start(&ground.config(json!({})))?;
    let report =
        one_relay::run(&ground, &daemon, Extent { clients, scale, time: Duration::from_secs(secs) })?;
    daemon.stop()?;
    if json {
        println!("{:#}", json!({"one_relay": report.json(), "machine": machine}));
    } else {
        println!("{report}");
    }
    Ok(())
}
