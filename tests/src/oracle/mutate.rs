//! What may happen to a renewal on its way: nothing that matters, something a message can say, or damage.

use std::net::Ipv4Addr;

use rand::{
    Rng,
    seq::{IndexedRandom as _, SliceRandom as _},
};

use super::{
    client::{Draft, random_octets},
    world::server_mac,
};
use crate::packet::{Checksum, Frame};
use dhcp_common::wire::REQUEST_OPTIONS_MAX;

/// Addresses that mean something in a world.
#[derive(Clone, Debug)]
pub struct Names {
    /// Ours, the clients', the relays', and some nobody has.
    pub addresses: Vec<Ipv4Addr>,
    /// Hardware addresses of clients.
    pub macs: Vec<[u8; 6]>,
}

impl Names {
    fn address(&self, rng: &mut impl Rng) -> Ipv4Addr {
        *self.addresses.choose(rng).unwrap_or(&Ipv4Addr::UNSPECIFIED)
    }

    fn mac(&self, rng: &mut impl Rng) -> [u8; 6] {
        match rng.random_range(0..4) {
            0 => [0xff; 6],
            1 => server_mac(rng.random_range(0..2)),
            2 => *self.macs.choose(rng).unwrap_or(&[0; 6]),
            _ => rng.random(),
        }
    }
}

/// What no answer depends on: transaction, time, flags, padding, the packet's own fields.
pub fn harmless(draft: &mut Draft, rng: &mut impl Rng) {
    let mut head = draft.head.clone().xid(rng.random()).secs(rng.random());
    if rng.random_bool(0.3) {
        head = head.flags(*[0, 0x8000, 0x7fff, 0xffff, 1].choose(rng).unwrap_or(&0));
    }
    if rng.random_bool(0.3) {
        let options: usize = draft.options.iter().map(|(_, value)| value.len() + 2).sum::<usize>() + 1;
        head = head
            .bootp_len_min(240 + rng.random_range(options.min(REQUEST_OPTIONS_MAX)..=REQUEST_OPTIONS_MAX));
    }
    if rng.random_bool(0.3) {
        head = head.ip_id(rng.random()).tos(rng.random()).ttl(rng.random());
    }
    if rng.random_bool(0.2) {
        head = head.fragment(*[0, 0x4000, 0x8000, 0xc000].choose(rng).unwrap_or(&0));
    }
    if rng.random_bool(0.2) {
        head = head.udp_checksum(Checksum::Absent);
    }
    if rng.random_bool(0.1) {
        head = head.src_port(rng.random());
    }
    if rng.random_bool(0.1) {
        head = head.trailer(random_octets(rng, 1..=64));
    }
    if rng.random_bool(0.1) {
        head = head.src_mac(rng.random());
    }
    draft.head = head;
}

/// Something else a message may say, well-formed or nearly so.
#[expect(clippy::too_many_lines, reason = "a list of cases, one line or a few each")]
pub fn meaning(draft: &mut Draft, names: &Names, rng: &mut impl Rng) {
    let head = draft.head.clone();
    let options = &mut draft.options;
    let at = rng.random_range(0..=options.len());
    let one = rng.random_range(0..options.len().max(1));
    draft.head = match rng.random_range(0..40) {
        0 => head.ciaddr(names.address(rng)),
        1 => head.src(names.address(rng)),
        2 => head.dst(names.address(rng)),
        3 => head.dst(Ipv4Addr::BROADCAST),
        4 => head.dst(Ipv4Addr::BROADCAST).dst_mac([0xff; 6]),
        5 => head.dst_mac(names.mac(rng)),
        6 => head.src_mac(names.mac(rng)),
        7 => {
            let mut chaddr: [u8; 16] = [0; 16];
            chaddr[..6].copy_from_slice(names.macs.choose(rng).unwrap_or(&[0; 6]));
            head.chaddr(chaddr)
        }
        8 => {
            let mut chaddr: [u8; 16] = rng.random();
            chaddr[..6].copy_from_slice(names.macs.choose(rng).unwrap_or(&[0; 6]));
            head.chaddr(chaddr)
        }
        9 => head.giaddr(names.address(rng)),
        10 => head.giaddr(Ipv4Addr::UNSPECIFIED),
        11 => head.tag(*[0x8100, 0x88a8, 0x9100].choose(rng).unwrap_or(&0), rng.random()),
        12 => head.tag(0x8100, *[0, 0x2000, 1, 7, 8, 10, 100].choose(rng).unwrap_or(&0)),
        13 => head.tag(0x88a8, 100).tag(0x8100, *[7, 8, 0].choose(rng).unwrap_or(&0)),
        14 => head.yiaddr(names.address(rng)),
        15 => head.siaddr(names.address(rng)),
        16 => head.sname([rng.random(); 64]),
        17 => {
            let mut file = [0; 128];
            file[rng.random_range(0..128)] = rng.random();
            head.file(file)
        }
        18 => match rng.random_range(0..5) {
            0 => head.op(rng.random_range(0..4)),
            1 => head.htype(rng.random_range(0..34)),
            2 => head.hlen(rng.random_range(0..20)),
            3 => head.hops(rng.random_range(0..20)),
            _ => head.cookie(rng.random()),
        },
        19 => {
            options.shuffle(rng);
            head
        }
        20 | 21 if one < options.len() => {
            options.remove(one);
            head
        }
        22 | 23 if one < options.len() => {
            let twice = options[one].clone();
            options.insert(at, twice);
            head
        }
        24 | 25 => {
            options.insert(at, (rng.random_range(1..255), random_octets(rng, 0..=24)));
            head
        }
        26 | 27 if one < options.len() => {
            let value = &mut options[one].1;
            match rng.random_range(0..3) {
                0 => value.push(rng.random()),
                1 => drop(value.pop()),
                _ => value.iter_mut().for_each(|octet| *octet = rng.random()),
            }
            head
        }
        28 => {
            options.insert(at, (54, names.address(rng).octets().to_vec()));
            head
        }
        29 => {
            options.insert(at, (50, names.address(rng).octets().to_vec()));
            head
        }
        30 => {
            options.insert(at, (52, vec![rng.random_range(0..5)]));
            head
        }
        31 => {
            for (_, value) in options.iter_mut().filter(|(code, _)| *code == 53) {
                *value = vec![*[1, 2, 4, 5, 6, 7, 8, 9, 10, 13].choose(rng).unwrap_or(&0)];
            }
            head
        }
        32 => {
            let sub = *[1, 2, 5, 11, 19, 151].choose(rng).unwrap_or(&1);
            let value = names.address(rng).octets();
            options.push((82, [&[sub, 4], &value[..]].concat()));
            head
        }
        33 => head.ip_options(vec![1; 4 * rng.random_range(1..=10)]),
        34 => head.fragment(*[0x2000, 1, 0x1fff, 0x4001, 0x6000].choose(rng).unwrap_or(&0)),
        35 => match rng.random_range(0..4) {
            0 => head.ip_protocol(rng.random()),
            1 => head.dst_port(*[68, 53, 4011, 0].choose(rng).unwrap_or(&0)),
            2 => head.src_port(*[67, 68, 1024].choose(rng).unwrap_or(&0)),
            _ => head.ether_type(rng.random()),
        },
        36 => head.udp_checksum(Checksum::Wrong),
        37 => {
            let tails: [&[u8]; 5] = [&[], &[255], &[255, 0, 0, 1], &[0, 0, 255], &[12, 200, 1]];
            draft.tail = Some(tails.choose(rng).unwrap_or(&tails[0]).to_vec());
            head
        }
        38 => head.bootp_len_min(rng.random_range(240..900)),
        _ => {
            let wish: u32 = rng.random_range(0..200_000);
            options.push((51, wish.to_be_bytes().to_vec()));
            head
        }
    };
}

