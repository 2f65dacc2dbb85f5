//! Where the change log ended at moments past: so what a peer has acknowledged tells for how long it has lacked something.
//! When it was last told anything does not: a peer that is hours behind and catches up slowly acknowledges all the time.

use crate::time::{Span, Timestamp};

/// The least time between two moments that are remembered.
const EVERY: Span = Span::from_secs(1);
/// What was so long ago is remembered to one part in so many.
const PARTS: u64 = 16;

/// Changes the log ended with, and since when, in order; the longer ago, the further apart.
#[derive(Debug, Default)]
pub struct Ends(Vec<(u64, Timestamp)>);

impl Ends {
    /// The log ends with this change now.
    pub fn note(&mut self, now: Timestamp, end: u64) {
        if self.0.last().is_some_and(|(last, at)| *last == end || now < *at + EVERY) {
            return;
        }
        self.0.push((end, now));
        let all = std::mem::take(&mut self.0);
        for (index, entry) in all.iter().enumerate() {
            let between = self.0.last().zip(all.get(index + 1));
            let close = between.is_some_and(|((_, before), (_, after))| {
                after.since(*before).0.saturating_mul(PARTS) <= now.since(entry.1).0
            });
            if !close {
                self.0.push(*entry);
            }
        }
    }

    /// Since when, at the least, there has been something that whoever has the log up to this change lacks, if it lacks any.
    pub fn lacking_since(&self, seq: u64) -> Timestamp {
        let first = self.0.partition_point(|(end, _)| *end <= seq);
        self.0.get(first).or(self.0.last()).map_or(Timestamp::ZERO, |(_, at)| *at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn how_long_something_is_lacking_is_told_never_too_long_and_hardly_too_short() {
        let at = |secs: u64| Timestamp::ZERO + Span::from_secs(secs);
        let mut ends = Ends::default();
        assert_eq!(ends.lacking_since(0), Timestamp::ZERO);
        // For a day ten changes a second, all of which are seen.
        for tenth in 1..=864_000 {
            ends.note(Timestamp::ZERO + Span::from_millis(tenth * 100), tenth);
        }
        assert!(ends.0.len() < 400, "{} moments", ends.0.len());
        for behind_secs in [2, 10, 70, 3_600, 40_000] {
            let since = ends.lacking_since(864_000 - behind_secs * 10);
            let told = at(86_400).since(since).as_secs();
            assert!(told <= behind_secs, "{behind_secs} s: told {told} s");
            assert!(told + 2 + behind_secs / 8 >= behind_secs, "{behind_secs} s: told {told} s");
        }
        // Then nothing for a day: who has it all but for what came just now lacks that since just now.
        ends.note(at(172_800), 864_001);
        assert_eq!(ends.lacking_since(864_000), at(172_800));
    }
}
