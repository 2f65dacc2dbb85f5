//! A wall clock of a process's own, set at will while the process runs: libfaketime from a file. The machine's clock, the
//! boot clock and the monotonic clock are left alone.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result};

/// Where Debian puts it, below a folder named after the architecture.
const LIBRARY: &str = "faketime/libfaketimeMT.so.1";

/// The wall clock of whoever is started with [`FakeClock::words`].
#[derive(Debug)]
pub struct FakeClock {
    library: PathBuf,
    file: PathBuf,
}

impl FakeClock {
    /// A clock that shows what the machine's shows, kept in a file in `folder`.
    ///
    /// # Errors
    ///
    /// Without libfaketime.
    pub fn new(folder: &Path) -> Result<Self> {
        let libraries = fs::read_dir("/usr/lib").context("cannot list /usr/lib")?;
        let library = libraries
            .filter_map(|entry| Some(entry.ok()?.path().join(LIBRARY)))
            .find(|library| library.is_file())
            .with_context(|| {
                format!("no /usr/lib/*/{LIBRARY}: install libfaketime, as `cargo xtask test` does")
            })?;
        let clock = Self { library, file: folder.join("wall-clock") };
        clock.set_off_by(0)?;
        Ok(clock)
    }

    /// Sets it to so many seconds ahead of the machine's (or behind, if negative).
    ///
    /// # Errors
    ///
    /// When the file cannot be written.
    pub fn set_off_by(&self, secs: i64) -> Result<()> {
        // In one piece: it is read at every look at the clock.
        let next = self.file.with_extension("next");
        fs::write(&next, format!("{secs:+}\n"))
            .and_then(|()| fs::rename(&next, &self.file))
            .with_context(|| format!("cannot write {}", self.file.display()))
    }

    /// Words before a command line that give it this clock.
    pub fn words(&self) -> Vec<String> {
        let path = |path: &Path| path.display().to_string();
        vec![
            "env".to_owned(),
            format!("LD_PRELOAD={}", path(&self.library)),
            format!("FAKETIME_TIMESTAMP_FILE={}", path(&self.file)),
            "FAKETIME_NO_CACHE=1".to_owned(),
            "DONT_FAKE_MONOTONIC=1".to_owned(),
            "FAKETIME_DISABLE_SHM=1".to_owned(),
            "NO_FAKE_STAT=1".to_owned(),
        ]
    }
}
