//! A directory of pins for one world, gone when dropped; what killed test processes left behind goes with the first one.

use std::{
    fs,
    path::{Path, PathBuf},
    process,
    sync::{
        Once,
        atomic::{AtomicU32, Ordering},
    },
};

/// Where BPF objects are pinned.
const BPFFS: &str = "/sys/fs/bpf";
/// What every directory of this harness is called: prefix, process id, number in the process.
const PREFIX: &str = "oracle-";

static NUMBER: AtomicU32 = AtomicU32::new(0);
static CLEANED: Once = Once::new();

/// A directory of pins, owned by this value.
#[derive(Debug)]
pub struct Pins {
    path: PathBuf,
}

impl Pins {
    /// A name that nobody else uses; the directory is made by whoever pins.
    pub fn new() -> Self {
        CLEANED.call_once(remove_orphans);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        Self { path: Path::new(BPFFS).join(format!("{PREFIX}{}-{number}", process::id())) }
    }

    /// The directory.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Default for Pins {
    fn default() -> Self {
        Self::new()
    }
}

impl Drop for Pins {
    fn drop(&mut self) {
        remove(&self.path);
    }
}

/// Best effort: what cannot be removed now is removed by a later run.
fn remove(path: &Path) {
    let _ = fs::remove_dir_all(path);
}

fn remove_orphans() {
    let Ok(entries) = fs::read_dir(BPFFS) else { return };
    for entry in entries.flatten() {
        let name = entry.file_name();
        let owner =
            name.to_str().and_then(|name| name.strip_prefix(PREFIX)?.split('-').next()?.parse::<u32>().ok());
        if owner.is_some_and(|id| !Path::new(&format!("/proc/{id}")).exists()) {
            remove(&entry.path());
        }
    }
}
