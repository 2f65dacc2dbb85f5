//! `cargo xtask fuzz`: builds the targets of `tests/fuzz` with coverage, on stable Rust, and lets libFuzzer drive them.
//!
//! What a run finds is kept below `target/fuzz-corpus/`; an input that makes a target fail is put into the tree, where
//! the test run replays it from then on.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, ExitCode},
};

use anyhow::{Context as _, Result, bail};
use clap::Args;
use serde::Serialize;

use crate::{apt, ebpf, process, workspace::Workspace};

/// The targets, as `tests/fuzz/src/lib.rs` has them.
const TARGETS: [&str; 6] = ["frame", "engine", "config", "store", "api", "sync"];

/// What `cargo fuzz` gives rustc, but for a sanitizer, which takes a nightly one: counters at edges, and comparisons.
const COVERAGE: &str = "-Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
    -Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table \
    -Cllvm-args=-sanitizer-coverage-trace-compares -Clink-dead-code -Ccodegen-units=16";

/// The longest input, in octets; `INPUT_BYTES_MAX` of the targets.
const INPUT_BYTES_MAX: u32 = 4096;
/// The longest one input may take.
const INPUT_SECS_MAX: u32 = 20;
/// The most memory a target may use.
const MEMORY_MIB_MAX: u32 = 1024;

/// What to fuzz.
#[derive(Args, Clone, Debug)]
pub struct FuzzArgs {
    /// Seconds for each target.
    #[arg(long, default_value_t = 60, value_parser = clap::value_parser!(u32).range(1..))]
    seconds: u32,
    /// Print one JSON object for each target.
    #[arg(long)]
    json: bool,
    /// Which target; all of them, one after the other, if none is named.
    #[arg(value_parser = TARGETS)]
    target: Option<String>,
}

/// What became of one target.
#[derive(Debug, Default, PartialEq, Eq, Serialize)]
struct Found {
    target: String,
    seconds: u32,
    /// Inputs tried.
    executions: u64,
    /// Edges of the program reached.
    coverage: u64,
    /// Edges by how often, as libFuzzer counts features.
    features: u64,
    /// Inputs kept because each reached something new.
    corpus: u64,
    /// Inputs that made it fail, now in the tree.
    crashes: Vec<PathBuf>,
}

