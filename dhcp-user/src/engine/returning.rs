//! Messages by which a client gives something back or only asks: RELEASE, DECLINE (RFC 2131 sections 4.3.3 and 4.3.4)
//! and INFORM (section 4.3.5).

use std::net::Ipv4Addr;

use super::{
    Engine, Inquiry,
    effects::{Effects, Reply},
    reason::SlowReason,
    reply::{self, Answer},
    request::kind,
    topology::Terms,
};
use crate::{
    lease::{record::LeaseState, table::Leaving},
    site::authority::Right,
};

impl Engine {
    pub(super) fn release(&mut self, inquiry: &Inquiry<'_>, effects: &mut Effects) -> SlowReason {
        match self.judge_release(inquiry) {
            Err(reason) => reason,
            Ok(address) => {
                self.send_away(inquiry.now, address, Leaving::Returned(inquiry.now), effects);
                SlowReason::Released
            }
        }
    }

    /// Which address a RELEASE gives back, or why none.
    pub(super) fn judge_release(&self, inquiry: &Inquiry<'_>) -> Result<Ipv4Addr, SlowReason> {
        if !self.names_us(inquiry.request) {
            return Err(SlowReason::IgnoredOtherServer);
        }
        let address = inquiry.request.ciaddr;
        if !self.holds(inquiry, address) {
            return Err(SlowReason::IgnoredNotHolder);
        }
        if self.right(inquiry.now, address) == Right::Standby {
            return Err(SlowReason::IgnoredNotOurBlock);
        }
        Ok(address)
    }

    pub(super) fn decline(&mut self, inquiry: &Inquiry<'_>, effects: &mut Effects) -> SlowReason {
        match self.judge_decline(inquiry) {
            Err(reason) => reason,
            Ok(address) => {
                self.send_away(inquiry.now, address, Leaving::Declined, effects);
                SlowReason::Declined
            }
        }
    }

    /// Which address a DECLINE is about, or why none.
    pub(super) fn judge_decline(&self, inquiry: &Inquiry<'_>) -> Result<Ipv4Addr, SlowReason> {
        if !self.names_us(inquiry.request) {
            return Err(SlowReason::IgnoredOtherServer);
        }
        let address = inquiry.request.requested.ok_or(SlowReason::IgnoredContradictory)?;
        if self.holds(inquiry, address) { Ok(address) } else { Err(SlowReason::IgnoredNotHolder) }
    }

    fn holds(&self, inquiry: &Inquiry<'_>, address: Ipv4Addr) -> bool {
        self.leases
            .get(address)
            .is_some_and(|lease| lease.state == LeaseState::Bound && self.owns(inquiry.request, lease))
            && self.leases.leaving(address) != Some(Leaving::Declined)
    }

    /// Tells a client with an address of its own what else it wants to know: no address, no lease time.
    pub(super) fn inform(&mut self, inquiry: &Inquiry<'_>, effects: &mut Effects) -> SlowReason {
        let (owned, terms) = match self.judge_inform(inquiry) {
            Ok(judged) => judged,
            Err(reason) => return reason,
        };
        let (ingress, request) = (inquiry.ingress, inquiry.request);
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

    /// The address an INFORM comes from and on what terms it is answered, or why it is not.
    pub(super) fn judge_inform(&self, inquiry: &Inquiry<'_>) -> Result<(Ipv4Addr, Terms<'_>), SlowReason> {
        let (ingress, request) = (inquiry.ingress, inquiry.request);
        if !self.names_us(request) {
            return Err(SlowReason::IgnoredOtherServer);
        }
        let owned = if request.ciaddr.is_unspecified() { ingress.source_ip } else { request.ciaddr };
        // An answer goes to the address the question claims to be from: it must be where it came from, or we could be
        // turned against a third.
        let unusable =
            owned.is_unspecified() || owned.is_multicast() || owned.is_broadcast() || owned.is_loopback();
        if unusable || !request.is_relayed() && owned != ingress.source_ip {
            return Err(SlowReason::IgnoredInformAddress);
        }
        let subnet = self.topology.subnet_of(owned).ok_or(SlowReason::IgnoredNoSubnet)?;
        let terms = self.topology.inform_terms(subnet, owned, request).ok_or(SlowReason::IgnoredNoSubnet)?;
        Ok((owned, terms))
    }
}
