//! Who the nodes are, by the configuration: names, sites, where they are reached, and which of them this machine is.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::xxh3_64;

use crate::config::model::MultiSite;

/// A node as links and consensus know it: its name alone gives it, so that no list has to be agreed on first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct NodeKey(pub u64);

impl NodeKey {
    /// The key of a name; names differ by more than the case of their letters.
    pub fn of(name: &str) -> Self {
        Self(xxh3_64(name.to_ascii_lowercase().as_bytes()))
    }
}

/// A node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Node {
    /// Its name, as in `sites[].nodes`.
    pub name: String,
    /// Its key.
    pub key: NodeKey,
    /// Its site's index in the configuration.
    pub site: usize,
    /// Host name or address under which it is reached.
    pub host: String,
    /// Port at which it is reached.
    pub port: u16,
}

/// All nodes, and which of them this is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Roster {
    nodes: Vec<Node>,
    me: Node,
}

/// Why it is not clear which node this is.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum RosterError {
    /// The host name is no node's.
    #[error(
        "this machine's host name, `{host}`, is no node's of the local site ({nodes}): set \
         dhcp.datacenter.multi_site.node to this node's name"
    )]
    Unknown {
        /// The host name.
        host: String,
        /// The local site's nodes.
        nodes: String,
    },
    /// Two names have one key, which chance alone never does.
    #[error("the nodes `{0}` and `{1}` cannot be told apart by their keys: rename one")]
    SameKey(String, String),
}

impl Roster {
    /// The roster of a configuration on a machine with this host name.
    ///
    /// # Errors
    /// If none of the local site's nodes is this machine.
    pub fn of(config: &MultiSite, host: &str) -> Result<Self, RosterError> {
        let mut names: BTreeMap<NodeKey, &str> = BTreeMap::new();
        let mut nodes = Vec::new();
        for (site, name) in config.nodes() {
            let key = NodeKey::of(name);
            if let Some(other) = names.insert(key, name) {
                return Err(RosterError::SameKey(other.to_owned(), name.to_owned()));
            }
            let known = config.link.addresses.iter().find(|(node, ..)| node.eq_ignore_ascii_case(name));
            let (host, port) = match known {
                Some((_, host, port)) => (host.clone(), *port),
                None => (name.to_owned(), config.link.listen.port()),
            };
            nodes.push(Node { name: name.to_owned(), key, site, host, port });
        }
        let local = |node: &Node| config.sites.get(node.site).is_some_and(|s| s.name == config.local_site);
        let find = |fits: &dyn Fn(&str) -> bool| {
            let mut found = nodes.iter().filter(|node| local(node) && fits(&node.name));
            // Two that fit are none.
            let first = found.next();
            first.filter(|_| found.next().is_none()).cloned()
        };
        let first_label = |name: &str| name.split('.').next().map(str::to_ascii_lowercase);
        let me = match &config.node {
            Some(name) => find(&|node| node.eq_ignore_ascii_case(name)),
            None => find(&|node| node.eq_ignore_ascii_case(host))
                .or_else(|| find(&|node| first_label(node) == first_label(host))),
        };
        let me = me.ok_or_else(|| RosterError::Unknown {
            host: host.to_owned(),
            nodes: nodes.iter().filter(|node| local(node)).map(|n| &*n.name).collect::<Vec<_>>().join(", "),
        })?;
        Ok(Self { nodes, me })
    }

    /// The roster on this machine.
    ///
    /// # Errors
    /// As [`of`](Self::of).
    pub fn here(config: &MultiSite) -> Result<Self, RosterError> {
        Self::of(config, &rustix::system::uname().nodename().to_string_lossy())
    }

    /// This node.
    pub const fn me(&self) -> &Node {
        &self.me
    }

    /// All nodes, in the order of the configuration.
    pub fn nodes(&self) -> &[Node] {
        &self.nodes
    }

    /// All nodes but this one.
    pub fn others(&self) -> impl Iterator<Item = &Node> {
        self.nodes.iter().filter(|node| node.key != self.me().key)
    }

    /// A node by its key.
    pub fn get(&self, key: NodeKey) -> Option<&Node> {
        self.nodes.iter().find(|node| node.key == key)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(members: &str) -> MultiSite {
        let text = format!(
            r#"{{"dhcp": {{"datacenter": {{"multi_site": {{"local_site": "b", {members}
                "sites": [{{"name": "a", "nodes": ["n1.a.example"]}},
                          {{"name": "b", "nodes": ["n1.b.example", "n2.b.example"]}}]}}}}}}}}"#
        );
        crate::config::parse(&text, "test").unwrap().multi_site.unwrap()
    }

    #[test]
    fn the_host_name_tells_which_node_this_is() {
        for (host, found) in [
            ("N2.b.example", Ok("n2.b.example")),
            ("n1", Ok("n1.b.example")),
            ("n2.other", Ok("n2.b.example")),
            ("n1.a.example", Ok("n1.b.example")),
            ("n3", Err(())),
        ] {
            let roster = Roster::of(&config(""), host).map_err(drop);
            assert_eq!(roster.as_ref().map(|r| r.me().name.as_str()).map_err(drop), found, "{host}");
        }
        let named = Roster::of(&config(r#""node": "n1.b.example","#), "n2").unwrap();
        assert_eq!((named.me().name.as_str(), named.others().count()), ("n1.b.example", 2));
        let error = Roster::of(&config(""), "x").unwrap_err().to_string();
        assert!(error.contains("`x`") && error.contains("n1.b.example, n2.b.example"), "{error}");
    }

    #[test]
    fn nodes_are_reached_by_name_unless_told_otherwise() {
        let link = r#""link": {"listen": "198.18.0.1:9", "addresses": [
            {"node": "N1.A.example", "address": "[2001:db8::1]:77"}]},"#;
        let roster = Roster::of(&config(link), "n1").unwrap();
        let at = |n: usize| (roster.nodes()[n].host.as_str(), roster.nodes()[n].port);
        assert_eq!((at(0), at(1)), (("2001:db8::1", 77), ("n1.b.example", 9)));
    }
}
