//! `--site-status`, and what an operator does with sites and nodes.

use std::{io::Write as _, time::Duration};

use anyhow::{Result, ensure};
use clap::Subcommand;
use hyper::Method;
use serde_json::{Value, json};

use super::{
    ask::{print_json, wait},
    drill,
    remote::Asking,
};
use crate::{
    api::routes::sites::Told,
    site::driver::status::{SiteDetail, SiteList, SyncDetail},
};

/// Sites of a cluster.
#[derive(Debug, Subcommand)]
pub(super) enum Site {
    /// Show all sites: what --site-status shows.
    Status(Asking),
    /// Show a site, its nodes, and why its status is what it is.
    Show {
        /// The site.
        name: String,
        #[command(flatten)]
        asking: Asking,
    },
    /// Show how this node and the others keep in step, and what is wrong.
    Sync(Asking),
    /// Take a site out of service: its nodes hand all addresses on.
    Drain {
        /// The site.
        #[arg(long = "site", value_name = "SITE")]
        name: String,
        #[command(flatten)]
        asking: Asking,
    },
    /// Bring a drained site back.
    Resume {
        /// The site.
        #[arg(long = "site", value_name = "SITE")]
        name: String,
        #[command(flatten)]
        asking: Asking,
    },
    /// Take a site out of service, wait until all is handed on, bring it back (also on Ctrl-C), and report.
    Drill {
        /// The site.
        #[arg(long = "site", value_name = "SITE")]
        name: String,
        /// How long handing on, and taking back, may take, seconds.
        #[arg(long, value_name = "SECONDS", default_value_t = 120)]
        patience: u64,
        #[command(flatten)]
        asking: Asking,
    },
    /// Say that a node, or a whole site, is down for certain, so that its addresses are taken over: where no majority is left to do
    /// that by itself, or failover is off.
    PartnerDown {
        /// The node that is down.
        #[arg(required_unless_present = "site", conflicts_with = "site")]
        node: Option<String>,
        /// The site that is down, all of it.
        #[arg(long)]
        site: Option<String>,
        /// It is certain: it is off, or cut from every client.
        #[arg(long)]
        certain: bool,
        #[command(flatten)]
        asking: Asking,
    },
    /// Nodes that decide.
    Member {
        #[command(subcommand)]
        command: Member,
    },
}

/// Nodes that decide.
#[derive(Debug, Subcommand)]
pub(super) enum Member {
    /// Give a node a vote: it runs, and is in the configuration of all nodes.
    Add {
        /// Its name.
        node: String,
        #[command(flatten)]
        asking: Asking,
    },
    /// Take a node's vote away, after its addresses were handed on or taken over.
    Remove {
        /// Its name.
        node: String,
        #[command(flatten)]
        asking: Asking,
    },
}

/// Does it.
pub(super) fn run(command: Site) -> Result<()> {
    match command {
        Site::Status(asking) => status(&asking),
        Site::Show { name, asking } => show(&name, &asking),
        Site::Sync(asking) => sync(&asking),
        Site::Drain { name, asking } => tell(&format!("sites/{}/drain", safe(&name)?), None, &asking),
        Site::Resume { name, asking } => tell(&format!("sites/{}/resume", safe(&name)?), None, &asking),
        Site::Drill { name, patience, asking } => drill::run(&name, Duration::from_secs(patience), &asking),
        Site::PartnerDown { node, site, certain, asking } => match (node, site) {
            (None, Some(site)) => {
                ensure!(
                    certain,
                    "if {site} is not down, but only cut off, and somebody there says the same of the sites that are left, both will \
                     give the same addresses to different clients. Make sure that all of its nodes are off, or that nobody says that \
                     there, then say --certain"
                );
                tell(&format!("sites/{}/partner-down", safe(&site)?), None, &asking)
            }
            (node, _) => {
                let node = node.unwrap_or_default();
                ensure!(
                    certain,
                    "if {node} is not down, and two nodes are all there are, both will give the same addresses to different \
                     clients. Make sure it is off, or cut from every client, then say --certain"
                );
                tell("sync/partner-down", Some(&json!({"node": node})), &asking)
            }
        },
        Site::Member { command: Member::Add { node, asking } } => {
            member(&Method::POST, "sync/members", Some(&json!({"node": node})), &node, &asking)
        }
        Site::Member { command: Member::Remove { node, asking } } => {
            member(&Method::DELETE, &format!("sync/members/{}", safe(&node)?), None, &node, &asking)
        }
    }
}

