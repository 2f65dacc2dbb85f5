//! What a running service shows of itself: the shapes of the command line's and the API's JSON.

use std::{collections::BTreeMap, net::Ipv4Addr};

use ipnet::Ipv4Net;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use xxhash_rust::xxh3::Xxh3;

use super::core::FrameCounts;
use crate::{
    audit::AuditCounts,
    config::model::{Config, Limits, Subnet},
    engine::ProbeCounts,
    lease::record::{ClientKey, LeaseRecord, LeaseState},
};

/// One lease.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct LeaseView {
    /// The address.
    #[schema(value_type = String, format = "ipv4")]
    pub address: Ipv4Addr,
    /// `bound`, `free` (remembered for its last client) or `quarantined`.
    pub state: String,
    /// The client's hardware address.
    pub hw_address: String,
    /// Option 61 in hexadecimal, if the client sends it.
    pub client_id: Option<String>,
    /// Option 12, with what is not printable escaped.
    pub hostname: Option<String>,
    /// When its time was last granted, RFC 3339.
    pub renewed_at: String,
    /// Who granted it: `kernel` or `daemon`.
    pub renewed_by: String,
    /// When the grant ends, RFC 3339.
    pub expires_at: String,
    /// Seconds until then, 0 when past.
    pub expires_in_secs: u64,
    /// No promise reaches beyond this, RFC 3339.
    pub horizon: String,
    /// Whether it is on its way out: withdrawn from the kernel, and free once no program can be using it.
    #[serde(default)]
    pub leaving: bool,
    /// Changes with what is above: the lease's ETag, to be sent back in If-Match.
    #[serde(default)]
    pub version: String,
    /// What the kernel has of it.
    pub kernel: Option<KernelView>,
}

/// What the kernel has of a lease.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct KernelView {
    /// Index in the pinned map `leases`.
    pub index: u32,
    /// Renewals the kernel granted since the daemon started; the last one before that counts too.
    pub renewals: u32,
    /// The forms of renewal it knows: `direct`, `relayed`.
    pub forms: Vec<String>,
}

/// Counters and sizes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct StatsView {
    /// The kernel program's counters; absent without a fast path.
    pub kernel: Option<KernelStats>,
    /// The daemon's.
    pub daemon: DaemonStats,
    /// Leases by state.
    pub leases: BTreeMap<String, u64>,
    /// What was asked before offers; absent if nothing is.
    pub probes: Option<ProbeStats>,
    /// The audit log's; absent if none is kept.
    pub audit: Option<AuditCounts>,
}

/// Questions whether addresses are in use.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ProbeStats {
    /// The engine's counts.
    #[serde(flatten)]
    pub engine: ProbeCounts,
    /// Questions that could not be sent; nobody answers those.
    pub send_errors: u64,
}

/// The kernel program's counters.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct KernelStats {
    /// Renewals answered.
    pub answered: u64,
    /// Frames passed up (or dropped: `limited_...`), by reason; reasons never met are left out.
    pub reasons: BTreeMap<String, u64>,
    /// The limits on what is passed up.
    pub limits: LimitsView,
    /// How the program runs on each interface: `driver` or `generic`; `unknown` if it was taken over from an
    /// earlier daemon and the kernel does not tell.
    pub interfaces: BTreeMap<String, String>,
    /// Answers the kernel holds, and the most it can.
    pub answers: u64,
    /// The most answers it can hold.
    pub answers_max: u64,
    /// Entries of the lease map.
    pub lease_slots: u64,
    /// How long the kernel may answer without hearing from the daemon, seconds (`dhcp.fastpath.authority_secs`).
    #[serde(default)]
    pub authority_secs: u64,
    /// How much of that is left, seconds.
    #[serde(default)]
    pub authority_remaining_secs: u64,
    /// Leases whose horizon was moved ahead because the kernel had renewed them.
    #[serde(default)]
    pub horizons_moved: u64,
}

