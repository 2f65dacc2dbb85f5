//! What becomes of leases between messages: renewals the kernel granted, the end of grants and horizons, and the way an
//! address goes before it can be another client's.
//!
//! That way is: the lease is *leaving* and its kernel entry is withdrawn; when the entry is certainly gone and the
//! kernel's last renewal is known, the lease is free, or it turns out to be alive and stays. If the kernel's last
//! renewal cannot be known, the lease is taken to last until its horizon.

use std::net::Ipv4Addr;

use super::{Engine, effects::Effects, reply::renewal_times};
use crate::{
    lease::{
        record::{ClientKey, LeaseRecord, LeaseState},
        table::Leaving,
    },
    site::authority::Right,
    time::{Span, Timestamp},
};

/// How much longer than promised an address is kept from others, for clocks that are read late.
pub const CLOCK_ERROR: Span = Span::from_secs(5);
/// Clocks that keep time within 500 millionths run apart by half of one part in this many.
const DRIFT: u64 = 500;
/// How long a declined address is given to nobody.
pub const QUARANTINE: Span = Span::from_secs(3_600);
/// When a withdrawal nobody confirmed is asked for again.
pub(super) const WITHDRAW_AGAIN: Span = Span::from_secs(60);
/// How many leases and offers one [`Engine::tick`] looks at, at most.
const TICK_MAX: usize = 1_024;

/// Until when the address of a lease is kept from others where nodes were told of its horizon: long before it comes, and on
/// their clocks that moment is another by then. It may have been told some time before the last grant.
pub fn kept_from_others(lease: &LeaseRecord) -> Timestamp {
    let ahead = lease.reach().since(lease.granted_at);
    let length = lease.expires.since(lease.granted_at);
    lease.reach() + CLOCK_ERROR + Span(ahead.0.saturating_add(length.0) / DRIFT)
}

impl Engine {
    /// When [`tick`](Self::tick) next has something to do.
    pub fn next_due(&self) -> Option<Timestamp> {
        [self.leases.next_due(), self.offers.next_due(), self.probes.next_due()].into_iter().flatten().min()
    }

    /// Lets time pass: offers lapse, leases whose grant or horizon has run out go their way. Bounded work: when much is
    /// due, [`next_due`](Self::next_due) stays in the past and the next call goes on.
    pub fn tick(&mut self, now: Timestamp) -> Effects {
        let mut effects = Effects::default();
        self.close_silent(now, &mut effects);
        for _ in 0..TICK_MAX {
            let Some(address) = self.offers.due(now) else { break };
            self.lapse(now, address);
        }
        for _ in 0..TICK_MAX {
            let Some(address) = self.leases.due(now) else { break };
            self.lease_due(now, address, &mut effects);
        }
        effects
    }

    fn lease_due(&mut self, now: Timestamp, address: Ipv4Addr, effects: &mut Effects) {
        let Some(lease) = self.leases.get(address) else { return };
        let ends = lease.expires + CLOCK_ERROR;
        match (lease.state, self.leases.leaving(address)) {
            (LeaseState::Free, _) => self.rested(now, address),
            _ if self.right(now, address) == Right::Standby => {
                // Its holder's to end. Who becomes the holder looks at all of them.
                self.leases.schedule(address, now + WITHDRAW_AGAIN);
            }
            (LeaseState::Bound, Some(_)) => {
                let end = self.end_of(lease).max(now + Span::from_secs(1));
                effects.withdraw.push(address);
                self.leases.schedule(address, end.min(now + WITHDRAW_AGAIN));
            }
            _ if ends > now => self.leases.schedule(address, ends),
            (LeaseState::Bound, None) => self.send_away(now, address, Leaving::Expired, effects),
            (LeaseState::Quarantined, _) => self.end_quarantine(now, address, effects),
        }
    }

    /// Starts a bound lease on its way out.
    pub(super) fn send_away(
        &mut self,
        now: Timestamp,
        address: Ipv4Addr,
        why: Leaving,
        effects: &mut Effects,
    ) {
        self.leases.leave(address, why, now + WITHDRAW_AGAIN);
        effects.withdraw.push(address);
    }

    /// Takes a bound lease from its client, for an operator, by the way a RELEASE goes. `None` if there is none, or its
    /// address was declined.
    pub fn release_for_operator(&mut self, now: Timestamp, address: Ipv4Addr) -> Option<Effects> {
        self.leases.get(address).filter(|lease| lease.state == LeaseState::Bound)?;
        if self.right(now, address) == Right::Standby {
            return None;
        }
        match self.leases.leaving(address) {
            Some(Leaving::Declined) => return None,
            Some(Leaving::Returned(_)) => return Some(Effects::default()),
            Some(Leaving::Expired) | None => {}
        }
        let mut effects = Effects::default();
        self.send_away(now, address, Leaving::Returned(now), &mut effects);
        Some(effects)
    }

