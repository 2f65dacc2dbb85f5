//! Reservations: one client each, one address each.

use std::{collections::HashMap, sync::Arc};

use super::{
    policy::{Draft, Level, Resolver},
    subnet::{DraftedPool, Surroundings},
    text,
};
use crate::config::{
    model::{HostIdentity, Policy, Reservation},
    problem::{Path, Problems, quoted},
    wire::{self, Object},
};

/// The reservations of a subnet, in the order written. `pools` are sorted by address.
pub(super) fn reservations(
    written: &[Object<wire::Reservation>],
    surroundings: &Surroundings<'_>,
    pools: &[DraftedPool],
    subnet: &Draft,
    resolver: &mut Resolver,
    path: &Path<'_>,
    problems: &mut Problems,
) -> Vec<Reservation> {
    let mask = surroundings.prefix.netmask();
    let mut plain: Option<Arc<Policy>> = None;
    let mut addresses = HashMap::new();
    let mut identities = HashMap::new();
    let mut reservations = Vec::with_capacity(written.len());
    for (index, entry) in written.iter().enumerate() {
        let path = path.index(index);
        let identity = identity(entry, &path, problems);
        let hostname = hostname(entry.hostname.as_deref(), &path.key("hostname"), problems);
        let address_path = path.key("address");
        let address = text::address(&entry.address, &address_path, problems);
        let pool = address.and_then(|address| {
            let after = pools.partition_point(|drafted| drafted.pool.first <= address);
            pools.get(after.checked_sub(1)?).filter(|drafted| address <= drafted.pool.last)
        });
        let settings = entry.settings();
        // Most reservations have no settings of their own, and there may be a hundred thousand of them.
        let policy = match pool {
            _ if !settings.is_empty() => {
                let outer = pool.map_or(subnet, |drafted| &drafted.draft);
                resolver.policy(&outer.inherit(&settings, Level::Reservation, &path, problems), mask)
            }
            Some(drafted) => Arc::clone(&drafted.pool.policy),
            None => Arc::clone(plain.get_or_insert_with(|| resolver.policy(subnet, mask))),
        };
        let (Some(identity), Some(address)) = (identity, address) else { continue };
        if !surroundings.prefix.contains(&address) {
            let message = format!("{address} is not inside the subnet {}", surroundings.prefix);
            problems.add(&address_path, format!("{message}; move the reservation or the address"));
        } else if let Some(what) = surroundings.no_host(address) {
            let message = format!("{address} is the {what} address of {}", surroundings.prefix);
            problems.add(&address_path, format!("{message}, which no host can have"));
        } else if surroundings.own.contains(&address) {
            problems.add(&address_path, format!("{address} is this server's own address; reserve another"));
        }
        if let Some(first) = addresses.insert(address, index) {
            let message = format!("{address} is reserved already in reservations[{first}]; remove one");
            problems.add(&address_path, message);
        }
        if let Some(first) = identities.insert(identity.clone(), index) {
            let message = format!("this client has an address already in reservations[{first}]; remove one");
            problems.add(&path, message);
        }
        reservations.push(Reservation { address, identity, hostname, policy });
    }
    reservations
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
