//! The kernel as the daemon sees it: maps in memory, and programs that run the shared code over them. A program may
//! stand still between its decision and its deed, as one on a processor that was taken away does: what the daemon
//! withdraws in the meantime it still answers.

use std::{cell::UnsafeCell, net::Ipv4Addr, ops::Range, ptr::NonNull};

use dhcp_common::{
    abi::{Answer, Block, Control, LeaseEntry},
    frame::{Scratch, SliceFrame},
    lease_cell::LeaseCell,
    reason::Reason,
    renewal::{self, Maps},
    reply,
    request::{Interface, Renewal},
};
use dhcp_user::{
    config::model::Config,
    fastpath::{error::FastPathError, kernel::Mark, layout::Layout, lease_map::LeaseMap},
};

use super::{
    planted::Planted,
    scenario::SERVER_MAC,
    world::{Event, Shadow, Shared, World, lock},
};

/// What the program knows of its interface.
pub const INTERFACE: Interface = Interface { number: 0, mac: SERVER_MAC };
/// Room for a frame and a longer answer.
const BUFFER: usize = 700;

/// The maps one daemon made.
pub struct KernelMaps {
    entries: Box<[UnsafeCell<LeaseEntry>]>,
    answers: Vec<Answer>,
    /// The control block.
    pub control: Control,
    layout: Layout,
    scratch: UnsafeCell<Scratch>,
}

impl KernelMaps {
    /// Empty maps that nothing uses, for a configuration; nobody has authority over them yet.
    pub fn of(config: &Config, control: &Control) -> Self {
        let (layout, answers_max) = (Layout::new(config), config.fastpath.answers_max);
        let control = Control { authority_until_boot_ns: 0, ..*control };
        let entries = (0..layout.leases()).map(|_| UnsafeCell::new(LeaseEntry::default())).collect();
        let answers = (0..answers_max).map(|_| Answer::default()).collect();
        let scratch = UnsafeCell::new([0; size_of::<Scratch>()]);
        Self { entries, answers, control, layout, scratch }
    }

    fn cell(&self, index: u32) -> Option<LeaseCell> {
        let entry = NonNull::new(self.entries.get(index as usize)?.get())?;
        // SAFETY: the entry is in an `UnsafeCell` that lives as long as the maps; nobody makes references to entries,
        // and cells are used under the world's lock while the maps are borrowed.
        Some(unsafe { LeaseCell::new(entry) })
    }

    /// An address's entry.
    fn cell_of(&self, address: Ipv4Addr) -> Option<LeaseCell> {
        self.cell(self.layout.index(address)?)
    }

    /// Runs the program over a frame: the answer, or `None` where it passes the frame on.
    pub(super) fn run(&self, frame: &[u8], boot_ns: u64) -> Option<Vec<u8>> {
        let view = View { maps: self, boot_ns };
        let mut buffer = frame.to_vec();
        buffer.resize(BUFFER.max(frame.len()), 0xa5);
        let mut slice = SliceFrame::new(&mut buffer, frame.len())?;
        let reason = renewal::answer(&mut slice, &view, &INTERFACE);
        (reason == Reason::Answered).then(|| slice.octets().to_vec())
    }
}

/// As the kernel has it: maps in memory cannot fail but for an index beyond them.
impl LeaseMap for KernelMaps {
    fn put_answer(&mut self, index: u32, answer: &Answer) -> Result<(), FastPathError> {
        let slot = self.answers.get_mut(index as usize);
        *slot.ok_or(FastPathError::Missing("answer slot"))? = *answer;
        Ok(())
    }

    fn publish(&mut self, entry: &LeaseEntry) -> bool {
        self.cell_of(entry.address.into()).map(|cell| cell.replace(entry)).is_some()
    }

    fn withdraw(&mut self, address: Ipv4Addr) {
        if let Some(cell) = self.cell_of(address) {
            cell.set_horizon_boot_ns(0);
        }
    }

    fn renewed_boot_ns(&self, address: Ipv4Addr) -> Option<u64> {
        let cell = self.cell_of(address)?;
        Some(cell.renewed_boot_ns()).filter(|&at| at != 0 && cell.address() == address.octets())
    }

    fn entries(&self) -> u32 {
        self.layout.leases()
    }

    fn marks(&self, entries: Range<u32>, since_boot_ns: u64) -> Vec<Mark> {
        let all = entries.filter_map(|index| Mark::of(self.cell(index)?));
        all.filter(|mark| mark.renewed_boot_ns >= since_boot_ns).collect()
    }

    fn set_authority_until_boot_ns(&mut self, deadline: u64) {
        self.control.authority_until_boot_ns = deadline;
    }

