//! Reads the configuration file, and refuses one that cannot be trusted or is no configuration: the only I/O in this
//! room.

use std::{
    fs::File,
    io::{self, Read},
    path::Path,
};

use super::ConfigError;
use crate::privilege::trust;

/// The largest configuration read, in octets.
pub const FILE_OCTETS_MAX: u64 = 16 << 20;

/// The text of the file at `path`.
///
/// # Errors
/// The file is missing, cannot be read, is larger than `octets_max`, could have been written by others, or is not UTF-8.
pub(super) fn read(path: &Path, octets_max: u64) -> Result<String, ConfigError> {
    let shown = || path.to_owned();
    let unreadable = |source| ConfigError::Unreadable { path: shown(), source };
    let mut file = File::open(path).map_err(|source| match source.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => ConfigError::Missing { path: shown() },
        _ => unreadable(source),
    })?;
    // Of the open file, not of the name: nobody can put another file in its place between check and use.
    let metadata = file.metadata().map_err(unreadable)?;
    if metadata.is_dir() {
        return Err(ConfigError::IsDirectory { path: shown() });
    }
    trust::file(path, &metadata).map_err(ConfigError::Untrusted)?;
    // And of the directory it is really in: who may replace the file there needs no permission to write to it.
    let real = path.canonicalize().map_err(unreadable)?;
    if let Some(directory) = real.parent() {
        let found = directory.metadata().map_err(unreadable)?;
        trust::holding_directory(directory, &found).map_err(ConfigError::UntrustedDirectory)?;
    }
    let mut octets = Vec::new();
    file.by_ref().take(octets_max + 1).read_to_end(&mut octets).map_err(unreadable)?;
    if octets.len() as u64 > octets_max {
        return Err(ConfigError::TooLarge { origin: path.display().to_string() });
    }
    String::from_utf8(octets).map_err(|error| {
        let octet = error.utf8_error().valid_up_to();
        let line = 1 + error.as_bytes().iter().take(octet).filter(|&&b| b == b'\n').count();
        ConfigError::NotUtf8 { path: shown(), line }
    })
}
