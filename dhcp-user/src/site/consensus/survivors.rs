//! Going on without nodes that an operator says are lost for certain, where those that are left have no majority.
//!
//! It is an election with another quorum: *all* who are left, where they are exactly half of those who decide (`site::majority`). Half
//! of them and any majority have a node in common, so whatever was agreed on is known to one that is left, and nothing more
//! can be agreed on, or a leader elected, without one that is left. In three steps:
//!
//! 1. All that are left are linked with one another and with none of the lost, and say in which term they are, and who decides as far
//!    as they know ([`Question::Ready`]).
//! 2. All promise to follow nobody of an earlier term, and say where their logs end ([`Question::Promise`]). From then on no log of
//!    theirs grows, and the longest of them has all that was agreed on.
//! 3. The one with the longest log takes one entry more, from a leader that was elected for nothing else: from here on those
//!    that are left decide, and, until all of them know that, only all together. It leads as soon as all vote for it.
//!
//! So nothing that was agreed on is lost, wherever this stops half way: a promise keeps nobody from being elected in a later term by a
//! majority, and the entry counts when all who are left have it. What no quorum can see is that the other half was told the same
//! of this one; that is why it takes somebody's word.
//!
//! The lost ones, when they come back, find themselves outvoted and are told everything, for they are told of what they
//! do not decide on. When one is in again it is given its vote back (`returned`).

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use openraft::{
    BasicNode, ChangeMembers, CommittedLeaderId, Entry, EntryPayload, Membership, Vote,
    raft::{AppendEntriesRequest, AppendEntriesResponse},
    storage::RaftLogStorage as _,
};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use tokio::time::{Instant, sleep, timeout};

use super::{LogId, Types, calls::Question, council::Council};
use crate::site::{majority::Remaining, roster::NodeKey};

/// How long the others are waited for, each time they are asked.
const PATIENCE: Duration = Duration::from_secs(5);
/// How often it is tried: an election may overtake it.
const ATTEMPTS: usize = 4;
/// How long those who are left may take to elect one of them, in the longest an election may take, and at least.
const ELECTIONS: u32 = 5;
const LEADING_MIN: Duration = Duration::from_secs(30);

/// Sets of nodes; in each of them a majority must agree.
pub type Deciders = Vec<BTreeSet<NodeKey>>;

/// Who is lost, and who goes on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Without {
    /// Those that are lost.
    pub lost: BTreeSet<NodeKey>,
    /// All others that decide.
    pub left: BTreeSet<NodeKey>,
}

/// What a node says that is ready to go on without others.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Readiness {
    /// Its term.
    term: u64,
    /// Who decides as far as it knows: what is agreed on, and what may be.
    deciders: Deciders,
}

/// What is left of those who decide without some of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Left {
    /// All: none of the lost decides.
    All,
    /// A majority.
    Majority,
    /// Exactly half: these.
    Half(BTreeSet<NodeKey>),
    /// Fewer than half.
    Fewer,
}

impl Left {
    /// Who is left of those who decide. While they change, what holds must hold for those before and those to come.
    pub fn of(deciders: &[BTreeSet<NodeKey>], lost: &BTreeSet<NodeKey>) -> Self {
        if deciders.is_empty() {
            return Self::Fewer;
        }
        if deciders.iter().all(|set| set.is_disjoint(lost)) {
            return Self::All;
        }
        let remaining = |set: &BTreeSet<NodeKey>| Remaining::of(set.difference(lost).count(), set.len());
        let mut half = false;
        for set in deciders {
            match remaining(set) {
                Remaining::Majority => {}
                Remaining::Half => half = true,
                Remaining::Fewer => return Self::Fewer,
            }
        }
        match half {
            true => {
                Self::Half(deciders.iter().flatten().filter(|node| !lost.contains(node)).copied().collect())
            }
            false => Self::Majority,
        }
    }
}

/// All of these, and then a majority of them.
fn unanimous(left: &BTreeSet<NodeKey>) -> Vec<BTreeSet<u64>> {
    let together: BTreeSet<u64> = left.iter().map(|node| node.0).collect();
    let each = together.iter().map(|node| BTreeSet::from([*node]));
    match together.len() {
        1 => vec![together],
        _ => each.chain([together.clone()]).collect(),
    }
}