/// Damage: bits flipped, octets lost or added, lengths that lie.
pub fn damage(frame: &mut Vec<u8>, rng: &mut impl Rng) {
    if frame.is_empty() {
        return;
    }
    match rng.random_range(0..10) {
        0..=3 => {
            for _ in 0..*[1, 1, 1, 2, 3, 8].choose(rng).unwrap_or(&1) {
                let at = rng.random_range(0..frame.len());
                frame[at] ^= 1 << rng.random_range(0..8);
            }
        }
        4 => {
            let at = rng.random_range(0..frame.len());
            frame[at] = rng.random();
        }
        5 => frame.truncate(rng.random_range(0..=frame.len())),
        6 => {
            let more = if rng.random_bool(0.5) {
                random_octets(rng, 1..=300)
            } else {
                vec![0; rng.random_range(1..=300)]
            };
            frame.extend(more);
        }
        7 => {
            // The lengths in the headers of an untagged frame.
            let at = if rng.random_bool(0.5) { 16 } else { 38 };
            let by = rng.random_range(-40_i16..=40);
            if let Some(field) = frame.get_mut(at..at + 2) {
                let length = u16::from_be_bytes([field[0], field[1]]).wrapping_add_signed(by);
                field.copy_from_slice(&length.to_be_bytes());
            }
        }
        8 => {
            // Both lengths and the frame's: a datagram that ends earlier or later, and says so.
            let by = rng.random_range(-80_i16..=80);
            frame.resize(frame.len().saturating_add_signed(by.into()), 0);
            for at in [16, 38] {
                if let Some(field) = frame.get_mut(at..at + 2) {
                    let length = u16::from_be_bytes([field[0], field[1]]).wrapping_add_signed(by);
                    field.copy_from_slice(&length.to_be_bytes());
                }
            }
        }
        _ => {
            let from = rng.random_range(0..frame.len());
            let to = rng.random_range(from..=frame.len());
            rng.fill(&mut frame[from..to]);
        }
    }
}

/// Traffic that has nothing to do with DHCP.
pub fn unrelated(names: &Names, rng: &mut impl Rng) -> Vec<u8> {
    let macs = [names.mac(rng), names.mac(rng)].concat();
    match rng.random_range(0..5) {
        0 => [macs, vec![8, 6, 0, 1, 8, 0, 6, 4, 0, 1], random_octets(rng, 20..=20)].concat(),
        1 => [macs, vec![0x86, 0xdd, 0x60], random_octets(rng, 40..=200)].concat(),
        2 => random_octets(rng, 0..=600),
        3 => Frame::request(3, names.mac(rng)).ip_protocol(*[1, 6, 47].choose(rng).unwrap_or(&6)).build(),
        _ => {
            let (from, to) = (rng.random(), rng.random());
            Frame::request(3, names.mac(rng)).src(names.address(rng)).src_port(from).dst_port(to).build()
        }
    }
}
