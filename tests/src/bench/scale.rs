//! `cargo xtask bench scale`: what many leases cost: memory, disk, and the time to start, fill, list and expire.
//!
//! The daemon's own parts in the daemon's own order, without sockets: engine, learner, keeper, store, kernel maps. Leases
//! are granted by DISCOVER, OFFER, REQUEST, ACK, so that each has what a real one has. [`prepare`] and [`start`] run in
//! processes of their own, so that memory speaks of one alone.

use std::{net::Ipv4Addr, path::Path, sync::Arc, time::Instant};

use anyhow::{Context as _, Result, ensure};
use aya::programs::{TestRun as _, TestRunOptions, Xdp};
use dhcp_common::{abi::name, limit::Limits};
use dhcp_user::{
    config::{
        self,
        model::{AttachMode, KernelLog},
    },
    fastpath::{
        kernel::{KernelPath, Port, Settings},
        layout::Layout,
    },
    lease::{
        record::{LeaseRecord, LeaseState},
        store::{LogStore, Options},
    },
    net::packet_socket::ReceivedFrame,
    server::{
        clock,
        keeper::Keeper,
        takeover::{Surroundings, remember},
        view::LeaseView,
        work::Work,
    },
    time::Span,
    timeline::BootId,
};
use serde::{Deserialize, Serialize};

use super::{
    gate::subject::{INTERFACE, Style, Subject, offered},
    request::SERVER,
    world::Pins,
};

/// Clients that share a flush while leases are granted, as under load.
const AT_ONCE: u32 = 1_024;
/// Leases on a page of a list.
const PAGE: usize = 512;
const ANSWERS_MAX: u32 = 1_024;
const KEY_OCTETS: usize = 4096;
const XDP_TX: u32 = 3;
const KIB: f64 = 1_024.0;

/// What came of granting leases.
#[derive(Clone, Copy, Debug, Deserialize, Serialize)]
pub struct Prepared {
    /// New leases a second, durably, by engine, learner and store on one thread; no packets.
    pub granted_per_s: f64,
    /// Octets of the store on disk for each lease.
    pub store_octets_per_lease: f64,
}

/// What came of starting with them.
#[derive(Clone, Copy, Debug, Deserialize, Serialize)]
pub struct Started {
    /// Reading the store, seconds.
    pub load_s: f64,
    /// Making tables of what was read, seconds.
    pub remember_s: f64,
    /// Making maps and loading the program, seconds.
    pub maps_s: f64,
    /// Filling the maps, entries a second.
    pub filled_per_s: f64,
    /// All of that until the kernel has answered a renewal, seconds.
    pub first_answer_s: f64,
    /// Octets of the process's own memory for each lease.
    pub daemon_octets_per_lease: f64,
    /// Octets of the lease map and the table of blocks for each lease.
    pub kernel_octets_per_lease: f64,
    /// The first page of a list, microseconds.
    pub first_page_us: f64,
    /// Leases listed a second, page by page, as the API shows them.
    pub listed_per_s: f64,
    /// Leases that ran out, withdrawn, freed and durable a second.
    pub expired_per_s: f64,
}

type TheKeeper = Keeper<LogStore, KernelPath>;

/// Grants `leases` leases in a new store in `folder`.
///
/// # Errors
///
/// When a client gets none.
pub fn prepare(folder: &Path, leases: u32) -> Result<Prepared> {
    let mut keeper = open(folder, leases)?;
    let begun = Instant::now();
    let received = |octets| ReceivedFrame { octets, checksum_pending: true };
    for first in (0..leases).step_by(AT_ONCE as usize) {
        let now = keeper.timeline.timestamp(clock::boot_ns());
        let mut acks = Work::default();
        for client in first..leases.min(first + AT_ONCE) {
            let mut offer = Work::default();
            let discover = Subject::discover(client, Style::ClientId);
            keeper.core.receive(now, 0, &mut received(discover), &mut offer);
            let address = offered(&offer).with_context(|| format!("client {client} was offered nothing"))?;
            let select = Subject::select(client, Style::ClientId, address);
            keeper.core.receive(now, 0, &mut received(select), &mut acks);
        }
        drop(keeper.settle(now, acks)?);
    }
    let granted_per_s = f64::from(leases) / begun.elapsed().as_secs_f64();
    ensure!(keeper.core.engine.leases().counts().bound == u64::from(leases), "not every client got a lease");
    let disk = keeper.store.size().disk_bytes;
    keeper.store.close()?;
    Ok(Prepared { granted_per_s, store_octets_per_lease: disk as f64 / f64::from(leases) })
}

