//! Which address a client without one gets: one that nobody ever had, else the one that has been free the longest, so
//! that an address rests as long as possible before it changes hands. Constant time, or nearly, in pools of millions:
//! a bit per address says whether it was ever touched, and the free ones are strung on a list through the lease table.

use std::{collections::BTreeSet, net::Ipv4Addr};

use rand::{Rng as _, RngCore};

use super::{
    record::{LeaseRecord, LeaseState},
    table::{LeaseTable, List, Listed},
};
use crate::time::Timestamp;

/// Smaller pools (fewer than 1,024 addresses) are filled from their first address on, as people expect.
const RANDOM_START_WORDS: usize = 16;

#[derive(Clone)]
struct Pool {
    first: u32,
    /// Number of addresses less one, so that any range of IPv4 addresses fits.
    span: u32,
    /// A bit per address: set once it has a lease, is offered or reserved, and for the bits beyond the pool's end.
    touched: Vec<u64>,
    untouched: u64,
    /// The word of `touched` where the search for an untouched address begins.
    cursor: usize,
    started: bool,
    free: List,
    quarantine: List,
}

/// The state of all pools of a configuration, by their index in address order.
#[derive(Clone)]
pub struct Allocator {
    pools: Vec<Pool>,
    reserved: BTreeSet<Ipv4Addr>,
}

impl Allocator {
    /// An allocator over `pools` (first and last address each, ascending and disjoint), in which `reserved` addresses
    /// are never picked. Takes over the table's lists.
    pub fn new(
        pools: impl IntoIterator<Item = (Ipv4Addr, Ipv4Addr)>,
        reserved: impl IntoIterator<Item = Ipv4Addr>,
        table: &mut LeaseTable,
    ) -> Self {
        let pools = pools.into_iter().map(|(first, last)| Pool::new(first, last)).collect();
        let mut allocator = Self { pools, reserved: reserved.into_iter().collect() };
        for address in &allocator.reserved {
            if let Some(pool) = pool_of(&mut allocator.pools, *address) {
                pool.touch(*address);
            }
        }
        table.unlist_all();
        let mut idle = Vec::new();
        for record in table.iter() {
            if let Some(pool) = pool_of(&mut allocator.pools, record.address) {
                pool.touch(record.address);
            }
            if record.state != LeaseState::Bound {
                idle.push((record.expires, record.address, record.state));
            }
        }
        allocator.list_idle(idle, table);
        allocator
    }

    fn list_idle(&mut self, mut idle: Vec<(Timestamp, Ipv4Addr, LeaseState)>, table: &mut LeaseTable) {
        idle.sort_unstable_by_key(|&(since, address, _)| (since, address));
        for (_, address, state) in idle {
            match state {
                LeaseState::Quarantined => self.list(address, Listed::Quarantine, table),
                LeaseState::Free | LeaseState::Bound => self.freed(address, table),
            }
        }
    }

    /// Begins a pool anew: what has become of its addresses was not ours to know. Free addresses that `rest` says are to
    /// rest still are not picked until they are [`freed`](Self::freed).
    pub fn begin_anew(&mut self, pool: usize, table: &mut LeaseTable, rest: impl Fn(&LeaseRecord) -> bool) {
        let Some(known) = self.pools.get_mut(pool) else { return };
        let (first, last) = (Ipv4Addr::from_bits(known.first), Ipv4Addr::from_bits(known.first + known.span));
        *known = Pool::new(first, last);
        table.unlist_between(first, last);
        for address in self.reserved.range(first..=last) {
            known.touch(*address);
        }
        let mut idle = Vec::new();
        for record in table.between(first, last) {
            known.touch(record.address);
            if record.state != LeaseState::Bound && !rest(record) {
                idle.push((record.expires, record.address, record.state));
            }
        }
        self.list_idle(idle, table);
    }

