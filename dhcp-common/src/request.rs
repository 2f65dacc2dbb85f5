//! A frame is a BOOTP request for us, or there is one reason why it is not.

use crate::{
    abi::Form,
    fingerprint::halves,
    frame::Frame,
    lease_cell::CHADDR_MASK,
    reason::Reason,
    wire::{
        BOOTP_OPTIONS, BOOTREQUEST, BROADCAST, BROADCAST_MAC, COOKIE, ETHERNET_LEN, ETHERTYPE_IPV4,
        ETHERTYPE_QINQ, ETHERTYPE_VLAN, HEADERS_LEN, HLEN_ETHERNET, HOPS_MAX, HTYPE_ETHERNET, IPV4_LEN,
        IPV4_UDP_LEN, NAMES_LEN, PORT_SERVER, PROTOCOL_UDP, UDP_LEN, UNSPECIFIED, VLAN_LEN,
    },
};

/// What the program knows of the interface it runs on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Interface {
    /// Its number among those the daemon serves.
    pub number: u32,
    /// Its Ethernet address.
    pub mac: [u8; 6],
}

impl Interface {
    /// The Ethernet address and two zeros as a little-endian word: what the program is told.
    #[inline(always)]
    pub const fn mac_word(&self) -> u64 {
        mac_word(self.mac)
    }
}

/// Where a UDP datagram to the DHCP server port lies in its frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Datagram {
    /// Start of the IPv4 header, octets from the start of the frame: 14, 18 or 22.
    pub ipv4: usize,
    /// Octets of UDP payload, at most what the frame holds.
    pub payload_len: usize,
    /// Outer and inner VLAN identifier, 0 where there is no tag.
    pub vlans: [u16; 2],
    /// IPv4 source.
    pub source: [u8; 4],
    /// IPv4 destination.
    pub destination: [u8; 4],
    /// UDP source port.
    pub source_port: u16,
}

impl Datagram {
    /// Finds a datagram for the DHCP server port.
    ///
    /// # Errors
    /// The reason why the frame carries none.
    #[inline(always)]
    pub fn find<F: Frame>(frame: &F) -> Result<Self, Reason> {
        let (ipv4, [outer, inner]) = Self::skip_tags(frame)?;
        // From here on the verifier need not tell frames with and without tags apart.
        let ipv4 = frame.forget(ipv4) & 31;
        let vlans = [
            (frame.forget(usize::from(outer)) & 0xfff) as u16,
            (frame.forget(usize::from(inner)) & 0xfff) as u16,
        ];
        let headers = frame.bytes::<IPV4_UDP_LEN>(ipv4).ok_or(Reason::Truncated)?;
        // One comparison for what is the same in every renewal.
        let other = (u64::from_le_bytes(part(headers, 0)) & IPV4_MASK ^ IPV4_EXPECTED)
            | u64::from(headers[9] ^ PROTOCOL_UDP)
            | u64::from(u16::from_be_bytes(part(headers, 22)) ^ PORT_SERVER);
        if other != 0 {
            return Err(no_datagram(headers));
        }
        let ipv4_len = usize::from(u16::from_be_bytes(part(headers, 2)));
        let udp_len = usize::from(u16::from_be_bytes(part(headers, 24)));
        if udp_len < UDP_LEN || IPV4_LEN + udp_len > ipv4_len || ipv4 + ipv4_len > frame.len() {
            return Err(Reason::Truncated);
        }
        Ok(Self {
            ipv4,
            payload_len: udp_len - UDP_LEN,
            vlans,
            source: part(headers, 12),
            destination: part(headers, 16),
            source_port: u16::from_be_bytes(part(headers, 20)),
        })
    }

    /// Start of the UDP payload, octets from the start of the frame.
    #[inline(always)]
    pub const fn payload(&self) -> usize {
        self.ipv4 + IPV4_UDP_LEN
    }

    /// Start of the IPv4 header, and the VLAN identifiers before it.
    #[inline(always)]
    pub(crate) fn skip_tags<F: Frame>(frame: &F) -> Result<(usize, [u16; 2]), Reason> {
        let &[type_a, type_b] = frame.bytes::<2>(12).ok_or(Reason::Truncated)?;
        if [type_a, type_b] == ETHERTYPE_IPV4 {
            return Ok((ETHERNET_LEN, [0, 0]));
        }
        if !is_tag([type_a, type_b]) {
            return Err(Reason::NotIpv4);
        }
        let &[tci_a, tci_b, type_a, type_b] =
            frame.bytes::<VLAN_LEN>(ETHERNET_LEN).ok_or(Reason::Truncated)?;
        let outer = identifier(tci_a, tci_b);
        if [type_a, type_b] == ETHERTYPE_IPV4 {
            return Ok((ETHERNET_LEN + VLAN_LEN, [outer, 0]));
        }
        if !is_tag([type_a, type_b]) {
            return Err(Reason::NotIpv4);
        }
        let &[tci_a, tci_b, type_a, type_b] =
            frame.bytes::<VLAN_LEN>(ETHERNET_LEN + VLAN_LEN).ok_or(Reason::Truncated)?;
        if [type_a, type_b] == ETHERTYPE_IPV4 {
            return Ok((ETHERNET_LEN + 2 * VLAN_LEN, [outer, identifier(tci_a, tci_b)]));
        }
        Err(if is_tag([type_a, type_b]) { Reason::TooManyTags } else { Reason::NotIpv4 })
    }
}

