//! Segment files: made at their full size, so that a commit only ever overwrites, and used again when cleaned.
//!
//! Overwriting octets that exist halves the cost of a flush: the file system has no size and no extent to write down.

use std::{io, path::PathBuf};

use rustix::io::Errno;

use super::{
    directory::Directory,
    disk::{DiskFile, How, read_up_to},
    error::StoreError,
    index::SEGMENT_BYTES_MAX,
};

/// One open segment.
pub struct Segment {
    /// Its number.
    pub number: u64,
    /// Octets it has room for.
    pub capacity: usize,
    file: Box<dyn DiskFile>,
    path: PathBuf,
}

impl Segment {
    /// Opens an existing one.
    ///
    /// # Errors
    /// [`StoreError::Io`], and [`StoreError::Damaged`] if it is larger than any segment.
    pub fn open(directory: &Directory, number: u64) -> Result<Self, StoreError> {
        let path = directory.segment(number);
        let file = directory.open_file(&path, How::Existing).map_err(StoreError::io("open", &path))?;
        let bytes = file.len().map_err(StoreError::io("look at", &path))?;
        let capacity = usize::try_from(bytes).ok().filter(|bytes| *bytes <= SEGMENT_BYTES_MAX);
        let Some(capacity) = capacity else {
            return Err(StoreError::Damaged {
                path,
                offset: SEGMENT_BYTES_MAX as u64,
                what: format!("the segment has {bytes} octets, more than any that was written"),
            });
        };
        Ok(Self { number, capacity, file, path })
    }

    /// Makes a new one of `bytes` octets.
    ///
    /// # Errors
    /// [`StoreError::Full`], with nothing left behind, and [`StoreError::Io`].
    pub fn create(directory: &Directory, number: u64, bytes: usize) -> Result<Self, StoreError> {
        let path = directory.segment(number);
        let full = |source: io::Error| match source.raw_os_error().map(Errno::from_raw_os_error) {
            Some(Errno::NOSPC | Errno::DQUOT | Errno::FBIG) => {
                StoreError::Full { path: path.clone(), source }
            }
            _ => StoreError::Io { action: "make", path: path.clone(), source },
        };
        let file = directory.open_file(&path, How::Empty).map_err(full)?;
        if let Err(error) = file.allocate(bytes as u64) {
            // The first error tells more than a failure to clean up after it; an empty segment is harmless.
            drop(directory.remove(&path));
            return Err(full(error));
        }
        directory.sync()?;
        Self::open(directory, number)
    }

    /// Takes the file of a cleaned segment for a new one.
    ///
    /// # Errors
    /// [`StoreError::Io`].
    pub fn recycle(directory: &Directory, old: u64, number: u64) -> Result<Self, StoreError> {
        let from = directory.segment(old);
        directory.rename(&from, &directory.segment(number))?;
        directory.sync()?;
        Self::open(directory, number)
    }

    /// Writes; durable only after [`Self::flush`].
    ///
    /// # Errors
    /// [`StoreError::Io`].
    pub fn write(&self, octets: &[u8], offset: usize) -> Result<(), StoreError> {
        self.file.write_all_at(octets, offset as u64).map_err(StoreError::io("write", &self.path))
    }

    /// Makes what was written durable.
    ///
    /// # Errors
    /// [`StoreError::Io`].
    pub fn flush(&mut self) -> Result<(), StoreError> {
        self.file.sync().map_err(StoreError::io("flush", &self.path))
    }

    /// Reads the octets from `offset` on into `into`, at most `bytes_max`.
    ///
    /// # Errors
    /// [`StoreError::Io`].
    pub fn read(&self, into: &mut Vec<u8>, offset: usize, bytes_max: usize) -> Result<(), StoreError> {
        into.resize(bytes_max.min(self.capacity.saturating_sub(offset)), 0);
        let filled =
            read_up_to(&*self.file, into, offset as u64).map_err(StoreError::io("read", &self.path))?;
        into.truncate(filled);
        Ok(())
    }

    /// A [`StoreError::Damaged`] in this segment.
    pub fn damaged(&self, offset: usize, what: impl Into<String>) -> StoreError {
        StoreError::Damaged { path: self.path.clone(), offset: offset as u64, what: what.into() }
    }
}
