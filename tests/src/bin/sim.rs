//! `cargo xtask sim`: runs seeds of the simulator and reports what broke; exits with 1 if anything did.

use std::{process::ExitCode, time::Duration};

use clap::Parser;
use dhcp_tests::sim::{
    campaign::{Campaign, Report},
    planted::Planted,
    seeds::Seeds,
    sites::campaign::Report as SitesReport,
};
use serde::Serialize;

/// The most nodes simulated together.
const NODES_MAX: usize = 12;

/// Simulate the server in a hostile world, seed by seed, and check that it keeps every promise.
#[derive(Parser)]
#[command(name = "cargo xtask sim", bin_name = "cargo xtask sim")]
struct Args {
    /// How many seeds.
    #[arg(long, default_value_t = 1_000)]
    seeds: u64,
    /// The first seed.
    #[arg(long, default_value_t = 0)]
    first: u64,
    /// Events of a seed at most (of a single node: with several a seed ends by itself).
    #[arg(long, default_value_t = 1_000_000, conflicts_with = "sites")]
    steps: u64,
    /// Begin no seed after so many seconds.
    #[arg(long)]
    seconds: Option<u64>,
    /// Print JSON.
    #[arg(long)]
    json: bool,
    /// So many clients in every seed, in place of some tens (of a single node).
    #[arg(long, conflicts_with = "sites", value_parser = clap::value_parser!(u16).range(12..=20_000))]
    clients: Option<u16>,
    /// So many sites instead of a single node.
    #[arg(long)]
    sites: Option<usize>,
    /// So many nodes in each site.
    #[arg(long, default_value_t = 2)]
    nodes: usize,
    /// Turn on a deliberate fault, to see that it is found: `list` names them.
    #[arg(long)]
    planted: Option<String>,
}

fn main() -> ExitCode {
    let args = Args::parse();
    let done = match args.sites {
        None => single(&args),
        Some(sites) => several(&args, sites),
    };
    done.unwrap_or_else(|ended| ended)
}

impl Args {
    /// The fault that is asked for, among those there are; `Err` if that is the end of it.
    fn planted<P: Copy>(&self, all: &[(&str, P)], of: &str) -> Result<Option<P>, ExitCode> {
        let Some(name) = self.planted.as_deref() else { return Ok(None) };
        let names = || all.iter().map(|(name, _)| *name).collect::<Vec<_>>().join(", ");
        if name == "list" {
            println!("{}", names());
            return Err(ExitCode::SUCCESS);
        }
        match all.iter().find(|(known, _)| *known == name) {
            Some((_, planted)) => Ok(Some(*planted)),
            None => {
                eprintln!("error: there is no planted fault {name:?}{of}; there are {}", names());
                Err(ExitCode::from(2))
            }
        }
    }

    fn seeds(&self) -> Seeds {
        Seeds {
            first: self.first,
            count: self.seeds,
            time_max: self.seconds.map(Duration::from_secs),
            stop_at_first: self.planted.is_some(),
        }
    }

    /// Shows what came of it.
    fn show<R: Serialize>(&self, report: &R, violated_seeds: u64, print: impl FnOnce(&R)) -> ExitCode {
        if self.json {
            match serde_json::to_string_pretty(report) {
                Ok(json) => println!("{json}"),
                Err(error) => eprintln!("error: the report cannot be written as JSON: {error}"),
            }
        } else {
            print(report);
        }
        if violated_seeds == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
    }
}

/// A single node.
fn single(args: &Args) -> Result<ExitCode, ExitCode> {
    let planted = args.planted(&Planted::ALL, "")?;
    let steps_max = if args.clients.is_some() { u64::MAX } else { args.steps };
    let report = Campaign { seeds: args.seeds(), steps_max, planted, clients: args.clients }.run();
    Ok(args.show(&report, report.violated_seeds, print))
}

/// Several nodes.
fn several(args: &Args, sites: usize) -> Result<ExitCode, ExitCode> {
    use dhcp_tests::sim::sites::{campaign::Campaign, planted::Planted};

    let nodes = args.nodes;
    if sites == 0 || nodes == 0 || sites.saturating_mul(nodes) > NODES_MAX {
        eprintln!("error: {sites} sites of {nodes} nodes: there are 1 to {NODES_MAX} nodes");
        return Err(ExitCode::from(2));
    }
    let planted = args.planted(&Planted::ALL, " of several nodes")?;
    let report = Campaign { seeds: args.seeds(), sites, nodes, planted }.run();
    Ok(args.show(&report, report.violated_seeds, |report| print_several(report, sites, nodes)))
}

fn print_several(report: &SitesReport, sites: usize, nodes: usize) {
    println!(
        "{} seeds of {sites} sites with {nodes} nodes each, {} events, {} renewals by kernels ({} of clients new \
         to the node), {} ACKs by daemons, {} crashes, {} blocks taken over and {} handed on, {} updates, in {:.1} s ({:.1} seeds/s): {} seeds broke an \
         invariant",
        report.seeds,
        report.steps,
        report.renewals_by_kernel,
        report.warm_renewals,
        report.acks_by_daemon,
        report.crashes,
        report.takeovers,
        report.handed_on,
        report.updates,
        report.seconds,
        report.seeds_per_s,
        report.violated_seeds,
    );
    for found in &report.violations {
        println!("\nseed {}: {}: {}", found.seed, found.invariant, found.what);
        found.faults.iter().for_each(|fault| println!("  {fault}"));
        found.history.iter().for_each(|line| println!("{line}"));
    }
}

fn print(report: &Report) {
    println!(
        "{} seeds, {} events, {} renewals by the kernel and {} by the daemon, {} crashes, in {:.1} s: {} seeds broke an \
         invariant",
        report.seeds,
        report.steps,
        report.renewals_by_kernel,
        report.renewals_by_daemon,
        report.crashes,
        report.seconds,
        report.violated_seeds,
    );
    for found in &report.violations {
        println!("\nseed {}: {}: {}", found.seed, found.invariant, found.what);
        println!("shortest history found: {} clients, {} events", found.clients, found.steps);
        found.faults.iter().for_each(|fault| println!("  {fault}"));
        found.history.iter().for_each(|line| println!("{line}"));
    }
}
