//! Inputs to begin with: recorded clients, renewals of the leases there are, the example configurations, small stores.

use std::{fs, path::Path};

use dhcp_tests::fixture;
use dhcp_user::{
    lease::{
        record::{ClientKey, HardwareAddress, KnownForm, LeaseRecord, LeaseState},
        store::encode_lease,
    },
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
        forms: [Some(KnownForm { fingerprint: 1, answer: 2, echo_sum: 3 }), None],
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
