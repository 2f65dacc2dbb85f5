//! The cluster's state on this node: entries are applied to it, snapshots made of it, and the driver is told of both in
//! their order. It is in memory; after a start the snapshot and the log make it anew.
//!
//! Of reservations only the latest set is shown: whoever looks late misses nothing.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use openraft::{
    EntryPayload, OptionalSend, RaftSnapshotBuilder, RaftTypeConfig, Snapshot, SnapshotMeta, StorageIOError,
    storage::RaftStateMachine,
};
use serde::{Deserialize, Serialize};
use tokio::sync::{mpsc::Sender, watch};

use super::{
    LogId, StorageError, StoredMembership, Types,
    cluster::{Cluster, Entry, Outcome},
    reservations::AgreedReservations,
    store::{Store, StoreError},
};
use crate::site::{
    delegation::{Command, Delegation, Delegations, NodeId, Presence},
    roster::NodeKey,
};

/// What the machine tells.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Agreed {
    /// The state up to an index, after a start or in the place of entries that are no longer kept.
    Restored {
        /// The index of the last entry in it; 0 if there is none.
        index: u64,
        /// Who holds which block.
        state: Box<Delegations>,
    },
    /// A command.
    Applied {
        /// Its index.
        index: u64,
        /// The command; it may have had no effect.
        command: Command,
    },
    /// The cluster has a name, and gave its nodes these numbers: one of both is new. Comes before all else.
    Named([u8; 16], Vec<(NodeKey, NodeId)>),
}

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
struct State {
    applied: Option<LogId>,
    membership: StoredMembership,
    cluster: Cluster,
}

/// The machine; copies are of the same.
#[derive(Clone, Debug)]
pub struct Machine {
    state: Arc<Mutex<State>>,
    store: Store,
    to: Sender<Agreed>,
    reservations: Arc<watch::Sender<AgreedReservations>>,
}

fn reserved(cluster: &Cluster) -> AgreedReservations {
    AgreedReservations { cluster: cluster.id, set: cluster.reservations.clone() }
}

fn index(log_id: Option<&LogId>) -> u64 {
    log_id.map_or(0, |log_id| log_id.index)
}

fn named(cluster: &Cluster) -> Option<Agreed> {
    cluster.id.map(|id| Agreed::Named(id, cluster.numbers().collect()))
}

impl Machine {
    /// The machine as the last snapshot has it; `to` is told of everything, that first.
    ///
    /// # Errors
    /// If the snapshot cannot be read.
    pub fn open(store: Store, to: Sender<Agreed>) -> Result<Self, StoreError> {
        let state: State = match store.snapshot()? {
            Some(octets) => postcard::from_bytes(&octets)?,
            None => State::default(),
        };
        let reservations = Arc::new(watch::Sender::new(reserved(&state.cluster)));
        Ok(Self { state: Arc::new(Mutex::new(state)), store, to, reservations })
    }

    /// Tells the state it has begun with. To be called once, before the engine starts.
    pub async fn tell(&self) {
        let told = self.restored();
        self.send(told).await;
    }

    fn restored(&self) -> Vec<Agreed> {
        let state = self.state();
        let named = named(&state.cluster);
        let restored = Agreed::Restored {
            index: index(state.applied.as_ref()),
            state: Box::new(state.cluster.delegations.clone()),
        };
        named.into_iter().chain([restored]).collect()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn send(&self, told: Vec<Agreed>) {
        for one in told {
            // Nobody listens any more when the daemon stops.
            drop(self.to.send(one).await);
        }
    }

    /// What is agreed, as far as this node knows.
    pub fn cluster(&self) -> Cluster {
        self.state().cluster.clone()
    }

    /// The nodes' numbers, and who holds which block, as far as this node knows.
    pub fn holdings(&self) -> (Vec<(NodeKey, NodeId)>, Vec<Delegation>) {
        let state = self.state();
        (state.cluster.numbers().collect(), state.cluster.delegations.blocks().copied().collect())
    }

    /// What a node can be counted on for; `None` if it is no member.
    pub fn presence(&self, node: NodeKey) -> Option<Presence> {
        let state = self.state();
        let member = state.cluster.delegations.member(state.cluster.number(node)?)?;
        Some(member.presence.clone())
    }

    /// The reservations that are agreed, as far as this node knows, from now on. After a start they may be older than what
    /// this node knew before, until the log has been applied again.
    pub fn reservations(&self) -> watch::Receiver<AgreedReservations> {
        self.reservations.subscribe()
    }

    /// Shows the reservations, if they have changed.
    fn show_reservations(&self, cluster: &Cluster) {
        self.reservations.send_if_modified(|shown| {
            let same = shown.cluster == cluster.id && shown.set.serial() == cluster.reservations.serial();
            if !same {
                *shown = reserved(cluster);
            }
            !same
        });
    }
}

impl RaftStateMachine<Types> for Machine {
    type SnapshotBuilder = Self;

