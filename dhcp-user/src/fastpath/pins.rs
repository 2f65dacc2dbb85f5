//! Where maps and links are pinned, so that the program goes on without the daemon and the next daemon finds it.
//!
//! ```text
//! <pin_path>/set-<number>/leases  blocks  answers  control  counters  client_buckets  relay_buckets  share_buckets
//! <pin_path>/set-<number>/program-<interface>               the programs that run over these maps
//! <pin_path>/set-<number>/program-tap:<interface>           those in their place while a capture is on
//! <pin_path>/link-<interface>                               what keeps a program attached
//! <pin_path>/leases  blocks  ...                            names of the maps in use, for people and for bpftool
//! ```
//!
//! A set stays until everything its programs renewed is durable elsewhere ([`super::predecessor`]): whoever starts after
//! a daemon that was killed at any moment finds every map a program may have written to. The names say nothing that
//! anybody relies on; they are moved when the programs have been.

use std::{
    fs, io,
    os::fd::OwnedFd,
    path::{Path, PathBuf},
    sync::Arc,
};

use aya::programs::links::PinnedLink;
use dhcp_common::abi::name;
use rustix::fs::{FlockOperation, Mode, OFlags, flock, fstatfs, open};

use super::{error::FastPathError, pin_set::PinSet};
use crate::privilege::trust;

/// `BPF_FS_MAGIC` of linux/magic.h.
const BPFFS_MAGIC: u64 = 0xcafe_4a11;

/// The maps that are pinned, by name in the object and in the directory.
pub const MAPS: [(&str, &str); 8] = [
    (name::LEASES, "leases"),
    (name::BLOCKS, "blocks"),
    (name::ANSWERS, "answers"),
    (name::CONTROL, "control"),
    (name::COUNTERS, "counters"),
    // Shared by the programs of all interfaces, as the daemon is that they keep frames from.
    (name::CLIENT_BUCKETS, "client_buckets"),
    (name::RELAY_BUCKETS, "relay_buckets"),
    (name::SHARE_BUCKETS, "share_buckets"),
];

/// The directory of pins, locked while this or a clone of it lives.
#[derive(Clone, Debug)]
pub struct PinDirectory {
    path: PathBuf,
    _lock: Arc<OwnedFd>,
}

impl PinDirectory {
    /// Makes the directory if need be, and locks it.
    ///
    /// # Errors
    /// If it is not on a bpffs, cannot be made, or another daemon has it.
    pub fn open(path: &Path) -> Result<Self, FastPathError> {
        Self::open_if(path, trust::directory)
    }

