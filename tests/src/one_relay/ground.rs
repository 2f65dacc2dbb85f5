//! Where the clients of one relay agent are:
//!
//! ```text
//!   server namespace                     clients' namespace
//!   s0  198.18.0.1/24  ================  c0: router 198.18.0.2, relay agent 198.18.2.1 at the clients' side
//! ```
//!
//! The clients' subnet is 198.18.0.0/15, served through relay agents only.

use std::net::Ipv4Addr;

use anyhow::Result;
use serde_json::{Value, json};
use xtask::xdp_pass::XdpPass;

use crate::{
    lab::{INTERFACE, SERVER, Server, set},
    load::message::{self, Way},
    netns::NetNs,
    veth::{self, Veth, colons},
};

/// The relay agent's address at the clients' side.
pub const RELAY: Ipv4Addr = Ipv4Addr::new(198, 18, 2, 1);
/// Another relay agent's, in the same machine.
pub const OTHER_RELAY: Ipv4Addr = Ipv4Addr::new(198, 18, 3, 1);
/// Room for every client there may be, and half as many more.
const POOL: &str = "198.18.64.0-198.19.191.255";
const ROUTER: Ipv4Addr = Ipv4Addr::new(198, 18, 0, 2);
/// Not that of the interface at the clients' end: what the generator's socket has seen, its kernel has no business with.
const ROUTER_MAC: [u8; 6] = [2, 0, 0, 0, 0, 0x0c];

/// The namespaces and the cable.
#[derive(Debug)]
pub struct Ground {
    /// Where the daemon runs.
    pub server: Server,
    cable: Veth,
    _pass: XdpPass,
    /// Where the relay agent is played; its interface is `c0`.
    pub clients: NetNs,
}

impl Ground {
    /// Makes them.
    ///
    /// # Errors
    ///
    /// Without root or iproute2.
    pub fn new() -> Result<Self> {
        let (server, clients) = (Server::new()?, NetNs::new("c")?);
        let cable = Veth::new(&server.ns, INTERFACE, &clients, "c0")?;
        veth::add_address(&server.ns, INTERFACE, SERVER, 24)?;
        // Nobody answers ARP at the clients' end: it is a generator of frames.
        let lladdr = colons(ROUTER_MAC);
        server.ns.ip(&format!("neigh add {ROUTER} lladdr {lladdr} dev {INTERFACE} nud permanent"))?;
        server.ns.ip(&format!("route add 198.18.0.0/15 via {ROUTER} dev {INTERFACE}"))?;
        let pass = cable.b.pass(&clients)?;
        Ok(Self { server, cable, _pass: pass, clients })
    }

    /// The daemon's configuration: everything by default but `limits`, an object, which says how they are to differ.
    pub fn config(&self, limits: Value) -> Value {
        let mut config = self.server.config();
        let subnet = json!({
            "subnet": "198.18.0.0/15",
            "pools": [{"range": POOL}],
            "options": [{"name": "routers", "value": [RELAY]}],
        });
        set(&mut config, "/dhcp/subnets", json!([subnet]));
        set(&mut config, "/dhcp/lease_secs", json!(3_600));
        set(&mut config, "/dhcp/limits", limits);
        config
    }

    /// How the clients behind the relay agent `address` reach the server.
    pub const fn way(&self, address: Ipv4Addr) -> Way {
        let relay = message::Relay { address, mac: ROUTER_MAC, information: true };
        Way { server: SERVER, server_mac: self.cable.a.mac, relay: Some(relay), vlan: None }
    }
}
