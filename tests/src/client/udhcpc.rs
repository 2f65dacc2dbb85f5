//! busybox's client, Debian's `udhcpc`: the one that ignores T1 and T2 and counts from the lease time.

use std::{process::Command, time::Duration};

use anyhow::{Context as _, Result};
use rustix::process::Signal;

use super::{Client, Event, Hook, Kind, program};
use crate::{netns::NetNs, process::Process};

/// A running udhcpc.
#[derive(Debug)]
pub struct Udhcpc {
    process: Process,
    hook: Hook,
}

impl Udhcpc {
    /// Starts it on `interface` of `ns`.
    ///
    /// # Errors
    ///
    /// When it is not installed or cannot be started.
    pub fn start(ns: &NetNs, interface: &str) -> Result<Self> {
        let hook = Hook::new(
            interface,
            "case $1 in bound|renew) address \"$ip\" ;; deconfig) address '' ;; esac\nevent \"$1\" \"$ip\" \"$lease\"",
        )?;
        let mut command = ns.command(program("udhcpc")?);
        command.args(["-f", "-v", "-t", "5", "-T", "1", "-A", "1", "-i", interface, "-s"]).arg(hook.script());
        command.arg("-p").arg(hook.path("pid"));
        let process = Process::start(&mut command, &hook.path("log"))?;
        Ok(Self { process, hook })
    }
}

impl Client for Udhcpc {
    fn version(&self) -> Result<String> {
        // It has no option for its version, and says it whatever it is asked.
        let output =
            Command::new(program("udhcpc")?).arg("--help").output().context("cannot start udhcpc")?;
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        let version =
            text.split_whitespace().find_map(|word| word.strip_prefix('v')).unwrap_or("of no version");
        Ok(format!("udhcpc {version}"))
    }

    fn events(&self) -> Result<Vec<Event>> {
        self.hook.events(|word| match word {
            "bound" => Some(Kind::Bound),
            "renew" => Some(Kind::Renewed),
            "deconfig" | "nak" => Some(Kind::Lost),
            _ => None,
        })
    }

    fn renew(&mut self) -> Result<bool> {
        self.process.signal(Signal::USR1).map(|()| true)
    }

    fn release(&mut self) -> Result<()> {
        self.process.signal(Signal::USR2)?;
        self.process.wait_output("entering released state", Duration::from_secs(5))?;
        self.process.kill()
    }

    fn output(&self) -> String {
        self.process.output()
    }
}
