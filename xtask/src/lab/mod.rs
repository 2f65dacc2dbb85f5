//! `cargo xtask run` without an interface: a whole DHCP network on this machine, gone without a trace at the end.
//!
//! ```text
//!   dhcplab-<pid>-s                       dhcplab-<pid>-c
//!   daemon -- dhcps0 (XDP: renew) ======= dhcpc0 (XDP: pass) -- dhclient or udhcpc
//! ```

mod client;
mod net;
mod server;
mod watch;

use std::{
    fs,
    os::unix::fs::DirBuilderExt as _,
    path::{Path, PathBuf},
    process::ExitCode,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail};
use xtask::signals;

pub use client::{DEBIAN_PACKAGES, Kind as ClientKind};

/// Where temporary folders of labs are, and what their names begin with; the process id follows.
const FOLDER_PREFIX: &str = "dhcplab-";

/// How often the daemon is asked.
const WATCH_EVERY: Duration = Duration::from_secs(1);

/// What the lab is to do.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The daemon's binary.
    pub daemon: PathBuf,
    /// End by itself after this many seconds.
    pub secs: Option<u64>,
    /// Print one JSON object at the end on stdout; what happens meanwhile goes to stderr.
    pub json: bool,
    /// The client to run; the first installed if not given.
    pub client: Option<client::Kind>,
}

/// Runs a lab until Ctrl-C or for as long as asked. Exit code 1 if the client got no lease.
///
/// # Errors
///
/// Without root, or when a part cannot be started; what was made is gone then too.
pub fn run(plan: &Plan) -> Result<ExitCode> {
    signals::catch()?;
    net::remove_stale();
    let folder = Folder::new()?;
    let began = Instant::now();
    // Dropped in the reverse order: client, daemon, namespaces with whatever still runs in them, pins, folder.
    let pins = net::Pins::new()?;
    let net = net::Net::new()?;
    let mut daemon = server::Daemon::start(&net, &plan.daemon, &folder.path, &pins)?;
    let mut client = client::Running::start(&net, plan.client, &folder.path)?;
    eprintln!("lab: {} in {}, {} in {}; Ctrl-C ends", server::NAME, net.server, client.kind, net.client);
    eprintln!("lab: pins in {}, log in {}", pins.path.display(), folder.path.join(server::LOG).display());
    let mut watch = watch::Watch::new(began);
    let ends = plan.secs.map(|secs| began + Duration::from_secs(secs));
    while !signals::caught() && ends.is_none_or(|end| Instant::now() < end) {
        if let Some(status) = daemon.ended()? {
            bail!("the daemon ended by itself ({status}); its log:\n{}", daemon.log());
        }
        watch.look(&daemon, &client);
        signals::pause(WATCH_EVERY);
    }
    watch.look(&daemon, &client);
    client.stop();
    daemon.stop()?;
    if plan.json {
        println!("{}", watch.summary(client.kind));
    } else {
        eprintln!("lab: {}", watch.last_words());
    }
    if watch.bound() { Ok(ExitCode::SUCCESS) } else { Ok(ExitCode::FAILURE) }
}

/// A temporary folder that only we can write to; removed when dropped.
struct Folder {
    path: PathBuf,
}

impl Folder {
    fn new() -> Result<Self> {
        let path = std::env::temp_dir().join(format!("{FOLDER_PREFIX}{}", std::process::id()));
        // It must be new: somebody else's folder of that name could lead writes elsewhere.
        fs::DirBuilder::new()
            .mode(0o755)
            .create(&path)
            .with_context(|| format!("cannot make {}", path.display()))?;
        Ok(Self { path })
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        remove_folder(&self.path);
    }
}

fn remove_folder(path: &Path) {
    if let Err(error) = fs::remove_dir_all(path) {
        eprintln!("lab: cannot remove {}: {error}", path.display());
    }
}
