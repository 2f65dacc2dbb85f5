//! The configuration's file and the one it replaced.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use super::{ReloadError, applied};
use crate::{
    config::{self, Made, model::Config},
    whole_file,
};

/// Readable by the group that may look at it, and by nobody else.
const MODE: u32 = 0o640;

/// Where they are.
#[derive(Clone, Debug)]
pub(super) struct Files {
    pub current: PathBuf,
    pub previous: PathBuf,
    /// Where the API's files are, and what is applied if the current one cannot be written.
    pub state: PathBuf,
}

impl Files {
    /// The configuration as the file has it with the reservations made beside it, if it can be trusted and is one.
    pub fn read(&self, made: &[Made]) -> Result<(String, Config), ReloadError> {
        let text = config::read(&self.current)?;
        let (text, origin) = match applied::over(&text, &self.state) {
            Some(applied) => (applied, applied::place(&self.state)),
            None => (text, self.current.clone()),
        };
        let config = config::parse_with(&text, &origin.display().to_string(), made)?;
        Ok((text, config))
    }

    /// What the file, or what was applied over it, says now; `None` if it is not there or cannot be trusted.
    pub fn current_text(&self) -> Option<String> {
        let text = config::read(&self.current).ok()?;
        Some(applied::over(&text, &self.state).unwrap_or(text))
    }

    /// Whether the file itself says `text`.
    pub fn is_in_file(&self, text: &str) -> bool {
        config::read(&self.current).is_ok_and(|found| found == text)
    }

    /// What was in force before.
    pub fn previous_text(&self) -> Result<String, ReloadError> {
        match config::read(&self.previous) {
            Err(config::ConfigError::Missing { path }) => Err(ReloadError::NoPrevious { path }),
            text => Ok(text?),
        }
    }

    /// Writes the file; where the daemon may not, what is to stand for it from here on. Whether it is in the file.
    pub fn write_current(&self, text: &str) -> Result<bool, ReloadError> {
        let applied = applied::place(&self.state);
        let forget = || match fs::remove_file(&applied) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(ReloadError::Write { path: applied.clone(), error })
            }
            _ => Ok(true),
        };
        match write(&self.current, text) {
            Ok(()) => forget(),
            Err(ReloadError::Write { error, .. }) if is_not_ours_to_write(&error) => {
                let file_text = config::read(&self.current)?;
                if file_text == text {
                    return forget();
                }
                write(&applied, &applied::keep(&file_text, text))?;
                Ok(false)
            }
            Err(error) => Err(error),
        }
    }

    pub fn write_previous(&self, text: &str) -> Result<(), ReloadError> {
        write(&self.previous, text)
    }
}

/// Whether a file cannot be replaced because of how it is mounted or who we are, and not for want of room or by a fault.
fn is_not_ours_to_write(error: &io::Error) -> bool {
    use io::ErrorKind::{PermissionDenied, ReadOnlyFilesystem, ResourceBusy};
    // Busy: a file that is mounted alone cannot be replaced by name.
    matches!(error.kind(), PermissionDenied | ReadOnlyFilesystem | ResourceBusy)
}

fn write(path: &Path, text: &str) -> Result<(), ReloadError> {
    whole_file::replace(path, text.as_bytes(), MODE)
        .map_err(|error| ReloadError::Write { path: path.to_owned(), error })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_is_nothing_to_go_back_to_at_first() {
        let folder = tempfile::tempdir().unwrap();
        let current = folder.path().join("a");
        let files = Files { current, previous: folder.path().join("b"), state: folder.path().to_owned() };
        let said = files.previous_text().unwrap_err().to_string();
        assert!(said.contains("no earlier configuration"), "{said}");
        files.write_previous("{}").unwrap();
        assert_eq!(files.previous_text().unwrap(), "{}");
        assert_eq!(files.current_text(), None);
    }
}
