//! Debian packages: which are there, and bringing in those that are not. Nothing else installs into the system.

use std::{collections::BTreeSet, fs, path::Path, process::Command};

use anyhow::{Context as _, Result, bail};

use crate::process;

/// Installs its arguments, with services held back by a `policy-rc.d` of ours unless the system has one: the packages
/// are wanted for their programs, and a DHCP relay or client that starts by itself would disturb the host.
const INSTALL: &str = r#"
set -e
export DEBIAN_FRONTEND=noninteractive
policy=/usr/sbin/policy-rc.d
if ! [ -e "$policy" ]; then
    trap 'rm -f "$policy"' EXIT
    trap 'exit 130' INT TERM
    printf '#!/bin/sh\nexit 101\n' > "$policy"
    chmod 755 "$policy"
fi
apt() { apt-get -q -o DPkg::Lock::Timeout=120 "$@"; }
apt install --yes --no-install-recommends "$@" || { apt update; apt install --yes --no-install-recommends "$@"; }
"#;

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
    let mut command = Command::new(if root { "sh" } else { "sudo" });
    if !root {
        command.arg("sh");
    }
    process::run_named(command.args(["-c", INSTALL, "install"]).args(&missing), "apt-get install")
        .with_context(|| format!("install them by hand: {}", command_line(&missing)))
}

/// Puts one `file` of a Debian package at `to` without installing the package, for one program of a large one.
///
/// # Errors
///
/// When the package cannot be fetched or does not have the file.
pub fn extract(package: &str, file: &str, to: &Path) -> Result<()> {
    let folder = to.with_extension("deb");
    fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
    let extract = format!(
        "apt-get -q download {package} 2>/dev/null || {{ apt-get -q update; apt-get -q download {package}; }}
         dpkg-deb --fsys-tarfile {package}_*.deb | tar --extract --strip-components=3 ./{file}"
    );
    eprintln!("xtask: fetching the Debian package {package} for {file}; it is not installed");
    let made = process::run_named(
        Command::new("sh").current_dir(&folder).args(["-ec", &extract]),
        &format!("apt-get download {package}"),
    )
    .and_then(|()| {
        let name = Path::new(file).file_name().unwrap_or_default();
        fs::rename(folder.join(name), to).with_context(|| format!("cannot put {file} at {}", to.display()))
    });
    fs::remove_dir_all(&folder).with_context(|| format!("cannot remove {}", folder.display()))?;
    made
}

/// Whether we run as root.
pub fn is_root() -> bool {
    // SAFETY: geteuid takes no argument, touches no memory and cannot fail.
    unsafe { libc::geteuid() == 0 }
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
