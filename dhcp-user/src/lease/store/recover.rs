//! Opening: read the whole log, believe nothing unchecked, and say what was found.
//!
//! Two passes: the first checks every frame and learns where the newest entry of each key is, the second hands over
//! only those, so that ten million leases are never in memory twice. What can be told from a crash and what cannot
//! is written down in `docs/store.md`.

use std::{collections::VecDeque, net::Ipv4Addr, path::Path};

use super::{
    LogStore, MetaKey, StoredAnswer, StoredReservation,
    codec::decode_lease,
    directory::Directory,
    disk::How,
    error::StoreError,
    frame::{
        FRAME_HEADER_BYTES, Kind, SEGMENT_HEADER_BYTES, entries, find_frame, frame_at, frame_bytes,
        looks_like_frame,
    },
    index::{Index, Location, SEGMENT_BYTES_MAX},
    log::{Buffers, SPARES_MAX, Used},
    mark::{MARK_FILE, Mark, MarkFile},
    segment::Segment,
    survey::{Log, read_header, the_mark, torn_bytes},
};
use crate::lease::record::LeaseRecord;

const SEGMENT_BYTES_MIN: usize = 64 << 10;

/// How a store is opened.
#[derive(Clone, Debug)]
pub struct Options {
    /// Octets of a segment, from 64 KiB to 8 MiB; the store takes at least five on disk once it has been through as
    /// many, and a batch at most a quarter of one. May differ from one start to the next.
    pub segment_bytes: usize,
}

impl Default for Options {
    fn default() -> Self {
        Self { segment_bytes: SEGMENT_BYTES_MAX }
    }
}

/// What a store held besides leases, and what there is to say about it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Recovered {
    /// The answers, in no order.
    pub answers: Vec<StoredAnswer>,
    /// The bookkeeping values, each key at most once.
    pub meta: Vec<(MetaKey, Vec<u8>)>,
    /// The reservations made while a daemon ran, in no order.
    pub reservations: Vec<StoredReservation>,
    /// What was found.
    pub report: Report,
}

/// What was found on opening; worth a line in the log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// Whether the store was made just now.
    pub created: bool,
    /// Whether its last user closed it in order.
    pub closed_in_order: bool,
    /// Leases handed over.
    pub leases: u64,
    /// The last batch found.
    pub sequence: u64,
    /// Batches found that the mark had not heard of; after a power cut these are usual.
    pub batches_after_mark: u64,
    /// Octets of a batch that was being written when the program or the machine stopped: never acknowledged, dropped.
    pub torn_bytes: u64,
    /// Unreadable copies of the high-water mark, written anew; the other copy was used.
    pub marks_repaired: u32,
}

impl LogStore {
    /// Opens the store in the directory `path`, making it if it is not there, and hands every lease to `each`.
    ///
    /// # Errors
    /// [`StoreError::Locked`], [`StoreError::Untrusted`], [`StoreError::NotADirectory`], [`StoreError::Schema`],
    /// [`StoreError::Codec`], [`StoreError::Io`], and [`StoreError::Damaged`] if anything acknowledged is missing or
    /// changed; nothing on disk has been changed then.
    pub fn open(
        path: &Path,
        options: &Options,
        each: &mut dyn FnMut(LeaseRecord),
    ) -> Result<(Self, Recovered), StoreError> {
        Self::open_in(Directory::open(path)?, options, each)
    }