    async fn applied_state(&mut self) -> Result<(Option<LogId>, StoredMembership), StorageError> {
        let state = self.state();
        Ok((state.applied, state.membership.clone()))
    }

    async fn apply<I>(&mut self, entries: I) -> Result<Vec<Outcome>, StorageError>
    where
        I: IntoIterator<Item = <Types as RaftTypeConfig>::Entry> + OptionalSend,
        I::IntoIter: OptionalSend,
    {
        let (mut outcomes, mut told) = (Vec::new(), Vec::new());
        {
            let mut state = self.state();
            for entry in entries {
                state.applied = Some(entry.log_id);
                let outcome = match entry.payload {
                    EntryPayload::Blank => Outcome::Internal,
                    EntryPayload::Membership(membership) => {
                        state.membership = StoredMembership::new(Some(entry.log_id), membership);
                        Outcome::Internal
                    }
                    EntryPayload::Normal(entry_of_ours) => {
                        let outcome = state.cluster.apply(&entry_of_ours);
                        told.extend(match entry_of_ours {
                            Entry::Blocks(command) => {
                                Some(Agreed::Applied { index: entry.log_id.index, command })
                            }
                            Entry::Begin { .. } | Entry::Enroll(_) => named(&state.cluster),
                            Entry::Reserve(_) => None,
                        });
                        outcome
                    }
                };
                outcomes.push(outcome);
            }
            self.show_reservations(&state.cluster);
        }
        self.send(told).await;
        Ok(outcomes)
    }

    async fn get_snapshot_builder(&mut self) -> Self {
        self.clone()
    }

    async fn begin_receiving_snapshot(&mut self) -> Result<Box<Vec<u8>>, StorageError> {
        Ok(Box::default())
    }

    async fn install_snapshot(
        &mut self,
        meta: &SnapshotMeta<u64, openraft::BasicNode>,
        snapshot: Box<Vec<u8>>,
    ) -> Result<(), StorageError> {
        let signature = Some(meta.signature());
        let state: State = postcard::from_bytes(&snapshot)
            .map_err(|error| StorageIOError::read_snapshot(signature.clone(), &error))?;
        self.store
            .put_snapshot(*snapshot)
            .await
            .map_err(|error| StorageIOError::write_snapshot(signature, &error))?;
        self.show_reservations(&state.cluster);
        *self.state() = state;
        let told = self.restored();
        self.send(told).await;
        Ok(())
    }

    async fn get_current_snapshot(&mut self) -> Result<Option<Snapshot<Types>>, StorageError> {
        let read = |error: &dyn std::error::Error| {
            StorageIOError::read_snapshot(None, &std::io::Error::other(error.to_string()))
        };
        let Some(octets) = self.store.snapshot().map_err(|error| read(&error))? else { return Ok(None) };
        let state: State = postcard::from_bytes(&octets).map_err(|error| read(&error))?;
        Ok(Some(snapshot(&state, octets)))
    }
}

fn snapshot(state: &State, octets: Vec<u8>) -> Snapshot<Types> {
    let meta = SnapshotMeta {
        last_log_id: state.applied,
        last_membership: state.membership.clone(),
        snapshot_id: state.applied.map_or_else(|| "0".to_owned(), |applied| applied.to_string()),
    };
    Snapshot { meta, snapshot: Box::new(octets) }
}

impl RaftSnapshotBuilder<Types> for Machine {
    async fn build_snapshot(&mut self) -> Result<Snapshot<Types>, StorageError> {
        let state = self.state().clone();
        let octets = postcard::to_stdvec(&state).map_err(|error| StorageIOError::write(&error))?;
        let written = self.store.put_snapshot(octets.clone()).await;
        written.map_err(|error| StorageIOError::write_snapshot(None, &error))?;
        Ok(snapshot(&state, octets))
    }
}
