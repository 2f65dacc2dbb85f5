//! Where in the map of blocks a block of addresses is: open addressing in an array, so that finding one is a
//! multiplication and, nearly always, one cache line, without a call.
//!
//! The daemon makes the table large enough that no block is more than [`PROBES_MAX`] slots from where its hash points;
//! the kernel looks no further. Sixteen octets a slot: four share a cache line.

use crate::abi::Block;

/// The most slots looked at for one prefix.
pub const PROBES_MAX: u32 = 4;

/// The slot of a table of `slots` (a power of two) at which the search for `prefix` (fourth octet 0) begins.
///
/// Fibonacci hashing: consecutive /24s, and the first /24s of consecutive larger networks, fall far apart.
#[inline(always)]
pub const fn first_slot(prefix: [u8; 4], slots: u32) -> u32 {
    let hash = (u32::from_be_bytes(prefix) >> 8).wrapping_mul(0x9e37_79b1);
    // The upper bits are the mixed ones.
    (hash >> 7) & slots.wrapping_sub(1)
}

/// The block of `prefix` in a table of `slots` (a power of two), of which `slot` reads one.
#[inline(always)]
pub fn find(prefix: [u8; 4], slots: u32, slot: impl Fn(u32) -> Option<Block>) -> Option<Block> {
    let first = first_slot(prefix, slots);
    let mut probe = 0;
    while probe < PROBES_MAX {
        let block = slot(first.wrapping_add(probe) & slots.wrapping_sub(1))?;
        if block.prefix == prefix {
            return Some(block);
        }
        // An empty slot ends the search: blocks are never removed from a table.
        if block.prefix == [0; 4] {
            return None;
        }
        probe += 1;
    }
    None
}
