//! The configuration's file and the one it replaced.

use std::path::{Path, PathBuf};

use super::ReloadError;
use crate::{
    config::{self, model::Config},
    whole_file,
};

/// Readable by the group that may look at it, and by nobody else.
const MODE: u32 = 0o640;

/// Where they are.
#[derive(Clone, Debug)]
pub(super) struct Files {
    pub current: PathBuf,
    pub previous: PathBuf,
}

impl Files {
    /// The configuration as the file has it, if it can be trusted and is one.
    pub fn read(&self) -> Result<(String, Config), ReloadError> {
        let text = config::read(&self.current)?;
        let config = config::parse(&text, &self.current.display().to_string())?;
        Ok((text, config))
    }

    /// What the file says now; `None` if it is not there or cannot be trusted.
    pub fn current_text(&self) -> Option<String> {
        config::read(&self.current).ok()
    }

    /// What was in force before.
    pub fn previous_text(&self) -> Result<String, ReloadError> {
        match config::read(&self.previous) {
            Err(config::ConfigError::Missing { path }) => Err(ReloadError::NoPrevious { path }),
            text => Ok(text?),
        }
    }

    pub fn write_current(&self, text: &str) -> Result<(), ReloadError> {
        write(&self.current, text)
    }

    pub fn write_previous(&self, text: &str) -> Result<(), ReloadError> {
        write(&self.previous, text)
    }
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
        let files = Files { current: folder.path().join("a"), previous: folder.path().join("b") };
        let said = files.previous_text().unwrap_err().to_string();
        assert!(said.contains("no earlier configuration"), "{said}");
        files.write_previous("{}").unwrap();
        assert_eq!(files.previous_text().unwrap(), "{}");
        assert_eq!(files.current_text(), None);
    }
}
