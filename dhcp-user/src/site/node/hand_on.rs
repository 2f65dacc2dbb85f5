//! Where blocks go while all is well: a node short of addresses asks for blocks, by the configured preference; a holder
//! hands on what it can spare once everybody has acknowledged all of it.

use super::{Node, Output, message::Message};
use crate::{
    engine::Engine,
    server::unsaved::Unsaved,
    site::{
        authority::{Held, Right},
        blocks::BlockId,
        delegation::{BLOCKS_PER_COMMAND_MAX, Command, NodeId},
        replication::Milestone,
    },
    time::{Span, Timestamp},
};

/// How often a node looks whether it is short of addresses.
const LOOK_EVERY: Span = Span::from_secs(1);
/// How long an answer to a wish is waited for before the next is asked.
const WISH_EVERY: Span = Span::from_secs(4);
/// How long everybody may take to acknowledge what is to move: a node that is counted on and acknowledges nothing, for its
/// disk is full or it is dead, must not keep the blocks' clients waiting.
const MOVE_WITHIN: Span = Span::from_secs(10);
/// How long no block moves after one could not.
const MOVE_NOT_BEFORE: Span = Span::from_secs(60);
/// How often a move that was not seen applied is proposed again.
const MOVE_AGAIN: Span = Span::from_secs(1);
/// A node is short of addresses in a pool when fewer than one in this many of what it holds there is free.
const SHORT: u64 = 10;

/// Blocks on their way to another node: from the moment they are in here, this node is a standby for them.
#[derive(Clone, Debug)]
pub(super) struct Moving {
    to: NodeId,
    blocks: Vec<(BlockId, u32)>,
    /// What everybody must know before they move.
    all_told: Milestone,
    since: Timestamp,
    proposed_at: Option<Timestamp>,
    /// It was proposed at some time: it may come true.
    proposed: bool,
}

impl Node {
    /// Asks for blocks where addresses are short, and brings moves forward. While there are leases in memory that found no room
    /// on the disk no move begins: they are not in the change log, and what everybody acknowledges would not be all of it.
    pub(super) fn hand_on(&mut self, now: Timestamp, engine: &mut Engine, unsaved: &Unsaved) {
        self.give_up_moving(now, engine);
        self.propose_move(now);
        if !unsaved.is_empty() {
            return;
        }
        self.serve_wishes(now, engine);
        if now < self.next_look || now >= self.held_until || !self.state.is_in(self.settings.me) {
            return;
        }
        self.next_look = now + LOOK_EVERY;
        if self.draining {
            self.drain(now, engine);
        } else {
            self.wish(now, engine);
        }
    }

    fn wish(&mut self, now: Timestamp, engine: &Engine) {
        let Some(authority) = engine.authority() else { return };
        let me = self.settings.me;
        let members: Vec<NodeId> = self.state.members_in().collect();
        let pools = engine.config().subnets.iter().map(|subnet| subnet.pools.len()).sum::<usize>();
        for pool in 0..pools {
            let wished = self.wishes.get(&pool).map_or(Timestamp::ZERO, |(at, _)| *at);
            if now < wished + WISH_EVERY {
                continue;
            }
            let (mut counts, mut all) = (vec![0_usize; members.len()], 0);
            let (mut free, mut held_addresses) = (0, 0);
            for block in authority.blocks().of_pool(pool) {
                let Some(held) = self.state.block(block) else { continue };
                all += 1;
                if let Some(at) = members.iter().position(|node| *node == held.holder)
                    && let Some(count) = counts.get_mut(at)
                {
                    *count += 1;
                }
                if held.holder == me {
                    let range = authority.blocks().get(block);
                    held_addresses +=
                        range.map_or(0, |range| u64::from(range.last.to_bits() - range.first.to_bits()) + 1);
                    if authority.right_in(now, block) == Right::Holder {
                        free += engine.free_in_block(block);
                    }
                }
            }
            let fair = all / members.len().max(1);
            let mine = members.iter().position(|node| *node == me).and_then(|at| counts.get(at)).copied();
            let mine = mine.unwrap_or(0);
            let short = free < (held_addresses / SHORT).max(1);
            // A share somewhat below the fair one is no reason to move blocks that clients live in.
            let fewer = mine < fair && mine <= fair / 2;
            if !fewer && !short {
                self.wishes.remove(&pool);
                continue;
            }
            let donors: Vec<NodeId> = self
                .donors()
                .into_iter()
                .filter(|donor| {
                    let at = members.iter().position(|node| node == donor);
                    let count = at.and_then(|at| counts.get(at)).copied().unwrap_or(0);
                    count > if fewer { fair } else { 1 }
                })
                .collect();
            let turn = self.wishes.get(&pool).map_or(0, |(_, turn)| *turn);
            let Some(&donor) = donors.get(turn % donors.len().max(1)) else { continue };
            self.wishes.insert(pool, (now, turn + 1));
            let blocks = if fewer { (fair - mine).min(BLOCKS_PER_COMMAND_MAX) } else { 1 };
            let (Ok(pool), Ok(blocks)) = (u32::try_from(pool), u32::try_from(blocks)) else { continue };
            self.out.push(Output::Send(donor, Message::Want { pool, blocks }));
        }
    }

