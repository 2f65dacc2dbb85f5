//! `dhcpcd`: keeps state under fixed paths, so it runs with a mount namespace of its own.

use std::{fs, process::Command, time::Duration};

use anyhow::{Context as _, Result};

use super::{Client, Event, Hook, Kind, program};
use crate::{
    netns::NetNs,
    process::{self, Process},
};

/// Hides the host's state behind empty file systems, then becomes dhcpcd. `$1` is the program.
const START: &str = "set -e; mount --make-rprivate /; mount -t tmpfs tmpfs /run; mount -t tmpfs tmpfs /var/lib/dhcpcd;\
                     mount -t sysfs -o ro sysfs /sys; exec \"$@\"";

/// A running dhcpcd.
#[derive(Debug)]
pub struct Dhcpcd {
    process: Process,
    hook: Hook,
    interface: String,
}

impl Dhcpcd {
    /// Starts it on `interface` of `ns`.
    ///
    /// # Errors
    ///
    /// When it is not installed or cannot be started.
    pub fn start(ns: &NetNs, interface: &str) -> Result<Self> {
        let hook = Hook::new(interface, "event \"$reason\" \"$new_ip_address\" \"$new_dhcp_lease_time\"")?;
        fs::write(
            hook.path("conf"),
            "option subnet_mask, routers, domain_name_servers, interface_mtu\nnoipv6rs\nnoarp\nnoipv4ll\n\
             require dhcp_server_identifier\n",
        )
        .context("cannot write dhcpcd's configuration")?;
        fs::create_dir_all("/var/lib/dhcpcd").context("cannot make /var/lib/dhcpcd to mount over")?;
        let mut command = ns.command("unshare");
        command.args(["--mount", "sh", "-c", START, "sh"]).arg(program("dhcpcd")?);
        command
            .args(["-4", "-B", "-d", "-f"])
            .arg(hook.path("conf"))
            .arg("-c")
            .arg(hook.script())
            .arg(interface);
        let process = Process::start(&mut command, &hook.path("log"))?;
        Ok(Self { process, hook, interface: interface.to_owned() })
    }

    /// dhcpcd's own command, where the one that runs can be reached.
    fn ask(&self, flag: &str) -> Result<()> {
        let mut command = Command::new("nsenter");
        command
            .args(["--target", &self.process.id().to_string(), "--mount", "--net"])
            .arg(program("dhcpcd")?);
        process::stdout(command.args(["-4", flag, &self.interface])).map(drop)
    }
}

impl Client for Dhcpcd {
    fn version(&self) -> Result<String> {
        let text = process::stdout(Command::new(program("dhcpcd")?).arg("--version"))?;
        Ok(text.lines().next().unwrap_or("dhcpcd").to_owned())
    }

    fn events(&self) -> Result<Vec<Event>> {
        self.hook.events(|word| match word {
            "BOUND" | "REBOOT" => Some(Kind::Bound),
            "RENEW" | "REBIND" => Some(Kind::Renewed),
            "EXPIRE" | "NAK" | "RELEASE" => Some(Kind::Lost),
            _ => None,
        })
    }

    fn renew(&mut self) -> Result<bool> {
        self.ask("-N").map(|()| true)
    }

    fn release(&mut self) -> Result<()> {
        self.ask("-k")?;
        self.process.wait(Duration::from_secs(5)).map(drop)
    }

    fn output(&self) -> String {
        self.process.output()
    }
}
