//! What goes into the engine and what comes out of it: the outside world carries effects out, in their order, and
//! nothing here carries out anything.

use std::net::Ipv4Addr;

use super::reason::SlowReason;
use crate::{config::model::VlanTags, lease::record::LeaseRecord};

/// Where a message came in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ingress {
    /// Index of the interface in the configuration.
    pub interface: usize,
    /// The frame's VLAN tags.
    pub vlans: VlanTags,
    /// The frame's source address.
    pub source_mac: [u8; 6],
    /// The packet's source address.
    pub source_ip: Ipv4Addr,
    /// The packet's destination: one of ours for a renewal, broadcast else.
    pub destination_ip: Ipv4Addr,
    /// The datagram's source port.
    pub source_port: u16,
}

/// What became of one message and what must be done about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// The one reason to count.
    pub reason: SlowReason,
    /// What to do.
    pub effects: Effects,
}

/// What must be done. The order is the law: `commit` on stable storage, then `publish` and `withdraw`, then `reply`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[must_use]
pub struct Effects {
    /// Records to be made durable before anything else; of several of one address the last counts.
    pub commit: Vec<LeaseRecord>,
    /// Bound leases the kernel may know or know anew, within their committed horizons.
    pub publish: Vec<Ipv4Addr>,
    /// Leases the kernel must forget. When it certainly has, call [`Engine::withdrawn`](super::Engine::withdrawn).
    pub withdraw: Vec<Ipv4Addr>,
    /// Those of them whose client has another address by what is to be committed. If that does not become durable, the client
    /// keeps what it has: do not withdraw them, and call [`Engine::not_replaced`](super::Engine::not_replaced).
    pub replaced: Vec<Ipv4Addr>,
    /// Addresses to ask for, whether anybody uses them: see [`Engine::found_in_use`](super::Engine::found_in_use).
    pub probe: Vec<Ipv4Addr>,
    /// The message is to be kept, and handled again when this address is `decided`.
    pub waits_for: Option<Ipv4Addr>,
    /// Addresses of which it is known now whether they are in use: messages that wait for them are handled again.
    pub decided: Vec<Ipv4Addr>,
    /// Leases that were given back, of which the other nodes must know before they end: see
    /// [`Engine::return_known`](super::Engine::return_known).
    pub returned: Vec<Ipv4Addr>,
    /// What to send.
    pub reply: Option<Reply>,
}

impl Effects {
    /// Whether there is nothing to do.
    pub fn is_empty(&self) -> bool {
        self.commit.is_empty()
            && self.publish.is_empty()
            && self.withdraw.is_empty()
            && self.probe.is_empty()
            && self.decided.is_empty()
            && self.returned.is_empty()
            && self.reply.is_none()
    }
}

/// A message to send.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reply {
    /// The UDP payload.
    pub payload: Vec<u8>,
    /// The IP source address; the UDP source port is 67.
    pub source: Ipv4Addr,
    /// Where to.
    pub to: Destination,
    /// What had to be left out for want of room, to be counted.
    pub omitted: Omitted,
}

/// Where a reply goes (RFC 2131 section 4.1), always out of the interface and VLAN the message came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Destination {
    /// To the relay agent.
    Relay {
        /// Its address.
        giaddr: Ipv4Addr,
        /// 67, or the port the relay sent from if it asked for that (RFC 8357).
        port: u16,
    },
    /// To a client that has its address, port 68.
    Renewing {
        /// The client's address.
        ciaddr: Ipv4Addr,
        /// The source of its frame: the client, or the router between us.
        mac: [u8; 6],
    },
    /// To a client that has no address yet, port 68, without ARP.
    Client {
        /// Its hardware address.
        mac: [u8; 6],
        /// The address it is given.
        yiaddr: Ipv4Addr,
    },
    /// To 255.255.255.255, port 68.
    Broadcast,
}

/// What did not fit into a reply.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Omitted {
    /// How many configured options.
    pub options: u16,
    /// Whether the relay agent information (RFC 3046 section 2.2).
    pub relay_information: bool,
}
