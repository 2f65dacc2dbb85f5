//! Drills: what must hold when a machine is lost, a site is cut off or a process stands still, on real daemons and with one
//! ledger of what clients were promised. Tests run the short ones; `cargo xtask cluster --drill NAME` runs any.
//!
//! * [`machines`]: nodes that are lost, stand still, or are replaced. [`links`]: sites that are cut off or badly connected.
//! * [`oddities`]: clocks that are apart, a disk that is slow. [`operator`]: what somebody does by hand.
//! * [`members`]: nodes and sites that come and go. [`pools`]: other pools. [`sync`]: mode `sync`.

pub mod links;
pub mod machines;
pub mod members;
pub mod oddities;
pub mod operator;
pub mod pools;
pub mod sync;

use std::{
    collections::BTreeMap,
    net::Ipv4Addr,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use clap::ValueEnum;
use dhcp_user::{
    config,
    site::blocks::{BlockId, Blocks},
};
use serde::Serialize;
use serde_json::{Value, json};

use self::links::Deaf;
use super::{
    AGREED, Cluster,
    traffic::{Load, Report, Traffic},
};
use crate::{lab::set, wait::wait_for};

/// A drill.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum Drill {
    /// A node is lost under load, and comes back.
    Kill,
    /// All nodes of a site are lost at once, under load, and come back.
    KillSite,
    /// A site is cut off for good, and healed.
    Cut,
    /// A site is cut off for less than the failover timeout.
    ShortCut,
    /// A daemon stands still beyond its delegations, and wakes.
    Pause,
    /// A site hears the others, who do not hear it; then the other way round.
    OneWay,
    /// A site's links come and go.
    Flap,
    /// 200 ms one way, and 30 % lost, with the guide's intervals.
    Loss,
    /// All nodes are replaced one after the other, under load.
    Rolling,
    /// The sites' clocks are 5 s apart, and a node is lost, and a site cut off.
    Clocks,
    /// Every flush of one node's disk takes 100 ms more, and another node is lost.
    SlowDisk,
    /// Sites are drained, drilled and resumed, a node's vote is taken away and given back.
    Operator,
    /// A site is added, a node is refused for its configuration, replaced after its loss, removed.
    Members,
    /// A pool is made larger on all nodes, one after the other.
    Pools,
    /// Of two nodes one is lost, and the operator says so.
    PartnerDown,
    /// Of two sites of two nodes one is lost, and the operator says so; then the other.
    PartnerDownSite,
    /// Mode `sync`: whoever granted is lost at once.
    Sync,
}

/// What a drill came to.
#[derive(Debug, Default, Serialize)]
pub struct Figures {
    /// What was measured, by name; seconds unless the name says otherwise.
    #[serde(flatten)]
    pub figures: BTreeMap<&'static str, f64>,
    /// What clients saw.
    pub clients: Report,
}

/// Runs a drill on a cluster of its own.
///
/// # Errors
///
/// When something that must hold does not.
pub fn run(drill: Drill, load: &Load) -> Result<Figures> {
    match drill {
        Drill::PartnerDown => return operator::partner_down(load),
        Drill::PartnerDownSite => return operator::site_partner_down(load),
        Drill::Members => return members::run(load),
        Drill::Pools => return pools::run(load),
        Drill::Sync => return sync::run(5),
        _ => {}
    }
    let mut stage = match drill {
        Drill::Loss => Stage::apart(load, 200)?,
        Drill::Clocks => oddities::with_clocks_apart(load)?,
        // Nobody goes: every lease becomes whole, and only renewals are told.
        Drill::ShortCut => Stage::of_the_guide(&Load { releases_per_mille: 0, ..*load })?,
        _ => Stage::of_the_guide(load)?,
    };
    match drill {
        Drill::Kill => machines::kill(&mut stage, 2)?,
        Drill::KillSite => machines::kill_site(&mut stage, 1)?,
        Drill::Cut => links::cut(&mut stage, 1)?,
        Drill::ShortCut => links::short_cut(&mut stage, 1)?,
        Drill::Pause => machines::pause(&mut stage, 0)?,
        Drill::OneWay => {
            links::one_way(&mut stage, 1, Deaf::Others)?;
            links::one_way(&mut stage, 1, Deaf::Site)?;
        }
        Drill::Flap => links::flap(&mut stage, 1, Duration::from_secs(30))?,
        Drill::Loss => links::loss(&mut stage, 30, Duration::from_secs(30))?,
        Drill::Rolling => machines::rolling(&mut stage)?,
        Drill::Clocks => {
            machines::kill(&mut stage, 2)?;
            links::cut(&mut stage, 0)?;
        }
        Drill::SlowDisk => oddities::slow_disk(&mut stage, 3)?,
        Drill::Operator => operator::hand_over(&mut stage, 2)?,
        Drill::Members | Drill::Pools | Drill::PartnerDown | Drill::PartnerDownSite | Drill::Sync => {}
    }
    stage.finish()
}

