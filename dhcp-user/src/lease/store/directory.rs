//! The store's directory: who may look inside, who has it open, what its files are called.

use std::{
    fs::{self, DirBuilder, File, TryLockError},
    io::{self, Read, Seek, Write},
    os::unix::fs::DirBuilderExt,
    path::{Path, PathBuf},
};

use super::{
    disk::{Disk, DiskFile, How, RealDisk, file_options},
    error::StoreError,
};
use crate::privilege::trust;

const DIRECTORY_MODE: u32 = 0o750;
const LOCK_FILE: &str = "lock";
const SEGMENT_PREFIX: &str = "segment-";
const SEGMENT_SUFFIX: &str = ".log";

/// The open directory; the lock is held until it is dropped.
pub struct Directory {
    path: PathBuf,
    disk: Box<dyn Disk>,
}

impl Directory {
    /// Opens the directory, making it if needed, and locks it against other processes.
    ///
    /// # Errors
    /// [`StoreError::NotADirectory`], [`StoreError::Untrusted`], [`StoreError::Locked`], [`StoreError::Io`].
    pub fn open(path: &Path) -> Result<Self, StoreError> {
        find_or_make(path, &mut sync_directory)?;
        let handle = File::open(path).map_err(StoreError::io("open", path))?;
        let lock = lock(path)?;
        Ok(Self::on(path, Box::new(RealDisk { handle, lock })))
    }

    /// A directory on any disk.
    pub fn on(path: &Path, disk: Box<dyn Disk>) -> Self {
        Self { path: path.into(), disk }
    }

    /// Opens a file in it.
    ///
    /// # Errors
    /// What the disk says.
    pub fn open_file(&self, path: &Path, how: How) -> io::Result<Box<dyn DiskFile>> {
        self.disk.open(path, how)
    }

    /// Gives a file in it another name; durable only after [`Self::sync`].
    ///
    /// # Errors
    /// [`StoreError::Io`].
    pub fn rename(&self, from: &Path, to: &Path) -> Result<(), StoreError> {
        self.disk.rename(from, to).map_err(StoreError::io("rename", from))
    }

    /// Removes a file in it; durable only after [`Self::sync`].
    ///
    /// # Errors
    /// [`StoreError::Io`].
    pub fn remove(&self, path: &Path) -> Result<(), StoreError> {
        self.disk.remove(path).map_err(StoreError::io("remove", path))
    }

    /// The directory's path.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Makes new, renamed and removed names durable.
    ///
    /// # Errors
    /// [`StoreError::Io`].
    pub fn sync(&self) -> Result<(), StoreError> {
        self.disk.sync_directory().map_err(StoreError::io("flush", &self.path))
    }

    /// The path of a file in it.
    pub fn file(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// The path of a segment.
    pub fn segment(&self, number: u64) -> PathBuf {
        self.path.join(format!("{SEGMENT_PREFIX}{number:010}{SEGMENT_SUFFIX}"))
    }

    /// The numbers of all segment files, in order.
    ///
    /// # Errors
    /// [`StoreError::Io`].
    pub fn segments(&self) -> Result<Vec<u64>, StoreError> {
        let mut numbers = Vec::new();
        for name in self.disk.names(&self.path).map_err(StoreError::io("list", &self.path))? {
            let number = name.strip_prefix(SEGMENT_PREFIX).and_then(|name| name.strip_suffix(SEGMENT_SUFFIX));
            numbers.extend(number.and_then(|number| number.parse::<u64>().ok()));
        }
        numbers.sort_unstable();
        Ok(numbers)
    }
}

/// Flushes a directory; another one in a test that looks on.
type Sync<'a> = &'a mut dyn FnMut(&Path) -> io::Result<()>;

/// Makes sure that a store's directory is there, durably, and may be trusted: before others put something of theirs into it.
///
/// # Errors
/// [`StoreError::NotADirectory`], [`StoreError::Untrusted`], [`StoreError::Io`].
pub fn make_ready(path: &Path) -> Result<(), StoreError> {
    find_or_make(path, &mut sync_directory)
}

/// Makes sure that the directory is there, is one, and stays there when the power fails.
fn find_or_make(path: &Path, sync: Sync<'_>) -> Result<(), StoreError> {
    match fs::metadata(path) {
        Ok(found) if !found.is_dir() => return Err(StoreError::NotADirectory { path: path.into() }),
        // An earlier start may have made it and died before its name was durable.
        Ok(found) => {
            trust::directory(path, &found).map_err(StoreError::Untrusted)?;
            match sync_parent(path, sync) {
                // Not ours to look into, or not flushed that way: then it was not made by us just now either.
                Err(StoreError::Io { source, .. })
                    if matches!(
                        source.kind(),
                        io::ErrorKind::PermissionDenied | io::ErrorKind::InvalidInput
                    ) => {}
                synced => synced?,
            }
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => make_directory(path, sync)?,
        Err(error) => return Err(StoreError::io("look at", path)(error)),
    }
    Ok(())
}

/// Makes the directory and those above it that are missing, each of them durable.
fn make_directory(path: &Path, sync: Sync<'_>) -> Result<(), StoreError> {
    let missing: Vec<_> = path
        .ancestors()
        .take_while(|above| !above.as_os_str().is_empty() && !above.exists())
        .map(Path::to_path_buf)
        .collect();
    DirBuilder::new()
        .recursive(true)
        .mode(DIRECTORY_MODE)
        .create(path)
        .map_err(StoreError::io("make the directory", path))?;
    missing.iter().rev().try_for_each(|made| sync_parent(made, sync))
}

/// Makes a directory's own name durable.
fn sync_parent(path: &Path, sync: Sync<'_>) -> Result<(), StoreError> {
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    sync(parent).map_err(StoreError::io("flush", parent))
}

fn sync_directory(path: &Path) -> io::Result<()> {
    File::open(path)?.sync_all()
}

fn lock(directory: &Path) -> Result<File, StoreError> {
    let path = directory.join(LOCK_FILE);
    let mut file =
        file_options().create(true).truncate(false).open(&path).map_err(StoreError::io("open", &path))?;
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            let mut pid = String::new();
            // Only to say who: a pid is at most ten digits, and an unreadable one is no worse than none.
            let read = Read::by_ref(&mut file).take(16).read_to_string(&mut pid);
            let holder = match (read, pid.trim().parse::<u32>()) {
                (Ok(_), Ok(pid)) => format!("process {pid}"),
                _ => "another process".to_owned(),
            };
            return Err(StoreError::Locked { path: directory.into(), holder });
        }
        Err(TryLockError::Error(error)) => return Err(StoreError::io("lock", &path)(error)),
    }
    file.set_len(0)
        .and_then(|()| file.rewind())
        .and_then(|()| writeln!(file, "{}", std::process::id()))
        .map_err(StoreError::io("write", &path))?;
    Ok(file)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{MetadataExt, PermissionsExt};

