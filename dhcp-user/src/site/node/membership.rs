//! Which numbers the cluster gave its nodes, and whether this node's store is the one it joined with (docs/sites.md,
//! rules 6 and 8): a node that lost its store knows nothing of what it promised, whatever consensus says of it.

use super::{Node, Output, peer::Peer, settings::NODES_MAX};
use crate::{
    engine::Engine,
    lease::{record::LeaseState, store::MetaKey},
    server::work::Work,
    site::{
        delegation::{Command, NodeId, Presence, StoreId},
        node::Place,
    },
    time::Timestamp,
};

/// The number of a node that has none yet.
const NO_NUMBER: NodeId = NodeId(u16::MAX);

/// A cluster's name; all zero where there is only one to know of.
pub type ClusterId = [u8; 16];

/// Which cluster a store has belonged to without a gap, since before its node joined it, and which store it is. The name
/// alone would not do: whoever comes to the present by way of the past (a log that is read anew, from a beginning at which
/// the node was out) takes itself for a newcomer on the way, and marks what it finds.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Mark {
    durable: Option<(ClusterId, StoreId)>,
    /// It is in the batch that is being committed.
    writing: Option<(ClusterId, StoreId)>,
}

impl Mark {
    /// As the store has it under [`MetaKey::SiteMember`].
    pub fn stored(octets: Option<&[u8]>) -> Self {
        Self { durable: octets.and_then(decode_mark), writing: None }
    }
}

/// What the store keeps under [`MetaKey::SiteMember`].
pub(super) fn encode_mark(cluster: ClusterId, StoreId(store): StoreId) -> Vec<u8> {
    [&cluster[..], &store.to_le_bytes()].concat()
}

fn decode_mark(octets: &[u8]) -> Option<(ClusterId, StoreId)> {
    let (cluster, store) = octets.split_at_checked(size_of::<ClusterId>())?;
    Some((cluster.try_into().ok()?, StoreId(u64::from_le_bytes(store.try_into().ok()?))))
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

    /// Whether the store is the one this node joined with, and has been this cluster's since before.
    pub(super) fn is_marked(&self) -> bool {
        let joined_with = self.state.member(self.settings.me).map(|member| member.store);
        joined_with.is_some() && joined_with == self.marked_store()
    }

    /// Whether the store is marked as this cluster's, whether this node joined with it or not.
    pub(super) fn has_mark(&self) -> bool {
        self.marked_store().is_some()
    }

    /// The store's number, if it is marked as this cluster's.
    fn marked_store(&self) -> Option<StoreId> {
        self.mark.durable.filter(|(cluster, _)| *cluster == self.cluster).map(|(_, store)| store)
    }

    /// The store's number, or the one it is going to be marked with.
    pub(super) fn own_store(&self) -> StoreId {
        self.marked_store().unwrap_or(StoreId(self.log.end().log))
    }

    /// Marks the store; its number if that is durable already, so that what needs it may be proposed.
    pub(super) fn mark_first(&mut self, work: &mut Work) -> Option<StoreId> {
        let marked = self.marked_store();
        if marked.is_none() {
            let store = self.own_store();
            work.batch.meta.push((MetaKey::SiteMember, encode_mark(self.cluster, store)));
            self.mark.writing = Some((self.cluster, store));
        }
        marked
    }

    /// What was to be committed is durable, or is not.
    pub(super) fn mark_settled(&mut self, durable: bool) {
        if let Some(mark) = self.mark.writing.take()
            && durable
        {
            self.mark.durable = Some(mark);
            self.changed_standing = true;
        }
    }

    /// Whether this node, new to the cluster, has leases nobody else knows of: to be asked before it is told any.
    pub(super) fn has_leases_of_its_own(&self, engine: &Engine) -> bool {
        let pooled = engine.authority().map(crate::site::authority::Authority::blocks);
        // Where there are cursors, leases are what other nodes told.
        !self.has_mark()
            && self.known.is_empty()
            && pooled.is_some_and(|blocks| {
                let bound = engine.leases().iter().filter(|lease| lease.state == LeaseState::Bound);
                bound.into_iter().any(|lease| blocks.of_address(lease.address).is_some())
            })
    }

    /// Consensus counts on this node, whose store has never heard of that: it was lost. So the node has itself put out, which
    /// gives its blocks to those that have its leases, and joins anew. The last node that is in cannot be: then nobody
    /// knows more than it does, and it says that it goes on with this store. Whether it is the last one the log decides: this
    /// node may not have heard yet of those that came in since.
    pub(super) fn propose_after_loss(&mut self, now: Timestamp, work: &mut Work) {
        let me = self.settings.me;
        let Some(member) = self.state.member(me) else { return };
        let (renewals, is_in) = (member.renewals, member.presence == Presence::In);
        if is_in && self.state.members_in().all(|node| node == me) {
            if let Some(store) = self.mark_first(work)
                && self.again(now, "stay")
            {
                self.counts.stores_lost += 1;
                self.out.push(Output::Propose(Command::Join { node: me, store }));
            }
        } else if self.again(now, "leave") {
            self.counts.stores_lost += 1;
            let heirs = self.heirs_of(now, me);
            self.out.push(Output::Propose(Command::PutOut { node: me, renewals, heirs }));
        }
    }
}
