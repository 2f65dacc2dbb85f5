//! The benchmark behind `cargo xtask bench scale`, which builds and starts it.

use std::{path::PathBuf, process::Command};

use anyhow::{Context as _, Result, ensure};
use clap::{Parser, ValueEnum};
use dhcp_tests::bench::{
    machine::Machine,
    scale::{self, Prepared, Started},
};
use serde::de::DeserializeOwned;

/// Measures what many leases cost. `cargo xtask bench scale` starts this.
#[derive(Debug, Parser)]
struct Arguments {
    /// Leases.
    #[arg(long, default_value_t = 1_000_000, value_parser = clap::value_parser!(u32).range(1_024..=14_000_000))]
    leases: u32,
    /// Print one JSON object.
    #[arg(long)]
    json: bool,
    /// Where the store is made, and removed again; a folder on the disk that counts.
    #[arg(long, default_value = "/var/tmp")]
    work: PathBuf,
    /// Only this part, in that folder: its figures as JSON.
    #[arg(long, requires = "folder")]
    only: Option<Part>,
    /// The folder of the part.
    #[arg(long)]
    folder: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Part {
    Prepare,
    Start,
}

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    let leases = arguments.leases;
    if let (Some(part), Some(folder)) = (arguments.only, &arguments.folder) {
        let figures = match part {
            Part::Prepare => serde_json::to_string(&scale::prepare(folder, leases)?)?,
            Part::Start => serde_json::to_string(&scale::start(folder, leases)?)?,
        };
        println!("{figures}");
        return Ok(());
    }
    let machine = Machine::this()?;
    let folder = tempfile::tempdir_in(&arguments.work)
        .with_context(|| format!("no folder for the store in {}", arguments.work.display()))?;
    let store = folder.path().join("store");
    let prepared: Prepared = part("prepare", &store, leases)?;
    let started: Started = part("start", &store, leases)?;
    let octets_per_lease = started.daemon_octets_per_lease + started.kernel_octets_per_lease;
    if arguments.json {
        let value = serde_json::json!({
            "leases": leases, "granted": prepared, "start": started, "octets_per_lease": octets_per_lease,
            "machine": machine,
        });
        println!("{value:#}");
        return Ok(());
    }
    println!("{}, {} cores, Linux {}, load {:.1}", machine.cpu, machine.cores, machine.kernel, machine.load);
    println!("{leases} leases, each granted by DISCOVER, OFFER, REQUEST, ACK\n");
    let line = |what: &str, figure: f64, unit: &str| println!("{what:<52}{figure:>14.2} {unit}");
    line("granted and durable, one thread, no packets", prepared.granted_per_s, "a second");
    line("store on disk", prepared.store_octets_per_lease, "octets a lease");
    line("memory of the daemon", started.daemon_octets_per_lease, "octets a lease");
    line("memory of the kernel's maps", started.kernel_octets_per_lease, "octets a lease");
    line("both", octets_per_lease, "octets a lease");
    line("reading the store", started.load_s, "s");
    line("making tables of it", started.remember_s, "s");
    line("making maps, loading the program", started.maps_s, "s");
    line("filling the maps", started.filled_per_s, "entries a second");
    line("start until the kernel has answered a renewal", started.first_answer_s, "s");
    line("the first page of a list", started.first_page_us, "us");
    line("listing all", started.listed_per_s, "leases a second");
    line("running out: withdrawn, freed, durable", started.expired_per_s, "leases a second");
    Ok(())
}

/// Runs a part in a process of its own.
fn part<T: DeserializeOwned>(name: &str, folder: &std::path::Path, leases: u32) -> Result<T> {
    let mut command = Command::new(std::env::current_exe().context("cannot find this program")?);
    command.args(["--only", name, "--leases", &leases.to_string()]).arg("--folder").arg(folder);
    let output = command.output().with_context(|| format!("cannot start {command:?}"))?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{name} ended with {}: {said}", output.status);
    serde_json::from_slice(&output.stdout)
        .with_context(|| format!("{name} printed something else than figures"))
}
