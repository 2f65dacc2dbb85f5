//! From a configuration to a running service.
//!
//! The order matters. Everything that can be refused is looked at before anything changes; what an earlier daemon's
//! program renewed is read before the engine judges any lease; the new maps are full before the program is swapped in;
//! and what the old program renewed in the meantime is read once it certainly runs no more.

use std::{
    collections::BTreeMap,
    net::Ipv4Addr,
    os::fd::OwnedFd,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
        mpsc::{Receiver, Sender, SyncSender, TrySendError, channel, sync_channel},
    },
    thread,
    time::Duration,
};

use aya_log::EbpfLogger;
use dhcp_common::{abi::Control as AbiControl, request::Interface};
use rand::{TryRngCore, rngs::OsRng};

use super::{
    clock::{self, Clock},
    keeper::{Keeper, KeeperError, Withdrawal},
    service::{Counts, Event, Service},
    takeover::{RememberError, Succession, Surroundings, remember},
};
use crate::{
    config::model::{AttachMode, Config, FastPath},
    fastpath::{
        attach::Attached,
        error::FastPathError,
        grace::Grace,
        kernel::{KernelPath, Mark, Port, Predecessor},
        layout::Layout,
        pins::PinDirectory,
        stored,
    },
    lease::store::{LogStore, Options, StoreError},
    net::{
        interface::{InterfaceError, InterfaceFacts},
        packet_socket::{PacketSocket, reserve_port},
    },
    time::Span,
    timeline::{BootId, Resume, TimelineError},
};

/// Frames that may wait for the service; beyond them frames are dropped and counted, and clients ask again.
const EVENTS_QUEUED: usize = 16_384;
/// How long receiving rests after it failed.
const RECEIVE_AGAIN: Duration = Duration::from_millis(500);

