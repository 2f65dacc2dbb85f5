//! Sites that are cut off, heard by nobody, or badly connected.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;

use super::{LEASE_SECS, Stage, secs};
use crate::{cluster::AGREED, torture::boot_ns, wait::wait_for};

/// How old what a node tells of the sites may be, and a little more.
const TOLD_AGE: Duration = Duration::from_millis(1_500);

/// What a node that is cut off says of itself.
const CUT: &str = "no addresses are given to new clients";

fn nodes_of(stage: &Stage, site: usize) -> Result<Vec<usize>> {
    let site = stage.cluster.sites.get(site).context("there is no such site")?;
    Ok(stage.cluster.of_site(site))
}

/// Waits until each of `nodes` says that it is cut off and gives nothing out.
fn wait_say_so(stage: &Stage, nodes: &[usize]) -> Result<()> {
    for node in nodes {
        let node = stage.cluster.nodes.get(*node).context("no such node")?;
        node.wait_get("the node to say that it is cut off", "sync", |sync| {
            let problems = sync["problems"].as_array().into_iter().flatten();
            sync["role"] == "cut" && problems.filter_map(Value::as_str).any(|problem| problem.contains(CUT))
        })?;
    }
    Ok(())
}

/// How many blocks each node of a site holds, by what another node tells of the site.
fn blocks_held(detail: &Value) -> BTreeMap<String, u64> {
    let members = detail.get("members").and_then(Value::as_array).into_iter().flatten();
    let held = |member: &Value| {
        Some((member.get("name")?.as_str()?.to_owned(), member.get("blocks_held")?.as_u64()?))
    };
    members.filter_map(held).collect()
}

/// Waits until each of a site's `nodes`, which are cut off, says so. As long as one does not, by the words of one of the
/// `others` nobody has taken what it holds: its delegations end first.
fn wait_say_so_untaken(stage: &Stage, nodes: &[usize], others: &[usize]) -> Result<()> {
    let node = |number: usize| stage.cluster.nodes.get(number).context("no such node");
    let other = node(*others.first().context("all nodes are cut off")?)?;
    let path = format!("sites/{}", node(*nodes.first().context("a site without nodes")?)?.site);
    // From here on nothing is on its way any more that was agreed on before.
    let missed = other.wait_get("the site to be missed", &path, |detail| {
        let mut members = detail["members"].as_array().into_iter().flatten();
        members.all(|member| member["linked"] == false)
    })?;
    let before = blocks_held(&missed);
    let mut taken: BTreeMap<usize, Instant> = BTreeMap::new();
    wait_for(AGREED, "the site to say that it is cut off", || {
        let now = blocks_held(&other.get(&path)?);
        let mut all_say_so = true;
        for number in nodes {
            let node = node(*number)?;
            let (held, holds) = (before.get(&node.name), now.get(&node.name));
            // What it handed on itself before the cut may be agreed on after it: who is put out loses all at once.
            if holds.is_none_or(|blocks| *blocks == 0) && held.is_some_and(|blocks| *blocks != 0) {
                taken.entry(*number).or_insert_with(Instant::now);
            }
            // What it says from then on it says of a moment at which that was taken.
            let lost = taken.get(number).is_some_and(|seen| seen.elapsed() > TOLD_AGE);
            let says_so = node.get("sync")?["role"] == "cut";
            ensure!(
                says_so || !lost,
                "{}: of {held:?} blocks {holds:?} are left to it, and it does not know that it is cut off",
                node.name
            );
            all_say_so &= says_so;
        }
        Ok(all_say_so.then_some(()))
    })?;
    wait_say_so(stage, nodes)
}

/// A site is cut off, alive: it goes on with its own blocks until its delegations end, says so, goes on renewing within the
/// horizons it knows, and gives nothing out until it is back, which it is by itself.
///
/// # Errors
///
/// When something that must hold does not.
pub fn cut(stage: &mut Stage, site: usize) -> Result<()> {
    let nodes = nodes_of(stage, site)?;
    let others = stage.others(&nodes);
    let began = Instant::now();
    let before = stage.traffic.report();
    stage.cluster.between(&nodes, |way, _| way.cut = true);
    wait_say_so_untaken(stage, &nodes, &others)?;
    stage.note("cut_says_so", began);
    let said_boot_ns = boot_ns();
    let said = stage.traffic.report();
    // New clients come to it, and are given nothing there.
    stage.traffic.more(site, 10);
    stage.traffic.wait(AGREED, "renewals at the site that is cut off", |now| {
        nodes.iter().all(|node| now.node(*node).renewals_answered > said.node(*node).renewals_answered)
    })?;
    stage.wait_hold_all(&others)?;
    stage.note("cut_others_hold_all", began);
    let after = stage.traffic.wait_all_bound(AGREED)?;
    for node in &nodes {
        let counts = after.node(*node);
        // What it offered before may have been on its way.
        ensure!(
            counts.last_new_boot_ns < said_boot_ns + 1_000_000_000,
            "node {node} gave an address out when its delegations had ended: {counts:?}"
        );
    }
    let new = |report: &crate::cluster::traffic::Report, of: &[usize]| {
        of.iter().map(|node| report.node(*node).new_leases).sum::<u64>() as f64
    };
    stage.figures.insert("cut_new_leases_before_it_said_so", new(&said, &nodes) - new(&before, &nodes));
    let healed = Instant::now();
    stage.cluster.heal();
    for node in &nodes {
        stage.wait_active(*node)?;
    }
    stage.note("cut_healed_and_active", healed);
    Ok(())
}

