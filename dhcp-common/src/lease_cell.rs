//! A lease entry that the daemon and several processors use at once.
//!
//! The entry lives in a map that the daemon has mapped into memory, so neither side may assume that it stands still:
//! every access is a volatile load or store of one whole word. What makes a half-written entry harmless is in
//! [`crate::abi::LeaseEntry`].

use core::ptr::{NonNull, addr_of, addr_of_mut};

use crate::abi::{Form, LeaseEntry};

/// Six octets of an Ethernet address in a little-endian word.
pub const CHADDR_MASK: u64 = 0xffff_ffff_ffff;

/// A shared lease entry.
#[derive(Clone, Copy, Debug)]
pub struct LeaseCell(NonNull<LeaseEntry>);

macro_rules! word {
    ($(#[$doc:meta])* $get:ident, $field:ident: $t:ty) => {
        $(#[$doc])*
        #[inline(always)]
        pub fn $get(self) -> $t {
            // SAFETY: the constructor's contract: the pointer is valid for reads while `self` is used.
            unsafe { addr_of!((*self.0.as_ptr()).$field).read_volatile() }
        }
    };
}

impl LeaseCell {
    /// A view of the entry at `entry`.
    ///
    /// # Safety
    /// `entry` must be aligned and valid for reads and writes for as long as the cell and its copies are used, and
    /// nobody may hold a reference to the entry.
    #[inline(always)]
    pub const unsafe fn new(entry: NonNull<LeaseEntry>) -> Self {
        Self(entry)
    }

    word!(
        /// The horizon, 0 when withdrawn.
        horizon_boot_ns, horizon_boot_ns: u64);
    word!(
        /// When the kernel last granted.
        renewed_boot_ns, renewed_boot_ns: u64);
    word!(
        /// The leased address.
        address, address: [u8; 4]);
    word!(
        /// The generation.
        generation, generation: u32);
    word!(
        /// The client's Ethernet address.
        chaddr, chaddr: [u8; 6]);
    word!(
        /// Renewals granted by the kernel.
        renewals, renewals: u32);

    /// The client's Ethernet address as the lower 48 bits of a little-endian word: one load where six octets are six.
    #[inline(always)]
    pub fn chaddr_word(self) -> u64 {
        // SAFETY: as in `word!`; the six octets and the two reserved ones behind them are one aligned word (asserted in
        // `abi`).
        let word = unsafe { addr_of!((*self.0.as_ptr()).chaddr).cast::<u64>().read_volatile() };
        u64::from_le(word) & CHADDR_MASK
    }

    /// The leased address as its octets stand in memory, read at once.
    #[inline(always)]
    pub fn address_word(self) -> u32 {
        // SAFETY: as in `word!`; the four octets are an aligned word (asserted in `abi`).
        unsafe { addr_of!((*self.0.as_ptr()).address).cast::<u32>().read_volatile() }
    }

    /// The fingerprint of a form, 0 when it is not known.
    #[inline(always)]
    pub fn fingerprint(self, form: Form) -> u64 {
        // SAFETY: as in `word!`; the index is 0 or 1 and the array has two elements.
        unsafe { addr_of!((*self.0.as_ptr()).fingerprints).cast::<u64>().add(form as usize).read_volatile() }
    }

    /// The index of a form's answer.
    #[inline(always)]
    pub fn answer(self, form: Form) -> u32 {
        // SAFETY: as in `word!`; the index is 0 or 1 and the array has two elements.
        unsafe { addr_of!((*self.0.as_ptr()).answers).cast::<u32>().add(form as usize).read_volatile() }
    }

    /// A form's echo sum.
    #[inline(always)]
    pub fn echo_sum(self, form: Form) -> u16 {
        // SAFETY: as in `word!`; the index is 0 or 1 and the array has two elements.
        unsafe { addr_of!((*self.0.as_ptr()).echo_sums).cast::<u16>().add(form as usize).read_volatile() }
    }

    /// Notes a renewal granted at `now_boot_ns`, unless a later one is noted: a program that stood still between its
    /// decision and here may come after one that did not. The kernel's only write to an entry.
    #[inline(always)]
    pub fn mark(self, now_boot_ns: u64) {
        let renewals = self.renewals().wrapping_add(1);
        // SAFETY: the constructor's contract: valid for writes; two processors renewing one lease at the same moment
        // may lose one count.
        unsafe {
            if self.renewed_boot_ns() < now_boot_ns {
                addr_of_mut!((*self.0.as_ptr()).renewed_boot_ns).write_volatile(now_boot_ns);
            }
            addr_of_mut!((*self.0.as_ptr()).renewals).write_volatile(renewals);
        }
    }

    /// Sets the horizon; 0 withdraws the entry.
    #[inline(always)]
    pub fn set_horizon_boot_ns(self, horizon_boot_ns: u64) {
        // SAFETY: the constructor's contract: valid for writes.
        unsafe { addr_of_mut!((*self.0.as_ptr()).horizon_boot_ns).write_volatile(horizon_boot_ns) }
    }

    /// Writes everything but the kernel's mark and, last, the horizon.
    pub fn publish(self, entry: &LeaseEntry) {
        let at = self.0.as_ptr();
        // SAFETY: the constructor's contract: valid for writes. The fences keep the compiler and the processor from
        // showing the horizon before the fields it makes live, and from showing fields of a live entry whose
        // fingerprints are still the old ones in another order than written; the fingerprints cover the rest.
        unsafe {
            addr_of_mut!((*at).address).write_volatile(entry.address);
            addr_of_mut!((*at).chaddr).write_volatile(entry.chaddr);
            addr_of_mut!((*at).generation).write_volatile(entry.generation);
            addr_of_mut!((*at).answers).write_volatile(entry.answers);
            addr_of_mut!((*at).echo_sums).write_volatile(entry.echo_sums);
            core::sync::atomic::fence(core::sync::atomic::Ordering::Release);
            addr_of_mut!((*at).fingerprints).write_volatile(entry.fingerprints);
            core::sync::atomic::fence(core::sync::atomic::Ordering::Release);
        }
        self.set_horizon_boot_ns(entry.horizon_boot_ns);
    }

    /// Writes an entry in the place of whatever was there. The kernel's mark stays only if it is of the same lease: of
    /// another client's it says nothing, and the other entry is withdrawn before it is forgotten.
    pub fn replace(self, entry: &LeaseEntry) {
        if self.address() != entry.address || self.chaddr() != entry.chaddr {
            self.set_horizon_boot_ns(0);
            self.clear_mark();
        }
        self.publish(entry);
    }

    /// Forgets the kernel's mark, for an entry that is to serve another lease.
    pub fn clear_mark(self) {
        // SAFETY: the constructor's contract: valid for writes.
        unsafe {
            addr_of_mut!((*self.0.as_ptr()).renewed_boot_ns).write_volatile(0);
            addr_of_mut!((*self.0.as_ptr()).renewals).write_volatile(0);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mark_never_goes_back() {
        let mut entry = LeaseEntry::default();
        // SAFETY: the entry outlives the cell, and is not used otherwise while the cell is.
        let cell = unsafe { LeaseCell::new(NonNull::from(&mut entry)) };
        for (decided, marked) in [(7, 7), (9, 9), (8, 9)] {
            cell.mark(decided);
            assert_eq!(cell.renewed_boot_ns(), marked);
        }
        assert_eq!(cell.renewals(), 3);
    }

    #[test]
    fn another_clients_mark_does_not_stay() {
        let mut entry = LeaseEntry::default();
        // SAFETY: as above.
        let cell = unsafe { LeaseCell::new(NonNull::from(&mut entry)) };
        let first = LeaseEntry {
            horizon_boot_ns: 5,
            address: [198, 18, 0, 9],
            chaddr: [2; 6],
            ..LeaseEntry::default()
        };
        cell.replace(&first);
        cell.mark(3);
        cell.replace(&LeaseEntry { horizon_boot_ns: 6, ..first });
        assert_eq!((cell.renewed_boot_ns(), cell.horizon_boot_ns()), (3, 6));
        cell.replace(&LeaseEntry { chaddr: [4; 6], ..first });
        assert_eq!((cell.renewed_boot_ns(), cell.horizon_boot_ns()), (0, 5));
    }
}
