//! What clients accept: every reply is taken apart, its sums checked, and compared with what was asked.

use std::net::Ipv4Addr;

use super::{client_of, message};

/// What is wrong with a frame that came in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Fault {
    /// No whole DHCP reply.
    Malformed,
    /// The IPv4 header's checksum is wrong.
    HeaderChecksum,
    /// The UDP checksum is wrong.
    UdpChecksum,
    /// For none of our clients.
    Stranger,
    /// For no exchange under way: late, doubled, or of another transaction.
    Unexpected,
    /// Another address than the client's.
    Address,
    /// One address for two clients.
    AddressTwice,
    /// A server identifier that is not the server's.
    ServerId,
    /// An option is missing that must be there.
    Option,
    /// The routers (option 3) are missing, though they were asked for: the server may not be told any.
    NoRouters,
    /// The relay agent's information (option 82) or its address is not what it put in (RFC 3046 section 2.2).
    Relay,
    /// Option 61 is not the client's (RFC 6842).
    ClientId,
    /// A NAK.
    Nak,
    /// Of another message type than is due.
    Kind,
}

/// A sound reply, as far as can be told without knowing what was asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reply {
    /// Message type: 2 OFFER, 5 ACK, 6 NAK.
    pub kind: u8,
    /// To whom.
    pub client: u32,
    /// The transaction.
    pub xid: u32,
    /// The address.
    pub address: Ipv4Addr,
    /// The server identifier.
    pub server: Ipv4Addr,
    /// The relay agent it is for, or unspecified.
    pub relay: Ipv4Addr,
    /// The circuit it is for (option 82, of the form our relay agents write).
    pub circuit: Option<u32>,
    /// One bit for each option there is.
    pub options: [u64; 4],
}

/// The options an OFFER or ACK must have: mask, lease time, message type, server identifier (RFC 2131 table 3; the first
/// as it was asked for).
pub const REQUIRED: [u8; 4] = [1, 51, 53, 54];
/// The routers, which clients ask for.
const ROUTERS: u8 = 3;

/// Whether a frame is an ICMP message, tagged or not.
pub fn is_icmp(frame: &[u8]) -> bool {
    let packet = ipv4_at(frame).and_then(|at| frame.get(at..)).unwrap_or_default();
    packet.first().is_some_and(|octet| octet >> 4 == 4) && packet.get(9) == Some(&1)
}

/// Where in a frame, tagged or not, its IPv4 packet begins.
fn ipv4_at(frame: &[u8]) -> Option<usize> {
    match frame.get(12..14)? {
        [0x08, 0x00] => Some(14),
        [0x81, 0x00] if frame.get(16..18) == Some(&[0x08, 0x00]) => Some(18),
        _ => None,
    }
}

impl Reply {
    /// Takes a frame apart. `checksum_pending`: the sender's kernel left the UDP checksum to hardware.
    ///
    /// # Errors
    ///
    /// The first thing that is wrong with it.
    pub fn parse(frame: &[u8], checksum_pending: bool) -> Result<Self, Fault> {
        let packet = ipv4_at(frame).and_then(|at| frame.get(at..)).ok_or(Fault::Malformed)?;
        let total = usize::from(u16_at(packet, 2)?);
        // Servers send no IPv4 options.
        if packet.first() != Some(&0x45) || packet.get(9) != Some(&17) {
            return Err(Fault::Malformed);
        }
        let packet = packet.get(..total).ok_or(Fault::Malformed)?;
        if message::folded(message::add(packet.get(..20).ok_or(Fault::Malformed)?)) != u16::MAX {
            return Err(Fault::HeaderChecksum);
        }
        if usize::from(u16_at(packet, 24)?) + 20 != total {
            return Err(Fault::Malformed);
        }
        if !checksum_pending && u16_at(packet, 26)? != 0 && message::udp_sum(packet) != u16::MAX {
            return Err(Fault::UdpChecksum);
        }
        let bootp = packet.get(28..).ok_or(Fault::Malformed)?;
        if bootp.get(..3) != Some(&[2, 1, 6]) || bootp.get(236..240) != Some(&crate::packet::COOKIE) {
            return Err(Fault::Malformed);
        }
        let client = bootp.get(28..34).and_then(client_of).ok_or(Fault::Stranger)?;
        let mut reply = Self {
            kind: 0,
            client,
            xid: u32::from_be_bytes(quad(bootp, 4)?),
            address: quad(bootp, 16)?.into(),
            server: Ipv4Addr::UNSPECIFIED,
            relay: quad(bootp, 24)?.into(),
            circuit: None,
            options: [0; 4],
        };
        reply.read_options(bootp.get(240..).unwrap_or_default(), bootp.get(28..34).unwrap_or_default())?;
        Ok(reply)
    }

