//! The answer, written over the request.
//!
//! What [`write`] needs is checked and the frame brought to its new length before the first octet changes; after that
//! nothing can fail, because every offset lies inside the length just set.

use crate::{
    abi::{Answer, Echo, Form, flag},
    checksum,
    frame::{Frame, Resized, Scratch},
    lease_cell::CHADDR_MASK,
    reason::Reason,
    renewal::Maps,
    request::{Interface, Renewal, part},
    wire::{
        ANSWER_OPTIONS_MAX, BOOTP_MIN_LEN, BOOTP_OPTIONS, BOOTREPLY, ECHO_MAX, ETHERNET_LEN, HEADERS_LEN,
        IPV4_LEN, IPV4_UDP_LEN, NAMES_LEN, PORT_CLIENT, PORT_SERVER, PROTOCOL_UDP, REPLY_TTL,
        REQUEST_OPTIONS_MAX, UDP_LEN,
    },
};

/// Writes `answer` over the renewal in `frame`.
#[inline(always)]
pub fn write<F: Frame, M: Maps>(
    frame: &mut F,
    maps: &M,
    interface: &Interface,
    renewal: &Renewal,
    answer: &Answer,
    echo_sum: u16,
) -> Reason {
    let bootp_len = usize::from(answer.bootp_len);
    if !(BOOTP_MIN_LEN..=BOOTP_OPTIONS + ANSWER_OPTIONS_MAX).contains(&bootp_len) {
        return Reason::NoAnswer;
    }
    let payload = renewal.datagram.payload();
    let [first, second] = &answer.echo;
    if first.len != 0 && (room_for(first, answer) | room_for(second, answer)) < 0 {
        return Reason::NoAnswer;
    }
    // Saved before anything moves: the answer's options will lie over the request's.
    let Some(saved) = Saved::of(frame, maps, renewal, answer) else { return Reason::NoAnswer };
    match frame.resize(payload + bootp_len, payload + BOOTP_OPTIONS) {
        Resized::Done => {}
        Resized::NoRoom => return Reason::NoTailroom,
        Resized::Damaged => return Reason::WriteFailed,
    }
    if !write_headers(frame, interface, renewal, answer, echo_sum)
        || !write_options(frame, payload + BOOTP_OPTIONS, answer)
    {
        return Reason::WriteFailed;
    }
    if answer.flags & flag::NAMES != 0 && !frame.store(payload + 44, &answer.names, NAMES_LEN) {
        return Reason::WriteFailed;
    }
    if saved.write(frame, payload, answer) { Reason::Answered } else { Reason::WriteFailed }
}

/// Negative if an echo does not lie inside the options of request and answer.
///
/// One number instead of five comparisons: none of the differences below may be negative, so their signs are joined.
#[inline(always)]
fn room_for(echo: &Echo, answer: &Answer) -> i32 {
    const OPTIONS: i32 = BOOTP_OPTIONS as i32;
    const REQUEST_END: i32 = (BOOTP_OPTIONS + REQUEST_OPTIONS_MAX) as i32;
    let (from, to, len) = (i32::from(echo.from), i32::from(echo.to), i32::from(echo.len));
    (ECHO_MAX as i32 - len)
        | (from - OPTIONS)
        | (REQUEST_END - 1 - from)
        | (to - OPTIONS)
        | (i32::from(answer.bootp_len) - to - len)
}

/// Octets of an echo that two words hold: the client identifier of a hardware address, and what most relay agents say.
const SHORT: core::ops::RangeInclusive<u16> = 8..=16;

/// What the answer repeats of the request. The fingerprint vouches that it is where it was in the request the answer was
/// rendered for.
enum Saved<'m> {
    /// Nothing.
    Nothing,
    /// The first and the last eight octets of each echo; they may overlap.
    Short([u64; 2], [u64; 2]),
    /// All options of the request.
    Long(&'m Scratch),
}

