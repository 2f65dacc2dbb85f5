//! Clients in the styles of real ones: what they put into DISCOVER and REQUEST, in which order, and what of it they leave
//! out when they renew. The styles are those of the recorded frames in `fixtures/clients`.

use std::net::Ipv4Addr;

use anyhow::{Context as _, Result, ensure};
use rand::{
    Rng,
    seq::{IndexedRandom as _, SliceRandom as _},
};

use super::world::{World, server_mac};
use crate::{packet::Frame, parse::Message};

/// Where a client is.
#[derive(Clone, Debug)]
pub struct Place {
    /// Index of the server's interface.
    pub interface: usize,
    /// VLAN tags of its frames: TPID and TCI.
    pub tags: Vec<(u16, u16)>,
    /// The relay between it and the server.
    pub relay: Option<Relay>,
}

/// A relay agent.
#[derive(Clone, Debug)]
pub struct Relay {
    /// Its address.
    pub giaddr: Ipv4Addr,
    /// The address of ours that it sends to.
    pub server: Ipv4Addr,
    /// Sub-options of option 82 beside a circuit for each client: none at all without this.
    pub information: Option<Vec<u8>>,
}

/// A message in parts that can be changed one by one.
#[derive(Clone, Debug)]
pub struct Draft {
    /// Everything but the options.
    pub head: Frame,
    /// The options, in order.
    pub options: Vec<(u8, Vec<u8>)>,
    /// Octets instead of an end option; [`None`] for an end option.
    pub tail: Option<Vec<u8>>,
}

impl Draft {
    /// The frame.
    pub fn build(&self) -> Vec<u8> {
        let frame = self
            .options
            .iter()
            .fold(self.head.clone().no_options(), |frame, (code, value)| frame.option(*code, value));
        match &self.tail {
            None => frame.build(),
            Some(tail) => frame.raw_options(tail).build_unclosed(),
        }
    }
}

/// How a renewal reaches the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// At T1: to the server's address.
    Unicast,
    /// At T2: to everybody, from the client's address.
    Broadcast,
    /// At T2 as systemd-networkd does: to everybody, from 0.0.0.0.
    BroadcastUnspecified,
    /// Through the relay, which sends to the server's address.
    Relayed,
    /// Through the relay, which sends to everybody.
    RelayedBroadcast,
}

impl Way {
    /// Whether a relay is in between.
    pub const fn is_relayed(self) -> bool {
        matches!(self, Self::Relayed | Self::RelayedBroadcast)
    }
}

/// How a client came to its address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Joined {
    /// It was offered none.
    Not,
    /// By an ACK of its DISCOVER (RFC 4039), from which no renewal is predicted.
    Rapidly,
    /// By OFFER and ACK.
    InFull,
}

/// A client.
#[derive(Clone, Debug)]
pub struct Client {
    /// Its hardware address.
    pub mac: [u8; 6],
    /// Where it is.
    pub place: Place,
    /// What it says, in order; 50 and 54 are where it puts them.
    pub options: Vec<(u8, Vec<u8>)>,
    /// Least octets of its BOOTP messages.
    pub bootp_len_min: usize,
    /// Its flags.
    pub flags: u16,
    /// Whether its renewals carry 50 and 54, as RFC 1541 had it.
    pub old_school: bool,
    /// Its address, once it has one.
    pub address: Ipv4Addr,
    /// The address of ours that its unicast renewals go to.
    pub server: Ipv4Addr,
}

impl Client {
    /// A client with some style's options and some of its own.
    pub fn random(number: u16, place: &Place, server: Ipv4Addr, rng: &mut impl Rng) -> Self {
        let [high, low] = number.to_be_bytes();
        let mac = [2, 0x10, 0, 0, high, low];
        let (mut options, bootp_len_min) = style(mac, rng);
        decorate(&mut options, rng);
        Self {
            mac,
            place: place.clone(),
            options,
            bootp_len_min,
            flags: if rng.random_bool(0.2) { 0x8000 } else { 0 },
            old_school: rng.random_bool(0.05),
            address: Ipv4Addr::UNSPECIFIED,
            server,
        }
    }

