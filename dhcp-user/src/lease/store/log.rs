//! The store on disk: an append-only log of checksummed batches that cleans itself as it is written.
//!
//! One commit is one write and one flush, of the batch and of a few entries moved from the oldest segment. Nothing
//! here starts a thread or reads a clock.

use std::{collections::VecDeque, path::Path};

use super::{
    Batch, LeaseStore,
    batch::{ANSWER_BYTES_MAX, META_BYTES_MAX, RESERVATION_BYTES_MAX},
    clean::{Cleaner, Placed},
    codec::encode_lease,
    directory::Directory,
    error::StoreError,
    frame::{
        ENTRY_HEADER_BYTES, FRAME_HEADER_BYTES, Kind, SEGMENT_HEADER_BYTES, SegmentHeader, push_entry,
        seal_frame,
    },
    index::{Index, Location, SEGMENT_MAX},
    mark::{Mark, MarkFile},
    segment::Segment,
};

/// Files of cleaned segments kept for their next use.
pub(super) const SPARES_MAX: usize = 4;
/// Octets of old log walked for each octet committed, while there is too much of it: more than two, so that the log
/// shrinks even where everything walked is alive.
const CLEAN_RATIO: usize = 3;
/// A batch takes at most this part of a segment, so that what it makes cleaning carry along fits beside it.
const BATCH_PART: usize = 4;
/// Segments the log may have beyond twice its live octets.
const SEGMENTS_SLACK: u64 = 4;

/// How large the store is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StoreSize {
    /// Leases known, of whatever state.
    pub leases: u64,
    /// Octets of the newest entries of all keys.
    pub live_bytes: u64,
    /// Octets of all segments, spare ones included.
    pub disk_bytes: u64,
}

/// A segment of the log and the octets of it in use.
#[derive(Clone, Copy, Debug)]
pub(super) struct Used {
    pub number: u64,
    pub bytes: usize,
}

/// The durable lease store. Dropping it closes it in order; [`LogStore::close`] also says whether that went well.
pub struct LogStore {
    pub(super) directory: Directory,
    pub(super) segment_bytes: usize,
    pub(super) store_id: u64,
    pub(super) sequence: u64,
    pub(super) index: Index,
    pub(super) marks: MarkFile,
    /// From the oldest to the one being written.
    pub(super) segments: VecDeque<Used>,
    /// The one being written; none before the first commit.
    pub(super) head: Option<Segment>,
    pub(super) spares: Vec<u64>,
    pub(super) cleaner: Option<Cleaner>,
    pub(super) buffers: Buffers,
    pub(super) poisoned: bool,
}

/// Reused from commit to commit.
#[derive(Default)]
pub(super) struct Buffers {
    /// The batch's entries.
    batch: Vec<u8>,
    /// The frame: header, moved entries, the batch's entries.
    frame: Vec<u8>,
    /// What the frame carries, offsets from the frame's start once it is whole.
    placed: Vec<Placed>,
    /// What the batch carries, offsets from the batch's start.
    fresh: Vec<Placed>,
}

impl LogStore {
    /// How large the store is.
    pub fn size(&self) -> StoreSize {
        StoreSize {
            leases: self.index.lease_count(),
            live_bytes: self.index.live_bytes(),
            disk_bytes: ((self.segments.len() + self.spares.len()) * self.segment_bytes) as u64,
        }
    }

    /// The store's directory.
    pub fn path(&self) -> &Path {
        self.directory.path()
    }

    /// The sequence number of the last acknowledged batch.
    pub const fn sequence(&self) -> u64 {
        self.sequence
    }

    /// Makes the high-water mark durable, worth its flush when the daemon has been idle for a moment: from then on
    /// no power cut can hide the loss of a batch acknowledged so far.
    ///
    /// # Errors
    /// [`StoreError::Poisoned`], [`StoreError::Io`].
    pub fn seal(&mut self) -> Result<(), StoreError> {
        self.write_mark(false)
    }

    /// Closes the store in order.
    ///
    /// # Errors
    /// [`StoreError::Poisoned`], [`StoreError::Io`]: the store is closed all the same, as after a crash.
    pub fn close(mut self) -> Result<(), StoreError> {
        let closed = self.write_mark(true);
        // Nothing for `drop` to do again.
        self.poisoned = true;
        closed
    }

    fn write_mark(&mut self, closed: bool) -> Result<(), StoreError> {
        if self.poisoned {
            return Err(StoreError::Poisoned { path: self.path().into() });
        }
        self.marks.write(&Mark { store_id: self.store_id, sequence: self.sequence, closed })?;
        self.marks.sync()
    }

