//! When this node's pools are not those the cluster agreed on, and a majority has these: they are the cluster's from then on
//! (docs/sites.md, *Other pools*). Nodes with other pools are not linked, so what a majority agrees to it has.

use super::{Node, Output};
use crate::{
    engine::Engine,
    site::{
        authority::Authority,
        blocks::BlockId,
        delegation::{Command, Presence, Recut},
    },
    time::Timestamp,
};

impl Node {
    /// Proposes that, when nobody can hold anything by the pools before: a node that is linked was started with these, and
    /// one that is not, and may run with the old ones, has not renewed until all it held has ended.
    pub(super) fn propose_recut(&mut self, now: Timestamp, engine: &Engine) {
        let me = self.settings.me;
        if !self.state.is_in(me) || !self.is_marked() || !self.again(now, "recut") {
            return;
        }
        let ended = self.state.members().all(|(node, member)| {
            let linked = self.peers.iter().any(|peer| peer.node == node && peer.connected);
            let over = || self.state.moves_by_itself() && !member.for_ever && self.is_silent(now, node);
            node == me || member.presence == Presence::Out || linked || over()
        });
        let Some(blocks) = engine.authority().map(Authority::blocks).filter(|_| ended) else { return };
        let Ok(count) = u32::try_from(blocks.len()) else { return };
        let numbered = (0..).map(BlockId).zip(blocks.iter());
        let fresh = numbered.filter(|(_, block)| self.state.never_pooled((block.first, block.last)));
        let recut = Recut {
            by: me,
            from: self.state.digest(),
            digest: blocks.digest(),
            blocks: count,
            fresh: fresh.map(|(id, _)| id).collect(),
            pools: blocks.ranges(),
            renewals: self.state.renewals(),
        };
        self.out.push(Output::Propose(Command::Recut(recut)));
    }

    /// Says what the pools are, where the cluster does not know that yet: so that of other ones it is known what was in none.
    pub(super) fn propose_pools(&mut self, now: Timestamp, engine: &Engine) {
        if self.state.knows_pools() || !self.again(now, "pools") {
            return;
        }
        if let Some(blocks) = engine.authority().map(Authority::blocks) {
            let command = Command::Pools { digest: blocks.digest(), pools: blocks.ranges() };
            self.out.push(Output::Propose(command));
        }
    }
}
