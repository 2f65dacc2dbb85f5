//! Who changed what through the API: an append-only file of bounded size, a line for each request that was to change
//! something, whether it was allowed or not. Narrow on purpose: what is recorded comes from the gate alone.

use std::{
    collections::VecDeque,
    fs::{self, File},
    io::{self, BufRead as _, BufReader, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// Records shown at most.
pub const RECORDS_SHOWN: usize = 1_000;
/// The file's size at which it is put aside (as `.1`, in the place of the one before) and a new one begun.
const FILE_MAX: u64 = 8 << 20;

/// One request that was to change something.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ChangeRecord {
    /// When, RFC 3339, by the wall clock.
    pub at: String,
    /// The request's identifier.
    pub request_id: String,
    /// By whom.
    pub who: String,
    /// The method.
    pub method: String,
    /// The path.
    pub path: String,
    /// How it ended, as HTTP status.
    pub status: u16,
    /// What was changed, if the path does not say all.
    pub detail: String,
}

/// The record of changes.
#[derive(Clone, Debug)]
pub struct Changes {
    inner: Arc<Mutex<Inner>>,
    lost: Arc<AtomicU64>,
}

#[derive(Debug)]
struct Inner {
    path: PathBuf,
    file_max: u64,
    shown: VecDeque<ChangeRecord>,
}

impl Changes {
    /// The record in the file at `path`. Lines that are no records, as a torn last one, are passed over.
    ///
    /// # Errors
    /// If it cannot be read.
    pub fn open(path: PathBuf) -> io::Result<Self> {
        let mut shown = VecDeque::new();
        for file in [aside(&path), path.clone()] {
            match File::open(&file) {
                Ok(file) => take_lines(file, &mut shown)?,
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
        }
        let inner = Inner { path, file_max: FILE_MAX, shown };
        Ok(Self { inner: Arc::new(Mutex::new(inner)), lost: Arc::default() })
    }

    /// Adds a record; durable when this returns, or counted as lost and told in the log.
    pub async fn add(&self, record: ChangeRecord) {
        let this = self.clone();
        let added = tokio::task::spawn_blocking(move || this.add_now(record)).await;
        if added.is_err() {
            self.lost.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn add_now(&self, record: ChangeRecord) {
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        if let Err(error) = inner.write(&record) {
            self.lost.fetch_add(1, Ordering::Relaxed);
            tracing::error!(%error, ?record, "a change could not be recorded in its file");
        }
        push(&mut inner.shown, record);
    }

    /// The latest records, the newest first.
    pub fn latest(&self, limit: usize) -> Vec<ChangeRecord> {
        let inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        inner.shown.iter().rev().take(limit).cloned().collect()
    }

    /// How many could not be written.
    pub fn lost(&self) -> u64 {
        self.lost.load(Ordering::Relaxed)
    }
}

impl Inner {
    fn write(&self, record: &ChangeRecord) -> io::Result<()> {
        let mut line = serde_json::to_vec(record)?;
        line.push(b'\n');
        if fs::metadata(&self.path).is_ok_and(|metadata| metadata.len() >= self.file_max) {
            fs::rename(&self.path, aside(&self.path))?;
        }
        let mut file = File::options().append(true).create(true).mode(0o600).open(&self.path)?;
        file.write_all(&line)?;
        file.sync_data()
    }
}

fn aside(path: &Path) -> PathBuf {
    path.with_extension("1")
}

fn push(shown: &mut VecDeque<ChangeRecord>, record: ChangeRecord) {
    if shown.len() == RECORDS_SHOWN {
        shown.pop_front();
    }
    shown.push_back(record);
}

fn take_lines(file: File, shown: &mut VecDeque<ChangeRecord>) -> io::Result<()> {
    for line in BufReader::new(file).split(b'\n') {
        if let Ok(record) = serde_json::from_slice(&line?) {
            push(shown, record);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(n: u32) -> ChangeRecord {
        ChangeRecord {
            at: "2024-12-01T10:00:00Z".into(),
            request_id: n.to_string(),
            who: "token".into(),
            method: "DELETE".into(),
            path: "/x".into(),
            status: 200,
            detail: String::new(),
        }
    }

    #[test]
    fn records_survive_a_restart_and_a_torn_line_and_stay_bounded() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("changes.ndjson");
        let changes = Changes::open(path.clone()).unwrap();
        changes.inner.lock().unwrap().file_max = 2_000;
        for n in 0..100 {
            changes.add_now(record(n));
        }
        assert_eq!(changes.latest(2), [record(99), record(98)]);
        assert!(fs::metadata(&path).unwrap().len() < 2_400 && fs::read_dir(&folder).unwrap().count() == 2);
        fs::write(&path, [fs::read(&path).unwrap(), b"{\"at\": \"20".to_vec()].concat()).unwrap();
        let again = Changes::open(path).unwrap();
        assert_eq!(again.latest(2), [record(99), record(98)]);
        assert_eq!(again.lost(), 0);
    }

    #[test]
    fn what_cannot_be_written_is_counted() {
        let folder = tempfile::tempdir().unwrap();
        let changes = Changes::open(folder.path().join("gone/changes.ndjson")).unwrap();
        changes.add_now(record(1));
        assert_eq!((changes.lost(), changes.latest(9).len()), (1, 1));
    }
}
