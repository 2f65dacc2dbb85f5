//! Inputs to begin with: recorded clients, renewals of the leases there are, the example configurations, small stores.

use std::{fs, path::Path};

use dhcp_tests::fixture;
use dhcp_user::{
    lease::{
        record::{ClientKey, HardwareAddress, KnownForm, LeaseRecord, LeaseState},
        store::encode_lease,
    },
    site::replication::{Update, compress, encode},
    time::Timestamp,
};

use crate::{server::renews, targets::frame::populated};

/// Frames: each lease's renewal and what real clients sent.
///
/// # Panics
/// If a fixture cannot be read.
pub fn frames() -> Vec<Vec<u8>> {
    let (_, held) = populated(1);
    let renewals = held.into_iter().map(|(number, address)| renews(number, address).build());
    let recorded =
        fixture::clients().expect("the fixtures are there").into_iter().map(|(_, fixture)| fixture.frame);
    renewals.chain(recorded).map(|frame| [&[0], &*frame].concat()).collect()
}

/// Histories: a client comes, renews, leaves, declines, in its own ways; and recorded frames as they are.
///
/// # Panics
/// If a fixture cannot be read.
pub fn histories() -> Vec<Vec<u8>> {
    let mut all = Vec::new();
    for client in 0..8 {
        let (discover, select, renew, release, decline) =
            ([client, 1, 0, 0], [client, 3, 6, 0], [client, 3, 9, 0], [client, 7, 13, 0], [client, 4, 6, 0]);
        let pass = [144 + 4, 0x40, 0];
        let kernel = [176 + client];
        all.push(
            [&discover[..], &select, &renew, &kernel, &pass, &renew, &release, &[208], &discover].concat(),
        );
        all.push([&discover[..], &select, &decline, &[209], &pass, &pass, &discover, &select].concat());
    }
    let mut recorded = Vec::new();
    for (_, fixture) in fixture::clients().expect("the fixtures are there") {
        // A frame is far below 2,048 octets.
        recorded.push(128);
        recorded.extend((fixture.frame.len() as u16).to_be_bytes());
        recorded.extend(fixture.frame);
        if recorded.len() > 1_500 {
            all.push(std::mem::take(&mut recorded));
        }
    }
    all
}

/// Configurations: the examples of the documentation.
///
/// # Panics
/// If they cannot be read.
pub fn configurations() -> Vec<Vec<u8>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/examples");
    let files = fs::read_dir(folder).expect("the examples are there");
    files.map(|file| fs::read(file.expect("an entry").path()).expect("an example")).collect()
}

/// Updates: of leases in every state, anew and only their times, plain and compressed; none at all.
///
/// # Panics
/// If zstd fails.
pub fn updates() -> Vec<Vec<u8>> {
    let lease = |n: u8, state, client| LeaseRecord {
        address: [198, 18, 0, n].into(),
        state,
        client,
        hardware: HardwareAddress::ethernet([2, 0, 0, 0, 0, n]),
        hostname: (*b"host").into(),
        relay_information: Box::new([1, 2, 3]),
        granted_at: Timestamp(1_000_000_000),
        expires: Timestamp(61_000_000_000),
        horizon: Timestamp(121_000_000_000),
        kept_until: Timestamp::ZERO,
        forms: [None, None],
    };
    let hardware = |n| HardwareAddress::ethernet([2, 0, 0, 0, 0, n]);
    let leases = [
        lease(1, LeaseState::Bound, ClientKey::Hardware(hardware(1))),
        lease(2, LeaseState::Free, ClientKey::Hardware(hardware(9))),
        lease(3, LeaseState::Quarantined, ClientKey::Id([1, 2, 0, 0, 0, 0, 3].into())),
        lease(7, LeaseState::Bound, ClientKey::Id((*b"client").into())),
    ];
    let mut seeds = Vec::new();
    for some in [&leases[..0], &leases[..1], &leases[..]] {
        for anew in [false, true] {
            let mut updates: Vec<_> = some.iter().map(|lease| Update::of(lease, 3, anew)).collect();
            let plain = encode(&mut updates, Timestamp(5_000_000_000));
            let packed = compress(&plain).expect("a few octets");
            seeds.extend([[&[0], &*plain].concat(), [&[1], &*packed].concat()]);
        }
    }
    // Many times nothing, in a few octets.
    let bomb = compress(&vec![0; 1 << 24]).expect("zstd has done more");
    seeds.push([&[1], &*bomb].concat());
    seeds
}

/// Stores: empty, one segment, several, with leases, answers and values, whole and changed.
///
/// # Panics
/// If a lease cannot be encoded.
pub fn stores() -> Vec<Vec<u8>> {
    let mut lease = Vec::new();
    let hardware = HardwareAddress::ethernet([2, 0, 0, 0, 0, 1]);
    let record = LeaseRecord {
        address: [198, 18, 0, 9].into(),
        state: LeaseState::Bound,
        client: ClientKey::Id((*b"client").into()),
        hardware,
        hostname: (*b"host").into(),
        relay_information: Box::new([1, 2, 3]),
        granted_at: Timestamp(1),
        expires: Timestamp(2),
        horizon: Timestamp(3),
        kept_until: Timestamp::ZERO,
        forms: [Some(KnownForm { fingerprint: std::num::NonZeroU64::MIN, answer: 2, echo_sum: 3 }), None],
    };
    encode_lease(&record, &mut lease).expect("it is short");
    let entry = |kind: u8, key: u8, body: &[u8]| [&[kind, key, body.len() as u8], body].concat();
    let first = [
        &[1, 4][..],
        &entry(1, 9, &lease),
        &entry(3, 1, b"answer"),
        &entry(5, 4, &[1; 4]),
        &entry(2, 8, &[]),
    ]
    .concat();
    let second = [&[1, 2][..], &entry(1, 9, &lease), &entry(4, 1, &[])].concat();
    vec![
        vec![0],
        [&[1, 0, 2, 2][..], &first, &second].concat(),
        [&[1, 1, 1, 2][..], &first, &second].concat(),
        [&[2, 0, 3, 2][..], &first, &second, &[1], &first].concat(),
        [&[3, 0, 3, 1][..], &first, &[1], &second, &[1], &first].concat(),
        [&[2, 0, 2, 2][..], &first, &second, &[0], &[1, 0x40, 0, 50]].concat(),
    ]
}
