//! A network namespace for one test: loopback up, no IPv6 (its neighbour discovery is noise), gone when dropped.

use std::{
    fs::{self, File},
    os::{fd::AsFd as _, unix::process::CommandExt as _},
    process::Command,
    sync::{
        Arc, Once,
        atomic::{AtomicU32, Ordering},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use anyhow::{Context as _, Result, bail};
use rustix::{
    process::Signal,
    thread::{LinkNameSpaceType, move_into_link_name_space},
};

use crate::process::{self, end_stranger};

/// What every namespace of this harness is called: prefix, process id, number in the process, label.
const PREFIX: &str = "dhcptest-";

/// Where `ip netns` keeps namespaces by name.
const NETNS_DIR: &str = "/run/netns";

static NUMBER: AtomicU32 = AtomicU32::new(0);
static CLEANED: Once = Once::new();

/// A named network namespace, owned by this value.
#[derive(Debug)]
pub struct NetNs {
    name: String,
    file: Arc<File>,
    owned: bool,
}

impl NetNs {
    /// Makes a namespace whose name ends in `label`.
    ///
    /// # Errors
    ///
    /// Without root, or when `ip` is missing.
    pub fn new(label: &str) -> Result<Self> {
        CLEANED.call_once(remove_stale);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let name = format!("{PREFIX}{}-{number}-{label}", std::process::id());
        process::stdout(Command::new("ip").args(["netns", "add", &name]))
            .context("making a network namespace takes root and iproute2: `cargo xtask test`")?;
        let path = format!("{NETNS_DIR}/{name}");
        let file = match File::open(&path) {
            Ok(file) => Arc::new(file),
            Err(error) => {
                remove(&name);
                return Err(error).with_context(|| format!("cannot open {path}"));
            }
        };
        let this = Self { name, file, owned: true };
        this.ip("link set lo up")?;
        this.run(|| {
            for part in ["all", "default"] {
                let path = format!("/proc/sys/net/ipv6/conf/{part}/disable_ipv6");
                // A kernel without IPv6 lacks the file and the noise.
                let _ = fs::write(path, "1");
            }
        })?;
        Ok(this)
    }

    /// A namespace that somebody else made, by the name `ip netns` lists it under; it stays when this is dropped.
    ///
    /// # Errors
    ///
    /// When there is none of that name.
    pub fn existing(name: &str) -> Result<Self> {
        let path = format!("{NETNS_DIR}/{name}");
        let file = File::open(&path)
            .with_context(|| format!("no network namespace {name} (`ip netns` lists those there are)"))?;
        Ok(Self { name: name.to_owned(), file: Arc::new(file), owned: false })
    }

    /// The namespace this thread is in; it has no name.
    ///
    /// # Errors
    ///
    /// Without `/proc`.
    pub fn of_this_thread() -> Result<Self> {
        let path = "/proc/thread-self/ns/net";
        let file = File::open(path).with_context(|| format!("cannot open {path}"))?;
        Ok(Self { name: String::new(), file: Arc::new(file), owned: false })
    }

    /// Its name, as `ip netns` lists it.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Runs `work` on a thread of its own inside the namespace. Sockets made there stay in it for good.
    ///
    /// # Errors
    ///
    /// When the namespace cannot be entered.
    ///
    /// # Panics
    ///
    /// When `work` does.
    pub fn run<T: Send>(&self, work: impl FnOnce() -> T + Send) -> Result<T> {
        thread::scope(|scope| {
            let inside = scope.spawn(|| -> Result<T> {
                move_into_link_name_space(self.file.as_fd(), Some(LinkNameSpaceType::Network))
                    .with_context(|| format!("cannot enter network namespace {}", self.name))?;
                Ok(work())
            });
            inside.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })
    }

    /// Starts a thread that stays inside the namespace and does `work` there.
    ///
    /// # Errors
    ///
    /// When it cannot be started. That the namespace cannot be entered is the thread's own error.
    pub fn spawn<T: Send + 'static>(
        &self,
        thread_name: &str,
        work: impl FnOnce() -> Result<T> + Send + 'static,
    ) -> Result<JoinHandle<Result<T>>> {
        let (file, ns) = (Arc::clone(&self.file), self.name.clone());
        let inside = move || {
            move_into_link_name_space(file.as_fd(), Some(LinkNameSpaceType::Network))
                .with_context(|| format!("cannot enter network namespace {ns}"))?;
            work()
        };
        let thread = thread::Builder::new().name(thread_name.to_owned()).spawn(inside);
        thread.with_context(|| format!("cannot start the thread {thread_name}"))
    }

    /// A command that will run inside the namespace. Unlike `ip netns exec` it keeps the host's mounts, bpffs among
    /// them.
    pub fn command(&self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        let mut command = Command::new(program);
        let file = Arc::clone(&self.file);
        // SAFETY: between fork and exec the closure makes one system call on a file that is open already; it takes no
        // lock and allocates nothing.
        unsafe {
            command.pre_exec(move || {
                Ok(move_into_link_name_space(file.as_fd(), Some(LinkNameSpaceType::Network))?)
            });
        }
        command
    }

    /// Runs `ip` on the namespace, the arguments split at blanks, and returns what it prints.
    ///
    /// # Errors
    ///
    /// When `ip` fails; the error has its words.
    pub fn ip(&self, arguments: &str) -> Result<String> {
        let mut command = Command::new("ip");
        if !self.name.is_empty() {
            command.args(["-n", &self.name]);
        }
        process::stdout(command.args(arguments.split_whitespace()))
    }

    /// The number of an interface in the namespace.
    ///
    /// # Errors
    ///
    /// When there is none of that name.
    pub fn if_index(&self, interface: &str) -> Result<u32> {
        let text = self.ip(&format!("-json link show dev {interface}"))?;
        let links: serde_json::Value = serde_json::from_str(&text).context("ip printed no JSON")?;
        match links
            .pointer("/0/ifindex")
            .and_then(serde_json::Value::as_u64)
            .and_then(|n| u32::try_from(n).ok())
        {
            Some(index) => Ok(index),
            None => bail!("no ifindex of {interface} in namespace {}: {text}", self.name),
        }
    }
}

impl Drop for NetNs {
    fn drop(&mut self) {
        if self.owned {
            remove(&self.name);
        }
    }
}

/// Kills what runs in the namespace `name`, then takes its name away; the kernel frees it with its last user.
fn remove(name: &str) {
    let pids = process::stdout(Command::new("ip").args(["netns", "pids", name])).unwrap_or_default();
    for id in pids.split_whitespace().filter_map(|word| word.parse().ok()) {
        // A thread of a test that is inside at this moment is us.
        if u32::try_from(id).ok() != Some(std::process::id())
            && let Err(error) = end_stranger(id, Signal::KILL, Duration::from_secs(2))
        {
            eprintln!("namespace {name}: {error:#}");
        }
    }
    if let Err(error) = process::stdout(Command::new("ip").args(["netns", "delete", name])) {
        eprintln!("namespace {name} stays: {error:#}");
    }
}

/// Removes namespaces of test processes that were killed before they could.
fn remove_stale() {
    for entry in fs::read_dir(NETNS_DIR).into_iter().flatten().flatten() {
        if let Some(name) = entry.file_name().to_str()
            && owner(name).is_some_and(|id| !process::is_alive(id))
        {
            remove(name);
        }
    }
}

/// The process that made the namespace `name`, if this harness did.
fn owner(name: &str) -> Option<i32> {
    name.strip_prefix(PREFIX)?.split('-').next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_our_names_have_an_owner() {
        assert_eq!(owner("dhcptest-42-0-server"), Some(42));
        assert_eq!(owner("dhcptest-x-0-server"), None);
        assert_eq!(owner("production"), None);
    }
}
