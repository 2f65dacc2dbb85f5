//! What somebody waits for is told ahead of its turn: horizons that wait to be acknowledged, and in mode `sync` the leases
//! of replies that are held. A batch carries, beside the next changes in the order of their numbers, a few such changes from
//! further up the log. They are told once more when their turn comes, which changes nothing, and the receiver need not know
//! of all this: its cursor says nothing of them. Only the sender remembers what it put into which batch, and so which change of
//! which address each peer has acknowledged ahead of its turn (docs/sites.md, *Replication*).
//!
//! That is used for the one address alone: to move its horizon, to let its reply go. Whatever asks for *everything* up to a
//! change (moves, newcomers, the end of leases that were given back) goes by cursors as ever.

use std::{collections::BTreeSet, net::Ipv4Addr};

use super::Node;
use crate::{
    engine::Engine,
    server::work::Work,
    site::{delegation::NodeId, replication::Changed},
    time::Timestamp,
};

/// Changes in a batch that are told ahead of their turn, at most.
pub(super) const AHEAD_MAX: usize = 128;
/// The octets of a batch that are left for them.
pub(super) const AHEAD_OCTETS_MAX: usize = 1 << 20;
/// Changes acknowledged ahead of their turn that are remembered of a peer; when there are as many, no more are told so.
const KNOWN_MAX: usize = 4_096;

impl Node {
    /// A reply waits until the others know of an address's last change.
    pub(crate) fn press(&mut self, address: Ipv4Addr) {
        if let Some(seq) = self.log.seq_of(address) {
            self.pressing.insert(seq, address);
        }
    }

    /// What to tell a peer beside everything up to `until`, in the order of the changes.
    pub(super) fn changes_ahead(&self, index: usize, until: u64) -> Vec<Changed> {
        let Some(peer) = self.peers.get(index).filter(|peer| peer.ahead.len() < KNOWN_MAX) else {
            return Vec::new();
        };
        let receiver = self.settings.receiver(peer.node);
        let from = until.max(peer.sent_ahead).saturating_add(1);
        let pressing = self.pressing.range(from..).take(AHEAD_MAX);
        let current = |(&seq, &address): (&u64, &Ipv4Addr)| {
            self.log.change(receiver, address).filter(|change| change.seq == seq)
        };
        pressing.filter_map(current).collect()
    }

    /// Whether some peer has acknowledged changes ahead of their turn.
    pub(crate) fn is_told_ahead(&self) -> bool {
        self.peers.iter().any(|peer| !peer.ahead.is_empty())
    }

    /// Whether every node that is counted on has the last change of an address, be it ahead of its turn.
    pub(crate) fn is_known(&self, address: Ipv4Addr) -> bool {
        let seq = self.log.seq_of(address);
        seq.is_some_and(|seq| self.state.audience(self.settings.me).all(|node| self.has(node, address, seq)))
    }

    fn has(&self, node: NodeId, address: Ipv4Addr, seq: u64) -> bool {
        let peer = self.peers.iter().find(|peer| peer.node == node);
        peer.is_some_and(|peer| peer.acked >= seq || peer.ahead.get(&address) == Some(&seq))
    }

    /// Lets horizons move that everybody has acknowledged, some of them ahead of their turn.
    pub(super) fn advance_ahead(&mut self, now: Timestamp, engine: &mut Engine, work: &mut Work) {
        if now >= self.held_until || !std::mem::take(&mut self.heard_ahead) {
            return;
        }
        let ahead: BTreeSet<Ipv4Addr> =
            self.peers.iter().flat_map(|peer| peer.ahead.keys()).copied().collect();
        for address in ahead {
            let Some(waiting) = self.awaiting.get(&address).copied() else { continue };
            if self.log.seq_of(address) == Some(waiting.seq) && self.is_known(address) {
                self.awaiting.remove(&address);
                work.take(engine.horizon_known(now, address, waiting.reach));
            }
        }
    }
}