/// Octets of an array, at once: where they are two, four or eight, one load, which single octets are not. `at` is a
/// constant, and all of them are in the array.
#[inline(always)]
pub(crate) fn part<const N: usize, const M: usize>(octets: &[u8; M], at: usize) -> [u8; N] {
    match octets.get(at..).and_then(<[u8]>::first_chunk) {
        Some(part) => *part,
        None => [0; N],
    }
}

/// Of the first eight octets of IPv4: version and header length, and all of the fragment field but "do not fragment".
const IPV4_MASK: u64 = u64::from_le_bytes([0xff, 0, 0, 0, 0, 0, 0x3f, 0xff]);
const IPV4_EXPECTED: u64 = 0x45;

/// Why headers are not those of a datagram to the DHCP server port.
#[inline(always)]
fn no_datagram(headers: &[u8; IPV4_UDP_LEN]) -> Reason {
    let version_ihl = headers[0];
    if version_ihl >> 4 == 4 && version_ihl > 0x45 {
        Reason::Ipv4Options
    } else if version_ihl != 0x45 {
        Reason::NotIpv4
    } else if headers[9] != PROTOCOL_UDP {
        Reason::NotDhcp
    } else if headers[6] & 0x3f != 0 || headers[7] != 0 {
        // More fragments, or an offset: the ports may not even be here.
        Reason::Fragment
    } else {
        Reason::NotDhcp
    }
}

#[inline(always)]
fn is_tag(ethertype: [u8; 2]) -> bool {
    ethertype == ETHERTYPE_VLAN || ethertype == ETHERTYPE_QINQ
}

/// The VLAN identifier of a tag: 12 bits beside priority and drop eligibility (IEEE 802.1Q).
#[inline(always)]
fn identifier(tci_a: u8, tci_b: u8) -> u16 {
    u16::from_be_bytes([tci_a & 0x0f, tci_b])
}

/// A BOOTP request with a client address, addressed to us: what could be a renewal.
#[derive(Clone, Copy, Debug)]
pub struct Renewal {
    /// Where it lies.
    pub datagram: Datagram,
    /// Direct or relayed.
    pub form: Form,
    /// `op`, `htype`, `hlen`, `hops`.
    pub kind: [u8; 4],
    /// The leased address.
    pub ciaddr: [u8; 4],
    /// `yiaddr` and `siaddr`.
    pub unused_addresses: [u8; 8],
    /// The relay agent, or zero.
    pub giaddr: [u8; 4],
    /// All 16 octets of the hardware address field, as four little-endian words.
    pub chaddr: [u32; 4],
}

impl Renewal {
    /// The first six octets of the hardware address field.
    #[inline(always)]
    pub const fn mac(&self) -> [u8; 6] {
        let [a, b, c, d, e, f, ..] = self.chaddr_word().to_le_bytes();
        [a, b, c, d, e, f]
    }

    /// The same as the lower 48 bits of a little-endian word.
    #[inline(always)]
    pub const fn chaddr_word(&self) -> u64 {
        (self.chaddr[0] as u64 | (self.chaddr[1] as u64) << 32) & CHADDR_MASK
    }

    /// Finds a renewal. The options are not looked at: the fingerprint speaks for them.
    ///
    /// # Errors
    /// The reason why the frame carries none.
    #[inline(always)]
    pub fn find<F: Frame>(frame: &F, interface: &Interface) -> Result<Self, Reason> {
        let (renewal, ()) = Self::find_and(frame, interface, |_| ())?;
        Ok(renewal)
    }

