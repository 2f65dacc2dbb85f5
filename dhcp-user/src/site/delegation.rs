//! Who holds which block: the state that consensus replicates, as a pure machine that every node feeds the same commands
//! in the same order. There is no clock in it: whether enough time has passed is judged by whoever proposes, and the
//! conditions in the commands make a judgement void that was overtaken (docs/sites.md, rule 1).

mod command;
mod recut;
mod void;

use std::{
    collections::{BTreeMap, BTreeSet},
    net::Ipv4Addr,
};

use serde::{Deserialize, Serialize};

pub use self::{
    command::{BLOCKS_PER_COMMAND_MAX, Command, Recut},
    void::Void,
};
use super::blocks::BlockId;
use crate::time::Span;

/// A node's number in the cluster, given once and never again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct NodeId(pub u16);

/// A store's number: random, drawn when it is first marked. 0 is none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct StoreId(pub u64);

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
    /// Whether its last renewal was for ever: there were too few nodes then for anything to move by itself.
    pub for_ever: bool,
    /// How long its last renewal lasts, by its own clock: its settings may be others than those of who puts it out.
    pub lasts: Span,
    /// The furthest that what it promises, unheard by others, reaches: the longest it said since it joined.
    pub mclt: Span,
    /// How often it began to join: a confirmation of an earlier attempt says nothing of this one.
    pub attempt: u32,
    /// The store it joined with: another one has nothing of what it is counted on for.
    pub store: StoreId,
}

/// A block's delegation. There is none without a holder: what a block's leases are is always somebody's to tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Delegation {
    /// Who holds it.
    pub holder: NodeId,
    /// Rises whenever the block moves.
    pub epoch: u32,
    /// Whether its last holder was put out, so that it may have made promises nobody knows of; until the holder opens it.
    pub taken_over: bool,
    /// How far those promises may reach.
    pub unheard: Span,
}

/// Nodes and blocks.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Delegations {
    members: BTreeMap<NodeId, Member>,
    blocks: Vec<Delegation>,
    digest: u64,
    /// Members that stand aside ([`Command::Stand`]).
    aside: BTreeSet<NodeId>,
    /// Nodes that were members once: they may still answer what they know of.
    struck: BTreeSet<NodeId>,
    /// All addresses that were ever in a pool, ascending and disjoint; there may be more if they are not known.
    pooled: Vec<AddressRange>,
    pooled_known: bool,
}

/// Addresses from one to another, both included.
pub type AddressRange = (Ipv4Addr, Ipv4Addr);

impl Member {
    const fn new(presence: Presence) -> Self {
        Self {
            presence,
            renewals: 0,
            for_ever: false,
            lasts: Span::ZERO,
            mclt: Span::ZERO,
            attempt: 0,
            store: StoreId(0),
        }
    }
}

impl Delegation {
    const fn open(holder: NodeId, epoch: u32) -> Self {
        Self { holder, epoch, taken_over: false, unheard: Span::ZERO }
    }
}

impl Delegations {
    /// Blocks shared out among all nodes in turn, once and for ever: for fewer than three voters.
    pub fn shared_out(nodes: &[NodeId], blocks: u32, digest: u64) -> Self {
        let member = Member::new(Presence::In);
        let holders = nodes.iter().copied().cycle();
        let delegation = |holder| Delegation::open(holder, 1);
        Self {
            members: nodes.iter().map(|node| (*node, member.clone())).collect(),
            blocks: holders.take(usize::try_from(blocks).unwrap_or(0)).map(delegation).collect(),
            digest,
            ..Self::default()
        }
    }

    /// Applies a command.
    ///
    /// # Errors
    /// Why it had no effect.
    pub fn apply(&mut self, command: &Command) -> Result<(), Void> {
        match command {
            Command::Found { founder, store, nodes, blocks, digest } => {
                self.found((*founder, *store), nodes, *blocks, *digest)
            }
            Command::Renew { node, lasts, mclt, .. } => {
                let for_ever = !self.moves_by_itself();
                let member = self.members.get_mut(node).ok_or(Void::Unknown)?;
                if member.presence == Presence::Out {
                    return Err(Void::NotIn);
                }
                member.renewals += 1;
                member.for_ever = for_ever;
                member.lasts = *lasts;
                member.mclt = member.mclt.max(*mclt);
                Ok(())
            }
            Command::PutOut { node, renewals, heirs } => self.put_out(*node, *renewals, heirs),
            Command::Join { node, store } => self.join(*node, *store),
            Command::Confirm { node, attempt, by } => self.confirm(*node, *attempt, *by),
            Command::Move { by, to, blocks } => self.hand_on(*by, *to, blocks),
            Command::Open { by, blocks } => {
                let mut opened = Err(Void::Overtaken);
                for (block, epoch) in blocks {
                    if let Some(held) = self.held_mut(*block, *epoch, *by) {
                        (held.taken_over, held.unheard) = (false, Span::ZERO);
                        opened = Ok(());
                    }
                }
                opened
            }
            Command::Enlist { node } => {
                if self.members.is_empty() || self.members.contains_key(node) {
                    return Err(Void::Unknown);
                }
                self.members.insert(*node, Member::new(Presence::Out));
                self.struck.remove(node);
                Ok(())
            }
            Command::Strike { node } => {
                let member = self.members.get(node).ok_or(Void::Unknown)?;
                if member.presence != Presence::Out {
                    return Err(Void::NotGone);
                }
                self.members.remove(node);
                self.aside.remove(node);
                self.struck.insert(*node);
                Ok(())
            }
            Command::Stand { node, aside } => {
                if !self.members.contains_key(node) {
                    return Err(Void::Unknown);
                }
                let news = if *aside { self.aside.insert(*node) } else { self.aside.remove(node) };
                if news { Ok(()) } else { Err(Void::Overtaken) }
            }
            Command::Recut(recut) => self.recut(recut),
            Command::Pools { digest, pools } => {
                if self.digest != *digest || self.pooled_known {
                    return Err(Void::Overtaken);
                }
                self.add_pools(pools);
                Ok(())
            }
        }
    }

