//! Entry points of the XDP programs. Policy lives in `dhcp-common`; the packet in `frame`; the maps in `maps`.
//!
//! Log messages are in the program only if the daemon's configuration asks for them: their level is a constant when the
//! program is loaded, and the verifier removes what it rules out.
#![no_std]
#![no_main]
#![expect(missing_docs, reason = "the `xdp` macro makes functions of its own without documentation")]

mod answer;
mod capture;
mod frame;
mod limit;
mod maps;

use aya_ebpf::{bindings::xdp_action, macros::xdp, programs::XdpContext};
use dhcp_common::reply;

use crate::{capture::Shown, frame::XdpFrame};

/// Answers renewals of published leases; passes everything else untouched.
#[xdp]
pub fn renew(ctx: XdpContext) -> u32 {
    answer::renew::<()>(&ctx)
}

/// The same, and shows what it answers: in the place of `renew` while a capture is on.
#[xdp]
pub fn renew_shown(ctx: XdpContext) -> u32 {
    answer::renew::<Shown>(&ctx)
}

/// Passes everything: native `XDP_TX` towards a veth needs a program on its far end.
#[xdp]
pub fn pass(_: XdpContext) -> u32 {
    xdp_action::XDP_PASS
}

/// Sends every frame back to where it came from: what a benchmark compares with.
#[xdp]
pub fn reflect(ctx: XdpContext) -> u32 {
    if reply::swap_ends(&mut XdpFrame::new(&ctx)) { xdp_action::XDP_TX } else { xdp_action::XDP_PASS }
}

#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    // Unreachable code that is reached is an endless loop, which the verifier refuses: a panic cannot get loaded.
    loop {}
}

/// The helpers used are open to GPL-compatible programs only.
#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";
