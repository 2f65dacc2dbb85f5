//! Who holds which block: the state that consensus replicates, as a pure machine that every node feeds the same commands
//! in the same order. There is no clock in it: whether enough time has passed is judged by whoever proposes, and the
//! conditions in the commands make a judgement void that was overtaken (docs/sites.md, rule 1).

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::blocks::BlockId;

/// A node's number in the cluster: its place in the list of all nodes, given once and never again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct NodeId(pub u16);

/// What a node can be counted on for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Presence {
    /// For nothing.
    Out,
    /// It is being told everything; these nodes confirmed that it has all of theirs.
    Joining {
        /// Who confirmed.
        confirmed: BTreeSet<NodeId>,
    },
    /// It has all that was acknowledged, and may hold blocks.
    In,
}

/// What is known of a node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Member {
    /// What it can be counted on for.
    pub presence: Presence,
    /// How often it renewed its delegations.
    pub renewals: u64,
    /// How often it began to join: a confirmation of an earlier attempt says nothing of this one.
    pub attempt: u32,
}

/// A block's delegation.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Delegation {
    /// Who holds it.
    pub holder: Option<NodeId>,
    /// Rises whenever the block moves.
    pub epoch: u32,
    /// Whether its last holder was put out, so that it may have made promises nobody knows of.
    pub taken_over: bool,
}

/// What can be proposed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Command {
    /// The cluster begins, with one node that is in and the others out.
    Found {
        /// The first node.
        founder: NodeId,
        /// All nodes.
        nodes: Vec<NodeId>,
        /// How many blocks there are.
        blocks: u32,
    },
    /// A node lives on, and its delegations with it.
    Renew {
        /// The node.
        node: NodeId,
    },
    /// A node is silent since that renewal, for long enough: it is counted on no more and what it holds moves.
    PutOut {
        /// The node.
        node: NodeId,
        /// The number of its last renewal when this was decided; another makes it void.
        renewals: u64,
        /// Who takes its blocks, in turn; none: nobody holds them until they are assigned.
        heirs: Vec<NodeId>,
    },
    /// A node wants to be counted on (again), or for the first time.
    Join {
        /// The node.
        node: NodeId,
    },
    /// `by` was acknowledged by the joining node everything up to where it began to wait for its acknowledgements.
    Confirm {
        /// The joining node.
        node: NodeId,
        /// Which attempt.
        attempt: u32,
        /// Who confirms.
        by: NodeId,
    },
    /// Its holder gives a block back, after everybody acknowledged all of it.
    GiveBack {
        /// The block.
        block: BlockId,
        /// Under which epoch it holds it.
        epoch: u32,
        /// The holder.
        by: NodeId,
    },
    /// A block nobody holds is given to a node that is in.
    Assign {
        /// The block.
        block: BlockId,
        /// Its epoch until now.
        epoch: u32,
        /// To whom.
        to: NodeId,
    },
}

/// Why a command had no effect.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error, Serialize, Deserialize)]
pub enum Void {
    /// There is a cluster already.
    #[error("the cluster is founded already")]
    Founded,
    /// No such node, or block.
    #[error("no such node or block")]
    Unknown,
    /// The node is not in.
    #[error("the node is out: it must join first")]
    NotIn,
    /// The node is in or joining already.
    #[error("the node is in already")]
    NotOut,
    /// Something happened between the decision and now.
    #[error("overtaken by another command")]
    Overtaken,
    /// The only node that is in cannot be put out: nobody would have what it promised.
    #[error("the last node that is in cannot be put out")]
    LastOne,
}

/// Nodes and blocks.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Delegations {
    members: BTreeMap<NodeId, Member>,
    blocks: Vec<Delegation>,
}

impl Delegations {
    /// Blocks shared out among all nodes in turn, once and for ever: for fewer than three voters.
    pub fn shared_out(nodes: &[NodeId], blocks: u32) -> Self {
        let member = Member { presence: Presence::In, renewals: 0, attempt: 0 };
        let holders = nodes.iter().copied().cycle();
        let delegation = |node| Delegation { holder: Some(node), epoch: 1, taken_over: false };
        Self {
            members: nodes.iter().map(|node| (*node, member.clone())).collect(),
            blocks: holders.take(usize::try_from(blocks).unwrap_or(0)).map(delegation).collect(),
        }
    }

