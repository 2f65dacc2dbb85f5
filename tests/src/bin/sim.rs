//! `cargo xtask sim`: runs seeds of the simulator and reports what broke; exits with 1 if anything did.

use std::{process::ExitCode, time::Duration};

use clap::Parser;
use dhcp_tests::sim::{
    campaign::{Campaign, Report},
    planted::Planted,
};

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
    /// Events of a seed at most.
    #[arg(long, default_value_t = 1_000_000)]
    steps: u64,
    /// Begin no seed after so many seconds.
    #[arg(long)]
    seconds: Option<u64>,
    /// Print JSON.
    #[arg(long)]
    json: bool,
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
    if let Some(sites) = args.sites {
        return several(&args, sites);
    }
    let names = || Planted::ALL.map(|(name, _)| name).join(", ");
    let planted = match args.planted.as_deref() {
        None => None,
        Some("list") => {
            println!("{}", names());
            return ExitCode::SUCCESS;
        }
        Some(name) => match Planted::from_name(name) {
            Some(planted) => Some(planted),
            None => {
                eprintln!("error: there is no planted fault {name:?}; there are {}", names());
                return ExitCode::from(2);
            }
        },
    };
    let campaign = Campaign {
        first: args.first,
        seeds: args.seeds,
        steps_max: args.steps,
        planted,
        time_max: args.seconds.map(Duration::from_secs),
        stop_at_first: planted.is_some(),
    };
    let report = campaign.run();
    if args.json {
        match serde_json::to_string_pretty(&report) {
            Ok(json) => println!("{json}"),
            Err(error) => eprintln!("error: the report cannot be written as JSON: {error}"),
        }
    } else {
        print(&report);
    }
    if report.violated_seeds == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Several nodes.
fn several(args: &Args, sites: usize) -> ExitCode {
    use dhcp_tests::sim::sites::{campaign::Campaign, planted::Planted};

    if sites == 0 || args.nodes == 0 || sites.saturating_mul(args.nodes) > NODES_MAX {
        eprintln!("error: {sites} sites of {} nodes: there are 1 to {NODES_MAX} nodes", args.nodes);
        return ExitCode::from(2);
    }
    let names = || Planted::ALL.map(|(name, _)| name).join(", ");
    let planted = match args.planted.as_deref() {
        None => None,
        Some("list") => {
            println!("{}", names());
            return ExitCode::SUCCESS;
        }
        Some(name) => match Planted::from_name(name) {
            Some(planted) => Some(planted),
            None => {
                eprintln!(
                    "error: there is no planted fault {name:?} of several nodes; there are {}",
                    names()
                );
                return ExitCode::from(2);
            }
        },
    };
    let campaign = Campaign {
        first: args.first,
        seeds: args.seeds,
        sites,
        nodes: args.nodes,
        planted,
        time_max: args.seconds.map(Duration::from_secs),
        stop_at_first: planted.is_some(),
    };
    let report = campaign.run();
    if args.json {
        match serde_json::to_string_pretty(&report) {
            Ok(json) => println!("{json}"),
            Err(error) => eprintln!("error: the report cannot be written as JSON: {error}"),
        }
    } else {
        println!(
            "{} seeds of {sites} sites with {} nodes each, {} events, {} renewals by kernels ({} of clients new \
             to the node), {} ACKs by daemons, {} crashes, {} blocks taken over and {} handed on, {} updates, in {:.1} s ({:.1} seeds/s): {} seeds broke an \
             invariant",
            report.seeds,
            args.nodes,
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
            found.history.iter().for_each(|line| println!("{line}"));
        }
    }
    if report.violated_seeds == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
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
