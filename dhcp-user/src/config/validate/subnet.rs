//! Subnets and pools: where they are, and that none is in another's way.

use std::{collections::HashSet, net::Ipv4Addr};

use ipnet::Ipv4Net;

use super::{
    ADDRESSES_MAX,
    policy::{Draft, Level, Resolver},
    reservation::{self, Beside},
    text,
};
use crate::config::{
    model::{Interface, Link, Pool, Subnet, VlanTags},
    problem::{Path, Problems, quoted},
    wire::{self, Object},
};

/// The widest link there is a use for; wider ones would span address classes.
const PREFIX_LEN_MIN: u8 = 8;

/// A pool with what its reservations inherit.
pub(super) struct DraftedPool {
    pub(super) pool: Pool,
    pub(super) draft: Draft,
    index: usize,
}

/// What all subnets are made with.
pub(super) struct Makings<'a> {
    pub(super) resolver: Resolver,
    pub(super) beside: Beside<'a>,
}

/// What a subnet's parts need to know of it.
pub(super) struct Surroundings<'a> {
    pub(super) prefix: Ipv4Net,
    /// The server's own configured addresses, which no client may get.
    pub(super) own: &'a [Ipv4Addr],
}

impl Surroundings<'_> {
    /// Whether no host can have this address: network and broadcast, which /31 and /32 do not have (RFC 3021).
    pub(super) fn no_host(&self, address: Ipv4Addr) -> Option<&'static str> {
        if self.prefix.prefix_len() >= 31 {
            None
        } else if address == self.prefix.network() {
            Some("network")
        } else if address == self.prefix.broadcast() {
            Some("broadcast")
        } else {
            None
        }
    }
}

/// The subnets, sorted by network address.
pub(super) fn subnets(
    written: &[Object<wire::Subnet>],
    interfaces: &[Interface],
    global: &Draft,
    makings: &mut Makings<'_>,
    dhcp: &Path<'_>,
    problems: &mut Problems,
) -> Vec<Subnet> {
    let own: Vec<Ipv4Addr> = interfaces.iter().filter_map(|interface| interface.address).collect();
    let path = dhcp.key("subnets");
    let mut subnets: Vec<(usize, Subnet)> = Vec::with_capacity(written.len());
    let mut addresses = 0_u64;
    for (index, entry) in written.iter().enumerate() {
        let path = path.index(index);
        if let Some(subnet) = subnet(entry, (interfaces, &own), global, makings, &path, problems) {
            addresses = addresses.saturating_add(address_count(&subnet));
            subnets.push((index, subnet));
        }
    }
    if addresses > ADDRESSES_MAX {
        let message = format!(
            "pools and reservations have {addresses} addresses together, {ADDRESSES_MAX} are the most; make pools smaller"
        );
        problems.add(&path, message);
    }
    subnets.sort_by_key(|(_, subnet)| subnet.prefix);
    // Prefixes either hold one another or have nothing in common, so the one before that reaches furthest decides.
    let mut widest: Option<(usize, Ipv4Net)> = None;
    for (index, subnet) in &subnets {
        match widest {
            Some((other, prefix)) if prefix.contains(&subnet.prefix) => {
                let (later, earlier) = (*index.max(&other), *index.min(&other));
                let message = format!(
                    "overlaps {} ({} and {}); an address must belong to one subnet",
                    path.index(earlier),
                    written.get(earlier).map_or("", |subnet| &subnet.subnet),
                    written.get(later).map_or("", |subnet| &subnet.subnet),
                );
                problems.add(&path.index(later).key("subnet"), message);
            }
            _ => widest = Some((*index, subnet.prefix)),
        }
    }
    subnets.into_iter().map(|(_, subnet)| subnet).collect()
}

