//! A throw-away Debian with its own systemd, network and devices: a root made by `mmdebstrap` (once, kept as an archive),
//! booted by `systemd-nspawn`. Dropping it ends it and removes the root.

use std::{
    fs,
    os::unix::process::CommandExt as _,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail};

use crate::{apt, process, progress::during};

/// What making and booting it takes.
const DEBIAN_PACKAGES: [&str; 3] = ["mmdebstrap", "systemd-container", "tar"];
/// What is in it: an init, the tools a maintainer script calls, and a DHCP client.
const INSIDE: &str = "systemd,systemd-sysv,init-system-helpers,iproute2,isc-dhcp-client";
pub(super) const SUITE: &str = "bookworm";
pub(super) const MIRROR: &str = "http://deb.debian.org/debian";
const BOOT_DEADLINE: Duration = Duration::from_secs(120);

/// A booted machine.
#[derive(Debug)]
pub struct Machine {
    root: PathBuf,
    nspawn: Child,
    /// Its init, as the host counts processes.
    init: u32,
}

impl Machine {
    /// Makes a root below `folder` and boots it.
    ///
    /// # Errors
    ///
    /// Without root, without Debian's tools, or when it does not come up in time.
    pub fn boot(folder: &Path) -> Result<Self> {
        if !apt::is_root() {
            bail!("booting a throw-away Debian takes root: run it with sudo");
        }
        apt::ensure(&DEBIAN_PACKAGES, "trying the package")?;
        let archive = folder.join(format!("{SUITE}-2.tar"));
        if !archive.exists() {
            make_archive(&archive)?;
        }
        let root = folder.join(format!("machine-{}", std::process::id()));
        fs::create_dir_all(&root).with_context(|| format!("cannot make {}", root.display()))?;
        process::run(
            Command::new("tar").arg("-C").arg(&root).arg("-xpf").arg(&archive).arg("--numeric-owner"),
        )?;
        let console = folder.join("machine.log");
        let log = fs::File::create(&console).with_context(|| format!("cannot make {}", console.display()))?;
        let errors = log.try_clone().context("cannot share the console's file")?;
        let nspawn = Command::new("systemd-nspawn")
            .arg("--directory")
            .arg(&root)
            // A host without a running systemd will do, and nothing of the host's network is seen.
            .args(["--register=no", "--keep-unit", "--private-network", "--boot", "--quiet"])
            .args([
                "--capability=CAP_BPF,CAP_NET_ADMIN,CAP_PERFMON",
                "--system-call-filter=bpf perf_event_open",
            ])
            // A /sys that can be written to, for the BPF file system in it.
            .env("SYSTEMD_NSPAWN_API_VFS_WRITABLE", "1")
            .stdin(Stdio::null())
            .stdout(log)
            .stderr(errors)
            // Ctrl-C is for us; what we started ends with us.
            .process_group(0)
            .spawn()
            .context("cannot start systemd-nspawn")?;
        let mut machine = Self { root, nspawn, init: 0 };
        machine.wait_booted().with_context(|| format!("the console is in {}", console.display()))?;
        // A real system's init mounts it; this one was shown a /sys that has no place for it.
        machine.run("mkdir -p /sys/fs/bpf; mountpoint -q /sys/fs/bpf || mount -t bpf bpf /sys/fs/bpf")?;
        Ok(machine)
    }

    /// Where its files are.
    pub fn root(&self) -> &Path {
        &self.root
    }