    /// Whom to ask for blocks, in turn.
    pub(super) fn donors(&self) -> Vec<NodeId> {
        let mut donors: Vec<(usize, u64, usize, NodeId)> = self
            .peers
            .iter()
            .filter(|peer| peer.connected && self.state.is_in(peer.node))
            .map(|peer| {
                let site = self.settings.place(peer.node).map(|place| place.site);
                let rank = self.settings.donors.iter().position(|donor| Some(*donor) == site);
                let rank = rank.unwrap_or(usize::MAX);
                // Those that were named come first in any case.
                let by_free = self.settings.balanced && rank >= self.settings.named_donors;
                let fewest = if by_free { u64::MAX - peer.free } else { 0 };
                (
                    rank.min(if by_free { self.settings.named_donors } else { usize::MAX }),
                    fewest,
                    rank,
                    peer.node,
                )
            })
            .collect();
        donors.sort_unstable();
        donors.into_iter().map(|(.., node)| node).collect()
    }

    /// A peer is short of addresses: its wish waits for its turn, as long as the peer waits for an answer.
    pub(super) fn on_want(&mut self, now: Timestamp, from: NodeId, pool: u32, blocks: u32, engine: &Engine) {
        let pools = engine.config().subnets.iter().map(|subnet| subnet.pools.len()).sum::<usize>();
        let known = usize::try_from(pool).ok().filter(|pool| *pool < pools);
        let Some(pool) = known.filter(|_| self.settings.place(from).is_some()) else { return };
        self.wanted.insert((from, pool), (now, blocks));
    }

    /// One move after the other: of several peers that ask in the same moment, as when all of them have just come in, none
    /// has to ask again.
    fn serve_wishes(&mut self, now: Timestamp, engine: &mut Engine) {
        self.wanted.retain(|_, (asked_at, _)| now < *asked_at + WISH_EVERY);
        while self.moving.is_none()
            && let Some((&(from, pool), &(_, blocks))) =
                self.wanted.iter().min_by_key(|(_, (asked_at, _))| *asked_at)
        {
            self.wanted.remove(&(from, pool));
            self.grant_wish(now, from, pool, blocks, engine);
        }
    }

    fn grant_wish(&mut self, now: Timestamp, from: NodeId, pool: usize, blocks: u32, engine: &mut Engine) {
        if now >= self.held_until || !self.state.is_in(from) {
            return;
        }
        let Some(authority) = engine.authority() else { return };
        let mut held: Vec<(u64, BlockId, u32)> = authority
            .blocks()
            .of_pool(pool)
            .filter(|block| authority.right_in(now, *block) == Right::Holder)
            .filter_map(|block| {
                let delegation = self.state.block(block)?;
                (!delegation.taken_over).then(|| (engine.free_in_block(block), block, delegation.epoch))
            })
            .collect();
        let holders = self.state.members_in().count().max(1);
        let fair = authority.blocks().of_pool(pool).count() / holders;
        let theirs = authority.blocks().of_pool(pool).filter_map(|block| self.state.block(block));
        let few = theirs.filter(|held| held.holder == from).count() <= fair / 2;
        let size = |block: &BlockId| {
            let range = authority.blocks().get(*block);
            range.map_or(0, |range| u64::from(range.last.to_bits() - range.first.to_bits()) + 1)
        };
        let held_addresses: u64 = held.iter().map(|(_, block, _)| size(block)).sum();
        let mut free: u64 = held.iter().map(|(free, ..)| free).sum();
        held.sort_unstable_by_key(|(free, block, _)| (std::cmp::Reverse(*free), *block));
        let mut spare = Vec::new();
        let mut left = held.len();
        for (free_here, block, epoch) in held {
            // Who has far too few blocks gets of what is above a fair share; who is short of addresses only what leaves as
            // many here as it takes.
            let enough = free_here.max(held_addresses / SHORT).max(1);
            let can =
                few && left > fair || left > 1 && free_here > 0 && free.saturating_sub(free_here) >= enough;
            if spare.len() >= usize::try_from(blocks).unwrap_or(usize::MAX).min(BLOCKS_PER_COMMAND_MAX)
                || !can
            {
                break;
            }
            spare.push((block, epoch));
            left -= 1;
            free -= free_here;
        }
        self.begin_move(now, from, spare, engine);
    }

