//! Machines that are lost, stand still, or are replaced.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::Ipv4Addr,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;

use super::{Stage, secs};
use crate::{cluster::AGREED, torture::boot_ns, wait::wait_for};

/// What the loss of machines is measured by.
struct Names {
    renewals_go_on: &'static str,
    renewed_in_kernel: &'static str,
    blocks_open: &'static str,
    lost_block_allocates: &'static str,
    renewal_wait_ms_max: &'static str,
    back_and_active: &'static str,
}

const KILL: Names = Names {
    renewals_go_on: "kill_renewals_go_on",
    renewed_in_kernel: "kill_renewed_in_kernel",
    blocks_open: "kill_blocks_open",
    lost_block_allocates: "kill_lost_block_allocates",
    renewal_wait_ms_max: "kill_renewal_wait_ms_max",
    back_and_active: "kill_back_and_active",
};

const KILL_SITE: Names = Names {
    renewals_go_on: "kill_site_renewals_go_on",
    renewed_in_kernel: "kill_site_renewed_in_kernel",
    blocks_open: "kill_site_blocks_open",
    lost_block_allocates: "kill_site_lost_block_allocates",
    renewal_wait_ms_max: "kill_site_renewal_wait_ms_max",
    back_and_active: "kill_site_back_and_active",
};

/// What elections, a commit across the widest distance and a busy machine may take beside what is configured.
const OPEN_SLACK: Duration = Duration::from_secs(8);
/// What the answer to a renewal may take on a busy machine, once the client asks a node that lives.
const ANSWER_SLACK: Duration = Duration::from_secs(2);
/// How long a client waits for each node of its site before it turns to the next.
const ASKS_NEXT: Duration = Duration::from_secs(1);
/// Until then every client of a lost node has asked others, more than once.
const IN_KERNEL_WITHIN: Duration = Duration::from_secs(10);
/// How often more clients come to every site, at most, and how long they are waited for.
const MORE_CLIENTS_MAX: usize = 5;
const SOON_GIVEN: Duration = Duration::from_secs(12);
/// Leases that are looked at one by one: the last that were granted.
const LEASES_MAX: usize = 24;

/// Renewals that nodes' kernels have granted of leases they know, by node and address.
type InKernel = BTreeMap<(usize, Ipv4Addr), u64>;

/// The last leases that `by` granted.
fn granted_last(stage: &Stage, by: &[usize]) -> Vec<Ipv4Addr> {
    let report = stage.traffic.report();
    let granted = report.granted_by.iter().filter(|(_, (node, _))| by.contains(node));
    let mut granted: Vec<(u64, Ipv4Addr)> = granted.map(|(address, (_, at))| (*at, *address)).collect();
    granted.sort_unstable();
    granted.into_iter().rev().take(LEASES_MAX).map(|(_, address)| address).collect()
}

fn in_kernel(stage: &Stage, nodes: &[usize], leases: &[Ipv4Addr]) -> Result<InKernel> {
    let mut found = InKernel::new();
    for number in nodes {
        let node = stage.cluster.nodes.get(*number).context("no such node")?;
        for address in leases {
            // There is none where nobody has heard of it yet.
            let Ok(lease) = node.get(&format!("leases/{address}")) else { continue };
            if lease["state"] == "bound" {
                let renewals = lease.pointer("/kernel/renewals").and_then(Value::as_u64);
                found.insert((*number, *address), renewals.unwrap_or(0));
            }
        }
    }
    Ok(found)
}