    /// Grants a bound lease its lease time anew from now, for an operator, as if its client had renewed it. The length
    /// stays: it is what a mark of the kernel stands for. `None` if there is none, or it is on its way out.
    pub fn extend_for_operator(&mut self, now: Timestamp, address: Ipv4Addr) -> Option<Effects> {
        let lease = self.leases.get(address).filter(|lease| lease.state == LeaseState::Bound)?;
        let certain = self.authority.as_ref().is_none_or(|authority| authority.is_certain(now, lease));
        if self.leases.leaving(address).is_some() || self.right(now, address) == Right::Standby || !certain {
            return None;
        }
        let expires = now + lease.expires.since(lease.granted_at);
        let (horizon, kept_until) = self.reach_of(now, address, Some(lease), expires);
        if expires > horizon {
            return None;
        }
        self.leases.extend(address, now, expires, horizon);
        self.leases.keep(address, horizon, kept_until);
        let mut effects = Effects::default();
        self.keep_ahead(now, address, &mut effects);
        if effects.commit.is_empty() {
            effects.commit.extend(self.leases.get(address).cloned());
            effects.publish.push(address);
        }
        Some(effects)
    }

    /// The kernel renewed a lease at `at`, for the lease time of its last grant. Keeps its horizon far enough ahead for
    /// the next renewal to stay in the kernel.
    pub fn renewed_by_kernel(&mut self, now: Timestamp, address: Ipv4Addr, at: Timestamp) -> Effects {
        let mut effects = Effects::default();
        let Some(lease) = self.leases.get(address).filter(|lease| lease.state == LeaseState::Bound) else {
            return effects;
        };
        let Some((granted_at, expires)) = kernel_grant(lease, at) else { return effects };
        let horizon = lease.horizon;
        self.leases.extend(address, granted_at, expires, horizon);
        // On its way out: whether it stays is decided when the withdrawal is through.
        if self.right(now, address) == Right::Standby {
            // Its holder is to hear of it.
            effects.commit.extend(self.leases.get(address).cloned());
        } else if self.leases.leaving(address).is_none() {
            self.keep_ahead(now, address, &mut effects);
        }
        effects
    }

    /// Moves a lease's horizon ahead if its next renewal at T1 would not be within it.
    pub(super) fn keep_ahead(&mut self, now: Timestamp, address: Ipv4Addr, effects: &mut Effects) {
        let Some(lease) = self.leases.get(address) else { return };
        let length = lease.expires.since(lease.granted_at);
        let secs = u32::try_from(length.as_secs()).unwrap_or(u32::MAX);
        let t1_secs = self.topology.subnet_of(address).map_or(secs / 2, |subnet| {
            let reserved = self.topology.reservation_of(address);
            let terms = self.topology.terms(subnet, address, reserved);
            terms.map_or(secs / 2, |terms| renewal_times(terms.policy, secs).0)
        });
        let needed = lease.expires + Span::from_secs(t1_secs.into());
        let ahead = lease.granted_at + self.horizon_span(length);
        if lease.reach() < needed && lease.reach() < ahead && self.right(now, address) != Right::Standby {
            let (horizon, kept_until) = self.reach_of(now, address, Some(lease), ahead);
            self.leases.keep(address, horizon, kept_until);
            effects.commit.extend(self.leases.get(address).cloned());
            effects.publish.push(address);
        }
    }

    /// How far ahead of a grant its horizon is put.
    pub(super) fn horizon_span(&self, lease: Span) -> Span {
        let permille = u128::from(self.topology.config.fastpath.horizon_permille);
        let span = u128::from(lease.0) * permille / 1000;
        Span(u64::try_from(span).unwrap_or(u64::MAX))
    }

    /// The kernel's entry of an address is gone for sure: no program can be using it any more.
    ///
    /// `last_renewed` is the kernel's final mark of a renewal, read as the entry was removed and not before;
    /// [`Timestamp::ZERO`] if the kernel certainly made none since the entry was last published, so also where there is
    /// no fast path; `None` if that is not known, as when there was no entry to remove though there should have been:
    /// an expired lease then lasts until its horizon. Withdrawals asked for twice may be confirmed once or twice.
    pub fn withdrawn(
        &mut self,
        now: Timestamp,
        address: Ipv4Addr,
        last_renewed: Option<Timestamp>,
    ) -> Effects {
        let mut effects = Effects::default();
        let Some(lease) = self.leases.get(address).filter(|lease| lease.state == LeaseState::Bound) else {
            return effects;
        };
        let leaving = self.leases.leaving(address);
        // Not knowing what the kernel granted is taking it for all that it could have granted.
        let mark = last_renewed.unwrap_or(Timestamp(u64::MAX));
        let renewal = kernel_grant(lease, mark);
        let alive_until = match leaving {
            // The client came back before the withdrawal was through.
            None => Timestamp(u64::MAX),
            Some(Leaving::Expired) => renewal.map_or(lease.expires, |(_, expires)| expires),
            // A client that gave its address back and certainly renewed it afterwards did not mean it.
            Some(Leaving::Returned(since)) if last_renewed.is_some_and(|at| at > since) => {
                renewal.map_or(lease.expires, |(_, expires)| expires)
            }
            Some(Leaving::Returned(_)) => Timestamp::ZERO,
            Some(Leaving::Declined) if self.right(now, address) == Right::Standby => Timestamp(u64::MAX),
            Some(Leaving::Declined) => {
                self.quarantine(now, address, &mut effects);
                return effects;
            }
        };
        let standby = self.right(now, address) == Right::Standby;
        if alive_until + CLOCK_ERROR <= now && !standby {
            if !self.others_may_renew() || self.end_of(lease) <= now {
                self.set_free(now, address, &mut effects);
            } else if matches!(leaving, Some(Leaving::Returned(_))) {
                effects.returned.push(address);
            }
            return effects;
        }
        if let Some((granted_at, expires)) = renewal {
            let horizon = lease.horizon;
            self.leases.extend(address, granted_at, expires, horizon);
        }
        if standby {
            // Its holder is to hear of what the kernel granted; what becomes of the lease is not ours to say.
            if renewal.is_some() && last_renewed.is_some() {
                effects.commit.extend(self.leases.get(address).cloned());
            }
            return effects;
        }
        self.leases.stay(address);
        if last_renewed.is_some() {
            self.keep_ahead(now, address, &mut effects);
        }
        // A new entry starts without the old one's mark: what that told must be durable first, so that a restart knows
        // no less. An expired lease of which nothing is known is published when its client is next seen.
        if effects.commit.is_empty() {
            effects.commit.extend(self.leases.get(address).cloned());
        }
        effects.publish.clear();
        if last_renewed.is_some() || leaving.is_none() {
            effects.publish.push(address);
        }
        effects
    }

