//! The validated configuration: what the rest of the daemon works with. Every value here has been checked; every
//! inherited setting (global, subnet, pool, host) has been resolved, so nobody downstream asks "is it set, and where?".

mod sites;

use std::{
    collections::BTreeMap,
    net::{Ipv4Addr, SocketAddr},
    path::PathBuf,
    sync::Arc,
};

use ipnet::Ipv4Net;

pub use self::sites::{
    Allocation, Bandwidth, Failover, MultiSite, SharedAddress, Site, SiteLink, Strategy, SyncMode,
    Synchronization,
};
use super::made::{LeftOut, Made};
use crate::time::Span;

/// The whole configuration of one node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// Interfaces served, in the order of the file; other parts refer to one by its index here.
    pub interfaces: Vec<Interface>,
    /// Subnets, none overlapping another, sorted by network address.
    pub subnets: Vec<Subnet>,
    /// Whether to NAK an INIT-REBOOT or REBINDING client whose address is wrong for its link though we hold no binding.
    pub authoritative: bool,
    /// Where leases are kept.
    pub store: Store,
    /// The local socket the command line talks to.
    pub control: Control,
    /// The management API.
    pub api: Api,
    /// The kernel fast path.
    pub fastpath: FastPath,
    /// Whether addresses are asked for before they are offered; `None` if not.
    pub conflict_detection: Option<ConflictDetection>,
    /// The audit log; `None` if none is kept.
    pub audit: Option<Audit>,
    /// How much reaches the daemon at most.
    pub limits: Limits,
    /// The guide's multi-site keys, if present.
    pub multi_site: Option<MultiSite>,
    /// Reservations made by the API that do not fit the file and are not in force, by address.
    pub left_out: Vec<LeftOut>,
}

impl Config {
    /// The addresses this node shares with the others of its site.
    pub fn shared_addresses(&self) -> impl Iterator<Item = &SharedAddress> {
        self.multi_site.iter().flat_map(|section| &section.shared)
    }
}

/// One network interface.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Interface {
    /// Its name, as the kernel has it.
    pub name: String,
    /// The server identifier and source address on it; `None`: the interface's first IPv4 address, found at start.
    pub address: Option<Ipv4Addr>,
    /// How XDP is attached.
    pub mode: AttachMode,
}

/// How the XDP program is attached to an interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AttachMode {
    /// Driver mode, or generic mode with a warning where the driver has none.
    Auto,
    /// Driver mode or an error.
    Driver,
    /// Generic mode.
    Generic,
    /// No program: userspace answers everything.
    Off,
}

/// VLAN identifiers on the wire from the outermost in: none, one (802.1Q) or two (QinQ). Zero means absent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct VlanTags {
    /// The outer VLAN identifier (1 to 4094), 0 without a tag.
    pub outer: u16,
    /// The inner VLAN identifier (1 to 4094), 0 without a second tag.
    pub inner: u16,
}

/// A subnet: one link's worth of addresses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subnet {
    /// Network and prefix length, host bits zero.
    pub prefix: Ipv4Net,
    /// Where clients are directly attached: the interface's index in [`Config::interfaces`] and the VLAN tags.
    /// `None` for a subnet reached through relay agents only.
    pub link: Option<Link>,
    /// Relay addresses (giaddr or link selection) that select this subnet beside those inside `prefix`.
    pub relays: Vec<Ipv4Addr>,
    /// Pools, none overlapping another, sorted by first address.
    pub pools: Vec<Pool>,
    /// Reservations, sorted by address; an address may lie inside a pool (it is then never given to another client) or outside of all.
    pub reservations: Vec<Reservation>,
    /// The settings for a client that is given an address outside of every pool without a reservation of its own
    /// (an INFORM), and the base that pools and hosts override.
    pub policy: Arc<Policy>,
}

/// Where a subnet's directly attached clients are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Link {
    /// Index into [`Config::interfaces`].
    pub interface: usize,
    /// The tags its frames carry.
    pub vlans: VlanTags,
}

