//! The pure DHCP engine: `(now, rng, configuration, lease state, message) -> effects`. No clock, socket, file or map.
//!
//! The same engine runs under real sockets, under the differential oracle and under a simulator. Messages come in by
//! [`Engine::handle`]; what the kernel did comes in by [`Engine::renewed_by_kernel`] and [`Engine::withdrawn`]; time
//! passes by [`Engine::tick`]. Everything that must happen in the world leaves as [`Effects`], in an order that keeps
//! the promise of the grant horizon: nothing is acknowledged or published before it is durable, and an address is
//! another client's only after every promise to the last one has ended or was given back.

mod cluster;
mod discover;
mod effects;
mod encode;
mod extend;
mod foresee;
mod lifetime;
mod offers;
pub(crate) mod options;
mod probes;
mod reason;
mod reply;
mod request;
mod reserve;
mod returning;
mod select;
mod topology;

use std::{net::Ipv4Addr, sync::Arc};

use rand::RngCore;

pub use self::{
    effects::{Destination, Effects, Ingress, Omitted, Outcome, Reply},
    foresee::{Foresight, Wish},
    lifetime::{CLOCK_ERROR, QUARANTINE, kept_from_others, kernel_grant},
    offers::{OFFER_TIME, OFFERS_MAX},
    probes::ProbeCounts,
    reason::SlowReason,
    request::Request,
    reserve::{ReservationChange, is_of},
};
use self::{
    offers::Offers,
    probes::Probes,
    request::kind,
    topology::{Terms, Topology},
};
use crate::{
    config::model::{Config, ConflictDetection, HostIdentity},
    lease::{
        allocate::Allocator,
        record::{KnownForm, LeaseRecord, LeaseState},
        relay_information::RelayInformation,
        table::{LeaseTable, Leaving},
    },
    site::{authority::Authority, blocks::Blocks},
    time::Timestamp,
};

/// The server's mind: configuration, leases and offers. A clone is another server with the same memory, for asking what
/// would become of a message; it costs as much as the leases are many.
#[derive(Clone)]
pub struct Engine {
    topology: Arc<Topology>,
    servers: Vec<Ipv4Addr>,
    leases: LeaseTable,
    allocator: Allocator,
    offers: Offers,
    probes: Probes,
    counts: Pressure,
    /// What this node may do, where there are several.
    authority: Option<Authority>,
}

/// What had to give way because there were not enough addresses.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Pressure {
    /// Offers withdrawn before their time, for another client.
    pub offers_gave_way: u64,
    /// Addresses that came out of quarantine before their time, for so many others of their pool were declined.
    pub quarantines_cut_short: u64,
}

/// A message on its way through the engine.
struct Inquiry<'a> {
    now: Timestamp,
    ingress: &'a Ingress,
    request: &'a Request<'a>,
    /// Our address towards the client.
    server: Ipv4Addr,
    /// What the client is told is our identifier.
    server_id: Ipv4Addr,
}

impl Engine {
    /// An engine over the leases the store recovered. `servers` has our address on each interface of the
    /// configuration, unspecified where there is none.
    pub fn new(config: Arc<Config>, servers: Vec<Ipv4Addr>, mut leases: LeaseTable) -> Self {
        let topology = Arc::new(Topology::new(config, None));
        let allocator = allocator(&topology, &mut leases);
        Self {
            topology,
            servers,
            leases,
            allocator,
            offers: Offers::default(),
            probes: Probes::default(),
            counts: Pressure::default(),
            authority: None,
        }
    }

    /// Puts another configuration in force. Leases stay; what they are entitled to is judged anew when their clients
    /// come, so the kernel must be made to forget its entries first (a new generation), and what it knew of renewals is
    /// forgotten here. Offers and open questions are dropped; addresses are asked for as `probing` says.
    pub fn reconfigure(
        &mut self,
        now: Timestamp,
        config: Arc<Config>,
        servers: Vec<Ipv4Addr>,
        probing: Option<ConflictDetection>,
    ) {
        let blocks = self.authority.as_mut().map(|authority| {
            authority.recut(Arc::new(Blocks::of(&config)));
            Arc::clone(authority.blocks())
        });
        self.topology = Arc::new(Topology::new(config, blocks.as_deref()));
        self.leases.forget_forms();
        self.allocator = allocator(&self.topology, &mut self.leases);
        self.offers = Offers::default();
        self.probes.restart(probing);
        self.servers = servers;
        self.look_through_all(now);
    }

