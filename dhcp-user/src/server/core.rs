//! Engine and learner together, still pure: frames, kernel marks and time go in, [`Work`] comes out.

use std::{collections::HashMap, net::Ipv4Addr, ops::Range};

use dhcp_common::{
    abi::LeaseEntry,
    checksum,
    frame::SliceFrame,
    request::Datagram,
    wire::{BROADCAST_MAC, PORT_CLIENT, PORT_SERVER, PROTOCOL_UDP, UDP_LEN, UNSPECIFIED},
};
use rand::{SeedableRng, rngs::SmallRng};

use super::{
    learn::{Granted, Learner},
    work::{Outgoing, Work},
};
use crate::{
    audit::{AuditEvent, End, Granter},
    config::model::{Link, VlanTags},
    engine::{Destination, Effects, Engine, Ingress, Outcome, Reply, SlowReason, kernel_grant},
    fastpath::kernel::Mark,
    lease::{
        record::{LeaseRecord, LeaseState},
        table::Leaving,
    },
    net::{
        frame::{Envelope, Tags},
        packet_socket::ReceivedFrame,
    },
    time::Timestamp,
    timeline::Timeline,
};

/// Frames that came up and never reached the engine.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct FrameCounts {
    /// All frames.
    pub received: u64,
    /// Not a whole DHCP datagram.
    pub malformed: u64,
    /// For another host: its Ethernet or IPv4 destination is not ours.
    pub other_host: u64,
    /// With a wrong UDP checksum.
    pub bad_checksum: u64,
}

/// Why a frame never reaches the engine.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unread {
    /// Not a whole DHCP datagram.
    #[error("it is not a whole DHCP datagram to port 67")]
    Malformed,
    /// For another host.
    #[error("its Ethernet or IPv4 destination is another host's")]
    OtherHost,
    /// With a wrong UDP checksum.
    #[error("its UDP checksum is wrong")]
    BadChecksum,
    /// By an interface that is not there.
    #[error("it came by an interface that is not served")]
    NoInterface,
}

/// The daemon's mind.
#[derive(Clone)]
pub struct Core {
    /// The DHCP engine.
    pub engine: Engine,
    /// What the kernel is taught.
    pub learner: Learner,
    /// Our addresses, on every interface.
    pub local: Vec<Ipv4Addr>,
    /// Frames that never reached the engine.
    pub frames: FrameCounts,
    /// Messages that wait until it is known whether an address is in use.
    pub(super) waiting: HashMap<Ipv4Addr, (usize, ReceivedFrame)>,
    messages: Vec<u64>,
    rng: SmallRng,
}

impl Core {
    /// A core over `engine`; `seed` only spreads allocation.
    pub fn new(engine: Engine, learner: Learner, local: Vec<Ipv4Addr>, seed: u64) -> Self {
        Self {
            engine,
            learner,
            local,
            frames: FrameCounts::default(),
            waiting: HashMap::new(),
            messages: vec![0; SlowReason::ALL.len()],
            rng: SmallRng::seed_from_u64(seed),
        }
    }

    /// How many messages the engine handled, by what became of them.
    pub fn messages(&self) -> impl Iterator<Item = (SlowReason, u64)> {
        SlowReason::ALL.iter().copied().zip(self.messages.iter().copied())
    }

    /// Handles a frame that came up on `interface` (index in the configuration).
    pub fn receive(
        &mut self,
        now: Timestamp,
        interface: usize,
        received: &mut ReceivedFrame,
        work: &mut Work,
    ) {
        self.frames.received += 1;
        self.consider(now, interface, received, work);
    }

    /// Handles a frame, for the first time or again.
    pub(super) fn consider(
        &mut self,
        now: Timestamp,
        interface: usize,
        received: &mut ReceivedFrame,
        work: &mut Work,
    ) {
        let Some(ours) = self.learner.interfaces.get(interface).copied() else { return };
        let (ingress, payload) = match self.read(interface, received) {
            Ok(read) => read,
            Err(unread) => {
                match unread {
                    Unread::Malformed => self.frames.malformed += 1,
                    Unread::OtherHost => self.frames.other_host += 1,
                    Unread::BadChecksum => self.frames.bad_checksum += 1,
                    Unread::NoInterface => {}
                }
                return;
            }
        };
        let frame = received.octets.as_slice();
        let Some(payload) = frame.get(payload) else { return };
        let giaddr =
            payload.get(24..28).and_then(|giaddr| <[u8; 4]>::try_from(giaddr).ok()).unwrap_or_default();
        if giaddr != UNSPECIFIED && self.engine.authority().is_some() {
            self.learner.note_relay(giaddr.into(), Link { interface, vlans: ingress.vlans });
        }
        let Outcome { reason, mut effects } = self.engine.handle(now, &mut self.rng, &ingress, payload);
        if let Some(count) =
            SlowReason::ALL.iter().position(|&r| r == reason).and_then(|i| self.messages.get_mut(i))
        {
            *count += 1;
        }
        if let Some(reply) = effects.reply.take() {
            self.learn(reason, &ingress, payload, &reply, &mut effects, work);
            if let Ok(frame) = envelope(&ours.mac, frame, &reply).wrap(&reply.payload) {
                let yiaddr = reply.payload.get(16..20).and_then(|yiaddr| <[u8; 4]>::try_from(yiaddr).ok());
                let address = yiaddr.map_or(Ipv4Addr::UNSPECIFIED, Ipv4Addr::from);
                let promises = (reason != SlowReason::Offered).then_some(address);
                work.send.push(Outgoing { interface, frame, promises });
            }
        }
        account(now, reason, &effects, work);
        self.ask(&mut effects, work);
        if let Some(address) = effects.waits_for {
            self.keep(address, interface, received);
        }
        work.take(effects);
    }

