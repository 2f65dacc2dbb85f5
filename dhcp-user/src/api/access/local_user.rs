//! Who is at the other end of the local socket: the kernel tells the user's number, `/etc/passwd` the name. Names from
//! elsewhere (LDAP and the like) are not asked for: the socket is for when the network is in trouble, too.

use std::{fmt, fs::File, io::Read as _, path::Path};

const USERS: &str = "/etc/passwd";
/// Octets of it that are read.
const USERS_OCTETS_MAX: u64 = 1 << 20;

/// A user of this machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LocalUser {
    uid: u32,
    name: Option<String>,
}

impl LocalUser {
    /// The user with this number, by name if there is one.
    pub fn new(uid: u32) -> Self {
        Self { uid, name: name_in(Path::new(USERS), uid) }
    }
}

impl fmt::Display for LocalUser {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "uid {}", self.uid)?;
        self.name.as_ref().map_or(Ok(()), |name| write!(f, " ({name})"))
    }
}

fn name_in(users: &Path, uid: u32) -> Option<String> {
    let mut text = Vec::new();
    File::open(users).ok()?.take(USERS_OCTETS_MAX).read_to_end(&mut text).ok()?;
    let text = String::from_utf8_lossy(&text);
    text.lines().find_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        (fields.nth(1)?.parse() == Ok(uid)).then(|| name.escape_default().to_string())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn users_have_names_where_there_are_some() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(&file, "root:x:0:0:root:/root:/bin/sh\nbroken\n\nalice:x:1000:100::/:/bin/sh\n")
            .unwrap();
        assert_eq!(name_in(file.path(), 1_000).as_deref(), Some("alice"));
        assert_eq!(name_in(file.path(), 100), None);
        assert_eq!(name_in(Path::new("/nowhere"), 0), None);
        assert_eq!(LocalUser { uid: 7, name: Some("x".to_owned()) }.to_string(), "uid 7 (x)");
        assert_eq!(LocalUser { uid: 7, name: None }.to_string(), "uid 7");
    }
}
