//! Tests of the store as a whole: equality with a model, damage of every file, disks that fail.

mod damage;
mod disk;
mod model;
mod power;

use std::{net::Ipv4Addr, num::NonZeroU64, path::Path};

use super::{
    Batch, Contents, LogStore, MetaKey, Options, Recovered, StoreError, StoredAnswer, StoredReservation,
};
use crate::{
    lease::record::{ClientKey, HardwareAddress, KnownForm, LeaseRecord, LeaseState},
    time::Timestamp,
};

/// The smallest segments, so that small tests see many of them.
const SMALL: Options = Options { segment_bytes: 64 << 10 };

/// Opens a store and everything in it.
fn open(path: &Path) -> Result<(LogStore, Contents, Recovered), StoreError> {
    everything(|each| LogStore::open(path, &SMALL, each))
}

/// Opens a store by `open`, and everything in it.
fn everything(
    open: impl FnOnce(&mut dyn FnMut(LeaseRecord)) -> Result<(LogStore, Recovered), StoreError>,
) -> Result<(LogStore, Contents, Recovered), StoreError> {
    let mut contents = Contents::default();
    let (store, recovered) = open(&mut |lease| {
        let twice = contents.leases.insert(lease.address, lease);
        assert_eq!(twice, None, "a lease is handed over once");
    })?;
    for StoredAnswer { id, bytes } in &recovered.answers {
        assert_eq!(contents.answers.insert(*id, bytes.clone()), None, "an answer is handed over once");
    }
    for (key, value) in &recovered.meta {
        assert_eq!(contents.meta.insert(*key, value.clone()), None, "a value is handed over once");
    }
    for StoredReservation { address, bytes } in &recovered.reservations {
        let twice = contents.reservations.insert(*address, bytes.clone());
        assert_eq!(twice, None, "a reservation is handed over once");
    }
    assert_eq!(recovered.report.leases, contents.leases.len() as u64);
    assert_eq!(store.size().leases, contents.leases.len() as u64);
    Ok((store, contents, recovered))
}

/// As a crash leaves it: no mark of an orderly end, and the lock free.
fn crash(mut store: LogStore) {
    store.poisoned = true;
    drop(store);
}

fn address(i: u32) -> Ipv4Addr {
    Ipv4Addr::from_bits(0xc612_0000 + i)
}

/// A lease whose fields tell which write it came from.
fn lease(i: u32, write: u64) -> LeaseRecord {
    let hardware = HardwareAddress::ethernet([2, 0, 0, 0, (i >> 8) as u8, i as u8]);
    LeaseRecord {
        address: address(i),
        state: LeaseState::Bound,
        client: ClientKey::Hardware(hardware),
        hardware,
        hostname: format!("host-{i}").into_bytes().into(),
        relay_information: Box::default(),
        granted_at: Timestamp(write),
        expires: Timestamp(write + 10),
        horizon: Timestamp(write + 20),
        kept_until: Timestamp::ZERO,
        forms: [
            Some(KnownForm { fingerprint: NonZeroU64::MIN.saturating_add(write), answer: 1, echo_sum: 3 }),
            None,
        ],
    }
}

/// A batch of `count` leases from a fixed pattern over 300 addresses, with some of everything else.
fn batch(write: u64, count: u32) -> Batch {
    let mut state = write.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let mut next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) as u32
    };
    Batch {
        leases: (0..count).map(|_| lease(next() % 300, write)).collect(),
        forgotten: (0..count / 8).map(|_| address(next() % 300)).collect(),
        answers: vec![StoredAnswer { id: next() % 8, bytes: vec![write as u8; (next() % 600) as usize] }],
        dropped_answers: write.is_multiple_of(3).then(|| next() % 8).into_iter().collect(),
        meta: write
            .is_multiple_of(4)
            .then(|| (MetaKey::Generation, write.to_le_bytes().to_vec()))
            .into_iter()
            .collect(),
        reservations: write.is_multiple_of(5).then(|| reservation(next() % 8, write)).into_iter().collect(),
        dropped_reservations: write.is_multiple_of(7).then(|| address(next() % 8)).into_iter().collect(),
    }
}

fn reservation(i: u32, write: u64) -> StoredReservation {
    StoredReservation { address: address(i), bytes: vec![write as u8; (write % 400) as usize] }
}
