//! What is shown of a lab's cluster: sites and nodes as they say themselves, and what clients saw.

use std::{collections::BTreeMap, fmt::Write as _};

use serde::Serialize;
use serde_json::Value;

use super::Running;
use crate::{cluster::traffic::Report, torture::ledger::Broken};

/// A node.
#[derive(Clone, Debug, Serialize)]
pub struct NodeStatus {
    /// Its name.
    pub name: String,
    /// Its site.
    pub site: String,
    /// `running`, `paused` or `gone`, as the lab made it.
    pub machine: &'static str,
    /// What it says it does.
    pub role: Option<String>,
    /// Whether it leads the cluster, as it says.
    pub leads: bool,
    /// Blocks of addresses it holds.
    pub blocks_held: Option<u64>,
    /// Of these, those it has taken over and may not give out of yet.
    pub blocks_closed: Option<u64>,
    /// Renewals its kernel answered.
    pub answered_in_kernel: Option<u64>,
    /// Renewals its clients got an answer to, from kernel and daemon.
    pub renewals_answered: u64,
    /// Leases it gave to new clients.
    pub new_leases: u64,
    /// What it says is wrong.
    pub problems: Vec<String>,
}

/// Everything at one moment.
#[derive(Clone, Debug, Serialize)]
pub struct Status {
    /// Since all clients had their first lease.
    pub secs: f64,
    /// What the guide's request says, by the first node that answers: site, status.
    pub sites: Vec<Value>,
    /// The nodes.
    pub nodes: Vec<NodeStatus>,
    /// Clients, and those that have a lease, by site.
    pub clients: u64,
    /// See there.
    pub bound: BTreeMap<String, u64>,
    /// Renewals sent, and answered.
    pub renewals_sent: u64,
    /// See there.
    pub renewals_answered: u64,
    /// Leases given to new clients.
    pub new_leases: u64,
    /// Leases that ran out.
    pub ran_out: u64,
    /// NAKs of any kind.
    pub naks: u64,
    /// What must never happen.
    #[serde(flatten)]
    pub broken: Broken,
}

impl Status {
    /// Asks all daemons that can answer.
    pub(super) fn of(lab: &Running) -> Self {
        let report = lab.traffic.report();
        let (mut nodes, mut sites) = (Vec::new(), Vec::new());
        for node in &lab.cluster.nodes {
            let paused = lab.paused.get(node.number).copied().unwrap_or(false);
            let machine = match &node.daemon {
                None => "gone",
                Some(_) if paused => "paused",
                Some(_) => "running",
            };
            let ask =
                |path| (machine == "running").then(|| node.get(path).ok()).flatten().unwrap_or_default();
            let (sync, stats): (Value, Value) = (ask("sync"), ask("stats"));
            if sites.is_empty()
                && let Some(list) = ask("sites/status").get_mut("sites").and_then(Value::as_array_mut)
            {
                sites = std::mem::take(list);
            }
            let counts = report.node(node.number);
            let word = |key: &str| sync.get(key).and_then(Value::as_str).map(str::to_owned);
            let number = |key: &str| sync.get(key).and_then(Value::as_u64);
            let problems = sync.get("problems").and_then(Value::as_array).into_iter().flatten();
            nodes.push(NodeStatus {
                name: node.name.clone(),
                site: node.site.clone(),
                machine,
                role: word("role"),
                leads: word("leader").is_some_and(|leader| leader == node.name),
                blocks_held: number("blocks_held"),
                blocks_closed: number("blocks_closed"),
                answered_in_kernel: stats.pointer("/kernel/answered").and_then(Value::as_u64),
                renewals_answered: counts.renewals_answered,
                new_leases: counts.new_leases,
                problems: problems.filter_map(|problem| problem.as_str().map(str::to_owned)).collect(),
            });
        }
        let bound = lab.cluster.sites.iter().cloned().zip(report.bound_by_site.iter().copied());
        Self {
            secs: lab.secs(),
            sites,
            nodes,
            clients: report.clients,
            bound: bound.collect(),
            renewals_sent: report.renewals_sent,
            renewals_answered: report.renewals_answered,
            new_leases: report.new_leases,
            ran_out: report.ran_out,
            naks: report.naks,
            broken: report.broken,
        }
    }

