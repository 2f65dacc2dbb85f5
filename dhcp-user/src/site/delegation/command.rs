//! What can be agreed on.

use serde::{Deserialize, Serialize};

use super::{AddressRange, BlockId, NodeId, StoreId};
use crate::time::Span;

/// Blocks one command names, at most.
pub const BLOCKS_PER_COMMAND_MAX: usize = 4_096;

/// What can be proposed. Every command may be proposed, and applied, more than once.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Command {
    /// The cluster begins, with one node that is in and holds everything, and the others out.
    Found {
        /// The first node.
        founder: NodeId,
        /// Its store.
        store: StoreId,
        /// All nodes.
        nodes: Vec<NodeId>,
        /// How many blocks there are.
        blocks: u32,
        /// What they are ([`Blocks::digest`](crate::site::blocks::Blocks::digest)): a node that cuts otherwise holds nothing.
        digest: u64,
    },
    /// A node lives on, and its delegations with it.
    Renew {
        /// The node.
        node: NodeId,
        /// Its own number of this proposal, by which it knows when it made it.
        stamp: u64,
        /// How long they last from when it made it, by its own clock.
        lasts: Span,
        /// The furthest its promises reach that nobody has heard of (docs/sites.md, rule 2).
        mclt: Span,
    },
    /// A node is silent since that renewal, for long enough: it is counted on no more and what it holds moves.
    PutOut {
        /// The node.
        node: NodeId,
        /// The number of its last renewal when this was decided; another makes it void.
        renewals: u64,
        /// Who takes its blocks, in turn; if none of these is in, all that are.
        heirs: Vec<NodeId>,
    },
    /// A node wants to be counted on (again), or for the first time. The last one that is in may say so too: it goes on with
    /// another store, for it lost the one it had.
    Join {
        /// The node.
        node: NodeId,
        /// Its store.
        store: StoreId,
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
    /// Their holder hands blocks on, after everybody acknowledged all of them.
    Move {
        /// The holder.
        by: NodeId,
        /// Who is to hold them.
        to: NodeId,
        /// The blocks, with the epochs under which it holds them; one that has another epoch stays.
        blocks: Vec<(BlockId, u32)>,
    },
    /// Whatever the last holders of these blocks promised unheard has ended.
    Open {
        /// The holder.
        by: NodeId,
        /// The blocks, with the epochs under which it holds them.
        blocks: Vec<(BlockId, u32)>,
    },
    /// A node is added, out.
    Enlist {
        /// The node.
        node: NodeId,
    },
    /// A node that is out is no member any more.
    Strike {
        /// The node.
        node: NodeId,
    },
    /// A node wants no clients sent to it by the addresses its site shares, for it is drained or stops; or it does again.
    Stand {
        /// The node.
        node: NodeId,
        /// Whether it stands aside.
        aside: bool,
    },
    /// The pools are others from here on: nobody holds anything by those before, and one node begins with all of them.
    Recut(Recut),
    /// What the pools are, for those that come after them.
    Pools {
        /// What the blocks are ([`Command::Found`]); another makes it void.
        digest: u64,
        /// The addresses in them.
        pools: Vec<AddressRange>,
    },
}

/// See [`Command::Recut`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Recut {
    /// Who begins.
    pub by: NodeId,
    /// What the blocks were ([`Command::Found`]); another makes it void.
    pub from: u64,
    /// What they are.
    pub digest: u64,
    /// How many there are.
    pub blocks: u32,
    /// Those of them that have no address which was ever in a pool.
    pub fresh: Vec<BlockId>,
    /// The addresses in them.
    pub pools: Vec<AddressRange>,
    /// The last renewals of all members when this was decided; another makes it void.
    pub renewals: Vec<(NodeId, u64)>,
}
