//! The maps and the constants the daemon sets when it loads the program for an interface.

use core::ptr::NonNull;

use aya_ebpf::{
    Global,
    btf_maps::{Array, ArrayOfMaps, PerCpuArray},
    helpers::bpf_ktime_get_boot_ns,
    macros::btf_map,
};
use dhcp_common::{
    abi::{Answer, Block, Control, LeaseEntry},
    blocks,
    frame::Scratch,
    reason::{Counters, Reason},
    renewal::Maps,
    request::Interface,
    wire::HEAD_MAX,
};

/// `BPF_F_MMAPABLE` (Linux 5.5): the daemon reads and writes the map as memory.
const MMAPABLE: usize = 1 << 10;

/// One entry per address served; the daemon sets the size when it loads the program.
#[btf_map]
static LEASES: Array<LeaseEntry, 1, MMAPABLE> = Array::new();

/// Where the leases of each /24 are; the daemon sets the size when it loads the program.
#[btf_map]
static BLOCKS: Array<Block, 1> = Array::new();

/// Pre-rendered answers.
#[btf_map]
static ANSWERS: Array<Answer, 1> = Array::new();

/// What holds for all leases.
#[btf_map]
static CONTROL: Array<Control, 1, MMAPABLE> = Array::new();

/// One count per frame.
#[btf_map]
static COUNTERS: PerCpuArray<Counters, 1> = PerCpuArray::new();

/// Room for a request's options while the answer is written over them.
#[btf_map]
static SCRATCH: PerCpuArray<Scratch, 1> = PerCpuArray::new();

/// Room for a frame's head while it moves forward.
#[btf_map]
static HEAD: PerCpuArray<Head, 1> = PerCpuArray::new();

/// A frame's octets up to its options.
#[repr(C)]
pub struct Head {
    /// The octets.
    pub octets: [u8; HEAD_MAX],
}

/// This processor's room for a frame's head.
#[inline(always)]
pub fn head() -> Option<*mut Head> {
    HEAD.get_ptr_mut(0)
}

/// Replacing its element makes the kernel wait for running programs; see the daemon's `fastpath::grace`.
#[btf_map]
static GRACE: ArrayOfMaps<Array<u32, 1>, 1> = ArrayOfMaps::new();

#[unsafe(no_mangle)]
static INTERFACE_NUMBER: Global<u32> = Global::new(0);
/// Six octets and two zeros: one load.
#[unsafe(no_mangle)]
static INTERFACE_MAC: Global<u64> = Global::new(0);
/// Size of the table of blocks, a power of two.
#[unsafe(no_mangle)]
static BLOCK_SLOTS: Global<u32> = Global::new(1);

/// The interface this program was loaded for.
#[inline(always)]
pub fn interface() -> Interface {
    let [a, b, c, d, e, f, ..] = INTERFACE_MAC.load().to_le_bytes();
    Interface { number: INTERFACE_NUMBER.load(), mac: [a, b, c, d, e, f] }
}

/// This processor's counters.
#[inline(always)]
pub fn counters() -> Option<*mut Counters> {
    COUNTERS.get_ptr_mut(0)
}

/// Counts a frame.
#[inline(always)]
pub fn count(counters: *mut Counters, reason: usize) {
    if reason < Reason::COUNT {
        // SAFETY: `Counters` is `repr(C)` with one `u64` per reason; the value is this processor's own.
        unsafe { *counters.cast::<u64>().add(reason) += 1 };
    }
}

/// The kernel's maps and clock.
pub struct KernelMaps;

impl Maps for KernelMaps {
    #[inline(always)]
    fn control(&self) -> Option<&Control> {
        CONTROL.get(0)
    }

    #[inline(always)]
    fn block(&self, prefix: [u8; 4]) -> Option<Block> {
        blocks::find(prefix, BLOCK_SLOTS.load(), |slot| BLOCKS.get(slot).copied())
    }

    #[inline(always)]
    fn lease(&self, index: u32) -> Option<NonNull<LeaseEntry>> {
        LEASES.get_ptr_mut(index).and_then(NonNull::new)
    }

    #[inline(always)]
    fn answer(&self, index: u32) -> Option<&Answer> {
        ANSWERS.get(index)
    }

    #[inline(always)]
    fn scratch(&self) -> Option<&mut Scratch> {
        // SAFETY: per-processor, and the program runs to its end before another frame's can begin on this processor.
        SCRATCH.get_ptr_mut(0).map(|scratch| unsafe { &mut *scratch })
    }

    #[inline(always)]
    fn now_boot_ns(&self) -> u64 {
        // SAFETY: a helper without arguments (Linux 5.8).
        unsafe { bpf_ktime_get_boot_ns() }
    }
}
