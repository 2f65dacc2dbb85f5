//! Where there are several nodes: what this one may do with an address (docs/sites.md, rules 2 to 5), and what it hears of
//! the others' leases. Without sites there is no authority to ask, and every answer is yes.

use std::{net::Ipv4Addr, sync::Arc};

use super::{
    CLOCK_ERROR, Engine, Inquiry, Topology, allocator, effects::Effects, foresee::Verdict, kept_from_others,
    lifetime::WITHDRAW_AGAIN, reason::SlowReason, reply, request::Request,
};
use crate::{
    config::model::{Link, Policy},
    lease::{
        record::{LeaseRecord, LeaseState},
        table::Leaving,
    },
    site::{
        authority::{Authority, Held, Right},
        blocks::BlockId,
    },
    time::{Span, Timestamp},
};

impl Engine {
    /// Serves as one of several nodes from here on, and allocates from blocks. Offers are dropped.
    pub fn join_cluster(&mut self, authority: Authority) {
        let config = Arc::clone(self.config());
        self.topology = Arc::new(Topology::new(config, Some(authority.blocks())));
        self.allocator = allocator(&self.topology, &mut self.leases);
        self.offers = Default::default();
        self.authority = Some(authority);
    }

    /// What this node may do, if there are several.
    pub const fn authority(&self) -> Option<&Authority> {
        self.authority.as_ref()
    }

    /// As [`authority`](Self::authority), to be told what is held. For blocks use [`hold`](Self::hold).
    pub const fn authority_mut(&mut self) -> Option<&mut Authority> {
        self.authority.as_mut()
    }

    /// The link here of the subnet an address is of, if it has one.
    pub fn link_of(&self, address: Ipv4Addr) -> Option<Link> {
        self.topology.subnet(self.topology.subnet_of(address)?)?.link
    }

    /// Our address on an interface.
    pub fn server_on(&self, interface: usize) -> Option<Ipv4Addr> {
        self.servers.get(interface).copied().filter(|address| !address.is_unspecified())
    }

    /// What this node may do with an address.
    pub fn right(&self, now: Timestamp, address: Ipv4Addr) -> Right {
        self.authority.as_ref().map_or(Right::Holder, |authority| authority.right(now, address))
    }

    /// A block is this node's from here on, or no more. What became of its addresses was another's to know: free ones are
    /// looked through anew.
    pub fn hold(&mut self, now: Timestamp, block: BlockId, held: Option<Held>) {
        let Some(authority) = &mut self.authority else { return };
        authority.set(block, held);
        let Some(&range) = authority.blocks().get(block) else { return };
        self.offers.remove_between(range.first, range.last);
        if held.is_some() {
            self.look_through(now, block);
        }
    }

    /// Looks through the free addresses of all blocks that are held: an allocator made anew lets none of them rest.
    pub(super) fn look_through_all(&mut self, now: Timestamp) {
        let Some(authority) = &self.authority else { return };
        let blocks = (0..).map(BlockId).take(authority.blocks().len());
        for block in blocks.filter(|block| authority.held(*block).is_some()).collect::<Vec<_>>() {
            self.look_through(now, block);
        }
    }

    /// Finds out which addresses of a block may be given to anybody, and which are to rest still.
    fn look_through(&mut self, now: Timestamp, block: BlockId) {
        let range = self.authority.as_ref().and_then(|authority| authority.blocks().get(block).copied());
        let (Some(range), Ok(area)) = (range, usize::try_from(block.0)) else { return };
        let rests = |lease: &LeaseRecord| lease.state == LeaseState::Free && kept_from_others(lease) > now;
        self.allocator.begin_anew(area, &mut self.leases, rests);
        let due = |lease: &LeaseRecord| match lease.state {
            LeaseState::Free => (lease.address, kept_from_others(lease)),
            LeaseState::Bound | LeaseState::Quarantined => (lease.address, lease.expires),
        };
        let due: Vec<_> = self.leases.between(range.first, range.last).map(due).collect();
        for (address, at) in due {
            self.leases.schedule(address, at);
        }
    }

    /// How many addresses of a block are free and not offered.
    pub fn free_in_block(&self, block: BlockId) -> u64 {
        usize::try_from(block.0).map_or(0, |area| self.allocator.free(area))
    }

