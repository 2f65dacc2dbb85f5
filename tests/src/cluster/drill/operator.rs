//! What somebody does by hand, by the command line of the daemon, while clients go on.

use std::{process::Command, time::Instant};

use anyhow::{Context as _, Result, ensure};
use rustix::process::Signal;
use serde_json::Value;

use super::{Figures, LEASE_SECS, Stage};
use crate::{
    client::scripted::Scripted,
    cluster::{
        AGREED, Cluster,
        traffic::{Load, Report},
    },
    daemon,
    lab::set,
    process::Process,
    raw::RawSocket,
    wait::wait_until,
};

/// `site drill`, `drain`, `resume`, `member remove` and `member add`, under load.
///
/// # Errors
///
/// When something that must hold does not.
pub fn hand_over(stage: &mut Stage, site: usize) -> Result<()> {
    let name = stage.cluster.sites.get(site).context("no such site")?.clone();
    let nodes = stage.cluster.of_site(&name);
    let first = stage.cluster.nodes.first().context("a cluster without nodes")?;
    let began = Instant::now();
    let report = first.ask(&["site", "drill", "--site", &name])?;
    let figure = |key: &str| report.get(key).and_then(Value::as_f64);
    ensure!(
        figure("blocks_before") > Some(0.0) && figure("blocks_after") > Some(0.0),
        "a drill without blocks: {report}"
    );
    let (handed_on, taken_back) = (figure("handed_on_secs"), figure("taken_back_secs"));
    let to = report["handed_on_to"].as_object().context("to whom blocks went is not said")?;
    let moved: u64 = to.values().filter_map(Value::as_u64).sum();
    let own = stage.cluster.nodes.iter().filter(|node| node.site == name);
    let own: Vec<&String> = own.map(|node| &node.name).collect();
    ensure!(
        Some(moved) >= report["blocks_before"].as_u64() && to.keys().all(|node| !own.contains(&node)),
        "not all of it went to other sites: {report}"
    );
    let clients = &report["clients"];
    ensure!(clients["of_node"] == *first.name && clients["refused"] == 0, "{report}");
    ensure!(clients["renewals_answered"].as_u64() > Some(0), "nobody was renewed meanwhile: {report}");
    for node in &nodes {
        stage.wait_active(*node)?;
    }
    interrupted(stage, &name)?;
    let first = stage.cluster.nodes.first().context("a cluster without nodes")?;
    first.ask(&["site", "drain", "--site", &name])?;
    let nothing_held =
        || nodes.iter().all(|node| stage.number(*node, "blocks_held").is_ok_and(|held| held == 0));
    wait_until(AGREED, "the drained site to hold nothing", nothing_held)?;
    // A node that holds nothing and is not there can go: it decides no more. Then another comes in its place.
    let last = *nodes.last().context("no nodes")?;
    let node = stage.cluster.nodes.get_mut(last).context("no such node")?;
    node.daemon.take().context("it does not run")?.stop()?;
    let gone = node.name.clone();
    let first = stage.cluster.nodes.first().context("a cluster without nodes")?;
    first.wait_get("the stopped node to be out", &format!("sites/{name}"), |site| {
        let members = site["members"].as_array();
        members.is_some_and(|all| all.iter().any(|node| node["name"] == *gone && node["standing"] == "out"))
    })?;
    let voters = |count: usize| {
        move |sync: &Value| sync["voters"].as_array().is_some_and(|voters| voters.len() == count)
    };
    let all = stage.cluster.nodes.len();
    first.ask(&["site", "member", "remove", &gone])?;
    first.wait_get("one voter fewer", "sync", voters(all - 1))?;
    stage.cluster.nodes.get_mut(last).context("no such node")?.start()?;
    let first = stage.cluster.nodes.first().context("a cluster without nodes")?;
    wait_until(AGREED, "the node to be given its vote back", || {
        first.ask(&["site", "member", "add", &gone]).is_ok()
    })?;
    first.wait_get("all voters", "sync", voters(all))?;
    first.ask(&["site", "resume", "--site", &name])?;
    for node in &nodes {
        stage.wait_active(*node)?;
    }
    stage.figures.extend(handed_on.map(|secs| ("drill_handed_on", secs)));
    stage.figures.extend(taken_back.map(|secs| ("drill_taken_back", secs)));
    stage.note("operator_all", began);
    Ok(())
}

