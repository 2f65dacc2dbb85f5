//! Where servers are measured: a server, and a router that relays for a hundred thousand clients behind it.
//!
//! ```text
//!   server namespace                       clients' namespace
//!   s0  198.18.0.1/24  ==================  c0: router and relay 198.18.0.2, clients' side 10.64.0.1
//!   s1  (XDP: mirror)  ==================  c1: the same frames, to find the generator's ceiling
//! ```
//!
//! New leases come relayed (`giaddr` 10.64.0.1), renewals by unicast from the client through the router, as in any
//! datacenter. 198.18.0.0/15, set aside for benchmarks, is too small for the clients; 10.64.0.0/11 stays inside the
//! namespaces made here.

use std::net::Ipv4Addr;

use anyhow::Result;

use crate::{
    load::message::{Relay, Way},
    netns::NetNs,
    veth::{self, Veth, colons},
};

/// The server's address.
pub const SERVER: Ipv4Addr = Ipv4Addr::new(198, 18, 0, 1);
/// The server's interface.
pub const INTERFACE: &str = "s0";
/// The router's address at the server's side.
pub const ROUTER: Ipv4Addr = Ipv4Addr::new(198, 18, 0, 2);
/// The router's address at the clients' side.
pub const GATEWAY: Ipv4Addr = Ipv4Addr::new(10, 64, 0, 1);
/// The router's hardware address. It is not that of the interface at the clients' end: what the generator's socket has
/// seen, its kernel has no business with.
pub const ROUTER_MAC: [u8; 6] = [2, 0, 0, 0, 0, 0x0c];
/// The clients' subnet.
pub const SUBNET: &str = "10.64.0.0/11";
/// The first address of the pool.
pub const FIRST: Ipv4Addr = Ipv4Addr::new(10, 64, 1, 0);
/// Addresses that fit the subnet, nearly.
pub const POOL_MAX: u32 = 2_000_000;

/// The namespaces and cables.
#[derive(Debug)]
pub struct Ground {
    /// The server's namespace.
    pub server: NetNs,
    /// The clients' namespace.
    pub clients: NetNs,
    /// From the server to the router.
    pub cable: Veth,
    /// From a mirror to the router.
    pub mirror: Veth,
}

impl Ground {
    /// Makes them.
    ///
    /// # Errors
    ///
    /// Without root or iproute2.
    pub fn new() -> Result<Self> {
        let (server, clients) = (NetNs::new("s")?, NetNs::new("c")?);
        let cable = Veth::new(&server, INTERFACE, &clients, "c0")?;
        let mirror =
            Veth::with_macs((&server, "s1", [2, 0, 0, 0, 1, 0x0a]), (&clients, "c1", [2, 0, 0, 0, 1, 0x0b]))?;
        veth::add_address(&server, INTERFACE, SERVER, 24)?;
        // Nobody answers ARP at the clients' end: it is a generator of frames.
        server
            .ip(&format!("neigh add {ROUTER} lladdr {} dev {INTERFACE} nud permanent", colons(ROUTER_MAC)))?;
        server.ip(&format!("route add {SUBNET} via {ROUTER} dev {INTERFACE}"))?;
        Ok(Self { server, clients, cable, mirror })
    }

    /// How clients reach the server.
    pub const fn way(&self) -> Way {
        let relay = Relay { address: GATEWAY, mac: ROUTER_MAC, information: false };
        Way { server: SERVER, server_mac: self.cable.a.mac, relay: Some(relay), vlan: None }
    }

    /// How they reach the mirror.
    pub const fn way_to_mirror(&self) -> Way {
        let relay = Relay { address: GATEWAY, mac: ROUTER_MAC, information: false };
        Way { server: SERVER, server_mac: self.mirror.a.mac, relay: Some(relay), vlan: None }
    }
}

/// The address of client `number` in a preloaded pool.
pub fn address(number: u32) -> Ipv4Addr {
    Ipv4Addr::from(u32::from(FIRST) + number)
}
