//! A configuration in force: a core, programs loaded but not attached, and the host's copy of the maps, kept in step as
//! the service does it: answers, then leases, then what is withdrawn.

use std::{net::Ipv4Addr, sync::Arc};

use anyhow::{Context as _, Result, ensure};
use dhcp_common::{abi::LeaseEntry, limit::Limits, reason::Counters, request::Interface};
use dhcp_user::{
    config::{
        self, Config,
        model::{AttachMode, KernelLog},
    },
    engine::SlowReason,
    fastpath::{
        kernel::{KernelPath, Port, Settings},
        layout::Layout,
        lease_map::LeaseMap as _,
        pins::PinDirectory,
    },
    net::packet_socket::ReceivedFrame,
    server::{clock, clock::Clock, core::Core, work::Work},
    time::Timestamp,
    timeline::{BootId, Timeline},
};
use rand::{SeedableRng as _, rngs::StdRng};

use super::{host::HostMaps, mind};
use crate::pins::Pins;

/// How long the kernel may answer: longer than any test runs.
const AUTHORITY_NS: u64 = 3_600_000_000_000;

/// The Ethernet address of the server's interface with index `interface`.
pub const fn server_mac(interface: u8) -> [u8; 6] {
    [2, 0, 0, 0, 0, 0x0a + 0x10 * interface]
}

/// A running server without sockets, store and interfaces.
pub struct World {
    /// The daemon's mind.
    pub core: Core,
    /// The kernel's programs and maps.
    pub kernel: KernelPath,
    /// The same maps on the host.
    pub host: HostMaps,
    /// The boot clock on the timeline.
    pub clock: Clock,
    /// The server's address on each interface.
    pub servers: Vec<Ipv4Addr>,
    pub(super) counted: Counters,
    // Dropped after the kernel's maps and programs.
    _pins: Pins,
}

impl World {
    /// Puts `json` in force, without its limits: what becomes of a frame does not depend on the frames before. Every
    /// interface in it names its address. `seed` makes key and allocation.
    ///
    /// # Errors
    ///
    /// When the configuration is refused or the kernel refuses to load the program.
    pub fn new(json: &str, seed: u64) -> Result<Self> {
        Self::with_limits(json, seed, Limits::OFF)
    }

    /// The same, with limits.
    ///
    /// # Errors
    ///
    /// As [`World::new`].
    pub fn with_limits(json: &str, seed: u64, limits: Limits) -> Result<Self> {
        let config = Arc::new(config::parse(json, "a test's configuration")?);
        let servers = config
            .interfaces
            .iter()
            .map(|interface| interface.address.with_context(|| format!("{} has no address", interface.name)))
            .collect::<Result<Vec<_>>>()?;
        let interfaces: Vec<_> = (0..u8::MAX)
            .zip(&servers)
            .map(|(number, _)| Interface { number: number.into(), mac: server_mac(number) })
            .collect();
        let control = mind::control(&mut StdRng::seed_from_u64(seed), 1);
        let answers_max = config.fastpath.answers_max;
        let layout = Layout::new(&config);
        let pins = Pins::new();
        let kernel = KernelPath::load(
            PinDirectory::open(pins.path())?,
            ports(&config, &interfaces),
            layout.clone(),
            &control,
            &Settings { answers_max, limits, kernel_log: KernelLog::Off },
        )?;
        let learner = mind::learner(control, answers_max, interfaces);
        let (timeline, _) = Timeline::resume(None, BootId::new([7; 16]), clock::boot_ns(), clock::wall_ns());
        let mut world = Self {
            core: mind::core(config, servers.clone(), learner, seed),
            counted: kernel.counters()?,
            kernel,
            host: HostMaps::new(layout, answers_max, control, limits),
            clock: Clock::new(timeline),
            servers,
            _pins: pins,
        };
        world.set_authority_until_boot_ns(clock::boot_ns().saturating_add(AUTHORITY_NS));
        Ok(world)
    }

    /// Now.
    pub fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// What the program is told of an interface.
    ///
    /// # Panics
    ///
    /// When there is no such interface.
    pub fn interface(&self, index: usize) -> Interface {
        *self.core.learner.interfaces.get(index).expect("an interface of the configuration")
    }

