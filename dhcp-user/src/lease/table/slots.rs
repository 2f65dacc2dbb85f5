//! Slots of the table by a hash. In shards that grow one by one: a hash table of half a million entries that grows hashes
//! them all anew, which takes a tenth of a second, and everybody whose message has come would wait for that.

use hashbrown::HashTable;

/// So many that growing one of a table of ten millions takes a few milliseconds, of a table of one some tenths. They
/// do not grow at the same time, for hashes do not fill them evenly.
const SHARDS: usize = 256;

/// Slots, each under a hash that is its caller's to know.
#[derive(Clone)]
pub(super) struct Slots(Vec<HashTable<u32>>);

impl Default for Slots {
    fn default() -> Self {
        Self((0..SHARDS).map(|_| HashTable::new()).collect())
    }
}

/// A table finds its entries by the lowest and the highest bits of a hash.
const fn shard_of(hash: u64) -> usize {
    (hash >> 40) as usize % SHARDS
}

impl Slots {
    /// Makes room for so many more, spread as hashes are.
    pub(super) fn reserve(&mut self, slots: usize, hash_of: impl Fn(&u32) -> u64) {
        let each = slots.div_ceil(SHARDS);
        self.0.iter_mut().for_each(|shard| shard.reserve(each, &hash_of));
    }

    /// The slot under this hash that is the one.
    pub(super) fn find(&self, hash: u64, is_it: impl FnMut(&u32) -> bool) -> Option<u32> {
        self.0.get(shard_of(hash))?.find(hash, is_it).copied()
    }

    /// The slots under this hash, and perhaps some others.
    pub(super) fn under(&self, hash: u64) -> impl Iterator<Item = u32> {
        self.0.get(shard_of(hash)).into_iter().flat_map(move |shard| shard.iter_hash(hash)).copied()
    }

    /// Puts a slot under a hash; `hash_of` says what those are that are there already.
    pub(super) fn insert(&mut self, hash: u64, slot: u32, hash_of: impl Fn(&u32) -> u64) {
        if let Some(shard) = self.0.get_mut(shard_of(hash)) {
            shard.insert_unique(hash, slot, hash_of);
        }
    }

    /// Takes a slot away that is under this hash.
    pub(super) fn remove(&mut self, hash: u64, slot: u32) {
        let shard = self.0.get_mut(shard_of(hash));
        if let Some(Ok(found)) = shard.map(|shard| shard.find_entry(hash, |&other| other == slot)) {
            found.remove();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    /// Spreads numbers as a hash does.
    const fn hash_of(slot: &u32) -> u64 {
        (*slot as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15)
    }

    #[test]
    fn slots_are_found_under_their_hashes_and_removed_alone() {
        let mut slots = Slots::default();
        slots.reserve(500, hash_of);
        (0..20_000).for_each(|slot| slots.insert(hash_of(&slot), slot, hash_of));
        // Two under one hash.
        slots.insert(hash_of(&7), 30_000, |slot| if *slot == 30_000 { hash_of(&7) } else { hash_of(slot) });
        let under: BTreeSet<u32> = slots.under(hash_of(&7)).collect();
        assert!(under.contains(&7) && under.contains(&30_000));
        slots.remove(hash_of(&7), 7);
        assert_eq!(slots.find(hash_of(&7), |slot| *slot == 7), None);
        assert_eq!(slots.find(hash_of(&7), |slot| *slot == 30_000), Some(30_000));
        assert!((8..20_000).all(|slot| slots.find(hash_of(&slot), |other| *other == slot) == Some(slot)));
    }
}
