//! Who the nodes are changes while clients go on: a site is added, a node comes back with another configuration, with an empty
//! disk, and not at all.

use std::{fs, io, time::Instant};

use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};

use super::{Figures, Stage};
use crate::{
    cluster::{AGREED, Cluster, Node, pki, traffic::Load},
    lab::set,
    wait::wait_until,
};

/// The sites, of a node each; the last one is added later.
const SITES: [(&str, u8); 4] = [("a", 1), ("b", 1), ("c", 1), ("d", 1)];
/// The node that comes back otherwise, the one that goes for good, the one that is added.
const CHANGED: usize = 1;
const GONE: usize = 2;
const ADDED: usize = 3;

/// Runs all of it on a cluster of its own.
///
/// # Errors
///
/// When something that must hold does not.
pub fn run(load: &Load) -> Result<Figures> {
    let mut cluster = Cluster::new(&SITES, super::adapt)?;
    let whole: Vec<Value> = cluster.nodes.iter().map(|node| node.config.clone()).collect();
    for node in cluster.nodes.iter_mut().filter(|node| node.number != ADDED) {
        leave_out(&mut node.config, "d")?;
    }
    node_mut(&mut cluster, ADDED)?.later = true;
    let mut stage = Stage::start(cluster, load)?;
    add_a_site(&mut stage, &whole)?;
    differ(&mut stage)?;
    replace(&mut stage)?;
    remove(&mut stage)?;
    stage.finish()
}

/// The site is written into the configuration of all nodes, one after the other; then its node is started, and given a vote.
fn add_a_site(stage: &mut Stage, whole: &[Value]) -> Result<()> {
    let began = Instant::now();
    for (number, config) in (0..).zip(whole).filter(|(number, _)| *number != ADDED) {
        restart(stage, number, config.clone())?;
        stage.wait_active(number)?;
    }
    let added = node_mut(&mut stage.cluster, ADDED)?;
    added.start()?;
    let name = added.name.clone();
    let first = node(stage, 0)?;
    wait_until(AGREED, "the new node to be given a vote", || {
        first.ask(&["site", "member", "add", &name]).is_ok()
    })?;
    stage.wait_active(ADDED)?;
    wait_voters(stage, SITES.len())?;
    stage.traffic.more(ADDED, 10);
    stage.traffic.wait(AGREED, "leases of the new site", |now| now.node(ADDED).new_leases > 0)?;
    stage.traffic.wait_all_bound(AGREED)?;
    stage.note("members_site_added", began);
    Ok(())
}

/// A node is started with other pools, and another site for a node: no other talks to it, both ends say why, and it gives
/// nothing out. With the right configuration it is one of them again.
fn differ(stage: &mut Stage) -> Result<()> {
    let began = Instant::now();
    let right = node(stage, CHANGED)?.config.clone();
    let mut wrong = right.clone();
    set(&mut wrong, "/dhcp/subnets/0/pools", json!([{"range": "198.18.1.0-198.18.2.127"}]));
    let moved = "node1-d.example.com";
    leave_out(&mut wrong, "d")?;
    let sites = wrong.pointer_mut("/dhcp/datacenter/multi_site/sites").and_then(Value::as_array_mut);
    let last = sites.and_then(|sites| sites.last_mut()).context("no sites")?;
    let nodes = last.get_mut("nodes").and_then(Value::as_array_mut).context("a site without nodes")?;
    nodes.push(json!(moved));
    restart(stage, CHANGED, wrong)?;
    for (at, there) in [(0, "198.18.2.127 there"), (CHANGED, "198.18.2.255 there")] {
        node(stage, at)?.wait_get("both differences to be named", "sync", |sync| {
            let problems = sync["problems"].to_string();
            let site = format!("node {moved} is of site");
            problems.contains("pools of subnet") && problems.contains(there) && problems.contains(&site)
        })?;
    }
    stage.wait_hold_all(&stage.others(&[CHANGED]))?;
    ensure!(
        stage.number(CHANGED, "blocks_held")? == 0,
        "it holds addresses of pools that are not the cluster's"
    );
    restart(stage, CHANGED, right)?;
    stage.wait_active(CHANGED)?;
    stage.note("members_differed_and_active", began);
    Ok(())
}

