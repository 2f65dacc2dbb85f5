//! What others' work is in the binary: licences and sources judged by `cargo deny` (deny.toml), and a bill of materials
//! (CycloneDX). Both tools are built once, into the project's own tools folder, each in one version.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result};

use super::folder;
use crate::{process, workspace::Workspace};

/// A tool from crates.io.
struct Tool {
    name: &'static str,
    version: &'static str,
}

const DENY: Tool = Tool { name: "cargo-deny", version: "0.20.2" };
const CYCLONEDX: Tool = Tool { name: "cargo-cyclonedx", version: "0.5.9" };

impl Tool {
    fn path(&self, workspace: &Workspace) -> PathBuf {
        workspace.tools().join("bin").join(self.name)
    }

    fn is_there(&self, workspace: &Workspace) -> bool {
        // Called as cargo calls its subcommands, which is how both want it.
        let word = self.name.trim_start_matches("cargo-");
        process::stdout(Command::new(self.path(workspace)).args([word, "--version"]))
            .is_ok_and(|text| text.split_whitespace().any(|part| part == self.version))
    }

    fn ensure(&self, workspace: &Workspace) -> Result<PathBuf> {
        if !self.is_there(workspace) {
            eprintln!("xtask: building {} {} (some minutes, once)", self.name, self.version);
            let build = workspace.tools().join("build");
            // Unoptimised: it is built in half the time, and what it does takes seconds either way.
            process::run(
                workspace
                    .cargo()
                    .args(["install", "--locked", "--force", "--debug"])
                    .args([self.name, "--version", self.version, "--root"])
                    .arg(workspace.tools())
                    .arg("--target-dir")
                    .arg(&build)
                    .env("CARGO_PROFILE_DEV_DEBUG", "0"),
            )?;
            // Some hundred MB that are of no more use.
            let _ = fs::remove_dir_all(build);
        }
        Ok(self.path(workspace))
    }
}

/// Judges licences, bans and sources of everything that is linked; advisories too where their database can be fetched.
///
/// # Errors
///
/// When the tool cannot be built, or something is not allowed by deny.toml.
pub fn licences(workspace: &Workspace) -> Result<()> {
    let deny = DENY.ensure(workspace)?;
    judge(workspace, &deny, &["bans", "licenses", "sources"])?;
    let fetched =
        process::succeeds(Command::new(&deny).current_dir(&workspace.root).args(["deny", "fetch", "db"]));
    if fetched {
        judge(workspace, &deny, &["advisories"])?;
    } else {
        eprintln!("dist: the database of advisories cannot be fetched here: advisories are not looked at");
    }
    Ok(())
}

/// Judges bans, licences and sources if the tool is there already, without fetching anything.
///
/// # Errors
///
/// When something is not allowed by deny.toml.
pub fn licences_if_installed(workspace: &Workspace) -> Result<()> {
    if DENY.is_there(workspace) {
        judge(workspace, &DENY.path(workspace), &["bans", "licenses", "sources"])?;
    }
    Ok(())
}

fn judge(workspace: &Workspace, deny: &Path, what: &[&str]) -> Result<()> {
    let mut command = Command::new(deny);
    command
        .current_dir(&workspace.root)
        .args(["deny", "--locked", "check", "--hide-inclusion-graph"])
        .args(what);
    process::run(&mut command).context("deny.toml says what is allowed and why")
}

/// Writes the bill of materials of the daemon; where it is.
///
/// # Errors
///
/// When the tool cannot be built or fails.
pub fn bill(workspace: &Workspace) -> Result<PathBuf> {
    let tool = CYCLONEDX.ensure(workspace)?;
    // It writes beside the manifest of every member, where nothing is to stay.
    let name = "simple-dhcpd-datacenter.cdx";
    process::run(
        Command::new(&tool)
            .current_dir(&workspace.root)
            .args(["cyclonedx", "--quiet", "--format", "json", "--all", "--no-build-deps"])
            .args(["--spec-version", "1.5", "--override-filename", name])
            .args(["--manifest-path", "dhcp-user/Cargo.toml"])
            .env("SOURCE_DATE_EPOCH", "0"),
    )?;
    let members = ["dhcp-common", "dhcp-ebpf", "dhcp-user", "xtask", "tests", "tests/fuzz"];
    let bill = folder(workspace).join("sbom.cdx.json");
    fs::create_dir_all(folder(workspace)).context("cannot make target/dist")?;
    for member in members {
        let made = workspace.root.join(member).join(format!("{name}.json"));
        if member == "dhcp-user" {
            let text =
                fs::read_to_string(&made).with_context(|| format!("cannot read {}", made.display()))?;
            // Where it was built is nobody's business, and would make each builder's bill another one.
            let text = text.replace(&*workspace.root.to_string_lossy(), "/simple-dhcpd-datacenter");
            fs::write(&bill, text).with_context(|| format!("cannot write {}", bill.display()))?;
        }
        if made.exists() {
            fs::remove_file(&made).with_context(|| format!("cannot remove {}", made.display()))?;
        }
    }
    println!("{}", bill.display());
    Ok(bill)
}
