//! Why a client gets the answer it gets, and which path gives it: asked of the kernel's own code on the live maps and of
//! the engine's own judgements, with nothing counted, marked, offered or granted.

use std::net::Ipv4Addr;

use dhcp_common::reason::Reason;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{clock, core::Unread, service::Service, view::LeaseView};
use crate::{
    config::model::{HostIdentity, Subnet, VlanTags},
    engine::{Foresight, Ingress, SlowReason},
    lease::record::{HardwareAddress, LeaseRecord, LeaseState},
    net::packet_socket::ReceivedFrame,
};

/// The longest frame looked at, octets.
pub const FRAME_MAX: usize = 4_096;
/// The most links on which a client is imagined.
const LINKS_MAX: usize = 16;

/// What is asked about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Subject {
    /// A frame that comes in by an interface; without its name, by the one whose address the frame has, else the first.
    Frame {
        /// The interface's name.
        interface: Option<String>,
        /// The frame, from the Ethernet header on.
        octets: Vec<u8>,
    },
    /// A client that comes for the first time: a DISCOVER without client identifier, on every link.
    Client([u8; 6]),
    /// An address, and the next renewal of its lease.
    Address(Ipv4Addr),
}

/// Why a client gets the answer it gets.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Explanation {
    /// Who would answer: `kernel`, `daemon` or `nobody`.
    pub answered_by: String,
    /// All of it in a sentence.
    pub summary: String,
    /// What each part finds, in the order in which they look.
    pub steps: Vec<Step>,
    /// The lease of the address in question.
    pub lease: Option<LeaseView>,
}

/// What one part finds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Step {
    /// Which part: `frame`, `kernel`, `daemon`, `configuration`, `lease` or a link.
    pub part: String,
    /// A reason as counters name it, or a word.
    pub outcome: String,
    /// What that means.
    pub meaning: String,
}

impl Step {
    fn new(part: impl Into<String>, outcome: impl Into<String>, meaning: impl Into<String>) -> Self {
        Self { part: part.into(), outcome: outcome.into(), meaning: meaning.into().trim().to_owned() }
    }
}

impl Service {
    pub(super) fn explain(&self, subject: &Subject) -> Explanation {
        match subject {
            Subject::Frame { interface, octets } => self.explain_frame(interface.as_deref(), octets),
            Subject::Client(mac) => self.explain_client(*mac),
            Subject::Address(address) => self.explain_address(*address),
        }
    }

    fn explain_frame(&self, name: Option<&str>, octets: &[u8]) -> Explanation {
        let core = &self.keeper.core;
        let interfaces = &core.engine.config().interfaces;
        let by_name = name.map(|name| interfaces.iter().position(|interface| interface.name == name));
        let by_mac = || core.learner.interfaces.iter().position(|ours| octets.starts_with(&ours.mac));
        let at = match by_name {
            Some(None) => {
                let summary = format!("{} is no interface of the configuration", name.unwrap_or_default());
                return Explanation { answered_by: "nobody".to_owned(), summary, ..Explanation::default() };
            }
            Some(Some(at)) => at,
            None => by_mac().unwrap_or(0),
        };
        let name = interfaces.get(at).map_or_else(|| at.to_string(), |interface| interface.name.clone());
        let mut steps = vec![Step::new("frame", name, format!("{} octets, by this interface", octets.len()))];
        let seen =
            self.keeper.kernel.as_ref().zip(core.learner.interfaces.get(at)).map(|(kernel, interface)| {
                kernel.foresee(&core.learner.answers, interface, clock::boot_ns(), octets)
            });
        steps.push(match seen {
            None => Step::new("kernel", "absent", "no fast path is configured or attached"),
            Some(reason) => Step::new("kernel", reason.as_str(), reason.describe()),
        });
        let mut received = ReceivedFrame { octets: octets.to_vec(), checksum_pending: false };
        let mut read = core.read(at, &mut received);
        if read == Err(Unread::BadChecksum) {
            steps.push(Step::new(
                "frame",
                "bad_checksum",
                "its UDP checksum is wrong: on the wire the daemon drops such a frame. Captured where it was sent, as it \
                 seems to be, it may be unfinished work of the card: what follows is of the frame with a right one",
            ));
            received.checksum_pending = true;
            read = core.read(at, &mut received);
        }
        let foreseen = read.map(|(ingress, payload)| {
            let payload = received.octets.get(payload).unwrap_or_default();
            core.engine.foresee(self.clock.now(), &ingress, payload)
        });
        let (daemon, address) = match &foreseen {
            Err(unread) => (Step::new("daemon", "unread", unread.to_string()), None),
            Ok(foresight) => (daemon_step(foresight), foresight.address),
        };
        let in_kernel = seen == Some(Reason::Answered);
        let answers = foreseen.as_ref().is_ok_and(|foresight| is_answer(foresight.reason));
        let (answered_by, summary) = match (in_kernel, answers) {
            (true, _) => ("kernel", "a renewal of a published lease: answered in the kernel".to_owned()),
            (false, true) => (
                "daemon",
                format!(
                    "passed up ({}), then the daemon answers ({}), unless dhcp.limits drop it on the way",
                    seen.map_or("no fast path", Reason::as_str),
                    daemon.outcome
                ),
            ),
            (false, false) => ("nobody", format!("nobody answers: {}", daemon.meaning)),
        };
        steps.push(daemon);
        Explanation {
            answered_by: answered_by.to_owned(),
            summary,
            steps,
            lease: address.and_then(|address| self.lease_of(address)),
        }
    }

