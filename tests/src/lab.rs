//! A server to test: its namespace, folder, pins and configuration; cables from it to clients; and what it says of itself.

use std::{net::Ipv4Addr, path::PathBuf, process::Command, time::Duration};

use anyhow::{Context as _, Result};
use serde_json::{Value, json};
use xtask::xdp_pass::XdpPass;

use crate::{
    daemon::{self, Daemon},
    hop::Hop,
    netns::NetNs,
    pins::Pins,
    process,
    raw::RawSocket,
    veth::{self, Veth},
    wait::wait_for,
};

/// The server's address.
pub const SERVER: Ipv4Addr = Ipv4Addr::new(198, 18, 0, 1);

/// The server's hardware address.
pub const SERVER_MAC: [u8; 6] = [2, 0, 0, 0, 0, 0x0a];

/// The server's interface.
pub const INTERFACE: &str = "s0";

/// Why the kernel passes frames that are no renewal of a lease: these counts may move while clients renew.
const NO_RENEWAL: [&str; 4] = ["not_ipv4", "not_dhcp", "not_renewal", "other_mac"];

/// Where a server is to run.
#[derive(Debug)]
pub struct Server {
    /// Its pins.
    pub pins: Pins,
    /// Its files.
    pub folder: tempfile::TempDir,
    /// Its namespace.
    pub ns: NetNs,
}

impl Server {
    /// Makes the namespace and the folder.
    ///
    /// # Errors
    ///
    /// Without root.
    pub fn new() -> Result<Self> {
        let folder = tempfile::Builder::new().prefix("dhcptest-").tempdir().context("no folder")?;
        Ok(Self { pins: Pins::new(), folder, ns: NetNs::new("s")? })
    }

    /// A configuration: `s0` with 198.18.0.1, a pool of 256 addresses from 198.18.1.0, leases of 20 s.
    pub fn config(&self) -> Value {
        json!({"dhcp": {
            "interfaces": [{"name": INTERFACE, "address": SERVER}],
            "store": {"path": self.store()},
            "control": {"socket": self.folder.path().join("control.sock")},
            "fastpath": {"pin_path": self.pins.path()},
            "lease_secs": 20,
            "subnets": [{
                "subnet": "198.18.0.0/16",
                "interface": INTERFACE,
                "pools": [{"range": "198.18.1.0-198.18.1.255"}],
                "options": [
                    {"name": "routers", "value": [SERVER]},
                    {"name": "domain-name-servers", "value": ["198.18.0.53"]},
                ],
            }],
        }})
    }

    /// The folder of its leases.
    pub fn store(&self) -> PathBuf {
        self.folder.path().join("leases")
    }

    /// Starts the daemon and waits until it answers.
    ///
    /// # Errors
    ///
    /// As [`Daemon::start`].
    pub fn start(&self, config: &Value) -> Result<Daemon> {
        Daemon::start(&self.ns, self.folder.path(), config)
    }

    /// As [`Server::start`], by another program that runs it, such as taskset with its arguments.
    ///
    /// # Errors
    ///
    /// As [`Daemon::start`].
    pub fn start_through(&self, config: &Value, through: &[&str]) -> Result<Daemon> {
        Daemon::start_through(&self.ns, self.folder.path(), config, through)
    }

    /// Runs `simple-dhcpd-datacenter unload`: the programs are detached and the pins removed, as by a reboot.
    ///
    /// # Errors
    ///
    /// When the command fails.
    pub fn unload(&self) -> Result<String> {
        let file = self.folder.path().join("dhcp.json");
        process::stdout(Command::new(daemon::binary()?).arg("--config").arg(file).arg("unload"))
    }
}

/// Sets a value deep in a configuration: `path` is a JSON pointer, of which all but the last step must be there.
///
/// # Panics
///
/// When the path leads nowhere: the test is wrong.
pub fn set(config: &mut Value, path: &str, value: Value) {
    let (parent, key) = path.rsplit_once('/').expect("a JSON pointer begins with a slash");
    let parent = config.pointer_mut(parent).and_then(Value::as_object_mut);
    parent.expect("the path is in the configuration").insert(key.to_owned(), value);
}

/// A cable straight from the server's interface to a test that speaks in frames.
#[derive(Debug)]
pub struct Cable {
    /// The client's end.
    pub socket: RawSocket,
    /// The pair.
    pub pair: Veth,
    _pass: XdpPass,
    /// The client's namespace.
    pub ns: NetNs,
}

