//! The packet as the shared code sees it, and the host's backend.

use crate::wire::{ECHO_MAX, REQUEST_OPTIONS_MASK, REQUEST_OPTIONS_MAX};

/// An Ethernet frame that can be read, resized at its end and written.
///
/// Reads hand out arrays of a length known at compile time, because the kernel's verifier follows `pointer + constant`
/// only. Borrowing guarantees that nothing read survives a resize, which moves the kernel's pointers.
pub trait Frame {
    /// Octets in the frame.
    fn len(&self) -> usize;

    /// Whether the frame has no octets.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The `N` octets at `offset`, if the frame has them.
    fn bytes<const N: usize>(&self, offset: usize) -> Option<&[u8; N]>;

    /// The first `A` octets and the `B` octets at `offset`, checked together before either can be written.
    /// `offset` is at least `A`.
    fn bytes_mut<const A: usize, const B: usize>(
        &mut self,
        offset: usize,
    ) -> Option<(&mut [u8; A], &mut [u8; B])>;

    /// The `N` octets at `offset`, to write, if the frame has them.
    fn bytes_at_mut<const N: usize>(&mut self, offset: usize) -> Option<&mut [u8; N]>;

    /// Makes the frame `len` octets long. Its first `keep` octets (at most [`HEAD_MAX`]) stay; what is behind them is
    /// anything.
    ///
    /// [`HEAD_MAX`]: crate::wire::HEAD_MAX
    fn resize(&mut self, len: usize, keep: usize) -> Resized;

    /// Copies `len` octets at `offset` to the start of `to`. `len` is 1 to [`REQUEST_OPTIONS_MAX`].
    fn load(&self, offset: usize, to: &mut Scratch, len: usize) -> bool;

    /// Writes the first `len` octets of `from` at `offset`. `len` is 1 to `N`.
    fn store<const N: usize>(&mut self, offset: usize, from: &[u8; N], len: usize) -> bool;

    /// Writes `len` octets of `scratch`, from octet `start` on, at `offset`. `start` is below
    /// [`REQUEST_OPTIONS_MAX`], `len` is 1 to [`ECHO_MAX`].
    fn store_from(&mut self, offset: usize, scratch: &Scratch, start: usize, len: usize) -> bool;

    /// The same value, but the kernel's verifier no longer knows what it knew of it, so that code behind a branch is
    /// verified once and not once for each way there. The caller bounds it again.
    #[inline(always)]
    fn forget(&self, value: usize) -> usize {
        // No frame is 4 GiB long, which neither the verifier nor the optimiser knows.
        value.wrapping_add(((self.len() as u64) >> 32) as usize)
    }
}

/// What became of a frame that was to be resized.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Resized {
    /// It has the length.
    Done,
    /// There is no room; nothing has changed.
    NoRoom,
    /// It is damaged, though nothing could go wrong any more: it must neither leave nor reach the host.
    Damaged,
}

/// Room for a request's options, and behind them for what a bound on start and length cannot rule out.
pub type Scratch = [u8; 768];

const _: () =
    assert!(size_of::<Scratch>() > REQUEST_OPTIONS_MASK + ECHO_MAX && REQUEST_OPTIONS_MAX.is_multiple_of(16));

/// A frame in a host buffer that may have room behind it.
#[derive(Debug)]
pub struct SliceFrame<'a> {
    buffer: &'a mut [u8],
    len: usize,
}

impl<'a> SliceFrame<'a> {
    /// The first `len` octets of `buffer` are the frame; it can grow to the whole. `None` if it is shorter than `len`.
    pub fn new(buffer: &'a mut [u8], len: usize) -> Option<Self> {
        (len <= buffer.len()).then_some(Self { buffer, len })
    }

    /// The frame's octets.
    pub fn octets(&self) -> &[u8] {
        self.buffer.get(..self.len).unwrap_or(&[])
    }

    fn overwrite(&mut self, offset: usize, from: &[u8]) -> bool {
        let len = self.len;
        let frame = self.buffer.get_mut(..len);
        let Some(to) = frame.and_then(|f| f.get_mut(offset..)).and_then(|f| f.get_mut(..from.len())) else {
            return false;
        };
        to.copy_from_slice(from);
        true
    }
}

impl Frame for SliceFrame<'_> {
    fn len(&self) -> usize {
        self.len
    }

    fn bytes<const N: usize>(&self, offset: usize) -> Option<&[u8; N]> {
        self.octets().get(offset..)?.first_chunk()
    }

    fn bytes_mut<const A: usize, const B: usize>(
        &mut self,
        offset: usize,
    ) -> Option<(&mut [u8; A], &mut [u8; B])> {
        let (head, tail) = self.buffer.get_mut(..self.len)?.split_at_mut_checked(offset)?;
        Some((head.first_chunk_mut()?, tail.first_chunk_mut()?))
    }

    fn bytes_at_mut<const N: usize>(&mut self, offset: usize) -> Option<&mut [u8; N]> {
        self.buffer.get_mut(..self.len)?.get_mut(offset..)?.first_chunk_mut()
    }

    fn resize(&mut self, len: usize, _: usize) -> Resized {
        if len > self.buffer.len() {
            return Resized::NoRoom;
        }
        if let Some(added) = self.buffer.get_mut(self.len..len) {
            added.fill(0);
        }
        self.len = len;
        Resized::Done
    }

    fn load(&self, offset: usize, to: &mut Scratch, len: usize) -> bool {
        let Some(from) = self.octets().get(offset..).and_then(|rest| rest.get(..len)) else { return false };
        let Some(to) = to.get_mut(..len) else { return false };
        to.copy_from_slice(from);
        true
    }

    fn store<const N: usize>(&mut self, offset: usize, from: &[u8; N], len: usize) -> bool {
        from.get(..len).is_some_and(|from| self.overwrite(offset, from))
    }

    fn store_from(&mut self, offset: usize, scratch: &Scratch, start: usize, len: usize) -> bool {
        scratch.get(start..).and_then(|rest| rest.get(..len)).is_some_and(|from| self.overwrite(offset, from))
    }
}