/// Builds and runs; fails the process if a target failed.
///
/// # Errors
///
/// When it cannot be built or started.
pub fn run(workspace: &Workspace, args: &FuzzArgs) -> Result<ExitCode> {
    if process::which("c++").is_none() {
        if !apt::is_debian() {
            bail!("libFuzzer takes a C++ compiler to build: install one that is called c++, such as g++");
        }
        apt::ensure(&["g++"], "fuzzing")?;
    }
    if !workspace.ebpf_object().exists() {
        ebpf::build(workspace)?;
    }
    let triple = format!("{}-unknown-linux-gnu", std::env::consts::ARCH);
    let mut build = workspace.cargo();
    // For the target only, not for build scripts and macros: hence its name, which also gives it a folder of its own.
    build.env("RUSTFLAGS", COVERAGE).args([
        "build",
        "--locked",
        "--profile",
        "fuzz",
        "--package",
        "dhcp-fuzz",
    ]);
    process::run(build.args(["--features", "libfuzzer", "--bin", "libfuzzer", "--target", &triple]))?;
    let mut seeds = workspace.cargo();
    process::run(seeds.args([
        "build",
        "--locked",
        "--quiet",
        "--package",
        "dhcp-fuzz",
        "--bin",
        "write_seeds",
    ]))?;
    let binary = workspace.target.join(triple).join("fuzz/libfuzzer");
    let mut failed = false;
    for target in TARGETS.iter().filter(|name| args.target.as_ref().is_none_or(|wanted| wanted == *name)) {
        let found = one(workspace, &binary, target, args.seconds)?;
        failed |= !found.crashes.is_empty();
        if args.json {
            println!("{}", serde_json::to_string(&found)?);
        } else {
            println!(
                "{target}: {} inputs tried in {} s, {} edges and {} features reached, {} inputs kept, {} crashes",
                found.executions,
                found.seconds,
                found.coverage,
                found.features,
                found.corpus,
                found.crashes.len()
            );
        }
        for crash in &found.crashes {
            eprintln!("{target}: failed on {}; `cargo test -p dhcp-fuzz` says how", crash.display());
        }
    }
    Ok(if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

fn one(workspace: &Workspace, binary: &Path, target: &str, seconds: u32) -> Result<Found> {
    let work = workspace.target.join("fuzz-corpus").join(target);
    let (corpus, artifacts) = (work.join("corpus"), work.join("artifacts"));
    for folder in [&corpus, &artifacts] {
        fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
    }
    process::run(Command::new(workspace.target.join("debug/write_seeds")).arg(target).arg(&corpus))?;
    let in_tree = workspace.root.join("tests/fuzz/corpus").join(target);
    let mut fuzzer = Command::new(binary);
    fuzzer.env("FUZZ_TARGET", target).arg(&corpus);
    if in_tree.is_dir() {
        fuzzer.arg(&in_tree);
    }
    fuzzer.arg(format!("-artifact_prefix={}/", artifacts.display()));
    fuzzer.args([format!("-max_total_time={seconds}"), format!("-max_len={INPUT_BYTES_MAX}")]);
    fuzzer.args([format!("-timeout={INPUT_SECS_MAX}"), format!("-rss_limit_mb={MEMORY_MIB_MAX}")]);
    fuzzer.arg("-print_final_stats=1");
    let said = fuzzer.output().with_context(|| format!("cannot start {}", binary.display()))?;
    let log = String::from_utf8_lossy(&said.stderr);
    fs::write(work.join("log"), log.as_bytes())?;
    let mut found = read_log(&log);
    (found.target, found.seconds) = (target.to_owned(), seconds);
    for artifact in fs::read_dir(&artifacts)? {
        let artifact = artifact?.path();
        let name = artifact.file_name().unwrap_or_default().to_string_lossy().into_owned();
        // Slow and greedy inputs are failures as well; the replay runs whatever is called so.
        let kept = in_tree.join(if name.starts_with("crash-") { name } else { format!("crash-{name}") });
        fs::create_dir_all(&in_tree)?;
        fs::copy(&artifact, &kept).with_context(|| format!("cannot keep {}", kept.display()))?;
        fs::remove_file(&artifact)?;
        found.crashes.push(kept);
    }
    if !said.status.success() && found.crashes.is_empty() {
        bail!("libFuzzer failed ({}): see {}", said.status, work.join("log").display());
    }
    Ok(found)
}

/// The last figures in libFuzzer's log: `#123 DONE cov: 4 ft: 5 corp: 6/7b ...` and `stat::number_of_executed_units: 8`.
fn read_log(log: &str) -> Found {
    let mut found = Found::default();
    for line in log.lines() {
        if let Some(units) = line.strip_prefix("stat::number_of_executed_units:") {
            found.executions = units.trim().parse().unwrap_or(found.executions);
        }
        let mut words = line.split_whitespace();
        while let Some(word) = words.next() {
            let field = match word {
                "cov:" => &mut found.coverage,
                "ft:" => &mut found.features,
                "corp:" => &mut found.corpus,
                _ => continue,
            };
            let value = words.next().unwrap_or_default();
            *field = value.split('/').next().and_then(|value| value.parse().ok()).unwrap_or(*field);
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_libfuzzers_figures() {
        let log = "#2\tINITED cov: 3 ft: 4 corp: 1/1b exec/s: 0 rss: 30Mb\n\
                   #9\tDONE   cov: 21 ft: 30 corp: 45/8807b lim: 14 exec/s: 9 rss: 58Mb\n\
                   stat::number_of_executed_units: 1234\n";
        let found = read_log(log);
        assert_eq!((found.executions, found.coverage, found.features, found.corpus), (1234, 21, 30, 45));
    }
}
