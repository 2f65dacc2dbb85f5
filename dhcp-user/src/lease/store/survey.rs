//! The first look at a store on opening: which mark holds, which segments matter, where the log ends.

use std::{ops::Range, path::Path};

use super::{
    directory::Directory,
    error::StoreError,
    frame::{
        FrameHeader, HeaderRead, SCHEMA, SEGMENT_HEADER_BYTES, SegmentHeader, find_frame, frame_at,
        frame_bytes, looks_like_frame,
    },
    index::SEGMENT_BYTES_MAX,
    mark::{Found, Mark},
    segment::Segment,
};

/// Which segments matter.
pub struct Log {
    /// Those from the oldest needed to the last that holds a batch.
    pub needed: Range<u64>,
    /// Cleaned segments whose files are there to be used again.
    pub spares: Vec<u64>,
    /// A segment that was made, but into which no batch got.
    pub empty_head: Option<u64>,
    /// Octets of a batch that was being written into that one.
    pub torn_bytes: u64,
    /// Where in the last segment the last batch starts, in octets.
    pub last_frame_at: usize,
}

impl Log {
    /// Reads the newest segments backwards until one holds a batch.
    ///
    /// # Errors
    /// [`StoreError::Damaged`], [`StoreError::Schema`], [`StoreError::Io`].
    pub fn find(directory: &Directory, store_id: u64, numbers: &[u64]) -> Result<Self, StoreError> {
        let mut log =
            Self { needed: 0..0, spares: Vec::new(), empty_head: None, torn_bytes: 0, last_frame_at: 0 };
        let mut octets = Vec::new();
        for number in numbers.iter().rev().take(2) {
            let segment = Segment::open(directory, *number)?;
            segment.read(&mut octets, 0, SEGMENT_BYTES_MAX)?;
            let header = read_header(&octets, &segment, store_id)?;
            let last = header.and_then(|_| last_frame(&octets, store_id, *number));
            if let Some((at, frame)) = last {
                if frame.oldest > *number {
                    return Err(segment.damaged(at, "the last batch needs only segments after its own"));
                }
                log.needed = frame.oldest..*number + 1;
                log.spares = numbers.iter().copied().filter(|spare| *spare < frame.oldest).collect();
                log.last_frame_at = at;
                return Ok(log);
            }
            if let Some((at, frame)) = find_frame(&octets, store_id, *number) {
                let what = format!("what comes before batch {} does not pass its check", frame.sequence);
                return Err(segment.damaged(at, what));
            }
            let rest = octets.get(SEGMENT_HEADER_BYTES..).unwrap_or(&[]);
            if header.is_some_and(|first| looks_like_frame(rest, first)) {
                log.torn_bytes = torn_bytes(rest);
            }
            if log.empty_head.replace(*number).is_some() {
                return Err(segment.damaged(0, "neither this segment nor the next holds a readable batch"));
            }
        }
        Ok(log)
    }
}

fn last_frame(octets: &[u8], store_id: u64, number: u64) -> Option<(usize, FrameHeader)> {
    let mut last = None;
    let mut at = SEGMENT_HEADER_BYTES;
    while let Some(frame) = octets.get(at..).and_then(|rest| frame_at(rest, store_id, number)) {
        last = Some((at, frame));
        at += frame.bytes;
    }
    last
}

/// The first sequence number of a segment, `None` if it has no header of its own.
///
/// # Errors
/// [`StoreError::Schema`], [`StoreError::Damaged`] for a segment of another store.
pub fn read_header(octets: &[u8], segment: &Segment, store_id: u64) -> Result<Option<u64>, StoreError> {
    match SegmentHeader::decode(octets) {
        HeaderRead::Schema(found) => {
            let StoreError::Damaged { path, .. } = segment.damaged(0, "") else { return Ok(None) };
            Err(StoreError::Schema { path, found, supported: SCHEMA })
        }
        HeaderRead::Valid(header) if header.store_id != store_id => {
            let what = format!("the segment is of store {:016x}, not {store_id:016x}", header.store_id);
            Err(segment.damaged(0, what))
        }
        // Another number: the file of a cleaned segment, renamed to be used again.
        HeaderRead::Valid(header) => Ok((header.segment == segment.number).then_some(header.first_sequence)),
        HeaderRead::None => Ok(None),
    }
}

/// The mark to hold the log against, a new one for a new store.
///
/// # Errors
/// [`StoreError::Damaged`].
pub fn the_mark(found: Found, segments: &[u64], path: &Path) -> Result<Mark, StoreError> {
    let damaged = |what: String| Err(StoreError::Damaged { path: path.into(), offset: 0, what });
    match found.mark {
        Some(mark) if mark.sequence > 0 && segments.is_empty() => {
            damaged(format!("batches 1 to {} were acknowledged and no segment is there", mark.sequence))
        }
        Some(mark) => Ok(mark),
        // A store that was ever opened has both copies: with one never written and no segment, making it was cut short.
        None if found.damaged_slots > 1 || !segments.is_empty() => {
            damaged("neither copy of the high-water mark can be read".to_owned())
        }
        None => Ok(Mark { store_id: rand::random(), sequence: 0, closed: false }),
    }
}

/// Octets of the torn batch at the start of `rest`, as far as its header tells.
pub fn torn_bytes(rest: &[u8]) -> u64 {
    let claimed = frame_bytes(rest).unwrap_or(0);
    claimed.min(rest.len()) as u64
}
