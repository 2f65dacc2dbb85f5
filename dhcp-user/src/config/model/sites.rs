//! The guide's `multi_site` section, validated.

use std::{
    net::{Ipv4Addr, SocketAddr},
    path::PathBuf,
};

/// The guide's `multi_site` section, validated. Units: latency in milliseconds, intervals and timeouts in seconds,
/// bandwidth in Mbit/s.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MultiSite {
    /// Whether sites are in use.
    pub enabled: bool,
    /// The site this node belongs to, one of `sites`; empty only if there are no sites, and then `enabled` is false.
    pub local_site: String,
    /// All sites, names distinct.
    pub sites: Vec<Site>,
    /// How leases travel.
    pub synchronization: Synchronization,
    /// Where new clients are given addresses.
    pub allocation: Allocation,
    /// What happens when a site falls silent.
    pub failover: Failover,
    /// What synchronization may use of the links.
    pub bandwidth: Bandwidth,
    /// Which node this is, one of the local site's; `None`: found by the host name.
    pub node: Option<String>,
    /// How nodes reach and know one another.
    pub link: SiteLink,
    /// The local site's service addresses and where they live; none unless `enabled`.
    pub shared: Vec<SharedAddress>,
}

/// An address that the nodes of the local site share.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SharedAddress {
    /// The address, which is the server's address on that interface.
    pub address: Ipv4Addr,
    /// The interface: index into [`Config::interfaces`](super::Config::interfaces).
    pub interface: usize,
}

impl MultiSite {
    /// All nodes with the index of their site, in the order in which they are listed.
    pub fn nodes(&self) -> impl Iterator<Item = (usize, &str)> {
        self.sites.iter().enumerate().flat_map(|(at, site)| site.nodes.iter().map(move |node| (at, &**node)))
    }
}

/// `link`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SiteLink {
    /// Where this node listens for the others.
    pub listen: SocketAddr,
    /// Where nodes are reached that are not reached by their name and the port of `listen`: node, host, port.
    pub addresses: Vec<(String, String, u16)>,
    /// This node's certificate chain, a PEM file.
    pub certificate: PathBuf,
    /// Its private key, a PEM file.
    pub key: PathBuf,
    /// Certificates that sign nodes' certificates, a PEM file.
    pub ca: PathBuf,
    /// The directory of what the nodes have agreed on.
    pub state_path: PathBuf,
}

/// A site.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Site {
    /// Its name.
    pub name: String,
    /// Host names or addresses of its nodes, distinct across all sites.
    pub nodes: Vec<String>,
    /// 1 is the most preferred.
    pub priority: u32,
    /// Expected latency from the local site, milliseconds.
    pub latency_ms: u32,
    /// Addresses that its nodes share, and the names of the interfaces they live on where that is written.
    pub service_addresses: Vec<(Ipv4Addr, Option<String>)>,
}

/// `synchronization`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Synchronization {
    /// Whether an ACK waits for a peer.
    pub mode: SyncMode,
    /// The longest an update waits to be sent, seconds.
    pub interval_secs: u32,
    /// The number of waiting updates that sends a batch at once.
    pub batch_size: u32,
    /// zstd on the wire.
    pub compression: bool,
    /// TLS on the wire.
    pub encryption: bool,
}

/// `synchronization.mode`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SyncMode {
    /// The ACK does not wait.
    Async,
    /// The ACK waits until a peer has the lease.
    Sync,
}

/// `allocation`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Allocation {
    /// How a site is chosen.
    pub strategy: Strategy,
    /// Use the local site's addresses while there are any.
    pub prefer_local: bool,
    /// Sites to turn to, in order.
    pub fallback_sites: Vec<String>,
}

/// `allocation.strategy`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Strategy {
    /// By latency.
    Geographic,
    /// By `priority`.
    Priority,
    /// By free addresses.
    Balanced,
}

/// `failover`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failover {
    /// Whether blocks move without an operator.
    pub enabled: bool,
    /// Silence after which a site is suspect, seconds.
    pub detection_interval_secs: u32,
    /// Silence after which its blocks may move, seconds, above the detection interval.
    pub failover_timeout_secs: u32,
    /// Who takes over, in order.
    pub preferred_sites: Vec<String>,
    /// The maximum client lead time, seconds.
    pub mclt_secs: u32,
    /// How long delegations last after their renewal was proposed, seconds, at most the failover timeout.
    pub delegation_secs: u32,
}

/// `bandwidth`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bandwidth {
    /// Whether the limits below apply.
    pub optimization: bool,
    /// Cap on what synchronization sends, Mbit/s.
    pub max_mbit_per_s: u32,
    /// zstd.
    pub compression: bool,
    /// Coalesce updates of one lease.
    pub deduplication: bool,
}
