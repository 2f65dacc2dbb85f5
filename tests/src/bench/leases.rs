//! Leases as a data centre has them, for what is measured with a million of them.

use std::net::Ipv4Addr;

use dhcp_user::{
    lease::record::{ClientKey, HardwareAddress, LeaseRecord, LeaseState},
    time::{Span, Timestamp},
};
use rand::{Rng as _, rngs::SmallRng};

/// Their lease time, seconds.
pub const LEASE_SECS: u64 = 7_200;

/// The `index`-th: machines of four makers, most with the usual client identifier, host names as data centres give them.
pub fn lease(address: Ipv4Addr, index: u32, granted_at: Timestamp, rng: &mut SmallRng) -> LeaseRecord {
    let makers = [[0x0c, 0xc4, 0x7a], [0x3c, 0xec, 0xef], [0xb8, 0x59, 0x9f], [0x52, 0x54, 0x00]];
    let [a, b, c] = makers[rng.random_range(0..4)];
    let mac = [a, b, c, rng.random(), rng.random(), rng.random()];
    let hardware = HardwareAddress::ethernet(mac);
    let client = match rng.random_range(0..10) {
        0..3 => ClientKey::Hardware(hardware),
        _ => ClientKey::Id([&[1], &mac[..]].concat().into()),
    };
    let lease = Span::from_secs(LEASE_SECS);
    LeaseRecord {
        address,
        state: LeaseState::Bound,
        client,
        hardware,
        hostname: format!("r{:03}-n{:03}", index / 256, index % 256).into_bytes().into(),
        relay_information: Box::default(),
        granted_at,
        expires: granted_at + lease,
        horizon: granted_at + lease + lease,
        kept_until: Timestamp::ZERO,
        forms: [None, None],
    }
}
