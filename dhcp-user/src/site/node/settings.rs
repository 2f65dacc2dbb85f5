//! What is fixed while a node runs: who it is, who else there is, and the configuration's `multi_site` section in its terms.

use crate::{
    config::model::{MultiSite, Strategy, SyncMode},
    site::delegation::NodeId,
    time::Span,
};

/// Clocks of two nodes run apart by less than one part in this many.
pub const DRIFT: u64 = 100;
/// The most nodes there can be: the change log has a bit for each.
pub const NODES_MAX: usize = crate::site::replication::RECEIVERS_MAX;

/// Where a node is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// Its number: its place in the list of all nodes, site by site.
    pub node: NodeId,
    /// Its name, as in `sites[].nodes`.
    pub name: String,
    /// The index of its site.
    pub site: usize,
}

/// What is to be known of a site.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SiteFacts {
    /// Its name.
    pub name: String,
    /// 1 is the most preferred.
    pub priority: u32,
    /// Expected latency from here, milliseconds.
    pub latency_ms: u32,
}

/// A node's settings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// This node.
    pub me: NodeId,
    /// All nodes, this one among them.
    pub nodes: Vec<Place>,
    /// All sites.
    pub sites: Vec<SiteFacts>,
    /// The maximum client lead time.
    pub mclt: Span,
    /// How long a delegation lasts from the moment its renewal was proposed.
    pub delegation: Span,
    /// Whether an ACK waits until the peers have the lease.
    pub mode: SyncMode,
    /// The longest an update waits to be sent.
    pub interval: Span,
    /// The number of waiting updates that are sent at once.
    pub batch_size: usize,
    /// Whether blocks move without an operator.
    pub failover: bool,
    /// Silence after which a node is suspect.
    pub detection: Span,
    /// Silence after which its blocks may move.
    pub failover_timeout: Span,
    /// Indices of the sites that take over, in order.
    pub heirs: Vec<usize>,
    /// Indices of the sites to ask for blocks, in order, this one's among them.
    pub donors: Vec<usize>,
    /// How many of them, from the first on, somebody named: the local site by `prefer_local`, and `fallback_sites`.
    pub named_donors: usize,
    /// Whether the nodes of this one's site share addresses.
    pub shares_addresses: bool,
    /// Whether those of `donors` whom nobody named are asked by how many addresses they have free; their order counts among
    /// those that have equally many.
    pub balanced: bool,
}

impl Settings {
    /// The settings of the node `me` (its place among all nodes of `section`, site by site); `None` if there is no such
    /// node, or there are more than [`NODES_MAX`].
    pub fn of(section: &MultiSite, me: NodeId, mclt: Span, delegation: Span) -> Option<Self> {
        let names = section.sites.iter().enumerate();
        let names = names.flat_map(|(site, facts)| facts.nodes.iter().map(move |name| (site, name)));
        let nodes: Vec<Place> = names
            .zip(0..)
            .map(|((site, name), node)| Place { node: NodeId(node), name: name.clone(), site })
            .collect();
        if nodes.len() > NODES_MAX {
            return None;
        }
        let home = nodes.iter().find(|place| place.node == me)?.site;
        let sites: Vec<SiteFacts> = section
            .sites
            .iter()
            .map(|site| SiteFacts {
                name: site.name.clone(),
                priority: site.priority,
                latency_ms: site.latency_ms,
            })
            .collect();
        let named = |name: &String| sites.iter().position(|site| site.name == *name);
        let mut by_priority: Vec<usize> = (0..sites.len()).collect();
        by_priority.sort_by_key(|&site| sites.get(site).map(|facts| facts.priority));
        let mut heirs: Vec<usize> = section.failover.preferred_sites.iter().filter_map(named).collect();
        heirs.extend(by_priority.iter().filter(|site| !heirs.contains(site)).copied().collect::<Vec<_>>());

        let allocation = &section.allocation;
        let mut rest = by_priority;
        if allocation.strategy == Strategy::Geographic {
            // The local site by its `latency` too, which is 0 unless it says otherwise.
            rest.sort_by_key(|&site| sites.get(site).map(|facts| facts.latency_ms));
        }
        let mut donors: Vec<usize> = Vec::new();
        donors.extend(allocation.prefer_local.then_some(home));
        // All nodes may have the same list: who finds its own site in it passes it over.
        donors.extend(allocation.fallback_sites.iter().filter_map(named).filter(|site| *site != home));
        let mut seen = std::collections::BTreeSet::new();
        donors.retain(|site| seen.insert(*site));
        let named_donors = donors.len();
        donors.extend(rest.into_iter().filter(|site| seen.insert(*site)));

        Some(Self {
            me,
            nodes,
            sites,
            mclt,
            delegation,
            mode: section.synchronization.mode,
            interval: Span::from_secs(section.synchronization.interval_secs.into()),
            batch_size: usize::try_from(section.synchronization.batch_size).unwrap_or(usize::MAX),
            failover: section.failover.enabled,
            detection: Span::from_secs(section.failover.detection_interval_secs.into()),
            failover_timeout: Span::from_secs(section.failover.failover_timeout_secs.into()),
            heirs,
            donors,
            named_donors,
            shares_addresses: !section.shared.is_empty(),
            balanced: allocation.strategy == Strategy::Balanced,
        })
    }

