//! `cargo xtask torture`: tortures a server and reports what broke; exits with 1 if anything did.

use std::{path::PathBuf, process::ExitCode};

use anyhow::Result;
use clap::Parser;
use dhcp_tests::torture::{self, Plan, Planted, Report};

/// Kill the daemon at random moments under load, start it again, and check from replies alone that every promise is kept.
#[derive(Parser)]
#[command(name = "cargo xtask torture", bin_name = "cargo xtask torture")]
struct Args {
    /// Kills, each followed by a start.
    #[arg(long, default_value_t = 200)]
    cycles: u32,
    /// Clients that renew at a time.
    #[arg(long, default_value_t = 10_000)]
    leases: u32,
    /// Decides what happens when; the machine's timing is not repeated by it.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Lease time, seconds.
    #[arg(long, default_value_t = 120)]
    lease_secs: u32,
    /// Renewals sent in a second.
    #[arg(long, default_value_t = 500)]
    renewals_per_s: u32,
    /// Plant a deliberate fault, to see that it is found.
    #[arg(long)]
    planted: Option<Planted>,
    /// The daemon of another build, an older release say: starts are from this one and from that, upgrades and downgrades.
    #[arg(long, value_name = "PROGRAM")]
    other: Option<PathBuf>,
    /// Print JSON on stdout; progress is on stderr.
    #[arg(long)]
    json: bool,
}

fn main() -> Result<ExitCode> {
    let args = Args::parse();
    let Args { cycles, leases, seed, lease_secs, renewals_per_s, planted, other, json } = args;
    let plan = Plan { cycles, leases, seed, lease_secs, renewals_per_s, planted, progress: true };
    let report = torture::run_between(&plan, other.as_deref())?;
    if json {
        println!("{}", serde_json::to_string_pretty(&report)?);
    } else {
        print(&report)?;
    }
    Ok(if report.violated() { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

fn print(report: &Report) -> Result<()> {
    if let serde_json::Value::Object(fields) = serde_json::to_value(report)? {
        for (name, value) in fields.iter().filter(|(name, _)| *name != "told") {
            println!("{name:28} {value}");
        }
    }
    report.told.iter().for_each(|line| println!("{line}"));
    println!("{}", if report.violated() { "BROKEN" } else { "every promise was kept" });
    Ok(())
}
