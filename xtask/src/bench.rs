//! `cargo xtask bench`: builds what a benchmark needs, optimised, and becomes it. The measuring itself is in
//! `tests/src/bench`.

use std::{os::unix::process::CommandExt as _, process::Command};

use anyhow::{Context as _, Result, bail};
use clap::{Args, Subcommand};

use crate::{apt, ebpf, process, workspace::Workspace};

/// Which benchmark.
#[derive(Args, Clone, Debug)]
pub struct BenchArgs {
    #[command(subcommand)]
    which: Which,
}

#[derive(Clone, Debug, Subcommand)]
enum Which {
    /// What one frame costs in the kernel program, and renewals per second over veth.
    Fastpath(FastpathArgs),
    /// Renewals and new clients under a flood of DISCOVERs at ten times what the daemon can do.
    Overload(OverloadArgs),
}

/// How to measure overload.
#[derive(Args, Clone, Debug)]
struct OverloadArgs {
    /// Print one JSON object.
    #[arg(long)]
    json: bool,
    /// How long each flood lasts, seconds.
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u32).range(4..=600))]
    secs: u32,
    /// Renewals a second, with and without the flood.
    #[arg(long, default_value_t = 20_000, value_parser = clap::value_parser!(u32).range(1_000..=500_000))]
    renewals: u32,
}

/// How to measure the fast path.
#[derive(Args, Clone, Debug)]
struct FastpathArgs {
    /// Print one JSON object.
    #[arg(long)]
    json: bool,
    /// Runs of each measurement, of which the median is printed.
    #[arg(long, default_value_t = 9, value_parser = clap::value_parser!(u32).range(5..=1001))]
    runs: u32,
    /// Only the costs per frame, no traffic over veth.
    #[arg(long)]
    no_veth: bool,
}

/// Builds and runs a benchmark; comes back only if it cannot be started.
///
/// # Errors
///
/// When something does not build or the benchmark cannot be started.
pub fn run(workspace: &Workspace, args: &BenchArgs) -> Result<()> {
    ebpf::build(workspace)?;
    ebpf::build_bench(workspace)?;
    let mut command = match &args.which {
        Which::Fastpath(args) => {
            let mut command = build(workspace, "bench_fastpath")?;
            command.arg("--runs").arg(args.runs.to_string());
            command.args(args.json.then_some("--json")).args(args.no_veth.then_some("--no-veth"));
            command
        }
        Which::Overload(args) => {
            workspace.build_daemon(true)?;
            let mut command = build(workspace, "bench_overload")?;
            command.arg("--secs").arg(args.secs.to_string()).arg("--renewals").arg(args.renewals.to_string());
            command.args(args.json.then_some("--json"));
            command
        }
    };
    Err(command.exec()).with_context(|| format!("cannot start `{}`", process::line(&command)))
}

/// Builds the benchmark `name`, optimised; the command that runs it.
fn build(workspace: &Workspace, name: &str) -> Result<Command> {
    let mut build = workspace.cargo();
    process::run(build.args(["build", "--locked", "--release", "--package", "dhcp-tests", "--bin", name]))?;
    let mut command = as_root(&workspace.target.join("release").join(name))?;
    command.arg("--object").arg(workspace.ebpf_bench_object());
    Ok(command)
}

/// Loading programs and making namespaces takes root; nothing is built as root.
fn as_root(program: &std::path::Path) -> Result<Command> {
    if apt::is_root() {
        return Ok(Command::new(program));
    }
    let Some(sudo) = process::which("sudo") else {
        bail!("the benchmark loads XDP programs and makes network namespaces: run as root, or install sudo");
    };
    let mut command = Command::new(sudo);
    command.arg("-E").arg(program);
    Ok(command)
}
