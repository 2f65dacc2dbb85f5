//! Python programs that tests start: each set in a virtual environment of its own in the target directory, by its
//! requirements file, brought in once and again only when that changes.

use std::{fs, path::PathBuf, process::Command};

use anyhow::{Context as _, Result};

use crate::{apt, process, workspace::Workspace};

/// What it takes of Debian.
const PACKAGES: [&str; 1] = ["python3-venv"];

/// Makes sure that the set `name` (`tests/NAME/requirements.txt`) is there; returns the directory of its programs.
///
/// # Errors
///
/// When Python or pip cannot bring it.
pub fn ensure(workspace: &Workspace, name: &str) -> Result<PathBuf> {
    let wanted = workspace.root.join("tests").join(name).join("requirements.txt");
    let text = fs::read(&wanted).with_context(|| format!("cannot read {}", wanted.display()))?;
    let folder = workspace.tools().join(name);
    let (programs, stamp) = (folder.join("bin"), folder.join("installed.txt"));
    if fs::read(&stamp).is_ok_and(|installed| installed == text) {
        return Ok(programs);
    }
    if apt::is_debian() {
        apt::ensure(&PACKAGES, "making a Python environment")?;
    }
    eprintln!("xtask: installing {} into {}", wanted.display(), folder.display());
    // One that was left half-made, or is of another Python, is of no use.
    process::run(Command::new("python3").args(["-m", "venv", "--clear"]).arg(&folder))?;
    let mut install = Command::new(programs.join("pip"));
    install.args(["install", "--quiet", "--disable-pip-version-check", "--requirement"]).arg(&wanted);
    process::run(&mut install)
        .with_context(|| format!("pip could not bring {}: is a package index in reach?", wanted.display()))?;
    fs::write(&stamp, text).with_context(|| format!("cannot write {}", stamp.display()))?;
    Ok(programs)
}
