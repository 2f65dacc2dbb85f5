//! A file that is whole at every moment, whatever dies: written beside, flushed, and moved into its place.

use std::{
    fs::{self, File},
    io::{self, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    path::Path,
};

/// Puts `content` in the place of the file at `path`, which need not exist; a new file has `mode`. Durable when it
/// returns. Of a symbolic link, the file it leads to is replaced, not the link.
///
/// # Errors
/// If the system refuses; then the old file is still there.
pub fn replace(path: &Path, content: &[u8], mode: u32) -> io::Result<()> {
    let path = &path.canonicalize().unwrap_or_else(|_| path.to_owned());
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(".new");
    let beside = path.with_file_name(name);
    // Left by a process that was killed here; it may have had another mode.
    match fs::remove_file(&beside) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let written = (|| {
        let mut file = File::options().write(true).create_new(true).mode(mode).open(&beside)?;
        file.write_all(content)?;
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
        replace(&link, b"new", 0o640).unwrap();
        assert_eq!(fs::read_to_string(&file).unwrap(), "new");
        assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
        assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o137, 0);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 2);
        assert!(replace(&folder.path().join("gone/x"), b"new", 0o640).is_err());
    }

    #[test]
    fn files_that_differ_in_their_extension_do_not_meet() {
        let folder = tempfile::tempdir().unwrap();
        for name in ["key.pem", "key.json"] {
            replace(&folder.path().join(name), name.as_bytes(), 0o600).unwrap();
        }
        assert_eq!(fs::read_to_string(folder.path().join("key.pem")).unwrap(), "key.pem");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 2);
    }
}
