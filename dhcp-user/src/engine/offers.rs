//! Addresses offered and not yet asked for: in memory only, bounded in number and in time. An offer is a courtesy, not
//! a promise (RFC 2131 section 3.1): losing one costs its client another round.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::Ipv4Addr,
};

use ahash::AHashMap;

use crate::{
    lease::record::ClientKey,
    time::{Span, Timestamp},
};

/// How long an address is kept for the client it was offered to.
pub const OFFER_TIME: Span = Span::from_secs(30);
/// How long an offer stands at least, even where nothing else is left to offer: as long as a client on the same link
/// takes to say that it wants it.
pub const OFFER_TIME_MIN: Span = Span::from_millis(20);
/// How many offers are kept; beyond that the oldest gives way.
pub const OFFERS_MAX: usize = 1 << 17;

#[derive(Clone)]
struct Offer {
    client: ClientKey,
    subnet: usize,
    until: Timestamp,
}

#[derive(Clone, Default)]
pub(super) struct Offers {
    by_address: BTreeMap<Ipv4Addr, Offer>,
    by_client: AHashMap<(usize, ClientKey), Ipv4Addr>,
    ends: BTreeSet<(Timestamp, Ipv4Addr)>,
    ends_by_subnet: BTreeSet<(usize, Timestamp, Ipv4Addr)>,
}

impl Offers {
    /// The address offered to a client in a subnet.
    pub fn of_client(&self, subnet: usize, client: &ClientKey) -> Option<Ipv4Addr> {
        if self.by_client.is_empty() {
            return None;
        }
        self.by_client.get(&(subnet, client.clone())).copied()
    }

    /// Whom an address is offered to.
    pub fn holder(&self, address: Ipv4Addr) -> Option<&ClientKey> {
        Some(&self.by_address.get(&address)?.client)
    }

    /// Notes an offer, anew if the client has it already. Returns the addresses of offers that gave way to it: the
    /// client's other one in that subnet, the oldest of all if there were too many.
    pub fn put(
        &mut self,
        now: Timestamp,
        address: Ipv4Addr,
        subnet: usize,
        client: &ClientKey,
    ) -> Vec<Ipv4Addr> {
        let mut gone = Vec::new();
        if let Some(other) = self.of_client(subnet, client).filter(|other| *other != address) {
            self.remove(other);
            gone.push(other);
        }
        self.remove(address);
        if self.by_address.len() >= OFFERS_MAX
            && let Some(&(_, oldest)) = self.ends.first()
        {
            self.remove(oldest);
            gone.push(oldest);
        }
        let until = now + OFFER_TIME;
        self.ends.insert((until, address));
        self.ends_by_subnet.insert((subnet, until, address));
        self.by_client.insert((subnet, client.clone()), address);
        self.by_address.insert(address, Offer { client: client.clone(), subnet, until });
        gone
    }

    /// Forgets an offer; whether there was one.
    pub fn remove(&mut self, address: Ipv4Addr) -> bool {
        let Some(offer) = self.by_address.remove(&address) else { return false };
        self.ends.remove(&(offer.until, address));
        self.ends_by_subnet.remove(&(offer.subnet, offer.until, address));
        self.by_client.remove(&(offer.subnet, offer.client));
        true
    }

    /// Forgets the offers of a range of addresses.
    pub fn remove_between(&mut self, first: Ipv4Addr, last: Ipv4Addr) {
        let addresses: Vec<Ipv4Addr> =
            self.by_address.range(first..=last).map(|(address, _)| *address).collect();
        for address in addresses {
            self.remove(address);
        }
    }

    /// Takes the oldest offer of a subnet, for whoever comes next when there is nothing else: most likely nobody wants it.
    pub fn take_oldest(&mut self, now: Timestamp, subnet: usize) -> Option<Ipv4Addr> {
        let address = self.oldest(now, subnet)?;
        self.remove(address);
        Some(address)
    }

    /// The one that [`take_oldest`](Self::take_oldest) would take.
    pub fn oldest(&self, now: Timestamp, subnet: usize) -> Option<Ipv4Addr> {
        let first = (subnet, Timestamp::ZERO, Ipv4Addr::UNSPECIFIED);
        let &(found, until, address) = self.ends_by_subnet.range(first..).next()?;
        if found != subnet || until + OFFER_TIME_MIN > now + OFFER_TIME {
            return None;
        }
        Some(address)
    }

    /// Takes an offer whose time is over.
    pub fn due(&mut self, now: Timestamp) -> Option<Ipv4Addr> {
        let &(until, address) = self.ends.first()?;
        if until > now {
            return None;
        }
        self.remove(address);
        Some(address)
    }

    pub fn next_due(&self) -> Option<Timestamp> {
        Some(self.ends.first()?.0)
    }

    pub fn len(&self) -> usize {
        self.by_address.len()
    }
}
