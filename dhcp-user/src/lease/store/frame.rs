//! The log's format: pure functions between octets and entries, so that every byte on disk has one definition.
//!
//! A segment file is a header and then frames; a frame is one batch, written by one write and made durable by one
//! flush. Integers are little-endian, everything starts at a multiple of 8 octets, padding is zero:
//!
//! ```text
//! segment  magic u32 | schema u32 | store id u64 | segment number u64 | first sequence u64 | check u64
//! frame    magic u32 | payload octets u32 | sequence u64 | oldest segment needed u64 | check u64 | entries
//! entry    check u32 | kind u8 | 0 | body octets u16 | key u32 | body | padding
//! ```
//!
//! A frame's check covers its header, its entries, the store's id and the segment's number: a frame left over from
//! an earlier use of the same file never passes, nor can a client's octets inside a lease pass for one, the id being
//! random. An entry's check stays with it when it is moved, from the commit that wrote it to the start that reads it.

use xxhash_rust::xxh3::{Xxh3, xxh3_64};

/// Version of everything in this file; a store of another version is refused.
pub const SCHEMA: u32 = 1;
/// Octets of a segment's header.
pub const SEGMENT_HEADER_BYTES: usize = 40;
/// Octets of a frame's header.
pub const FRAME_HEADER_BYTES: usize = 32;
/// Octets of an entry's header.
pub const ENTRY_HEADER_BYTES: usize = 12;
/// Everything starts at a multiple of this.
pub const ALIGN: usize = 8;

const SEGMENT_MAGIC: u32 = u32::from_le_bytes(*b"SDSg");
const FRAME_MAGIC: u32 = u32::from_le_bytes(*b"SDFr");

/// What an entry says of its key. The numbers are on disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Kind {
    /// The lease of an address.
    Lease = 1,
    /// Nothing is known of an address any more.
    ForgottenLease = 2,
    /// An answer.
    Answer = 3,
    /// An answer is gone.
    DroppedAnswer = 4,
    /// A bookkeeping value.
    Meta = 5,
    /// A reservation made while the daemon ran.
    Reservation = 6,
    /// Such a reservation is gone.
    DroppedReservation = 7,
}

impl Kind {
    fn from_number(number: u8) -> Option<Self> {
        const ALL: [Kind; 7] = [
            Kind::Lease,
            Kind::ForgottenLease,
            Kind::Answer,
            Kind::DroppedAnswer,
            Kind::Meta,
            Kind::Reservation,
            Kind::DroppedReservation,
        ];
        ALL.into_iter().find(|kind| *kind as u8 == number)
    }
}

/// One entry, borrowed from the octets it was found in.
#[derive(Clone, Copy, Debug)]
pub struct Entry<'a> {
    /// What it says.
    pub kind: Kind,
    /// Of which address, answer or value.
    pub key: u32,
    /// The value.
    pub body: &'a [u8],
    /// The whole entry with header and padding.
    pub raw: &'a [u8],
}

/// A frame's header, once its check has passed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FrameHeader {
    /// Number of the batch, one more than the one before.
    pub sequence: u64,
    /// No older segment is needed any more once this frame is durable.
    pub oldest: u64,
    /// Octets of the whole frame.
    pub bytes: usize,
}

/// A segment's header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SegmentHeader {
    /// The store it belongs to.
    pub store_id: u64,
    /// Its number.
    pub segment: u64,
    /// The sequence number of its first frame.
    pub first_sequence: u64,
}

/// What stands where a segment's header should be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HeaderRead {
    /// A header that passes its check.
    Valid(SegmentHeader),
    /// One of another version.
    Schema(u32),
    /// Anything else.
    None,
}

impl SegmentHeader {
    /// The header's octets.
    pub fn encode(&self) -> [u8; SEGMENT_HEADER_BYTES] {
        let mut out = [0; SEGMENT_HEADER_BYTES];
        put(&mut out, 0, &SEGMENT_MAGIC.to_le_bytes());
        put(&mut out, 4, &SCHEMA.to_le_bytes());
        put(&mut out, 8, &self.store_id.to_le_bytes());
        put(&mut out, 16, &self.segment.to_le_bytes());
        put(&mut out, 24, &self.first_sequence.to_le_bytes());
        let check = xxh3_64(out.get(..32).unwrap_or(&[]));
        put(&mut out, 32, &check.to_le_bytes());
        out
    }

