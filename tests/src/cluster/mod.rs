//! Several daemons as the nodes of one cluster, each in a namespace of its own with a client of its own; between them a
//! network of ours ([`wan`](crate::wan)) that can be made long, lossy or dead.
//!
//! * [`node`]: one machine. [`traffic`]: clients that renew, come and go at all of them, and the one ledger of what they
//!   were promised. [`lab`]: all of it for somebody to play with, `cargo xtask cluster`. [`drill`]: what must hold when
//!   parts of it fail.

pub mod drill;
pub mod lab;
pub mod node;
pub mod traffic;

use std::{
    net::{Ipv4Addr, SocketAddr},
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};

pub use self::node::Node;
use crate::{
    daemon,
    lab::{Cable, Server, set},
    netns::NetNs,
    process,
    veth::{self, Veth},
    wan::{self, Wan, Way},
};

/// How long a cluster may take to begin, or to find another leader, on a busy machine.
pub const AGREED: Duration = Duration::from_secs(60);

/// The sites of the guide, with two nodes each.
pub const GUIDE_SITES: [(&str, u8); 3] = [("us-east", 2), ("us-west", 2), ("eu-central", 2)];

/// How far they are apart, milliseconds one way; the guide names the first row.
pub const GUIDE_LATENCY_MS: [[u32; 3]; 3] = [[0, 50, 100], [50, 0, 150], [100, 150, 0]];

/// The port of every node, and the first of the network's.
const PORT: u16 = 8067;
const PATHS_FROM: u16 = 20_000;

/// Nodes there may be: each has an octet of an address and some ports.
const NODES_MAX: usize = 64;

/// A cluster. Dropping it takes everything down.
#[derive(Debug)]
pub struct Cluster {
    /// The nodes, in the order of the configuration.
    pub nodes: Vec<Node>,
    /// The sites' names, in order.
    pub sites: Vec<String>,
    /// What is between the nodes.
    pub wan: Wan,
    _bridge: NetNs,
    folder: tempfile::TempDir,
}

/// The address of a node on the links.
pub fn address(number: usize) -> Ipv4Addr {
    let number = u8::try_from(number).unwrap_or(u8::MAX - 1);
    Ipv4Addr::new(198, 19, 0, number + 1)
}

/// Where the network is found.
const NETWORK: Ipv4Addr = Ipv4Addr::new(198, 19, 0, 254);

/// Where the path from one node to another begins.
fn path_listen(from: usize, to: usize) -> Result<SocketAddr> {
    let port = u16::try_from(from * NODES_MAX + to).context("too many nodes")?;
    Ok(SocketAddr::from((NETWORK, PATHS_FROM + port)))
}

impl Cluster {
    /// Makes machines, cables and certificates for sites with so many nodes each, no distance apart; no daemon runs yet.
    /// `adapt` may change a node's configuration.
    ///
    /// # Errors
    ///
    /// Without root, or when the daemon's binary is missing.
    pub fn new(sites: &[(&str, u8)], adapt: impl Fn(&mut Value)) -> Result<Self> {
        Self::apart(sites, |_, _| 0, adapt)
    }

    /// As [`Cluster::new`], for sites some milliseconds apart, one way.
    ///
    /// # Errors
    ///
    /// As [`Cluster::new`].
    pub fn apart(
        sites: &[(&str, u8)],
        latency_ms: impl Fn(usize, usize) -> u32,
        adapt: impl Fn(&mut Value),
    ) -> Result<Self> {
        let folder = tempfile::Builder::new().prefix("dhcptest-").tempdir().context("no folder")?;
        let bridge = NetNs::new("b")?;
        bridge.ip("link add br0 type bridge")?;
        bridge.ip("link set br0 up")?;
        veth::add_address(&bridge, "br0", NETWORK, 24)?;
        let authority = folder.path().join("pki");
        pki(&["init", "--authority"], &authority)?;
        let names: Vec<(usize, String, usize)> = sites
            .iter()
            .enumerate()
            .flat_map(|(site, (name, count))| {
                (1..=*count).map(move |n| (format!("node{n}-{name}.example.com"), site))
            })
            .enumerate()
            .map(|(number, (name, site))| (number, name, site))
            .collect();
        ensure!(names.len() < NODES_MAX, "{} nodes are too many for the lab", names.len());
        let mut nodes = Vec::new();
        for (number, name, site) in &names {
            let listed: Vec<Value> = (0..)
                .zip(sites)
                .map(|(other, (site_name, _))| {
                    let of_site = names.iter().filter(|(_, _, of)| *of == other);
                    let members: Vec<&String> = of_site.map(|(_, name, _)| name).collect();
                    let latency = latency_ms(*site, other);
                    json!({"name": site_name, "nodes": members, "priority": other + 1, "latency": latency})
                })
                .collect();
            let others = names.iter().filter(|(other, ..)| other != number);
            let addresses = others
                .map(|(other, name, _)| {
                    Ok(json!({"node": name, "address": path_listen(*number, *other)?.to_string()}))
                })
                .collect::<Result<Vec<Value>>>()?;
            let server = Server::new()?;
            let cable = Cable::new(&server)?;
            let port = format!("p{number}");
            let octet = u8::try_from(*number).context("too many nodes")?;
            Veth::with_macs(
                (&server.ns, "l0", [2, 0, 0, 1, octet, 0x0a]),
                (&bridge, &port, [2, 0, 0, 1, octet, 0x0b]),
            )?;
            bridge.ip(&format!("link set {port} master br0"))?;
            veth::add_address(&server.ns, "l0", address(*number), 24)?;
            let state = server.folder.path().join("sites");
            pki(&["node", name, "--out", &state.display().to_string(), "--authority"], &authority)?;
            let local = sites.get(*site).map(|(name, _)| *name).context("a node without a site")?;
            let mut config = server.config();
            set(
                &mut config,
                "/dhcp/datacenter",
                json!({"multi_site": {
                    "enabled": true, "local_site": local, "node": name, "sites": listed,
                    "synchronization": {"mode": "async", "interval": 1},
                    "failover": {"enabled": names.len() > 2, "detection_interval": 1, "failover_timeout": 3},
                    "link": {
                        "listen": format!("{}:{PORT}", address(*number)),
                        "addresses": addresses, "state_path": state,
                    },
                }}),
            );
            adapt(&mut config);
            nodes.push(Node {
                name: name.clone(),
                site: local.to_owned(),
                config,
                daemon: None,
                cable,
                number: *number,
                server,
                through: Vec::new(),
                program: None,
                later: false,
            });
        }
        let mut paths = Vec::new();
        for (from, to) in names.iter().flat_map(|(from, ..)| names.iter().map(move |(to, ..)| (*from, *to))) {
            if from != to {
                let target = SocketAddr::from((address(to), PORT));
                paths.push(wan::Path { from, to, listen: path_listen(from, to)?, target });
            }
        }
        let wan = Wan::start(&bridge, &paths)?;
        let site_of: Vec<usize> = names.iter().map(|(_, _, site)| *site).collect();
        wan.alter(|from, to, way| {
            if let Some((one, other)) = site_of.get(from).zip(site_of.get(to)) {
                way.delay = Duration::from_millis(latency_ms(*one, *other).into());
            }
        });
        let sites = sites.iter().map(|(name, _)| (*name).to_owned()).collect();
        Ok(Self { nodes, sites, wan, _bridge: bridge, folder })
    }

