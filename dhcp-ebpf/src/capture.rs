//! Shows answered frames to whoever looks: the request as it came, and the answer as it leaves. `renew_shown` calls this, a
//! program that the daemon loads for as long as somebody looks, over the same maps; no other has any of it.

use core::ptr::NonNull;

use aya_ebpf::{
    Global,
    bindings::xdp_md,
    btf_maps::{Array, PerCpuArray, RingBuf},
    helpers::{bpf_ktime_get_boot_ns, generated::bpf_xdp_load_bytes},
    macros::btf_map,
    programs::XdpContext,
};
use dhcp_common::{
    capture::{self, Room, SHOWN_LEN, SHOWN_OCTETS_MAX, Wanted},
    frame::Frame,
    lease_cell::CHADDR_MASK,
    limit::{Asker, Word},
};

use crate::frame::{Watch, XdpFrame};

/// Frames on their way to the daemon, each behind its [`capture::Shown`]; the daemon sets the size when it loads the program.
#[btf_map]
static CAPTURED: RingBuf<u64, 4096> = RingBuf::new();

/// Each processor's room for a frame.
#[btf_map]
static CAPTURE_ROOM: PerCpuArray<Room, 1> = PerCpuArray::new();

/// When the tokens for what is shown are used up.
#[btf_map]
static CAPTURE_BUCKET: Array<u64, 1> = Array::new();

#[unsafe(no_mangle)]
static CAPTURE: Global<Wanted> = Global::new(Wanted::ALL);

/// Shows what is answered.
pub enum Shown {}

impl Watch for Shown {
    #[inline(always)]
    fn request(ctx: *mut xdp_md) {
        capture_request(ctx);
    }

    #[inline(always)]
    fn answer(ctx: *mut xdp_md) {
        capture_answer(ctx);
    }
}

/// Keeps a request that is about to be answered, if it is wanted. A function of its own that the verifier looks at once,
/// as those of `limit` are.
#[inline(never)]
#[unsafe(no_mangle)]
pub extern "C" fn capture_request(ctx: *mut xdp_md) -> u32 {
    let Some(room) = CAPTURE_ROOM.get_ptr_mut(0) else { return 0 };
    // SAFETY: this processor's own, and the program runs to its end before another frame's begins here.
    let room = unsafe { &mut *room };
    room.kept_octets = 0;
    let wanted = CAPTURE.load();
    let context = XdpContext::new(ctx);
    let frame = XdpFrame::new(&context);
    let Some(asker) = Asker::find(&frame) else { return 0 };
    if !wanted.fits(asker.chaddr[0] & CHADDR_MASK, asker.ciaddr) {
        return 0;
    }
    // SAFETY: a helper without arguments (Linux 5.8).
    let now_ns = unsafe { bpf_ktime_get_boot_ns() };
    let Some(bucket) = CAPTURE_BUCKET.get_ptr_mut(0).and_then(NonNull::new) else { return 0 };
    // SAFETY: a map's value, aligned to eight, which lives as long as the program; nobody makes references to it.
    let bucket = unsafe { Word::new(bucket) };
    let used_up_ns = bucket.load();
    if wanted.rate.is_spent(used_up_ns, now_ns) {
        room.left_out += 1;
        return 0;
    }
    bucket.store(wanted.rate.charged(used_up_ns, now_ns));
    room.shown = capture::Shown { boot_ns: now_ns, frame_len: 0, outgoing: 0 };
    keep(room, ctx);
    0
}

/// Shows the request that was kept, and its answer.
#[inline(never)]
#[unsafe(no_mangle)]
pub extern "C" fn capture_answer(ctx: *mut xdp_md) -> u32 {
    let Some(room) = CAPTURE_ROOM.get_ptr_mut(0) else { return 0 };
    // SAFETY: as above.
    let room = unsafe { &mut *room };
    if room.kept_octets == 0 {
        return 0;
    }
    if !show(room) {
        return 0;
    }
    // SAFETY: a helper without arguments.
    room.shown = capture::Shown { boot_ns: unsafe { bpf_ktime_get_boot_ns() }, frame_len: 0, outgoing: 1 };
    keep(room, ctx);
    show(room);
    room.kept_octets = 0;
    0
}

/// Copies the frame as it is now, or as much of it as there is room for.
#[inline(always)]
fn keep(room: &mut Room, ctx: *mut xdp_md) {
    let context = XdpContext::new(ctx);
    let whole = XdpFrame::new(&context).len();
    // Hidden from the optimiser, so that the check that follows is made, for the verifier.
    let len = core::hint::black_box(if whole < SHOWN_OCTETS_MAX { whole } else { SHOWN_OCTETS_MAX });
    room.kept_octets = 0;
    if len == 0 || len > SHOWN_OCTETS_MAX {
        return;
    }
    // SAFETY: there is room for `len` octets; the helper checks the packet's bounds.
    let failed = unsafe { bpf_xdp_load_bytes(ctx, 0, room.octets.as_mut_ptr().cast(), len as u32) };
    if failed == 0 {
        room.kept_octets = len as u64;
        room.shown.frame_len = whole as u32;
    }
}

/// Hands over what is in the room; whether there was a place for it.
#[inline(always)]
fn show(room: &mut Room) -> bool {
    let octets = core::hint::black_box(room.kept_octets as usize);
    if octets == 0 || octets > SHOWN_OCTETS_MAX {
        return false;
    }
    let record = (&raw const room.shown).cast::<u8>();
    // SAFETY: the octets stand right behind what is said of them, in the same value, which has room for the most.
    let record = unsafe { core::slice::from_raw_parts(record, SHOWN_LEN + octets) };
    let shown = CAPTURED.output_untyped::<[u8]>(record, 0).is_ok();
    if !shown {
        room.left_out += 1;
    }
    shown
}
