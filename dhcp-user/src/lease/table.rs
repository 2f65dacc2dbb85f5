//! All leases of a node in memory, for millions of them: one dense record each, found by address or by client, and a
//! queue of the moments at which something must happen to one. It knows nothing of packets or pools; the allocator
//! strings its lists through the entries here so that an address leaves a list in constant time.
//!
//! A lease costs 176 octets of entry, 10 to 20 of the two indices, 7 of the order of addresses, 12 for each
//! of its `handles`, 7 more if it is found by no client, and an allocation for the relay information it has and for what else is
//! long.

mod deadlines;
mod handles;
mod lists;
mod search;
mod slots;

use std::{
    collections::{BTreeSet, HashMap},
    net::Ipv4Addr,
};

use ahash::RandomState;
use ipnet::Ipv4Net;

pub use self::search::Search;
use self::{
    deadlines::{Deadlines, Tick},
    handles::{Handle, Handles},
    slots::Slots,
};
use super::{
    record::{ClientKey, HardwareAddress, LeaseRecord, LeaseState},
    relay_information::RelayInformation,
};
use crate::time::Timestamp;

/// "No entry" in a list.
const NONE: u32 = u32::MAX;
/// Entries are kept in chunks, so that growth never copies what is there.
const CHUNK: usize = 4096;

/// Why a bound lease is on its way out, and since when. Such an address is nobody else's until the way is gone to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Leaving {
    /// Its last known grant has run out; the kernel's entry is being withdrawn.
    Expired,
    /// Its client gave it back (RELEASE), or was given another, at this moment.
    Returned(Timestamp),
    /// Its client found it in use by somebody else (DECLINE).
    Declined,
}

/// Which of the allocator's lists an entry is in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Listed {
    No,
    Free,
    Quarantine,
}

#[derive(Clone)]
struct Entry {
    record: LeaseRecord,
    /// When it comes up in `deadlines`, and its neighbours among those that do then.
    tick: Tick,
    tick_previous: u32,
    tick_next: u32,
    /// Its neighbours in the allocator's list.
    previous: u32,
    next: u32,
    listed: Listed,
}

/// A doubly linked list through the table's entries.
#[derive(Clone, Copy, Debug)]
pub(super) struct List {
    head: u32,
    tail: u32,
    pub(super) len: u32,
}

impl List {
    pub(super) const EMPTY: Self = Self { head: NONE, tail: NONE, len: 0 };
}

/// How many leases are in each state.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StateCounts {
    /// Promised to a client.
    pub bound: u64,
    /// Free, remembered for the last client.
    pub free: u64,
    /// Declined, nobody's for a while.
    pub quarantined: u64,
}

impl StateCounts {
    const fn of(&mut self, state: LeaseState) -> &mut u64 {
        match state {
            LeaseState::Bound => &mut self.bound,
            LeaseState::Free => &mut self.free,
            LeaseState::Quarantined => &mut self.quarantined,
        }
    }
}

/// Every lease, by address and by client.
#[derive(Clone, Default)]
pub struct LeaseTable {
    chunks: Vec<Vec<Entry>>,
    len: u32,
    by_address: Slots,
    by_client: Slots,
    in_order: BTreeSet<Ipv4Addr>,
    /// The addresses that are found by no client.
    unindexed: BTreeSet<Ipv4Addr>,
    handles: Handles,
    counts: StateCounts,
    deadlines: Deadlines,
    leaving: HashMap<u32, Leaving>,
    hasher: RandomState,
}

impl LeaseTable {
    /// A table of what the store recovered. Of several records of one address the last one counts.
    pub fn from_records(records: impl IntoIterator<Item = LeaseRecord>) -> Self {
        let mut table = Self::default();
        let records = records.into_iter();
        table.reserve(records.size_hint().0);
        for record in records {
            table.place(record);
        }
        for slot in 0..table.len {
            if let Some(ends) = table.entry(slot).and_then(|entry| ends_of(&entry.record)) {
                table.queue(slot, ends);
            }
        }
        // What is in an order is put into it at once: one by one, a million of them would each miss the cache often.
        table.in_order = table.iter().map(|record| record.address).collect();
        table.handles = Handles::of((0..).zip(table.iter()), &table.hasher);
        table
    }

