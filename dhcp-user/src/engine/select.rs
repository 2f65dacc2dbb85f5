//! REQUEST of clients that have no address yet (RFC 2131 section 4.3.2): SELECTING, INIT-REBOOT, and those that chose
//! another server. And the grant itself, which every ACK that makes or moves a lease goes through.

use std::net::Ipv4Addr;

use super::{
    Engine, Inquiry,
    effects::{Effects, Reply},
    foresee::Verdict,
    options::code,
    reason::SlowReason,
    reply::{self, Answer},
    request::kind,
};
use crate::{
    lease::{
        record::{LeaseRecord, LeaseState},
        table::Leaving,
    },
    site::authority::Right,
    time::{Span, Timestamp},
};

impl Engine {
    pub(super) fn selecting(
        &mut self,
        inquiry: &Inquiry<'_>,
        address: Ipv4Addr,
        effects: &mut Effects,
    ) -> SlowReason {
        let verdict = self.judge_selecting(inquiry, address);
        let reason = self.carry_out(inquiry, verdict, (address, Ipv4Addr::UNSPECIFIED), effects);
        if reason == SlowReason::IgnoredNotOurBlock {
            // Another node that goes by the same address offered what was taken.
            self.drop_offer_to(inquiry);
        }
        reason
    }

    /// What a REQUEST in SELECTING comes to.
    pub(super) fn judge_selecting(&self, inquiry: &Inquiry<'_>, address: Ipv4Addr) -> Verdict {
        let subnets = self.topology.on_link(inquiry.ingress, inquiry.request);
        if subnets.is_empty() {
            return Verdict::Ignore(SlowReason::IgnoredNoSubnet);
        }
        let subnet = self.topology.subnet_of(address).filter(|subnet| subnets.contains(subnet));
        let Some(subnet) = subnet else { return Verdict::Nak(SlowReason::NakWrongLink) };
        if !self.available(inquiry.request, address) {
            return Verdict::Nak(SlowReason::NakTaken);
        }
        Verdict::Ack(SlowReason::AckedNew, subnet)
    }

    pub(super) fn init_reboot(
        &mut self,
        inquiry: &Inquiry<'_>,
        address: Ipv4Addr,
        effects: &mut Effects,
    ) -> SlowReason {
        let verdict = self.judge_reboot(inquiry, address);
        self.carry_out(inquiry, verdict, (address, Ipv4Addr::UNSPECIFIED), effects)
    }

    /// What a REQUEST in INIT-REBOOT comes to.
    pub(super) fn judge_reboot(&self, inquiry: &Inquiry<'_>, address: Ipv4Addr) -> Verdict {
        let request = inquiry.request;
        let subnets = self.topology.on_link(inquiry.ingress, request);
        if subnets.is_empty() {
            return Verdict::Ignore(SlowReason::IgnoredNoSubnet);
        }
        let subnet = self.topology.subnet_of(address).filter(|subnet| subnets.contains(subnet));
        let Some(subnet) = subnet else {
            if !self.topology.config.authoritative {
                return Verdict::Ignore(SlowReason::IgnoredNotAuthoritative);
            }
            return Verdict::Nak(SlowReason::NakWrongLink);
        };
        // What we know of this client: a lease it has or had, or a reservation.
        let mut known = false;
        let mut right = self.leases.get(address).is_some_and(|lease| self.owns(request, lease));
        for &on_link in &subnets {
            let Some(prefix) = self.topology.subnet(on_link).map(|subnet| subnet.prefix) else { continue };
            known |= self.leases.of_client(&request.client, prefix).next().is_some();
            if let Some(host) = self.topology.host(on_link, request, None) {
                known = true;
                right |= host.address == address;
            }
        }
        if !known && !right {
            return Verdict::Ignore(SlowReason::IgnoredNoRecord);
        }
        if !right {
            return Verdict::Nak(SlowReason::NakWrongAddress);
        }
        if !self.available(request, address) {
            return Verdict::Nak(SlowReason::NakTaken);
        }
        Verdict::Ack(SlowReason::AckedReboot, subnet)
    }

    /// The client took another server's offer (or renews with another server): ours is free again.
    pub(super) fn other_server(&mut self, inquiry: &Inquiry<'_>) -> SlowReason {
        self.drop_offer_to(inquiry);
        SlowReason::IgnoredOtherServer
    }

    fn drop_offer_to(&mut self, inquiry: &Inquiry<'_>) {
        let subnets = self.topology.on_link(inquiry.ingress, inquiry.request);
        let offered =
            subnets.first().and_then(|&subnet| self.offers.of_client(subnet, &inquiry.request.client));
        if let Some(address) = offered {
            self.drop_offer(inquiry.now, address);
        }
    }

    pub(super) fn drop_offer(&mut self, now: Timestamp, address: Ipv4Addr) {
        if self.offers.remove(address) {
            self.lapse(now, address);
        }
    }

