//! Files that steer a privileged daemon are believed only if nobody else could have written them, as OpenSSH has it: they
//! belong to root or to the daemon's own user, and nobody beside these may write. Secrets are secrets only if nobody else may read.

use std::{fs::Metadata, os::unix::fs::MetadataExt as _, path::Path};

use rustix::process::{getegid, geteuid};

const GROUP_WRITABLE: u32 = 0o020;
const WORLD_WRITABLE: u32 = 0o002;
const GROUP_READABLE: u32 = 0o040;
const WORLD_READABLE: u32 = 0o004;
const STICKY: u32 = 0o1000;

/// Why a file or directory is not believed, and the way out. Displays as the end of a sentence that begins with what it is.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Untrusted {
    /// Everyone may write.
    #[error(
        "{path} can be written by everyone (mode {mode:04o}), so it is not trusted; run chmod o-w {path} after checking it"
    )]
    World {
        /// Where.
        path: String,
        /// The permission bits.
        mode: u32,
    },
    /// A group may write that is neither root's nor the daemon's.
    #[error(
        "{path} can be written by group {group} (mode {mode:04o}), which is not the daemon's, so it is not trusted; run \
         chmod g-w {path} after checking it"
    )]
    Group {
        /// Where.
        path: String,
        /// The permission bits.
        mode: u32,
        /// The group's number.
        group: u32,
    },
    /// A secret that everyone may read.
    #[error(
        "{path} can be read by everyone (mode {mode:04o}), so it is no secret; run chmod o-rwx {path}, and make a new one if \
         others may have read it"
    )]
    WorldReads {
        /// Where.
        path: String,
        /// The permission bits.
        mode: u32,
    },
    /// A secret that a group may read that is neither root's nor the daemon's.
    #[error(
        "{path} can be read by group {group} (mode {mode:04o}), which is not the daemon's, so it is no secret; run \
         chmod g-rwx {path}, and make a new one if others may have read it"
    )]
    GroupReads {
        /// Where.
        path: String,
        /// The permission bits.
        mode: u32,
        /// The group's number.
        group: u32,
    },
    /// It belongs to somebody else.
    #[error(
        "{path} belongs to user {owner}, who is neither root nor the daemon's user ({user}), so it is not trusted; run \
         chown {user} {path} after checking it, or start the daemon as its owner"
    )]
    Owner {
        /// Where.
        path: String,
        /// The owner's number.
        owner: u32,
        /// The daemon's.
        user: u32,
    },
}

/// Whether a file can be believed.
///
/// # Errors
/// Who else could have written it.
pub fn file(path: &Path, found: &Metadata) -> Result<(), Untrusted> {
    judge(path, found, Us::now(), false)
}

/// Whether a file is a secret that can be believed: nobody else may write or read it. If it is root's, root has chosen the group
/// that may read it.
///
/// # Errors
/// Who else could have written or read it.
pub fn secret(path: &Path, found: &Metadata) -> Result<(), Untrusted> {
    let us = Us::now();
    judge(path, found, us, false)?;
    judge_readers(path, found, us)
}

/// Whether what is in a directory can be believed to be what was put there. A sticky directory (`/tmp`) lets everyone
/// add files but nobody replace another's.
///
/// # Errors
/// Who else could have written to it.
pub fn holding_directory(path: &Path, found: &Metadata) -> Result<(), Untrusted> {
    judge(path, found, Us::now(), true)
}

/// Whether a directory is the daemon's alone. Not that of whoever ran `sudo`: once privileges are dropped, even root could
/// not write there.
///
/// # Errors
/// Who else could have written to it.
pub fn directory(path: &Path, found: &Metadata) -> Result<(), Untrusted> {
    judge(path, found, Us { sudo: None, ..Us::now() }, false)
}

