//! The maps and programs of a running daemon: made, filled and put in the place of an earlier daemon's.
//!
//! A daemon always starts with maps of its own: it fills them from the store while an earlier daemon's program goes on
//! answering from the old ones, then swaps the programs behind the links (one atomic step for each interface) and reads
//! what the old program renewed to the very end.

use std::{net::Ipv4Addr, ops::Range, os::fd::AsFd, ptr::NonNull};

use aya::{
    Ebpf, EbpfLoader,
    maps::{Array, Map, MapData, PerCpuArray},
    programs::Xdp,
};
use dhcp_common::{
    abi::{Answer, Block, Control, LeaseEntry, name},
    capture::Wanted,
    lease_cell::LeaseCell,
    limit::Limits,
    reason::Counters,
    request::Interface,
};

use super::{
    answers::AnswerTable,
    attach::{self, Attached},
    error::FastPathError,
    grace::Grace,
    layout::Layout,
    memory::MappedArray,
    pin_set::PinSet,
    pins::{MAPS, PinDirectory},
    tap::RING_OCTETS,
};
use crate::config::model::{AttachMode, KernelLog};

/// The XDP object, built by `cargo xtask build`.
static OBJECT: &[u8] = aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/dhcp-ebpf.o"));

/// An interface the program is to run on.
#[derive(Clone, Debug)]
pub struct Port {
    /// Its name.
    pub name: String,
    /// Its index in the kernel.
    pub ifindex: u32,
    /// What the program is told of it.
    pub interface: Interface,
    /// How to attach.
    pub mode: AttachMode,
}

/// What the programs are loaded with beside the leases.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// How many answers there is room for.
    pub answers_max: u32,
    /// What goes up to the daemon at most.
    pub limits: Limits,
    /// What the programs say into the daemon's log.
    pub kernel_log: KernelLog,
}

/// A renewal that the kernel granted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mark {
    /// The leased address.
    pub address: Ipv4Addr,
    /// The hardware address it was granted to.
    pub chaddr: [u8; 6],
    /// When it was last granted, on the boot clock.
    pub renewed_boot_ns: u64,
}

impl Mark {
    /// The mark an entry bears; `None` if the kernel never renewed it.
    pub fn of(cell: LeaseCell) -> Option<Self> {
        let renewed_boot_ns = cell.renewed_boot_ns();
        (renewed_boot_ns != 0).then(|| Self {
            address: cell.address().into(),
            chaddr: cell.chaddr(),
            renewed_boot_ns,
        })
    }
}

/// The kernel side of a running daemon.
pub struct KernelPath {
    pub(super) pins: PinDirectory,
    pub(super) set: PinSet,
    layout: Layout,
    pub(super) settings: Settings,
    leases: MappedArray<LeaseEntry>,
    control: MappedArray<Control>,
    answers: Array<MapData, Answer>,
    counters: PerCpuArray<MapData, Counters>,
    grace: Option<Grace>,
    /// One object for each interface: its programs live as long as this.
    pub(super) objects: Vec<(Port, Ebpf)>,
}

/// The leases among `entries` of a map that were renewed at or after `since_boot_ns`.
pub(super) fn marks(
    leases: &MappedArray<LeaseEntry>,
    entries: Range<u32>,
    since_boot_ns: u64,
) -> impl Iterator<Item = Mark> {
    entries.filter_map(move |index| {
        Mark::of(leases.cell(index)?).filter(|mark| mark.renewed_boot_ns >= since_boot_ns)
    })
}

impl KernelPath {
    /// Makes the maps and loads the programs; nothing is attached yet, and an earlier daemon's program goes on.
    ///
    /// # Errors
    /// If the kernel refuses anything.
    pub fn load(
        pins: PinDirectory,
        ports: Vec<Port>,
        layout: Layout,
        control: &Control,
        settings: &Settings,
    ) -> Result<Self, FastPathError> {
        let set = pins.new_set()?;
        match Self::load_into(pins, &set, ports, layout, control, settings) {
            Ok(path) => Ok(path),
            Err(error) => {
                // Nothing ran over it.
                if let Err(error) = set.remove() {
                    tracing::warn!(%error, "pins of maps that were never used stay behind");
                }
                Err(error)
            }
        }
    }

