//! The wire between clients and server: frames are lost, doubled, delayed and so reordered.

use rand::{Rng as _, rngs::SmallRng};

use super::scenario::{MS, Rates, SEC};

/// No frame is under way for longer.
pub const DELAY_MAX_NS: u64 = 3 * SEC / 2;

/// After how long the copies of a frame arrive; none if it is lost.
pub fn journeys(rng: &mut SmallRng, rates: &Rates) -> impl Iterator<Item = u64> + use<> {
    let chance = |rng: &mut SmallRng, permille: u16| permille != 0 && rng.random_range(0..1_000) < permille;
    let journey = |rng: &mut SmallRng| {
        let longest = if chance(rng, rates.delay) { DELAY_MAX_NS } else { MS };
        rng.random_range(MS / 10..longest)
    };
    let first = (!chance(rng, rates.loss)).then(|| journey(rng));
    let second = chance(rng, rates.duplicate).then(|| journey(rng));
    first.into_iter().chain(second)
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng as _;

    use super::*;

    #[test]
    fn frames_are_lost_doubled_and_delayed_as_told() {
        let mut rng = SmallRng::seed_from_u64(1);
        let calm = Rates::default();
        for _ in 0..1_000 {
            let journeys: Vec<u64> = journeys(&mut rng, &calm).collect();
            assert!(matches!(journeys[..], [journey] if journey < MS));
        }
        let rough = Rates { loss: 500, duplicate: 500, delay: 500, ..Rates::default() };
        let all: Vec<Vec<u64>> = (0..1_000).map(|_| journeys(&mut rng, &rough).collect()).collect();
        assert!([0, 1, 2].iter().all(|copies| all.iter().filter(|j| j.len() == *copies).count() > 150));
        assert!(all.iter().flatten().any(|journey| *journey > SEC));
        assert!(all.iter().flatten().all(|journey| *journey < DELAY_MAX_NS));
    }
}
