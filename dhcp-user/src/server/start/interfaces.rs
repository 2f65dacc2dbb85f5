//! What a start needs of the interfaces: their facts, their sockets, and where programs go.

use std::{net::Ipv4Addr, os::fd::OwnedFd, sync::Arc};

use dhcp_common::request::Interface;

use super::StartError;
use crate::{
    config::model::{AttachMode, Config, SharedAddress},
    fastpath::kernel::Port,
    net::{
        interface::{InterfaceError, InterfaceFacts},
        packet_socket::{PacketSocket, reserve_port},
    },
    probe::echo::EchoSocket,
    server::shared_address::Place,
};

/// Every configured interface, and our address on each.
pub(in crate::server) fn look_up(
    config: &Config,
) -> Result<(Vec<InterfaceFacts>, Vec<Ipv4Addr>), StartError> {
    let mut all = Vec::with_capacity(config.interfaces.len());
    let mut servers = Vec::with_capacity(config.interfaces.len());
    for interface in &config.interfaces {
        let mut facts = InterfaceFacts::of(&interface.name)?;
        // Whether it is here at the moment makes no difference.
        let shared = config.shared_addresses().filter(|shared| shared.interface == servers.len());
        shared.for_each(|shared| facts.addresses.retain(|address| *address != shared.address));
        let server = interface
            .address
            .or_else(|| facts.addresses.first().copied())
            .ok_or_else(|| InterfaceError::NoAddress { name: interface.name.clone() })?;
        if !facts.addresses.contains(&server) {
            facts.addresses.push(server);
        }
        for &address in &facts.addresses {
            let pools = config.subnets.iter().flat_map(|subnet| &subnet.pools);
            if pools.into_iter().any(|pool| (pool.first..=pool.last).contains(&address)) {
                return Err(StartError::AddressInPool { interface: interface.name.clone(), address });
            }
        }
        servers.push(server);
        all.push(facts);
    }
    Ok((all, servers))
}

/// Packet sockets, and UDP port 67, on every interface.
pub(super) fn open_sockets(
    facts: &[InterfaceFacts],
) -> Result<(Vec<Arc<PacketSocket>>, Vec<OwnedFd>), StartError> {
    let mut sockets = Vec::with_capacity(facts.len());
    let mut ports = Vec::with_capacity(facts.len());
    for facts in facts {
        let refused = |what| {
            let interface = facts.name.clone();
            move |error: std::io::Error| match error.kind() {
                std::io::ErrorKind::AddrInUse => StartError::PortTaken { interface },
                _ => StartError::Socket { what, interface, error },
            }
        };
        ports.push(reserve_port(&facts.name).map_err(refused("UDP port 67"))?);
        sockets.push(Arc::new(PacketSocket::open(facts.ifindex).map_err(refused("packet socket"))?));
    }
    Ok((sockets, ports))
}

/// The addresses this node shares with others, and where.
pub(super) fn shared_addresses(
    config: &Config,
    facts: &[InterfaceFacts],
    sockets: &[Arc<PacketSocket>],
) -> Vec<Place> {
    let place = |shared: &SharedAddress| {
        let (facts, socket) = (facts.get(shared.interface)?, sockets.get(shared.interface)?);
        Some(Place {
            address: shared.address,
            interface: facts.name.clone(),
            ifindex: facts.ifindex,
            mac: facts.mac,
            socket: Arc::clone(socket),
        })
    };
    config.shared_addresses().filter_map(place).collect()
}

/// What answers to probes come in by.
#[derive(Default)]
pub(super) struct Probing {
    pub arp: Vec<Arc<PacketSocket>>,
    pub echo: Option<Arc<EchoSocket>>,
}

/// Sockets for answers to probes, as far as `config` has addresses asked for.
pub(super) fn open_probing(config: &Config, facts: &[InterfaceFacts]) -> Result<Probing, StartError> {
    let Some(settings) = config.conflict_detection else { return Ok(Probing::default()) };
    let mut probing = Probing::default();
    let refused = |what, interface: &str| {
        let interface = interface.to_owned();
        move |error| StartError::Socket { what, interface, error }
    };
    for facts in facts {
        let socket = PacketSocket::open_for_arp(facts.ifindex).map_err(refused("ARP socket", &facts.name))?;
        probing.arp.push(Arc::new(socket));
    }
    // Whether there are such subnets or not: the next configuration may have some, and no socket can be opened then.
    if settings.relayed {
        // Any number that is not the same on every machine: answers to others' questions pass us by.
        let id = u16::try_from(std::process::id() & 0xffff).unwrap_or_default();
        probing.echo = Some(Arc::new(EchoSocket::open(id).map_err(refused("ICMP socket", "any interface"))?));
    }
    Ok(probing)
}

/// The interfaces as the fast path numbers them.
pub(in crate::server) fn numbered(facts: &[InterfaceFacts]) -> Vec<Interface> {
    (0..).zip(facts).map(|(number, facts)| Interface { number, mac: facts.mac }).collect()
}

/// Where programs are to be attached.
pub(in crate::server) fn ports(
    config: &Config,
    facts: &[InterfaceFacts],
    interfaces: &[Interface],
) -> Vec<Port> {
    let all = config.interfaces.iter().zip(facts).zip(interfaces);
    all.filter(|((configured, _), _)| configured.mode != AttachMode::Off)
        .map(|((configured, facts), &interface)| Port {
            name: facts.name.clone(),
            ifindex: facts.ifindex,
            interface,
            mode: configured.mode,
        })
        .collect()
}
