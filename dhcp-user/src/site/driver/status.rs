//! What is shown of sites: the guide's five fields, and behind them what an operator wants to know when one is not `active`.

use std::{collections::BTreeMap, sync::atomic::Ordering::Relaxed, time::Instant};

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::Sites;
use crate::{
    config::model::{MultiSite, SyncMode},
    site::{
        consensus::council,
        link::{shared::PeerStatus, tls::Tls},
        majority::{self, Remaining},
        node::{
            Role, View,
            view::{PeerView, Standing},
        },
        roster::Node,
    },
    time::{Span, Timestamp},
};

/// All sites.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct SiteList {
    /// In the order of the configuration.
    pub sites: Vec<SiteStatus>,
}

/// A site in short.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct SiteStatus {
    /// Its name.
    pub name: String,
    /// `active`: all of its nodes are linked and in step; `degraded`: some are; `suspect`: it is silent for longer than
    /// `failover.detection_interval`; `down`: for longer than `failover.failover_timeout`; `unknown`: not heard of since the start.
    pub status: String,
    /// How many nodes it has.
    pub nodes: usize,
    /// Measured latency from here: half the shortest of its nodes' round trips, milliseconds; null if there is no link.
    pub latency: Option<u64>,
    /// When this node last had everything its nodes had told, UTC; null if never since the start.
    pub last_sync: Option<String>,
}

/// A site at length.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct SiteDetail {
    /// The short form.
    #[serde(flatten)]
    pub short: SiteStatus,
    /// Why the status is what it is.
    pub reason: String,
    /// 1 is the most preferred.
    pub priority: u32,
    /// The latency the configuration expects, milliseconds.
    pub expected_latency: u32,
    /// Its nodes.
    pub members: Vec<NodeStatus>,
}

/// A node.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct NodeStatus {
    /// Its name.
    pub name: String,
    /// Whether it is this one, or linked.
    pub linked: bool,
    /// Whether it leads the cluster.
    pub leads: bool,
    /// Whether it has a vote.
    pub votes: bool,
    /// What it can be counted on for (`in`, `joining`, `out`, `stranger`); null before there is a cluster.
    pub standing: Option<String>,
    /// The round trip to it, milliseconds.
    pub round_trip_ms: Option<f64>,
    /// How long nothing came from it, seconds; null if nothing ever did.
    pub silent_secs: Option<u64>,
    /// Why there is no link.
    pub trouble: Option<String>,
    /// How many links there have been to it since this node's start: another number is another link; null for this node.
    pub links: Option<u64>,
    /// Blocks it holds.
    pub blocks_held: Option<u32>,
    /// Changes it has not acknowledged.
    pub lag_updates: Option<u64>,
    /// For how long it has not had everything, seconds.
    pub lag_secs: Option<u64>,
    /// When either last had everything of the other, UTC.
    pub last_sync: Option<String>,
    /// Updates sent to it since this node's start.
    pub updates_sent: Option<u64>,
    /// Updates of it that were taken up here.
    pub updates_received: Option<u64>,
}

/// How this node and the others keep in step.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct SyncDetail {
    /// This node.
    pub node: String,
    /// Its site.
    pub site: String,
    /// What it does at present.
    pub role: Option<String>,
    /// `async` or `sync`.
    pub mode: String,
    /// The cluster's name, hexadecimal; null before there is one.
    pub cluster: Option<String>,
    /// Who leads.
    pub leader: Option<String>,
    /// The leader's term.
    pub term: u64,
    /// Who decides.
    pub voters: Vec<String>,
    /// Whether this node may vote.
    pub votes: bool,
    /// Whether addresses move by themselves whichever one site is lost: failover is enabled and a majority of the voters is left.
    pub automatic_failover: bool,
    /// The sites without which there is no majority of the voters: if one of these is lost nothing moves by itself.
    pub sites_without_failover: Vec<String>,
    /// The last entry applied here.
    pub applied_index: u64,
    /// The highest epoch of any block.
    pub epoch: Option<u32>,
    /// How many blocks there are.
    pub blocks: Option<u32>,
    /// How many this node holds.
    pub blocks_held: Option<u32>,
    /// How many of these it has taken over and may not give out of yet.
    pub blocks_closed: Option<u32>,
    /// Whether the addresses that the nodes of its site share are on this one; null without such.
    pub service_addresses_here: Option<bool>,
    /// Until when it may give addresses out without another word of the majority, UTC.
    pub held_until: Option<String>,
    /// The cap on what is sent, octets a second; null without.
    pub bandwidth_cap: Option<u64>,
    /// What was sent in the last second, all headers included.
    pub bandwidth_used: u64,
    /// How often something waited for the cap.
    pub bandwidth_waits: u64,
    /// Octets sent to all nodes.
    pub sent_octets: u64,
    /// Octets received from all nodes.
    pub received_octets: u64,
    /// Octets that compression saved.
    pub compression_saved_octets: u64,
    /// Updates that were not sent, for a later one of the same lease followed.
    pub deduplicated_updates: Option<u64>,
    /// Messages that found no room and were left for later.
    pub dropped_messages: u64,
    /// When this node's certificate ends, UTC; null without encryption.
    pub certificate_expires_at: Option<String>,
    /// What went wrong with links, by kind.
    pub failures: BTreeMap<String, u64>,
    /// What is wrong at present, in words.
    pub problems: Vec<String>,
}

