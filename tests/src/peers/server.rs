//! Starting a server on the ground, and waiting until it answers.

use std::{
    fmt, fs,
    path::{Path, PathBuf},
    str::FromStr,
    time::Duration,
};

use anyhow::{Context as _, Result, bail};
use clap::Args;

use super::{config, ground::Ground, preload};
use crate::{
    daemon::{self, Daemon},
    load::{
        batch_socket::BatchSocket,
        fleet::Fleet,
        message::Kind,
        pace::{Pace, Patience},
        plan::Plan,
    },
    pins::Pins,
    process::Process,
    wait::wait_for,
};

/// How long a server may take to read its leases and answer.
const READY: Duration = Duration::from_secs(60);

/// A server that can be measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Peer {
    /// This project's daemon.
    Ours,
    /// Kea, one thread.
    Kea,
    /// Kea, multi-threaded.
    KeaMt,
    /// ISC dhcpd.
    Dhcpd,
    /// dnsmasq.
    Dnsmasq,
}

impl Peer {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::Ours, Self::Kea, Self::KeaMt, Self::Dhcpd, Self::Dnsmasq];

    /// Its key in the figures.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Ours => "ours",
            Self::Kea => "kea",
            Self::KeaMt => "kea_mt",
            Self::Dhcpd => "dhcpd",
            Self::Dnsmasq => "dnsmasq",
        }
    }

    /// What it promises of a lease by the time of the ACK.
    pub const fn durability(self) -> &'static str {
        match self {
            Self::Ours => "on disk (fdatasync) before the ACK",
            Self::Kea | Self::KeaMt => "written to a file, never flushed: lost with the power",
            Self::Dhcpd => "on disk (fsync) before the ACK",
            Self::Dnsmasq => "whole file rewritten, flushed, after the ACK",
        }
    }
}

impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for Peer {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        Self::ALL
            .into_iter()
            .find(|peer| peer.name() == text)
            .ok_or_else(|| format!("there is no server {text:?}: {}", Self::ALL.map(Self::name).join(", ")))
    }
}

/// Where programs are and files go; told to the benchmarks.
#[derive(Clone, Debug, Args)]
pub struct Places {
    /// The generator's XDP object.
    #[arg(long)]
    pub object: PathBuf,
    /// Where Debian's packages were unpacked.
    #[arg(long)]
    pub packages: PathBuf,
    /// A folder for the servers' files, on the disk whose flushes are to count.
    #[arg(long)]
    pub work: PathBuf,
}

/// A server that answers.
#[derive(Debug)]
pub struct Running {
    /// Which.
    pub peer: Peer,
    running: Either,
    /// Its files; gone with it.
    pub folder: tempfile::TempDir,
    _pins: Pins,
}

#[derive(Debug)]
enum Either {
    Ours(Daemon),
    Other(Process),
}

impl Running {
    /// Starts `peer` with a pool of so many addresses, the first `preloaded` of which are leased to clients already
    /// (not with ours, whose clients ask for theirs), and waits until it has answered client number `probe`.
    ///
    /// # Errors
    ///
    /// When it is not there, ends, or does not answer; the error has what it printed.
    pub fn start(
        peer: Peer,
        ground: &Ground,
        places: &Places,
        pool: u32,
        preloaded: u32,
        probe: u32,
    ) -> Result<Self> {
        fs::create_dir_all(&places.work).with_context(|| format!("cannot make {}", places.work.display()))?;
        let folder = tempfile::Builder::new()
            .prefix(&format!("{peer}-"))
            .tempdir_in(&places.work)
            .with_context(|| format!("no folder in {}", places.work.display()))?;
        let pins = Pins::new();
        let running = match peer {
            Peer::Ours => {
                let config = config::ours(folder.path(), pins.path(), pool);
                Either::Ours(Daemon::start(&ground.server, folder.path(), &config)?)
            }
            _ => Either::Other(start_other(peer, ground, places, folder.path(), pool, preloaded)?),
        };
        let mut this = Self { peer, running, folder, _pins: pins };
        this.wait_answer(ground, probe)?;
        Ok(this)
    }

