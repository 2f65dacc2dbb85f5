//! Puts the built object where dependants look for it, and touches it only when it changed, so that they do not rebuild.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result, ensure};

/// Copies `built` to `wanted` unless that holds the same bytes already.
///
/// # Errors
///
/// When `built` is no ELF file or a file cannot be read or written.
pub fn publish(built: &Path, wanted: &Path) -> Result<()> {
    let bytes = fs::read(built).with_context(|| format!("cannot read {}", built.display()))?;
    ensure!(bytes.starts_with(b"\x7fELF"), "{} is no ELF object; remove it and build again", built.display());
    if fs::read(wanted).is_ok_and(|there| there == bytes) {
        return Ok(());
    }
    // Written beside and renamed: a build script that reads meanwhile sees the old or the new object, never half of it.
    let beside = PathBuf::from(format!("{}.new.{}", wanted.display(), std::process::id()));
    fs::write(&beside, &bytes).with_context(|| format!("cannot write {}", beside.display()))?;
    fs::rename(&beside, wanted).with_context(|| format!("cannot rename to {}", wanted.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unchanged_object_keeps_its_time_and_a_changed_one_is_replaced() {
        let folder = std::env::temp_dir().join(format!("xtask-object-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        let (built, wanted) = (folder.join("built"), folder.join("wanted"));
        fs::write(&built, b"\x7fELF one").unwrap();
        publish(&built, &wanted).unwrap();
        let long_ago = std::time::SystemTime::UNIX_EPOCH;
        fs::File::options().write(true).open(&wanted).unwrap().set_modified(long_ago).unwrap();
        publish(&built, &wanted).unwrap();
        assert_eq!(fs::metadata(&wanted).unwrap().modified().unwrap(), long_ago);
        fs::write(&built, b"\x7fELF two").unwrap();
        publish(&built, &wanted).unwrap();
        assert_eq!(fs::read(&wanted).unwrap(), b"\x7fELF two");
        fs::write(&built, b"not an object").unwrap();
        assert!(publish(&built, &wanted).is_err());
        fs::remove_dir_all(&folder).unwrap();
    }
}