    /// DISCOVER, OFFER, REQUEST, ACK.
    ///
    /// # Errors
    ///
    /// When an answer is not what the exchange asks for.
    pub fn join(&mut self, world: &mut World) -> Result<Joined> {
        let (_, sent) = world.deliver(self.place.interface, &self.discover().build())?;
        let Some(offer) = sent.first() else { return Ok(Joined::Not) };
        let offer = Message::parse(offer)?;
        let mut joined = Joined::Rapidly;
        if offer.kind() == 2 {
            joined = Joined::InFull;
            let server_id = offer.option_address(54).context("an offer without option 54")?;
            let request = self.request(offer.yiaddr, server_id).build();
            let (_, sent) = world.deliver(self.place.interface, &request)?;
            let ack = Message::parse(sent.first().context("no answer to a REQUEST")?)?;
            ensure!(ack.kind() == 5 && ack.yiaddr == offer.yiaddr, "not the ACK of what was offered");
        }
        self.address = offer.yiaddr;
        Ok(joined)
    }

    fn discover(&self) -> Draft {
        let mut draft = self.draft(1, &[50, 54]);
        self.relay(&mut draft, false);
        draft
    }

    fn request(&self, address: Ipv4Addr, server_id: Ipv4Addr) -> Draft {
        let mut draft = self.draft(3, &[]);
        set(&mut draft.options, 50, &address.octets());
        set(&mut draft.options, 54, &server_id.octets());
        self.relay(&mut draft, false);
        draft
    }

    /// Its renewal; relayed ways are for clients behind a relay.
    pub fn renewal(&self, way: Way) -> Draft {
        let mut draft = if self.old_school {
            let mut draft = self.draft(3, &[]);
            set(&mut draft.options, 50, &self.address.octets());
            set(&mut draft.options, 54, &self.server.octets());
            draft
        } else {
            self.draft(3, &[50, 54])
        };
        draft.head = draft.head.ciaddr(self.address);
        match way {
            Way::Unicast => {
                draft.head =
                    draft.head.src(self.address).dst(self.server).dst_mac(mac_of(self.place.interface));
                if self.place.relay.is_some() {
                    // Through a router.
                    draft.head = draft.head.src_mac(RELAY_MAC).ttl(63);
                }
            }
            Way::Broadcast => draft.head = draft.head.src(self.address),
            Way::BroadcastUnspecified => {}
            Way::Relayed => self.relay(&mut draft, false),
            Way::RelayedBroadcast => self.relay(&mut draft, true),
        }
        draft
    }

    /// The message of type `kind`, without the options in `without`, as it leaves the client by broadcast.
    fn draft(&self, kind: u8, without: &[u8]) -> Draft {
        let mut head = Frame::request(kind, self.mac).flags(self.flags).bootp_len_min(self.bootp_len_min);
        for &(tpid, tci) in &self.place.tags {
            head = head.tag(tpid, tci);
        }
        let mut options = self.options.clone();
        options.retain(|(code, _)| !without.contains(code));
        set(&mut options, 53, &[kind]);
        Draft { head, options, tail: None }
    }

    /// What the relay, if there is one, makes of a broadcast.
    fn relay(&self, draft: &mut Draft, broadcast: bool) {
        let Some(relay) = &self.place.relay else { return };
        let head =
            draft.head.clone().giaddr(relay.giaddr).hops(1).src_port(67).src_mac(RELAY_MAC).src(relay.giaddr);
        draft.head =
            if broadcast { head } else { head.dst(relay.server).dst_mac(mac_of(self.place.interface)) };
        if let Some(information) = &relay.information {
            let [.., high, low] = self.mac;
            let mut value = vec![1, 4, 0, 7, high, low];
            value.extend(information);
            draft.options.push((82, value));
        }
    }
}

/// The Ethernet address of relays and routers.
pub const RELAY_MAC: [u8; 6] = [2, 0x20, 0, 0, 0, 1];

fn mac_of(interface: usize) -> [u8; 6] {
    server_mac(u8::try_from(interface).expect("fewer than 256 interfaces"))
}

fn set(options: &mut [(u8, Vec<u8>)], code: u8, value: &[u8]) {
    for (_, held) in options.iter_mut().filter(|(held, _)| *held == code) {
        *held = value.to_vec();
    }
}