/// How many addresses the subnet gives out; one that is reserved inside a pool counts once.
fn address_count(subnet: &Subnet) -> u64 {
    let pooled: u64 =
        subnet.pools.iter().map(|pool| u64::from(u32::from(pool.last) - u32::from(pool.first)) + 1).sum();
    let outside = subnet.reservations.iter().filter(|reservation| {
        let after = subnet.pools.partition_point(|pool| pool.first <= reservation.address);
        let nearest = after.checked_sub(1).and_then(|before| subnet.pools.get(before));
        nearest.is_none_or(|pool| pool.last < reservation.address)
    });
    pooled.saturating_add(outside.count() as u64)
}

fn subnet(
    entry: &wire::Subnet,
    (interfaces, own): (&[Interface], &[Ipv4Addr]),
    global: &Draft,
    makings: &mut Makings<'_>,
    path: &Path<'_>,
    problems: &mut Problems,
) -> Option<Subnet> {
    let Makings { resolver, beside } = makings;
    let link = link(entry, interfaces, path, problems);
    let relays = relays(&entry.relays, &path.key("relays"), problems);
    let draft = global.inherit(&entry.settings(), Level::Subnet, path, problems);
    let prefix_path = path.key("subnet");
    let prefix = text::prefix(&entry.subnet, &prefix_path, problems)?;
    if prefix.prefix_len() < PREFIX_LEN_MIN {
        problems.add(
            &prefix_path,
            format!("{prefix} is wider than a /{PREFIX_LEN_MIN}; make smaller subnets of it"),
        );
        return None;
    }
    let tiny_broadcast = prefix.prefix_len() >= 31 && prefix.broadcast() == Ipv4Addr::BROADCAST;
    if !text::is_unicast(prefix.network()) || tiny_broadcast {
        problems
            .add(&prefix_path, format!("no host can have an address of {prefix}; give a unicast network"));
        return None;
    }
    let surroundings = Surroundings { prefix, own };
    let pools = pools(&entry.pools, &surroundings, &draft, resolver, &path.key("pools"), problems);
    let room = reservation::Room { surroundings: &surroundings, pools: &pools, subnet: &draft };
    let mut reservations =
        reservation::reservations(&entry.reservations, &room, resolver, &path.key("reservations"), problems);
    beside.add(&mut reservations, &room, resolver);
    reservations.sort_by_key(|reservation| reservation.address);
    let policy = resolver.policy(&draft, prefix.netmask());
    let pools = pools.into_iter().map(|drafted| drafted.pool).collect();
    Some(Subnet { prefix, link: link?, relays, pools, reservations, policy })
}

/// The outer `None` stands for a noted problem.
fn link(
    entry: &wire::Subnet,
    interfaces: &[Interface],
    path: &Path<'_>,
    problems: &mut Problems,
) -> Option<Option<Link>> {
    let tags: &[u16] = match (&entry.vlan, &entry.vlans) {
        (Some(_), Some(_)) => {
            problems.add(path, "`vlan` and `vlans` say the same thing; keep one");
            return None;
        }
        (Some(tag), None) => std::slice::from_ref(tag),
        (None, Some(tags)) => tags,
        (None, None) => &[],
    };
    let tags_path = path.key(if entry.vlans.is_some() { "vlans" } else { "vlan" });
    let vlans = match tags {
        [] if entry.vlans.is_none() => VlanTags::default(),
        [outer] => VlanTags { outer: *outer, inner: 0 },
        [outer, inner] => VlanTags { outer: *outer, inner: *inner },
        _ => {
            let message = format!("{} tags; give one or two, the outermost first", tags.len());
            problems.add(&tags_path, message);
            return None;
        }
    };
    let mut sound = true;
    for tag in tags {
        sound &= text::within(*tag, 1, 4094, "as a VLAN identifier", &tags_path, problems);
    }
    let Some(name) = &entry.interface else {
        if !tags.is_empty() {
            problems.add(&tags_path, "VLAN tags without an `interface`; name the interface they are on");
            return None;
        }
        return Some(None);
    };
    let Some(interface) = interfaces.iter().position(|interface| interface.name == *name) else {
        let names: Vec<&str> = interfaces.iter().map(|interface| interface.name.as_str()).collect();
        let message =
            format!("interface {} is not in dhcp.interfaces{}", quoted(name), problems.hint(name, &names));
        problems.add(&path.key("interface"), message);
        return None;
    };
    sound.then_some(Some(Link { interface, vlans }))
}