/// Updates of all others that a node has taken up since its start.
fn received(stage: &Stage, node: usize) -> Result<u64> {
    let node = stage.cluster.nodes.get(node).context("no such node")?;
    let mut sum = 0;
    for site in &stage.cluster.sites {
        let detail = node.get(&format!("sites/{site}"))?;
        let members = detail.get("members").and_then(Value::as_array).into_iter().flatten();
        sum += members.filter_map(|member| member.get("updates_received")?.as_u64()).sum::<u64>();
    }
    Ok(sum)
}

/// A node that has lacked something for longer than so many seconds is behind.
///
/// While clients renew there is always a change that somebody has not acknowledged: it is told within a second, the
/// `interval`, and acknowledged after a flush and a round trip. On a busy machine six nodes never have everything in one
/// and the same moment. How old the oldest change is that a node lacks (`lag_secs`, rounded down) tells those that are being
/// told from those that are not.
const LATE_SECS: u64 = 2;

/// Nodes that others are not linked with, or that have lacked something for long, each as often as somebody says so.
fn behind(stage: &Stage) -> Result<u64> {
    let mut sum = 0;
    for (node, site) in
        stage.cluster.nodes.iter().flat_map(|node| stage.cluster.sites.iter().map(move |site| (node, site)))
    {
        let detail = node.get(&format!("sites/{site}"))?;
        for member in detail.get("members").and_then(Value::as_array).into_iter().flatten() {
            let late = member.get("lag_secs").and_then(Value::as_u64) > Some(LATE_SECS);
            sum += u64::from(late || member.get("linked") != Some(&Value::Bool(true)));
        }
    }
    Ok(sum)
}

/// Waits until nobody is behind, and whoever still lacked something of what there was at `then` would be.
fn wait_in_step(stage: &Stage, what: &str, then: Instant) -> Result<()> {
    let late = Duration::from_secs(LATE_SECS + 1) + TOLD_AGE;
    wait_for(AGREED, what, || {
        let late_by_now = then.elapsed() > late;
        Ok((behind(stage)? == 0 && late_by_now).then_some(()))
    })
}

/// A site's connections are lost, and it is cut off for less than the failover timeout: nothing moves, and what it missed
/// is told from where it was.
///
/// # Errors
///
/// When something that must hold does not.
pub fn short_cut(stage: &mut Stage, site: usize) -> Result<()> {
    let nodes = nodes_of(stage, site)?;
    let first = *nodes.first().context("a site without nodes")?;
    // Many leases, few renewals: what is told again can be seen.
    stage.traffic.set_load(300, 60);
    for site in 0..stage.cluster.sites.len() {
        stage.traffic.more(site, 50);
    }
    stage.traffic.wait(AGREED, "more clients", |now| now.clients >= 150 && now.bound >= now.clients)?;
    let (mut short, mut since) = (0, Instant::now());
    wait_for(AGREED, "all leases to be whole", || {
        let now = stage.traffic.report().short_leases;
        if now != short {
            (short, since) = (now, Instant::now());
        }
        Ok((since.elapsed() > Duration::from_secs(1)).then_some(()))
    })?;
    // Few, for each is an update that is no sign of a full resync; enough to keep all leases alive.
    stage.traffic.set_load(16, 5);
    wait_in_step(stage, "all nodes to be in step", Instant::now())?;
    let held = stage.number(first, "blocks_held")?;
    let leases = stage.traffic.report().bound;
    let before = received(stage, first)?;
    let cut = Instant::now();
    stage.cluster.between(&nodes, |way, _| (way.cut, way.breaks) = (true, way.breaks + 1));
    let answered = stage.traffic.report().renewals_answered;
    stage.traffic.wait(AGREED, "some renewals meanwhile", |now| now.renewals_answered > answered + 5)?;
    wait_for(AGREED, "the links to be lost", || Ok((behind(stage)? != 0).then_some(())))?;
    stage.cluster.heal();
    let was_cut = secs(cut);
    let healed = Instant::now();
    wait_in_step(stage, "all nodes to be in step again", cut)?;
    stage.note("short_cut_in_step", healed);
    let updates = received(stage, first)? - before;
    stage.figures.insert("short_cut", was_cut);
    stage.figures.insert("short_cut_updates", updates as f64);
    stage.figures.insert("short_cut_leases", leases as f64);
    let holds = stage.number(first, "blocks_held")?;
    ensure!(holds >= held, "its blocks moved, though it was cut for {was_cut} s: {held}, now {holds}");
    // Each of the others' leases once more would be a full resync.
    ensure!(updates < leases * 2 / 3, "{updates} updates for {leases} leases: all was told again");
    Ok(())
}

