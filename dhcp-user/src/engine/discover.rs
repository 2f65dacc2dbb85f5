//! DISCOVER (RFC 2131 section 4.3.1): which address a client is offered, and the short cut of RFC 4039.

use std::net::Ipv4Addr;

use rand::RngCore;

use crate::{lease::record::LeaseState, time::Timestamp};

use super::{
    Engine, Inquiry,
    effects::{Effects, Reply},
    foresee::Wish,
    options::code,
    reason::SlowReason,
    reply::{self, Answer},
    request::kind,
};

impl Engine {
    pub(super) fn discover(
        &mut self,
        rng: &mut dyn RngCore,
        inquiry: &Inquiry<'_>,
        effects: &mut Effects,
    ) -> SlowReason {
        let request = inquiry.request;
        let subnets = self.topology.on_link(inquiry.ingress, request);
        let Some(&offer_key) = subnets.first() else { return SlowReason::IgnoredNoSubnet };
        let Some((subnet, address)) = self.choose(rng, inquiry, &subnets) else {
            return SlowReason::IgnoredNoFreeAddress;
        };
        let Some(terms) = self.terms_for(subnet, address, request, None) else {
            return SlowReason::IgnoredNoFreeAddress;
        };
        let (rapid_commit, lease_secs) =
            (terms.policy.rapid_commit, self.grantable_secs(inquiry.now, address, terms.policy, request));
        if self.must_wait(inquiry, subnet, address, effects) {
            self.offer(inquiry, offer_key, address);
            return SlowReason::Probing;
        }
        if rapid_commit && request.option(code::RAPID_COMMIT).is_some() {
            // No REQUEST follows that would be asked about it.
            if let Err(reason) = self.may_grant(inquiry.now, request, address) {
                return reason;
            }
            return match self.grant(inquiry, subnet, address, Ipv4Addr::UNSPECIFIED, effects) {
                true => SlowReason::AckedRapid,
                false => SlowReason::IgnoredNoFreeAddress,
            };
        }
        let Some(terms) = self.terms_for(subnet, address, request, None) else {
            return SlowReason::IgnoredNoFreeAddress;
        };
        let answer = Answer {
            message_type: kind::OFFER,
            server_id: inquiry.server_id,
            yiaddr: address,
            lease_secs: Some(lease_secs),
            rapid: false,
            terms,
        };
        let (payload, omitted) = answer.render(request);
        let to = reply::destination(inquiry.ingress, request, Ipv4Addr::UNSPECIFIED, address);
        effects.reply = Some(Reply { payload, source: inquiry.server, to, omitted });
        self.offer(inquiry, offer_key, address);
        SlowReason::Offered
    }

    /// Keeps an address for the client for a while; a bound lease needs no keeping.
    fn offer(&mut self, inquiry: &Inquiry<'_>, offer_key: usize, address: Ipv4Addr) {
        if self.leases.get(address).is_some_and(|lease| lease.state == LeaseState::Bound) {
            return;
        }
        let gone = self.offers.put(inquiry.now, address, offer_key, &inquiry.request.client);
        self.allocator.hold(address, &mut self.leases);
        for address in gone {
            self.lapse(inquiry.now, address);
        }
    }

    /// The address to offer: the one that is [`wished`](Self::wished), else a fresh one.
    fn choose(
        &mut self,
        rng: &mut dyn RngCore,
        inquiry: &Inquiry<'_>,
        subnets: &[usize],
    ) -> Option<(usize, Ipv4Addr)> {
        let wished = self.wished(inquiry, subnets).map(|(subnet, address, _)| (subnet, address));
        wished.or_else(|| self.fresh(rng, inquiry.now, subnets)).or_else(|| {
            // Addresses offered to clients that never came back, as a flood leaves them, are all there is.
            let gone = self.offers.take_oldest(inquiry.now, *subnets.first()?)?;
            self.lapse(inquiry.now, gone);
            self.counts.offers_gave_way += 1;
            self.fresh(rng, inquiry.now, subnets)
        })
    }

    /// The address that somebody has a wish for: the one reserved, the one the client has, the one it was just offered,
    /// the one it last had, the one it wishes.
    pub(super) fn wished(&self, inquiry: &Inquiry<'_>, subnets: &[usize]) -> Option<(usize, Ipv4Addr, Wish)> {
        let request = inquiry.request;
        let reserved = subnets.iter().filter_map(|&subnet| self.topology.host(subnet, request, None));
        let reserved: Vec<Ipv4Addr> = reserved.map(|host| host.address).collect();
        let known = subnets.iter().filter_map(|&subnet| {
            let prefix = self.topology.subnet(subnet)?.prefix;
            self.leases.best_of_client(&request.client, prefix)
        });
        let mut known: Vec<_> = known.map(|lease| (lease.state, lease.granted_at, lease.address)).collect();
        known.sort_by_key(|&(state, granted_at, address)| {
            let bound = state == LeaseState::Bound;
            std::cmp::Reverse((bound, granted_at, address))
        });
        let offered = subnets.first().and_then(|&subnet| self.offers.of_client(subnet, &request.client));
        let bound = known.iter().filter(|(state, ..)| *state == LeaseState::Bound);
        let wishes = reserved
            .iter()
            .map(|&address| (address, Wish::Reserved))
            .chain(bound.map(|&(.., address)| (address, Wish::Held)))
            .chain(offered.map(|address| (address, Wish::Offered)))
            .chain(known.iter().map(|&(.., address)| (address, Wish::Remembered)))
            .chain(request.requested.map(|address| (address, Wish::Requested)));
        wishes.into_iter().find_map(|(address, wish)| {
            let subnet = self.topology.subnet_of(address).filter(|subnet| subnets.contains(subnet))?;
            let fits = self.available(request, address)
                && self.may_grant(inquiry.now, request, address).is_ok()
                && self.terms_for(subnet, address, request, None).is_some();
            fits.then_some((subnet, address, wish))
        })
    }

    /// An address of the subnets' pools that is nobody's.
    fn fresh(
        &mut self,
        rng: &mut dyn RngCore,
        now: Timestamp,
        subnets: &[usize],
    ) -> Option<(usize, Ipv4Addr)> {
        subnets.iter().find_map(|&subnet| {
            let mut areas = self.topology.areas_of(subnet);
            let address = areas.find_map(|area| self.pick(now, area, rng))?;
            Some((subnet, address))
        })
    }
}
