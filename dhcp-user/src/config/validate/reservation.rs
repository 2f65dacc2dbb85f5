//! Reservations: one client each, one address each. Those in the file first, and then those made by the API, as far as
//! the file leaves room for them.

use std::{
    collections::{HashMap, HashSet},
    net::Ipv4Addr,
    sync::Arc,
};

use super::{
    policy::{Draft, Level, Resolver},
    subnet::{DraftedPool, Surroundings},
    text,
};
use crate::config::{
    made::{LeftOut, Made},
    model::{HostIdentity, Policy, Reservation},
    problem::{Path, Problems, quoted},
    wire::{self, Object},
};

/// Where reservations are to fit in.
pub(super) struct Room<'a> {
    pub(super) surroundings: &'a Surroundings<'a>,
    /// Sorted by address.
    pub(super) pools: &'a [DraftedPool],
    /// The subnet's settings.
    pub(super) subnet: &'a Draft,
}

impl Room<'_> {
    /// The reservation that is written, as far as it can be told without the others. `plain` is the policy of those
    /// outside of every pool that have no settings of their own: most have none, and there may be a hundred thousand.
    fn settle(
        &self,
        entry: &wire::Reservation,
        plain: &mut Option<Arc<Policy>>,
        resolver: &mut Resolver,
        path: &Path<'_>,
        problems: &mut Problems,
    ) -> Option<Reservation> {
        let Self { surroundings, pools: _, subnet } = self;
        let mask = surroundings.prefix.netmask();
        let identity = identity(entry, path, problems);
        let hostname = hostname(entry.hostname.as_deref(), &path.key("hostname"), problems);
        let address_path = path.key("address");
        let address = text::address(&entry.address, &address_path, problems);
        let pool = address.and_then(|address| self.pool_of(address));
        let settings = entry.settings();
        let policy = match pool {
            _ if !settings.is_empty() => {
                let outer = pool.map_or(*subnet, |drafted| &drafted.draft);
                resolver.policy(&outer.inherit(&settings, Level::Reservation, path, problems), mask)
            }
            Some(drafted) => Arc::clone(&drafted.pool.policy),
            None => Arc::clone(plain.get_or_insert_with(|| resolver.policy(subnet, mask))),
        };
        let (identity, address) = (identity?, address?);
        if !surroundings.prefix.contains(&address) {
            let message = format!("{address} is not inside the subnet {}", surroundings.prefix);
            problems.add(&address_path, format!("{message}; move the reservation or the address"));
        } else if let Some(what) = surroundings.no_host(address) {
            let message = format!("{address} is the {what} address of {}", surroundings.prefix);
            problems.add(&address_path, format!("{message}, which no host can have"));
        } else if surroundings.own.contains(&address) {
            problems.add(&address_path, format!("{address} is this server's own address; reserve another"));
        }
        Some(Reservation { address, identity, hostname, policy, made: None })
    }

    fn pool_of(&self, address: Ipv4Addr) -> Option<&DraftedPool> {
        let after = self.pools.partition_point(|drafted| drafted.pool.first <= address);
        self.pools.get(after.checked_sub(1)?).filter(|drafted| address <= drafted.pool.last)
    }
}

/// The reservations of a subnet, in the order written.
pub(super) fn reservations(
    written: &[Object<wire::Reservation>],
    room: &Room<'_>,
    resolver: &mut Resolver,
    path: &Path<'_>,
    problems: &mut Problems,
) -> Vec<Reservation> {
    let mut plain = None;
    let mut addresses = HashMap::new();
    let mut identities = HashMap::new();
    let mut reservations = Vec::with_capacity(written.len());
    for (index, entry) in written.iter().enumerate() {
        let path = path.index(index);
        let Some(reservation) = room.settle(entry, &mut plain, resolver, &path, problems) else { continue };
        let Reservation { address, identity, .. } = &reservation;
        if let Some(first) = addresses.insert(*address, index) {
            let message = format!("{address} is reserved already in reservations[{first}]; remove one");
            problems.add(&path.key("address"), message);
        }
        if let Some(first) = identities.insert(identity.clone(), index) {
            let message = format!("this client has an address already in reservations[{first}]; remove one");
            problems.add(&path, message);
        }
        reservations.push(reservation);
    }
    reservations
}

/// The reservations made by the API, on their way into their subnets.
pub(super) struct Beside<'a> {
    /// By address.
    made: &'a [Made],
    /// Whether this node is one of several: an address outside of all pools is in no block, and whoever has not heard yet
    /// that it is another client's now would still give it to the one before.
    several: bool,
    /// Whether a subnet was found for each.
    placed: Vec<bool>,
    left_out: Vec<LeftOut>,
}

impl<'a> Beside<'a> {
    pub(super) fn of(made: &'a [Made], several: bool) -> Self {
        Self { made, several, placed: vec![false; made.len()], left_out: Vec::new() }
    }