    pub(super) fn free_in_area(&self, area: usize) -> u64 {
        let held = self.authority.as_ref().is_none_or(|authority| {
            u32::try_from(area).is_ok_and(|block| authority.held(BlockId(block)).is_some())
        });
        if held { self.allocator.free(area) } else { 0 }
    }

    /// Whether new clients may be given addresses of an area.
    pub(super) fn may_allocate(&self, now: Timestamp, area: usize) -> bool {
        self.authority.as_ref().is_none_or(|authority| {
            let block = u32::try_from(area).map(BlockId);
            block.is_ok_and(|block| authority.right_in(now, block) == Right::Holder)
        })
    }

    /// Whether a new client would be given an address of one of these areas.
    pub(super) fn may_give_from(&self, now: Timestamp, mut areas: std::ops::Range<usize>) -> bool {
        areas.any(|area| self.may_allocate(now, area) && self.allocator.free(area) > 0)
    }

    /// Whether an available address may be granted to this client by this node now.
    pub(super) fn may_grant(
        &self,
        now: Timestamp,
        request: &Request<'_>,
        address: Ipv4Addr,
    ) -> Result<(), SlowReason> {
        let Some(authority) = &self.authority else { return Ok(()) };
        let lease = self.leases.get(address);
        let owned = lease.filter(|lease| lease.state == LeaseState::Bound && self.owns(request, lease));
        let may = match authority.right(now, address) {
            // Others may have renewed unheard what was given back (rule 4): that client itself may have it again.
            Right::Holder => lease.is_none_or(|lease| {
                lease.state != LeaseState::Free
                    || lease.client == request.client
                    || kept_from_others(lease) <= now
            }),
            Right::Heir => owned.is_some_and(|lease| authority.is_certain(now, lease)),
            Right::Standby => owned.is_some_and(|lease| {
                let subnet = self.topology.subnet_of(address);
                let terms = subnet.and_then(|subnet| self.terms_for(subnet, address, request, Some(lease)));
                let secs = terms.map(|terms| reply::lease_secs(terms.policy, request));
                self.leases.leaving(address).is_none()
                    && secs.is_some_and(|secs| now + Span::from_secs(secs.into()) <= lease.horizon)
            }),
        };
        if may { Ok(()) } else { Err(SlowReason::IgnoredNotOurBlock) }
    }

    /// What is left of a verdict about a REQUEST of an address that may be another node's: what is not this node's to
    /// grant or to refuse is left to whoever holds it, who may know better (rule 3). That an address is not of the
    /// client's link every node knows.
    pub(super) fn if_ours(&self, inquiry: &Inquiry<'_>, address: Ipv4Addr, verdict: Verdict) -> Verdict {
        match verdict {
            Verdict::Ack(..) => match self.may_grant(inquiry.now, inquiry.request, address) {
                Ok(()) => verdict,
                Err(reason) => Verdict::Ignore(reason),
            },
            Verdict::Nak(reason)
                if reason != SlowReason::NakWrongLink && !self.may_refuse(inquiry.now, address) =>
            {
                Verdict::Ignore(SlowReason::IgnoredNotOurBlock)
            }
            other => other,
        }
    }

    fn may_refuse(&self, now: Timestamp, address: Ipv4Addr) -> bool {
        self.authority.as_ref().is_none_or(|authority| authority.may_refuse(now, address))
    }

    /// For how many seconds an address can be granted now: as long as the policy has it, but not beyond what the other
    /// nodes know of or the MCLT allows (rule 2).
    pub(super) fn grantable_secs(
        &self,
        now: Timestamp,
        address: Ipv4Addr,
        policy: &Policy,
        request: &Request<'_>,
    ) -> u32 {
        let secs = reply::lease_secs(policy, request);
        let Some(authority) = &self.authority else { return secs };
        let bound = self.leases.get(address).filter(|lease| lease.state == LeaseState::Bound);
        let known = bound.map_or(Timestamp::ZERO, |lease| lease.horizon);
        let most = authority.unheard_until(now, address).max(known).since(now).as_secs();
        u32::try_from(most).unwrap_or(u32::MAX).min(secs)
    }

    /// As [`grantable_secs`](Self::grantable_secs), for any address nobody has in the pool of `address`.
    pub(super) fn fresh_secs(
        &self,
        now: Timestamp,
        address: Ipv4Addr,
        policy: &Policy,
        request: &Request<'_>,
    ) -> u32 {
        let most = self.authority.as_ref().map(|authority| authority.unheard_until(now, address).since(now));
        let most = most.and_then(|most| u32::try_from(most.as_secs()).ok()).unwrap_or(u32::MAX);
        reply::lease_secs(policy, request).min(most)
    }

