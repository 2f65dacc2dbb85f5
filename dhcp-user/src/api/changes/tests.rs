//! What the record keeps, through restarts, torn lines, full files, and callers that ask for what they may not have.

use std::{fs, time::Instant};

use super::*;

fn record(n: u32, status: u16) -> ChangeRecord {
    ChangeRecord {
        at: format!("2024-12-01T10:{:02}:{:02}Z", n / 60, n % 60),
        request_id: n.to_string(),
        who: "token".into(),
        method: "DELETE".into(),
        path: "/x".into(),
        status,
        detail: String::new(),
        count: 1,
    }
}

const OFTEN: Duration = Duration::from_millis(20);

/// Waits until nothing is owed to the file of what was refused.
async fn settled(changes: &Changes) {
    let deadline = Instant::now() + Duration::from_secs(20);
    while !lock(&changes.inner.waiting).is_empty() {
        assert!(Instant::now() < deadline, "it is written at last");
        tokio::time::sleep(OFTEN).await;
    }
}

#[tokio::test]
async fn records_survive_a_restart_and_stay_bounded() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("changes.ndjson");
    let changes = Changes::bounded(path.clone(), 2_000, OFTEN).unwrap();
    for n in 0..300 {
        changes.add(record(n, 200)).await;
    }
    assert_eq!(changes.latest(Which::All, 2), [record(299, 200), record(298, 200)]);
    assert!(fs::metadata(&path).unwrap().len() < 2_400);
    assert_eq!(fs::read_dir(&folder).unwrap().count(), 1 + OLD_DONE as usize);
    let again = Changes::open(path).unwrap();
    let kept = again.latest(Which::Done, RECORDS_SHOWN);
    assert_eq!(kept[..2], [record(299, 200), record(298, 200)]);
    assert!((100..300).contains(&kept.len()), "of more than one old file: {}", kept.len());
    assert!(kept.windows(2).all(|pair| pair[0].at > pair[1].at), "and in order");
    assert_eq!(again.lost(), 0);
}

#[tokio::test]
async fn a_torn_line_takes_no_other_with_it() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("changes.ndjson");
    let changes = Changes::open(path.clone()).unwrap();
    changes.add(record(1, 200)).await;
    let torn = [fs::read(&path).unwrap(), b"{\"at\": \"20".to_vec()].concat();
    fs::write(&path, torn).unwrap();
    changes.add(record(2, 200)).await;
    let again = Changes::open(path).unwrap();
    assert_eq!(again.latest(Which::All, 9), [record(2, 200), record(1, 200)]);
}

#[tokio::test]
async fn what_cannot_be_written_is_counted() {
    let folder = tempfile::tempdir().unwrap();
    let changes = Changes::open(folder.path().join("gone/changes.ndjson")).unwrap();
    changes.add(record(1, 200)).await;
    assert_eq!((changes.lost(), changes.latest(Which::All, 9).len()), (1, 1));
}

#[tokio::test]
async fn what_is_refused_pushes_out_nothing_and_is_coalesced() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("changes.ndjson");
    // The second that they share lasts as long as this test wants it to.
    let changes = Changes::bounded(path.clone(), 2_000, Duration::from_secs(3_600)).unwrap();
    changes.add(record(0, 200)).await;
    for n in 1..=5_000 {
        changes.add(record(n, 403)).await;
    }
    changes.add(ChangeRecord { who: "other".into(), ..record(5_001, 404) }).await;
    let line_count = |name: &str| fs::read_to_string(folder.path().join(name)).unwrap().lines().count();
    assert_eq!((line_count("changes.ndjson"), line_count("refused.ndjson")), (1, 2));
    assert_eq!(changes.latest(Which::Done, 9), [record(0, 200)]);
    let counts: Vec<_> = changes.latest(Which::All, 9).iter().map(|r| (r.status, r.count)).collect();
    assert_eq!(counts, [(404, 1), (403, 4_999), (403, 1), (200, 1)], "the newest first, none forgotten");
}

#[tokio::test]
async fn what_shared_a_second_is_written_when_it_is_over() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("changes.ndjson");
    let changes = Changes::bounded(path.clone(), FILE_MAX, OFTEN).unwrap();
    for n in 0..100 {
        changes.add(record(n, 403)).await;
    }
    settled(&changes).await;
    let again = Changes::open(path).unwrap();
    let written = again.latest(Which::Refused, 100);
    assert_eq!(written.iter().map(|record| record.count).sum::<u64>(), 100);
    assert_eq!(written[0].request_id, "99");
    changes.add(record(200, 403)).await;
    settled(&changes).await;
    assert_eq!(changes.latest(Which::Refused, 1), [record(200, 403)], "and the next second begins anew");
}