    /// Makes room for so many more leases.
    fn reserve(&mut self, leases: usize) {
        let (chunks, hasher) = (&self.chunks, &self.hasher);
        let record = |slot: &u32| entry_in(chunks, *slot).map(|entry| &entry.record);
        self.by_address
            .reserve(leases, |slot| record(slot).map_or(0, |lease| hasher.hash_one(lease.address)));
        self.by_client.reserve(leases, |slot| record(slot).map_or(0, |lease| hasher.hash_one(&lease.client)));
    }

    /// How many leases there are, free and quarantined ones among them.
    pub fn len(&self) -> usize {
        usize::try_from(self.len).unwrap_or(usize::MAX)
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// All leases, in the order in which their addresses were first used.
    pub fn iter(&self) -> impl Iterator<Item = &LeaseRecord> {
        self.chunks.iter().flatten().map(|entry| &entry.record)
    }

    /// The leases from one address to another, in the order of addresses. Finding the first costs no more where there
    /// are millions.
    pub fn between(&self, first: Ipv4Addr, last: Ipv4Addr) -> impl Iterator<Item = &LeaseRecord> {
        self.among(&self.in_order, first, last)
    }

    /// The leases of those of these addresses that are in a range.
    fn among<'a>(
        &'a self,
        addresses: &'a BTreeSet<Ipv4Addr>,
        first: Ipv4Addr,
        last: Ipv4Addr,
    ) -> impl Iterator<Item = &'a LeaseRecord> {
        // A range that ends before it begins holds nothing; the set's own answer to that is a panic.
        let ordered = (first <= last).then(|| addresses.range(first..=last));
        ordered.into_iter().flatten().filter_map(|&address| self.get(address))
    }

    /// How many leases are in each state.
    pub const fn counts(&self) -> StateCounts {
        self.counts
    }

    /// The lease of an address.
    pub fn get(&self, address: Ipv4Addr) -> Option<&LeaseRecord> {
        Some(&self.entry(self.slot(address)?)?.record)
    }

    /// A client's leases within a prefix, quarantined ones excepted. Rarely more than one.
    pub fn of_client<'a, 'k>(
        &'a self,
        client: &'k ClientKey,
        prefix: Ipv4Net,
    ) -> impl Iterator<Item = &'a LeaseRecord> + use<'a, 'k> {
        self.with_client_hash(self.hasher.hash_one(client))
            .filter(move |record| record.client == *client && prefix.contains(&record.address))
    }

    /// The leases of clients with a hardware address, by whatever they are known; quarantined ones excepted.
    pub fn of_hardware<'a>(
        &'a self,
        hardware: &HardwareAddress,
    ) -> impl Iterator<Item = &'a LeaseRecord> + use<'a> {
        let hardware = *hardware;
        let keys = [ClientKey::Hardware(hardware), handles::usual_id(&hardware)];
        let by_key = keys.into_iter().flat_map(move |key| {
            let hash = self.hasher.hash_one(&key);
            self.with_client_hash(hash).filter(move |record| record.client == key)
        });
        let by_handle = self.with_handle(&Handle::Hardware(&hardware));
        by_key.chain(by_handle).filter(move |record| record.hardware == hardware && indexed(record))
    }

    /// The leases of clients that the relay last told to be on a circuit; quarantined ones excepted.
    pub fn of_circuit<'a, 'k>(
        &'a self,
        circuit: &'k [u8],
    ) -> impl Iterator<Item = &'a LeaseRecord> + use<'a, 'k> {
        self.with_handle(&Handle::Circuit(circuit)).filter(move |record| {
            RelayInformation::parse(&record.relay_information).circuit_id == Some(circuit)
        })
    }

    /// Perhaps some others.
    fn with_handle<'a>(&'a self, handle: &Handle<'_>) -> impl Iterator<Item = &'a LeaseRecord> + use<'a> {
        let slots = self.handles.slots(handle, &self.hasher);
        slots.filter_map(|slot| Some(&self.entry(slot)?.record))
    }

    /// Perhaps some others.
    fn with_client_hash(&self, hash: u64) -> impl Iterator<Item = &LeaseRecord> {
        self.by_client.under(hash).filter_map(|slot| Some(&self.entry(slot)?.record))
    }

    /// The lease a client has or last had within a prefix: bound ones before those on their way out before free ones,
    /// the latest granted among equals.
    pub fn best_of_client(&self, client: &ClientKey, prefix: Ipv4Net) -> Option<&LeaseRecord> {
        self.of_client(client, prefix).max_by_key(|record| {
            let rank = match record.state {
                LeaseState::Bound if self.leaving(record.address).is_none() => 2,
                LeaseState::Bound => 1,
                LeaseState::Free | LeaseState::Quarantined => 0,
            };
            (rank, record.granted_at, record.address)
        })
    }

    /// Stores a record, in place of the one its address had, and sees that its end will be [`due`](Self::due). Says
    /// nothing of whether the address is leaving: that ends by [`stay`](Self::stay).
    pub fn put(&mut self, record: LeaseRecord) {
        let (ends, address) = (ends_of(&record), record.address);
        let known = self.slot(address);
        let known = known.and_then(|slot| Some((slot, &entry_in(&self.chunks, slot)?.record)));
        let keeps_handles = known.is_some_and(|(_, known)| handles::are_same(known, &record));
        if let Some((slot, known)) = known.filter(|_| !keeps_handles) {
            self.handles.remove(slot, known, &self.hasher);
        }
        let (slot, is_new) = self.place(record);
        if is_new {
            self.in_order.insert(address);
        }
        if !keeps_handles && let Some(entry) = entry_in(&self.chunks, slot) {
            self.handles.insert(slot, &entry.record, &self.hasher);
        }
        if let Some(ends) = ends {
            self.queue(slot, ends);
        }
    }

    /// Stores a record where it is found by address and client, not yet by order or end; its slot, and whether its address
    /// is new.
    fn place(&mut self, record: LeaseRecord) -> (u32, bool) {
        let address = record.address;
        *self.counts.of(record.state) += 1;
        match self.slot(address) {
            Some(slot) => {
                if let Some(before) = self.entry(slot).map(|entry| entry.record.state) {
                    *self.counts.of(before) -= 1;
                }
                let rekeyed = self.entry(slot).is_some_and(|entry| {
                    entry.record.client != record.client || indexed(&entry.record) != indexed(&record)
                });
                if rekeyed {
                    self.drop_client(slot);
                }
                if let Some(entry) = self.entry_mut(slot) {
                    entry.record = record;
                }
                if rekeyed {
                    self.index_client(slot);
                }
                (slot, false)
            }
            None => {
                // Four thousand million addresses exist, and the last of them is no host: a slot number always fits.
                let slot = self.len;
                self.push(Entry {
                    record,
                    tick: Tick::NEVER,
                    tick_previous: NONE,
                    tick_next: NONE,
                    previous: NONE,
                    next: NONE,
                    listed: Listed::No,
                });
                let (chunks, hasher) = (&self.chunks, &self.hasher);
                let hash = hasher.hash_one(address);
                self.by_address.insert(hash, slot, |&other| {
                    entry_in(chunks, other).map_or(0, |entry| hasher.hash_one(entry.record.address))
                });
                self.index_client(slot);
                (slot, true)
            }
        }
    }

    /// Moves a bound lease's times without touching the rest; `false` if there is no such lease.
    pub fn extend(
        &mut self,
        address: Ipv4Addr,
        granted_at: Timestamp,
        expires: Timestamp,
        horizon: Timestamp,
    ) -> bool {
        let Some(slot) = self.slot(address) else { return false };
        let Some(entry) = self.entry_mut(slot) else { return false };
        (entry.record.granted_at, entry.record.expires, entry.record.horizon) =
            (granted_at, expires, horizon);
        self.queue(slot, expires);
        true
    }

    /// Moves a lease's horizon, and until when it is kept beyond it.
    pub fn keep(&mut self, address: Ipv4Addr, horizon: Timestamp, kept_until: Timestamp) {
        if let Some(entry) = self.slot(address).and_then(|slot| self.entry_mut(slot)) {
            (entry.record.horizon, entry.record.kept_until) = (horizon, kept_until);
        }
    }

    /// Remembers what the kernel knows of a lease's renewals; the record as it is now, to be committed.
    pub fn set_forms(
        &mut self,
        address: Ipv4Addr,
        forms: [Option<super::record::KnownForm>; 2],
    ) -> Option<&LeaseRecord> {
        let slot = self.slot(address)?;
        let entry = self.entry_mut(slot)?;
        entry.record.forms = forms;
        Some(&entry.record)
    }

    /// Forgets what the kernel knows of renewals, of all leases.
    pub fn forget_forms(&mut self) {
        self.chunks.iter_mut().flatten().for_each(|entry| entry.record.forms = [None, None]);
    }

    /// Whether and why a lease is on its way out.
    pub fn leaving(&self, address: Ipv4Addr) -> Option<Leaving> {
        if self.leaving.is_empty() {
            return None;
        }
        self.leaving.get(&self.slot(address)?).copied()
    }

    /// Sends a lease on its way out, and makes it due again at `again` should nobody bring the way to its end.
    pub fn leave(&mut self, address: Ipv4Addr, why: Leaving, again: Timestamp) {
        if let Some(slot) = self.slot(address) {
            self.leaving.insert(slot, why);
            self.queue(slot, again);
        }
    }

    /// Ends a way out, by whichever end.
    pub fn stay(&mut self, address: Ipv4Addr) {
        if let Some(slot) = self.slot(address) {
            self.leaving.remove(&slot);
        }
    }

    // --- entries and indices ---

    fn slot(&self, address: Ipv4Addr) -> Option<u32> {
        let same = |&slot: &u32| self.entry(slot).is_some_and(|entry| entry.record.address == address);
        self.by_address.find(self.hasher.hash_one(address), same)
    }

    fn entry(&self, slot: u32) -> Option<&Entry> {
        entry_in(&self.chunks, slot)
    }

    fn entry_mut(&mut self, slot: u32) -> Option<&mut Entry> {
        let slot = usize::try_from(slot).ok()?;
        self.chunks.get_mut(slot / CHUNK)?.get_mut(slot % CHUNK)
    }

    fn push(&mut self, entry: Entry) {
        match self.chunks.last_mut() {
            Some(chunk) if chunk.len() < CHUNK => chunk.push(entry),
            _ => {
                let mut chunk = Vec::with_capacity(CHUNK);
                chunk.push(entry);
                self.chunks.push(chunk);
            }
        }
        self.len += 1;
    }

    fn drop_client(&mut self, slot: u32) {
        let Some(entry) = entry_in(&self.chunks, slot) else { return };
        if !indexed(&entry.record) {
            self.unindexed.remove(&entry.record.address);
            return;
        }
        self.by_client.remove(self.hasher.hash_one(&entry.record.client), slot);
    }

    fn index_client(&mut self, slot: u32) {
        let (chunks, hasher) = (&self.chunks, &self.hasher);
        let Some(entry) = entry_in(chunks, slot) else { return };
        if !indexed(&entry.record) {
            self.unindexed.insert(entry.record.address);
            return;
        }
        let hash = hasher.hash_one(&entry.record.client);
        self.by_client.insert(hash, slot, |&other| {
            entry_in(chunks, other).map_or(0, |entry| hasher.hash_one(&entry.record.client))
        });
    }
}

fn entry_in(chunks: &[Vec<Entry>], slot: u32) -> Option<&Entry> {
    let slot = usize::try_from(slot).ok()?;
    chunks.get(slot / CHUNK)?.get(slot % CHUNK)
}

/// When something is to become of a lease by itself.
fn ends_of(record: &LeaseRecord) -> Option<Timestamp> {
    (record.state != LeaseState::Free).then_some(record.expires)
}

/// Whether a record is found by its client. A quarantined address is of no use to the client that declined it, and a
/// client that declines hundreds must not make its own look-ups slow.
fn indexed(record: &LeaseRecord) -> bool {
    record.state != LeaseState::Quarantined && !record.client.is_nobody()
}

#[cfg(test)]
#[path = "table_tests.rs"]
mod tests;