/// Whether these are what [`unanimous`] makes of the last of them.
fn are_unanimous(sets: &[BTreeSet<u64>]) -> bool {
    let Some((together, each)) = sets.split_last() else { return false };
    each.len() > 1
        && each.len() == together.len()
        && each.iter().all(|set| set.len() == 1 && set.is_subset(together))
}

fn accepted(answer: &AppendEntriesResponse<u64>) -> Result<(), String> {
    match answer {
        AppendEntriesResponse::Success => Ok(()),
        other => Err(format!("an election overtook it ({other}): try again")),
    }
}

impl Council {
    /// Who decides, as far as this node knows: what is agreed on, and what may be agreed on without its knowing.
    async fn deciders(&self) -> Result<Deciders, String> {
        let sets = self.raft().with_raft_state(|state| {
            let (agreed, latest) = (state.membership_state.committed(), state.membership_state.effective());
            let sets = [agreed, latest].map(|membership| membership.membership().get_joint_config().clone());
            sets.concat()
        });
        let sets = sets.await.map_err(|error| error.to_string())?;
        Ok(sets.into_iter().map(|set| set.into_iter().map(NodeKey).collect()).collect())
    }

    /// What is left of those who decide without some of them, as far as this node knows.
    ///
    /// # Errors
    /// If consensus has stopped here.
    pub async fn left_without(&self, lost: &BTreeSet<NodeKey>) -> Result<Left, String> {
        Ok(Left::of(&self.deciders().await?, lost))
    }

    fn name_of(&self, node: NodeKey) -> String {
        if let Some(known) = self.links.roster.get(node) {
            return known.name.clone();
        }
        let metrics = self.raft().metrics();
        let metrics = metrics.borrow();
        let known = metrics.membership_config.membership().get_node(&node.0);
        known.map_or_else(|| "?".to_owned(), |known| known.addr.clone())
    }

    /// Whether this node can go on with some and without others.
    fn may_go_on(&self, without: &Without) -> Result<(), String> {
        let me = self.me();
        if !without.left.contains(&me.key) {
            return Err(format!(
                "{} does not decide: ask one of the nodes that do (`site sync`: voters)",
                me.name
            ));
        }
        if !self.standing().votes {
            return Err(format!(
                "{} is new, or lost its disk, and has not been told everything yet: it does not count",
                me.name
            ));
        }
        let linked = |node: &&NodeKey| **node == me.key || self.links.number(**node).is_some();
        if let Some(there) = without.lost.iter().find(linked) {
            let there = self.name_of(*there);
            return Err(format!(
                "{there} is linked with {}: it is not down. Stop it, or drain its site",
                me.name
            ));
        }
        if let Some(missing) = without.left.iter().find(|node| !linked(node)) {
            let missing = self.name_of(*missing);
            return Err(format!(
                "{missing} is not linked with {}: all that are left must be, for they are no majority, and one of them alone may \
                 know what was agreed on last. Bring it back, or a node of those that are lost",
                me.name
            ));
        }
        Ok(())
    }

    async fn append(&self, told: AppendEntriesRequest<Types>) -> Result<AppendEntriesResponse<u64>, String> {
        self.raft().append_entries(told).await.map_err(|error| error.to_string())
    }

    /// Whether this node can go on without others, and what is to be known of it before.
    pub(super) async fn ready(&self, without: &Without) -> Result<Readiness, String> {
        self.may_go_on(without)?;
        let term = self.raft().metrics().borrow().current_term;
        Ok(Readiness { term, deciders: self.deciders().await? })
    }

    /// Follows nobody of an earlier term than that of `vote` from now on; where this node's log ends.
    pub(super) async fn promise(&self, without: &Without, vote: Vote<u64>) -> Result<Option<LogId>, String> {
        self.may_go_on(without)?;
        let nothing =
            AppendEntriesRequest { vote, prev_log_id: None, entries: Vec::new(), leader_commit: None };
        accepted(&self.append(nothing).await?)?;
        let end = self.log_store().get_log_state().await.map_err(|error| error.to_string())?.last_log_id;
        // Who has not voted since has not followed anybody either: the log is still that long.
        let now = self.raft().with_raft_state(|state| *state.vote_ref()).await;
        match now.map_err(|error| error.to_string())? == vote {
            true => Ok(end),
            false => Err("an election overtook it: try again".to_owned()),
        }
    }

