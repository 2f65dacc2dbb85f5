//! The decision: does this frame renew a lease that may be granted again right now, and with which answer?
//!
//! Every check is made, and everything that can fail has succeeded, before [`crate::reply`] writes the first octet.

use core::ptr::NonNull;

use crate::{
    abi::{Answer, Block, Control, LeaseEntry, flag},
    fingerprint::{Fingerprint, Subject, halves, words},
    frame::{Frame, Scratch},
    lease_cell::LeaseCell,
    reason::Reason,
    reply,
    request::{Interface, Renewal},
    wire::{BOOTP_OPTIONS, BROADCAST, REQUEST_OPTIONS_MAX},
};

/// The maps and the clock.
pub trait Maps {
    /// The control block.
    fn control(&self) -> Option<&Control>;
    /// The block of addresses that `prefix` (last octet 0) begins.
    fn block(&self, prefix: [u8; 4]) -> Option<Block>;
    /// The lease entry at `index`, valid for reads and writes while `self` lives.
    fn lease(&self, index: u32) -> Option<NonNull<LeaseEntry>>;
    /// The answer at `index`.
    fn answer(&self, index: u32) -> Option<&Answer>;
    /// Room for the request's options, nobody else's while the frame is being answered.
    #[expect(clippy::mut_from_ref, reason = "the kernel's scratch is a map value of this processor's own")]
    fn scratch(&self) -> Option<&mut Scratch>;
    /// The boot clock.
    fn now_boot_ns(&self) -> u64;
}

const NANOS_PER_SEC: u64 = 1_000_000_000;
/// Bounds a length of options for the verifier.
const LEN_MASK: usize = (REQUEST_OPTIONS_MAX + 1).next_power_of_two() - 1;

/// Answers a renewal, or says why not. Unless [`Reason::Answered`] (or the impossible [`Reason::WriteFailed`]) comes
/// back, the frame is as it was.
#[inline(always)]
pub fn answer<F: Frame, M: Maps>(frame: &mut F, maps: &M, interface: &Interface) -> Reason {
    match decide(frame, maps, interface) {
        Ok(Grant { renewal, answer, lease, echo_sum, now_boot_ns }) => {
            let reason = reply::write(frame, maps, interface, &renewal, answer, echo_sum);
            if matches!(reason, Reason::Answered) {
                lease.mark(now_boot_ns);
            }
            reason
        }
        Err(reason) => reason,
    }
}

/// A renewal that may be granted.
#[derive(Clone, Copy, Debug)]
pub struct Grant<'m> {
    /// The request.
    pub renewal: Renewal,
    /// What to answer.
    pub answer: &'m Answer,
    /// The lease to mark.
    pub lease: LeaseCell,
    /// The checksum share of the repeated options.
    pub echo_sum: u16,
    /// The moment of the grant.
    pub now_boot_ns: u64,
}

/// Checks everything that does not change the frame.
///
/// # Errors
/// The one reason why the frame is not answered.
#[inline(always)]
pub fn decide<'m, F: Frame, M: Maps>(
    frame: &F,
    maps: &'m M,
    interface: &Interface,
) -> Result<Grant<'m>, Reason> {
    let (renewal, found) = Renewal::find_and(frame, interface, |address| look_up(maps, address))?;
    let control = maps.control().ok_or(Reason::Authority)?;
    let (lease, horizon_boot_ns) = found?;
    if horizon_boot_ns == 0 || lease.address_word() != u32::from_ne_bytes(renewal.ciaddr) {
        return Err(Reason::NoLease);
    }
    if lease.chaddr_word() != renewal.chaddr_word() {
        return Err(Reason::OtherClient);
    }
    if lease.generation() != control.generation {
        return Err(Reason::OldGeneration);
    }
    let expected = lease.fingerprint(renewal.form);
    if expected == 0 {
        return Err(Reason::UnknownForm);
    }
    let index = lease.answer(renewal.form);
    let answer = maps.answer(index).ok_or(Reason::NoAnswer)?;
    if answer.generation != control.generation {
        return Err(Reason::NoAnswer);
    }
    let destination = renewal.datagram.destination;
    // A request to another of our addresses would be answered from that one; one to all, perhaps not at all.
    if destination != answer.server && (destination != BROADCAST || answer.flags & flag::BROADCAST == 0) {
        return Err(Reason::OtherAddress);
    }
    let echo_sum = lease.echo_sum(renewal.form);
    if fingerprint(frame, control, &renewal, interface, index, echo_sum)? != expected {
        return Err(Reason::Fingerprint);
    }
    let now_boot_ns = maps.now_boot_ns();
    if now_boot_ns >= control.authority_until_boot_ns {
        return Err(Reason::Authority);
    }
    // Nothing may be promised that is not already durable.
    if now_boot_ns + u64::from(answer.lease_secs) * NANOS_PER_SEC > horizon_boot_ns {
        return Err(Reason::Horizon);
    }
    Ok(Grant { renewal, answer, lease, echo_sum, now_boot_ns })
}