    /// As [`Self::open`], in a directory on any disk.
    pub(super) fn open_in(
        directory: Directory,
        options: &Options,
        each: &mut dyn FnMut(LeaseRecord),
    ) -> Result<(Self, Recovered), StoreError> {
        let mark_path = directory.file(MARK_FILE);
        let mark_file =
            directory.open_file(&mark_path, How::Create).map_err(StoreError::io("open", &mark_path))?;
        let mut marks = MarkFile::new(mark_file, mark_path.clone());
        let found = marks.read()?;
        let numbers = directory.segments()?;
        let mark = the_mark(found, &numbers, &mark_path)?;
        let mut store = Self {
            directory,
            segment_bytes: options.segment_bytes.clamp(SEGMENT_BYTES_MIN, SEGMENT_BYTES_MAX),
            store_id: mark.store_id,
            sequence: 0,
            index: Index::default(),
            marks,
            segments: VecDeque::new(),
            head: None,
            spares: Vec::new(),
            cleaner: None,
            buffers: Buffers::default(),
            // Until it has been read: dropping a store half read must not leave a mark.
            poisoned: true,
        };
        let mut recovered = Recovered {
            report: Report {
                created: found.mark.is_none(),
                closed_in_order: mark.closed,
                marks_repaired: found.damaged_slots,
                ..Report::default()
            },
            ..Recovered::default()
        };
        let log = Log::find(&store.directory, mark.store_id, &numbers)?;
        recovered.report.torn_bytes = log.torn_bytes;
        store.replay(&log, &mut recovered.report)?;
        if store.sequence < mark.sequence {
            let (place, offset) = match store.segments.back() {
                Some(last) => (store.directory.segment(last.number), last.bytes as u64),
                None => (mark_path, 0),
            };
            let what =
                format!("batches {} to {} were acknowledged and are gone", store.sequence + 1, mark.sequence);
            return Err(StoreError::Damaged { path: place, offset, what });
        }
        recovered.report.sequence = store.sequence;
        recovered.report.batches_after_mark = store.sequence - mark.sequence;
        store.hand_over(&mut recovered, each)?;
        store.make_ready(&log)?;
        Ok((store, recovered))
    }

    /// First pass: checks every frame and fills the index.
    fn replay(&mut self, log: &Log, report: &mut Report) -> Result<(), StoreError> {
        let mut octets = Vec::new();
        for number in log.needed.clone() {
            let last = number + 1 == log.needed.end;
            let segment = match Segment::open(&self.directory, number) {
                Err(StoreError::Io { source, path, .. }) if source.kind() == std::io::ErrorKind::NotFound => {
                    let what = "the whole segment is missing".to_owned();
                    return Err(StoreError::Damaged { path, offset: 0, what });
                }
                opened => opened?,
            };
            segment.read(&mut octets, 0, SEGMENT_BYTES_MAX)?;
            let first = read_header(&octets, &segment, self.store_id)?
                .ok_or_else(|| segment.damaged(0, "the segment's header does not pass its check"))?;
            if number != log.needed.start && first != self.sequence + 1 {
                let what = format!(
                    "batches {} to {} are missing before it",
                    self.sequence + 1,
                    first.wrapping_sub(1)
                );
                return Err(segment.damaged(0, what));
            }
            self.sequence = first.wrapping_sub(1);
            let mut at = SEGMENT_HEADER_BYTES;
            while let Some(frame) = octets.get(at..).and_then(|rest| frame_at(rest, self.store_id, number)) {
                if frame.sequence != self.sequence.wrapping_add(1) {
                    let what = format!("batch {} follows batch {}", frame.sequence, self.sequence);
                    return Err(segment.damaged(at, what));
                }
                self.sequence = frame.sequence;
                let payload = octets.get(at + FRAME_HEADER_BYTES..at + frame.bytes).unwrap_or(&[]);
                for found in entries(payload) {
                    let (offset, entry) =
                        found.ok_or_else(|| segment.damaged(at, "the batch holds what no version wrote"))?;
                    let place = Location::new(number, at + FRAME_HEADER_BYTES + offset, entry.raw.len());
                    let place =
                        place.ok_or_else(|| segment.damaged(at, "an entry is larger than any written"))?;
                    self.index.apply(entry.kind, entry.key, place);
                }
                at += frame.bytes;
            }
            let rest = octets.get(at..).unwrap_or(&[]);
            if let Some((_, later)) = find_frame(rest, self.store_id, number) {
                let what = format!(
                    "batch {} does not pass its check, though batch {} was written after it",
                    self.sequence.wrapping_add(1),
                    later.sequence
                );
                return Err(segment.damaged(at, what));
            }
            if last && looks_like_frame(rest, self.sequence.wrapping_add(1)) {
                report.torn_bytes = torn_bytes(rest);
            }
            self.segments.push_back(Used { number, bytes: at });
        }
        Ok(())
    }

