//! Finding the leases of a client that is named otherwise than it is known here, as reservations may: by its hardware address
//! where its option 61 does not tell that, or by the circuit its relay told. Ordered, not hashed: thousands of clients behind
//! one relay agent may be on the same circuit, and one client may call itself by thousands of names.

use std::collections::BTreeSet;

use ahash::RandomState;

use crate::lease::{
    record::{ClientKey, HardwareAddress, LeaseRecord},
    relay_information::RelayInformation,
};

/// What a client may be named by besides its key.
#[derive(Hash)]
pub(super) enum Handle<'a> {
    Hardware(&'a HardwareAddress),
    Circuit(&'a [u8]),
}

/// The option 61 of a client that tells its hardware address in it, as most do (RFC 2132 section 9.14).
pub(super) fn usual_id(hardware: &HardwareAddress) -> ClientKey {
    ClientKey::Id([&[hardware.htype], hardware.octets()].concat().into())
}

/// A lease's handles; none where they tell nothing more than its client.
fn handles(record: &LeaseRecord) -> impl Iterator<Item = Handle<'_>> {
    let found_by_key = match &record.client {
        ClientKey::Hardware(hardware) => *hardware == record.hardware,
        ClientKey::Id(id) => id.split_first() == Some((&record.hardware.htype, record.hardware.octets())),
    };
    let hardware = (!found_by_key).then_some(Handle::Hardware(&record.hardware));
    let circuit = RelayInformation::parse(&record.relay_information).circuit_id.map(Handle::Circuit);
    // An address that is found by no client is found by no other name of one.
    hardware.into_iter().chain(circuit).filter(|_| super::indexed(record))
}

/// Whether two records of an address have the same handles; they may have them also if not.
pub(super) fn are_same(a: &LeaseRecord, b: &LeaseRecord) -> bool {
    a.client == b.client
        && a.hardware == b.hardware
        && a.relay_information == b.relay_information
        && super::indexed(a) == super::indexed(b)
}

/// Slots of the table by what their leases' clients are named by: half a hash, and the slot.
#[derive(Clone, Default)]
pub(super) struct Handles(BTreeSet<(u32, u32)>);

impl Handles {
    /// Those of all these leases.
    pub(super) fn of<'a>(leases: impl Iterator<Item = (u32, &'a LeaseRecord)>, hasher: &RandomState) -> Self {
        let of = |(slot, record)| handles(record).map(move |handle| (hashed(&handle, hasher), slot));
        Self(leases.flat_map(of).collect())
    }

    pub(super) fn insert(&mut self, slot: u32, record: &LeaseRecord, hasher: &RandomState) {
        self.0.extend(handles(record).map(|handle| (hashed(&handle, hasher), slot)));
    }

    pub(super) fn remove(&mut self, slot: u32, record: &LeaseRecord, hasher: &RandomState) {
        handles(record).for_each(|handle| {
            self.0.remove(&(hashed(&handle, hasher), slot));
        });
    }

    /// The slots with a handle, and perhaps some others.
    pub(super) fn slots<'a>(
        &'a self,
        handle: &Handle<'_>,
        hasher: &RandomState,
    ) -> impl Iterator<Item = u32> + use<'a> {
        let hash = hashed(handle, hasher);
        self.0.range((hash, 0)..=(hash, u32::MAX)).map(|(_, slot)| *slot)
    }
}

#[expect(clippy::cast_possible_truncation, reason = "half of it finds a few too many")]
fn hashed(handle: &Handle<'_>, hasher: &RandomState) -> u32 {
    hasher.hash_one(handle) as u32
}
