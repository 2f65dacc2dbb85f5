//! Other pools for a cluster that runs (docs/sites.md, *Other pools*): as if every node but one had been put out, and that one
//! had taken over all there is, cut anew. What was never in a pool was promised to nobody, and is open at once.

use std::{collections::BTreeSet, net::Ipv4Addr};

use super::{AddressRange, BlockId, Delegation, Delegations, NodeId, Presence, Recut, Void};
use crate::time::Span;

impl Delegations {
    pub(super) fn recut(&mut self, recut: &Recut) -> Result<(), Void> {
        if self.digest != recut.from {
            return Err(Void::Overtaken);
        }
        if !self.is_in(recut.by) {
            return Err(Void::NotIn);
        }
        let now = self.members.iter().map(|(node, member)| (*node, member.renewals));
        if !now.eq(recut.renewals.iter().copied()) {
            return Err(Void::Overtaken);
        }
        // What any of them promised unheard, of whichever block.
        let promised = self.members.values().map(|member| member.mclt);
        let unheard = promised.chain(self.blocks.iter().map(|block| block.unheard)).max();
        let unheard = unheard.unwrap_or(Span::ZERO);
        let epoch = self.blocks.iter().map(|block| block.epoch).max().unwrap_or(0) + 1;
        let others = self.members.iter_mut().filter(|(node, _)| **node != recut.by);
        others.for_each(|(_, member)| member.presence = Presence::Out);
        let fresh: BTreeSet<BlockId> = recut.fresh.iter().copied().collect();
        let block = |block: u32| match fresh.contains(&BlockId(block)) {
            true => Delegation::open(recut.by, epoch),
            false => Delegation { holder: recut.by, epoch, taken_over: true, unheard },
        };
        self.blocks = (0..recut.blocks).map(block).collect();
        self.digest = recut.digest;
        if !self.pooled_known {
            // Nobody can say any more what the pools before these were: no address is new from here on.
            self.pooled = vec![(Ipv4Addr::UNSPECIFIED, Ipv4Addr::BROADCAST)];
        }
        self.add_pools(&recut.pools);
        Ok(())
    }

    /// Those are the pools now.
    pub(super) fn add_pools(&mut self, pools: &[AddressRange]) {
        self.pooled.extend_from_slice(pools);
        self.pooled.sort_unstable();
        self.pooled.dedup_by(|next, before| {
            let touches = next.0.to_bits() <= before.1.to_bits().saturating_add(1);
            if touches {
                before.1 = before.1.max(next.1);
            }
            touches
        });
        self.pooled_known = true;
    }

    /// Whether it is known which addresses were ever in a pool.
    pub const fn knows_pools(&self) -> bool {
        self.pooled_known
    }

    /// Whether none of these addresses was ever in a pool, as far as is known.
    pub fn never_pooled(&self, (first, last): AddressRange) -> bool {
        self.pooled_known && self.pooled.iter().all(|pool| last < pool.0 || pool.1 < first)
    }

    /// The last renewals of all members.
    pub fn renewals(&self) -> Vec<(NodeId, u64)> {
        self.members.iter().map(|(node, member)| (*node, member.renewals)).collect()
    }
}
