//! What a cluster agrees on: its name, its nodes' numbers, who holds which block, and the reservations made beside the
//! configuration files.

use std::{collections::BTreeMap, fmt};

use serde::{Deserialize, Serialize};

use super::reservations::{Edits, Reservations};
use crate::site::{
    delegation::{Command, Delegations, NodeId, Void},
    replication::RECEIVERS_MAX,
    roster::NodeKey,
};

/// An entry of the log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Entry {
    /// The cluster gets its name, and its nodes their numbers, in this order.
    Begin {
        /// Random.
        cluster: [u8; 16],
        /// Who they are.
        nodes: Vec<NodeKey>,
    },
    /// A node that joins a cluster gets the next number, if it has none.
    Enroll(NodeKey),
    /// Something about blocks.
    Blocks(Command),
    /// Something about reservations.
    Reserve(Edits),
}

/// What became of an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Outcome {
    /// It is done.
    Done,
    /// It had no effect.
    Void(Void),
    /// It is none of ours.
    Internal,
    /// The set of reservations is as wanted, and has this number.
    Reserved(u64),
    /// There would be too many reservations, or too many at once: nothing is changed.
    TooMuch,
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Done => f.write_str("done"),
            Self::Void(void) => void.fmt(f),
            Self::Internal => f.write_str("internal"),
            Self::Reserved(_) => f.write_str("reserved"),
            Self::TooMuch => f.write_str("more reservations than are kept"),
        }
    }
}

/// What is agreed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cluster {
    /// Its name; `None` before it began.
    pub id: Option<[u8; 16]>,
    numbers: BTreeMap<NodeKey, NodeId>,
    /// Who holds which block.
    pub delegations: Delegations,
    /// What is reserved beside the configuration files.
    pub reservations: Reservations,
}

impl Cluster {
    /// Applies an entry.
    pub fn apply(&mut self, entry: &Entry) -> Outcome {
        match entry {
            Entry::Begin { .. } if self.id.is_some() => Outcome::Void(Void::Founded),
            Entry::Begin { cluster, nodes } => {
                self.id = Some(*cluster);
                let enrolled = nodes.iter().try_for_each(|node| self.enroll(*node).map(drop));
                enrolled.map_or_else(Outcome::Void, |()| Outcome::Done)
            }
            Entry::Enroll(node) => self.enroll(*node).map_or_else(Outcome::Void, |_| Outcome::Done),
            Entry::Blocks(command) => match self.delegations.apply(command) {
                Ok(()) => Outcome::Done,
                Err(void) => Outcome::Void(void),
            },
            // What was seen was another cluster's.
            Entry::Reserve(_) if self.id.is_none() => Outcome::Void(Void::Overtaken),
            Entry::Reserve(edits) => self.reservations.apply(edits),
        }
    }

    fn enroll(&mut self, node: NodeKey) -> Result<NodeId, Void> {
        let number = self.number_for(node)?;
        Ok(*self.numbers.entry(node).or_insert(number))
    }

    /// The number a node has, or would get.
    ///
    /// # Errors
    /// If there is none left: a number is given once and never again, also if its node has gone.
    pub fn number_for(&self, node: NodeKey) -> Result<NodeId, Void> {
        let next = self.numbers.values().map(|number| number.0 + 1).max().unwrap_or(0);
        match self.number(node) {
            Some(number) => Ok(number),
            None if usize::from(next) < RECEIVERS_MAX => Ok(NodeId(next)),
            None => Err(Void::NoNumber),
        }
    }

    /// A node's number.
    pub fn number(&self, node: NodeKey) -> Option<NodeId> {
        self.numbers.get(&node).copied()
    }

    /// The numbers of all nodes there ever were.
    pub fn numbers(&self) -> impl Iterator<Item = (NodeKey, NodeId)> + '_ {
        self.numbers.iter().map(|(key, number)| (*key, *number))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cluster_begins_once_and_numbers_stay() {
        let mut cluster = Cluster::default();
        let begin = |n| Entry::Begin { cluster: [n; 16], nodes: vec![NodeKey(9), NodeKey(4)] };
        assert_eq!(cluster.apply(&begin(1)), Outcome::Done);
        assert_eq!(cluster.apply(&begin(2)), Outcome::Void(Void::Founded));
        for key in [4, 7, 7] {
            cluster.apply(&Entry::Enroll(NodeKey(key)));
        }
        let number = |key| cluster.number(NodeKey(key)).map(|number| number.0);
        assert_eq!((number(9), number(4), number(7), number(1)), (Some(0), Some(1), Some(2), None));
        assert_eq!(cluster.id, Some([1; 16]));
    }

    #[test]
    fn a_node_too_many_is_refused_and_one_that_was_there_is_not() {
        let mut cluster = Cluster::default();
        cluster.apply(&Entry::Begin { cluster: [1; 16], nodes: (0..60).map(NodeKey).collect() });
        for key in 60..64 {
            assert_eq!(cluster.apply(&Entry::Enroll(NodeKey(key))), Outcome::Done);
        }
        assert_eq!(cluster.apply(&Entry::Enroll(NodeKey(64))), Outcome::Void(Void::NoNumber));
        assert_eq!((cluster.number(NodeKey(64)), cluster.number_for(NodeKey(3))), (None, Ok(NodeId(3))));
        assert_eq!(cluster.apply(&Entry::Enroll(NodeKey(63))), Outcome::Done);
        assert!(Void::NoNumber.to_string().contains("all its 64 numbers"));
    }

    #[test]
    fn nothing_is_reserved_before_it_begins() {
        let mut cluster = Cluster::default();
        let reserve =
            Entry::Reserve(Edits { seen: 0, texts: vec![([198, 18, 0, 1].into(), Some("{}".into()))] });
        assert_eq!(cluster.apply(&reserve), Outcome::Void(Void::Overtaken));
        cluster.apply(&Entry::Begin { cluster: [1; 16], nodes: Vec::new() });
        assert_eq!(cluster.apply(&reserve), Outcome::Reserved(1));
    }
}
