//! The customer's `multi_site` section: values in range, and no part contradicting another. All of it is checked even
//! when it is not `enabled`, so that switching it on holds no surprise.

use std::{
    collections::{HashMap, HashSet},
    path::Path as FilePath,
};

use super::{
    link, service_address,
    text::{self, choice, within},
};
use crate::config::{
    model::{Allocation, Bandwidth, Failover, MultiSite, Site, Strategy, SyncMode, Synchronization},
    problem::{Path, Problems, quoted},
    wire::{self, Object},
};

/// The validated section; `None` if there is no way to make one. Problems may be noted either way.
pub(super) fn multi_site(
    written: &wire::MultiSite,
    store: &FilePath,
    path: &Path<'_>,
    problems: &mut Problems,
) -> Option<MultiSite> {
    let sites = sites(&written.sites, &path.key("sites"), problems);
    let names: Vec<&str> = written.sites.iter().map(|site| site.name.as_str()).collect();
    let local_path = path.key("local_site");
    match &written.local_site {
        Some(name) => known_site(name, &names, &local_path, problems),
        None if written.enabled || !names.is_empty() => {
            problems.add(path, "the key `local_site` is missing; name the site this node belongs to");
        }
        None => {}
    }
    if written.enabled && names.is_empty() {
        problems.add(path, "enabled without `sites`; list the sites, or set `enabled` to false");
    }
    let synchronization = synchronization(&written.synchronization, &path.key("synchronization"), problems);
    let allocation = allocation(&written.allocation, &names, &path.key("allocation"), problems);
    let failover = failover(&written.failover, &names, &path.key("failover"), problems);
    let bandwidth = bandwidth(written, &path.key("bandwidth"), problems);
    if written.enabled && written.failover.enabled && names.len() == 1 {
        let message = "failover needs a second site to move addresses to; list one, or set this to false";
        problems.add(&path.key("failover").key("enabled"), message);
    }
    let nodes: usize = written.sites.iter().map(|site| site.nodes.len()).sum();
    if written.enabled && written.synchronization.mode == "sync" && nodes == 1 {
        let message =
            "in mode `sync` a client's answer waits for a peer, and there is none; list one, or use `async`";
        problems.add(&path.key("synchronization").key("mode"), message);
    }
    if written.enabled && nodes > NODES_MAX {
        let message = format!("{nodes} nodes, {NODES_MAX} are the most; list fewer");
        problems.add(&path.key("sites"), message);
    }
    let local = written.sites.iter().find(|site| Some(&site.name) == written.local_site.as_ref());
    if let (Some(node), Some(local)) = (&written.node, local)
        && !local.nodes.iter().any(|listed| listed.eq_ignore_ascii_case(node))
    {
        let known: Vec<&str> = local.nodes.iter().map(String::as_str).collect();
        let message = format!(
            "node {} is not of the local site, `{}`{}",
            quoted(node),
            local.name,
            problems.hint(node, &known)
        );
        problems.add(&path.key("node"), message);
    }
    let link = link::link(written, store, &path.key("link"), problems);
    Some(MultiSite {
        enabled: written.enabled,
        local_site: written.local_site.clone().unwrap_or_default(),
        sites,
        synchronization: synchronization?,
        allocation: allocation?,
        failover,
        bandwidth,
        node: written.node.clone(),
        link: link?,
        shared: Vec::new(),
    })
}

/// What a change log can tell apart (`site::replication`), and consensus is quick among.
const NODES_MAX: usize = 64;

/// Far beyond any company's number of data centres, and what every node may hold a connection to.
const SITES_MAX: usize = 256;

fn sites(written: &[Object<wire::Site>], path: &Path<'_>, problems: &mut Problems) -> Vec<Site> {
    if written.len() > SITES_MAX {
        problems.add(path, format!("{} sites, {SITES_MAX} are the most; list fewer", written.len()));
        return Vec::new();
    }
    let (mut names, mut shared) = (HashMap::new(), HashMap::new());
    let mut owners: HashMap<String, usize> = HashMap::new();
    let mut sites = Vec::with_capacity(written.len());
    for (index, site) in written.iter().enumerate() {
        let path = path.index(index);
        let name_path = path.key("name");
        let sound = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
        if site.name.is_empty() || site.name.len() > 63 || !site.name.chars().all(sound) {
            let how = "use letters, digits, `-`, `_` and `.`, at most 63";
            problems.add(&name_path, format!("{} cannot be a site's name; {how}", quoted(&site.name)));
        } else if let Some(first) = names.insert(&site.name, index) {
            let message = format!("site `{}` is listed already in sites[{first}]; rename one", site.name);
            problems.add(&name_path, message);
        }
        let nodes_path = path.key("nodes");
        if site.nodes.is_empty() {
            problems.add(&nodes_path, "a site needs at least one node; list host names or IP addresses");
        }
        for (n, node) in site.nodes.iter().enumerate() {
            let path = nodes_path.index(n);
            if !text::is_node(node) {
                problems.add(&path, format!("{} is neither a host name nor an IP address", quoted(node)));
            } else if let Some(owner) = owners.insert(node.to_ascii_lowercase(), index) {
                let message =
                    format!("node `{node}` is listed already in sites[{owner}]; a node has one site");
                problems.add(&path, message);
            }
        }
        let place = u32::try_from(index).unwrap_or(u32::MAX).saturating_add(1);
        let priority = site.priority.unwrap_or(place);
        within(priority, 1, u32::MAX, "(1 is the most preferred)", &path.key("priority"), problems);
        within(site.latency, 0, 60_000, "ms", &path.key("latency"), problems);
        sites.push(Site {
            name: site.name.clone(),
            nodes: site.nodes.clone(),
            priority,
            latency_ms: site.latency,
            service_addresses: service_address::of_site(site, index, &mut shared, &path, problems),
        });
    }
    sites
}

