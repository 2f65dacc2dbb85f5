//! Every file is cut and spoilt at many places: the store yields all that was acknowledged, or says what is wrong.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use super::{super::mark::MARK_FILE, *};
use crate::lease::store::LeaseStore;

/// A store in a directory, its files as a crash after the last commit leaves them, and what must be in it.
struct Sample {
    dir: tempfile::TempDir,
    files: BTreeMap<String, Vec<u8>>,
    contents: Contents,
}

impl Sample {
    /// `batches` batches of `count` leases.
    fn new(batches: u64, count: u32) -> Self {
        // Thousands of starts, and it is not flushing that is tested: in memory if that can be had.
        let dir = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap();
        let path = dir.path().join("store");
        let (mut store, ..) = open(&path).unwrap();
        let mut contents = Contents::default();
        for write in 1..=batches {
            let batch = batch(write, count);
            store.commit(&batch).unwrap();
            contents.apply(&batch);
        }
        crash(store);
        let files = files(&path);
        Self { dir, files, contents }
    }

    fn path(&self) -> PathBuf {
        self.dir.path().join("store")
    }

    /// The store with one file replaced, or removed.
    fn with(&self, name: &str, octets: Option<&[u8]>) -> Result<(Contents, Recovered), StoreError> {
        let path = self.path();
        for (other, octets) in &self.files {
            fs::write(path.join(other), octets).unwrap();
        }
        for extra in files(&path).keys().filter(|extra| !self.files.contains_key(*extra)) {
            fs::remove_file(path.join(extra)).unwrap();
        }
        match octets {
            Some(octets) => fs::write(path.join(name), octets).unwrap(),
            None => fs::remove_file(path.join(name)).unwrap(),
        }
        let (store, contents, recovered) = open(&path)?;
        crash(store);
        Ok((contents, recovered))
    }

    /// Everything acknowledged is there, or the error says what and where. Returns whether it is there.
    fn holds(&self, name: &str, octets: Option<&[u8]>, what: &str) -> bool {
        match self.with(name, octets) {
            Ok((contents, _)) => {
                assert_eq!(contents, self.contents, "{what}: silently lost");
                true
            }
            Err(error @ (StoreError::Damaged { .. } | StoreError::Schema { .. })) => {
                assert!(error.to_string().contains(&*self.path().to_string_lossy()), "{what}: {error}");
                false
            }
            Err(error) => panic!("{what}: {error}"),
        }
    }
}

fn files(path: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut files = BTreeMap::new();
    for entry in fs::read_dir(path).unwrap() {
        let entry = entry.unwrap();
        files.insert(entry.file_name().into_string().unwrap(), fs::read(entry.path()).unwrap());
    }
    files
}

/// Octets of a segment up to the last that is not zero.
fn used(octets: &[u8]) -> usize {
    octets.iter().rposition(|octet| *octet != 0).map_or(0, |last| last + 1)
}

#[test]
fn one_segment_with_every_octet_flipped_or_cut() {
    let sample = Sample::new(6, 3);
    for (name, octets) in &sample.files {
        let mut survived = 0;
        let end = used(octets);
        for at in 0..end {
            let mut flipped = octets.clone();
            flipped[at] ^= 1 << (at % 8);
            survived += u32::from(sample.holds(name, Some(&flipped), &format!("{name}: octet {at} flipped")));
            survived += u32::from(sample.holds(name, Some(&octets[..at]), &format!("{name}: cut at {at}")));
        }
        if name.starts_with("segment") {
            assert_eq!(survived, 0, "{name}: every octet in use matters");
        } else {
            assert!(survived > 0, "{name}: one bad copy is survived");
        }
    }
}

#[test]
fn many_segments_with_places_all_over() {
    let sample = Sample::new(400, 40);
    let segments = sample.files.keys().filter(|name| name.starts_with("segment")).count();
    assert!(
        segments >= 5 && !sample.files.contains_key("segment-0000000001.log"),
        "the sample was cleaned: {segments}"
    );
    let (mut lost, mut kept) = (0, 0);
    for (name, octets) in &sample.files {
        let mut count = |there: bool| if there { kept += 1 } else { lost += 1 };
        count(sample.holds(name, None, &format!("{name}: removed")));
        for at in
            (0..octets.len()).step_by(octets.len() / 31 + 1).chain([40, 41, octets.len().saturating_sub(1)])
        {
            if at >= octets.len() {
                continue;
            }
            count(sample.holds(name, Some(&octets[..at]), &format!("{name}: cut at {at}")));
            let mut spoilt = octets.clone();
            spoilt[at] ^= 0x10;
            count(sample.holds(name, Some(&spoilt), &format!("{name}: octet {at} flipped")));
            let end = spoilt.len().min(at + 512);
            spoilt[at..end].fill(0);
            count(sample.holds(name, Some(&spoilt), &format!("{name}: sector at {at} zeroed")));
        }
    }
    assert!(lost > 200 && kept > 50, "{lost} refused, {kept} whole");
}

