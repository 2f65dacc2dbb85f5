//! What two nodes' configurations must agree in before they talk: who may be given which address, how long a silent node
//! is waited for, and who the nodes are. Differences are found by name, so that an operator is told what to change.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::config::model::{Config, SyncMode};

/// Terms that are named one by one; of the others only a digest is compared.
const NAMED_MAX: usize = 1_024;
/// Longer values are compared by their digest.
const VALUE_MAX: usize = 120;
/// Differences named in one message.
const DIFFERENCES_MAX: usize = 4;

/// What must agree: a name and a value each.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Terms {
    named: BTreeMap<String, String>,
    /// The site of each node. One that only one of the two lists is being added or removed, and no contradiction.
    nodes: BTreeMap<String, String>,
    /// A digest of all terms, named and not.
    all: [u8; 32],
}

impl Terms {
    /// The terms of a configuration.
    pub fn of(config: &Config) -> Self {
        let mut terms = Vec::new();
        if let Some(sites) = &config.multi_site {
            let failover = &sites.failover;
            let mode = match sites.synchronization.mode {
                SyncMode::Async => "async",
                SyncMode::Sync => "sync",
            };
            terms.extend([
                ("synchronization.mode".to_owned(), mode.to_owned()),
                ("failover.enabled".to_owned(), failover.enabled.to_string()),
                ("failover.failover_timeout".to_owned(), failover.failover_timeout_secs.to_string()),
                ("failover.mclt_secs".to_owned(), failover.mclt_secs.to_string()),
                ("failover.delegation_secs".to_owned(), failover.delegation_secs.to_string()),
            ]);
        }
        for subnet in &config.subnets {
            let pools: Vec<_> =
                subnet.pools.iter().map(|pool| format!("{}-{}", pool.first, pool.last)).collect();
            terms.push((format!("pools of subnet {}", subnet.prefix), short(&pools.join(" "))));
            // Those made beside the file are agreed on, and not everywhere at the same moment.
            let hosts: Vec<_> = subnet
                .reservations
                .iter()
                .filter(|host| host.made.is_none())
                .map(|host| format!("{} {:?}", host.address, host.identity))
                .collect();
            if !hosts.is_empty() {
                let mut hosts = hosts;
                hosts.sort_unstable();
                terms.push((format!("reservations of subnet {}", subnet.prefix), short(&hosts.join(" "))));
            }
        }
        for site in config.multi_site.iter().flat_map(|sites| &sites.sites) {
            let addresses: Vec<String> =
                site.service_addresses.iter().map(|(address, _)| address.to_string()).collect();
            if !addresses.is_empty() {
                terms.push((format!("service addresses of site {}", site.name), short(&addresses.join(" "))));
            }
        }
        let mut hash = Sha256::new();
        for (name, value) in &terms {
            for text in [name, value] {
                hash.update((text.len() as u64).to_be_bytes());
                hash.update(text.as_bytes());
            }
        }
        let sites = config.multi_site.iter();
        let nodes = sites.flat_map(|all| {
            all.nodes().filter_map(|(site, node)| {
                Some((node.to_ascii_lowercase(), all.sites.get(site)?.name.clone()))
            })
        });
        Self {
            named: terms.into_iter().take(NAMED_MAX).collect(),
            nodes: nodes.collect(),
            all: hash.finalize().into(),
        }
    }

    /// What contradicts `theirs`, in words; empty if nothing does.
    pub fn contradictions(&self, theirs: &Self) -> String {
        let mut found = Vec::new();
        let nothing = "nothing".to_owned();
        for name in
            self.named.keys().chain(theirs.named.keys().filter(|name| !self.named.contains_key(*name)))
        {
            let (here, there) = (self.named.get(name), theirs.named.get(name));
            if here != there {
                let (here, there) = (here.unwrap_or(&nothing), there.unwrap_or(&nothing));
                found.push(format!("{name}: {here} here, {there} there"));
            }
        }
        if found.is_empty() && self.all != theirs.all {
            found.push("pools or reservations, of which there are too many to name".to_owned());
        }
        for (node, site) in &self.nodes {
            if let Some(other) = theirs.nodes.get(node).filter(|other| *other != site) {
                found.push(format!("node {node} is of site {site} here, {other} there"));
            }
        }
        let more = found.len().saturating_sub(DIFFERENCES_MAX);
        found.truncate(DIFFERENCES_MAX);
        if more != 0 {
            found.push(format!("and {more} more"));
        }
        found.join("; ")
    }

