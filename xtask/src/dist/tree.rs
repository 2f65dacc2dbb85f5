//! Which file of the package comes from where. What can be made by the daemon (manual pages, completions) is made by it.

use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result};

use crate::{
    process,
    workspace::{DAEMON, Workspace},
};

/// Files of the source tree and where they are installed.
const COPIED: [(&str, &str); 9] = [
    (
        "packaging/systemd/simple-dhcpd-datacenter.service",
        "usr/lib/systemd/system/simple-dhcpd-datacenter.service",
    ),
    ("packaging/sysusers.d/simple-dhcpd.conf", "usr/lib/sysusers.d/simple-dhcpd.conf"),
    ("packaging/tmpfiles.d/simple-dhcpd.conf", "usr/lib/tmpfiles.d/simple-dhcpd.conf"),
    ("packaging/debian/default", "etc/default/simple-dhcpd-datacenter"),
    ("packaging/debian/copyright", "usr/share/doc/simple-dhcpd-datacenter/copyright"),
    ("CHANGELOG.md", "usr/share/doc/simple-dhcpd-datacenter/changelog"),
    ("README.md", "usr/share/doc/simple-dhcpd-datacenter/README.md"),
    (
        "packaging/prometheus/simple-dhcpd.rules.yml",
        "usr/share/doc/simple-dhcpd-datacenter/prometheus/simple-dhcpd.rules.yml",
    ),
    (
        "packaging/grafana/simple-dhcpd.json",
        "usr/share/doc/simple-dhcpd-datacenter/grafana/simple-dhcpd.json",
    ),
];

/// Where each shell looks for completions.
const COMPLETIONS: [(&str, &str); 3] = [
    ("bash", "usr/share/bash-completion/completions/simple-dhcpd-datacenter"),
    ("zsh", "usr/share/zsh/vendor-completions/_simple-dhcpd-datacenter"),
    ("fish", "usr/share/fish/vendor_completions.d/simple-dhcpd-datacenter.fish"),
];

/// What goes with it that says what is in it.
pub struct Papers<'a> {
    /// The notices of others.
    pub notices: &'a Path,
    /// The bill of materials; without it the package is one to try.
    pub bill: Option<&'a Path>,
}

/// Lays out what `daemon` and the source tree give, below `root`, which is emptied first.
///
/// # Errors
///
/// When a file cannot be copied or made.
pub fn stage(workspace: &Workspace, daemon: &Path, papers: &Papers<'_>, root: &Path) -> Result<()> {
    if root.exists() {
        fs::remove_dir_all(root).with_context(|| format!("cannot empty {}", root.display()))?;
    }
    let binary = root.join("usr/bin").join(DAEMON);
    install(daemon, &binary)?;
    process::run(Command::new("strip").args(["--strip-unneeded", "--remove-section=.comment"]).arg(&binary))?;
    fs::set_permissions(&binary, fs::Permissions::from_mode(0o755))
        .with_context(|| format!("cannot make {} executable", binary.display()))?;
    for (from, to) in COPIED {
        install(&workspace.root.join(from), &root.join(to))?;
    }
    let doc = root.join("usr/share/doc").join(DAEMON);
    for folder in ["docs", "docs/examples"] {
        for file in files(&workspace.root.join(folder))? {
            let relative = file.strip_prefix(workspace.root.join("docs")).unwrap_or(&file);
            install(&file, &doc.join(relative))?;
        }
    }
    install(papers.notices, &doc.join("third-party-notices.txt"))?;
    if let Some(bill) = papers.bill {
        install(bill, &doc.join("sbom.cdx.json"))?;
    }
    for (shell, to) in COMPLETIONS {
        let script = process::stdout(Command::new(daemon).args(["completions", shell]))?;
        write(&root.join(to), &script)?;
    }
    let manual = root.join("usr/share/man/man8");
    process::run(Command::new(daemon).args(["man", "--dir"]).arg(&manual))?;
    // Without name and time inside, so that the same page is the same file.
    process::run_named(
        Command::new("gzip")
            .args(["-9n"])
            .args(files(&manual)?)
            .args(["changelog", "third-party-notices.txt"].map(|name| doc.join(name))),
        "gzip -9n usr/share/man/man8/*",
    )
}

fn install(from: &Path, to: &Path) -> Result<()> {
    if let Some(parent) = to.parent() {
        fs::create_dir_all(parent).with_context(|| format!("cannot make {}", parent.display()))?;
    }
    fs::copy(from, to).with_context(|| format!("cannot copy {} to {}", from.display(), to.display()))?;
    fs::set_permissions(to, fs::Permissions::from_mode(0o644))
        .with_context(|| format!("cannot set the mode of {}", to.display()))
}

fn write(to: &Path, text: &str) -> Result<()> {
    if let Some(parent) = to.parent() {
        fs::create_dir_all(parent).with_context(|| format!("cannot make {}", parent.display()))?;
    }
    fs::write(to, text).with_context(|| format!("cannot write {}", to.display()))
}

/// The files of a folder (not of those below it), by name.
pub fn files(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).with_context(|| format!("cannot list {}", folder.display()))? {
        let path = entry.with_context(|| format!("cannot list {}", folder.display()))?.path();
        if path.is_file() {
            files.push(path);
        }
    }
    files.sort_unstable();
    Ok(files)
}
