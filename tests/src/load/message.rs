//! What clients send: each message is a template made once, into which a client is put in some tens of nanoseconds.

use std::net::Ipv4Addr;

use super::mac;
use crate::packet::Frame;

/// The longest frame made here, octets.
pub const FRAME_MAX: usize = 400;
/// What clients ask for (option 55): what dhclient 4.4 does.
const PARAMETERS: [u8; 13] = [1, 28, 2, 3, 15, 6, 119, 12, 44, 47, 26, 121, 42];

/// How clients reach the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Way {
    /// The server's address.
    pub server: Ipv4Addr,
    /// Its hardware address.
    pub server_mac: [u8; 6],
    /// The router and relay agent in between, if clients are not on the server's link.
    pub relay: Option<Relay>,
    /// The VLAN all frames are in.
    pub vlan: Option<u16>,
}

/// A relay agent that is also the router of its clients.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Relay {
    /// Its address at the clients' side, `giaddr`.
    pub address: Ipv4Addr,
    /// Its hardware address at the server's side.
    pub mac: [u8; 6],
    /// Whether it tells the server the circuit a client is on (option 82), for each client another.
    pub information: bool,
}

/// The messages of RFC 2131 that are sent here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Who gives me an address?
    Discover,
    /// I take the address offered (SELECTING).
    Request,
    /// May I go on with my address (RENEWING)?
    Renew,
    /// The same to all servers (REBINDING): a broadcast, which a relay agent relays.
    Rebind,
    /// I remember this address; is it still mine (INIT-REBOOT)?
    Reboot,
}

/// One client's message.
#[derive(Clone, Copy, Debug)]
pub struct Letter {
    /// Which.
    pub kind: Kind,
    /// From whom.
    pub client: u32,
    /// The transaction.
    pub xid: u32,
    /// Seconds since the client began.
    pub secs: u16,
    /// The address it has or asks for.
    pub address: Ipv4Addr,
    /// The server it chose, for a REQUEST.
    pub server: Ipv4Addr,
}

/// Makes frames.
#[derive(Clone, Debug)]
pub struct Letters {
    discover: Template,
    request: Template,
    renew: Template,
    rebind: Template,
    reboot: Template,
}

impl Letters {
    /// Messages for a way.
    pub fn new(way: &Way) -> Self {
        let of = |kind| Template::new(way, kind);
        Self {
            discover: of(Kind::Discover),
            request: of(Kind::Request),
            renew: of(Kind::Renew),
            rebind: of(Kind::Rebind),
            reboot: of(Kind::Reboot),
        }
    }

    /// Writes a message into `frame` and returns its length.
    pub fn write(&self, letter: &Letter, frame: &mut [u8; FRAME_MAX]) -> usize {
        self.template(letter.kind).write(letter, frame)
    }

    /// The template of the renewals: frame and where in it the hardware address stands in option 61.
    pub fn renewal(&self) -> (&[u8], usize) {
        (&self.renew.frame, self.renew.places.client_id)
    }

    const fn template(&self, kind: Kind) -> &Template {
        match kind {
            Kind::Discover => &self.discover,
            Kind::Request => &self.request,
            Kind::Renew => &self.renew,
            Kind::Rebind => &self.rebind,
            Kind::Reboot => &self.reboot,
        }
    }
}

/// A frame to which only the client is missing.
#[derive(Clone, Debug)]
struct Template {
    frame: Vec<u8>,
    places: Places,
    /// The client says that it has its address (`ciaddr`).
    has_address: bool,
    /// The client's own address is the packet's source.
    from_client: bool,
    /// The client's own hardware address is the frame's source.
    from_client_mac: bool,
}

/// Where in a frame its variable parts are; 0 for a part it lacks.
#[derive(Clone, Copy, Debug, Default)]
struct Places {
    ip: usize,
    bootp: usize,
    client_id: usize,
    wanted: usize,
    server_id: usize,
    circuit: usize,
}

impl Template {
    fn new(way: &Way, kind: Kind) -> Self {
        let client = mac(0);
        let mut options = client_id(client);
        let message_type = if kind == Kind::Discover { 1 } else { 3 };
        let mut frame = Frame::request(message_type, client).option(61, &options);
        let direct = kind == Kind::Renew;
        if matches!(kind, Kind::Request | Kind::Reboot) {
            frame = frame.option(50, &[0; 4]);
        }
        if kind == Kind::Request {
            frame = frame.option(54, &[0; 4]);
        }
        frame = frame.option(55, &PARAMETERS).option(57, &1500_u16.to_be_bytes());
        if direct {
            frame = frame.dst(way.server).dst_mac(way.server_mac);
        }
        if let Some(relay) = way.relay {
            frame = frame.src_mac(relay.mac).dst_mac(way.server_mac);
            if !direct {
                frame = frame.src(relay.address).dst(way.server).src_port(67).giaddr(relay.address).hops(1);
                if relay.information {
                    frame = frame.option(82, &[1, 4, 0, 0, 0, 0]);
                }
            }
        }
        if let Some(vlan) = way.vlan {
            frame = frame.tag(0x8100, vlan);
        }
        let frame = frame.build();
        let ip = 14 + if way.vlan.is_some() { 4 } else { 0 };
        let bootp = ip + 28;
        options.insert(0, 7);
        let value_of = |code: u8| option_at(&frame, bootp + 240, code).unwrap_or(0);
        let places = Places {
            ip,
            bootp,
            client_id: value_of(61) + 1,
            wanted: value_of(50),
            server_id: value_of(54),
            circuit: match value_of(82) {
                0 => 0,
                at => at + 2,
            },
        };
        let has_address = matches!(kind, Kind::Renew | Kind::Rebind);
        let from_client = direct || has_address && way.relay.is_none();
        Self { frame, places, has_address, from_client, from_client_mac: way.relay.is_none() }
    }

