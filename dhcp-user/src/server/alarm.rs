//! What an operator is told at once, in the log, and not only by a counter: that something which must not run out has.
//! Each is said the first time; the counters tell how it goes on.

use super::service::Service;

impl Service {
    pub(super) fn alarm(&mut self) {
        self.alarm_of_declines();
        self.alarm_of_answers();
    }

    /// Clients decline more than a pool can spare.
    fn alarm_of_declines(&mut self) {
        let cut_short = self.keeper.core.engine.pressure().quarantines_cut_short;
        if cut_short > 0 && self.counts.quarantines_cut_short == 0 {
            tracing::error!(
                "clients have declined a quarter of a pool within an hour: the addresses declined first are given out \
                 again, in use or not. Either something answers ARP for addresses that are not its own, or a client \
                 declines whatever it gets; `leases list` shows who (quarantined), `stats` counts on \
                 (quarantines_cut_short)"
            );
        }
        self.counts.quarantines_cut_short = cut_short;
    }

    /// The kernel has no room for one more answer.
    fn alarm_of_answers(&mut self) {
        if self.keeper.kernel.is_none() {
            return;
        }
        let answers = &self.keeper.core.learner.answers;
        let refused = answers.refused();
        if refused > 0 && self.counts.answers_refused == 0 {
            tracing::error!(
                answers_max = answers.max(),
                "the kernel's table of answers is full: renewals of clients that are to be told anything new are \
                 answered here, all others as before. Raise dhcp.fastpath.answers_max and reload, which empties the \
                 table; `stats` counts on (unpublishable)"
            );
        }
        self.counts.answers_refused = refused;
    }
}