    fn load_into(
        pins: PinDirectory,
        set: &PinSet,
        ports: Vec<Port>,
        layout: Layout,
        control: &Control,
        settings: &Settings,
    ) -> Result<Self, FastPathError> {
        let table = layout.table();
        let slots = u32::try_from(table.len()).unwrap_or(u32::MAX);
        let mut objects = Vec::with_capacity(ports.len());
        for port in ports {
            let sizes = Sizes { leases: layout.leases().max(1), slots };
            let mut object = load_object(set, &port, sizes, settings, None)?;
            set.pin_program(&port.name, program(&mut object, name::PROGRAM, &port.name)?)?;
            objects.push((port, object));
        }
        let (_, first) = objects.first_mut().ok_or(FastPathError::Missing("interface to run on"))?;
        let leases_map = take(first, name::LEASES)?;
        let control_map = take(first, name::CONTROL)?;
        let leases = MappedArray::new(data(&leases_map, name::LEASES)?.fd().as_fd(), layout.leases().max(1))
            .map_err(|error| FastPathError::Mmap { map: name::LEASES, error })?;
        let mapped_control = MappedArray::new(data(&control_map, name::CONTROL)?.fd().as_fd(), 1)
            .map_err(|error| FastPathError::Mmap { map: name::CONTROL, error })?;
        let mut blocks =
            Array::<_, Block>::try_from(take(first, name::BLOCKS)?).map_err(wrong(name::BLOCKS, "used"))?;
        for (slot, block) in (0..).zip(&table) {
            blocks.set(slot, block, 0).map_err(wrong(name::BLOCKS, "filled"))?;
        }
        let answers = Array::try_from(take(first, name::ANSWERS)?).map_err(wrong(name::ANSWERS, "used"))?;
        let counters =
            PerCpuArray::try_from(take(first, name::COUNTERS)?).map_err(wrong(name::COUNTERS, "used"))?;
        let outer = take(first, name::GRACE)?.try_into().map_err(wrong(name::GRACE, "used"))?;
        let grace = Grace::new(outer).map_err(wrong(name::GRACE, "made"))?;
        let path = Self {
            pins,
            set: set.clone(),
            layout,
            settings: *settings,
            leases,
            control: mapped_control,
            answers,
            counters,
            grace: Some(grace),
            objects,
        };
        path.set_control(control);
        Ok(path)
    }

    /// Tells the programs key and generation. Only before [`attach`](Self::attach).
    pub fn set_control(&self, control: &Control) {
        self.control.write(&Control { authority_until_boot_ns: 0, ..*control });
    }

    /// Attaches the programs, in the place of earlier ones where there are such. From here on the kernel answers by
    /// these maps. Called again it takes the links back. Returns how.
    ///
    /// # Errors
    /// If the kernel or a driver refuses: then some interfaces may run these programs already.
    pub fn attach(&mut self) -> Result<Vec<(Port, Attached)>, FastPathError> {
        let mut attached = Vec::with_capacity(self.objects.len());
        for (port, object) in &mut self.objects {
            let program: &mut Xdp = program(object, name::PROGRAM, &port.name)?;
            attached.push((
                port.clone(),
                attach::attach(program, &port.name, port.ifindex, port.mode, &self.pins)?,
            ));
        }
        if let Err(error) = self.pins.name(&self.set) {
            tracing::warn!(%error, "names of maps in the directory of pins may be of maps that are not in use");
        }
        for interface in self.pins.linked_interfaces()? {
            if !self.objects.iter().any(|(port, _)| port.name == interface) {
                tracing::warn!(interface, "detached: the configuration no longer serves this interface");
                self.pins.remove(&self.pins.link(&interface))?;
            }
        }
        Ok(attached)
    }

    /// Attaches the program of one interface again, of which somebody took it. `None` if it has none.
    ///
    /// # Errors
    /// If the kernel or the driver refuses.
    pub fn attach_again(&mut self, interface: &str) -> Result<Option<Attached>, FastPathError> {
        let Some((port, object)) = self.objects.iter_mut().find(|(port, _)| port.name == interface) else {
            return Ok(None);
        };
        let program: &mut Xdp = program(object, name::PROGRAM, &port.name)?;
        attach::attach(program, &port.name, port.ifindex, port.mode, &self.pins).map(Some)
    }

