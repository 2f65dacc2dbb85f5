//! Whether an address is in use before it is offered (RFC 2131 section 4.4.1): which addresses are being asked for, which
//! were found silent. Asking is an effect, an answer and the passing of time are inputs.
//!
//! Addresses are asked for ahead of need, the next ones of every pool, so that an offer as a rule waits for nothing; a
//! client that had the address before never waits. Where an offer must wait it is the only one that does, and beyond a
//! bound of questions open at once offers are made without.

use std::{
    collections::{BTreeSet, HashMap},
    net::Ipv4Addr,
};

use rand::RngCore;

use super::{Effects, Engine, Inquiry};
use crate::{
    config::model::ConflictDetection,
    lease::{
        allocate::Allocator,
        octets::Octets,
        record::{ClientKey, HardwareAddress, LeaseRecord, LeaseState},
    },
    site::authority::Right,
    time::{Span, Timestamp},
};

/// Addresses asked for ahead in one pool, at most.
const AHEAD_MAX: usize = 32;
/// And in all pools, if these are not more than that.
const AHEAD_ALL: usize = 1_024;
/// How often the pools are looked at for what to ask ahead.
const AHEAD_EVERY: Span = Span::from_millis(200);
/// Addresses remembered as silent, at most: beyond that the one found first is forgotten.
const SILENT_MAX: usize = 1 << 16;

/// What was counted, for `stats`.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize, utoipa::ToSchema,
)]
pub struct ProbeCounts {
    /// Questions asked.
    pub asked: u64,
    /// Offers that waited for an answer.
    pub waited: u64,
    /// Addresses found in use.
    pub conflicts: u64,
    /// Offers made without asking, for too many questions were open.
    pub unprobed: u64,
}

/// A question that is open.
#[derive(Clone, Copy)]
struct Open {
    until: Timestamp,
    /// The client whose offer waits for it, if one does.
    waiting: Option<HardwareAddress>,
}

#[derive(Clone, Default)]
pub(super) struct Probes {
    settings: Option<ConflictDetection>,
    open: HashMap<Ipv4Addr, Open>,
    ends: BTreeSet<(Timestamp, Ipv4Addr)>,
    /// Until when an address that was silent need not be asked for again.
    silent: HashMap<Ipv4Addr, Timestamp>,
    silent_ends: BTreeSet<(Timestamp, Ipv4Addr)>,
    next_ahead: Timestamp,
    counts: ProbeCounts,
}

impl Probes {
    fn ask(&mut self, now: Timestamp, wait: Span, address: Ipv4Addr, waiting: Option<HardwareAddress>) {
        let until = now + wait;
        self.open.insert(address, Open { until, waiting });
        self.ends.insert((until, address));
        self.counts.asked += 1;
    }

    fn close(&mut self, address: Ipv4Addr) -> Option<Open> {
        let open = self.open.remove(&address)?;
        self.ends.remove(&(open.until, address));
        Some(open)
    }

    fn note_silent(&mut self, address: Ipv4Addr, until: Timestamp) {
        if let Some(before) = self.silent.insert(address, until) {
            self.silent_ends.remove(&(before, address));
        }
        self.silent_ends.insert((until, address));
        if self.silent.len() > SILENT_MAX
            && let Some((_, oldest)) = self.silent_ends.pop_first()
        {
            self.silent.remove(&oldest);
        }
    }

    fn is_silent(&self, now: Timestamp, address: Ipv4Addr) -> bool {
        self.silent.get(&address).is_some_and(|until| *until > now)
    }

    pub fn next_due(&self) -> Option<Timestamp> {
        Some(self.ends.first()?.0)
    }

    /// Forgets open questions, for another configuration is in force; whoever waited asks again.
    pub fn restart(&mut self, settings: Option<ConflictDetection>) {
        *self = Self { settings, counts: self.counts, ..Self::default() };
    }

    pub const fn settings(&self) -> Option<ConflictDetection> {
        self.settings
    }
}

impl Engine {
    /// Has addresses asked for from here on. Without this call none are: whoever makes it carries the questions out.
    pub fn detect_conflicts(&mut self, settings: ConflictDetection) {
        self.probes.settings = Some(settings);
    }

    /// What was counted of questions.
    pub const fn probe_counts(&self) -> ProbeCounts {
        self.probes.counts
    }

    /// Whether any offer may be waiting: time then matters by milliseconds.
    pub fn is_probing(&self) -> bool {
        !self.probes.open.is_empty()
    }

    /// Whether the offer of `address` must wait until it is known to be silent; asks for it then.
    pub(super) fn must_wait(
        &mut self,
        inquiry: &Inquiry<'_>,
        subnet: usize,
        address: Ipv4Addr,
        effects: &mut Effects,
    ) -> bool {
        let (now, request) = (inquiry.now, inquiry.request);
        let Some(settings) = self.probes.settings.filter(|settings| self.is_probed(settings, subnet)) else {
            return false;
        };
        let known = self.leases.get(address).is_some_and(|lease| {
            lease.state == LeaseState::Bound
                || lease.client == request.client
                || lease.hardware == request.hardware
        });
        if known || self.topology.reservation_of(address).is_some() || self.probes.is_silent(now, address) {
            return false;
        }
        if let Some(open) = self.probes.open.get_mut(&address) {
            self.probes.counts.waited += u64::from(open.waiting.is_none());
            open.waiting = Some(request.hardware);
        } else if self.probes.open.len() >= settings.in_flight_max {
            self.probes.counts.unprobed += 1;
            return false;
        } else {
            self.probes.ask(now, settings.wait, address, Some(request.hardware));
            self.probes.counts.waited += 1;
            effects.probe.push(address);
        }
        effects.waits_for = Some(address);
        true
    }

