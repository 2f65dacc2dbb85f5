//! Entry points of the XDP programs. Policy lives in `dhcp-common`; the packet in `frame`; the maps in `maps`.
//!
//! Log messages are in the program only if the daemon's configuration asks for them: their level is a constant when the
//! program is loaded, and the verifier removes what it rules out.
#![no_std]
#![no_main]
#![expect(missing_docs, reason = "the `xdp` macro makes functions of its own without documentation")]

mod frame;
mod maps;

use aya_ebpf::{bindings::xdp_action, macros::xdp, programs::XdpContext};
use dhcp_common::{frame::Frame, reason::Reason, renewal, reply};

use crate::{frame::XdpFrame, maps::KernelMaps};

/// Answers renewals of published leases; passes everything else untouched.
#[xdp]
pub fn renew(ctx: XdpContext) -> u32 {
    let Some(counters) = maps::counters() else { return xdp_action::XDP_PASS };
    let mut frame = XdpFrame::new(&ctx);
    let reason = renewal::answer(&mut frame, &KernelMaps, &maps::interface()) as usize;
    // All ways meet here: the verifier looks at what follows once, not once for each reason.
    let reason = frame.forget(reason) & REASON_MASK;
    maps::count(counters, reason);
    if reason == Reason::Answered as usize {
        xdp_action::XDP_TX
    } else if reason == Reason::WriteFailed as usize {
        // Cannot happen (see `reply`); a frame half-written must neither leave nor reach the host.
        report_write_failure(&ctx);
        xdp_action::XDP_DROP
    } else {
        if reason > Reason::NotDhcp as usize {
            aya_log_ebpf::debug!(&ctx, "a frame on the DHCP port is passed up for reason {}", reason);
        }
        xdp_action::XDP_PASS
    }
}

#[cold]
#[inline(never)]
fn report_write_failure(ctx: &XdpContext) {
    aya_log_ebpf::error!(ctx, "an answer could not be written and its frame was dropped");
}

const REASON_MASK: usize = Reason::COUNT.next_power_of_two() - 1;

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
