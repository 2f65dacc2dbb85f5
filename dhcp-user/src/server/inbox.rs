//! What may wait for the service, and who gives way when it is behind: bounded in frames and in octets, and the second
//! half is kept for clients that have an address or ask for one they were offered. A client that only discovers loses a
//! second; one whose REQUEST is lost may lose its address.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};

use dhcp_common::{frame::SliceFrame, limit::Asker};

use crate::net::packet_socket::ReceivedFrame;

/// Frames that may wait; beyond them frames are dropped and counted, and clients ask again.
pub const FRAMES_MAX: usize = 16_384;
/// Octets that may wait: as many frames of a length that clients send.
pub const OCTETS_MAX: usize = FRAMES_MAX * 1_024;

/// Answers to probes that may wait: more than are asked for at a time.
pub const ANSWERS_MAX: usize = 512;

/// Counts what waits.
#[derive(Debug, Default)]
pub struct Inbox {
    frames: AtomicUsize,
    octets: AtomicUsize,
    answers: AtomicUsize,
    full: AtomicU64,
    gave_way: AtomicU64,
}

impl Inbox {
    /// Whether a frame may wait; it counts as waiting then, until it is [`taken`](Self::taken). Receivers may ask at
    /// once: the bounds may be passed by a frame each.
    pub fn admits(&self, frame: &mut ReceivedFrame) -> bool {
        let (frames, octets) = (self.frames.load(Relaxed), self.octets.load(Relaxed));
        if frames >= FRAMES_MAX || octets >= OCTETS_MAX {
            self.full.fetch_add(1, Relaxed);
            return false;
        }
        if (frames >= FRAMES_MAX / 2 || octets >= OCTETS_MAX / 2) && !has_or_takes_an_address(frame) {
            self.gave_way.fetch_add(1, Relaxed);
            return false;
        }
        self.frames.fetch_add(1, Relaxed);
        self.octets.fetch_add(frame.octets.len(), Relaxed);
        true
    }

    /// A frame waits no more.
    pub fn taken(&self, frame: &ReceivedFrame) {
        self.frames.fetch_sub(1, Relaxed);
        self.octets.fetch_sub(frame.octets.len(), Relaxed);
    }

    /// Whether an answer to a probe may wait; it counts as waiting then, until it is
    /// [taken](Self::answer_taken).
    pub fn admits_answer(&self) -> bool {
        self.answers
            .fetch_update(Relaxed, Relaxed, |waiting| (waiting < ANSWERS_MAX).then_some(waiting + 1))
            .is_ok()
    }

    /// An answer to a probe waits no more.
    pub fn answer_taken(&self) {
        self.answers.fetch_sub(1, Relaxed);
    }

    /// Frames dropped because no more may wait.
    pub fn full(&self) -> u64 {
        self.full.load(Relaxed)
    }

    /// Frames dropped for others more urgent that might come.
    pub fn gave_way(&self) -> u64 {
        self.gave_way.load(Relaxed)
    }
}

fn has_or_takes_an_address(frame: &mut ReceivedFrame) -> bool {
    let len = frame.octets.len();
    let asker = SliceFrame::new(&mut frame.octets, len).and_then(|frame| Asker::find(&frame));
    asker.is_some_and(|asker| asker.is_request() || asker.ciaddr != [0; 4])
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A frame of `len` octets with a message of type `kind` from `ciaddr`.
    fn frame(kind: u8, ciaddr: [u8; 4], len: usize) -> ReceivedFrame {
        let mut octets = vec![0; len];
        octets[12..14].copy_from_slice(&[8, 0]);
        octets[14] = 0x45;
        octets[23] = 17;
        octets[36..38].copy_from_slice(&67_u16.to_be_bytes());
        octets[42] = 1;
        octets[54..58].copy_from_slice(&ciaddr);
        octets[282..285].copy_from_slice(&[53, 1, kind]);
        ReceivedFrame { octets, checksum_pending: false }
    }

    #[test]
    fn discovers_give_way_in_the_second_half() {
        let inbox = Inbox::default();
        let mut discover = frame(1, [0; 4], 342);
        let waiting = (0..FRAMES_MAX).filter(|_| inbox.admits(&mut discover)).count();
        assert_eq!(waiting, FRAMES_MAX / 2);
        assert_eq!((inbox.gave_way(), inbox.full()), (FRAMES_MAX as u64 / 2, 0));
        let mut request = frame(3, [0; 4], 342);
        let mut release = frame(7, [198, 18, 0, 9], 342);
        let mut waiting = 0;
        for _ in 0..FRAMES_MAX {
            waiting += usize::from(inbox.admits(&mut request)) + usize::from(inbox.admits(&mut release));
        }
        assert_eq!(waiting, FRAMES_MAX / 2);
        assert_eq!(inbox.full(), 2 * FRAMES_MAX as u64 - FRAMES_MAX as u64 / 2);
        (0..FRAMES_MAX).for_each(|_| inbox.taken(&request));
        assert!(inbox.admits(&mut discover), "there is room again");
    }

    #[test]
    fn long_frames_are_bounded_by_their_octets() {
        let inbox = Inbox::default();
        let mut jumbo = frame(3, [0; 4], 9_000);
        let waiting = (0..FRAMES_MAX).filter(|_| inbox.admits(&mut jumbo)).count();
        assert!(waiting * 9_000 < OCTETS_MAX + 9_000, "{waiting} frames wait");
    }
}
