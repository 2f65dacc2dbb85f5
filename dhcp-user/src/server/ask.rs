//! The core's part in asking for addresses before they are offered: questions go out, and messages that wait for an answer
//! are kept, and handled again when there is one or there will be none.

use std::net::Ipv4Addr;

use super::{
    core::Core,
    work::{Outgoing, Work},
};
use crate::{
    audit::AuditEvent,
    engine::Effects,
    lease::record::{HardwareAddress, LeaseState},
    net::{frame::Tags, packet_socket::ReceivedFrame},
    probe::{Question, arp},
    time::Timestamp,
};

impl Core {
    /// Keeps a message until it is known whether the address for it is in use.
    pub(super) fn keep(&mut self, address: Ipv4Addr, interface: usize, frame: &ReceivedFrame) {
        let max = self.engine.config().conflict_detection.map_or(0, |settings| settings.in_flight_max);
        // No more are open; what is left of questions that a change of configuration took away must not add up.
        if self.waiting.len() >= max && !self.waiting.contains_key(&address) {
            self.waiting.clear();
        }
        self.waiting.insert(address, (interface, frame.clone()));
    }

    /// Sends the engine's questions.
    pub(super) fn ask(&mut self, effects: &mut Effects, work: &mut Work) {
        for address in std::mem::take(&mut effects.probe) {
            let config = self.engine.config();
            let subnet = config.subnets.iter().find(|subnet| subnet.prefix.contains(&address));
            let link = subnet.and_then(|subnet| subnet.link);
            let question = match link {
                None => Question::Echo(address),
                Some(link) => {
                    let Some(ours) = self.learner.interfaces.get(link.interface) else { continue };
                    let frame = arp::probe(ours.mac, Tags::new(link.vlans), address);
                    Question::Arp(Outgoing { interface: link.interface, frame, promises: None })
                }
            };
            work.ask.push(question);
        }
    }

    /// Handles the messages again that waited for what is known now.
    pub(super) fn decide(&mut self, now: Timestamp, effects: &mut Effects, work: &mut Work) {
        for address in std::mem::take(&mut effects.decided) {
            if let Some((interface, mut frame)) = self.waiting.remove(&address) {
                self.consider(now, interface, &mut frame, work);
            }
        }
    }

    /// Takes note that somebody answered for an address.
    pub fn found_in_use(&mut self, now: Timestamp, address: Ipv4Addr, mac: Option<[u8; 6]>, work: &mut Work) {
        let hardware = mac.map(HardwareAddress::ethernet);
        let conflicts = self.engine.probe_counts().conflicts;
        let mut effects = self.engine.found_in_use(now, address, hardware);
        if self.engine.probe_counts().conflicts != conflicts {
            let lease = self.engine.leases().get(address);
            let until = lease.map_or(now, |lease| lease.expires);
            let by = hardware.map_or_else(|| "somebody".to_owned(), |hardware| hardware.to_string());
            tracing::warn!(%address, by, "the address is in use by a host that holds no lease of it: nobody is given it");
            work.audit.push(AuditEvent::Conflict { address, hardware, at: now, until });
        }
        for freed in effects.commit.iter().filter(|lease| lease.state == LeaseState::Free) {
            work.audit.push(AuditEvent::QuarantineEnded { address: freed.address, at: now });
        }
        self.decide(now, &mut effects, work);
        work.take(effects);
    }
}
