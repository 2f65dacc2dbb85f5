//! The log's files: `audit-0000000001.jsonl` and on, appended to and never changed, the oldest removed when there are
//! too many or they are too old. The highest number is the one in use.

use std::{
    fs::{self, DirBuilder, File},
    io::{self, Write as _},
    os::{
        fd::AsFd as _,
        unix::fs::{DirBuilderExt as _, FileExt as _, OpenOptionsExt as _},
    },
    path::{Path, PathBuf},
    time::{Duration, Instant, SystemTime},
};

use rustix::fs::{FlockOperation, flock};

use crate::{
    config::model::Audit,
    privilege::trust::{self, Untrusted},
};

const DIRECTORY_MODE: u32 = 0o750;
const FILE_MODE: u32 = 0o640;
const PREFIX: &str = "audit-";
const SUFFIX: &str = ".jsonl";
/// How often files are looked through for old ones, if none is begun meanwhile.
const TIDY_EVERY: Duration = Duration::from_secs(3_600);

/// Why there is no audit log.
#[derive(Debug, thiserror::Error)]
pub enum FilesError {
    /// The system refuses.
    #[error(
        "the audit log {}: cannot {call}: {error}; make it a directory this daemon may write, name another in \
         dhcp.audit.path, or set dhcp.audit.enabled to false",
        path.display()
    )]
    Io {
        /// The directory or file.
        path: PathBuf,
        /// What was tried.
        call: &'static str,
        /// Why not.
        #[source]
        error: io::Error,
    },
    /// Somebody else could change it.
    #[error("the audit log's directory {0}")]
    Untrusted(#[source] Untrusted),
    /// Another daemon writes it.
    #[error("another daemon writes the audit log in {}: give this one its own dhcp.audit.path", path.display())]
    Locked {
        /// The directory.
        path: PathBuf,
    },
}

/// The files, open for one more line.
#[derive(Debug)]
pub(super) struct Files {
    settings: Audit,
    /// Holds the lock.
    _directory: File,
    current: File,
    number: u64,
    octets: u64,
    /// What was written last ended in the middle of a line.
    torn: bool,
    /// When files were last looked through for old ones.
    tidied: Instant,
}

impl Files {
    /// Opens the directory, making it if needed, and goes on with its latest file: a daemon that is started again and
    /// again is not to push what is worth keeping out of it. What an earlier one left in the middle of a line is ended.
    pub fn open(settings: &Audit) -> Result<Self, FilesError> {
        let path = &settings.path;
        let failed = |call| move |error| FilesError::Io { path: path.clone(), call, error };
        DirBuilder::new().recursive(true).mode(DIRECTORY_MODE).create(path).map_err(failed("make it"))?;
        let directory = File::open(path).map_err(failed("open it"))?;
        let metadata = directory.metadata().map_err(failed("look at it"))?;
        trust::directory(path, &metadata).map_err(FilesError::Untrusted)?;
        match flock(directory.as_fd(), FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(rustix::io::Errno::WOULDBLOCK) => return Err(FilesError::Locked { path: path.clone() }),
            Err(error) => return Err(failed("lock it")(error.into())),
        }
        let latest = numbered(path).map_err(failed("list it"))?.pop();
        let (number, current, octets, torn) = match latest {
            Some((number, file)) => {
                let (current, octets, torn) = go_on(&file).map_err(failed("go on with its latest file"))?;
                (number, current, octets, torn)
            }
            None => (1, begin(path, 1).map_err(failed("make a file in it"))?, 0, false),
        };
        let settings = settings.clone();
        let tidied = Instant::now();
        let files = Self { settings, _directory: directory, current, number, octets, torn, tidied };
        files.remove_old();
        Ok(files)
    }

    /// Appends whole lines, and begins another file if this one is full now.
    pub fn append(&mut self, lines: &[u8]) -> io::Result<()> {
        if self.octets >= self.settings.file_octets {
            self.current = begin(&self.settings.path, self.number + 1)?;
            self.number += 1;
            (self.octets, self.torn) = (0, false);
            self.tidied = Instant::now();
            self.remove_old();
        } else if self.tidied.elapsed() >= TIDY_EVERY {
            self.tidied = Instant::now();
            self.remove_old();
        }
        if self.torn {
            self.current.write_all(b"\n")?;
            self.torn = false;
        }
        let written = self.current.write_all(lines);
        // Whatever part of it got there: the next attempt begins a line of its own.
        self.torn = written.is_err();
        written?;
        self.octets = self.octets.saturating_add(lines.len() as u64);
        if self.settings.sync { self.current.sync_data() } else { Ok(()) }
    }

    /// Removes files that are too many or too old. A file's age is that of its last line.
    fn remove_old(&self) {
        let files = numbered(&self.settings.path).unwrap_or_default();
        let too_many = files.len().saturating_sub(usize::try_from(self.settings.files_max).unwrap_or(1));
        for (at, (number, path)) in files.iter().enumerate() {
            let too_old = || {
                let age = fs::metadata(path).and_then(|found| found.modified()).ok()?;
                let days = self.settings.days_max?;
                let keep = Duration::from_secs(u64::from(days) * 86_400);
                Some(SystemTime::now().duration_since(age).unwrap_or_default() > keep)
            };
            if *number != self.number && (at < too_many || too_old() == Some(true)) {
                match fs::remove_file(path) {
                    Ok(()) => {
                        tracing::info!(file = %path.display(), "an old file of the audit log is removed");
                    }
                    Err(error) => {
                        tracing::warn!(file = %path.display(), %error, "an old file of the audit log stays");
                    }
                }
            }
        }
    }
}

/// The log's files, oldest first.
///
/// # Errors
/// If the directory cannot be read.
pub fn list(path: &Path) -> io::Result<Vec<PathBuf>> {
    Ok(numbered(path)?.into_iter().map(|(_, path)| path).collect())
}

fn numbered(directory: &Path) -> io::Result<Vec<(u64, PathBuf)>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(directory)? {
        let name = entry?.file_name();
        let number = name
            .to_str()
            .and_then(|name| name.strip_prefix(PREFIX)?.strip_suffix(SUFFIX)?.parse::<u64>().ok());
        found.extend(number.map(|number| (number, directory.join(&name))));
    }
    found.sort_unstable();
    Ok(found)
}

/// Opens a file to append to; with how long it is, and whether it ends in the middle of a line.
fn go_on(path: &Path) -> io::Result<(File, u64, bool)> {
    let file = File::options().read(true).append(true).custom_flags(libc::O_NOFOLLOW).open(path)?;
    let octets = file.metadata()?.len();
    let mut last = *b"\n";
    if let Some(at) = octets.checked_sub(1) {
        file.read_exact_at(&mut last, at)?;
    }
    Ok((file, octets, last != *b"\n"))
}

fn begin(directory: &Path, number: u64) -> io::Result<File> {
    let path = directory.join(format!("{PREFIX}{number:010}{SUFFIX}"));
    File::options().append(true).create_new(true).mode(FILE_MODE).custom_flags(libc::O_NOFOLLOW).open(path)
}
