//! What `renew` does with a frame, apart from the entry point, so that a benchmark can run the very same instructions.

use aya_ebpf::{bindings::xdp_action, programs::XdpContext};
use dhcp_common::{
    frame::Frame,
    limit::{goes_up, is_dropped},
    reason::Reason,
    renewal,
};

use crate::{
    frame::{Watch, XdpFrame},
    limit::limited,
    maps::{self, KernelMaps},
};

const REASON_MASK: usize = Reason::COUNT.next_power_of_two() - 1;

/// Answers a renewal of a published lease and counts what became of the frame. Returns the XDP action. `W` sees what
/// is answered.
#[inline(always)]
pub fn renew<W: Watch>(ctx: &XdpContext) -> u32 {
    let Some(counters) = maps::counters() else { return xdp_action::XDP_PASS };
    let mut frame = XdpFrame::<W>::watched(ctx);
    let reason = renewal::answer(&mut frame, &KernelMaps, &maps::interface()) as usize;
    // All ways meet here: the verifier looks at what follows once, not once for each reason.
    let passed_for = frame.forget(reason) & REASON_MASK;
    let reason = if goes_up(passed_for) { limited(ctx.ctx, passed_for as u32) as usize } else { passed_for };
    maps::count(counters, reason);
    if reason == Reason::Answered as usize {
        W::answer(ctx.ctx);
        xdp_action::XDP_TX
    } else if reason == Reason::WriteFailed as usize {
        // Cannot happen (see `reply`); a frame half-written must neither leave nor reach the host.
        report_write_failure(ctx);
        xdp_action::XDP_DROP
    } else if is_dropped(reason) {
        aya_log_ebpf::debug!(ctx, "a frame for reason {} is dropped for reason {}", passed_for, reason);
        xdp_action::XDP_DROP
    } else {
        if reason > Reason::NotDhcp as usize {
            aya_log_ebpf::debug!(ctx, "a frame on the DHCP port is passed up for reason {}", reason);
        }
        xdp_action::XDP_PASS
    }
}

#[cold]
#[inline(never)]
fn report_write_failure(ctx: &XdpContext) {
    aya_log_ebpf::error!(ctx, "an answer could not be written and its frame was dropped");
}
