//! The configuration, indexed for the questions a message raises: which subnets are on the client's link, what has been
//! reserved for it, and by which policy an address may be given to it.

use std::{
    collections::{BTreeSet, HashMap},
    net::Ipv4Addr,
    ops::Range,
    sync::Arc,
};

use super::{effects::Ingress, request::Request, reserve::ReservationChange};
use crate::config::model::{Config, HostIdentity, Link, Policy, Reservation, Subnet};
use crate::lease::record::ClientKey;
use crate::site::blocks::Blocks;

/// The terms on which an address is given to a client.
#[derive(Clone, Debug)]
pub(super) struct Terms<'a> {
    pub policy: &'a Arc<Policy>,
    /// The reservation's host name.
    pub hostname: Option<&'a str>,
}

#[derive(Clone)]
pub(super) struct Topology {
    pub config: Arc<Config>,
    by_link: HashMap<Link, Vec<usize>>,
    by_relay: HashMap<Ipv4Addr, Vec<usize>>,
    /// For each subnet the number of pools in those before it.
    first_pool: Vec<usize>,
    /// What addresses are allocated from: the pools, or the blocks they are cut into. For each pool of the configuration
    /// the number of areas in those before it, and at the end the number of all.
    first_area: Vec<usize>,
    areas: Vec<(Ipv4Addr, Ipv4Addr)>,
    /// The address reserved for a client in a subnet.
    hosts: HashMap<(usize, HostIdentity), Ipv4Addr>,
    /// The subnet of an address that is reserved.
    reserved: HashMap<Ipv4Addr, usize>,
}

impl Topology {
    /// The topology of a configuration, whose pools are cut into `blocks` where there are sites.
    pub fn new(config: Arc<Config>, blocks: Option<&Blocks>) -> Self {
        let mut by_link = HashMap::<_, Vec<_>>::new();
        let mut by_relay = HashMap::<_, Vec<_>>::new();
        let (mut first_pool, mut pools) = (Vec::with_capacity(config.subnets.len()), 0);
        let (mut hosts, mut reserved) = (HashMap::new(), HashMap::new());
        for (index, subnet) in config.subnets.iter().enumerate() {
            first_pool.push(pools);
            pools += subnet.pools.len();
            if let Some(link) = subnet.link {
                by_link.entry(link).or_default().push(index);
            }
            for relay in &subnet.relays {
                by_relay.entry(*relay).or_default().push(index);
            }
            for reservation in &subnet.reservations {
                hosts.insert((index, reservation.identity.clone()), reservation.address);
                reserved.insert(reservation.address, index);
            }
        }
        let (mut first_area, mut areas) = (Vec::with_capacity(pools + 1), Vec::new());
        for (index, pool) in config.subnets.iter().flat_map(|subnet| &subnet.pools).enumerate() {
            first_area.push(areas.len());
            match blocks {
                Some(blocks) => areas.extend(
                    blocks
                        .of_pool(index)
                        .filter_map(|id| blocks.get(id))
                        .map(|block| (block.first, block.last)),
                ),
                None => areas.push((pool.first, pool.last)),
            }
        }
        first_area.push(areas.len());
        Self { config, by_link, by_relay, first_pool, first_area, areas, hosts, reserved }
    }

    /// Takes up a configuration that differs by these reservations alone: links, relays and pools are what they were.
    pub fn reserve(&mut self, config: Arc<Config>, changes: &[ReservationChange]) {
        self.config = config;
        let found = |change: &ReservationChange| Some((self.subnet_of(change.address)?, change.clone()));
        let changes: Vec<_> = changes.iter().filter_map(found).collect();
        // First what is no more: one client may give up an address and get another in the same step.
        for (subnet, change) in &changes {
            self.reserved.remove(&change.address);
            if let Some(before) = &change.before {
                self.hosts.remove(&(*subnet, before.clone()));
            }
        }
        for (subnet, change) in changes {
            if let Some(after) = change.after {
                self.reserved.insert(change.address, subnet);
                self.hosts.insert((subnet, after), change.address);
            }
        }
    }

    pub fn subnet(&self, index: usize) -> Option<&Subnet> {
        self.config.subnets.get(index)
    }

    /// The subnet an address is in.
    pub fn subnet_of(&self, address: Ipv4Addr) -> Option<usize> {
        let after = self.config.subnets.partition_point(|subnet| subnet.prefix.network() <= address);
        let index = after.checked_sub(1)?;
        self.subnet(index)?.prefix.contains(&address).then_some(index)
    }