    /// The sites of the guide, its distances apart.
    ///
    /// # Errors
    ///
    /// As [`Cluster::new`].
    pub fn of_the_guide(adapt: impl Fn(&mut Value)) -> Result<Self> {
        let latency_ms = |one: usize, other: usize| {
            GUIDE_LATENCY_MS.get(one).and_then(|row| row.get(other)).copied().unwrap_or(0)
        };
        Self::apart(&GUIDE_SITES, latency_ms, adapt)
    }

    /// Starts all daemons that are to be there from the beginning, side by side.
    ///
    /// # Errors
    ///
    /// When one does not answer.
    pub fn start(&mut self) -> Result<()> {
        let first = || |node: &&mut Node| !node.later;
        self.nodes.iter_mut().filter(first()).try_for_each(Node::spawn)?;
        self.nodes.iter_mut().filter(first()).try_for_each(Node::wait_ready)
    }

    /// Waits until every running node is in, and holds addresses to give out.
    ///
    /// # Errors
    ///
    /// When they do not agree in time: what the one that is late says of itself.
    pub fn wait_in_step(&self) -> Result<()> {
        for node in self.nodes.iter().filter(|node| node.daemon.is_some()) {
            node.wait_get("addresses to give out", "sync", |sync| {
                sync["role"] == "active" && sync["blocks_held"].as_u64() > Some(0)
            })?;
        }
        Ok(())
    }

    /// Where the authority's files are.
    pub fn authority(&self) -> PathBuf {
        self.folder.path().join("pki")
    }

    /// The numbers of a site's nodes.
    pub fn of_site(&self, site: &str) -> Vec<usize> {
        self.nodes.iter().filter(|node| node.site == site).map(|node| node.number).collect()
    }

    /// Takes a node's links away, or gives them back.
    pub fn cut(&self, node: usize, cut: bool) {
        self.between(&[node], |way, _| way.cut = cut);
    }

    /// Changes all ways between `nodes` and the others; `change` is told whether a way leads out from `nodes`.
    pub fn between(&self, nodes: &[usize], mut change: impl FnMut(&mut Way, bool)) {
        self.wan.alter(|from, to, way| {
            let out = nodes.contains(&from);
            if out != nodes.contains(&to) {
                change(way, out);
            }
        });
    }

    /// All ways are whole again; distances stay, and connections.
    pub fn heal(&self) {
        self.wan.alter(|_, _, way| *way = Way { delay: way.delay, breaks: way.breaks, ..Way::default() });
    }

    /// A node by its name, or the beginning of it.
    ///
    /// # Errors
    ///
    /// When there is none, or more than one.
    pub fn find(&self, name: &str) -> Result<usize> {
        let mut found = self.nodes.iter().filter(|node| node.name.starts_with(name));
        match (found.next(), found.next()) {
            (Some(node), None) => Ok(node.number),
            (None, _) => anyhow::bail!("there is no node {name}: {}", self.names()),
            (Some(_), Some(_)) => anyhow::bail!("more than one node begins with {name}: {}", self.names()),
        }
    }

    fn names(&self) -> String {
        self.nodes.iter().map(|node| node.name.as_str()).collect::<Vec<_>>().join(", ")
    }
}

/// Runs `pki` with a last argument.
///
/// # Errors
///
/// When it fails.
pub fn pki(words: &[&str], authority: &Path) -> Result<String> {
    process::stdout(Command::new(daemon::binary()?).arg("pki").args(words).arg(authority))
}