/// The entry where the lease of an address would be, and its horizon: reading that asks for the cache line.
///
/// # Errors
/// [`Reason::UnknownAddress`].
#[inline(always)]
pub fn look_up<M: Maps>(maps: &M, address: [u8; 4]) -> Result<(LeaseCell, u64), Reason> {
    find_lease(maps, address).map(|lease| (lease, lease.horizon_boot_ns()))
}

/// The entry where the lease of an address would be.
#[inline(always)]
pub(crate) fn find_lease<M: Maps>(maps: &M, address: [u8; 4]) -> Result<LeaseCell, Reason> {
    let [a, b, c, last] = address;
    let block = maps.block([a, b, c, 0]).ok_or(Reason::UnknownAddress)?;
    if last < block.low || last > block.high {
        return Err(Reason::UnknownAddress);
    }
    let index = block.first.wrapping_add(u32::from(last - block.low));
    let entry = maps.lease(index).ok_or(Reason::UnknownAddress)?;
    // SAFETY: `Maps::lease` promises a pointer valid while the maps live, and nobody holds references to entries.
    Ok(unsafe { LeaseCell::new(entry) })
}

/// The fingerprint of a renewal that is to be answered with answer `index`, whose repeated options sum to `echo_sum`.
///
/// # Errors
/// [`Reason::OptionsTooLong`].
#[inline(always)]
pub fn fingerprint<F: Frame>(
    frame: &F,
    control: &Control,
    renewal: &Renewal,
    interface: &Interface,
    index: u32,
    echo_sum: u16,
) -> Result<u64, Reason> {
    let subject = Subject {
        kind: renewal.kind,
        unused_addresses: renewal.unused_addresses,
        giaddr: renewal.giaddr,
        ciaddr: renewal.ciaddr,
        chaddr: renewal.chaddr,
        interface: interface.number,
        vlans: renewal.datagram.vlans,
        answer: index,
        generation: control.generation,
        echo_sum,
        form: renewal.form,
    };
    let mut print = Fingerprint::of(&subject, control);
    let options = renewal.datagram.payload() + BOOTP_OPTIONS;
    let options_len = renewal.datagram.payload_len - BOOTP_OPTIONS;
    if options_len > REQUEST_OPTIONS_MAX {
        return Err(Reason::OptionsTooLong);
    }
    // Forgotten here, or the verifier would go on once for every length the loop can end at; and hidden from the
    // optimiser, which would use one register for both.
    let end_len = frame.forget(options_len) & LEN_MASK;
    let options_len = frame.forget(core::hint::black_box(end_len)) & LEN_MASK;
    let mut i = 0;
    // Two words a turn halve the checks, for the verifier and for the processor.
    while i < REQUEST_OPTIONS_MAX / 16 && (i + 1) * 16 <= options_len {
        // Hidden from the optimiser, which would count from a negative offset, which the verifier does not follow.
        let at = core::hint::black_box(options + i * 16);
        let octets = frame.bytes::<16>(at).ok_or(Reason::Truncated)?;
        let [a, b, c, d] = halves(octets);
        print.option_word(2 * i, [a, b], control);
        print.option_word(2 * i + 1, [c, d], control);
        i += 1;
    }
    // The octets after the last whole sixteen, read as the end of the sixteen before the end, so that nothing behind is
    // read; the offset is hidden from the optimiser, which would else check its end instead of its start.
    let at = core::hint::black_box(options + end_len - 16);
    let octets = frame.bytes::<16>(at).ok_or(Reason::Truncated)?;
    let [low, high] = last_words(words(octets), end_len % 16);
    let index = end_len / 16 * 2;
    print.option_word(index, [low as u32, (low >> 32) as u32], control);
    print.option_word(index + 1, [high as u32, (high >> 32) as u32], control);
    Ok(print.finish())
}

/// The last `left` (0 to 15) of sixteen octets, moved to the front, zeros behind.
#[inline(always)]
const fn last_words([low, high]: [u64; 2], left: usize) -> [u64; 2] {
    // Shifts by a whole word are made in two steps, for neither machine has them.
    let away = (16 - left) * 8;
    if left > 8 {
        [low >> away | high << (64 - away), high >> away]
    } else {
        let away = away - 64;
        [(high >> (away / 2)) >> (away - away / 2), 0]
    }
}
