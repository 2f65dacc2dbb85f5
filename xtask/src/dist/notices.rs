//! The notices of others whose work is in the binary: what `cargo` links into the daemon and into the kernel program it carries,
//! and what the status page is drawn with, each with its licence as it came.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write as _,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result, ensure};
use serde::Deserialize;

use super::folder;
use crate::{process, workspace::Workspace};

/// Files that say on which terms something may be passed on begin so.
const BEGINNINGS: [&str; 6] = ["LICENSE", "LICENCE", "COPYING", "COPYRIGHT", "NOTICE", "UNLICENSE"];
/// The longest that is taken for one, octets.
const NOTICE_MAX: u64 = 256 << 10;
/// What is not cargo's: the folder it is in, of the source tree.
const VENDORED: &str = "dhcp-user/src/api/page/assets/vendor";

/// What `cargo metadata` says of a package.
#[derive(Debug, Deserialize)]
struct Package {
    name: String,
    version: String,
    license: Option<String>,
    source: Option<String>,
    manifest_path: PathBuf,
}

#[derive(Debug, Deserialize)]
struct Metadata {
    packages: Vec<Package>,
}

/// A library that is no crate.
pub struct Vendored {
    /// Its name.
    pub name: &'static str,
    /// Its version.
    pub version: String,
    /// Its licence, as SPDX names it.
    pub licence: &'static str,
    text: String,
}

/// The library the page draws with.
///
/// # Errors
///
/// When it is not where it was, or does not say which version it is.
pub fn vendored(workspace: &Workspace) -> Result<Vendored> {
    let read = |name: &str| {
        let path = workspace.root.join(VENDORED).join(name);
        fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))
    };
    let version = version_of(&read("uplot.js")?).context("uplot.js does not begin with its version")?;
    Ok(Vendored { name: "uPlot", version, licence: "MIT", text: read("uplot.LICENSE")? })
}

fn version_of(script: &str) -> Option<String> {
    let (_, rest) = script.lines().next()?.split_once("(v")?;
    Some(rest.split_once(')')?.0.to_owned())
}

/// Writes all notices into one file; where it is.
///
/// # Errors
///
/// When cargo does not say what is linked, or something that is has no notice.
pub fn write(workspace: &Workspace) -> Result<PathBuf> {
    let mut linked = linked(workspace, &["-p", "dhcp-user"])?;
    linked.extend(linked_for_kernel(workspace)?);
    let metadata = process::stdout(workspace.cargo().current_dir(&workspace.root).args([
        "metadata",
        "--format-version=1",
        "--locked",
    ]))?;
    let metadata: Metadata = serde_json::from_str(&metadata).context("cargo metadata is not understood")?;
    // Equal texts once, with all who use them.
    let mut users = BTreeMap::<String, BTreeSet<String>>::new();
    let mut others = String::new();
    for package in metadata.packages {
        let name = format!("{} {}", package.name, package.version);
        if package.source.is_none() || !linked.contains(&name) {
            continue;
        }
        let licence = package.license.as_deref().unwrap_or("see its notice");
        writeln!(others, "{name}: {licence}")?;
        let home = package.manifest_path.parent().context("a manifest without a folder")?;
        for text in texts(home)? {
            users.entry(text).or_default().insert(name.clone());
        }
    }
    let page = vendored(workspace)?;
    let name = format!("{} {}", page.name, page.version);
    writeln!(others, "{name}: {}", page.licence)?;
    users.entry(page.text).or_default().insert(name);
    ensure!(users.len() > 1, "no notices were found: are the sources of the crates there?");
    let to = folder(workspace).join("third-party-notices.txt");
    fs::create_dir_all(folder(workspace)).context("cannot make target/dist")?;
    fs::write(&to, document(&others, &users)).with_context(|| format!("cannot write {}", to.display()))?;
    println!("{}", to.display());
    Ok(to)
}

