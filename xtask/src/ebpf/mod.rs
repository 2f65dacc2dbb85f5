//! Building the XDP program: find a Rust that can ([`rustc`]), a linker that reads its bitcode ([`linker`]), run cargo
//! with both ([`compile`]), and put the object where the daemon's build script looks for it ([`object`]).

pub mod compile;
pub mod linker;
pub mod object;
pub mod rustc;

use std::path::Path;

use anyhow::Result;

use crate::workspace::Workspace;

/// The LLVM that rustc, bpf-linker and the installed library must share.
///
/// bpf-linker reads bitcode that rustc wrote: an LLVM of another major version fails with `Invalid record`, or, worse,
/// writes broken BTF. 22 is what Debian 12 packages and what rustc 1.95 to 1.98 carry.
pub const LLVM_MAJOR: u32 = 22;

/// Builds the XDP object, bringing in what is missing, and leaves it at [`Workspace::ebpf_object`].
///
/// # Errors
///
/// When a part of the toolchain is missing and cannot be brought in, or the program does not compile.
pub fn build(workspace: &Workspace) -> Result<()> {
    build_one(workspace, "dhcp-ebpf", &workspace.ebpf_object())
}

/// Builds the object with the benchmarks' own programs and leaves it at [`Workspace::ebpf_bench_object`].
///
/// # Errors
///
/// As [`build`].
pub fn build_bench(workspace: &Workspace) -> Result<()> {
    build_one(workspace, "dhcp-ebpf-bench", &workspace.ebpf_bench_object())
}

/// Builds the object with the load generator's programs and leaves it at [`Workspace::ebpf_load_object`].
///
/// # Errors
///
/// As [`build`].
pub fn build_load(workspace: &Workspace) -> Result<()> {
    build_one(workspace, "dhcp-ebpf-load", &workspace.ebpf_load_object())
}

fn build_one(workspace: &Workspace, name: &str, wanted: &Path) -> Result<()> {
    let rust = rustc::find_or_install()?;
    let linker = linker::find_or_install(workspace)?;
    linker::check_fits(&rust, &linker)?;
    let built = compile::compile(workspace, &rust, &linker, name)?;
    object::publish(&built, wanted)
}
