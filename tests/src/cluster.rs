//! Several daemons as the nodes of one cluster, each in a namespace of its own with a client of its own, their links on a
//! bridge between them.

use std::{net::Ipv4Addr, path::PathBuf, process::Command, time::Duration};

use anyhow::{Context as _, Result};
use serde_json::{Value, json};

use crate::{
    daemon::{self, Daemon},
    lab::{Cable, Server, set},
    netns::NetNs,
    process,
    veth::{self, Veth},
    wait::wait_for,
};

/// How long a cluster may take to begin, or to find another leader, on a busy machine.
pub const AGREED: Duration = Duration::from_secs(60);

/// A node: its machine, its clients' cable and its daemon.
#[derive(Debug)]
pub struct Node {
    /// Its name.
    pub name: String,
    /// Its site.
    pub site: String,
    /// Its configuration.
    pub config: Value,
    /// Its daemon, unless it has been taken away.
    pub daemon: Option<Daemon>,
    /// The way to it as a client.
    pub cable: Cable,
    /// Its place among all nodes.
    number: u8,
    /// Its namespace and files.
    pub server: Server,
}

/// A cluster. Dropping it takes everything down.
#[derive(Debug)]
pub struct Cluster {
    /// The nodes, in the order of the configuration.
    pub nodes: Vec<Node>,
    bridge: NetNs,
    folder: tempfile::TempDir,
}

/// The address of a node on the links.
pub fn address(number: u8) -> Ipv4Addr {
    Ipv4Addr::new(198, 19, 0, number + 1)
}

impl Cluster {
    /// Makes machines, cables and certificates for sites with so many nodes each; no daemon runs yet. `adapt` may change a
    /// node's configuration.
    ///
    /// # Errors
    ///
    /// Without root, or when the daemon's binary is missing.
    pub fn new(sites: &[(&str, u8)], adapt: impl Fn(&mut Value)) -> Result<Self> {
        let folder = tempfile::Builder::new().prefix("dhcptest-").tempdir().context("no folder")?;
        let bridge = NetNs::new("b")?;
        bridge.ip("link add br0 type bridge")?;
        bridge.ip("link set br0 up")?;
        let authority = folder.path().join("pki");
        pki(&["init", "--authority"], &authority)?;
        let names: Vec<(u8, String, String)> = (0..)
            .zip(sites.iter().flat_map(|(site, count)| {
                (1..=*count).map(move |n| (format!("node{n}-{site}.example.com"), (*site).to_owned()))
            }))
            .map(|(number, (name, site))| (number, name, site))
            .collect();
        let listed: Vec<Value> = (1..)
            .zip(sites)
            .map(|(priority, (site, _))| {
                let of_site = names.iter().filter(|(_, _, of)| of == site);
                let nodes: Vec<&String> = of_site.map(|(_, name, _)| name).collect();
                json!({"name": site, "nodes": nodes, "priority": priority, "latency": 0})
            })
            .collect();
        let addresses: Vec<Value> = names
            .iter()
            .map(|(number, name, _)| json!({"node": name, "address": format!("{}:8067", address(*number))}))
            .collect();
        let mut nodes = Vec::new();
        for (number, name, site) in &names {
            let server = Server::new()?;
            let cable = Cable::new(&server)?;
            let port = format!("p{number}");
            Veth::with_macs(
                (&server.ns, "l0", [2, 0, 0, 1, *number, 0x0a]),
                (&bridge, &port, [2, 0, 0, 1, *number, 0x0b]),
            )?;
            bridge.ip(&format!("link set {port} master br0"))?;
            veth::add_address(&server.ns, "l0", address(*number), 24)?;
            let state = server.folder.path().join("sites");
            pki(&["node", name, "--out", &state.display().to_string(), "--authority"], &authority)?;
            let mut config = server.config();
            set(
                &mut config,
                "/dhcp/datacenter",
                json!({"multi_site": {
                    "enabled": true, "local_site": site, "node": name, "sites": listed,
                    "synchronization": {"mode": "async", "interval": 1},
                    "failover": {"enabled": sites.len() > 1, "detection_interval": 1, "failover_timeout": 3},
                    "link": {"listen": format!("{}:8067", address(*number)), "addresses": addresses, "state_path": state},
                }}),
            );
            adapt(&mut config);
            let (name, site) = (name.clone(), site.clone());
            nodes.push(Node { name, site, config, daemon: None, cable, number: *number, server });
        }
        Ok(Self { nodes, bridge, folder })
    }

    /// Starts all daemons.
    ///
    /// # Errors
    ///
    /// When one does not answer.
    pub fn start(&mut self) -> Result<()> {
        self.nodes.iter_mut().try_for_each(Node::start)
    }

    /// Where the authority's files are.
    pub fn authority(&self) -> PathBuf {
        self.folder.path().join("pki")
    }

    /// Takes a node's links away, or gives them back.
    ///
    /// # Errors
    ///
    /// When `ip` refuses.
    pub fn cut(&self, node: usize, cut: bool) -> Result<()> {
        let number = self.nodes.get(node).context("no such node")?.number;
        self.bridge.ip(&format!("link set p{number} {}", if cut { "down" } else { "up" })).map(drop)
    }
}

impl Node {
    /// Starts its daemon.
    ///
    /// # Errors
    ///
    /// When it does not answer.
    pub fn start(&mut self) -> Result<()> {
        self.daemon = Some(self.server.start(&self.config)?);
        Ok(())
    }

    /// Asks its daemon by the command line.
    ///
    /// # Errors
    ///
    /// When there is none, or it does not answer.
    pub fn ask(&self, words: &[&str]) -> Result<Value> {
        self.daemon.as_ref().context("no daemon runs")?.ask(words)
    }

    /// Waits until what it answers is as wanted, and returns that.
    ///
    /// # Errors
    ///
    /// When it is not in time: with the last answer.
    pub fn wait(&self, what: &str, words: &[&str], wanted: impl Fn(&Value) -> bool) -> Result<Value> {
        let mut last = Value::Null;
        let found = wait_for(AGREED, what, || {
            last = self.ask(words)?;
            Ok(wanted(&last).then(|| last.clone()))
        });
        found.with_context(|| format!("{}: last answer: {last:#}\nits log:\n{}", self.name, self.log()))
    }

    /// Its daemon's log so far.
    pub fn log(&self) -> String {
        self.daemon.as_ref().map(Daemon::log).unwrap_or_default()
    }
}

/// Runs `pki` with a last argument.
///
/// # Errors
///
/// When it fails.
pub fn pki(words: &[&str], authority: &std::path::Path) -> Result<String> {
    process::stdout(Command::new(daemon::binary()?).arg("pki").args(words).arg(authority))
}
