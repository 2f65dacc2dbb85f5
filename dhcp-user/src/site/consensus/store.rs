//! Log, votes and snapshots in one `redb` file. What is said to be written is on the disk: every write is a transaction of
//! its own that is flushed, on a thread where waiting for a slow disk keeps nobody else waiting. What is read is what was written,
//! or an error: every value carries a check of its own (`seal`), the database looks at its pages when it is opened, and how many
//! writes there were is known beside it (`mark`).

use std::{
    fmt::Debug,
    fs, io,
    ops::{Bound, RangeBounds},
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
};

use openraft::{
    LogState, RaftLogReader, StorageIOError, Vote,
    storage::{LogFlushed, RaftLogStorage},
};
use redb::{Database, ReadableDatabase as _, ReadableTable as _, TableDefinition, WriteTransaction};
use serde::{Serialize, de::DeserializeOwned};

use super::{
    LogId, StorageError, Types,
    mark::{self, Mark, Said},
    seal::{Place, sealed, unsealed},
};
use crate::privilege::trust::{self, Untrusted};

type RaftEntry = openraft::Entry<Types>;

const LOG: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("log");
const VALUES: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("values");
const VOTE: &str = "vote";
const COMMITTED: &str = "committed";
const PURGED: &str = "purged";
const SNAPSHOT: &str = "snapshot";
const IDENTITY: &str = "identity";
const VOTER: &str = "voter";
const FORMAT: &str = "format";
const WRITES: &str = "writes";
/// What entries and snapshots mean: whoever changes them gives this another number. The first had none.
const FORMAT_NOW: u16 = 4;
/// The longest number of a format, octets, from when it had no check beside it. With one it is longer.
const BARE_FORMAT_MAX: usize = 3;
/// The file in the state directory.
pub const FILE: &str = "consensus.redb";

