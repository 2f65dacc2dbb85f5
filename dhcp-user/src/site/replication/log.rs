//! The change log: an index, not a queue. Address to the number of its last change; "what has changed after this cursor" is
//! a snapshot for cursor 0 and a delta otherwise, by the same code. It cannot overflow: an address has one entry.

use std::{collections::BTreeMap, net::Ipv4Addr};

use ahash::AHashMap;

/// How far a receiver is in a log. A cursor of another log says nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
pub struct Cursor {
    /// Which log: a random number per start of its daemon; 0 is none.
    pub log: u64,
    /// The last change that is known.
    pub seq: u64,
}

/// A change that somebody has not heard of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Changed {
    /// The address.
    pub address: Ipv4Addr,
    /// The number of its last change.
    pub seq: u64,
    /// A digest of everything of the lease but its times.
    pub identity: u64,
    /// Whether the receiver may not know the client, or know another.
    pub anew: bool,
}

/// Receivers a log can tell apart.
pub const RECEIVERS_MAX: usize = 64;

#[derive(Clone, Copy, Debug)]
struct Entry {
    seq: u64,
    identity: u64,
    /// The change since which that has been the identity, and what was told of it counts.
    since: u64,
    /// A bit per receiver that certainly has this identity. A cursor does not tell: a receiver may have passed the
    /// number of a change after the change had moved on to a later number.
    told: u64,
}

/// Every lease by when it last changed.
#[derive(Clone, Debug)]
pub struct ChangeLog {
    id: u64,
    last: u64,
    by_address: AHashMap<Ipv4Addr, Entry>,
    by_seq: BTreeMap<u64, Ipv4Addr>,
    /// Changes that took the place of an earlier one nobody needs to be told of any more.
    superseded: u64,
}

impl ChangeLog {
    /// An empty log; `id` is random and not 0.
    pub fn new(id: u64) -> Self {
        Self { id, last: 0, by_address: AHashMap::new(), by_seq: BTreeMap::new(), superseded: 0 }
    }

    /// Where the log ends.
    pub const fn end(&self) -> Cursor {
        Cursor { log: self.id, seq: self.last }
    }

    /// Takes note of a change. `identity` is a digest of everything of the lease but its times; the number of the change.
    pub fn touch(&mut self, address: Ipv4Addr, identity: u64) -> u64 {
        self.last += 1;
        let seq = self.last;
        match self.by_address.get_mut(&address) {
            Some(known) => {
                self.by_seq.remove(&known.seq);
                self.superseded += 1;
                let (since, told) = match known.identity == identity {
                    true => (known.since, known.told),
                    false => (seq, 0),
                };
                *known = Entry { seq, identity, since, told };
            }
            None => {
                self.by_address.insert(address, Entry { seq, identity, since: seq, told: 0 });
            }
        }
        self.by_seq.insert(seq, address);
        seq
    }

    /// As [`touch`](Self::touch), for a lease of which it is not known what the receivers have.
    pub fn touch_anew(&mut self, address: Ipv4Addr, identity: u64) -> u64 {
        if let Some(known) = self.by_address.get_mut(&address) {
            // What is under way counts for nothing either.
            (known.since, known.told) = (self.last + 1, 0);
        }
        self.touch(address, identity)
    }

    /// The number of an address's last change.
    pub fn seq_of(&self, address: Ipv4Addr) -> Option<u64> {
        Some(self.by_address.get(&address)?.seq)
    }

    /// What an address's last change made of it.
    pub fn identity_of(&self, address: Ipv4Addr) -> Option<u64> {
        Some(self.by_address.get(&address)?.identity)
    }

    /// A receiver (numbered below [`RECEIVERS_MAX`]) says where it is. If that is nowhere in this log, it is taken to
    /// know nothing; where to go on from.
    pub fn resume(&mut self, receiver: usize, cursor: Cursor) -> Cursor {
        if cursor.log == self.id && cursor.seq <= self.last {
            return cursor;
        }
        let keep = !bit(receiver);
        self.by_address.values_mut().for_each(|entry| entry.told &= keep);
        Cursor { log: self.id, seq: 0 }
    }