/// Somebody loses patience with a drill: the site comes back all the same.
fn interrupted(stage: &Stage, site: &str) -> Result<()> {
    let first = stage.cluster.nodes.first().context("a cluster without nodes")?;
    let folder = first.server.folder.path();
    let mut command = Command::new(daemon::binary()?);
    command.args(["site", "drill", "--site", site, "--socket"]).arg(folder.join("control.sock"));
    let mut drill = Process::start(&mut command, &folder.join("drill.log"))?;
    let nodes = stage.cluster.of_site(site);
    let last =
        nodes.last().and_then(|last| stage.cluster.nodes.get(*last)).context("a site without nodes")?;
    last.wait_get("the drill to begin", "sync", |sync| sync["role"] == "draining")?;
    drill.signal(Signal::INT)?;
    let status = drill.wait(AGREED)?;
    ensure!(!status.success() && drill.output().contains("interrupted"), "{status}: {}", drill.output());
    for node in nodes {
        stage.wait_active(node)?;
    }
    Ok(())
}

/// Two nodes, one of which is lost: nothing moves by itself; the operator says that it is down, and the other goes on with
/// all addresses.
///
/// # Errors
///
/// When something that must hold does not.
pub fn partner_down(load: &Load) -> Result<Figures> {
    let cluster = Cluster::new(&[("a", 1), ("b", 1)], |config| {
        super::adapt(config);
        // Two are too few for anything to move by itself.
        set(config, "/dhcp/datacenter/multi_site/failover/enabled", Value::Bool(false));
    })?;
    let mut stage = Stage::start(cluster, load)?;
    let [one, other] = stage.cluster.nodes.as_slice() else { anyhow::bail!("not two nodes") };
    let refused = one.ask(&["site", "partner-down", &other.name, "--certain"]);
    ensure!(refused.is_err(), "a partner that is linked was taken for down");
    let refused = one.ask(&["site", "partner-down", &other.name]);
    ensure!(refused.is_err_and(|error| format!("{error:#}").contains("--certain")), "no warning");
    let other = other.name.clone();
    stage.cluster.nodes.get_mut(1).context("two nodes")?.lose()?;
    let lost = Instant::now();
    let one = stage.cluster.nodes.first().context("two nodes")?;
    one.wait_get("the loss to be noticed", "sites/status", |status| {
        status["sites"].as_array().is_some_and(|sites| sites.iter().any(|site| site["status"] == "down"))
    })?;
    let sync = one.get("sync")?;
    let held = sync["blocks_held"].as_u64();
    ensure!(held < Some(stage.blocks.len() as u64), "something moved by itself: {sync}");
    let said = Instant::now();
    wait_until(AGREED, "partner-down to be taken", || {
        one.ask(&["site", "partner-down", &other, "--certain"]).is_ok()
    })?;
    stage.wait_hold_all(&[0])?;
    stage.note("partner_down_open", said);
    stage.traffic.more(1, 20);
    stage.traffic.wait_all_bound(AGREED)?;
    stage.note("partner_down_all_bound", lost);
    // A client of neither kind gets the whole lease time at once: nobody else is waited for.
    let one = stage.cluster.nodes.first().context("two nodes")?;
    // The cable's own socket is full of what nobody read.
    let socket = RawSocket::open(&one.cable.ns, "c0")?;
    let lease = Scripted::new(&socket, 200).dora()?;
    ensure!(lease.ack.option_u32(51) == Some(LEASE_SECS), "not the whole lease: {:?}", lease.ack);
    let back = Instant::now();
    stage.cluster.nodes.get_mut(1).context("two nodes")?.start()?;
    for node in 0..2 {
        stage.wait_active(node)?;
    }
    stage.note("partner_back_and_active", back);
    // Both decide again, without anybody's doing: either may say of the other that it is down.
    for node in &stage.cluster.nodes {
        node.wait_get("both nodes to decide", "sync", |sync| {
            sync["voters"].as_array().is_some_and(|voters| voters.len() == 2) && sync["votes"] == true
        })?;
    }
    stage.note("partner_votes_again", back);
    stage.finish()
}

/// Two sites of two nodes each, as the guide draws them. One is lost, all of it: the two that are left are no majority, and nothing
/// moves by itself; the operator says that the site is down, and they go on with all addresses. It comes back, decides again
/// without anybody's doing, and then the other site is lost in the same way.
///
/// # Errors
///
/// When something that must hold does not.
pub fn site_partner_down(load: &Load) -> Result<Figures> {
    let mut stage = Stage::start(Cluster::new(&[("a", 2), ("b", 2)], super::adapt)?, load)?;
    refuse_what_is_not_down(&stage)?;
    for (lost, left) in [(1, 0), (0, 1)] {
        lose_site(&mut stage, lost, left)?;
        bring_back(&mut stage, lost)?;
    }
    stage.finish()
}