    fn carry_mark(&mut self, mark: &Mark) {
        if let Some(cell) = self.cell_of(mark.address)
            && cell.address() == mark.address.octets()
            && cell.chaddr() == mark.chaddr
        {
            cell.mark(mark.renewed_boot_ns);
        }
    }
}

/// The maps at a moment, as a program sees them.
struct View<'a> {
    maps: &'a KernelMaps,
    boot_ns: u64,
}

impl Maps for View<'_> {
    fn control(&self) -> Option<&Control> {
        Some(&self.maps.control)
    }

    fn block(&self, prefix: [u8; 4]) -> Option<Block> {
        self.maps.layout.blocks().get(&prefix).copied()
    }

    fn lease(&self, index: u32) -> Option<NonNull<LeaseEntry>> {
        NonNull::new(self.maps.entries.get(index as usize)?.get())
    }

    fn answer(&self, index: u32) -> Option<&Answer> {
        self.maps.answers.get(index as usize)
    }

    fn scratch(&self) -> Option<&mut Scratch> {
        // SAFETY: the world runs one program at a time to where it stands still, and the shared code asks for the
        // scratch once per frame; `UnsafeCell` keeps the maps on one thread at a time.
        Some(unsafe { &mut *self.maps.scratch.get() })
    }

    fn now_boot_ns(&self) -> u64 {
        self.boot_ns
    }
}

/// A program that has decided to answer and has not yet.
pub struct Run {
    /// When it goes on.
    pub ends_ns: u64,
    id: u64,
    maps: usize,
    frame: Vec<u8>,
    renewal: Renewal,
    answer: Answer,
    echo_sum: u16,
    decided_ns: u64,
    boot_ns: u64,
}

/// All maps ever made in this boot, what is attached, and what runs.
#[derive(Default)]
pub struct Kernel {
    /// Maps by number.
    pub maps: Vec<KernelMaps>,
    /// The maps of the attached program.
    pub attached: Option<usize>,
    /// The maps that are pinned: those that may have more to say than is durable.
    pub sets: Vec<usize>,
    /// Programs that stand still.
    pub runs: Vec<Run>,
    /// Frames that came, and reasons counted for them.
    pub seen: u64,
    /// Reasons counted.
    pub counted: u64,
    /// Renewals answered.
    pub answered: u64,
    next_run: u64,
}

impl World {
    /// A frame comes in by the interface.
    pub(super) fn arrive(&mut self, frame: Vec<u8>) {
        if !self.machine.up || self.asleep() {
            return;
        }
        let boot_ns = self.program_ns();
        let stall_ns = self.stall_ns();
        let Some((id, maps)) = self.kernel.attached.and_then(|id| Some((id, self.kernel.maps.get(id)?)))
        else {
            self.pass_up(frame);
            return;
        };
        self.kernel.seen += 1;
        let view = View { maps, boot_ns };
        let mut buffer = frame.clone();
        buffer.resize(BUFFER.max(frame.len()), 0xa5);
        let Some(mut slice) = SliceFrame::new(&mut buffer, frame.len()) else { return };
        let reason = if stall_ns == 0 {
            renewal::answer(&mut slice, &view, &INTERFACE)
        } else {
            match renewal::decide(&slice, &view, &INTERFACE) {
                Err(reason) => reason,
                Ok(grant) => {
                    let ends_ns = self.now_ns + stall_ns;
                    let run = Run {
                        ends_ns,
                        id: self.kernel.next_run,
                        maps: id,
                        frame,
                        renewal: grant.renewal,
                        answer: *grant.answer,
                        echo_sum: grant.echo_sum,
                        decided_ns: self.now_ns,
                        boot_ns,
                    };
                    self.kernel.next_run += 1;
                    self.schedule(ends_ns, Event::Finish(run.id));
                    self.kernel.runs.push(run);
                    return;
                }
            }
        };
        if self.planted == Some(Planted::FrameChangedOnPass) && reason == Reason::Horizon {
            slice_spoil(&mut slice);
        }
        let after = slice.octets().to_vec();
        self.kernel_done(reason, frame, after, self.now_ns, boot_ns, id);
    }

