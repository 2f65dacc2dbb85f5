//! The daemon's mind without sockets, store and kernel, the maps it would fill, and clients that ask it.

use std::{net::Ipv4Addr, sync::Arc};

use anyhow::{Context as _, Result, ensure};
use dhcp_common::{
    abi::{Answer, LeaseEntry},
    limit::Limits,
    request::Interface,
};
use dhcp_user::{
    config,
    engine::SlowReason,
    fastpath::layout::Layout,
    net::packet_socket::ReceivedFrame,
    server::{core::Core, work::Work},
    time::Timestamp,
    timeline::{BootId, Timeline},
};
use rand::{SeedableRng as _, rngs::SmallRng};

use super::super::{
    abi,
    request::{SERVER, SERVER_MAC},
};
use crate::{
    oracle::{host::HostMaps, mind},
    packet::Frame,
};

/// A relay agent.
const RELAY: Ipv4Addr = Ipv4Addr::new(198, 19, 0, 1);
const RELAY_MAC: [u8; 6] = [2, 0x20, 0, 0, 0, 1];
/// Circuit and remote identifier, as relays say them.
const RELAY_INFORMATION: [u8; 12] = [1, 4, 0, 7, 0, 1, 2, 4, 9, 8, 7, 6];
const ANSWERS_MAX: u32 = 64;
const WALL_NS: u64 = 1_764_000_000_000_000_000;
/// A moment of the boot clock to begin at.
pub const BOOT_NS: u64 = 1_000_000_000_000;
/// Where a frame says which address it is about.
const YIADDR: usize = 42 + 16;
/// The server's interface.
pub const INTERFACE: Interface = Interface { number: 0, mac: SERVER_MAC };

const JSON: &str = r#"{"dhcp": {
    "interfaces": [{"name": "a", "address": "198.18.0.1"}],
    "lease_secs": 3600,
    "options": [
        {"name": "domain-name-servers", "value": ["198.18.0.53", "198.18.0.54"]},
        {"name": "domain-name", "value": "example.org"}
    ],
    "subnets": [
        {"subnet": "198.18.0.0/16", "interface": "a", "options": [{"name": "routers", "value": "198.18.0.1"}],
         "pools": [{"range": "198.18.1.0-198.18.128.255"}]},
        {"subnet": "198.19.0.0/16", "options": [{"name": "routers", "value": "198.19.0.1"}],
         "pools": [{"range": "198.19.1.0-198.19.4.255"}]}
    ]}}"#;

/// How a client speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Style {
    /// As dhclient: without option 61.
    Plain,
    /// With option 61, its hardware address.
    ClientId,
    /// With option 61, through a relay agent that adds option 82.
    Relayed,
}

/// The subject.
pub struct Subject {
    /// Engine and learner.
    pub core: Core,
    /// Where the lease entries are.
    pub layout: Layout,
    /// Where the boot clock stands on the timeline.
    pub timeline: Timeline,
    /// The moment everything happens at.
    pub now: Timestamp,
    /// The maps on the host.
    pub host: HostMaps,
}

impl Subject {
    /// Without clients. Every run is the same: key and allocation have a seed, and no clock is read (`rustix` finds the
    /// kernel's clocks in a way that valgrind does not know).
    ///
    /// # Errors
    ///
    /// When the configuration is refused.
    pub fn new(boot_ns: u64) -> Result<Self> {
        let config = Arc::new(config::parse(JSON, "the gate's configuration")?);
        let mut control = mind::control(&mut SmallRng::seed_from_u64(2131), 1);
        control.authority_until_boot_ns = u64::MAX;
        let layout = Layout::new(&config);
        let learner = mind::learner(control, ANSWERS_MAX, vec![INTERFACE]);
        let (timeline, _) = Timeline::resume(None, BootId::new([7; 16]), boot_ns, WALL_NS);
        Ok(Self {
            core: mind::core(config, vec![SERVER], learner, 7),
            host: HostMaps::new(layout.clone(), ANSWERS_MAX, control, Limits::OFF),
            layout,
            now: timeline.timestamp(boot_ns),
            timeline,
        })
    }

    /// A message of a client; `kind` is option 53, `more` adds what comes after the hardware address and before 82.
    pub fn says(client: u32, style: Style, kind: u8, more: impl Fn(Frame) -> Frame) -> Frame {
        let mac = abi::mac(client);
        let [a, b, c, d, e, f] = mac;
        let frame =
            Frame::request(kind, mac).option(12, b"host-000").option(55, &[1, 28, 2, 3, 15, 6, 12, 42]);
        match style {
            Style::Plain => more(frame),
            Style::ClientId => more(frame).option(61, &[1, a, b, c, d, e, f]),
            Style::Relayed => more(frame)
                .option(61, &[1, a, b, c, d, e, f])
                .option(82, &RELAY_INFORMATION)
                .giaddr(RELAY)
                .hops(1)
                .src_mac(RELAY_MAC)
                .dst_mac(SERVER_MAC)
                .src(RELAY)
                .dst(SERVER)
                .src_port(67),
        }
    }

    /// A client's DISCOVER.
    pub fn discover(client: u32, style: Style) -> Vec<u8> {
        Self::says(client, style, 1, |frame| frame).build()
    }

    /// Its REQUEST for what it was offered.
    pub fn select(client: u32, style: Style, address: Ipv4Addr) -> Vec<u8> {
        Self::says(client, style, 3, |frame| frame.option(50, &address.octets()).option(54, &SERVER.octets()))
            .build()
    }

    /// Its renewal; a relayed client's rebinding comes by the relay.
    pub fn renewal(client: u32, style: Style, address: Ipv4Addr) -> Vec<u8> {
        let frame = Self::says(client, style, 3, |frame| frame).ciaddr(address);
        match style {
            Style::Relayed => frame.build(),
            _ => frame.src(address).dst(SERVER).dst_mac(SERVER_MAC).build(),
        }
    }

    /// Lets a client get a lease; its address.
    ///
    /// # Errors
    ///
    /// When it gets none.
    pub fn join(&mut self, client: u32, style: Style) -> Result<Ipv4Addr> {
        let mut work = Work::default();
        self.receive(&Self::discover(client, style), &mut work);
        let offered = offered(&work).with_context(|| format!("client {client} was offered nothing"))?;
        let mut work = Work::default();
        self.receive(&Self::select(client, style, offered), &mut work);
        ensure!(work.batch.leases.len() == 1, "client {client} got no lease: {:?}", self.counts());
        mind::publish(&self.core, &self.timeline, &work, &mut self.host);
        Ok(offered)
    }

    /// Lets the daemon receive a frame.
    pub fn receive(&mut self, frame: &[u8], work: &mut Work) {
        let mut received = ReceivedFrame { octets: frame.to_vec(), checksum_pending: true };
        self.core.receive(self.now, 0, &mut received, work);
    }

    /// The kernel's entry of an address.
    pub fn entry(&self, address: Ipv4Addr) -> Option<LeaseEntry> {
        self.core.entry(address, &self.timeline)
    }

    /// The answers.
    pub fn answers(&self) -> impl Iterator<Item = (u32, &Answer)> {
        self.core.learner.answers.iter()
    }

    fn counts(&self) -> Vec<(SlowReason, u64)> {
        self.core.messages().filter(|(_, count)| *count != 0).collect()
    }
}

/// The address in the last reply.
pub fn offered(work: &Work) -> Option<Ipv4Addr> {
    let octets: [u8; 4] = work.send.last()?.frame.get(YIADDR..)?.first_chunk().copied()?;
    Some(octets.into())
}
