//! How far the kernel's marks are read. A map of ten million entries takes a tenth of a second to read, and a message that has
//! come is not to wait for that: it is read in parts, with messages between them.

use std::ops::Range;

use crate::time::Span;

/// Entries read at once: two MiB, some tenths of a millisecond.
const PART: u32 = 32_768;
/// A program takes the time before it leaves its mark: a mark may be this much older than a reading that missed it.
pub const MARK_DELAY: Span = Span::from_millis(100);

/// Passes over the map, one after the other.
///
/// Each entry is read once in a pass, some time after the pass began. Whatever is not seen then was marked at that beginning
/// or later (or [`MARK_DELAY`] earlier), and the next pass looks for marks that are as young. That holds in other maps too
/// that come in the place of the ones begun with, for marks made by then are taken up from those to the last.
#[derive(Clone, Debug)]
pub struct Sweep {
    /// Entries to a part.
    part: u32,
    /// The entry to go on at; none between passes.
    next: Option<u32>,
    /// When this pass began, boot clock.
    began_boot_ns: u64,
    /// When the one before began: marks since then are news.
    since_boot_ns: u64,
}

/// What to read next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Part {
    /// The entries.
    pub entries: Range<u32>,
    /// Marks since then are news.
    pub since_boot_ns: u64,
}

impl Default for Sweep {
    fn default() -> Self {
        Self::in_parts_of(PART)
    }
}

impl Sweep {
    /// Reads so many entries at once.
    pub const fn in_parts_of(entries: u32) -> Self {
        Self { part: entries, next: None, began_boot_ns: 0, since_boot_ns: 0 }
    }

    /// Begins a pass, unless one is under way.
    pub fn begin(&mut self, boot_ns: u64) {
        if self.next.is_none() {
            self.next = Some(0);
            self.since_boot_ns = self.began_boot_ns.saturating_sub(MARK_DELAY.0);
            self.began_boot_ns = boot_ns;
        }
    }

    /// Whether a pass is under way.
    pub const fn is_under_way(&self) -> bool {
        self.next.is_some()
    }

    /// What of a map with `len` entries is to be read now; none when no pass is under way.
    pub fn next(&mut self, len: u32) -> Option<Part> {
        let first = self.next?.min(len);
        let end = first.saturating_add(self.part).min(len);
        self.next = (end < len).then_some(end);
        Some(Part { entries: first..end, since_boot_ns: self.since_boot_ns })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pass(sweep: &mut Sweep, boot_ns: u64, len: u32) -> (Vec<Range<u32>>, u64) {
        sweep.begin(boot_ns);
        let parts: Vec<Part> = std::iter::from_fn(|| sweep.next(len)).collect();
        let since_boot_ns = parts[0].since_boot_ns;
        assert!(parts.iter().all(|part| part.since_boot_ns == since_boot_ns));
        (parts.into_iter().map(|part| part.entries).collect(), since_boot_ns)
    }

    #[test]
    fn a_pass_reads_each_entry_once_and_looks_for_what_the_one_before_may_have_missed() {
        let mut sweep = Sweep::in_parts_of(4);
        assert_eq!(sweep.next(10), None);
        assert_eq!(pass(&mut sweep, 1_000_000_000, 10), (vec![0..4, 4..8, 8..10], 0));
        assert!(!sweep.is_under_way());
        assert_eq!(pass(&mut sweep, 1_500_000_000, 8), (vec![0..4, 4..8], 900_000_000));
        assert_eq!(pass(&mut sweep, 2_000_000_000, 0), (std::iter::once(0..0).collect(), 1_400_000_000));
    }

    #[test]
    fn a_pass_goes_on_over_another_map() {
        let mut sweep = Sweep::in_parts_of(4);
        sweep.begin(5);
        assert_eq!(sweep.next(10).map(|part| part.entries), Some(0..4));
        sweep.begin(6);
        assert_eq!(sweep.next(2).map(|part| part.entries), Some(2..2));
        assert_eq!(pass(&mut sweep, 200_000_000, 2).1, 0, "the second beginning began nothing");
    }
}