impl<'m> Saved<'m> {
    #[inline(always)]
    fn of<F: Frame, M: Maps>(frame: &F, maps: &'m M, renewal: &Renewal, answer: &Answer) -> Option<Self> {
        let [first, second] = &answer.echo;
        if first.len == 0 {
            return Some(Self::Nothing);
        }
        let payload = renewal.datagram.payload();
        if SHORT.contains(&first.len) && (second.len == 0 || SHORT.contains(&second.len)) {
            let saved = short(frame, payload, first)?;
            let second = if second.len == 0 { saved } else { short(frame, payload, second)? };
            return Some(Self::Short(saved, second));
        }
        let scratch = maps.scratch()?;
        let len = renewal.datagram.payload_len - BOOTP_OPTIONS;
        frame.load(payload + BOOTP_OPTIONS, scratch, len).then_some(Self::Long(scratch))
    }

    #[inline(always)]
    fn write<F: Frame>(&self, frame: &mut F, payload: usize, answer: &Answer) -> bool {
        let [first, second] = &answer.echo;
        match self {
            Self::Nothing => true,
            Self::Short(one, other) => {
                write_short(frame, payload, first, one)
                    && (second.len == 0 || write_short(frame, payload, second, other))
            }
            Self::Long(scratch) => {
                write_long(frame, payload, first, scratch) && write_long(frame, payload, second, scratch)
            }
        }
    }
}

/// A bound on where in a message an echo can be, for the verifier; [`room_for`] has checked the echo itself.
const OFFSET_MASK: usize = 1023;

/// The first and the last eight octets of an echo in the request.
#[inline(always)]
fn short<F: Frame>(frame: &F, payload: usize, echo: &Echo) -> Option<[u64; 2]> {
    let from = payload + (usize::from(echo.from) & OFFSET_MASK);
    let head = u64::from_ne_bytes(*frame.bytes::<8>(from)?);
    let tail = u64::from_ne_bytes(*frame.bytes::<8>(from + tail_of(echo))?);
    Some([head, tail])
}

/// How far the last eight octets of a short echo are behind its first. Hidden from the optimiser, which would leave the
/// bound out, and move the subtraction into an address, where the verifier does not follow.
#[inline(always)]
fn tail_of(echo: &Echo) -> usize {
    core::hint::black_box(usize::from(echo.len).wrapping_sub(8)) & 15
}

#[inline(always)]
fn write_short<F: Frame>(frame: &mut F, payload: usize, echo: &Echo, [head, tail]: &[u64; 2]) -> bool {
    let to = payload + (usize::from(echo.to) & OFFSET_MASK);
    let Some(place) = frame.bytes_at_mut::<8>(to) else { return false };
    *place = head.to_ne_bytes();
    let Some(place) = frame.bytes_at_mut::<8>(to + tail_of(echo)) else { return false };
    *place = tail.to_ne_bytes();
    true
}

#[inline(always)]
fn write_long<F: Frame>(frame: &mut F, payload: usize, echo: &Echo, scratch: &Scratch) -> bool {
    // Read anew, so that the verifier need not remember across the writes which of the two there are.
    let echo = core::hint::black_box(echo);
    let start = usize::from(echo.from).wrapping_sub(BOOTP_OPTIONS);
    echo.len == 0 || frame.store_from(payload + usize::from(echo.to), scratch, start, usize::from(echo.len))
}

/// Octets of options that every answer has.
const OPTIONS_MIN: usize = BOOTP_MIN_LEN - BOOTP_OPTIONS;
/// Octets of options beyond those that are written without asking how many there are.
const LAST: usize = 16;

/// The options behind the first [`OPTIONS_MIN`] octets, which [`write_headers`] has written.
#[inline(always)]
fn write_options<F: Frame>(frame: &mut F, at: usize, answer: &Answer) -> bool {
    let len = usize::from(answer.bootp_len) - BOOTP_OPTIONS;
    if len > OPTIONS_MIN + LAST {
        return frame.store(at, &answer.options, len);
    }
    // The last sixteen octets, of which some are written already.
    let start = OPTIONS_MIN - LAST + ((len - OPTIONS_MIN) & 31);
    let Some(place) = frame.bytes_at_mut::<LAST>(at + start) else { return false };
    let Some(last) = answer.options.get(start..).and_then(<[u8]>::first_chunk::<LAST>) else { return false };
    copy_word(place, 0, last, 0);
    copy_word(place, 8, last, 8);
    true
}

