//! The limits on what is passed up: their constants, their buckets, and the one call the way up makes.

use core::ptr::NonNull;

use aya_ebpf::{Global, bindings::xdp_md, btf_maps::Array, macros::btf_map, programs::XdpContext};
use dhcp_common::limit::{self, Asker, Buckets, CLIENTS, Limits, RELAYS, SHARES, Word};

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
/// A function of its own, so that the way of an answer does not spend registers on it; this and the next two are global
/// ones (their names are kept), which the verifier looks at once each, whatever they are called with.
#[inline(never)]
#[unsafe(no_mangle)]
pub extern "C" fn limited(ctx: *mut xdp_md, reason: u32) -> u32 {
    let Some(asker) = Asker::find(&XdpFrame::new(&XdpContext::new(ctx))) else { return reason };
    let [chaddr_low, chaddr_high] = asker.chaddr;
    let giaddr_ciaddr =
        u64::from(u32::from_ne_bytes(asker.giaddr)) << 32 | u64::from(u32::from_ne_bytes(asker.ciaddr));
    let kind = u32::from(asker.message_type) | u32::from(asker.is_bootp) << 8;
    let refused = refused_for(chaddr_low, chaddr_high, giaddr_ciaddr, kind);
    if refused == 0 { reason } else { refused }
}

/// The reason for which an asker's frame is refused, or 0.
#[inline(never)]
#[unsafe(no_mangle)]
pub extern "C" fn refused_for(chaddr_low: u64, chaddr_high: u64, giaddr_ciaddr: u64, kind: u32) -> u32 {
    let asker = Asker {
        chaddr: [chaddr_low, chaddr_high],
        giaddr: ((giaddr_ciaddr >> 32) as u32).to_ne_bytes(),
        ciaddr: (giaddr_ciaddr as u32).to_ne_bytes(),
        message_type: kind as u8,
        is_bootp: kind & 1 << 8 != 0,
    };
    limit::refuses(&asker, &KernelMaps).map_or(0, |reason| reason as u32)
}

/// Whether there is a lease of the address (as its octets stand in memory) and the hardware address: 0 or 1.
#[inline(never)]
#[unsafe(no_mangle)]
pub extern "C" fn lease_is_known(address: u32, chaddr: u64) -> u32 {
    u32::from(limit::knows(&KernelMaps, address.to_ne_bytes(), chaddr))
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

    #[inline(always)]
    fn knows(&self, address: [u8; 4], chaddr: u64) -> bool {
        lease_is_known(u32::from_ne_bytes(address), chaddr) != 0
    }
}

#[inline(always)]
fn word(value: *mut u64) -> Option<Word> {
    // SAFETY: a map's value, aligned to eight, which lives as long as the program; nobody makes references to it.
    NonNull::new(value).map(|value| unsafe { Word::new(value) })
}