    /// Where a frame came in and where in it the message is, or why the engine is not to see it.
    ///
    /// # Errors
    /// The one reason.
    pub fn read(
        &self,
        interface: usize,
        received: &mut ReceivedFrame,
    ) -> Result<(Ingress, Range<usize>), Unread> {
        let ours = self.learner.interfaces.get(interface).ok_or(Unread::NoInterface)?;
        let len = received.octets.len();
        let datagram = SliceFrame::new(&mut received.octets, len)
            .ok_or(())
            .and_then(|f| Datagram::find(&f).map_err(drop))
            .map_err(|()| Unread::Malformed)?;
        let frame = received.octets.as_slice();
        let destination_mac = mac_at(frame, 0).ok_or(Unread::Malformed)?;
        let source_mac = mac_at(frame, 6).ok_or(Unread::Malformed)?;
        let destination = Ipv4Addr::from(datagram.destination);
        let for_us = (destination_mac == ours.mac || destination_mac == BROADCAST_MAC)
            && (destination.is_broadcast() || self.local.contains(&destination));
        if !for_us {
            return Err(Unread::OtherHost);
        }
        let payload = datagram.payload()..datagram.payload() + datagram.payload_len;
        if payload.end > frame.len() {
            return Err(Unread::Malformed);
        }
        if !received.checksum_pending && !checksum_is_right(frame, &datagram) {
            return Err(Unread::BadChecksum);
        }
        let [outer, inner] = datagram.vlans;
        let ingress = Ingress {
            interface,
            vlans: VlanTags { outer, inner },
            source_mac,
            source_ip: datagram.source.into(),
            destination_ip: destination,
            source_port: datagram.source_port,
        };
        Ok((ingress, payload))
    }

    /// Teaches the kernel the renewals of a client that was granted a lease; they become durable with the lease.
    fn learn(
        &mut self,
        reason: SlowReason,
        ingress: &Ingress,
        payload: &[u8],
        reply: &Reply,
        effects: &mut Effects,
        work: &mut Work,
    ) {
        let granted = matches!(
            reason,
            SlowReason::AckedNew
                | SlowReason::AckedReboot
                | SlowReason::AckedRenewal
                | SlowReason::AckedRebinding
                | SlowReason::AckedRecreated
        );
        let Some(lease) = effects.commit.last_mut().filter(|_| granted) else { return };
        let granted = Granted { ingress, payload, lease, server: reply.source };
        let forms = self.learner.learn(&self.engine, &granted, work);
        if let Some(record) = self.engine.set_forms(lease.address, forms) {
            *lease = record;
        }
    }

    /// Lets time pass.
    pub fn tick(&mut self, now: Timestamp, work: &mut Work) {
        let mut effects = self.engine.tick(now);
        // Time alone frees nothing but what was quarantined; a lease that ran out goes by `withdrawn`.
        let freed = effects.commit.iter().filter(|lease| lease.state == LeaseState::Free);
        work.audit.extend(freed.map(|lease| AuditEvent::QuarantineEnded { address: lease.address, at: now }));
        self.decide(now, &mut effects, work);
        work.take(effects);
        let mut ahead = self.engine.probe_ahead(now, &mut self.rng);
        self.ask(&mut ahead, work);
    }

    /// Takes note of a renewal that the kernel granted.
    pub fn renewed(&mut self, now: Timestamp, mark: &Mark, timeline: &Timeline, work: &mut Work) {
        let held = self.engine.leases().get(mark.address);
        let held = held.filter(|lease| lease.hardware.as_ethernet() == Some(mark.chaddr));
        if let Some(before) = held.map(|lease| lease.granted_at) {
            let at = timeline.timestamp(mark.renewed_boot_ns);
            work.take(self.engine.renewed_by_kernel(now, mark.address, at));
            self.account_renewal(mark.address, before, work);
        }
    }

