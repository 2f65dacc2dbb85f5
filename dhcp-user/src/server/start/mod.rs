//! From a configuration to a running service.
//!
//! The order matters. Everything that can be refused is looked at before anything changes; what an earlier daemon's
//! program renewed is read before the engine judges any lease; the new maps are full before the program is swapped in;
//! and what the old program renewed in the meantime is read once it certainly runs no more.

mod error;
mod found;
pub(super) mod interfaces;
pub(super) mod succession;
mod threads;

use std::{
    net::Ipv4Addr,
    path::PathBuf,
    sync::{
        Arc,
        atomic::AtomicU64,
        mpsc::{SyncSender, sync_channel},
    },
};

use aya_log::EbpfLogger;
use dhcp_common::request::Interface;
use rand::{TryRngCore, rngs::OsRng};

pub use error::StartError;

use self::found::Found;

use super::{
    clock::{self, Clock},
    feed::Feed,
    inbox::{self, Inbox},
    keeper::Keeper,
    latency::{self, Latency},
    outbox::Outbox,
    queries::Queries,
    reload::{
        InForce, Prospects,
        agreed::Taken,
        decide::{AskingBy, Standing},
        tell_left_out,
    },
    service::{Counts, Event, Service},
    shared_address::SharedAddresses,
    takeover::{Surroundings, remember},
    watch::{Mending, Watch},
};
use crate::{
    audit::{Journal, Kind, Line, Moment},
    config::{
        self,
        model::{AttachMode, Config},
    },
    fastpath::{kernel::KernelPath, pins::PinDirectory, stored},
    lease::store::{FlushTimes, MetaKey, Recovered, TimedStore},
    privilege::capability,
    server::memory::meta,
    site::{
        delegation::NodeId,
        node::{Node, Settings},
        roster::Roster,
    },
    time::{Span, Timestamp},
    timeline::{Anchor, BootId, Resume, Step},
};

/// Events that may wait for the service: as many frames as may, and what is not a frame.
const EVENTS_QUEUED: usize = inbox::FRAMES_MAX + 1_024;

/// A service that is ready to run.
pub struct Started {
    /// The service itself; [`Service::run`] occupies a thread.
    pub service: Service,
    /// Where to ask and tell it.
    pub events: SyncSender<Event>,
    /// Where the command line is to find the service.
    pub control_socket: PathBuf,
    /// What becomes of leases.
    pub feed: Arc<Feed>,
    /// How long the store's flushes take.
    pub flushes: Arc<FlushTimes>,
    /// How long messages take.
    pub latency: Arc<Latency>,
    /// What another configuration is to be taken up with.
    pub prospects: Prospects,
    /// Grows while the service works.
    pub turns: Arc<AtomicU64>,
}

/// Starts serving `config`, which `text` says.
///
/// # Errors
/// What is in the way. Nothing an earlier daemon left has been changed then, unless the kernel refused at the last step.
pub fn start(config: &Config, text: &str) -> Result<Started, StartError> {
    if config.interfaces.is_empty() {
        return Err(StartError::NoInterface);
    }
    let (facts, servers) = interfaces::look_up(config)?;
    let has_program = config.interfaces.iter().any(|interface| interface.mode != AttachMode::Off);
    let by_secs = clock::boot_clock_off_by_secs().map_err(StartError::Clocks)?;
    if has_program && by_secs != 0 {
        return Err(StartError::BootClockOff { by_secs });
    }
    let found = Found::open(config)?;
    let taken = Taken::stored(meta(&found.recovered, MetaKey::SiteReservations));
    let config = Arc::new(config::parse_with(text, "the configuration", &found.reservations())?);
    tell_left_out(config.left_out.iter());
    let standing = Standing {
        text: text.into(),
        config: Arc::clone(&config),
        facts: facts.clone(),
        servers: servers.clone(),
    };
    let interfaces = interfaces::numbered(&facts);
    let local = facts.iter().flat_map(|facts| facts.addresses.iter().copied()).collect();
    let (mut keeper, until) = open_store(found, &config, servers, interfaces.clone(), local)?;
    let mut journal = config.audit.as_ref().map(Journal::open).transpose()?;
    let clock = Clock::new(keeper.timeline);
    let pins = has_program.then(|| PinDirectory::open(&config.fastpath.pin_path)).transpose()?;
    let (events, queue) = sync_channel(EVENTS_QUEUED);
    let (sockets, ports_held) = interfaces::open_sockets(&facts)?;
    let probing = interfaces::open_probing(&config, &facts)?;
    if let Some(settings) = config.conflict_detection {
        keeper.core.engine.detect_conflicts(settings);
    }
    let prospects = Prospects {
        in_force: InForce::new(standing),
        pins: pins.clone(),
        asking: AskingBy { arp: !probing.arp.is_empty(), echo: probing.echo.is_some() },
        taken,
    };
    let mut modes = std::collections::BTreeMap::new();
    let mut barrier = None;
    match pins {
        Some(pins) => {
            let ports = interfaces::ports(&config, &facts, &interfaces);
            let (attached, programs_ended) = succession::take_over(&config, pins, ports, &mut keeper)?;
            modes = attached;
            barrier = Some(programs_ended);
        }
        // Nothing grants behind the engine's back from here on.
        None => keeper.note_marks_known_since(clock.now())?,
    }
    if let Some(journal) = &mut journal {
        note_start(journal, &keeper, until, clock.now());
    }
    let loggers = keeper.kernel.iter_mut().flat_map(KernelPath::objects_mut).filter_map(logger).collect();
    keeper.note_time(clock::boot_ns(), clock::wall_ns())?;
    // Everything that takes privileges is open, and no thread has been started yet that would keep them.
    capability::drop_all_but_kept()?;
    let grace = barrier.map(|barrier| threads::start_grace(barrier, events.clone())).transpose()?;
    threads::let_store_work_beside(&mut keeper.store, &events)?;
    let turns = Arc::new(AtomicU64::new(0));
    let inbox = Arc::new(Inbox::default());
    threads::start_receivers(&sockets, &events, &inbox)?;
    threads::start_answers(&probing, &events, &inbox)?;
    let shared = interfaces::shared_addresses(&config, &facts, &sockets);
    let shared = if shared.is_empty() {
        None
    } else {
        Some(SharedAddresses::start(shared).map_err(StartError::Thread)?)
    };
    let watch = Watch::start(&facts).map_err(StartError::Thread)?;
    let feed = Arc::new(Feed::begun_at(Timestamp(clock::wall_ns())));
    let (flushes, latency) = (keeper.store.times(), Arc::<Latency>::default());
    let service = Service {
        keeper,
        modes,
        loggers,
        outbox: Outbox::start(sockets).map_err(StartError::Thread)?,
        _ports: ports_held,
        clock,
        authority: authority(&config),
        grace,
        events: queue,
        inbox,
        queries: Queries::default(),
        counts: Counts::default(),
        echo: probing.echo,
        journal,
        sites: None,
        running_tap: None,
        shared,
        watch,
        mending: Mending::default(),
        turns: Arc::clone(&turns),
        feed: Arc::clone(&feed),
        latency: Arc::clone(&latency),
        taken: latency::Taken::default(),
    };
    let control_socket = config.control.socket.clone();
    Ok(Started { service, events, control_socket, feed, flushes, latency, prospects, turns })
}

