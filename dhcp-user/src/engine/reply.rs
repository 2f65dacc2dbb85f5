//! What a reply says (RFC 2131 table 3) and where it goes (section 4.1). The one place OFFER, ACK and NAK are put
//! together, so that what the kernel is taught is what userspace would have sent.

use std::net::Ipv4Addr;

use super::{
    effects::{Destination, Ingress, Omitted},
    encode::{Draft, TheOption},
    options::code,
    request::{FLAG_BROADCAST, Request, kind},
    topology::Terms,
};
use crate::config::model::Policy;

/// The port of servers and relay agents.
const SERVER_PORT: u16 = 67;

/// An OFFER or an ACK.
pub(super) struct Answer<'a> {
    pub message_type: u8,
    pub server_id: Ipv4Addr,
    pub yiaddr: Ipv4Addr,
    /// `None` in the answer to an INFORM, which grants nothing.
    pub lease_secs: Option<u32>,
    /// Whether this ACK answers a DISCOVER (RFC 4039).
    pub rapid: bool,
    pub terms: Terms<'a>,
}

impl Answer<'_> {
    /// The payload that answers `request` so.
    pub fn render(&self, request: &Request<'_>) -> (Vec<u8>, Omitted) {
        let policy = self.terms.policy;
        let server_id = self.server_id.octets();
        let times = self.lease_secs.map(|secs| {
            let (t1, t2) = renewal_times(policy, secs);
            [secs.to_be_bytes(), t1.to_be_bytes(), t2.to_be_bytes()]
        });
        let message_type = [self.message_type];
        let mut head: Vec<TheOption<'_>> =
            vec![(code::MESSAGE_TYPE, &message_type), (code::SERVER_IDENTIFIER, &server_id)];
        if let Some([lease, t1, t2]) = &times {
            head.push((code::LEASE_TIME, lease));
            if is_told_when_to_renew(policy, request) {
                head.push((code::RENEWAL_TIME, t1));
                head.push((code::REBINDING_TIME, t2));
            }
        }
        if let Some(mask) = policy.options.get(&code::SUBNET_MASK) {
            head.push((code::SUBNET_MASK, &mask.bytes));
        }
        if self.rapid {
            head.push((code::RAPID_COMMIT, &[]));
        }
        let draft = Draft {
            request,
            flags: request.flags,
            ciaddr: if self.message_type == kind::ACK && !self.rapid {
                request.ciaddr
            } else {
                Ipv4Addr::UNSPECIFIED
            },
            yiaddr: self.yiaddr,
            siaddr: policy.next_server,
            sname: &policy.server_name,
            file: &policy.boot_file,
            head,
            body: parameters(&self.terms, request),
            echoes: echoes(request),
            relay_information: request.option(code::RELAY_INFORMATION),
        };
        draft.encode()
    }
}

/// A NAK, for relays with the broadcast flag set: the client has no address to send it to (RFC 2131 section 4.1).
pub(super) fn render_nak(request: &Request<'_>, server_id: Ipv4Addr) -> (Vec<u8>, Omitted) {
    let server_id = server_id.octets();
    let draft = Draft {
        request,
        flags: if request.is_relayed() { request.flags | FLAG_BROADCAST } else { request.flags },
        ciaddr: Ipv4Addr::UNSPECIFIED,
        yiaddr: Ipv4Addr::UNSPECIFIED,
        siaddr: Ipv4Addr::UNSPECIFIED,
        sname: &[],
        file: &[],
        head: vec![(code::MESSAGE_TYPE, &[kind::NAK]), (code::SERVER_IDENTIFIER, &server_id)],
        body: Vec::new(),
        echoes: echoes(request),
        relay_information: request.option(code::RELAY_INFORMATION),
    };
    draft.encode()
}

/// Where an OFFER or ACK goes. `owned` is the address the client has by now, unspecified if it has none yet.
pub(super) fn destination(
    ingress: &Ingress,
    request: &Request<'_>,
    owned: Ipv4Addr,
    yiaddr: Ipv4Addr,
) -> Destination {
    if request.is_relayed() {
        return to_relay(ingress, request);
    }
    if !owned.is_unspecified() {
        return Destination::Renewing { ciaddr: owned, mac: ingress.source_mac };
    }
    match request.hardware.as_ethernet() {
        Some(mac) if request.flags & FLAG_BROADCAST == 0 => Destination::Client { mac, yiaddr },
        _ => Destination::Broadcast,
    }
}

