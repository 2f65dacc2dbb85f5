//! `cargo xtask check`: what must hold before a commit, in a few seconds: formatting, lints, and the rules of [`tidy`].

pub mod tidy;

use anyhow::{Result, bail};

use crate::{dist, ebpf, process, workspace::Workspace};

/// The release whose clippy this tree is clean under, as clippy counts (`rust-version` in Cargo.toml is the same).
const LINTED_WITH: &str = "0.1.95";

/// Runs every check; the first that fails ends it, after saying what it found.
///
/// # Errors
///
/// When a check fails.
pub fn run(workspace: &Workspace) -> Result<()> {
    process::run(workspace.cargo().args(["fmt", "--all", "--check"]))?;
    let faults = tidy::check(&workspace.root)?;
    for fault in &faults {
        eprintln!("{fault}");
    }
    if !faults.is_empty() {
        bail!("the tree is not tidy: {} faults (xtask/src/check/tidy.rs has the rules)", faults.len());
    }
    dist::licences_if_installed(workspace)?;
    // Linting the daemon runs its build script, which wants the XDP object.
    ebpf::build(workspace)?;
    let mut clippy = workspace.cargo();
    clippy.args(["clippy", "--locked", "--workspace", "--exclude", "dhcp-ebpf", "--all-targets"]);
    // Each release of clippy knows more: what a later one finds is worth reading, and no reason to refuse a change.
    let known = process::stdout(workspace.cargo().args(["clippy", "--version"]))?.contains(LINTED_WITH);
    if known {
        clippy.args(["--", "-D", "warnings"]);
    } else {
        eprintln!("check: clippy is not of Rust {LINTED_WITH} here: what it finds are warnings");
    }
    process::run(&mut clippy)
}
