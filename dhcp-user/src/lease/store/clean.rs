//! Cleaning: every commit carries a few live entries of the oldest segment along, so that space is won back in
//! proportion to what is written, without a thread, a pause or a second flush.

use super::{
    directory::Directory,
    error::StoreError,
    frame::{
        ALIGN, ENTRY_HEADER_BYTES, FRAME_HEADER_BYTES, Kind, SEGMENT_HEADER_BYTES, entry_at, frame_bytes,
    },
    index::{ENTRY_BYTES_MAX, Index, Location},
    segment::Segment,
};

/// Octets read at once; more than the largest entry.
const WINDOW_BYTES: usize = 256 << 10;

/// An entry that a frame carries, by its place in the frame's payload.
#[derive(Clone, Copy, Debug)]
pub struct Placed {
    pub kind: Kind,
    pub key: u32,
    pub offset: usize,
    pub bytes: usize,
}

/// The walk through the oldest segment.
pub struct Cleaner {
    segment: Segment,
    /// Octets of the segment in use.
    end: usize,
    at: usize,
    frame_end: usize,
    window: Vec<u8>,
    window_start: usize,
}

impl Cleaner {
    /// Starts with a segment of which `end` octets are in use.
    ///
    /// # Errors
    /// [`StoreError::Io`].
    pub fn new(directory: &Directory, number: u64, end: usize) -> Result<Self, StoreError> {
        Ok(Self {
            segment: Segment::open(directory, number)?,
            end,
            at: SEGMENT_HEADER_BYTES,
            frame_end: SEGMENT_HEADER_BYTES,
            window: Vec::new(),
            window_start: 0,
        })
    }

    /// Walks on for about `scan_bytes`, appending live entries to `out` while it stays below `out_bytes_max`.
    /// Returns whether nothing of the segment is needed any more once `out` is durable.
    ///
    /// # Errors
    /// [`StoreError::Io`]; [`StoreError::Damaged`] if anything there is not what was written, live or not, for who
    /// could say what it was.
    pub fn step(
        &mut self,
        index: &Index,
        scan_bytes: usize,
        out: &mut Vec<u8>,
        out_bytes_max: usize,
        placed: &mut Vec<Placed>,
    ) -> Result<bool, StoreError> {
        let stop = self.at.saturating_add(scan_bytes).min(self.end);
        while self.at < stop {
            self.fill()?;
            let octets = self.window.get(self.at - self.window_start..).unwrap_or(&[]);
            if self.at == self.frame_end {
                let bytes = frame_bytes(octets).filter(|bytes| *bytes <= self.end - self.at);
                let Some(bytes) = bytes else {
                    return Err(self.segment.damaged(self.at, "the header of a batch has changed"));
                };
                self.frame_end = self.at + bytes;
                self.at += FRAME_HEADER_BYTES;
                continue;
            }
            let entry = entry_at(octets).filter(|entry| {
                entry.passes_check() && entry.raw.len() <= self.frame_end.saturating_sub(self.at)
            });
            let Some(entry) = entry else {
                return Err(self.segment.damaged(self.at, "an entry does not pass its check"));
            };
            let bytes = entry.raw.len();
            let here = Location::new(self.segment.number, self.at, bytes);
            if here.is_some_and(|here| index.is_live(entry.kind, entry.key, here)) {
                if out.len() + bytes > out_bytes_max {
                    return Ok(false);
                }
                placed.push(Placed { kind: entry.kind, key: entry.key, offset: out.len(), bytes });
                out.extend_from_slice(entry.raw);
            }
            self.at += bytes;
        }
        Ok(self.at >= self.end)
    }

    fn fill(&mut self) -> Result<(), StoreError> {
        let window_end = self.window_start + self.window.len();
        if self.at < self.window_start || self.at + ENTRY_BYTES_MAX > window_end && window_end < self.end {
            self.segment.read(&mut self.window, self.at, WINDOW_BYTES)?;
            self.window_start = self.at;
        }
        Ok(())
    }
}

const _: () = assert!(WINDOW_BYTES > ENTRY_BYTES_MAX && ENTRY_HEADER_BYTES >= ALIGN);
