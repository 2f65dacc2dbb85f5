//! A configuration that was applied where the daemon cannot write its file: under the packaged unit `/etc` is read-only,
//! in a container the file may be mounted alone.
//!
//! It is kept beside the API's files, with the version of the file it was applied over, and stands for the file as long
//! as that is what it was then. Whoever edits the file has the last word: what was applied over it counts no more. What cannot
//! be read of it is no reason not to serve what the file says.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::version;
use crate::config::{self, ConfigError};

const FILE: &str = "applied-configuration.json";
/// The longest of what is kept, octets: a configuration is kept as a JSON string, in which no octet becomes more than six.
const KEPT_OCTETS_MAX: u64 = config::FILE_OCTETS_MAX * 6 + 1_024;

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

/// What was applied over the file that says `file_text`, if anything was and the file has not been edited since. What cannot
/// be had or trusted counts no more, which is said in the log.
pub fn over(file_text: &str, state_path: &Path) -> Option<String> {
    let path = place(state_path);
    let kept = match config::read_up_to(&path, KEPT_OCTETS_MAX) {
        Ok(text) => serde_json::from_str::<Kept>(&text).map_err(|error| error.to_string()),
        Err(ConfigError::Missing { .. }) => return None,
        Err(error) => Err(error.to_string()),
    };
    let kept = kept.inspect_err(|error| {
        tracing::error!(
            path = %path.display(),
            error,
            "what was applied over the configuration file cannot be read: the file counts, which may be another \
             configuration than was served before; `config apply` it again"
        );
    });
    let kept = kept.ok()?;
    if kept.replaces != version(file_text) {
        tracing::warn!(
            path = %path.display(),
            "the configuration file was edited after another configuration was applied over it: the file counts"
        );
        return None;
    }
    Some(kept.configuration)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn what_was_applied_stands_for_the_file_until_that_is_edited() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(over("file", folder.path()), None);
        fs::write(place(folder.path()), keep("file", "applied \"x\"\n")).unwrap();
        assert_eq!(over("file", folder.path()).as_deref(), Some("applied \"x\"\n"));
        assert_eq!(over("file, edited", folder.path()), None);
        fs::write(place(folder.path()), "torn").unwrap();
        assert_eq!(over("file", folder.path()), None);
    }

    #[test]
    fn the_largest_configuration_there_may_be_is_read_again_as_it_was_applied() {
        let folder = tempfile::tempdir().unwrap();
        let octets = usize::try_from(config::FILE_OCTETS_MAX).unwrap();
        // Worse than any real one: every octet is escaped, some as six.
        let mut text = "\"\n\u{1}\\".repeat(octets / 4);
        text.truncate(octets);
        fs::write(place(folder.path()), keep("file", &text)).unwrap();
        let found = over("file", folder.path());
        assert!(found.as_deref() == Some(text.as_str()), "{:?} octets", found.map(|found| found.len()));
    }

    #[test]
    fn what_cannot_be_had_or_trusted_is_no_reason_not_to_serve_the_file() {
        let folder = tempfile::tempdir().unwrap();
        let place = place(folder.path());
        fs::write(&place, [0xff, 0xfe]).unwrap();
        assert_eq!(over("file", folder.path()), None, "not UTF-8");
        fs::write(&place, keep("file", "applied")).unwrap();
        fs::set_permissions(&place, std::os::unix::fs::PermissionsExt::from_mode(0o666)).unwrap();
        assert_eq!(over("file", folder.path()), None, "anybody could have written it");
        fs::remove_file(&place).unwrap();
        fs::create_dir(&place).unwrap();
        assert_eq!(over("file", folder.path()), None, "a directory");
    }
}
