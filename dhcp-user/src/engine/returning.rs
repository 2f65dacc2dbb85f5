//! Messages by which a client gives something back or only asks: RELEASE, DECLINE (RFC 2131 sections 4.3.3 and 4.3.4)
//! and INFORM (section 4.3.5).

use std::net::Ipv4Addr;

use super::{
    Engine, Inquiry,
    effects::{Effects, Reply},
    reason::SlowReason,
    reply::{self, Answer},
    request::kind,
};
use crate::{
    lease::{record::LeaseState, table::Leaving},
    site::authority::Right,
};

impl Engine {
    pub(super) fn release(&mut self, inquiry: &Inquiry<'_>, effects: &mut Effects) -> SlowReason {
        if !self.names_us(inquiry.request) {
            return SlowReason::IgnoredOtherServer;
        }
        let address = inquiry.request.ciaddr;
        if !self.holds(inquiry, address) {
            return SlowReason::IgnoredNotHolder;
        }
        if self.right(inquiry.now, address) == Right::Standby {
            return SlowReason::IgnoredNotOurBlock;
        }
        self.send_away(inquiry.now, address, Leaving::Returned(inquiry.now), effects);
        SlowReason::Released
    }

    pub(super) fn decline(&mut self, inquiry: &Inquiry<'_>, effects: &mut Effects) -> SlowReason {
        if !self.names_us(inquiry.request) {
            return SlowReason::IgnoredOtherServer;
        }
        let Some(address) = inquiry.request.requested else { return SlowReason::IgnoredContradictory };
        if !self.holds(inquiry, address) {
            return SlowReason::IgnoredNotHolder;
        }
        self.send_away(inquiry.now, address, Leaving::Declined, effects);
        SlowReason::Declined
    }

    fn holds(&self, inquiry: &Inquiry<'_>, address: Ipv4Addr) -> bool {
        self.leases
            .get(address)
            .is_some_and(|lease| lease.state == LeaseState::Bound && self.owns(inquiry.request, lease))
            && self.leases.leaving(address) != Some(Leaving::Declined)
    }

    /// Tells a client with an address of its own what else it wants to know: no address, no lease time.
    pub(super) fn inform(&mut self, inquiry: &Inquiry<'_>, effects: &mut Effects) -> SlowReason {
        let (ingress, request) = (inquiry.ingress, inquiry.request);
        if !self.names_us(request) {
            return SlowReason::IgnoredOtherServer;
        }
        let owned = if request.ciaddr.is_unspecified() { ingress.source_ip } else { request.ciaddr };
        // An answer goes to the address the question claims to be from: it must be where it came from, or we could be
        // turned against a third.
        let unusable =
            owned.is_unspecified() || owned.is_multicast() || owned.is_broadcast() || owned.is_loopback();
        if unusable || !request.is_relayed() && owned != ingress.source_ip {
            return SlowReason::IgnoredInformAddress;
        }
        let Some(subnet) = self.topology.subnet_of(owned) else { return SlowReason::IgnoredNoSubnet };
        let Some(terms) = self.topology.inform_terms(subnet, owned, request) else {
            return SlowReason::IgnoredNoSubnet;
        };
        let answer = Answer {
            message_type: kind::ACK,
            server_id: inquiry.server_id,
            yiaddr: Ipv4Addr::UNSPECIFIED,
            lease_secs: None,
            rapid: false,
            terms,
        };
        let (payload, omitted) = answer.render(request);
        let to = reply::destination(ingress, request, owned, Ipv4Addr::UNSPECIFIED);
        effects.reply = Some(Reply { payload, source: inquiry.server, to, omitted });
        SlowReason::AckedInform
    }
}
