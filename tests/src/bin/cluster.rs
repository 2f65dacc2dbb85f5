//! `cargo xtask cluster`: three sites with two nodes each on this machine, clients at all of them, and commands to take them
//! apart. Exits with 1 if a promise was broken.

use std::{path::PathBuf, process::ExitCode};

use anyhow::Result;
use clap::Parser;
use dhcp_tests::cluster::{
    drill::{self, Drill},
    lab::{self, Plan},
    traffic::Load,
};

/// Three sites with two nodes each: kill nodes, cut sites off, and see what clients notice.
#[derive(Parser)]
#[command(name = "cargo xtask cluster", bin_name = "cargo xtask cluster")]
struct Args {
    /// Print one JSON object per change on stdout, and the last with what clients saw.
    #[arg(long)]
    json: bool,
    /// Carry out the commands of this file, one a line (`wait SECS` between them), instead of those of stdin.
    #[arg(long, value_name = "FILE")]
    script: Option<PathBuf>,
    /// End by itself after so many seconds.
    #[arg(long = "for", value_name = "SECS")]
    secs: Option<u64>,
    /// Run a drill in place of the lab, and print its figures; fails if something that must hold does not.
    #[arg(long, value_name = "NAME", conflicts_with_all = ["script", "secs"])]
    drill: Option<Drill>,
    /// Clients of each site.
    #[arg(long, default_value_t = 40, value_parser = clap::value_parser!(u32).range(1..=600))]
    clients: u32,
    /// Renewals in a second, of all sites together.
    #[arg(long, default_value_t = 100)]
    renewals_per_s: u32,
    /// Lease time, seconds.
    #[arg(long, default_value_t = 30, value_parser = clap::value_parser!(u32).range(5..))]
    lease_secs: u32,
    /// The maximum client lead time, seconds.
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u32).range(2..))]
    mclt_secs: u32,
}

fn main() -> Result<ExitCode> {
    let Args { json, script, secs, drill, clients, renewals_per_s, lease_secs, mclt_secs } = Args::parse();
    let load = Load { clients_per_site: clients, renewals_per_s, arrivals_per_s: 100, ..Load::default() };
    if let Some(drill) = drill {
        let load = Load { clients_per_site: clients.min(60), renewals_per_s, ..Load::default() };
        let figures = drill::run(drill, &load)?;
        if json {
            println!("{}", serde_json::to_string(&figures)?);
        } else {
            figures.figures.iter().for_each(|(name, value)| println!("{name:36} {value}"));
            println!("{}", lab::status::told(&figures.clients));
        }
        return Ok(ExitCode::SUCCESS);
    }
    let report = lab::run(&Plan { load, json, script, secs, lease_secs, mclt_secs })?;
    if json {
        println!("{}", serde_json::to_string(&report)?);
    }
    Ok(if report.violated() { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}