/// Who hears nothing where only one direction works.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Deaf {
    /// The other sites: they do not hear the one, which hears them.
    Others,
    /// The one site: it does not hear the others, who hear it.
    Site,
}

/// Between a site and the others only one direction works.
///
/// # Errors
///
/// When something that must hold does not.
pub fn one_way(stage: &mut Stage, site: usize, deaf: Deaf) -> Result<()> {
    let nodes = nodes_of(stage, site)?;
    let others = stage.others(&nodes);
    let began = Instant::now();
    stage.cluster.between(&nodes, |way, out| way.cut = out == (deaf == Deaf::Others));
    let [says_so, hold_all, healed_and_active] = match deaf {
        Deaf::Others => ["one_way_says_so", "one_way_others_hold_all", "one_way_healed_and_active"],
        Deaf::Site => ["other_way_says_so", "other_way_others_hold_all", "other_way_healed_and_active"],
    };
    wait_say_so(stage, &nodes)?;
    stage.note(says_so, began);
    stage.traffic.more(site, 10);
    stage.wait_hold_all(&others)?;
    stage.note(hold_all, began);
    stage.traffic.wait_all_bound(AGREED)?;
    let healed = Instant::now();
    stage.cluster.heal();
    for node in &nodes {
        stage.wait_active(*node)?;
    }
    stage.note(healed_and_active, healed);
    Ok(())
}

/// A site's links come and go.
///
/// # Errors
///
/// When something that must hold does not.
pub fn flap(stage: &mut Stage, site: usize, lasting: Duration) -> Result<()> {
    let nodes = nodes_of(stage, site)?;
    let began = Instant::now();
    let mut flaps = 0_u32;
    while began.elapsed() < lasting {
        let cut = flaps.is_multiple_of(2);
        stage.cluster.between(&nodes, |way, _| way.cut = cut);
        flaps += 1;
        let next = Instant::now() + Duration::from_millis(400 + u64::from(flaps % 5) * 600);
        stage.traffic.wait(AGREED, "the next turn of the links", |_| Instant::now() >= next)?;
    }
    let before = stage.traffic.report();
    let healed = Instant::now();
    stage.cluster.heal();
    for node in stage.others(&[]) {
        stage.wait_active(node)?;
    }
    stage.note("flap_healed_and_active", healed);
    stage.figures.insert("flap_turns", flaps.into());
    stage.figures.insert("flap_leases_ran_out", before.ran_out as f64);
    stage.traffic.wait_all_bound(AGREED)?;
    Ok(())
}

/// Far apart, and so many of a hundred pieces lost: the cluster stays one, or becomes one again when it is better.
///
/// # Errors
///
/// When something that must hold does not.
pub fn loss(stage: &mut Stage, percent: u8, lasting: Duration) -> Result<()> {
    let before = stage.traffic.report();
    let began = Instant::now();
    stage.cluster.wan.alter(|_, _, way| way.loss_percent = if way.delay.is_zero() { 0 } else { percent });
    let (mut looks, mut led) = (0_u32, 0_u32);
    while began.elapsed() < lasting {
        for node in stage.others(&[]) {
            looks += 1;
            let node = stage.cluster.nodes.get(node).context("no such node")?;
            led += u32::from(node.get("sync")?.get("leader").is_some_and(Value::is_string));
        }
        let next = Instant::now() + Duration::from_millis(500);
        stage.traffic.wait(AGREED, "the next look", |_| Instant::now() >= next)?;
    }
    let after = stage.traffic.report();
    stage.figures.insert("loss_looks_with_a_leader_percent", f64::from(led * 100 / looks.max(1)));
    stage.figures.insert("loss_leases_ran_out", (after.ran_out - before.ran_out) as f64);
    let new_leases = after.new_leases - before.new_leases;
    let renewals = after.renewals_answered - before.renewals_answered;
    stage.figures.insert("loss_new_leases", new_leases as f64);
    stage.figures.insert("loss_renewals_answered", renewals as f64);
    // Clients are near their nodes, which know their leases: they are renewed as ever, each at least once in a lease time.
    let lease_times = lasting.as_secs() / u64::from(LEASE_SECS);
    ensure!(renewals >= after.bound * lease_times.max(1), "{renewals} renewals for {} leases", after.bound);
    ensure!(new_leases >= after.clients / 10, "{new_leases} new leases, with {} clients", after.clients);
    let healed = Instant::now();
    stage.cluster.heal();
    for node in stage.others(&[]) {
        stage.wait_active(node)?;
    }
    stage.note("loss_healed_and_active", healed);
    stage.traffic.wait_all_bound(AGREED)?;
    Ok(())
}
