//! Lists of addresses through the table's entries, for the allocator: an address leaves one in constant time.

use std::net::Ipv4Addr;

use super::{LeaseTable, List, Listed, NONE};

impl LeaseTable {
    /// Takes every entry out of every list; the lists' owner must forget them.
    pub(in crate::lease) fn unlist_all(&mut self) {
        for entry in self.chunks.iter_mut().flatten() {
            (entry.previous, entry.next, entry.listed) = (NONE, NONE, Listed::No);
        }
    }

    /// Takes the entries of a range out of every list; the lists' owner must forget them.
    pub(in crate::lease) fn unlist_between(&mut self, first: Ipv4Addr, last: Ipv4Addr) {
        let addresses: Vec<Ipv4Addr> = self.between(first, last).map(|record| record.address).collect();
        for address in addresses {
            if let Some(entry) = self.slot(address).and_then(|slot| self.entry_mut(slot)) {
                (entry.previous, entry.next, entry.listed) = (NONE, NONE, Listed::No);
            }
        }
    }

    pub(in crate::lease) fn listed(&self, address: Ipv4Addr) -> Listed {
        self.slot(address).and_then(|slot| self.entry(slot)).map_or(Listed::No, |entry| entry.listed)
    }

    pub(in crate::lease) fn head(&self, list: &List) -> Option<Ipv4Addr> {
        Some(self.entry(list.head)?.record.address)
    }

    /// The first addresses of a list, `count` of them at most.
    pub(in crate::lease) fn first_of(
        &self,
        list: &List,
        count: usize,
    ) -> impl Iterator<Item = Ipv4Addr> + '_ {
        let mut slot = list.head;
        let next = std::iter::from_fn(move || {
            let entry = self.entry(slot)?;
            slot = entry.next;
            Some(entry.record.address)
        });
        next.take(count)
    }

    /// Appends an address that is in no list; nothing if it has no lease.
    pub(in crate::lease) fn push_back(&mut self, list: &mut List, address: Ipv4Addr, listed: Listed) {
        let tail = list.tail;
        self.link(list, address, tail, NONE, listed);
    }

    /// Prepends an address that is in no list; nothing if it has no lease.
    pub(in crate::lease) fn push_front(&mut self, list: &mut List, address: Ipv4Addr, listed: Listed) {
        let head = list.head;
        self.link(list, address, NONE, head, listed);
    }

    fn link(&mut self, list: &mut List, address: Ipv4Addr, previous: u32, next: u32, listed: Listed) {
        let Some(slot) = self.slot(address) else { return };
        let Some(entry) = self.entry_mut(slot) else { return };
        if entry.listed != Listed::No {
            return;
        }
        (entry.previous, entry.next, entry.listed) = (previous, next, listed);
        match self.entry_mut(previous) {
            Some(before) => before.next = slot,
            None => list.head = slot,
        }
        match self.entry_mut(next) {
            Some(after) => after.previous = slot,
            None => list.tail = slot,
        }
        list.len += 1;
    }

    /// Takes an address out of the list it is in, which must be `list`.
    pub(in crate::lease) fn unlink(&mut self, list: &mut List, address: Ipv4Addr) {
        let Some(slot) = self.slot(address) else { return };
        let Some(entry) = self.entry_mut(slot) else { return };
        if entry.listed == Listed::No {
            return;
        }
        let (previous, next) = (entry.previous, entry.next);
        (entry.previous, entry.next, entry.listed) = (NONE, NONE, Listed::No);
        match self.entry_mut(previous) {
            Some(before) => before.next = next,
            None => list.head = next,
        }
        match self.entry_mut(next) {
            Some(after) => after.previous = previous,
            None => list.tail = previous,
        }
        list.len = list.len.saturating_sub(1);
    }
}