/// A range of addresses given to clients.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pool {
    /// First address, inside the subnet and not its network address (which a /31 or /32 does not have, RFC 3021).
    pub first: Ipv4Addr,
    /// Last address, not before `first` and not the broadcast address.
    pub last: Ipv4Addr,
    /// Settings for its clients.
    pub policy: Arc<Policy>,
}

/// An address kept for one client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reservation {
    /// The address, inside the subnet.
    pub address: Ipv4Addr,
    /// Whose it is.
    pub identity: HostIdentity,
    /// Host name sent in option 12 and shown in listings.
    pub hostname: Option<String>,
    /// Settings for this client.
    pub policy: Arc<Policy>,
    /// As it was made by the API; `None` if it is in the configuration file.
    pub made: Option<Made>,
}

/// What identifies a reservation's client.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum HostIdentity {
    /// An Ethernet hardware address.
    Hardware([u8; 6]),
    /// The whole of option 61, type octet included, 1 to 255 octets.
    ClientId(Vec<u8>),
    /// Sub-option 1 of the relay agent information (RFC 3046), 1 to 255 octets.
    CircuitId(Vec<u8>),
}

/// Everything that shapes a reply, resolved through all levels of inheritance.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Policy {
    /// Lease time when the client asks for none, seconds.
    pub lease_default_secs: u32,
    /// The shortest a client can ask for, seconds; never above the default.
    pub lease_min_secs: u32,
    /// The longest a client can ask for, seconds; never below the default.
    pub lease_max_secs: u32,
    /// T1 as thousandths of the lease time, 1 to 998.
    pub t1_permille: u16,
    /// T2 as thousandths of the lease time, above T1, below 1000.
    pub t2_permille: u16,
    /// Answer a DISCOVER that carries option 80 with an ACK at once (RFC 4039); on unless configured otherwise. Off
    /// where several servers share a link without sharing their leases, for each would bind an address.
    pub rapid_commit: bool,
    /// The `siaddr` field; unspecified (0.0.0.0) when not configured.
    pub next_server: Ipv4Addr,
    /// The `sname` field, at most 63 octets, empty when not configured.
    pub server_name: Vec<u8>,
    /// The `file` field, at most 127 octets, empty when not configured.
    pub boot_file: Vec<u8>,
    /// Options by code, encoded as they go on the wire, each 0 to 1024 octets (long ones are split by RFC 3396).
    /// Never holds 0, 50-55, 57-59, 61, 82 or 255, which are the protocol's own. Holds 1 (subnet mask) always.
    pub options: BTreeMap<u8, OptionValue>,
}

/// A configured option's value.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct OptionValue {
    /// The encoded value.
    pub bytes: Vec<u8>,
    /// Send it even to a client whose parameter request list does not name it.
    pub always: bool,
}

/// Where leases are kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Store {
    /// A directory owned by the daemon.
    pub path: PathBuf,
}

/// The local control socket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Control {
    /// Path of the Unix socket.
    pub socket: PathBuf,
}

/// The management API.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Api {
    /// Whether it is served over the network; the local socket serves it anyway.
    pub enabled: bool,
    /// Where.
    pub listen: SocketAddr,
    /// HTTPS; if not, `listen` is a loopback address.
    pub tls: bool,
    /// Certificate chain and private key, PEM files; `None` for one that signs itself.
    pub certificate: Option<(PathBuf, PathBuf)>,
    /// Certificates that sign clients' certificates, a PEM file.
    pub client_ca: Option<PathBuf>,
    /// What clients with a certificate may do, names distinct.
    pub clients: Vec<ApiClient>,
    /// A directory for certificate, key, tokens and the record of changes.
    pub state_path: PathBuf,
    /// A listener of its own for metrics and health, without TLS and tokens.
    pub metrics_listen: Option<SocketAddr>,
    /// Requests one address may make in a second, in the long run.
    pub requests_per_sec: u32,
}

impl Default for Api {
    fn default() -> Self {
        Self {
            enabled: true,
            listen: SocketAddr::from(([0, 0, 0, 0], 8081)),
            tls: true,
            certificate: None,
            client_ca: None,
            clients: Vec::new(),
            state_path: "/var/lib/simple-dhcpd/api".into(),
            metrics_listen: None,
            requests_per_sec: 1_000,
        }
    }
}