    /// Whether anything is another than it was, but for counts that always rise.
    pub(super) fn differs(&self, before: &Self) -> bool {
        let words = |status: &Self| {
            let sites = status.sites.iter().map(|site| site.get("status").cloned());
            let nodes = status.nodes.iter().map(|node| {
                (node.machine, node.role.clone(), node.leads, node.blocks_held, node.blocks_closed)
            });
            (sites.collect::<Vec<_>>(), nodes.collect::<Vec<_>>(), status.broken)
        };
        words(self) != words(before)
    }

    /// As a table.
    pub fn table(&self) -> String {
        let mut out = String::new();
        let mut line = |text: String| {
            // Writing into a string cannot fail.
            let _ = writeln!(out, "{text}");
        };
        let text = |site: &Value, key: &str| match site.get(key) {
            Some(Value::String(word)) => word.clone(),
            Some(value) if !value.is_null() => value.to_string(),
            _ => "-".to_owned(),
        };
        line(format!("{:.0} s since all clients had a lease", self.secs));
        line(format!("{:<12} {:<9} {:>10}  {:>7}  LAST SYNC", "SITE", "STATUS", "LATENCY", "BOUND"));
        for site in &self.sites {
            let name = text(site, "name");
            let bound = self.bound.get(&name).copied().unwrap_or(0);
            let latency = format!("{} ms", text(site, "latency"));
            let last_sync = text(site, "last_sync");
            line(format!("{name:<12} {:<9} {latency:>10}  {bound:>7}  {last_sync}", text(site, "status")));
        }
        line(format!(
            "{:<28} {:<8} {:<12} {:>8} {:>8} {:>9} {:>9} {:>9}",
            "NODE", "MACHINE", "ROLE", "BLOCKS", "WAITING", "RENEWALS", "(KERNEL)", "NEW"
        ));
        for node in &self.nodes {
            let dash = |value: Option<u64>| value.map_or_else(|| "-".to_owned(), |value| value.to_string());
            let role = node.role.as_deref().unwrap_or("-");
            line(format!(
                "{:<28} {:<8} {:<12} {:>8} {:>8} {:>9} {:>9} {:>9}",
                node.name,
                node.machine,
                if node.leads { format!("{role}*") } else { role.to_owned() },
                dash(node.blocks_held),
                dash(node.blocks_closed),
                node.renewals_answered,
                dash(node.answered_in_kernel),
                node.new_leases,
            ));
        }
        let (bound, unanswered) =
            (self.bound.values().sum::<u64>(), self.renewals_sent.saturating_sub(self.renewals_answered));
        line(format!(
            "clients: {bound} of {} have a lease; {} renewals answered, {unanswered} asked again or under way, {} leases ran out",
            self.clients, self.renewals_answered, self.ran_out
        ));
        let Broken { double_bound, promises_lost, naks_in_error } = self.broken;
        line(format!(
            "addresses doubled: {double_bound}   promises lost: {promises_lost}   NAKs in error: {naks_in_error}"
        ));
        let told = self.nodes.iter().find(|node| !node.problems.is_empty());
        if let Some(node) = told {
            line(format!("{} says: {}", node.name, node.problems.join("; ")));
        }
        out
    }
}

/// The end of the story.
pub fn told(report: &Report) -> String {
    let mut out = String::new();
    for violation in &report.told {
        let _ = writeln!(out, "{violation}");
    }
    let verdict = if report.violated() { "BROKEN" } else { "every promise was kept" };
    let Broken { double_bound, promises_lost, naks_in_error } = report.broken;
    let _ = write!(
        out,
        "{} renewals answered ({} by another site), {} leases given to new clients, {} addresses went from one client to \
         another\naddresses doubled: {double_bound}   promises lost: {promises_lost}   NAKs in error: {naks_in_error}\n{verdict}",
        report.renewals_answered,
        report.renewals_answered_elsewhere,
        report.new_leases,
        report.reused_addresses
    );
    out
}
