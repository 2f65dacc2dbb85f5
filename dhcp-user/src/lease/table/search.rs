//! Searching for a client's leases as operators do, in the order of addresses. The engine passes over what the indices leave out,
//! for it is of no use to a client; an operator who asks for a hardware address is to see it: a quarantined address, and one that
//! is free and remembered for nobody, both tell whose they were.

use std::net::Ipv4Addr;

use ipnet::Ipv4Net;

use super::LeaseTable;
use crate::lease::record::{ClientKey, HardwareAddress, LeaseRecord};

/// Where a client's leases are, and perhaps some others.
pub struct Search<'a> {
    table: &'a LeaseTable,
    /// What the indices tell, by address; beside it everything must be looked at that they leave out. `None` if all leases must be.
    found: Option<Vec<&'a LeaseRecord>>,
}

impl LeaseTable {
    /// Looks for the leases of a client with this key, else for those with this hardware address: by the indices, unless they tell
    /// more than `most`. Then, and if neither is given, all leases are to be looked at: a client may call itself by any number of
    /// names, and to sort all of its leases for every few of them would take longer than that.
    pub fn search(
        &self,
        client: Option<&ClientKey>,
        hardware: Option<&HardwareAddress>,
        most: usize,
    ) -> Search<'_> {
        let found: Option<Vec<_>> = match (client, hardware) {
            (Some(client), _) => Some(self.of_client(client, Ipv4Net::default()).take(most + 1).collect()),
            (None, Some(hardware)) => Some(self.of_hardware(hardware).take(most + 1).collect()),
            (None, None) => None,
        };
        let found = found.filter(|found| found.len() <= most).map(|mut found| {
            found.sort_unstable_by_key(|lease| lease.address);
            // Handles are halves of hashes: two that are alike by chance name a lease twice.
            found.dedup_by_key(|lease| lease.address);
            found
        });
        Search { table: self, found }
    }
}

impl<'a> Search<'a> {
    /// The leases to look at from one address to another, in the order of addresses, each once.
    pub fn between(&self, first: Ipv4Addr, last: Ipv4Addr) -> impl Iterator<Item = &'a LeaseRecord> {
        let table = self.table;
        let all = self.found.is_none().then(|| table.between(first, last));
        let some = self.found.as_deref().map(|found| {
            let begin = found.partition_point(|lease| lease.address < first);
            let end = found.partition_point(|lease| lease.address <= last);
            let found = found.get(begin..end).unwrap_or_default();
            merged(found.iter().copied(), table.among(&table.unindexed, first, last))
        });
        all.into_iter().flatten().chain(some.into_iter().flatten())
    }
}

/// Two rows in the order of addresses as one; no lease is in both.
fn merged<'a>(
    one: impl Iterator<Item = &'a LeaseRecord>,
    other: impl Iterator<Item = &'a LeaseRecord>,
) -> impl Iterator<Item = &'a LeaseRecord> {
    let (mut one, mut other) = (one.peekable(), other.peekable());
    std::iter::from_fn(move || {
        let other_is_next = match (one.peek(), other.peek()) {
            (Some(of_one), Some(of_other)) => of_other.address < of_one.address,
            (of_one, _) => of_one.is_none(),
        };
        if other_is_next { other.next() } else { one.next() }
    })
}