    /// Horizon of a lease that is to be promised until `ahead`, and until when it is kept beyond that.
    pub(super) fn reach_of(
        &self,
        now: Timestamp,
        address: Ipv4Addr,
        before: Option<&LeaseRecord>,
        ahead: Timestamp,
    ) -> (Timestamp, Timestamp) {
        let bound = before.filter(|lease| lease.state == LeaseState::Bound);
        let known = bound.map_or(Timestamp::ZERO, |lease| lease.horizon);
        let Some(authority) = &self.authority else { return (known.max(ahead), Timestamp::ZERO) };
        if authority.right(now, address) == Right::Standby {
            return (known, bound.map_or(Timestamp::ZERO, |lease| lease.kept_until));
        }
        let horizon = known.max(ahead.min(authority.unheard_until(now, address)));
        // What was promised before it was given back, and may have been renewed unheard, lasts on.
        let reach = before.map_or(ahead, |lease| lease.reach().max(ahead));
        (horizon, if reach > horizon { reach } else { Timestamp::ZERO })
    }

    /// When a lease that was given back, or ran out, may end at last: when nobody can have been promised more (rule 4).
    pub(super) fn end_of(&self, lease: &LeaseRecord) -> Timestamp {
        self.authority.as_ref().map_or(Timestamp(u64::MAX), |authority| {
            kept_from_others(lease).max(authority.reach(lease) + CLOCK_ERROR)
        })
    }

    /// Whether other nodes may have renewed leases unheard.
    pub(super) fn others_may_renew(&self) -> bool {
        self.authority.as_ref().is_some_and(|authority| !authority.only_one())
    }

    /// A free address whose former client's promises may have ended by now.
    pub(super) fn rested(&mut self, now: Timestamp, address: Ipv4Addr) {
        let Some(authority) = &self.authority else { return };
        if self.right(now, address) != Right::Holder {
            // It is not ours to give yet, or not for the moment: who is given the block later looks at all of it.
            let held = authority.blocks().of_address(address).and_then(|block| authority.held(block));
            if let Some(held) = held {
                self.leases.schedule(address, held.closed_until.max(now + WITHDRAW_AGAIN));
            }
            return;
        }
        let Some(lease) = self.leases.get(address) else { return };
        let end = kept_from_others(lease);
        if end > now {
            self.leases.schedule(address, end);
        } else if self.offers.holder(address).is_none() && !self.allocator.is_listed(address, &self.leases) {
            self.allocator.freed(address, &mut self.leases);
        }
    }

    /// Every node that must has acknowledged that a lease is kept until `reach`: its horizon moves there, and no further,
    /// for the lease may be kept longer by now. One that is on its way out stays as it is.
    pub fn horizon_known(&mut self, now: Timestamp, address: Ipv4Addr, reach: Timestamp) -> Effects {
        let mut effects = Effects::default();
        let Some(lease) = self.leases.get(address).filter(|lease| lease.state == LeaseState::Bound) else {
            return effects;
        };
        let (kept_until, known) = (lease.kept_until, lease.kept_until.min(reach));
        let leaving = self.leases.leaving(address).is_some();
        if !leaving && self.right(now, address) != Right::Standby && known > lease.horizon {
            let rest = if kept_until > known { kept_until } else { Timestamp::ZERO };
            self.leases.keep(address, known, rest);
            effects.commit.extend(self.leases.get(address).cloned());
            effects.publish.push(address);
        }
        effects
    }

    /// Every node, those that are out among them, has acknowledged that a lease was given back: it ends.
    pub fn return_known(&mut self, now: Timestamp, address: Ipv4Addr) -> Effects {
        let mut effects = Effects::default();
        let bound = self.leases.get(address).is_some_and(|lease| lease.state == LeaseState::Bound);
        let returned = matches!(self.leases.leaving(address), Some(Leaving::Returned(_)));
        if bound && returned && self.right(now, address) == Right::Holder {
            self.set_free(now, address, &mut effects);
        }
        effects
    }

