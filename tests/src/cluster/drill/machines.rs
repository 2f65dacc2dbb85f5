//! Machines that are lost, stand still, or are replaced.

use std::{collections::BTreeSet, time::Instant};

use anyhow::{Context as _, Result, ensure};

use super::{Stage, secs};
use crate::{cluster::AGREED, torture::boot_ns};

/// A node is lost under load: its clients are served by others at once, new clients get addresses of its blocks when that
/// is safe; it comes back.
///
/// # Errors
///
/// When something that must hold does not.
pub fn kill(stage: &mut Stage, gone: usize) -> Result<()> {
    let before = stage.traffic.report();
    let lost: BTreeSet<_> = before
        .granted_by
        .iter()
        .filter(|(_, (by, _))| *by == gone)
        .filter_map(|(address, _)| stage.block_of(*address))
        .collect();
    ensure!(!lost.is_empty(), "the node granted nothing yet: there is nothing to lose");
    let site = stage.cluster.nodes.get(gone).context("no such node")?.site.clone();
    let site = stage.cluster.sites.iter().position(|name| *name == site).context("no such site")?;
    stage.traffic.measure_anew();
    let (killed, killed_boot_ns) = (Instant::now(), boot_ns());
    stage.cluster.nodes.get_mut(gone).context("no such node")?.lose()?;
    let others = stage.others(&[gone]);
    // Clients of the lost node are answered by others, long before anything moves.
    stage.traffic.wait(AGREED, "renewals to be answered by others", |now| {
        others.iter().map(|node| now.node(*node).renewals_answered).sum::<u64>()
            > others.iter().map(|node| before.node(*node).renewals_answered).sum::<u64>() + 20
    })?;
    stage.note("kill_renewals_go_on", killed);
    stage.wait_hold_all(&others)?;
    stage.note("kill_blocks_open", killed);
    // More clients than are there: some get addresses of the lost blocks.
    stage.traffic.more(site, 40);
    let blocks = stage.blocks.clone();
    let of_lost = |report: &crate::cluster::traffic::Report| {
        let mut new = report.granted_by.iter().filter(|(address, (by, at))| {
            *by != gone
                && *at > killed_boot_ns
                && blocks.of_address(**address).is_some_and(|block| lost.contains(&block))
        });
        new.any(|_| true)
    };
    stage.traffic.wait(AGREED, "an address of a lost block to be given out", of_lost)?;
    stage.note("kill_lost_block_allocates", killed);
    let report = stage.traffic.wait_all_bound(AGREED)?;
    stage.figures.insert("kill_renewal_wait_ms_max", report.renewal_wait_ms_max as f64);
    let back = Instant::now();
    stage.cluster.nodes.get_mut(gone).context("no such node")?.start()?;
    stage.wait_active(gone)?;
    stage.note("kill_back_and_active", back);
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

/// All nodes are stopped in good order and started again, one after the other, under load: a rolling upgrade.
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
