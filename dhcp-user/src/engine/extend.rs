//! RENEWING and REBINDING (RFC 2131 section 4.3.2): the requests the kernel answers in our place. What is sent is
//! decided without touching any state, so that it can be asked at any time what the answer would be.

use std::net::Ipv4Addr;

use super::{
    ClientState, Engine, Inquiry,
    effects::{Effects, Ingress},
    foresee::Verdict,
    reason::SlowReason,
    reply::{self, Answer},
    request::{Request, kind},
};
use crate::{
    lease::record::{LeaseRecord, LeaseState},
    time::Timestamp,
};

impl Engine {
    pub(super) fn extending(&mut self, inquiry: &Inquiry<'_>, effects: &mut Effects) -> SlowReason {
        let ciaddr = inquiry.request.ciaddr;
        let lease = self.leases.get(ciaddr);
        let verdict = self.judge(Some(inquiry.now), inquiry.ingress, inquiry.request, lease);
        self.carry_out(inquiry, verdict, (ciaddr, ciaddr), effects)
    }

    /// Does what was judged about a REQUEST of an address, as far as it is this node's to do; `owned` is the one the
    /// client has already.
    pub(super) fn carry_out(
        &mut self,
        inquiry: &Inquiry<'_>,
        verdict: Verdict,
        (address, owned): (Ipv4Addr, Ipv4Addr),
        effects: &mut Effects,
    ) -> SlowReason {
        let verdict = match self.if_ours(inquiry, address, verdict) {
            Verdict::Ack(reason, subnet) if self.grant(inquiry, subnet, address, owned, effects) => {
                return reason;
            }
            Verdict::Ack(..) => self.if_ours(inquiry, address, Verdict::Nak(SlowReason::NakNotEntitled)),
            other => other,
        };
        match verdict {
            Verdict::Nak(reason) => Self::nak(inquiry, effects, reason),
            Verdict::Ignore(reason) | Verdict::Ack(reason, _) => reason,
        }
    }

    /// The payload this server would send in answer to a RENEWING or REBINDING request of the holder of `lease`, with
    /// the lease seconds in option 51 that the grant is for. `None` if it would send no ACK. Changes nothing, and does
    /// not depend on the time: a renewal grants the same at any.
    pub fn renewal_reply(
        &self,
        ingress: &Ingress,
        request: &Request<'_>,
        lease: &LeaseRecord,
    ) -> Option<Vec<u8>> {
        let (server_id, subnet) = self.renewal_shape(ingress, request, lease)?;
        let terms = self.terms_for(subnet, lease.address, request, Some(lease))?;
        let answer = Answer {
            message_type: kind::ACK,
            server_id,
            yiaddr: lease.address,
            lease_secs: Some(reply::lease_secs(terms.policy, request)),
            rapid: false,
            terms,
        };
        Some(answer.render(request).0)
    }

    /// Whether the same request that came in by `other` would get the same payload in reply: without writing it, for all
    /// that the way in decides is our identifier and the subnet whose terms hold.
    pub fn renews_alike(
        &self,
        ingress: &Ingress,
        other: &Ingress,
        request: &Request<'_>,
        lease: &LeaseRecord,
    ) -> bool {
        let shape = self.renewal_shape(ingress, request, lease);
        shape.is_some() && shape == self.renewal_shape(other, request, lease)
    }

    /// What of such a reply depends on the way the request came in: our identifier, and the subnet whose terms hold.
    fn renewal_shape(
        &self,
        ingress: &Ingress,
        request: &Request<'_>,
        lease: &LeaseRecord,
    ) -> Option<(Ipv4Addr, usize)> {
        let extending =
            request.message_type == kind::REQUEST && self.state_of(request) == ClientState::Extending;
        let held = lease.state == LeaseState::Bound && lease.address == request.ciaddr;
        if !extending || !held || !self.owns(request, lease) {
            return None;
        }
        let (_, server_id) = self.server_for(ingress, request)?;
        let Verdict::Ack(_, subnet) = self.judge(None, ingress, request, Some(lease)) else { return None };
        Some((server_id, subnet))
    }

    /// The lease seconds such a reply grants; `None` where [`renewal_reply`](Self::renewal_reply) is.
    pub fn renewal_secs(&self, request: &Request<'_>, lease: &LeaseRecord) -> Option<u32> {
        let subnet = self.topology.subnet_of(lease.address)?;
        let terms = self.terms_for(subnet, lease.address, request, Some(lease))?;
        Some(reply::lease_secs(terms.policy, request))
    }

