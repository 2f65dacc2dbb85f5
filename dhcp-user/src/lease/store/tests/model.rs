//! The store is equal to a map, whatever is written and however it ends.

use proptest::prelude::*;

use super::{super::codec::tests as codec, *};
use crate::lease::store::LeaseStore;

fn batches() -> impl Strategy<Value = Batch> {
    let answer = (0_u32..6, prop::collection::vec(any::<u8>(), 0..2048))
        .prop_map(|(id, bytes)| StoredAnswer { id, bytes });
    let meta = (prop::sample::select(&MetaKey::ALL), prop::collection::vec(any::<u8>(), 0..50));
    (
        prop::collection::vec(codec::lease(40), 0..30),
        prop::collection::vec((0_u32..40).prop_map(address), 0..5),
        prop::collection::vec(answer, 0..3),
        prop::collection::vec(0_u32..6, 0..2),
        prop::collection::vec(meta, 0..3),
        prop::collection::vec((0_u32..6, 0_u64..4096).prop_map(|(i, write)| reservation(i, write)), 0..2),
        prop::collection::vec((0_u32..6).prop_map(address), 0..2),
    )
        .prop_map(|(leases, forgotten, answers, dropped_answers, meta, reservations, dropped)| Batch {
            leases,
            forgotten,
            answers,
            dropped_answers,
            meta,
            reservations,
            dropped_reservations: dropped,
        })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn equals_a_map(steps in prop::collection::vec((batches(), 0_u8..8), 1..60)) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("store");
        let mut model = Contents::default();
        let (mut store, ..) = open(&path).unwrap();
        let mut sequence = 0;
        for (batch, end) in steps {
            match store.commit(&batch) {
                Ok(()) => {
                    model.apply(&batch);
                    sequence += u64::from(!batch.is_empty());
                }
                // Some few of the batches are; they must leave no trace.
                Err(StoreError::BatchTooLarge { .. }) => prop_assert!(batch.leases.len() > 10),
                Err(error) => return Err(TestCaseError::fail(error.to_string())),
            }
            if end < 2 {
                let closed = end == 0;
                if closed { store.close().unwrap() } else { crash(store) }
                let (again, contents, recovered) = open(&path).unwrap();
                prop_assert_eq!(&contents, &model);
                let report = recovered.report;
                prop_assert_eq!((report.sequence, report.closed_in_order), (sequence, closed));
                prop_assert_eq!((report.batches_after_mark, report.torn_bytes, report.marks_repaired), (0, 0, 0));
                store = again;
            }
        }
        drop(store);
        let (_, contents, recovered) = open(&path).unwrap();
        prop_assert_eq!(contents, model);
        prop_assert!(recovered.report.closed_in_order, "dropping a store closes it in order");
    }
}

#[test]
fn a_long_life_stays_small() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("store");
    let mut model = Contents::default();
    let (mut store, _, recovered) = open(&path).unwrap();
    assert!(recovered.report.created);
    let mut disk_bytes_max = 0;
    for write in 1..4_000 {
        let batch = batch(write, (write % 60) as u32 + 1);
        store.commit(&batch).unwrap();
        model.apply(&batch);
        disk_bytes_max = disk_bytes_max.max(store.size().disk_bytes);
        if write % 500 == 0 {
            crash(store);
            let (again, contents, recovered) = open(&path).unwrap();
            assert_eq!(contents, model);
            assert!(!recovered.report.created && recovered.report.sequence == write);
            store = again;
        }
    }
    let size = store.size();
    // Some 12 MB were written over some 35 KB alive: four segments of slack, one being written, four spare, one more
    // for what does not fit at a segment's end.
    assert!(disk_bytes_max <= 2 * size.live_bytes + 10 * 65_536, "{disk_bytes_max} octets for {size:?}");
    assert!(size.live_bytes < 60_000, "{size:?}");
    let files: u64 =
        std::fs::read_dir(&path).unwrap().map(|file| file.unwrap().metadata().unwrap().len()).sum();
    assert!(files <= size.disk_bytes + 10_000, "{files} octets on disk for {size:?}");
}

