//! Which node of a site has the addresses its nodes share: the one with the lowest number of those that are in and do not
//! stand aside, as all of them read it from the same log. Whether clients reach somebody depends on it, and nothing else.

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
        there().filter(|node| !self.state.stands_aside(*node)).min().or_else(|| there().min())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        config,
        site::{
            delegation::{Delegations, StoreId},
            node::Settings,
        },
        time::Span,
    };

    const NODES: [NodeId; 3] = [NodeId(0), NodeId(1), NodeId(2)];

    fn node(me: NodeId) -> Node {
        let text = r#"{"dhcp": {"interfaces": ["s0"], "datacenter": {"multi_site": {"enabled": true, "local_site": "a",
            "sites": [{"name": "a", "nodes": ["x", "y"], "service_addresses": [{"address": "198.18.0.2"}]},
                {"name": "b", "nodes": ["z"]}]}}}}"#;
        let section = config::parse(text, "test.json").unwrap().multi_site.unwrap();
        let span = Span::from_secs(60);
        let settings = Settings::of(&section, me, span, span).unwrap();
        assert!(settings.shares_addresses);
        Node::new(settings, 1, None, None)
    }

    /// Who has its site's addresses, as each node reads it from the same state.
    fn who(state: &Delegations, now: Timestamp) -> Vec<u16> {
        let shares = |me: &NodeId| {
            let mut node = node(*me);
            (node.state, node.restored) = (state.clone(), true);
            node.held_until = Timestamp(100);
            node.shares_until(now).is_some()
        };
        NODES.iter().filter(|me| shares(me)).map(|me| me.0).collect()
    }

    #[test]
    fn the_lowest_that_is_in_and_does_not_stand_aside_has_them_until_its_delegations_end() {
        let now = Timestamp(99);
        let mut state = Delegations::default();
        assert_eq!(who(&state, now), [0; 0]);
        let found = Command::Found {
            founder: NODES[2],
            store: StoreId(1),
            nodes: NODES.to_vec(),
            blocks: 0,
            digest: 0,
        };
        state.apply(&found).unwrap();
        assert_eq!(who(&state, now), [2]);
        let mut confirmed = vec![NODES[2]];
        for node in [NODES[1], NODES[0]] {
            state.apply(&Command::Join { node, store: StoreId(1) }).unwrap();
            for &by in &confirmed {
                state.apply(&Command::Confirm { node, attempt: 1, by }).unwrap();
            }
            confirmed.push(node);
            assert_eq!(who(&state, now), [node.0, 2]);
        }
        let stand = |node, aside| Command::Stand { node, aside };
        state.apply(&stand(NODES[0], true)).unwrap();
        assert!(state.apply(&stand(NODES[0], true)).is_err(), "that was known");
        assert_eq!(who(&state, now), [1, 2]);
        state.apply(&stand(NODES[1], true)).unwrap();
        assert_eq!(who(&state, now), [0, 2], "better one that is drained than none");
        state.apply(&stand(NODES[1], false)).unwrap();
        state.apply(&Command::PutOut { node: NODES[1], renewals: 0, heirs: vec![] }).unwrap();
        assert_eq!(who(&state, now), [0, 2]);
        assert_eq!(who(&state, Timestamp(100)), [0; 0], "nobody is entitled for ever");
    }

    #[test]
    fn a_node_says_that_it_stands_aside_until_it_is_known() {
        let mut node = node(NODES[0]);
        let found = Command::Found {
            founder: NODES[0],
            store: StoreId(1),
            nodes: NODES.to_vec(),
            blocks: 0,
            digest: 0,
        };
        node.state.apply(&found).unwrap();
        (node.restored, node.held_until) = (true, Timestamp(u64::MAX));
        let now = Timestamp::ZERO + Span::from_secs(10);
        node.propose_standing(now);
        assert!(node.out.is_empty() && !node.stands_aside(now));
        node.stand_aside();
        node.propose_standing(now);
        node.propose_standing(now);
        let stand = Command::Stand { node: NODES[0], aside: true };
        assert_eq!(std::mem::take(&mut node.out), [Output::Propose(stand.clone())]);
        node.propose_standing(now + Span::from_secs(2));
        assert_eq!(std::mem::take(&mut node.out), [Output::Propose(stand.clone())]);
        node.state.apply(&stand).unwrap();
        node.propose_standing(now + Span::from_secs(4));
        assert!(node.out.is_empty() && node.stands_aside(now));
    }
}
