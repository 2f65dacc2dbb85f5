//! `cargo xtask sim`: builds the simulator optimised and becomes it. What it does and takes is in `tests/src/sim`.

use std::{ffi::OsString, process::ExitCode};

use anyhow::{Context as _, Result};
use clap::Args;

use crate::{ebpf, process, workspace::Workspace};

/// What to simulate.
#[derive(Args, Clone, Debug)]
#[command(disable_help_flag = true)]
pub struct SimArgs {
    /// `--seeds N`, `--first S`, `--steps M`, `--seconds T`, `--clients N`, `--json`, `--planted NAME|list`; `--help` says more.
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    pub args: Vec<OsString>,
}

/// Builds and runs the simulator; its exit code is ours: 0 if no invariant broke.
///
/// # Errors
///
/// When it cannot be built or started.
pub fn run(workspace: &Workspace, args: &SimArgs) -> Result<ExitCode> {
    // The daemon's library carries the XDP object, used or not.
    if !workspace.ebpf_object().exists() {
        ebpf::build(workspace)?;
    }
    let mut build = workspace.cargo();
    process::run(build.args([
        "build",
        "--locked",
        "--quiet",
        "--release",
        "--package",
        "dhcp-tests",
        "--bin",
        "sim",
    ]))?;
    let binary = workspace.target.join("release/sim");
    let status = std::process::Command::new(&binary)
        .args(&args.args)
        .status()
        .with_context(|| format!("cannot start {}", binary.display()))?;
    Ok(status.code().and_then(|code| u8::try_from(code).ok()).map_or(ExitCode::FAILURE, ExitCode::from))
}