    use super::*;

    #[test]
    fn keeps_others_out() {
        let parent = tempfile::tempdir().unwrap();
        let path = parent.path().join("a/b");
        let directory = Directory::open(&path).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o7777 & !0o750, 0);
        assert_eq!(fs::metadata(path.join(LOCK_FILE)).unwrap().mode() & 0o007, 0);
        let error = Directory::open(&path).map(|_| ()).unwrap_err();
        let wanted = format!("is open in process {}: stop", std::process::id());
        assert!(error.to_string().contains(&wanted), "{error}");
        drop(directory);
        fs::set_permissions(&path, fs::Permissions::from_mode(0o777)).unwrap();
        let error = Directory::open(&path).map(|_| ()).unwrap_err();
        assert!(error.to_string().contains("mode 0777"), "{error}");
        let file = parent.path().join("file");
        fs::write(&file, "").unwrap();
        assert!(matches!(Directory::open(&file), Err(StoreError::NotADirectory { .. })));
    }

    #[test]
    fn lists_segments_in_order_and_nothing_else() {
        let parent = tempfile::tempdir().unwrap();
        let directory = Directory::open(&parent.path().join("store")).unwrap();
        for number in [3, 20_000_000_000, 1] {
            fs::write(directory.segment(number), "").unwrap();
        }
        fs::write(directory.file("segment-x.log"), "").unwrap();
        fs::write(directory.file("notes"), "").unwrap();
        assert_eq!(directory.segments().unwrap(), [1, 3, 20_000_000_000]);
    }

    /// What is flushed while `path` is found or made, and what fails if `broken` is to be flushed.
    fn flushed(path: &Path, broken: Option<&Path>) -> (Vec<PathBuf>, Result<(), StoreError>) {
        let mut flushed = Vec::new();
        let done = find_or_make(path, &mut |directory| {
            assert!(directory.is_dir(), "{} is flushed before it is there", directory.display());
            flushed.push(directory.to_path_buf());
            if broken == Some(directory) { Err(io::ErrorKind::StorageFull.into()) } else { Ok(()) }
        });
        (flushed, done)
    }

    #[test]
    fn every_directory_that_is_made_is_durable_in_the_one_above() {
        let folder = tempfile::tempdir().unwrap();
        let top = folder.path();
        let (above, path) = (top.join("a"), top.join("a/b/leases"));
        let (made, done) = flushed(&path, None);
        done.unwrap();
        assert_eq!(made, [top.to_path_buf(), above.clone(), above.join("b")]);
        // A start that finds it cannot know whether the one that made it lived to flush it.
        let (found, done) = flushed(&path, None);
        done.unwrap();
        assert_eq!(found, [above.join("b")]);
    }

    #[test]
    fn a_directory_that_cannot_be_made_durable_is_no_store() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a/leases");
        let above = folder.path().join("a");
        let (_, done) = flushed(&path, Some(&above));
        let error = done.unwrap_err();
        assert!(matches!(&error, StoreError::Io { action: "flush", path, .. } if *path == above), "{error}");
        // Nor the next time.
        assert!(flushed(&path, Some(&above)).1.is_err());
    }
}