/// Who a client with a certificate is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ApiClient {
    /// The common name of the certificate's subject.
    pub name: String,
    /// What it may do.
    pub role: ApiRole,
    /// The only subnets whose leases it may see and change; empty for all.
    pub subnets: Vec<Ipv4Net>,
}

/// What somebody may do by the API; each may do what those before it may.
#[derive(
    Clone,
    Copy,
    Debug,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    serde::Deserialize,
    serde::Serialize,
    schemars::JsonSchema,
    utoipa::ToSchema,
    clap::ValueEnum,
)]
#[serde(rename_all = "lowercase")]
pub enum ApiRole {
    /// Look.
    Viewer,
    /// Release, extend and reserve.
    Operator,
    /// Everything: tokens and the record of changes too.
    Admin,
}

impl ApiRole {
    /// Its name in tokens, configuration and messages.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Viewer => "viewer",
            Self::Operator => "operator",
            Self::Admin => "admin",
        }
    }
}

/// Asking whether an address is in use before it is offered (RFC 2131 section 4.4.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConflictDetection {
    /// Also (by ICMP echo) in subnets that are reached through relay agents; ARP serves the others.
    pub relayed: bool,
    /// How long an answer is waited for.
    pub wait: Span,
    /// How long an address in use is given to nobody.
    pub conflict: Span,
    /// How long an address that was silent is not asked for again.
    pub silent: Span,
    /// Questions open at once; beyond them offers are made without.
    pub in_flight_max: usize,
}

/// The audit log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Audit {
    /// Its directory.
    pub path: PathBuf,
    /// Octets after which another file is begun.
    pub file_octets: u64,
    /// How many files are kept.
    pub files_max: u32,
    /// How long a file is kept, days; `None` without end.
    pub days_max: Option<u32>,
    /// How often renewals of one holding are written at most, seconds; 0: each that is seen.
    pub renewals_secs: u32,
    /// Flush to the disk with every batch of grants.
    pub sync: bool,
}

/// The kernel fast path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FastPath {
    /// Directory on a bpffs where maps, program and links are pinned.
    pub pin_path: PathBuf,
    /// How long the pinned program goes on answering without a living daemon, seconds.
    pub authority_secs: u32,
    /// How far ahead of a grant the horizon is put, as thousandths of the lease time, 1500 or more: a client renews
    /// at half its lease and is then promised a whole one.
    pub horizon_permille: u32,
    /// How many distinct answers the kernel can hold.
    pub answers_max: u32,
    /// What the kernel program says into the daemon's log.
    pub kernel_log: KernelLog,
}

/// How many frames the kernel passes up at most; what is beyond is dropped and counted.
/// By default there are no limits; the configuration file's defaults are others.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Limits {
    /// Of one client, by its hardware address.
    pub client: FrameRate,
    /// Of one relay agent, by its `giaddr`.
    pub relay: FrameRate,
    /// Of all together.
    pub overall: FrameRate,
}

/// A rate of frames.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FrameRate {
    /// Frames a second; 0 for no limit.
    pub per_sec: u32,
    /// Frames at once after a time of silence.
    pub burst: u32,
}

impl Limits {
    /// As the kernel's programs are told.
    pub const fn for_kernel(&self) -> dhcp_common::limit::Limits {
        let Self { client, relay, overall } = self;
        dhcp_common::limit::Limits::new(
            (client.per_sec, client.burst),
            (relay.per_sec, relay.burst),
            (overall.per_sec, overall.burst),
        )
    }
}

/// What the kernel program says into the daemon's log. What is off is not even in the program: the verifier removes it.
#[derive(
    Clone,
    Copy,
    Debug,
    Default,
    PartialEq,
    Eq,
    Hash,
    serde::Deserialize,
    serde::Serialize,
    schemars::JsonSchema,
)]
#[serde(rename_all = "lowercase")]
pub enum KernelLog {
    /// Nothing; the counters tell.
    #[default]
    Off,
    /// Failures that must not happen.
    Error,
    /// Each frame on the DHCP port that is passed up, too, with its reason's number: for looking into one client's
    /// renewals, not for a busy node.
    Debug,
}
