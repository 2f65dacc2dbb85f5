//! Whether a node stands for election while nobody leads.
//!
//! The engine draws the time after which it stands once, when it starts, and looks at its clock at steps of a heartbeat and a
//! half: two nodes whose steps fall together stand at the same moment, each votes for itself, and so they do again, for ever.
//! So while nobody is elected each draws lots from time to time: half of them leave it to the others for a while.

use std::time::{Duration, Instant};

/// The lots of one node.
#[derive(Debug, Default)]
pub(super) struct Candidacy {
    /// Since when nobody leads.
    leaderless_since: Option<Instant>,
    /// What the last lot said, and until when.
    lot: Option<(bool, Instant)>,
}

impl Candidacy {
    /// Whether the node may stand now. Nobody has to for as long as a first election may take, `election_max`; after that
    /// `draw` says whether, and for how much longer than that (0 to 1 of it) the lot counts.
    pub(super) fn stands(
        &mut self,
        now: Instant,
        led: bool,
        election_max: Duration,
        draw: impl FnOnce() -> (bool, f64),
    ) -> bool {
        if led {
            *self = Self::default();
            return true;
        }
        let since = *self.leaderless_since.get_or_insert(now);
        if now.duration_since(since) < election_max {
            return true;
        }
        match self.lot {
            Some((stands, until)) if now < until => stands,
            _ => {
                let (stands, longer) = draw();
                self.lot = Some((stands, now + election_max.mul_f64(1.0 + longer.clamp(0.0, 1.0))));
                stands
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ELECTION_MAX: Duration = Duration::from_secs(3);

    #[test]
    fn lots_are_drawn_only_while_nobody_leads_and_count_for_a_while() {
        let (mut candidacy, start) = (Candidacy::default(), Instant::now());
        let at = |ms: u64| start + Duration::from_millis(ms);
        let none = || panic!("no lot is drawn now");
        assert!(candidacy.stands(at(0), true, ELECTION_MAX, none));
        assert!(candidacy.stands(at(1_000), false, ELECTION_MAX, none), "the first election is as ever");
        assert!(candidacy.stands(at(3_999), false, ELECTION_MAX, none));
        assert!(!candidacy.stands(at(4_000), false, ELECTION_MAX, || (false, 0.5)));
        assert!(!candidacy.stands(at(8_499), false, ELECTION_MAX, none));
        assert!(candidacy.stands(at(8_500), false, ELECTION_MAX, || (true, 0.0)));
        assert!(candidacy.stands(at(11_499), false, ELECTION_MAX, none));
        assert!(!candidacy.stands(at(11_500), false, ELECTION_MAX, || (false, 1.0)));
        assert!(
            candidacy.stands(at(11_600), true, ELECTION_MAX, none),
            "somebody leads: all may stand again"
        );
        assert!(candidacy.stands(at(12_000), false, ELECTION_MAX, none));
    }
}