/// Why the service cannot start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// No interface is configured.
    #[error("no interface is configured: name at least one in dhcp.interfaces")]
    NoInterface,
    /// An interface cannot be served.
    #[error(transparent)]
    Interface(#[from] InterfaceError),
    /// The address found on an interface is one that clients are given.
    #[error(
        "{interface} has the address {address}, which pools give to clients: take it out of dhcp.subnets' pools"
    )]
    AddressInPool {
        /// The interface.
        interface: String,
        /// Its address.
        address: Ipv4Addr,
    },
    /// Another program has the DHCP server port.
    #[error(
        "UDP port 67 on {interface} is taken: another DHCP server is running (`ss -lunp 'sport = 67'` names it)"
    )]
    PortTaken {
        /// The interface.
        interface: String,
    },
    /// A socket was refused.
    #[error("no {what} on {interface}: {error}{}", privileges(error))]
    Socket {
        /// What was tried.
        what: &'static str,
        /// The interface.
        interface: String,
        /// Why.
        error: std::io::Error,
    },
    /// The store was refused.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The timeline cannot be resumed.
    #[error(transparent)]
    Timeline(#[from] TimelineError),
    /// The kernel refused.
    #[error(transparent)]
    FastPath(#[from] FastPathError),
    /// There is no randomness.
    #[error("the kernel gives no random key: {0}")]
    Random(String),
    /// The store's content cannot be taken up.
    #[error(transparent)]
    Remember(#[from] RememberError),
    /// Store or kernel failed while an earlier daemon's renewals were taken note of.
    #[error(transparent)]
    Keeper(#[from] KeeperError),
    /// A thread was refused.
    #[error("a thread cannot be started: {0}")]
    Thread(#[source] std::io::Error),
}

fn privileges(error: &std::io::Error) -> &'static str {
    match error.kind() {
        std::io::ErrorKind::PermissionDenied => {
            " (run as root, or with CAP_NET_RAW, CAP_NET_ADMIN, CAP_NET_BIND_SERVICE and CAP_BPF)"
        }
        _ => "",
    }
}

/// A service that is ready to run.
pub struct Started {
    /// The service itself; [`Service::run`] occupies a thread.
    pub service: Service,
    /// Where to ask and tell it.
    pub events: SyncSender<Event>,
    /// Where the command line is to find the service.
    pub control_socket: PathBuf,
}

/// Starts serving `config`.
///
/// # Errors
/// What is in the way. Nothing an earlier daemon left has been changed then, unless the kernel refused at the last step.
pub fn start(config: Config) -> Result<Started, StartError> {
    let config = Arc::new(config);
    if config.interfaces.is_empty() {
        return Err(StartError::NoInterface);
    }
    let (facts, servers) = look_up_interfaces(&config)?;
    let interfaces = interfaces_of(&facts);
    let local = facts.iter().flat_map(|facts| facts.addresses.iter().copied()).collect();
    let mut keeper = open_store(&config, servers, interfaces.clone(), local)?;
    let clock = Clock::new(keeper.timeline);
    let pins = if config.interfaces.iter().any(|interface| interface.mode != AttachMode::Off) {
        Some(PinDirectory::open(&config.fastpath.pin_path)?)
    } else {
        None
    };
    let (events, inbox) = sync_channel(EVENTS_QUEUED);
    let (sockets, ports_held) = open_sockets(&facts)?;
    let mut modes = BTreeMap::new();
    let mut grace = None;
    match pins {
        Some(pins) => {
            let ports = ports(&config, &facts, &interfaces);
            let (attached, barrier) = take_over(&config, pins, ports, &mut keeper)?;
            modes = attached;
            grace = Some(start_grace(barrier, events.clone())?);
        }
        // Nothing grants behind the engine's back from here on.
        None => keeper.note_marks_known_since(clock.now())?,
    }
    let loggers = keeper.kernel.iter_mut().flat_map(KernelPath::objects_mut).filter_map(logger).collect();
    keeper.note_time(clock::boot_ns(), clock::wall_ns())?;
    let queue_drops = Arc::new(AtomicU64::new(0));
    start_receivers(&sockets, &events, &queue_drops)?;
    let service = Service {
        keeper,
        modes,
        loggers,
        sockets,
        _ports: ports_held,
        clock,
        authority: authority(&config),
        grace,
        events: inbox,
        queue_drops,
        counts: Counts::default(),
    };
    Ok(Started { service, events, control_socket: config.control.socket.clone() })
}

const fn authority(config: &Config) -> Span {
    Span::from_secs(config.fastpath.authority_secs as u64)
}

/// Takes over from an earlier daemon, if there was one.
fn take_over(
    config: &Config,
    pins: PinDirectory,
    ports: Vec<Port>,
    keeper: &mut Keeper<LogStore, KernelPath>,
) -> Result<(BTreeMap<String, String>, Grace), StartError> {
    let predecessor = Predecessor::open(&pins)?;
    let mut succession = KernelSuccession {
        config,
        predecessor,
        fresh: Some((pins, ports)),
        grace: None,
        modes: BTreeMap::new(),
    };
    keeper.take_over(&mut succession, authority(config))?;
    let KernelSuccession { modes, grace, .. } = succession;
    Ok((modes, grace.ok_or(FastPathError::Missing("GRACE"))?))
}

/// The kernel's side of a start: real maps and programs.
struct KernelSuccession<'a> {
    config: &'a Config,
    predecessor: Option<Predecessor>,
    /// What the new maps are made from, once.
    fresh: Option<(PinDirectory, Vec<Port>)>,
    grace: Option<Grace>,
    modes: BTreeMap<String, String>,
}

impl Succession for KernelSuccession<'_> {
    type Map = KernelPath;

    fn boot_ns(&self) -> u64 {
        clock::boot_ns()
    }

    fn predecessor_marks(&self) -> Option<Vec<Mark>> {
        Some(self.predecessor.as_ref()?.marks(0).collect())
    }

    fn load(&mut self, control: &AbiControl) -> Result<KernelPath, FastPathError> {
        let (pins, ports) = self.fresh.take().ok_or(FastPathError::Missing("interface to run on"))?;
        let FastPath { answers_max, kernel_log, .. } = self.config.fastpath;
        let layout = Layout::new(self.config);
        let mut path = KernelPath::load(pins, ports, layout, answers_max, control, kernel_log)?;
        self.grace = Some(path.take_grace().ok_or(FastPathError::Missing("GRACE"))?);
        Ok(path)
    }

    fn attach(&mut self, path: &mut KernelPath) -> Result<(), FastPathError> {
        // What the old program renewed is the new one's to show.
        self.predecessor.iter().flat_map(|old| old.marks(0)).for_each(|mark| path.carry_mark(&mark));
        self.modes = attach(path)?;
        Ok(())
    }

    fn wait_for_programs(&mut self) -> Result<(), FastPathError> {
        self.grace.as_mut().ok_or(FastPathError::Missing("GRACE"))?.wait()
    }
}

fn look_up_interfaces(config: &Config) -> Result<(Vec<InterfaceFacts>, Vec<Ipv4Addr>), StartError> {
    let mut all = Vec::with_capacity(config.interfaces.len());
    let mut servers = Vec::with_capacity(config.interfaces.len());
    for interface in &config.interfaces {
        let mut facts = InterfaceFacts::of(&interface.name)?;
        let server = interface
            .address
            .or_else(|| facts.addresses.first().copied())
            .ok_or_else(|| InterfaceError::NoAddress { name: interface.name.clone() })?;
        if !facts.addresses.contains(&server) {
            facts.addresses.push(server);
        }
        for &address in &facts.addresses {
            let pools = config.subnets.iter().flat_map(|subnet| &subnet.pools);
            if pools.into_iter().any(|pool| (pool.first..=pool.last).contains(&address)) {
                return Err(StartError::AddressInPool { interface: interface.name.clone(), address });
            }
        }
        servers.push(server);
        all.push(facts);
    }
    Ok((all, servers))
}

/// Opens the store and decides what of it still holds under this configuration.
fn open_store(
    config: &Arc<Config>,
    servers: Vec<Ipv4Addr>,
    interfaces: Vec<Interface>,
    local: Vec<Ipv4Addr>,
) -> Result<Keeper<LogStore, KernelPath>, StartError> {
    let mut leases = Vec::new();
    let (store, recovered) =
        LogStore::open(&config.store.path, &Options::default(), &mut |lease| leases.push(lease))?;
    let (mut random_key, mut seed) = (vec![0; stored::KEY_LEN], [0; 8]);
    OsRng
        .try_fill_bytes(&mut random_key)
        .and_then(|()| OsRng.try_fill_bytes(&mut seed))
        .map_err(|error| StartError::Random(error.to_string()))?;
    let found = leases.len();
    let around = Surroundings {
        config: Arc::clone(config),
        servers,
        interfaces,
        local,
        boot_id: BootId::of_this_machine()?,
        boot_ns: clock::boot_ns(),
        wall_ns: clock::wall_ns(),
        random_key,
        seed: u64::from_le_bytes(seed),
    };
    let (keeper, resume) = remember(around, store, &recovered, leases)?;
    report(&resume, found);
    Ok(keeper)
}

/// Packet sockets, and UDP port 67, on every interface.
fn open_sockets(facts: &[InterfaceFacts]) -> Result<(Vec<Arc<PacketSocket>>, Vec<OwnedFd>), StartError> {
    let mut sockets = Vec::with_capacity(facts.len());
    let mut ports = Vec::with_capacity(facts.len());
    for facts in facts {
        let refused = |what| {
            let interface = facts.name.clone();
            move |error: std::io::Error| match error.kind() {
                std::io::ErrorKind::AddrInUse => StartError::PortTaken { interface },
                _ => StartError::Socket { what, interface, error },
            }
        };
        ports.push(reserve_port(&facts.name).map_err(refused("UDP port 67"))?);
        sockets.push(Arc::new(PacketSocket::open(facts.ifindex).map_err(refused("packet socket"))?));
    }
    Ok((sockets, ports))
}

fn interfaces_of(facts: &[InterfaceFacts]) -> Vec<Interface> {
    (0..).zip(facts).map(|(number, facts)| Interface { number, mac: facts.mac }).collect()
}

fn ports(config: &Config, facts: &[InterfaceFacts], interfaces: &[Interface]) -> Vec<Port> {
    let all = config.interfaces.iter().zip(facts).zip(interfaces);
    all.filter(|((configured, _), _)| configured.mode != AttachMode::Off)
        .map(|((configured, facts), &interface)| Port {
            name: facts.name.clone(),
            ifindex: facts.ifindex,
            interface,
            mode: configured.mode,
        })
        .collect()
}

fn attach(path: &mut KernelPath) -> Result<BTreeMap<String, String>, FastPathError> {
    let mut modes = BTreeMap::new();
    for (interface, attached) in path.attach()? {
        let mode = match attached {
            Attached::Driver => "driver",
            Attached::Generic => "generic",
            Attached::TookOver => "took_over",
        };
        tracing::info!(interface, mode, "the XDP program is attached");
        modes.insert(interface, mode.to_owned());
    }
    Ok(modes)
}

fn logger(object: &mut aya::Ebpf) -> Option<EbpfLogger<&'static dyn log::Log>> {
    EbpfLogger::init(object)
        .inspect_err(|error| tracing::warn!(%error, "the kernel program's messages cannot be read"))
        .ok()
}