    /// As [`open`](Self::open), to remove what is there: on a BPF file system that harms nothing else, so root may do it
    /// whoever's daemon put it there.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    fn open_to_remove(path: &Path) -> Result<Self, FastPathError> {
        Self::open_if(path, trust::one_users_directory)
    }

    fn open_if(
        path: &Path,
        trusted: fn(&Path, &fs::Metadata) -> Result<(), trust::Untrusted>,
    ) -> Result<Self, FastPathError> {
        let failed = |call: &'static str| {
            move |error: io::Error| FastPathError::Pin { call, path: path.to_owned(), error }
        };
        // The nearest existing ancestor tells whether there is a bpffs; no directory may be made elsewhere.
        let existing = path.ancestors().find(|ancestor| ancestor.is_dir()).unwrap_or(Path::new("/"));
        let open_directory =
            |path: &Path| open(path, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty());
        let directory = open_directory(existing).map_err(io::Error::from).map_err(failed("open"))?;
        let magic = fstatfs(&directory).map_err(io::Error::from).map_err(failed("fstatfs"))?.f_type;
        if magic as u64 != BPFFS_MAGIC {
            return Err(FastPathError::NotBpffs { path: path.to_owned() });
        }
        fs::create_dir_all(path).map_err(failed("mkdir"))?;
        // Everyone may make directories on most BPF file systems: this one must be ours.
        let found = fs::metadata(path).map_err(failed("stat"))?;
        trusted(path, &found).map_err(FastPathError::Untrusted)?;
        let lock = open_directory(path).map_err(io::Error::from).map_err(failed("open"))?;
        match flock(&lock, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(Self { path: path.to_owned(), _lock: Arc::new(lock) }),
            Err(rustix::io::Errno::WOULDBLOCK) => Err(FastPathError::Locked { path: path.to_owned() }),
            Err(error) => Err(failed("flock")(error.into())),
        }
    }

    /// The name of a map in use.
    pub fn map(&self, file: &str) -> PathBuf {
        self.path.join(file)
    }

    /// What a map's name is moved from, so that there is one at every moment.
    fn next_name(&self, file: &str) -> PathBuf {
        self.path.join(format!("next-{file}"))
    }

    /// The pin of an interface's link.
    pub fn link(&self, interface: &str) -> PathBuf {
        self.path.join(format!("link-{interface}"))
    }

    /// The directory itself.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The sets there are, the oldest first.
    ///
    /// # Errors
    /// If the directory cannot be read.
    pub fn sets(&self) -> Result<Vec<PinSet>, FastPathError> {
        sets_in(&self.path)
    }

    /// Makes a set that nobody uses yet.
    ///
    /// # Errors
    /// If it cannot be made.
    pub fn new_set(&self) -> Result<PinSet, FastPathError> {
        let last = self.sets()?.last().map_or(0, PinSet::number);
        PinSet::make(&self.path, last.saturating_add(1))
    }

    /// Gives the names to the maps of `set`.
    ///
    /// # Errors
    /// If a name cannot be moved: then some names are of other maps, which only misleads whoever looks.
    pub fn name(&self, set: &PinSet) -> Result<(), FastPathError> {
        for (_, file) in MAPS {
            let (from, next, to) = (set.map(file), self.next_name(file), self.map(file));
            let failed = |call| {
                let path = to.clone();
                move |error| FastPathError::Pin { call, path, error }
            };
            self.remove(&next)?;
            fs::hard_link(&from, &next).map_err(failed("link"))?;
            fs::rename(&next, &to).map_err(failed("rename"))?;
        }
        Ok(())
    }

    /// Removes a pin if it is there.
    ///
    /// # Errors
    /// If it is there and stays.
    pub fn remove(&self, pin: &Path) -> Result<(), FastPathError> {
        remove(pin)
    }

    /// The interfaces that have a pinned link.
    ///
    /// # Errors
    /// If the directory cannot be read.
    pub fn linked_interfaces(&self) -> Result<Vec<String>, FastPathError> {
        let files = self.files()?;
        Ok(files.iter().filter_map(|file| file.strip_prefix("link-")).map(str::to_owned).collect())
    }

    fn files(&self) -> Result<Vec<String>, FastPathError> {
        files_in(&self.path)
    }
}

/// The sets in a directory of pins, the oldest first.
///
/// # Errors
/// If the directory cannot be read.
pub(super) fn sets_in(path: &Path) -> Result<Vec<PinSet>, FastPathError> {
    let mut sets: Vec<PinSet> =
        files_in(path)?.iter().filter_map(|file| PinSet::from_name(path, file)).collect();
    sets.sort_unstable_by_key(PinSet::number);
    Ok(sets)
}

fn files_in(path: &Path) -> Result<Vec<String>, FastPathError> {
    let failed = |error| FastPathError::Pin { call: "readdir", path: path.to_owned(), error };
    let mut files = Vec::new();
    for entry in fs::read_dir(path).map_err(failed)? {
        files.extend(entry.map_err(failed)?.file_name().into_string());
    }
    Ok(files)
}

/// Removes a pin if it is there.
pub(super) fn remove(pin: &Path) -> Result<(), FastPathError> {
    match fs::remove_file(pin) {
        Ok(()) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(FastPathError::Pin { call: "unlink", path: pin.to_owned(), error }),
    }
}

/// Detaches the program from every interface and removes every pin: what a daemon that is not to come back leaves.
/// Returns the interfaces that were detached.
///
/// # Errors
/// If another daemon is running on these pins, or a pin cannot be removed.
pub fn unload(path: &Path) -> Result<Vec<String>, FastPathError> {
    if !path.is_dir() {
        return Ok(Vec::new());
    }
    let pins = PinDirectory::open_to_remove(path)?;
    let interfaces = pins.linked_interfaces()?;
    for interface in &interfaces {
        let pin = pins.link(interface);
        // The kernel puts off what follows from a removed pin, but closes the last descriptor of a link at once: when we
        // say that it is detached, it is. A pin that is no link goes all the same.
        let link = PinnedLink::from_pin(&pin).ok();
        pins.remove(&pin)?;
        drop(link);
    }
    pins.sets()?.iter().try_for_each(PinSet::remove)?;
    for (_, file) in MAPS {
        pins.remove(&pins.next_name(file))?;
        pins.remove(&pins.map(file))?;
    }
    fs::remove_dir(path).map_err(|error| FastPathError::Pin {
        call: "rmdir",
        path: path.to_owned(),
        error,
    })?;
    Ok(interfaces)
}