fn document(others: &str, users: &BTreeMap<String, BTreeSet<String>>) -> String {
    let mut document = format!(
        "simple-dhcpd-datacenter is under the Apache License, version 2.0. In its binary are, on their own terms, Rust's\n\
         standard library (MIT OR Apache-2.0, https://www.rust-lang.org) and:\n\n{others}"
    );
    for (text, users) in users {
        let users: Vec<_> = users.iter().map(String::as_str).collect();
        document.push_str(&format!("\n{}\n{}\n\n{}\n", "=".repeat(80), users.join(", "), text.trim_end()));
    }
    document
}

/// Names and versions of what is linked into the packages of a selection.
fn linked(workspace: &Workspace, selection: &[&str]) -> Result<BTreeSet<String>> {
    let tree = process::stdout(
        workspace
            .cargo()
            .current_dir(&workspace.root)
            .args(["tree", "--locked", "--edges", "normal", "--prefix", "none", "--format", "{p}"])
            .args(selection),
    )?;
    Ok(tree.lines().filter_map(named).collect())
}

/// The same of the kernel program.
///
/// # Errors
///
/// When cargo does not say.
pub fn linked_for_kernel(workspace: &Workspace) -> Result<BTreeSet<String>> {
    linked(workspace, &["-p", "dhcp-ebpf", "--target", "bpfel-unknown-none"])
}

/// From `name v1.2.3 (where)` to `name 1.2.3`.
fn named(line: &str) -> Option<String> {
    let mut words = line.split_whitespace();
    let (name, version) = (words.next()?, words.next()?);
    Some(format!("{name} {}", version.strip_prefix('v')?))
}

/// The notices in a crate's folder, and in those directly below it, where what it carries of others has its own.
fn texts(home: &Path) -> Result<Vec<String>> {
    let mut found = Vec::new();
    for (path, is_folder) in listed(home)? {
        if !is_folder {
            found.extend(notice(&path)?);
            continue;
        }
        for (path, is_folder) in listed(&path)? {
            if !is_folder {
                found.extend(notice(&path)?);
            }
        }
    }
    Ok(found)
}

fn notice(path: &Path) -> Result<Option<String>> {
    let name = path.file_name().unwrap_or_default().to_string_lossy().to_uppercase();
    let length = fs::metadata(path).with_context(|| format!("cannot read {}", path.display()))?.len();
    if !BEGINNINGS.iter().any(|beginning| name.starts_with(beginning))
        || name.ends_with(".RS")
        || length > NOTICE_MAX
    {
        return Ok(None);
    }
    let octets = fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
    Ok(Some(String::from_utf8_lossy(&octets).replace("\r\n", "\n")))
}

/// What is in a folder, by name, and whether each is a folder.
fn listed(folder: &Path) -> Result<Vec<(PathBuf, bool)>> {
    let cannot = || format!("cannot list {}", folder.display());
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).with_context(cannot)? {
        let entry = entry.with_context(cannot)?;
        found.push((entry.path(), entry.path().is_dir()));
    }
    found.sort_unstable();
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_read_where_they_are_written() {
        assert_eq!(
            version_of("/*! https://example.org/uPlot (v1.6.32) */\nvar x"),
            Some("1.6.32".to_owned())
        );
        assert_eq!(version_of("var x"), None);
        assert_eq!(named("aya v0.13.1 (/x/y)"), Some("aya 0.13.1".to_owned()));
        assert_eq!(named("syn v2.0.1 (proc-macro) (*)"), Some("syn 2.0.1".to_owned()));
        assert_eq!(named(""), None);
    }

    #[test]
    fn notices_are_found_beside_the_manifest_and_one_folder_below() {
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| {
            let path = folder.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        };
        write("LICENSE-MIT", "one\r\n");
        write("license.md", "two");
        write("src/license.rs", "code");
        write("zstd/COPYING", "three");
        write("README.md", "no");
        write("a/b/NOTICE", "too deep");
        assert_eq!(texts(folder.path()).unwrap(), ["one\n", "two", "three"]);
    }
}
