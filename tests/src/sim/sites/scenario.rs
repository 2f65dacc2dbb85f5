//! What a seed stands for where there are several nodes.

use std::sync::Arc;

use dhcp_user::{
    config::model::{Config, SyncMode},
    site::{
        delegation::NodeId,
        node::{Place, Settings, SiteFacts},
    },
    time::Span,
};
use rand::{Rng as _, SeedableRng as _, rngs::SmallRng};

use crate::sim::scenario::{MS, Rates, SEC, Scenario as OneNode};

/// From this seed on disks are full now and then, and batches become durable in parts.
pub const DISKS_FROM: u64 = 200;
/// From this seed on the pools are changed now and then, on one node after the other.
pub const POOLS_FROM: u64 = 400;
/// From this seed on flushes take long now and then, and a node may come to a cluster that has been running for a while.
pub const SLOW_DISKS_FROM: u64 = 600;

/// Something that goes wrong with machines or links.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(
    missing_docs,
    reason = "the fields are named for what they are: machines and sites by index, times in nanoseconds"
)]
pub enum Fault {
    /// A daemon dies, at once or after so many more commits; its machine's program goes on.
    Kill { node: usize, after_commits: Option<u32>, down_ns: u64 },
    /// A machine is gone, with its program.
    MachineDown { node: usize, down_ns: u64 },
    /// A machine is gone, and comes back with an empty disk.
    LoseDisk { node: usize, down_ns: u64 },
    /// A daemon stands still; its machine's program goes on.
    Pause { node: usize, for_ns: u64 },
    /// A site's machines reach those of no other.
    CutSite { site: usize, for_ns: u64 },
    /// Nothing arrives from one machine at another, but the other way round.
    CutOneWay { from: usize, to: usize, for_ns: u64 },
    /// A link comes and goes.
    Flap { one: usize, other: usize, for_ns: u64 },
    /// Messages from a machine take longer.
    Slow { node: usize, by_ns: u64, for_ns: u64 },
    /// A machine hears of the log's commands late.
    Lag { node: usize, by_ns: u64, for_ns: u64 },
    /// So many of a hundred clients turn to another machine.
    Roam { percent: u8 },
    /// So many commits find no room on a machine's disk.
    FullDisk { node: usize, commits: u32 },
    /// Flushes of a machine's disk take up to so long.
    SlowDisk { node: usize, by_ns: u64, for_ns: u64 },
    /// An operator takes a node out of service, and back.
    Drain { node: usize, for_ns: u64 },
    /// A daemon is started anew with other pools.
    OtherPools { node: usize, down_ns: u64 },
    /// One machine of two is gone, and an operator tells the other so after a while.
    PartnerDown { node: usize, told_after_ns: u64, down_ns: u64 },
    /// One site of two is gone, or only cut off, and an operator tells the other so after a while: it is half of all.
    SiteDown { site: usize, cut_off: bool, told_after_ns: u64, down_ns: u64 },
}

/// One run.
#[derive(Clone, Debug)]
pub struct Scenario {
    /// What one node is to its clients: how many there are, how they behave, the configuration.
    pub base: OneNode,
    /// How many sites.
    pub sites: usize,
    /// How many nodes each has.
    pub nodes_per_site: usize,
    /// The maximum client lead time.
    pub mclt_secs: u64,
    /// How long delegations last.
    pub delegation_secs: u64,
    /// How long those of every other node do, where settings are being changed on one node after the other.
    pub even_delegation_secs: Option<u64>,
    /// Whether replies wait for the peers.
    pub sync: bool,
    /// The longest an update waits.
    pub interval_secs: u64,
    /// The number of updates sent at once.
    pub batch_size: usize,
    /// What one flush of a machine's disk carries, where batches are to become durable in parts.
    pub flush_octets: Option<usize>,
    /// How many addresses each pool has when they are changed.
    pub pools_later: [u8; 2],
    /// Each machine's clock gains so many millionths.
    pub drift_ppm: Vec<i64>,
    /// What goes wrong, and when.
    pub faults: Vec<(u64, Fault)>,
}

