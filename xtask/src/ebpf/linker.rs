//! Brings in bpf-linker, built against the LLVM whose bitcode rustc writes, into the project's own tools folder.

use std::{
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result, bail};

use super::{
    LLVM_MAJOR,
    rustc::{Rust, Version, llvm},
};
use crate::{apt, process, workspace::Workspace};

/// The one version used; another is replaced.
pub const VERSION: &str = "0.13.0";

/// Names a bpf-linker to use instead of building one; it must have been built for LLVM [`LLVM_MAJOR`].
pub const OVERRIDE: &str = "BPF_LINKER";

/// Debian's packages that building bpf-linker takes, besides Rust.
pub const DEBIAN_PACKAGES: [&str; 3] = ["llvm-22-dev", "gcc", "libc6-dev"];

/// A linker for BPF objects.
#[derive(Clone, Debug)]
pub struct Linker {
    /// Its executable.
    pub path: PathBuf,
    /// The LLVM library it is linked with, where we know it.
    pub llvm: Option<Version>,
}

/// The linker at hand, if it is of the wanted version.
pub fn find(workspace: &Workspace) -> Option<Linker> {
    if let Some(path) = std::env::var_os(OVERRIDE).map(PathBuf::from) {
        return process::is_executable(&path).then_some(Linker { path, llvm: None });
    }
    let path = workspace.tools().join("bin/bpf-linker");
    // The binary loads libLLVM at run time: without the library it does not even say its version.
    let found = process::stdout(Command::new(&path).arg("--version").env_remove("LD_LIBRARY_PATH")).ok()?;
    let llvm = llvm().ok().map(|(_, version)| version);
    (found.split_whitespace().nth(1) == Some(VERSION)).then_some(Linker { path, llvm })
}

/// Finds bpf-linker or builds it, installing LLVM's development files first where they are missing.
///
/// # Errors
///
/// When LLVM is missing and cannot be installed, or the build fails.
pub fn find_or_install(workspace: &Workspace) -> Result<Linker> {
    if let Some(linker) = find(workspace) {
        return Ok(linker);
    }
    if let Some(path) = std::env::var_os(OVERRIDE) {
        bail!("{OVERRIDE}={} is no executable file; unset it to have one built", Path::new(&path).display());
    }
    let (prefix, _) = match llvm() {
        Ok(found) => found,
        Err(_) if apt::is_debian() => {
            apt::ensure(&DEBIAN_PACKAGES, "building bpf-linker")?;
            llvm()?
        }
        Err(error) => return Err(error).context(format!(
            "install LLVM {LLVM_MAJOR} with headers (apt.llvm.org, your distribution), set LLVM_PREFIX to its folder"
        )),
    };
    eprintln!("xtask: building bpf-linker {VERSION} with {} (about a minute)", prefix.display());
    process::run(&mut install_command(workspace, &prefix))?;
    // Some 200 MB that are of no more use.
    let _ = std::fs::remove_dir_all(build_dir(workspace));
    find(workspace).with_context(|| {
        format!("bpf-linker was built into {} but does not run", workspace.tools().join("bin").display())
    })
}

fn install_command(workspace: &Workspace, llvm_prefix: &Path) -> Command {
    let mut command = workspace.cargo();
    command
        .args(["install", "--locked", "--force", "bpf-linker", "--version", VERSION])
        .args(["--no-default-features", "--features", &format!("llvm-{LLVM_MAJOR}"), "--root"])
        .arg(workspace.tools())
        .arg("--target-dir")
        .arg(build_dir(workspace))
        .env("LLVM_PREFIX", llvm_prefix)
        // `cargo run` points this at the host toolchain's libraries; bpf-linker must find Debian's LLVM.
        .env_remove("LD_LIBRARY_PATH")
        .env_remove("RUSTFLAGS")
        .env_remove("CARGO_ENCODED_RUSTFLAGS");
    command
}

fn build_dir(workspace: &Workspace) -> PathBuf {
    workspace.tools().join("build")
}

/// Refuses a linker whose LLVM cannot read what `rust` writes; warns where it merely may not.
///
/// # Errors
///
/// When the major versions differ.
pub fn check_fits(rust: &Rust, linker: &Linker) -> Result<()> {
    let Some(llvm) = linker.llvm else {
        eprintln!("xtask: {OVERRIDE} is set; its LLVM must be {LLVM_MAJOR}, which is not checked");
        return Ok(());
    };
    if llvm.major() != rust.llvm.major() {
        bail!(
            "{rust} writes bitcode of LLVM {}, and {} reads LLVM {llvm}: the link would fail with `Invalid record`; \
             use a Rust with LLVM {LLVM_MAJOR} (`cargo xtask doctor` lists them)",
            rust.llvm,
            linker.path.display()
        );
    }
    if rust.llvm > llvm {
        eprintln!(
            "xtask: warning: {rust} is newer than the LLVM {llvm} of bpf-linker; should linking fail with \
             `Invalid record`, upgrade llvm-{LLVM_MAJOR}-dev"
        );
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rust(llvm: &str) -> Rust {
        Rust {
            name: "test".to_owned(),
            rustc: PathBuf::new(),
            cargo: PathBuf::new(),
            version: Version([1, 98, 0]),
            nightly: false,
            llvm: Version::parse(llvm).unwrap(),
            has_source: true,
        }
    }

    #[test]
    fn another_major_version_is_refused_before_the_build() {
        let linker = Linker { path: "bpf-linker".into(), llvm: Version::parse("22.1.8") };
        assert!(check_fits(&rust("22.1.4"), &linker).is_ok());
        let text = check_fits(&rust("23.1.1"), &linker).unwrap_err().to_string();
        assert!(text.contains("Invalid record") && text.contains("doctor"), "{text}");
    }
}
