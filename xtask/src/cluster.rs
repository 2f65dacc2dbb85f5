//! `cargo xtask cluster`: builds the daemon and the lab of a cluster and becomes the latter. What it does is in
//! `tests/src/cluster/lab`.

use std::{ffi::OsString, os::unix::process::CommandExt as _};

use anyhow::{Context as _, Result};
use clap::Args;

use crate::{bench::as_root, ebpf, process, workspace::Workspace};

/// What the lab is to do.
#[derive(Args, Clone, Debug)]
#[command(disable_help_flag = true)]
pub struct ClusterArgs {
    /// `--json`, `--script FILE`, `--for SECS`, `--clients N`, `--renewals-per-s R`; `--help` says more.
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    pub args: Vec<OsString>,
}

/// Builds and runs the lab; comes back only if it cannot be started. Its exit code is 0 if no promise was broken.
///
/// # Errors
///
/// When something does not build or cannot be started.
pub fn run(workspace: &Workspace, args: &ClusterArgs) -> Result<()> {
    ebpf::build(workspace)?;
    workspace.build_daemon(false)?;
    let mut build = workspace.cargo();
    let what = ["build", "--locked", "--quiet", "--package", "dhcp-tests", "--bin", "cluster"];
    process::run(build.args(what))?;
    let mut command = as_root(&workspace.target.join("debug/cluster"))?;
    command.args(&args.args);
    Err(command.exec()).with_context(|| format!("cannot start `{}`", process::line(&command)))
}