    /// Its process.
    pub fn id(&self) -> u32 {
        match &self.running {
            Either::Ours(daemon) => daemon.id(),
            Either::Other(process) => process.id(),
        }
    }

    /// Our daemon, if it is that.
    pub const fn daemon(&self) -> Option<&Daemon> {
        match &self.running {
            Either::Ours(daemon) => Some(daemon),
            Either::Other(_) => None,
        }
    }

    fn wait_answer(&mut self, ground: &Ground, probe: u32) -> Result<()> {
        let mut socket = BatchSocket::open(&ground.clients, "c0")?;
        let mut fleet = Fleet::new(ground.way(), probe + 1)?;
        let plan = Plan {
            begin: Kind::Discover,
            pace: Pace::Window(1),
            patience: Patience::GiveUp(Duration::from_millis(300)),
            clients: (probe, 1),
            time: Duration::from_secs(1),
            mirror: false,
        };
        let mut faults = std::collections::BTreeMap::new();
        let ready = wait_for(READY, &format!("{} to answer", self.peer), || {
            let figures = fleet.run(&mut socket, &plan)?;
            faults = figures.faults.clone();
            if figures.done == 1 {
                return Ok(Some(()));
            }
            if let Either::Other(process) = &mut self.running
                && let Some(status) = process.ended()?
            {
                bail!("it ended ({status})");
            }
            Ok(None)
        });
        ready.with_context(|| {
            let log = match &self.running {
                Either::Ours(daemon) => daemon.log(),
                Either::Other(process) => process.output(),
            };
            format!("{} is not ready; wrong replies: {faults:?}; it said:\n{log}", self.peer)
        })
    }
}

fn start_other(
    peer: Peer,
    ground: &Ground,
    places: &Places,
    folder: &Path,
    pool: u32,
    preloaded: u32,
) -> Result<Process> {
    let config = folder.join("server.conf");
    let write =
        |text: &str| fs::write(&config, text).with_context(|| format!("cannot write {}", config.display()));
    let mut command = ground.server.command(program(peer, places)?);
    match peer {
        Peer::Kea | Peer::KeaMt => {
            preload::kea(&folder.join("kea-leases4.csv"), preloaded)?;
            write(&config::kea(folder, pool, (peer == Peer::KeaMt).then_some(4)))?;
            command.env("KEA_PIDFILE_DIR", folder).env("KEA_LOCKFILE_DIR", folder).arg("-c").arg(&config);
        }
        Peer::Dhcpd => {
            preload::dhcpd(&folder.join("dhcpd.leases"), preloaded)?;
            write(&config::dhcpd(pool))?;
            command.args(["-4", "-f", "-q", "-cf"]).arg(&config).arg("-lf").arg(folder.join("dhcpd.leases"));
            command.arg("-pf").arg(folder.join("dhcpd.pid")).arg(super::ground::INTERFACE);
        }
        Peer::Dnsmasq => {
            preload::dnsmasq(&folder.join("dnsmasq.leases"), preloaded)?;
            write(&config::dnsmasq(folder, pool))?;
            command.arg("--keep-in-foreground").arg(format!("--conf-file={}", config.display()));
        }
        Peer::Ours => bail!("our own daemon is started otherwise"),
    }
    Process::start(&mut command, &folder.join("log"))
}

fn program(peer: Peer, places: &Places) -> Result<PathBuf> {
    let name = match peer {
        Peer::Ours => return daemon::binary(),
        Peer::Kea | Peer::KeaMt => "kea-dhcp4",
        Peer::Dhcpd => "dhcpd",
        Peer::Dnsmasq => "dnsmasq",
    };
    [&places.packages.join("usr/sbin"), Path::new("/usr/sbin")]
        .into_iter()
        .map(|folder| folder.join(name))
        .find(|path| path.is_file())
        .with_context(|| format!("there is no {name}: `cargo xtask bench peers` unpacks Debian's"))
}