fn utc(moment: Timestamp) -> String {
    moment.to_string()
}

pub(super) fn word(value: impl Serialize) -> Option<String> {
    serde_json::to_value(value).ok()?.as_str().map(str::to_owned)
}

/// For how long a node may lack changes, seconds, beside the interval at which it is told them: what round trips, flushes and a
/// busy machine take. The simulation of sites judges by the same bound.
const LATE_SECS: u64 = 10;

/// What mode `sync` does not promise at present: where no other node counts, no acknowledgement is waited for.
fn without_a_copy(mode: SyncMode, view: &View) -> Option<&'static str> {
    let gives = matches!(view.role, Role::Active | Role::Draining | Role::Cut);
    let counts = |peer: &PeerView| matches!(peer.standing, Standing::In | Standing::Joining);
    (mode == SyncMode::Sync && gives && !view.peers.iter().any(counts))
        .then_some("mode is sync and no other node counts: leases are on this node alone")
}

/// A site's nodes as this one sees them.
struct Seen<'a> {
    section: &'a MultiSite,
    me: &'a Node,
    nodes: Vec<&'a Node>,
    peers: &'a [PeerStatus],
    view: Option<&'a View>,
    now: Timestamp,
}

impl Seen<'_> {
    fn peer(&self, node: &Node) -> Option<&PeerStatus> {
        self.peers.iter().find(|peer| peer.node.key == node.key)
    }

    fn viewed(&self, node: &Node) -> Option<&PeerView> {
        self.view?.peers.iter().find(|peer| peer.name == node.name)
    }

    fn is_me(&self, node: &Node) -> bool {
        node.key == self.me.key
    }

    fn linked(&self, node: &Node) -> bool {
        let suspect = u64::from(self.section.failover.detection_interval_secs);
        let heard = |peer: &PeerStatus| peer.silent.is_some_and(|silent| silent.as_secs() < suspect);
        self.is_me(node) || self.peer(node).is_some_and(|peer| peer.up && heard(peer))
    }

    fn last_sync(&self, node: &Node) -> Option<Timestamp> {
        if self.is_me(node) {
            return Some(self.now);
        }
        let heard = self.peer(node).and_then(|peer| peer.silent);
        let heard = heard.map(|silent| self.now - Span(u64::try_from(silent.as_nanos()).unwrap_or(u64::MAX)));
        match self.viewed(node) {
            // Nothing waits to be told: it is in step with every sign of life.
            Some(viewed)
                if viewed.standing == Standing::In && viewed.lag_updates == 0 && self.linked(node) =>
            {
                heard.max(viewed.last_sync)
            }
            Some(viewed) => viewed.last_sync,
            None => heard,
        }
    }

    /// That a linked node has lacked changes for longer than being told them at intervals takes: it is not in step.
    fn late(&self, node: &Node) -> Option<String> {
        let in_step = u64::from(self.section.synchronization.interval_secs) + LATE_SECS;
        let viewed = self.viewed(node).filter(|viewed| viewed.lag_secs > in_step)?;
        let (secs, updates) = (viewed.lag_secs, viewed.lag_updates);
        Some(format!("{} lags {secs} s behind: {updates} changes are not acknowledged", node.name))
    }

    /// The status and why.
    fn status(&self) -> (&'static str, String) {
        let (there, missing): (Vec<&Node>, Vec<&Node>) =
            self.nodes.iter().partition(|node| self.linked(node));
        if !there.is_empty() {
            let reasons = missing.iter().map(|node| {
                let trouble = self.peer(node).and_then(|peer| peer.trouble.clone());
                format!("{}: {}", node.name, trouble.unwrap_or_else(|| "not linked yet".to_owned()))
            });
            let out = there.iter().filter_map(|node| {
                let standing = word(self.viewed(node)?.standing)?;
                (standing != "in").then(|| format!("{} is {standing}", node.name))
            });
            let late = there.iter().filter_map(|node| self.late(node));
            let reasons: Vec<String> = reasons.chain(out).chain(late).collect();
            return match reasons.as_slice() {
                [] => ("active", "all of its nodes are linked and in step".to_owned()),
                _ => ("degraded", reasons.join("; ")),
            };
        }
        let silent = missing.iter().filter_map(|node| self.peer(node)?.silent).min();
        let trouble = missing.iter().find_map(|node| self.peer(node)?.trouble.clone());
        let trouble = trouble.map(|trouble| format!(": {trouble}")).unwrap_or_default();
        let Some(silent) = silent else {
            return ("unknown", format!("not heard of since this node's start{trouble}"));
        };
        let secs = silent.as_secs();
        let down = secs >= u64::from(self.section.failover.failover_timeout_secs);
        let suspect = secs >= u64::from(self.section.failover.detection_interval_secs);
        let status = match (down, suspect) {
            (true, _) => "down",
            (false, true) => "suspect",
            (false, false) => "degraded",
        };
        (status, format!("silent for {secs} s{trouble}"))
    }

    fn short(&self, site: usize) -> SiteStatus {
        let latency = if self.me.site == site {
            Some(0)
        } else {
            let round_trips = self.nodes.iter().filter_map(|node| {
                let peer = self.peer(node).filter(|peer| peer.up)?;
                peer.round_trip
            });
            round_trips.min().map(|round_trip| (round_trip.0 / 2 + 500_000) / 1_000_000)
        };
        SiteStatus {
            name: self.section.sites.get(site).map(|site| site.name.clone()).unwrap_or_default(),
            status: self.status().0.to_owned(),
            nodes: self.nodes.len(),
            latency,
            last_sync: self.nodes.iter().filter_map(|node| self.last_sync(node)).max().map(utc),
        }
    }

    fn node(&self, node: &Node, council: &council::Standing) -> NodeStatus {
        let (peer, viewed) = (self.peer(node), self.viewed(node));
        let own = self.view.filter(|_| self.is_me(node));
        NodeStatus {
            name: node.name.clone(),
            linked: self.linked(node),
            leads: council.leader == Some(node.key),
            votes: council.voters.contains(&node.name),
            standing: match own {
                Some(view) => word(view.role),
                None => viewed.and_then(|viewed| word(viewed.standing)),
            },
            round_trip_ms: peer
                .and_then(|peer| peer.round_trip)
                .map(|round_trip| (round_trip.0 / 1_000) as f64 / 1_000.0),
            silent_secs: peer.and_then(|peer| peer.silent).map(|silent| silent.as_secs()),
            trouble: peer.filter(|peer| !peer.up).and_then(|peer| peer.trouble.clone()),
            links: peer.map(|peer| peer.links),
            blocks_held: own.map(|view| view.blocks_held).or(viewed.map(|viewed| viewed.blocks_held)),
            lag_updates: viewed.map(|viewed| viewed.lag_updates),
            lag_secs: viewed.map(|viewed| viewed.lag_secs),
            last_sync: self.last_sync(node).map(utc),
            updates_sent: viewed.map(|viewed| viewed.updates_sent),
            updates_received: viewed.map(|viewed| viewed.updates_received),
        }
    }
}