pub(super) const fn authority(config: &Config) -> Span {
    Span::from_secs(config.fastpath.authority_secs as u64)
}

/// Writes the start to the audit log, and what is not known of the time before: if no predecessor's marks were there to
/// be read, whatever the kernel renewed since the time was last noted is lost.
fn note_start(
    journal: &mut Journal,
    keeper: &Keeper<TimedStore, KernelPath>,
    until: Option<Timestamp>,
    now: Timestamp,
) {
    let wall = Timestamp(clock::wall_ns());
    let generation = Some(keeper.core.learner.control.generation);
    journal.note(now, wall, Line { generation, ..Line::new(Kind::Started, now) });
    if let Some(from) = until.filter(|from| *from < keeper.marks_known_since) {
        let (from, to) = (Some(Moment(from)), Some(Moment(keeper.marks_known_since)));
        journal.note(now, wall, Line { from, to, ..Line::new(Kind::Gap, now) });
    }
}

/// Decides what of the store still holds under this configuration.
fn open_store(
    found: Found,
    config: &Arc<Config>,
    servers: Vec<Ipv4Addr>,
    interfaces: Vec<Interface>,
    local: Vec<Ipv4Addr>,
) -> Result<(Keeper<TimedStore, KernelPath>, Option<Timestamp>), StartError> {
    let Found { store, recovered, leases } = found;
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
    let (mut keeper, resume) = remember(around, TimedStore::new(store), &recovered, leases)?;
    if let Some(node) = node_of_sites(config, &recovered)? {
        keeper.join_cluster(node);
    }
    report(&resume, found);
    // When the last daemon last noted the time, if there is anything to know about the time since.
    let anchor = meta(&recovered, MetaKey::TimelineAnchor).and_then(|octets| Anchor::decode(octets).ok());
    Ok((keeper, anchor.filter(|_| found != 0).map(|anchor| anchor.latest)))
}

/// This node, if sites are in use, with what the store has of them.
fn node_of_sites(config: &Config, recovered: &Recovered) -> Result<Option<Node>, StartError> {
    let Some(section) = config.multi_site.as_ref().filter(|section| section.enabled) else { return Ok(None) };
    let roster = Roster::here(section)?;
    let (mclt, delegation) = (section.failover.mclt_secs, section.failover.delegation_secs);
    let number = roster.nodes().iter().position(|node| node.key == roster.me().key);
    let number = number.and_then(|at| u16::try_from(at).ok()).unwrap_or_default();
    let (mclt, delegation) = (Span::from_secs(mclt.into()), Span::from_secs(delegation.into()));
    let settings = Settings::of(section, NodeId(number), mclt, delegation);
    let (cursors, mark) = (meta(recovered, MetaKey::SiteCursors), meta(recovered, MetaKey::SiteMember));
    Ok(settings.map(|settings| Node::new(settings, rand::random(), cursors, mark)))
}

pub(super) fn logger(object: &mut aya::Ebpf) -> Option<EbpfLogger<&'static dyn log::Log>> {
    EbpfLogger::init(object)
        .inspect_err(|error| tracing::warn!(%error, "the kernel program's messages cannot be read"))
        .ok()
}

fn report(resume: &Resume, leases: usize) {
    match resume {
        Resume::First => tracing::info!("a new store: no leases yet"),
        Resume::SameBoot { step: None } => tracing::info!(leases, "resumed"),
        Resume::SameBoot { step: Some(step @ Step::Back(_)) } => tracing::warn!(
            leases,
            "resumed; the store's latest time is ahead of the wall clock, which was set {step} since: no promise changes, \
             for they are kept by the boot clock; set the clock right before the next reboot"
        ),
        Resume::SameBoot { step: Some(step @ Step::Ahead(_)) } => tracing::warn!(
            leases,
            "resumed; the wall clock was set {step} since the store noted it: no promise changes, for they are kept by the \
             boot clock; set the clock right before the next reboot if it is wrong"
        ),
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
