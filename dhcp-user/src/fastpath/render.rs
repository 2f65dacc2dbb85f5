//! An answer for the kernel, from the reply that the engine would send.
//!
//! What the reply takes from the request at hand (`xid`, `flags`, addresses, hardware address, options 61 and 82) is
//! left out; the rest is what every client whose reply is otherwise the same can share. Nothing rendered is trusted:
//! [`Rendering::new`] replays the answer with the kernel's own code and compares every octet of the frame.

use std::{cell::UnsafeCell, num::NonZeroU64, ptr::NonNull};

use dhcp_common::{
    abi::{Answer, Block, Control, Echo, Form, LeaseEntry, flag},
    checksum,
    frame::{Scratch, SliceFrame},
    reason::Reason,
    renewal::{self, Maps},
    reply,
    request::{Interface, Renewal},
    wire::{ANSWER_OPTIONS_MAX, BOOTP_MIN_LEN, BOOTP_OPTIONS, ECHO_MAX, REQUEST_OPTIONS_MAX},
};

use crate::engine::options::code;

/// The longest frame the kernel can answer with: two tags and the longest answer.
const FRAME_MAX: usize = 22 + 28 + BOOTP_OPTIONS + ANSWER_OPTIONS_MAX;

/// Why the kernel cannot be given an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unpublishable {
    /// The request is not one the kernel looks at.
    #[error("the request is not one the kernel answers: {}", .0.as_str())]
    Request(Reason),
    /// The request's options do not end in END and zeros, so that what is missing could not be told from padding.
    #[error("the request's options do not end in END and zeros")]
    NoEnd,
    /// The reply is shorter or longer than the kernel can hold.
    #[error("the reply has {0} octets, not 300 to 560")]
    Length(usize),
    /// The replayed answer is not the reply: something in it depends on the request in a way the kernel does not know.
    #[error("the replayed answer differs from the reply")]
    Differs,
    /// The answer table is full.
    #[error("the answer table is full")]
    TableFull,
}

/// An answer that fits a request.
#[derive(Clone, Debug)]
pub struct Rendering {
    /// What can be shared.
    pub answer: Answer,
    /// The checksum share of what the answer repeats from this client's request.
    pub echo_sum: u16,
    /// How the request came.
    pub form: Form,
    renewal: Renewal,
}

/// What a rendering is made from.
#[derive(Clone, Copy, Debug)]
pub struct Exchange<'a> {
    /// The renewal, as a whole frame.
    pub request: &'a [u8],
    /// The frame the daemon would send in answer.
    pub reply: &'a [u8],
    /// The interface it came from.
    pub interface: &'a Interface,
    /// The lease time granted, seconds.
    pub lease_secs: u32,
    /// The configuration's generation.
    pub generation: u32,
    /// Whether the same request sent to 255.255.255.255 is answered the same.
    pub broadcast: bool,
}

impl Rendering {
    /// Renders the answer of an exchange.
    ///
    /// # Errors
    /// Why the kernel cannot be given one; the daemon then goes on answering this client itself.
    pub fn new(exchange: &Exchange<'_>) -> Result<Self, Unpublishable> {
        let mut request = exchange.request.to_vec();
        let len = request.len();
        let frame = SliceFrame::new(&mut request, len).ok_or(Unpublishable::Request(Reason::Truncated))?;
        let renewal = Renewal::find(&frame, exchange.interface).map_err(Unpublishable::Request)?;
        let payload_at = renewal.datagram.payload();
        let bootp = exchange
            .request
            .get(payload_at..payload_at + renewal.datagram.payload_len)
            .ok_or(Unpublishable::Request(Reason::Truncated))?;
        let options = bootp.get(BOOTP_OPTIONS..).unwrap_or(&[]);
        if options.len() > REQUEST_OPTIONS_MAX {
            return Err(Unpublishable::Request(Reason::OptionsTooLong));
        }
        if !ends_in_end(options) {
            return Err(Unpublishable::NoEnd);
        }
        let reply = exchange.reply.get(payload_at..).unwrap_or(&[]);
        let (answer, echo_sum) = answer_from(bootp, reply, exchange, &renewal)?;
        Ok(Self { answer, echo_sum, form: renewal.form, renewal })
    }

