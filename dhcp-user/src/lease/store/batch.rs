//! What one commit carries, so that leases, answers and bookkeeping become durable together or not at all.

use std::net::Ipv4Addr;

use crate::lease::record::LeaseRecord;

/// The longest answer kept, in octets.
pub const ANSWER_BYTES_MAX: usize = 2048;
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
}

impl Batch {
    /// Whether the batch changes nothing.
    pub fn is_empty(&self) -> bool {
        self.leases.is_empty()
            && self.forgotten.is_empty()
            && self.answers.is_empty()
            && self.dropped_answers.is_empty()
            && self.meta.is_empty()
    }
}

/// A pre-rendered answer, opaque to the store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredAnswer {
    /// The number leases refer to it by.
    pub id: u32,
    /// Its octets, at most [`ANSWER_BYTES_MAX`].
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
}

impl MetaKey {
    /// Every key.
    pub const ALL: [Self; 6] = [
        Self::FingerprintKey,
        Self::ConfigDigest,
        Self::TimelineAnchor,
        Self::Generation,
        Self::NextAnswer,
        Self::MarksKnownSince,
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
