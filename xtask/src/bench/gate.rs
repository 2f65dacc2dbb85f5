//! `cargo xtask bench gate`: builds what counts stable costs, and has them compared with the tree's.

use std::path::Path;

use anyhow::Result;
use clap::Args;

use super::as_root;
use crate::{apt, ebpf, process, workspace::Workspace};

/// The counts the tree says things may take.
const BASELINE: &str = "tests/baselines/gate.json";
const VALGRIND: &str = "valgrind";

/// How to compare stable costs.
#[derive(Args, Clone, Copy, Debug, Default)]
pub struct GateArgs {
    /// Print one JSON object.
    #[arg(long)]
    json: bool,
    /// Make what was counted the baseline.
    #[arg(long)]
    update: bool,
    /// Count the daemon's instructions as optimised for release; the default is the build the tests have anyway.
    #[arg(long)]
    release: bool,
}

/// Counts and compares.
///
/// # Errors
///
/// When something has grown by more than the gate lets through, or cannot be counted.
pub fn run(workspace: &Workspace, args: GateArgs) -> Result<()> {
    if apt::is_debian() {
        apt::ensure(&[VALGRIND], "counting instructions")?;
    }
    ebpf::build(workspace)?;
    let mut build = workspace.cargo();
    build.args(["build", "--locked", "--package", "dhcp-tests", "--bin", "bench_gate"]);
    if args.release {
        build.arg("--release");
    }
    process::run(&mut build)?;
    let profile = if args.release { "release" } else { "debug" };
    let mut command = as_root(&workspace.target.join(profile).join("bench_gate"))?;
    command.arg("--object").arg(workspace.ebpf_object());
    command.arg("--baseline").arg(workspace.root.join(Path::new(BASELINE)));
    for (wanted, word) in [(args.json, "--json"), (args.update, "--update")] {
        if wanted {
            command.arg(word);
        }
    }
    if process::which(VALGRIND).is_none() {
        eprintln!("xtask: {VALGRIND} is not installed: the daemon's instructions are not counted");
        command.arg("--no-valgrind");
    }
    process::run(&mut command)
}