/// Whether a directory is one user's alone; for root it may be anybody's, who is to take down what a daemon with a user of
/// its own has put up.
///
/// # Errors
/// Who else could have written to it.
pub fn one_users_directory(path: &Path, found: &Metadata) -> Result<(), Untrusted> {
    let us = Us::now();
    let owner = Us { user: found.uid(), group: found.gid(), sudo: None };
    judge(path, found, if us.user == 0 { owner } else { Us { sudo: None, ..us } }, false)
}

/// Who we are, and who made us so: what `sudo` was run by has our powers already.
#[derive(Clone, Copy)]
struct Us {
    user: u32,
    group: u32,
    sudo: Option<u32>,
}

impl Us {
    fn now() -> Self {
        let user = geteuid().as_raw();
        let sudo = std::env::var("SUDO_UID").ok().and_then(|user| user.parse().ok());
        Self { user, group: getegid().as_raw(), sudo: sudo.filter(|_| user == 0) }
    }

    const fn is_foreign(self, group: u32) -> bool {
        group != 0 && group != self.group && self.sudo.is_none()
    }
}

fn judge(path: &Path, found: &Metadata, us: Us, sticky_will_do: bool) -> Result<(), Untrusted> {
    let (mode, owner, group) = (found.mode() & 0o7777, found.uid(), found.gid());
    let sheltered = sticky_will_do && mode & STICKY != 0;
    let path = path.display().to_string();
    if mode & WORLD_WRITABLE != 0 && !sheltered {
        return Err(Untrusted::World { path, mode });
    }
    if mode & GROUP_WRITABLE != 0 && us.is_foreign(group) && !sheltered {
        return Err(Untrusted::Group { path, mode, group });
    }
    if owner != 0 && owner != us.user && us.sudo != Some(owner) {
        return Err(Untrusted::Owner { path, owner, user: us.user });
    }
    Ok(())
}

fn judge_readers(path: &Path, found: &Metadata, us: Us) -> Result<(), Untrusted> {
    let (mode, owner, group) = (found.mode() & 0o7777, found.uid(), found.gid());
    let path = path.display().to_string();
    if mode & WORLD_READABLE != 0 {
        return Err(Untrusted::WorldReads { path, mode });
    }
    if mode & GROUP_READABLE != 0 && owner != 0 && us.is_foreign(group) {
        return Err(Untrusted::GroupReads { path, mode, group });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::PermissionsExt as _};

    use super::*;

    #[test]
    fn who_may_write_decides() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        fs::write(&path, "").unwrap();
        let found = |mode| {
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
            fs::metadata(&path).unwrap()
        };
        let metadata = found(0o640);
        let (owner, group) = (metadata.uid(), metadata.gid());
        let us = Us { user: owner, group, sudo: None };
        assert_eq!(judge(&path, &metadata, us, false), Ok(()));
        let says = |mode, us, word: &str| {
            let refused = judge(&path, &found(mode), us, false).unwrap_err().to_string();
            assert!(refused.contains(word), "{refused}");
        };
        says(0o642, us, "by everyone (mode 0642)");
        assert_eq!(judge(&path, &found(0o1642), us, true), Ok(()));
        assert_eq!(judge(&path, &found(0o660), us, false), Ok(()));
        if owner != 0 {
            says(0o600, Us { user: owner + 1, ..us }, "belongs to user");
        }
        if group != 0 {
            says(0o660, Us { group: group + 1, ..us }, "by group");
        }
        // A secret is not to be read, either.
        let read = |mode, us| judge_readers(&path, &found(mode), us).map_err(|refused| refused.to_string());
        assert_eq!((read(0o600, us), read(0o640, us)), (Ok(()), Ok(())));
        let refused = read(0o604, us).unwrap_err();
        assert!(refused.contains("read by everyone (mode 0604)"), "{refused}");
        if group != 0 && owner != 0 {
            let refused = read(0o640, Us { group: group + 1, ..us }).unwrap_err();
            assert!(refused.contains("read by group"), "{refused}");
        }
    }
}