    /// Keeps an address from being picked: it is reserved from here on. Whoever has it keeps it.
    pub fn reserve(&mut self, address: Ipv4Addr, table: &mut LeaseTable) {
        self.reserved.insert(address);
        let Some(pool) = pool_of(&mut self.pools, address) else { return };
        pool.touch(address);
        if table.listed(address) == Listed::Free {
            table.unlink(&mut pool.free, address);
        }
    }

    /// Undoes [`reserve`](Self::reserve); an address that nobody has is picked once it [`lapse`](Self::lapse)s or is
    /// [`freed`](Self::freed).
    pub fn unreserve(&mut self, address: Ipv4Addr) {
        self.reserved.remove(&address);
    }

    /// The address to give to a new client of a pool; it stays pickable until [`hold`](Self::hold). `None` if the pool
    /// is exhausted. Untouched addresses are taken in order, in a large pool from a random start: a server that lost its
    /// store then rarely begins with the addresses its clients still use.
    pub fn pick(&mut self, pool: usize, table: &LeaseTable, rng: &mut dyn RngCore) -> Option<Ipv4Addr> {
        let pool = self.pools.get_mut(pool)?;
        pool.pick_untouched(rng).or_else(|| table.head(&pool.free))
    }

    /// The addresses that [`pick`](Self::pick) would give one after the other, `count` of them at most.
    pub fn next(
        &mut self,
        pool: usize,
        count: usize,
        table: &LeaseTable,
        rng: &mut dyn RngCore,
    ) -> Vec<Ipv4Addr> {
        let Some(pool) = self.pools.get_mut(pool) else { return Vec::new() };
        let mut next = pool.next_untouched(count, rng);
        next.extend(table.first_of(&pool.free, count - next.len()));
        next
    }

    /// Takes an address out of what can be picked: it is offered or bound.
    pub fn hold(&mut self, address: Ipv4Addr, table: &mut LeaseTable) {
        if let Some(pool) = pool_of(&mut self.pools, address) {
            pool.touch(address);
            match table.listed(address) {
                Listed::No => {}
                Listed::Free => table.unlink(&mut pool.free, address),
                Listed::Quarantine => table.unlink(&mut pool.quarantine, address),
            }
        }
    }

    /// Undoes [`hold`](Self::hold) for an address that was offered and not taken: it keeps its turn.
    pub fn lapse(&mut self, address: Ipv4Addr, table: &mut LeaseTable) {
        if self.reserved.contains(&address) {
            return;
        }
        let Some(pool) = pool_of(&mut self.pools, address) else { return };
        match table.get(address).map(|record| record.state) {
            None => pool.untouch(address),
            Some(LeaseState::Free) => table.push_front(&mut pool.free, address, Listed::Free),
            Some(LeaseState::Bound | LeaseState::Quarantined) => {}
        }
    }

    /// Lets an address be picked again, after all others that are free now. Its record is free already.
    pub fn freed(&mut self, address: Ipv4Addr, table: &mut LeaseTable) {
        self.hold(address, table);
        if !self.reserved.contains(&address) {
            self.list(address, Listed::Free, table);
        }
    }

    /// Counts an address as quarantined. A quarter of a pool at most is, or one of two or three, so that no client can
    /// empty it by declining everything: beyond that, returns the address that must be freed at once, the oldest.
    #[must_use]
    pub fn quarantined(&mut self, address: Ipv4Addr, table: &mut LeaseTable) -> Option<Ipv4Addr> {
        self.hold(address, table);
        self.list(address, Listed::Quarantine, table);
        let pool = pool_of(&mut self.pools, address)?;
        (pool.quarantine.len > pool.quarantine_max()).then(|| table.head(&pool.quarantine)).flatten()
    }

    /// Whether an address is among those that are picked when no untouched one is left.
    pub fn is_listed(&self, address: Ipv4Addr, table: &LeaseTable) -> bool {
        table.listed(address) != Listed::No
    }

    /// How many addresses of a pool could be picked.
    pub fn free(&self, pool: usize) -> u64 {
        self.pools.get(pool).map_or(0, |pool| pool.untouched + u64::from(pool.free.len))
    }

