//! From a configuration to a running service.
//!
//! The order matters. Everything that can be refused is looked at before anything changes; what an earlier daemon's
//! program renewed is read before the engine judges any lease; the new maps are full before the program is swapped in;
//! and what the old program renewed in the meantime is read once it certainly runs no more.

use std::{
    collections::BTreeMap,
    net::Ipv4Addr,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
        mpsc::{Receiver, Sender, SyncSender, TrySendError, channel, sync_channel},
    },
    thread,
};

use aya_log::EbpfLogger;
use dhcp_common::{abi::Control, request::Interface};
use rand::{RngCore, TryRngCore, rngs::OsRng};

use super::{
    clock::{self, Clock},
    core::Core,
    learn::Learner,
    service::{Counts, Event, Service},
    work::Work,
};
use crate::{
    config::{
        self,
        model::{AttachMode, Config},
    },
    engine::Engine,
    fastpath::{
        answers::AnswerTable,
        attach::Attached,
        error::FastPathError,
        grace::Grace,
        kernel::{KernelPath, Mark, Port, Predecessor},
        layout::Layout,
        pins::PinDirectory,
        stored,
    },
    lease::{
        record::LeaseRecord,
        store::{Batch, LeaseStore, LogStore, MetaKey, Options, Recovered, StoreError},
        table::LeaseTable,
    },
    net::{
        interface::{InterfaceError, InterfaceFacts},
        packet_socket::{PacketSocket, reserve_port},
    },
    time::{Span, Timestamp},
    timeline::{Anchor, BootId, Resume, Timeline, TimelineError},
};

/// Frames that may wait for the service; beyond them frames are dropped and counted, and clients ask again.
const EVENTS_QUEUED: usize = 16_384;

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

/// What the store held, judged by the configuration of today.
struct Memory {
    store: LogStore,
    leases: Vec<LeaseRecord>,
    clock: Clock,
    resume: Resume,
    control: Control,
    answers: AnswerTable,
    marks_known_since: Timestamp,
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
    let mut memory = remember(&config, &servers)?;
    let pins = if config.interfaces.iter().any(|interface| interface.mode != AttachMode::Off) {
        Some(PinDirectory::open(&config.fastpath.pin_path)?)
    } else {
        None
    };
    let predecessor = pins.as_ref().map(Predecessor::open).transpose()?.flatten();

    let (events, inbox) = sync_channel(EVENTS_QUEUED);
    let queue_drops = Arc::new(AtomicU64::new(0));
    let sockets = open_sockets(&facts)?;

    let interfaces = interfaces_of(&facts);
    let learner = Learner {
        control: memory.control,
        answers: memory.answers,
        interfaces: interfaces.clone(),
        unpublishable: 0,
    };
    let engine = Engine::new(Arc::clone(&config), servers, LeaseTable::from_records(memory.leases));
    let local = facts.iter().flat_map(|facts| facts.addresses.iter().copied()).collect();
    let mut core = Core::new(engine, learner, local, OsRng.unwrap_err().next_u64());

    // Renewals of an earlier program that nobody has seen yet.
    let read_until = clock::boot_ns();
    match &predecessor {
        Some(predecessor) => {
            drop(take_marks(&mut core, &memory.clock, predecessor.marks(0), &mut memory.store)?)
        }
        // Marks of grants made before now, if any, are lost.
        None => memory.marks_known_since = memory.clock.now(),
    }
    // Should this start be cut short below, the old program's last marks may be lost: until they have been read, the
    // next start is to go by horizons for everything granted before now.
    note_marks(memory.clock.now(), &mut memory.store)?;

