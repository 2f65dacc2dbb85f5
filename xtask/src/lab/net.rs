//! The lab's network: two namespaces and the veth pair between them; and the folder of its pins in the BPF file system.

use std::{
    ffi::CString,
    fs::{self, File},
    os::{fd::AsRawFd as _, unix::process::CommandExt as _},
    path::{Path, PathBuf},
    process::Command,
    sync::Arc,
    thread,
    time::Duration,
};

use anyhow::{Context as _, Result, bail};
use xtask::{
    signals,
    xdp_pass::{Mode, XdpPass},
};

use super::{FOLDER_PREFIX, remove_folder};
use crate::process;

/// What namespaces of labs begin with; the process id and `-s` or `-c` follow.
const PREFIX: &str = "dhcplab-";
const NETNS: &str = "/run/netns";
const BPFFS: &str = "/sys/fs/bpf";
const PINS: &str = "/sys/fs/bpf/simple-dhcpd";
const PINS_PREFIX: &str = "lab-";

/// The server's interface.
pub const SERVER_IF: &str = "dhcps0";
/// The client's interface.
pub const CLIENT_IF: &str = "dhcpc0";
/// The server's address.
pub const SERVER_ADDRESS: &str = "198.18.0.1";

/// Both namespaces, joined.
pub struct Net {
    /// Name of the server's namespace.
    pub server: String,
    /// Name of the client's.
    pub client: String,
    _pass: Option<XdpPass>,
}

impl Net {
    /// Makes the namespaces and the pair, gives the server's end its address and the client's an XDP program.
    ///
    /// # Errors
    ///
    /// Without root or iproute2, or when the kernel lacks veth or XDP.
    pub fn new() -> Result<Self> {
        let name = |end| format!("{PREFIX}{}-{end}", std::process::id());
        let mut net = Self { server: name("s"), client: name("c"), _pass: None };
        for ns in [&net.server, &net.client] {
            ip(&format!("netns add {ns}")).context("making network namespaces takes root and iproute2")?;
            ip(&format!("-n {ns} link set lo up"))?;
            inside(ns, || {
                for part in ["all", "default"] {
                    // A kernel without IPv6 has no such file, and none of its noise either.
                    let _ = fs::write(format!("/proc/sys/net/ipv6/conf/{part}/disable_ipv6"), "1");
                }
                Ok(())
            })?;
        }
        let (s, c) = (&net.server, &net.client);
        ip(&format!("-n {s} link add {SERVER_IF} type veth peer name {CLIENT_IF} netns {c}"))?;
        ip(&format!("-n {s} address add {SERVER_ADDRESS}/16 dev {SERVER_IF}"))?;
        ip(&format!("-n {s} link set {SERVER_IF} up"))?;
        ip(&format!("-n {c} link set {CLIENT_IF} up"))?;
        net._pass = Some(inside(c, || {
            let name = CString::new(CLIENT_IF)?;
            // SAFETY: the name is a C string that outlives the call.
            let index = unsafe { libc::if_nametoindex(name.as_ptr()) };
            XdpPass::attach(index, Mode::Driver).with_context(|| format!("the client's end, {CLIENT_IF}"))
        })?);
        Ok(net)
    }

    /// A command that will run in a namespace of the lab, in a process group of its own so that Ctrl-C reaches us only.
    ///
    /// # Errors
    ///
    /// When the namespace is gone.
    pub fn command(&self, ns: &str, program: &Path) -> Result<Command> {
        let file = open(ns)?;
        let mut command = Command::new(program);
        command.process_group(0);
        // `ip netns exec` would mount another /sys and hide the BPF file system.
        // SAFETY: between fork and exec the closure makes one system call on an open file; it allocates nothing.
        unsafe {
            command.pre_exec(move || enter(&file));
        }
        Ok(command)
    }
}

impl Drop for Net {
    fn drop(&mut self) {
        remove(&self.client);
        remove(&self.server);
    }
}

/// The folder the daemon pins into; what is left in it is removed when dropped.
pub struct Pins {
    /// Its path; the daemon makes it.
    pub path: PathBuf,
    mounted: bool,
}

impl Pins {
    /// Makes sure that the BPF file system is mounted.
    ///
    /// # Errors
    ///
    /// When it is not and cannot be.
    pub fn new() -> Result<Self> {
        let mounts = fs::read_to_string("/proc/self/mounts").context("cannot read /proc/self/mounts")?;
        let mounted_already = mounts.lines().any(|line| line.split(' ').nth(1) == Some(BPFFS));
        if !mounted_already {
            eprintln!("lab: mounting the BPF file system at {BPFFS}");
            process::run(Command::new("mount").args(["-t", "bpf", "bpf", BPFFS]))?;
        }
        let path = Path::new(PINS).join(format!("{PINS_PREFIX}{}", std::process::id()));
        Ok(Self { path, mounted: !mounted_already })
    }
}

