//! The few things the store asks of a file system, so that tests can put one under it that loses, tears and refuses.
//!
//! What the store relies on is written here, and the file system of the power-loss tests promises no more.

use std::{
    fs::{self, File, OpenOptions},
    io,
    os::unix::fs::{FileExt, OpenOptionsExt},
    path::Path,
};

use rustix::{
    fs::{FallocateFlags, fallocate},
    io::Errno,
};

const FILE_MODE: u32 = 0o640;

/// How a file is opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum How {
    /// It must be there.
    Existing,
    /// Made if it is not there.
    Create,
    /// Made, or emptied.
    Empty,
}

/// A directory's file system. Names made, changed and removed are durable only after [`Self::sync_directory`]; until then
/// each may be lost for itself, a rename as a whole.
pub trait Disk: Send {
    /// Opens a file to read and write.
    fn open(&self, path: &Path, how: How) -> io::Result<Box<dyn DiskFile>>;
    /// Gives a file another name, which no file has.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;
    /// Removes a file.
    fn remove(&self, path: &Path) -> io::Result<()>;
    /// The names of all files; those that are no UTF-8 are none of the store's.
    fn names(&self, directory: &Path) -> io::Result<Vec<String>>;
    /// Makes all names durable.
    fn sync_directory(&self) -> io::Result<()>;
}

/// An open file. What is written and how long the file is are durable only after [`Self::sync`]; until then any part
/// may be lost, in units of sectors of 512 octets. After a failed [`Self::sync`] what was written may be lost for good,
/// though it can still be read and later ones succeed.
pub trait DiskFile: Send {
    /// Octets it has.
    fn len(&self) -> io::Result<u64>;
    /// Reads what there is from `offset` on, perhaps less than `octets` takes.
    fn read_at(&self, octets: &mut [u8], offset: u64) -> io::Result<usize>;
    /// Writes all of it.
    fn write_all_at(&self, octets: &[u8], offset: u64) -> io::Result<()>;
    /// Makes it `bytes` octets long, with room for all of them where the file system can promise that.
    fn allocate(&self, bytes: u64) -> io::Result<()>;
    /// Makes its octets and its length durable.
    fn sync(&self) -> io::Result<()>;
}

/// The machine's own.
pub struct RealDisk {
    /// The open directory.
    pub handle: File,
    /// Its lock file, locked.
    pub lock: File,
}

impl Disk for RealDisk {
    fn open(&self, path: &Path, how: How) -> io::Result<Box<dyn DiskFile>> {
        let mut options = file_options();
        options.create(how != How::Existing).truncate(how == How::Empty);
        Ok(Box::new(options.open(path)?))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        fs::remove_file(path)
    }

    fn names(&self, directory: &Path) -> io::Result<Vec<String>> {
        let names = fs::read_dir(directory)?.map(|entry| Ok(entry?.file_name().into_string().ok()));
        names.filter_map(Result::transpose).collect()
    }

    fn sync_directory(&self) -> io::Result<()> {
        self.handle.sync_all()
    }
}

impl Drop for RealDisk {
    fn drop(&mut self) {
        // Closing the file would do, were it not for a copy of it that a child process has between fork and exec. There
        // is nothing to do about a failure, and closing still follows.
        drop(self.lock.unlock());
    }
}

impl DiskFile for File {
    fn len(&self) -> io::Result<u64> {
        Ok(self.metadata()?.len())
    }

    fn read_at(&self, octets: &mut [u8], offset: u64) -> io::Result<usize> {
        FileExt::read_at(self, octets, offset)
    }

    fn write_all_at(&self, octets: &[u8], offset: u64) -> io::Result<()> {
        FileExt::write_all_at(self, octets, offset)
    }

    fn allocate(&self, bytes: u64) -> io::Result<()> {
        match fallocate(self, FallocateFlags::empty(), 0, bytes) {
            // A file system that cannot allocate ahead: commits then find out about a full disk themselves.
            Err(Errno::OPNOTSUPP) => self.set_len(bytes),
            made => made.map_err(io::Error::from),
        }
    }

    fn sync(&self) -> io::Result<()> {
        self.sync_data()
    }
}

/// Options for opening any file of the store: for this program to read and write, never for others to read, and
/// never through a symbolic link.
pub fn file_options() -> OpenOptions {
    let mut options = File::options();
    options.read(true).write(true).mode(FILE_MODE).custom_flags(libc::O_NOFOLLOW);
    options
}

/// Reads until `octets` is full or the file ends; returns how much was read.
pub fn read_up_to(file: &dyn DiskFile, octets: &mut [u8], offset: u64) -> io::Result<usize> {
    let mut filled = 0;
    while let Some(rest) = octets.get_mut(filled..).filter(|rest| !rest.is_empty()) {
        match file.read_at(rest, offset + filled as u64) {
            Ok(0) => break,
            Ok(read) => filled += read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}