    /// Reads what stands at the start of a segment file.
    pub fn decode(file: &[u8]) -> HeaderRead {
        let checked = file.get(..32).map(xxh3_64);
        if u32_at(file, 0) != Some(SEGMENT_MAGIC) || checked.is_none() || u64_at(file, 32) != checked {
            return HeaderRead::None;
        }
        match (u32_at(file, 4), u64_at(file, 8), u64_at(file, 16), u64_at(file, 24)) {
            (Some(SCHEMA), Some(store_id), Some(segment), Some(first_sequence)) => {
                HeaderRead::Valid(Self { store_id, segment, first_sequence })
            }
            (Some(found), ..) => HeaderRead::Schema(found),
            _ => HeaderRead::None,
        }
    }
}

/// Appends an entry; the caller has bounded `body` to what `u16` holds.
pub fn push_entry(out: &mut Vec<u8>, kind: Kind, key: u32, body: impl FnOnce(&mut Vec<u8>)) {
    let start = out.len();
    out.extend_from_slice(&[0, 0, 0, 0, kind as u8, 0, 0, 0]);
    out.extend_from_slice(&key.to_le_bytes());
    body(out);
    let body_bytes = out.len() - start - ENTRY_HEADER_BYTES;
    debug_assert!(body_bytes <= usize::from(u16::MAX));
    put(out, start + 6, &(body_bytes as u16).to_le_bytes());
    let check = entry_check(out.get(start + 4..).unwrap_or(&[]));
    put(out, start, &check.to_le_bytes());
    out.resize(out.len().next_multiple_of(ALIGN), 0);
}

fn entry_check(after_check: &[u8]) -> u32 {
    // The low half: any 32 bits of XXH3 are as good as any others.
    xxh3_64(after_check) as u32
}

/// Reads the entry at the start of `octets`, without its check.
pub fn entry_at(octets: &[u8]) -> Option<Entry<'_>> {
    let kind = Kind::from_number(*octets.get(4)?)?;
    let body_bytes = usize::from(u16::from_le_bytes(octets.get(6..8)?.try_into().ok()?));
    let end = ENTRY_HEADER_BYTES + body_bytes;
    Some(Entry {
        kind,
        key: u32_at(octets, 8)?,
        body: octets.get(ENTRY_HEADER_BYTES..end)?,
        raw: octets.get(..end.next_multiple_of(ALIGN))?,
    })
}

impl Entry<'_> {
    /// Whether the entry is what was once written.
    pub fn passes_check(&self) -> bool {
        let checked = self.raw.get(4..ENTRY_HEADER_BYTES + self.body.len());
        checked.map(entry_check) == u32_at(self.raw, 0)
    }
}

/// Writes the header over the first [`FRAME_HEADER_BYTES`] of `frame`, which holds the entries after them.
pub fn seal_frame(frame: &mut [u8], store_id: u64, segment: u64, sequence: u64, oldest: u64) {
    let payload_bytes = frame.len().saturating_sub(FRAME_HEADER_BYTES);
    put(frame, 0, &FRAME_MAGIC.to_le_bytes());
    // A frame is bounded by its segment, 8 MiB.
    put(frame, 4, &(payload_bytes as u32).to_le_bytes());
    put(frame, 8, &sequence.to_le_bytes());
    put(frame, 16, &oldest.to_le_bytes());
    let check = frame_check(frame, store_id, segment);
    put(frame, 24, &check.to_le_bytes());
}

fn frame_check(frame: &[u8], store_id: u64, segment: u64) -> u64 {
    let mut hasher = Xxh3::with_seed(store_id);
    hasher.update(&segment.to_le_bytes());
    hasher.update(frame.get(..24).unwrap_or(&[]));
    hasher.update(frame.get(FRAME_HEADER_BYTES..).unwrap_or(&[]));
    hasher.digest()
}

/// Reads the frame at the start of `octets`, if there is one that passes its check.
pub fn frame_at(octets: &[u8], store_id: u64, segment: u64) -> Option<FrameHeader> {
    if u32_at(octets, 0)? != FRAME_MAGIC {
        return None;
    }
    let bytes = FRAME_HEADER_BYTES.checked_add(usize::try_from(u32_at(octets, 4)?).ok()?)?;
    let frame = octets.get(..bytes)?;
    if bytes % ALIGN != 0 || u64_at(frame, 24)? != frame_check(frame, store_id, segment) {
        return None;
    }
    Some(FrameHeader { sequence: u64_at(frame, 8)?, oldest: u64_at(frame, 16)?, bytes })
}

/// The octets the frame at the start of `octets` claims to have, without its check.
pub fn frame_bytes(octets: &[u8]) -> Option<usize> {
    let payload_bytes = usize::try_from(u32_at(octets, 4)?).ok()?;
    (u32_at(octets, 0)? == FRAME_MAGIC).then(|| payload_bytes.checked_add(FRAME_HEADER_BYTES))?
}