impl Drop for Pins {
    fn drop(&mut self) {
        remove_pins(&self.path);
        // Somebody who pinned something meanwhile would lose it; the kernel's own two files end in `.debug`.
        let empty = fs::read_dir(BPFFS).is_ok_and(|mut entries| {
            entries
                .all(|entry| entry.is_ok_and(|entry| entry.file_name().to_string_lossy().ends_with(".debug")))
        });
        if self.mounted && empty {
            process::succeeds(Command::new("umount").arg(BPFFS));
        }
    }
}

fn remove_pins(path: &Path) {
    if path.exists()
        && let Err(error) = fs::remove_dir_all(path)
    {
        eprintln!("lab: cannot remove {}: {error}", path.display());
    }
    // The folder of all pins goes with the last; it is not empty where a daemon serves this host.
    let _ = fs::remove_dir(PINS);
}

/// Removes what labs left behind whose process was killed.
pub fn remove_stale() {
    for (folder, prefix, remove) in [
        (
            Path::new(NETNS),
            PREFIX,
            (|path| remove(&path.file_name().unwrap_or_default().to_string_lossy())) as fn(&Path),
        ),
        (Path::new(PINS), PINS_PREFIX, remove_pins),
        (&std::env::temp_dir(), FOLDER_PREFIX, remove_folder),
    ] {
        for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
            let name = entry.file_name();
            if let Some(id) = name.to_str().and_then(|name| owner(name, prefix))
                && !Path::new(&format!("/proc/{id}")).exists()
            {
                eprintln!("lab: removing {}, left behind by a lab that was killed", entry.path().display());
                remove(&entry.path());
            }
        }
    }
}

/// The process id in a name of ours.
fn owner(name: &str, prefix: &str) -> Option<u32> {
    name.strip_prefix(prefix)?.split('-').next()?.parse().ok()
}

/// Kills what runs in the namespace and takes its name away.
fn remove(ns: &str) {
    if !Path::new(NETNS).join(ns).exists() {
        return;
    }
    let pids = ip(&format!("netns pids {ns}")).unwrap_or_default();
    for id in pids.split_whitespace().filter_map(|word| word.parse::<i32>().ok()) {
        // SAFETY: kill takes no pointers. The process is in a namespace of ours, so it is ours.
        unsafe { libc::kill(id, libc::SIGKILL) };
    }
    if let Err(error) = ip(&format!("netns delete {ns}")) {
        eprintln!("lab: namespace {ns} stays: {error:#}");
    }
}

/// Runs `ip` with arguments split at blanks.
pub fn ip(arguments: &str) -> Result<String> {
    let Some(program) = process::which("ip") else {
        bail!("`ip` is not installed (Debian: apt-get install iproute2)");
    };
    process::stdout(Command::new(program).args(arguments.split_whitespace()))
}

fn open(ns: &str) -> Result<Arc<File>> {
    let path = Path::new(NETNS).join(ns);
    File::open(&path).map(Arc::new).with_context(|| format!("cannot open {}", path.display()))
}

fn enter(file: &File) -> std::io::Result<()> {
    // SAFETY: setns takes no pointers; the descriptor is open for as long as `file` is borrowed.
    if unsafe { libc::setns(file.as_raw_fd(), libc::CLONE_NEWNET) } != 0 {
        return Err(std::io::Error::last_os_error());
    }
    Ok(())
}

/// Does `work` on a thread of its own in the namespace.
fn inside<T: Send>(ns: &str, work: impl FnOnce() -> Result<T> + Send) -> Result<T> {
    let file = open(ns)?;
    thread::scope(|scope| {
        let thread = scope.spawn(move || {
            enter(&file).context("cannot enter a network namespace")?;
            work()
        });
        thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}

/// Waits until `find` finds something.
///
/// # Errors
///
/// When it fails, finds nothing within `deadline`, or Ctrl-C came.
pub fn wait_for<T>(deadline: Duration, what: &str, mut find: impl FnMut() -> Result<Option<T>>) -> Result<T> {
    let end = std::time::Instant::now() + deadline;
    loop {
        if let Some(found) = find()? {
            return Ok(found);
        }
        if signals::caught() {
            bail!("interrupted");
        }
        if std::time::Instant::now() >= end {
            bail!("waited {deadline:?} in vain for {what}");
        }
        signals::pause(Duration::from_millis(20));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_names_of_labs_have_an_owner() {
        assert_eq!(owner("dhcplab-77-s", PREFIX), Some(77));
        assert_eq!(owner("lab-77", PINS_PREFIX), Some(77));
        assert_eq!(owner("dhcplab-x-s", PREFIX), None);
        assert_eq!(owner("eth0", PINS_PREFIX), None);
    }
}
