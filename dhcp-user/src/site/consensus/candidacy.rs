//! Whether and when a node stands for election: this takes the place of the engine's own timer.
//!
//! The engine draws once, when it starts, how long it waits, looks at its clock at steps of a heartbeat and a half, and
//! stands without knowing whether it can win. Where two stand at the same moment, or whoever stands first has not heard all
//! that others have, that term is lost and all wait anew; nobody's delegations are renewed meanwhile. So here
//!
//! * nobody stands who has heard a leader, or of a candidate, within a lease;
//! * then those voters that are linked have their turns, a slot apart, and another is the first in the next term;
//! * whoever's turn it is asks the others first whether they would vote for it, and stands if a majority would (pre-vote:
//!   D. Ongaro, Consensus: Bridging Theory and Practice, 9.6). Nothing changes by asking: a node that was cut off, or heard
//!   less than others, costs no term.

use std::{
    collections::BTreeSet,
    sync::{Arc, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use openraft::Vote;
use tokio::{task::JoinSet, time::sleep};

use super::{LogId, calls::Question, council::Council};
use crate::site::roster::NodeKey;

/// A lease, in heartbeats; the engine votes for nobody within one. A leader with nothing to say is heard every heartbeat and a half: one
/// sign of life may be late, as when its disk is slow.
pub(super) const LEASE_HEARTBEATS: u32 = 4;
/// Two turns in one heartbeat: by then a candidate's question has come everywhere.
const TURNS_PER_HEARTBEAT: u32 = 2;
/// How often it is looked whether it is time.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// What a node knows of elections.
#[derive(Debug)]
pub(super) struct Candidacy {
    heartbeat: Duration,
    /// The last vote, and since when it is that.
    vote: Option<Vote<u64>>,
    changed: Instant,
    /// When a leader was heard last.
    heard: Option<Instant>,
    /// When this node last asked whether it would be voted for.
    asked: Option<Instant>,
}

impl Candidacy {
    /// Of a node that starts now: it may have heard a leader just before.
    pub(super) const fn new(heartbeat: Duration, now: Instant) -> Self {
        Self { heartbeat, vote: None, changed: now, heard: None, asked: None }
    }

    /// A leader is heard.
    pub(super) const fn hear(&mut self, now: Instant) {
        self.heard = Some(now);
    }

    /// Whether neither a leader nor a candidate was heard for a lease.
    pub(super) fn is_quiet(&mut self, now: Instant, vote: Vote<u64>) -> bool {
        now >= self.quiet_since(now, vote) + self.heartbeat * LEASE_HEARTBEATS
    }

    fn quiet_since(&mut self, now: Instant, vote: Vote<u64>) -> Instant {
        if self.vote != Some(vote) {
            (self.vote, self.changed) = (Some(vote), now);
        }
        self.heard.map_or(self.changed, |heard| heard.max(self.changed))
    }

    /// Whether it is still time to stand, once the others have answered: it may have voted for another meanwhile.
    fn may_stand(&mut self, now: Instant, asked: Vote<u64>, vote: Vote<u64>, alone: bool) -> bool {
        vote == asked && (alone || self.is_quiet(now, vote))
    }

    /// Whether it is time to ask, for a node whose turn is after `before` others. Whoever is alone need not wait.
    fn asks(&mut self, now: Instant, vote: Vote<u64>, before: u32, alone: bool) -> bool {
        let turn = self.heartbeat / TURNS_PER_HEARTBEAT * before;
        let is_turn = now >= self.quiet_since(now, vote) + self.heartbeat * LEASE_HEARTBEATS + turn;
        let again = self.asked.is_none_or(|asked| now >= asked + self.heartbeat);
        let asks = again && (alone || is_turn);
        if asks {
            self.asked = Some(now);
        }
        asks
    }
}

/// Who is about to stand.
struct Candidate {
    /// Whose votes are needed.
    sets: Vec<BTreeSet<u64>>,
    /// Its vote so far.
    vote: Vote<u64>,
    /// Whether it is the only voter.
    alone: bool,
}

/// How many have their turn before `me`, among those that can be reached: the first of the next term is the second of this.
fn turn(voters: &BTreeSet<NodeKey>, me: NodeKey, term: u64) -> u32 {
    let count = voters.len().max(1);
    let place = voters.iter().take_while(|node| **node < me).count();
    let first = usize::try_from(term % count as u64).unwrap_or(0);
    u32::try_from((place + count - first) % count).unwrap_or(u32::MAX)
}

/// Whether those are a majority of each set that decides.
fn decide(sets: &[BTreeSet<u64>], those: &BTreeSet<u64>) -> bool {
    !sets.is_empty() && sets.iter().all(|set| set.intersection(those).count() * 2 > set.len())
}

impl Council {
    fn candidacy(&self) -> MutexGuard<'_, Candidacy> {
        self.candidacy.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Somebody is heard who leads, or did: one that was outvoted meanwhile leads nobody.
    pub(super) fn hear_from(&self, vote: Vote<u64>) {
        if vote >= self.raft().metrics().borrow().vote {
            self.candidacy().hear(Instant::now());
        }
    }

    /// Where this node's log ends.
    fn log_end(&self) -> Option<LogId> {
        self.raft().data_metrics().borrow().last_log
    }

    /// Whether this node would vote for one whose log ends there.
    pub(super) fn would_back(&self, end: Option<LogId>) -> bool {
        let vote = self.raft().metrics().borrow().vote;
        let quiet = !self.leads() && self.candidacy().is_quiet(Instant::now(), vote);
        quiet && self.standing().votes && self.failure().is_none() && end >= self.log_end()
    }

    /// Whether it is this node's turn to ask, and what then.
    fn asks(&self) -> Option<Candidate> {
        let (vote, sets) = {
            let metrics = self.raft().metrics();
            let metrics = metrics.borrow();
            (metrics.vote, metrics.membership_config.membership().get_joint_config().clone())
        };
        let me = self.me().key;
        let voters: BTreeSet<NodeKey> = sets.iter().flatten().copied().map(NodeKey).collect();
        let reached = voters.iter().filter(|node| **node == me || self.links.number(**node).is_some());
        let reached: BTreeSet<NodeKey> = reached.copied().collect();
        if self.leads() || !self.standing().votes || !reached.contains(&me) {
            return None;
        }
        let (before, alone) = (turn(&reached, me, vote.leader_id().term), voters.len() == 1);
        let asks = self.candidacy().asks(Instant::now(), vote, before, alone);
        asks.then_some(Candidate { sets, vote, alone })
    }

    /// Asks who would vote for this node, until that is enough.
    async fn is_backed(self: &Arc<Self>, sets: &[BTreeSet<u64>], patience: Duration) -> bool {
        let (me, end) = (self.me().key, self.log_end());
        let mut asked = JoinSet::new();
        for node in sets.iter().flatten().copied().collect::<BTreeSet<u64>>() {
            let council = Arc::clone(self);
            asked.spawn(async move {
                let yes = node == me.0 || {
                    let question = Question::WouldBack(end);
                    let answer = council.calls.ask(&council.links, NodeKey(node), &question, patience).await;
                    matches!(answer, Ok(true))
                };
                yes.then_some(node)
            });
        }
        let mut backing = BTreeSet::new();
        while let Some(answer) = asked.join_next().await {
            backing.extend(answer.ok().flatten());
            if decide(sets, &backing) {
                return true;
            }
        }
        false
    }
}

/// Stands for election whenever it is time, until consensus ends here.
pub(super) async fn stand(council: Arc<Council>) {
    let heartbeat = council.heartbeat;
    while council.failure().is_none() {
        sleep(LOOK_EVERY).await;
        let Some(Candidate { sets, vote, alone }) = council.asks() else { continue };
        if !council.is_backed(&sets, heartbeat).await {
            continue;
        }
        let now = council.raft().metrics().borrow().vote;
        if council.candidacy().may_stand(Instant::now(), vote, now, alone) {
            if council.raft().trigger().elect().await.is_err() {
                // The engine has ended.
                return;
            }
            // Until it has voted for itself and been answered.
            sleep(heartbeat * LEASE_HEARTBEATS).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEARTBEAT: Duration = Duration::from_millis(500);

    fn set(keys: &[u64]) -> BTreeSet<NodeKey> {
        keys.iter().copied().map(NodeKey).collect()
    }

    #[test]
    fn a_node_asks_in_its_turn_once_neither_leader_nor_candidate_was_heard_for_a_lease() {
        let start = Instant::now();
        let at = |ms: u64| start + Duration::from_millis(ms);
        let led = Vote::new_committed(3, 7);
        let mut candidacy = Candidacy::new(HEARTBEAT, start);
        assert!(!candidacy.is_quiet(start, led));
        candidacy.hear(at(1_000));
        assert!(!candidacy.asks(at(2_999), led, 0, false));
        assert!(!candidacy.is_quiet(at(2_999), led));
        assert!(!candidacy.asks(at(3_499), led, 2, false), "two are before it");
        assert!(candidacy.is_quiet(at(3_499), led), "so it would vote for one of them");
        assert!(candidacy.asks(at(3_500), led, 2, false));
        assert!(!candidacy.asks(at(3_999), led, 2, false), "it has just asked");
        assert!(candidacy.asks(at(4_000), led, 2, false));
        assert!(candidacy.may_stand(at(4_100), led, led, false));
        // Another stands, and is waited for as a leader is.
        let stands = Vote::new(4, 9);
        assert!(!candidacy.is_quiet(at(4_200), stands));
        assert!(!candidacy.may_stand(at(4_200), led, stands, false), "it has voted for the other");
        assert!(!candidacy.asks(at(6_199), stands, 0, false));
        assert!(candidacy.asks(at(6_200), stands, 0, false));
        // And so is whoever is elected.
        let elected = Vote::new_committed(4, 9);
        assert!(!candidacy.asks(at(7_000), elected, 0, false));
        assert!(!candidacy.is_quiet(at(8_999), elected));
        assert!(candidacy.is_quiet(at(9_000), elected));
        candidacy.hear(at(9_100));
        assert!(!candidacy.may_stand(at(9_200), elected, elected, false), "it is heard again");
    }

    #[test]
    fn whoever_has_just_started_may_have_heard_a_leader_before_unless_there_is_nobody_else() {
        let start = Instant::now();
        let led = Vote::new_committed(3, 7);
        let mut candidacy = Candidacy::new(HEARTBEAT, start);
        assert!(!candidacy.is_quiet(start + HEARTBEAT, led));
        assert!(candidacy.asks(start + HEARTBEAT, led, 0, true));
    }

    #[test]
    fn each_has_its_own_turn_and_another_is_first_in_the_next_term() {
        let voters = set(&[10, 20, 30]);
        let turns = |term| [10, 20, 30].map(|me| turn(&voters, NodeKey(me), term));
        assert_eq!([turns(0), turns(1), turns(2), turns(3)], [[0, 1, 2], [2, 0, 1], [1, 2, 0], [0, 1, 2]]);
        assert_eq!(turn(&set(&[5]), NodeKey(5), 8), 0);
    }

    #[test]
    fn a_majority_of_every_set_decides() {
        let sets = |sets: &[&[u64]]| sets.iter().map(|set| set.iter().copied().collect()).collect::<Vec<_>>();
        let those = |keys: &[u64]| keys.iter().copied().collect::<BTreeSet<u64>>();
        assert!(decide(&sets(&[&[1, 2, 3]]), &those(&[1, 3])));
        assert!(!decide(&sets(&[&[1, 2, 3, 4]]), &those(&[1, 3, 9])), "half, and one that does not decide");
        assert!(!decide(&sets(&[&[1, 2, 3], &[3, 4, 5]]), &those(&[1, 2, 3])));
        assert!(decide(&sets(&[&[1, 2, 3], &[3, 4, 5]]), &those(&[2, 3, 4])));
        assert!(!decide(&[], &those(&[1])));
    }
}