    /// Takes note that the kernel has certainly forgotten a lease; see [`Engine::withdrawn`].
    pub fn withdrawn(&mut self, now: Timestamp, address: Ipv4Addr, last: Option<Timestamp>, work: &mut Work) {
        let leaving = self.engine.leases().leaving(address);
        let before =
            self.engine.leases().get(address).filter(|lease| lease.state == LeaseState::Bound).cloned();
        let effects = self.engine.withdrawn(now, address, last);
        let ended = effects.commit.iter().filter(|lease| lease.state != LeaseState::Bound);
        for other in ended.clone().filter(|lease| lease.address != address) {
            work.audit.push(AuditEvent::QuarantineEnded { address: other.address, at: now });
        }
        let ended = ended.map(|lease| lease.address).any(|ended| ended == address);
        work.take(effects);
        let Some(mut lease) = before else { return };
        if !ended {
            self.account_renewal(address, lease.granted_at, work);
            return;
        }
        if let Some((granted_at, expires)) = last.and_then(|last| kernel_grant(&lease, last)) {
            (lease.granted_at, lease.expires) = (granted_at, expires);
        }
        let (how, at) = match leaving {
            Some(Leaving::Returned(since)) => (End::Released, since),
            Some(Leaving::Declined) => (End::Declined, now),
            Some(Leaving::Expired) | None => (End::Expired, lease.expires),
        };
        work.audit.push(AuditEvent::Ended { lease: Box::new(lease), how, by: None, at });
    }

    /// Says so if the kernel turns out to have renewed a lease since the grant at `before`.
    fn account_renewal(&self, address: Ipv4Addr, before: Timestamp, work: &mut Work) {
        let lease = self.engine.leases().get(address).filter(|lease| lease.state == LeaseState::Bound);
        let renewed = lease.filter(|lease| lease.granted_at > before);
        work.audit.extend(renewed.map(|lease| AuditEvent::Renewed {
            address,
            by: Granter::Kernel,
            at: lease.granted_at,
            until: lease.expires,
        }));
    }

    /// The entry the kernel is to have for an address; `None` if it is to have none.
    pub fn entry(&self, address: Ipv4Addr, timeline: &Timeline) -> Option<LeaseEntry> {
        let lease = self.engine.leases().get(address)?;
        let held = lease.state == LeaseState::Bound && self.engine.leases().leaving(address).is_none();
        held.then(|| entry_of(lease, self.learner.control.generation, timeline)).flatten()
    }
}

/// Says what the audit log is to know of a message's outcome.
fn account(now: Timestamp, reason: SlowReason, effects: &Effects, work: &mut Work) {
    for lease in effects.commit.iter().filter(|lease| lease.state == LeaseState::Bound) {
        let (address, until) = (lease.address, lease.expires);
        work.audit.push(match reason {
            SlowReason::AckedRenewal | SlowReason::AckedRebinding => {
                AuditEvent::Renewed { address, by: Granter::Daemon, at: now, until }
            }
            _ => AuditEvent::Granted { lease: Box::new(lease.clone()), by: Granter::Daemon, at: now },
        });
    }
}

fn entry_of(lease: &LeaseRecord, generation: u32, timeline: &Timeline) -> Option<LeaseEntry> {
    let mut entry = LeaseEntry {
        horizon_boot_ns: timeline.boot_ns(lease.horizon),
        address: lease.address.octets(),
        chaddr: lease.hardware.as_ethernet()?,
        generation,
        ..LeaseEntry::default()
    };
    let slots = entry.fingerprints.iter_mut().zip(&mut entry.answers).zip(&mut entry.echo_sums);
    for (form, ((fingerprint, answer), echo_sum)) in lease.forms.iter().zip(slots) {
        if let Some(form) = form {
            (*fingerprint, *answer, *echo_sum) = (form.fingerprint.get(), form.answer, form.echo_sum);
        }
    }
    Some(entry)
}

fn mac_at(frame: &[u8], at: usize) -> Option<[u8; 6]> {
    frame.get(at..)?.first_chunk().copied()
}

fn checksum_is_right(frame: &[u8], datagram: &Datagram) -> bool {
    let udp_at = datagram.payload() - UDP_LEN;
    let Some(udp) = frame.get(udp_at..datagram.payload() + datagram.payload_len) else { return false };
    if udp.get(6..8) == Some(&[0, 0]) {
        return true;
    }
    let Ok(udp_len) = u16::try_from(udp.len()) else { return false };
    let [len_a, len_b] = udp_len.to_be_bytes();
    let pseudo = checksum::sum(&datagram.source) + checksum::sum(&datagram.destination);
    checksum::fold(pseudo + checksum::sum(&[0, PROTOCOL_UDP, len_a, len_b]) + checksum::sum(udp)) == u16::MAX
}

/// What goes around a reply: out of the interface and with the tags the request came with.
fn envelope(our_mac: &[u8; 6], request: &[u8], reply: &Reply) -> Envelope {
    let requester = mac_at(request, 6).unwrap_or(BROADCAST_MAC);
    let (destination_mac, destination, destination_port) = match reply.to {
        Destination::Relay { giaddr, port } => (requester, giaddr, port),
        Destination::Renewing { ciaddr, mac } => (mac, ciaddr, PORT_CLIENT),
        Destination::Client { mac, yiaddr } => (mac, yiaddr, PORT_CLIENT),
        Destination::Broadcast => (BROADCAST_MAC, Ipv4Addr::BROADCAST, PORT_CLIENT),
    };
    Envelope {
        source_mac: *our_mac,
        destination_mac,
        tags: Tags::of(request),
        source: reply.source,
        destination,
        source_port: PORT_SERVER,
        destination_port,
    }
}