    fn write(&self, letter: &Letter, frame: &mut [u8; FRAME_MAX]) -> usize {
        let len = self.frame.len().min(FRAME_MAX);
        put(frame, 0, &self.frame);
        let Places { ip, bootp, client_id, wanted, server_id, circuit } = self.places;
        let (mac, address) = (mac(letter.client), letter.address.octets());
        if self.from_client_mac {
            put(frame, 6, &mac);
        }
        put(frame, bootp + 4, &letter.xid.to_be_bytes());
        put(frame, bootp + 8, &letter.secs.to_be_bytes());
        put(frame, bootp + 28, &mac);
        put(frame, client_id, &mac);
        if self.from_client {
            put(frame, ip + 12, &address);
        }
        if self.has_address {
            put(frame, bootp + 12, &address);
        }
        for (at, octets) in
            [(wanted, address), (server_id, letter.server.octets()), (circuit, letter.client.to_be_bytes())]
        {
            if at != 0 {
                put(frame, at, &octets);
            }
        }
        put(frame, ip + 10, &[0, 0]);
        let sum = !folded(add(frame.get(ip..ip + 20).unwrap_or_default()));
        put(frame, ip + 10, &sum.to_be_bytes());
        put(frame, ip + 26, &[0, 0]);
        let sum = udp_sum(frame.get(ip..len).unwrap_or_default());
        let sum = if sum == u16::MAX { sum } else { !sum };
        put(frame, ip + 26, &sum.to_be_bytes());
        len
    }
}

fn client_id(mac: [u8; 6]) -> Vec<u8> {
    std::iter::once(1).chain(mac).collect()
}

/// Where the value of an option is.
fn option_at(frame: &[u8], options: usize, wanted: u8) -> Option<usize> {
    let mut at = options;
    loop {
        match (*frame.get(at)?, frame.get(at + 1)) {
            (0, _) => at += 1,
            (255, _) | (_, None) => return None,
            (code, Some(_)) if code == wanted => return Some(at + 2),
            (_, Some(len)) => at += 2 + usize::from(*len),
        }
    }
}

fn put(frame: &mut [u8], at: usize, octets: &[u8]) {
    if let Some(place) = frame.get_mut(at..at + octets.len()) {
        place.copy_from_slice(octets);
    }
}

/// The sum over the pseudo header and the datagram of an IPv4 packet whose header has no options.
pub(super) fn udp_sum(packet: &[u8]) -> u16 {
    let udp = packet.get(20..).unwrap_or_default();
    let addresses = packet.get(12..20).unwrap_or_default();
    folded(add(udp) + add(addresses) + 17 + udp.len() as u64)
}

/// Sums 16-bit words, the last one filled up with zeros (RFC 1071).
pub(super) fn add(octets: &[u8]) -> u64 {
    let mut words = octets.chunks_exact(2);
    let mut sum = 0_u64;
    for word in &mut words {
        if let &[a, b] = word {
            sum += u64::from(u16::from_be_bytes([a, b]));
        }
    }
    sum + words.remainder().first().map_or(0, |last| u64::from(*last) << 8)
}

/// The sum with its carries added in.
pub(super) fn folded(mut sum: u64) -> u16 {
    while sum >> 16 != 0 {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    sum as u16
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::parse::Message;

    const SERVER: Ipv4Addr = Ipv4Addr::new(198, 18, 0, 1);
    const RELAY: Relay =
        Relay { address: Ipv4Addr::new(198, 19, 0, 1), mac: [2, 0, 0, 0, 0, 0x0b], information: true };

    fn letter(kind: Kind) -> Letter {
        Letter {
            kind,
            client: 0x0102_0304,
            xid: 0xa1b2_c3d4,
            secs: 7,
            address: Ipv4Addr::new(198, 19, 1, 2),
            server: SERVER,
        }
    }

    fn message(way: &Way, kind: Kind) -> Message {
        let mut frame = [0; FRAME_MAX];
        let len = Letters::new(way).write(&letter(kind), &mut frame);
        Message::parse(&frame[..len]).unwrap()
    }

    #[test]
    fn every_message_on_every_way_is_sound_and_says_what_it_should() {
        for relay in [None, Some(RELAY)] {
            for vlan in [None, Some(7)] {
                let way = Way { server: SERVER, server_mac: [2; 6], relay, vlan };
                for kind in [Kind::Discover, Kind::Request, Kind::Renew, Kind::Rebind, Kind::Reboot] {
                    let message = message(&way, kind);
                    let client = mac(0x0102_0304);
                    assert_eq!(message.chaddr[..6], client);
                    assert_eq!(message.option(61).unwrap()[1..], client);
                    assert_eq!((message.xid, message.secs), (0xa1b2_c3d4, 7));
                    assert_eq!(message.tags.len(), usize::from(vlan.is_some()));
                    let has = |code| message.option_address(code).is_some();
                    assert_eq!(has(50), matches!(kind, Kind::Request | Kind::Reboot));
                    assert_eq!(has(54), kind == Kind::Request);
                    let renews = kind == Kind::Renew;
                    assert_eq!(!message.ciaddr.is_unspecified(), renews || kind == Kind::Rebind);
                    let from = match relay {
                        Some(relay) if !renews => relay.address,
                        _ => message.ciaddr,
                    };
                    assert_eq!(message.src, from, "{kind:?}");
                    assert_eq!(!message.giaddr.is_unspecified(), relay.is_some() && !renews);
                    assert_eq!(message.option(82).is_some(), relay.is_some() && !renews);
                    assert_eq!(message.src_mac, relay.map_or(client, |relay| relay.mac));
                }
            }
        }
    }
}
