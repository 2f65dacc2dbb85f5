//! Shows that the kernel program does not depend on where it is built: the tree is copied to another folder, built there
//! with another target directory, and the two objects are compared octet by octet.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result, bail};

use super::folder;
use crate::{
    ebpf::{compile, linker, rustc},
    process,
    workspace::Workspace,
};

const PROGRAM: &str = "dhcp-ebpf";

/// Builds twice from scratch, compares, and says the sum.
///
/// # Errors
///
/// When a build fails or the objects differ; both stay, for a look at what differs.
pub fn show(workspace: &Workspace) -> Result<()> {
    let rust = rustc::find_or_install()?;
    let linker = linker::find_or_install(workspace)?;
    linker::check_fits(&rust, &linker)?;
    let places = folder(workspace).join("reproducible");
    let mut objects = Vec::new();
    // Names of different length, so that nothing that holds a path could be of one size by luck.
    for name in ["here", "somewhere-else"] {
        let place = places.join(name);
        if place.exists() {
            fs::remove_dir_all(&place).with_context(|| format!("cannot empty {}", place.display()))?;
        }
        let copy = Workspace { root: place.join("source"), target: place.join("target") };
        copy_sources(&workspace.root, &copy.root)?;
        objects.push(compile::compile(&copy, &rust, &linker, PROGRAM)?);
    }
    let sums = process::stdout(Command::new("sha256sum").args(&objects))?;
    let read = |path: &PathBuf| fs::read(path).with_context(|| format!("cannot read {}", path.display()));
    let octets: Vec<Vec<u8>> = objects.iter().map(read).collect::<Result<_>>()?;
    if octets.windows(2).any(|pair| pair.first() != pair.last()) {
        bail!("the kernel program depends on where it is built:\n{sums}`cmp -l` or `diffoscope` tell where");
    }
    let sum = sums.split_whitespace().next().context("sha256sum printed nothing")?;
    println!("the kernel program is the same from two folders: sha256 {sum}, by {rust}");
    fs::remove_dir_all(&places).with_context(|| format!("cannot remove {}", places.display()))
}

/// Copies the files git knows or would add.
fn copy_sources(from: &Path, to: &Path) -> Result<()> {
    let mut git = Command::new("git");
    git.current_dir(from).args(["ls-files", "--cached", "--others", "--exclude-standard"]);
    for name in process::stdout(&mut git)?.lines() {
        let (source, copy) = (from.join(name), to.join(name));
        // A file that is deleted but not yet committed is still listed.
        if !source.is_file() {
            continue;
        }
        if let Some(parent) = copy.parent() {
            fs::create_dir_all(parent).with_context(|| format!("cannot make {}", parent.display()))?;
        }
        fs::copy(&source, &copy)
            .with_context(|| format!("cannot copy {} to {}", source.display(), copy.display()))?;
    }
    Ok(())
}
