//! The reservations that the nodes of a cluster have made beside their configuration files: one set, changed by entries of
//! the log, each decided on the set as it was: what was overtaken has no effect, so that no two changes contradict each other.
//!
//! What an entry says is judged by the node that proposes it. Here only what every node sees alike counts: the set's number
//! and its size. It is all in one snapshot, and a snapshot is one message.

use std::{collections::BTreeMap, net::Ipv4Addr, sync::Arc};

use serde::{Deserialize, Serialize};

use super::cluster::Outcome;
use crate::{
    config::made::{MADE_MAX, MADE_OCTETS_MAX},
    site::delegation::Void,
};

/// Reservations that one entry concerns, and octets of it, at most: many entries go in one message.
const EDITS_MAX: usize = 256;
const EDITS_OCTETS_MAX: usize = 32 << 10;
/// Octets of all reservations together, at most: those of one in a few lines, as many times as there may be reservations.
pub const OCTETS_MAX: usize = 3 << 20;
/// What a reservation takes beside its text: address and length.
const OVERHEAD: usize = 8;

/// Changes to the set, decided when it had this number.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Edits {
    /// The number of the set that was seen.
    pub seen: u64,
    /// What each address's reservation is to say, as JSON; `None`: there is to be none.
    pub texts: Vec<(Ipv4Addr, Option<Arc<str>>)>,
}

impl Edits {
    /// As many of these as one entry takes.
    pub fn as_many_as_fit(seen: u64, texts: impl Iterator<Item = (Ipv4Addr, Option<Arc<str>>)>) -> Self {
        let mut octets = 0;
        let room = |(_, text): &(Ipv4Addr, Option<Arc<str>>)| {
            octets += octets_of(text.as_ref());
            octets <= EDITS_OCTETS_MAX
        };
        Self { seen, texts: texts.take(EDITS_MAX).take_while(room).collect() }
    }

    /// Whether one entry takes them.
    pub fn fit(&self) -> bool {
        let octets: usize = self.texts.iter().map(|(_, text)| octets_of(text.as_ref())).sum();
        let mut texts = self.texts.iter().filter_map(|(_, text)| text.as_ref());
        self.texts.len() <= EDITS_MAX
            && octets <= EDITS_OCTETS_MAX
            && texts.all(|text| text.len() <= MADE_OCTETS_MAX)
    }
}

fn octets_of(text: Option<&Arc<str>>) -> usize {
    text.map_or(0, |text| text.len()) + OVERHEAD
}

/// The set.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reservations {
    serial: u64,
    texts: Arc<BTreeMap<Ipv4Addr, Arc<str>>>,
}

/// The set, and whose it is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AgreedReservations {
    /// The cluster's name; `None` before it began.
    pub cluster: Option<[u8; 16]>,
    /// The set, as far as it is applied here.
    pub set: Reservations,
}

impl Reservations {
    /// Its number: how often it was changed.
    pub const fn serial(&self) -> u64 {
        self.serial
    }

    /// What is said of each address, as JSON.
    pub fn texts(&self) -> &BTreeMap<Ipv4Addr, Arc<str>> {
        &self.texts
    }

    /// Applies an entry, all of it or nothing.
    pub fn apply(&mut self, edits: &Edits) -> Outcome {
        if edits.seen != self.serial {
            return Outcome::Void(Void::Overtaken);
        }
        if !edits.fit() {
            return Outcome::TooMuch;
        }
        let mut texts = (*self.texts).clone();
        for (address, text) in &edits.texts {
            match text {
                Some(text) => texts.insert(*address, Arc::clone(text)),
                None => texts.remove(address),
            };
        }
        let octets: usize = texts.values().map(|text| octets_of(Some(text))).sum();
        if texts.len() > MADE_MAX || octets > OCTETS_MAX {
            return Outcome::TooMuch;
        }
        (self.serial, self.texts) = (self.serial + 1, Arc::new(texts));
        Outcome::Reserved(self.serial)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::site::link::wire::Lane;

    fn edits(seen: u64, texts: impl IntoIterator<Item = (u32, Option<String>)>) -> Edits {
        let texts = texts.into_iter().map(|(n, text)| (Ipv4Addr::from_bits(n), text.map(Arc::from)));
        Edits { seen, texts: texts.collect() }
    }

    fn one(seen: u64, n: u32, text: &str) -> Edits {
        edits(seen, [(n, Some(text.to_owned()))])
    }

    #[test]
    fn of_two_decided_on_the_same_set_one_counts() {
        let mut set = Reservations::default();
        assert_eq!(set.apply(&one(0, 1, "a")), Outcome::Reserved(1));
        // Of another address too: whether both fit together nobody has judged.
        assert_eq!(set.apply(&one(0, 1, "b")), Outcome::Void(Void::Overtaken));
        assert_eq!(set.apply(&one(0, 2, "a")), Outcome::Void(Void::Overtaken));
        // The same said twice is done once.
        assert_eq!(set.apply(&one(0, 1, "a")), Outcome::Void(Void::Overtaken));
        assert_eq!(set.apply(&one(1, 1, "c")), Outcome::Reserved(2));
        assert_eq!(set.apply(&edits(2, [(1, None), (3, Some("d".to_owned()))])), Outcome::Reserved(3));
        let texts: Vec<_> = set.texts().iter().map(|(address, text)| (address.to_bits(), &**text)).collect();
        assert_eq!((texts, set.serial()), (vec![(3, "d")], 3));
    }

    #[test]
    fn it_has_bounds_and_fits_into_one_message() {
        let mut set = Reservations::default();
        let text = Arc::<str>::from("x".repeat(100));
        while set.texts().len() < MADE_MAX {
            let rest = (set.texts().len() as u32..MADE_MAX as u32)
                .map(|n| (Ipv4Addr::from_bits(n), Some(text.clone())));
            let some = Edits::as_many_as_fit(set.serial(), rest);
            assert!(matches!(set.apply(&some), Outcome::Reserved(_)), "{some:?}");
        }
        let full = set.clone();
        let refused = [
            one(set.serial(), MADE_MAX as u32, "x"),
            one(set.serial(), 0, &"x".repeat(MADE_OCTETS_MAX + 1)),
            edits(set.serial(), (0..=EDITS_MAX).map(|n| (n as u32, None))),
            edits(set.serial(), (0..=8).map(|n| (n, Some("x".repeat(MADE_OCTETS_MAX))))),
        ];
        for edits in refused {
            assert_eq!(set.apply(&edits), Outcome::TooMuch);
        }
        assert_eq!(set, full, "all or nothing");
        // Longer ones: as many octets as there may be, and no more.
        let long = "x".repeat(MADE_OCTETS_MAX);
        let more = (0u32..).map(|n| set.apply(&one(set.serial(), n, &long)));
        let fitted = more.take_while(|outcome| *outcome != Outcome::TooMuch).count();
        assert!(fitted > 0 && fitted < MADE_MAX, "{fitted}");
        let octets = postcard::to_stdvec(&set).unwrap();
        // Beside it there are the delegations of 65,536 blocks, ten octets each at most.
        assert!(octets.len() <= OCTETS_MAX && OCTETS_MAX + 700_000 < Lane::Control.message_max());
        assert_eq!(postcard::from_bytes::<Reservations>(&octets).unwrap(), set);
        // Removing makes room.
        assert!(matches!(set.apply(&edits(set.serial(), [(0, None)])), Outcome::Reserved(_)));
    }
}