    /// Lets those who are left decide without the lost: they must be exactly half. Done already if none of the lost decides.
    ///
    /// # Errors
    /// Why not, in words.
    pub async fn go_on_without(&self, lost: &BTreeSet<NodeKey>) -> Result<(), String> {
        let _one_at_a_time = self.going_on.lock().await;
        let mut deciders = self.deciders().await?;
        let mut last = Ok(());
        for _ in 0..ATTEMPTS {
            let left = match Left::of(&deciders, lost) {
                Left::All => return Ok(()),
                Left::Half(left) => left,
                Left::Majority => return Err("those that are left are a majority".to_owned()),
                Left::Fewer => return Err("those that are left are fewer than half".to_owned()),
            };
            let without = Without { lost: lost.clone(), left };
            self.may_go_on(&without)?;
            let mut term = 0;
            let known = deciders.len();
            for node in &without.left {
                let question = Question::Ready(without.clone());
                let ready = self.ask_of(*node, question, self.ready(&without)).await?;
                term = term.max(ready.term);
                for set in ready.deciders {
                    if !deciders.contains(&set) {
                        deciders.push(set);
                    }
                }
            }
            if deciders.len() != known && Left::of(&deciders, lost) != Left::Half(without.left.clone()) {
                // One knows of more that decide: these are asked too.
                last = Err("the nodes that are left do not know the same others: try again".to_owned());
                continue;
            }
            match self.decide_without(&without, term + 1).await {
                Ok(entry) => return self.wait_led(&without, entry).await,
                Err(error) => last = Err(error),
            }
            sleep(self.election_max() / 4).await;
        }
        last
    }

    /// Elects a leader for one entry: that those who are left decide. The index of that entry.
    async fn decide_without(&self, without: &Without, term: u64) -> Result<u64, String> {
        // It is no node, and no other leader: what it says is said by nobody else under the same name.
        let leader: u64 = rand::random();
        let vote = Vote::new_committed(term, leader);
        let mut longest: Option<(Option<LogId>, NodeKey)> = None;
        for node in &without.left {
            let question = Question::Promise { without: without.clone(), vote };
            let end = self.ask_of(*node, question, self.promise(without, vote)).await?;
            longest = longest.max(Some((end, *node)));
        }
        let Some((end, longest)) = longest else { return Err("nobody is left".to_owned()) };
        let index = end.map_or(0, |end| end.index + 1);
        let nodes: BTreeMap<u64, BasicNode> = {
            let metrics = self.raft().metrics();
            let metrics = metrics.borrow();
            let listed = metrics.membership_config.membership().nodes();
            let mut nodes: BTreeMap<u64, BasicNode> =
                listed.map(|(key, node)| (*key, node.clone())).collect();
            for node in &without.left {
                nodes.entry(node.0).or_insert_with(|| BasicNode { addr: self.name_of(*node) });
            }
            nodes
        };
        let entry: Entry<Types> = Entry {
            log_id: LogId::new(CommittedLeaderId::new(term, leader), index),
            payload: EntryPayload::Membership(Membership::new(unanimous(&without.left), nodes)),
        };
        // It counts when all have it, which whoever leads next will see.
        let told = AppendEntriesRequest { vote, prev_log_id: end, entries: vec![entry], leader_commit: None };
        let here = self.append(told.clone());
        accepted(&self.ask_of(longest, Question::Append(told), here).await?)?;
        let names = |nodes: &BTreeSet<NodeKey>| {
            nodes.iter().map(|node| self.name_of(*node)).collect::<Vec<_>>().join(", ")
        };
        tracing::warn!(
            without = names(&without.lost),
            with = names(&without.left),
            longest_log = self.name_of(longest),
            "those that are left decide from now on, as an operator says"
        );
        Ok(index)
    }

    /// Asks a node, which may be this one: then it is done `here`.
    async fn ask_of<T: DeserializeOwned>(
        &self,
        node: NodeKey,
        question: Question,
        here: impl Future<Output = Result<T, String>>,
    ) -> Result<T, String> {
        let answer = match node == self.me().key {
            true => here.await,
            false => {
                let asked = self.calls.ask(&self.links, node, &question, PATIENCE).await;
                asked.map_err(|error| error.to_string())
            }
        };
        answer.map_err(|error| format!("{}: {error}", self.name_of(node)))
    }

