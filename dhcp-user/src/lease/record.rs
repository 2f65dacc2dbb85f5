//! What is kept of a lease, in memory and on disk.

use std::{net::Ipv4Addr, num::NonZeroU64};

use super::octets::Octets;
use crate::time::Timestamp;

/// Who holds a lease (RFC 2131 section 4.2): option 61 if the client sends it, else its hardware address.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum ClientKey {
    /// The whole of option 61, type octet included.
    Id(Octets),
    /// `htype` and `chaddr`.
    Hardware(HardwareAddress),
}

impl ClientKey {
    /// The key no client can have (an empty identifier): what an address has that is kept for no former client.
    pub fn nobody() -> Self {
        Self::Id(Octets::default())
    }

    /// Whether this is [`nobody`](Self::nobody).
    pub fn is_nobody(&self) -> bool {
        matches!(self, Self::Id(octets) if octets.is_empty())
    }
}

/// `htype`, `hlen` and `chaddr` of a message.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct HardwareAddress {
    /// ARP hardware type; 1 is Ethernet.
    pub htype: u8,
    len: u8,
    octets: [u8; 16],
}

impl HardwareAddress {
    /// An address of at most 16 octets; `None` if it is longer.
    pub fn new(htype: u8, octets: &[u8]) -> Option<Self> {
        let mut held = [0; 16];
        held.get_mut(..octets.len())?.copy_from_slice(octets);
        Some(Self { htype, len: u8::try_from(octets.len()).ok()?, octets: held })
    }

    /// An Ethernet address.
    pub fn ethernet(mac: [u8; 6]) -> Self {
        let mut octets = [0; 16];
        octets[..6].copy_from_slice(&mac);
        Self { htype: 1, len: 6, octets }
    }

    /// The octets, without padding.
    pub fn octets(&self) -> &[u8] {
        self.octets.get(..usize::from(self.len)).unwrap_or(&[])
    }

    /// The address as an Ethernet address, if it is one.
    pub fn as_ethernet(&self) -> Option<[u8; 6]> {
        if self.htype == 1 { self.octets().try_into().ok() } else { None }
    }
}

impl std::fmt::Display for HardwareAddress {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.htype != 1 {
            write!(f, "{}/", self.htype)?;
        }
        for (i, octet) in self.octets().iter().enumerate() {
            write!(f, "{}{octet:02x}", if i == 0 { "" } else { ":" })?;
        }
        Ok(())
    }
}

impl std::fmt::Debug for HardwareAddress {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "HardwareAddress({self})")
    }
}

/// As [`Display`](std::fmt::Display) shows it; upper case and dashes are taken too.
impl std::str::FromStr for HardwareAddress {
    type Err = NoHardwareAddress;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (htype, octets) = match text.split_once('/') {
            Some((htype, octets)) => (htype.parse().map_err(|_| NoHardwareAddress)?, octets),
            None => (1, text),
        };
        let octet = |text: &str| {
            let is_octet =
                (1..=2).contains(&text.len()) && text.bytes().all(|digit| digit.is_ascii_hexdigit());
            is_octet.then(|| u8::from_str_radix(text, 16).ok()).flatten()
        };
        let octets: Option<Vec<u8>> = match octets {
            "" => Some(Vec::new()),
            octets => octets.split([':', '-']).take(17).map(octet).collect(),
        };
        octets.and_then(|octets| Self::new(htype, &octets)).ok_or(NoHardwareAddress)
    }
}

/// It is not written as a hardware address is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "a hardware address is written as 02:00:00:00:00:01, or with its type in front where that is not Ethernet: 6/02:00"
)]
pub struct NoHardwareAddress;

/// What a lease's address is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum LeaseState {
    /// Promised to its client until at most the horizon.
    Bound,
    /// Given back by its client, or run out: free for anyone, remembered for its last client.
    Free,
    /// A client found it in use (DECLINE): nobody gets it until `expires`.
    Quarantined,
}

/// One durable lease.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeaseRecord {
    /// The address; the record's key.
    pub address: Ipv4Addr,
    /// What it is doing.
    pub state: LeaseState,
    /// Its client, or its last one.
    pub client: ClientKey,
    /// That client's hardware address.
    pub hardware: HardwareAddress,
    /// Option 12 as the client last sent it, at most 255 octets, empty for none.
    pub hostname: Octets,
    /// Option 82 as the relay last sent it, empty for none.
    pub relay_information: Box<[u8]>,
    /// When time was last granted that we know of.
    pub granted_at: Timestamp,
    /// The end of the last grant that we know of.
    pub expires: Timestamp,
    /// The latest moment any client may have been promised; never before `expires` while bound.
    pub horizon: Timestamp,
    /// Where there are other nodes: the address is nobody else's until then, even where that is beyond the horizon. It is
    /// the next horizon, which no node may use before every node knows it (docs/sites.md, rule 2).
    pub kept_until: Timestamp,
    /// The kernel's knowledge of the client's renewals: direct, then relayed.
    pub forms: [Option<KnownForm>; 2],
}

impl LeaseRecord {
    /// Until when the address may be nobody else's, whatever is known of its client.
    pub fn reach(&self) -> Timestamp {
        self.horizon.max(self.kept_until)
    }
}

/// A renewal the kernel can answer: how it recognises it, and with which answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct KnownForm {
    /// The keyed fingerprint of the request; 0 is none's.
    pub fingerprint: NonZeroU64,
    /// Index of the answer in the answer table.
    pub answer: u32,
    /// The checksum share of the options the answer repeats from the request.
    pub echo_sum: u16,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hardware_addresses_are_read_as_they_are_shown() {
        for address in [
            HardwareAddress::ethernet([2, 0, 0, 0xab, 0, 1]),
            HardwareAddress::new(6, &[1, 2, 3, 4, 5, 6, 7, 8]).unwrap(),
            HardwareAddress::new(1, &[]).unwrap(),
            HardwareAddress::new(32, &[9; 16]).unwrap(),
        ] {
            assert_eq!(address.to_string().parse(), Ok(address));
        }
        assert_eq!("02-00-00-AB-00-01".parse(), Ok(HardwareAddress::ethernet([2, 0, 0, 0xab, 0, 1])));
        for wrong in
            ["x", "02:00:", "02:+1", "300/02", "02:00:00:00:00:00:00:00:00:00:00:00:00:00:00:00:00", "02:000"]
        {
            assert_eq!(wrong.parse::<HardwareAddress>(), Err(NoHardwareAddress), "{wrong}");
        }
    }
}
