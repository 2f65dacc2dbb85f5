//! The observer's own ledger: which address was promised to whom until when, from replies alone. It shares nothing with
//! the daemon, so a fault there cannot hide itself here.
//!
//! A promise is counted from the moment the client *asked* (RFC 2131 section 4.4.1), which is before the server granted:
//! the ledger's promises end no later than the server's, and what breaks one is a fault without doubt. Times are
//! nanoseconds of the boot clock.

use std::{collections::HashMap, net::Ipv4Addr};

use serde::Serialize;

/// Nanoseconds in a second.
pub const SECOND_NS: u64 = 1_000_000_000;

#[derive(Clone, Copy, Debug)]
struct Promise {
    mac: [u8; 6],
    until_boot_ns: u64,
}

/// What must never happen, counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Broken {
    /// An address was granted to a client while another's promise of it ran.
    pub double_bound: u64,
    /// The client of a running promise was refused it, given another address in its place, or ignored for ever.
    pub promises_lost: u64,
    /// A NAK for an address that was promised to its client at that moment.
    pub naks_in_error: u64,
}

/// Who was promised what, and what was broken.
#[derive(Debug, Default)]
pub struct Ledger {
    promises: HashMap<Ipv4Addr, Promise>,
    /// What was broken so far.
    pub broken: Broken,
    /// The first few of them, told.
    pub told: Vec<String>,
}

/// Violations told in words; all are counted.
const TOLD_MAX: usize = 20;

impl Ledger {
    /// Tells of a violation, if not too many were told.
    pub fn tell(&mut self, text: impl FnOnce() -> String) {
        if self.told.len() < TOLD_MAX {
            self.told.push(text());
        }
    }

    /// An ACK for `address` came to `mac` at `now`, in answer to what was sent at `asked`.
    pub fn acked(&mut self, mac: [u8; 6], address: Ipv4Addr, asked: u64, now: u64, lease_secs: u32) {
        let until_boot_ns = asked.saturating_add(u64::from(lease_secs) * SECOND_NS);
        if let Some(earlier) = self.promises.get(&address)
            && earlier.mac != mac
            && earlier.until_boot_ns > now
        {
            let left_ms = (earlier.until_boot_ns - now) / 1_000_000;
            let other = earlier.mac;
            self.broken.double_bound += 1;
            self.tell(|| {
                format!("{address} was granted to {mac:02x?}, but is {other:02x?}'s for {left_ms} ms more")
            });
        }
        self.promises.insert(address, Promise { mac, until_boot_ns });
    }

    /// An ACK for another address than the one asked to be renewed: a promise is lost if that one's ran.
    pub fn moved(&mut self, mac: [u8; 6], asked_for: Ipv4Addr, given: Ipv4Addr, now: u64) {
        if self.holds(mac, asked_for, now) {
            self.broken.promises_lost += 1;
            self.tell(|| format!("{mac:02x?} asked for its {asked_for} and was given {given}"));
        }
    }

    /// A NAK came to `mac` at `now`, which had asked for `address`. Whether it was one in error.
    pub fn refused(&mut self, mac: [u8; 6], address: Ipv4Addr, now: u64) -> bool {
        let in_error = self.holds(mac, address, now);
        if in_error {
            self.broken.naks_in_error += 1;
            self.broken.promises_lost += 1;
            self.tell(|| format!("{mac:02x?} was refused its own {address}"));
        }
        in_error
    }

    /// The client asked again and again, with the daemon there, and nobody answered.
    pub fn ignored(&mut self, mac: [u8; 6], address: Ipv4Addr, now: u64) {
        if self.holds(mac, address, now) {
            self.broken.promises_lost += 1;
            self.tell(|| format!("{mac:02x?} was ignored for ever when it asked for its {address}"));
        }
    }

    /// The client gives the address back.
    pub fn given_back(&mut self, mac: [u8; 6], address: Ipv4Addr) {
        if self.promises.get(&address).is_some_and(|promise| promise.mac == mac) {
            self.promises.remove(&address);
        }
    }

    /// Whether `address` is promised to `mac` at `now`.
    pub fn holds(&self, mac: [u8; 6], address: Ipv4Addr, now: u64) -> bool {
        self.promises.get(&address).is_some_and(|promise| promise.mac == mac && promise.until_boot_ns > now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: [u8; 6] = [2, 1, 0, 0, 0, 1];
    const B: [u8; 6] = [2, 1, 0, 0, 0, 2];
    const ADDRESS: Ipv4Addr = Ipv4Addr::new(198, 18, 1, 0);

    fn ledger() -> Ledger {
        let mut ledger = Ledger::default();
        ledger.acked(A, ADDRESS, SECOND_NS, SECOND_NS + 5, 10);
        ledger
    }

    #[test]
    fn a_promise_ends_with_its_lease_time_from_the_question_on() {
        let mut ledger = ledger();
        assert!(ledger.holds(A, ADDRESS, 11 * SECOND_NS - 1) && !ledger.holds(A, ADDRESS, 11 * SECOND_NS));
        ledger.acked(B, ADDRESS, 10 * SECOND_NS, 11 * SECOND_NS, 10);
        assert_eq!(ledger.broken, Broken::default());
        ledger.acked(A, ADDRESS, 10 * SECOND_NS, 12 * SECOND_NS, 10);
        assert_eq!((ledger.broken.double_bound, ledger.told.len()), (1, 1));
    }

    #[test]
    fn what_was_given_back_may_be_anothers() {
        let mut ledger = ledger();
        ledger.given_back(B, ADDRESS);
        assert!(ledger.holds(A, ADDRESS, 2 * SECOND_NS));
        ledger.given_back(A, ADDRESS);
        ledger.acked(B, ADDRESS, 2 * SECOND_NS, 2 * SECOND_NS, 10);
        assert_eq!(ledger.broken, Broken::default());
    }

    #[test]
    fn a_refusal_is_in_error_while_the_promise_runs() {
        let mut ledger = ledger();
        assert!(!ledger.refused(B, ADDRESS, 2 * SECOND_NS));
        assert!(ledger.refused(A, ADDRESS, 2 * SECOND_NS));
        assert!(!ledger.refused(A, ADDRESS, 11 * SECOND_NS));
        ledger.moved(A, ADDRESS, Ipv4Addr::new(198, 18, 1, 1), 2 * SECOND_NS);
        ledger.ignored(A, ADDRESS, 2 * SECOND_NS);
        ledger.ignored(B, ADDRESS, 2 * SECOND_NS);
        assert_eq!(ledger.broken, Broken { double_bound: 0, promises_lost: 3, naks_in_error: 1 });
    }
}