/// The options of a real client's REQUEST, and the least octets of its messages.
fn style(mac: [u8; 6], rng: &mut impl Rng) -> (Vec<(u8, Vec<u8>)>, usize) {
    let id: Vec<u8> = [1].into_iter().chain(mac).collect();
    let o = |code: u8, value: &[u8]| (code, value.to_vec());
    match rng.random_range(0..4) {
        0 => (vec![o(53, &[3]), o(54, &[]), o(50, &[]), o(55, &[1, 28, 3, 6, 26])], 300),
        1 => {
            let vendor = b"dhcpcd-9.4.1:Linux-6.1.0:x86_64:AuthenticAMD";
            let list = [1, 3, 6, 26, 28, 33, 51, 54, 58, 59];
            let head = vec![o(50, &[]), o(53, &[3]), o(54, &[]), o(55, &list)];
            ([head, vec![o(57, &[5, 192]), o(60, vendor), o(145, &[1])]].concat(), 0)
        }
        2 => {
            let list = [1, 3, 6, 12, 15, 33, 42, 120, 121];
            let duid = [255, 1, 2, 3, 4, 0, 2, 0, 0, 171, 17, mac[4], mac[5], 3, 2, 1, 9, 8, 7];
            let head = vec![o(53, &[3]), o(61, &duid), o(55, &list), o(57, &[5, 192])];
            ([head, vec![o(54, &[]), o(50, &[]), o(12, b"vm")]].concat(), 0)
        }
        _ => {
            let list = [1, 3, 6, 12, 15, 28, 42];
            let head = vec![o(53, &[3]), o(50, &[]), o(54, &[]), o(57, &[2, 64]), o(55, &list)];
            ([head, vec![o(60, b"udhcp 1.35.0"), o(61, &id)]].concat(), 300)
        }
    }
}

/// What else clients say.
fn decorate(options: &mut Vec<(u8, Vec<u8>)>, rng: &mut impl Rng) {
    if rng.random_bool(0.2) {
        options.push((12, b"host.example"[..rng.random_range(1..=12)].to_vec()));
    }
    if rng.random_bool(0.15) {
        let wish: u32 = *[0, 60, 600, 1_800, 3_600, 86_400, u32::MAX].choose(rng).unwrap_or(&0);
        options.push((51, wish.to_be_bytes().to_vec()));
    }
    if rng.random_bool(0.15) {
        options.retain(|(code, _)| *code != 61);
        let longest = *[2, 8, 64, 120, 200].choose(rng).unwrap_or(&2);
        let id = random_octets(rng, 1..=longest);
        options.insert(rng.random_range(0..=options.len()), (61, id));
    }
    if rng.random_bool(0.05) {
        // RFC 3396: an option in two parts.
        options.push((61, random_octets(rng, 1..=9)));
    }
    if rng.random_bool(0.2) {
        let mut list: Vec<u8> =
            vec![1, 3, 6, 12, 15, 26, 42, 43, 51, 58, 59, 66, 67, 82, 108, 119, 121, 224, 225];
        list.shuffle(rng);
        list.truncate(rng.random_range(1..=list.len()));
        options.retain(|(code, _)| *code != 55);
        options.push((55, list));
    }
    if rng.random_bool(0.05) {
        options.retain(|(code, _)| *code != 55);
    }
    if rng.random_bool(0.2) {
        let size: u16 = *[0, 300, 576, 590, 700, 1_024, 1_500, 9_000].choose(rng).unwrap_or(&0);
        options.retain(|(code, _)| *code != 57);
        options.push((57, size.to_be_bytes().to_vec()));
    }
    for code in [60, 77, 81, 93, 97, 116, 124, 90] {
        if rng.random_bool(0.05) {
            options.push((code, random_octets(rng, 0..=20)));
        }
    }
    if rng.random_bool(0.03) {
        options.push((80, Vec::new()));
    }
    if rng.random_bool(0.1) {
        options.shuffle(rng);
    }
}

/// Some octets.
pub fn random_octets(rng: &mut impl Rng, len: std::ops::RangeInclusive<usize>) -> Vec<u8> {
    let mut octets = vec![0; rng.random_range(len)];
    rng.fill(octets.as_mut_slice());
    octets
}
