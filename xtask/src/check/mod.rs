//! `cargo xtask check`: what must hold before a commit, in a few seconds: formatting, lints, and the rules of [`tidy`].

pub mod tidy;

use anyhow::{Result, bail};

use crate::{ebpf, process, workspace::Workspace};

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
    // Linting the daemon runs its build script, which wants the XDP object.
    ebpf::build(workspace)?;
    let mut clippy = workspace.cargo();
    clippy.args(["clippy", "--locked", "--workspace", "--exclude", "dhcp-ebpf", "--all-targets"]);
    process::run(clippy.args(["--", "-D", "warnings"]))
}