impl Sites {
    fn seen<T>(&self, site: usize, view: Option<&View>, of: impl FnOnce(&Seen<'_>) -> T) -> Option<T> {
        let section = self.config.multi_site.as_ref()?;
        let roster = &self.links.roster;
        let seen = Seen {
            section,
            me: roster.me(),
            nodes: roster.nodes().iter().filter(|node| node.site == site).collect(),
            peers: &self.links.status(),
            view,
            now: (self.links.now)(),
        };
        Some(of(&seen))
    }

    /// All sites, in short; `view` is what the node in the service shows.
    pub fn list(&self, view: Option<&View>) -> SiteList {
        let count = self.config.multi_site.as_ref().map_or(0, |section| section.sites.len());
        SiteList { sites: (0..count).filter_map(|at| self.seen(at, view, |seen| seen.short(at))).collect() }
    }

    /// A site at length; `None` if there is none of that name.
    pub fn site(&self, name: &str, view: Option<&View>) -> Option<SiteDetail> {
        let section = self.config.multi_site.as_ref()?;
        let at = section.sites.iter().position(|site| site.name == name)?;
        let facts = section.sites.get(at)?;
        let council = self.council.standing();
        self.seen(at, view, |seen| SiteDetail {
            short: seen.short(at),
            reason: seen.status().1,
            priority: facts.priority,
            expected_latency: facts.latency_ms,
            members: seen.nodes.iter().map(|node| seen.node(node, &council)).collect(),
        })
    }

    /// When the certificate of the links ends, seconds since the Unix epoch; `None` without encryption.
    pub fn certificate_ends_secs(&self) -> Option<i64> {
        self.links.tls.as_ref().map(Tls::ends_secs)
    }

    /// How this node and the others keep in step.
    pub fn sync(&self, view: Option<&View>) -> Option<SyncDetail> {
        let section = self.config.multi_site.as_ref()?;
        let (links, council) = (&self.links, self.council.standing());
        let (used, cap) = links.shaper.used(Instant::now());
        let me = links.roster.me();
        let leader = council.leader.and_then(|key| links.roster.get(key)).map(|node| node.name.clone());
        let (plain, packed) = (links.counts.plain.load(Relaxed), links.counts.packed.load(Relaxed));
        let hex = |id: [u8; 16]| id.iter().map(|octet| format!("{octet:02x}")).collect();
        let ends = self.certificate_ends_secs().and_then(|secs| u64::try_from(secs).ok());
        let sites_without_failover: Vec<String> =
            self.without_majority(section, &council).map(|(site, _)| site.to_owned()).collect();
        let enough = council.voters.len() >= 3 && sites_without_failover.is_empty();
        let automatic_failover = section.failover.enabled && enough;
        Some(SyncDetail {
            node: me.name.clone(),
            site: section.local_site.clone(),
            role: view.and_then(|view| word(view.role)),
            mode: match section.synchronization.mode {
                SyncMode::Async => "async".to_owned(),
                SyncMode::Sync => "sync".to_owned(),
            },
            cluster: self.council.machine().cluster().id.map(hex),
            problems: self.problems(section, &council, leader.is_some(), view),
            leader,
            term: council.term,
            voters: council.voters,
            votes: council.votes,
            automatic_failover,
            sites_without_failover,
            applied_index: council.applied_index,
            epoch: view.map(|view| view.epoch),
            blocks: view.map(|view| view.blocks),
            blocks_held: view.map(|view| view.blocks_held),
            blocks_closed: view.map(|view| view.blocks_closed),
            service_addresses_here: view.and_then(|view| view.shared_addresses_here),
            held_until: view.map(|view| utc(view.held_until)),
            bandwidth_cap: cap,
            bandwidth_used: used,
            bandwidth_waits: links.shaper.waits(),
            sent_octets: links.counts.sent.load(Relaxed),
            received_octets: links.counts.received.load(Relaxed),
            compression_saved_octets: plain.saturating_sub(packed),
            deduplicated_updates: view.map(|view| view.counts.superseded),
            dropped_messages: links.counts.dropped.load(Relaxed),
            certificate_expires_at: ends.map(|secs| utc(Timestamp::ZERO + Span::from_secs(secs))),
            failures: links.counts.failures(),
        })
    }

    /// The sites whose loss leaves no majority of those that decide, and what it leaves.
    fn without_majority<'a>(
        &'a self,
        section: &'a MultiSite,
        council: &'a council::Standing,
    ) -> impl Iterator<Item = (&'a str, Remaining)> {
        let of_site = |at: usize| {
            let nodes = self.links.roster.nodes().iter().filter(move |node| node.site == at);
            nodes.filter(|node| council.voters.contains(&node.name)).count()
        };
        let all = council.voters.len();
        section.sites.iter().enumerate().filter_map(move |(at, site)| {
            let remaining = Remaining::of(all.saturating_sub(of_site(at)), all);
            (all > 0 && remaining != Remaining::Majority).then_some((&*site.name, remaining))
        })
    }

