//! XDP programs of the load generator (`cargo xtask load`), in an object of their own that no daemon loads.
//!
//! `generate` is run by `BPF_PROG_TEST_RUN` in live frames: each run is a renewal that leaves the interface. The
//! transaction number is the time, so that `collect` knows from the reply alone how long it took.
#![no_std]
#![no_main]
#![expect(missing_docs, reason = "the `xdp` macro makes functions of its own without documentation")]

#[path = "../../../tests/src/load/abi.rs"]
mod abi;
#[path = "../frame.rs"]
mod frame;
#[path = "../maps.rs"]
mod maps;

use aya_ebpf::{
    bindings::xdp_action,
    btf_maps::{Array, PerCpuArray},
    helpers::bpf_ktime_get_ns,
    macros::{btf_map, xdp},
    programs::XdpContext,
};
use dhcp_common::{
    frame::{Frame, Resized},
    reply,
    wire::{BOOTREPLY, ETHERNET_LEN, HEADERS_LEN, IPV4_UDP_LEN, PORT_SERVER},
};

use crate::{
    abi::{Collected, PLACES, Sequence, TEMPLATE_MAX, Template},
    frame::XdpFrame,
};

/// Who comes next.
#[btf_map]
static SEQUENCE: PerCpuArray<Sequence, 1> = PerCpuArray::new();

/// The renewal.
#[btf_map]
static TEMPLATE: Array<Template, 1> = Array::new();

/// The address of each client; the generator sets the size when it loads the programs.
#[btf_map]
static ADDRESSES: Array<u32, 1> = Array::new();

/// What came back.
#[btf_map]
static COLLECTED: PerCpuArray<Collected, 1> = PerCpuArray::new();

/// Sends the next client's renewal.
#[xdp]
pub fn generate(ctx: XdpContext) -> u32 {
    if next_request(&mut XdpFrame::new(&ctx)) { xdp_action::XDP_TX } else { xdp_action::XDP_ABORTED }
}

/// Sends every frame back to where it came from.
#[xdp]
pub fn mirror(ctx: XdpContext) -> u32 {
    if reply::swap_ends(&mut XdpFrame::new(&ctx)) { xdp_action::XDP_TX } else { xdp_action::XDP_PASS }
}

/// Looks at what comes back, counts it and drops all but samples.
#[xdp]
pub fn collect(ctx: XdpContext) -> u32 {
    let Some(collected) = COLLECTED.get_ptr_mut(0) else { return xdp_action::XDP_ABORTED };
    let frame = XdpFrame::new(&ctx);
    let Some(octets) = frame.bytes::<{ ETHERNET_LEN + IPV4_UDP_LEN + 243 }>(0) else {
        // SAFETY: the value is this processor's own.
        unsafe { (*collected).other += 1 };
        return xdp_action::XDP_PASS;
    };
    let bootp = ETHERNET_LEN + IPV4_UDP_LEN;
    if octets[12..14] != [8, 0] || octets[23] != 17 || octets[34..36] != PORT_SERVER.to_be_bytes() {
        // SAFETY: as above.
        unsafe { (*collected).other += 1 };
        return xdp_action::XDP_PASS;
    }
    let word = |at: usize| u32::from_be_bytes([octets[at], octets[at + 1], octets[at + 2], octets[at + 3]]);
    let stamp = word(bootp + 4);
    // SAFETY: a helper without arguments.
    let took = (unsafe { bpf_ktime_get_ns() } as u32).wrapping_sub(stamp);
    let (client, address) = (word(bootp + 30), word(bootp + 16));
    let is_reply = octets[bootp] == BOOTREPLY;
    let right = is_reply
        && octets[bootp + 240..bootp + 243] == [53, 1, 5]
        && ADDRESSES.get(client).is_some_and(|expected| *expected == address);
    // SAFETY: the value is this processor's own.
    unsafe {
        if is_reply && !right {
            (*collected).wrong += 1;
            return xdp_action::XDP_DROP;
        }
        if is_reply {
            (*collected).right += 1;
        } else {
            (*collected).mirrored += 1;
        }
        let place = core::hint::black_box(abi::place(took));
        if place < PLACES {
            (*collected).latencies[place] += 1;
        }
    }
    let sampled = SEQUENCE.get(0).is_some_and(|sequence| client & sequence.sample_mask == 0);
    if is_reply && sampled { xdp_action::XDP_PASS } else { xdp_action::XDP_DROP }
}

/// Makes `frame` the renewal of the next client in the sequence.
#[inline(always)]
fn next_request(frame: &mut XdpFrame<'_>) -> bool {
    let Some(sequence) = SEQUENCE.get_ptr_mut(0) else { return false };
    // SAFETY: the value is this processor's own.
    let client = unsafe {
        let mut state = (*sequence).position;
        let clients = (*sequence).clients;
        if (*sequence).random == 0 {
            let client = if state >= clients as u64 { 0 } else { state as u32 };
            (*sequence).position = client as u64 + 1;
            client
        } else {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            (*sequence).position = state;
            (((state >> 32) * clients as u64) >> 32) as u32
        }
    };
    let (Some(template), Some(&address)) = (TEMPLATE.get(0), ADDRESSES.get(client)) else { return false };
    let len = template.len as usize;
    if len > TEMPLATE_MAX
        || !matches!(frame.resize(len, 1), Resized::Done)
        || !frame.store(0, &template.frame, len)
    {
        return false;
    }
    let (from_client_mac, at) = (template.from_client_mac, template.client_id_at as usize);
    let sum = template.header_sum + (address >> 16) + (address & 0xffff);
    let sum = (sum & 0xffff) + (sum >> 16);
    let sum = (sum & 0xffff) + (sum >> 16);
    let [a, b, c, d] = client.to_be_bytes();
    let mac = [0x06, 0, a, b, c, d];
    let Some((ethernet, rest)) = frame.bytes_mut::<12, HEADERS_LEN>(ETHERNET_LEN) else { return false };
    if from_client_mac != 0 {
        ethernet[6..12].copy_from_slice(&mac);
    }
    let (bootp, address) = (IPV4_UDP_LEN, address.to_be_bytes());
    rest[10..12].copy_from_slice(&(!(sum as u16)).to_be_bytes());
    rest[12..16].copy_from_slice(&address);
    // No UDP checksum (RFC 768): it would have to be computed over every octet here.
    rest[26..28].copy_from_slice(&[0, 0]);
    rest[bootp + 12..bootp + 16].copy_from_slice(&address);
    rest[bootp + 28..bootp + 34].copy_from_slice(&mac);
    // SAFETY: a helper without arguments.
    let stamp = unsafe { bpf_ktime_get_ns() } as u32;
    rest[bootp + 4..bootp + 8].copy_from_slice(&stamp.to_be_bytes());
    if at != 0 {
        let at = core::hint::black_box(at) & 511;
        let Some((_, client_id)) = frame.bytes_mut::<12, 6>(at) else { return false };
        *client_id = mac;
    }
    true
}

#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    loop {}
}

/// The helpers used are open to GPL-compatible programs only.
#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";
