//! What will happen, and when: events by their moment, those of the same moment in the order they were put down.

use std::collections::BTreeMap;

/// What will happen.
#[derive(Debug)]
pub struct Agenda<E> {
    events: BTreeMap<(u64, u64), E>,
    put_down: u64,
}

impl<E> Default for Agenda<E> {
    fn default() -> Self {
        Self { events: BTreeMap::new(), put_down: 0 }
    }
}

impl<E> Agenda<E> {
    /// Something will happen at this moment.
    pub fn put(&mut self, at_ns: u64, event: E) {
        self.events.insert((at_ns, self.put_down), event);
        self.put_down += 1;
    }

    /// The next that happens up to and with this moment, and its own.
    pub fn next(&mut self, until_ns: u64) -> Option<(u64, E)> {
        let entry = self.events.first_entry().filter(|entry| entry.key().0 <= until_ns)?;
        let ((at_ns, _), event) = entry.remove_entry();
        Some((at_ns, event))
    }
}
