//! systemd-networkd without the rest of systemd: a mount namespace of its own, /sys read-only so that it does not wait
//! for udev, no D-Bus. It has no hook; what happened is read from its log.

use std::{fs, process::Command, time::Duration};

use anyhow::{Context as _, Result};
use rustix::process::Signal;

use super::{Client, Event, Hook, Kind, program};
use crate::{
    netns::NetNs,
    process::{self, Process},
};

/// Hides the host's state, puts the configuration folder `$1` in place, then becomes what follows.
const START: &str = "set -e; mount --make-rprivate /; mount -t tmpfs tmpfs /run; mkdir -p /run/systemd/network;\
                     cp \"$1\"/*.network /run/systemd/network/; mkdir -p -m 755 /run/systemd/netif;\
                     chown systemd-network: /run/systemd/netif; mount -t tmpfs tmpfs /etc/systemd/network;\
                     mount -t sysfs -o ro sysfs /sys; shift; exec \"$@\"";

/// A running systemd-networkd that manages one interface.
#[derive(Debug)]
pub struct Networkd {
    process: Process,
    hook: Hook,
}

impl Networkd {
    /// Starts it on `interface` of `ns`.
    ///
    /// # Errors
    ///
    /// When it is not installed or cannot be started.
    pub fn start(ns: &NetNs, interface: &str) -> Result<Self> {
        let hook = Hook::new(interface, "")?;
        let folder = hook.path("network");
        fs::create_dir(&folder).context("cannot make networkd's folder")?;
        fs::write(
            folder.join("10-test.network"),
            format!(
                "[Match]\nName={interface}\n[Network]\nDHCP=ipv4\nLinkLocalAddressing=no\nIPv6AcceptRA=no\n\
                 [DHCPv4]\nClientIdentifier=mac\nSendRelease=yes\n"
            ),
        )
        .context("cannot write networkd's configuration")?;
        fs::create_dir_all("/etc/systemd/network")
            .context("cannot make /etc/systemd/network to mount over")?;
        let mut command = ns.command("unshare");
        command.args(["--mount", "sh", "-c", START, "sh"]).arg(&folder).arg(program("systemd-networkd")?);
        command.env("SYSTEMD_LOG_LEVEL", "debug").env("SYSTEMD_LOG_TARGET", "console");
        let process = Process::start(&mut command, &hook.path("log"))?;
        Ok(Self { process, hook })
    }
}

impl Client for Networkd {
    fn version(&self) -> Result<String> {
        let text = process::stdout(Command::new(program("networkctl")?).arg("--version"))?;
        Ok(format!("systemd-networkd {}", text.split_whitespace().nth(1).unwrap_or("of no version")))
    }

    fn events(&self) -> Result<Vec<Event>> {
        let text = fs::read(self.hook.path("log")).context("cannot read networkd's log")?;
        Ok(events(&String::from_utf8_lossy(&text)))
    }

    fn renew(&mut self) -> Result<bool> {
        // `networkctl renew` goes over D-Bus, which is not there.
        Ok(false)
    }

    fn release(&mut self) -> Result<()> {
        self.process.signal(Signal::TERM)?;
        self.process.wait(Duration::from_secs(10)).map(drop)
    }

    fn output(&self) -> String {
        self.process.output()
    }
}

/// The events a debug log tells. An ACK is a renewal if the REQUEST before it was one.
fn events(log: &str) -> Vec<Event> {
    let mut found = Vec::new();
    let mut request = "";
    for line in log.lines() {
        let make =
            |kind, word: &str, address| Event { kind, word: word.to_owned(), address, lease_secs: None };
        if let Some((_, state)) = line.split_once("DHCPv4 client: REQUEST (") {
            request = state.trim_end_matches(')');
        } else if line.ends_with("DHCPv4 client: ACK") && matches!(request, "renewing" | "rebinding") {
            found.push(make(Kind::Renewed, request, None));
        } else if let Some((_, rest)) = line.split_once(": DHCPv4 address ")
            && rest.contains(" acquired from ")
        {
            let address = rest.split('/').next().and_then(|text| text.parse().ok());
            found.push(make(Kind::Bound, "acquired", address));
        } else if line.ends_with("DHCP lease lost") || line.ends_with("DHCPv4 client: NAK") {
            found.push(make(Kind::Lost, "lost", None));
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_renewal_is_told_from_the_first_lease() {
        let log = "c0: DHCPv4 client: REQUEST (requesting)\nc0: DHCPv4 client: ACK\n\
                   c0: DHCPv4 address 198.18.1.10/16, gateway 198.18.0.1 acquired from 198.18.0.1\n\
                   c0: DHCPv4 client: REQUEST (rebinding)\nc0: DHCPv4 client: ACK\nc0: DHCP lease lost\n";
        let kinds: Vec<Kind> = events(log).iter().map(|event| event.kind).collect();
        assert_eq!(kinds, [Kind::Bound, Kind::Renewed, Kind::Lost]);
    }
}