/// Whether the octets start as the frame `sequence` would, whatever follows.
pub fn looks_like_frame(octets: &[u8], sequence: u64) -> bool {
    u32_at(octets, 0) == Some(FRAME_MAGIC) && u64_at(octets, 8) == Some(sequence)
}

/// The first later frame that passes its check, in octets from the start of `octets`.
pub fn find_frame(octets: &[u8], store_id: u64, segment: u64) -> Option<(usize, FrameHeader)> {
    (0..octets.len())
        .step_by(ALIGN)
        .find_map(|at| Some((at, frame_at(octets.get(at..)?, store_id, segment)?)))
}

/// The entries of a frame's payload, each with its distance from the payload's start; `None` ends a malformed one.
pub fn entries(payload: &[u8]) -> impl Iterator<Item = Option<(usize, Entry<'_>)>> {
    let mut at = 0;
    std::iter::from_fn(move || {
        if at >= payload.len() {
            return None;
        }
        let Some(entry) = payload.get(at..).and_then(entry_at) else {
            at = payload.len();
            return Some(None);
        };
        let found = (at, entry);
        at += entry.raw.len();
        Some(Some(found))
    })
}

fn put(out: &mut [u8], at: usize, octets: &[u8]) {
    if let Some(place) = out.get_mut(at..at + octets.len()) {
        place.copy_from_slice(octets);
    }
}

fn u32_at(octets: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_le_bytes(octets.get(at..at + 4)?.try_into().ok()?))
}

fn u64_at(octets: &[u8], at: usize) -> Option<u64> {
    Some(u64::from_le_bytes(octets.get(at..at + 8)?.try_into().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame() -> Vec<u8> {
        let mut frame = vec![0; FRAME_HEADER_BYTES];
        push_entry(&mut frame, Kind::Lease, 7, |out| out.extend_from_slice(b"hello"));
        push_entry(&mut frame, Kind::ForgottenLease, 8, |_| {});
        seal_frame(&mut frame, 42, 3, 9, 2);
        frame
    }

    #[test]
    fn frame_reads_back() {
        let frame = frame();
        let header = frame_at(&frame, 42, 3).unwrap();
        assert_eq!(header, FrameHeader { sequence: 9, oldest: 2, bytes: frame.len() });
        let found: Vec<_> = entries(&frame[FRAME_HEADER_BYTES..]).map(Option::unwrap).collect();
        assert_eq!(found.len(), 2);
        assert_eq!((found[0].1.kind, found[0].1.key, found[0].1.body), (Kind::Lease, 7, &b"hello"[..]));
        assert_eq!((found[1].0, found[1].1.kind, found[1].1.body), (24, Kind::ForgottenLease, &b""[..]));
        assert!(found.iter().all(|(_, entry)| entry.passes_check()));
    }

    #[test]
    fn no_flipped_bit_passes() {
        let frame = frame();
        for bit in 0..frame.len() * 8 {
            let mut flipped = frame.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(frame_at(&flipped, 42, 3), None, "bit {bit}");
        }
        assert_eq!(frame_at(&frame, 43, 3), None, "another store");
        assert_eq!(frame_at(&frame, 42, 4), None, "another segment");
        assert_eq!(frame_at(&frame[..frame.len() - 1], 42, 3), None, "cut short");
    }

    #[test]
    fn no_flipped_bit_of_an_entry_passes() {
        let frame = frame();
        let entry = &frame[FRAME_HEADER_BYTES..FRAME_HEADER_BYTES + 17];
        for bit in 0..entry.len() * 8 {
            let mut flipped = frame[FRAME_HEADER_BYTES..].to_vec();
            flipped[bit / 8] ^= 1 << (bit % 8);
            let reserved = bit / 8 == 5;
            let passes = entry_at(&flipped).is_some_and(|entry| entry.passes_check());
            assert!(!passes, "bit {bit}, reserved {reserved}");
        }
    }

    #[test]
    fn segment_header_reads_back() {
        let header = SegmentHeader { store_id: 5, segment: 6, first_sequence: 7 };
        let octets = header.encode();
        assert_eq!(SegmentHeader::decode(&octets), HeaderRead::Valid(header));
        for bit in 0..octets.len() * 8 {
            let mut flipped = octets;
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(SegmentHeader::decode(&flipped), HeaderRead::None);
        }
        assert_eq!(SegmentHeader::decode(&octets[..39]), HeaderRead::None);
    }
}
