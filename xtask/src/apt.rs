//! Debian packages: which are there, and bringing in those that are not. Nothing else installs into the system.

use std::{collections::BTreeSet, fs, io, path::Path, process::Command};

use anyhow::{Context as _, Result, bail};

use crate::process;

/// Written while we install, so that a package's service is not started behind the user's back.
const POLICY: &str = "/usr/sbin/policy-rc.d";

/// Whether this system installs its packages with apt.
pub fn is_debian() -> bool {
    process::which("apt-get").is_some() && process::which("dpkg-query").is_some()
}

/// Those of `packages` that are not installed.
///
/// # Errors
///
/// When dpkg's list cannot be read.
pub fn missing<'a>(packages: &[&'a str]) -> Result<Vec<&'a str>> {
    let list = process::stdout(
        Command::new("dpkg-query").args(["--show", "--showformat=${db:Status-Abbrev} ${Package}\n"]),
    )?;
    let installed: BTreeSet<&str> = list.lines().filter_map(installed_package).collect();
    Ok(packages.iter().copied().filter(|package| !installed.contains(package)).collect())
}

/// The package of a line of dpkg-query, if it is installed in full.
fn installed_package(line: &str) -> Option<&str> {
    let (status, package) = line.split_once(' ')?;
    let package = package.trim();
    (status == "ii" || status == "hi").then_some(package)
}

/// The command that installs `packages`, for a message.
pub fn command_line(packages: &[&str]) -> String {
    format!("sudo apt-get install --no-install-recommends {}", packages.join(" "))
}

/// Installs those of `packages` that are missing, as root or through sudo, after saying so.
///
/// # Errors
///
/// When neither root nor sudo is at hand, or apt-get fails.
pub fn ensure(packages: &[&str], why: &str) -> Result<()> {
    let missing = missing(packages)?;
    if missing.is_empty() {
        return Ok(());
    }
    let root = is_root();
    if !root && process::which("sudo").is_none() {
        bail!(
            "{why} needs the Debian packages {}, and this user is not root: {}",
            missing.join(" "),
            command_line(&missing)
        );
    }
    eprintln!("xtask: {why} needs Debian packages that are missing; installing: {}", missing.join(" "));
    let _no_services = root.then(HoldServices::start).transpose()?;
    let install = |packages: &[&str]| {
        let mut command = apt_get(root);
        command.args(["install", "--yes", "--no-install-recommends"]).args(packages);
        process::run(&mut command)
    };
    if install(&missing).is_ok() {
        return Ok(());
    }
    eprintln!("xtask: trying again with fresh package lists");
    process::run(apt_get(root).arg("update"))?;
    install(&missing).with_context(|| format!("install them by hand: {}", command_line(&missing)))
}

fn apt_get(root: bool) -> Command {
    let mut command = if root { Command::new("env") } else { Command::new("sudo") };
    if !root {
        command.arg("env");
    }
    command.args(["DEBIAN_FRONTEND=noninteractive", "apt-get", "-q", "-o", "DPkg::Lock::Timeout=120"]);
    command
}

/// Whether we run as root.
pub fn is_root() -> bool {
    // SAFETY: geteuid takes no argument, touches no memory and cannot fail.
    unsafe { libc::geteuid() == 0 }
}

/// A `policy-rc.d` that refuses every service start for as long as this value lives. A system that has one already
/// keeps its own.
struct HoldServices {
    ours: bool,
}

impl HoldServices {
    fn start() -> Result<Self> {
        use std::{io::Write as _, os::unix::fs::OpenOptionsExt as _};
        let file = fs::OpenOptions::new().write(true).create_new(true).mode(0o755).open(Path::new(POLICY));
        match file {
            Ok(mut file) => {
                file.write_all(
                    b"#!/bin/sh\n# cargo xtask is installing packages; removed when it is done.\nexit 101\n",
                )
                .with_context(|| format!("cannot write {POLICY}"))?;
                Ok(Self { ours: true })
            }
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(Self { ours: false }),
            Err(error) => Err(error).with_context(|| format!("cannot create {POLICY}")),
        }
    }
}

impl Drop for HoldServices {
    fn drop(&mut self) {
        if self.ours
            && let Err(error) = fs::remove_file(POLICY)
        {
            eprintln!(
                "xtask: cannot remove {POLICY}: {error}; remove it, or no service starts on installation"
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_whole_installations_count() {
        assert_eq!(installed_package("ii  iproute2"), Some("iproute2"));
        assert_eq!(installed_package("hi  bpftool"), Some("bpftool"));
        assert_eq!(installed_package("rc  isc-dhcp-client"), None);
        assert_eq!(installed_package("iU  udhcpc"), None);
        assert_eq!(installed_package("un "), None);
    }
}
