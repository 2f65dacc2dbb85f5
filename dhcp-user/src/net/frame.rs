//! Whole frames: what the daemon sends, octet for octet what the kernel would send.

use std::net::Ipv4Addr;

use dhcp_common::{
    checksum,
    reply::ipv4_header,
    wire::{ETHERTYPE_IPV4, ETHERTYPE_QINQ, ETHERTYPE_VLAN, IPV4_LEN, PROTOCOL_UDP, UDP_LEN},
};

use crate::config::model::VlanTags;

/// Everything around a UDP payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Envelope {
    /// Ethernet source.
    pub source_mac: [u8; 6],
    /// Ethernet destination.
    pub destination_mac: [u8; 6],
    /// VLAN tags, with the control information and the EtherTypes they are to carry.
    pub tags: Tags,
    /// IPv4 source.
    pub source: Ipv4Addr,
    /// IPv4 destination.
    pub destination: Ipv4Addr,
    /// UDP source port.
    pub source_port: u16,
    /// UDP destination port.
    pub destination_port: u16,
}

/// Up to two VLAN tags as they stand in a frame: EtherType and tag control information, outermost first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tags(pub [Option<([u8; 2], u16)>; 2]);

impl Tags {
    /// Tags for VLAN identifiers, of priority 0: 802.1Q, or 802.1ad outside 802.1Q where there are two.
    pub fn new(vlans: VlanTags) -> Self {
        match (vlans.outer, vlans.inner) {
            (0, _) => Self::default(),
            (outer, 0) => Self([Some((ETHERTYPE_VLAN, outer)), None]),
            (outer, inner) => Self([Some((ETHERTYPE_QINQ, outer)), Some((ETHERTYPE_VLAN, inner))]),
        }
    }

    /// The tags a frame carries.
    pub fn of(frame: &[u8]) -> Self {
        let mut tags = [None; 2];
        let mut at = 12;
        for tag in &mut tags {
            match frame.get(at..at + 4) {
                Some(&[t0, t1, c0, c1]) if [t0, t1] == ETHERTYPE_VLAN || [t0, t1] == ETHERTYPE_QINQ => {
                    *tag = Some(([t0, t1], u16::from_be_bytes([c0, c1])));
                    at += 4;
                }
                _ => break,
            }
        }
        Self(tags)
    }
}

impl Tags {
    /// Appends the tags to a frame that has its Ethernet addresses.
    pub fn write(&self, frame: &mut Vec<u8>) {
        for (ethertype, control) in self.0.into_iter().flatten() {
            frame.extend_from_slice(&ethertype);
            frame.extend_from_slice(&control.to_be_bytes());
        }
    }
}

/// Why a payload cannot be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a UDP payload of {0} octets does not fit an IPv4 packet")]
pub struct TooLong(usize);

impl Envelope {
    /// The frame around `payload`, not padded.
    ///
    /// # Errors
    /// If the payload does not fit an IPv4 packet.
    pub fn wrap(&self, payload: &[u8]) -> Result<Vec<u8>, TooLong> {
        let too_long = TooLong(payload.len());
        let udp_len = u16::try_from(payload.len() + UDP_LEN).map_err(|_| too_long)?;
        udp_len.checked_add(IPV4_LEN as u16).ok_or(too_long)?;
        let mut frame = Vec::with_capacity(payload.len() + 50);
        frame.extend_from_slice(&self.destination_mac);
        frame.extend_from_slice(&self.source_mac);
        self.tags.write(&mut frame);
        frame.extend_from_slice(&ETHERTYPE_IPV4);
        let (source, destination) = (self.source.octets(), self.destination.octets());
        frame.extend_from_slice(&ipv4_header(udp_len, source, destination));
        let mut udp = [0; UDP_LEN];
        udp[..2].copy_from_slice(&self.source_port.to_be_bytes());
        udp[2..4].copy_from_slice(&self.destination_port.to_be_bytes());
        udp[4..6].copy_from_slice(&udp_len.to_be_bytes());
        let [len_a, len_b] = udp_len.to_be_bytes();
        let pseudo = checksum::sum(&source) + checksum::sum(&destination);
        let sum = pseudo
            + checksum::sum(&[0, PROTOCOL_UDP, len_a, len_b])
            + checksum::sum(&udp)
            + checksum::sum(payload);
        udp[6..].copy_from_slice(&checksum::udp_field(sum));
        frame.extend_from_slice(&udp);
        frame.extend_from_slice(payload);
        Ok(frame)
    }
}