/// Waits until clients of `nodes` are renewed in the kernel there, as they are while nothing happens: leases of theirs.
fn wait_renewed_in_kernel(stage: &Stage, nodes: &[usize]) -> Result<Vec<Ipv4Addr>> {
    wait_for(AGREED, "clients to be renewed in the kernel", || {
        let leases = granted_last(stage, nodes);
        let there = in_kernel(stage, nodes, &leases)?;
        let bound: BTreeSet<Ipv4Addr> = there.keys().map(|(_, address)| *address).collect();
        let renewed = there.iter().filter(|(_, renewals)| **renewals > 0);
        let renewed: BTreeSet<Ipv4Addr> = renewed.map(|((_, address), _)| *address).collect();
        Ok((!renewed.is_empty() && 2 * renewed.len() >= bound.len()).then_some(leases))
    })
}

/// A node is lost under load: its clients are served by others at once, new clients get addresses of its blocks when that
/// is safe; it comes back.
///
/// # Errors
///
/// When something that must hold does not.
pub fn kill(stage: &mut Stage, gone: usize) -> Result<()> {
    lose(stage, &[gone], &KILL)
}

/// All nodes of a site are lost at once: the other sites do for its clients what another node of the site would.
///
/// # Errors
///
/// When something that must hold does not.
pub fn kill_site(stage: &mut Stage, site: usize) -> Result<()> {
    let site = stage.cluster.sites.get(site).context("there is no such site")?;
    let nodes = stage.cluster.of_site(site);
    lose(stage, &nodes, &KILL_SITE)
}

fn lose(stage: &mut Stage, gone: &[usize], names: &Names) -> Result<()> {
    let leases = wait_renewed_in_kernel(stage, gone)?;
    let others = stage.others(gone);
    let kernels_before = in_kernel(stage, &others, &leases)?;
    let before = stage.traffic.report();
    let lost: BTreeSet<_> = before
        .granted_by
        .iter()
        .filter(|(_, (by, _))| gone.contains(by))
        .filter_map(|(address, _)| stage.block_of(*address))
        .collect();
    ensure!(!lost.is_empty(), "the lost nodes granted nothing yet: there is nothing to lose");
    let first = *gone.first().context("nobody is to be lost")?;
    let site = stage.cluster.nodes.get(first).context("no such node")?.site.clone();
    let site = stage.cluster.sites.iter().position(|name| *name == site).context("no such site")?;
    let site_nodes = stage.cluster.sites.get(site).map_or(0, |name| stage.cluster.of_site(name).len());
    let open_within = stage.seconds_of("failover_timeout")? + stage.seconds_of("mclt_secs")? + OPEN_SLACK;
    stage.traffic.measure_anew();
    let (killed, killed_boot_ns) = (Instant::now(), boot_ns());
    for node in gone {
        stage.cluster.nodes.get_mut(*node).context("no such node")?.lose()?;
    }
    // Clients of the lost nodes are answered by others, long before anything moves.
    stage.traffic.wait(AGREED, "renewals to be answered by others", |now| {
        others.iter().map(|node| now.node(*node).renewals_answered).sum::<u64>()
            > others.iter().map(|node| before.node(*node).renewals_answered).sum::<u64>() + 20
    })?;
    stage.note(names.renewals_go_on, killed);
    // Not only by their daemons: their kernels were taught how these clients ask. What they granted of these leases
    // before is taken off, for clients turn to others at times.
    wait_for(IN_KERNEL_WITHIN, "the lost nodes' clients to be renewed in the kernels of others", || {
        let now = in_kernel(stage, &others, &leases)?;
        let before = |at: &(usize, Ipv4Addr)| kernels_before.get(at).copied().unwrap_or(0);
        Ok(now.iter().any(|(at, renewals)| *renewals > before(at)).then_some(()))
    })?;
    stage.note(names.renewed_in_kernel, killed);
    stage.wait_hold_all(&others)?;
    let opened = killed.elapsed();
    stage.note(names.blocks_open, killed);
    ensure!(
        opened <= open_within,
        "the lost blocks are open after {opened:?} only, not within {open_within:?}"
    );
    let blocks = stage.blocks.clone();
    let of_lost = |report: &crate::cluster::traffic::Report| {
        let mut new = report.granted_by.iter().filter(|(address, (by, at))| {
            !gone.contains(by)
                && *at > killed_boot_ns
                && blocks.of_address(**address).is_some_and(|block| lost.contains(&block))
        });
        new.any(|_| true)
    };
    // More clients than are there, until some get addresses of the lost blocks: whoever holds these now has others, too.
    let given = (0..MORE_CLIENTS_MAX).any(|_| {
        (0..stage.cluster.sites.len()).for_each(|site| stage.traffic.more(site, 30));
        stage.traffic.wait(SOON_GIVEN, "an address of a lost block to be given out", of_lost).is_ok()
    });
    ensure!(given, "no client got an address of a lost block: {:#?}", stage.traffic.report());
    stage.note(names.lost_block_allocates, killed);
    let report = stage.traffic.wait_all_bound(AGREED)?;
    let waited = Duration::from_millis(report.renewal_wait_ms_max);
    stage.figures.insert(names.renewal_wait_ms_max, report.renewal_wait_ms_max as f64);
    // Each of the site's nodes may be asked in vain first.
    let wait_max = ASKS_NEXT * u32::try_from(site_nodes)? + ANSWER_SLACK;
    ensure!(
        waited <= wait_max,
        "a client waited {waited:?} for the answer to its renewal, not {wait_max:?} at most"
    );
    let back = Instant::now();
    for node in gone {
        stage.cluster.nodes.get_mut(*node).context("no such node")?.start()?;
    }
    for node in gone {
        stage.wait_active(*node)?;
    }
    stage.note(names.back_and_active, back);
    Ok(())
}

