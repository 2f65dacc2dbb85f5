//! The configuration file as written: names and shapes of its keys, nothing checked beyond that. The doc comments here
//! are what `docs/config.schema.json` tells an operator's editor.

use schemars::JsonSchema;
use serde::Deserialize;

mod api;
mod daemon;
mod object;
mod settings;
mod sites;
mod subnet;

pub(super) use self::{
    api::Api,
    daemon::{Audit, ConflictDetection, Control, FastPath, InterfaceEntry, Limits, Store},
    object::Object,
    settings::{OptionEntry, Settings},
    sites::{Allocation, Datacenter, Failover, MultiSite, Site, Synchronization},
    subnet::{Pool, Reservation, Subnet},
};
use settings::with_settings;

/// The configuration of simple-dhcpd-datacenter. See docs/configuration.md.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(title = "simple-dhcpd-datacenter configuration")]
pub(super) struct File {
    /// Where an editor finds the schema of this file; the daemon does not look at it.
    #[serde(default, rename = "$schema")]
    #[expect(dead_code, reason = "for editors; declared so that a file may have it")]
    pub(super) schema: Option<String>,
    /// Everything about DHCP.
    pub(super) dhcp: Object<Dhcp>,
}

with_settings! {
    /// Everything about DHCP. Lease settings given here apply wherever a subnet, pool or reservation does not say
    /// otherwise.
    pub(in crate::config) struct Dhcp {
        /// The interfaces served: a name, or an object with more to say about it.
        #[serde(default)]
        pub(in crate::config) interfaces: Vec<InterfaceEntry>,
        /// Whether a client that asks to keep an address that is wrong for its link is told so (NAK) even if nothing
        /// is known of it. Turn off where another server answers for the same links.
        #[serde(default = "yes")]
        pub(in crate::config) authoritative: bool,
        /// The subnets served; none may overlap another. Subnets with the same interface and VLAN tags, or with a
        /// relay in common, form a shared network.
        #[serde(default)]
        pub(in crate::config) subnets: Vec<Object<Subnet>>,
        /// Where leases are kept.
        #[serde(default)]
        pub(in crate::config) store: Object<Store>,
        /// The local socket the command line talks to.
        #[serde(default)]
        pub(in crate::config) control: Object<Control>,
        /// The management API over HTTPS.
        #[serde(default)]
        pub(in crate::config) api: Object<Api>,
        /// The kernel fast path.
        #[serde(default)]
        pub(in crate::config) fastpath: Object<FastPath>,
        /// Whether an address is in use before it is offered.
        #[serde(default)]
        pub(in crate::config) conflict_detection: Object<ConflictDetection>,
        /// The audit log: who held which address when.
        #[serde(default)]
        pub(in crate::config) audit: Object<Audit>,
        /// How much of what the kernel does not answer reaches the daemon. Renewals answered in the kernel are not
        /// limited.
        #[serde(default)]
        pub(in crate::config) limits: Object<Limits>,
        /// Operation across sites.
        #[serde(default)]
        pub(in crate::config) datacenter: Option<Object<Datacenter>>,
    }
}

/// The default of switches that are on.
fn yes() -> bool {
    true
}
