//! A real DHCP client in the lab, with a hook script that sets the address and writes down what happened.

use std::{
    fmt,
    fs::{self, File},
    path::{Path, PathBuf},
    process::{Child, Stdio},
};

use anyhow::{Context as _, Result, bail};

use super::net::{CLIENT_IF, Net};
use crate::process;

/// What is installed where no client is found.
pub const DEBIAN_PACKAGES: [&str; 1] = ["isc-dhcp-client"];

/// A client the lab can run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Kind {
    /// ISC's dhclient.
    Dhclient,
    /// busybox's udhcpc. It loses an answer to a unicast renewal that comes within some 100 us, as the kernel's do on
    /// a veth pair, and asks again by broadcast.
    Udhcpc,
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.program())
    }
}

impl Kind {
    fn program(self) -> &'static str {
        match self {
            Self::Dhclient => "dhclient",
            Self::Udhcpc => "udhcpc",
        }
    }

    /// The first client that is installed.
    pub fn installed() -> Option<Self> {
        [Self::Dhclient, Self::Udhcpc].into_iter().find(|kind| process::which(kind.program()).is_some())
    }
}

/// The hook: `event WORD ADDRESS LEASE_SECS` in either client's words.
const HOOK: &str = r#"#!/bin/sh
PATH=/usr/sbin:/sbin:/usr/bin:/bin
word=${reason:-$1} address=${new_ip_address:-$ip} lease=${new_dhcp_lease_time:-$lease}
case $word in
BOUND|REBOOT|RENEW|REBIND|bound|renew) ip address replace "$address/16" broadcast + dev INTERFACE ;;
EXPIRE|FAIL|RELEASE|STOP|deconfig) ip -4 address flush dev INTERFACE ;;
esac
case $word in
PREINIT|deconfig) ;;
*) echo "$word $address $lease" >> EVENTS ;;
esac
"#;

/// The running client; killed when dropped.
pub struct Running {
    /// Which it is.
    pub kind: Kind,
    child: Child,
    events: PathBuf,
}

impl Running {
    /// Starts the client `wanted`, or the first that is installed, in the client's namespace.
    ///
    /// # Errors
    ///
    /// When none is installed or it cannot be started.
    pub fn start(net: &Net, wanted: Option<Kind>, folder: &Path) -> Result<Self> {
        use std::os::unix::fs::PermissionsExt as _;
        let Some(kind) = wanted.or_else(Kind::installed) else {
            bail!("no DHCP client is installed: {}", crate::apt::command_line(&DEBIAN_PACKAGES));
        };
        let program = process::which(kind.program()).with_context(|| {
            format!("{kind} is not installed; Debian has a package udhcpc, and isc-dhcp-client")
        })?;
        let (hook, events) = (folder.join("hook"), folder.join("events"));
        let text = HOOK.replace("INTERFACE", CLIENT_IF).replace("EVENTS", &events.display().to_string());
        fs::write(&hook, text).with_context(|| format!("cannot write {}", hook.display()))?;
        fs::set_permissions(&hook, fs::Permissions::from_mode(0o755))
            .context("cannot make the hook executable")?;
        fs::write(&events, "").with_context(|| format!("cannot write {}", events.display()))?;
        // Debian's AppArmor profile for dhclient goes by its path and would keep it from our folder.
        let own = folder.join(kind.program());
        fs::copy(&program, &own).with_context(|| format!("cannot copy {}", program.display()))?;
        // busybox goes by the name it is called by, so a copy keeps it.
        let mut command = net.command(&net.client, &own)?;
        match kind {
            Kind::Dhclient => {
                fs::write(folder.join("dhclient.conf"), "timeout 30;\nretry 2;\ninitial-interval 1;\n")
                    .context("cannot write dhclient's configuration")?;
                command.args(["-4", "-d", "-sf"]).arg(&hook);
                for (flag, name) in
                    [("-cf", "dhclient.conf"), ("-lf", "dhclient.leases"), ("-pf", "dhclient.pid")]
                {
                    command.arg(flag).arg(folder.join(name));
                }
                command.arg(CLIENT_IF);
            }
            Kind::Udhcpc => {
                command.args(["-f", "-t", "5", "-T", "1", "-A", "1", "-i", CLIENT_IF, "-s"]).arg(&hook);
            }
        }
        let log = folder.join("client.log");
        let out = File::create(&log).with_context(|| format!("cannot create {}", log.display()))?;
        let err = out.try_clone().with_context(|| format!("cannot share {}", log.display()))?;
        let child = command
            .stdin(Stdio::null())
            .stdout(out)
            .stderr(err)
            .spawn()
            .with_context(|| format!("cannot start {kind}"))?;
        Ok(Self { kind, child, events })
    }

    /// What happened to it so far, a line each: its own word, address, lease time in seconds.
    pub fn events(&self) -> Vec<String> {
        let text = fs::read_to_string(&self.events).unwrap_or_default();
        text.lines().map(str::to_owned).collect()
    }

    /// Ends it.
    pub fn stop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.stop();
    }
}