    /// Whether and how addresses are asked for before they are offered.
    pub const fn probing(&self) -> Option<ConflictDetection> {
        self.probes.settings()
    }

    /// The configuration in force.
    pub fn config(&self) -> &Arc<Config> {
        &self.topology.config
    }

    /// All leases.
    pub fn leases(&self) -> &LeaseTable {
        &self.leases
    }

    /// How many offers are open.
    pub fn offers_len(&self) -> usize {
        self.offers.len()
    }

    /// What had to give way so far.
    pub fn pressure(&self) -> Pressure {
        self.counts
    }

    /// How many addresses of a subnet's pools are free and not offered. `subnet` is its index in the configuration.
    pub fn free_addresses(&self, subnet: usize) -> u64 {
        self.topology.areas_of(subnet).map(|area| self.free_in_area(area)).sum()
    }

    /// How many addresses of one of a subnet's pools are free and not offered; by their indices in the configuration.
    pub fn free_in_pool(&self, subnet: usize, pool: usize) -> u64 {
        self.topology.areas_of_pool(subnet, pool).map(|area| self.free_in_area(area)).sum()
    }

    /// Remembers what the kernel knows of a lease's renewals; the record to commit, `None` if there is no such lease.
    /// A form belongs here only if it grants ([`renewal_secs`](Self::renewal_secs)) the lease time of the last grant,
    /// `expires - granted_at`: that is what a kernel's mark of a renewal is taken for.
    pub fn set_forms(&mut self, address: Ipv4Addr, forms: [Option<KnownForm>; 2]) -> Option<LeaseRecord> {
        self.leases.set_forms(address, forms).cloned()
    }

    /// Handles a message: `payload` is the UDP payload of a datagram to port 67. Any octets will do.
    pub fn handle(
        &mut self,
        now: Timestamp,
        rng: &mut dyn RngCore,
        ingress: &Ingress,
        payload: &[u8],
    ) -> Outcome {
        let mut effects = Effects::default();
        let reason = Request::parse(payload).and_then(|request| {
            let (server, server_id) =
                self.server_for(ingress, &request).ok_or(SlowReason::IgnoredNoServerAddress)?;
            let inquiry = Inquiry { now, ingress, request: &request, server, server_id };
            Ok(self.dispatch(rng, &inquiry, &mut effects))
        });
        Outcome { reason: reason.unwrap_or_else(|reason| reason), effects }
    }

    fn dispatch(
        &mut self,
        rng: &mut dyn RngCore,
        inquiry: &Inquiry<'_>,
        effects: &mut Effects,
    ) -> SlowReason {
        match inquiry.request.message_type {
            kind::DISCOVER => self.discover(rng, inquiry, effects),
            kind::REQUEST => self.request(inquiry, effects),
            kind::DECLINE => self.decline(inquiry, effects),
            kind::RELEASE => self.release(inquiry, effects),
            kind::INFORM => self.inform(inquiry, effects),
            _ => SlowReason::IgnoredMessageType,
        }
    }

    fn request(&mut self, inquiry: &Inquiry<'_>, effects: &mut Effects) -> SlowReason {
        match self.state_of(inquiry.request) {
            ClientState::Selecting(address) => self.selecting(inquiry, address, effects),
            ClientState::InitReboot(address) => self.init_reboot(inquiry, address, effects),
            ClientState::Extending => self.extending(inquiry, effects),
            ClientState::OtherServer => self.other_server(inquiry),
            ClientState::Contradictory => SlowReason::IgnoredContradictory,
        }
    }

    /// Our address towards the client and the identifier it is told. A request sent to one of our addresses is answered
    /// from it, whatever interface it came in by.
    fn server_for(&self, ingress: &Ingress, request: &Request<'_>) -> Option<(Ipv4Addr, Ipv4Addr)> {
        let sent_to = Some(ingress.destination_ip).filter(|address| self.is_ours(*address));
        let server = sent_to.or_else(|| self.servers.get(ingress.interface).copied())?;
        let server_id = request.relay().server_override.unwrap_or(server);
        (!server.is_unspecified()).then_some((server, server_id))
    }

