//! Checks the addresses that a site's nodes share, and makes those of the local site the server's addresses.

use std::{collections::HashMap, net::Ipv4Addr};

use super::text;
use crate::config::{
    model::{Interface, MultiSite, SharedAddress, Subnet},
    problem::{Path, Problems, quoted},
    wire,
};

/// An interface has one, and a machine few that are served.
const ADDRESSES_MAX: usize = 1_024;

/// A site's service addresses; `seen` has those of the sites before it.
pub(super) fn of_site(
    written: &wire::Site,
    site: usize,
    seen: &mut HashMap<Ipv4Addr, usize>,
    path: &Path<'_>,
    problems: &mut Problems,
) -> Vec<(Ipv4Addr, Option<String>)> {
    let path = path.key("service_addresses");
    let mut found = Vec::new();
    if written.service_addresses.len() > ADDRESSES_MAX {
        let count = written.service_addresses.len();
        problems.add(&path, format!("{count} addresses, {ADDRESSES_MAX} are the most; list fewer"));
        return found;
    }
    for (index, entry) in written.service_addresses.iter().enumerate() {
        let path = path.index(index);
        let address_path = path.key("address");
        let Some(address) = text::address(&entry.address, &address_path, problems) else { continue };
        if !text::is_unicast(address) {
            let message = format!("{address} cannot be a server's address; give a unicast address");
            problems.add(&address_path, message);
        }
        if let Some(first) = seen.insert(address, site) {
            let message = format!("{address} is an address of sites[{first}] already; a site has its own");
            problems.add(&address_path, message);
        }
        if let Some(interface) = entry.interface.as_ref().filter(|name| !text::is_interface_name(name)) {
            let message = "is not an interface name: 1 to 15 characters without spaces, `/` and `:`";
            problems.add(&path.key("interface"), format!("{} {message}", quoted(interface)));
        }
        found.push((address, entry.interface.clone()));
    }
    found
}

/// No client is given an address that servers have; and where sites are in use, those of the local site become the
/// server's addresses on their interfaces.
pub(super) fn apply(
    section: &mut MultiSite,
    interfaces: &mut [Interface],
    subnets: &[Subnet],
    path: &Path<'_>,
    problems: &mut Problems,
) {
    let sites_path = path.key("sites");
    for (site, facts) in section.sites.iter().enumerate() {
        let path = sites_path.index(site);
        let path = path.key("service_addresses");
        for (index, (address, interface)) in facts.service_addresses.iter().enumerate() {
            let path = path.index(index);
            let address_path = path.key("address");
            let given = subnets.iter().find(|subnet| {
                subnet.pools.iter().any(|pool| (pool.first..=pool.last).contains(address))
                    || subnet.reservations.iter().any(|host| host.address == *address)
            });
            if let Some(subnet) = given {
                let message = format!(
                    "{address} is given to clients of subnet {}; take it out of there",
                    subnet.prefix
                );
                problems.add(&address_path, message);
            }
            if !section.enabled || facts.name != section.local_site {
                continue;
            }
            let names: Vec<&str> = interfaces.iter().map(|interface| interface.name.as_str()).collect();
            let at = match interface {
                Some(name) => names.iter().position(|known| known == name).ok_or_else(|| {
                    let hint = problems.hint(name, &names);
                    (path.key("interface"), format!("{} is not in dhcp.interfaces{hint}", quoted(name)))
                }),
                None if names.len() == 1 => Ok(0),
                None => {
                    let how = "name the one of dhcp.interfaces it lives on";
                    Err((path.key("interface"), format!("there are {} interfaces; {how}", names.len())))
                }
            };
            let at = match at {
                Ok(at) => at,
                Err((path, message)) => {
                    problems.add(&path, message);
                    continue;
                }
            };
            let Some(interface) = interfaces.get_mut(at) else { continue };
            if let Some(other) = interface.address.filter(|other| other != address) {
                let message = format!(
                    "{address} is to be the server's address on {}, which has {other} already (dhcp.interfaces[{at}], or \
                     another service address); leave one of the two out",
                    interface.name
                );
                problems.add(&address_path, message);
                continue;
            }
            interface.address = Some(*address);
            section.shared.push(SharedAddress { address: *address, interface: at });
        }
    }
}
