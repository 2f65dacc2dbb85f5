//! Other DHCP servers to measure ours beside: Debian's packages, unpacked into the target directory where they hold
//! services, so that nothing of them ever starts by itself.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result};

use crate::{apt, process, workspace::Workspace};

/// Programs and libraries without services: installed.
const INSTALLED: [&str; 3] = ["kea-common", "kea-admin", "dnsmasq-base"];
/// Packages whose installation would enable services: only unpacked.
const UNPACKED: [(&str, &str); 2] =
    [("kea-dhcp4-server", "usr/sbin/kea-dhcp4"), ("isc-dhcp-server", "usr/sbin/dhcpd")];

/// Brings in the servers; returns the root they are unpacked under.
///
/// # Errors
///
/// When apt cannot bring them.
pub fn unpack(workspace: &Workspace) -> Result<PathBuf> {
    apt::ensure(&INSTALLED, "measuring other DHCP servers")?;
    let folder = workspace.target.join("peers");
    let root = folder.join("root");
    fs::create_dir_all(&root).with_context(|| format!("cannot make {}", root.display()))?;
    for (package, program) in UNPACKED {
        if !root.join(program).is_file() {
            eprintln!("xtask: unpacking Debian's {package} into {}", root.display());
            process::run(Command::new("apt-get").current_dir(&folder).args(["-q", "download", package]))
                .with_context(|| format!("`apt-get update` first, if {package} is not found"))?;
            process::run(Command::new("dpkg").arg("-x").arg(newest(&folder, package)?).arg(&root))?;
        }
    }
    Ok(root)
}

fn newest(folder: &Path, package: &str) -> Result<PathBuf> {
    let prefix = format!("{package}_");
    let mut found: Vec<PathBuf> = fs::read_dir(folder)
        .with_context(|| format!("cannot read {}", folder.display()))?
        .filter_map(|entry| entry.ok().map(|entry| entry.path()))
        .filter(|path| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(&prefix)))
        .collect();
    found.sort();
    found.pop().with_context(|| format!("apt-get left no {prefix}*.deb in {}", folder.display()))
}
