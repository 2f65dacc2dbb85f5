//! Which addresses are a site's: those of the blocks that its nodes hold, as the cluster last agreed here. An address
//! outside of every pool is no site's.

use std::net::Ipv4Addr;

use axum::http::StatusCode;

use super::{Api, problem::Problem};
use crate::{
    config::model::MultiSite,
    server::desk::Ranges,
    site::{blocks::Blocks, consensus::cluster::Cluster, roster::NodeKey},
};

/// The addresses of a site, at this moment.
///
/// # Errors
/// 422 with the reason, where nothing is a site's or there is none of that name.
pub fn ranges(api: &Api, site: &str) -> Result<Ranges, Problem> {
    let refused = |why: String| Problem::new(StatusCode::UNPROCESSABLE_ENTITY, why);
    let single =
        "site: this daemon is a single node (dhcp.datacenter.multi_site is not enabled); leave it out";
    let sites = api.sites.as_ref().ok_or_else(|| refused(single.to_owned()))?;
    let section = sites.config.multi_site.as_ref().ok_or_else(|| refused(single.to_owned()))?;
    let blocks = Blocks::of(&api.in_force.config());
    ranges_of(section, &sites.council.machine().cluster(), &blocks, site).map_err(refused)
}

fn ranges_of(section: &MultiSite, cluster: &Cluster, blocks: &Blocks, name: &str) -> Result<Ranges, String> {
    let Some(site) = section.sites.iter().find(|site| site.name == name) else {
        let known: Vec<_> = section.sites.iter().map(|site| site.name.as_str()).collect();
        return Err(format!("site: there is no site {name:?}; there are {}", known.join(", ")));
    };
    if !cluster.delegations.is_founded() {
        return Err(
            "site: no addresses are any site's yet: no node leads, or this one was told nothing".to_owned()
        );
    }
    if cluster.delegations.digest() != blocks.digest() {
        return Err("site: this node's pools are not the cluster's; see GET /api/v1/sync".to_owned());
    }
    let numbers: Vec<_> = site.nodes.iter().filter_map(|node| cluster.number(NodeKey::of(node))).collect();
    let held = blocks.iter().zip(cluster.delegations.blocks());
    let mut ranges: Vec<(Ipv4Addr, Ipv4Addr)> = Vec::new();
    for (block, _) in held.filter(|(_, delegation)| numbers.contains(&delegation.holder)) {
        match ranges.last_mut() {
            Some((_, last)) if last.to_bits().checked_add(1) == Some(block.first.to_bits()) => {
                *last = block.last;
            }
            _ => ranges.push((block.first, block.last)),
        }
    }
    Ok(ranges.into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        config,
        site::{
            consensus::cluster::Entry,
            delegation::{Delegations, NodeId},
        },
    };

    #[test]
    fn a_sites_addresses_are_those_of_its_nodes_blocks() {
        let text = include_str!("../../../docs/examples/multi-site.json");
        let config = config::parse(text, "the example").unwrap();
        let section = config.multi_site.as_ref().unwrap();
        let blocks = Blocks::of(&config);
        let names: Vec<_> = section.nodes().map(|(_, name)| NodeKey::of(name)).collect();
        let mut cluster = Cluster::default();
        let of = |cluster: &Cluster, site: &str| ranges_of(section, cluster, &blocks, site);
        let first = section.sites[0].name.as_str();
        assert!(of(&cluster, first).unwrap_err().contains("yet"));
        cluster.apply(&Entry::Begin { cluster: [7; 16], nodes: names.clone() });
        let numbers: Vec<NodeId> = names.iter().filter_map(|key| cluster.number(*key)).collect();
        let count = u32::try_from(blocks.len()).unwrap();
        cluster.delegations = Delegations::shared_out(&numbers, count, blocks.digest());
        // Each address of a pool is one site's.
        let mut holders = vec![0; blocks.len()];
        for site in &section.sites {
            let ranges = of(&cluster, &site.name).unwrap();
            assert!(ranges.windows(2).all(|pair| pair[0].1 < pair[1].0), "{ranges:?}");
            for (block, holders) in blocks.iter().zip(&mut holders) {
                let inside = ranges.iter().any(|(first, last)| *first <= block.first && block.last <= *last);
                *holders += u32::from(inside);
            }
        }
        assert!(holders.iter().all(|count| *count == 1), "{holders:?}");
        let unknown = of(&cluster, "nowhere").unwrap_err();
        assert!(unknown.contains(first), "{unknown}");
        cluster.delegations = Delegations::shared_out(&numbers, count, blocks.digest() ^ 1);
        assert!(of(&cluster, first).unwrap_err().contains("not the cluster's"));
    }
}
