//! Keeps what all links of a node send together under the cap of `max_bandwidth`: in no second, wherever it begins, more
//! than that. A plain bucket would allow twice as much around the moment it is full.

use std::{
    collections::VecDeque,
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use super::wire::Lane;

const SECOND: Duration = Duration::from_secs(1);
/// What TLS, TCP and IP put around a chunk: a record's frame, and headers of 66 octets on each 1,400.
const RECORD: usize = 22;
const SEGMENT: usize = 1_400;
const HEADERS: usize = 66;
/// Sendings are noted in steps of this: a second holds a bounded number of them.
const STEP: Duration = Duration::from_millis(5);
/// Of a second's octets, the part in hundredths that leases leave to the links' own messages and consensus.
const RESERVE: u64 = 10;

/// The octets a chunk takes on the wire, headers of all layers included.
pub const fn on_the_wire(chunk: usize) -> u64 {
    let record = chunk + RECORD;
    (record + record.div_ceil(SEGMENT) * HEADERS) as u64
}

/// Shared by all links of a node.
#[derive(Debug)]
pub struct Shaper {
    /// Octets per second; `None` without a cap.
    cap: Option<u64>,
    sent: Mutex<Sent>,
}

#[derive(Debug, Default)]
struct Sent {
    /// When and how much, within the last second.
    lately: VecDeque<(Instant, u64)>,
    sum: u64,
    waits: u64,
}

impl Shaper {
    /// A cap in Mbit/s, or none.
    pub fn new(mbit_per_s: Option<u32>) -> Self {
        Self { cap: mbit_per_s.map(|mbit| u64::from(mbit) * 125_000), sent: Mutex::default() }
    }

    /// Takes leave to send a chunk of this length (with its header) now, or says after what time to ask again.
    ///
    /// # Errors
    /// How long to wait.
    pub fn take(&self, lane: Lane, chunk: usize, now: Instant) -> Result<(), Duration> {
        let octets = on_the_wire(chunk);
        let mut sent = self.sent.lock().unwrap_or_else(PoisonError::into_inner);
        // Counted until a second after the end of the step it was noted in: rather too long than too short.
        while let Some((at, gone)) = sent.lately.front().copied().filter(|(at, _)| *at + SECOND + STEP <= now)
        {
            debug_assert!(at <= now);
            sent.lately.pop_front();
            sent.sum -= gone;
        }
        if let Some(cap) = self.cap {
            let room = if lane == Lane::Control { cap } else { cap - cap * RESERVE / 100 };
            if sent.sum + octets > room {
                sent.waits += 1;
                let first = sent.lately.front().map_or(now, |(at, _)| *at + SECOND + STEP);
                return Err(first.saturating_duration_since(now).max(Duration::from_millis(1)));
            }
        }
        sent.sum += octets;
        match sent.lately.back_mut() {
            Some((at, noted)) if now.saturating_duration_since(*at) < STEP => *noted += octets,
            _ => sent.lately.push_back((now, octets)),
        }
        Ok(())
    }

    /// Octets sent in the last second, and the cap.
    pub fn used(&self, now: Instant) -> (u64, Option<u64>) {
        let sent = self.sent.lock().unwrap_or_else(PoisonError::into_inner);
        let lately = sent.lately.iter().filter(|(at, _)| *at + SECOND > now);
        (lately.map(|(_, octets)| octets).sum(), self.cap)
    }

    /// How often a chunk had to wait.
    pub fn waits(&self) -> u64 {
        self.sent.lock().unwrap_or_else(PoisonError::into_inner).waits
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_second_has_more_than_the_cap_and_control_always_finds_room() {
        let shaper = Shaper::new(Some(1));
        let start = Instant::now();
        let mut log: Vec<(Duration, u64)> = Vec::new();
        let mut now = Duration::ZERO;
        let (mut bulk, mut control) = (0_u64, 0_u64);
        while now < Duration::from_secs(5) {
            // Consensus every 100 ms, leases whenever there is room.
            if now.as_millis() % 100 == 0 && now.subsec_nanos() % 1_000_000 == 0 {
                let asked = shaper.take(Lane::Control, 200, start + now);
                assert_eq!(asked, Ok(()), "control waits at {now:?}");
                log.push((now, on_the_wire(200)));
                control += 1;
            }
            if shaper.take(Lane::Bulk, 1_500, start + now).is_ok() {
                log.push((now, on_the_wire(1_500)));
                bulk += 1;
            }
            now += Duration::from_millis(1);
        }
        for (from, _) in &log {
            let second = log.iter().filter(|(at, _)| (*from..*from + SECOND).contains(at));
            let sum: u64 = second.map(|(_, octets)| octets).sum();
            assert!(sum <= 125_000, "{sum} octets in the second from {from:?}");
        }
        let rate = bulk * on_the_wire(1_500) / 5;
        assert!(control == 50 && rate > 90_000, "only {rate} octets/s of the cap are used");
        assert!(shaper.waits() > 0);
    }

    #[test]
    fn without_a_cap_nothing_waits() {
        let (shaper, now) = (Shaper::new(None), Instant::now());
        assert!((0..1_000).all(|_| shaper.take(Lane::Bulk, 16_000, now).is_ok()));
        assert_eq!(shaper.used(now).1, None);
    }
}
