//! Runs cargo for the `bpfel-unknown-none` target with the toolchain found.

use std::{path::PathBuf, process::Command};

use anyhow::{Context as _, Result};

use super::{linker::Linker, rustc::Rust};
use crate::{process, workspace::Workspace};

/// The target triple of the XDP program.
pub const TARGET: &str = "bpfel-unknown-none";

/// Flags for rustc and bpf-linker.
///
/// `v3` gives 32-bit registers and jumps (kernel 5.1). The kernel's own machines that run XDP allow loads at any
/// address, and packet fields lie at odd ones: without the second feature an unaligned 64-bit load becomes eight loads.
///
/// Debug information, and with it BTF, names the sources from the root of the tree: the object is the same wherever it is
/// built (`cargo xtask dist --reproducible`), and tells nobody where that was.
fn rustflags(workspace: &Workspace, linker: &Linker) -> String {
    [
        format!("--remap-path-prefix={}=.", workspace.root.display()),
        // aya-ebpf picks the layout of the kernel's `pt_regs` by it; the XDP program has no use for those.
        format!("--cfg=bpf_target_arch=\"{}\"", std::env::consts::ARCH),
        "-Cdebuginfo=2".to_owned(),
        format!("-Clinker={}", linker.path.display()),
        "-Clink-arg=--btf".to_owned(),
        "-Ctarget-cpu=v3".to_owned(),
        "-Clink-arg=--cpu-features=+alu32,+allows-misaligned-mem-access".to_owned(),
    ]
    // Cargo's separator for flags that may hold spaces.
    .join("\x1f")
}

/// Variables that the host's cargo or the user set for host builds and that would leak into this one.
const HOST_ONLY: [&str; 11] = [
    "CARGO",
    "CARGO_BUILD_RUSTC",
    "CARGO_BUILD_RUSTC_WRAPPER",
    "CARGO_BUILD_TARGET",
    "CARGO_TARGET_DIR",
    "LD_LIBRARY_PATH",
    "RUSTC_WORKSPACE_WRAPPER",
    "RUSTC_WRAPPER",
    "RUSTDOC",
    "RUSTFLAGS",
    "RUSTUP_TOOLCHAIN",
];

/// Compiles the binary `name` of the package `dhcp-ebpf` and returns the object cargo left behind.
///
/// # Errors
///
/// When cargo fails; it has said why.
pub fn compile(workspace: &Workspace, rust: &Rust, linker: &Linker, name: &str) -> Result<PathBuf> {
    let target_dir = workspace.target.join("ebpf");
    let mut command = Command::new(&rust.cargo);
    command.current_dir(&workspace.root);
    for variable in HOST_ONLY {
        command.env_remove(variable);
    }
    command
        .args(["build", "--locked", "--release", "--package", "dhcp-ebpf", "--bin", name, "-Zbuild-std=core"])
        .args(["--target", TARGET, "--target-dir"])
        .arg(&target_dir)
        .env("RUSTC", &rust.rustc)
        .env("CARGO_ENCODED_RUSTFLAGS", rustflags(workspace, linker));
    if !rust.nightly {
        command.env("RUSTC_BOOTSTRAP", "1");
    }
    process::run(&mut command).with_context(|| format!("building the XDP program with {rust}"))?;
    Ok(target_dir.join(TARGET).join("release").join(name))
}