    fn read_options(&mut self, mut rest: &[u8], mac: &[u8]) -> Result<(), Fault> {
        loop {
            match rest {
                [0, behind @ ..] => rest = behind,
                [255, ..] => return Ok(()),
                [code, len, behind @ ..] => {
                    let (value, behind) =
                        behind.split_at_checked(usize::from(*len)).ok_or(Fault::Malformed)?;
                    if let Some(bits) = self.options.get_mut(usize::from(*code / 64)) {
                        *bits |= 1 << (code % 64);
                    }
                    match (code, value) {
                        (53, [kind]) => self.kind = *kind,
                        (54, &[a, b, c, d]) => self.server = [a, b, c, d].into(),
                        (82, &[1, 4, a, b, c, d]) => self.circuit = Some(u32::from_be_bytes([a, b, c, d])),
                        (61, id) if id.first() != Some(&1) || id.get(1..) != Some(mac) => {
                            return Err(Fault::ClientId);
                        }
                        _ => {}
                    }
                    rest = behind;
                }
                _ => return Err(Fault::Malformed),
            }
        }
    }

    /// Whether an option is there.
    pub fn has(&self, code: u8) -> bool {
        self.options.get(usize::from(code / 64)).is_some_and(|bits| bits & (1 << (code % 64)) != 0)
    }

    /// Checks what any OFFER or ACK of `server` must say; that there are routers in it, if it must name some.
    ///
    /// # Errors
    ///
    /// What is wrong.
    pub fn check(&self, server: Ipv4Addr, routers: bool) -> Result<(), Fault> {
        if self.kind == 6 {
            return Err(Fault::Nak);
        }
        if self.server != server {
            return Err(Fault::ServerId);
        }
        if !REQUIRED.iter().all(|&code| self.has(code)) {
            return Err(Fault::Option);
        }
        if routers && !self.has(ROUTERS) { Err(Fault::NoRouters) } else { Ok(()) }
    }

    /// Checks what the relay agent `relay` finds its own by: its address, and the circuit if it named one; nothing of
    /// either in a reply that no relay agent is to pass on.
    ///
    /// # Errors
    ///
    /// That it is wrong.
    pub fn check_relay(&self, relay: Option<Ipv4Addr>, circuit: Option<u32>) -> Result<(), Fault> {
        let right = self.relay == relay.unwrap_or(Ipv4Addr::UNSPECIFIED)
            && self.circuit == circuit
            && self.has(82) == circuit.is_some();
        if right { Ok(()) } else { Err(Fault::Relay) }
    }
}

fn u16_at(octets: &[u8], at: usize) -> Result<u16, Fault> {
    octets.get(at..).and_then(<[u8]>::first_chunk).copied().map(u16::from_be_bytes).ok_or(Fault::Malformed)
}