    /// The request's fingerprint, if the answer has `index`.
    ///
    /// # Errors
    /// [`Unpublishable::Differs`] if the kernel's code, given this answer, would not send exactly the reply.
    pub fn fingerprint(
        &self,
        exchange: &Exchange<'_>,
        control: &Control,
        index: u32,
    ) -> Result<NonZeroU64, Unpublishable> {
        let mut buffer = [0; FRAME_MAX];
        let mut frame = copy_into(&mut buffer, exchange.request)?;
        let fingerprint =
            renewal::fingerprint(&frame, control, &self.renewal, exchange.interface, index, self.echo_sum)
                .map_err(Unpublishable::Request)?;
        let replay = Replay::new(self, control, index, fingerprint);
        let reason = renewal::answer(&mut frame, &replay, exchange.interface);
        let replayed = reason == Reason::Answered && frame.octets() == exchange.reply;
        // One of 0 could not be told from none; there is none (`Fingerprint::finish`).
        NonZeroU64::new(fingerprint).filter(|_| replayed).ok_or(Unpublishable::Differs)
    }
}

/// The request in a buffer it can grow in.
fn copy_into<'a>(buffer: &'a mut [u8; FRAME_MAX], frame: &[u8]) -> Result<SliceFrame<'a>, Unpublishable> {
    let too_long = Unpublishable::Request(Reason::OptionsTooLong);
    buffer.get_mut(..frame.len()).ok_or(too_long)?.copy_from_slice(frame);
    SliceFrame::new(buffer, frame.len()).ok_or(too_long)
}

fn answer_from(
    request: &[u8],
    reply: &[u8],
    exchange: &Exchange<'_>,
    renewal: &Renewal,
) -> Result<(Answer, u16), Unpublishable> {
    let length = Unpublishable::Length(reply.len());
    if reply.len() < BOOTP_MIN_LEN {
        return Err(length);
    }
    let options = reply.get(BOOTP_OPTIONS..).ok_or(length)?;
    let mut answer = Answer {
        generation: exchange.generation,
        lease_secs: exchange.lease_secs,
        bootp_len: u16::try_from(reply.len()).map_err(|_| length)?,
        ..Answer::default()
    };
    answer.options.get_mut(..options.len()).ok_or(length)?.copy_from_slice(options);
    let ipv4 = exchange.reply.get(renewal.datagram.ipv4..).unwrap_or(&[]);
    answer.server = field(ipv4, 12).ok_or(length)?;
    answer.siaddr = field(reply, 20).ok_or(length)?;
    answer.names = field(reply, 44).ok_or(length)?;
    if answer.names.iter().any(|&octet| octet != 0) {
        answer.flags |= flag::NAMES;
    }

    if exchange.broadcast {
        answer.flags |= flag::BROADCAST;
    }

    let mut echo_sum = 0;
    let mut echoes = answer.echo.iter_mut();
    for code in [code::CLIENT_IDENTIFIER, code::RELAY_INFORMATION] {
        let (Some(from), Some(to)) = (find_option(request, code), find_option(reply, code)) else { continue };
        let (asked, said) = (request.get(from.clone()), reply.get(to.clone()));
        let (Some(asked), Some(said), Some(slot)) = (asked, said, echoes.next()) else { continue };
        if asked != said || said.len() > ECHO_MAX {
            continue;
        }
        *slot = Echo {
            from: u16::try_from(from.start).map_err(|_| length)?,
            to: u16::try_from(to.start).map_err(|_| length)?,
            len: u16::try_from(said.len()).map_err(|_| length)?,
            reserved: 0,
        };
        let sum = checksum::sum(said);
        echo_sum += if to.start % 2 == 1 { checksum::shift_odd(sum) } else { sum };
        if let Some(hole) = answer.options.get_mut(to.start - BOOTP_OPTIONS..to.end - BOOTP_OPTIONS) {
            hole.fill(0);
        }
    }

    let mut constant = reply.to_vec();
    for (at, len) in [(4, 4), (10, 2), (12, 8), (24, 4), (28, 16)] {
        if let Some(variable) = constant.get_mut(at..at + len) {
            variable.fill(0);
        }
    }
    for echo in answer.echo {
        let to = usize::from(echo.to);
        if let Some(repeated) = constant.get_mut(to..to + usize::from(echo.len)) {
            repeated.fill(0);
        }
    }
    answer.sum = reply::constant_sum(&constant, answer.server, renewal.form == Form::Relayed);
    Ok((answer, checksum::fold(echo_sum)))
}