impl Scenario {
    /// The scenario of a seed.
    pub fn new(seed: u64, sites: usize, nodes_per_site: usize) -> Self {
        let mut rng = SmallRng::seed_from_u64(seed ^ 0x517e);
        let mut base = OneNode::new(seed, u64::MAX);
        let nodes = sites * nodes_per_site;
        let lease_secs = [30, 60, 120][rng.random_range(0..3)];
        let clients = rng.random_range(8..28_u16);
        let share = rng.random_range(50..160_u32);
        let pool = |of: u16| u8::try_from((u32::from(of) * share / 100).clamp(6, 200)).unwrap_or(200);
        base.lease_secs = lease_secs;
        base.clients = clients;
        base.pools = [pool(clients - clients / 3), pool(clients / 3)];
        base.answers_max = 64;
        base.rates = Rates { decline: base.rates.decline / 4, ..base.rates };
        base.calm_from_ns = u64::from(lease_secs) * rng.random_range(4..10) * SEC;
        let mclt_secs = [20, 60, 300][rng.random_range(0..3)];
        // Whatever was promised unheard has ended, and everybody has been told everything, some time before the end.
        base.end_ns = base.calm_from_ns + (mclt_secs + u64::from(lease_secs) * 4 + 120) * SEC;
        base.faults.clear();
        let calm_ns = base.calm_from_ns;
        let mut faults = draw_faults(&mut rng, sites, nodes_per_site, lease_secs, calm_ns);
        // Drawn by themselves, so that the rest of a seed stays what it was; those before have perfect disks.
        let mut disks = SmallRng::seed_from_u64(seed ^ 0xd15c);
        let troubled = seed >= DISKS_FROM;
        let times = disks.random_range(0..4_u32).saturating_sub(1);
        for _ in 0..if troubled { times } else { 0 } {
            let (node, commits) = (disks.random_range(0..nodes), disks.random_range(1..30));
            let at_ns = disks.random_range(20 * SEC..calm_ns.max(21 * SEC));
            faults.push((at_ns, Fault::FullDisk { node, commits }));
        }
        let mut pools = SmallRng::seed_from_u64(seed ^ 0x9001);
        let fewer = pools.random_bool(0.25);
        let pools_later = base.pools.map(|before| match fewer {
            true => before.saturating_sub(pools.random_range(0..8)).max(6),
            false => before.saturating_add(pools.random_range(0..40)).min(200),
        });
        if seed >= POOLS_FROM && pools.random_bool(0.5) {
            let first_ns = pools.random_range(20 * SEC..calm_ns.max(21 * SEC));
            let gap_ns = pools.random_range(SEC / 2..12 * SEC);
            for (node, turn) in (0..nodes).zip(0..) {
                let at_ns = (first_ns + gap_ns * turn).min(calm_ns);
                let down_ns = pools.random_range(SEC / 2..3 * SEC);
                faults.push((at_ns, Fault::OtherPools { node, down_ns }));
            }
        }
        if seed >= SLOW_DISKS_FROM {
            faults.extend(draw_slow_disks(seed, nodes, lease_secs, calm_ns));
        }
        if sites == 2 && nodes_per_site > 1 {
            let mut halves = SmallRng::seed_from_u64(seed ^ 0x4a1f);
            let lease_ns = u64::from(lease_secs) * SEC;
            let told_after_ns = halves.random_range(SEC..lease_ns);
            let fault = Fault::SiteDown {
                site: halves.random_range(0..2),
                cut_off: halves.random_bool(0.5),
                told_after_ns,
                down_ns: told_after_ns + halves.random_range(SEC..lease_ns * 2),
            };
            faults.push((halves.random_range(20 * SEC..calm_ns.max(21 * SEC)), fault));
        }
        faults.sort_by_key(|(at, _)| *at);
        Self {
            pools_later,
            sites,
            nodes_per_site,
            mclt_secs,
            delegation_secs: rng.random_range(4..12),
            even_delegation_secs: None,
            sync: rng.random_bool(0.4),
            interval_secs: [1, 5, 20][rng.random_range(0..3)],
            batch_size: [1, 10, 1_000][rng.random_range(0..3)],
            flush_octets: [None, Some(300), Some(1_000)][disks.random_range(0..3)].filter(|_| troubled),
            drift_ppm: (0..nodes).map(|_| rng.random_range(-300..300)).collect(),
            faults,
            base,
        }
    }

    /// How many nodes there are.
    pub fn nodes(&self) -> usize {
        self.sites * self.nodes_per_site
    }

    /// A node's site.
    pub fn site_of(&self, node: usize) -> usize {
        node / self.nodes_per_site.max(1)
    }

    /// The configuration of a node, before or after the pools were changed there.
    pub fn config(&self, later: bool) -> Arc<Config> {
        let pools = if later { self.pools_later } else { self.base.pools };
        Arc::new(OneNode { pools, ..self.base.clone() }.config(0))
    }

