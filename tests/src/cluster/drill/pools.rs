//! Other pools for a cluster that runs: the configuration of all nodes is changed one after the other, while clients go on.

use std::time::Instant;

use anyhow::{Context as _, Result};
use dhcp_user::{config, site::blocks::Blocks};
use serde_json::{Value, json};

use super::{Figures, Stage, members::restart};
use crate::{
    cluster::{AGREED, Cluster, traffic::Load},
    lab::set,
};

/// Where the pool is.
const POOLS: &str = "/dhcp/subnets/0/pools";
/// What fits into the old pool.
const CLIENTS_PER_SITE_MAX: u32 = 12;

/// A pool that is too small for the clients that are to come is made larger.
///
/// # Errors
///
/// When something that must hold does not.
pub fn run(load: &Load) -> Result<Figures> {
    let cluster = Cluster::new(&[("a", 1), ("b", 1), ("c", 1)], |config| {
        super::adapt(config);
        set(config, POOLS, json!([{"range": "198.18.1.0-198.18.1.63"}]));
    })?;
    let load = Load { clients_per_site: load.clients_per_site.min(CLIENTS_PER_SITE_MAX), ..*load };
    let mut stage = Stage::start(cluster, &load)?;
    let began = Instant::now();
    for number in 0..stage.cluster.nodes.len() {
        let mut config = stage.cluster.nodes.get(number).context("no such node")?.config.clone();
        set(&mut config, POOLS, json!([{"range": "198.18.1.0-198.18.1.255"}]));
        restart(&mut stage, number, config)?;
    }
    let first = stage.cluster.nodes.first().context("a cluster without nodes")?;
    let read = config::parse(&first.config.to_string(), "the first node's configuration");
    stage.blocks = Blocks::of(&read.map_err(|error| anyhow::anyhow!("{error}"))?);
    first.wait_get("the new pools to be the cluster's", "sync", |sync| {
        sync["blocks"].as_u64() == Some(stage.blocks.len() as u64) && sync["role"] == "active"
    })?;
    stage.note("pools_agreed", began);
    for number in 0..stage.cluster.nodes.len() {
        stage.wait_active(number)?;
    }
    stage.note("pools_all_active", began);
    // More clients than the old pool had addresses.
    stage.traffic.more(0, 60);
    stage.traffic.wait_all_bound(AGREED)?;
    stage.note("pools_all_bound", began);
    // Who comes back with the old pools is kept out.
    let mut old: Value = stage.cluster.nodes.get(2).context("no such node")?.config.clone();
    let right = old.clone();
    set(&mut old, POOLS, json!([{"range": "198.18.1.0-198.18.1.63"}]));
    restart(&mut stage, 2, old)?;
    let late = stage.cluster.nodes.get(2).context("no such node")?;
    late.wait_get("the node to say that its pools are not the cluster's", "sync", |sync| {
        sync["problems"].to_string().contains("pools are not the cluster's") && sync["blocks_held"] == 0
    })?;
    stage.wait_hold_all(&[0, 1])?;
    restart(&mut stage, 2, right)?;
    stage.wait_active(2)?;
    stage.finish()
}
