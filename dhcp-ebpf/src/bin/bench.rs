//! XDP programs for `cargo xtask bench fastpath`, in an object of their own that no daemon loads.
//!
//! `BPF_PROG_TEST_RUN` repeats a program on the frame the last run left behind, so what is measured must first make a
//! request of it again: [`restore`] does that and nothing else, the others do that and then a part of, or all of, what
//! `renew` does. The differences are the costs.
#![no_std]
#![no_main]
#![expect(missing_docs, reason = "the `xdp` macro makes functions of its own without documentation")]

#[path = "../../../tests/src/bench/abi.rs"]
mod abi;
#[path = "../answer.rs"]
mod answer;
#[path = "../frame.rs"]
mod frame;
#[path = "../limit.rs"]
mod limit;
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
    renewal::{self, Maps as _},
    request::Renewal,
    wire::{BOOTP_OPTIONS, BOOTREPLY, ETHERNET_LEN, HEADERS_LEN, IPV4_UDP_LEN, PORT_SERVER},
};

use crate::{
    abi::{Collected, Mix, Sequence, Sorted, TEMPLATE_MAX, Template},
    frame::XdpFrame,
    maps::KernelMaps,
};

/// Who comes next.
#[btf_map]
static SEQUENCE: PerCpuArray<Sequence, 1> = PerCpuArray::new();

/// The requests.
#[btf_map]
static TEMPLATES: Array<Template, 2> = Array::new();

/// What came back.
#[btf_map]
static COLLECTED: PerCpuArray<Collected, 1> = PerCpuArray::new();

/// What is mixed.
#[btf_map]
static MIX: PerCpuArray<Mix, 1> = PerCpuArray::new();

/// What came back from it.
#[btf_map]
static SORTED: PerCpuArray<Sorted, 1> = PerCpuArray::new();

/// The program that costs least.
#[xdp]
pub fn empty(_: XdpContext) -> u32 {
    xdp_action::XDP_PASS
}

/// And reads the clock that promises are kept by.
#[xdp]
pub fn clock(_: XdpContext) -> u32 {
    if KernelMaps.now_boot_ns() == 0 { xdp_action::XDP_ABORTED } else { xdp_action::XDP_PASS }
}

/// Writes the next client's request into the frame.
#[xdp]
pub fn restore(ctx: XdpContext) -> u32 {
    if next_request(&mut XdpFrame::new(&ctx)) { xdp_action::XDP_PASS } else { xdp_action::XDP_ABORTED }
}

/// And finds the renewal in it.
#[xdp]
pub fn parse(ctx: XdpContext) -> u32 {
    let mut frame = XdpFrame::new(&ctx);
    if !next_request(&mut frame) {
        return xdp_action::XDP_ABORTED;
    }
    match Renewal::find(&frame, &maps::interface()) {
        Ok(renewal) => {
            core::hint::black_box(&renewal);
            xdp_action::XDP_PASS
        }
        Err(_) => xdp_action::XDP_ABORTED,
    }
}

/// And looks its lease up.
#[xdp]
pub fn look_up(ctx: XdpContext) -> u32 {
    let mut frame = XdpFrame::new(&ctx);
    if !next_request(&mut frame) {
        return xdp_action::XDP_ABORTED;
    }
    let found =
        Renewal::find_and(&frame, &maps::interface(), |address| renewal::look_up(&KernelMaps, address));
    match found {
        Ok((renewal, Ok((_, horizon_boot_ns)))) if horizon_boot_ns != 0 => {
            core::hint::black_box(&renewal);
            xdp_action::XDP_PASS
        }
        _ => xdp_action::XDP_ABORTED,
    }
}

/// And decides.
#[xdp]
pub fn decide(ctx: XdpContext) -> u32 {
    let mut frame = XdpFrame::new(&ctx);
    if !next_request(&mut frame) {
        return xdp_action::XDP_ABORTED;
    }
    match renewal::decide(&frame, &KernelMaps, &maps::interface()) {
        Ok(_) => xdp_action::XDP_PASS,
        Err(_) => xdp_action::XDP_ABORTED,
    }
}

/// And brings the frame to the length of its answer.
#[xdp]
pub fn resize(ctx: XdpContext) -> u32 {
    let mut frame = XdpFrame::new(&ctx);
    if !next_request(&mut frame) {
        return xdp_action::XDP_ABORTED;
    }
    let Ok(grant) = renewal::decide(&frame, &KernelMaps, &maps::interface()) else {
        return xdp_action::XDP_ABORTED;
    };
    let payload = grant.renewal.datagram.payload();
    let len = payload + (usize::from(grant.answer.bootp_len) & 1023);
    match frame.resize(len, payload + BOOTP_OPTIONS) {
        Resized::Done => xdp_action::XDP_PASS,
        _ => xdp_action::XDP_ABORTED,
    }
}

/// And answers: all that `renew` does.
#[xdp]
pub fn restored_renew(ctx: XdpContext) -> u32 {
    if !next_request(&mut XdpFrame::new(&ctx)) {
        return xdp_action::XDP_ABORTED;
    }
    answer::renew::<()>(&ctx)
}

/// Sends the next client's request, for live frames.
#[xdp]
pub fn generate(ctx: XdpContext) -> u32 {
    if next_request(&mut XdpFrame::new(&ctx)) { xdp_action::XDP_TX } else { xdp_action::XDP_ABORTED }
}

