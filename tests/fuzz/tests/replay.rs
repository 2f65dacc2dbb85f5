//! Every target over its seeds, its corpus and every input that once made it fail, and over small changes to them.

use std::{
    fs,
    time::{Duration, Instant},
};

use dhcp_common::reason::Reason;
use dhcp_fuzz::{
    INPUT_BYTES_MAX, Target,
    targets::{api, frame},
};
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
    let mut tried = 0_u64;
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
        tried += 1;
    }
    println!("{name}: {} inputs, and {tried} changed ones in {CHANGED_FOR:?}", inputs.len());
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

#[test]
fn requests_to_the_api() {
    replay("api");
}

#[test]
fn the_requests_among_the_seeds_reach_every_endpoint() {
    let mut granted = std::collections::BTreeSet::new();
    for seed in dhcp_fuzz::requests::all() {
        let Some(status) = api::status(&seed) else { panic!("no request: {}", seed.escape_ascii()) };
        if status.is_success() {
            let words = String::from_utf8_lossy(&seed).into_owned();
            granted.insert(words.split([' ', '?', '\n']).skip(1).take(2).collect::<Vec<_>>().join(" "));
        }
    }
    // All that the description knows but to revoke a token, whose identifier is made when it is.
    for endpoint in [
        "GET /api/v1/leases",
        "GET /api/v1/leases/198.18.1.7",
        "GET /api/v1/leases/export",
        "GET /api/v1/reservations",
        "GET /api/v1/subnets",
        "GET /api/v1/stats",
        "GET /api/v1/events",
        "GET /api/v1/audit",
        "GET /api/v1/tokens",
        "GET /api/v1/openapi.json",
        "GET /metrics",
        "GET /healthz",
        "GET /readyz",
        "DELETE /api/v1/leases/198.18.1.7",
        "POST /api/v1/leases/198.18.1.8/extend",
        "POST /api/v1/tokens",
        "POST /api/v1/config/validate",
    ] {
        assert!(granted.contains(endpoint), "{endpoint} is not among {granted:?}");
    }
}

#[test]
fn words_of_other_nodes() {
    replay("sync");
}
