//! Asking whether an address is in use: by ARP where it would be directly attached, by ICMP echo behind relay agents. What
//! is asked and what follows from an answer is the engine's to say.

pub mod arp;
pub mod echo;

use std::net::Ipv4Addr;

use crate::server::work::Outgoing;

/// A question to send.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Question {
    /// An ARP probe, as a frame.
    Arp(Outgoing),
    /// An ICMP echo request to this address.
    Echo(Ipv4Addr),
}
