//! The packet: the only file that touches packet pointers.
//!
//! Every access checks `pointer + constant` against `data_end`, the one form of bounds check the verifier follows.

use core::marker::PhantomData;

use aya_ebpf::{
    bindings::xdp_md,
    helpers::generated::{bpf_xdp_adjust_head, bpf_xdp_adjust_tail, bpf_xdp_load_bytes, bpf_xdp_store_bytes},
    programs::XdpContext,
};
use dhcp_common::{
    frame::{Frame, Resized, Scratch},
    wire::{ECHO_MAX, HEAD_MAX, REQUEST_OPTIONS_MASK, REQUEST_OPTIONS_MAX},
};

use crate::maps;

/// Whoever sees the frames that are answered; `()` sees nothing and costs nothing.
pub trait Watch {
    /// A request that is about to be answered, and not changed yet.
    fn request(_: *mut xdp_md) {}
    /// Its answer, about to leave.
    fn answer(_: *mut xdp_md) {}
}

impl Watch for () {}

/// The frame of an XDP context.
pub struct XdpFrame<'a, W = ()> {
    ctx: &'a XdpContext,
    watch: PhantomData<W>,
}

impl<'a> XdpFrame<'a> {
    /// The frame of `ctx`; nothing else may hold pointers into it.
    #[inline(always)]
    pub const fn new(ctx: &'a XdpContext) -> Self {
        Self::watched(ctx)
    }
}

impl<'a, W> XdpFrame<'a, W> {
    /// As [`new`](XdpFrame::new), with somebody who sees it if it is answered.
    #[inline(always)]
    pub const fn watched(ctx: &'a XdpContext) -> Self {
        Self { ctx, watch: PhantomData }
    }

    #[inline(always)]
    fn at<const N: usize>(&self, offset: usize) -> Option<*mut [u8; N]> {
        let pointer = self.ctx.data() + offset;
        if pointer + N > self.ctx.data_end() {
            return None;
        }
        // SAFETY: no packet is at address 0; the optimiser would ask.
        unsafe { core::hint::assert_unchecked(pointer != 0) };
        Some(pointer as *mut [u8; N])
    }
}

impl<W> XdpFrame<'_, W> {
    /// Adds `delta` octets in front and moves the first `keep` octets there. A veth copies a frame that a socket sent
    /// into a buffer that ends 0 to 63 octets behind it, but every driver leaves some 200 octets in front.
    #[inline(always)]
    fn grow_at_head(&mut self, delta: i32, keep: usize) -> Resized {
        let keep = bounded_here(keep);
        let Some(head) = maps::head().filter(|_| delta > 0 && keep > 0 && keep <= HEAD_MAX) else {
            return Resized::NoRoom;
        };
        // SAFETY: `head` is this processor's own and has room for `keep` octets; the helpers check the packet's bounds
        // and change nothing when they fail. The frame that is written to is longer than the one that was read.
        unsafe {
            if bpf_xdp_load_bytes(self.ctx.ctx, 0, head.cast(), keep as u32) != 0
                || bpf_xdp_adjust_head(self.ctx.ctx, -delta) != 0
            {
                return Resized::NoRoom;
            }
            if bpf_xdp_store_bytes(self.ctx.ctx, 0, head.cast(), keep as u32) != 0 {
                return Resized::Damaged;
            }
        }
        Resized::Done
    }
}

impl<W: Watch> Frame for XdpFrame<'_, W> {
    #[inline(always)]
    fn len(&self) -> usize {
        self.ctx.data_end() - self.ctx.data()
    }

    #[inline(always)]
    fn bytes<const N: usize>(&self, offset: usize) -> Option<&[u8; N]> {
        // SAFETY: `at` checked that the N octets lie in the packet; the borrow of `self` keeps it from being resized.
        self.at::<N>(offset).map(|p| unsafe { &*p })
    }

    #[inline(always)]
    fn bytes_mut<const A: usize, const B: usize>(
        &mut self,
        offset: usize,
    ) -> Option<(&mut [u8; A], &mut [u8; B])> {
        if offset < A {
            return None;
        }
        let (head, tail) = (self.at::<A>(0)?, self.at::<B>(offset)?);
        // SAFETY: both ranges lie in the packet, the second begins at or behind the end of the first, and the
        // exclusive borrow of `self` keeps everything else out.
        Some(unsafe { (&mut *head, &mut *tail) })
    }

    #[inline(always)]
    fn bytes_at_mut<const N: usize>(&mut self, offset: usize) -> Option<&mut [u8; N]> {
        // SAFETY: `at` checked that the N octets lie in the packet, and the exclusive borrow of `self` keeps everything
        // else out.
        self.at::<N>(offset).map(|p| unsafe { &mut *p })
    }

    #[inline(always)]
    fn resize(&mut self, len: usize, keep: usize) -> Resized {
        // Only a frame that is about to be answered is resized, before anything else happens to it.
        W::request(self.ctx.ctx);
        let delta = len as i32 - self.len() as i32;
        // SAFETY: the context is the program's own; the helper changes nothing when it fails.
        if delta == 0 || unsafe { bpf_xdp_adjust_tail(self.ctx.ctx, delta) } == 0 {
            return Resized::Done;
        }
        self.grow_at_head(delta, keep)
    }

    #[inline(always)]
    fn load(&self, offset: usize, to: &mut Scratch, len: usize) -> bool {
        let len = bounded_here(len);
        if len == 0 || len > REQUEST_OPTIONS_MAX {
            return false;
        }
        // SAFETY: `to` has room for `len` octets; the helper checks the packet's bounds.
        unsafe { bpf_xdp_load_bytes(self.ctx.ctx, offset as u32, to.as_mut_ptr().cast(), len as u32) == 0 }
    }

    #[inline(always)]
    fn store<const N: usize>(&mut self, offset: usize, from: &[u8; N], len: usize) -> bool {
        let len = bounded_here(len);
        if len == 0 || len > N {
            return false;
        }
        // SAFETY: `from` has `len` octets; the helper checks the packet's bounds.
        unsafe {
            bpf_xdp_store_bytes(self.ctx.ctx, offset as u32, from.as_ptr().cast_mut().cast(), len as u32) == 0
        }
    }

    #[inline(always)]
    fn store_from(&mut self, offset: usize, scratch: &Scratch, start: usize, len: usize) -> bool {
        // `start` is below the bound: the mask says so to the verifier.
        let start = bounded_here(start) & REQUEST_OPTIONS_MASK;
        let len = bounded_here(len);
        if len == 0 || len > ECHO_MAX {
            return false;
        }
        // SAFETY: the scratch has `ECHO_MAX` octets behind every start below the mask; the helper checks
        // the packet's bounds.
        unsafe {
            let from = scratch.as_ptr().add(start);
            bpf_xdp_store_bytes(self.ctx.ctx, offset as u32, from.cast_mut().cast(), len as u32) == 0
        }
    }
}

/// Hides what the optimiser knows of `len`, so that it keeps the check that follows: the verifier forgets what was
/// checked long before, of another register.
#[inline(always)]
fn bounded_here(len: usize) -> usize {
    core::hint::black_box(len)
}
