//! What another node's clock shows, measured by asking (docs/sites.md, rule 7): a moment it names is taken for the
//! earliest it can be here, so that a standby never serves beyond the holder's horizon.

use std::collections::VecDeque;

use crate::time::{Span, Timestamp};

/// Answers looked at: the quickest of the last ones tells the most.
const SAMPLES: usize = 8;
/// A link this slow carries no leases: half of it, rounding and drift must stay below `engine::CLOCK_ERROR`.
pub const ROUND_TRIP_MAX: Span = Span::from_secs(2);

/// One question and its answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Sample {
    asked: Timestamp,
    theirs: Timestamp,
    round_trip: Span,
}

/// What is known of another node's clock.
#[derive(Clone, Debug, Default)]
pub struct RoundTrip {
    samples: VecDeque<Sample>,
}

/// How to convert another node's moments.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Offset {
    /// Their clock when we asked at the earliest, less ours: nanoseconds.
    pub nanos: i64,
    /// How long the answer took.
    pub round_trip: Span,
}

impl Offset {
    /// A moment of theirs, here; the earliest it can be.
    pub const fn here(self, theirs: Timestamp) -> Timestamp {
        let at = theirs.0 as i128 - self.nanos as i128;
        Timestamp(if at < 0 {
            0
        } else if at > u64::MAX as i128 {
            u64::MAX
        } else {
            at as u64
        })
    }
}

impl RoundTrip {
    /// Takes note of an answer: we asked at `asked`, they showed `theirs`, and now it is `heard`.
    pub fn note(&mut self, asked: Timestamp, theirs: Timestamp, heard: Timestamp) {
        if self.samples.len() == SAMPLES {
            self.samples.pop_front();
        }
        self.samples.push_back(Sample { asked, theirs, round_trip: heard.since(asked) });
    }

    /// How to convert, by the quickest of the last answers; `None` before the first.
    pub fn offset(&self) -> Option<Offset> {
        let best = self.samples.iter().min_by_key(|sample| sample.round_trip)?;
        let nanos = i128::from(best.theirs.0) - i128::from(best.asked.0);
        let nanos = i64::try_from(nanos).unwrap_or(if nanos < 0 { i64::MIN } else { i64::MAX });
        Some(Offset { nanos, round_trip: best.round_trip })
    }

    /// The round trip as a link's latency is told: the median of the last ones.
    pub fn median(&self) -> Option<Span> {
        let mut all: Vec<Span> = self.samples.iter().map(|sample| sample.round_trip).collect();
        all.sort_unstable();
        all.get(all.len() / 2).copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: u64 = 1_000_000;

    #[test]
    fn a_moment_is_never_taken_for_later_than_it_was() {
        // Their clock is 5 s ahead; the way there takes 30 ms, the way back 10 ms.
        let mut link = RoundTrip::default();
        assert_eq!((link.offset(), link.median()), (None, None));
        let asked = Timestamp(100_000 * MS);
        let theirs = Timestamp(asked.0 + 5_030 * MS);
        link.note(asked, theirs, Timestamp(asked.0 + 40 * MS));
        let offset = link.offset().unwrap();
        assert_eq!(offset.round_trip, Span::from_millis(40));
        // Their 12:00:05 is our 12:00:00; it is taken for 30 ms earlier, the way there, and never for later.
        let moment = Timestamp(200_000 * MS);
        assert_eq!(offset.here(moment), Timestamp(194_970 * MS));
        assert_eq!(offset.here(Timestamp(1)), Timestamp::ZERO, "before the beginning");
    }

    #[test]
    fn the_quickest_answer_counts_and_old_ones_are_forgotten() {
        let mut link = RoundTrip::default();
        for ms in [5, 50, 40, 30, 60, 70, 80, 90, 100] {
            link.note(Timestamp(0), Timestamp(ms), Timestamp(ms * MS));
        }
        assert_eq!(link.offset().unwrap().round_trip, Span::from_millis(30));
        assert_eq!(link.median(), Some(Span::from_millis(70)));
    }
}
