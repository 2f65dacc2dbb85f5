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
    /// What replication between nodes puts on the wire, and how fast it is taken up.
    Sync(SyncArgs),
}

/// How to measure replication.
#[derive(Args, Clone, Debug)]
struct SyncArgs {
    /// Print one JSON object.
    #[arg(long)]
    json: bool,
    /// Leases.
    #[arg(long, default_value_t = 1_000_000, value_parser = clap::value_parser!(u32).range(1_000..=10_000_000))]
    leases: u32,
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
    match &args.which {
        Which::Fastpath(args) => fastpath(workspace, args),
        Which::Sync(args) => sync(workspace, args),
    }
}

fn sync(workspace: &Workspace, args: &SyncArgs) -> Result<()> {
    ebpf::build(workspace)?;
    build(workspace, "bench_sync")?;
    let mut command = Command::new(workspace.target.join("release/bench_sync"));
    command.arg("--leases").arg(args.leases.to_string());
    if args.json {
        command.arg("--json");
    }
    Err(command.exec()).with_context(|| format!("cannot start `{}`", process::line(&command)))
}

fn build(workspace: &Workspace, name: &str) -> Result<()> {
    let mut build = workspace.cargo();
    process::run(build.args(["build", "--locked", "--release", "--package", "dhcp-tests", "--bin", name]))?;
    Ok(())
}

fn fastpath(workspace: &Workspace, args: &FastpathArgs) -> Result<()> {
    ebpf::build(workspace)?;
    ebpf::build_bench(workspace)?;
    build(workspace, "bench_fastpath")?;
    let mut command = as_root(&workspace.target.join("release/bench_fastpath"))?;
    command.arg("--object").arg(workspace.ebpf_bench_object()).arg("--runs").arg(args.runs.to_string());
    if args.json {
        command.arg("--json");
    }
    if args.no_veth {
        command.arg("--no-veth");
    }
    Err(command.exec()).with_context(|| format!("cannot start `{}`", process::line(&command)))
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