fn quad(octets: &[u8], at: usize) -> Result<[u8; 4], Fault> {
    octets.get(at..).and_then(<[u8]>::first_chunk).copied().ok_or(Fault::Malformed)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::packet::{Checksum, Frame};

    const SERVER: Ipv4Addr = Ipv4Addr::new(198, 18, 0, 1);

    fn ack() -> Frame {
        Frame::request(5, super::super::mac(9))
            .op(2)
            .xid(77)
            .yiaddr(Ipv4Addr::new(198, 19, 0, 9))
            .option(1, &[255, 255, 0, 0])
            .option(3, &[198, 19, 0, 1])
            .option(51, &[0, 0, 14, 16])
            .option(54, &SERVER.octets())
    }

    #[test]
    fn a_right_reply_is_accepted_and_a_wrong_one_named() {
        let reply = Reply::parse(&ack().build(), false).unwrap();
        assert_eq!((reply.kind, reply.client, reply.xid), (5, 9, 77));
        assert_eq!(reply.check(SERVER, true), Ok(()));
        assert_eq!(reply.check(Ipv4Addr::LOCALHOST, true), Err(Fault::ServerId));
        let fault = |frame: &Frame| Reply::parse(&frame.build(), false).unwrap_err();
        assert_eq!(fault(&ack().udp_checksum(Checksum::Wrong)), Fault::UdpChecksum);
        assert_eq!(fault(&ack().op(1)), Fault::Malformed);
        assert_eq!(fault(&ack().chaddr([3; 16])), Fault::Stranger);
        assert_eq!(fault(&ack().option(61, &[1, 0, 0, 0, 0, 0, 0])), Fault::ClientId);
        let mut spoilt = ack().build();
        spoilt[24] ^= 1;
        assert_eq!(Reply::parse(&spoilt, false), Err(Fault::HeaderChecksum));
        let bare = Frame::request(5, super::super::mac(9)).op(2).option(54, &SERVER.octets());
        assert_eq!(Reply::parse(&bare.build(), false).unwrap().check(SERVER, true), Err(Fault::Option));
        let no_routers = bare.option(1, &[255, 255, 0, 0]).option(51, &[0, 0, 14, 16]);
        let no_routers = Reply::parse(&no_routers.build(), false).unwrap();
        assert_eq!(no_routers.check(SERVER, true), Err(Fault::NoRouters));
        assert_eq!(no_routers.check(SERVER, false), Ok(()));
        let whole = ack().build();
        let mut echo = whole.clone();
        echo[23] = 1;
        assert!(is_icmp(&echo) && !is_icmp(&whole), "an ICMP message is told from a reply");
        for length in 0..whole.len() {
            assert!(Reply::parse(&whole[..length], false).is_err(), "{length} octets");
        }
    }

    #[test]
    fn a_relay_agent_finds_its_own_again() {
        let relay = Ipv4Addr::new(198, 19, 0, 1);
        let direct = Reply::parse(&ack().build(), false).unwrap();
        assert_eq!(direct.check_relay(None, None), Ok(()));
        assert_eq!(direct.check_relay(Some(relay), None), Err(Fault::Relay));
        let relayed = ack().giaddr(relay);
        let plain = Reply::parse(&relayed.clone().build(), false).unwrap();
        assert_eq!(plain.check_relay(Some(relay), None), Ok(()));
        assert_eq!(plain.check_relay(Some(relay), Some(9)), Err(Fault::Relay));
        let named = Reply::parse(&relayed.clone().option(82, &[1, 4, 0, 0, 0, 9]).build(), false).unwrap();
        assert_eq!(named.check_relay(Some(relay), Some(9)), Ok(()));
        assert_eq!(named.check_relay(Some(relay), Some(8)), Err(Fault::Relay));
        assert_eq!(named.check_relay(Some(relay), None), Err(Fault::Relay), "nobody put it in");
        let spoilt = Reply::parse(&relayed.option(82, &[1, 3, 0, 0, 9]).build(), false).unwrap();
        assert_eq!(spoilt.check_relay(Some(relay), None), Err(Fault::Relay));
    }
}
