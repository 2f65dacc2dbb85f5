//! Building frames: Ethernet, VLAN tags, IPv4, UDP, BOOTP and options, with right checksums unless a test spoils them.
//!
//! Independent of the product's own encoder on purpose: a fault there must not hide itself.

use std::net::Ipv4Addr;

/// The magic cookie in front of the options (RFC 2131 section 3).
pub const COOKIE: [u8; 4] = [99, 130, 83, 99];

/// What to put into the UDP checksum.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Checksum {
    /// The right one.
    Right,
    /// Zero: the sender computed none (RFC 768).
    Absent,
    /// A wrong one.
    Wrong,
}

/// A frame's fields: those that a method of the same name sets, each with what it is unless set, and the others.
macro_rules! fields {
    (
        $(#[$about:meta])* $frame:ident;
        set { $($(#[$doc:meta])* $name:ident: $type:ty = $unset:expr,)* }
        added { $($more:ident: $many:ty,)* }
    ) => {
        $(#[$about])*
        #[derive(Clone, Debug)]
        pub struct $frame { $($name: $type,)* $($more: $many,)* }

        impl $frame {
            fn unset() -> Self {
                Self { $($name: $unset,)* $($more: <$many>::new(),)* }
            }

            $($(#[$doc])* #[must_use] pub fn $name(mut self, $name: $type) -> Self { self.$name = $name; self })*
        }
    };
}

fields! {
    /// A DHCP frame being built. [`Frame::request`] is a client's broadcast; each method changes one field.
    Frame;
    set {
        /// Destination hardware address.
        dst_mac: [u8; 6] = [0xff; 6],
        /// Source hardware address.
        src_mac: [u8; 6] = [0; 6],
        /// EtherType of the payload, behind any VLAN tags.
        ether_type: u16 = 0x0800,
        /// Type of service: DSCP and ECN.
        tos: u8 = 0,
        /// Identification of the IPv4 datagram.
        ip_id: u16 = 0,
        /// Flags (upper three bits) and fragment offset in 8 octets, as in the header.
        fragment: u16 = 0,
        /// Time to live.
        ttl: u8 = 64,
        /// Protocol of the IPv4 payload; 17 is UDP.
        ip_protocol: u8 = 17,
        /// IPv4 options; their length must be a multiple of 4, at most 40.
        ip_options: Vec<u8> = Vec::new(),
        /// Source address of the datagram.
        src: Ipv4Addr = Ipv4Addr::UNSPECIFIED,
        /// Destination address of the datagram.
        dst: Ipv4Addr = Ipv4Addr::BROADCAST,
        /// UDP source port.
        src_port: u16 = 68,
        /// UDP destination port.
        dst_port: u16 = 67,
        /// UDP checksum.
        udp_checksum: Checksum = Checksum::Right,
        /// BOOTP operation: 1 request, 2 reply.
        op: u8 = 1,
        /// Hardware type.
        htype: u8 = 1,
        /// Length of the hardware address.
        hlen: u8 = 6,
        /// Relays passed.
        hops: u8 = 0,
        /// Transaction.
        xid: u32 = 0x1234_5678,
        /// Seconds since the client began.
        secs: u16 = 0,
        /// Flags; 0x8000 asks for a broadcast answer.
        flags: u16 = 0,
        /// The client's address as it knows it.
        ciaddr: Ipv4Addr = Ipv4Addr::UNSPECIFIED,
        /// The client's address as the server says.
        yiaddr: Ipv4Addr = Ipv4Addr::UNSPECIFIED,
        /// The next server.
        siaddr: Ipv4Addr = Ipv4Addr::UNSPECIFIED,
        /// The relay's address.
        giaddr: Ipv4Addr = Ipv4Addr::UNSPECIFIED,
        /// Hardware address with its padding.
        chaddr: [u8; 16] = [0; 16],
        /// Server's name, or overloaded options.
        sname: [u8; 64] = [0; 64],
        /// Boot file, or overloaded options.
        file: [u8; 128] = [0; 128],
        /// The cookie in front of the options.
        cookie: [u8; 4] = COOKIE,
        /// Least length of the BOOTP message in octets, filled up with zeros behind the end option.
        bootp_len_min: usize = 300,
        /// Octets behind the IPv4 datagram, such as Ethernet's padding.
        trailer: Vec<u8> = Vec::new(),
    }
    added {
        tags: Vec<(u16, u16)>,
        options: Vec<u8>,
    }
}

impl Frame {
    /// A client's broadcast with message type `kind` (option 53) from hardware address `mac`, padded to BOOTP's 300
    /// octets.
    pub fn request(kind: u8, mac: [u8; 6]) -> Self {
        let mut chaddr = [0; 16];
        for (to, from) in chaddr.iter_mut().zip(mac) {
            *to = from;
        }
        Self { chaddr, ..Self::unset() }.src_mac(mac).option(53, &[kind])
    }

    /// A renewal sent straight to the server (RFC 2131 section 4.3.6): `ciaddr` filled in, no options 50 and 54.
    pub fn renewal(mac: [u8; 6], ciaddr: Ipv4Addr, server_mac: [u8; 6], server: Ipv4Addr) -> Self {
        Self::request(3, mac).ciaddr(ciaddr).src(ciaddr).dst(server).dst_mac(server_mac)
    }

    /// What an ACK sent straight to a client begins with, up to the subnet mask; T1 and T2 are what the client takes by itself.
    pub fn ack(
        mac: [u8; 6],
        address: Ipv4Addr,
        (server_mac, server): ([u8; 6], Ipv4Addr),
        lease_secs: u32,
        mask: [u8; 4],
    ) -> Self {
        Self::request(5, mac)
            .src_mac(server_mac)
            .dst_mac(mac)
            .fragment(0x4000)
            .src(server)
            .dst(address)
            .src_port(67)
            .dst_port(68)
            .op(2)
            .ciaddr(address)
            .yiaddr(address)
            .option(54, &server.octets())
            .option(51, &lease_secs.to_be_bytes())
            .option(1, &mask)
    }

    /// Adds a VLAN tag inside those there are: `tpid` 0x8100 or 0x88a8, `tci` priority and number.
    #[must_use]
    pub fn tag(mut self, tpid: u16, tci: u16) -> Self {
        self.tags.push((tpid, tci));
        self
    }

    /// Adds an option; a value over 255 octets becomes several (RFC 3396).
    #[must_use]
    pub fn option(mut self, code: u8, value: &[u8]) -> Self {
        let mut add = |part: &[u8]| {
            self.options.extend([code, u8::try_from(part.len()).unwrap_or(u8::MAX)]);
            self.options.extend(part);
        };
        if value.is_empty() {
            add(value);
        }
        value.chunks(255).for_each(add);
        self
    }

    /// Adds octets to the options as they are, such as a broken option.
    #[must_use]
    pub fn raw_options(mut self, octets: &[u8]) -> Self {
        self.options.extend(octets);
        self
    }

    /// Drops the options there are, the message type among them.
    #[must_use]
    pub fn no_options(mut self) -> Self {
        self.options.clear();
        self
    }

    /// The frame, the options closed by the end option.
    pub fn build(&self) -> Vec<u8> {
        let mut options = self.options.clone();
        options.push(255);
        self.around(&self.bootp(&options))
    }

    /// The frame without an end option and padding.
    pub fn build_unclosed(&self) -> Vec<u8> {
        let mut bootp = self.bootp(&self.options);
        bootp.truncate(240 + self.options.len());
        self.around(&bootp)
    }

    fn bootp(&self, options: &[u8]) -> Vec<u8> {
        let mut out = vec![self.op, self.htype, self.hlen, self.hops];
        out.extend(self.xid.to_be_bytes());
        out.extend(self.secs.to_be_bytes());
        out.extend(self.flags.to_be_bytes());
        for address in [self.ciaddr, self.yiaddr, self.siaddr, self.giaddr] {
            out.extend(address.octets());
        }
        out.extend(self.chaddr);
        out.extend(self.sname);
        out.extend(self.file);
        out.extend(self.cookie);
        out.extend(options);
        if out.len() < self.bootp_len_min {
            out.resize(self.bootp_len_min, 0);
        }
        out
    }

    fn around(&self, bootp: &[u8]) -> Vec<u8> {
        let udp = self.udp(bootp);
        let mut out = Vec::with_capacity(64 + udp.len());
        out.extend(self.dst_mac);
        out.extend(self.src_mac);
        for (tpid, tci) in &self.tags {
            out.extend(tpid.to_be_bytes());
            out.extend(tci.to_be_bytes());
        }
        out.extend(self.ether_type.to_be_bytes());
        out.extend(self.ip_header(udp.len()));
        out.extend(udp);
        out.extend(&self.trailer);
        out
    }

    fn ip_header(&self, payload_len: usize) -> Vec<u8> {
        let header_len = 20 + self.ip_options.len();
        let mut out = vec![0x40 | u8::try_from(header_len / 4).unwrap_or(15), self.tos];
        out.extend(length(header_len + payload_len).to_be_bytes());
        out.extend(self.ip_id.to_be_bytes());
        out.extend(self.fragment.to_be_bytes());
        out.extend([self.ttl, self.ip_protocol, 0, 0]);
        out.extend(self.src.octets());
        out.extend(self.dst.octets());
        out.extend(&self.ip_options);
        let sum = internet_checksum(&[&out]).to_be_bytes();
        out.splice(10..12, sum);
        out
    }

    fn udp(&self, bootp: &[u8]) -> Vec<u8> {
        let mut out = Vec::with_capacity(8 + bootp.len());
        out.extend(self.src_port.to_be_bytes());
        out.extend(self.dst_port.to_be_bytes());
        out.extend(length(8 + bootp.len()).to_be_bytes());
        out.extend([0, 0]);
        out.extend(bootp);
        let right = udp_checksum(self.src, self.dst, &out);
        let sum = match self.udp_checksum {
            Checksum::Right => right,
            Checksum::Absent => 0,
            // Neither the right one nor zero, which would mean that there is none.
            Checksum::Wrong if right == 0xffff => 1,
            Checksum::Wrong => right + 1,
        };
        out.splice(6..8, sum.to_be_bytes());
        out
    }
}

fn length(octets: usize) -> u16 {
    u16::try_from(octets).expect("a frame under test is shorter than 64 KiB")
}

/// The checksum of RFC 1071 over `parts`, of which all but the last must have an even length.
pub fn internet_checksum(parts: &[&[u8]]) -> u16 {
    let mut sum = 0_u32;
    for part in parts {
        for pair in part.chunks(2) {
            let high = pair.first().copied().unwrap_or(0);
            let low = pair.get(1).copied().unwrap_or(0);
            sum += u32::from(u16::from_be_bytes([high, low]));
        }
    }
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !u16::try_from(sum).unwrap_or(0)
}

/// The UDP checksum of RFC 768 of `udp`, header and payload, whose checksum field counts as it is. Zero becomes 0xffff.
pub fn udp_checksum(src: Ipv4Addr, dst: Ipv4Addr, udp: &[u8]) -> u16 {
    let mut pseudo = Vec::with_capacity(12);
    pseudo.extend(src.octets());
    pseudo.extend(dst.octets());
    pseudo.extend([0, 17]);
    pseudo.extend(length(udp.len()).to_be_bytes());
    match internet_checksum(&[&pseudo, udp]) {
        0 => 0xffff,
        sum => sum,
    }
}

/// Puts the right UDP checksum into a frame whose sender left that to its network card, as a card does. A frame that is
/// no whole IPv4 UDP datagram stays as it is.
pub fn complete_udp_checksum(frame: &mut [u8]) {
    let mut at = 12;
    let word = |frame: &[u8], at: usize| {
        frame.get(at..)?.first_chunk::<2>().map(|octets| u16::from_be_bytes(*octets))
    };
    while matches!(word(frame, at), Some(0x8100 | 0x88a8)) {
        at += 4;
    }
    let ip = at + 2;
    let (Some(0x0800), Some(&version), Some(17)) =
        (word(frame, at), frame.get(ip), frame.get(ip + 9).copied())
    else {
        return;
    };
    let udp = ip + usize::from(version & 15) * 4;
    let Some(end) = word(frame, ip + 2).map(|total_len| ip + usize::from(total_len)) else {
        return;
    };
    let addresses = frame.get(ip + 12..).and_then(<[u8]>::first_chunk::<8>).copied();
    let (Some([a, b, c, d, e, f, g, h]), Some(datagram)) = (addresses, frame.get_mut(udp..end)) else {
        return;
    };
    if let Some(sum) = datagram.get_mut(6..8) {
        sum.fill(0);
    }
    let right = udp_checksum(Ipv4Addr::new(a, b, c, d), Ipv4Addr::new(e, f, g, h), datagram).to_be_bytes();
    if let Some(sum) = datagram.get_mut(6..8) {
        sum.copy_from_slice(&right);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_example_of_rfc_1071() {
        assert_eq!(internet_checksum(&[&[0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7]]), !0xddf2);
    }

    #[test]
    fn a_checksum_left_out_is_put_in() {
        for frame in [Frame::request(1, [2; 6]), Frame::request(1, [2; 6]).tag(0x88a8, 1).tag(0x8100, 2)] {
            let mut spoilt = frame.clone().udp_checksum(Checksum::Wrong).build();
            complete_udp_checksum(&mut spoilt);
            assert_eq!(spoilt, frame.build());
        }
        for length in 0..60 {
            let mut cut = Frame::request(1, [2; 6]).build();
            cut.truncate(length);
            let before = cut.clone();
            complete_udp_checksum(&mut cut);
            assert_eq!(cut, before);
        }
    }

    #[test]
    fn fields_are_where_the_rfcs_put_them() {
        let frame =
            Frame::request(3, [2, 0, 0, 0, 0, 1]).xid(0xa1b2_c3d4).tag(0x8100, 7).option(61, &[1]).build();
        assert_eq!(frame.get(12..18), Some(&[0x81, 0, 0, 7, 8, 0][..]));
        assert_eq!(frame.get(50..54), Some(&[0xa1, 0xb2, 0xc3, 0xd4][..]));
        assert_eq!(frame.get(46 + 236..46 + 247), Some(&[99, 130, 83, 99, 53, 1, 3, 61, 1, 1, 255][..]));
        assert_eq!(frame.len(), 14 + 4 + 20 + 8 + 300);
    }
}
