//! The daemon in the lab: its built-in configuration, its start, and the questions asked of it.

use std::{
    fs::{self, File},
    os::unix::net::UnixStream,
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    time::Duration,
};

use anyhow::{Context as _, Result, bail};
use serde_json::{Value, json};

use super::net::{Net, Pins, SERVER_ADDRESS, SERVER_IF, wait_for};
use crate::{process, workspace::DAEMON};

/// The daemon's name.
pub const NAME: &str = DAEMON;

/// The file of its log in the lab's folder.
pub const LOG: &str = "daemon.log";

/// Lease time in seconds: short, so that a renewal is seen every ten.
const LEASE_SECS: u32 = 20;

/// The running daemon; killed when dropped.
pub struct Daemon {
    child: Child,
    binary: PathBuf,
    socket: PathBuf,
    log: PathBuf,
}

impl Daemon {
    /// Starts the daemon in the server's namespace and waits until its control socket accepts.
    ///
    /// # Errors
    ///
    /// When it ends before that or takes too long; the error has its log.
    pub fn start(net: &Net, binary: &Path, folder: &Path, pins: &Pins) -> Result<Self> {
        let socket = folder.join("control.sock");
        let file = folder.join("dhcp.json");
        let text = serde_json::to_string_pretty(&config(folder, &socket, &pins.path))?;
        fs::write(&file, text).with_context(|| format!("cannot write {}", file.display()))?;
        let log = folder.join(LOG);
        let out = File::create(&log).with_context(|| format!("cannot create {}", log.display()))?;
        let err = out.try_clone().with_context(|| format!("cannot share {}", log.display()))?;
        let child = net
            .command(&net.server, binary)?
            .arg("--config")
            .arg(&file)
            .stdin(Stdio::null())
            .stdout(out)
            .stderr(err)
            .spawn()
            .with_context(|| format!("cannot start {}", binary.display()))?;
        let mut daemon = Self { child, binary: binary.to_owned(), socket, log };
        if let Err(error) = daemon.wait_ready() {
            bail!("{error:#}; its log:\n{}", daemon.log());
        }
        Ok(daemon)
    }

    fn wait_ready(&mut self) -> Result<()> {
        let socket = self.socket.clone();
        wait_for(Duration::from_secs(20), "the daemon to answer on its control socket", || {
            if UnixStream::connect(&socket).is_ok() {
                return Ok(Some(()));
            }
            match self.ended()? {
                Some(status) => bail!("the daemon ended ({status}) before it answered on its control socket"),
                None => Ok(None),
            }
        })
    }

    /// Its exit status, if it has ended.
    ///
    /// # Errors
    ///
    /// When the system cannot tell.
    pub fn ended(&mut self) -> Result<Option<ExitStatus>> {
        self.child.try_wait().context("cannot ask after the daemon")
    }

    /// What it logged.
    pub fn log(&self) -> String {
        fs::read(&self.log).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default()
    }

    /// Runs the daemon's own command line against it and returns the JSON it prints.
    ///
    /// # Errors
    ///
    /// When it does not answer or not in JSON.
    pub fn ask(&self, words: &[&str]) -> Result<Value> {
        let mut command = Command::new(&self.binary);
        let text = process::stdout(command.args(words).args(["--json", "--socket"]).arg(&self.socket))?;
        serde_json::from_str(&text).with_context(|| format!("`{NAME} {}` printed no JSON", words.join(" ")))
    }

    /// Ends it as a service manager does, with SIGTERM.
    ///
    /// # Errors
    ///
    /// When it does not end within ten seconds; it is killed then.
    pub fn stop(&mut self) -> Result<()> {
        if self.ended()?.is_some() {
            return Ok(());
        }
        let id = i32::try_from(self.child.id()).context("a process id over 2^31")?;
        // SAFETY: kill takes no pointers; the child is not waited for yet, so the id is its.
        unsafe { libc::kill(id, libc::SIGTERM) };
        let end = std::time::Instant::now() + Duration::from_secs(10);
        while self.ended()?.is_none() {
            if std::time::Instant::now() > end {
                bail!("the daemon did not end within 10 s of SIGTERM; its log:\n{}", self.log());
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(())
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn config(folder: &Path, socket: &Path, pins: &Path) -> Value {
    json!({"dhcp": {
        "interfaces": [{"name": SERVER_IF, "address": SERVER_ADDRESS}],
        "store": {"path": folder.join("leases")},
        "control": {"socket": socket},
        "fastpath": {"pin_path": pins},
        "lease_secs": LEASE_SECS,
        "lease_min_secs": LEASE_SECS / 2,
        "subnets": [{
            "subnet": "198.18.0.0/16",
            "interface": SERVER_IF,
            "pools": [{"range": "198.18.1.0-198.18.1.255"}],
            "options": [
                {"name": "routers", "value": [SERVER_ADDRESS]},
                {"name": "domain-name-servers", "value": ["198.18.0.53"]},
            ],
        }],
    }})
}
