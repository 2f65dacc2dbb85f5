//! Who changed what through the API: append-only files of bounded size, a line for each request that changed something or
//! may have, and others for those that were refused. What is refused costs its caller nothing and may come as fast as
//! they like: it is kept apart, so that it can push out nothing that was done, is written at most once a second for each
//! caller, with how many it stands for, and never waits for the disk. Narrow on purpose: all of it comes from the gate.

mod lines;

use std::{
    collections::{HashMap, VecDeque},
    io,
    path::PathBuf,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use self::lines::Lines;

/// Records shown at most, of those done and of those refused.
pub const RECORDS_SHOWN: usize = 1_000;
/// A file's size at which it is put aside and a new one begun, octets.
const FILE_MAX: u64 = 8 << 20;
/// Old files kept of what was done, and of what was refused.
const OLD_DONE: u32 = 8;
const OLD_REFUSED: u32 = 1;
/// How often a caller's refused requests are written.
const REFUSED_EVERY: Duration = Duration::from_secs(1);

/// One request that was to change something, or several alike that were refused.
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
    /// For how many requests of this caller this stands: refused ones within a second share a record, the last one's.
    #[serde(default = "one", skip_serializing_if = "is_one")]
    pub count: u64,
}

const fn one() -> u64 {
    1
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "as serde asks it")]
const fn is_one(count: &u64) -> bool {
    *count == 1
}

impl ChangeRecord {
    /// Whether nothing was done for certain: a request that was not waited for (408) may have been.
    const fn is_refused(&self) -> bool {
        matches!(self.status, 400..=499) && self.status != 408
    }
}

/// Which records are asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Which {
    /// All.
    All,
    /// Those that changed something, or may have.
    Done,
    /// Those that were refused.
    Refused,
}

/// The record of changes.
#[derive(Clone, Debug)]
pub struct Changes {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    done: Book,
    refused: Book,
    /// Callers something of whom was refused within the last second, and what was since it was written. Only known
    /// callers have a record, so there are no more of them than tokens and names of certificates.
    waiting: Mutex<HashMap<String, Option<Numbered>>>,
    refused_every: Duration,
    next: AtomicU64,
    lost: AtomicU64,
}

/// A record and its place in the order of all.
type Numbered = (u64, ChangeRecord);

/// Records of one kind: their file, and the latest of them.
#[derive(Debug)]
struct Book {
    /// Held while one is written.
    lines: Mutex<Lines>,
    shown: Mutex<VecDeque<Numbered>>,
}

impl Book {
    fn new(lines: Lines) -> Self {
        Self { lines: Mutex::new(lines), shown: Mutex::default() }
    }

    fn show(&self, record: Numbered) {
        let mut shown = lock(&self.shown);
        if shown.len() == RECORDS_SHOWN {
            shown.pop_front();
        }
        shown.push_back(record);
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Changes {
    /// The record in the file at `path`, with what was refused in `refused.ndjson` beside it.
    ///
    /// # Errors
    /// If it cannot be read.
    pub fn open(path: PathBuf) -> io::Result<Self> {
        Self::bounded(path, FILE_MAX, REFUSED_EVERY)
    }

    fn bounded(path: PathBuf, octets_max: u64, refused_every: Duration) -> io::Result<Self> {
        let refused = path.with_file_name("refused.ndjson");
        let done = Book::new(Lines { path, octets_max, old_max: OLD_DONE, flushed: true });
        let refused = Book::new(Lines { path: refused, octets_max, old_max: OLD_REFUSED, flushed: false });
        let mut found: Vec<(bool, ChangeRecord)> = Vec::new();
        for (is_refused, book) in [(false, &done), (true, &refused)] {
            let mut latest = VecDeque::new();
            lock(&book.lines).read(|record| {
                if latest.len() == RECORDS_SHOWN {
                    latest.pop_front();
                }
                latest.push_back((is_refused, record));
            })?;
            found.extend(latest);
        }
        found.sort_by(|(_, a), (_, b)| a.at.cmp(&b.at));
        let next = found.len() as u64;
        for (number, (is_refused, record)) in (0..).zip(found) {
            if is_refused { &refused } else { &done }.show((number, record));
        }
        let (waiting, next, lost) = (Mutex::default(), AtomicU64::new(next), AtomicU64::new(0));
        Ok(Self { inner: Arc::new(Inner { done, refused, waiting, refused_every, next, lost }) })
    }

    /// Adds a record. One of something done is durable when this returns, or counted as lost and told in the log.
    pub async fn add(&self, record: ChangeRecord) {
        let number = self.inner.next.fetch_add(1, Ordering::Relaxed);
        if record.is_refused() {
            self.refuse((number, record)).await;
        } else {
            self.write(|inner| &inner.done, (number, record)).await;
        }
    }

    async fn refuse(&self, (number, mut record): Numbered) {
        {
            let mut waiting = lock(&self.inner.waiting);
            if let Some(before) = waiting.get_mut(&record.who) {
                record.count += before.as_ref().map_or(0, |(_, before)| before.count);
                *before = Some((number, record));
                return;
            }
            waiting.insert(record.who.clone(), None);
        }
        let who = record.who.clone();
        self.write(|inner| &inner.refused, (number, record)).await;
        let this = self.clone();
        tokio::spawn(async move {
            loop {
                tokio::time::sleep(this.inner.refused_every).await;
                let record = {
                    let mut waiting = lock(&this.inner.waiting);
                    let record = waiting.get_mut(&who).and_then(Option::take);
                    if record.is_none() {
                        waiting.remove(&who);
                    }
                    record
                };
                let Some(record) = record else { return };
                this.write(|inner| &inner.refused, record).await;
            }
        });
    }

    async fn write(&self, book: fn(&Inner) -> &Book, record: Numbered) {
        let inner = Arc::clone(&self.inner);
        let written = tokio::task::spawn_blocking(move || inner.write(book(&inner), record)).await;
        if written.is_err() {
            self.inner.lost.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// The latest records, the newest first.
    pub fn latest(&self, which: Which, limit: usize) -> Vec<ChangeRecord> {
        let mut found: Vec<Numbered> = Vec::new();
        if which != Which::Refused {
            found.extend(lock(&self.inner.done.shown).iter().rev().take(limit).cloned());
        }
        if which != Which::Done {
            found.extend(lock(&self.inner.waiting).values().flatten().cloned());
            found.extend(lock(&self.inner.refused.shown).iter().rev().take(limit).cloned());
        }
        found.sort_unstable_by_key(|(number, _)| std::cmp::Reverse(*number));
        found.truncate(limit);
        found.into_iter().map(|(_, record)| record).collect()
    }

    /// How many could not be written.
    pub fn lost(&self) -> u64 {
        self.inner.lost.load(Ordering::Relaxed)
    }
}

impl Inner {
    fn write(&self, book: &Book, record: Numbered) {
        {
            let lines = lock(&book.lines);
            if let Err(error) = lines.append(&record.1) {
                self.lost.fetch_add(1, Ordering::Relaxed);
                let file = lines.path.display();
                tracing::error!(%error, %file, record = ?record.1, "a change could not be recorded in its file");
            }
        }
        book.show(record);
    }
}

#[cfg(test)]
mod tests;
