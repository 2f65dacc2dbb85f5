//! Consensus on who holds which block, by `openraft`: its log and votes on the disk, its messages over the links.
//!
//! * [`cluster`]: what is agreed on, as a machine that every node feeds the same entries. [`machine`]: that machine with its
//!   snapshots, and what it tells the driver. [`reservations`]: the part of it that operators make.
//! * [`store`]: log, votes and snapshots in a `redb` file; `seal` and `mark`: that it is what was written, and all of it.
//! * [`calls`]: questions and answers over links. [`network`]: the engine's messages as such questions.
//! * [`council`]: the engine at work: how it begins, who may vote, what is proposed, who is a member;
//!   [`propose`]: what is to be decided; `candidacy`: when a node stands for election.
//! * [`survivors`]: going on without nodes that are lost for certain, where no majority is left; `returned`: their votes, when they are
//!   back.

pub mod calls;
mod candidacy;
pub mod cluster;
pub mod council;
pub mod machine;
mod mark;
pub mod network;
pub mod propose;
pub mod reservations;
mod returned;
mod seal;
pub mod store;
pub mod survivors;

#[cfg(test)]
mod tests;

use self::cluster::{Entry, Outcome};

openraft::declare_raft_types!(
    /// The engine's types: nodes are known by their keys, and named in the membership.
    pub Types:
        D = Entry,
        R = Outcome,
        NodeId = u64,
        Node = openraft::BasicNode,
        SnapshotData = Vec<u8>,
);

/// The engine.
pub type Raft = openraft::Raft<Types>;
type StorageError = openraft::StorageError<u64>;
type LogId = openraft::LogId<u64>;
type StoredMembership = openraft::StoredMembership<u64, openraft::BasicNode>;