    /// What has changed after `cursor`, where [`resume`](Self::resume) or this led, at most `max` addresses in the order
    /// of their changes; and the cursor of who knows them.
    pub fn after(&self, receiver: usize, cursor: Cursor, max: usize) -> (Vec<Changed>, Cursor) {
        let mut end = self.end();
        let mut found: Vec<Changed> = Vec::new();
        for &address in self.by_seq.range(cursor.seq.saturating_add(1)..).map(|(_, address)| address) {
            if found.len() == max {
                end.seq = found.last().map_or(cursor.seq, |last| last.seq);
                break;
            }
            found.extend(self.change(receiver, address));
        }
        (found, end)
    }

    /// An address's last change, as a receiver is to be told of it.
    pub fn change(&self, receiver: usize, address: Ipv4Addr) -> Option<Changed> {
        let entry = self.by_address.get(&address)?;
        let anew = entry.told & bit(receiver) == 0;
        Some(Changed { address, seq: entry.seq, identity: entry.identity, anew })
    }

    /// What has changed after a change.
    pub fn changed_after(&self, seq: u64) -> impl Iterator<Item = Ipv4Addr> {
        self.by_seq.range(seq.saturating_add(1)..).map(|(_, address)| *address)
    }

    /// A receiver has durably what it was told of an address's change `seq`, when its identity was `identity`. If it has been
    /// another meanwhile, the receiver may have been told of that one too.
    pub fn acknowledged(&mut self, receiver: usize, address: Ipv4Addr, seq: u64, identity: u64) {
        let entry = self.by_address.get_mut(&address);
        if let Some(entry) = entry.filter(|entry| entry.since <= seq && entry.identity == identity) {
            entry.told |= bit(receiver);
        }
    }

    /// How many addresses have changed after `cursor`: counted up to `max`.
    pub fn lag(&self, cursor: Cursor, max: usize) -> usize {
        self.by_seq.range(cursor.seq.saturating_add(1)..).take(max).count()
    }

    /// No more addresses than so many have changed after `cursor`, and none only if this is 0. Costs the same for any number.
    pub fn lag_at_most(&self, cursor: Cursor) -> u64 {
        self.last.saturating_sub(cursor.seq).min(self.by_seq.len() as u64)
    }

    /// Changes that need not be told one by one, for a later one of the same lease followed.
    pub const fn superseded(&self) -> u64 {
        self.superseded
    }
}

/// A receiver's bit; none for a number too high, who is then told everything anew each time.
const fn bit(receiver: usize) -> u64 {
    if receiver < RECEIVERS_MAX { 1 << receiver } else { 0 }
}

#[cfg(test)]
mod tests {
    use std::collections::{HashMap, VecDeque};

    use proptest::prelude::*;

    use super::*;

    fn address(i: u8) -> Ipv4Addr {
        Ipv4Addr::new(198, 18, 0, i)
    }

    #[test]
    fn several_changes_are_told_once_and_in_order() {
        let mut log = ChangeLog::new(7);
        for i in [1, 2, 1, 3] {
            log.touch(address(i), 0);
        }
        let start = log.resume(0, Cursor::default());
        let (all, end) = log.after(0, start, 9);
        assert_eq!(all.iter().map(|c| c.address).collect::<Vec<_>>(), [address(2), address(1), address(3)]);
        assert_eq!((end, log.superseded()), (Cursor { log: 7, seq: 4 }, 1));
        assert_eq!(log.after(0, end, 9), (vec![], end));
        assert_eq!((log.lag(start, 9), log.lag(start, 2), log.lag(end, 9)), (3, 2, 0));
        let at_most = |seq| log.lag_at_most(Cursor { log: 7, seq });
        assert_eq!((0..=4).map(at_most).collect::<Vec<_>>(), [3, 3, 2, 1, 0]);
    }