#[test]
fn a_torn_batch_that_was_never_acknowledged_is_dropped_and_reported() {
    let sample = Sample::new(5, 3);
    let path = sample.path();
    let (mut store, ..) = open(&path).unwrap();
    let start = used(&sample.files["segment-0000000001.log"]).next_multiple_of(8);
    store.commit(&batch(6, 3)).unwrap();
    crash(store);
    let after = files(&path)["segment-0000000001.log"].clone();
    let end = used(&after);
    // The mark is that of `sample`: the sixth batch was never acknowledged.
    for cut in start..end {
        let mut torn = after.clone();
        torn[cut..].fill(0);
        let (contents, recovered) = sample.with("segment-0000000001.log", Some(&torn)).unwrap();
        assert_eq!(contents, sample.contents, "cut at {cut}");
        // Magic and the sequence's lowest octet: the header's rest is zero anyway.
        let seen = cut > start + 8;
        assert_eq!(recovered.report.torn_bytes > 0, seen, "cut at {cut}");
        // What is written over the torn batch is whole again.
        let (mut store, ..) = open(&path).unwrap();
        store.commit(&batch(7, 1)).unwrap();
        crash(store);
        let mut contents = contents;
        contents.apply(&batch(7, 1));
        assert_eq!(open(&path).unwrap().1, contents, "cut at {cut}");
    }
    // Whole on disk though not acknowledged: kept, as if it had been.
    let (contents, recovered) = sample.with("segment-0000000001.log", Some(&after)).unwrap();
    let mut wanted = sample.contents.clone();
    wanted.apply(&batch(6, 3));
    assert_eq!((contents, recovered.report.batches_after_mark), (wanted, 1));
}

#[test]
fn an_old_mark_still_tells_damage_in_the_middle() {
    let mark_after_two = Sample::new(2, 3).files[MARK_FILE].clone();
    let sample = Sample::new(6, 3);
    let segment = &sample.files["segment-0000000001.log"];
    // The marks of two stores differ in the id: take the old sequence over by replaying the first two batches.
    assert_ne!(mark_after_two, sample.files[MARK_FILE]);
    let error = sample.with(MARK_FILE, Some(&mark_after_two)).map(|_| ()).unwrap_err().to_string();
    assert!(error.contains("the segment is of store"), "{error}");
    for at in (0..used(segment)).step_by(16) {
        let mut spoilt = segment.clone();
        spoilt[at] ^= 4;
        let error = sample.with("segment-0000000001.log", Some(&spoilt)).map(|_| ()).unwrap_err().to_string();
        let wanted = ["does not pass its check", "acknowledged and are gone"];
        assert!(wanted.iter().any(|wanted| error.contains(wanted)), "{error}");
    }
}

#[test]
fn says_what_is_lost_and_where() {
    let sample = Sample::new(400, 40);
    let first = sample.files.keys().find(|name| name.starts_with("segment")).unwrap().clone();
    let last = sample.files.keys().rfind(|name| name.starts_with("segment")).unwrap().clone();
    let error = sample.with(&last, None).map(|_| ()).unwrap_err().to_string();
    assert!(error.contains("400 were acknowledged and are gone"), "{error}");
    let error = sample.with(MARK_FILE, Some(&[])).map(|_| ()).unwrap_err().to_string();
    assert!(error.contains("neither copy of the high-water mark can be read"), "{error}");
    let before = sample.files.keys().rfind(|name| name.starts_with("segment") && **name < last).unwrap();
    let mut spoilt = sample.files[before].clone();
    spoilt[100] ^= 1;
    let error = sample.with(before, Some(&spoilt)).map(|_| ()).unwrap_err().to_string();
    assert!(error.contains("does not pass its check, though batch") && error.contains(before), "{error}");
    let mut newer = sample.files[&last].clone();
    newer[4] = 2;
    let check = xxhash_rust::xxh3::xxh3_64(&newer[..32]).to_le_bytes();
    newer[32..40].copy_from_slice(&check);
    let error = sample.with(&last, Some(&newer)).map(|_| ()).unwrap_err().to_string();
    assert!(error.contains("schema version 2, this program reads version 1"), "{error}");
    // The oldest segment file may be one that is waiting to be used again: then nothing is missing without it.
    if let Err(error) = sample.with(&first, None) {
        assert!(error.to_string().contains("the whole segment is missing"), "{error}");
    }
    let path = sample.path();
    for name in sample.files.keys().filter(|name| name.starts_with("segment")) {
        fs::remove_file(path.join(name)).ok();
    }
    fs::write(path.join(MARK_FILE), &sample.files[MARK_FILE]).unwrap();
    let error = open(&path).map(|_| ()).unwrap_err().to_string();
    assert!(error.contains("batches 1 to 400 were acknowledged and no segment is there"), "{error}");
}
