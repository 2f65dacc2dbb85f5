//! Which numbers the cluster gave its nodes, and whether this node's store is the one it joined with (docs/sites.md,
//! rules 6 and 8): a node that lost its store knows nothing of what it promised, whatever consensus says of it.

use super::{Node, Output, peer::Peer, settings::NODES_MAX};
use crate::{
    engine::Engine,
    lease::{record::LeaseState, store::MetaKey},
    server::work::Work,
    site::{
        delegation::{Command, NodeId, Presence},
        node::Place,
    },
    time::Timestamp,
};

/// The number of a node that has none yet.
const NO_NUMBER: NodeId = NodeId(u16::MAX);

/// A cluster's name; all zero where there is only one to know of.
pub type ClusterId = [u8; 16];

/// Which cluster a store has belonged to without a gap, since before its node joined it.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Mark {
    durable: Option<ClusterId>,
    /// It is in the batch that is being committed.
    writing: Option<ClusterId>,
}

impl Mark {
    /// As the store has it under [`MetaKey::SiteMember`].
    pub fn stored(octets: Option<&[u8]>) -> Self {
        Self { durable: octets.and_then(|octets| octets.try_into().ok()), writing: None }
    }
}

impl Node {
    /// The cluster's name, and the numbers it gave the nodes at these places of the configuration. Places move when a node
    /// is removed, numbers never do.
    pub(super) fn on_numbered(&mut self, cluster: ClusterId, numbers: &[(usize, NodeId)]) {
        self.cluster = cluster;
        let number = |at: usize| numbers.iter().find(|(place, _)| *place == at).map(|(_, number)| *number);
        self.settings.me = number(self.my_place).unwrap_or(NO_NUMBER);
        let numbered = self.configured.iter().enumerate().filter_map(|(at, place)| {
            let node = number(at).filter(|number| usize::from(number.0) < NODES_MAX)?;
            Some(Place { node, ..place.clone() })
        });
        self.settings.nodes = numbered.collect();
        let me = self.settings.me;
        let others: Vec<NodeId> =
            self.settings.nodes.iter().map(|place| place.node).filter(|node| *node != me).collect();
        if !self.restored {
            // They were taken for the places so far, and none has been heard of yet.
            self.peers.clear();
        }
        self.peers.retain(|peer| others.contains(&peer.node));
        for node in others {
            if self.peers.iter().all(|peer| peer.node != node) {
                self.peers.push(Peer::new(node, self.known_cursor(node)));
            }
        }
    }

    /// Whether the store has been this cluster's since before this node joined it.
    pub(super) fn is_marked(&self) -> bool {
        self.mark.durable == Some(self.cluster)
    }

    /// Marks the store; whether that is durable already, so that what needs it may be proposed.
    pub(super) fn mark_first(&mut self, work: &mut Work) -> bool {
        if !self.is_marked() {
            work.batch.meta.push((MetaKey::SiteMember, self.cluster.to_vec()));
            self.mark.writing = Some(self.cluster);
        }
        self.is_marked()
    }

    /// What was to be committed is durable, or is not.
    pub(super) fn mark_settled(&mut self, durable: bool) {
        if let Some(cluster) = self.mark.writing.take()
            && durable
        {
            self.mark.durable = Some(cluster);
            self.changed_standing = true;
        }
    }

    /// Whether this node, new to the cluster, has leases nobody else knows of: to be asked before it is told any.
    pub(super) fn has_leases_of_its_own(&self, engine: &Engine) -> bool {
        let pooled = engine.authority().map(crate::site::authority::Authority::blocks);
        // Where there are cursors, leases are what other nodes told.
        !self.is_marked()
            && self.known.is_empty()
            && pooled.is_some_and(|blocks| {
                let bound = engine.leases().iter().filter(|lease| lease.state == LeaseState::Bound);
                bound.into_iter().any(|lease| blocks.of_address(lease.address).is_some())
            })
    }

    /// Consensus counts on this node, whose store has never heard of that: it was lost. So the node has itself put out, which
    /// gives its blocks to those that have its leases, and joins anew. The last node that is in cannot be: then nobody
    /// knows more than it does.
    pub(super) fn propose_after_loss(&mut self, now: Timestamp, work: &mut Work) {
        let me = self.settings.me;
        let Some(member) = self.state.member(me) else { return };
        let (renewals, is_in) = (member.renewals, member.presence == Presence::In);
        if is_in && self.state.members_in().all(|node| node == me) {
            self.counts.stores_lost += 1;
            self.mark_first(work);
        } else if self.again(now, "leave") {
            self.counts.stores_lost += 1;
            let heirs = self.heirs_of(now, me);
            self.out.push(Output::Propose(Command::PutOut { node: me, renewals, heirs }));
        }
    }
}
