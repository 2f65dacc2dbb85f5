//! Log, votes and snapshots in one `redb` file. What is said to be written is on the disk: every write is a transaction of
//! its own that is flushed, on a thread where waiting for a slow disk keeps nobody else waiting.

use std::{
    fmt::Debug,
    fs, io,
    ops::{Bound, RangeBounds},
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
    sync::Arc,
};

use openraft::{
    LogState, RaftLogReader, StorageIOError, Vote,
    storage::{LogFlushed, RaftLogStorage},
};
use redb::{Database, ReadableDatabase as _, ReadableTable as _, TableDefinition, WriteTransaction};
use serde::{Serialize, de::DeserializeOwned};

use super::{LogId, StorageError, Types};

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
/// What entries and snapshots mean: whoever changes them gives this another number. The first had none.
const FORMAT_NOW: u16 = 3;
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
    /// Its content is not what was written.
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
        let mut options = fs::OpenOptions::new();
        let file = options.read(true).write(true).create(true).truncate(false).mode(0o600).open(&path);
        let file = file.map_err(text).map_err(failed(&path))?;
        let backend =
            redb::backends::FileBackend::new(file).map_err(|error| failed(&path)(error.to_string()))?;
        let database = Database::builder()
            .create_with_backend(backend)
            .map_err(|error| failed(&path)(error.to_string()))?;
        let mut store = Self { database: Arc::new(database), incarnation: 0 };
        let known: Option<(String, u64)> = store.value(IDENTITY)?;
        match known {
            Some((theirs, _)) if !theirs.eq_ignore_ascii_case(me) => {
                return Err(StoreError::Other { path, theirs, ours: me.to_owned() });
            }
            Some((_, incarnation)) => {
                let theirs = store.value(FORMAT)?.unwrap_or(1);
                if theirs != FORMAT_NOW {
                    return Err(StoreError::Format { path, theirs });
                }
                store.incarnation = incarnation;
            }
            None => {
                // Before it is anybody's: whatever has an owner has a format.
                store.put_value(FORMAT, &FORMAT_NOW)?;
                store.incarnation = rand::random();
                store.put_value(IDENTITY, &(me.to_owned(), store.incarnation))?;
            }
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
        let read = self.database.begin_read()?;
        let table = match read.open_table(VALUES) {
            Ok(table) => table,
            Err(redb::TableError::TableDoesNotExist(_)) => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        let found = table.get(key)?;
        found.map(|octets| Ok(postcard::from_bytes(octets.value())?)).transpose()
    }

    fn put_value<T: Serialize>(&self, key: &str, value: &T) -> Result<(), StoreError> {
        let octets = postcard::to_stdvec(value)?;
        self.write(|transaction| put(transaction, key, &octets))
    }

    fn write(
        &self,
        change: impl FnOnce(&WriteTransaction) -> Result<(), StoreError>,
    ) -> Result<(), StoreError> {
        let transaction = self.database.begin_write()?;
        change(&transaction)?;
        transaction.commit()?;
        Ok(())
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
        let mut found = Vec::new();
        for entry in table.range::<u64>(range)? {
            found.push(postcard::from_bytes(entry?.1.value())?);
        }
        Ok(found)
    }

    fn last_entry(&self) -> Result<Option<LogId>, StoreError> {
        let read = self.database.begin_read()?;
        let table = match read.open_table(LOG) {
            Ok(table) => table,
            Err(redb::TableError::TableDoesNotExist(_)) => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        let Some((_, octets)) = table.last()? else { return Ok(None) };
        let entry: RaftEntry = postcard::from_bytes(octets.value())?;
        Ok(Some(entry.log_id))
    }

    fn remove(&self, range: (Bound<u64>, Bound<u64>), purged: Option<&LogId>) -> Result<(), StoreError> {
        let purged = purged.map(postcard::to_stdvec).transpose()?;
        self.write(|transaction| {
            transaction.open_table(LOG)?.retain_in::<u64, _>(range, |_, _| false)?;
            match &purged {
                Some(octets) => put(transaction, PURGED, octets),
                None => Ok(()),
            }
        })
    }
}

#[cfg(test)]
impl Store {
    /// As if a release of this format had written it.
    pub fn set_format(&self, format: u16) -> Result<(), StoreError> {
        self.put_value(FORMAT, &format)
    }
}

fn put(transaction: &WriteTransaction, key: &str, octets: &[u8]) -> Result<(), StoreError> {
    transaction.open_table(VALUES)?.insert(key, octets)?;
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
        let append = move |store: &Self| {
            store.write(|transaction| {
                let mut table = transaction.open_table(LOG)?;
                for entry in &entries {
                    table.insert(entry.log_id.index, &*postcard::to_stdvec(entry)?)?;
                }
                Ok(())
            })
        };
        match self.off_thread(append).await {
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
