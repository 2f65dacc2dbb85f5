//! Reservations that come and go while the engine runs, and nothing else of the configuration with them.
//!
//! What the kernel knows of a client's renewals was rendered under the reservations of then. So whoever changes them asks
//! first who is [`touched`](Engine::touched_by), makes durable that nothing is known of their renewals, and has the kernel
//! forget them in the same step as [`reserve`](Engine::reserve); they are taught anew when their clients come.

use std::{net::Ipv4Addr, sync::Arc};

use super::{Engine, RelayInformation, topology::Topology};
use crate::{
    config::model::{Config, HostIdentity},
    lease::record::{ClientKey, LeaseRecord, LeaseState},
    time::Timestamp,
};

/// An address whose reservation changes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReservationChange {
    /// The address.
    pub address: Ipv4Addr,
    /// Whose it was.
    pub before: Option<HostIdentity>,
    /// Whose it is to be.
    pub after: Option<HostIdentity>,
}

impl ReservationChange {
    fn names(&self, lease: &LeaseRecord) -> bool {
        [&self.before, &self.after].into_iter().flatten().any(|identity| is_of(lease, identity))
    }
}

/// Whether a lease is the client's that a reservation names.
pub fn is_of(lease: &LeaseRecord, identity: &HostIdentity) -> bool {
    match identity {
        HostIdentity::Hardware(mac) => lease.hardware.as_ethernet() == Some(*mac),
        HostIdentity::ClientId(id) => matches!(&lease.client, ClientKey::Id(known) if **known == **id),
        HostIdentity::CircuitId(circuit) => {
            RelayInformation::parse(&lease.relay_information).circuit_id == Some(circuit)
        }
    }
}

impl Engine {
    /// The lease of an address that is another client's than `identity` names, and not on its way out.
    pub fn held_by_another(&self, address: Ipv4Addr, identity: &HostIdentity) -> Option<&LeaseRecord> {
        let lease = self.leases.get(address).filter(|lease| lease.state == LeaseState::Bound)?;
        (self.leases.leaving(address).is_none() && !is_of(lease, identity)).then_some(lease)
    }

    /// The bound leases whose clients may be answered otherwise once the reservations have changed: those of the addresses,
    /// and those of the clients named, in the same subnets. Looks at every lease once.
    pub fn touched_by(&self, changes: &[ReservationChange]) -> Vec<Ipv4Addr> {
        let subnet_of = |address| self.topology.subnet_of(address);
        let changes: Vec<_> = changes.iter().map(|change| (subnet_of(change.address), change)).collect();
        let touched = |lease: &&LeaseRecord| {
            lease.state == LeaseState::Bound
                && changes.iter().any(|(subnet, change)| {
                    change.address == lease.address
                        || change.names(lease) && subnet.is_some() && *subnet == subnet_of(lease.address)
                })
        };
        self.leases.iter().filter(touched).map(|lease| lease.address).collect()
    }

    /// Puts `config` in force, which differs by these reservations from what is. Leases and all other offers stay; what
    /// the `touched` leases' renewals are answered is forgotten.
    pub fn reserve(
        &mut self,
        now: Timestamp,
        config: Arc<Config>,
        changes: &[ReservationChange],
        touched: &[Ipv4Addr],
    ) {
        let blocks = self.authority.as_ref().map(|authority| Arc::clone(authority.blocks()));
        self.topology = Arc::new(Topology::new(config, blocks.as_deref()));
        for change in changes {
            let address = change.address;
            self.offers.remove(address);
            if self.topology.reservation_of(address).is_some() {
                self.allocator.reserve(address, &mut self.leases);
                continue;
            }
            self.allocator.unreserve(address);
            if self.authority.is_some() {
                self.rested(now, address);
            } else {
                self.allocator.lapse(address, &mut self.leases);
            }
        }
        for address in touched {
            self.leases.set_forms(*address, [None, None]);
        }
    }
}