/// The lease time and the maximum client lead time of drills, seconds.
pub const LEASE_SECS: u32 = 20;
/// See there.
pub const MCLT_SECS: u32 = 3;
/// A cluster at work.
pub struct Stage {
    /// The clients: they end before what they talk to.
    pub traffic: Traffic,
    /// The nodes.
    pub cluster: Cluster,
    /// How the addresses are cut.
    pub blocks: Blocks,
    /// What was measured.
    pub figures: BTreeMap<&'static str, f64>,
}

/// A drill's configuration of a node.
pub fn adapt(config: &mut Value) {
    set(config, "/dhcp/lease_secs", json!(LEASE_SECS));
    set(config, "/dhcp/subnets/0/pools", json!([{"range": "198.18.1.0-198.18.2.255"}]));
    set(config, "/dhcp/datacenter/multi_site/failover/mclt_secs", json!(MCLT_SECS));
}

impl Stage {
    /// The guide's sites at the guide's distances.
    ///
    /// # Errors
    ///
    /// When the cluster does not begin.
    pub fn of_the_guide(load: &Load) -> Result<Self> {
        Self::start(Cluster::of_the_guide(adapt)?, load)
    }

    /// The guide's sites, so many milliseconds apart, and as patient as the guide has them.
    ///
    /// # Errors
    ///
    /// When the cluster does not begin.
    pub fn apart(load: &Load, latency_ms: u32) -> Result<Self> {
        let latency = |one, other| if one == other { 0 } else { latency_ms };
        let patient = |config: &mut Value| {
            adapt(config);
            for (key, secs) in [("detection_interval", 10), ("failover_timeout", 30)] {
                set(config, &format!("/dhcp/datacenter/multi_site/failover/{key}"), json!(secs));
            }
        };
        Self::start(Cluster::apart(&super::GUIDE_SITES, latency, patient)?, load)
    }

    /// Starts daemons and clients, and waits until all is in step.
    ///
    /// # Errors
    ///
    /// When the cluster does not begin.
    pub fn start(mut cluster: Cluster, load: &Load) -> Result<Self> {
        let began = Instant::now();
        cluster.start()?;
        let mut figures = BTreeMap::from([("start_daemons", secs(began))]);
        cluster.wait_in_step()?;
        figures.insert("start_in_step", secs(began));
        let first = cluster.nodes.first().context("a cluster without nodes")?;
        let read = config::parse(&first.config.to_string(), "the first node's configuration");
        let blocks = Blocks::of(&read.map_err(|error| anyhow::anyhow!("{error}"))?);
        let traffic = Traffic::start(&cluster, load)?;
        traffic.wait_all_bound(AGREED)?;
        figures.insert("start_all_bound", secs(began));
        Ok(Self { cluster, traffic, blocks, figures })
    }

