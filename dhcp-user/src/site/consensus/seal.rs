//! What is stored carries a check that is bound to its place: the database looks at its own only after a crash and on opening.

use std::fmt;

use xxhash_rust::xxh3::Xxh3;

/// Where something is stored: it is not to be taken for what belongs elsewhere.
#[derive(Clone, Copy, Debug)]
pub enum Place<'a> {
    /// Under a key.
    Value(&'a str),
    /// An entry of the log.
    Entry(u64),
    /// In the mark.
    Mark,
}

impl fmt::Display for Place<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Value(key) => write!(f, "the value \"{key}\""),
            Self::Entry(index) => write!(f, "entry {index} of the log"),
            Self::Mark => f.write_str("the mark"),
        }
    }
}

fn check(place: Place<'_>, content: &[u8]) -> u64 {
    let mut hash = Xxh3::new();
    match place {
        Place::Value(key) => {
            hash.update(b"value");
            hash.update(&(key.len() as u64).to_le_bytes());
            hash.update(key.as_bytes());
        }
        Place::Entry(index) => {
            hash.update(b"entry");
            hash.update(&index.to_le_bytes());
        }
        Place::Mark => hash.update(b"mark"),
    }
    hash.update(content);
    hash.digest()
}

/// The content with its check after it.
pub fn sealed(place: Place<'_>, mut content: Vec<u8>) -> Vec<u8> {
    let check = check(place, &content);
    content.extend_from_slice(&check.to_le_bytes());
    content
}

/// The content, if it is what was sealed for this place.
pub fn unsealed<'a>(place: Place<'_>, octets: &'a [u8]) -> Option<&'a [u8]> {
    let (content, found) = octets.split_last_chunk::<8>()?;
    (u64::from_le_bytes(*found) == check(place, content)).then_some(content)
}