impl Cable {
    /// Lays a cable to `s0`, which gets the server's address, from `c0` in a namespace of its own.
    ///
    /// # Errors
    ///
    /// When `s0` is there already.
    pub fn new(server: &Server) -> Result<Self> {
        let ns = NetNs::new("c")?;
        let pair = Veth::new(&server.ns, INTERFACE, &ns, "c0")?;
        veth::add_address(&server.ns, INTERFACE, SERVER, 16)?;
        let pass = pair.b.pass(&ns)?;
        let socket = RawSocket::open(&ns, "c0")?;
        Ok(Self { socket, pair, _pass: pass, ns })
    }
}

/// A cable some milliseconds long, from a server's interface to the `c0` of a real client.
#[derive(Debug)]
pub struct LongCable {
    /// What carries the frames.
    pub hop: Hop,
    _pass: XdpPass,
    _middle: NetNs,
    /// The client's namespace; its interface is `c0`.
    pub client: NetNs,
}

impl LongCable {
    /// Lays a cable to `interface`, which gets `address`. `number` makes the hardware addresses unique in the lab.
    ///
    /// # Errors
    ///
    /// When the interface is there already.
    pub fn new(server: &Server, interface: &str, address: Ipv4Addr, number: u8) -> Result<Self> {
        let (middle, client) = (NetNs::new("h")?, NetNs::new("c")?);
        let mac = |end| [2, 0, 0, 0, number, end];
        let near = Veth::with_macs((&server.ns, interface, mac(0x0a)), (&middle, "up0", mac(0x1a)))?;
        Veth::with_macs((&middle, "down0", mac(0x1b)), (&client, "c0", mac(0x0b)))?;
        veth::add_address(&server.ns, interface, address, 16)?;
        let pass = near.b.pass(&middle)?;
        let hop = Hop::start(&middle, "down0", "up0")?;
        Ok(Self { hop, _pass: pass, _middle: middle, client })
    }
}

/// The daemon's counters at one moment, as `stats --json` prints them.
#[derive(Clone, Debug, PartialEq)]
pub struct Stats(pub Value);

impl Stats {
    /// Asks for them.
    ///
    /// # Errors
    ///
    /// When the daemon does not answer.
    pub fn of(daemon: &Daemon) -> Result<Self> {
        daemon.ask(&["stats"]).map(Self)
    }

    /// Renewals answered in the kernel.
    ///
    /// # Panics
    ///
    /// When there is no fast path.
    pub fn answered(&self) -> u64 {
        self.0.pointer("/kernel/answered").and_then(Value::as_u64).expect("the daemon has a fast path")
    }

    /// Frames the kernel passed up for a reason.
    pub fn passed(&self, reason: &str) -> u64 {
        self.0.pointer(&format!("/kernel/reasons/{reason}")).and_then(Value::as_u64).unwrap_or(0)
    }

    /// Why the kernel passed up what could have been renewals, with how many.
    pub fn renewals_passed(&self) -> Vec<(String, u64)> {
        let reasons = self.0.pointer("/kernel/reasons").and_then(Value::as_object);
        reasons
            .into_iter()
            .flatten()
            .filter(|(reason, _)| !NO_RENEWAL.contains(&reason.as_str()))
            .map(|(reason, count)| (reason.clone(), count.as_u64().unwrap_or(0)))
            .collect()
    }

    /// Messages the daemon handled that ended in `what`.
    pub fn messages(&self, what: &str) -> u64 {
        self.0.pointer(&format!("/daemon/messages/{what}")).and_then(Value::as_u64).unwrap_or(0)
    }

    /// Renewals and rebindings the daemon granted.
    pub fn renewed_by_daemon(&self) -> u64 {
        ["acked_renewal", "acked_rebinding", "acked_recreated"].iter().map(|what| self.messages(what)).sum()
    }
}

/// The lease of an address, as `leases show --json` prints it.
///
/// # Errors
///
/// When there is none.
pub fn lease(daemon: &Daemon, address: Ipv4Addr) -> Result<Value> {
    daemon.ask(&["leases", "show", &address.to_string()])
}

/// Waits until the lease of an address is as `wanted` says, and returns it.
///
/// # Errors
///
/// When it is not within `deadline`; the error has the lease.
pub fn wait_lease(
    daemon: &Daemon,
    address: Ipv4Addr,
    deadline: Duration,
    what: &str,
    wanted: impl Fn(&Value) -> bool,
) -> Result<Value> {
    let mut last = Value::Null;
    wait_for(deadline, what, || {
        last = lease(daemon, address)?;
        Ok(wanted(&last).then(|| last.clone()))
    })
    .with_context(|| format!("the lease of {address} is {:#}", lease(daemon, address).unwrap_or_default()))
}