    /// A node's settings.
    pub fn settings(&self, node: usize) -> Settings {
        let sites = (0..self.sites).map(|site| SiteFacts {
            name: format!("site-{site}"),
            priority: site as u32 + 1,
            latency_ms: 10,
        });
        let nodes = (0..self.nodes()).map(|node| Place {
            node: NodeId(node as u16),
            name: format!("node-{node}"),
            site: self.site_of(node),
        });
        let home = self.site_of(node);
        let mut donors: Vec<usize> = (0..self.sites).collect();
        donors.sort_by_key(|site| *site != home);
        Settings {
            me: NodeId(node as u16),
            nodes: nodes.collect(),
            sites: sites.collect(),
            mclt: Span::from_secs(self.mclt_secs),
            delegation: Span::from_secs(self.delegation_secs),
            mode: if self.sync { SyncMode::Sync } else { SyncMode::Async },
            interval: Span::from_secs(self.interval_secs),
            batch_size: self.batch_size,
            failover: true,
            detection: Span::from_secs(2),
            failover_timeout: Span::from_secs(self.delegation_secs + 1),
            heirs: (0..self.sites).collect(),
            donors,
            shares_addresses: true,
            named_donors: 0,
            balanced: self.base.seed.is_multiple_of(3),
        }
    }
}

/// Drawn by themselves, as the disks that are full.
fn draw_slow_disks(seed: u64, nodes: usize, lease_secs: u32, until_ns: u64) -> Vec<(u64, Fault)> {
    let mut rng = SmallRng::seed_from_u64(seed ^ 0x510d);
    let lease_ns = u64::from(lease_secs) * SEC;
    let mut faults = Vec::new();
    for _ in 0..rng.random_range(0..4_u32).saturating_sub(1) {
        let fault = Fault::SlowDisk {
            node: rng.random_range(0..nodes),
            by_ns: rng.random_range(100 * MS..2 * SEC),
            for_ns: rng.random_range(5 * SEC..lease_ns * 2),
        };
        faults.push((rng.random_range(20 * SEC..until_ns.max(21 * SEC)), fault));
    }
    if nodes > 2 && rng.random_bool(0.2) {
        let down_ns = rng.random_range(10 * SEC..until_ns.max(11 * SEC));
        faults.push((0, Fault::MachineDown { node: rng.random_range(0..nodes), down_ns }));
    }
    faults
}

fn draw_faults(
    rng: &mut SmallRng,
    sites: usize,
    per_site: usize,
    lease_secs: u32,
    until_ns: u64,
) -> Vec<(u64, Fault)> {
    let lease_ns = u64::from(lease_secs) * SEC;
    let nodes = sites * per_site;
    let mut faults = Vec::new();
    for _ in 0..rng.random_range(0..16) {
        let for_ns = match rng.random_range(0..3) {
            0 => rng.random_range(SEC..8 * SEC),
            1 => rng.random_range(4 * SEC..lease_ns),
            _ => rng.random_range(lease_ns / 2..lease_ns * 2),
        };
        let node = rng.random_range(0..nodes);
        let other = (node + rng.random_range(1..nodes.max(2))) % nodes;
        let fault = match rng.random_range(0..22) {
            0..4 => Fault::Kill {
                node,
                after_commits: rng.random_bool(0.6).then(|| rng.random_range(0..6)),
                down_ns: for_ns,
            },
            4..6 => Fault::MachineDown { node, down_ns: for_ns },
            6..9 => Fault::Pause { node, for_ns },
            9..13 => Fault::CutSite { site: rng.random_range(0..sites), for_ns },
            13..15 => Fault::CutOneWay { from: node, to: other, for_ns },
            15 => Fault::Flap { one: node, other, for_ns },
            16 | 17 => Fault::Slow { node, by_ns: rng.random_range(50 * MS..3 * SEC), for_ns },
            18 => Fault::Lag { node, by_ns: rng.random_range(SEC..10 * SEC), for_ns },
            19 | 20 => Fault::Roam { percent: rng.random_range(10..100) },
            _ => Fault::Drain { node, for_ns },
        };
        faults.push((rng.random_range(20 * SEC..until_ns.max(21 * SEC)), fault));
    }
    if nodes > 2 && rng.random_bool(0.3) {
        // One at most: of what two lose nobody may be left who has it.
        let fault =
            Fault::LoseDisk { node: rng.random_range(0..nodes), down_ns: rng.random_range(SEC..lease_ns) };
        faults.push((rng.random_range(20 * SEC..until_ns.max(21 * SEC)), fault));
    }
    if nodes == 2 {
        // Of more than two, the majority sees to it.
        let told_after_ns = rng.random_range(SEC..lease_ns);
        let down_ns = told_after_ns + rng.random_range(SEC..lease_ns * 2);
        let fault = Fault::PartnerDown { node: rng.random_range(0..2), told_after_ns, down_ns };
        faults.push((rng.random_range(20 * SEC..until_ns.max(21 * SEC)), fault));
    }
    faults.sort_by_key(|(at, _)| *at);
    faults
}
