//! The service's end of what connects the nodes of a cluster: what the node is told, and what it wants done.

use super::{clock::Clock, service::Service, work::Work};
use crate::{
    site::{
        delegation::NodeId,
        driver::pump::FromNode,
        node::{Input, View},
    },
    time::Timestamp,
};

impl Service {
    /// Connects the service with the other nodes: what its node wants done goes there.
    pub fn connect_sites(&mut self, to: tokio::sync::mpsc::Sender<FromNode>) {
        self.sites = Some(to);
    }

    /// The time this service goes by.
    pub const fn clock(&self) -> Clock {
        self.clock
    }

    /// Tells the node something.
    pub(super) fn tell_node(&mut self, _: Timestamp, input: Input, _: &mut Work) {
        tracing::debug!(?input, "told the node");
    }

    /// What the node shows of itself.
    pub(super) fn node_view(&self) -> Option<View> {
        None
    }

    /// What follows for this peer goes over the link of this number.
    pub(super) fn note_link(&self, node: NodeId, number: u64) {
        self.want(FromNode::Linked(node, number));
    }

    /// Hands on what the node wants done. What finds no room is lost, and wanted again.
    pub(super) fn want(&self, what: FromNode) {
        if let Some(Err(error)) = self.sites.as_ref().map(|sites| sites.try_send(what)) {
            tracing::debug!(%error, "what the node wants done is lost");
        }
    }
}
