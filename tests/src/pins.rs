//! A folder of pins in the BPF file system for one test, gone with everything in it when dropped; what a killed test
//! process left behind is removed by the next one.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::{
        Once,
        atomic::{AtomicU32, Ordering},
    },
};

use crate::process::is_alive;

/// Where the BPF file system is mounted.
const BPFFS: &str = "/sys/fs/bpf";

/// What every folder of this harness is called: prefix, process id, number in the process.
const PREFIX: &str = "dhcptest-";

static NUMBER: AtomicU32 = AtomicU32::new(0);
static CLEANED: Once = Once::new();

/// A path in the BPF file system, owned by this value. The folder is the daemon's to make.
#[derive(Debug)]
pub struct Pins {
    path: PathBuf,
}

impl Pins {
    /// A path that nobody else uses.
    pub fn new() -> Self {
        CLEANED.call_once(remove_stale);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        Self { path: Path::new(BPFFS).join(format!("{PREFIX}{}-{number}", std::process::id())) }
    }

    /// The folder.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Removes everything, as a reboot does: the programs are detached.
    pub fn clear(&self) {
        remove(&self.path);
    }
}

impl Default for Pins {
    fn default() -> Self {
        Self::new()
    }
}

impl Drop for Pins {
    fn drop(&mut self) {
        self.clear();
    }
}

fn remove(folder: &Path) {
    match fs::remove_dir_all(folder) {
        // A daemon that refused to start made none.
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            eprintln!("pins in {} stay: {error}", folder.display());
        }
        _ => {}
    }
}

fn remove_stale() {
    for entry in fs::read_dir(BPFFS).into_iter().flatten().flatten() {
        let owner = entry.file_name().to_str().and_then(owner);
        if owner.is_some_and(|id| !is_alive(id)) {
            remove(&entry.path());
        }
    }
}

fn owner(name: &str) -> Option<i32> {
    name.strip_prefix(PREFIX)?.split('-').next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folders_differ_and_only_ours_have_an_owner() {
        let (one, other) = (Pins::new(), Pins::new());
        assert_ne!(one.path(), other.path());
        let name = one.path().file_name().unwrap().to_str().unwrap();
        assert_eq!(owner(name), i32::try_from(std::process::id()).ok());
        assert_eq!(owner("simple-dhcpd"), None);
    }
}
