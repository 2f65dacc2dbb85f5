//! How pools are cut into the blocks that are delegated: by the pools alone, so that every node of a cluster cuts them the
//! same way and adding a node moves no border.

use std::net::Ipv4Addr;

use crate::config::model::Config;

/// Blocks of all pools together, at most; a configuration with more pools than this has a block per pool.
const BLOCKS_MAX: u32 = 65_536;
/// Blocks of one pool, at most.
const BLOCKS_PER_POOL_MAX: u32 = 64;
/// A block has at least this many addresses, unless its pool has fewer.
const ADDRESSES_MIN: u32 = 4;

/// The index of a block, in address order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
#[serde(transparent)]
pub struct BlockId(pub u32);

/// A range of a pool's addresses that has one holder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Block {
    /// Its first address.
    pub first: Ipv4Addr,
    /// Its last address.
    pub last: Ipv4Addr,
    /// The pool it is part of: its index among all pools of the configuration, in address order.
    pub pool: usize,
}

/// All blocks, ascending and disjoint.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Blocks {
    blocks: Vec<Block>,
}

impl Blocks {
    /// The blocks of a configuration's pools. Borders lie at multiples of a power of two, so that a pool that grows keeps
    /// the borders it had as long as its blocks keep their size.
    pub fn of(config: &Config) -> Self {
        let pools: Vec<_> = config.subnets.iter().flat_map(|subnet| &subnet.pools).collect();
        let fair = BLOCKS_MAX / u32::try_from(pools.len().max(1)).unwrap_or(u32::MAX);
        let per_pool = fair.clamp(1, BLOCKS_PER_POOL_MAX);
        let mut blocks = Vec::new();
        for (index, pool) in pools.into_iter().enumerate() {
            let (first, last) = (pool.first.to_bits(), pool.last.to_bits());
            let size = ((last - first) / per_pool).max(ADDRESSES_MIN - 1).saturating_add(1);
            let mask = size.checked_next_power_of_two().map_or(u32::MAX, |size| size - 1);
            let mut at = first;
            loop {
                let end = if per_pool == 1 { last } else { (at | mask).min(last) };
                blocks.push(Block { first: at.into(), last: end.into(), pool: index });
                match end.checked_add(1) {
                    Some(next) if end < last => at = next,
                    _ => break,
                }
            }
        }
        Self { blocks }
    }

    /// The block an address is in; `None` if it is in no pool.
    pub fn of_address(&self, address: Ipv4Addr) -> Option<BlockId> {
        let after = self.blocks.partition_point(|block| block.first <= address);
        let index = after.checked_sub(1)?;
        (address <= self.blocks.get(index)?.last).then_some(BlockId(u32::try_from(index).ok()?))
    }

    /// A block.
    pub fn get(&self, id: BlockId) -> Option<&Block> {
        self.blocks.get(usize::try_from(id.0).ok()?)
    }

    /// All of them, in address order.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &Block> {
        self.blocks.iter()
    }

    /// The blocks as a number: two nodes that cut alike have the same, others hardly ever.
    pub fn digest(&self) -> u64 {
        let mut octets = Vec::with_capacity(self.blocks.len() * 8);
        for block in &self.blocks {
            octets.extend_from_slice(&block.first.octets());
            octets.extend_from_slice(&block.last.octets());
        }
        xxhash_rust::xxh3::xxh3_64(&octets)
    }

    /// The blocks of a pool (its index among all pools), in address order.
    pub fn of_pool(&self, pool: usize) -> impl Iterator<Item = BlockId> + '_ {
        let first = self.blocks.partition_point(|block| block.pool < pool);
        let end = self.blocks.partition_point(|block| block.pool <= pool);
        (first..end).filter_map(|index| Some(BlockId(u32::try_from(index).ok()?)))
    }

    /// The addresses of all of them, as few ranges as can be.
    pub fn ranges(&self) -> Vec<(Ipv4Addr, Ipv4Addr)> {
        let mut ranges: Vec<(Ipv4Addr, Ipv4Addr)> = Vec::new();
        for block in &self.blocks {
            match ranges.last_mut() {
                Some((_, last)) if last.to_bits().checked_add(1) == Some(block.first.to_bits()) => {
                    *last = block.last;
                }
                _ => ranges.push((block.first, block.last)),
            }
        }
        ranges
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.blocks.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.blocks.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn blocks(ranges: &str) -> Blocks {
        let text = format!(
            r#"{{"dhcp": {{"interfaces": ["a"], "subnets": [{{"subnet": "198.18.0.0/15", "interface": "a",
            "pools": [{ranges}]}}]}}}}"#
        );
        Blocks::of(&crate::config::parse(&text, "test.json").unwrap())
    }

    #[test]
    fn every_address_of_a_pool_is_in_one_block() {
        for (range, most) in
            [("198.18.0.1-198.18.0.1", 1), ("198.18.1.0-198.18.1.255", 64), ("198.18.1.7-198.19.200.3", 65)]
        {
            let cut = blocks(&format!(r#"{{"range": "{range}"}}"#));
            let (first, last) = range.split_once('-').unwrap();
            let (first, last): (Ipv4Addr, Ipv4Addr) = (first.parse().unwrap(), last.parse().unwrap());
            assert!(cut.len() <= most, "{range}: {}", cut.len());
            let mut next = first.to_bits();
            for (index, block) in cut.iter().enumerate() {
                assert_eq!(block.first.to_bits(), next);
                assert!(block.last >= block.first);
                let id = Some(BlockId(index as u32));
                assert_eq!((cut.of_address(block.first), cut.of_address(block.last)), (id, id));
                next = block.last.to_bits() + 1;
            }
            assert_eq!(next, last.to_bits() + 1);
            assert_eq!(cut.of_address(Ipv4Addr::from_bits(next)), None);
        }
    }

    #[test]
    fn a_pool_beside_changes_no_border() {
        let one = blocks(r#"{"range": "198.18.1.0-198.18.1.255"}"#);
        let two = blocks(r#"{"range": "198.18.1.0-198.18.1.255"}, {"range": "198.18.3.0-198.18.3.9"}"#);
        assert!(one.iter().zip(two.iter()).all(|(a, b)| a == b));
        assert_eq!(two.iter().last().unwrap().pool, 1);
        let range = |first, last| (Ipv4Addr::from_bits(first), Ipv4Addr::from_bits(last));
        assert_eq!(two.ranges(), [range(0xc612_0100, 0xc612_01ff), range(0xc612_0300, 0xc612_0309)]);
        assert_eq!(two.of_address(Ipv4Addr::new(198, 18, 2, 0)), None);
    }
}