/// A daemon stands still until others have taken its blocks and give out of them; then it wakes, and knows better than to
/// go on where it was.
///
/// # Errors
///
/// When something that must hold does not.
pub fn pause(stage: &mut Stage, still: usize) -> Result<()> {
    let others = stage.others(&[still]);
    let paused = Instant::now();
    stage.cluster.nodes.get_mut(still).context("no such node")?.pause(true)?;
    let held = stage.wait_hold_all(&others);
    let site = stage.cluster.nodes.get(still).context("no such node")?.site.clone();
    let site = stage.cluster.sites.iter().position(|name| *name == site).context("no such site")?;
    // New clients arrive in the moment it wakes.
    stage.traffic.more(site, 20);
    stage.cluster.nodes.get_mut(still).context("no such node")?.pause(false)?;
    held?;
    stage.note("pause_others_hold_all", paused);
    let woken = Instant::now();
    stage.wait_active(still)?;
    stage.note("pause_awake_and_active", woken);
    stage.traffic.wait_all_bound(AGREED)?;
    Ok(())
}

/// All nodes are stopped in good order and started again, one after the other, under load: a rolling upgrade. Every other
/// one is started from another program file than before.
///
/// # Errors
///
/// When something that must hold does not.
pub fn rolling(stage: &mut Stage) -> Result<()> {
    let began = Instant::now();
    let before = stage.traffic.report();
    for number in 0..stage.cluster.nodes.len() {
        let node = stage.cluster.nodes.get_mut(number).context("no such node")?;
        let status = node.daemon.as_mut().context("it does not run")?.stop()?;
        ensure!(status.success(), "{} ended with {status}:\n{}", node.name, node.log());
        if !number.is_multiple_of(2) {
            node.install_other_program()?;
        }
        node.start()?;
        stage.wait_active(number)?;
        let at_least = stage.traffic.report().renewals_answered + 20;
        stage
            .traffic
            .wait(AGREED, "renewals between two restarts", |now| now.renewals_answered > at_least)?;
        eprintln!("{} of {} replaced, {:.1} s", number + 1, stage.cluster.nodes.len(), secs(began));
    }
    stage.note("rolling_all", began);
    let after = stage.traffic.report();
    stage.figures.insert("rolling_leases_ran_out", (after.ran_out - before.ran_out) as f64);
    Ok(())
}
