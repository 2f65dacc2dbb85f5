//! How many writes were acknowledged, beside the database: a database whose last commit is spoilt falls back to the one before,
//! whole in itself, and only somebody else can know that there was another. Written after each flush and not flushed itself, as
//! the lease store's mark: a crash of the program leaves it as it is, a power cut an older one. Two slots are written in turn.

use std::{
    fs::{self, File},
    io,
    os::unix::fs::{FileExt as _, OpenOptionsExt as _},
    path::Path,
};

use super::seal::{Place, sealed, unsealed};

/// The file in the state directory.
pub const FILE: &str = "consensus.mark";
/// Slots are in different pages and sectors.
const SLOT_STRIDE: u64 = 4096;
const SLOT_BYTES: usize = 24;

/// What a slot says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Said {
    /// Of which database.
    pub incarnation: u64,
    /// How many of its writes were acknowledged.
    pub writes: u64,
}

/// The file, open for more.
#[derive(Debug)]
pub struct Mark {
    file: File,
    said: Said,
}

impl Mark {
    /// Begins one for a database in which nothing was written; durable when it returns.
    ///
    /// # Errors
    /// If the system refuses.
    pub fn begin(path: &Path, incarnation: u64) -> io::Result<Self> {
        let file = File::options().write(true).create(true).truncate(true).mode(0o600).open(path)?;
        let mark = Self { file, said: Said { incarnation, writes: 0 } };
        for slot in 0..2 {
            mark.put(slot)?;
        }
        mark.file.sync_all()?;
        sync_directory(path)?;
        Ok(mark)
    }

    /// Goes on with one.
    ///
    /// # Errors
    /// If the system refuses.
    pub fn resume(path: &Path, said: Said) -> io::Result<Self> {
        let mark = Self { file: File::options().write(true).open(path)?, said };
        mark.put(said.writes % 2)?;
        Ok(mark)
    }

    /// What it says.
    pub const fn said(&self) -> Said {
        self.said
    }

    /// There were so many.
    ///
    /// # Errors
    /// If the system refuses.
    pub fn set(&mut self, writes: u64) -> io::Result<()> {
        self.said.writes = writes;
        self.put(writes % 2)
    }

    fn put(&self, slot: u64) -> io::Result<()> {
        let mut octets = self.said.incarnation.to_le_bytes().to_vec();
        octets.extend_from_slice(&self.said.writes.to_le_bytes());
        self.file.write_all_at(&sealed(Place::Mark, octets), slot * SLOT_STRIDE)
    }
}

/// What can be read of the file: nothing if there is none.
///
/// # Errors
/// If it is there and cannot be read.
pub fn read(path: &Path) -> io::Result<Vec<Said>> {
    let octets = match fs::read(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        read => read?,
    };
    let slot = |from: usize| {
        let content = unsealed(Place::Mark, octets.get(from..from + SLOT_BYTES)?)?;
        let word = |at: usize| content.get(at..at + 8)?.try_into().ok().map(u64::from_le_bytes);
        Some(Said { incarnation: word(0)?, writes: word(8)? })
    };
    Ok([0, SLOT_STRIDE as usize].into_iter().filter_map(slot).collect())
}

/// Removes the file, durably.
///
/// # Errors
/// If the system refuses.
pub fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        removed => removed.and_then(|()| sync_directory(path)),
    }
}

fn sync_directory(of: &Path) -> io::Result<()> {
    File::open(of.parent().unwrap_or(Path::new("/")))?.sync_all()
}
