//! The limits on what is passed up: their constants, their buckets, and the one call the way up makes.

use core::ptr::NonNull;

use aya_ebpf::{Global, btf_maps::Array, macros::btf_map, programs::XdpContext};
use dhcp_common::limit::{self, Buckets, CLIENTS, Limits, RELAYS, SHARES, Word};

use crate::{frame::XdpFrame, maps::KernelMaps};

/// When each client's tokens are used up; see `dhcp_common::limit`.
#[btf_map]
static CLIENT_BUCKETS: Array<u64, { CLIENTS as usize }> = Array::new();

/// When each relay agent's tokens are used up.
#[btf_map]
static RELAY_BUCKETS: Array<u64, { RELAYS as usize }> = Array::new();

/// When the tokens of each share are used up.
#[btf_map]
static SHARE_BUCKETS: Array<u64, { SHARES as usize }> = Array::new();

#[unsafe(no_mangle)]
static LIMITS: Global<Limits> = Global::new(Limits::OFF);

/// The reason for which a frame that would go up for `reason` is dropped, or `reason` itself.
///
/// A function of its own, so that the way of an answer does not spend registers on it.
#[inline(never)]
pub fn limited(ctx: &XdpContext, reason: usize) -> usize {
    match limit::refuses(&XdpFrame::new(ctx), &KernelMaps) {
        Some(refused) => refused as usize,
        None => reason,
    }
}

impl Buckets for KernelMaps {
    #[inline(always)]
    fn limits(&self) -> Limits {
        LIMITS.load()
    }

    #[inline(always)]
    fn client(&self, index: u32) -> Option<Word> {
        word(CLIENT_BUCKETS.get_ptr_mut(index)?)
    }

    #[inline(always)]
    fn relay(&self, index: u32) -> Option<Word> {
        word(RELAY_BUCKETS.get_ptr_mut(index)?)
    }

    #[inline(always)]
    fn share(&self, index: u32) -> Option<Word> {
        word(SHARE_BUCKETS.get_ptr_mut(index)?)
    }
}

#[inline(always)]
fn word(value: *mut u64) -> Option<Word> {
    // SAFETY: a map's value, aligned to eight, which lives as long as the program; nobody makes references to it.
    NonNull::new(value).map(|value| unsafe { Word::new(value) })
}
