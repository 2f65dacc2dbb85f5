//! A frame is a BOOTP request for us, or there is one reason why it is not.

use crate::{
    abi::Form,
    fingerprint::words,
    frame::Frame,
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
        let &[
            version_ihl,
            _,
            tot_a,
            tot_b,
            _,
            _,
            frag_a,
            frag_b,
            _,
            protocol,
            _,
            _,
            s0,
            s1,
            s2,
            s3,
            d0,
            d1,
            d2,
            d3,
            sp_a,
            sp_b,
            dp_a,
            dp_b,
            len_a,
            len_b,
            _,
            _,
        ] = frame.bytes::<IPV4_UDP_LEN>(ipv4).ok_or(Reason::Truncated)?;
        if version_ihl != 0x45 {
            return Err(if version_ihl >> 4 == 4 && version_ihl > 0x45 {
                Reason::Ipv4Options
            } else {
                Reason::NotIpv4
            });
        }
        if protocol != PROTOCOL_UDP {
            return Err(Reason::NotDhcp);
        }
        // More fragments, or an offset: the ports may not even be here.
        if frag_a & 0x3f != 0 || frag_b != 0 {
            return Err(Reason::Fragment);
        }
        if u16::from_be_bytes([dp_a, dp_b]) != PORT_SERVER {
            return Err(Reason::NotDhcp);
        }
        let ipv4_len = usize::from(u16::from_be_bytes([tot_a, tot_b]));
        let udp_len = usize::from(u16::from_be_bytes([len_a, len_b]));
        if udp_len < UDP_LEN || IPV4_LEN + udp_len > ipv4_len || ipv4 + ipv4_len > frame.len() {
            return Err(Reason::Truncated);
        }
        let destination = [d0, d1, d2, d3];
        Ok(Self {
            ipv4,
            payload_len: udp_len - UDP_LEN,
            vlans,
            source: [s0, s1, s2, s3],
            destination,
            source_port: u16::from_be_bytes([sp_a, sp_b]),
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
    /// All 16 octets of the hardware address field, as two little-endian words.
    pub chaddr: [u64; 2],
}

impl Renewal {
    /// The first six octets of the hardware address field.
    #[inline(always)]
    pub const fn mac(&self) -> [u8; 6] {
        let [a, b, c, d, e, f, ..] = self.chaddr[0].to_le_bytes();
        [a, b, c, d, e, f]
    }

    /// Finds a renewal. The options are not looked at: the fingerprint speaks for them.
    ///
    /// # Errors
    /// The reason why the frame carries none.
    #[inline(always)]
    pub fn find<F: Frame>(frame: &F, interface: &Interface) -> Result<Self, Reason> {
        let datagram = Datagram::find(frame)?;
        let &[m0, m1, m2, m3, m4, m5] = frame.bytes::<6>(0).ok_or(Reason::Truncated)?;
        let mac = [m0, m1, m2, m3, m4, m5];
        if mac != interface.mac && mac != BROADCAST_MAC {
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
        let kind = [bootp[0], bootp[1], bootp[2], bootp[3]];
        if kind[0] != BOOTREQUEST {
            return Err(Reason::NotRequest);
        }
        if kind[1] != HTYPE_ETHERNET || kind[2] != HLEN_ETHERNET {
            return Err(Reason::Hardware);
        }
        if kind[3] > HOPS_MAX {
            return Err(Reason::Hops);
        }
        if [bootp[236], bootp[237], bootp[238], bootp[239]] != COOKIE {
            return Err(Reason::NotCookie);
        }
        let ciaddr = [bootp[12], bootp[13], bootp[14], bootp[15]];
        if ciaddr == UNSPECIFIED {
            return Err(Reason::NotRenewal);
        }
        let giaddr = [bootp[24], bootp[25], bootp[26], bootp[27]];
        let form = if giaddr == UNSPECIFIED { Form::Direct } else { Form::Relayed };
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
        if names_in_use(bootp) {
            return Err(Reason::NamesInUse);
        }
        Ok(Self {
            datagram,
            form,
            kind,
            ciaddr,
            unused_addresses: [
                bootp[16], bootp[17], bootp[18], bootp[19], bootp[20], bootp[21], bootp[22], bootp[23],
            ],
            giaddr,
            chaddr: {
                let Some((_, rest)) = bootp.split_first_chunk::<28>() else { return Err(Reason::Truncated) };
                let Some(chaddr) = rest.first_chunk::<16>() else { return Err(Reason::Truncated) };
                words(chaddr)
            },
        })
    }
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