    #[test]
    fn the_client_is_told_until_it_is_acknowledged() {
        let mut log = ChangeLog::new(7);
        log.touch(address(1), 5);
        let anew = |log: &ChangeLog, receiver| log.after(receiver, Cursor { log: 7, seq: 0 }, 9).0[0].anew;
        log.acknowledged(1, address(1), 1, 4);
        assert!(anew(&log, 1), "that was of another client");
        log.acknowledged(1, address(1), 1, 5);
        log.touch(address(1), 5);
        assert!(!anew(&log, 1) && anew(&log, 2));
        assert_eq!(log.resume(1, log.end()), log.end());
        assert!(!anew(&log, 1));
        for lost in [Cursor { log: 8, seq: 1 }, Cursor { log: 7, seq: 3 }] {
            log.acknowledged(1, address(1), 2, 5);
            assert_eq!(log.resume(1, lost), Cursor { log: 7, seq: 0 });
            assert!(anew(&log, 1));
        }
        log.acknowledged(1, address(1), 2, 5);
        log.touch(address(1), 6);
        assert!(anew(&log, 1));
    }

    /// What was under way when a block's epoch changed is acknowledged by who does not take it up.
    #[test]
    fn what_was_told_before_it_is_told_anew_does_not_count() {
        let mut log = ChangeLog::new(7);
        let told = log.touch(address(1), 5);
        let again = log.touch_anew(address(1), 5);
        let anew = |log: &ChangeLog| log.after(1, Cursor { log: 7, seq: 0 }, 9).0[0].anew;
        log.acknowledged(1, address(1), told, 5);
        assert!(anew(&log));
        log.acknowledged(1, address(1), again, 5);
        assert!(!anew(&log));
    }

    proptest! {
        /// Whoever asks for a few at a time, whenever, loses what was under way now and then, and acknowledges late, ends with
        /// the last state of everything, and is never told of mere times of a client it does not know.
        #[test]
        fn cursors_miss_nothing(
            steps in prop::collection::vec((0..3_u8, 0..3_u64, 0..4_usize, any::<bool>(), 0..4_usize), 1..200),
        ) {
            let mut log = ChangeLog::new(1);
            let (mut truth, mut told) = (HashMap::new(), HashMap::new());
            let mut under_way: VecDeque<Vec<Changed>> = VecDeque::new();
            let mut cursor = log.resume(3, Cursor::default());
            let mut take = |log: &mut ChangeLog, truth: &HashMap<_, (u64, u64)>, few, arrives, behind| {
                let (changes, next) = log.after(3, cursor, few);
                let count = changes.len();
                if arrives {
                    for change in &changes {
                        let now: (u64, u64) = truth[&change.address];
                        let before = told.insert(change.address, now);
                        assert!(change.anew || before.map(|(identity, _)| identity) == Some(now.0));
                    }
                    cursor = next;
                    under_way.push_back(changes);
                }
                while under_way.len() > behind {
                    for change in under_way.pop_front().into_iter().flatten() {
                        log.acknowledged(3, change.address, change.seq, change.identity);
                    }
                }
                (count, told.clone())
            };
            for (number, (which, identity, few, arrives, behind)) in (0_u64..).zip(steps) {
                truth.insert(address(which), (identity, number));
                log.touch(address(which), identity);
                let earlier = Cursor { log: 1, seq: log.end().seq.saturating_sub(few as u64) };
                let (exact, at_most) = (log.lag(earlier, usize::MAX), log.lag_at_most(earlier));
                prop_assert!(exact as u64 <= at_most && (exact == 0) == (at_most == 0));
                take(&mut log, &truth, few, arrives, behind);
            }
            while take(&mut log, &truth, 2, true, 0).0 != 0 {}
            prop_assert_eq!(take(&mut log, &truth, 2, true, 0).1, truth);
        }
    }
}
