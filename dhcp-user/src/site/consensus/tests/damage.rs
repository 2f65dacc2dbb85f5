//! The file is spoilt in every way: what is read is what was written, or an error.

use std::{collections::BTreeMap, fs};

use openraft::{
    CommittedLeaderId, EntryPayload, LogId, RaftLogReader as _, Vote, storage::RaftLogStorage as _,
};

use super::*;
use crate::site::consensus::{Types, store::Kept};

const ME: &str = "a.example";

fn at(index: u64) -> LogId<u64> {
    LogId::new(CommittedLeaderId::new(3, 7), index)
}

/// A store that holds something of everything, at this path.
async fn filled(path: &Path) -> Store {
    let mut store = Store::open(path, ME).unwrap();
    store.set_voter().await.unwrap();
    store.put_snapshot(b"what all agreed on".to_vec()).await.unwrap();
    let entries: Vec<openraft::Entry<Types>> = (1..=5)
        .map(|index| openraft::Entry {
            log_id: at(index),
            payload: EntryPayload::Normal(reserve(index, &format!("reservation {index}"))),
        })
        .collect();
    store.append_now(&entries).unwrap();
    store.purge(at(2)).await.unwrap();
    store.save_committed(Some(at(4))).await.unwrap();
    store.save_vote(&Vote::new(3, 7)).await.unwrap();
    // The last write, so that the one before has another vote.
    store.save_vote(&Vote::new(4, 8)).await.unwrap();
    store
}

/// All that can be asked of it.
async fn contents(store: &mut Store) -> Result<String, String> {
    let known = store.recognised(ME).map_err(|error| error.to_string())?;
    let snapshot = store.snapshot().map_err(|error| error.to_string())?;
    let voter = store.may_vote().map_err(|error| error.to_string())?;
    let vote = store.read_vote().await.map_err(|error| error.to_string())?;
    let committed = store.read_committed().await.map_err(|error| error.to_string())?;
    let log = store.get_log_state().await.map_err(|error| error.to_string())?;
    let entries = store.try_get_log_entries(..).await.map_err(|error| error.to_string())?;
    // What entries say is not in what they are shown as.
    let entries = postcard::to_stdvec(&entries).map_err(|error| error.to_string())?;
    Ok(format!("{known:?} {snapshot:?} {voter} {vote:?} {committed:?} {log:?} {entries:?}"))
}

fn flipped(octets: &[u8], at: usize) -> Vec<u8> {
    let mut octets = octets.to_vec();
    octets[at] ^= 1 << (at % 8);
    octets
}

#[tokio::test]
async fn every_octet_of_every_value_matters_and_none_may_stand_in_for_another() {
    // It is not flushing that is tested: in memory if that can be had.
    let folder = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap();
    let mut store = filled(folder.path()).await;
    let sound = contents(&mut store).await.unwrap();
    let stored = store.stored().unwrap();
    assert_eq!(stored.iter().filter(|(kept, _)| matches!(kept, Kept::Entry(_))).count(), 3);
    assert_eq!(stored.len(), 3 + 8, "all kinds of values are looked at: {stored:?}");
    for (kept, octets) in &stored {
        for octet in 0..octets.len() {
            store.overwrite(kept, &flipped(octets, octet)).unwrap();
            let Err(refused) = contents(&mut store).await else { panic!("{kept:?}, octet {octet}") };
            assert!(refused.contains("consensus.redb is damaged"), "{kept:?}, octet {octet}: {refused}");
            assert!(refused.contains("move the file away"), "{refused}");
        }
        for (other, elsewhere) in stored.iter().filter(|(other, _)| other != kept) {
            store.overwrite(kept, elsewhere).unwrap();
            assert!(contents(&mut store).await.is_err(), "{other:?} in the place of {kept:?}");
        }
        store.overwrite(kept, octets).unwrap();
    }
    assert_eq!(contents(&mut store).await.unwrap(), sound);
}