    fn wait_booted(&mut self) -> Result<()> {
        let deadline = Instant::now() + BOOT_DEADLINE;
        loop {
            // Its first child only makes the second, which becomes the init.
            self.init = child_of(self.nspawn.id()).unwrap_or(0);
            // "degraded" will do: what a container cannot have fails in it.
            let state = self.command("systemctl is-system-running || true").output();
            let state = state.map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned());
            if state.is_ok_and(|state| matches!(state.as_str(), "running" | "degraded")) {
                return Ok(());
            }
            self.pause(deadline, "systemd did not come up")?;
        }
    }

    fn pause(&mut self, deadline: Instant, what: &str) -> Result<()> {
        if let Some(status) = self.nspawn.try_wait().context("cannot ask after systemd-nspawn")? {
            bail!("systemd-nspawn ended ({status}): {what}");
        }
        if Instant::now() > deadline {
            bail!("{what} in {} s", BOOT_DEADLINE.as_secs());
        }
        thread::sleep(Duration::from_millis(100));
        Ok(())
    }

    /// A shell in the machine that runs `script`.
    pub fn command(&self, script: &str) -> Command {
        let mut command = Command::new("nsenter");
        command
            .args(["--target", &self.init.to_string(), "--all", "--wdns=/", "--"])
            .args(["env", "-i", "PATH=/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL=C.UTF-8"])
            .args(["DEBIAN_FRONTEND=noninteractive", "sh", "-ec", script])
            .stdin(Stdio::null());
        command
    }

    /// Runs `script` in the machine; what it printed.
    ///
    /// # Errors
    ///
    /// When it fails: with both of its outputs.
    pub fn run(&self, script: &str) -> Result<String> {
        let output = self.command(script).output().context("cannot start nsenter")?;
        let out = String::from_utf8_lossy(&output.stdout).into_owned();
        if !output.status.success() {
            let errors = String::from_utf8_lossy(&output.stderr);
            bail!("in the machine, `{script}` failed ({}):\n{out}{errors}", output.status);
        }
        Ok(out)
    }

    /// Runs `script` until it succeeds and prints something `wanted` likes.
    ///
    /// # Errors
    ///
    /// When `deadline_secs` pass before: with what it said last.
    pub fn wait(&self, script: &str, deadline_secs: u64, wanted: impl Fn(&str) -> bool) -> Result<String> {
        let deadline = Instant::now() + Duration::from_secs(deadline_secs);
        loop {
            let said = self.run(script);
            if let Ok(text) = &said
                && wanted(text)
            {
                return said;
            }
            if Instant::now() > deadline {
                let said = said.unwrap_or_else(|error| format!("{error:#}"));
                bail!(
                    "in the machine, `{script}` said for {deadline_secs} s something else than wanted:\n{said}"
                );
            }
            thread::sleep(Duration::from_millis(200));
        }
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        // SIGKILL to its init ends everything in it: a PID namespace does not outlive its first process.
        if self.init != 0 {
            drop(Command::new("kill").args(["-KILL", &self.init.to_string()]).status());
        }
        let deadline = Instant::now() + Duration::from_secs(10);
        while matches!(self.nspawn.try_wait(), Ok(None)) && Instant::now() < deadline {
            thread::sleep(Duration::from_millis(50));
        }
        drop(self.nspawn.kill());
        drop(self.nspawn.wait());
        if let Err(error) = fs::remove_dir_all(&self.root) {
            eprintln!("dist: cannot remove {}: {error}", self.root.display());
        }
    }
}

fn make_archive(archive: &Path) -> Result<()> {
    eprintln!("dist: making a Debian {SUITE} (once, some minutes): {}", archive.display());
    let unfinished = archive.with_extension("unfinished.tar");
    let mut make = Command::new("mmdebstrap");
    make.args(["--quiet", "--variant=apt", &format!("--include={INSIDE}"), SUITE])
        .arg(&unfinished)
        .arg(MIRROR);
    during("making it", || process::run(&mut make))?;
    fs::rename(&unfinished, archive).with_context(|| format!("cannot rename to {}", archive.display()))
}

/// The first child of a process.
fn child_of(process: u32) -> Option<u32> {
    let children = fs::read_to_string(format!("/proc/{process}/task/{process}/children")).ok()?;
    children.split_whitespace().next()?.parse().ok()
}
