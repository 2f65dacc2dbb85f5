//! A point in the change log that receivers are to reach. How far they have acknowledged the log does not tell by itself: a
//! lease that changes again before they heard of it is told by its later change, and they pass the earlier one without it.

use std::{collections::BTreeSet, net::Ipv4Addr};

use super::ChangeLog;

/// Everything as it was when the log had come to some change.
#[derive(Clone, Debug)]
pub struct Milestone {
    seq: u64,
    /// What had changed since when that was acknowledged, and may have been passed.
    late: Option<BTreeSet<Ipv4Addr>>,
}

impl Milestone {
    /// Everything up to now.
    pub const fn now(log: &ChangeLog) -> Self {
        Self { seq: log.end().seq, late: None }
    }

    /// Whether receivers know everything as it was, or later, that have acknowledged the log up to `acknowledged`: to be asked
    /// whenever that has changed.
    pub fn is_reached(&mut self, log: &ChangeLog, acknowledged: u64) -> bool {
        if acknowledged < self.seq {
            return false;
        }
        let late = self.late.get_or_insert_with(|| log.changed_after(acknowledged).collect());
        late.retain(|address| log.seq_of(*address).is_some_and(|seq| seq > acknowledged));
        late.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn address(i: u8) -> Ipv4Addr {
        Ipv4Addr::new(198, 18, 0, i)
    }

    #[test]
    fn what_changed_again_is_waited_for_once() {
        let mut log = ChangeLog::new(7);
        log.touch(address(1), 0);
        log.touch(address(2), 0);
        let mut milestone = Milestone::now(&log);
        // 1 is now the third change: who has the second has not heard of it.
        log.touch(address(1), 0);
        assert!(!milestone.is_reached(&log, 1) && !milestone.is_reached(&log, 2));
        assert!(milestone.is_reached(&log, 3));
        // It may change for ever: it was known once.
        log.touch(address(1), 0);
        assert!(milestone.is_reached(&log, 3));
    }

    #[test]
    fn what_changes_after_it_was_reached_up_to_there_is_not_waited_for() {
        let mut log = ChangeLog::new(7);
        log.touch(address(1), 0);
        let mut milestone = Milestone::now(&log);
        log.touch(address(2), 0);
        assert!(!milestone.is_reached(&log, 1), "2 may have been there before");
        log.touch(address(3), 0);
        assert!(milestone.is_reached(&log, 2), "3 was not");
    }

    proptest! {
        /// Whatever changes in between: who has reached it was told of all leases after they last changed before it.
        #[test]
        fn nothing_is_passed(
            before in prop::collection::vec(0..6_u8, 0..20),
            after in prop::collection::vec((0..6_u8, any::<bool>(), 0..3_usize), 0..60),
        ) {
            let mut log = ChangeLog::new(7);
            for which in &before {
                log.touch(address(*which), 0);
            }
            let mut unheard: BTreeSet<Ipv4Addr> = before.iter().map(|which| address(*which)).collect();
            let mut milestone = Milestone::now(&log);
            let mut cursor = log.resume(1, crate::site::replication::Cursor::default());
            for (which, changes, few) in after {
                if changes {
                    log.touch(address(which), 0);
                }
                let (told, next) = log.after(1, cursor, few);
                for change in &told {
                    unheard.remove(&change.address);
                }
                cursor = next;
                if milestone.is_reached(&log, cursor.seq) {
                    prop_assert!(unheard.is_empty(), "{unheard:?}");
                }
            }
            let end = log.end().seq;
            prop_assert!(milestone.is_reached(&log, end));
        }
    }
}
