//! The configuration's file and the one it replaced: written beside and moved into place, so that there is a whole one at
//! every moment, whatever dies.

use std::{
    fs::{self, File},
    io::{self, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
};

use super::{ReloadError, applied};
use crate::config::{self, Made, model::Config};

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
        let (text, origin) = match applied::over(&text, &self.state)? {
            Some(applied) => (applied, applied::place(&self.state)),
            None => (text, self.current.clone()),
        };
        let config = config::parse_with(&text, &origin.display().to_string(), made)?;
        Ok((text, config))
    }

    /// What the file, or what was applied over it, says now; `None` if it is not there or cannot be trusted.
    pub fn current_text(&self) -> Option<String> {
        let text = config::read(&self.current).ok()?;
        Some(applied::over(&text, &self.state).ok()?.unwrap_or(text))
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
        let failed = |path: &Path| {
            let path = path.to_owned();
            move |error| ReloadError::Write { path, error }
        };
        let applied = applied::place(&self.state);
        let forget = || match fs::remove_file(&applied) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(failed(&applied)(error)),
            _ => Ok(true),
        };
        match write(&self.current, text) {
            Ok(()) => forget(),
            Err(error) if is_not_ours_to_write(&error) => {
                let file_text = config::read(&self.current)?;
                if file_text == text {
                    return forget();
                }
                write(&applied, &applied::keep(&file_text, text)).map_err(failed(&applied))?;
                Ok(false)
            }
            Err(error) => Err(failed(&self.current)(error)),
        }
    }

    pub fn write_previous(&self, text: &str) -> Result<(), ReloadError> {
        write(&self.previous, text).map_err(|error| ReloadError::Write { path: self.previous.clone(), error })
    }
}

/// Whether a file cannot be replaced because of how it is mounted or who we are, and not for want of room or by a fault.
fn is_not_ours_to_write(error: &io::Error) -> bool {
    use io::ErrorKind::{PermissionDenied, ReadOnlyFilesystem, ResourceBusy};
    // Busy: a file that is mounted alone cannot be replaced by name.
    matches!(error.kind(), PermissionDenied | ReadOnlyFilesystem | ResourceBusy)
}

/// Durable when it returns.
fn write(path: &Path, text: &str) -> io::Result<()> {
    // Of a link, the file it leads to is replaced, not the link.
    let path = &path.canonicalize().unwrap_or_else(|_| path.to_owned());
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(".new");
    let beside = path.with_file_name(name);
    // Left by a daemon that was killed here.
    match fs::remove_file(&beside) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let written = (|| {
        let mut file = File::options().write(true).create_new(true).mode(MODE).open(&beside)?;
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        fs::rename(&beside, path)?;
        let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty());
        File::open(directory.unwrap_or(Path::new(".")))?.sync_all()
    })();
    if written.is_err() {
        // What stays of it is replaced the next time.
        let _ = fs::remove_file(&beside);
    }
    written
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt as _, symlink};

    use super::*;

    #[test]
    fn a_file_is_replaced_whole_and_closed_to_others_and_links_stay() {
        let folder = tempfile::tempdir().unwrap();
        let (file, link) = (folder.path().join("real.json"), folder.path().join("dhcp.json"));
        fs::write(&file, "old").unwrap();
        symlink(&file, &link).unwrap();
        fs::write(folder.path().join("real.json.new"), "torn").unwrap();
        write(&link, "new").unwrap();
        assert_eq!(fs::read_to_string(&file).unwrap(), "new");
        assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
        assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o137, 0);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 2);
        assert!(write(&folder.path().join("gone/x"), "new").is_err());
    }

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