fn known_site(name: &str, names: &[&str], path: &Path<'_>, problems: &mut Problems) {
    if !names.contains(&name) {
        problems.add(path, format!("site {} is not in `sites`{}", quoted(name), problems.hint(name, names)));
    }
}

fn known_sites(written: &[String], names: &[&str], path: &Path<'_>, problems: &mut Problems) {
    let mut seen = HashSet::new();
    for (index, name) in written.iter().enumerate() {
        let path = path.index(index);
        known_site(name, names, &path, problems);
        if !seen.insert(name) {
            problems.add(&path, format!("site {} is listed twice; remove one", quoted(name)));
        }
    }
}

fn synchronization(
    written: &wire::Synchronization,
    path: &Path<'_>,
    problems: &mut Problems,
) -> Option<Synchronization> {
    let modes = [("async", SyncMode::Async), ("sync", SyncMode::Sync)];
    let mode = choice(&written.mode, &modes, &path.key("mode"), problems);
    within(written.interval, 1, 86_400, "s", &path.key("interval"), problems);
    within(written.batch_size, 1, 1_000_000, "updates", &path.key("batch_size"), problems);
    Some(Synchronization {
        mode: mode?,
        interval_secs: written.interval,
        batch_size: written.batch_size,
        compression: written.compression,
        encryption: written.encryption,
    })
}

fn allocation(
    written: &wire::Allocation,
    names: &[&str],
    path: &Path<'_>,
    problems: &mut Problems,
) -> Option<Allocation> {
    let strategies = [
        ("geographic", Strategy::Geographic),
        ("priority", Strategy::Priority),
        ("balanced", Strategy::Balanced),
    ];
    let strategy = choice(&written.strategy, &strategies, &path.key("strategy"), problems);
    known_sites(&written.fallback_sites, names, &path.key("fallback_sites"), problems);
    Some(Allocation {
        strategy: strategy?,
        prefer_local: written.prefer_local,
        fallback_sites: written.fallback_sites.clone(),
    })
}

fn failover(written: &wire::Failover, names: &[&str], path: &Path<'_>, problems: &mut Problems) -> Failover {
    let (detection, timeout) = (written.detection_interval, written.failover_timeout);
    let timeout_path = path.key("failover_timeout");
    let sound = within(detection, 1, 3_600, "s", &path.key("detection_interval"), problems)
        & within(timeout, 2, 86_400, "s", &timeout_path, problems);
    if sound && timeout <= detection {
        let message = format!(
            "{timeout} s is not above detection_interval ({detection} s): a site must be suspect before it is given \
             up; raise it"
        );
        problems.add(&timeout_path, message);
    }
    known_sites(&written.preferred_sites, names, &path.key("preferred_sites"), problems);
    within(written.mclt_secs, 1, 86_400, "s", &path.key("mclt_secs"), problems);
    let delegation = written.delegation_secs.unwrap_or(timeout);
    let delegation_path = path.key("delegation_secs");
    if within(delegation, 2, 86_400, "s", &delegation_path, problems) && delegation > timeout {
        let message = format!(
            "{delegation} s is above failover_timeout ({timeout} s), after which others take over what this node may \
             still give out; lower it"
        );
        problems.add(&delegation_path, message);
    }
    Failover {
        enabled: written.enabled,
        detection_interval_secs: detection,
        failover_timeout_secs: timeout,
        preferred_sites: written.preferred_sites.clone(),
        mclt_secs: written.mclt_secs,
        delegation_secs: delegation,
    }
}

fn bandwidth(section: &wire::MultiSite, path: &Path<'_>, problems: &mut Problems) -> Bandwidth {
    let written = &section.bandwidth;
    within(written.max_bandwidth, 1, 1_000_000, "Mbit/s", &path.key("max_bandwidth"), problems);
    let inherited = section.synchronization.compression;
    let compression = written.compression.unwrap_or(inherited);
    if written.optimization && compression != inherited {
        let message =
            format!("{compression}, but synchronization.compression is {inherited}; make them agree");
        problems.add(&path.key("compression"), message);
    }
    if !written.deduplication {
        let message =
            "what is sent of a lease is always the latest of its updates, never several: leave it true";
        problems.add(&path.key("deduplication"), message);
    }
    Bandwidth {
        optimization: written.optimization,
        max_mbit_per_s: written.max_bandwidth,
        compression,
        deduplication: written.deduplication,
    }
}
