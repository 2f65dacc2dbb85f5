//! What is to be decided: proposed here if this node leads, else at the leader; and what is known of it afterwards.

use std::{sync::Arc, time::Duration};

use tokio::time::timeout;

use super::{
    calls::{CallError, Question},
    cluster::{Entry, Outcome},
    council::Council,
};
use crate::site::roster::NodeKey;

/// How long a question to the leader may take.
const LEADER_PATIENCE: Duration = Duration::from_secs(3);
const NO_LEADER: &str = "no node leads at present: is a majority of them up and linked?";
const NO_MAJORITY: &str = "this node leads and a majority does not hear it: are they up and linked?";

/// Why it is not known that something is decided.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Undecided {
    /// It is not, and will not be.
    #[error("{0}")]
    Nothing(String),
    /// It may be, or may become so when a majority is there again.
    #[error("{0}")]
    Unknown(String),
}

impl Council {
    /// Proposes an entry, here or at the leader; nobody is told what becomes of it.
    pub fn propose(self: &Arc<Self>, entry: Entry) {
        let Ok(place) = Arc::clone(&self.under_way).try_acquire_owned() else {
            return tracing::debug!("too many proposals are under way: one is dropped");
        };
        let council = Arc::clone(self);
        tokio::spawn(async move {
            if let Err(error) = council.submit(entry).await {
                tracing::debug!(error, "a proposal came to nothing");
            }
            drop(place);
        });
    }

    /// Proposes an entry, here or at the leader, and waits until it is agreed on.
    async fn submit(&self, entry: Entry) -> Result<Outcome, String> {
        if self.leads() {
            return self.write(entry).await;
        }
        self.ask_leader(&Question::Propose(entry), LEADER_PATIENCE).await
    }

    /// Proposes an entry, here or at the leader, and says for certain what became of it, if that is known.
    ///
    /// # Errors
    /// If it is not decided, or not known to be.
    pub async fn decide(&self, entry: Entry) -> Result<Outcome, Undecided> {
        if self.leads() {
            let unheard = self
                .standing()
                .quorum_age_ms
                .is_some_and(|age| u128::from(age) > LEADER_PATIENCE.as_millis());
            if unheard {
                return Err(Undecided::Nothing(NO_MAJORITY.to_owned()));
            }
            return self.write(entry).await.map_err(Undecided::Unknown);
        }
        let leader = self.leader().ok_or_else(|| Undecided::Nothing(NO_LEADER.to_owned()))?;
        let asked = self.calls.ask(&self.links, leader, &Question::Propose(entry), LEADER_PATIENCE).await;
        asked.map_err(|error| match error {
            CallError::Send(_) | CallError::Busy => Undecided::Nothing(error.to_string()),
            CallError::Late(_) | CallError::Failed(_) => Undecided::Unknown(error.to_string()),
        })
    }

    pub(super) async fn write(&self, entry: Entry) -> Result<Outcome, String> {
        // Entries go to the others many at a time, in one message: none is longer than its share of that.
        if matches!(&entry, Entry::Reserve(edits) if !edits.fit()) {
            return Ok(Outcome::TooMuch);
        }
        let written = timeout(LEADER_PATIENCE, self.raft().client_write(entry)).await;
        let written = written.map_err(|_| "no majority agreed in time".to_owned())?;
        written.map(|done| done.data).map_err(|error| error.to_string())
    }

    /// Another node that leads, as far as this one knows.
    fn leader(&self) -> Option<NodeKey> {
        let leader = self.raft().metrics().borrow().current_leader.map(NodeKey);
        leader.filter(|leader| *leader != self.me().key)
    }

    pub(super) async fn ask_leader<T: serde::de::DeserializeOwned>(
        &self,
        question: &Question,
        patience: Duration,
    ) -> Result<T, String> {
        let leader = self.leader().ok_or(NO_LEADER)?;
        let asked = self.calls.ask(&self.links, leader, question, patience).await;
        asked.map_err(|error: CallError| error.to_string())
    }
}
