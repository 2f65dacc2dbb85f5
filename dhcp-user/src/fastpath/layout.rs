//! Which address has which index in the lease map, and the blocks by which the kernel finds it.
//!
//! The map is dense: every address that the configuration can give out has one entry, in the order of addresses. A
//! /24's worth of addresses has one block, from the lowest to the highest that is given out.

use std::{collections::BTreeMap, net::Ipv4Addr};

use dhcp_common::abi::Block;

use crate::config::model::Config;

/// The layout of the lease map for one configuration.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Layout {
    /// By the first three octets; the fourth is 0.
    blocks: BTreeMap<[u8; 4], Block>,
    leases: u32,
}

impl Layout {
    /// The layout for every address in a pool or a reservation of `config`.
    pub fn new(config: &Config) -> Self {
        let mut spans: BTreeMap<[u8; 4], (u8, u8)> = BTreeMap::new();
        let mut include = |prefix: u32, low: u8, high: u8| {
            let span = spans.entry(prefix.to_be_bytes()).or_insert((low, high));
            *span = (span.0.min(low), span.1.max(high));
        };
        for subnet in &config.subnets {
            for pool in &subnet.pools {
                let (first, last) = (u32::from(pool.first), u32::from(pool.last));
                for prefix in (first >> 8)..=(last >> 8) {
                    let low = if prefix == first >> 8 { last_octet(first) } else { 0 };
                    let high = if prefix == last >> 8 { last_octet(last) } else { u8::MAX };
                    include(prefix << 8, low, high);
                }
            }
            for reservation in &subnet.reservations {
                let address = u32::from(reservation.address);
                include(address & !0xff, last_octet(address), last_octet(address));
            }
        }
        let mut leases = 0;
        let blocks = spans
            .into_iter()
            .map(|(prefix, (low, high))| {
                let block = Block { first: leases, low, high, reserved: [0; 2] };
                leases += u32::from(high - low) + 1;
                (prefix, block)
            })
            .collect();
        Self { blocks, leases }
    }

    /// The number of entries the lease map needs.
    pub const fn leases(&self) -> u32 {
        self.leases
    }

    /// The blocks, by prefix.
    pub const fn blocks(&self) -> &BTreeMap<[u8; 4], Block> {
        &self.blocks
    }

    /// The index of an address's entry, if the layout holds it.
    pub fn index(&self, address: Ipv4Addr) -> Option<u32> {
        let [a, b, c, last] = address.octets();
        let block = self.blocks.get(&[a, b, c, 0])?;
        (block.low..=block.high).contains(&last).then(|| block.first + u32::from(last - block.low))
    }
}

const fn last_octet(address: u32) -> u8 {
    (address & 0xff) as u8
}
