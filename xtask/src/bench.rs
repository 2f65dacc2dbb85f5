//! `cargo xtask bench`: builds what a benchmark needs, optimised, and becomes it. The measuring itself is in
//! `tests/src/bench`.

pub mod gate;

use std::{ffi::OsString, os::unix::process::CommandExt as _, process::Command};

use anyhow::{Context as _, Result, bail};
use clap::{Args, Subcommand};

use crate::{apt, ebpf, peers, process, workspace::Workspace};

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
    /// Renewals and new leases per second, latency and cost, of this and other DHCP servers (Debian's) side by side.
    ///
    /// `--json`, `--runs N`, `--servers ours,kea,kea_mt,dhcpd,dnsmasq`, `--clients N`, `--secs S`; `--help` says more.
    Peers(Passed),
    /// A datacenter comes back after a power cut: how long until every client has its address.
    ///
    /// `--json`, `--clients N`, `--servers ours,kea`; `--help` says more.
    Storm(Passed),
    /// 65,536 clients behind one relay agent come at once, then renew, straight and relayed.
    ///
    /// `--json`, `--clients N`, `--scale S`, `--secs S`; `--help` says more.
    Relay(Passed),
    /// Whether 10,000 look-ups of leases a second through the API slow the renewals in the kernel.
    ///
    /// `--json`, `--lookups N`, `--connections N`, `--clients N`, `--secs S`, `--runs N`; `--help` says more.
    Api(Passed),
    /// What replication between nodes puts on the wire, and how fast it is taken up.
    Sync(SyncArgs),
    /// Costs that are the same in every run (instructions, allocations) compared with the tree's baseline; fails where one
    /// has grown by more than a tenth.
    Gate(gate::GateArgs),
    /// What many leases cost: memory, disk, and the time to start, fill the kernel's maps, list and expire.
    ///
    /// `--leases N` (1,000,000), `--json`, `--work FOLDER` for the store; `--help` says more.
    Scale(Passed),
    /// Pictures (SVG) of what `peers`, `fastpath`, `gate` and `scale` print with `--json`.
    ///
    /// `FILE... --svg FOLDER` (target/charts).
    Charts(Passed),
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
    /// How much of one processor the daemon may have, percent, so that the generator's one can make ten times what it can
    /// do; 100 for all there are.
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u32).range(5..=100))]
    daemon_percent: u32,
}

/// Words for the benchmark itself.
#[derive(Args, Clone, Debug)]
#[command(disable_help_flag = true)]
struct Passed {
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    args: Vec<OsString>,
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
    /// Renewals at random of so many leases each, as 1000,10000000; the largest takes 64 octets a lease and a minute.
    #[arg(long)]
    leases: Option<String>,
    /// Only the costs per frame, no traffic over veth.
    #[arg(long)]
    no_veth: bool,
}

/// Builds and runs a benchmark; all but the gate come back only if they cannot be started.
///
/// # Errors
///
/// When something does not build or the benchmark cannot be started.
pub fn run(workspace: &Workspace, args: &BenchArgs) -> Result<()> {
    match &args.which {
        Which::Fastpath(args) => fastpath(workspace, args),
        Which::Overload(args) => overload(workspace, args),
        Which::Peers(passed) => beside_others(workspace, "bench_peers", &passed.args),
        Which::Storm(passed) => beside_others(workspace, "bench_storm", &passed.args),
        Which::Relay(passed) => beside_the_daemon(workspace, "bench_relay", &passed.args),
        Which::Api(passed) => api(workspace, &passed.args),
        Which::Sync(args) => sync(workspace, args),
        Which::Gate(args) => gate::run(workspace, *args),
        Which::Scale(passed) => scale(workspace, &passed.args),
        Which::Charts(passed) => charts(workspace, &passed.args),
    }
}

fn sync(workspace: &Workspace, args: &SyncArgs) -> Result<()> {
    ebpf::build(workspace)?;
    workspace.build_daemon(true)?;
    build_bin(workspace, "bench_sync")?;
    let mut command = as_root(&workspace.target.join("release/bench_sync"))?;
    command.arg("--leases").arg(args.leases.to_string());
    if args.json {
        command.arg("--json");
    }
    Err(command.exec()).with_context(|| format!("cannot start `{}`", process::line(&command)))
}