/// Where a NAK goes: to the relay, or to everybody.
pub(super) fn nak_destination(ingress: &Ingress, request: &Request<'_>) -> Destination {
    if request.is_relayed() { to_relay(ingress, request) } else { Destination::Broadcast }
}

fn to_relay(ingress: &Ingress, request: &Request<'_>) -> Destination {
    let port = if request.relay().source_port { ingress.source_port } else { SERVER_PORT };
    Destination::Relay { giaddr: request.giaddr, port }
}

/// The lease time granted: what the client asks for, within the policy's bounds.
pub(super) fn lease_secs(policy: &Policy, request: &Request<'_>) -> u32 {
    match request.lease_secs {
        Some(wish) => wish.max(policy.lease_min_secs).min(policy.lease_max_secs),
        None => policy.lease_default_secs,
    }
}

/// Whether T1 and T2 are told: where they are not what every client takes that is told neither (RFC 2131 section 4.4.5), and
/// to whoever asks. Left out they save twelve octets, by which most ACKs are no longer than the request they answer: then
/// the kernel need not make room, which is a fifth of what its answer costs (docs/performance.md).
fn is_told_when_to_renew(policy: &Policy, request: &Request<'_>) -> bool {
    let taken_anyway = (policy.t1_permille, policy.t2_permille) == (500, 875);
    let wishes = request.option(code::PARAMETER_REQUEST_LIST);
    let asks =
        |wishes: &[u8]| [code::RENEWAL_TIME, code::REBINDING_TIME].iter().any(|it| wishes.contains(it));
    !taken_anyway || wishes.is_none_or(asks)
}

/// T1 and T2 in seconds, T1 < T2 < lease time wherever whole seconds allow it (RFC 2131 section 4.4.5).
pub(super) fn renewal_times(policy: &Policy, lease_secs: u32) -> (u32, u32) {
    let share = |permille: u16| {
        let secs = u64::from(lease_secs) * u64::from(permille) / 1000;
        u32::try_from(secs).unwrap_or(lease_secs)
    };
    let t2 = share(policy.t2_permille).min(lease_secs.saturating_sub(1));
    (share(policy.t1_permille).min(t2.saturating_sub(1)), t2)
}

/// The configured options a client gets: those it named, in its order, then those sent to everybody. A client that
/// names none gets all.
fn parameters<'a>(terms: &Terms<'a>, request: &'a Request<'_>) -> Vec<TheOption<'a>> {
    let policy: &'a Policy = terms.policy;
    let configured = |code: u8| -> Option<TheOption<'a>> {
        if code == code::HOST_NAME
            && let Some(name) = terms.hostname
        {
            return Some((code, name.as_bytes()));
        }
        policy.options.get(&code).map(|option| (code, option.bytes.as_slice()))
    };
    // What is written elsewhere counts as written.
    let mut written = [false; 256];
    let mut first_time =
        |code: u8| written.get_mut(usize::from(code)).is_some_and(|seen| !std::mem::replace(seen, true));
    for code in [code::SUBNET_MASK, code::RAPID_COMMIT, code::SUBNET_SELECTION] {
        first_time(code);
    }
    let mut found = Vec::new();
    let wishes = request.option(code::PARAMETER_REQUEST_LIST);
    for &code in wishes.unwrap_or_default() {
        found.extend(configured(code).filter(|_| first_time(code)));
    }
    // Only ever to clients that ask for it (RFC 8925 section 3.3).
    first_time(code::IPV6_ONLY_PREFERRED);
    if wishes.is_none() && terms.hostname.is_some() {
        found.extend(configured(code::HOST_NAME).filter(|_| first_time(code::HOST_NAME)));
    }
    for (&code, option) in &policy.options {
        if option.always || wishes.is_none() {
            found.extend(configured(code).filter(|_| first_time(code)));
        }
    }
    found
}

/// What is sent back as it came: the client identifier (RFC 6842) and the subnet selection (RFC 3011 section 3).
fn echoes<'a>(request: &'a Request<'_>) -> Vec<TheOption<'a>> {
    [code::SUBNET_SELECTION, code::CLIENT_IDENTIFIER]
        .into_iter()
        .filter_map(|code| request.option(code).map(|value| (code, value)))
        .filter(|(code, value)| *code != code::SUBNET_SELECTION || value.len() == 4)
        .collect()
}
