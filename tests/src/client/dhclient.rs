//! ISC's `dhclient`: honours T1 and T2, with a random part of its own.

use std::{fs, process::Command};

use anyhow::{Context as _, Result, ensure};

use super::{Client, Event, Hook, Kind, program};
use crate::{
    netns::NetNs,
    process::{self, Process},
};

/// A running dhclient.
#[derive(Debug)]
pub struct Dhclient {
    process: Process,
    hook: Hook,
    release: Command,
}

impl Dhclient {
    /// Starts it on `interface` of `ns`.
    ///
    /// # Errors
    ///
    /// When it is not installed or cannot be started.
    pub fn start(ns: &NetNs, interface: &str) -> Result<Self> {
        let hook = Hook::new(
            interface,
            "case $reason in BOUND|REBOOT|RENEW|REBIND) address \"$new_ip_address\" ;;\n\
             EXPIRE|FAIL|RELEASE|STOP) address '' ;; esac\n\
             event \"$reason\" \"$new_ip_address\" \"$new_dhcp_lease_time\"",
        )?;
        // Debian's AppArmor profile, which goes by the program's path, would keep it from our folder.
        let binary = hook.path("dhclient");
        // By another process: one that a test beside this one starts would inherit the file we write, and a file that
        // is open for writing cannot be run.
        let copied =
            Command::new("cp").arg(program("dhclient")?).arg(&binary).status().context("cannot run cp")?;
        ensure!(copied.success(), "cannot copy dhclient to {}", binary.display());
        fs::write(
            hook.path("conf"),
            "request subnet-mask, broadcast-address, routers, domain-name-servers, interface-mtu;\n\
             timeout 30;\nretry 2;\ninitial-interval 1;\nbackoff-cutoff 2;\n",
        )
        .context("cannot write dhclient's configuration")?;
        let command = |first: &[&str]| {
            let mut command = ns.command(&binary);
            command.args(first).arg("-sf").arg(hook.script());
            for (flag, name) in [("-cf", "conf"), ("-lf", "leases"), ("-pf", "pid")] {
                command.arg(flag).arg(hook.path(name));
            }
            command.arg(interface);
            command
        };
        let process = Process::start(&mut command(&["-4", "-d"]), &hook.path("log"))?;
        let release = command(&["-4", "-r"]);
        Ok(Self { process, hook, release })
    }
}

impl Client for Dhclient {
    fn version(&self) -> Result<String> {
        let output =
            Command::new(program("dhclient")?).arg("--version").output().context("cannot start dhclient")?;
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        let version = text.trim().strip_prefix("isc-dhclient-").unwrap_or("of no version");
        Ok(format!("dhclient {version}"))
    }

    fn events(&self) -> Result<Vec<Event>> {
        self.hook.events(|word| match word {
            "BOUND" | "REBOOT" => Some(Kind::Bound),
            "RENEW" | "REBIND" => Some(Kind::Renewed),
            "EXPIRE" | "FAIL" | "RELEASE" | "STOP" => Some(Kind::Lost),
            _ => None,
        })
    }

    fn renew(&mut self) -> Result<bool> {
        Ok(false)
    }

    fn release(&mut self) -> Result<()> {
        // It sends the RELEASE itself and asks the one that runs to end, which that sometimes does not hear.
        process::stdout(&mut self.release)?;
        self.process.kill()
    }

    fn output(&self) -> String {
        self.process.output()
    }
}
