//! A digest of everything that shapes a reply, by which a restarted daemon notices that what the kernel still answers
//! was rendered under another configuration.

use std::net::Ipv4Addr;

use sha2::{Digest, Sha256};

use super::model::{Config, HostIdentity, Policy, Subnet};

/// Names what is hashed and in which order, and what becomes of it in a reply; a change to either must change this, or two
/// builds would agree on the digest of configurations they understand differently.
const FORMAT: &[u8] = b"simple-dhcpd configuration digest 2";

/// SHA-256 over subnets, policies, interfaces' names and configured addresses, and `authoritative`. Leaves out paths,
/// the fast path's settings, attach modes and sites, which shape no reply, and the order in which the file lists
/// interfaces and reservations. An address that is found at start, not configured, is not in it: whoever compares
/// digests must compare those too.
pub fn digest(config: &Config) -> [u8; 32] {
    let mut canon = Canon(Sha256::new());
    canon.octets(FORMAT);
    canon.flag(config.authoritative);
    let mut interfaces: Vec<_> = config.interfaces.iter().map(|i| (i.name.as_str(), i.address)).collect();
    interfaces.sort_unstable();
    canon.length(interfaces.len());
    for (name, address) in interfaces {
        canon.octets(name.as_bytes());
        canon.flag(address.is_some());
        canon.address(address.unwrap_or(Ipv4Addr::UNSPECIFIED));
    }
    canon.length(config.subnets.len());
    for subnet in &config.subnets {
        canon.subnet(config, subnet);
    }
    canon.0.finalize().into()
}

/// Feeds values so that no two different sequences feed the same octets: fixed widths, or lengths in front.
struct Canon(Sha256);

impl Canon {
    fn length(&mut self, length: usize) {
        self.0.update((length as u64).to_be_bytes());
    }

    fn octets(&mut self, octets: &[u8]) {
        self.length(octets.len());
        self.0.update(octets);
    }

    fn flag(&mut self, flag: bool) {
        self.0.update([u8::from(flag)]);
    }

    fn address(&mut self, address: Ipv4Addr) {
        self.0.update(address.octets());
    }

    fn subnet(&mut self, config: &Config, subnet: &Subnet) {
        let Subnet { prefix, link, relays, pools, reservations, policy } = subnet;
        self.address(prefix.network());
        self.0.update([prefix.prefix_len()]);
        self.flag(link.is_some());
        if let Some(link) = link {
            // By name: the index changes when the file lists interfaces in another order.
            self.octets(config.interfaces.get(link.interface).map_or(&[], |i| i.name.as_bytes()));
            self.0.update(link.vlans.outer.to_be_bytes());
            self.0.update(link.vlans.inner.to_be_bytes());
        }
        let mut relays = relays.clone();
        relays.sort_unstable();
        self.length(relays.len());
        relays.into_iter().for_each(|relay| self.address(relay));
        self.length(pools.len());
        for pool in pools {
            self.address(pool.first);
            self.address(pool.last);
            self.policy(&pool.policy);
        }
        let mut reservations: Vec<_> = reservations.iter().collect();
        reservations.sort_unstable_by_key(|reservation| reservation.address);
        self.length(reservations.len());
        for reservation in reservations {
            self.address(reservation.address);
            let (kind, octets): (u8, &[u8]) = match &reservation.identity {
                HostIdentity::Hardware(address) => (1, address),
                HostIdentity::ClientId(id) => (2, id),
                HostIdentity::CircuitId(id) => (3, id),
            };
            self.0.update([kind]);
            self.octets(octets);
            self.flag(reservation.hostname.is_some());
            self.octets(reservation.hostname.as_deref().unwrap_or_default().as_bytes());
            self.policy(&reservation.policy);
        }
        self.policy(policy);
    }

    fn policy(&mut self, policy: &Policy) {
        let Policy {
            lease_default_secs,
            lease_min_secs,
            lease_max_secs,
            t1_permille,
            t2_permille,
            rapid_commit,
            next_server,
            server_name,
            boot_file,
            options,
        } = policy;
        for secs in [lease_default_secs, lease_min_secs, lease_max_secs] {
            self.0.update(secs.to_be_bytes());
        }
        self.0.update(t1_permille.to_be_bytes());
        self.0.update(t2_permille.to_be_bytes());
        self.flag(*rapid_commit);
        self.address(*next_server);
        self.octets(server_name);
        self.octets(boot_file);
        self.length(options.len());
        for (code, value) in options {
            self.0.update([*code]);
            self.flag(value.always);
            self.octets(&value.bytes);
        }
    }
}
