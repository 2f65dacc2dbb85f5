//! What others' work is in the binary: licences and sources judged by `cargo deny` (deny.toml), and a bill of materials
//! (CycloneDX); their notices are `notices`' business. Both tools are built once, into the project's own tools folder, each in one version.

use std::{
    collections::HashSet,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result};
use serde_json::{Value, json};

use super::{
    folder,
    notices::{self, Vendored},
};
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

/// Writes the bill of materials of the daemon, of the kernel program in it and of what its page is drawn with; where it is.
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
    let made = |member: &str| workspace.root.join(member).join(format!("{name}.json"));
    let read = |member: &str| -> Result<Value> {
        let path = made(member);
        let text = fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
        // Where it was built is nobody's business, and would make each builder's bill another one.
        let text = text.replace(&*workspace.root.to_string_lossy(), "/simple-dhcpd-datacenter");
        serde_json::from_str(&text).with_context(|| format!("{} is no JSON", path.display()))
    };
    let bills = read("dhcp-user").and_then(|daemon| Ok((daemon, read("dhcp-ebpf")?)));
    for made in members.map(made).iter().filter(|made| made.exists()) {
        fs::remove_file(made).with_context(|| format!("cannot remove {}", made.display()))?;
    }
    let (daemon, kernel) = bills?;
    let whole = joined(daemon, kernel, page_library(&notices::vendored(workspace)?))?;
    let bill = folder(workspace).join("sbom.cdx.json");
    fs::create_dir_all(folder(workspace)).context("cannot make target/dist")?;
    fs::write(&bill, format!("{whole:#}\n")).with_context(|| format!("cannot write {}", bill.display()))?;
    println!("{}", bill.display());
    Ok(bill)
}

/// A library of the page, as a component.
fn page_library(library: &Vendored) -> Value {
    let Vendored { name, version, licence, .. } = library;
    let purl = format!("pkg:npm/{}@{version}", name.to_lowercase());
    json!({
        "type": "library", "bom-ref": purl, "name": name, "version": version, "scope": "required",
        "licenses": [{"license": {"id": licence}}], "purl": purl,
    })
}

/// The daemon's bill with that of the kernel program it carries, and what the page is drawn with.
fn joined(mut daemon: Value, kernel: Value, page: Value) -> Result<Value> {
    let program = kernel.pointer("/metadata/component").cloned().context("a bill of nothing")?;
    let daemon_ref = daemon.pointer("/metadata/component/bom-ref").cloned().context("a bill of nothing")?;
    let carried = [&program, &page].map(|one| one.get("bom-ref").cloned().unwrap_or_default());
    let listed =
        |bill: &Value, key: &str| bill.get(key).and_then(Value::as_array).cloned().unwrap_or_default();
    for (key, name, more) in
        [("components", "bom-ref", vec![program, page]), ("dependencies", "ref", Vec::new())]
    {
        let mut all = listed(&daemon, key);
        let known: HashSet<_> = all.iter().filter_map(|one| Some(one.get(name)?.to_string())).collect();
        let is_new = |one: &Value| one.get(name).is_none_or(|name| !known.contains(&name.to_string()));
        all.extend(listed(&kernel, key).into_iter().chain(more).filter(is_new));
        if key == "dependencies" {
            let of_daemon = all.iter_mut().find(|one| one.get("ref") == Some(&daemon_ref));
            let on = of_daemon.and_then(|one| one.get_mut("dependsOn")?.as_array_mut());
            on.context("the daemon depends on nothing")?.extend(carried.clone());
        }
        *daemon.get_mut(key).context("a bill without components or dependencies")? = Value::Array(all);
    }
    Ok(daemon)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bill_is_of_the_kernel_program_and_the_page_too_and_names_each_once() {
        let bill = |name: &str, parts: &[&str]| {
            let components: Vec<_> = parts.iter().map(|part| json!({"bom-ref": part})).collect();
            let mut on: Vec<_> = parts.iter().map(|part| json!({"ref": part, "dependsOn": []})).collect();
            on.push(json!({"ref": name, "dependsOn": parts}));
            json!({"metadata": {"component": {"bom-ref": name}}, "components": components, "dependencies": on})
        };
        let library = json!({"bom-ref": "pkg:npm/uplot@1"});
        let whole =
            joined(bill("daemon", &["serde", "common"]), bill("kernel", &["common", "aya-ebpf"]), library);
        let whole = whole.unwrap();
        let names: Vec<_> = whole["components"]
            .as_array()
            .unwrap()
            .iter()
            .map(|one| one["bom-ref"].as_str().unwrap())
            .collect();
        assert_eq!(names, ["serde", "common", "aya-ebpf", "kernel", "pkg:npm/uplot@1"]);
        let on = |name: &str| {
            let all = whole["dependencies"].as_array().unwrap();
            let found: Vec<_> = all.iter().filter(|one| one["ref"] == name).collect();
            assert_eq!(found.len(), 1, "{name}");
            found[0]["dependsOn"].clone()
        };
        assert_eq!(on("daemon"), json!(["serde", "common", "kernel", "pkg:npm/uplot@1"]));
        assert_eq!(on("kernel"), json!(["common", "aya-ebpf"]));
        assert_eq!(on("common"), json!([]));
    }
}
