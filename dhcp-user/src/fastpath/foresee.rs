//! What the kernel program would make of a frame, asked of its own code on the live maps: nothing is counted, marked or
//! taken from a limit.

use std::ptr::NonNull;

use dhcp_common::{
    abi::{Answer, Block, Control, LeaseEntry},
    frame::{Scratch, SliceFrame},
    reason::Reason,
    renewal::{self, Maps},
    request::Interface,
};

use super::{answers::AnswerTable, kernel::KernelPath};

/// The live maps, only to be read.
struct Shown<'a> {
    kernel: &'a KernelPath,
    answers: &'a AnswerTable,
    control: Control,
    now_boot_ns: u64,
}

impl KernelPath {
    /// What the program on `interface` would make of `frame` at `now_boot_ns`, limits aside: [`Reason::Answered`], or why
    /// it would pass it up. `answers` are those it was given.
    pub fn foresee(
        &self,
        answers: &AnswerTable,
        interface: &Interface,
        now_boot_ns: u64,
        frame: &[u8],
    ) -> Reason {
        let mut octets = frame.to_vec();
        let len = octets.len();
        let Some(frame) = SliceFrame::new(&mut octets, len) else { return Reason::Truncated };
        let shown = Shown { kernel: self, answers, control: self.control(), now_boot_ns };
        renewal::decide(&frame, &shown, interface).map_or_else(|reason| reason, |_| Reason::Answered)
    }
}

impl Maps for Shown<'_> {
    fn control(&self) -> Option<&Control> {
        Some(&self.control)
    }

    fn block(&self, prefix: [u8; 4]) -> Option<Block> {
        self.kernel.layout().blocks().get(&prefix).copied()
    }

    fn lease(&self, index: u32) -> Option<NonNull<LeaseEntry>> {
        self.kernel.lease(index)
    }

    fn answer(&self, index: u32) -> Option<&Answer> {
        self.answers.get(index)
    }

    /// Deciding writes nothing, and so needs no room for what it would repeat.
    fn scratch(&self) -> Option<&mut Scratch> {
        None
    }

    fn now_boot_ns(&self) -> u64 {
        self.now_boot_ns
    }
}
