//! The high-water mark: the last acknowledged batch, kept in a file of its own.
//!
//! The log cannot tell a batch torn by a crash from an acknowledged one that was cut off or spoilt later. The mark
//! can: it is written after each flush, so a log that ends before it has lost acknowledged data. Writing it is not
//! flushed each time (that would double the cost of a commit): it is durable at every change of segment, when the
//! store is sealed and when it is closed, and between those as soon as the kernel writes it back. Two slots are
//! written in turn, so that one torn slot never takes the other with it.

use std::path::PathBuf;

use xxhash_rust::xxh3::xxh3_64;

use super::{
    disk::{DiskFile, read_up_to},
    error::StoreError,
    frame::SCHEMA,
};

/// The mark's name in the store's directory.
pub const MARK_FILE: &str = "mark";
const MAGIC: u32 = u32::from_le_bytes(*b"SDMk");
const SLOT_BYTES: usize = 40;
/// Slots are in different pages and sectors.
const SLOT_STRIDE: u64 = 4096;

/// What a slot says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mark {
    /// Random number of the store.
    pub store_id: u64,
    /// Sequence number of the last acknowledged batch, 0 for none.
    pub sequence: u64,
    /// Whether the store was closed in order after it.
    pub closed: bool,
}

/// What stands in a slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Slot {
    Valid(Mark),
    Schema(u32),
    Empty,
    Damaged,
}

/// What was found in the mark's file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Found {
    /// The later of the marks, if any can be read.
    pub mark: Option<Mark>,
    /// Slots that hold something that cannot be read.
    pub damaged_slots: u32,
}

impl Mark {
    fn encode(&self) -> [u8; SLOT_BYTES] {
        let mut out = Vec::with_capacity(SLOT_BYTES);
        out.extend_from_slice(&MAGIC.to_le_bytes());
        out.extend_from_slice(&SCHEMA.to_le_bytes());
        out.extend_from_slice(&self.store_id.to_le_bytes());
        out.extend_from_slice(&self.sequence.to_le_bytes());
        out.extend_from_slice(&u64::from(self.closed).to_le_bytes());
        out.extend_from_slice(&xxh3_64(&out).to_le_bytes());
        let mut slot = [0; SLOT_BYTES];
        slot.copy_from_slice(&out);
        slot
    }
}

impl Slot {
    fn decode(octets: &[u8]) -> Self {
        let word = |at: usize| octets.get(at..at + 8).and_then(|w| w.try_into().ok()).map(u64::from_le_bytes);
        if octets.iter().all(|octet| *octet == 0) {
            return Self::Empty;
        }
        let (Some(head), Some(store_id), Some(sequence), Some(closed), Some(check)) =
            (word(0), word(8), word(16), word(24), word(32))
        else {
            return Self::Damaged;
        };
        if check != xxh3_64(octets.get(..32).unwrap_or(&[])) || head as u32 != MAGIC {
            return Self::Damaged;
        }
        match (head >> 32) as u32 {
            SCHEMA => Self::Valid(Mark { store_id, sequence, closed: closed == 1 }),
            found => Self::Schema(found),
        }
    }
}

/// The mark's open file.
pub struct MarkFile {
    file: Box<dyn DiskFile>,
    path: PathBuf,
    next_slot: u64,
}

impl MarkFile {
    /// Over an open file; writing starts with the slot that does not hold the latest mark.
    pub fn new(file: Box<dyn DiskFile>, path: PathBuf) -> Self {
        Self { file, path, next_slot: 0 }
    }

    /// Reads both slots.
    ///
    /// # Errors
    /// [`StoreError::Io`], and [`StoreError::Schema`] if another version wrote the latest.
    pub fn read(&mut self) -> Result<Found, StoreError> {
        let mut found = Found { mark: None, damaged_slots: 0 };
        for slot in 0..2 {
            let mut octets = [0; SLOT_BYTES];
            let filled = read_up_to(&*self.file, &mut octets, slot * SLOT_STRIDE)
                .map_err(StoreError::io("read", &self.path))?;
            match Slot::decode(octets.get(..filled).unwrap_or(&[])) {
                Slot::Valid(mark) => {
                    if found
                        .mark
                        .is_none_or(|other| (other.sequence, other.closed) <= (mark.sequence, mark.closed))
                    {
                        found.mark = Some(mark);
                        self.next_slot = 1 - slot;
                    }
                }
                Slot::Schema(version) => {
                    return Err(StoreError::Schema {
                        path: self.path.clone(),
                        found: version,
                        supported: SCHEMA,
                    });
                }
                Slot::Empty => {}
                Slot::Damaged => found.damaged_slots += 1,
            }
        }
        Ok(found)
    }

    /// Writes a mark into the slot whose turn it is; durable only after [`Self::sync`].
    ///
    /// # Errors
    /// [`StoreError::Io`].
    pub fn write(&mut self, mark: &Mark) -> Result<(), StoreError> {
        self.file
            .write_all_at(&mark.encode(), self.next_slot * SLOT_STRIDE)
            .map_err(StoreError::io("write", &self.path))?;
        self.next_slot = 1 - self.next_slot;
        Ok(())
    }

    /// Makes what was written durable.
    ///
    /// # Errors
    /// [`StoreError::Io`].
    pub fn sync(&self) -> Result<(), StoreError> {
        self.file.sync().map_err(StoreError::io("flush", &self.path))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mark_file() -> MarkFile {
        MarkFile::new(Box::new(tempfile::tempfile().unwrap()), PathBuf::from("mark"))
    }

    #[test]
    fn the_latest_wins_and_one_bad_slot_is_survived() {
        let mut marks = mark_file();
        assert_eq!(marks.read().unwrap(), Found { mark: None, damaged_slots: 0 });
        let mark = |sequence| Mark { store_id: 9, sequence, closed: false };
        for sequence in 1..=5 {
            marks.write(&mark(sequence)).unwrap();
            assert_eq!(marks.read().unwrap().mark, Some(mark(sequence)));
        }
        // Five is in slot 0, four in slot 1.
        marks.file.write_all_at(&[0xff], 20).unwrap();
        assert_eq!(marks.read().unwrap(), Found { mark: Some(mark(4)), damaged_slots: 1 });
        marks.write(&mark(6)).unwrap();
        assert_eq!(marks.read().unwrap(), Found { mark: Some(mark(6)), damaged_slots: 0 });
    }

    #[test]
    fn a_closed_mark_is_later_than_an_open_one_and_another_version_is_refused() {
        let mut marks = mark_file();
        marks.write(&Mark { store_id: 9, sequence: 3, closed: false }).unwrap();
        marks.write(&Mark { store_id: 9, sequence: 3, closed: true }).unwrap();
        assert!(marks.read().unwrap().mark.unwrap().closed);
        let mut other = Mark { store_id: 9, sequence: 3, closed: true }.encode();
        other[4] = 2;
        let check = xxh3_64(&other[..32]).to_le_bytes();
        other[32..].copy_from_slice(&check);
        marks.file.write_all_at(&other, 0).unwrap();
        let error = marks.read().unwrap_err();
        assert!(error.to_string().contains("schema version 2, this program reads version 1"), "{error}");
    }
}