    /// Where a node is.
    pub fn place(&self, node: NodeId) -> Option<&Place> {
        self.nodes.iter().find(|place| place.node == node)
    }

    /// A node's place in the list of all nodes: its number in change logs.
    pub fn receiver(&self, node: NodeId) -> usize {
        usize::from(node.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(keys: &str) -> Settings {
        let text = format!(
            r#"{{"dhcp": {{"datacenter": {{"multi_site": {{"local_site": "c", {keys},
                "sites": [{{"name": "a", "nodes": ["a1", "a2"], "priority": 3, "latency": 10}},
                          {{"name": "b", "nodes": ["b1"], "priority": 1, "latency": 50}},
                          {{"name": "c", "nodes": ["c1"], "priority": 2, "latency": 20}},
                          {{"name": "d", "nodes": ["d1"], "priority": 4, "latency": 30}}]}}}}}}}}"#
        );
        let section = crate::config::parse(&text, "test").unwrap().multi_site.unwrap();
        let second = Span::from_secs(1);
        Settings::of(&section, NodeId(3), second, second).unwrap()
    }

    #[test]
    fn sites_are_asked_in_the_order_of_the_strategy() {
        for (allocation, order, balanced) in [
            (r#""strategy": "geographic", "prefer_local": true, "fallback_sites": ["d"]"#, "cd|ab", false),
            (r#""strategy": "geographic", "prefer_local": false"#, "|acdb", false),
            (
                r#""strategy": "geographic", "prefer_local": false, "fallback_sites": ["c", "b"]"#,
                "b|acd",
                false,
            ),
            (r#""strategy": "priority", "prefer_local": true"#, "c|bad", false),
            (
                r#""strategy": "priority", "prefer_local": false, "fallback_sites": ["a", "d"]"#,
                "ad|bc",
                false,
            ),
            (r#""strategy": "balanced", "prefer_local": false"#, "|bcad", true),
            (r#""strategy": "balanced", "fallback_sites": ["d"]"#, "cd|ba", true),
        ] {
            let settings = settings(&format!(r#""allocation": {{{allocation}}}"#));
            let named = |site: &usize| settings.sites[*site].name.as_str();
            let (first, rest) = settings.donors.split_at(settings.named_donors);
            let names = |sites: &[usize]| sites.iter().map(named).collect::<String>();
            let asked = format!("{}|{}", names(first), names(rest));
            assert_eq!((asked.as_str(), settings.balanced), (order, balanced), "{allocation}");
        }
        let settings = settings(r#""failover": {"enabled": true, "preferred_sites": ["d", "a"]}"#);
        assert_eq!(settings.heirs, [3, 0, 1, 2]);
    }
}