/// The limits on what the kernel passes up; see `dhcp.limits` of the configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct LimitsView {
    /// Frames a second of one client, 0 for no limit.
    pub client_per_sec: u32,
    /// Frames of one client at once.
    pub client_burst: u32,
    /// Frames a second of one relay agent, 0 for no limit.
    pub relay_per_sec: u32,
    /// Frames of one relay agent at once.
    pub relay_burst: u32,
    /// Frames a second of all together, 0 for no limit.
    pub overall_per_sec: u32,
    /// Frames of all together at once.
    pub overall_burst: u32,
}

impl From<Limits> for LimitsView {
    fn from(limits: Limits) -> Self {
        let Limits { client, relay, overall } = limits;
        Self {
            client_per_sec: client.per_sec,
            client_burst: client.burst,
            relay_per_sec: relay.per_sec,
            relay_burst: relay.burst,
            overall_per_sec: overall.per_sec,
            overall_burst: overall.burst,
        }
    }
}

/// The daemon's counters.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct DaemonStats {
    /// Leases granted and renewals answered by the daemon.
    pub acks: u64,
    /// Messages handled, by what became of them; what never happened is left out.
    pub messages: BTreeMap<String, u64>,
    /// Frames that never reached the engine.
    pub frames: BTreeMap<String, u64>,
    /// Frames dropped because no more may wait.
    pub queue_drops: u64,
    /// Frames of clients that neither have nor take an address, dropped because half as many wait as may.
    pub queue_gave_way: u64,
    /// Replies that could not be sent.
    pub send_errors: u64,
    /// Replies not sent because their leases could not be made durable.
    pub store_refusals: u64,
    /// Batches made durable.
    pub commits: u64,
    /// Renewals that cannot be taught to the kernel.
    pub unpublishable: u64,
    /// Offers open.
    pub offers: u64,
    /// Offers withdrawn before their time because there was no other address to offer.
    pub offers_gave_way: u64,
    /// Addresses that came out of quarantine before their time because a quarter of their pool was declined.
    pub quarantines_cut_short: u64,
}

impl FrameCounts {
    /// The counts by name, those that are zero left out.
    pub fn by_name(&self) -> BTreeMap<String, u64> {
        let all = [
            ("received", self.received),
            ("malformed", self.malformed),
            ("other_host", self.other_host),
            ("bad_checksum", self.bad_checksum),
        ];
        all.into_iter()
            .filter(|(_, count)| *count != 0)
            .map(|(name, count)| (name.to_owned(), count))
            .collect()
    }
}

/// The name of a state.
pub const fn state_name(state: LeaseState) -> &'static str {
    match state {
        LeaseState::Bound => "bound",
        LeaseState::Free => "free",
        LeaseState::Quarantined => "quarantined",
    }
}

/// A host name as it is shown, with what is not printable escaped; `None` for none.
pub fn shown_name(octets: &[u8]) -> Option<String> {
    (!octets.is_empty()).then(|| octets.escape_ascii().to_string())
}

/// What changes whenever somebody else has a lease, its state is another, it is sent on its way out or brought back, or its time
/// was granted anew.
pub fn version(lease: &LeaseRecord, leaving: bool) -> String {
    let mut hasher = Xxh3::new();
    hasher.update(state_name(lease.state).as_bytes());
    hasher.update(&[leaving.into()]);
    hasher.update(&lease.granted_at.0.to_le_bytes());
    hasher.update(&lease.expires.0.to_le_bytes());
    hasher.update(lease.hardware.octets());
    hasher.update(&lease.hostname);
    match &lease.client {
        ClientKey::Id(octets) => hasher.update(octets),
        ClientKey::Hardware(hardware) => hasher.update(hardware.octets()),
    }
    format!("{:016x}", hasher.digest())
}

