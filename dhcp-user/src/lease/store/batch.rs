//! What one commit carries, so that leases, answers and bookkeeping become durable together or not at all.

use std::net::Ipv4Addr;

use super::frame::{ALIGN, ENTRY_HEADER_BYTES};
use crate::lease::record::{ClientKey, LeaseRecord};

/// The longest answer kept, in octets.
pub const ANSWER_BYTES_MAX: usize = 2048;
/// The longest reservation kept, in octets.
pub const RESERVATION_BYTES_MAX: usize = 4096;
/// The longest value under a [`MetaKey`], in octets.
pub const META_BYTES_MAX: usize = 4096;

/// Changes that become durable together. Applied in the order of the fields; where a batch names one key twice the
/// last one holds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Batch {
    /// Leases to write, each replacing what was known of its address.
    pub leases: Vec<LeaseRecord>,
    /// Addresses of which nothing is to be remembered.
    pub forgotten: Vec<Ipv4Addr>,
    /// Answers to keep.
    pub answers: Vec<StoredAnswer>,
    /// Ids of answers no lease uses any more.
    pub dropped_answers: Vec<u32>,
    /// Bookkeeping values, each replacing the one before.
    pub meta: Vec<(MetaKey, Vec<u8>)>,
    /// Reservations made while the daemon runs, each replacing what was kept of its address.
    pub reservations: Vec<StoredReservation>,
    /// Addresses of reservations that are gone.
    pub dropped_reservations: Vec<Ipv4Addr>,
}

impl Batch {
    /// Whether the batch changes nothing.
    pub fn is_empty(&self) -> bool {
        self.leases.is_empty()
            && self.forgotten.is_empty()
            && self.answers.is_empty()
            && self.dropped_answers.is_empty()
            && self.meta.is_empty()
            && self.reservations.is_empty()
            && self.dropped_reservations.is_empty()
    }

    /// The batch in parts of at most `bytes_max` octets each, to be made durable in their order: bookkeeping first, for
    /// what it disowns (answers of another generation) may stay without harm; then answers, before the leases that
    /// name them; answers are dropped after the leases that named them. How far this node is in its peers' logs, and which
    /// set of reservations it has, come last of all: they say that what is before them is here.
    pub fn parts(&self, bytes_max: usize) -> Vec<Self> {
        let mut parts = Parts { done: Vec::new(), part: Self::default(), bytes: 0, bytes_max };
        let says_all = |key: MetaKey| matches!(key, MetaKey::SiteCursors | MetaKey::SiteReservations);
        let (last, first): (Vec<_>, Vec<_>) = self.meta.iter().partition(|(key, _)| says_all(*key));
        for (key, value) in first {
            parts.room(value.len()).meta.push((*key, value.clone()));
        }
        for reservation in &self.reservations {
            parts.room(reservation.bytes.len()).reservations.push(reservation.clone());
        }
        for address in &self.dropped_reservations {
            parts.room(0).dropped_reservations.push(*address);
        }
        for answer in &self.answers {
            parts.room(answer.bytes.len()).answers.push(answer.clone());
        }
        // Applied field by field: what comes after all leases must not stand in a part with those before it.
        for lease in &self.leases {
            parts.room(lease_bytes_max(lease)).leases.push(lease.clone());
        }
        for address in &self.forgotten {
            parts.room(0).forgotten.push(*address);
        }
        for id in &self.dropped_answers {
            parts.room(0).dropped_answers.push(*id);
        }
        for (key, value) in last {
            parts.room(value.len()).meta.push((*key, value.clone()));
        }
        parts.done.push(parts.part);
        parts.done
    }
}

/// Parts of a batch being filled.
struct Parts {
    done: Vec<Batch>,
    part: Batch,
    bytes: usize,
    bytes_max: usize,
}

impl Parts {
    /// The part that has room for one more entry with so many octets.
    fn room(&mut self, body_bytes: usize) -> &mut Batch {
        let bytes = (ENTRY_HEADER_BYTES + body_bytes).next_multiple_of(ALIGN);
        if self.bytes + bytes > self.bytes_max && self.bytes > 0 {
            self.done.push(std::mem::take(&mut self.part));
            self.bytes = 0;
        }
        self.bytes += bytes;
        &mut self.part
    }
}

/// Octets a lease takes at most: its fields of any length, and what the codec puts around them.
fn lease_bytes_max(lease: &LeaseRecord) -> usize {
    const FIXED_BYTES_MAX: usize = 128;
    let client = match &lease.client {
        ClientKey::Id(id) => id.len(),
        ClientKey::Hardware(_) => 0,
    };
    FIXED_BYTES_MAX + client + lease.hostname.len() + lease.relay_information.len()
}

/// A pre-rendered answer, opaque to the store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredAnswer {
    /// The number leases refer to it by.
    pub id: u32,
    /// Its octets, at most [`ANSWER_BYTES_MAX`].
    pub bytes: Vec<u8>,
}

/// A reservation made while the daemon runs, opaque to the store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredReservation {
    /// The address.
    pub address: Ipv4Addr,
    /// Its octets, at most [`RESERVATION_BYTES_MAX`].
    pub bytes: Vec<u8>,
}

/// The bookkeeping values the store keeps beside the leases. The numbers are on disk: never reuse one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u32)]
pub enum MetaKey {
    /// The key of the request fingerprints in [`KnownForm`](crate::lease::record::KnownForm).
    FingerprintKey = 1,
    /// The digest of the configuration the stored answers were rendered from.
    ConfigDigest = 2,
    /// The anchor of the timeline, see [`crate::timeline`].
    TimelineAnchor = 3,
    /// The generation number of the kernel's entries.
    Generation = 4,
    /// The next free answer id.
    NextAnswer = 5,
    /// Since when every renewal the kernel granted is known (a [`crate::time::Timestamp`]): the kernel's marks of
    /// earlier ones went with a reboot or an unloaded program.
    MarksKnownSince = 6,
    /// How far this node is in the change logs of its peers, see [`crate::site::node`].
    SiteCursors = 7,
    /// The cluster whose member this store has been without a gap, see [`crate::site::node`].
    SiteMember = 8,
    /// Which cluster's reservations are kept, and as of when, see [`crate::server::reload::agreed`].
    SiteReservations = 9,
}

impl MetaKey {
    /// Every key.
    pub const ALL: [Self; 9] = [
        Self::FingerprintKey,
        Self::ConfigDigest,
        Self::TimelineAnchor,
        Self::Generation,
        Self::NextAnswer,
        Self::MarksKnownSince,
        Self::SiteCursors,
        Self::SiteMember,
        Self::SiteReservations,
    ];

    /// The key's number on disk.
    pub const fn number(self) -> u32 {
        self as u32
    }

    /// The key of a number, if this version knows it.
    pub fn from_number(number: u32) -> Option<Self> {
        Self::ALL.into_iter().find(|key| key.number() == number)
    }
}
