//! Questions and answers over links: a question has a number, its answer names it, and nobody waits longer than they said.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use serde::{Deserialize, Serialize, de::DeserializeOwned};
use tokio::{sync::oneshot, time::timeout};

use super::{LogId, Types, cluster::Entry, survivors::Without};
use crate::site::{
    link::{
        shared::{SendError, Shared},
        wire::Lane,
    },
    roster::NodeKey,
};

/// Kind of a link's message: a question of consensus.
pub const QUESTION: u8 = 2;
/// The answer to one.
pub const ANSWER: u8 = 3;
/// Questions without an answer yet, at most.
const OPEN_MAX: usize = 1_024;

/// What is asked.
#[derive(Debug, Serialize, Deserialize)]
pub enum Question {
    /// To append entries, or none as a sign of life.
    Append(openraft::raft::AppendEntriesRequest<Types>),
    /// To vote.
    Vote(openraft::raft::VoteRequest<u64>),
    /// To take a whole snapshot.
    Snapshot {
        /// The leader's vote.
        vote: openraft::Vote<u64>,
        /// What the snapshot is of.
        meta: openraft::SnapshotMeta<u64, openraft::BasicNode>,
        /// The snapshot.
        octets: Vec<u8>,
    },
    /// To propose an entry, for only a leader can.
    Propose(Entry),
    /// To change the membership.
    Membership(MemberChange),
    /// Whether it would vote.
    WouldVote,
    /// Whether it can go on without others.
    Ready(Without),
    /// To follow nobody of an earlier term than this vote's from now on, if it can go on without others.
    Promise {
        /// Without whom, and with whom.
        without: Without,
        /// The vote.
        vote: openraft::Vote<u64>,
    },
    /// Whether it would vote for whoever asks, whose log ends there.
    WouldBack(Option<LogId>),
}

/// A change to the membership.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum MemberChange {
    /// A node is a voter from now on.
    Add {
        /// Its name.
        name: String,
    },
    /// A node is none any more.
    Remove {
        /// Its name.
        name: String,
    },
}

/// Why there is no answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CallError {
    /// It was not sent.
    #[error(transparent)]
    Send(#[from] SendError),
    /// Too many wait for an answer.
    #[error("too many questions have no answer yet")]
    Busy,
    /// None came in time.
    #[error("no answer within {} ms", .0.as_millis())]
    Late(Duration),
    /// It cannot be read, or the other node could not do what was asked.
    #[error("{0}")]
    Failed(String),
}

/// Questions under way.
#[derive(Debug)]
pub struct Calls {
    next: AtomicU64,
    open: Mutex<HashMap<u64, Open>>,
}

impl Default for Calls {
    /// Numbers begin anywhere: a late answer to a process that was here before answers nothing of ours.
    fn default() -> Self {
        Self { next: AtomicU64::new(rand::random()), open: Mutex::default() }
    }
}

/// Who was asked, and where the answer is waited for.
type Open = (NodeKey, oneshot::Sender<Vec<u8>>);

impl Calls {
    /// Asks a node.
    ///
    /// # Errors
    /// If no answer comes, or one that says why not.
    pub async fn ask<T: DeserializeOwned>(
        &self,
        links: &Shared,
        node: NodeKey,
        question: &Question,
        patience: Duration,
    ) -> Result<T, CallError> {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let failed = |error: postcard::Error| CallError::Failed(error.to_string());
        let octets = write(number, question).map_err(failed)?;
        let (to, answer) = oneshot::channel();
        {
            let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
            if open.len() >= OPEN_MAX {
                return Err(CallError::Busy);
            }
            open.insert(number, (node, to));
        }
        // However this ends, also when it is given up from outside, the question is closed.
        let _closing = Closing(self, number);
        links.send(node, None, Lane::Control, QUESTION, &octets)?;
        let octets = timeout(patience, answer).await.map_err(|_| CallError::Late(patience))?;
        let octets = octets.map_err(|_| CallError::Send(SendError::Down))?;
        let answer: Result<T, String> = postcard::from_bytes(&octets).map_err(failed)?;
        answer.map_err(CallError::Failed)
    }

    /// An answer came from a node; it is dropped if nobody waits for it.
    pub fn answered(&self, from: NodeKey, octets: &[u8]) {
        let Some((number, rest)) = octets.split_first_chunk() else { return };
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        let number = u64::from_be_bytes(*number);
        if open.get(&number).is_some_and(|(node, _)| *node == from)
            && let Some((_, to)) = open.remove(&number)
        {
            drop(to.send(rest.to_vec()));
        }
    }
}

struct Closing<'a>(&'a Calls, u64);

impl Drop for Closing<'_> {
    fn drop(&mut self) {
        self.0.open.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.1);
    }
}

/// A question with its number, as octets.
///
/// # Errors
/// If it cannot be written.
pub fn write(number: u64, question: &Question) -> Result<Vec<u8>, postcard::Error> {
    let mut octets = number.to_be_bytes().to_vec();
    octets.extend(postcard::to_stdvec(question)?);
    Ok(octets)
}

/// Reads a question; its number and what is asked.
pub fn read(octets: &[u8]) -> Option<(u64, Question)> {
    let (number, rest) = octets.split_first_chunk()?;
    Some((u64::from_be_bytes(*number), postcard::from_bytes(rest).ok()?))
}

/// Answers a question. If it cannot be sent the other end gives up in time.
pub fn answer<T: Serialize>(links: &Arc<Shared>, to: NodeKey, number: u64, answer: &Result<T, String>) {
    let mut octets = number.to_be_bytes().to_vec();
    match postcard::to_stdvec(answer) {
        Ok(answer) => octets.extend(answer),
        Err(error) => return tracing::error!(%error, "an answer cannot be written"),
    }
    if let Err(error) = links.send(to, None, Lane::Control, ANSWER, &octets) {
        tracing::debug!(%error, "an answer is not sent");
    }
}
