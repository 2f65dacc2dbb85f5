//! Configuration: the JSON file as written (strict), and the validated [`model`].
//!
//! The way of a file: `file` reads it, `parse` turns it into the types of `wire`, which know names and shapes only,
//! `validate` turns those into the [`model`] or a list of everything that is wrong. `docs/configuration.md` is the
//! operator's page on the keys, `docs/config.schema.json` is generated from the `wire` types by [`schema`].

use std::path::{Path, PathBuf};

use crate::privilege::trust::Untrusted;

pub mod difference;
mod digest;
mod file;
mod locate;
pub mod made;
pub mod model;
pub mod options;
mod parse;
mod problem;
#[cfg(test)]
mod tests;
mod validate;
mod wire;

pub(crate) use self::validate::{
    api::open_figures,
    text::{hex, is_domain_name},
};
pub use self::{
    digest::digest,
    file::FILE_OCTETS_MAX,
    made::Made,
    model::Config,
    problem::{Fault, Problems},
};

/// An Ethernet address as it may be written; `None` if it is none.
pub(crate) fn ethernet(written: &str) -> Option<[u8; 6]> {
    validate::text::hardware(written, &problem::Path::ROOT, &mut Problems::new(""))
}

/// Why there is no configuration.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// There is no such file.
    #[error("{}: there is no such file; name the configuration with --config FILE", path.display())]
    Missing {
        /// The file asked for.
        path: PathBuf,
    },
    /// The name is a directory's.
    #[error("{}: this is a directory; --config wants the JSON file itself", path.display())]
    IsDirectory {
        /// The file asked for.
        path: PathBuf,
    },
    /// The system refuses to open or read it.
    #[error("{}: cannot be read: {source}", path.display())]
    Unreadable {
        /// The file asked for.
        path: PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
    /// Somebody else on this machine could make the daemon (which runs privileged) do their will.
    #[error("the configuration {0}")]
    Untrusted(#[source] Untrusted),
    /// Somebody else could put another file in its place.
    #[error("the configuration's directory {0}")]
    UntrustedDirectory(#[source] Untrusted),
    /// It is larger than [`FILE_OCTETS_MAX`].
    #[error("{origin}: larger than {} MiB, which no configuration needs; is it the right file?", FILE_OCTETS_MAX >> 20)]
    TooLarge {
        /// The file or other source.
        origin: String,
    },
    /// It is not text.
    #[error("{}:{line}: not UTF-8 text; save the file as UTF-8", path.display())]
    NotUtf8 {
        /// The file asked for.
        path: PathBuf,
        /// The line of the first octet that is not, counted from 1.
        line: usize,
    },
    /// A reservation is longer than any that is kept.
    #[error(
        "the reservation has {octets} octets, {} are the most; give it fewer options",
        made::MADE_OCTETS_MAX
    )]
    ReservationTooLong {
        /// Its length.
        octets: usize,
    },
    /// Its content is wrong.
    #[error("{0}")]
    Invalid(Problems),
}

/// Reads and validates the file at `path`.
///
/// # Errors
/// The file cannot be had or trusted, or its content is wrong: then the error displays every fault found, one per line,
/// with line, column, path and what to do.
pub fn load(path: &Path) -> Result<Config, ConfigError> {
    parse(&read(path)?, &path.display().to_string())
}

/// The text of the file at `path`.
///
/// # Errors
/// The file cannot be had or trusted.
pub fn read(path: &Path) -> Result<String, ConfigError> {
    file::read(path, FILE_OCTETS_MAX)
}

/// As [`read`], of a file that may be as long as what writes it makes the longest configuration.
///
/// # Errors
/// As for [`read`].
pub fn read_up_to(path: &Path, octets_max: u64) -> Result<String, ConfigError> {
    file::read(path, octets_max)
}

/// Validates the configuration `text`; messages call it `origin`.
///
/// # Errors
/// As for [`load`], but for those of reading a file.
pub fn parse(text: &str, origin: &str) -> Result<Config, ConfigError> {
    parse_with(text, origin, &[])
}

/// As [`parse()`], with the reservations that were made beside the file, by address. Those that do not fit it are in
/// [`Config::left_out`]; they are no fault of the file.
///
/// # Errors
/// As for [`parse()`].
pub fn parse_with(text: &str, origin: &str, made: &[Made]) -> Result<Config, ConfigError> {
    if text.len() as u64 > FILE_OCTETS_MAX {
        return Err(ConfigError::TooLarge { origin: origin.to_owned() });
    }
    let mut problems = Problems::new(origin);
    if let Some(file) = parse::parse(text, &mut problems)
        && let Some(config) = validate::validate(&file, made, &mut problems)
        && problems.is_empty()
    {
        return Ok(config);
    }
    locate::locate(text, problems.list_mut());
    Err(ConfigError::Invalid(problems))
}

/// The JSON Schema (2020-12) of the configuration file. It knows names, shapes and ranges; what concerns several values
/// at once (overlaps, references) only [`parse()`] checks.
pub fn schema() -> serde_json::Value {
    schemars::schema_for!(wire::File).to_value()
}
