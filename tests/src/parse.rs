//! Reading frames: everything a test asks about one, and a refusal of any that is not sound.

use std::net::Ipv4Addr;

use anyhow::{Context as _, Result, ensure};

use crate::packet::{COOKIE, internet_checksum, udp_checksum};

/// A sound DHCP frame, taken apart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// Destination hardware address.
    pub dst_mac: [u8; 6],
    /// Source hardware address.
    pub src_mac: [u8; 6],
    /// VLAN tags, the outer one first: TPID and TCI.
    pub tags: Vec<(u16, u16)>,
    /// Source address of the datagram.
    pub src: Ipv4Addr,
    /// Destination address of the datagram.
    pub dst: Ipv4Addr,
    /// Time to live.
    pub ttl: u8,
    /// UDP source port.
    pub src_port: u16,
    /// UDP destination port.
    pub dst_port: u16,
    /// BOOTP operation: 1 request, 2 reply.
    pub op: u8,
    /// Hardware type.
    pub htype: u8,
    /// Length of the hardware address.
    pub hlen: u8,
    /// Relays passed.
    pub hops: u8,
    /// Transaction.
    pub xid: u32,
    /// Seconds since the client began.
    pub secs: u16,
    /// Flags; 0x8000 asks for a broadcast answer.
    pub flags: u16,
    /// The client's address as it knows it.
    pub ciaddr: Ipv4Addr,
    /// The client's address as the server says.
    pub yiaddr: Ipv4Addr,
    /// The next server.
    pub siaddr: Ipv4Addr,
    /// The relay's address.
    pub giaddr: Ipv4Addr,
    /// Hardware address with its padding.
    pub chaddr: [u8; 16],
    /// Server's name field.
    pub sname: [u8; 64],
    /// Boot file field.
    pub file: [u8; 128],
    /// The options as they came, in order, padding left out; those of overloaded fields are not read.
    pub options: Vec<(u8, Vec<u8>)>,
    /// Octets of the BOOTP message, padding included.
    pub bootp_len: usize,
}

impl Message {
    /// Takes a frame apart.
    ///
    /// # Errors
    ///
    /// When it is no IPv4 UDP frame with a BOOTP message, is cut short, or a length or checksum in it is wrong.
    pub fn parse(frame: &[u8]) -> Result<Self> {
        let mut at = Cursor { rest: frame };
        let (dst_mac, src_mac) = (at.take()?, at.take()?);
        let mut tags = Vec::new();
        let mut ether_type = at.u16()?;
        while matches!(ether_type, 0x8100 | 0x88a8) {
            tags.push((ether_type, at.u16()?));
            ether_type = at.u16()?;
        }
        ensure!(ether_type == 0x0800, "EtherType {ether_type:#06x} is not IPv4");
        let ip = at.rest;
        let [version, _tos] = at.take()?;
        ensure!(version >> 4 == 4, "IP version {}", version >> 4);
        let header_len = usize::from(version & 15) * 4;
        let total_len = usize::from(at.u16()?);
        let _id = at.u16()?;
        let fragment = at.u16()?;
        ensure!(fragment & 0x3fff == 0, "a fragment: {fragment:#06x}");
        let [ttl, protocol] = at.take()?;
        ensure!(protocol == 17, "IP protocol {protocol} is not UDP");
        let _sum = at.u16()?;
        let (src, dst) = (at.address()?, at.address()?);
        let header = ip.get(..header_len).context("the IPv4 header is cut")?;
        ensure!(internet_checksum(&[header]) == 0, "wrong IPv4 header checksum");
        let udp = ip.get(header_len..total_len).context("the datagram is longer than the frame")?;
        let mut at = Cursor { rest: udp };
        let (src_port, dst_port, udp_len, udp_sum) = (at.u16()?, at.u16()?, at.u16()?, at.u16()?);
        ensure!(usize::from(udp_len) == udp.len(), "UDP length {udp_len}, but {} octets", udp.len());
        // Over octets that hold the right checksum the sum is zero, which udp_checksum writes as 0xffff.
        ensure!(udp_sum == 0 || udp_checksum(src, dst, udp) == 0xffff, "wrong UDP checksum {udp_sum:#06x}");
        let bootp_len = at.rest.len();
        let [op, htype, hlen, hops] = at.take()?;
        let [a, b, c, d] = at.take()?;
        let message = Self {
            dst_mac,
            src_mac,
            tags,
            src,
            dst,
            ttl,
            src_port,
            dst_port,
            op,
            htype,
            hlen,
            hops,
            xid: u32::from_be_bytes([a, b, c, d]),
            secs: at.u16()?,
            flags: at.u16()?,
            ciaddr: at.address()?,
            yiaddr: at.address()?,
            siaddr: at.address()?,
            giaddr: at.address()?,
            chaddr: at.take()?,
            sname: at.take()?,
            file: at.take()?,
            options: {
                ensure!(at.take()? == COOKIE, "no DHCP cookie");
                at.options()?
            },
            bootp_len,
        };
        Ok(message)
    }