    /// Adds those of a subnet to the ones written there.
    pub(super) fn add(
        &mut self,
        reservations: &mut Vec<Reservation>,
        room: &Room<'_>,
        resolver: &mut Resolver,
    ) {
        let prefix = room.surroundings.prefix;
        let first = self.made.partition_point(|made| made.address() < prefix.network());
        let end = self.made.partition_point(|made| made.address() <= prefix.broadcast());
        let here = self.made.get(first..end).unwrap_or_default();
        if here.is_empty() {
            return;
        }
        let mut plain = None;
        let mut identities: HashMap<_, _> =
            reservations.iter().map(|found| (found.identity.clone(), found.address)).collect();
        let mut addresses: HashSet<_> = reservations.iter().map(|found| found.address).collect();
        for (at, made) in (first..).zip(here) {
            if let Some(placed) = self.placed.get_mut(at) {
                *placed = true;
            }
            let fitting = match self.several && room.pool_of(made.address()).is_none() {
                true => Err((None, outside_pools(made.address()))),
                false => fit(made, &identities, &addresses, room, &mut plain, resolver),
            };
            match fitting {
                Ok(reservation) => {
                    identities.insert(reservation.identity.clone(), reservation.address);
                    addresses.insert(reservation.address);
                    reservations.push(reservation);
                }
                Err((in_its_way, why)) => {
                    self.left_out.push(LeftOut { made: made.clone(), in_its_way, why });
                }
            }
        }
    }

    /// Those for which there was no room, by address.
    pub(super) fn left_out(self) -> Vec<LeftOut> {
        let Self { made, several: _, placed, mut left_out } = self;
        let nowhere = made.iter().zip(placed).filter(|(_, placed)| !placed).map(|(made, _)| LeftOut {
            made: made.clone(),
            in_its_way: None,
            why: format!("{} is in no subnet of the configuration", made.address()),
        });
        left_out.extend(nowhere);
        left_out.sort_by_key(|left| left.made.address());
        left_out
    }
}

fn outside_pools(address: Ipv4Addr) -> String {
    format!(
        "{address} is in no pool, and this node is one of several: reserve it in the configuration file of every node, or \
         another address that is in a pool"
    )
}

/// One of the API's among those that are there; or which other is in its way, and what is wrong.
fn fit(
    made: &Made,
    identities: &HashMap<HostIdentity, Ipv4Addr>,
    addresses: &HashSet<Ipv4Addr>,
    room: &Room<'_>,
    plain: &mut Option<Arc<Policy>>,
    resolver: &mut Resolver,
) -> Result<Reservation, (Option<Ipv4Addr>, String)> {
    let address = made.address();
    let unknown = || (None, format!("{address}: another version of this program made it; make it anew"));
    let entry = made.entry().ok_or_else(unknown)?;
    let mut problems = Problems::new(&address.to_string());
    let settled = room.settle(&entry, plain, resolver, &Path::ROOT, &mut problems);
    let settled = settled.filter(|_| problems.is_empty()).ok_or_else(|| (None, problems.to_string()))?;
    if addresses.contains(&address) {
        return Err((Some(address), format!("{address} is reserved for another client already")));
    }
    if let Some(other) = identities.get(&settled.identity) {
        let prefix = room.surroundings.prefix;
        return Err((Some(*other), format!("{other} is reserved for the same client in {prefix} already")));
    }
    Ok(Reservation { made: Some(made.clone()), ..settled })
}

fn identity(entry: &wire::Reservation, path: &Path<'_>, problems: &mut Problems) -> Option<HostIdentity> {
    match (&entry.hw_address, &entry.client_id, &entry.circuit_id) {
        (Some(written), None, None) => {
            text::hardware(written, &path.key("hw_address"), problems).map(HostIdentity::Hardware)
        }
        (None, Some(written), None) => {
            text::octets(written, &path.key("client_id"), problems).map(HostIdentity::ClientId)
        }
        (None, None, Some(written)) => {
            text::octets(written, &path.key("circuit_id"), problems).map(HostIdentity::CircuitId)
        }
        (None, None, None) => {
            problems
                .add(path, "nothing says whose it is; give one of `hw_address`, `client_id`, `circuit_id`");
            None
        }
        _ => {
            problems.add(path, "`hw_address`, `client_id` and `circuit_id` exclude one another; keep one");
            None
        }
    }
}

fn hostname(written: Option<&str>, path: &Path<'_>, problems: &mut Problems) -> Option<String> {
    let written = written?;
    if !text::is_domain_name(written) {
        let how = "use letters, digits, `-`, `_` and `.`, labels of 1 to 63 characters";
        problems.add(path, format!("{} is not a host name; {how}", quoted(written)));
        return None;
    }
    Some(written.to_owned())
}
