//! A memory-mapped BPF array: filling and reading it costs no system call per entry.

use std::{
    ffi::c_void,
    io,
    os::fd::{AsFd, BorrowedFd},
    ptr::NonNull,
};

use dhcp_common::{
    abi::{Control, LeaseEntry},
    lease_cell::LeaseCell,
};
use rustix::mm::{MapFlags, ProtFlags, mmap, munmap};

/// Types that may live in memory shared with the kernel.
///
/// # Safety
/// Any bit pattern must be a value, and the size a multiple of eight, as the kernel lays out array elements.
unsafe trait Shared {}
// SAFETY: integers and arrays of them; 64 octets.
unsafe impl Shared for LeaseEntry {}
// SAFETY: integers and arrays of them, aligned to eight.
unsafe impl Shared for Control {}

/// The whole of a `BPF_F_MMAPABLE` array (Linux 5.5), mapped readable and writable.
#[derive(Debug)]
#[expect(private_bounds, reason = "which types may be shared is this file's business")]
pub struct MappedArray<T: Shared> {
    start: NonNull<T>,
    len: u32,
    octets: usize,
}

// SAFETY: the mapping belongs to no thread; every access below is a volatile access to shared memory.
unsafe impl<T: Shared> Send for MappedArray<T> {}
// SAFETY: as above.
unsafe impl<T: Shared> Sync for MappedArray<T> {}

#[expect(private_bounds, reason = "which types may be shared is this file's business")]
impl<T: Shared> MappedArray<T> {
    /// Maps the array `map`, which has `len` elements of `T`.
    ///
    /// # Errors
    /// What `mmap` says.
    pub fn new(map: BorrowedFd<'_>, len: u32) -> io::Result<Self> {
        let octets =
            (len as usize).saturating_mul(size_of::<T>()).next_multiple_of(rustix::param::page_size());
        let flags = ProtFlags::READ | ProtFlags::WRITE;
        // SAFETY: a new mapping at an address of the kernel's choice overlaps nothing of ours.
        let start = unsafe { mmap(std::ptr::null_mut(), octets, flags, MapFlags::SHARED, map.as_fd(), 0) }?;
        let start = NonNull::new(start.cast()).ok_or_else(|| io::Error::other("mmap gave a null pointer"))?;
        Ok(Self { start, len, octets })
    }

    /// The number of elements.
    pub const fn len(&self) -> u32 {
        self.len
    }

    pub(super) fn at(&self, index: u32) -> Option<NonNull<T>> {
        // SAFETY: the index is below the number of elements mapped.
        (index < self.len).then(|| unsafe { self.start.add(index as usize) })
    }
}

impl MappedArray<LeaseEntry> {
    /// The entry at `index`, if the array has it.
    pub fn cell(&self, index: u32) -> Option<LeaseCell> {
        // SAFETY: page-aligned memory mapped for as long as `self` lives; the cell is used while `self` is borrowed by
        // the callers in this folder, and nobody makes references to entries.
        self.at(index).map(|entry| unsafe { LeaseCell::new(entry) })
    }
}

impl MappedArray<Control> {
    /// The control block as it is now.
    pub fn read(&self) -> Control {
        // SAFETY: element 0 exists (the map has one), aligned and mapped.
        unsafe { self.start.as_ptr().read_volatile() }
    }

    /// Moves the deadline of the kernel's authority.
    pub fn set_authority_until_boot_ns(&self, deadline: u64) {
        // SAFETY: as above; one aligned word, stored at once.
        unsafe { (&raw mut (*self.start.as_ptr()).authority_until_boot_ns).write_volatile(deadline) }
    }

    /// Writes the whole block; for maps that no program uses yet.
    pub fn write(&self, control: &Control) {
        // SAFETY: as above.
        unsafe { self.start.as_ptr().write_volatile(*control) }
    }
}

impl<T: Shared> Drop for MappedArray<T> {
    fn drop(&mut self) {
        // SAFETY: exactly what `new` mapped, and no pointer into it outlives `self`.
        let unmapped = unsafe { munmap(self.start.as_ptr().cast::<c_void>(), self.octets) };
        if let Err(error) = unmapped {
            tracing::warn!(%error, "a mapped BPF array could not be unmapped");
        }
    }
}
