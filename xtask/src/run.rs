//! `cargo xtask run`: builds as the user who asked, then runs as root: the lab, or the daemon on an interface.

use std::{
    fs,
    os::unix::process::CommandExt as _,
    path::{Path, PathBuf},
    process::{Command, ExitCode},
};

use anyhow::{Context as _, Result, bail};
use clap::{Args, ValueEnum};
use serde_json::{Value, json};

use crate::{apt, ebpf, lab, netif, process, workspace::Workspace};

/// What to run.
#[derive(Args, Clone, Debug)]
pub struct RunArgs {
    /// Serve this interface of the host instead of a lab.
    #[arg(long, requires = "config")]
    iface: Option<String>,
    /// The daemon's configuration; it must list the interface.
    #[arg(long, requires = "iface")]
    config: Option<PathBuf>,
    /// Insist on one way of attaching, in place of the driver's with the generic one as a fallback.
    #[arg(long, requires = "iface")]
    mode: Option<Mode>,
    /// Optimise the daemon.
    #[arg(long)]
    release: bool,
    /// Lab: end by itself after this many seconds.
    #[arg(long, conflicts_with = "iface")]
    secs: Option<u64>,
    /// Lab: print one JSON object at the end on stdout.
    #[arg(long, conflicts_with = "iface")]
    json: bool,
    /// Lab: the client to run.
    #[arg(long, conflicts_with = "iface")]
    client: Option<lab::ClientKind>,
    /// Everything is built already: how we call ourselves through sudo.
    #[arg(long, hide = true)]
    built: bool,
}

/// How an XDP program is attached.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum Mode {
    /// By the interface's driver.
    Driver,
    /// By the kernel's network stack, for drivers without XDP: several times slower.
    Generic,
}

impl Mode {
    fn word(self) -> &'static str {
        match self {
            Self::Driver => "driver",
            Self::Generic => "generic",
        }
    }
}

/// Builds and runs.
///
/// # Errors
///
/// When the build fails, root cannot be had, or what is run fails.
pub fn run(workspace: &Workspace, args: &RunArgs) -> Result<ExitCode> {
    if !args.built {
        ebpf::build(workspace)?;
        workspace.build_daemon(args.release)?;
        if args.iface.is_none() && lab::ClientKind::installed().is_none() && apt::is_debian() {
            apt::ensure(&lab::DEBIAN_PACKAGES, "the lab")?;
        }
    }
    if !apt::is_root() {
        return as_root(workspace);
    }
    let daemon = workspace.daemon(args.release);
    match (&args.iface, &args.config) {
        (Some(iface), Some(config)) => on_interface(&daemon, iface, config, args.mode),
        _ => lab::run(&lab::Plan { daemon, secs: args.secs, json: args.json, client: args.client }),
    }
}

/// Becomes this very command under sudo, with everything built.
fn as_root(workspace: &Workspace) -> Result<ExitCode> {
    let own = std::env::current_exe().context("cannot tell where this program is")?;
    if process::which("sudo").is_none() {
        bail!("running takes root (BPF and network namespaces), and sudo is not installed: run as root");
    }
    eprintln!("xtask: everything is built; running it takes root, so sudo asks now");
    let mut command = Command::new("sudo");
    command.arg("env").arg(format!("CARGO_TARGET_DIR={}", workspace.target.display()));
    command.arg(format!("CARGO={}", crate::workspace::cargo().display()));
    command.arg(own).args(std::env::args_os().skip(1)).arg("--built");
    Err(command.exec()).context("cannot start sudo")
}

/// Becomes the daemon. `mode` is put into a copy of the configuration.
fn on_interface(daemon: &Path, iface: &str, config: &Path, mode: Option<Mode>) -> Result<ExitCode> {
    if netif::index(iface).is_none() {
        bail!("there is no interface {iface:?}; `ip link` lists them");
    }
    let text = fs::read_to_string(config).with_context(|| format!("cannot read {}", config.display()))?;
    let mut json: Value =
        serde_json::from_str(&text).with_context(|| format!("{} is no JSON", config.display()))?;
    let entry = interface_entry(&mut json, iface)
        .with_context(|| format!("{} does not list {iface:?} under dhcp.interfaces", config.display()))?;
    let mut command = Command::new(daemon);
    match mode {
        None => command.arg("--config").arg(config),
        Some(mode) => {
            set_mode(entry, iface, mode);
            let copy = std::env::temp_dir().join(format!("dhcp-{}.json", std::process::id()));
            write_new(&copy, &serde_json::to_string_pretty(&json)?)?;
            let status = command.arg("--config").arg(&copy).status();
            let _ = fs::remove_file(&copy);
            let status = status.with_context(|| format!("cannot start {}", daemon.display()))?;
            return Ok(if status.success() { ExitCode::SUCCESS } else { ExitCode::FAILURE });
        }
    };
    Err(command.exec()).with_context(|| format!("cannot start {}", daemon.display()))
}

fn write_new(path: &Path, text: &str) -> Result<()> {
    use std::{io::Write as _, os::unix::fs::OpenOptionsExt as _};
    let file = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path);
    file.and_then(|mut file| file.write_all(text.as_bytes()))
        .with_context(|| format!("cannot write {}", path.display()))
}

/// The interface's entry in `dhcp.interfaces`: its name, or an object with its name.
fn interface_entry<'a>(config: &'a mut Value, iface: &str) -> Option<&'a mut Value> {
    config
        .pointer_mut("/dhcp/interfaces")?
        .as_array_mut()?
        .iter_mut()
        .find(|entry| entry.as_str().or_else(|| entry.get("name")?.as_str()) == Some(iface))
}

fn set_mode(entry: &mut Value, iface: &str, mode: Mode) {
    if let Some(object) = entry.as_object_mut() {
        object.insert("mode".to_owned(), mode.word().into());
    } else {
        *entry = json!({"name": iface, "mode": mode.word()});
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mode_is_set_on_the_interface_asked_for_and_no_other() {
        let mut config = json!({"dhcp": {"interfaces": ["eth0", {"name": "eth1", "address": "198.18.0.1"}]}});
        set_mode(interface_entry(&mut config, "eth1").unwrap(), "eth1", Mode::Driver);
        set_mode(interface_entry(&mut config, "eth0").unwrap(), "eth0", Mode::Generic);
        assert!(interface_entry(&mut config, "eth2").is_none());
        let wanted = json!({"dhcp": {"interfaces": [
            {"name": "eth0", "mode": "generic"},
            {"name": "eth1", "address": "198.18.0.1", "mode": "driver"},
        ]}});
        assert_eq!(config, wanted);
    }
}
