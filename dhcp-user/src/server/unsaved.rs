//! Leases whose state in memory is ahead of what is durable, for the disk was full: nobody may hear of them, no kernel and no
//! other node, before they are.

use std::{collections::BTreeMap, net::Ipv4Addr};

use super::keeper::MARKS_BATCH;
use crate::{
    lease::record::LeaseRecord,
    time::{Span, Timestamp},
};

/// How long after a disk had no room it is tried again.
const TRY_AGAIN: Span = Span::from_secs(1);

/// Leases that found no room.
#[derive(Clone, Debug, Default)]
pub struct Unsaved {
    /// Whether the change was made here, so that other nodes are to hear of it, or told by another node.
    leases: BTreeMap<Ipv4Addr, bool>,
    next_try: Timestamp,
}

impl Unsaved {
    /// Whether what is in memory of an address is not durable.
    pub fn contains(&self, address: Ipv4Addr) -> bool {
        self.leases.contains_key(&address)
    }

    /// Whether all is durable.
    pub fn is_empty(&self) -> bool {
        self.leases.is_empty()
    }

    /// These leases found no room; the first `own` of them were changed here.
    pub(super) fn refused(&mut self, now: Timestamp, leases: &[LeaseRecord], own: usize) {
        for (at, lease) in leases.iter().enumerate() {
            *self.leases.entry(lease.address).or_default() |= at < own;
        }
        self.next_try = now + TRY_AGAIN;
    }

    /// These are durable, as they are in memory.
    pub(super) fn saved(&mut self, leases: &[LeaseRecord]) {
        if !self.leases.is_empty() {
            for lease in leases {
                self.leases.remove(&lease.address);
            }
        }
    }

    /// An address of which nothing is in memory.
    pub(super) fn gone(&mut self, address: Ipv4Addr) {
        self.leases.remove(&address);
    }

    /// What is to be tried again now, with whether it was changed here.
    pub(super) fn due(&self, now: Timestamp) -> Vec<(Ipv4Addr, bool)> {
        if now < self.next_try {
            return Vec::new();
        }
        self.leases.iter().take(MARKS_BATCH).map(|(address, own)| (*address, *own)).collect()
    }
}