    /// Second pass: hands over the newest entry of each key.
    fn hand_over(
        &self,
        recovered: &mut Recovered,
        each: &mut dyn FnMut(LeaseRecord),
    ) -> Result<(), StoreError> {
        let mut octets = Vec::new();
        for used in &self.segments {
            let segment = Segment::open(&self.directory, used.number)?;
            segment.read(&mut octets, 0, used.bytes)?;
            let mut at = SEGMENT_HEADER_BYTES;
            while at < used.bytes {
                let rest = octets.get(at..).unwrap_or(&[]);
                let changed = || segment.damaged(at, "the file changed while it was read");
                let bytes = frame_bytes(rest).ok_or_else(changed)?;
                let payload = rest.get(FRAME_HEADER_BYTES..bytes).ok_or_else(changed)?;
                for found in entries(payload) {
                    let (offset, entry) = found.ok_or_else(changed)?;
                    let place = Location::new(used.number, at + FRAME_HEADER_BYTES + offset, entry.raw.len());
                    if !place.is_some_and(|place| self.index.is_live(entry.kind, entry.key, place)) {
                        continue;
                    }
                    if !entry.passes_check() {
                        return Err(segment.damaged(at, "an entry of the batch does not pass its check"));
                    }
                    match entry.kind {
                        Kind::Lease => {
                            let address = Ipv4Addr::from_bits(entry.key);
                            let lease = decode_lease(address, entry.body)
                                .map_err(|source| StoreError::Codec { address, source })?;
                            recovered.report.leases += 1;
                            each(lease);
                        }
                        Kind::Answer => {
                            recovered
                                .answers
                                .push(StoredAnswer { id: entry.key, bytes: entry.body.to_vec() });
                        }
                        Kind::Meta => {
                            // A key of a later version with the same schema is kept in the log and left alone.
                            let key = MetaKey::from_number(entry.key);
                            recovered.meta.extend(key.map(|key| (key, entry.body.to_vec())));
                        }
                        Kind::Reservation => recovered.reservations.push(StoredReservation {
                            address: Ipv4Addr::from_bits(entry.key),
                            bytes: entry.body.to_vec(),
                        }),
                        Kind::ForgottenLease | Kind::DroppedAnswer | Kind::DroppedReservation => {}
                    }
                }
                at += bytes;
            }
        }
        Ok(())
    }

    /// Everything has been read and believed: from here on the disk may change.
    fn make_ready(&mut self, log: &Log) -> Result<(), StoreError> {
        if let Some(empty) = log.empty_head {
            let path = self.directory.segment(empty);
            self.directory.remove(&path)?;
        }
        for number in &log.spares {
            let fits = Segment::open(&self.directory, *number)
                .is_ok_and(|segment| segment.capacity == self.segment_bytes);
            if fits && self.spares.len() < SPARES_MAX {
                self.spares.push(*number);
            } else {
                let path = self.directory.segment(*number);
                self.directory.remove(&path)?;
            }
        }
        if let Some(used) = self.segments.back() {
            let mut head = Segment::open(&self.directory, used.number)?;
            // The last batch may be in the page cache only, its flush having failed before the last process ended:
            // write it once more, so that the flush below speaks for it.
            let mut last = Vec::new();
            head.read(&mut last, log.last_frame_at, used.bytes - log.last_frame_at)?;
            head.write(&last, log.last_frame_at)?;
            head.flush()?;
            self.head = Some(head);
        }
        let mark = Mark { store_id: self.store_id, sequence: self.sequence, closed: false };
        // Both copies: a new store needs them, a damaged one is mended.
        self.marks.write(&mark)?;
        self.marks.sync()?;
        self.marks.write(&mark)?;
        self.marks.sync()?;
        self.directory.sync()?;
        self.poisoned = false;
        Ok(())
    }
}
