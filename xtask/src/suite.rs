//! `cargo xtask test`: everything that must pass before a change is in, the programs it takes brought in first.

use std::{ffi::OsString, process::Command};

use anyhow::{Context as _, Result, bail};
use clap::Args;

use crate::{
    apt,
    bench::gate::{self, GateArgs},
    check, ebpf, process, python,
    workspace::Workspace,
};

/// What the end-to-end tests drive: real clients, a relay, a browser, a load generator, tools that look at the kernel, and a wall
/// clock that can be set without setting the machine's; what makes a disk slow; and what counts instructions.
/// `perfdhcp` is in kea-admin; dhcpcd-base is dhcpcd without its service.
pub const DEBIAN_PACKAGES: [&str; 14] = [
    "bpftool",
    "chromium",
    "curl",
    "dhcpcd-base",
    "iproute2",
    "isc-dhcp-client",
    "isc-dhcp-relay",
    "kea-admin",
    "libfaketime",
    "strace",
    "systemd",
    "tcpdump",
    "udhcpc",
    "valgrind",
];

/// Which tests to run.
#[derive(Args, Clone, Debug)]
pub struct TestArgs {
    /// Skip formatting, lints and tidiness.
    #[arg(long)]
    pub tests_only: bool,
    /// Arguments for `cargo test`, such as a part of a test's name; a second `--` separates those for the test binary.
    #[arg(last = true)]
    pub args: Vec<OsString>,
}

/// Brings in `promtool`, which judges metrics and alert rules: one program of a package that is a whole server.
fn ensure_promtool(workspace: &Workspace) -> Result<()> {
    let promtool = workspace.tools().join("bin/promtool");
    if process::which("promtool").is_some() || process::is_executable(&promtool) {
        return Ok(());
    }
    std::fs::create_dir_all(workspace.tools().join("bin")).context("cannot make the folder of tools")?;
    apt::extract("prometheus", "usr/bin/promtool", &promtool)
}

/// Where the end-to-end tests pin maps and links. systemd mounts it; a machine that was started without it has none.
fn ensure_bpf_filesystem(root: bool) -> Result<()> {
    let mounts = std::fs::read_to_string("/proc/mounts").context("cannot read /proc/mounts")?;
    if mounts.lines().any(|line| line.split(' ').skip(1).take(2).eq(["/sys/fs/bpf", "bpf"])) {
        return Ok(());
    }
    let mut mount = match root {
        true => Command::new("mount"),
        false => Command::new("sudo"),
    };
    mount.args((!root).then_some("mount")).args(["-t", "bpf", "bpf", "/sys/fs/bpf"]);
    process::run(&mut mount)
}

/// Checks, builds and tests the workspace.
///
/// # Errors
///
/// When a check or a test fails, or something the tests need cannot be brought in.
pub fn run(workspace: &Workspace, args: &TestArgs) -> Result<()> {
    let root = apt::is_root();
    if !root && process::which("sudo").is_none() {
        bail!(
            "the end-to-end tests make network namespaces and load a BPF program: run as root, or install sudo"
        );
    }
    if apt::is_debian() {
        apt::ensure(&DEBIAN_PACKAGES, "testing")?;
        ensure_promtool(workspace)?;
    }
    ensure_bpf_filesystem(root)?;
    python::ensure(workspace, "page")?;
    if args.tests_only {
        ebpf::build(workspace)?;
    } else {
        check::run(workspace)?;
    }
    // The end-to-end tests start the daemon itself, which `cargo test` does not build for another package.
    if args.args.is_empty() {
        // With the tests, in one go: built alone its dependencies have fewer features, and all of it is compiled twice.
        let mut build = workspace.cargo();
        build.args(["build", "--locked", "--workspace", "--exclude", "dhcp-ebpf", "--bins", "--tests"]);
        process::run(&mut build)?;
    } else {
        workspace.build_daemon(false)?;
    }
    let mut test = workspace.cargo();
    test.args(["test", "--locked", "--workspace", "--exclude", "dhcp-ebpf"]);
    if root {
        process::run(test.args(&args.args))?;
        return gate_unless_picked(workspace, args);
    }
    process::run(test.args(["--exclude", "dhcp-tests"]).args(&args.args))?;
    // Only what needs it runs as root, and nothing is built as root.
    let runner = format!("target.{}-unknown-linux-gnu.runner='sudo -E'", std::env::consts::ARCH);
    let mut end_to_end = workspace.cargo();
    end_to_end.args(["test", "--locked", "--package", "dhcp-tests", "--config", &runner]);
    process::run(end_to_end.args(&args.args))?;
    gate_unless_picked(workspace, args)
}

/// What is stable among the costs is part of the whole suite, not of a test that was picked.
fn gate_unless_picked(workspace: &Workspace, args: &TestArgs) -> Result<()> {
    if args.args.is_empty() { gate::run(workspace, GateArgs::default()) } else { Ok(()) }
}