    /// Moves the deadline up to which kernel and host answer.
    pub fn set_authority_until_boot_ns(&mut self, deadline: u64) {
        self.kernel.set_authority_until_boot_ns(deadline);
        self.host.control.authority_until_boot_ns = deadline;
    }

    /// Lets the daemon receive a frame, and tells the kernel what follows; what became of it, and the frames sent.
    ///
    /// # Errors
    ///
    /// When the kernel refuses a map's entry, or a reply leaves by another interface.
    pub fn deliver(&mut self, interface: usize, frame: &[u8]) -> Result<(Option<SlowReason>, Vec<Vec<u8>>)> {
        let mut work = Work::default();
        let reason = receive(&mut self.core, self.clock.now(), interface, frame, &mut work);
        let sent = self.settle(work)?;
        ensure!(sent.iter().all(|(out, _)| *out == interface), "a reply leaves by another interface");
        Ok((reason, sent.into_iter().map(|(_, frame)| frame).collect()))
    }

    /// Does what the core asks, until it asks no more; the frames to send, with their interfaces.
    ///
    /// # Errors
    ///
    /// When the kernel refuses.
    pub fn settle(&mut self, mut work: Work) -> Result<Vec<(usize, Vec<u8>)>> {
        let mut sent = Vec::new();
        loop {
            for index in &work.answers {
                let answer = self.core.learner.answers.get(*index).context("an answer that is not there")?;
                self.kernel.put_answer(*index, answer)?;
                self.host.put_answer(*index, answer);
            }
            for &address in &work.publish {
                match self.core.entry(address, self.clock.timeline()) {
                    Some(entry) => self.publish(&entry)?,
                    None => self.withdraw(address),
                }
            }
            sent.extend(work.send.into_iter().map(|out| (out.interface, out.frame)));
            if work.withdraw.is_empty() {
                return Ok(sent);
            }
            // No program runs beside this thread: the withdrawal is through as soon as it is made.
            let mut next = Work::default();
            for &address in &work.withdraw {
                self.withdraw(address);
                let mark = self.kernel.renewed_boot_ns(address);
                let last = mark.map_or(Timestamp::ZERO, |boot_ns| self.clock.timeline().timestamp(boot_ns));
                self.core.withdrawn(self.clock.now(), address, Some(last), &mut next);
            }
            work = next;
        }
    }

    /// Lets the daemon hear of every renewal the kernel granted.
    ///
    /// # Errors
    ///
    /// When the kernel refuses.
    pub fn sweep(&mut self) -> Result<()> {
        let marks: Vec<_> = self.kernel.all_marks();
        let mut work = Work::default();
        for mark in &marks {
            self.core.renewed(self.clock.now(), mark, self.clock.timeline(), &mut work);
        }
        self.settle(work).map(drop)
    }

    /// Publishes an entry in the kernel and on the host.
    ///
    /// # Errors
    ///
    /// When the address has no place in the lease map.
    pub fn publish(&mut self, entry: &LeaseEntry) -> Result<()> {
        ensure!(self.kernel.publish(entry), "{:?} has no place in the lease map", entry.address);
        self.host.publish(entry);
        Ok(())
    }

    /// Withdraws an entry from the kernel and the host.
    pub fn withdraw(&mut self, address: Ipv4Addr) {
        self.kernel.withdraw(address);
        self.host.withdraw(address);
    }
}

/// Lets `core` receive a frame whose UDP checksum is not to be looked at, as on a virtual link; what became of it,
/// `None` if it did not reach the engine.
pub fn receive(
    core: &mut Core,
    now: Timestamp,
    interface: usize,
    frame: &[u8],
    work: &mut Work,
) -> Option<SlowReason> {
    let before: Vec<_> = core.messages().map(|(_, count)| count).collect();
    let mut received = ReceivedFrame { octets: frame.to_vec(), checksum_pending: true };
    core.receive(now, interface, &mut received, work);
    core.messages().zip(before).find(|((_, after), before)| after != before).map(|((reason, _), _)| reason)
}

fn ports(config: &Config, interfaces: &[Interface]) -> Vec<Port> {
    let all = config.interfaces.iter().zip(interfaces);
    // Never attached: no interface of this machine is meant.
    all.map(|(configured, &interface)| Port {
        name: configured.name.clone(),
        ifindex: 0,
        interface,
        mode: AttachMode::Generic,
    })
    .collect()
}