    fn found(
        &mut self,
        (founder, store): (NodeId, StoreId),
        nodes: &[NodeId],
        blocks: u32,
        digest: u64,
    ) -> Result<(), Void> {
        if !self.members.is_empty() {
            return Err(Void::Founded);
        }
        if !nodes.contains(&founder) {
            return Err(Void::Unknown);
        }
        let presence = |node| if node == founder { Presence::In } else { Presence::Out };
        let member = |node| Member::new(presence(node));
        self.members = nodes.iter().map(|node| (*node, member(*node))).collect();
        if let Some(member) = self.members.get_mut(&founder) {
            member.store = store;
        }
        let delegation = Delegation::open(founder, 1);
        self.blocks = vec![delegation; usize::try_from(blocks).unwrap_or(0)];
        self.digest = digest;
        Ok(())
    }

    fn join(&mut self, node: NodeId, store: StoreId) -> Result<(), Void> {
        // Of what the last one that is in has lost, nobody knows more: it goes on with another store.
        let last = self.members_in().all(|other| other == node);
        let member = self.members.get_mut(&node).ok_or(Void::Unknown)?;
        if member.presence == Presence::In {
            if !last || member.store == store {
                return Err(Void::NotOut);
            }
            member.store = store;
            return Ok(());
        }
        member.attempt += 1;
        member.store = store;
        (member.lasts, member.mclt) = (Span::ZERO, Span::ZERO);
        member.presence = Presence::Joining { confirmed: BTreeSet::new() };
        Ok(())
    }

    fn put_out(&mut self, node: NodeId, renewals: u64, heirs: &[NodeId]) -> Result<(), Void> {
        let member = self.members.get(&node).ok_or(Void::Unknown)?;
        // It may not have heard yet that it does not hold for ever any more: its next renewal says so.
        let for_ever = member.for_ever && self.moves_by_itself();
        if for_ever || member.renewals != renewals || member.presence == Presence::Out {
            return Err(Void::Overtaken);
        }
        let (was_in, mclt) = (member.presence == Presence::In, member.mclt);
        if was_in && self.members_in().all(|other| other == node) {
            return Err(Void::LastOne);
        }
        let mut heirs: Vec<NodeId> =
            heirs.iter().copied().filter(|heir| *heir != node && self.is_in(*heir)).collect();
        if heirs.is_empty() {
            heirs = self.members_in().filter(|other| *other != node).collect();
        }
        if let Some(member) = self.members.get_mut(&node) {
            member.presence = Presence::Out;
        }
        if was_in {
            let turn = heirs.iter().copied().cycle();
            let lost = self.blocks.iter_mut().filter(|block| block.holder == node);
            for (block, holder) in lost.zip(turn) {
                // It may have been taken over itself, and not opened yet.
                let unheard = block.unheard.max(mclt);
                *block = Delegation { holder, epoch: block.epoch + 1, taken_over: true, unheard };
            }
            // What the node that went told a newcomer, the others may not have told it: all confirm anew.
            self.confirm_anew();
        }
        Ok(())
    }

    /// A block's new holder has not told a newcomer of it yet, whatever its last one or it itself confirmed.
    fn confirm_anew(&mut self) {
        for member in self.members.values_mut() {
            if let Presence::Joining { confirmed } = &mut member.presence {
                confirmed.clear();
                member.attempt += 1;
            }
        }
    }

    fn hand_on(&mut self, by: NodeId, to: NodeId, blocks: &[(BlockId, u32)]) -> Result<(), Void> {
        if !self.is_in(to) {
            return Err(Void::NotIn);
        }
        let mut moved = Err(Void::Overtaken);
        for (block, epoch) in blocks {
            if let Some(held) = self.held_mut(*block, *epoch, by).filter(|held| !held.taken_over) {
                *held = Delegation::open(to, held.epoch + 1);
                moved = Ok(());
            }
        }
        if moved.is_ok() {
            self.confirm_anew();
        }
        moved
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

    fn held_mut(&mut self, block: BlockId, epoch: u32, by: NodeId) -> Option<&mut Delegation> {
        let held = self.blocks.get_mut(usize::try_from(block.0).ok()?)?;
        (held.epoch == epoch && held.holder == by).then_some(held)
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

    /// All nodes.
    pub fn members(&self) -> impl Iterator<Item = (NodeId, &Member)> {
        self.members.iter().map(|(node, member)| (*node, member))
    }

    /// Whether a node stands aside where addresses are shared.
    pub fn stands_aside(&self, node: NodeId) -> bool {
        self.aside.contains(&node)
    }

    /// Whether there are enough nodes for a majority without one of them. If not, delegations have no end, and only an
    /// operator can say that a node is down.
    pub fn moves_by_itself(&self) -> bool {
        self.members.len() >= 3
    }

    /// Whether a node has ever been removed that was not added again.
    pub fn any_struck(&self) -> bool {
        !self.struck.is_empty()
    }

    /// Whether there is a cluster.
    pub fn is_founded(&self) -> bool {
        !self.members.is_empty()
    }

    /// What the blocks are; see [`Command::Found`].
    pub const fn digest(&self) -> u64 {
        self.digest
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