/// Where an answer of this form is sent: the relay agent, or the client's own address (RFC 2131 section 4.1).
///
/// Without a branch: direct and relayed are one way for the verifier, and for the processor's branch predictor.
#[inline(always)]
fn destination(form: Form, ciaddr: [u8; 4], giaddr: [u8; 4]) -> ([u8; 4], u16) {
    let relayed = form as u32;
    let (ciaddr, giaddr) = (u32::from_ne_bytes(ciaddr), u32::from_ne_bytes(giaddr));
    let address = ciaddr ^ ((ciaddr ^ giaddr) & relayed.wrapping_neg());
    (address.to_ne_bytes(), PORT_CLIENT - relayed as u16)
}

const _: () =
    assert!(Form::Direct as u32 == 0 && Form::Relayed as u32 == 1 && PORT_CLIENT - 1 == PORT_SERVER);

/// Ethernet, IPv4, UDP, the fixed part of BOOTP but for `sname` and `file`, and the first [`OPTIONS_MIN`] octets of
/// options.
#[inline(always)]
#[expect(clippy::indexing_slicing, reason = "constant indices below the arrays' constant lengths")]
#[expect(clippy::cast_possible_truncation, reason = "bootp_len is at most 560")]
fn write_headers<F: Frame>(
    frame: &mut F,
    interface: &Interface,
    renewal: &Renewal,
    answer: &Answer,
    echo_sum: u16,
) -> bool {
    // Every answer has so many octets.
    const LEN: usize = HEADERS_LEN + OPTIONS_MIN;
    let Some((ethernet, rest)) = frame.bytes_mut::<ETHERNET_LEN, LEN>(renewal.datagram.ipv4) else {
        return false;
    };
    // In words that overlap: the client's address and the start of ours, then ours and the type.
    let source_and_type = u64::from_le_bytes(part(ethernet, 6));
    let ours = interface.mac_word();
    ethernet[..8].copy_from_slice(&(source_and_type & CHADDR_MASK | ours << 48).to_le_bytes());
    ethernet[6..].copy_from_slice(&(source_and_type & !CHADDR_MASK | ours).to_le_bytes());

    let b = IPV4_UDP_LEN;
    // Read anew, where they stand: kept since the decision they would cost stack, of which the verifier counts every octet.
    let (ciaddr, giaddr): ([u8; 4], [u8; 4]) = (part(rest, b + 12), part(rest, b + 24));
    let (to, port) = destination(renewal.form, ciaddr, giaddr);
    let udp_len = (UDP_LEN + usize::from(answer.bootp_len)) as u16;
    let ipv4 = ipv4_header(udp_len, answer.server, to);
    rest[..IPV4_LEN].copy_from_slice(&ipv4);

    let sum = u64::from(answer.sum)
        + u64::from(echo_sum)
        + word(part(rest, b + 4)) // xid
        + u64::from(u16::from_ne_bytes(part(rest, b + 10))) // flags
        + 2 * word(ciaddr)
        + word(giaddr)
        + word(to)
        + word(part(rest, b + 28)) // chaddr
        + word(part(rest, b + 32))
        + word(part(rest, b + 36))
        + word(part(rest, b + 40));
    rest[20..22].copy_from_slice(&PORT_SERVER.to_be_bytes());
    rest[22..24].copy_from_slice(&port.to_be_bytes());
    rest[24..26].copy_from_slice(&udp_len.to_be_bytes());
    rest[26..28].copy_from_slice(&checksum::udp_field(sum));

    rest[b] = BOOTREPLY;
    rest[b + 3] = 0; // hops
    rest[b + 8..b + 10].copy_from_slice(&[0, 0]); // secs
    rest[b + 16..b + 20].copy_from_slice(&ciaddr); // yiaddr
    rest[b + 20..b + 24].copy_from_slice(&answer.siaddr);
    // Word by word: a copy of many octets at an odd address would be one of single octets. The last word overlaps.
    copy_word(rest, HEADERS_LEN, &answer.options, 0);
    copy_word(rest, HEADERS_LEN + 8, &answer.options, 8);
    copy_word(rest, HEADERS_LEN + 16, &answer.options, 16);
    copy_word(rest, HEADERS_LEN + 24, &answer.options, 24);
    copy_word(rest, HEADERS_LEN + 32, &answer.options, 32);
    copy_word(rest, HEADERS_LEN + 40, &answer.options, 40);
    copy_word(rest, HEADERS_LEN + 48, &answer.options, 48);
    copy_word(rest, HEADERS_LEN + OPTIONS_MIN - 8, &answer.options, OPTIONS_MIN - 8);
    true
}

