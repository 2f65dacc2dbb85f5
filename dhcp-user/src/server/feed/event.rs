//! What can happen, as the API tells it.

use std::net::Ipv4Addr;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// Something that happened to a lease.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct LeaseEvent {
    /// Number of the event: one more for each, and more after each start of the daemon.
    pub id: u64,
    /// The address.
    #[schema(value_type = String, format = "ipv4")]
    pub address: Ipv4Addr,
    /// What its state is now: `bound`, `free`, `quarantined`.
    pub state: String,
    /// The client's hardware address.
    pub hw_address: String,
    /// Its host name, with what is not printable escaped.
    #[serde(default)]
    pub hostname: Option<String>,
    /// When it happened, RFC 3339.
    #[serde(default)]
    pub at: String,
    /// When the grant ends, RFC 3339.
    pub expires_at: String,
}

/// Something that happened to sites, as seen from this node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct SiteEvent {
    /// Number of the event: they are counted together with those of leases.
    pub id: u64,
    /// When it was noticed, RFC 3339.
    pub at: String,
    /// What happened.
    #[serde(flatten)]
    pub news: SiteNews,
}

/// What happened to sites.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct SiteNews {
    /// What kind of thing.
    pub kind: SiteChange,
    /// The site it is about.
    pub site: Option<String>,
    /// The node it is about.
    pub node: Option<String>,
    /// How it was before: a word of this kind of thing, or a node's name; null if it was not.
    pub before: Option<String>,
    /// How it is now.
    pub now: Option<String>,
    /// How many blocks of addresses it is about.
    pub blocks: Option<u32>,
    /// The same in words, with the reason.
    pub detail: String,
}

/// What can happen to sites.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum SiteChange {
    /// A site's status is another: `active`, `degraded`, `suspect`, `down`, `unknown`.
    Status,
    /// There is a link to a node (`up`), or none any more (`down`).
    Link,
    /// What a node can be counted on for is another: `in`, `joining`, `out`, `stranger`.
    Standing,
    /// Another node leads, or none.
    Leader,
    /// What this node does is another, such as `active`, `draining`, `cut`.
    Role,
    /// A node was put out and another has its blocks.
    TakenOver,
    /// A node handed blocks on to another.
    HandedOn,
    /// A node has handed on all that it held: it can be stopped.
    Drained,
    /// A node gives addresses out of blocks it had taken over.
    Opened,
    /// The addresses that a site's nodes share are on this node (`here`), or not any more (`elsewhere`).
    ServiceAddresses,
}

/// Something that happened, to a lease or to sites.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(untagged)]
pub enum FeedEvent {
    /// To a lease: `event: lease`.
    Lease(LeaseEvent),
    /// To sites: `event: site`.
    Site(SiteEvent),
}

impl FeedEvent {
    /// Its number.
    pub const fn id(&self) -> u64 {
        match self {
            Self::Lease(event) => event.id,
            Self::Site(event) => event.id,
        }
    }
}
