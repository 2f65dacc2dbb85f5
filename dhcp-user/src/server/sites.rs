//! The service's end of what connects the nodes of a cluster: what the node is told, and what it wants done.

use super::{clock::Clock, keeper::KeeperError, service::Service};
use crate::{
    site::{
        driver::pump::{FromNode, ToPump},
        node::{Input, View},
    },
    time::Timestamp,
};

impl Service {
    /// Connects the service with the other nodes: what its node wants done goes there.
    pub fn connect_sites(&mut self, to: ToPump) {
        self.sites = Some(to);
    }

    /// The time this service goes by.
    pub const fn clock(&self) -> Clock {
        self.clock
    }

    /// Tells the node what has come in, in its order, with the numbers of new links, and lets it act.
    pub(super) fn node_turn(
        &mut self,
        now: Timestamp,
        inputs: Vec<(Input, Option<u64>)>,
    ) -> Result<(), KeeperError> {
        if self.keeper.site.is_none() {
            return Ok(());
        }
        for (input, link) in inputs {
            if let (Input::Connected(node), Some(number)) = (&input, link) {
                let node = *node;
                // What it said before was said over an earlier link.
                let aftermath = self.keeper.site_turn(now)?;
                self.finish(aftermath);
                self.want(FromNode::Linked(node, number));
            }
            let aftermath = self.keeper.site_input(now, input)?;
            self.finish(aftermath);
        }
        let aftermath = self.keeper.site_turn(now)?;
        self.finish(aftermath);
        Ok(())
    }

    /// What the node shows of itself.
    pub(super) fn node_view(&self) -> Option<View> {
        let engine = &self.keeper.core.engine;
        self.keeper.site.as_ref().map(|node| node.view(self.clock.now(), engine))
    }

    /// Hands on what the node wants done.
    pub(super) fn want(&self, what: FromNode) {
        if let Some(sites) = &self.sites {
            sites.push(what);
        }
    }
}