    fn is_probed(&self, settings: &ConflictDetection, subnet: usize) -> bool {
        settings.relayed || self.topology.subnet(subnet).is_some_and(|subnet| subnet.link.is_some())
    }

    /// Closes questions that nobody answered.
    pub(super) fn close_silent(&mut self, now: Timestamp, effects: &mut Effects) {
        let Some(settings) = self.probes.settings else { return };
        while let Some(&(until, address)) = self.probes.ends.first().filter(|(until, _)| *until <= now) {
            self.probes.ends.remove(&(until, address));
            let open = self.probes.open.remove(&address);
            self.probes.note_silent(address, now + settings.silent);
            if open.is_some_and(|open| open.waiting.is_some()) {
                effects.decided.push(address);
            }
        }
    }

    /// Somebody answered for an address. If that is not the client it is about to be offered to, it is given to nobody
    /// for a while; whoever was found there may still ask for it.
    pub fn found_in_use(
        &mut self,
        now: Timestamp,
        address: Ipv4Addr,
        by: Option<HardwareAddress>,
    ) -> Effects {
        let mut effects = Effects::default();
        let Some(settings) = self.probes.settings else { return effects };
        let Some(open) = self.probes.close(address) else { return effects };
        if open.waiting.is_some() {
            effects.decided.push(address);
        }
        if by.is_some() && open.waiting == by {
            self.probes.note_silent(address, now + settings.silent);
            return effects;
        }
        let before = self.leases.get(address);
        let promised = self.others_may_renew() && before.is_some_and(|lease| self.end_of(lease) > now);
        let not_ours = promised || self.right(now, address) != Right::Holder;
        if not_ours || before.is_some_and(|lease| lease.state != LeaseState::Free) {
            return effects;
        }
        self.probes.counts.conflicts += 1;
        let expires = now + settings.conflict;
        let nobody = LeaseRecord {
            address,
            state: LeaseState::Quarantined,
            client: ClientKey::nobody(),
            hardware: by.unwrap_or_else(|| HardwareAddress::ethernet([0; 6])),
            hostname: Octets::default(),
            relay_information: Box::default(),
            granted_at: before.map_or(Timestamp::ZERO, |lease| lease.granted_at),
            expires,
            horizon: expires,
            kept_until: Timestamp::ZERO,
            forms: [None, None],
        };
        self.offers.remove(address);
        effects.commit.push(nobody.clone());
        self.leases.put(nobody);
        self.quarantined(now, address, &mut effects);
        effects
    }

    /// Asks for the next addresses of every pool.
    pub fn probe_ahead(&mut self, now: Timestamp, rng: &mut dyn RngCore) -> Effects {
        let mut effects = Effects::default();
        let Some(settings) = self.probes.settings.filter(|_| now >= self.probes.next_ahead) else {
            return effects;
        };
        self.probes.next_ahead = now + AHEAD_EVERY;
        while let Some(&(until, address)) = self.probes.silent_ends.first().filter(|(until, _)| *until <= now)
        {
            self.probes.silent_ends.remove(&(until, address));
            self.probes.silent.remove(&address);
        }
        // Half of what may be open is kept for clients that wait.
        let open_max = settings.in_flight_max / 2;
        let ahead = self.ahead();
        for subnet in 0..self.topology.config.subnets.len() {
            if !self.is_probed(&settings, subnet) {
                continue;
            }
            for area in self.topology.areas_of(subnet) {
                if !self.may_allocate(now, area) {
                    continue;
                }
                for address in self.allocator.next(area, ahead, &self.leases, rng) {
                    if self.probes.open.len() >= open_max {
                        return effects;
                    }
                    if !self.probes.is_silent(now, address) && !self.probes.open.contains_key(&address) {
                        self.probes.ask(now, settings.wait, address, None);
                        effects.probe.push(address);
                    }
                }
            }
        }
        effects
    }

    /// The address a new client of a pool is given: one of the next that is known to be silent, if there is such.
    pub(super) fn pick(&mut self, now: Timestamp, area: usize, rng: &mut dyn RngCore) -> Option<Ipv4Addr> {
        if !self.may_allocate(now, area) {
            return None;
        }
        if self.probes.settings.is_some() {
            let next = self.allocator.next(area, self.ahead(), &self.leases, rng);
            let silent = next.into_iter().find(|address| self.probes.is_silent(now, *address));
            if silent.is_some() {
                return silent;
            }
        }
        let Self { allocator, leases, .. } = self;
        Allocator::pick(allocator, area, leases, rng)
    }

    fn ahead(&self) -> usize {
        (AHEAD_ALL / self.topology.areas().len().max(1)).clamp(1, AHEAD_MAX)
    }
}