    /// Ends a lease. Its client keeps its place as the address's last one, unless it has another address nearby: a
    /// client that went through thousands of addresses must not be remembered by all of them.
    pub(super) fn set_free(&mut self, now: Timestamp, address: Ipv4Addr, effects: &mut Effects) {
        let Some(lease) = self.leases.get(address) else { return };
        let prefix = self.topology.subnet_of(address).and_then(|subnet| self.topology.subnet(subnet));
        let prefix = prefix.map_or_else(|| address.into(), |subnet| subnet.prefix);
        let elsewhere = self.leases.of_client(&lease.client, prefix).any(|other| other.address != address);
        let client = if elsewhere { ClientKey::nobody() } else { lease.client.clone() };
        let record = ended(lease, LeaseState::Free, client, now);
        self.end(record, effects);
        self.allocator.freed(address, &mut self.leases);
    }

    fn quarantine(&mut self, now: Timestamp, address: Ipv4Addr, effects: &mut Effects) {
        let Some(lease) = self.leases.get(address) else { return };
        let mut record = ended(lease, LeaseState::Quarantined, lease.client.clone(), now + QUARANTINE);
        if self.others_may_renew() {
            record.expires = record.expires.max(self.end_of(lease));
            record.horizon = self.end_of(lease);
        }
        self.end(record, effects);
        self.quarantined(now, address, effects);
    }

    /// Counts an address as quarantined, and frees the oldest if those are too many.
    pub(super) fn quarantined(&mut self, now: Timestamp, address: Ipv4Addr, effects: &mut Effects) {
        let Some(oldest) = self.allocator.quarantined(address, &mut self.leases) else { return };
        let promised = self.leases.get(oldest).is_some_and(|lease| self.end_of(lease) > now);
        if !promised || !self.others_may_renew() {
            self.counts.quarantines_cut_short += 1;
            self.end_quarantine(now, oldest, effects);
        }
    }

    /// Frees a quarantined address, for nobody in particular: the client that declined it should get another.
    fn end_quarantine(&mut self, now: Timestamp, address: Ipv4Addr, effects: &mut Effects) {
        let Some(lease) = self.leases.get(address) else { return };
        let record = ended(lease, LeaseState::Free, ClientKey::nobody(), now);
        self.end(record, effects);
        self.allocator.freed(address, &mut self.leases);
    }

    fn end(&mut self, mut record: LeaseRecord, effects: &mut Effects) {
        // Among several nodes a free address rests until its horizon: this one's has passed, or all know that it was given back.
        if self.authority.is_some() && record.state == LeaseState::Free {
            record.horizon = Timestamp::ZERO;
        }
        self.leases.stay(record.address);
        effects.commit.push(record.clone());
        self.leases.put(record);
    }
}

/// A record whose promises have all ended, and which is what it is until `expires`.
fn ended(lease: &LeaseRecord, state: LeaseState, client: ClientKey, expires: Timestamp) -> LeaseRecord {
    let (horizon, kept_until) = (expires, Timestamp::ZERO);
    LeaseRecord { state, client, expires, horizon, kept_until, forms: [None, None], ..lease.clone() }
}

/// Start and end of the grant a kernel mark stands for; `None` if what we know is as late. The kernel grants the lease
/// time of the last grant, and nothing beyond the horizon.
pub fn kernel_grant(lease: &LeaseRecord, at: Timestamp) -> Option<(Timestamp, Timestamp)> {
    let length = lease.expires.since(lease.granted_at);
    let at = at.min(lease.horizon - length);
    (at > lease.granted_at).then(|| (at, at + length))
}
