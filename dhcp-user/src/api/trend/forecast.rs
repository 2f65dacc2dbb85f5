//! When a pool will be full, if it goes on filling as it did: the free addresses now and at the beginning of the last
//! hour, and a straight line through both. No more is claimed than that, and nothing before ten minutes have been seen.

use std::{
    collections::{HashMap, HashSet, VecDeque},
    net::Ipv4Addr,
    time::{Duration, Instant},
};

use crate::server::view::{Forecast, PoolView, SubnetView};

/// Looks kept of each pool: an hour, a look a minute.
const LOOKS_KEPT: usize = 61;
/// Before so much time has been seen, there is no forecast.
const SEEN_MIN: Duration = Duration::from_secs(600);
/// Beyond so much there is none either: a week's guess from an hour is worth nothing.
const FORECAST_MAX: Duration = Duration::from_secs(7 * 86_400);

/// What has been seen of pools, by first and last address.
#[derive(Debug, Default)]
pub struct Pools(HashMap<(Ipv4Addr, Ipv4Addr), VecDeque<(Instant, u64)>>);

impl Pools {
    /// Takes in how full pools are; those that are gone are forgotten.
    pub fn note(&mut self, at: Instant, subnets: &[SubnetView]) {
        let pools = || subnets.iter().flat_map(|subnet| &subnet.pools);
        let there: HashSet<_> = pools().map(|pool| (pool.first, pool.last)).collect();
        self.0.retain(|range, _| there.contains(range));
        for pool in pools() {
            let looks = self.0.entry((pool.first, pool.last)).or_default();
            if looks.len() == LOOKS_KEPT {
                looks.pop_front();
            }
            looks.push_back((at, pool.free));
        }
    }

    /// The forecast for a pool as it is now; `None` while too little has been seen.
    pub fn forecast(&self, now: Instant, pool: &PoolView) -> Option<Forecast> {
        let (first, free_then) = self.0.get(&(pool.first, pool.last))?.front()?;
        let seen = now.saturating_duration_since(*first);
        if seen < SEEN_MIN {
            return None;
        }
        let taken = *free_then as f64 - pool.free as f64;
        let per_sec = taken / seen.as_secs_f64();
        let full_in = (per_sec > 0.0).then(|| pool.free as f64 / per_sec);
        Some(Forecast {
            seen_secs: seen.as_secs(),
            taken_per_hour: (per_sec * 36_000.0).round() / 10.0,
            full_in_secs: full_in.filter(|secs| *secs <= FORECAST_MAX.as_secs_f64()).map(|secs| secs as u64),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn subnet(free: u64) -> SubnetView {
        let pool = PoolView::new(Ipv4Addr::new(198, 18, 1, 0), Ipv4Addr::new(198, 18, 1, 255), free);
        SubnetView {
            subnet: "198.18.0.0/16".parse().unwrap(),
            interface: None,
            vlans: Vec::new(),
            pools: vec![pool],
            reservations: 0,
            lease_secs: 60,
        }
    }

    /// The forecast after `minutes` during which `free` addresses were free.
    fn forecast(minutes: u64, free: impl Fn(u64) -> u64) -> Option<Forecast> {
        let (mut pools, began) = (Pools::default(), Instant::now());
        let at = |minute: u64| began + Duration::from_secs(60 * minute);
        (0..=minutes).for_each(|minute| pools.note(at(minute), &[subnet(free(minute))]));
        pools.forecast(at(minutes), &subnet(free(minutes)).pools[0])
    }

    #[test]
    fn a_pool_that_fills_is_full_when_the_line_says() {
        assert_eq!(forecast(9, |minute| 200 - minute), None, "too little has been seen");
        let found = forecast(10, |minute| 200 - 2 * minute).unwrap();
        assert_eq!((found.seen_secs, found.taken_per_hour, found.full_in_secs), (600, 120.0, Some(5_400)));
        // Only the last hour counts.
        let found = forecast(120, |minute| if minute < 60 { 250 } else { 250 - 3 * (minute - 60) }).unwrap();
        assert_eq!((found.seen_secs, found.taken_per_hour, found.full_in_secs), (3_600, 180.0, Some(1_400)));
        assert_eq!(forecast(10, |minute| 10 - minute).unwrap().full_in_secs, Some(0), "it is full");
    }

    #[test]
    fn one_that_does_not_fill_has_no_end() {
        assert_eq!(forecast(60, |_| 9).unwrap().full_in_secs, None);
        let empties = forecast(60, |minute| 9 + minute).unwrap();
        assert_eq!((empties.taken_per_hour, empties.full_in_secs), (-60.0, None));
        assert_eq!(
            forecast(60, |minute| 200 - minute / 60).unwrap().full_in_secs,
            None,
            "in more than a week"
        );
    }

    #[test]
    fn a_pool_that_is_gone_is_forgotten() {
        let mut pools = Pools::default();
        pools.note(Instant::now(), &[subnet(1)]);
        pools.note(Instant::now(), &[]);
        assert!(pools.0.is_empty());
    }
}