    /// The address of ours such a reply is sent from: the one the request was sent to, else that of the interface it came
    /// by. With RFC 5107 the payload does not tell.
    pub fn renewal_source(&self, ingress: &Ingress, request: &Request<'_>) -> Option<Ipv4Addr> {
        self.server_for(ingress, request).map(|(server, _)| server)
    }

    /// What a renewal or rebinding of the holder of `lease`, if there is one, comes to; at no particular time, what it
    /// would come to where this node held the address.
    pub(super) fn judge(
        &self,
        now: Option<Timestamp>,
        ingress: &Ingress,
        request: &Request<'_>,
        lease: Option<&LeaseRecord>,
    ) -> Verdict {
        let ciaddr = request.ciaddr;
        // Sent to us by name: the client may be anywhere behind routers. Else it is on the link the message came from.
        let unicast = !request.is_relayed() && self.is_ours(ingress.destination_ip);
        let subnet = self.topology.subnet_of(ciaddr);
        let here = if unicast {
            subnet
        } else {
            let on_link = self.topology.on_link(ingress, request);
            if on_link.is_empty() {
                return Verdict::Ignore(SlowReason::IgnoredNoSubnet);
            }
            subnet.filter(|subnet| on_link.contains(subnet))
        };
        let Some(subnet) = here else {
            return match unicast {
                true => Verdict::Ignore(SlowReason::IgnoredNoSubnet),
                false if self.topology.config.authoritative => Verdict::Nak(SlowReason::NakWrongLink),
                false => Verdict::Ignore(SlowReason::IgnoredNotAuthoritative),
            };
        };
        let held = lease.filter(|lease| lease.state == LeaseState::Bound && self.owns(request, lease));
        if !self.available(request, ciaddr) {
            return Verdict::Nak(SlowReason::NakTaken);
        }
        if self.terms_for(subnet, ciaddr, request, lease).is_none() {
            return match held {
                None if lease.is_none() && !self.topology.config.authoritative => {
                    Verdict::Ignore(SlowReason::IgnoredNotAuthoritative)
                }
                _ => Verdict::Nak(SlowReason::NakNotEntitled),
            };
        }
        if held.is_none() && self.holds_another(subnet, request) {
            return Verdict::Nak(SlowReason::NakWrongAddress);
        }
        if self.has_reservation_elsewhere(now, subnet, ciaddr, request) {
            return Verdict::Nak(SlowReason::NakReservedElsewhere);
        }
        let stranger = lease.is_none_or(|lease| lease.client != request.client);
        if stranger && held.is_none() && !unicast && !self.topology.config.authoritative {
            return Verdict::Ignore(SlowReason::IgnoredNotAuthoritative);
        }
        let reason = match held {
            None => SlowReason::AckedRecreated,
            Some(_) if unicast => SlowReason::AckedRenewal,
            Some(_) => SlowReason::AckedRebinding,
        };
        Verdict::Ack(reason, subnet)
    }

    /// Whether we hold a lease for this client in a subnet. Asked when it claims an address that we do not hold for it.
    fn holds_another(&self, subnet: usize, request: &Request<'_>) -> bool {
        self.topology.subnet(subnet).is_some_and(|subnet| {
            let best = self.leases.best_of_client(&request.client, subnet.prefix);
            best.is_some_and(|l| l.state == LeaseState::Bound && self.leases.leaving(l.address).is_none())
        })
    }

    /// Whether another address of the subnet is reserved for this client and can be had at once.
    fn has_reservation_elsewhere(
        &self,
        now: Option<Timestamp>,
        subnet: usize,
        ciaddr: Ipv4Addr,
        request: &Request<'_>,
    ) -> bool {
        self.topology.host(subnet, request, None).is_some_and(|host| {
            host.address != ciaddr
                && self.available(request, host.address)
                && now.is_none_or(|now| self.may_grant(now, request, host.address).is_ok())
        })
    }
}

impl Engine {
    /// Whether renewals of `lease` are granted for as long as the configuration and the lease stay what they are: not
    /// if another address is reserved for the client, which it is to move to as soon as that is free.
    pub fn renewals_are_certain(&self, request: &Request<'_>, lease: &LeaseRecord) -> bool {
        self.topology.subnet_of(lease.address).is_some_and(|subnet| {
            self.topology.host(subnet, request, None).is_none_or(|host| host.address == lease.address)
        })
    }
}
