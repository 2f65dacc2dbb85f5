//! The benchmark behind `cargo xtask bench gate`, which builds and starts it.

use std::{
    collections::BTreeMap,
    path::PathBuf,
    process::{Command, ExitCode},
};

use anyhow::{Context as _, Result, bail};
use clap::Parser;
use dhcp_tests::bench::{
    gate::{
        baseline::{self, Baseline, Counts},
        count::{self, Counting, gate_measured},
        executed, programs, steps,
    },
    machine::Machine,
};
use rustix::system::uname;

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Compares stable costs with the tree's baseline. `cargo xtask bench gate` starts this with what it needs.
#[derive(Debug, Parser)]
struct Arguments {
    /// The daemon's object.
    #[arg(long, required_unless_present = "step")]
    object: Option<PathBuf>,
    /// The file of counts to compare with.
    #[arg(long, required_unless_present = "step")]
    baseline: Option<PathBuf>,
    /// Write what was counted into that file.
    #[arg(long)]
    update: bool,
    /// Print one JSON object.
    #[arg(long)]
    json: bool,
    /// Do not count the daemon's instructions, which takes valgrind.
    #[arg(long)]
    no_valgrind: bool,
    /// Only do this step of the daemon's, once, for valgrind to look at.
    #[arg(long)]
    step: Option<String>,
}

fn main() -> Result<ExitCode> {
    let arguments = Arguments::parse();
    if let Some(name) = &arguments.step {
        gate_measured(&mut *steps::step(name)?.work);
        return Ok(ExitCode::SUCCESS);
    }
    let (Some(object), Some(path)) = (&arguments.object, &arguments.baseline) else {
        bail!("--object and --baseline say what to compare with what");
    };
    let mut counts = Counts::new();
    counts.extend(programs::count(object)?);
    counts.extend(executed::count(object)?);
    counts.extend(daemon(!arguments.no_valgrind)?);
    let now = Baseline { made_with: made_with(&counts)?, counts };
    let before = Baseline::read(path)?;
    let lines = now.compare(&before);
    let failed: Vec<&str> = lines.iter().filter(|line| line.fails()).map(|line| line.name.as_str()).collect();
    if arguments.json {
        let value = serde_json::json!({
            "counts": now.counts, "made_with": now.made_with, "lines": lines, "failed": failed,
            "machine": Machine::this()?,
        });
        println!("{value:#}");
    } else {
        print!("{}", baseline::table(&lines));
    }
    if arguments.update {
        now.write(path, &before)?;
        eprintln!("written to {}", path.display());
        return Ok(ExitCode::SUCCESS);
    }
    if failed.is_empty() {
        return Ok(ExitCode::SUCCESS);
    }
    eprintln!(
        "more than {} % over {}, or not in both: {}. If it is worth its cost, `cargo xtask bench gate --update` and say \
         why in the commit",
        baseline::MORE_MAX_PERCENT,
        path.display(),
        failed.join(", ")
    );
    Ok(ExitCode::FAILURE)
}

/// What the daemon's steps take for one client; hundredths of an allocation, so that one in ten clients shows.
fn daemon(with_valgrind: bool) -> Result<Counts> {
    let profile = if cfg!(debug_assertions) { "dev" } else { "release" };
    let this = std::env::current_exe().context("cannot find this program")?;
    let mut counts = Counts::new();
    for name in steps::ALL {
        let mut step = steps::step(name)?;
        let allocations = count::allocations(&mut *step.work) * 100 / u64::from(step.clients);
        counts.insert(format!("allocations_{profile}.{name}_x100"), allocations);
        if with_valgrind {
            let instructions = count::instructions(&this, &["--step", name])?;
            counts.insert(format!("instructions_{profile}.{name}"), instructions / u64::from(step.clients));
        }
    }
    Ok(counts)
}

/// What the counts depend on beside the code.
fn made_with(counts: &Counts) -> Result<BTreeMap<String, String>> {
    let release = uname().release().to_string_lossy().into_owned();
    let kernel = release.split('.').take(2).collect::<Vec<_>>().join(".");
    let output = Command::new(std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into()))
        .arg("--version")
        .output()
        .context("cannot ask rustc for its version")?;
    let rustc =
        String::from_utf8_lossy(&output.stdout).split_whitespace().nth(1).unwrap_or("unknown").to_owned();
    let arch = std::env::consts::ARCH;
    let groups =
        ["instructions_dev", "instructions_release"].map(|group| (group, format!("rustc {rustc}, {arch}")));
    let kernel = ("program", format!("Linux {kernel}, {arch}"));
    let all = groups.into_iter().chain([kernel]);
    let counted = all.filter(|(group, _)| counts.keys().any(|name| name.starts_with(&format!("{group}."))));
    Ok(counted.map(|(group, with)| (group.to_owned(), with)).collect())
}
