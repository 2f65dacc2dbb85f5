//! Whose frame it is, of all that comes to the daemon's sockets, well-formed or not.

use crate::{
    fingerprint::words,
    frame::Frame,
    request::Datagram,
    wire::{BOOTP_OPTIONS, BOOTREQUEST, IPV4_LEN, IPV4_UDP_LEN, PORT_SERVER, PROTOCOL_UDP},
};

/// Code and length of the option that names the message (RFC 2132 section 9.6), which clients put first.
const MESSAGE_TYPE: [u8; 2] = [53, 1];
const DHCPREQUEST: u8 = 3;

/// What the limits look at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Asker {
    /// All 16 octets of the hardware address field, as two little-endian words; zero of what is no BOOTP message.
    pub chaddr: [u64; 2],
    /// The relay agent, or zero.
    pub giaddr: [u8; 4],
    /// The client's address, or zero.
    pub ciaddr: [u8; 4],
    /// The message's type (RFC 2132 section 9.6), if it is a request's first option; else 0.
    pub message_type: u8,
    /// Whether it is long enough to be a BOOTP message.
    pub is_bootp: bool,
}

impl Asker {
    /// Finds a datagram that the daemon's socket would receive. `None` for everything else.
    #[inline(always)]
    pub fn find<F: Frame>(frame: &F) -> Option<Self> {
        let (ipv4, _) = Datagram::skip_tags(frame).ok()?;
        // The verifier need not tell frames with and without tags apart.
        let ipv4 = frame.forget(ipv4) & 31;
        let &[version_ihl, _, _, _, _, _, fragment_a, fragment_b, _, protocol, ..] =
            frame.bytes::<IPV4_LEN>(ipv4)?;
        let ipv4_len = usize::from(version_ihl & 0xf) * 4;
        if version_ihl >> 4 != 4
            || ipv4_len < IPV4_LEN
            || protocol != PROTOCOL_UDP
            || fragment_a & 0x3f != 0
            || fragment_b != 0
        {
            return None;
        }
        let &[_, _, port_a, port_b] = frame.bytes::<4>(ipv4 + ipv4_len)?;
        if u16::from_be_bytes([port_a, port_b]) != PORT_SERVER {
            return None;
        }
        let nobody =
            Self { chaddr: [0; 2], giaddr: [0; 4], ciaddr: [0; 4], message_type: 0, is_bootp: false };
        // The daemon has no use for IPv4 options either.
        let Some(bootp) =
            frame.bytes::<{ BOOTP_OPTIONS + 3 }>(ipv4 + IPV4_UDP_LEN).filter(|_| ipv4_len == IPV4_LEN)
        else {
            return Some(nobody);
        };
        let chaddr = bootp.split_first_chunk::<28>().and_then(|(_, rest)| rest.first_chunk::<16>())?;
        let named = bootp[0] == BOOTREQUEST && [bootp[240], bootp[241]] == MESSAGE_TYPE;
        Some(Self {
            chaddr: words(chaddr),
            giaddr: [bootp[24], bootp[25], bootp[26], bootp[27]],
            ciaddr: [bootp[12], bootp[13], bootp[14], bootp[15]],
            message_type: if named { bootp[242] } else { 0 },
            is_bootp: true,
        })
    }

    /// Whether there is a hardware address to tell clients apart by. Some links' clients send none (RFC 4390: InfiniBand);
    /// what is no BOOTP message counts as one client's, whoever sends it.
    #[inline(always)]
    pub const fn has_client(&self) -> bool {
        !self.is_bootp || self.chaddr[0] | self.chaddr[1] != 0
    }

    /// Whether a relay agent sent it.
    #[inline(always)]
    pub fn is_relayed(&self) -> bool {
        self.giaddr != [0; 4]
    }

    /// Whether it is a REQUEST.
    #[inline(always)]
    pub const fn is_request(&self) -> bool {
        self.message_type == DHCPREQUEST
    }
}