/// What must not be taken for a lost site, and what is said before anything is.
fn refuse_what_is_not_down(stage: &Stage) -> Result<()> {
    let first = stage.cluster.nodes.first().context("a cluster without nodes")?;
    for (words, why) in [
        (&["site", "partner-down", "--site", "b", "--certain"][..], "it is not down"),
        (&["site", "partner-down", "--site", "a", "--certain"], "it is up"),
        (&["site", "partner-down", "--site", "c", "--certain"], "no site c"),
        (&["site", "partner-down", "--site", "b"], "the same addresses to different clients"),
    ] {
        let refused = first.ask(words);
        ensure!(
            refused.as_ref().is_err_and(|error| format!("{error:#}").contains(why)),
            "not refused for {why}: {refused:?}"
        );
    }
    let sync = first.get("sync")?;
    let warned = sync["problems"].to_string().contains("site partner-down --site b");
    ensure!(
        sync["automatic_failover"] == false && warned,
        "no warning that a lost site is half of all: {sync}"
    );
    Ok(())
}

/// All nodes of a site are lost at once; those of the other go on when somebody says so, with all addresses.
fn lose_site(stage: &mut Stage, lost: usize, left: usize) -> Result<()> {
    let name = stage.cluster.sites.get(lost).context("no such site")?.clone();
    let site_left = stage.cluster.sites.get(left).context("no such site")?.clone();
    let left_nodes = stage.cluster.of_site(&site_left);
    let before = stage.traffic.report();
    let began = Instant::now();
    for number in stage.cluster.of_site(&name) {
        stage.cluster.nodes.get_mut(number).context("no such node")?.lose()?;
    }
    let last = *left_nodes.last().context("a site without nodes")?;
    let asked = stage.cluster.nodes.get(last).context("no such node")?;
    asked.wait_get("the loss to be noticed", "sites/status", |status| {
        let mut sites = status["sites"].as_array().into_iter().flatten();
        sites.any(|site| site["name"] == *name && site["status"] == "down")
    })?;
    // Long enough for what the lost held to have ended: with a majority it would have moved.
    let held: u64 = left_nodes.iter().map(|node| stage.number(*node, "blocks_held")).sum::<Result<u64>>()?;
    ensure!(held < stage.blocks.len() as u64, "something moved by itself: {held} blocks");
    let said = Instant::now();
    wait_until(AGREED, "the site to be taken for lost", || {
        asked.ask(&["site", "partner-down", "--site", &name, "--certain"]).is_ok()
    })?;
    stage.note(if lost == 1 { "site_down_said" } else { "other_site_down_said" }, said);
    stage.wait_hold_all(&left_nodes)?;
    stage.note(if lost == 1 { "site_down_open" } else { "other_site_down_open" }, said);
    // New clients where the lost site was, and where it was not; who had a lease goes on.
    stage.traffic.more(lost, 10);
    stage.traffic.more(left, 10);
    stage.traffic.wait_all_bound(AGREED)?;
    let answered =
        |report: &Report| left_nodes.iter().map(|node| report.node(*node).renewals_answered).sum::<u64>();
    let at_least = answered(&before) + 40;
    stage.traffic.wait(AGREED, "renewals to go on", |now| answered(now) > at_least)?;
    stage.note(if lost == 1 { "site_down_all_bound" } else { "other_site_down_all_bound" }, began);
    Ok(())
}

/// A lost site comes back: its nodes are told everything, hold addresses, and decide again.
fn bring_back(stage: &mut Stage, lost: usize) -> Result<()> {
    let name = stage.cluster.sites.get(lost).context("no such site")?.clone();
    let back = Instant::now();
    let numbers = stage.cluster.of_site(&name);
    for number in &numbers {
        stage.cluster.nodes.get_mut(*number).context("no such node")?.start()?;
    }
    for number in 0..stage.cluster.nodes.len() {
        stage.wait_active(number)?;
    }
    stage.note(if lost == 1 { "site_back_and_active" } else { "other_site_back_and_active" }, back);
    for node in &stage.cluster.nodes {
        node.wait_get("all nodes to decide", "sync", |sync| {
            sync["voters"].as_array().is_some_and(|voters| voters.len() == 4) && sync["votes"] == true
        })?;
    }
    stage.note(if lost == 1 { "site_votes_again" } else { "other_site_votes_again" }, back);
    Ok(())
}
