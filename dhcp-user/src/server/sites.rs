//! The service's end of what connects the nodes of a cluster: what the node is told, and what it wants done.

use std::time::{Duration, Instant};

use super::{clock::Clock, keeper::KeeperError, service::Service, shared_address::SharedAddresses};
use crate::{
    site::{
        driver::pump::{FromNode, ToPump},
        node::{Input, View},
    },
    time::Timestamp,
};

/// How long the end of the service waits for the others to know that the site's addresses are another's.
const HAND_ON_MAX: Duration = Duration::from_secs(1);

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
        if let (Some(shared), Some(node)) = (&mut self.shared, &self.keeper.site) {
            shared.look(now, node.shares_until(now));
        }
        Ok(())
    }

    /// Before the end: another node of the site is to have the addresses they share. Until when to wait for that.
    pub(super) fn hand_addresses_on(&mut self) -> Instant {
        let Some(node) = self.keeper.site.as_mut().filter(|_| self.shared.is_some()) else {
            return Instant::now();
        };
        node.stand_aside();
        Instant::now() + HAND_ON_MAX
    }

    /// Whether there is nothing to wait for any more.
    pub(super) fn addresses_are_handed_on(&self) -> bool {
        let now = self.clock.now();
        self.keeper.site.as_ref().is_none_or(|node| node.stands_aside(now))
    }

    /// What the node shows of itself.
    pub(super) fn node_view(&self) -> Option<View> {
        let engine = &self.keeper.core.engine;
        let here = self.shared.as_ref().map(SharedAddresses::held);
        let node = self.keeper.site.as_ref();
        node.map(|node| View { shared_addresses_here: here, ..node.view(self.clock.now(), engine) })
    }

    /// Hands on what the node wants done.
    pub(super) fn want(&self, what: FromNode) {
        if let Some(sites) = &self.sites {
            sites.push(what);
        }
    }
}
