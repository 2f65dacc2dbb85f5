//! `cargo xtask check-api`: builds a daemon and what holds it to its API's description (`tests/src/bin/check_api.rs`), and
//! becomes the latter. Some minutes: not part of `cargo xtask test`.

use std::{ffi::OsString, os::unix::process::CommandExt as _};

use anyhow::{Context as _, Result};
use clap::Args;

use crate::{bench, ebpf, process, python, workspace::Workspace};

/// How to check.
#[derive(Args, Clone, Debug)]
#[command(disable_help_flag = true)]
pub struct CheckApiArgs {
    /// `--examples N`, `--seed S`; `--help` says more.
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    args: Vec<OsString>,
}

/// Builds and runs the check; comes back only if it cannot be started.
///
/// # Errors
///
/// When something does not build or cannot be brought in.
pub fn run(workspace: &Workspace, args: &CheckApiArgs) -> Result<()> {
    let programs = python::ensure(workspace, "contract")?;
    ebpf::build(workspace)?;
    workspace.build_daemon(false)?;
    let mut build = workspace.cargo();
    process::run(build.args(["build", "--locked", "--package", "dhcp-tests", "--bin", "check_api"]))?;
    let mut command = bench::as_root(&workspace.target.join("debug/check_api"))?;
    command.arg("--schemathesis").arg(programs.join("schemathesis")).args(&args.args);
    Err(command.exec()).with_context(|| format!("cannot start `{}`", process::line(&command)))
}