/// Counts what comes back and drops it.
#[xdp]
pub fn collect(ctx: XdpContext) -> u32 {
    let Some(collected) = COLLECTED.get_ptr_mut(0) else { return xdp_action::XDP_ABORTED };
    let frame = XdpFrame::new(&ctx);
    let (from_server, op) = match frame.bytes::<{ ETHERNET_LEN + IPV4_UDP_LEN + 1 }>(0) {
        Some(octets) => (octets[34..36] == PORT_SERVER.to_be_bytes(), octets[42]),
        None => (false, 0),
    };
    // SAFETY: the value is this processor's own.
    unsafe {
        if from_server && op == BOOTREPLY {
            (*collected).answers += 1;
        } else if from_server {
            (*collected).reflected += 1;
        } else {
            (*collected).other += 1;
        }
    }
    xdp_action::XDP_DROP
}

/// Sends a renewal or a stranger's DISCOVER, for live frames.
#[xdp]
pub fn mix(ctx: XdpContext) -> u32 {
    let Some(mix) = MIX.get_ptr_mut(0) else { return xdp_action::XDP_ABORTED };
    // SAFETY: the value is this processor's own.
    let (template, client, address) = unsafe {
        let frames = (*mix).frames;
        (*mix).frames = frames + 1;
        if (*mix).every != 0 && frames % u64::from((*mix).every) == 0 {
            let client = (*mix).renewals as u32 & (*mix).mask;
            (*mix).renewals += 1;
            (abi::RENEWAL, client, (*mix).first_address + client)
        } else {
            (*mix).random = xorshift((*mix).random);
            (abi::STRANGER, ((*mix).random >> 24) as u32, 0)
        }
    };
    if put_request(&mut XdpFrame::new(&ctx), template, client, address) {
        xdp_action::XDP_TX
    } else {
        xdp_action::XDP_ABORTED
    }
}

/// Counts what comes back from a mixture and drops it; passes what is for others.
#[xdp]
pub fn sort(ctx: XdpContext) -> u32 {
    const CHADDR: usize = ETHERNET_LEN + IPV4_UDP_LEN + 28;
    const MESSAGE_TYPE: usize = ETHERNET_LEN + HEADERS_LEN + 2;
    let Some(sorted) = SORTED.get_ptr_mut(0) else { return xdp_action::XDP_ABORTED };
    let frame = XdpFrame::new(&ctx);
    let Some(octets) = frame.bytes::<{ MESSAGE_TYPE + 1 }>(0) else { return xdp_action::XDP_PASS };
    let reply =
        octets[34..36] == PORT_SERVER.to_be_bytes() && octets[ETHERNET_LEN + IPV4_UDP_LEN] == BOOTREPLY;
    if !reply || octets[CHADDR] != abi::mac(0)[0] {
        return xdp_action::XDP_PASS;
    }
    // SAFETY: the value is this processor's own.
    unsafe {
        match octets[MESSAGE_TYPE] {
            5 => (*sorted).acks += 1,
            2 => (*sorted).offers += 1,
            _ => (*sorted).other += 1,
        }
    }
    xdp_action::XDP_DROP
}

#[inline(always)]
const fn xorshift(mut state: u64) -> u64 {
    state ^= state << 13;
    state ^= state >> 7;
    state ^ state << 17
}

/// Makes `frame` the request of the next client in the sequence.
#[inline(always)]
fn next_request(frame: &mut XdpFrame<'_>) -> bool {
    let Some(sequence) = SEQUENCE.get_ptr_mut(0) else { return false };
    // SAFETY: the value is this processor's own.
    let (client, first_address, template) = unsafe {
        let state = (*sequence).position;
        let count = u64::from((*sequence).count);
        let client = if (*sequence).random == 0 {
            (*sequence).position = if state + 1 < count { state + 1 } else { 0 };
            state as u32
        } else {
            let state = xorshift(state);
            (*sequence).position = state;
            // The upper half of the product is a number below `count`, each as likely as the next.
            ((state >> 32) * count >> 32) as u32
        };
        (client, (*sequence).first_address, (*sequence).template)
    };
    put_request(frame, template, client, first_address + client)
}

/// Makes `frame` a client's request.
#[inline(always)]
fn put_request(frame: &mut XdpFrame<'_>, template: u32, client: u32, address: u32) -> bool {
    let Some(template) = TEMPLATES.get(template) else { return false };
    let len = template.len as usize;
    if len > TEMPLATE_MAX
        || !matches!(frame.resize(len, 1), Resized::Done)
        || !frame.store(0, &template.frame, len)
    {
        return false;
    }
    let Some((ethernet, rest)) = frame.bytes_mut::<12, HEADERS_LEN>(ETHERNET_LEN) else { return false };
    let (mac, address) = (abi::mac(client), address.to_be_bytes());
    ethernet[6..12].copy_from_slice(&mac);
    rest[12..16].copy_from_slice(&address);
    let bootp = IPV4_UDP_LEN;
    rest[bootp + 4..bootp + 8].copy_from_slice(&client.to_ne_bytes()); // xid
    rest[bootp + 12..bootp + 16].copy_from_slice(&address);
    rest[bootp + 28..bootp + 34].copy_from_slice(&mac);
    let client_id_at = template.client_id_at as usize;
    if client_id_at != 0 {
        let at = core::hint::black_box(client_id_at) & 1023;
        let Some((_, client_id)) = frame.bytes_mut::<12, 6>(at) else { return false };
        *client_id = mac;
    }
    // The clock's fence lets the stores settle: a frame from a network card has none under way, and reading across
    // one's own unfinished stores costs time that no real frame costs.
    // SAFETY: a helper without arguments.
    core::hint::black_box(unsafe { bpf_ktime_get_ns() });
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