    /// A program that stood still goes on.
    pub(super) fn finish(&mut self, id: u64) {
        let Some(at) = self.kernel.runs.iter().position(|run| run.id == id) else { return };
        let Run { maps: maps_id, frame, renewal, answer, echo_sum, decided_ns, boot_ns, .. } =
            self.kernel.runs.swap_remove(at);
        let Some(maps) = self.kernel.maps.get(maps_id) else { return };
        let view = View { maps, boot_ns };
        let mut buffer = frame.clone();
        buffer.resize(BUFFER.max(frame.len()), 0xa5);
        let Some(mut slice) = SliceFrame::new(&mut buffer, frame.len()) else { return };
        let reason = reply::write(&mut slice, &view, &INTERFACE, &renewal, &answer, echo_sum);
        if reason == Reason::Answered
            && let Some(cell) = maps.cell_of(renewal.ciaddr.into())
        {
            cell.mark(boot_ns);
        }
        let after = slice.octets().to_vec();
        self.kernel_done(reason, frame, after, decided_ns, boot_ns, maps_id);
    }

    fn kernel_done(
        &mut self,
        reason: Reason,
        before: Vec<u8>,
        after: Vec<u8>,
        decided_ns: u64,
        boot_ns: u64,
        maps: usize,
    ) {
        self.kernel.counted += 1;
        if reason == Reason::Answered {
            self.kernel.answered += 1;
            self.leave(&after, decided_ns, true);
            // What was decided before may not be what the engine says now.
            if self.shadowing && decided_ns == self.now_ns && self.kernel.answered.is_multiple_of(8) {
                self.shadows.push(Shadow { before, after, boot_ns, maps });
            }
            return;
        }
        if after != before {
            let what = format!("a frame passed for {} is not what came in", reason.as_str());
            self.violated("frame-unchanged", what, None, &[]);
        }
        self.pass_up(before);
    }

    /// When the last of the programs now running ends.
    pub(super) fn programs_end_ns(&self) -> u64 {
        self.kernel.runs.iter().map(|run| run.ends_ns).max().unwrap_or(self.now_ns).max(self.now_ns)
    }
}

fn slice_spoil(slice: &mut SliceFrame<'_>) {
    use dhcp_common::frame::Frame as _;
    slice.store(20, &[0xee], 1);
}

/// The daemon's hold on its maps.
pub struct SimMap {
    /// The world.
    pub shared: Shared,
    /// Which maps.
    pub id: usize,
}

impl SimMap {
    /// The maps, unless the daemon dies of touching them.
    fn alive<'a>(&self, world: &'a mut World) -> Result<&'a mut KernelMaps, FastPathError> {
        world.live()?;
        world.kernel.maps.get_mut(self.id).ok_or(FastPathError::Missing("maps"))
    }
}

impl LeaseMap for SimMap {
    fn put_answer(&mut self, index: u32, answer: &Answer) -> Result<(), FastPathError> {
        self.alive(&mut lock(&self.shared))?.put_answer(index, answer)
    }

    fn publish(&mut self, entry: &LeaseEntry) -> bool {
        let mut world = lock(&self.shared);
        if world.burn() {
            return false;
        }
        let mut entry = *entry;
        if world.planted == Some(Planted::HorizonExtendedByKernel) {
            entry.horizon_boot_ns += entry.horizon_boot_ns.min(3_600_000_000_000);
        }
        world.note(Some(entry.address.into()), None, || "published".to_owned());
        world.kernel.maps.get_mut(self.id).is_some_and(|maps| maps.publish(&entry))
    }

    fn withdraw(&mut self, address: Ipv4Addr) {
        let mut world = lock(&self.shared);
        if world.burn() || world.planted == Some(Planted::WithdrawIgnored) {
            return;
        }
        world.note(Some(address), None, || "withdrawn".to_owned());
        if let Some(maps) = world.kernel.maps.get_mut(self.id) {
            maps.withdraw(address);
        }
    }

    fn renewed_boot_ns(&self, address: Ipv4Addr) -> Option<u64> {
        lock(&self.shared).kernel.maps.get(self.id)?.renewed_boot_ns(address)
    }

    fn entries(&self) -> u32 {
        lock(&self.shared).kernel.maps.get(self.id).map_or(0, LeaseMap::entries)
    }

    fn marks(&self, entries: Range<u32>, since_boot_ns: u64) -> Vec<Mark> {
        let world = lock(&self.shared);
        let maps = world.kernel.maps.get(self.id);
        maps.map(|maps| maps.marks(entries, since_boot_ns)).unwrap_or_default()
    }

    fn set_authority_until_boot_ns(&mut self, deadline: u64) {
        if let Ok(maps) = self.alive(&mut lock(&self.shared)) {
            maps.set_authority_until_boot_ns(deadline);
        }
    }

    fn carry_mark(&mut self, mark: &Mark) {
        if let Ok(maps) = self.alive(&mut lock(&self.shared)) {
            maps.carry_mark(mark);
        }
    }
}
