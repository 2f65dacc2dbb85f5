//! The maps on the host: the shared code asks them as it asks the kernel's, so that both must come to the same result.

use std::{
    cell::{RefCell, UnsafeCell},
    collections::HashMap,
    net::Ipv4Addr,
    ptr::NonNull,
};

use dhcp_common::{
    abi::{Answer, Block, Control, LeaseEntry},
    frame::{Scratch, SliceFrame},
    lease_cell::LeaseCell,
    limit::{self, Asker, Buckets, Limits, Word},
    reason::Reason,
    renewal::{self, Maps},
    request::Interface,
};
use dhcp_user::{fastpath::layout::Layout, server::clock};

/// Room behind a frame, as a driver leaves some.
const TAILROOM: usize = 1024;

/// The maps.
pub struct HostMaps {
    /// What holds for all leases.
    pub control: Control,
    layout: Layout,
    leases: Vec<UnsafeCell<LeaseEntry>>,
    answers: Vec<Answer>,
    scratch: UnsafeCell<Scratch>,
    limits: Limits,
    /// Places for clients and relay agents that are in use, and the shares.
    buckets: [RefCell<HashMap<u32, Box<UnsafeCell<u64>>>>; 3],
}

impl HostMaps {
    /// Empty maps for `layout` and `answers_max` answers.
    pub fn new(layout: Layout, answers_max: u32, control: Control, limits: Limits) -> Self {
        let leases = (0..layout.leases()).map(|_| UnsafeCell::new(LeaseEntry::default())).collect();
        let answers = (0..answers_max).map(|_| Answer::default()).collect();
        let scratch = UnsafeCell::new([0; size_of::<Scratch>()]);
        Self { control, layout, leases, answers, scratch, limits, buckets: Default::default() }
    }

    /// Writes an answer.
    pub fn put_answer(&mut self, index: u32, answer: &Answer) {
        if let Some(slot) = self.answers.get_mut(index as usize) {
            *slot = *answer;
        }
    }

    /// Publishes a lease.
    pub fn publish(&self, entry: &LeaseEntry) {
        if let Some(cell) = self.cell(entry.address.into()) {
            cell.publish(entry);
        }
    }

    /// Withdraws a lease.
    pub fn withdraw(&self, address: Ipv4Addr) {
        if let Some(cell) = self.cell(address) {
            cell.set_horizon_boot_ns(0);
        }
    }

    fn cell(&self, address: Ipv4Addr) -> Option<LeaseCell> {
        let entry = self.lease(self.layout.index(address)?)?;
        // SAFETY: `lease` gives pointers into `self.leases`, which never moves while `self` is borrowed, and nobody
        // makes references to entries.
        Some(unsafe { LeaseCell::new(entry) })
    }

    /// What the shared code makes of a frame that has `tailroom` octets behind it: the reason and the frame.
    pub fn run(&self, interface: &Interface, frame: &[u8], tailroom: usize) -> (Reason, Vec<u8>) {
        let mut buffer = frame.to_vec();
        buffer.resize(frame.len() + tailroom, 0xa5);
        let Some(mut slice) = SliceFrame::new(&mut buffer, frame.len()) else {
            return (Reason::Truncated, Vec::new());
        };
        let passed_for = renewal::answer(&mut slice, self, interface);
        let refused = Some(passed_for)
            .filter(|&reason| limit::goes_up(reason as usize))
            .and_then(|_| limit::refuses(&Asker::find(&slice)?, self));
        let reason = refused.unwrap_or(passed_for);
        let out = slice.octets().to_vec();
        (reason, out)
    }

    /// The same with more tailroom than any answer needs.
    pub fn run_with_room(&self, interface: &Interface, frame: &[u8]) -> (Reason, Vec<u8>) {
        self.run(interface, frame, TAILROOM)
    }
}

impl Maps for HostMaps {
    fn control(&self) -> Option<&Control> {
        Some(&self.control)
    }

    fn block(&self, prefix: [u8; 4]) -> Option<Block> {
        self.layout.blocks().get(&prefix).copied()
    }

    fn lease(&self, index: u32) -> Option<NonNull<LeaseEntry>> {
        NonNull::new(self.leases.get(index as usize)?.get())
    }

    fn answer(&self, index: u32) -> Option<&Answer> {
        self.answers.get(index as usize)
    }

    fn scratch(&self) -> Option<&mut Scratch> {
        // SAFETY: one frame at a time on one thread (`UnsafeCell` makes this not `Sync`), and the shared code asks for
        // the scratch once per frame.
        Some(unsafe { &mut *self.scratch.get() })
    }

    fn now_boot_ns(&self) -> u64 {
        clock::boot_ns()
    }
}

impl HostMaps {
    fn bucket(&self, table: usize, index: u32) -> Option<Word> {
        let mut places = self.buckets.get(table)?.borrow_mut();
        let place = NonNull::new(places.entry(index).or_default().get())?;
        // SAFETY: boxed, so it stays where it is while the table grows, and nobody makes references to its value.
        Some(unsafe { Word::new(place) })
    }
}

impl Buckets for HostMaps {
    fn limits(&self) -> Limits {
        self.limits
    }

    fn client(&self, index: u32) -> Option<Word> {
        self.bucket(0, index)
    }

    fn relay(&self, index: u32) -> Option<Word> {
        self.bucket(1, index)
    }

    fn share(&self, index: u32) -> Option<Word> {
        self.bucket(2, index)
    }

    fn knows(&self, address: [u8; 4], chaddr: u64) -> bool {
        limit::knows(self, address, chaddr)
    }
}
