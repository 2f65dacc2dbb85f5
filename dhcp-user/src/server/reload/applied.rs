//! A configuration that was applied where the daemon cannot write its file: under the packaged unit `/etc` is read-only,
//! in a container the file may be mounted alone.
//!
//! It is kept beside the API's files, with the version of the file it was applied over, and stands for the file as long
//! as that is what it was then. Whoever edits the file has the last word: what was applied over it counts no more.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::version;
use crate::config::{self, ConfigError};

const FILE: &str = "applied-configuration.json";

/// What is kept.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Kept {
    /// The version of the file's text over which it was applied.
    replaces: String,
    /// The text.
    configuration: String,
}

/// Where it is kept, for an API whose files are in `state_path`.
pub(super) fn place(state_path: &Path) -> PathBuf {
    state_path.join(FILE)
}

/// What is to be kept of `text`, applied over a file that says `file_text`.
pub(super) fn keep(file_text: &str, text: &str) -> String {
    let kept = Kept { replaces: version(file_text), configuration: text.to_owned() };
    // Two strings: there is nothing in them that could not be written.
    serde_json::to_string(&kept).unwrap_or_default()
}

/// What was applied over the file that says `file_text`, if anything was and the file has not been edited since.
///
/// # Errors
/// If it is there and cannot be had or trusted.
pub fn over(file_text: &str, state_path: &Path) -> Result<Option<String>, ConfigError> {
    let path = place(state_path);
    let text = match config::read(&path) {
        Ok(text) => text,
        Err(ConfigError::Missing { .. }) => return Ok(None),
        Err(error) => return Err(error),
    };
    let Ok(kept) = serde_json::from_str::<Kept>(&text) else {
        tracing::error!(path = %path.display(), "what was applied cannot be read: the configuration file counts");
        return Ok(None);
    };
    if kept.replaces != version(file_text) {
        tracing::warn!(
            path = %path.display(),
            "the configuration file was edited after another configuration was applied over it: the file counts"
        );
        return Ok(None);
    }
    Ok(Some(kept.configuration))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn what_was_applied_stands_for_the_file_until_that_is_edited() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(over("file", folder.path()).unwrap(), None);
        fs::write(place(folder.path()), keep("file", "applied \"x\"\n")).unwrap();
        assert_eq!(over("file", folder.path()).unwrap().as_deref(), Some("applied \"x\"\n"));
        assert_eq!(over("file, edited", folder.path()).unwrap(), None);
        fs::write(place(folder.path()), "torn").unwrap();
        assert_eq!(over("file", folder.path()).unwrap(), None);
    }
}