    /// Notes how long something took.
    pub fn note(&mut self, name: &'static str, began: Instant) {
        self.figures.insert(name, secs(began));
    }

    /// What the nodes' configuration says of a key of `failover`, in seconds.
    ///
    /// # Errors
    ///
    /// When it says nothing.
    pub fn seconds_of(&self, key: &str) -> Result<Duration> {
        let first = self.cluster.nodes.first().context("a cluster without nodes")?;
        let found = first.config.pointer(&format!("/dhcp/datacenter/multi_site/failover/{key}"));
        let secs = found.and_then(Value::as_u64).with_context(|| format!("no failover.{key}"))?;
        Ok(Duration::from_secs(secs))
    }

    /// The block of an address.
    pub fn block_of(&self, address: Ipv4Addr) -> Option<BlockId> {
        self.blocks.of_address(address)
    }

    /// Asks a running node for a number below `sync`, 0 if it says none.
    ///
    /// # Errors
    ///
    /// When it does not answer.
    pub fn number(&self, node: usize, key: &str) -> Result<u64> {
        let node = self.cluster.nodes.get(node).context("there is no such node")?;
        Ok(node.get("sync")?.get(key).and_then(Value::as_u64).unwrap_or(0))
    }

    /// Nodes other than these that run.
    pub fn others(&self, than: &[usize]) -> Vec<usize> {
        let running = self.cluster.nodes.iter().filter(|node| node.daemon.is_some());
        running.map(|node| node.number).filter(|node| !than.contains(node)).collect()
    }

    /// Waits until `nodes` hold all blocks that there are, and may give out of all of them.
    ///
    /// # Errors
    ///
    /// When they do not in time.
    pub fn wait_hold_all(&self, nodes: &[usize]) -> Result<()> {
        let mut seen = Vec::new();
        let found = wait_for(AGREED, "the others to hold everything", || {
            seen.clear();
            for node in nodes {
                let held = (self.number(*node, "blocks_held")?, self.number(*node, "blocks_closed")?);
                seen.push(held);
            }
            let all = seen.iter().map(|(held, _)| held).sum::<u64>() == self.blocks.len() as u64;
            Ok((all && seen.iter().all(|(_, closed)| *closed == 0)).then_some(()))
        });
        found.with_context(|| {
            let blocks = self.blocks.len();
            format!("of {blocks} blocks they hold (not open yet): {seen:?}\n{}", self.told())
        })
    }

    /// What the running nodes tell of the sites and themselves, for whoever looks into a failure.
    fn told(&self) -> String {
        let running = self.cluster.nodes.iter().filter(|node| node.daemon.is_some());
        let told = running.map(|node| {
            let sync = node.get("sync").map_or_else(|error| error.to_string(), |sync| sync.to_string());
            format!("{}: {sync}\n{}", node.name, node.log())
        });
        told.collect::<Vec<_>>().join("\n")
    }

    /// Waits until a node is in and holds addresses.
    ///
    /// # Errors
    ///
    /// When it is not in time.
    pub fn wait_active(&self, node: usize) -> Result<()> {
        let node = self.cluster.nodes.get(node).context("there is no such node")?;
        node.wait_get("the node to be in and to hold addresses", "sync", |sync| {
            sync["role"] == "active" && sync["blocks_held"].as_u64() > Some(0)
        })?;
        Ok(())
    }

    /// Ends: every client renews once more, and the ledger is looked at.
    ///
    /// # Errors
    ///
    /// When a promise was broken.
    pub fn finish(self) -> Result<Figures> {
        let clients = self.traffic.finish()?;
        ensure!(!clients.violated(), "promises were broken: {:#?}", clients.told);
        ensure!(clients.naks == 0, "{} NAKs, though no client asked for what was not its own", clients.naks);
        Ok(Figures { figures: self.figures, clients })
    }
}

/// Seconds since then.
pub fn secs(since: Instant) -> f64 {
    (since.elapsed().as_secs_f64() * 100.0).round() / 100.0
}