/// The thread that waits for programs to end, so that nobody else has to.
fn start_grace(mut grace: Grace, events: SyncSender<Event>) -> Result<Sender<Vec<Withdrawal>>, StartError> {
    let (sender, receiver): (_, Receiver<Vec<Withdrawal>>) = channel();
    let wait = move || {
        while let Ok(mut withdrawn) = receiver.recv() {
            // Whatever was withdrawn while the last wait lasted shares the next one.
            receiver.try_iter().for_each(|more| withdrawn.extend(more));
            match grace.wait() {
                Ok(()) if events.send(Event::Graced(withdrawn)).is_err() => return,
                Ok(()) => {}
                Err(error) => {
                    tracing::error!(%error, "withdrawn addresses stay reserved: the kernel gave no barrier");
                }
            }
        }
    };
    thread::Builder::new().name("grace".to_owned()).spawn(wait).map_err(StartError::Thread)?;
    Ok(sender)
}

fn start_receivers(
    sockets: &[Arc<PacketSocket>],
    events: &SyncSender<Event>,
    queue_drops: &Arc<AtomicU64>,
) -> Result<(), StartError> {
    for (interface, socket) in sockets.iter().enumerate() {
        let (socket, events, queue_drops) = (Arc::clone(socket), events.clone(), Arc::clone(queue_drops));
        let receive = move || receive(interface, &socket, &events, &queue_drops);
        thread::Builder::new()
            .name(format!("receive-{interface}"))
            .spawn(receive)
            .map_err(StartError::Thread)?;
    }
    Ok(())
}