    /// The subnets on the client's link, the most fitting first: by link selection (RFC 3527), subnet selection
    /// (RFC 3011), giaddr, or the interface and VLAN it came in on, whichever of these there is first.
    pub fn on_link(&self, ingress: &Ingress, request: &Request<'_>) -> Vec<usize> {
        let named = request
            .relay()
            .link_selection
            .or_else(|| request.subnet_selection())
            .or_else(|| request.is_relayed().then_some(request.giaddr));
        match named {
            Some(address) => self.segment_of(address),
            None => {
                let link = Link { interface: ingress.interface, vlans: ingress.vlans };
                self.by_link.get(&link).cloned().unwrap_or_default()
            }
        }
    }

    /// The subnet that holds an address, those that name it as a relay's, and all that share a link with one of them.
    fn segment_of(&self, address: Ipv4Addr) -> Vec<usize> {
        let mut found: Vec<usize> = self.subnet_of(address).into_iter().collect();
        found.extend(self.by_relay.get(&address).into_iter().flatten());
        let links: Vec<Link> = found.iter().filter_map(|&index| self.subnet(index)?.link).collect();
        found.extend(links.iter().filter_map(|link| self.by_link.get(link)).flatten());
        let mut seen = BTreeSet::new();
        found.retain(|&index| seen.insert(index));
        found
    }

    /// The indices of a subnet's areas in the allocator.
    pub fn areas_of(&self, subnet: usize) -> Range<usize> {
        let first = self.first_pool.get(subnet).copied().unwrap_or(0);
        let pools = self.subnet(subnet).map_or(0, |subnet| subnet.pools.len());
        self.first_area(first)..self.first_area(first + pools)
    }

    /// The indices of the areas of one of a subnet's pools in the allocator.
    pub fn areas_of_pool(&self, subnet: usize, pool: usize) -> Range<usize> {
        let index = self.first_pool.get(subnet).map_or(usize::MAX, |first| first + pool);
        self.first_area(index)..self.first_area(index.saturating_add(1))
    }

    fn first_area(&self, pool: usize) -> usize {
        self.first_area.get(pool).copied().unwrap_or(self.areas.len())
    }

    /// All areas: first and last address of each, in address order.
    pub fn areas(&self) -> &[(Ipv4Addr, Ipv4Addr)] {
        &self.areas
    }

    /// What is reserved for a client in a subnet: by client identifier, hardware address, or circuit, in this order.
    /// `remembered` is the circuit the relay told of when the client last came through it.
    pub fn host(
        &self,
        subnet: usize,
        request: &Request<'_>,
        remembered: Option<&[u8]>,
    ) -> Option<&Reservation> {
        let within = self.subnet(subnet)?;
        if within.reservations.is_empty() {
            return None;
        }
        let by_id = match &request.client {
            ClientKey::Id(id) => Some(HostIdentity::ClientId(id.to_vec())),
            ClientKey::Hardware(_) => None,
        };
        let by_hardware = request.hardware.as_ethernet().map(HostIdentity::Hardware);
        let circuit = request.relay().circuit_id.or(remembered);
        let by_circuit = circuit.map(|circuit| HostIdentity::CircuitId(circuit.to_vec()));
        [by_id, by_hardware, by_circuit]
            .into_iter()
            .flatten()
            .find_map(|identity| within.reservation(*self.hosts.get(&(subnet, identity))?))
    }

    /// Whose an address is by reservation.
    pub fn reservation_of(&self, address: Ipv4Addr) -> Option<&Reservation> {
        self.subnet(*self.reserved.get(&address)?)?.reservation(address)
    }

    pub fn reserved(&self) -> impl Iterator<Item = Ipv4Addr> + '_ {
        self.reserved.keys().copied()
    }

    /// The terms on which a client that has `host` reserved for it may have an address of a subnet; `None` if it may not.
    pub fn terms<'a>(
        &'a self,
        subnet: usize,
        address: Ipv4Addr,
        host: Option<&'a Reservation>,
    ) -> Option<Terms<'a>> {
        if let Some(host) = host.filter(|host| host.address == address) {
            return Some(Terms { policy: &host.policy, hostname: host.hostname.as_deref() });
        }
        if self.reserved.contains_key(&address) {
            return None;
        }
        let pools = &self.subnet(subnet)?.pools;
        let after = pools.partition_point(|pool| pool.first <= address);
        let pool = pools.get(after.checked_sub(1)?)?;
        (address <= pool.last).then_some(Terms { policy: &pool.policy, hostname: None })
    }

    /// The policy by which an INFORM from an address is answered.
    pub fn inform_terms<'a>(
        &'a self,
        subnet: usize,
        address: Ipv4Addr,
        request: &Request<'_>,
    ) -> Option<Terms<'a>> {
        let host = self.host(subnet, request, None).filter(|host| host.address == address);
        let base = &self.subnet(subnet)?.policy;
        Some(self.terms(subnet, address, host).unwrap_or(Terms { policy: base, hostname: None }))
    }
}