/// A machine is lost for good. Another takes its name, with a certificate and an empty disk.
fn replace(stage: &mut Stage) -> Result<()> {
    node_mut(&mut stage.cluster, CHANGED)?.lose()?;
    stage.wait_hold_all(&stage.others(&[CHANGED]))?;
    let began = Instant::now();
    let authority = stage.cluster.authority();
    let replaced = node_mut(&mut stage.cluster, CHANGED)?;
    let state = replaced.server.folder.path().join("sites");
    for folder in [&replaced.server.store(), &state] {
        match fs::remove_dir_all(folder) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(error).with_context(|| folder.display().to_string());
            }
            _ => {}
        }
    }
    pki(&["node", &replaced.name, "--out", &state.display().to_string(), "--authority"], &authority)?;
    replaced.start()?;
    stage.wait_active(CHANGED)?;
    node(stage, CHANGED)?.wait_get("the new machine to vote", "sync", |sync| sync["votes"] == true)?;
    wait_voters(stage, SITES.len())?;
    stage.note("members_replaced_and_active", began);
    Ok(())
}

/// A node is stopped for good, taken out of the cluster and then out of the configurations.
fn remove(stage: &mut Stage) -> Result<()> {
    let began = Instant::now();
    let gone = node_mut(&mut stage.cluster, GONE)?;
    gone.daemon.take().context("it does not run")?.stop()?;
    gone.server.pins.clear();
    let name = gone.name.clone();
    stage.wait_hold_all(&stage.others(&[]))?;
    node(stage, 0)?.ask(&["site", "member", "remove", &name])?;
    wait_voters(stage, SITES.len() - 1)?;
    for number in stage.others(&[]) {
        let mut config = node(stage, number)?.config.clone();
        leave_out(&mut config, "c")?;
        restart(stage, number, config)?;
        stage.wait_active(number)?;
    }
    for number in stage.others(&[]) {
        node(stage, number)?.wait_get("three sites, all of them active", "sites/status", |status| {
            let sites = status["sites"].as_array();
            sites.is_some_and(|all| all.len() == 3 && all.iter().all(|site| site["status"] == "active"))
        })?;
    }
    stage.note("members_removed", began);
    Ok(())
}

fn node(stage: &Stage, number: usize) -> Result<&Node> {
    stage.cluster.nodes.get(number).context("no such node")
}

fn node_mut(cluster: &mut Cluster, number: usize) -> Result<&mut Node> {
    cluster.nodes.get_mut(number).context("no such node")
}

fn wait_voters(stage: &Stage, count: usize) -> Result<()> {
    node(stage, 0)?.wait_get(&format!("{count} voters"), "sync", |sync| {
        sync["voters"].as_array().is_some_and(|voters| voters.len() == count)
    })?;
    Ok(())
}

/// Stops a node in order, and starts it with a configuration.
pub(super) fn restart(stage: &mut Stage, number: usize, config: Value) -> Result<()> {
    let node = node_mut(&mut stage.cluster, number)?;
    let status = node.daemon.take().context("it does not run")?.stop()?;
    ensure!(status.success(), "{} ended with {status}:\n{}", node.name, node.log());
    node.config = config;
    node.start()
}

/// Takes a site out of a configuration.
fn leave_out(config: &mut Value, site: &str) -> Result<()> {
    let section = config.pointer_mut("/dhcp/datacenter/multi_site").context("no sites")?;
    let sites = section.get_mut("sites").and_then(Value::as_array_mut).context("no sites")?;
    sites.retain(|known| known["name"] != site);
    let addresses = section.pointer_mut("/link/addresses").and_then(Value::as_array_mut);
    let of_site = format!("-{site}.example.com");
    let stays = |known: &Value| known["node"].as_str().is_some_and(|name| !name.ends_with(&of_site));
    addresses.context("no addresses")?.retain(stays);
    Ok(())
}
