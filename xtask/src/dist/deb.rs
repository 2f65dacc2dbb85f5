//! The Debian package, by Debian's own tools: `dpkg-shlibdeps` knows the libraries, `dpkg-deb` writes the archive. Modes,
//! owners and times are set here, so that the same tree gives the same package.

use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result, ensure};

use super::{folder, tree};
use crate::{
    apt, process,
    workspace::{DAEMON, Workspace},
};

/// What building it takes: dpkg-deb is in every Debian; dpkg-dev brings binutils, which has `strip`.
const DEBIAN_PACKAGES: [&str; 2] = ["dpkg-dev", "gzip"];
const SCRIPTS: [&str; 3] = ["postinst", "prerm", "postrm"];

/// Builds the package and returns where it is.
///
/// # Errors
///
/// When a tool is missing or fails, or a file cannot be written.
pub fn build(
    workspace: &Workspace,
    daemon: &Path,
    revision: u32,
    papers: &tree::Papers<'_>,
) -> Result<PathBuf> {
    if apt::is_debian() {
        apt::ensure(&DEBIAN_PACKAGES, "packaging")?;
    }
    let dist = folder(workspace);
    let root = dist.join("root");
    tree::stage(workspace, daemon, papers, &root)?;
    let version = format!("{}-{revision}", env!("CARGO_PKG_VERSION"));
    let architecture = process::stdout(Command::new("dpkg").arg("--print-architecture"))?.trim().to_owned();
    let control = control(workspace, &dist, &root, &version, &architecture)?;
    let debian = root.join("DEBIAN");
    write(&debian.join("control"), &control, 0o644)?;
    for script in SCRIPTS {
        write(&debian.join(script), &source(workspace, script)?, 0o755)?;
    }
    write(&debian.join("conffiles"), &source(workspace, "conffiles")?, 0o644)?;
    write(&debian.join("md5sums"), &md5sums(&root)?, 0o644)?;
    normal_modes(&root)?;
    let package = dist.join(format!("{DAEMON}_{version}_{architecture}.deb"));
    process::run(
        Command::new("dpkg-deb")
            .args(["--root-owner-group", "-Zxz", "--build"])
            .args([&root, &package])
            .env("SOURCE_DATE_EPOCH", committed_secs(workspace)),
    )?;
    Ok(package)
}

fn control(
    workspace: &Workspace,
    dist: &Path,
    root: &Path,
    version: &str,
    architecture: &str,
) -> Result<String> {
    let kib = process::stdout(Command::new("du").args(["-sk", "--apparent-size"]).arg(root))?;
    let kib = kib.split_whitespace().next().context("du printed nothing")?;
    let control = source(workspace, "control")?
        .replace("@VERSION@", version)
        .replace("@ARCHITECTURE@", architecture)
        .replace("@INSTALLED_KIB@", kib)
        .replace("@LIBRARIES@", &libraries(dist, root)?);
    // The one that is left is in the address of the maintainer.
    ensure!(
        control.matches('@').count() == 1,
        "packaging/debian/control has a word between @ that xtask does not know"
    );
    Ok(control)
}

/// The packages of the shared libraries that the binary is linked with, and their versions.
fn libraries(dist: &Path, root: &Path) -> Result<String> {
    // dpkg-shlibdeps wants to stand in a source package.
    let stand = dist.join("shlibdeps");
    write(&stand.join("debian/control"), "Source: simple-dhcpd-datacenter\n", 0o644)?;
    let binary = root.join("usr/bin").join(DAEMON);
    let text =
        process::stdout(Command::new("dpkg-shlibdeps").current_dir(&stand).arg("-O").arg("-e").arg(&binary))?;
    let depends = text.lines().find_map(|line| line.strip_prefix("shlibs:Depends="));
    Ok(depends.with_context(|| format!("dpkg-shlibdeps printed {text:?}"))?.to_owned())
}

fn source(workspace: &Workspace, name: &str) -> Result<String> {
    let path = workspace.root.join("packaging/debian").join(name);
    fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))
}

fn write(path: &Path, text: &str, mode: u32) -> Result<()> {
    if let Some(parent) = path.parent() {
        fs::create_dir_all(parent).with_context(|| format!("cannot make {}", parent.display()))?;
    }
    fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))?;
    fs::set_permissions(path, fs::Permissions::from_mode(mode))
        .with_context(|| format!("cannot set the mode of {}", path.display()))
}

fn md5sums(root: &Path) -> Result<String> {
    let mut names = Vec::new();
    walk(root, &mut |path, is_folder| {
        let name = path.strip_prefix(root).unwrap_or(path);
        if !is_folder && !name.starts_with("DEBIAN") {
            names.push(name.to_owned());
        }
        Ok(())
    })?;
    names.sort_unstable();
    process::stdout(Command::new("md5sum").current_dir(root).args(&names))
}

/// Folders 0755, whatever the umask was.
fn normal_modes(root: &Path) -> Result<()> {
    walk(root, &mut |path, is_folder| {
        if is_folder {
            fs::set_permissions(path, fs::Permissions::from_mode(0o755))
                .with_context(|| format!("cannot set the mode of {}", path.display()))?;
        }
        Ok(())
    })
}

fn walk(folder: &Path, visit: &mut dyn FnMut(&Path, bool) -> Result<()>) -> Result<()> {
    visit(folder, true)?;
    for entry in fs::read_dir(folder).with_context(|| format!("cannot list {}", folder.display()))? {
        let path = entry.with_context(|| format!("cannot list {}", folder.display()))?.path();
        if path.is_dir() {
            walk(&path, visit)?;
        } else {
            visit(&path, false)?;
        }
    }
    Ok(())
}

/// When the last commit was made, seconds since the Unix epoch; outside of git, the epoch.
fn committed_secs(workspace: &Workspace) -> String {
    let mut git = Command::new("git");
    git.current_dir(&workspace.root).args(["log", "-1", "--format=%ct"]);
    process::stdout(&mut git).map_or_else(|_| "0".to_owned(), |text| text.trim().to_owned())
}
