//! What clients that keep a ledger ask, and how what comes back is read: of those that torture one server, and of those
//! of a whole cluster. Many are played by one thread; a client's `identity` makes its hardware address.

use std::{collections::BTreeMap, net::Ipv4Addr};

use crate::{
    lab::{SERVER, SERVER_MAC},
    packet::Frame,
    parse::Message,
};

/// The hardware address of a client.
pub fn mac(identity: u32) -> [u8; 6] {
    let [a, b, c, d] = identity.to_be_bytes();
    [2, 1, a, b, c, d]
}

fn message(identity: u32, kind: u8, first: &[(u8, Ipv4Addr)]) -> Frame {
    let mut frame = Frame::request(kind, mac(identity));
    for (code, value) in first {
        frame = frame.option(*code, &value.octets());
    }
    // Every other client names itself by an identifier, too.
    if identity.is_multiple_of(2) {
        frame = frame.option(61, &[&[1][..], &mac(identity)].concat());
    }
    frame.option(55, &[1, 3, 6])
}

/// A DISCOVER.
pub fn discover(identity: u32) -> Frame {
    message(identity, 1, &[])
}

/// A REQUEST for what was offered.
pub fn select(identity: u32, address: Ipv4Addr) -> Frame {
    message(identity, 3, &[(50, address), (54, SERVER)])
}

/// A REQUEST after a reboot.
pub fn reboot(identity: u32, address: Ipv4Addr) -> Frame {
    message(identity, 3, &[(50, address)])
}

/// A REQUEST to renew, as a broadcast.
pub fn renewal(identity: u32, address: Ipv4Addr) -> Frame {
    message(identity, 3, &[]).ciaddr(address).src(address)
}

/// A RELEASE, which is not answered.
pub fn release(identity: u32, address: Ipv4Addr) -> Frame {
    to_server(message(identity, 7, &[(54, SERVER)]).ciaddr(address).src(address))
}

/// A DECLINE, which is not answered.
pub fn decline(identity: u32, address: Ipv4Addr) -> Frame {
    message(identity, 4, &[(50, address), (54, SERVER)])
}

/// Straight to the server.
pub fn to_server(frame: Frame) -> Frame {
    frame.dst(SERVER).dst_mac(SERVER_MAC)
}

/// What a client asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Asked {
    /// A DISCOVER.
    Discover,
    /// A REQUEST for what was offered.
    Select,
    /// A REQUEST to renew.
    Renew,
    /// A REQUEST after a reboot.
    Reboot,
}

impl Asked {
    /// What a reply of this type (option 53) is in answer to it; `None` if it is none.
    pub const fn answered_by(self, kind: u8) -> Option<Answer> {
        match (kind, self) {
            (2, Self::Discover) => Some(Answer::Offer),
            (5, Self::Select | Self::Renew | Self::Reboot) => Some(Answer::Ack),
            (6, Self::Select | Self::Renew | Self::Reboot) => Some(Answer::Nak),
            _ => None,
        }
    }
}

/// What an answer may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// An address is offered.
    Offer,
    /// It is granted.
    Ack,
    /// It is refused.
    Nak,
}

/// A question without an answer yet, and what else its asker wants to know of it then.
#[derive(Clone, Copy, Debug)]
pub struct Open<T> {
    /// Which client asks.
    pub slot: usize,
    /// What.
    pub asked: Asked,
    /// For which address.
    pub address: Ipv4Addr,
    /// When, on the boot clock.
    pub sent_boot_ns: u64,
    /// For the how manieth time in the last round; 0: before it.
    pub attempt: u8,
    /// The rest.
    pub more: T,
}

/// All of them, by transaction.
#[derive(Debug)]
pub struct Questions<T> {
    open: BTreeMap<u32, Open<T>>,
    renewals: usize,
    next_xid: u32,
}

impl<T> Default for Questions<T> {
    fn default() -> Self {
        Self { open: BTreeMap::new(), renewals: 0, next_xid: 1 }
    }
}

impl<T: Copy> Questions<T> {
    /// Another one; its transaction.
    pub fn ask(&mut self, open: Open<T>) -> u32 {
        let xid = self.next_xid;
        self.next_xid += 1;
        self.renewals += usize::from(open.asked == Asked::Renew);
        self.open.insert(xid, open);
        xid
    }

    /// It is answered, or given up.
    pub fn close(&mut self, xid: u32) -> Option<Open<T>> {
        let open = self.open.remove(&xid)?;
        self.renewals -= usize::from(open.asked == Asked::Renew);
        Some(open)
    }

    /// The question of a transaction.
    pub fn get(&self, xid: u32) -> Option<Open<T>> {
        self.open.get(&xid).copied()
    }

    /// Renewals under way.
    pub const fn renewals(&self) -> usize {
        self.renewals
    }

    /// Questions under way that are no renewals.
    pub fn others(&self) -> usize {
        self.open.len().saturating_sub(self.renewals)
    }

    /// Whether all are answered or given up.
    pub fn is_empty(&self) -> bool {
        self.open.is_empty()
    }

    /// Those that have waited for as long as a client does.
    pub fn over(&self, now_boot_ns: u64, wait_ns: impl Fn(Asked) -> u64) -> Vec<u32> {
        let over = |open: &Open<T>| now_boot_ns >= open.sent_boot_ns + wait_ns(open.asked);
        self.open.iter().filter(|(_, open)| over(open)).map(|(xid, _)| *xid).collect()
    }
}

/// What a frame is to these clients.
pub enum Heard {
    /// Neighbour discovery and the like, which are none of our business.
    Nothing,
    /// To no client of this kind.
    Stranger(Message),
    /// No sound DHCP reply, and why.
    Unsound(String),
    /// A sound reply to a client.
    Reply(Message, u32),
}

/// Reads a frame; `next_identity` is the first that no client has had.
pub fn hear(frame: &[u8], next_identity: u32) -> Heard {
    if frame.get(12..14) != Some(&[8, 0]) || frame.get(23) != Some(&17) {
        return Heard::Nothing;
    }
    let message = match Message::parse(frame) {
        Ok(message) => message,
        Err(error) => return Heard::Unsound(format!("{error:#}: {frame:02x?}")),
    };
    let Some(&[2, 1, a, b, c, d]) = message.chaddr.first_chunk::<6>() else {
        return Heard::Stranger(message);
    };
    let identity = u32::from_be_bytes([a, b, c, d]);
    let sound = message.op == 2
        && message.src_mac == SERVER_MAC
        && message.src == SERVER
        && message.option_address(54) == Some(SERVER);
    if sound && identity < next_identity {
        Heard::Reply(message, identity)
    } else {
        Heard::Unsound(format!("{message:?}"))
    }
}
