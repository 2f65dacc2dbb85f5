//! Which address has which index in the lease map, and the blocks by which the kernel finds it.
//!
//! The map is dense: every address that the configuration can give out has one entry, in the order of addresses. A
//! /24's worth of addresses has one block, from the lowest to the highest that is given out.

use std::{collections::BTreeMap, net::Ipv4Addr};

use dhcp_common::{
    abi::Block,
    blocks::{PROBES_MAX, first_slot},
};

use crate::config::model::Config;

/// The largest table of blocks: twice as many slots as there are /24s.
const TABLE_SLOTS_MAX: usize = 1 << 25;

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
                let block = Block { prefix, first: leases, low, high, reserved: [0; 6] };
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

    /// The blocks as the kernel looks them up: a table whose length is a power of two, at least twice their number.
    pub fn table(&self) -> Vec<Block> {
        // Half as many blocks as slots keep searches short; should some crowd, a larger table parts them. Of 2^25 slots
        // hardly two can be the first of more than two of all 2^24 prefixes there are.
        let mut slots = self.blocks.len().saturating_mul(2).next_power_of_two();
        loop {
            let (table, left_out) = self.table_of(slots);
            if left_out == 0 || slots >= TABLE_SLOTS_MAX {
                if left_out > 0 {
                    tracing::warn!(
                        left_out,
                        "renewals of as many /24s stay with the daemon: their blocks crowd"
                    );
                }
                return table;
            }
            slots = slots.saturating_mul(2);
        }
    }

    /// The table with `slots` slots, and how many blocks are not in it because they would be too far from where their
    /// search begins.
    fn table_of(&self, slots: usize) -> (Vec<Block>, usize) {
        let mask = u32::try_from(slots.saturating_sub(1)).unwrap_or(u32::MAX);
        let mut table = vec![Block::default(); slots];
        let mut left_out = 0;
        for (&prefix, &block) in &self.blocks {
            let first = first_slot(prefix, mask.wrapping_add(1));
            let mut probes = (0..PROBES_MAX).map(|probe| (first.wrapping_add(probe) & mask) as usize);
            let free = probes.find(|&slot| table.get(slot).is_some_and(|there| there.prefix == [0; 4]));
            match free.and_then(|slot| table.get_mut(slot)) {
                Some(slot) => *slot = block,
                None => left_out += 1,
            }
        }
        (table, left_out)
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

#[cfg(test)]
mod tests {
    use dhcp_common::blocks;

    use super::*;

    fn layout_of(prefixes: impl Iterator<Item = u32>) -> Layout {
        let block =
            |prefix| Block { prefix, first: u32::from_be_bytes(prefix), low: 0, high: 255, reserved: [0; 6] };
        let blocks = prefixes.map(|prefix| (prefix << 8).to_be_bytes()).map(|prefix| (prefix, block(prefix)));
        Layout { blocks: blocks.collect(), leases: 0 }
    }

    #[test]
    fn the_kernel_finds_every_block_and_no_other() {
        let shapes: [(&str, Vec<u32>); 4] = [
            ("none", Vec::new()),
            ("one", vec![0x0a_0000]),
            ("a /12 in one piece", (0x0a_4000..0x0a_5000).collect()),
            ("the first /24 of each of many /16s", (0..4096).map(|n| 0x0a_0000 + (n << 8)).collect()),
        ];
        for (name, prefixes) in shapes {
            let layout = layout_of(prefixes.iter().copied());
            let table = layout.table();
            let slots = u32::try_from(table.len()).unwrap();
            assert!(
                slots.is_power_of_two() && table.len() <= 16 * prefixes.len().max(1),
                "{name}: {slots} slots"
            );
            let find =
                |prefix: [u8; 4]| blocks::find(prefix, slots, |slot| table.get(slot as usize).copied());
            for (prefix, block) in layout.blocks() {
                assert_eq!(find(*prefix), Some(*block), "{name}");
            }
            for prefix in (0..0x100_0000_u32).step_by(4099).map(|n| (n << 8).to_be_bytes()) {
                if prefix != [0; 4] {
                    assert_eq!(find(prefix), layout.blocks().get(&prefix).copied(), "{name}");
                }
            }
        }
    }
}
