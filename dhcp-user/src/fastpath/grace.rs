//! The wait until no program can still be using an entry that was withdrawn.
//!
//! An XDP program may have read an entry just before its horizon was set to zero, and be about to answer. Linux waits
//! for all running programs (`synchronize_rcu`) when an element of a map of maps is replaced, before the system call
//! returns (`maybe_wait_bpf_programs` in kernel/bpf/syscall.c, since Linux 5.0): we replace an element that nobody uses.

use aya::maps::{Array, ArrayOfMaps, MapData, MapError};
use dhcp_common::abi::name;

use super::error::FastPathError;

/// The barrier.
pub struct Grace {
    outer: ArrayOfMaps<MapData, Array<MapData, u32>>,
    inner: Array<MapData, u32>,
}

impl Grace {
    /// A barrier over the map of maps made for it.
    ///
    /// # Errors
    /// If the kernel refuses the inner map.
    pub fn new(outer: ArrayOfMaps<MapData, Array<MapData, u32>>) -> Result<Self, MapError> {
        Ok(Self { outer, inner: Array::create(1, 0)? })
    }

    /// Returns when every program that was running at the call has ended: some milliseconds to tens of them.
    ///
    /// # Errors
    /// If the kernel refuses; then nothing may be assumed to have ended.
    pub fn wait(&mut self) -> Result<(), FastPathError> {
        let refused = |error| FastPathError::Map { map: name::GRACE, action: "replaced", error };
        self.outer.set(0, &self.inner, 0).map_err(refused)
    }
}
