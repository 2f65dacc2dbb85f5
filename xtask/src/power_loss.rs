//! `cargo xtask power-loss`: the lease store's power cuts, with more seeds than the test run has time for.

use std::process::ExitCode;

use anyhow::{Result, bail};
use clap::Args;

use crate::{ebpf, process, workspace::Workspace};

/// How long to go on.
#[derive(Args, Clone, Debug)]
pub struct PowerLossArgs {
    /// Outcomes are chosen anew at each cut for each seed.
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..))]
    seeds: u32,
    /// Print one JSON object.
    #[arg(long)]
    json: bool,
}

/// Cuts the power at every moment of a store's life; a promise broken names its seed and moment.
///
/// # Errors
///
/// When something does not build, or an acknowledged lease was lost.
pub fn run(workspace: &Workspace, args: &PowerLossArgs) -> Result<ExitCode> {
    if !workspace.ebpf_object().exists() {
        ebpf::build(workspace)?;
    }
    let mut test = workspace.cargo();
    test.env("POWER_LOSS_SEEDS", args.seeds.to_string());
    test.args(["test", "--locked", "--quiet", "--package", "dhcp-user", "--lib", "--"]);
    test.args(["--exact", "lease::store::tests::power::power_fails_at_every_write_and_flush", "--nocapture"]);
    let said = process::stdout(&mut test)?;
    // The test's own line comes in the middle of what the test runner says.
    let Some(figures) = said.lines().find_map(|line| line.find('{').and_then(|at| line.get(at..))) else {
        bail!("the test said nothing: was it renamed?");
    };
    if args.json {
        println!("{figures}");
    } else {
        let figures: serde_json::Value = serde_json::from_str(figures)?;
        println!(
            "power cut at each of {} moments, {} times in all: no acknowledged lease lost",
            figures["moments"], figures["power_cuts"]
        );
    }
    Ok(ExitCode::SUCCESS)
}