    let mut kernel = None;
    let mut modes = BTreeMap::new();
    let mut grace = None;
    if let Some(pins) = pins {
        let ports = ports(&config, &facts, &interfaces);
        let layout = Layout::new(&config);
        let answers_max = config.fastpath.answers_max;
        let mut path = KernelPath::load(pins, ports, layout, answers_max, &core.learner.control)?;
        path.put_answers(&core.learner.answers)?;
        for lease in core.engine.leases().iter() {
            if let Some(entry) = core.entry(lease.address, memory.clock.timeline()) {
                path.publish(&entry);
            }
        }
        predecessor.iter().flat_map(|old| old.marks(0)).for_each(|mark| path.carry_mark(&mark));
        let authority = Span::from_secs(config.fastpath.authority_secs.into());
        path.set_authority_until_boot_ns(clock::boot_ns().saturating_add(authority.0));
        modes = attach(&mut path)?;
        let mut barrier = path.take_grace().ok_or(FastPathError::Missing("GRACE"))?;
        if let Some(predecessor) = &predecessor {
            // Frames that the old program was still answering when it was swapped are in its marks after this.
            barrier.wait()?;
            let since = read_until.saturating_sub(Span::from_millis(100).0);
            for address in take_marks(&mut core, &memory.clock, predecessor.marks(since), &mut memory.store)?
            {
                if let Some(entry) = core.entry(address, memory.clock.timeline()) {
                    path.publish(&entry);
                }
            }
        }
        grace = Some(start_grace(barrier, events.clone())?);
        kernel = Some(path);
    }
    let loggers = kernel.iter_mut().flat_map(KernelPath::objects_mut).filter_map(logger).collect();
    note_marks(memory.marks_known_since, &mut memory.store)?;
    note_start(&core, &memory.clock, &mut memory.store)?;
    start_receivers(&sockets, &events, &queue_drops)?;
    report(&memory.resume, core.engine.leases().len());
    let service = Service {
        core,
        store: memory.store,
        kernel,
        modes,
        loggers,
        sockets,
        clock: memory.clock,
        authority: Span::from_secs(config.fastpath.authority_secs.into()),
        marks_known_since: memory.marks_known_since,
        grace,
        events: inbox,
        queue_drops,
        counts: Counts::default(),
    };
    Ok(Started { service, events, control_socket: config.control.socket.clone() })
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
fn remember(config: &Config, servers: &[Ipv4Addr]) -> Result<Memory, StartError> {
    let mut leases = Vec::new();
    let (store, recovered) =
        LogStore::open(&config.store.path, &Options::default(), &mut |lease| leases.push(lease))?;
    let anchor = meta(&recovered, MetaKey::TimelineAnchor).map(Anchor::decode).transpose()?;
    let (timeline, resume) =
        Timeline::resume(anchor, BootId::of_this_machine()?, clock::boot_ns(), clock::wall_ns());

    // The server's addresses shape replies too, and may come from the system.
    let mut digest = config::digest(config).to_vec();
    servers.iter().for_each(|server| digest.extend_from_slice(&server.octets()));
    let generation_before = meta(&recovered, MetaKey::Generation)
        .and_then(|octets| octets.try_into().ok())
        .map_or(0, u32::from_le_bytes);
    let key = meta(&recovered, MetaKey::FingerprintKey).and_then(stored::decode_key);
    let mut answers = AnswerTable::new(config.fastpath.answers_max);
    let unchanged = meta(&recovered, MetaKey::ConfigDigest) == Some(&digest[..])
        && key.is_some()
        && restore_answers(&recovered, generation_before, &mut answers);
    let mut control = Control::default();
    if unchanged {
        control.generation = generation_before;
        control.key = key.unwrap_or(control.key);
    } else {
        // Nothing the kernel knew holds any more: another generation, another key, and everything learnt anew.
        answers = AnswerTable::new(config.fastpath.answers_max);
        control.generation = generation_before.wrapping_add(1).max(1);
        random_key(&mut control)?;
        leases.iter_mut().for_each(|lease| lease.forms = [None, None]);
    }
    let marks_known_since = meta(&recovered, MetaKey::MarksKnownSince)
        .and_then(|octets| octets.try_into().ok())
        .map_or(Timestamp::ZERO, |octets| Timestamp(u64::from_le_bytes(octets)));
    let mut store = store;
    let batch = Batch {
        meta: vec![
            (MetaKey::ConfigDigest, digest),
            (MetaKey::Generation, control.generation.to_le_bytes().to_vec()),
            (MetaKey::FingerprintKey, stored::encode_key(&control)),
        ],
        dropped_answers: if unchanged {
            Vec::new()
        } else {
            recovered.answers.iter().map(|a| a.id).collect()
        },
        ..Batch::default()
    };
    store.commit(&batch)?;
    Ok(Memory { store, leases, clock: Clock::new(timeline), resume, control, answers, marks_known_since })
}

fn meta(recovered: &Recovered, key: MetaKey) -> Option<&[u8]> {
    recovered.meta.iter().find(|(found, _)| *found == key).map(|(_, value)| value.as_slice())
}

/// Puts the stored answers back; whether all of them could be.
fn restore_answers(recovered: &Recovered, generation: u32, answers: &mut AnswerTable) -> bool {
    recovered.answers.iter().all(|stored_answer| {
        stored::decode_answer(&stored_answer.bytes)
            .filter(|answer| answer.generation == generation)
            .is_some_and(|answer| answers.restore(stored_answer.id, &answer))
    })
}

fn random_key(control: &mut Control) -> Result<(), StartError> {
    let mut octets = vec![0; stored::KEY_LEN];
    OsRng.try_fill_bytes(&mut octets).map_err(|error| StartError::Random(error.to_string()))?;
    control.key = stored::decode_key(&octets).unwrap_or(control.key);
    Ok(())
}

fn open_sockets(facts: &[InterfaceFacts]) -> Result<Vec<Option<Arc<PacketSocket>>>, StartError> {
    let mut sockets = Vec::with_capacity(facts.len());
    for facts in facts {
        let refused = |what| {
            let interface = facts.name.clone();
            move |error: std::io::Error| match error.kind() {
                std::io::ErrorKind::AddrInUse => StartError::PortTaken { interface },
                _ => StartError::Socket { what, interface, error },
            }
        };
        let port = reserve_port(&facts.name).map_err(refused("UDP port 67"))?;
        // Held for as long as the process lives.
        std::mem::forget(port);
        let socket = PacketSocket::open(facts.ifindex).map_err(refused("packet socket"))?;
        sockets.push(Some(Arc::new(socket)));
    }
    Ok(sockets)
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

/// Tells the engine what a program renewed, and makes durable what follows from it; the leases whose horizons moved.
fn take_marks(
    core: &mut Core,
    clock: &Clock,
    marks: impl Iterator<Item = Mark>,
    store: &mut LogStore,
) -> Result<Vec<Ipv4Addr>, StoreError> {
    let now = clock.now();
    let mut moved = Vec::new();
    let mut work = Work::default();
    for mark in marks {
        core.renewed(now, &mark, clock.timeline(), &mut work);
        if work.batch.leases.len() >= 4_096 {
            let done = std::mem::take(&mut work);
            store.commit(&done.batch)?;
            moved.extend(done.publish);
        }
    }
    store.commit(&work.batch)?;
    moved.extend(work.publish);
    Ok(moved)
}

fn note_marks(marks_known_since: Timestamp, store: &mut LogStore) -> Result<(), StoreError> {
    let known = marks_known_since.0.to_le_bytes().to_vec();
    store.commit(&Batch { meta: vec![(MetaKey::MarksKnownSince, known)], ..Batch::default() })
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
fn start_grace(mut grace: Grace, events: SyncSender<Event>) -> Result<Sender<Vec<Ipv4Addr>>, StartError> {
    let (sender, receiver): (_, Receiver<Vec<Ipv4Addr>>) = channel();
    let wait = move || {
        while let Ok(mut addresses) = receiver.recv() {
            // Whatever was withdrawn while the last wait lasted shares the next one.
            receiver.try_iter().for_each(|more| addresses.extend(more));
            match grace.wait() {
                Ok(()) if events.send(Event::Graced(addresses)).is_err() => return,
                Ok(()) => {}
                Err(error) => {
                    tracing::error!(%error, "withdrawn addresses stay reserved: the kernel gave no barrier")
                }
            }
        }
    };
    thread::Builder::new().name("grace".to_owned()).spawn(wait).map_err(StartError::Thread)?;
    Ok(sender)
}

fn start_receivers(
    sockets: &[Option<Arc<PacketSocket>>],
    events: &SyncSender<Event>,
    queue_drops: &Arc<AtomicU64>,
) -> Result<(), StartError> {
    for (interface, socket) in sockets.iter().enumerate() {
        let Some(socket) = socket.clone() else { continue };
        let (events, queue_drops) = (events.clone(), Arc::clone(queue_drops));
        let receive = move || loop {
            match socket.receive() {
                Ok(None) => {}
                Ok(Some(frame)) => match events.try_send(Event::Frame(interface, frame)) {
                    Ok(()) => {}
                    Err(TrySendError::Full(_)) => drop(queue_drops.fetch_add(1, Ordering::Relaxed)),
                    Err(TrySendError::Disconnected(_)) => return,
                },
                Err(error) => {
                    tracing::warn!(interface, %error, "receiving failed; trying again");
                    thread::sleep(std::time::Duration::from_millis(500));
                }
            }
        };
        thread::Builder::new()
            .name(format!("receive-{interface}"))
            .spawn(receive)
            .map_err(StartError::Thread)?;
    }
    Ok(())
}

/// What a restart needs to know of this start.
fn note_start(core: &Core, clock: &Clock, store: &mut LogStore) -> Result<(), StoreError> {
    let anchor = clock.timeline().anchor(clock.now()).encode();
    tracing::debug!(
        generation = core.learner.control.generation,
        answers = core.learner.answers.len(),
        "ready"
    );
    store.commit(&Batch { meta: vec![(MetaKey::TimelineAnchor, anchor)], ..Batch::default() })
}

fn report(resume: &Resume, leases: usize) {
    match resume {
        Resume::First => tracing::info!("a new store: no leases yet"),
        Resume::SameBoot => tracing::info!(leases, "resumed"),
        Resume::NewBoot { away } => {
            tracing::info!(leases, away_secs = away.as_secs(), "resumed after a reboot")
        }
        Resume::WallBehind { by } => tracing::warn!(
            leases,
            behind_secs = by.as_secs(),
            "the wall clock is behind the store's latest time: time goes on from there, and no promise is shortened; \
             set the clock and restart to see true dates"
        ),
    }
}
