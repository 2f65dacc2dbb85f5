//! `cargo xtask load`: builds the load generator optimised and becomes it. What it does and takes is in `tests/src/load`.

use std::{ffi::OsString, os::unix::process::CommandExt as _};

use anyhow::{Context as _, Result};
use clap::Args;

use crate::{bench, ebpf, process, workspace::Workspace};

/// What to load.
#[derive(Args, Clone, Debug)]
#[command(disable_help_flag = true)]
pub struct LoadArgs {
    /// `--help` says which.
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    args: Vec<OsString>,
}

/// Builds and runs the generator; comes back only if it cannot be started.
///
/// # Errors
///
/// When something does not build or cannot be started.
pub fn run(workspace: &Workspace, args: &LoadArgs) -> Result<()> {
    // The daemon's library, which the harness is built on, carries the product's object.
    if !workspace.ebpf_object().exists() {
        ebpf::build(workspace)?;
    }
    ebpf::build_load(workspace)?;
    bench::build_bin(workspace, "load")?;
    let mut command = bench::as_root(&workspace.target.join("release/load"))?;
    command.arg("--object").arg(workspace.ebpf_load_object()).args(&args.args);
    Err(command.exec()).with_context(|| format!("cannot start `{}`", process::line(&command)))
}