fn field<const N: usize>(message: &[u8], at: usize) -> Option<[u8; N]> {
    message.get(at..)?.first_chunk().copied()
}

/// Whether an option area is well-formed up to an END with nothing but zeros behind it.
fn ends_in_end(options: &[u8]) -> bool {
    let mut rest = options;
    loop {
        match *rest {
            [code::END, ref padding @ ..] => return padding.iter().all(|&octet| octet == code::PAD),
            [code::PAD, ref next @ ..] => rest = next,
            [_, len, ref next @ ..] => match next.get(usize::from(len)..) {
                Some(next) => rest = next,
                None => return false,
            },
            [] | [_] => return false,
        }
    }
}

/// Where an option stands in a BOOTP message, code and length octets included; `None` if it is not there exactly once.
fn find_option(message: &[u8], code: u8) -> Option<std::ops::Range<usize>> {
    let mut at = BOOTP_OPTIONS;
    let mut found = None;
    loop {
        match *message.get(at)? {
            code::END => return found,
            code::PAD => at += 1,
            this => {
                let end = at + 2 + usize::from(*message.get(at + 1)?);
                if end > message.len() {
                    return None;
                }
                if this == code && found.replace(at..end).is_some() {
                    return None;
                }
                at = end;
            }
        }
    }
}

/// The maps as they would be with one answer and one lease.
struct Replay<'a> {
    control: Control,
    rendering: &'a Rendering,
    index: u32,
    entry: UnsafeCell<LeaseEntry>,
    scratch: UnsafeCell<Scratch>,
}

impl<'a> Replay<'a> {
    fn new(rendering: &'a Rendering, control: &Control, index: u32, fingerprint: u64) -> Self {
        let renewal = &rendering.renewal;
        let mut entry = LeaseEntry {
            horizon_boot_ns: u64::MAX,
            address: renewal.ciaddr,
            chaddr: renewal.mac(),
            generation: control.generation,
            ..LeaseEntry::default()
        };
        let form = renewal.form as usize;
        for (at, ((print, answer), sum)) in
            entry.fingerprints.iter_mut().zip(&mut entry.answers).zip(&mut entry.echo_sums).enumerate()
        {
            if at == form {
                (*print, *answer, *sum) = (fingerprint, index, rendering.echo_sum);
            }
        }
        Self {
            control: Control { authority_until_boot_ns: u64::MAX, ..*control },
            rendering,
            index,
            entry: UnsafeCell::new(entry),
            scratch: UnsafeCell::new([0; size_of::<Scratch>()]),
        }
    }
}

impl Maps for Replay<'_> {
    fn control(&self) -> Option<&Control> {
        Some(&self.control)
    }

    fn block(&self, prefix: [u8; 4]) -> Option<Block> {
        Some(Block { prefix, first: 0, low: 0, high: u8::MAX, reserved: [0; 6] })
    }

    fn lease(&self, _: u32) -> Option<NonNull<LeaseEntry>> {
        NonNull::new(self.entry.get())
    }

    fn answer(&self, index: u32) -> Option<&Answer> {
        (index == self.index).then_some(&self.rendering.answer)
    }

    fn scratch(&self) -> Option<&mut Scratch> {
        // SAFETY: a replay is used by one frame at a time, on one thread (`UnsafeCell` makes it not `Sync`), and the
        // shared code asks for the scratch once per frame.
        Some(unsafe { &mut *self.scratch.get() })
    }

    fn now_boot_ns(&self) -> u64 {
        0
    }
}