    /// Binds an available address to the client and acknowledges it: lease, horizon, effects and reply. `owned` is the
    /// address the client has already. `false`, with nothing done, if the client is not entitled to it.
    pub(super) fn grant(
        &mut self,
        inquiry: &Inquiry<'_>,
        subnet: usize,
        address: Ipv4Addr,
        owned: Ipv4Addr,
        effects: &mut Effects,
    ) -> bool {
        let request = inquiry.request;
        let before = self.leases.get(address);
        // Where the client was when it last came through a relay counts only while it keeps its address.
        let remembered = before.filter(|_| !owned.is_unspecified());
        let Some(terms) = self.terms_for(subnet, address, request, remembered) else { return false };
        let secs = self.grantable_secs(inquiry.now, address, terms.policy, request);
        let wanted = Span::from_secs(reply::lease_secs(terms.policy, request).into());
        let answer = Answer {
            message_type: kind::ACK,
            server_id: inquiry.server_id,
            yiaddr: address,
            lease_secs: Some(secs),
            rapid: request.message_type == kind::DISCOVER,
            terms,
        };
        let (payload, omitted) = answer.render(request);
        let record = self.granted(inquiry, address, (secs, wanted), before);
        let to = reply::destination(inquiry.ingress, request, owned, address);
        effects.reply = Some(Reply { payload, source: inquiry.server, to, omitted });
        effects.commit.push(record.clone());
        effects.publish.push(address);

        self.offers.remove(address);
        self.allocator.hold(address, &mut self.leases);
        self.leases.stay(address);
        self.leases.put(record);
        self.give_back_others(inquiry, address, effects);
        true
    }

    /// The record of a lease after a grant of `secs`, which is less than `wanted` where other nodes must hear of so much
    /// first: its renewal is then to be granted the whole. A grant shorter than what is left of the one before does not take
    /// that back, for its ACK may be lost: the lease is then as one granted later, and `expires - granted_at` always is
    /// the lease time of the last grant, which is what the kernel goes on granting. Its horizon covers this promise and the next renewals', and never
    /// moves back while the lease is bound: the kernel may have promised as much.
    fn granted(
        &self,
        inquiry: &Inquiry<'_>,
        address: Ipv4Addr,
        (secs, wanted): (u32, Span),
        before: Option<&LeaseRecord>,
    ) -> LeaseRecord {
        let (now, request) = (inquiry.now, inquiry.request);
        let lease = Span::from_secs(secs.into());
        let bound = before.filter(|lease| lease.state == LeaseState::Bound);
        let same = before.filter(|lease| lease.client == request.client);
        let expires = bound.map_or(now, |known| promised_until(now, known, lease)).max(now + lease);
        // A horizon the other nodes are being told of stays as it is while it will do: told anew at each renewal, it might
        // never be acknowledged before the next.
        let pending = bound.map(|known| known.kept_until).filter(|kept| *kept >= now + wanted);
        let ahead = pending.unwrap_or(now + self.horizon_span(wanted));
        let (horizon, kept_until) = self.reach_of(now, address, before, ahead.max(expires));
        // A form stands for a client, its hardware and a lease time: what the kernel grants must be what `expires` says.
        let forms = bound
            .filter(|known| known.client == request.client && known.hardware == request.hardware)
            .filter(|known| known.expires.since(known.granted_at) == lease)
            .map_or([None, None], |known| known.forms);
        let kept = |option: u8, old: fn(&LeaseRecord) -> &[u8]| match request.option(option) {
            Some(value) => value.get(..value.len().min(255)).unwrap_or_default(),
            None => same.map_or_else(<&[u8]>::default, old),
        };
        LeaseRecord {
            address,
            state: LeaseState::Bound,
            client: request.client.clone(),
            hardware: request.hardware,
            hostname: kept(code::HOST_NAME, |lease| &lease.hostname).into(),
            relay_information: kept(code::RELAY_INFORMATION, |lease| &lease.relay_information).into(),
            granted_at: expires - lease,
            expires,
            horizon,
            kept_until,
            forms,
        }
    }

    /// What was to replace a lease could not be made durable, so that its client was told nothing: it stays.
    pub fn not_replaced(&mut self, address: Ipv4Addr) {
        self.leases.stay(address);
    }

    /// A client has one address on a link: any other it held there is given back.
    fn give_back_others(&mut self, inquiry: &Inquiry<'_>, address: Ipv4Addr, effects: &mut Effects) {
        let mut others = Vec::new();
        for subnet in self.topology.on_link(inquiry.ingress, inquiry.request) {
            let Some(prefix) = self.topology.subnet(subnet).map(|subnet| subnet.prefix) else { continue };
            let held = self.leases.of_client(&inquiry.request.client, prefix);
            others.extend(
                held.filter(|l| l.state == LeaseState::Bound && l.address != address).map(|l| l.address),
            );
        }
        others.sort_unstable();
        for other in others {
            let ours = self.right(inquiry.now, other) != Right::Standby;
            if ours && !matches!(self.leases.leaving(other), Some(Leaving::Returned(_) | Leaving::Declined)) {
                self.send_away(inquiry.now, other, Leaving::Returned(inquiry.now), effects);
                effects.replaced.push(other);
            }
        }
    }
}

/// Until when a bound lease may have been promised by the time its lease time becomes `lease`. If that is shorter than
/// before, the kernel may have granted the longer one up to this moment without our having heard of it yet.
fn promised_until(now: Timestamp, known: &LeaseRecord, lease: Span) -> Timestamp {
    let before = known.expires.since(known.granted_at);
    if before > lease { known.expires.max(known.horizon.min(now + before)) } else { known.expires }
}