    fn explain_client(&self, mac: [u8; 6]) -> Explanation {
        let engine = &self.keeper.core.engine;
        let payload = discover(mac);
        let mut links: Vec<(usize, VlanTags)> = Vec::new();
        for link in engine.config().subnets.iter().filter_map(|subnet| subnet.link) {
            if links.len() < LINKS_MAX && !links.contains(&(link.interface, link.vlans)) {
                links.push((link.interface, link.vlans));
            }
        }
        let mut steps = Vec::new();
        let mut offered = false;
        for (interface, vlans) in links {
            let ingress = Ingress {
                interface,
                vlans,
                source_mac: mac,
                source_ip: Ipv4Addr::UNSPECIFIED,
                destination_ip: Ipv4Addr::BROADCAST,
                source_port: 68,
            };
            let foresight = engine.foresee(self.clock.now(), &ingress, &payload);
            offered |= is_answer(foresight.reason);
            let name =
                engine.config().interfaces.get(interface).map_or("", |interface| interface.name.as_str());
            let step = daemon_step(&foresight);
            steps.push(Step { part: link_name(name, vlans), ..step });
        }
        let hardware = HardwareAddress::ethernet(mac);
        let (answered_by, summary) = match (offered, steps.is_empty()) {
            (true, _) => {
                ("daemon", format!("a DISCOVER of {hardware} without client identifier gets an offer"))
            }
            (false, true) => ("nobody", "no subnet has clients that are directly attached".to_owned()),
            (false, false) => {
                ("nobody", format!("a DISCOVER of {hardware} without client identifier gets none"))
            }
        };
        Explanation { answered_by: answered_by.to_owned(), summary, steps, lease: None }
    }

    fn explain_address(&self, address: Ipv4Addr) -> Explanation {
        let engine = &self.keeper.core.engine;
        let subnet = engine.config().subnets.iter().find(|subnet| subnet.prefix.contains(&address));
        let mut steps = vec![configured(subnet, address)];
        let lease = engine.leases().get(address);
        let Some(lease) = lease else {
            steps.push(Step::new("lease", "none", "nobody holds it or is remembered for it"));
            let summary = format!("nobody holds {address}; whoever asks next is answered by the daemon");
            return Explanation { answered_by: "daemon".to_owned(), summary, steps, lease: None };
        };
        let leaving = engine.leases().leaving(address).is_some();
        steps.push(held(lease, leaving));
        let bound = lease.state == LeaseState::Bound && !leaving;
        let (outcome, meaning) = self.kernel_on(lease);
        let in_kernel = bound && outcome == "answered";
        steps.push(Step::new("kernel", outcome, meaning.clone()));
        let (answered_by, summary) = match (bound, in_kernel) {
            (true, true) => (
                "kernel",
                "the client's next renewal, as it was last sent, is answered in the kernel".to_owned(),
            ),
            (true, false) => ("daemon", format!("the client's next renewal goes to the daemon: {meaning}")),
            (false, _) => {
                ("daemon", "nobody renews it: whoever asks next is answered by the daemon".to_owned())
            }
        };
        let lease = Some(self.lease_view(lease));
        Explanation { answered_by: answered_by.to_owned(), summary, steps, lease }
    }