    /// Waits until one of those who are left leads, and this node knows that the lost do not decide, and of all that was agreed on before
    /// that: what is said of the lost from then on is said of what they did last.
    async fn wait_led(&self, without: &Without, entry: u64) -> Result<(), String> {
        let end = Instant::now() + LEADING_MIN.max(self.election_max() * ELECTIONS);
        loop {
            let led = {
                let metrics = self.raft().metrics();
                let metrics = metrics.borrow();
                let decides = |node: &NodeKey| {
                    metrics.membership_config.membership().voter_ids().any(|id| id == node.0)
                };
                let leader = metrics.current_leader.map(NodeKey);
                let led = leader.is_some_and(|leader| without.left.contains(&leader));
                let applied = metrics.last_applied.is_some_and(|applied| applied.index >= entry);
                led && applied && !without.lost.iter().any(decides)
            };
            if led {
                return Ok(());
            }
            if Instant::now() >= end {
                return Err(
                    "those that are left have not elected a leader yet, and go on trying: see `site sync`"
                        .to_owned(),
                );
            }
            sleep(Duration::from_millis(50)).await;
        }
    }

    /// Those who are left have all been told to decide together: from now on a majority of them decides. To be called now and then.
    pub(super) async fn settle(&self) {
        let sets = {
            let metrics = self.raft().metrics();
            let metrics = metrics.borrow();
            metrics.membership_config.membership().get_joint_config().clone()
        };
        if !self.leads() || !are_unanimous(&sets) {
            return;
        }
        let together = sets.into_iter().next_back().unwrap_or_default();
        // It is agreed on by all of them, which is what was to be waited for.
        let change = self.raft().change_membership(ChangeMembers::ReplaceAllVoters(together), true);
        match timeout(PATIENCE, change).await {
            Ok(Ok(_)) => tracing::info!("all that are left know that they decide"),
            Ok(Err(error)) => tracing::debug!(%error, "those that are left do not all know that they decide"),
            Err(_) => tracing::debug!("those that are left do not all know that they decide"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(keys: &[u64]) -> BTreeSet<NodeKey> {
        keys.iter().copied().map(NodeKey).collect()
    }

    #[test]
    fn exactly_half_may_go_on_of_those_before_and_those_to_come() {
        let of = |deciders: &[&[u64]], lost: &[u64]| {
            let deciders: Vec<_> = deciders.iter().map(|keys| set(keys)).collect();
            Left::of(&deciders, &set(lost))
        };
        assert_eq!(of(&[&[1, 2, 3, 4]], &[3, 4]), Left::Half(set(&[1, 2])));
        assert_eq!(of(&[&[1, 2, 3, 4]], &[4]), Left::Majority);
        assert_eq!(of(&[&[1, 2, 3, 4]], &[5]), Left::All);
        assert_eq!(of(&[&[1, 2, 3, 4]], &[2, 3, 4]), Left::Fewer);
        assert_eq!(of(&[&[1, 2]], &[2]), Left::Half(set(&[1])));
        // Of an odd number no half is left: those that are lost may have agreed alone.
        assert_eq!(of(&[&[1, 2, 3]], &[2, 3]), Left::Fewer);
        assert_eq!(of(&[&[1, 2, 3, 4, 5]], &[3, 4, 5]), Left::Fewer);
        // One of them is on its way in or out.
        assert_eq!(of(&[&[1, 2, 3, 4], &[1, 2, 3]], &[3, 4]), Left::Half(set(&[1, 2])));
        assert_eq!(of(&[&[1, 2, 3, 4], &[1, 3, 4]], &[3, 4]), Left::Fewer);
        assert_eq!(of(&[], &[1]), Left::Fewer);
    }

    #[test]
    fn until_all_know_it_all_must_agree() {
        let sets = unanimous(&set(&[1, 2, 3]));
        assert_eq!(sets, [[1].into(), [2].into(), [3].into(), BTreeSet::from([1, 2, 3])]);
        assert!(are_unanimous(&sets));
        assert_eq!(unanimous(&set(&[7])), [BTreeSet::from([7])]);
        // What other changes pass through, and where they end.
        for others in [
            vec![[1].into(), BTreeSet::from([1, 2])],
            vec![[1, 2].into()],
            vec![[1, 2].into(), [1, 2, 3].into()],
        ] {
            assert!(!are_unanimous(&others), "{others:?}");
        }
        assert!(!are_unanimous(&[]));
    }
}