/// Starts with the leases in `folder`, up to the kernel's first answer, then lists them and lets them run out.
///
/// # Errors
///
/// Without root, or when the kernel does not answer.
pub fn start(folder: &Path, leases: u32) -> Result<Started> {
    let begun = Instant::now();
    let mut records = Vec::new();
    let (store, recovered) = LogStore::open(folder, &Options::default(), &mut |lease| records.push(lease))?;
    let load_s = begun.elapsed().as_secs_f64();
    ensure!(records.len() == leases as usize, "the store has {} leases, not {leases}", records.len());
    let (mut keeper, _) = remember(around(leases)?, store, &recovered, records)?;
    let remember_s = begun.elapsed().as_secs_f64() - load_s;
    let pins = Pins::new();
    let kernel = maps(&pins, leases, &keeper)?;
    let kernel_octets = u64::from(kernel.layout().leases()) * 64 + kernel.layout().table().len() as u64 * 16;
    kernel.set_authority_until_boot_ns(u64::MAX);
    let maps_s = begun.elapsed().as_secs_f64() - load_s - remember_s;
    let filling = Instant::now();
    keeper.fill(kernel)?;
    let filled_per_s = f64::from(leases) / filling.elapsed().as_secs_f64();
    answers_one(&mut keeper)?;
    let first_answer_s = begun.elapsed().as_secs_f64();
    let daemon_octets = own_memory_octets()?;
    let (first_page_us, listed_per_s) = list(&keeper)?;
    let expired_per_s = expire(&mut keeper, leases)?;
    keeper.kernel = None;
    keeper.store.close()?;
    let each = |octets: f64| octets / f64::from(leases);
    Ok(Started {
        load_s,
        remember_s,
        maps_s,
        filled_per_s,
        first_answer_s,
        daemon_octets_per_lease: each(daemon_octets),
        kernel_octets_per_lease: each(kernel_octets as f64),
        first_page_us,
        listed_per_s,
        expired_per_s,
    })
}

fn open(folder: &Path, leases: u32) -> Result<TheKeeper> {
    let mut none = 0;
    let (store, recovered) = LogStore::open(folder, &Options::default(), &mut |_| none += 1)?;
    ensure!(none == 0, "{} is in use", folder.display());
    Ok(remember(around(leases)?, store, &recovered, Vec::new())?.0)
}

fn config(leases: u32) -> Result<Arc<config::Config>> {
    // As many addresses again as there are leases, as an operator has it; none of this leaves the process.
    let first = Ipv4Addr::new(10, 0, 1, 0);
    let last = Ipv4Addr::from(u32::from(first) + leases + leases / 8 + 255);
    let text = serde_json::json!({"dhcp": {
        "interfaces": [{"name": "a", "address": SERVER}],
        "lease_secs": 3600,
        "fastpath": {"answers_max": ANSWERS_MAX},
        "options": [{"name": "domain-name-servers", "value": ["198.18.0.53", "198.18.0.54"]}],
        "subnets": [{"subnet": "10.0.0.0/8", "interface": "a", "pools": [{"range": format!("{first}-{last}")}]}],
    }});
    Ok(Arc::new(config::parse(&text.to_string(), "the benchmark's configuration")?))
}

fn around(leases: u32) -> Result<Surroundings> {
    Ok(Surroundings {
        config: config(leases)?,
        servers: vec![SERVER],
        interfaces: vec![INTERFACE],
        local: vec![SERVER],
        boot_id: BootId::new([7; 16]),
        boot_ns: clock::boot_ns(),
        wall_ns: clock::wall_ns(),
        random_key: (0..KEY_OCTETS)
            .map(|at| (at * 167 % 251) as u8)
            .take(dhcp_user::fastpath::stored::KEY_LEN)
            .collect(),
        seed: 7,
    })
}