    fn problems(
        &self,
        section: &MultiSite,
        council: &council::Standing,
        led: bool,
        view: Option<&View>,
    ) -> Vec<String> {
        let mut problems = Vec::new();
        if let Some(failure) = self.council.failure() {
            problems.push(format!("consensus has stopped on this node: {failure}"));
        }
        if !led {
            problems
                .push("no node leads: fewer than a majority are up and linked, or none was yet".to_owned());
        }
        if section.failover.enabled && council.voters.len() < 3 {
            let message = "fewer than three nodes decide: nothing moves by itself; `site partner-down` moves it by hand";
            problems.push(message.to_owned());
        } else if section.failover.enabled {
            let warned = self.without_majority(section, council);
            problems.extend(warned.filter_map(|(site, remaining)| majority::warning(site, remaining)));
        }
        if !council.votes {
            problems.push("this node does not vote yet: it has not been told everything".to_owned());
        }
        let trouble = view.and_then(|view| view.role.trouble());
        problems.extend(trouble.map(str::to_owned));
        let alone = view.and_then(|view| without_a_copy(section.synchronization.mode, view));
        problems.extend(alone.map(str::to_owned));
        if let Some(trouble) = self.reservations_trouble() {
            problems.push(format!("reservations that are agreed on are not in force here yet: {trouble}"));
        }
        for peer in self.links.status().into_iter().filter(|peer| !peer.up) {
            let trouble = peer.trouble.unwrap_or_else(|| "not linked yet".to_owned());
            problems.push(format!("{}: {trouble}", peer.node.name));
        }
        problems
    }
}

#[cfg(test)]
#[path = "status_tests.rs"]
mod tests;