    /// What the kernel would say to a renewal that it knows: the checks of `dhcp_common::renewal`, in their order.
    fn kernel_on(&self, lease: &LeaseRecord) -> (&'static str, String) {
        let Some(kernel) = &self.keeper.kernel else {
            return ("absent", "no fast path is configured or attached".to_owned());
        };
        let reason = |reason: Reason| (reason.as_str(), reason.describe().trim().to_owned());
        let Some((_, cell)) = kernel.entry(lease.address).filter(|(_, cell)| cell.horizon_boot_ns() != 0)
        else {
            return reason(Reason::NoLease);
        };
        if cell.generation() != self.keeper.core.learner.control.generation {
            return reason(Reason::OldGeneration);
        }
        if lease.forms.iter().all(Option::is_none) {
            return reason(Reason::UnknownForm);
        }
        let now = clock::boot_ns();
        if now >= kernel.authority_until_boot_ns() {
            return reason(Reason::Authority);
        }
        let lease_ns = lease.expires.since(lease.granted_at).0;
        if now.saturating_add(lease_ns) > cell.horizon_boot_ns() {
            return reason(Reason::Horizon);
        }
        ("answered", format!("published, {} renewals answered so far", cell.renewals()))
    }

    fn lease_of(&self, address: Ipv4Addr) -> Option<LeaseView> {
        self.keeper.core.engine.leases().get(address).map(|lease| self.lease_view(lease))
    }
}

fn daemon_step(foresight: &Foresight) -> Step {
    let mut meaning = foresight.reason.meaning().trim().to_owned();
    if let Some(wish) = foresight.wish {
        match foresight.address {
            Some(address) => meaning += &format!(" The address is {address}, {}.", wish.meaning()),
            None => meaning += &format!(" The address is {}.", wish.meaning()),
        }
    } else if let Some(address) = foresight.address {
        meaning += &format!(" It is about {address}.");
    }
    if let Some(secs) = foresight.lease_secs {
        meaning += &format!(" Lease time: {secs} s.");
    }
    if !foresight.on_link.is_empty() {
        let on_link: Vec<String> = foresight.on_link.iter().map(ToString::to_string).collect();
        meaning += &format!(" On the client's link: {}.", on_link.join(", "));
    }
    Step::new("daemon", foresight.reason.as_str(), meaning)
}

/// Whether something is sent to the client.
fn is_answer(reason: SlowReason) -> bool {
    let name = reason.as_str();
    reason == SlowReason::Offered || name.starts_with("acked_") || name.starts_with("nak_")
}

fn configured(subnet: Option<&Subnet>, address: Ipv4Addr) -> Step {
    let Some(subnet) = subnet else {
        return Step::new("configuration", "no_subnet", "it is in no configured subnet");
    };
    let prefix = subnet.prefix;
    if let Some(host) = subnet.reservation(address) {
        let whose = match &host.identity {
            HostIdentity::Hardware(mac) => HardwareAddress::ethernet(*mac).to_string(),
            HostIdentity::ClientId(id) => format!("client identifier {}", id.escape_ascii()),
            HostIdentity::CircuitId(id) => format!("circuit {}", id.escape_ascii()),
        };
        return Step::new("configuration", "reserved", format!("in {prefix}, reserved for {whose}"));
    }
    match subnet.pools.iter().find(|pool| (pool.first..=pool.last).contains(&address)) {
        Some(pool) => {
            Step::new("configuration", "pool", format!("in {prefix}, pool {}-{}", pool.first, pool.last))
        }
        None => Step::new(
            "configuration",
            "no_pool",
            format!("in {prefix}, but in no pool and not reserved: nobody is given it"),
        ),
    }
}

fn held(lease: &LeaseRecord, leaving: bool) -> Step {
    let whose = lease.hardware;
    match lease.state {
        LeaseState::Bound if leaving => Step::new(
            "lease",
            "leaving",
            format!(
                "{whose} gave it back or let it run out; free once the kernel certainly has forgotten it"
            ),
        ),
        LeaseState::Bound => Step::new("lease", "bound", format!("to {whose} until {}", lease.expires)),
        LeaseState::Free => Step::new("lease", "free", format!("remembered for {whose}, who had it last")),
        LeaseState::Quarantined => Step::new(
            "lease",
            "quarantined",
            format!("found in use by somebody else; until {}", lease.expires),
        ),
    }
}

fn link_name(interface: &str, vlans: VlanTags) -> String {
    let tags = [vlans.outer, vlans.inner].into_iter().filter(|tag| *tag != 0).map(|tag| format!(".{tag}"));
    tags.fold(interface.to_owned(), |name, tag| name + &tag)
}

/// The shortest DISCOVER of a client: its UDP payload.
fn discover(mac: [u8; 6]) -> Vec<u8> {
    let mut payload = vec![1, 1, 6, 0];
    payload.resize(28, 0);
    payload.extend_from_slice(&mac);
    payload.resize(236, 0);
    payload.extend_from_slice(&[99, 130, 83, 99, 53, 1, 1, 255]);
    payload.resize(300, 0);
    payload
}
