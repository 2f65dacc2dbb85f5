//! The files of a lease store made from an input: right checksums over anything at all, so that a fuzzer gets behind
//! them, and then any octets of the files changed. Independent of the store's own writer on purpose.

use std::collections::BTreeMap;

use xxhash_rust::xxh3::{Xxh3, xxh3_64};

use crate::input::Input;

/// The store's random id.
pub const STORE_ID: u64 = 0x0123_4567_89ab_cdef;
/// Octets of a segment, the least there are.
pub const SEGMENT_BYTES: usize = 64 << 10;

/// The files by name.
pub type Files = BTreeMap<String, Vec<u8>>;

/// Makes the files an input describes: how many segments, in each so many frames, in each so many entries, whatever they
/// say; then changes to octets.
pub fn build(input: &mut Input<'_>) -> Files {
    let mut files = Files::new();
    let [segments, skips, mark_sequence] = input.array();
    let mut sequence = 1;
    for number in 1..=u64::from(segments & 3) {
        let mut file = segment_header(number, sequence);
        for _ in 0..input.octet() & 7 {
            let oldest = u64::from(input.octet() & 7);
            let frame = frame(input, number, sequence, oldest);
            if file.len() + frame.len() <= SEGMENT_BYTES {
                file.extend(frame);
            }
            // Now and then a number is left out.
            sequence += 1 + u64::from(skips & 0xf0 == 0xf0 && input.octet() == 0xff);
        }
        file.resize(SEGMENT_BYTES, 0);
        files.insert(format!("segment-{number:010}.log"), file);
    }
    files.insert("mark".to_owned(), mark(u64::from(mark_sequence), skips & 1 == 1));
    change(input, &mut files);
    files
}

fn segment_header(number: u64, first_sequence: u64) -> Vec<u8> {
    let mut out = b"SDSg".to_vec();
    out.extend(1_u32.to_le_bytes());
    out.extend([STORE_ID, number, first_sequence].iter().flat_map(|word| word.to_le_bytes()));
    out.extend(xxh3_64(&out).to_le_bytes());
    out
}

fn frame(input: &mut Input<'_>, segment: u64, sequence: u64, oldest: u64) -> Vec<u8> {
    let mut payload = Vec::new();
    for _ in 0..input.octet() & 7 {
        let [kind, key, len] = input.array();
        // An address of the pools, or a key of answers and values.
        let key = if kind <= 2 { 0xc612_0000 | u32::from(key) } else { u32::from(key) };
        let body = input.take(usize::from(len));
        let mut entry = vec![kind, 0];
        // At most 255 octets were taken.
        entry.extend((body.len() as u16).to_le_bytes());
        entry.extend(key.to_le_bytes());
        entry.extend(body);
        payload.extend((xxh3_64(&entry) as u32).to_le_bytes());
        payload.extend(entry);
        payload.resize(payload.len().next_multiple_of(8), 0);
    }
    let mut head = b"SDFr".to_vec();
    head.extend((payload.len() as u32).to_le_bytes());
    head.extend([sequence, oldest].iter().flat_map(|word| word.to_le_bytes()));
    let mut hasher = Xxh3::with_seed(STORE_ID);
    hasher.update(&segment.to_le_bytes());
    hasher.update(&head);
    hasher.update(&payload);
    head.extend(hasher.digest().to_le_bytes());
    head.extend(payload);
    head
}

fn mark(sequence: u64, closed: bool) -> Vec<u8> {
    let mut out = b"SDMk".to_vec();
    out.extend(1_u32.to_le_bytes());
    out.extend([STORE_ID, sequence, u64::from(closed)].iter().flat_map(|word| word.to_le_bytes()));
    out.extend(xxh3_64(&out).to_le_bytes());
    out
}

/// Changes octets, cuts files and removes them.
fn change(input: &mut Input<'_>, files: &mut Files) {
    while !input.is_empty() {
        let [which, how] = input.array();
        let offset = usize::from(input.word());
        let Some(name) = files.keys().nth(usize::from(which) % files.len().max(1)).cloned() else { return };
        let Some(file) = files.get_mut(&name) else { return };
        match how {
            0 => drop(files.remove(&name)),
            1 => file.truncate(offset),
            2 => file.resize(SEGMENT_BYTES + offset, 0),
            _ => {
                if let Some(octet) = file.get_mut(offset) {
                    *octet ^= how;
                }
            }
        }
    }
}