    /// The same, with what `look_up` says of its address: asked as soon as that is known, so that the memory it touches is
    /// on its way while the rest is checked.
    ///
    /// # Errors
    /// As [`find`](Self::find).
    #[inline(always)]
    pub fn find_and<F: Frame, T>(
        frame: &F,
        interface: &Interface,
        look_up: impl FnOnce([u8; 4]) -> T,
    ) -> Result<(Self, T), Reason> {
        let datagram = Datagram::find(frame)?;
        // Six octets of eight, for a load of six is two.
        let mac = u64::from_le_bytes(*frame.bytes::<8>(0).ok_or(Reason::Truncated)?) & CHADDR_MASK;
        if mac != interface.mac_word() && mac != mac_word(BROADCAST_MAC) {
            return Err(Reason::OtherMac);
        }
        if datagram.payload_len <= BOOTP_OPTIONS {
            return Err(Reason::Truncated);
        }
        let headers = frame.bytes::<HEADERS_LEN>(datagram.ipv4).ok_or(Reason::Truncated)?;
        let Some((_, bootp)) = headers.split_first_chunk::<IPV4_UDP_LEN>() else {
            return Err(Reason::Truncated);
        };
        let Some(bootp) = bootp.first_chunk::<BOOTP_OPTIONS>() else { return Err(Reason::Truncated) };
        let kind: [u8; 4] = part(bootp, 0);
        let word = u32::from_le_bytes(kind);
        let other = (word & 0xff_ffff ^ KIND_EXPECTED)
            | (u32::from_ne_bytes(part(bootp, 236)) ^ u32::from_ne_bytes(COOKIE));
        if other != 0 || word >> 24 > u32::from(HOPS_MAX) {
            return Err(no_renewal(bootp));
        }
        let ciaddr: [u8; 4] = part(bootp, 12);
        if is_unspecified(ciaddr) {
            return Err(Reason::NotRenewal);
        }
        let giaddr: [u8; 4] = part(bootp, 24);
        let form = if is_unspecified(giaddr) { Form::Direct } else { Form::Relayed };
        // A client that renews owns the address it writes from; one that rebinds may still say 0.0.0.0.
        if matches!(form, Form::Direct)
            && datagram.source != ciaddr
            && (datagram.source != UNSPECIFIED || datagram.destination != BROADCAST)
        {
            return Err(Reason::SourceMismatch);
        }
        // From here on the verifier need not tell direct from relayed, nor unicast from broadcast.
        let form = if frame.forget(form as usize) & 1 == 0 { Form::Direct } else { Form::Relayed };
        let giaddr = forget_address(frame, giaddr);
        let datagram = Datagram { destination: forget_address(frame, datagram.destination), ..datagram };
        let found = look_up(ciaddr);
        if names_in_use(bootp) {
            return Err(Reason::NamesInUse);
        }
        let renewal = Self {
            datagram,
            form,
            kind,
            ciaddr,
            unused_addresses: part(bootp, 16),
            giaddr,
            chaddr: halves(&part(bootp, 28)),
        };
        Ok((renewal, found))
    }
}

/// `op`, `htype` and `hlen` of a request from Ethernet, little-endian.
const KIND_EXPECTED: u32 = u32::from_le_bytes([BOOTREQUEST, HTYPE_ETHERNET, HLEN_ETHERNET, 0]);

/// Why a message is no renewal, by what stands in front of its addresses and options.
#[inline(always)]
fn no_renewal(bootp: &[u8; BOOTP_OPTIONS]) -> Reason {
    if bootp[0] != BOOTREQUEST {
        Reason::NotRequest
    } else if bootp[1] != HTYPE_ETHERNET || bootp[2] != HLEN_ETHERNET {
        Reason::Hardware
    } else if bootp[3] > HOPS_MAX {
        Reason::Hops
    } else {
        Reason::NotCookie
    }
}

#[inline(always)]
const fn mac_word([a, b, c, d, e, f]: [u8; 6]) -> u64 {
    u64::from_le_bytes([a, b, c, d, e, f, 0, 0])
}

#[inline(always)]
const fn is_unspecified(address: [u8; 4]) -> bool {
    u32::from_ne_bytes(address) == 0
}

/// Whether any octet of `sname` or `file` is set.
#[inline(always)]
fn names_in_use(bootp: &[u8; BOOTP_OPTIONS]) -> bool {
    let Some((_, names)) = bootp.split_first_chunk::<44>() else { return true };
    let Some(names) = names.first_chunk::<NAMES_LEN>() else { return true };
    let (words, _) = names.as_chunks::<8>();
    words.iter().fold(0, |any, word| any | u64::from_ne_bytes(*word)) != 0
}

#[inline(always)]
#[expect(clippy::cast_possible_truncation, reason = "an address has 32 bits")]
fn forget_address<F: Frame>(frame: &F, address: [u8; 4]) -> [u8; 4] {
    (frame.forget(u32::from_ne_bytes(address) as usize) as u32).to_ne_bytes()
}