    fn is_ours(&self, address: Ipv4Addr) -> bool {
        !address.is_unspecified() && self.servers.contains(&address)
    }

    /// Whether option 54, if there is one, names us, or what a relay says of us (RFC 5107 section 5).
    fn names_us(&self, request: &Request<'_>) -> bool {
        request.server_id.is_none_or(|id| self.is_ours(id) || request.relay().server_override == Some(id))
    }

    /// Which of the states of RFC 2131 section 4.3.2 a REQUEST comes from. Renewals with option 50 or 54, which RFC 1541
    /// had, are renewals if these say nothing new.
    fn state_of(&self, request: &Request<'_>) -> ClientState {
        let ours = self.names_us(request);
        match (request.ciaddr.is_unspecified(), request.requested, request.server_id) {
            (_, _, Some(_)) if !ours => ClientState::OtherServer,
            (true, Some(address), Some(_)) => ClientState::Selecting(address),
            (true, Some(address), None) => ClientState::InitReboot(address),
            (true, None, _) => ClientState::Contradictory,
            (false, Some(address), _) if address != request.ciaddr => ClientState::Contradictory,
            (false, _, _) => ClientState::Extending,
        }
    }

    /// Whether a bound lease is this client's: by its identity, or because the address is reserved for the hardware
    /// that holds it and asks for it. A machine has one identity in its boot ROM and another in its system.
    fn owns(&self, request: &Request<'_>, lease: &LeaseRecord) -> bool {
        lease.client == request.client
            || lease.hardware == request.hardware && self.reserved_for_hardware(request, lease.address)
    }

    fn reserved_for_hardware(&self, request: &Request<'_>, address: Ipv4Addr) -> bool {
        self.topology.reservation_of(address).is_some_and(|reservation| {
            matches!(reservation.identity, HostIdentity::Hardware(mac)
                if request.hardware.as_ethernet() == Some(mac))
        })
    }

    /// Whether an address could be bound to this client, entitlement and what this node may do aside.
    fn available(&self, request: &Request<'_>, address: Ipv4Addr) -> bool {
        let offered = self.offers.holder(address).is_some_and(|holder| *holder != request.client);
        if offered && !self.reserved_for_hardware(request, address) {
            return false;
        }
        match self.leases.get(address) {
            None => true,
            Some(lease) => match lease.state {
                LeaseState::Free => true,
                // Found there when nobody was to be: the host that was found may ask for what it has.
                LeaseState::Quarantined => lease.client.is_nobody() && lease.hardware == request.hardware,
                LeaseState::Bound => {
                    self.owns(request, lease) && self.leases.leaving(address) != Some(Leaving::Declined)
                }
            },
        }
    }

    /// The terms on which a client may have an address of a subnet, by what is reserved for it there.
    fn terms_for(
        &self,
        subnet: usize,
        address: Ipv4Addr,
        request: &Request<'_>,
        lease: Option<&LeaseRecord>,
    ) -> Option<Terms<'_>> {
        let remembered = lease
            .filter(|lease| lease.client == request.client)
            .and_then(|lease| RelayInformation::parse(&lease.relay_information).circuit_id);
        let host = self.topology.host(subnet, request, remembered);
        self.topology.terms(subnet, address, host)
    }

    fn nak(inquiry: &Inquiry<'_>, effects: &mut Effects, reason: SlowReason) -> SlowReason {
        let (payload, omitted) = reply::render_nak(inquiry.request, inquiry.server_id);
        let to = reply::nak_destination(inquiry.ingress, inquiry.request);
        effects.reply = Some(Reply { payload, source: inquiry.server, to, omitted });
        reason
    }
}

/// Where a REQUEST comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum ClientState {
    Selecting(Ipv4Addr),
    InitReboot(Ipv4Addr),
    Extending,
    OtherServer,
    Contradictory,
}

fn allocator(topology: &Topology, leases: &mut LeaseTable) -> Allocator {
    Allocator::new(topology.areas().iter().copied(), topology.reserved(), leases)
}

#[cfg(test)]
mod tests;
