//! What a node may do with an address at a moment (docs/sites.md, rules 1 to 5): the engine asks before it binds, extends,
//! frees or refuses. Told by [`node`](super::node) what is held; knows nothing of peers.

use std::{net::Ipv4Addr, sync::Arc};

use super::blocks::{BlockId, Blocks};
use crate::{
    lease::record::{LeaseRecord, LeaseState},
    time::{Span, Timestamp},
};

/// What a node may do with an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Right {
    /// Everything.
    Holder,
    /// It has taken the address over: it may extend what was alive then, and nothing else yet (rule 5).
    Heir,
    /// It may serve the client it knows, within the horizon it knows (rule 3).
    Standby,
}

/// What is known of a block that is held.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Held {
    /// When it was taken over; zero if it was not.
    pub since: Timestamp,
    /// Until when whatever its last holder promised unheard lasts.
    pub closed_until: Timestamp,
}

impl Held {
    /// A block that came with everything that is to be known of it.
    pub const OPEN: Self = Self { since: Timestamp::ZERO, closed_until: Timestamp::ZERO };
}

/// What a node may do.
#[derive(Clone, Debug)]
pub struct Authority {
    blocks: Arc<Blocks>,
    held: Vec<Option<Held>>,
    mclt: Span,
    held_until: Timestamp,
    alone: bool,
    only_one: bool,
    strange: bool,
}

impl Authority {
    /// Of a node that holds nothing yet.
    pub fn new(blocks: Arc<Blocks>, mclt: Span) -> Self {
        let held = vec![None; blocks.len()];
        Self {
            blocks,
            held,
            mclt,
            held_until: Timestamp::ZERO,
            alone: false,
            only_one: false,
            strange: false,
        }
    }

    /// The blocks.
    pub const fn blocks(&self) -> &Arc<Blocks> {
        &self.blocks
    }

    /// The pools are cut otherwise from here on: nothing is held unless these are the same.
    pub fn recut(&mut self, blocks: Arc<Blocks>) {
        if *blocks != *self.blocks {
            self.held = vec![None; blocks.len()];
            self.blocks = blocks;
        }
    }

    /// Until when what is held is held.
    pub const fn set_held_until(&mut self, until: Timestamp) {
        self.held_until = until;
    }

    /// Whether no other node is counted on, and whether there is none at all.
    pub const fn set_alone(&mut self, alone: bool, only_one: bool) {
        (self.alone, self.only_one) = (alone, only_one);
    }

    /// Whether it is not known, or not so, that the cluster's addresses are cut as this node's are. Then nothing is known of
    /// addresses outside these blocks either: they may be another node's to give.
    pub const fn set_strange(&mut self, strange: bool) {
        self.strange = strange;
    }

    /// As [`set_strange`](Self::set_strange) was told.
    pub const fn is_strange(&self) -> bool {
        self.strange
    }

    /// Whether there is no other node that could know of a lease.
    pub const fn only_one(&self) -> bool {
        self.only_one
    }

    /// A block is held from here on, or no more.
    pub fn set(&mut self, block: BlockId, held: Option<Held>) {
        if let Some(slot) = usize::try_from(block.0).ok().and_then(|index| self.held.get_mut(index)) {
            *slot = held;
        }
    }

    /// What is held of a block, whether the delegation lasts or not.
    pub fn held(&self, block: BlockId) -> Option<Held> {
        *self.held.get(usize::try_from(block.0).ok()?)?
    }

    /// Whether an address's block is held, whether the delegation lasts or not.
    pub fn holds(&self, address: Ipv4Addr) -> bool {
        self.blocks.of_address(address).and_then(|block| self.held(block)).is_some()
    }

    /// What may be done with addresses of a block.
    pub fn right_in(&self, now: Timestamp, block: BlockId) -> Right {
        match self.held(block) {
            Some(held) if now < self.held_until => {
                if now < held.closed_until {
                    Right::Heir
                } else {
                    Right::Holder
                }
            }
            _ => Right::Standby,
        }
    }

    /// What may be done with an address. One outside all pools is reserved for its client: no node can bind it to another.
    pub fn right(&self, now: Timestamp, address: Ipv4Addr) -> Right {
        if self.strange {
            return Right::Standby;
        }
        self.blocks.of_address(address).map_or(Right::Holder, |block| self.right_in(now, block))
    }

    /// Whether a client may be told that an address is not its. Of those outside all pools only while delegations last: the
    /// pools may be others by now, of which who is cut off has not heard.
    pub fn may_refuse(&self, now: Timestamp, address: Ipv4Addr) -> bool {
        self.right(now, address) == Right::Holder && now < self.held_until
    }

    /// The furthest a promise may reach that other nodes have not acknowledged (rule 2).
    pub fn unheard_until(&self, now: Timestamp, address: Ipv4Addr) -> Timestamp {
        if self.alone || self.blocks.of_address(address).is_none() {
            Timestamp(u64::MAX)
        } else {
            now + self.mclt
        }
    }

    /// Whether a lease is certainly its client's still: not if its block was taken over after the last moment we know it
    /// may have been promised, for then its last holder may have freed it (rules 4 and 5).
    pub fn is_certain(&self, now: Timestamp, lease: &LeaseRecord) -> bool {
        let held = self.blocks.of_address(lease.address).and_then(|block| self.held(block));
        lease.state == LeaseState::Bound
            && held.is_none_or(|held| now >= held.closed_until || lease.reach() > held.since)
    }

    /// Until when an address may be nobody else's than the client's we know.
    pub fn reach(&self, lease: &LeaseRecord) -> Timestamp {
        let held = self.blocks.of_address(lease.address).and_then(|block| self.held(block));
        lease.reach().max(held.map_or(Timestamp::ZERO, |held| held.closed_until))
    }
}
