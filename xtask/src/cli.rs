//! The command line of `cargo xtask`, and nothing else: what each command does lives in its own module.

use std::process::ExitCode;

use anyhow::Result;
use clap::{Args, Parser, Subcommand};

use crate::{
    bench, check, check_api, cluster, dist, doctor, ebpf, fuzz, load, power_loss, run, sim, suite, torture,
    workspace::Workspace,
};

/// Build, check, test and try simple-dhcpd-datacenter.
///
/// A fresh Debian 12 with rustup's stable Rust is enough: what else is needed (a Rust with its library source for
/// the eBPF target, LLVM, bpf-linker) is brought in by `build`, and `doctor` says what that would be.
#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
pub struct Cli {
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Build the XDP program, then the daemon that carries it.
    Build(BuildArgs),
    /// Say what this machine has and lacks for building and running, and the command that mends it.
    Doctor(doctor::DoctorArgs),
    /// Run it: a lab on this machine without arguments, or on an interface of the host.
    ///
    /// The lab is two network namespaces joined by a veth pair, the daemon in one, a real client in the other with a
    /// lease of 20 seconds; what happens is shown as it happens, and Ctrl-C leaves nothing behind.
    Run(run::RunArgs),
    /// Simulate the server in a hostile world, seed by seed, and check that it keeps every promise.
    ///
    /// No root, no network: everything is virtual and a seed always tells the same story. `--seeds N --first S --steps M
    /// --seconds T --json --planted NAME`; `--planted list` names the deliberate faults it must find.
    Sim(sim::SimArgs),
    /// Let coverage find octets that break a promise: frames, histories of messages, configurations, store files.
    ///
    /// Stable Rust will do, but a C++ compiler is needed (`g++`). What breaks one is put into `tests/fuzz/corpus`.
    Fuzz(fuzz::FuzzArgs),
    /// Cut the power under the lease store at every write and flush of a long life, and again while it recovers.
    PowerLoss(power_loss::PowerLossArgs),
    /// Kill the daemon at random moments under load, start it again, and check that every promise is kept.
    ///
    /// Real kernel, real disk, in namespaces; takes root and some minutes. `--cycles N --leases N --seed S --json`.
    Torture(torture::TortureArgs),
    /// Three sites with two nodes each on this machine, with clients: kill nodes, cut sites off, and see what clients notice.
    ///
    /// In namespaces; takes root. Commands are read from stdin or `--script FILE`; `--for SECS --json`; `--help` says more.
    Cluster(cluster::ClusterArgs),
    /// Check formatting, lints and the tree's own rules (file sizes, nothing put off).
    Check,
    /// Hold a running daemon to the description of its API, with requests made up by schemathesis.
    ///
    /// Takes root and some minutes. `--examples N --seed S`.
    CheckApi(check_api::CheckApiArgs),
    /// Check everything, then run every test; real clients, a relay and a browser are installed where missing (Debian).
    Test(suite::TestArgs),
    /// Load a DHCP server on an interface: renewals, new leases, storms; every reply is checked.
    ///
    /// `--interface NAME --server ADDRESS --clients N`, `--renew`, `--dora`, `--storm`, `--rate R` or `--window W`,
    /// `--relay ADDRESS`, `--vlan N`, `--json`; `--help` says more.
    Load(load::LoadArgs),
    /// Measure; every figure is a median of several runs, and ratios are of one run.
    Bench(bench::BenchArgs),
    /// Build what is handed to others: a Debian package, licences looked at, a bill of materials.
    Dist(dist::DistArgs),
}

/// How to build.
#[derive(Args, Clone, Copy, Debug)]
pub struct BuildArgs {
    /// Optimise the daemon (the XDP program is always optimised).
    #[arg(long)]
    pub release: bool,
    /// Build the XDP program only.
    #[arg(long)]
    pub ebpf_only: bool,
}

/// Runs the chosen task; its exit code is the process's.
///
/// # Errors
///
/// Whatever stopped the task, with the thing, the place and the way out in its text.
pub fn run(cli: &Cli) -> Result<ExitCode> {
    let workspace = Workspace::find()?;
    match &cli.task {
        Task::Build(args) => {
            ebpf::build(&workspace)?;
            if !args.ebpf_only {
                workspace.build_daemon(args.release)?;
            }
        }
        Task::Doctor(args) => return doctor::run(&workspace, args),
        Task::Run(args) => return run::run(&workspace, args),
        Task::Sim(args) => return sim::run(&workspace, args),
        Task::Fuzz(args) => return fuzz::run(&workspace, args),
        Task::PowerLoss(args) => return power_loss::run(&workspace, args),
        Task::Torture(args) => torture::run(&workspace, args)?,
        Task::Cluster(args) => cluster::run(&workspace, args)?,
        Task::Check => check::run(&workspace)?,
        Task::CheckApi(args) => check_api::run(&workspace, args)?,
        Task::Test(args) => suite::run(&workspace, args)?,
        Task::Load(args) => load::run(&workspace, args)?,
        Task::Bench(args) => bench::run(&workspace, args)?,
        Task::Dist(args) => dist::run(&workspace, args)?,
    }
    Ok(ExitCode::SUCCESS)
}
