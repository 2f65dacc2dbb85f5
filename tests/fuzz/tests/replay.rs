//! Every target over its seeds, its corpus and every input that once made it fail, and over small changes to them.

use std::{
    fs,
    time::{Duration, Instant},
};

use dhcp_common::reason::Reason;
use dhcp_fuzz::{INPUT_BYTES_MAX, Target, targets::frame};
use rand::{Rng as _, SeedableRng as _, rngs::StdRng};

/// How long changed inputs are tried for each target; what must hold is checked on however many that are.
const CHANGED_FOR: Duration = Duration::from_secs(2);

fn replay(name: &str) {
    let target = Target::named(name).expect("a target of that name");
    let mut inputs = (target.seeds)();
    assert!(!inputs.is_empty());
    if let Ok(files) = fs::read_dir(target.corpus()) {
        inputs.extend(files.map(|file| fs::read(file.expect("an entry").path()).expect("an input")));
    }
    inputs.iter().for_each(|input| (target.run)(input));
    let mut rng = StdRng::seed_from_u64(1);
    let end = Instant::now() + CHANGED_FOR;
    while Instant::now() < end {
        let mut input = inputs[rng.random_range(0..inputs.len())].clone();
        for _ in 0..rng.random_range(1..6) {
            let at = rng.random_range(0..=input.len());
            match rng.random_range(0..4) {
                0 => input.truncate(at),
                1 => input.insert(at, rng.random()),
                _ => {
                    if let Some(octet) = input.get_mut(at) {
                        *octet ^= rng.random_range(1..=255_u8);
                    }
                }
            }
        }
        input.truncate(INPUT_BYTES_MAX);
        (target.run)(&input);
    }
}

#[test]
fn the_renewals_among_the_seeds_are_answered() {
    let seeds = dhcp_fuzz::seeds::frames();
    let answered = seeds.iter().map(|seed| frame::verdict(seed)).filter(|reason| *reason == Reason::Answered);
    assert_eq!(answered.count(), frame::CLIENTS.count());
}

#[test]
fn frames() {
    replay("frame");
}

#[test]
fn histories() {
    replay("engine");
}

#[test]
fn configurations() {
    replay("config");
}

#[test]
fn stores() {
    replay("store");
}