/// A name that goes into a path: no site's and no node's has anything else in it.
pub(super) fn safe(name: &str) -> Result<&str> {
    let sound = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.' | ':');
    ensure!(!name.is_empty() && name.chars().all(sound), "{name:?} is no name of a site or node");
    Ok(name)
}

/// `--site-status`.
pub(super) fn status(asking: &Asking) -> Result<()> {
    let daemon = asking.daemon()?;
    let list: SiteList = wait(async { Ok(daemon.get("/api/v1/sites/status").await?) })?;
    if asking.json {
        return print_json(&list);
    }
    let mut out = std::io::stdout().lock();
    writeln!(out, "{:<24}  {:<9}  {:>5}  {:>10}  LAST SYNC", "SITE", "STATUS", "NODES", "LATENCY")?;
    for site in &list.sites {
        let latency = site.latency.map_or_else(|| "-".to_owned(), |ms| format!("{ms} ms"));
        let last_sync = site.last_sync.as_deref().unwrap_or("never");
        writeln!(
            out,
            "{:<24}  {:<9}  {:>5}  {latency:>10}  {last_sync}",
            site.name, site.status, site.nodes
        )?;
    }
    Ok(())
}

fn show(name: &str, asking: &Asking) -> Result<()> {
    let site = detail(name, asking)?;
    if asking.json {
        return print_json(&site);
    }
    let mut out = std::io::stdout().lock();
    writeln!(out, "{}: {}: {}", site.short.name, site.short.status, site.reason)?;
    writeln!(
        out,
        "{:<40}  {:<7}  {:<9}  {:>10}  {:>7}  {:>9}  LAST SYNC",
        "NODE", "LINKED", "STANDING", "ROUND TRIP", "BLOCKS", "LAG"
    )?;
    for node in &site.members {
        let dash = || "-".to_owned();
        let marks = if node.leads { " (leads)" } else { "" };
        writeln!(
            out,
            "{:<40}  {:<7}  {:<9}  {:>10}  {:>7}  {:>9}  {}",
            format!("{}{marks}", node.name),
            if node.linked { "yes" } else { "no" },
            node.standing.as_deref().unwrap_or("-"),
            node.round_trip_ms.map_or_else(dash, |ms| format!("{ms} ms")),
            node.blocks_held.map_or_else(dash, |blocks| blocks.to_string()),
            node.lag_updates.map_or_else(dash, |updates| updates.to_string()),
            node.last_sync.as_deref().unwrap_or("never"),
        )?;
    }
    Ok(())
}

fn detail(name: &str, asking: &Asking) -> Result<SiteDetail> {
    let (daemon, name) = (asking.daemon()?, safe(name)?);
    wait(async { Ok(daemon.get(&format!("/api/v1/sites/{name}")).await?) })
}

fn sync(asking: &Asking) -> Result<()> {
    let daemon = asking.daemon()?;
    let sync: SyncDetail = wait(async { Ok(daemon.get("/api/v1/sync").await?) })?;
    if asking.json {
        return print_json(&sync);
    }
    let mut out = std::io::stdout().lock();
    // The same names as in JSON, one to a line: there is a page for each in docs/sites.md.
    if let Value::Object(members) = serde_json::to_value(&sync)? {
        for (name, value) in members.iter().filter(|(name, _)| *name != "problems") {
            let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
            writeln!(out, "{name:<26}  {text}")?;
        }
    }
    for problem in &sync.problems {
        writeln!(out, "PROBLEM  {problem}")?;
    }
    Ok(())
}

fn tell(path: &str, body: Option<&Value>, asking: &Asking) -> Result<()> {
    let daemon = asking.daemon()?;
    let path = format!("/api/v1/{path}");
    let told: Told = wait(async { Ok(daemon.send(Method::POST, &path, body).await?) })?;
    if asking.json {
        return print_json(&told);
    }
    writeln!(std::io::stdout(), "told: {}", told.told.join(", "))?;
    Ok(())
}

fn member(method: &Method, path: &str, body: Option<&Value>, node: &str, asking: &Asking) -> Result<()> {
    let daemon = asking.daemon()?;
    let path = format!("/api/v1/{path}");
    let _: Value = wait(async { Ok(daemon.send(method.clone(), &path, body).await?) })?;
    if asking.json {
        return print_json(&json!({"node": node}));
    }
    writeln!(std::io::stdout(), "done: {node}")?;
    Ok(())
}