    /// The identifiers of its programs, by interface.
    pub fn programs(&self) -> impl Iterator<Item = (&str, u32)> {
        programs(&self.objects, name::PROGRAM)
    }

    /// Where its maps and programs are pinned.
    pub const fn set(&self) -> &PinSet {
        &self.set
    }

    /// Its share of the directory of pins.
    pub fn pins(&self) -> PinDirectory {
        self.pins.clone()
    }

    /// The objects, to connect their logs.
    pub fn objects_mut(&mut self) -> impl Iterator<Item = &mut Ebpf> {
        self.objects.iter_mut().map(|(_, object)| object)
    }

    /// The layout of the lease map.
    pub const fn layout(&self) -> &Layout {
        &self.layout
    }

    /// Moves the deadline up to which the kernel answers without hearing from the daemon.
    pub fn set_authority_until_boot_ns(&self, deadline: u64) {
        self.control.set_authority_until_boot_ns(deadline);
    }

    /// Up to when the kernel answers without hearing from the daemon, on the boot clock.
    pub fn authority_until_boot_ns(&self) -> u64 {
        self.control.read().authority_until_boot_ns
    }

    /// Writes an answer; before any lease that names it is published.
    ///
    /// # Errors
    /// If the kernel refuses, as for an index beyond the map.
    pub fn put_answer(&mut self, index: u32, answer: &Answer) -> Result<(), FastPathError> {
        self.answers.set(index, answer, 0).map_err(wrong(name::ANSWERS, "written"))
    }

    /// Writes every answer of a table.
    ///
    /// # Errors
    /// As [`put_answer`](Self::put_answer).
    pub fn put_answers(&mut self, table: &AnswerTable) -> Result<(), FastPathError> {
        table.iter().try_for_each(|(index, answer)| self.put_answer(index, answer))
    }

    /// Publishes a lease whose horizon is durable. `false` if its address is not in the layout.
    pub fn publish(&self, entry: &LeaseEntry) -> bool {
        let cell = self.layout.index(entry.address.into()).and_then(|index| self.leases.cell(index));
        let Some(cell) = cell else { return false };
        cell.replace(entry);
        true
    }

    /// Writes down a renewal that a program granted from other maps, so that it is known who granted it. Only while no
    /// program can answer from this map, as before [`attach`](Self::attach): later the mark is the program's own to write.
    pub fn carry_mark(&self, mark: &Mark) {
        let cell = self.layout.index(mark.address).and_then(|index| self.leases.cell(index));
        if let Some(cell) =
            cell.filter(|cell| cell.address() == mark.address.octets() && cell.chaddr() == mark.chaddr)
        {
            cell.mark(mark.renewed_boot_ns);
        }
    }

    /// Withdraws a lease: no frame that arrives from now on is answered from it. Programs already running may still,
    /// until a [`Grace`] later.
    pub fn withdraw(&self, address: Ipv4Addr) {
        if let Some(cell) = self.layout.index(address).and_then(|index| self.leases.cell(index)) {
            cell.set_horizon_boot_ns(0);
        }
    }

    /// The barrier that tells when no program can be using a withdrawn entry. There is one, for whoever asks first.
    pub const fn take_grace(&mut self) -> Option<Grace> {
        self.grace.take()
    }

    /// When the kernel last renewed a lease, on the boot clock; `None` if it never did.
    pub fn renewed_boot_ns(&self, address: Ipv4Addr) -> Option<u64> {
        self.entry(address).map(|(_, cell)| cell.renewed_boot_ns()).filter(|&renewed| renewed != 0)
    }

    /// An address's index and entry.
    pub fn entry(&self, address: Ipv4Addr) -> Option<(u32, LeaseCell)> {
        let index = self.layout.index(address)?;
        let cell = self.leases.cell(index)?;
        (cell.address() == address.octets()).then_some((index, cell))
    }

    /// The control block as it is now.
    pub(super) fn control(&self) -> Control {
        self.control.read()
    }