    fn batch_bytes_max(&self) -> usize {
        self.segment_bytes / BATCH_PART - FRAME_HEADER_BYTES - SEGMENT_HEADER_BYTES
    }

    fn append(&mut self) -> Result<(), StoreError> {
        let batch_bytes = self.buffers.batch.len();
        let needed = FRAME_HEADER_BYTES + batch_bytes;
        let room = self.head.as_ref().map_or(0, |head| head.capacity).saturating_sub(self.head_used());
        let room = if needed > room { self.next_segment()? } else { room };

        let Buffers { batch, frame, placed, fresh } = &mut self.buffers;
        frame.clear();
        frame.resize(FRAME_HEADER_BYTES, 0);
        placed.clear();
        let total_bytes = self.segments.len() as u64 * self.segment_bytes as u64;
        let allowed_bytes = 2 * self.index.live_bytes() + SEGMENTS_SLACK * self.segment_bytes as u64;
        let mut cleaned = false;
        if total_bytes > allowed_bytes
            && self.segments.len() > 1
            && let Some(oldest) = self.segments.front()
        {
            let cleaner = match &mut self.cleaner {
                Some(cleaner) => cleaner,
                none => none.insert(Cleaner::new(&self.directory, oldest.number, oldest.bytes)?),
            };
            let scan_bytes = CLEAN_RATIO * batch_bytes;
            cleaned = cleaner.step(&self.index, scan_bytes, frame, room - batch_bytes, placed)?;
        }
        let moved_end = frame.len();
        frame.extend_from_slice(batch);
        placed.extend(fresh.iter().map(|entry| Placed { offset: entry.offset + moved_end, ..*entry }));
        self.write_frame(cleaned)
    }

    fn write_frame(&mut self, cleaned: bool) -> Result<(), StoreError> {
        let sequence = self.sequence + 1;
        let oldest = self.segments.front().map_or(0, |oldest| oldest.number) + u64::from(cleaned);
        let (Some(head), Some(used)) = (self.head.as_mut(), self.segments.back_mut()) else {
            return Err(StoreError::Poisoned { path: self.directory.path().into() });
        };
        let frame = &mut self.buffers.frame;
        if used.bytes == 0 {
            let header =
                SegmentHeader { store_id: self.store_id, segment: head.number, first_sequence: sequence };
            head.write(&header.encode(), 0)?;
            used.bytes = SEGMENT_HEADER_BYTES;
        }
        let start = used.bytes;
        seal_frame(frame, self.store_id, head.number, sequence, oldest);
        head.write(frame, start)?;
        head.flush()?;
        used.bytes += frame.len();
        self.sequence = sequence;
        for Placed { kind, key, offset, bytes } in self.buffers.placed.drain(..) {
            // Bounded by the segment's and the batch's limits; tombstones' places are never looked at.
            let place = Location::new(head.number, start + offset, bytes).unwrap_or_default();
            self.index.apply(kind, key, place);
        }
        if cleaned {
            self.cleaner = None;
            self.give_back_oldest()?;
        }
        self.marks.write(&Mark { store_id: self.store_id, sequence, closed: false })
    }

    fn head_used(&self) -> usize {
        self.segments.back().map_or(0, |used| used.bytes.max(SEGMENT_HEADER_BYTES))
    }

    /// Starts the next segment; returns its room for a frame in octets. Fails with [`StoreError::Full`] before
    /// anything has changed.
    fn next_segment(&mut self) -> Result<usize, StoreError> {
        let number = self.segments.back().map_or(1, |used| used.number + 1);
        let path = self.directory.segment(number);
        if number > SEGMENT_MAX {
            return Err(StoreError::Damaged {
                path,
                offset: 0,
                what: "no segment numbers are left".to_owned(),
            });
        }
        let needed = SEGMENT_HEADER_BYTES + FRAME_HEADER_BYTES + self.buffers.batch.len();
        let segment = match self.spares.pop() {
            Some(spare) => Segment::recycle(&self.directory, spare, number)?,
            None => Segment::create(&self.directory, number, self.segment_bytes)?,
        };
        let room = segment.capacity.saturating_sub(SEGMENT_HEADER_BYTES);
        if segment.capacity < needed {
            return Err(segment.damaged(0, "the segment is shorter than it was made"));
        }
        self.marks.sync()?;
        self.head = Some(segment);
        self.segments.push_back(Used { number, bytes: 0 });
        Ok(room)
    }

