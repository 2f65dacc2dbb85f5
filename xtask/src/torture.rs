//! `cargo xtask torture`: builds the daemon and its torturer and becomes the latter. What it does is in
//! `tests/src/torture`.

use std::{ffi::OsString, os::unix::process::CommandExt as _, process::Command};

use anyhow::{Context as _, Result, bail};
use clap::Args;

use crate::{apt, ebpf, process, workspace::Workspace};

/// How to torture.
#[derive(Args, Clone, Debug)]
#[command(disable_help_flag = true)]
pub struct TortureArgs {
    /// `--cycles N`, `--leases N`, `--seed S`, `--lease-secs T`, `--renewals-per-s R`, `--planted FAULT`,
    /// `--other PROGRAM`, `--json`; `--help` says more.
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    pub args: Vec<OsString>,
}

/// Builds and runs the torture; comes back only if it cannot be started. Its exit code is 0 if no promise was broken.
///
/// # Errors
///
/// When something does not build or cannot be started.
pub fn run(workspace: &Workspace, args: &TortureArgs) -> Result<()> {
    ebpf::build(workspace)?;
    workspace.build_daemon(false)?;
    let mut build = workspace.cargo();
    process::run(build.args([
        "build",
        "--locked",
        "--quiet",
        "--package",
        "dhcp-tests",
        "--bin",
        "torture",
    ]))?;
    let binary = workspace.target.join("debug/torture");
    let mut command = if apt::is_root() {
        Command::new(&binary)
    } else if let Some(sudo) = process::which("sudo") {
        let mut command = Command::new(sudo);
        command.arg("-E").arg(&binary);
        command
    } else {
        bail!("the torture loads XDP programs and makes network namespaces: run as root, or install sudo");
    };
    command.args(&args.args);
    Err(command.exec()).with_context(|| format!("cannot start `{}`", process::line(&command)))
}
