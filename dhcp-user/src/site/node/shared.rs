//! Which node of a site has the addresses its nodes share: the first that is in and does not stand aside, as all of them
//! read it from the same log. Whether clients reach somebody depends on it, and nothing else.

use super::{Node, Output};
use crate::{
    site::delegation::{Command, NodeId},
    time::Timestamp,
};

impl Node {
    /// Until when this node is to have the addresses its site shares, as far as is known now; `None` if it is not to.
    pub fn shares_until(&self, now: Timestamp) -> Option<Timestamp> {
        let entitled = self.restored && self.state.is_in(self.settings.me) && now < self.held_until;
        (entitled && self.chosen() == Some(self.settings.me)).then_some(self.held_until)
    }

    /// This node is about to stop: another is to have the addresses.
    pub fn stand_aside(&mut self) {
        self.stopping = true;
    }

    /// Whether clients that go by the shared addresses do not need this node, or it cannot say any more that they are
    /// another's.
    pub fn stands_aside(&self, now: Timestamp) -> bool {
        self.shares_until(now).is_none() || self.state.stands_aside(self.settings.me)
    }

    /// Says whether this node wants the addresses, where that is not known.
    pub(super) fn propose_standing(&mut self, now: Timestamp) {
        let node = self.settings.me;
        let aside = self.draining || self.stopping;
        let kind = if aside { "stand aside" } else { "stand ready" };
        if self.settings.shares_addresses && self.state.stands_aside(node) != aside && self.again(now, kind) {
            self.out.push(Output::Propose(Command::Stand { node, aside }));
        }
    }

    fn chosen(&self) -> Option<NodeId> {
        let site = self.settings.place(self.settings.me)?.site;
        let there = || {
            let of_site = self.settings.nodes.iter().filter(move |place| place.site == site);
            of_site.map(|place| place.node).filter(|node| self.state.is_in(*node))
        };
        // Better one that is drained than none.
        there().find(|node| !self.state.stands_aside(*node)).or_else(|| there().next())
    }
}