    /// The value of an option, its parts joined (RFC 3396).
    pub fn option(&self, code: u8) -> Option<Vec<u8>> {
        let mut parts = self.options.iter().filter(|(found, _)| *found == code).peekable();
        parts.peek()?;
        Some(parts.flat_map(|(_, value)| value.iter().copied()).collect())
    }

    /// The message type (option 53), 0 without one.
    pub fn kind(&self) -> u8 {
        self.option(53).and_then(|value| value.first().copied()).unwrap_or(0)
    }

    /// An option of four octets as an address.
    pub fn option_address(&self, code: u8) -> Option<Ipv4Addr> {
        <[u8; 4]>::try_from(self.option(code)?).ok().map(Ipv4Addr::from)
    }

    /// An option of four octets as a number, such as the lease time (51) in seconds.
    pub fn option_u32(&self, code: u8) -> Option<u32> {
        <[u8; 4]>::try_from(self.option(code)?).ok().map(u32::from_be_bytes)
    }
}

struct Cursor<'a> {
    rest: &'a [u8],
}

impl Cursor<'_> {
    fn take<const N: usize>(&mut self) -> Result<[u8; N]> {
        let (first, rest) = self.rest.split_first_chunk::<N>().context("the frame is cut short")?;
        self.rest = rest;
        Ok(*first)
    }

    fn u16(&mut self) -> Result<u16> {
        self.take().map(u16::from_be_bytes)
    }

    fn address(&mut self) -> Result<Ipv4Addr> {
        self.take::<4>().map(Ipv4Addr::from)
    }

    fn options(&mut self) -> Result<Vec<(u8, Vec<u8>)>> {
        let mut found = Vec::new();
        while let Some((code, rest)) = self.rest.split_first() {
            self.rest = rest;
            match code {
                0 => {}
                255 => return Ok(found),
                code => {
                    let [length] = self.take().with_context(|| format!("option {code} has no length"))?;
                    let value = self.rest.get(..usize::from(length));
                    let value = value.with_context(|| format!("option {code} is cut short"))?;
                    found.push((*code, value.to_vec()));
                    self.rest = self.rest.get(usize::from(length)..).unwrap_or_default();
                }
            }
        }
        anyhow::bail!("the options have no end")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::packet::{Checksum, Frame};

    const MAC: [u8; 6] = [2, 0, 0, 0, 0, 9];

    #[test]
    fn what_is_built_is_read_back() {
        let long = vec![7; 300];
        let frame = Frame::request(1, MAC)
            .tag(0x88a8, 5)
            .tag(0x8100, 6)
            .option(43, &long)
            .option(61, &[1, 2])
            .build();
        let message = Message::parse(&frame).unwrap();
        assert_eq!(message.kind(), 1);
        assert_eq!(message.tags, [(0x88a8, 5), (0x8100, 6)]);
        assert_eq!(message.option(43), Some(long));
        assert_eq!(message.option(61), Some(vec![1, 2]));
        assert_eq!(message.option(82), None);
        assert!(Message::parse(&Frame::request(1, MAC).udp_checksum(Checksum::Absent).build()).is_ok());
    }

    #[test]
    fn unsound_frames_are_refused() {
        let right = Frame::request(1, MAC);
        let text = |frame: &[u8]| Message::parse(frame).unwrap_err().to_string();
        assert!(text(&right.clone().udp_checksum(Checksum::Wrong).build()).contains("UDP checksum"));
        assert!(text(&right.build_unclosed()).contains("no end"));
        assert!(text(&right.clone().raw_options(&[12, 200]).build_unclosed()).contains("option 12"));
        assert!(text(&right.clone().cookie([0; 4]).build()).contains("cookie"));
        let mut spoilt = right.build();
        spoilt[20] ^= 1;
        assert!(Message::parse(&spoilt).is_err());
        let whole = right.build();
        for length in 0..whole.len() {
            assert!(Message::parse(&whole[..length]).is_err(), "{length} octets");
        }
    }
}
