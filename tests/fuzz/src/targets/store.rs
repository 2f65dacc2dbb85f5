//! Any files in the store's directory: opened, or refused with words and left as they are; what was opened goes on
//! working.

use std::{cell::RefCell, collections::BTreeMap, fs, net::Ipv4Addr, path::Path};

use dhcp_user::lease::{
    record::LeaseRecord,
    store::{Batch, LeaseStore as _, LogStore, MetaKey, Options, StoreError},
};
use tempfile::TempDir;

use crate::{
    input::Input,
    store_files::{Files, SEGMENT_BYTES, build},
};

thread_local! {
    /// In memory if that can be had: it is not flushing that is looked at.
    static DIRECTORY: RefCell<TempDir> = RefCell::new(
        tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).expect("a temporary directory"),
    );
}

/// Takes one input: a description of files.
///
/// # Panics
/// If a promise does not hold, or the temporary directory cannot be used.
pub fn run(octets: &[u8]) {
    let files = build(&mut Input(octets));
    DIRECTORY.with_borrow(|directory| {
        let path = directory.path().join("store");
        drop(fs::remove_dir_all(&path));
        fs::create_dir(&path).expect("a directory");
        for (name, octets) in &files {
            fs::write(path.join(name), octets).expect("a file");
        }
        judge(&path, &files);
    });
}

fn judge(path: &Path, files: &Files) {
    let (mut store, mut leases) = match open(path) {
        Ok(opened) => opened,
        Err(error) => {
            assert!(
                error.to_string().contains(&*path.to_string_lossy())
                    || matches!(error, StoreError::Codec { .. })
            );
            for (name, octets) in files {
                assert_eq!(&fs::read(path.join(name)).expect("it was there"), octets, "{name} has changed");
            }
            return;
        }
    };
    if let Some(lease) = leases.values_mut().next() {
        lease.hostname = (*b"changed").into();
    }
    let changed: Vec<LeaseRecord> = leases.values().take(1).cloned().collect();
    let meta = vec![(MetaKey::Generation, vec![7; 4])];
    let sequence = store.sequence();
    store.commit(&Batch { leases: changed, meta, ..Batch::default() }).expect("what was opened works");
    store.close().expect("it closes");
    let (store, again) = open(path).expect("it opens again");
    assert_eq!((store.sequence(), again), (sequence + 1, leases));
}

fn open(path: &Path) -> Result<(LogStore, BTreeMap<Ipv4Addr, LeaseRecord>), StoreError> {
    let mut leases = BTreeMap::new();
    let options = Options { segment_bytes: SEGMENT_BYTES };
    let (store, _) = LogStore::open(path, &options, &mut |lease| drop(leases.insert(lease.address, lease)))?;
    Ok((store, leases))
}
