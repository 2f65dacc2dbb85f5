//! The pins of one set of maps and of the programs that run over them: made by a daemon that starts or takes up another
//! configuration, removed when nothing is to be learnt from it any more.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use aya::programs::{ProgramInfo, Xdp};

use super::{
    error::FastPathError,
    pins::{MAPS, remove},
};

const PREFIX: &str = "set-";
const PROGRAM: &str = "program-";

/// A set of pins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PinSet {
    path: PathBuf,
    number: u32,
}

impl PinSet {
    /// The set that a file in the directory of pins is, if it is one.
    pub(super) fn from_name(directory: &Path, file: &str) -> Option<Self> {
        let number = file.strip_prefix(PREFIX)?.parse().ok()?;
        Some(Self { path: directory.join(file), number })
    }

    /// Makes the set's directory.
    pub(super) fn make(directory: &Path, number: u32) -> Result<Self, FastPathError> {
        let path = directory.join(format!("{PREFIX}{number}"));
        match fs::create_dir(&path) {
            Ok(()) => Ok(Self { path, number }),
            Err(error) => Err(FastPathError::Pin { call: "mkdir", path, error }),
        }
    }

    /// Later sets have higher numbers.
    pub const fn number(&self) -> u32 {
        self.number
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The pin of a map.
    pub fn map(&self, file: &str) -> PathBuf {
        self.path.join(file)
    }

    /// Pins the program of an interface, before it is attached anywhere: by it the set is known for one in use.
    pub(super) fn pin_program(&self, interface: &str, program: &mut Xdp) -> Result<(), FastPathError> {
        let path = self.path.join(format!("{PROGRAM}{interface}"));
        program.pin(&path).map_err(|error| FastPathError::Pin {
            call: "pin",
            path,
            error: io::Error::other(error.to_string()),
        })
    }

    /// Pins a program that takes the place of an interface's for a while: the set is in use while it runs.
    pub(super) fn pin_tap(&self, interface: &str, program: &mut Xdp) -> Result<(), FastPathError> {
        let path = self.tap(interface);
        // Left by one that ended badly.
        remove(&path)?;
        let failed = |error: String| FastPathError::Pin {
            call: "pin",
            path: path.clone(),
            error: io::Error::other(error),
        };
        program.pin(&path).map_err(|error| failed(error.to_string()))
    }

    /// Undoes [`pin_tap`](Self::pin_tap), once the program runs no more.
    pub(super) fn unpin_tap(&self, interface: &str) -> Result<(), FastPathError> {
        remove(&self.tap(interface))
    }

    /// No interface has a colon in its name.
    fn tap(&self, interface: &str) -> PathBuf {
        self.path.join(format!("{PROGRAM}tap:{interface}"))
    }

    /// The identifiers of its programs.
    ///
    /// # Errors
    /// If the directory cannot be read. A pin that is no program is passed over.
    pub fn programs(&self) -> Result<Vec<u32>, FastPathError> {
        let programs = self.files()?.into_iter().filter(|path| {
            path.file_name().and_then(|name| name.to_str()).is_some_and(|name| name.starts_with(PROGRAM))
        });
        Ok(programs.filter_map(|path| Some(ProgramInfo::from_pin(path).ok()?.id())).collect())
    }

    /// Removes it with everything in it. The maps live on while a program or a descriptor uses them.
    ///
    /// # Errors
    /// If something stays.
    pub fn remove(&self) -> Result<(), FastPathError> {
        for (_, file) in MAPS {
            remove(&self.map(file))?;
        }
        self.files()?.iter().try_for_each(|path| remove(path))?;
        fs::remove_dir(&self.path).map_err(|error| FastPathError::Pin {
            call: "rmdir",
            path: self.path.clone(),
            error,
        })
    }

    fn files(&self) -> Result<Vec<PathBuf>, FastPathError> {
        let failed = |error| FastPathError::Pin { call: "readdir", path: self.path.clone(), error };
        let mut files = Vec::new();
        for entry in fs::read_dir(&self.path).map_err(failed)? {
            files.push(entry.map_err(failed)?.path());
        }
        Ok(files)
    }
}