/// A subnet and how full it is.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct SubnetView {
    /// Network and prefix length.
    #[schema(value_type = String)]
    pub subnet: Ipv4Net,
    /// The interface of its directly attached clients; absent if it is served through relay agents only.
    pub interface: Option<String>,
    /// The VLAN tags of their frames, the outermost first.
    pub vlans: Vec<u16>,
    /// Its pools.
    pub pools: Vec<PoolView>,
    /// How many addresses are reserved for one client each.
    pub reservations: usize,
    /// Lease time when a client asks for none, seconds.
    pub lease_secs: u32,
}

/// How a pool has filled lately, and when it will be full at that rate.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Forecast {
    /// The time it is drawn from, seconds: at most the last hour.
    pub seen_secs: u64,
    /// How many addresses fewer are free than an hour before, at the rate of that time; negative if it empties.
    pub taken_per_hour: f64,
    /// Seconds until it is full at that rate; null if it does not fill, or not within a week.
    pub full_in_secs: Option<u64>,
}

/// A pool and how full it is.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct PoolView {
    /// First address.
    #[schema(value_type = String, format = "ipv4")]
    pub first: Ipv4Addr,
    /// Last address.
    #[schema(value_type = String, format = "ipv4")]
    pub last: Ipv4Addr,
    /// Addresses in it.
    pub size: u64,
    /// Those that a new client can have at once.
    pub free: u64,
    /// The part that is not free (bound, offered, quarantined, reserved), percent.
    pub used_percent: f64,
    /// When it will be full if it goes on as lately; absent until ten minutes have been seen.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub forecast: Option<Forecast>,
}

impl PoolView {
    /// A pool of which so many addresses are free.
    pub fn new(first: Ipv4Addr, last: Ipv4Addr, free: u64) -> Self {
        let size = u64::from(last.to_bits().saturating_sub(first.to_bits())) + 1;
        let used = size.saturating_sub(free) as f64;
        let used_percent = (used * 1_000.0 / size as f64).round() / 10.0;
        Self { first, last, size, free, used_percent, forecast: None }
    }
}

impl SubnetView {
    /// A subnet of `config` with these pools.
    pub fn new(config: &Config, subnet: &Subnet, pools: Vec<PoolView>) -> Self {
        let link = subnet.link.as_ref();
        let tags = link.map_or([0, 0], |link| [link.vlans.outer, link.vlans.inner]);
        Self {
            subnet: subnet.prefix,
            interface: link.and_then(|link| Some(config.interfaces.get(link.interface)?.name.clone())),
            vlans: tags.into_iter().filter(|tag| *tag != 0).collect(),
            pools,
            reservations: subnet.reservations.len(),
            lease_secs: subnet.policy.lease_default_secs,
        }
    }
}

impl LeaseView {
    /// A lease as it stands at `now`, perhaps on its way out; `renewed_by_kernel` tells who granted it last.
    pub fn new(
        lease: &LeaseRecord,
        leaving: bool,
        now: crate::time::Timestamp,
        renewed_by_kernel: bool,
        kernel: Option<KernelView>,
    ) -> Self {
        Self {
            address: lease.address,
            state: state_name(lease.state).to_owned(),
            hw_address: lease.hardware.to_string(),
            client_id: match &lease.client {
                ClientKey::Id(octets) if !octets.is_empty() => {
                    Some(octets.iter().map(|octet| format!("{octet:02x}")).collect())
                }
                ClientKey::Id(_) | ClientKey::Hardware(_) => None,
            },
            hostname: shown_name(&lease.hostname),
            renewed_at: lease.granted_at.to_string(),
            renewed_by: if renewed_by_kernel { "kernel" } else { "daemon" }.to_owned(),
            expires_at: lease.expires.to_string(),
            expires_in_secs: lease.expires.since(now).as_secs(),
            horizon: lease.horizon.to_string(),
            leaving,
            version: version(lease, leaving),
            kernel,
        }
    }
}
