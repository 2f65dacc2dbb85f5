//! What the daemon asks of the kernel's maps while it runs: the seam between the real maps and the simulator's.

use std::{net::Ipv4Addr, ops::Range};

use dhcp_common::abi::{Answer, LeaseEntry};

use super::{
    error::FastPathError,
    kernel::{KernelPath, Mark},
};

/// Leases and answers in the kernel.
pub trait LeaseMap {
    /// Writes an answer; before any lease that names it is published.
    ///
    /// # Errors
    /// If the kernel refuses, as for an index beyond the map.
    fn put_answer(&mut self, index: u32, answer: &Answer) -> Result<(), FastPathError>;

    /// Publishes a lease whose horizon is durable. `false` if the map has no place for its address.
    fn publish(&mut self, entry: &LeaseEntry) -> bool;

    /// Withdraws a lease: no frame that arrives from now on is answered from it; programs already running may still.
    fn withdraw(&mut self, address: Ipv4Addr);

    /// When the kernel last renewed a lease, on the boot clock; `None` if it never did.
    fn renewed_boot_ns(&self, address: Ipv4Addr) -> Option<u64>;

    /// How many entries the map has.
    fn entries(&self) -> u32;

    /// The leases among `entries` that the kernel renewed at or after `since_boot_ns`.
    fn marks(&self, entries: Range<u32>, since_boot_ns: u64) -> Vec<Mark>;

    /// Every lease that the kernel ever renewed.
    fn all_marks(&self) -> Vec<Mark> {
        self.marks(0..self.entries(), 0)
    }

    /// Moves the deadline up to which the kernel answers without hearing from the daemon.
    fn set_authority_until_boot_ns(&mut self, deadline: u64);

    /// Writes down a renewal that a program granted from other maps, so that it is known who granted it. Only while no
    /// program can answer from this map: later the mark is the program's own to write.
    fn carry_mark(&mut self, mark: &Mark);
}

impl LeaseMap for KernelPath {
    fn put_answer(&mut self, index: u32, answer: &Answer) -> Result<(), FastPathError> {
        Self::put_answer(self, index, answer)
    }

    fn publish(&mut self, entry: &LeaseEntry) -> bool {
        Self::publish(self, entry)
    }

    fn withdraw(&mut self, address: Ipv4Addr) {
        Self::withdraw(self, address);
    }

    fn renewed_boot_ns(&self, address: Ipv4Addr) -> Option<u64> {
        Self::renewed_boot_ns(self, address)
    }

    fn entries(&self) -> u32 {
        self.layout().leases()
    }

    fn marks(&self, entries: Range<u32>, since_boot_ns: u64) -> Vec<Mark> {
        Self::marks(self, entries, since_boot_ns).collect()
    }

    fn set_authority_until_boot_ns(&mut self, deadline: u64) {
        Self::set_authority_until_boot_ns(self, deadline);
    }

    fn carry_mark(&mut self, mark: &Mark) {
        Self::carry_mark(self, mark);
    }
}