    fn drain(&mut self, now: Timestamp, engine: &mut Engine) {
        let Some(authority) = engine.authority().filter(|_| self.moving.is_none()) else { return };
        let held: Vec<(BlockId, u32)> = (0..)
            .map(BlockId)
            .zip(self.state.blocks())
            .filter(|(block, held)| {
                held.holder == self.settings.me
                    && !held.taken_over
                    && authority.right_in(now, *block) == Right::Holder
            })
            .map(|(block, held)| (block, held.epoch))
            .collect();
        let heirs = self.heirs_elsewhere(now);
        let turn = usize::try_from(self.counts.handed_on).unwrap_or(0) % heirs.len().max(1);
        let Some(&heir) = heirs.get(turn) else { return };
        let share = held.len().div_ceil(heirs.len().max(1)).min(BLOCKS_PER_COMMAND_MAX);
        let some = held.into_iter().take(share).collect();
        self.begin_move(now, heir, some, engine);
    }

    fn begin_move(&mut self, now: Timestamp, to: NodeId, blocks: Vec<(BlockId, u32)>, engine: &mut Engine) {
        if blocks.is_empty() || to == self.settings.me || now < self.no_moves_until {
            return;
        }
        for (block, _) in &blocks {
            engine.hold(now, *block, None);
        }
        let all_told = Milestone::now(&self.log);
        self.moving = Some(Moving { to, blocks, all_told, since: now, proposed_at: None, proposed: false });
    }

    /// Takes blocks back that nobody was asked to agree to yet, for not everybody acknowledges what their leases are.
    fn give_up_moving(&mut self, now: Timestamp, engine: &mut Engine) {
        let late = |moving: &mut Moving| !moving.proposed && now >= moving.since + MOVE_WITHIN;
        let Some(moving) = self.moving.take_if(late) else { return };
        self.no_moves_until = now + MOVE_NOT_BEFORE;
        self.counts.moves_given_up += 1;
        for (block, epoch) in moving.blocks {
            let ours = self.state.block(block).is_some_and(|held| {
                held.holder == self.settings.me && held.epoch == epoch && !held.taken_over
            });
            if ours {
                engine.hold(now, block, Some(Held::OPEN));
            }
        }
    }

    fn propose_move(&mut self, now: Timestamp) {
        self.keep_if_unwanted();
        let acknowledged = self.acknowledged();
        let Some(moving) = &mut self.moving else { return };
        let again = moving.proposed_at.is_none_or(|at| now >= at + MOVE_AGAIN);
        // What stays here need not be known to anybody first.
        let known = moving.all_told.is_reached(&self.log, acknowledged) || moving.to == self.settings.me;
        if !known || !again {
            return;
        }
        (moving.proposed_at, moving.proposed) = (Some(now), true);
        let command = Command::Move { by: self.settings.me, to: moving.to, blocks: moving.blocks.clone() };
        self.out.push(Output::Propose(command));
    }

    /// A block's delegation has changed: it moves no more.
    pub(super) fn forget_moving(&mut self, block: BlockId) {
        if let Some(moving) = &mut self.moving {
            let before = moving.blocks.len();
            moving.blocks.retain(|(other, _)| *other != block);
            self.counts.handed_on += (before - moving.blocks.len()) as u64;
            if moving.blocks.is_empty() {
                self.moving = None;
            }
        }
    }

    /// Who was to have the blocks is not in any more: we keep them. That is a move too, for what was proposed may still
    /// come true: under another epoch it cannot.
    fn keep_if_unwanted(&mut self) {
        let me = self.settings.me;
        if let Some(moving) = &mut self.moving
            && moving.to != me
            && !self.state.is_in(moving.to)
        {
            (moving.to, moving.proposed_at) = (me, None);
        }
    }
}