    /// An offer of an address is over: it is anybody's again, unless it rests for its former client still.
    pub(super) fn lapse(&mut self, now: Timestamp, address: Ipv4Addr) {
        let rests = self.leases.get(address).filter(|lease| {
            self.authority.is_some() && lease.state == LeaseState::Free && kept_from_others(lease) > now
        });
        match rests.map(kept_from_others) {
            Some(end) => self.leases.schedule(address, end),
            None => self.allocator.lapse(address, &mut self.leases),
        }
    }

    /// Takes over what the holder of an address says of it: to be made durable with the rest. The kernel has forgotten the
    /// lease already, unless it is still the same client's.
    pub fn adopt(&mut self, record: LeaseRecord) {
        self.offers.remove(record.address);
        self.leases.stay(record.address);
        self.leases.put(record);
    }

    /// Has the kernel forget a lease before its holder's word that it has ended is taken; nothing is granted meanwhile.
    pub fn suspend(&mut self, now: Timestamp, address: Ipv4Addr) -> Effects {
        let mut effects = Effects::default();
        self.send_away(now, address, Leaving::Returned(now), &mut effects);
        effects
    }

    /// Undoes [`suspend`](Self::suspend): the lease is as it was.
    pub fn unsuspend(&mut self, address: Ipv4Addr) {
        self.leases.stay(address);
    }

    /// Another node says that it granted a lease of a block that is held here: what a mark of the kernel is. A lease that is
    /// not known at all, because whoever granted it was put out before it could tell, is taken up if it can be.
    pub fn granted_elsewhere(&mut self, now: Timestamp, told: &LeaseRecord, anew: bool) -> Effects {
        let mut effects = Effects::default();
        let address = told.address;
        // Who holds the block and is cut off must hear it too: it will not be told again when it is not any more.
        let held = self.authority.as_ref().is_some_and(|authority| authority.holds(address));
        if !held || told.state != LeaseState::Bound {
            return effects;
        }
        let cut = self.right(now, address) == Right::Standby;
        let known = self.leases.get(address);
        match known.filter(|lease| lease.state == LeaseState::Bound) {
            Some(lease) => {
                if lease.client != told.client || lease.hardware != told.hardware {
                    return effects;
                }
                let expires = told.expires.min(lease.horizon);
                // It came back elsewhere, and was given an answer: it did not mean to leave. What it was given there may
                // be shorter than what it gave back here, and the other clock may be behind.
                let back = match self.leases.leaving(address) {
                    Some(Leaving::Returned(since)) => told.granted_at + CLOCK_ERROR > since,
                    Some(Leaving::Expired) => expires > now,
                    Some(Leaving::Declined) | None => false,
                };
                let longer = expires > lease.expires;
                if !longer && !back {
                    return effects;
                }
                if longer {
                    let granted_at = told.granted_at.min(expires);
                    let (horizon, forms) = (lease.horizon, lease.forms);
                    let kept = lease.expires.since(lease.granted_at) == expires.since(granted_at);
                    self.leases.extend(address, granted_at, expires, horizon);
                    self.leases.set_forms(address, if kept { forms } else { [None, None] });
                }
                if back {
                    self.leases.stay(address);
                }
                if self.leases.leaving(address).is_none() {
                    self.keep_ahead(now, address, &mut effects);
                    effects.publish.push(address);
                }
                if effects.commit.is_empty() {
                    effects.commit.extend(self.leases.get(address).cloned());
                }
            }
            None => {
                let quarantined = known.is_some_and(|lease| lease.state == LeaseState::Quarantined);
                let offered = self.offers.holder(address).is_some();
                if cut || !anew || quarantined || offered || told.horizon <= now || told.client.is_nobody() {
                    return effects;
                }
                let before = known.map_or(Timestamp::ZERO, LeaseRecord::reach);
                let unheard =
                    self.authority.as_ref().map_or(now, |authority| authority.unheard_until(now, address));
                let horizon = told.horizon.min(unheard).max(told.expires.min(unheard));
                let reach = told.reach().max(before);
                let kept_until = if reach > horizon { reach } else { Timestamp::ZERO };
                let expires = told.expires.min(horizon);
                let granted_at = told.granted_at.min(expires);
                let forms = [None, None];
                let record = LeaseRecord { granted_at, expires, horizon, kept_until, forms, ..told.clone() };
                self.allocator.hold(address, &mut self.leases);
                effects.commit.push(record.clone());
                self.leases.put(record);
            }
        }
        effects
    }
}