fn relays(written: &[String], path: &Path<'_>, problems: &mut Problems) -> Vec<Ipv4Addr> {
    let mut relays = Vec::with_capacity(written.len());
    let mut seen = HashSet::new();
    for (index, written) in written.iter().enumerate() {
        let path = path.index(index);
        let Some(address) = text::address(written, &path, problems) else { continue };
        if !text::is_unicast(address) {
            problems
                .add(&path, format!("{address} cannot be a relay agent's address; give a unicast address"));
        } else if !seen.insert(address) {
            problems.add(&path, format!("{address} is listed twice; remove one"));
        }
        relays.push(address);
    }
    relays
}

fn pools(
    written: &[Object<wire::Pool>],
    surroundings: &Surroundings<'_>,
    subnet: &Draft,
    resolver: &mut Resolver,
    path: &Path<'_>,
    problems: &mut Problems,
) -> Vec<DraftedPool> {
    let mut pools = Vec::with_capacity(written.len());
    for (index, entry) in written.iter().enumerate() {
        let path = path.index(index);
        let draft = subnet.inherit(&entry.settings(), Level::Pool, &path, problems);
        let range_path = path.key("range");
        let Some((first, last)) = text::range(&entry.range, &range_path, problems) else { continue };
        if !check_range(first, last, surroundings, &range_path, problems) {
            continue;
        }
        let policy = resolver.policy(&draft, surroundings.prefix.netmask());
        pools.push(DraftedPool { pool: Pool { first, last, policy }, draft, index });
    }
    pools.sort_by_key(|drafted| drafted.pool.first);
    let mut furthest: Option<&DraftedPool> = None;
    for drafted in &pools {
        if let Some(other) = furthest
            && drafted.pool.first <= other.pool.last
        {
            let (later, earlier) =
                if drafted.index > other.index { (drafted, other) } else { (other, drafted) };
            let message = format!(
                "{}-{} overlaps {} ({}-{}); make one of them shorter",
                later.pool.first,
                later.pool.last,
                path.index(earlier.index),
                earlier.pool.first,
                earlier.pool.last
            );
            problems.add(&path.index(later.index).key("range"), message);
        }
        if furthest.is_none_or(|other| drafted.pool.last > other.pool.last) {
            furthest = Some(drafted);
        }
    }
    pools
}

/// Whether every address of the range can be a client's.
fn check_range(
    first: Ipv4Addr,
    last: Ipv4Addr,
    surroundings: &Surroundings<'_>,
    path: &Path<'_>,
    problems: &mut Problems,
) -> bool {
    let prefix = surroundings.prefix;
    if !prefix.contains(&first) || !prefix.contains(&last) {
        problems.add(path, format!("{first}-{last} is not inside the subnet {prefix}; move or shorten it"));
        return false;
    }
    for edge in [first, last] {
        if let Some(what) = surroundings.no_host(edge) {
            let begin = if first == prefix.network() { next(first, 1) } else { first };
            let end = if last == prefix.broadcast() { next(last, -1) } else { last };
            let message = format!(
                "{first}-{last} contains {edge}, the {what} address of {prefix}, which no host can have; write \
                 {begin}-{end}"
            );
            problems.add(path, message);
            return false;
        }
    }
    for own in surroundings.own.iter().filter(|own| (first..=last).contains(*own)) {
        let message =
            format!("{first}-{last} contains {own}, this server's own address; split it in two around that");
        problems.add(path, message);
    }
    true
}

fn next(address: Ipv4Addr, step: i32) -> Ipv4Addr {
    u32::from(address).wrapping_add_signed(step).into()
}