#[test]
fn bounds_leave_the_store_as_it_was() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("store");
    let (mut store, ..) = open(&path).unwrap();
    let good = batch(1, 5);
    store.commit(&good).unwrap();
    let mut long = batch(2, 5);
    long.leases[3].hostname = vec![b'a'; 256].into();
    let error = store.commit(&long).unwrap_err().to_string();
    assert!(
        error.starts_with(&format!("lease of {}: its host name has 256 octets", long.leases[3].address)),
        "{error}"
    );
    let answer = Batch { answers: vec![StoredAnswer { id: 7, bytes: vec![0; 2049] }], ..Batch::default() };
    let error = store.commit(&answer).unwrap_err().to_string();
    assert_eq!(error, "answer 7 has 2049 octets, the store keeps at most 2048");
    let meta = Batch { meta: vec![(MetaKey::ConfigDigest, vec![0; 4097])], ..Batch::default() };
    assert!(matches!(store.commit(&meta), Err(StoreError::TooLong { .. })));
    let mut longer = reservation(1, 1);
    longer.bytes = vec![0; 4097];
    let made = Batch { reservations: vec![longer], ..Batch::default() };
    assert!(matches!(store.commit(&made), Err(StoreError::TooLong { .. })));
    let large = batch(3, 500);
    assert!(matches!(store.commit(&large), Err(StoreError::BatchTooLarge { bytes, bytes_max })
        if bytes > bytes_max && bytes_max > 16_000));
    let after = batch(4, 5);
    store.commit(&after).unwrap();
    drop(store);
    let mut model = Contents::default();
    model.apply(&good);
    model.apply(&after);
    assert_eq!(open(&path).unwrap().1, model);
}

#[test]
fn what_is_too_large_for_one_flush_becomes_durable_in_parts() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("store");
    let (mut store, ..) = open(&path).unwrap();
    let mut large = batch(4, 300);
    for (number, lease) in large.leases.iter_mut().enumerate() {
        lease.relay_information = vec![number as u8; number % 300].into();
        lease.client = ClientKey::Id(vec![1; number % 256].into());
    }
    large.answers = (0..40).map(|id| StoredAnswer { id, bytes: vec![id as u8; 1_500] }).collect();
    large.dropped_answers = (30..40).collect();
    large.meta.push((MetaKey::SiteCursors, vec![9; 40]));
    assert!(matches!(store.commit(&large), Err(StoreError::BatchTooLarge { .. })));
    store.commit_in_parts(&large).unwrap();
    assert!(store.sequence() > 8, "{} parts", store.sequence());
    let mut model = Contents::default();
    model.apply(&large);
    crash(store);
    assert_eq!(open(&path).unwrap().1, model);
    // Answers before the leases that name them, and dropped after those that did.
    let parts = large.parts(16_000);
    let first = |has: fn(&Batch) -> bool| parts.iter().position(has).unwrap();
    let last = |has: fn(&Batch) -> bool| parts.iter().rposition(has).unwrap();
    assert_eq!(first(|part| !part.meta.is_empty()), 0);
    assert!(last(|part| !part.answers.is_empty()) <= first(|part| !part.leases.is_empty()));
    assert!(last(|part| !part.leases.is_empty()) <= first(|part| !part.dropped_answers.is_empty()));
    // A cursor says that what was heard before it is here: a power cut between parts must not leave it alone.
    let cursors = |part: &Batch| part.meta.iter().any(|(key, _)| *key == MetaKey::SiteCursors);
    assert_eq!(
        (parts.iter().filter(|part| cursors(part)).count(), cursors(parts.last().unwrap())),
        (1, true)
    );
}

#[test]
fn segments_of_another_size_are_taken_over() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("store");
    let mut model = Contents::default();
    for round in 0..6_u64 {
        let options = Options { segment_bytes: if round % 2 == 0 { 64 << 10 } else { 256 << 10 } };
        let mut leases = 0;
        let (mut store, _) = LogStore::open(&path, &options, &mut |_| leases += 1).unwrap();
        assert_eq!(leases, model.leases.len());
        for write in round * 200 + 1..=round * 200 + 200 {
            // More than the smaller segments have room for where the larger ones are used.
            let batch = batch(write, if round % 2 == 1 && write % 50 == 0 { 700 } else { 40 });
            store.commit(&batch).unwrap();
            model.apply(&batch);
        }
    }
    assert_eq!(open(&path).unwrap().1, model);
}
