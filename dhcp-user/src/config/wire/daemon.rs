//! `dhcp.interfaces`, `dhcp.store`, `dhcp.control`, `dhcp.audit`, `dhcp.fastpath` and `dhcp.limits`, as written: what
//! concerns this machine, not
//! the clients.

use std::{fmt, path::PathBuf};

use schemars::JsonSchema;
use serde::{
    Deserialize, Deserializer,
    de::{self, MapAccess, Visitor, value::MapAccessDeserializer},
};

use crate::config::model::KernelLog;

/// An interface served.
#[derive(Clone, Debug, JsonSchema)]
#[schemars(untagged)]
pub(in crate::config) enum InterfaceEntry {
    /// Its name, as the kernel has it.
    Name(String),
    /// More to say about it.
    Detail(Interface),
}

/// An interface served, in detail.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::config) struct Interface {
    /// Its name, as the kernel has it.
    #[schemars(length(min = 1, max = 15))]
    pub(in crate::config) name: String,
    /// The server identifier and source address on it. Default: the interface's first IPv4 address at start.
    #[serde(default)]
    #[schemars(extend("format" = "ipv4"))]
    pub(in crate::config) address: Option<String>,
    /// How the XDP program is attached: `auto` (driver mode, or generic mode with a warning where the driver has
    /// none), `driver` (or an error), `generic`, `off` (no program). Default `auto`.
    #[serde(default)]
    #[schemars(extend("enum" = ["auto", "driver", "generic", "off", null]))]
    pub(in crate::config) mode: Option<String>,
}

// By hand and not as an untagged enum, whose messages name neither the key nor the reason.
impl<'de> Deserialize<'de> for InterfaceEntry {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct EntryVisitor;

        impl<'de> Visitor<'de> for EntryVisitor {
            type Value = InterfaceEntry;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an interface name or an object with `name`")
            }

            fn visit_str<E: de::Error>(self, name: &str) -> Result<InterfaceEntry, E> {
                Ok(InterfaceEntry::Name(name.to_owned()))
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<InterfaceEntry, A::Error> {
                Interface::deserialize(MapAccessDeserializer::new(map)).map(InterfaceEntry::Detail)
            }
        }

        deserializer.deserialize_any(EntryVisitor)
    }
}

/// Where leases are kept.
#[derive(Clone, Debug, Deserialize, JsonSchema, serde::Serialize)]
#[serde(deny_unknown_fields, default)]
pub(in crate::config) struct Store {
    /// A directory owned by the daemon.
    pub(in crate::config) path: PathBuf,
}

impl Default for Store {
    fn default() -> Self {
        Self { path: "/var/lib/simple-dhcpd".into() }
    }
}

/// The local socket the command line talks to.
#[derive(Clone, Debug, Deserialize, JsonSchema, serde::Serialize)]
#[serde(deny_unknown_fields, default)]
pub(in crate::config) struct Control {
    /// Path of the Unix socket, at most 107 octets.
    pub(in crate::config) socket: PathBuf,
}

impl Default for Control {
    fn default() -> Self {
        Self { socket: "/run/simple-dhcpd/control.sock".into() }
    }
}

/// Whether an address is in use before it is offered (RFC 2131 section 4.4.1).
#[derive(Clone, Debug, Deserialize, JsonSchema, serde::Serialize)]
#[serde(deny_unknown_fields, default)]
pub(in crate::config) struct ConflictDetection {
    /// `all`: by ARP where clients are directly attached, by ICMP echo behind relay agents. `direct`: by ARP only. `off`.
    #[schemars(extend("enum" = ["all", "direct", "off"]))]
    pub(in crate::config) mode: String,
    /// How long an answer is waited for, milliseconds. Addresses are asked for ahead, so that offers rarely wait.
    #[schemars(range(min = 20, max = 5_000))]
    pub(in crate::config) wait_ms: u32,
    /// How long an address that was found in use is given to nobody, seconds.
    #[schemars(range(min = 1, max = 86_400))]
    pub(in crate::config) conflict_secs: u32,
    /// How long an address that was silent is not asked for again, seconds.
    #[schemars(range(min = 1, max = 86_400))]
    pub(in crate::config) silent_secs: u32,
    /// How many addresses are asked for at once; beyond that offers are made without asking, and counted.
    #[schemars(range(min = 2, max = 65_536))]
    pub(in crate::config) in_flight_max: u32,
}

impl Default for ConflictDetection {
    fn default() -> Self {
        Self { mode: "all".into(), wait_ms: 300, conflict_secs: 600, silent_secs: 300, in_flight_max: 256 }
    }
}

