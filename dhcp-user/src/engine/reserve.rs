//! Reservations that come and go while the engine runs, and nothing else of the configuration with them.
//!
//! What the kernel knows of a client's renewals was rendered under the reservations of then. So whoever changes them asks
//! first who is [`touched`](Engine::touched_by), makes durable that nothing is known of their renewals, and has the kernel
//! forget them in the same step as [`reserve`](Engine::reserve); they are taught anew when their clients come.

use std::{collections::BTreeSet, net::Ipv4Addr, sync::Arc};

use ipnet::Ipv4Net;

use super::Engine;
use crate::{
    config::model::{Config, HostIdentity},
    lease::{
        record::{ClientKey, HardwareAddress, LeaseRecord, LeaseState},
        relay_information::RelayInformation,
    },
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

fn is_bound(lease: &&LeaseRecord) -> bool {
    lease.state == LeaseState::Bound
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
    /// and those of the clients named, in the same subnets. Found by what is named, whatever number of others there are.
    pub fn touched_by(&self, changes: &[ReservationChange]) -> Vec<Ipv4Addr> {
        let mut touched = BTreeSet::new();
        for change in changes {
            touched.extend(self.leases.get(change.address).filter(is_bound).map(|lease| lease.address));
            let Some(subnet) = self.topology.subnet_of(change.address) else { continue };
            for identity in [&change.before, &change.after].into_iter().flatten() {
                let there = |lease: &&LeaseRecord| self.topology.subnet_of(lease.address) == Some(subnet);
                let theirs = self.leases_of(identity).into_iter().filter(is_bound).filter(there);
                touched.extend(theirs.map(|lease| lease.address));
            }
        }
        touched.into_iter().collect()
    }

    /// The leases of the client that a reservation names.
    fn leases_of(&self, identity: &HostIdentity) -> Vec<&LeaseRecord> {
        match identity {
            HostIdentity::Hardware(mac) => {
                self.leases.of_hardware(&HardwareAddress::ethernet(*mac)).collect()
            }
            HostIdentity::ClientId(id) => {
                self.leases.of_client(&ClientKey::Id(id.as_slice().into()), Ipv4Net::default()).collect()
            }
            HostIdentity::CircuitId(circuit) => self.leases.of_circuit(circuit).collect(),
        }
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
        Arc::make_mut(&mut self.topology).reserve(config, changes);
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
