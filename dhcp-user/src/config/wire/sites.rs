//! `dhcp.datacenter.multi_site`, as written. The key names are the customer's and a contract; units, which the
//! contract leaves open, are milliseconds for latency, seconds for times and Mbit/s for bandwidth.

use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Object;

/// Operation across data centres.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(in crate::config) struct Datacenter {
    /// Sites, and how leases travel between them.
    pub(in crate::config) multi_site: Option<Object<MultiSite>>,
}

/// Sites, and how leases travel between them. Every section may be left out.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(in crate::config) struct MultiSite {
    /// Whether sites are in use. Everything below is checked even if not. Default false.
    pub(in crate::config) enabled: bool,
    /// The site this node belongs to, one of `sites`.
    pub(in crate::config) local_site: Option<String>,
    /// All sites.
    pub(in crate::config) sites: Vec<Object<Site>>,
    /// How leases travel.
    pub(in crate::config) synchronization: Object<Synchronization>,
    /// Where new clients are given addresses.
    pub(in crate::config) allocation: Object<Allocation>,
    /// What happens when a site falls silent.
    pub(in crate::config) failover: Object<Failover>,
    /// What synchronization may use of the links.
    pub(in crate::config) bandwidth: Object<Bandwidth>,
    /// Which of the nodes of `local_site` this is. Default: the one this machine's host name is the name of, or the
    /// first part of.
    pub(in crate::config) node: Option<String>,
    /// How nodes reach and know one another.
    pub(in crate::config) link: Object<Link>,
}

/// How nodes reach and know one another.
#[derive(Clone, Debug, Deserialize, JsonSchema, Serialize)]
#[serde(deny_unknown_fields, default)]
pub(in crate::config) struct Link {
    /// Address and port of this node for the others. With an address of this machine, links to the others begin there
    /// too.
    pub(in crate::config) listen: String,
    /// Where nodes are reached that are not reached by their name and the port of `listen`.
    pub(in crate::config) addresses: Vec<Object<NodeAddress>>,
    /// This node's certificate chain, PEM; read again when it changes. Default: `certificate.pem` in `state_path`.
    pub(in crate::config) certificate: Option<PathBuf>,
    /// The certificate's private key, PEM. Default: `key.pem` in `state_path`.
    pub(in crate::config) key: Option<PathBuf>,
    /// Certificates that sign nodes' certificates, PEM. Default: `ca.pem` in `state_path`.
    pub(in crate::config) ca: Option<PathBuf>,
    /// The directory of what the nodes have agreed on. Default: `sites` in the store's directory.
    pub(in crate::config) state_path: Option<PathBuf>,
    /// Allows `synchronization.encryption` to be off where `listen` can be reached from elsewhere: whoever is on the
    /// way may then read and forge leases.
    pub(in crate::config) allow_unencrypted: bool,
}

impl Default for Link {
    fn default() -> Self {
        Self {
            listen: "0.0.0.0:8067".into(),
            addresses: Vec::new(),
            certificate: None,
            key: None,
            ca: None,
            state_path: None,
            allow_unencrypted: false,
        }
    }
}

/// Where a node is reached.
#[derive(Clone, Debug, Deserialize, JsonSchema, Serialize)]
#[serde(deny_unknown_fields)]
pub(in crate::config) struct NodeAddress {
    /// The node, as in `sites`.
    pub(in crate::config) node: String,
    /// Address or host name, and port.
    pub(in crate::config) address: String,
}

/// A site.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::config) struct Site {
    /// Its name: letters, digits, `-`, `_` and `.`, at most 63.
    #[schemars(length(min = 1, max = 63))]
    pub(in crate::config) name: String,
    /// Host names or IP addresses of its nodes.
    #[schemars(length(min = 1))]
    pub(in crate::config) nodes: Vec<String>,
    /// 1 is the most preferred. Default: the site's place in the list.
    #[serde(default)]
    #[schemars(range(min = 1))]
    pub(in crate::config) priority: Option<u32>,
    /// Expected latency from the local site, milliseconds. Default 0.
    #[serde(default)]
    #[schemars(range(max = 60_000))]
    pub(in crate::config) latency: u32,
    /// Addresses that the site's nodes share: clients are told them as their server's, and one of the nodes has them at a
    /// time. Default: none.
    #[serde(default)]
    pub(in crate::config) service_addresses: Vec<Object<ServiceAddress>>,
}

/// An address that a site's nodes share.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::config) struct ServiceAddress {
    /// The address, which no machine is given otherwise.
    pub(in crate::config) address: String,
    /// The one of `dhcp.interfaces` it lives on, at each node of the site. Default: the only one.
    #[serde(default)]
    pub(in crate::config) interface: Option<String>,
}