/// The audit log: who held which address when.
#[derive(Clone, Debug, Deserialize, JsonSchema, serde::Serialize)]
#[serde(deny_unknown_fields, default)]
pub(in crate::config) struct Audit {
    /// Whether it is kept.
    pub(in crate::config) enabled: bool,
    /// Its directory, owned by the daemon. Default: `audit` below `store.path`.
    pub(in crate::config) path: Option<PathBuf>,
    /// After how many MiB another file is begun.
    #[schemars(range(min = 1, max = 65_536))]
    pub(in crate::config) file_mib: u32,
    /// How many files are kept.
    #[schemars(range(min = 2, max = 100_000))]
    pub(in crate::config) files_max: u32,
    /// How many days a file is kept. Default: without end.
    #[schemars(range(min = 1, max = 36_500))]
    pub(in crate::config) days_max: Option<u32>,
    /// How often the renewals of one holding are written at most, seconds; 0 writes each that is seen.
    #[schemars(range(max = 604_800))]
    pub(in crate::config) renewals_secs: u32,
    /// Whether lines are flushed to the disk before replies leave; else a power cut may lose the last seconds' lines.
    pub(in crate::config) sync: bool,
}

impl Default for Audit {
    fn default() -> Self {
        Self {
            enabled: true,
            path: None,
            file_mib: 64,
            files_max: 16,
            days_max: None,
            renewals_secs: 3600,
            sync: false,
        }
    }
}

/// The kernel fast path.
#[derive(Clone, Debug, Deserialize, JsonSchema, serde::Serialize)]
#[serde(deny_unknown_fields, default)]
pub(in crate::config) struct FastPath {
    /// Whether XDP programs are attached at all; `false` turns every interface's `mode` to `off`.
    pub(in crate::config) enabled: bool,
    /// The directory on a BPF file system where maps, program and links are pinned.
    pub(in crate::config) pin_path: PathBuf,
    /// How long the kernel goes on answering renewals without a living daemon, seconds.
    #[schemars(range(min = 1, max = 604_800))]
    pub(in crate::config) authority_secs: u32,
    /// How far ahead of a grant a lease's horizon is put on disk, percent of the lease time, up to one decimal. At 150
    /// a client's first renewal at half its lease just fits; more saves disk writes and delays reuse of addresses.
    #[schemars(range(min = 150, max = 1000))]
    pub(in crate::config) horizon_percent: f64,
    /// How many distinct answers the kernel can hold; leases with the same answer share one.
    #[schemars(range(min = 1, max = 1_048_576))]
    pub(in crate::config) answers_max: u32,
    /// What the kernel program says into the daemon's log: `off`, `error` (what must not happen) or `debug` (each frame
    /// passed up on the DHCP port).
    pub(in crate::config) kernel_log: KernelLog,
}

impl Default for FastPath {
    fn default() -> Self {
        Self {
            enabled: true,
            pin_path: "/sys/fs/bpf/simple-dhcpd".into(),
            authority_secs: 3600,
            horizon_percent: 200.0,
            answers_max: 4096,
            kernel_log: KernelLog::Off,
        }
    }
}

/// How many frames reach the daemon at most.
#[derive(Clone, Debug, Deserialize, JsonSchema, serde::Serialize)]
#[serde(deny_unknown_fields, default)]
pub(in crate::config) struct Limits {
    /// Whether anything is limited at all.
    pub(in crate::config) enabled: bool,
    /// Frames a second of one client, by its hardware address; 0 for no limit.
    #[schemars(range(min = 0, max = 1_000_000))]
    pub(in crate::config) client_per_sec: u32,
    /// Frames one client may send at once.
    #[schemars(range(min = 1, max = 1_000_000))]
    pub(in crate::config) client_burst: u32,
    /// Frames a second of all clients behind one relay agent, by its `giaddr`; 0 for no limit.
    #[schemars(range(min = 0, max = 10_000_000))]
    pub(in crate::config) relay_per_sec: u32,
    /// Frames that may come through one relay agent at once.
    #[schemars(range(min = 1, max = 10_000_000))]
    pub(in crate::config) relay_burst: u32,
    /// Frames a second of all together; 0 for no limit. Half of it is for whoever comes first; an eighth each is kept for
    /// holders of leases, for REQUESTs, for clients that ask again, and for clients that ask for the first time.
    #[schemars(range(min = 0, max = 10_000_000))]
    pub(in crate::config) overall_per_sec: u32,
    /// Frames that may come at once, shared out in the same way.
    #[schemars(range(min = 8, max = 10_000_000))]
    pub(in crate::config) overall_burst: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            enabled: true,
            client_per_sec: 5,
            client_burst: 30,
            relay_per_sec: 50_000,
            relay_burst: 16_000,
            overall_per_sec: 100_000,
            overall_burst: 16_000,
        }
    }
}