/// All files of a directory.
fn files(path: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut files = BTreeMap::new();
    for entry in fs::read_dir(path).unwrap() {
        let entry = entry.unwrap();
        files.insert(entry.file_name().into_string().unwrap(), fs::read(entry.path()).unwrap());
    }
    files
}

/// A directory with these files and nothing else.
fn put(path: &Path, files: &BTreeMap<String, Vec<u8>>) {
    let _ = fs::remove_dir_all(path);
    fs::create_dir(path).unwrap();
    for (name, octets) in files {
        fs::write(path.join(name), octets).unwrap();
    }
}

async fn opened(path: &Path) -> Result<String, String> {
    let mut store = Store::open(path, ME).map_err(|error| error.to_string())?;
    contents(&mut store).await
}

/// As an orderly end leaves the files, and as a crash does.
#[tokio::test]
async fn no_flipped_octet_of_a_file_is_a_silent_loss() {
    let folder = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap();
    let (path, spoilt) = (folder.path().join("store"), folder.path().join("spoilt"));
    let mut store = filled(&path).await;
    let sound = contents(&mut store).await.unwrap();
    let crashed = files(&path);
    drop(store);
    let ended = files(&path);
    for (how, sample) in [("crashed", crashed), ("ended", ended)] {
        put(&spoilt, &sample);
        assert_eq!(opened(&spoilt).await.unwrap(), sound, "{how}");
        let (mut refused, mut survived) = (0, 0);
        for (name, octets) in &sample {
            let used = octets.iter().enumerate().filter(|(_, octet)| **octet != 0).map(|(at, _)| at);
            // All of the header and of the mark; of the pages, places all over.
            let places = used.filter(|at| octets.len() < 16_384 || *at < 320 || at % 17 == 0);
            for at in places {
                let mut files = sample.clone();
                files.insert(name.clone(), flipped(octets, at));
                put(&spoilt, &files);
                match opened(&spoilt).await {
                    Ok(found) => {
                        assert_eq!(found, sound, "{how}, {name}: octet {at} flipped: other content");
                        survived += 1;
                    }
                    Err(_) => refused += 1,
                }
            }
        }
        assert!(refused > 0 && survived > 0, "{how}: {refused} refused, {survived} survived");
    }
}

#[tokio::test]
async fn an_older_or_empty_file_in_its_place_and_a_lost_mark_are_noticed() {
    let folder = tempfile::tempdir().unwrap();
    let (path, spoilt) = (folder.path().join("store"), folder.path().join("spoilt"));
    let mut store = filled(&path).await;
    drop(store);
    let older = files(&path);
    store = Store::open(&path, ME).unwrap();
    store.save_vote(&Vote::new(5, 9)).await.unwrap();
    drop(store);
    let now = files(&path);
    let with = |name: &str, octets: Option<&[u8]>| {
        let mut files = now.clone();
        match octets {
            Some(octets) => drop(files.insert(name.to_owned(), octets.to_vec())),
            None => drop(files.remove(name)),
        }
        put(&spoilt, &files);
    };
    with("consensus.redb", Some(older["consensus.redb"].as_slice()));
    let refused = opened(&spoilt).await.unwrap_err();
    assert!(refused.contains("writes were acknowledged, and it ends with number"), "{refused}");
    with("consensus.redb", Some(b"".as_slice()));
    let refused = opened(&spoilt).await.unwrap_err();
    assert!(refused.contains("it is empty"), "{refused}");
    with("consensus.mark", None);
    let refused = opened(&spoilt).await.unwrap_err();
    assert!(refused.contains("consensus.mark beside it is missing"), "{refused}");
    // The way out: it begins anew, as another, which has no vote until it was told everything.
    with("consensus.redb", None);
    let anew = Store::open(&spoilt, ME).unwrap();
    assert_eq!((anew.may_vote().unwrap(), anew.snapshot().unwrap()), (false, None));
    drop(anew);
    opened(&spoilt).await.unwrap();
}