    /// Nodes that only one of the two lists.
    pub fn unshared_nodes(&self, theirs: &Self) -> Vec<String> {
        let (ours, theirs) = (&self.nodes, &theirs.nodes);
        let missing = ours.keys().filter(|node| !theirs.contains_key(*node));
        missing.chain(theirs.keys().filter(|node| !ours.contains_key(*node))).cloned().collect()
    }
}

fn short(value: &str) -> String {
    if value.len() <= VALUE_MAX {
        return value.to_owned();
    }
    let digest: [u8; 32] = Sha256::digest(value.as_bytes()).into();
    let digest: String = digest.iter().take(8).map(|octet| format!("{octet:02x}")).collect();
    format!("{}… (digest {digest})", value.chars().take(48).collect::<String>())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn terms(pool: &str, sites: &str) -> Terms {
        let text = format!(
            r#"{{"dhcp": {{"interfaces": ["a"], "subnets": [{{"subnet": "198.18.0.0/15", "interface": "a",
            "pools": [{{"range": "{pool}"}}]}}], "datacenter": {{"multi_site": {{"local_site": "a", "sites": [{sites}]}}}}}}}}"#
        );
        Terms::of(&crate::config::parse(&text, "test.json").unwrap())
    }

    #[test]
    fn differences_are_named_and_nodes_that_come_or_go_are_none() {
        let (a, b) = (r#"{"name": "a", "nodes": ["x"]}"#, r#"{"name": "b", "nodes": ["y"]}"#);
        let one = terms("198.18.1.0/24", a);
        assert_eq!(one.contradictions(&terms("198.18.1.0/24", a)), "");
        assert_eq!(
            one.contradictions(&terms("198.18.1.0/25", a)),
            "pools of subnet 198.18.0.0/15: 198.18.1.0-198.18.1.255 here, 198.18.1.0-198.18.1.127 there"
        );
        let two = terms("198.18.1.0/24", &format!("{a}, {b}"));
        assert_eq!(
            (one.contradictions(&two), one.unshared_nodes(&two)),
            (String::new(), vec!["y".to_owned()])
        );
        let moved = terms("198.18.1.0/24", r#"{"name": "a", "nodes": ["x", "y"]}"#);
        assert_eq!(two.contradictions(&moved), "node y is of site b here, a there");
    }

    #[test]
    fn what_is_reserved_beside_the_file_contradicts_nothing_and_is_in_a_pool() {
        let text = r#"{"dhcp": {"interfaces": ["a"], "subnets": [{"subnet": "198.18.0.0/16", "interface": "a",
            "pools": [{"range": "198.18.1.0-198.18.1.255"}]}], "datacenter": {"multi_site": {"enabled": true,
            "local_site": "a", "sites": [{"name": "a", "nodes": ["x"]}]}}}}"#;
        let made = ["198.18.1.9", "198.18.9.9"].map(|address| {
            let text = format!(r#"{{"address": "{address}", "hw_address": "02:00:00:00:00:01"}}"#);
            crate::config::Made::parse(&text).unwrap()
        });
        let with = crate::config::parse_with(text, "test", &made).unwrap();
        let in_force: Vec<_> = with.subnets.iter().flat_map(|subnet| &subnet.reservations).collect();
        assert_eq!(in_force.iter().map(|host| host.made.as_ref()).collect::<Vec<_>>(), [Some(&made[0])]);
        let [left] = &with.left_out[..] else { panic!("{:?}", with.left_out) };
        assert!(left.made == made[1] && left.why.contains("198.18.9.9 is in no pool"), "{}", left.why);
        let without = crate::config::parse(text, "test").unwrap();
        assert_eq!(Terms::of(&with), Terms::of(&without));
        // A node that is alone has both.
        let alone = text.replace(r#""enabled": true"#, r#""enabled": false"#);
        let other = made[1].text().replace(":01", ":02");
        let both = [made[0].clone(), crate::config::Made::parse(&other).unwrap()];
        assert!(crate::config::parse_with(&alone, "test", &both).unwrap().left_out.is_empty());
    }
}
