//! Where maps and links are pinned, so that the program goes on without the daemon and the next daemon finds it.
//!
//! ```text
//! <pin_path>/leases  blocks  answers  control  counters    the maps in use, for bpftool and for the next daemon
//! <pin_path>/client_buckets  relay_buckets  share_buckets   what is left of the limits on what is passed up
//! <pin_path>/link-<interface>                               what keeps the program attached
//! <pin_path>/next-...                                       maps of a daemon that is starting
//! ```

use std::{
    fs, io,
    os::fd::OwnedFd,
    path::{Path, PathBuf},
};

use aya::programs::links::PinnedLink;
use dhcp_common::abi::name;
use rustix::fs::{FlockOperation, Mode, OFlags, flock, fstatfs, open};

use super::error::FastPathError;
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

/// The directory of pins, locked while this lives.
#[derive(Debug)]
pub struct PinDirectory {
    path: PathBuf,
    _lock: OwnedFd,
}

impl PinDirectory {
    /// Makes the directory if need be, and locks it.
    ///
    /// # Errors
    /// If it is not on a bpffs, cannot be made, or another daemon has it.
    pub fn open(path: &Path) -> Result<Self, FastPathError> {
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
        trust::directory(path, &found).map_err(FastPathError::Untrusted)?;
        let lock = open_directory(path).map_err(io::Error::from).map_err(failed("open"))?;
        match flock(&lock, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(Self { path: path.to_owned(), _lock: lock }),
            Err(rustix::io::Errno::WOULDBLOCK) => Err(FastPathError::Locked { path: path.to_owned() }),
            Err(error) => Err(failed("flock")(error.into())),
        }
    }

    /// The pin of a map.
    pub fn map(&self, file: &str) -> PathBuf {
        self.path.join(file)
    }

    /// The pin of a map that is not yet in use.
    pub fn next_map(&self, file: &str) -> PathBuf {
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

    /// Removes what a daemon that died while starting has left.
    pub fn remove_unfinished(&self) -> Result<(), FastPathError> {
        for (_, file) in MAPS {
            self.remove(&self.next_map(file))?;
        }
        Ok(())
    }

    /// Puts the new maps in the place of the old ones.
    pub fn promote(&self) -> Result<(), FastPathError> {
        for (_, file) in MAPS {
            let (from, to) = (self.next_map(file), self.map(file));
            fs::rename(&from, &to).map_err(|error| FastPathError::Pin {
                call: "rename",
                path: from,
                error,
            })?;
        }
        Ok(())
    }

    /// Removes a pin if it is there.
    pub fn remove(&self, pin: &Path) -> Result<(), FastPathError> {
        match fs::remove_file(pin) {
            Ok(()) => Ok(()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            Err(error) => Err(FastPathError::Pin { call: "unlink", path: pin.to_owned(), error }),
        }
    }

    /// The interfaces that have a pinned link.
    pub fn linked_interfaces(&self) -> Result<Vec<String>, FastPathError> {
        let failed = |error| FastPathError::Pin { call: "readdir", path: self.path.clone(), error };
        let mut interfaces = Vec::new();
        for entry in fs::read_dir(&self.path).map_err(failed)? {
            let file = entry.map_err(failed)?.file_name();
            if let Some(interface) = file.to_str().and_then(|file| file.strip_prefix("link-")) {
                interfaces.push(interface.to_owned());
            }
        }
        Ok(interfaces)
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
    let pins = PinDirectory::open(path)?;
    let interfaces = pins.linked_interfaces()?;
    for interface in &interfaces {
        let pin = pins.link(interface);
        // The kernel puts off what follows from a removed pin, but closes the last descriptor of a link at once: when we
        // say that it is detached, it is. A pin that is no link goes all the same.
        let link = PinnedLink::from_pin(&pin).ok();
        pins.remove(&pin)?;
        drop(link);
    }
    pins.remove_unfinished()?;
    for (_, file) in MAPS {
        pins.remove(&pins.map(file))?;
    }
    fs::remove_dir(path).map_err(|error| FastPathError::Pin {
        call: "rmdir",
        path: path.to_owned(),
        error,
    })?;
    Ok(interfaces)
}