/// How leases travel.
#[derive(Clone, Debug, Deserialize, JsonSchema, Serialize)]
#[serde(deny_unknown_fields, default)]
pub(in crate::config) struct Synchronization {
    /// `async`: a client's answer does not wait for a peer. `sync`: it waits until every node that is in, or
    /// joining, has the lease; if that takes over 3 s no answer is sent.
    #[schemars(extend("enum" = ["async", "sync"]))]
    pub(in crate::config) mode: String,
    /// The longest an update waits to be sent, seconds.
    #[schemars(range(min = 1, max = 86_400))]
    pub(in crate::config) interval: u32,
    /// The number of waiting updates that are sent at once.
    #[schemars(range(min = 1, max = 1_000_000))]
    pub(in crate::config) batch_size: u32,
    /// Compress on the wire (zstd).
    pub(in crate::config) compression: bool,
    /// Encrypt on the wire (TLS 1.3).
    pub(in crate::config) encryption: bool,
}

impl Default for Synchronization {
    fn default() -> Self {
        Self { mode: "async".into(), interval: 60, batch_size: 1000, compression: true, encryption: true }
    }
}

/// Where new clients are given addresses.
#[derive(Clone, Debug, Deserialize, JsonSchema, Serialize)]
#[serde(deny_unknown_fields, default)]
pub(in crate::config) struct Allocation {
    /// Which of the sites nobody names below is asked first. `geographic`: the one with the least `latency`. `priority`: the
    /// most preferred one. `balanced`: the one with the most free addresses.
    #[schemars(extend("enum" = ["geographic", "priority", "balanced"]))]
    pub(in crate::config) strategy: String,
    /// Use the local site's addresses while there are any. If not, it is a site like the others: with `geographic` it comes by
    /// its `latency`, which is 0 unless it says otherwise.
    pub(in crate::config) prefer_local: bool,
    /// Sites to turn to before all those that are not named, in order. The local site, if named, is passed over.
    pub(in crate::config) fallback_sites: Vec<String>,
}

impl Default for Allocation {
    fn default() -> Self {
        Self { strategy: "geographic".into(), prefer_local: true, fallback_sites: Vec::new() }
    }
}

/// What happens when a site falls silent.
#[derive(Clone, Debug, Deserialize, JsonSchema, Serialize)]
#[serde(deny_unknown_fields, default)]
pub(in crate::config) struct Failover {
    /// Whether addresses move to another site without an operator.
    pub(in crate::config) enabled: bool,
    /// Silence after which a site is suspect, seconds.
    #[schemars(range(min = 1, max = 3_600))]
    pub(in crate::config) detection_interval: u32,
    /// Silence after which its addresses may move, seconds, above `detection_interval`.
    #[schemars(range(min = 2, max = 86_400))]
    pub(in crate::config) failover_timeout: u32,
    /// Who takes over, in order; empty: by `priority`.
    pub(in crate::config) preferred_sites: Vec<String>,
    /// The maximum client lead time: how far beyond now a client is promised its address before the other nodes know.
    #[schemars(range(min = 1, max = 86_400))]
    pub(in crate::config) mclt_secs: u32,
    /// How long a node may give addresses out after it was last in touch with a majority, seconds, at most
    /// `failover_timeout`. Default: that.
    #[schemars(range(min = 2, max = 86_400))]
    pub(in crate::config) delegation_secs: Option<u32>,
}

impl Default for Failover {
    fn default() -> Self {
        Self {
            enabled: false,
            detection_interval: 10,
            failover_timeout: 30,
            preferred_sites: Vec::new(),
            mclt_secs: 3_600,
            delegation_secs: None,
        }
    }
}

/// What synchronization may use of the links.
#[derive(Clone, Debug, Deserialize, JsonSchema, Serialize)]
#[serde(deny_unknown_fields, default)]
pub(in crate::config) struct Bandwidth {
    /// Whether the settings below apply.
    pub(in crate::config) optimization: bool,
    /// Cap on what synchronization sends, Mbit/s.
    #[schemars(range(min = 1, max = 1_000_000))]
    pub(in crate::config) max_bandwidth: u32,
    /// Compress on the wire. Default: as `synchronization.compression`, and never otherwise while `optimization` is on.
    pub(in crate::config) compression: Option<bool>,
    /// Send only the latest of several updates of one lease; there is no other way, so only `true` is taken.
    pub(in crate::config) deduplication: bool,
}

impl Default for Bandwidth {
    fn default() -> Self {
        Self { optimization: false, max_bandwidth: 1000, compression: None, deduplication: true }
    }
}