    /// Where the entry at `index` is; valid while `self` is.
    pub(super) fn lease(&self, index: u32) -> Option<NonNull<LeaseEntry>> {
        self.leases.at(index)
    }

    /// The leases among `entries` of its map that the kernel renewed at or after `since_boot_ns`.
    pub fn marks(&self, entries: Range<u32>, since_boot_ns: u64) -> impl Iterator<Item = Mark> {
        marks(&self.leases, entries, since_boot_ns)
    }

    /// The counters, all processors together.
    ///
    /// # Errors
    /// If the kernel refuses.
    pub fn counters(&self) -> Result<Counters, FastPathError> {
        let values = self.counters.get(&0, 0).map_err(wrong(name::COUNTERS, "read"))?;
        let mut total = Counters::default();
        values.iter().for_each(|processor| total.add(processor));
        Ok(total)
    }
}

pub(super) fn wrong(
    map: &'static str,
    action: &'static str,
) -> impl Fn(aya::maps::MapError) -> FastPathError {
    move |error| FastPathError::Map { map, action, error }
}

/// How large the maps are.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sizes {
    pub leases: u32,
    pub slots: u32,
}

/// Loads the program of an interface over the maps of a set; with `tap`, one that shows what it answers.
pub(super) fn load_object(
    set: &PinSet,
    port: &Port,
    sizes: Sizes,
    settings: &Settings,
    tap: Option<&Wanted>,
) -> Result<Ebpf, FastPathError> {
    let log_level = match settings.kernel_log {
        KernelLog::Off => 0_u8,
        KernelLog::Error => aya_log::Level::Error as u8,
        KernelLog::Debug => aya_log::Level::Debug as u8,
    };
    let mac = port.interface.mac_word();
    let mut loader = EbpfLoader::new();
    loader
        .map_max_entries(name::LEASES, sizes.leases)
        .map_max_entries(name::BLOCKS, sizes.slots)
        .map_max_entries(name::ANSWERS, settings.answers_max.max(1))
        .override_global("INTERFACE_NUMBER", &port.interface.number, true)
        .override_global("INTERFACE_MAC", &mac, true)
        .override_global("BLOCK_SLOTS", &sizes.slots, true)
        .override_global("LIMITS", &settings.limits, true)
        .override_global(aya_log::LEVEL, &log_level, true);
    if let Some(wanted) = tap {
        loader.map_max_entries(name::CAPTURED, RING_OCTETS).override_global("CAPTURE", wanted, true);
    }
    for (map, file) in MAPS {
        // The first object makes and pins the maps, the next ones find them there.
        loader.map_pin_path(map, set.map(file));
    }
    let mut object = loader.load(OBJECT).map_err(|error| FastPathError::Load { error })?;
    let program =
        program(&mut object, if tap.is_some() { name::SHOWING } else { name::PROGRAM }, &port.name)?;
    program.load().map_err(|error| FastPathError::Program { interface: port.name.clone(), error })?;
    Ok(object)
}

pub(super) fn program<'a>(
    object: &'a mut Ebpf,
    name: &str,
    interface: &str,
) -> Result<&'a mut Xdp, FastPathError> {
    object
        .program_mut(name)
        .ok_or(FastPathError::Missing("program"))?
        .try_into()
        .map_err(|error| FastPathError::Program { interface: interface.to_owned(), error })
}

/// The identifiers of the programs of this name, by interface. One that the kernel does not tell is left out.
pub(super) fn programs<'a>(
    objects: &'a [(Port, Ebpf)],
    name: &'static str,
) -> impl Iterator<Item = (&'a str, u32)> {
    objects.iter().filter_map(move |(port, object)| {
        let info = object.program(name)?.info().ok()?;
        Some((port.name.as_str(), info.id()))
    })
}

pub(super) fn take(object: &mut Ebpf, map: &'static str) -> Result<Map, FastPathError> {
    object.take_map(map).ok_or(FastPathError::Missing(map))
}

fn data<'a>(map: &'a Map, name: &'static str) -> Result<&'a MapData, FastPathError> {
    match map {
        Map::Array(data) => Ok(data),
        _ => Err(FastPathError::Missing(name)),
    }
}