/// Copies eight octets. Both places are in their arrays.
#[inline(always)]
fn copy_word<const A: usize, const B: usize>(to: &mut [u8; A], at: usize, from: &[u8; B], offset: usize) {
    let word = u64::from_ne_bytes(part(from, offset));
    if let Some(place) = to.get_mut(at..).and_then(<[u8]>::first_chunk_mut) {
        *place = word.to_ne_bytes();
    }
}

const _: () = assert!(OPTIONS_MIN > 56 && OPTIONS_MIN <= 64, "eight words are all of it");

/// An IPv4 header as all our replies carry it: no options, not to be fragmented, identification 0.
#[inline(always)]
pub fn ipv4_header(udp_len: u16, source: [u8; 4], destination: [u8; 4]) -> [u8; IPV4_LEN] {
    let [len_a, len_b] = (udp_len + IPV4_LEN as u16).to_be_bytes();
    let fixed = word([0x45, 0, len_a, len_b]) + word([0, 0, 0x40, 0]) + word([REPLY_TTL, PROTOCOL_UDP, 0, 0]);
    let [c0, c1] = checksum::field(fixed + word(source) + word(destination));
    // In words, or the octets are written one by one.
    let mut header = [0; IPV4_LEN];
    put_word(&mut header, 0, [0x45, 0, len_a, len_b]);
    put_word(&mut header, 4, [0, 0, 0x40, 0]);
    put_word(&mut header, 8, [REPLY_TTL, PROTOCOL_UDP, c0, c1]);
    put_word(&mut header, 12, source);
    put_word(&mut header, 16, destination);
    header
}

#[inline(always)]
fn put_word<const N: usize>(to: &mut [u8; N], at: usize, octets: [u8; 4]) {
    let word = u32::from_ne_bytes(octets);
    if let Some(place) = to.get_mut(at..).and_then(<[u8]>::first_chunk_mut) {
        *place = word.to_ne_bytes();
    }
}

/// The share of the checksum that is the same for every request `answer` fits: what [`Answer::sum`] holds.
///
/// `payload` is the BOOTP message with everything taken from the request set to zero: `xid`, `flags`, `ciaddr`,
/// `yiaddr`, `giaddr`, `chaddr` and the echoed options.
pub fn constant_sum(payload: &[u8], server: [u8; 4], relayed: bool) -> u32 {
    let [port_a, port_b] = (if relayed { PORT_SERVER } else { PORT_CLIENT }).to_be_bytes();
    let [from_a, from_b] = PORT_SERVER.to_be_bytes();
    #[expect(clippy::cast_possible_truncation, reason = "an answer's payload is at most 560 octets")]
    let [len_a, len_b] = ((UDP_LEN + payload.len()) as u16).to_be_bytes();
    let sum = checksum::sum(payload)
        + word(server)
        + word([0, PROTOCOL_UDP, len_a, len_b])
        + word([from_a, from_b, port_a, port_b])
        + word([len_a, len_b, 0, 0]);
    u32::from(checksum::fold(sum))
}

#[inline(always)]
fn word(octets: [u8; 4]) -> u64 {
    u64::from(u32::from_ne_bytes(octets))
}

/// Swaps the Ethernet addresses of any frame and the IPv4 addresses and UDP ports of an untagged one: the least a
/// program can do that answers at all.
#[inline(always)]
pub fn swap_ends<F: Frame>(frame: &mut F) -> bool {
    let Some((ethernet, rest)) = frame.bytes_mut::<12, IPV4_UDP_LEN>(ETHERNET_LEN) else {
        return false;
    };
    let [d0, d1, d2, d3, d4, d5, source @ ..] = *ethernet;
    ethernet[..6].copy_from_slice(&source);
    ethernet[6..].copy_from_slice(&[d0, d1, d2, d3, d4, d5]);
    let [s0, s1, s2, s3, e0, e1, e2, e3] =
        [rest[12], rest[13], rest[14], rest[15], rest[16], rest[17], rest[18], rest[19]];
    rest[12..20].copy_from_slice(&[e0, e1, e2, e3, s0, s1, s2, s3]);
    let [p0, p1, q0, q1] = [rest[20], rest[21], rest[22], rest[23]];
    rest[20..24].copy_from_slice(&[q0, q1, p0, p1]);
    true
}