/// Hands frames to the service until it is gone.
fn receive(interface: usize, socket: &PacketSocket, events: &SyncSender<Event>, queue_drops: &AtomicU64) {
    let mut failing = false;
    loop {
        let received = socket.receive();
        match &received {
            Err(error) if !failing => {
                tracing::warn!(interface, %error, "receiving fails; trying until it works");
            }
            Ok(_) if failing => tracing::info!(interface, "receiving again"),
            _ => {}
        }
        failing = received.is_err();
        match received {
            Ok(None) => {}
            Ok(Some(frame)) => match events.try_send(Event::Frame(interface, frame)) {
                Ok(()) => {}
                Err(TrySendError::Full(_)) => drop(queue_drops.fetch_add(1, Ordering::Relaxed)),
                Err(TrySendError::Disconnected(_)) => return,
            },
            // The interface is down, as a rule: it may come up again.
            Err(_) => thread::sleep(RECEIVE_AGAIN),
        }
    }
}

fn report(resume: &Resume, leases: usize) {
    match resume {
        Resume::First => tracing::info!("a new store: no leases yet"),
        Resume::SameBoot => tracing::info!(leases, "resumed"),
        Resume::NewBoot { away } => {
            tracing::info!(leases, away_secs = away.as_secs(), "resumed after a reboot");
        }
        Resume::WallBehind { by } => tracing::warn!(
            leases,
            behind_secs = by.as_secs(),
            "the wall clock is behind the store's latest time: time goes on from there, and no promise is shortened; \
             set the clock and restart to see true dates"
        ),
    }
}
