//! Shows answered frames to whoever looks: the request as it came, and the answer as it leaves. The daemon loads a program
//! with this in it for as long as somebody looks, over the same maps; in every other program the verifier finds the
//! constant off and removes the calls.

use core::ptr::NonNull;

use aya_ebpf::{
    Global,
    bindings::xdp_md,
    btf_maps::{Array, PerCpuArray, RingBuf},
    helpers::bpf_ktime_get_boot_ns,
    macros::btf_map,
    programs::XdpContext,
};
use dhcp_common::{
    capture::{Room, SHOWN_LEN, SHOWN_OCTETS_MAX, Shown, Wanted},
    lease_cell::CHADDR_MASK,
    limit::{Asker, Word},
};

use crate::frame::XdpFrame;

/// Frames on their way to the daemon, each behind its [`Shown`]; the daemon sets the size when it loads the program.
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
/// 1 if anybody looks. Alone, for it is read for every answered frame.
#[unsafe(no_mangle)]
static CAPTURE_ON: Global<u32> = Global::new(0);

/// Whether anybody looks: a constant to the verifier.
#[inline(always)]
pub fn is_on() -> bool {
    CAPTURE_ON.load() != 0
}

/// Keeps a request that is about to be answered, if it is wanted. A function of its own that the verifier looks at once,
/// as those of `limit` are.
#[inline(never)]
#[unsafe(no_mangle)]
pub extern "C" fn capture_request(ctx: *mut xdp_md) -> u32 {
    if !is_on() {
        return 0;
    }
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
    room.shown = Shown { boot_ns: now_ns, frame_len: 0, outgoing: 0 };
    keep(room, ctx);
    0
}

/// Shows the request that was kept, and its answer.
#[inline(never)]
#[unsafe(no_mangle)]
pub extern "C" fn capture_answer(ctx: *mut xdp_md) -> u32 {
    if !is_on() {
        return 0;
    }
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
    room.shown = Shown { boot_ns: unsafe { bpf_ktime_get_boot_ns() }, frame_len: 0, outgoing: 1 };
    keep(room, ctx);
    show(room);
    room.kept_octets = 0;
    0
}

/// Copies the frame as it is now.
#[inline(always)]
fn keep(room: &mut Room, ctx: *mut xdp_md) {
    let context = XdpContext::new(ctx);
    let frame = XdpFrame::new(&context);
    room.kept_octets = frame.copy(&mut room.octets) as u64;
    room.shown.frame_len = room.kept_octets as u32;
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