fn charts(workspace: &Workspace, args: &[OsString]) -> Result<()> {
    // The daemon is part of the harness, and its object part of the daemon.
    ebpf::build(workspace)?;
    let mut build = workspace.cargo();
    process::run(build.args(["build", "--locked", "--package", "dhcp-tests", "--bin", "bench_charts"]))?;
    let mut command = Command::new(workspace.target.join("debug/bench_charts"));
    Err(command.args(args).exec()).with_context(|| format!("cannot start `{}`", process::line(&command)))
}

fn scale(workspace: &Workspace, args: &[OsString]) -> Result<()> {
    ebpf::build(workspace)?;
    build_bin(workspace, "bench_scale")?;
    let mut command = as_root(&workspace.target.join("release/bench_scale"))?;
    Err(command.args(args).exec()).with_context(|| format!("cannot start `{}`", process::line(&command)))
}

/// A benchmark that runs our daemon and takes nothing else.
fn beside_the_daemon(workspace: &Workspace, name: &str, args: &[OsString]) -> Result<()> {
    ebpf::build(workspace)?;
    workspace.build_daemon(true)?;
    build_bin(workspace, name)?;
    let mut command = as_root(&workspace.target.join("release").join(name))?;
    Err(command.args(args).exec()).with_context(|| format!("cannot start `{}`", process::line(&command)))
}

fn api(workspace: &Workspace, args: &[OsString]) -> Result<()> {
    ebpf::build(workspace)?;
    ebpf::build_load(workspace)?;
    workspace.build_daemon(true)?;
    build_bin(workspace, "bench_api")?;
    let mut command = as_root(&workspace.target.join("release/bench_api"))?;
    command.arg("--object").arg(workspace.ebpf_load_object()).args(args);
    Err(command.exec()).with_context(|| format!("cannot start `{}`", process::line(&command)))
}

/// A benchmark that runs our daemon and others'.
fn beside_others(workspace: &Workspace, name: &str, args: &[OsString]) -> Result<()> {
    ebpf::build(workspace)?;
    ebpf::build_load(workspace)?;
    workspace.build_daemon(true)?;
    build_bin(workspace, name)?;
    let mut command = as_root(&workspace.target.join("release").join(name))?;
    if !args.iter().any(|word| word == "--help") {
        command.arg("--packages").arg(peers::unpack(workspace)?);
    }
    command.arg("--object").arg(workspace.ebpf_load_object());
    command.arg("--work").arg(workspace.target.join("peers/run")).args(args);
    Err(command.exec()).with_context(|| format!("cannot start `{}`", process::line(&command)))
}

pub fn build_bin(workspace: &Workspace, name: &str) -> Result<()> {
    let mut build = workspace.cargo();
    process::run(build.args(["build", "--locked", "--release", "--package", "dhcp-tests", "--bin", name]))
}

fn fastpath(workspace: &Workspace, args: &FastpathArgs) -> Result<()> {
    ebpf::build(workspace)?;
    ebpf::build_bench(workspace)?;
    build_bin(workspace, "bench_fastpath")?;
    let mut command = as_root(&workspace.target.join("release/bench_fastpath"))?;
    command.arg("--object").arg(workspace.ebpf_bench_object()).arg("--runs").arg(args.runs.to_string());
    if args.json {
        command.arg("--json");
    }
    if args.no_veth {
        command.arg("--no-veth");
    }
    if let Some(leases) = &args.leases {
        command.arg("--leases").arg(leases);
    }
    Err(command.exec()).with_context(|| format!("cannot start `{}`", process::line(&command)))
}

fn overload(workspace: &Workspace, args: &OverloadArgs) -> Result<()> {
    ebpf::build(workspace)?;
    ebpf::build_bench(workspace)?;
    workspace.build_daemon(true)?;
    build_bin(workspace, "bench_overload")?;
    let mut command = as_root(&workspace.target.join("release/bench_overload"))?;
    command.arg("--object").arg(workspace.ebpf_bench_object());
    command.arg("--secs").arg(args.secs.to_string()).arg("--renewals").arg(args.renewals.to_string());
    command.arg("--daemon-percent").arg(args.daemon_percent.to_string());
    if args.json {
        command.arg("--json");
    }
    Err(command.exec()).with_context(|| format!("cannot start `{}`", process::line(&command)))
}

/// Loading programs and making namespaces takes root; nothing is built as root.
pub fn as_root(program: &std::path::Path) -> Result<Command> {
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