    fn give_back_oldest(&mut self) -> Result<(), StoreError> {
        let Some(cleaned) = self.segments.pop_front() else { return Ok(()) };
        let path = self.directory.segment(cleaned.number);
        let bytes = Segment::open(&self.directory, cleaned.number)?.capacity;
        // Made under another option, or cut: not worth keeping.
        if self.spares.len() < SPARES_MAX && bytes == self.segment_bytes {
            self.spares.push(cleaned.number);
            return Ok(());
        }
        self.directory.remove(&path)
    }
}

impl LeaseStore for LogStore {
    fn commit(&mut self, batch: &Batch) -> Result<(), StoreError> {
        if self.poisoned {
            return Err(StoreError::Poisoned { path: self.path().into() });
        }
        if batch.is_empty() {
            return Ok(());
        }
        self.buffers.encode(batch)?;
        if self.buffers.batch.len() > self.batch_bytes_max() {
            return Err(StoreError::BatchTooLarge {
                bytes: self.buffers.batch.len(),
                bytes_max: self.batch_bytes_max(),
            });
        }
        let done = self.append();
        self.poisoned = matches!(&done, Err(error) if !matches!(error, StoreError::Full { .. }));
        done
    }
}

impl Drop for LogStore {
    fn drop(&mut self) {
        if !self.poisoned
            && let Err(error) = self.write_mark(true)
        {
            tracing::warn!(%error, "the lease store could not be closed in order");
        }
    }
}

impl Buffers {
    fn encode(&mut self, batch: &Batch) -> Result<(), StoreError> {
        let Self { batch: out, fresh, .. } = self;
        out.clear();
        fresh.clear();
        let mut failed = None;
        let mut push = |kind: Kind, key: u32, body: &mut dyn FnMut(&mut Vec<u8>)| {
            let offset = out.len();
            push_entry(out, kind, key, body);
            fresh.push(Placed { kind, key, offset, bytes: out.len() - offset });
        };
        for lease in &batch.leases {
            push(Kind::Lease, lease.address.to_bits(), &mut |out| {
                if let Err(source) = encode_lease(lease, out) {
                    failed.get_or_insert(StoreError::Codec { address: lease.address, source });
                }
            });
        }
        for address in &batch.forgotten {
            push(Kind::ForgottenLease, address.to_bits(), &mut |_| {});
        }
        for answer in &batch.answers {
            if answer.bytes.len() > ANSWER_BYTES_MAX {
                return Err(too_long(format!("answer {}", answer.id), answer.bytes.len(), ANSWER_BYTES_MAX));
            }
            push(Kind::Answer, answer.id, &mut |out| out.extend_from_slice(&answer.bytes));
        }
        for id in &batch.dropped_answers {
            push(Kind::DroppedAnswer, *id, &mut |_| {});
        }
        for (key, value) in &batch.meta {
            if value.len() > META_BYTES_MAX {
                return Err(too_long(format!("value {key:?}"), value.len(), META_BYTES_MAX));
            }
            push(Kind::Meta, key.number(), &mut |out| out.extend_from_slice(value));
        }
        for reservation in &batch.reservations {
            let (address, bytes) = (reservation.address, reservation.bytes.len());
            if bytes > RESERVATION_BYTES_MAX {
                return Err(too_long(format!("reservation of {address}"), bytes, RESERVATION_BYTES_MAX));
            }
            push(Kind::Reservation, address.to_bits(), &mut |out| out.extend_from_slice(&reservation.bytes));
        }
        for address in &batch.dropped_reservations {
            push(Kind::DroppedReservation, address.to_bits(), &mut |_| {});
        }
        failed.map_or(Ok(()), Err)
    }
}

fn too_long(what: String, bytes: usize, bytes_max: usize) -> StoreError {
    StoreError::TooLong { what, bytes, bytes_max }
}

const _: () = {
    // The largest lease record: two lengthy fields, a host name and the fixed part.
    let lease_bytes_max = 2 * super::codec::FIELD_OCTETS_MAX + 256 + 256;
    assert!(lease_bytes_max + ENTRY_HEADER_BYTES < super::index::ENTRY_BYTES_MAX);
    assert!(META_BYTES_MAX + ENTRY_HEADER_BYTES < super::index::ENTRY_BYTES_MAX);
    assert!(RESERVATION_BYTES_MAX + ENTRY_HEADER_BYTES < super::index::ENTRY_BYTES_MAX);
};
