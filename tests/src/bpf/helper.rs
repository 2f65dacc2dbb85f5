//! The kernel's helpers as our programs use them (`include/uapi/linux/bpf.h`).

use super::{
    Fault,
    machine::map_of,
    memory::{Memory, PACKET},
};

const MAP_LOOKUP_ELEM: i32 = 1;
const KTIME_GET_NS: i32 = 5;
const XDP_ADJUST_HEAD: i32 = 44;
const XDP_ADJUST_TAIL: i32 = 65;
const KTIME_GET_BOOT_NS: i32 = 125;
const XDP_LOAD_BYTES: i32 = 189;
const XDP_STORE_BYTES: i32 = 190;
/// What a helper returns that was asked for something impossible.
const EINVAL: u64 = (-22_i64) as u64;
/// The shortest frame (`ETH_HLEN`).
const FRAME_MIN: i64 = 14;

/// Runs helper `number` with these arguments.
///
/// # Errors
/// A pointer that is none, or a helper that is not here.
pub fn call(number: i32, args: [u64; 5], memory: &mut Memory, now_ns: u64) -> Result<u64, Fault> {
    let [_, second, third, fourth, _] = args;
    match number {
        MAP_LOOKUP_ELEM => {
            let index = memory.load(second, 4)?;
            Ok(memory.value(map_of(args[0]), index)?.unwrap_or(0))
        }
        KTIME_GET_NS | KTIME_GET_BOOT_NS => Ok(now_ns),
        XDP_ADJUST_HEAD => Ok(resized(memory, i64::from(second as i32), 0)),
        XDP_ADJUST_TAIL => Ok(resized(memory, 0, i64::from(second as i32))),
        XDP_LOAD_BYTES => copied(memory, second, fourth, |frame, memory, len| memory.copy(frame, third, len)),
        XDP_STORE_BYTES => {
            copied(memory, second, fourth, |frame, memory, len| memory.copy(third, frame, len))
        }
        other => Err(Fault::Helper(other)),
    }
}

fn resized(memory: &mut Memory, head: i64, tail: i64) -> u64 {
    let len = memory.frame_len() as i64;
    if len - head + tail >= FRAME_MIN && memory.resize_frame(head, tail) { 0 } else { EINVAL }
}

fn copied(
    memory: &mut Memory,
    offset: u64,
    len: u64,
    copy: impl FnOnce(u64, &mut Memory, usize) -> Result<(), Fault>,
) -> Result<u64, Fault> {
    let (offset, len) = (offset & 0xffff_ffff, len & 0xffff_ffff);
    if len == 0 || offset + len > memory.frame_len() as u64 {
        return Ok(EINVAL);
    }
    let start = memory.load(super::memory::CONTEXT, 4)?;
    debug_assert!(start >= PACKET, "the context points to the packet");
    copy(start + offset, memory, len as usize)?;
    Ok(0)
}
