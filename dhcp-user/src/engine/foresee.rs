//! What would become of a message, without anything becoming of it: for an operator who asks why. The judgements are the
//! same functions that handling a message goes through; only their consequences are left out.

use std::net::Ipv4Addr;

use ipnet::Ipv4Net;

use super::{
    ClientState, Engine, Inquiry,
    effects::Ingress,
    options::code,
    reason::SlowReason,
    request::{Request, kind},
};
use crate::time::Timestamp;

/// Why a client would be offered this address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wish {
    /// It is reserved for the client.
    Reserved,
    /// The client holds it.
    Held,
    /// It was just offered to the client.
    Offered,
    /// The client had it before.
    Remembered,
    /// The client asks for it.
    Requested,
    /// It is free, and nobody's.
    Fresh,
}

impl Wish {
    /// In words, as the end of a sentence about an address.
    pub const fn meaning(self) -> &'static str {
        match self {
            Self::Reserved => "reserved for this client",
            Self::Held => "the one this client holds",
            Self::Offered => "the one this client was just offered",
            Self::Remembered => "the one this client had before",
            Self::Requested => "the one this client asks for",
            Self::Fresh => "any free one of the pools",
        }
    }
}

/// What would become of a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Foresight {
    /// What would be counted. A DISCOVER whose address is still to be asked for (`probing`) is shown as `offered`.
    pub reason: SlowReason,
    /// The address it is about; of a fresh offer it is not known before.
    pub address: Option<Ipv4Addr>,
    /// Why this address, for an offer.
    pub wish: Option<Wish>,
    /// The lease time it would be granted or offered, seconds.
    pub lease_secs: Option<u32>,
    /// The subnets of the client's link.
    pub on_link: Vec<Ipv4Net>,
}

impl Foresight {
    const fn of(reason: SlowReason) -> Self {
        Self { reason, address: None, wish: None, lease_secs: None, on_link: Vec::new() }
    }
}

/// What is to be done about a REQUEST.
pub(super) enum Verdict {
    /// Grant it, for this reason; the address is in this subnet.
    Ack(SlowReason, usize),
    Nak(SlowReason),
    Ignore(SlowReason),
}

impl Engine {
    /// What [`handle`](Self::handle) would make of a message.
    pub fn foresee(&self, now: Timestamp, ingress: &Ingress, payload: &[u8]) -> Foresight {
        let request = match Request::parse(payload) {
            Ok(request) => request,
            Err(reason) => return Foresight::of(reason),
        };
        let Some((server, server_id)) = self.server_for(ingress, &request) else {
            return Foresight::of(SlowReason::IgnoredNoServerAddress);
        };
        let inquiry = Inquiry { now, ingress, request: &request, server, server_id };
        let subnets = self.topology.on_link(ingress, &request);
        let on_link =
            subnets.iter().filter_map(|&subnet| Some(self.topology.subnet(subnet)?.prefix)).collect();
        let seen = match request.message_type {
            kind::DISCOVER => self.foresee_discover(&inquiry, &subnets),
            kind::REQUEST => self.foresee_request(&inquiry),
            kind::DECLINE => Foresight {
                address: request.requested,
                ..Foresight::of(
                    self.judge_decline(&inquiry).map_or_else(|reason| reason, |_| SlowReason::Declined),
                )
            },
            kind::RELEASE => Foresight {
                address: Some(request.ciaddr),
                ..Foresight::of(
                    self.judge_release(&inquiry).map_or_else(|reason| reason, |_| SlowReason::Released),
                )
            },
            kind::INFORM => Foresight::of(
                self.judge_inform(&inquiry).map_or_else(|reason| reason, |_| SlowReason::AckedInform),
            ),
            _ => Foresight::of(SlowReason::IgnoredMessageType),
        };
        Foresight { on_link, ..seen }
    }

    fn foresee_discover(&self, inquiry: &Inquiry<'_>, subnets: &[usize]) -> Foresight {
        let request = inquiry.request;
        let Some(&first) = subnets.first() else { return Foresight::of(SlowReason::IgnoredNoSubnet) };
        let rapid = |subnet: usize, address| {
            let terms = self.terms_for(subnet, address, request, None)?;
            let rapid = terms.policy.rapid_commit && request.option(code::RAPID_COMMIT).is_some();
            let reason = if rapid { SlowReason::AckedRapid } else { SlowReason::Offered };
            Some((reason, self.grantable_secs(inquiry.now, address, terms.policy, request)))
        };
        if let Some((subnet, address, wish)) = self.wished(inquiry, subnets) {
            return match rapid(subnet, address) {
                None => Foresight::of(SlowReason::IgnoredNoFreeAddress),
                Some((reason, secs)) => Foresight {
                    address: Some(address),
                    wish: Some(wish),
                    lease_secs: Some(secs),
                    ..Foresight::of(reason)
                },
            };
        }
        let now = inquiry.now;
        let free = subnets.iter().find(|&&subnet| self.may_give_from(now, self.topology.areas_of(subnet)));
        let fresh = free.and_then(|&subnet| {
            // Every address of a pool is on the same terms.
            let pool = self.topology.subnet(subnet)?.pools.iter().enumerate();
            let gives = |at| self.may_give_from(now, self.topology.areas_of_pool(subnet, at));
            let (_, pool) = pool.clone().find(|(at, _)| gives(*at))?;
            let rapid = pool.policy.rapid_commit && request.option(code::RAPID_COMMIT).is_some();
            let reason = if rapid { SlowReason::AckedRapid } else { SlowReason::Offered };
            Some((reason, self.fresh_secs(inquiry.now, pool.first, &pool.policy, request)))
        });
        // The oldest offer of another client would give way.
        let oldest = || self.offers.oldest(inquiry.now, first);
        let fresh = fresh.or_else(|| {
            let address = oldest()?;
            rapid(self.topology.subnet_of(address)?, address)
        });
        match fresh {
            None => Foresight::of(SlowReason::IgnoredNoFreeAddress),
            Some((reason, secs)) => {
                Foresight { wish: Some(Wish::Fresh), lease_secs: Some(secs), ..Foresight::of(reason) }
            }
        }
    }

    fn foresee_request(&self, inquiry: &Inquiry<'_>) -> Foresight {
        let request = inquiry.request;
        let (address, verdict, before) = match self.state_of(request) {
            ClientState::Selecting(address) => (address, self.judge_selecting(inquiry, address), None),
            ClientState::InitReboot(address) => (address, self.judge_reboot(inquiry, address), None),
            ClientState::Extending => {
                let lease = self.leases.get(request.ciaddr);
                (request.ciaddr, self.judge(Some(inquiry.now), inquiry.ingress, request, lease), lease)
            }
            ClientState::OtherServer => return Foresight::of(SlowReason::IgnoredOtherServer),
            ClientState::Contradictory => return Foresight::of(SlowReason::IgnoredContradictory),
        };
        let (reason, lease_secs) = match self.if_ours(inquiry, address, verdict) {
            Verdict::Nak(reason) | Verdict::Ignore(reason) => (reason, None),
            Verdict::Ack(reason, subnet) => match self.terms_for(subnet, address, request, before) {
                Some(terms) => {
                    (reason, Some(self.grantable_secs(inquiry.now, address, terms.policy, request)))
                }
                None => (SlowReason::NakNotEntitled, None),
            },
        };
        Foresight { address: Some(address), lease_secs, ..Foresight::of(reason) }
    }
}