/// Why the file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// It cannot be opened.
    #[error("what the nodes agreed on cannot be opened in {}: {error}", path.display())]
    Open {
        /// The file or directory.
        path: PathBuf,
        /// Why.
        error: String,
    },
    /// It is another node's.
    #[error(
        "{} is the state of node {theirs}, and this is node {ours}: give each node a directory of its own \
         (dhcp.datacenter.multi_site.link.state_path)",
        path.display()
    )]
    Other {
        /// The file.
        path: PathBuf,
        /// Whose it is.
        theirs: String,
        /// Who this is.
        ours: String,
    },
    /// Another release wrote it.
    #[error(
        "{} is of format {theirs}, and this release reads format {FORMAT_NOW}: install the release that wrote it; or, while \
         the other nodes run, move the file away, and they tell this node everything",
        path.display()
    )]
    Format {
        /// The file.
        path: PathBuf,
        /// Its format.
        theirs: u16,
    },
    /// It is not what was written.
    #[error(
        "{} is damaged: {what}. What the nodes agreed on and how this node voted is lost or in doubt, so it is refused: while a \
         majority of the other nodes runs, move the file away, and they tell this node everything (docs/sites.md, \
         \"A damaged consensus.redb\")",
        path.display()
    )]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What was found.
        what: String,
    },
    /// Others could have changed it.
    #[error("what the nodes agreed on: {0}")]
    Untrusted(#[source] Untrusted),
    /// The mark beside it cannot be written.
    #[error("how much was written to {} cannot be noted beside it: {error}", path.display())]
    Mark {
        /// The file.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
    /// Its content makes no sense.
    #[error("what the nodes agreed on cannot be read: {0}")]
    Content(#[from] postcard::Error),
    /// The database refuses.
    #[error("what the nodes agreed on cannot be read or written: {0}")]
    Database(#[from] Box<redb::Error>),
    /// A thread is gone.
    #[error("writing was cut short")]
    Gone,
}

impl<E: Into<redb::Error>> From<E> for StoreError
where
    E: NotBoxed,
{
    fn from(error: E) -> Self {
        Self::Database(Box::new(error.into()))
    }
}

/// The database's errors, which are many.
pub trait NotBoxed {}
impl NotBoxed for redb::DatabaseError {}
impl NotBoxed for redb::TransactionError {}
impl NotBoxed for redb::TableError {}
impl NotBoxed for redb::StorageError {}
impl NotBoxed for redb::CommitError {}

/// The file.
#[derive(Clone, Debug)]
pub struct Store {
    database: Arc<Database>,
    path: Arc<Path>,
    mark: Arc<Mutex<Mark>>,
    /// Random, given when the file was made: another means that this node has lost its memory.
    pub incarnation: u64,
}

impl Store {
    /// Opens the file in a directory, or makes it for the node `me`.
    ///
    /// # Errors
    /// If it cannot be used, or is another node's.
    pub fn open(folder: &Path, me: &str) -> Result<Self, StoreError> {
        let path = folder.join(FILE);
        let failed = |path: &Path| {
            let path = path.to_owned();
            move |error: String| StoreError::Open { path, error }
        };
        let text = |error: io::Error| error.to_string();
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(folder)
            .map_err(text)
            .map_err(failed(folder))?;
        let found = fs::metadata(folder).map_err(text).map_err(failed(folder))?;
        trust::directory(folder, &found).map_err(StoreError::Untrusted)?;
        let mark_path = folder.join(mark::FILE);
        if !path.exists() {
            // Of a file that was moved away.
            mark::remove(&mark_path).map_err(text).map_err(failed(&mark_path))?;
        }
        let mut options = fs::OpenOptions::new();
        let file = options.read(true).write(true).create(true).truncate(false).mode(0o600).open(&path);
        let file = file.map_err(text).map_err(failed(&path))?;
        let found = file.metadata().map_err(text).map_err(failed(&path))?;
        trust::file(&path, &found).map_err(StoreError::Untrusted)?;
        let backend =
            redb::backends::FileBackend::new(file).map_err(|error| failed(&path)(error.to_string()))?;
        let database = Database::builder()
            .set_check_integrity_on_open(true)
            .create_with_backend(backend)
            .map_err(|error| opening(&path, &error))?;
        let known = recognise(&database, &path, me)?;
        let noted = mark::read(&mark_path).map_err(text).map_err(failed(&mark_path))?;
        let (mark, new) = match known {
            Some(known) => {
                judge(&path, known, &noted)?;
                (Mark::resume(&mark_path, known), false)
            }
            None => {
                let writes = noted.iter().map(|said| said.writes).max().unwrap_or(0);
                if writes > 0 {
                    let what = format!("it is empty, and {writes} writes were acknowledged");
                    return Err(damaged(&path, what));
                }
                (Mark::begin(&mark_path, rand::random()), true)
            }
        };
        let mark = mark.map_err(text).map_err(failed(&mark_path))?;
        let incarnation = mark.said().incarnation;
        let store = Self {
            database: Arc::new(database),
            path: path.into(),
            mark: Arc::new(Mutex::new(mark)),
            incarnation,
        };
        if new {
            // At once: whatever has an owner has a format.
            store.write(|transaction| {
                put(transaction, FORMAT, &FORMAT_NOW)?;
                put(transaction, IDENTITY, &(me.to_owned(), incarnation))
            })?;
        }
        Ok(store)
    }

    /// Whether this node may vote: it remembers all votes it ever gave.
    ///
    /// # Errors
    /// If that cannot be read.
    pub fn may_vote(&self) -> Result<bool, StoreError> {
        Ok(self.value(VOTER)?.unwrap_or(false))
    }

    /// This node may vote from now on.
    ///
    /// # Errors
    /// If that cannot be written.
    pub async fn set_voter(&self) -> Result<(), StoreError> {
        self.off_thread(|store| store.put_value(VOTER, &true)).await
    }

    fn value<T: DeserializeOwned>(&self, key: &str) -> Result<Option<T>, StoreError> {
        value(&self.database, &self.path, key)
    }

    fn put_value<T: Serialize>(&self, key: &str, value: &T) -> Result<(), StoreError> {
        self.write(|transaction| put(transaction, key, value))
    }

    fn write(
        &self,
        change: impl FnOnce(&WriteTransaction) -> Result<(), StoreError>,
    ) -> Result<(), StoreError> {
        // Held to the end: marks are written in the order of what they tell of.
        let mut mark = self.mark.lock().unwrap_or_else(PoisonError::into_inner);
        let writes = mark.said().writes + 1;
        let transaction = self.database.begin_write()?;
        change(&transaction)?;
        put(&transaction, WRITES, &writes)?;
        transaction.commit()?;
        mark.set(writes).map_err(|error| StoreError::Mark { path: self.path.to_path_buf(), error })
    }

    /// The last snapshot, as it was written.
    ///
    /// # Errors
    /// If it cannot be read.
    pub fn snapshot(&self) -> Result<Option<Vec<u8>>, StoreError> {
        self.value(SNAPSHOT)
    }

    /// Writes a snapshot in the place of the last one.
    ///
    /// # Errors
    /// If it cannot be written; the last one is there then.
    pub async fn put_snapshot(&self, octets: Vec<u8>) -> Result<(), StoreError> {
        self.off_thread(move |store| store.put_value(SNAPSHOT, &octets)).await
    }

    async fn off_thread<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Self) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let store = self.clone();
        tokio::task::spawn_blocking(move || work(&store)).await.map_err(|_| StoreError::Gone)?
    }

    fn entries(&self, range: (Bound<u64>, Bound<u64>)) -> Result<Vec<RaftEntry>, StoreError> {
        let read = self.database.begin_read()?;
        let table = match read.open_table(LOG) {
            Ok(table) => table,
            Err(redb::TableError::TableDoesNotExist(_)) => return Ok(Vec::new()),
            Err(error) => return Err(error.into()),
        };
        let mut found: Vec<RaftEntry> = Vec::new();
        for row in table.range::<u64>(range)? {
            let (index, octets) = row?;
            let entry = self.entry(index.value(), octets.value())?;
            if found.last().is_some_and(|before| before.log_id.index + 1 != entry.log_id.index) {
                let what = format!("what is before entry {} of the log is missing", entry.log_id.index);
                return Err(damaged(&self.path, what));
            }
            found.push(entry);
        }
        Ok(found)
    }

    fn entry(&self, index: u64, octets: &[u8]) -> Result<RaftEntry, StoreError> {
        Ok(postcard::from_bytes(whole(&self.path, Place::Entry(index), octets)?)?)
    }

    fn put_entries(&self, entries: &[RaftEntry]) -> Result<(), StoreError> {
        self.write(|transaction| {
            let mut table = transaction.open_table(LOG)?;
            for entry in entries {
                let index = entry.log_id.index;
                let octets = sealed(Place::Entry(index), postcard::to_stdvec(entry)?);
                table.insert(index, octets.as_slice())?;
            }
            Ok(())
        })
    }

    fn last_entry(&self) -> Result<Option<LogId>, StoreError> {
        let read = self.database.begin_read()?;
        let table = match read.open_table(LOG) {
            Ok(table) => table,
            Err(redb::TableError::TableDoesNotExist(_)) => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        let Some((index, octets)) = table.last()? else { return Ok(None) };
        Ok(Some(self.entry(index.value(), octets.value())?.log_id))
    }

    fn remove(&self, range: (Bound<u64>, Bound<u64>), purged: Option<&LogId>) -> Result<(), StoreError> {
        self.write(|transaction| {
            transaction.open_table(LOG)?.retain_in::<u64, _>(range, |_, _| false)?;
            match purged {
                Some(purged) => put(transaction, PURGED, purged),
                None => Ok(()),
            }
        })
    }
}

/// Where something is, for tests that spoil it.
#[cfg(test)]
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kept {
    /// Under a key.
    Value(String),
    /// An entry of the log.
    Entry(u64),
}

#[cfg(test)]
impl Store {
    /// As if a release of this format had written it: those before this one had no checks.
    pub fn set_format(&self, format: u16) -> Result<(), StoreError> {
        self.overwrite(&Kept::Value(FORMAT.to_owned()), &postcard::to_stdvec(&format)?)
    }

    /// Adds to the log.
    pub fn append_now(&self, entries: &[RaftEntry]) -> Result<(), StoreError> {
        self.put_entries(entries)
    }

    /// What opening looks at.
    pub fn recognised(&self, me: &str) -> Result<Option<Said>, StoreError> {
        recognise(&self.database, &self.path, me)
    }

    /// Everything, octet for octet.
    pub fn stored(&self) -> Result<Vec<(Kept, Vec<u8>)>, StoreError> {
        let read = self.database.begin_read()?;
        let mut stored = Vec::new();
        for row in read.open_table(VALUES)?.iter()? {
            let (key, octets) = row?;
            stored.push((Kept::Value(key.value().to_owned()), octets.value().to_vec()));
        }
        for row in read.open_table(LOG)?.iter()? {
            let (index, octets) = row?;
            stored.push((Kept::Entry(index.value()), octets.value().to_vec()));
        }
        Ok(stored)
    }

    /// Puts octets there, whatever they are.
    pub fn overwrite(&self, kept: &Kept, octets: &[u8]) -> Result<(), StoreError> {
        let transaction = self.database.begin_write()?;
        match kept {
            Kept::Value(key) => drop(transaction.open_table(VALUES)?.insert(key.as_str(), octets)?),
            Kept::Entry(index) => drop(transaction.open_table(LOG)?.insert(*index, octets)?),
        }
        transaction.commit()?;
        Ok(())
    }
}

/// Why the database was not opened.
fn opening(path: &Path, error: &redb::DatabaseError) -> StoreError {
    match error {
        redb::DatabaseError::Storage(redb::StorageError::Corrupted(what)) => damaged(path, what.clone()),
        redb::DatabaseError::Storage(redb::StorageError::Io(what))
            if what.kind() == io::ErrorKind::InvalidData =>
        {
            damaged(path, what.to_string())
        }
        _ => StoreError::Open { path: path.to_owned(), error: error.to_string() },
    }
}

/// Which database it is and how much was written to it; `None` if nothing was.
fn recognise(database: &Database, path: &Path, me: &str) -> Result<Option<Said>, StoreError> {
    let format: Option<u16> = stored(database, FORMAT, |octets| {
        // Those before had no check.
        let bare = octets.len() <= BARE_FORMAT_MAX;
        let octets = if bare { octets } else { whole(path, Place::Value(FORMAT), octets)? };
        Ok(postcard::from_bytes(octets)?)
    })?;
    match format {
        Some(FORMAT_NOW) => {}
        Some(theirs) => return Err(StoreError::Format { path: path.to_owned(), theirs }),
        None if stored(database, IDENTITY, |_| Ok(()))?.is_some() => {
            return Err(StoreError::Format { path: path.to_owned(), theirs: 1 });
        }
        None => return Ok(None),
    }
    let missing = |key| move || damaged(path, format!("{} is missing", Place::Value(key)));
    let (theirs, incarnation): (String, u64) =
        value(database, path, IDENTITY)?.ok_or_else(missing(IDENTITY))?;
    if !theirs.eq_ignore_ascii_case(me) {
        return Err(StoreError::Other { path: path.to_owned(), theirs, ours: me.to_owned() });
    }
    let writes = value(database, path, WRITES)?.ok_or_else(missing(WRITES))?;
    Ok(Some(Said { incarnation, writes }))
}

/// Whether a database has all that was acknowledged, by what is noted beside it.
fn judge(path: &Path, known: Said, noted: &[Said]) -> Result<(), StoreError> {
    let ours = noted.iter().filter(|said| said.incarnation == known.incarnation);
    match ours.map(|said| said.writes).max() {
        Some(writes) if writes <= known.writes => Ok(()),
        Some(writes) => {
            let what = format!("{writes} writes were acknowledged, and it ends with number {}", known.writes);
            Err(damaged(path, what))
        }
        None => {
            let what = format!("{} beside it is missing, damaged or of another file", mark::FILE);
            Err(damaged(path, what))
        }
    }
}

fn damaged(path: &Path, what: String) -> StoreError {
    StoreError::Damaged { path: path.to_owned(), what }
}

/// What was stored there, if it is that.
fn whole<'a>(path: &Path, place: Place<'_>, octets: &'a [u8]) -> Result<&'a [u8], StoreError> {
    unsealed(place, octets).ok_or_else(|| damaged(path, format!("{place} is not what was written")))
}

fn stored<T>(
    database: &Database,
    key: &str,
    read_octets: impl FnOnce(&[u8]) -> Result<T, StoreError>,
) -> Result<Option<T>, StoreError> {
    let read = database.begin_read()?;
    let table = match read.open_table(VALUES) {
        Ok(table) => table,
        Err(redb::TableError::TableDoesNotExist(_)) => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    let found = table.get(key)?;
    found.map(|octets| read_octets(octets.value())).transpose()
}

fn value<T: DeserializeOwned>(database: &Database, path: &Path, key: &str) -> Result<Option<T>, StoreError> {
    stored(database, key, |octets| Ok(postcard::from_bytes(whole(path, Place::Value(key), octets)?)?))
}

fn put<T: Serialize>(transaction: &WriteTransaction, key: &str, value: &T) -> Result<(), StoreError> {
    let octets = sealed(Place::Value(key), postcard::to_stdvec(value)?);
    transaction.open_table(VALUES)?.insert(key, octets.as_slice())?;
    Ok(())
}

fn reading(error: &StoreError) -> StorageError {
    StorageIOError::read(error).into()
}

fn writing(error: &StoreError) -> StorageError {
    StorageIOError::write(error).into()
}

impl RaftLogReader<Types> for Store {
    async fn try_get_log_entries<R: RangeBounds<u64> + Clone + Debug + Send>(
        &mut self,
        range: R,
    ) -> Result<Vec<RaftEntry>, StorageError> {
        self.entries((range.start_bound().cloned(), range.end_bound().cloned()))
            .map_err(|error| reading(&error))
    }
}

impl RaftLogStorage<Types> for Store {
    type LogReader = Self;

    async fn get_log_state(&mut self) -> Result<LogState<Types>, StorageError> {
        let last_purged_log_id: Option<LogId> = self.value(PURGED).map_err(|error| reading(&error))?;
        let last_log_id = self.last_entry().map_err(|error| reading(&error))?.or(last_purged_log_id);
        Ok(LogState { last_purged_log_id, last_log_id })
    }

    async fn get_log_reader(&mut self) -> Self {
        self.clone()
    }

    async fn save_vote(&mut self, vote: &Vote<u64>) -> Result<(), StorageError> {
        let vote = *vote;
        self.off_thread(move |store| store.put_value(VOTE, &vote)).await.map_err(|error| writing(&error))
    }

    async fn read_vote(&mut self) -> Result<Option<Vote<u64>>, StorageError> {
        self.value(VOTE).map_err(|error| reading(&error))
    }

    async fn save_committed(&mut self, committed: Option<LogId>) -> Result<(), StorageError> {
        self.off_thread(move |store| store.put_value(COMMITTED, &committed))
            .await
            .map_err(|error| writing(&error))
    }

    async fn read_committed(&mut self) -> Result<Option<LogId>, StorageError> {
        Ok(self.value::<Option<LogId>>(COMMITTED).map_err(|error| reading(&error))?.flatten())
    }

    async fn append<I>(&mut self, entries: I, callback: LogFlushed<Types>) -> Result<(), StorageError>
    where
        I: IntoIterator<Item = RaftEntry> + Send,
        I::IntoIter: Send,
    {
        let entries: Vec<RaftEntry> = entries.into_iter().collect();
        match self.off_thread(move |store| store.put_entries(&entries)).await {
            Ok(()) => {
                callback.log_io_completed(Ok(()));
                Ok(())
            }
            Err(error) => {
                callback.log_io_completed(Err(io::Error::other(error.to_string())));
                Err(writing(&error))
            }
        }
    }

    async fn truncate(&mut self, from: LogId) -> Result<(), StorageError> {
        let range = (Bound::Included(from.index), Bound::Unbounded);
        self.off_thread(move |store| store.remove(range, None)).await.map_err(|error| writing(&error))
    }

    async fn purge(&mut self, upto: LogId) -> Result<(), StorageError> {
        let range = (Bound::Unbounded, Bound::Included(upto.index));
        self.off_thread(move |store| store.remove(range, Some(&upto))).await.map_err(|error| writing(&error))
    }
}