    /// Applies a command.
    ///
    /// # Errors
    /// Why it had no effect.
    pub fn apply(&mut self, command: &Command) -> Result<(), Void> {
        match command {
            Command::Found { founder, nodes, blocks } => self.found(*founder, nodes, *blocks),
            Command::Renew { node } => {
                let member = self.members.get_mut(node).ok_or(Void::Unknown)?;
                if member.presence != Presence::In {
                    return Err(Void::NotIn);
                }
                member.renewals += 1;
                Ok(())
            }
            Command::PutOut { node, renewals, heirs } => self.put_out(*node, *renewals, heirs),
            Command::Join { node } => {
                let member = self.members.get_mut(node).ok_or(Void::Unknown)?;
                if member.presence == Presence::In {
                    return Err(Void::NotOut);
                }
                member.attempt += 1;
                member.presence = Presence::Joining { confirmed: BTreeSet::new() };
                Ok(())
            }
            Command::Confirm { node, attempt, by } => self.confirm(*node, *attempt, *by),
            Command::GiveBack { block, epoch, by } => {
                let block = self.block_mut(*block, *epoch)?;
                if block.holder != Some(*by) {
                    return Err(Void::Overtaken);
                }
                *block = Delegation { holder: None, epoch: block.epoch + 1, taken_over: false };
                Ok(())
            }
            Command::Assign { block, epoch, to } => {
                if !self.is_in(*to) {
                    return Err(Void::NotIn);
                }
                let block = self.block_mut(*block, *epoch)?;
                if block.holder.is_some() {
                    return Err(Void::Overtaken);
                }
                (block.holder, block.epoch) = (Some(*to), block.epoch + 1);
                Ok(())
            }
        }
    }

    fn found(&mut self, founder: NodeId, nodes: &[NodeId], blocks: u32) -> Result<(), Void> {
        if !self.members.is_empty() {
            return Err(Void::Founded);
        }
        if !nodes.contains(&founder) {
            return Err(Void::Unknown);
        }
        let presence = |node| if node == founder { Presence::In } else { Presence::Out };
        let member = |node| Member { presence: presence(node), renewals: 0, attempt: 0 };
        self.members = nodes.iter().map(|node| (*node, member(*node))).collect();
        self.blocks = vec![Delegation::default(); usize::try_from(blocks).unwrap_or(0)];
        Ok(())
    }

    fn put_out(&mut self, node: NodeId, renewals: u64, heirs: &[NodeId]) -> Result<(), Void> {
        let member = self.members.get(&node).ok_or(Void::Unknown)?;
        if member.renewals != renewals || member.presence == Presence::Out {
            return Err(Void::Overtaken);
        }
        let was_in = member.presence == Presence::In;
        if was_in && self.members_in().all(|other| other == node) {
            return Err(Void::LastOne);
        }
        let heirs: Vec<NodeId> =
            heirs.iter().copied().filter(|heir| *heir != node && self.is_in(*heir)).collect();
        if let Some(member) = self.members.get_mut(&node) {
            member.presence = Presence::Out;
        }
        if was_in {
            let mut turn = heirs.iter().copied().cycle();
            for block in self.blocks.iter_mut().filter(|block| block.holder == Some(node)) {
                *block = Delegation { holder: turn.next(), epoch: block.epoch + 1, taken_over: true };
            }
            // What the node that went told a newcomer, the others may not have told it: all confirm anew.
            for member in self.members.values_mut() {
                if let Presence::Joining { confirmed } = &mut member.presence {
                    confirmed.clear();
                    member.attempt += 1;
                }
            }
        }
        Ok(())
    }

    fn confirm(&mut self, node: NodeId, attempt: u32, by: NodeId) -> Result<(), Void> {
        if !self.is_in(by) {
            return Err(Void::NotIn);
        }
        let all: BTreeSet<NodeId> = self.members_in().collect();
        let member = self.members.get_mut(&node).ok_or(Void::Unknown)?;
        let Presence::Joining { confirmed } = &mut member.presence else { return Err(Void::Overtaken) };
        if member.attempt != attempt {
            return Err(Void::Overtaken);
        }
        confirmed.insert(by);
        if confirmed.is_superset(&all) {
            member.presence = Presence::In;
        }
        Ok(())
    }

    fn block_mut(&mut self, block: BlockId, epoch: u32) -> Result<&mut Delegation, Void> {
        let index = usize::try_from(block.0).map_err(|_| Void::Unknown)?;
        let block = self.blocks.get_mut(index).ok_or(Void::Unknown)?;
        if block.epoch == epoch { Ok(block) } else { Err(Void::Overtaken) }
    }

    /// Whether a node is in.
    pub fn is_in(&self, node: NodeId) -> bool {
        self.members.get(&node).is_some_and(|member| member.presence == Presence::In)
    }

    /// The nodes that are in.
    pub fn members_in(&self) -> impl Iterator<Item = NodeId> + '_ {
        self.members.iter().filter(|(_, member)| member.presence == Presence::In).map(|(node, _)| *node)
    }

    /// The nodes whose acknowledgements `node` must wait for: all others that are in or joining.
    pub fn audience(&self, node: NodeId) -> impl Iterator<Item = NodeId> + '_ {
        let counted = self.members.iter().filter(|(_, member)| member.presence != Presence::Out);
        counted.map(|(node, _)| *node).filter(move |other| *other != node)
    }

    /// What is known of a node.
    pub fn member(&self, node: NodeId) -> Option<&Member> {
        self.members.get(&node)
    }

    /// A block's delegation.
    pub fn block(&self, block: BlockId) -> Option<Delegation> {
        self.blocks.get(usize::try_from(block.0).ok()?).copied()
    }

    /// All blocks' delegations, in the order of the blocks.
    pub fn blocks(&self) -> impl ExactSizeIterator<Item = &Delegation> {
        self.blocks.iter()
    }
}

#[cfg(test)]
#[path = "delegation_tests.rs"]
mod tests;
