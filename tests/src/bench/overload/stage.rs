//! A real daemon in a namespace, a cable to another, and clients with leases whose renewals the kernel answers.

use std::{net::Ipv4Addr, path::Path, time::Duration};

use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};

use super::mixture::Mixture;
use crate::{
    bench::{abi, request::Request},
    daemon::Daemon,
    lab::{INTERFACE, SERVER, Server, Stats, set},
    netns::NetNs,
    packet::Frame,
    parse::Message,
    raw::RawSocket,
    veth::{self, Veth},
};

/// Clients that renew: a power of two, and few enough that their pool is filled from its first address on.
pub const RENEWING: u32 = 512;
/// The first one's address.
const FIRST: Ipv4Addr = Ipv4Addr::new(198, 18, 8, 0);
const REPLY: Duration = Duration::from_secs(3);

/// Everything that stays while daemons come and go.
#[derive(Debug)]
pub struct Stage {
    /// The client's end of the cable, and the interface's index.
    pub cable: Veth,
    /// The client's namespace.
    pub client: NetNs,
    /// Where the daemon runs.
    pub server: Server,
}

impl Stage {
    /// Namespaces and a cable.
    ///
    /// # Errors
    ///
    /// Without root.
    pub fn new() -> Result<Self> {
        let (server, client) = (Server::new()?, NetNs::new("c")?);
        let cable = Veth::new(&server.ns, INTERFACE, &client, "c0")?;
        veth::add_address(&server.ns, INTERFACE, SERVER, 16)?;
        Ok(Self { cable, client, server })
    }

    /// A configuration with these limits; an object.
    pub fn config(&self, limits: Value) -> Value {
        let mut config = self.server.config();
        set(&mut config, "/dhcp/lease_secs", json!(3_600));
        let pools = json!([{"range": "198.18.8.0-198.18.9.255"}, {"range": "198.18.32.0-198.18.63.255"}]);
        set(&mut config, "/dhcp/subnets/0/pools", pools);
        set(&mut config, "/dhcp/limits", limits);
        config
    }

    /// Gives every client its lease and has each renew once, so that the kernel knows how they do.
    ///
    /// # Errors
    ///
    /// When one does not get the address it is to have, or the kernel does not answer it in the end.
    pub fn teach(&self, daemon: &Daemon) -> Result<()> {
        let _pass = self.cable.b.pass(&self.client)?;
        let socket = RawSocket::open(&self.client, "c0")?;
        let renewal = Request::dhclient()?.without_checksum();
        let ask = |frame: &[u8], kind: u8, mac: [u8; 6]| -> Result<Message> {
            socket.send(frame)?;
            let ours = |frame: &[u8]| {
                Message::parse(frame)
                    .ok()
                    .filter(|m| m.op == 2 && m.chaddr.starts_with(&mac) && m.kind() == kind)
            };
            socket.receive_where(REPLY, ours)?.with_context(|| format!("no reply of type {kind} to {mac:x?}"))
        };
        for number in 0..RENEWING {
            let mac = abi::mac(number);
            let offer = ask(&Frame::request(1, mac).build(), 2, mac)?;
            let address = Ipv4Addr::from(u32::from(FIRST) + number);
            ensure!(offer.yiaddr == address, "client {number} is offered {}, not {address}", offer.yiaddr);
            let request = Frame::request(3, mac).option(50, &address.octets()).option(54, &SERVER.octets());
            ask(&request.build(), 5, mac)?;
            // The first renewal is the daemon's, for it is another than it could foresee; the second the kernel's.
            ask(&renewal.of(number, address), 5, mac)?;
        }
        let before = Stats::of(daemon)?.answered();
        for number in 0..RENEWING {
            ask(&renewal.of(number, Ipv4Addr::from(u32::from(FIRST) + number)), 5, abi::mac(number))?;
        }
        let answered = Stats::of(daemon)?.answered() - before;
        ensure!(answered == u64::from(RENEWING), "the kernel answers {answered} of {RENEWING} renewals");
        Ok(())
    }

    /// The traffic's programs, attached to the client's end; detached when dropped.
    ///
    /// # Errors
    ///
    /// When the object at `path` is missing or the kernel refuses it.
    pub fn mixture(&self, path: &Path) -> Result<Mixture> {
        Mixture::attach(path, &self.client, &self.cable.b, FIRST, RENEWING)
    }
}