    fn list(&mut self, address: Ipv4Addr, listed: Listed, table: &mut LeaseTable) {
        let Some(pool) = pool_of(&mut self.pools, address) else { return };
        let list = if listed == Listed::Quarantine { &mut pool.quarantine } else { &mut pool.free };
        table.push_back(list, address, listed);
    }
}

fn pool_of(pools: &mut [Pool], address: Ipv4Addr) -> Option<&mut Pool> {
    let after = pools.partition_point(|pool| pool.first <= address.to_bits());
    let pool = pools.get_mut(after.checked_sub(1)?)?;
    (address.to_bits() - pool.first <= pool.span).then_some(pool)
}

impl Pool {
    fn new(first: Ipv4Addr, last: Ipv4Addr) -> Self {
        let first = first.to_bits();
        let span = last.to_bits().saturating_sub(first);
        let untouched = u64::from(span) + 1;
        let words = usize::try_from(untouched.div_ceil(64)).unwrap_or(0);
        let mut touched = vec![0; words];
        let beyond = untouched % 64;
        if let (Some(word), true) = (touched.last_mut(), beyond != 0) {
            *word = u64::MAX << beyond;
        }
        let (free, quarantine) = (List::EMPTY, List::EMPTY);
        Self { first, span, touched, untouched, cursor: 0, started: false, free, quarantine }
    }

    fn quarantine_max(&self) -> u32 {
        (self.span / 4 + u32::from(self.span % 4 == 3)).max(u32::from(self.span > 0))
    }

    fn bit(&mut self, address: Ipv4Addr) -> Option<(&mut u64, u64)> {
        let index = address.to_bits().checked_sub(self.first)?;
        let word = self.touched.get_mut(usize::try_from(index / 64).ok()?)?;
        Some((word, 1 << (index % 64)))
    }

    fn touch(&mut self, address: Ipv4Addr) {
        if let Some((word, mask)) = self.bit(address)
            && *word & mask == 0
        {
            *word |= mask;
            self.untouched = self.untouched.saturating_sub(1);
        }
    }

    fn untouch(&mut self, address: Ipv4Addr) {
        if let Some((word, mask)) = self.bit(address)
            && *word & mask != 0
        {
            *word &= !mask;
            self.untouched += 1;
        }
    }

    fn start(&mut self, rng: &mut dyn RngCore) {
        if !self.started {
            self.started = true;
            if self.touched.len() >= RANDOM_START_WORDS {
                self.cursor = rng.random_range(0..self.touched.len());
            }
        }
    }

    /// Untouched addresses in the order they are picked in.
    fn next_untouched(&mut self, count: usize, rng: &mut dyn RngCore) -> Vec<Ipv4Addr> {
        let mut next = Vec::new();
        if self.untouched == 0 {
            return next;
        }
        self.start(rng);
        let words = self.touched.len();
        for at in (self.cursor..words).chain(0..self.cursor.min(words)) {
            let mut free = !self.touched.get(at).copied().unwrap_or(u64::MAX);
            while free != 0 && next.len() < count {
                let index = u32::try_from(at).unwrap_or(u32::MAX).saturating_mul(64) + free.trailing_zeros();
                next.push(Ipv4Addr::from_bits(self.first.saturating_add(index)));
                free &= free - 1;
            }
            if next.len() >= count {
                break;
            }
        }
        next
    }

    fn pick_untouched(&mut self, rng: &mut dyn RngCore) -> Option<Ipv4Addr> {
        if self.untouched == 0 {
            return None;
        }
        self.start(rng);
        let words = self.touched.len();
        let found = (self.cursor..words).chain(0..self.cursor.min(words)).find_map(|at| {
            let word = *self.touched.get(at)?;
            (word != u64::MAX).then_some((at, word.trailing_ones()))
        });
        let (at, bit) = found?;
        self.cursor = at;
        let index = u32::try_from(at).ok()?.checked_mul(64)?.checked_add(bit)?;
        Some(Ipv4Addr::from_bits(self.first.checked_add(index)?))
    }
}

#[cfg(test)]
#[path = "allocate_tests.rs"]
mod tests;
