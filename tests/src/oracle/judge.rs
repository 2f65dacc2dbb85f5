//! One frame, asked of the kernel, of the shared code on the host and of the daemon; and what must hold between their
//! answers.

use std::fmt::{self, Write as _};

use anyhow::Result;
use dhcp_common::{
    limit::is_dropped,
    reason::{Counters, Reason},
};
use dhcp_user::{engine::SlowReason, server::work::Work};

use super::world::{World, receive};

/// `XDP_DROP` of linux/bpf.h.
pub const XDP_DROP: u32 = 1;
/// `XDP_PASS` of linux/bpf.h.
pub const XDP_PASS: u32 = 2;
/// `XDP_TX` of linux/bpf.h.
pub const XDP_TX: u32 = 3;
/// Shorter frames `BPF_PROG_TEST_RUN` does not take.
const KERNEL_MIN: usize = 14;

/// What became of a frame, all three being of one mind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// What the kernel counted.
    pub reason: Reason,
    /// The frame the kernel sends, or leaves.
    pub frame: Vec<u8>,
    /// What the daemon made of it; `None` if it did not reach the engine.
    pub daemon: Option<SlowReason>,
}

/// A frame on which they are not of one mind.
#[derive(Clone, Debug)]
pub struct Divergence {
    /// What is wrong.
    pub what: String,
    /// Index of the interface it came in by.
    pub interface: usize,
    /// The frame.
    pub frame: Vec<u8>,
    /// What the kernel made of it.
    pub kernel: Vec<u8>,
    /// What the other made of it, if that is the point.
    pub other: Vec<u8>,
}

impl fmt::Display for Divergence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}\ninterface {}\nframe in   {}\nkernel out {}\nother out  {}",
            self.what,
            self.interface,
            hex(&self.frame),
            hex(&self.kernel),
            hex(&self.other)
        )
    }
}

/// Octets in hexadecimal.
pub fn hex(octets: &[u8]) -> String {
    octets.iter().fold(String::with_capacity(2 * octets.len()), |mut text, octet| {
        let _ = write!(text, "{octet:02x}");
        text
    })
}

impl World {
    /// Judges a frame; the daemon's state stays as it is.
    ///
    /// # Errors
    ///
    /// When the kernel refuses to be asked. An inner error is a divergence.
    pub fn judge(&mut self, interface: usize, frame: &[u8]) -> Result<Result<Verdict, Divergence>> {
        let diverged = |what: String, kernel: &[u8], other: &[u8]| {
            let (frame, kernel, other) = (frame.to_vec(), kernel.to_vec(), other.to_vec());
            Ok(Err(Divergence { what, interface, frame, kernel, other }))
        };
        let (reason, out) = self.host.run_with_room(&self.interface(interface), frame);
        if frame.len() >= KERNEL_MIN {
            let before = self.counted;
            let trial = self.kernel.test_run(interface, frame)?;
            self.counted = self.kernel.counters()?;
            let counted = match moved(&before, &self.counted) {
                Ok(counted) => counted,
                Err(what) => return diverged(what, &trial.frame, &[]),
            };
            if counted != reason {
                let what = format!("the kernel counts {}, the host {}", counted.as_str(), reason.as_str());
                return diverged(what, &trial.frame, &out);
            }
            if trial.frame != out {
                return diverged("kernel and host leave different frames".to_owned(), &trial.frame, &out);
            }
            let action = match reason {
                Reason::Answered => XDP_TX,
                dropped if is_dropped(dropped as usize) => XDP_DROP,
                _ => XDP_PASS,
            };
            if trial.action != action {
                let what = format!("{} with action {}", reason.as_str(), trial.action);
                return diverged(what, &trial.frame, &out);
            }
        }
        let mut work = Work::default();
        let daemon = receive(&mut self.core.clone(), self.clock.now(), interface, frame, &mut work);
        if reason == Reason::Answered {
            let sent = work.send.first().map_or(&[][..], |outgoing| &outgoing.frame);
            let granted = matches!(daemon, Some(SlowReason::AckedRenewal | SlowReason::AckedRebinding));
            if !granted || work.send.len() != 1 || work.send.iter().any(|sent| sent.interface != interface) {
                let became = daemon.map_or("no message", SlowReason::as_str);
                let what = format!("the kernel answers, the daemon makes of it: {became}");
                return diverged(what, &out, sent);
            }
            if sent != out {
                return diverged("kernel and daemon answer differently".to_owned(), &out, sent);
            }
        } else if out != frame {
            return diverged(format!("{}, but the frame has changed", reason.as_str()), &out, &[]);
        }
        Ok(Ok(Verdict { reason, frame: out, daemon }))
    }
}

/// The one counter that moved by one.
fn moved(before: &Counters, after: &Counters) -> Result<Reason, String> {
    let mut moved = Reason::ALL
        .iter()
        .map(|&reason| (reason, after.get(reason).wrapping_sub(before.get(reason))))
        .filter(|(_, by)| *by != 0);
    match (moved.next(), moved.next()) {
        (Some((reason, 1)), None) => Ok(reason),
        (None, _) => Err("no counter moved".to_owned()),
        (first, second) => Err(format!("these counters moved: {first:?} {second:?}")),
    }
}

/// The frame nearest to `base` on which `fails` still holds: octets that need not differ are put back, a length that
/// need not differ too. What is left is what matters.
pub fn shrink(base: &[u8], failing: &[u8], mut fails: impl FnMut(&[u8]) -> bool) -> Vec<u8> {
    let mut best = failing.to_vec();
    if best.len() != base.len() {
        let mut same_length = best.clone();
        same_length.resize(base.len(), 0);
        if let Some(rest) = base.get(best.len()..) {
            same_length.truncate(best.len());
            same_length.extend_from_slice(rest);
        }
        if fails(&same_length) {
            best = same_length;
        }
    }
    for (at, &octet) in base.iter().enumerate() {
        let mut nearer = best.clone();
        match nearer.get_mut(at) {
            Some(differs) if *differs != octet => *differs = octet,
            _ => continue,
        }
        if fails(&nearer) {
            best = nearer;
        }
    }
    best
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shrinking_leaves_what_matters() {
        let fails = |frame: &[u8]| frame.get(3) == Some(&9);
        assert_eq!(shrink(&[1, 2, 3, 4], &[7, 2, 8, 9, 5, 6], fails), [1, 2, 3, 9]);
        assert_eq!(shrink(&[1, 2, 3, 4, 5], &[7, 7, 7, 9], fails), [1, 2, 3, 9, 5]);
        let long = |frame: &[u8]| frame.len() > 4;
        assert_eq!(shrink(&[1, 2], &[3, 4, 5, 6, 7], long), [1, 2, 5, 6, 7]);
    }

    #[test]
    fn exactly_one_counter_by_one() {
        let before = Counters::default();
        let one = Counters { answered: 1, ..before };
        assert_eq!(moved(&before, &one), Ok(Reason::Answered));
        assert!(moved(&before, &before).is_err());
        assert!(moved(&before, &Counters { answered: 2, ..before }).is_err());
        assert!(moved(&before, &Counters { horizon: 1, ..one }).is_err());
    }
}
