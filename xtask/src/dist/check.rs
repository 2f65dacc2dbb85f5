//! The package's whole life in a throw-away Debian: installed, configured, serving a real client, stopped, killed,
//! upgraded, removed, installed again, purged. What is looked at after each step is what an operator would be angry about.

use std::{fs, path::Path, time::Instant};

use anyhow::{Context as _, Result, ensure};

use super::{folder, machine::Machine};
use crate::workspace::{DAEMON, Workspace};

const UNIT: &str = "simple-dhcpd-datacenter.service";
/// CAP_NET_ADMIN, CAP_PERFMON and CAP_BPF: what the README promises while it serves.
const CAPABILITIES: &str = "000000c000001000";
/// Leases of 20 seconds: a client renews every 10 or sooner.
const CONFIG: &str = r#"{"dhcp": {"interfaces": [{"name": "dhcp0", "mode": "generic"}], "lease_secs": 20,
"subnets": [{"subnet": "198.18.0.0/24", "interface": "dhcp0", "pools": [{"range": "198.18.0.100-198.18.0.199"}]}]}}
"#;
const LINK: &str = "
ip netns add client
ip link add dhcp0 type veth peer name client0 netns client
ip address add 198.18.0.1/24 dev dhcp0
ip link set dhcp0 up
ip -n client link set lo up
ip -n client link set client0 up
";
/// Says each of its renewals as a line.
const CLIENT_SCRIPT: &str = "#!/bin/sh
echo \"$reason $new_ip_address\" >> /run/client.log
[ -z \"$new_ip_address\" ] || ip address replace \"$new_ip_address/24\" dev \"$interface\"
";

/// The machine with the package's life so far.
struct Life {
    machine: Machine,
    begun: Instant,
}

/// Lives through it all.
///
/// # Errors
///
/// At the first thing that is not as it should be.
pub fn run(workspace: &Workspace, package: &Path, later: &Path) -> Result<()> {
    let machine = Machine::boot(&folder(workspace))?;
    for (from, to) in [(package, "run.deb"), (later, "later.deb")] {
        let to = machine.root().join("opt").join(to);
        fs::copy(from, &to).with_context(|| format!("cannot copy {} to {}", from.display(), to.display()))?;
    }
    let life = Life { machine, begun: Instant::now() };
    life.installed()?;
    life.serving()?;
    life.reloaded()?;
    life.stopped_and_killed()?;
    life.upgraded()?;
    life.removed()?;
    life.purged()?;
    println!("the package was installed, served, was upgraded under a renewing client, removed and purged");
    Ok(())
}

impl Life {
    fn say(&self, what: &str) {
        println!("{:>7.1} s  {what}", self.begun.elapsed().as_secs_f64());
    }

    fn sh(&self, script: &str) -> Result<String> {
        self.machine.run(script)
    }

    /// Whether the unit is in `state`.
    fn becomes(&self, state: &str) -> Result<()> {
        self.machine
            .wait(&format!("systemctl is-active {UNIT} || true"), 30, |said| said.trim() == state)
            .with_context(|| {
                let log = self.sh(&format!(
                    "journalctl -u {UNIT} --no-pager -n 40; cat /run/log/* 2>/dev/null || true"
                ));
                log.unwrap_or_else(|error| error.to_string())
            })
            .map(drop)
    }

    fn main_pid(&self) -> Result<u32> {
        let said = self.sh(&format!("systemctl show --value -p MainPID {UNIT}"))?;
        said.trim().parse().with_context(|| format!("systemd says {said:?} for the daemon's process"))
    }

    fn renewals(&self) -> Result<usize> {
        Ok(self.sh("cat /run/client.log")?.lines().filter(|line| line.starts_with("RENEW ")).count())
    }

    /// Waits for another renewal; the client never has to begin again.
    fn renews(&self) -> Result<()> {
        let before = self.renewals()?;
        let log = self.machine.wait("cat /run/client.log", 30, |log| {
            log.lines().filter(|line| line.starts_with("RENEW ")).count() > before
        })?;
        let troubles = ["EXPIRE", "FAIL", "TIMEOUT", "REBIND", "STOP"];
        ensure!(!troubles.iter().any(|trouble| log.contains(trouble)), "the client had trouble:\n{log}");
        Ok(())
    }

    fn kernel_answered(&self) -> Result<u64> {
        let text = self.sh(&format!("{DAEMON} stats --json"))?;
        let stats: serde_json::Value = serde_json::from_str(&text).context("stats --json is not JSON")?;
        stats.pointer("/kernel/answered").and_then(serde_json::Value::as_u64).context("no kernel counters")
    }

    fn has_program(&self) -> Result<bool> {
        Ok(self.sh("ip -details link show dev dhcp0")?.contains("xdp"))
    }

    fn installed(&self) -> Result<()> {
        self.sh("dpkg --install /opt/run.deb")?;
        self.sh(&format!("systemctl is-enabled {UNIT}"))?;
        self.becomes("inactive").context("without a configuration the daemon must not run")?;
        self.sh("getent passwd simple-dhcpd")?;
        self.sh(&format!("systemd-analyze verify {UNIT} 2>&1"))?;
        self.sh("dpkg --verify simple-dhcpd-datacenter && test -z \"$(dpkg --audit)\"")?;
        for file in [
            "man/man8/simple-dhcpd-datacenter.8.gz",
            "man/man8/simple-dhcpd-datacenter-leases-list.8.gz",
            "bash-completion/completions/simple-dhcpd-datacenter",
            "zsh/vendor-completions/_simple-dhcpd-datacenter",
            "fish/vendor_completions.d/simple-dhcpd-datacenter.fish",
            "doc/simple-dhcpd-datacenter/copyright",
        ] {
            // Slimmed roots leave manuals out (dpkg's path-exclude): the package's list has them all the same.
            self.sh(&format!("dpkg --listfiles simple-dhcpd-datacenter | grep -qx /usr/share/{file}"))?;
        }
        let exposure = self.sh(&format!("systemd-analyze security --no-pager {UNIT} | tail -1"))?;
        self.say(&format!(
            "installed, enabled, waiting for a configuration; {}",
            exposure.trim_start_matches(['→', ' ']).trim()
        ));
        Ok(())
    }

    fn serving(&self) -> Result<()> {
        self.sh(LINK)?;
        let write = |path: &str, text: &str| {
            let path = self.machine.root().join(path);
            fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))
        };
        write("etc/simple-dhcpd/dhcp.json", CONFIG)?;
        write("opt/client-script", CLIENT_SCRIPT)?;
        self.sh("chmod 755 /opt/client-script; chgrp simple-dhcpd /etc/simple-dhcpd/dhcp.json")?;
        self.sh(&format!("chmod 640 /etc/simple-dhcpd/dhcp.json; systemctl start {UNIT} || true"))?;
        self.becomes("active")?;
        let status = self.sh(&format!("cat /proc/{}/status", self.main_pid()?))?;
        let field = |name: &str| {
            status
                .lines()
                .find_map(|line| line.strip_prefix(name))
                .map(str::trim)
                .unwrap_or_default()
                .to_owned()
        };
        ensure!(field("CapEff:") == CAPABILITIES, "the daemon has the capabilities {}", field("CapEff:"));
        ensure!(field("NoNewPrivs:") == "1", "the daemon may gain privileges");
        ensure!(!field("Uid:").starts_with('0'), "the daemon runs as root");
        self.sh(
            "systemd-run --quiet --unit=client ip netns exec client dhclient -d -sf /opt/client-script \
             -lf /run/client.leases -pf /run/client.pid client0",
        )?;
        self.machine.wait("cat /run/client.log", 30, |log| log.contains("BOUND 198.18.0."))?;
        self.renews()?;
        ensure!(self.kernel_answered()? > 0, "the client's renewal was not answered in the kernel");
        self.say("serving: own user, three capabilities, a client's renewal answered in the kernel");
        Ok(())
    }

    /// A file that cannot be taken up is refused by `systemctl reload` itself, and nothing changes.
    fn reloaded(&self) -> Result<()> {
        let before = self.main_pid()?;
        let path = self.machine.root().join("etc/simple-dhcpd/dhcp.json");
        let write = |text: &str| fs::write(&path, text).context("cannot write the configuration");
        write(&CONFIG.replace("lease_secs", "lease_secz"))?;
        self.sh(&format!("! systemctl reload {UNIT}")).context("a wrong file was reloaded")?;
        self.machine.wait(&format!("journalctl -u {UNIT} --no-pager -n 40"), 30, |log| {
            log.contains("did you mean `lease_secs`")
        })?;
        self.becomes("active").context("after a refused reload")?;
        write(&CONFIG.replace("198.18.0.199", "198.18.0.150"))?;
        self.sh(&format!("systemctl reload {UNIT}"))?;
        let subnets = self.sh(&format!("{DAEMON} subnets"))?;
        ensure!(subnets.contains("198.18.0.150"), "the reloaded file is not in force:\n{subnets}");
        write(CONFIG)?;
        self.sh(&format!("systemctl reload {UNIT}"))?;
        ensure!(self.main_pid()? == before, "reloading restarted the daemon");
        let changes = self.sh("cat /var/lib/simple-dhcpd/api/changes.ndjson")?;
        ensure!(changes.contains("(simple-dhcpd)"), "the record does not say who reloaded:\n{changes}");
        // The kernel is taught anew by it: a daemon that stopped before would leave nobody to answer.
        self.renews().context("after the reload")?;
        self.say("reloaded: a wrong file is refused and systemctl says so, a right one is in force");
        Ok(())
    }

    fn stopped_and_killed(&self) -> Result<()> {
        self.sh(&format!("systemctl stop {UNIT}"))?;
        self.becomes("inactive")?;
        ensure!(self.has_program()?, "stopping the daemon detached its program");
        self.renews().context("while the daemon is stopped")?;
        self.sh(&format!("{DAEMON} unload"))?;
        ensure!(!self.has_program()?, "unload left the program attached");
        // unload takes the directory of pins with it; the unit must make it again.
        self.sh(&format!("systemctl start {UNIT}"))?;
        self.becomes("active").context("after unload")?;
        let before = self.main_pid()?;
        self.sh(&format!("systemctl kill --signal=KILL --kill-who=main {UNIT}"))?;
        self.machine.wait(&format!("systemctl show --value -p MainPID {UNIT}"), 30, |pid| {
            pid.trim().parse::<u32>().is_ok_and(|pid| pid != 0 && pid != before)
        })?;
        self.becomes("active").context("after SIGKILL")?;
        self.renews().context("after SIGKILL")?;
        self.say("stopped (a renewal went on), unloaded, started, killed and back by itself");
        Ok(())
    }

    fn upgraded(&self) -> Result<()> {
        let before = self.main_pid()?;
        let lease = self.sh(&format!("{DAEMON} leases list --json | grep hw_address"))?;
        // A program that is taken away, be it for a moment, would be another one afterwards, behind another link.
        let link = "stat --format=%i /sys/fs/bpf/simple-dhcpd/link* || ls -i /sys/fs/bpf/simple-dhcpd";
        let links = self.sh(link)?;
        let begun = Instant::now();
        self.sh("dpkg --install /opt/later.deb")?;
        let took = begun.elapsed();
        self.becomes("active")?;
        ensure!(self.main_pid()? != before, "the upgrade did not restart the daemon");
        ensure!(self.sh(link)? == links, "the upgrade took the program away");
        ensure!(
            self.sh(&format!("{DAEMON} leases list --json | grep hw_address"))? == lease,
            "leases changed"
        );
        let answered = self.kernel_answered()?;
        self.renews().context("after the upgrade")?;
        ensure!(self.kernel_answered()? > answered, "after the upgrade the kernel does not answer");
        self.say(&format!(
            "upgraded in {:.1} s: same link, same lease, the kernel answers",
            took.as_secs_f64()
        ));

        self.sh(&format!("systemctl stop {UNIT}; dpkg --install /opt/run.deb"))?;
        self.becomes("inactive").context("an upgrade started what an operator had stopped")?;
        ensure!(self.has_program()?, "an upgrade detached the program of a stopped daemon");
        self.sh(&format!("systemctl start {UNIT}"))?;
        self.becomes("active")?;
        self.say("upgraded while stopped: still stopped, the program still attached; started");
        Ok(())
    }

    fn removed(&self) -> Result<()> {
        self.sh("dpkg --remove simple-dhcpd-datacenter")?;
        ensure!(!self.has_program()?, "the removed package's program is still attached");
        self.sh(
            "! grep -qx simple-dhcpd-da /proc/[0-9]*/comm && test ! -e /usr/bin/simple-dhcpd-datacenter",
        )?;
        self.sh("test -e /etc/simple-dhcpd/dhcp.json && test -n \"$(ls /var/lib/simple-dhcpd)\"")?;
        self.sh("dpkg --install /opt/run.deb")?;
        self.becomes("active").context("installed again over what was left")?;
        self.renews().context("after it was removed and installed again")?;
        self.say("removed (nothing attached, data kept), installed again: the client goes on");
        Ok(())
    }

    fn purged(&self) -> Result<()> {
        self.sh("systemctl stop client || true; dpkg --purge simple-dhcpd-datacenter")?;
        ensure!(!self.has_program()?, "the purged package's program is still attached");
        for path in [
            "/etc/simple-dhcpd",
            "/var/lib/simple-dhcpd",
            "/var/log/simple-dhcpd",
            "/etc/default/simple-dhcpd-datacenter",
        ] {
            self.sh(&format!("test ! -e {path}")).with_context(|| format!("purging left {path}"))?;
        }
        self.sh(&format!(
            "test -z \"$(find /etc/systemd /usr/lib/systemd /var/lib/systemd -name {UNIT}*)\""
        ))?;
        self.say("purged: nothing left");
        Ok(())
    }
}