fn maps(pins: &Pins, leases: u32, keeper: &TheKeeper) -> Result<KernelPath> {
    // Never attached: no interface of this machine is meant.
    let port = Port { name: "a".to_owned(), ifindex: 0, interface: INTERFACE, mode: AttachMode::Generic };
    let settings = Settings { answers_max: ANSWERS_MAX, limits: Limits::OFF, kernel_log: KernelLog::Off };
    let directory = dhcp_user::fastpath::pins::PinDirectory::open(pins.path())?;
    let layout = Layout::new(&*config(leases)?);
    Ok(KernelPath::load(directory, vec![port], layout, &keeper.core.learner.control, &settings)?)
}

/// Has the kernel answer a renewal of the last lease there is.
fn answers_one(keeper: &mut TheKeeper) -> Result<()> {
    let lease = keeper.core.engine.leases().iter().last().context("no lease")?;
    let mac = lease.hardware.as_ethernet().context("a lease without an Ethernet address")?;
    let [_, _, number @ ..] = mac;
    let frame = Subject::renewal(u32::from_be_bytes(number), Style::ClientId, lease.address);
    let kernel = keeper.kernel.as_mut().context("no kernel")?;
    let object = kernel.objects_mut().next().context("no object is loaded")?;
    let program: &mut Xdp = object.program_mut(name::PROGRAM).context("no program")?.try_into()?;
    let run = program.test_run(TestRunOptions { data_in: Some(&frame), ..TestRunOptions::default() })?;
    ensure!(run.return_value == XDP_TX, "the kernel does not answer: {:?}", kernel.counters()?);
    Ok(())
}

/// Memory of this process that no file and no map is behind, octets.
fn own_memory_octets() -> Result<f64> {
    let status = std::fs::read_to_string("/proc/self/status").context("cannot read /proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:")).context("no RssAnon")?;
    let kib: f64 = line.trim().trim_end_matches("kB").trim().parse()?;
    Ok(kib * KIB)
}

/// All leases as the API shows them, in its portions: microseconds for the first page, leases a second for all.
fn list(keeper: &TheKeeper) -> Result<(f64, f64)> {
    let now = keeper.timeline.timestamp(clock::boot_ns());
    let show = |lease: &LeaseRecord| serde_json::to_string(&LeaseView::new(lease, false, now, false, None));
    let begun = Instant::now();
    let (mut after, mut listed, mut first_page_us) = (Ipv4Addr::UNSPECIFIED, 0_u64, 0.0);
    loop {
        let mut last = None;
        for lease in keeper.core.engine.leases().between(after, Ipv4Addr::BROADCAST).take(PAGE) {
            std::hint::black_box(show(lease)?);
            listed += 1;
            last = Some(lease.address);
        }
        if first_page_us == 0.0 {
            first_page_us = begun.elapsed().as_secs_f64() * 1e6;
        }
        let Some(last) = last else { break };
        after = Ipv4Addr::from(u32::from(last) + 1);
    }
    Ok((first_page_us, listed as f64 / begun.elapsed().as_secs_f64()))
}

/// Lets all leases run out: withdrawn from the kernel, freed, durable.
fn expire(keeper: &mut TheKeeper, leases: u32) -> Result<f64> {
    let later = keeper.timeline.timestamp(clock::boot_ns()) + Span::from_secs(100_000);
    let begun = Instant::now();
    while keeper.core.engine.leases().counts().bound > 0 {
        let mut work = Work::default();
        keeper.core.tick(later, &mut work);
        ensure!(!work.withdraw.is_empty(), "leases that ran out stay");
        let mut gone = Work::default();
        for withdrawn in keeper.settle(later, work)?.withdrawn {
            keeper.forgotten(later, withdrawn, &mut gone);
        }
        drop(keeper.settle(later, gone)?);
    }
    let expired = keeper.core.engine.leases().iter().filter(|lease| lease.state == LeaseState::Free).count();
    ensure!(expired == leases as usize, "{expired} of {leases} leases ran out");
    Ok(f64::from(leases) / begun.elapsed().as_secs_f64())
}
