//! The answer, written over the request.
//!
//! What [`write`] needs is checked and the frame brought to its new length before the first octet changes; after that
//! nothing can fail, because every offset lies inside the length just set.

use crate::{
    abi::{Answer, Echo, Form, flag},
    checksum,
    frame::{Frame, Resized, Scratch},
    reason::Reason,
    renewal::Maps,
    request::{Interface, Renewal},
    wire::{
        ANSWER_OPTIONS_MAX, BOOTP_MIN_LEN, BOOTP_OPTIONS, BOOTREPLY, ECHO_MAX, HEADERS_LEN, IPV4_LEN,
        IPV4_UDP_LEN, NAMES_LEN, PORT_CLIENT, PORT_SERVER, PROTOCOL_UDP, REPLY_TTL, REQUEST_OPTIONS_MAX,
        UDP_LEN,
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
    if (room_for(first, answer) | room_for(second, answer)) < 0 {
        return Reason::NoAnswer;
    }
    // Saved before anything moves: the answer's options will lie over the request's.
    let Some(scratch) = maps.scratch() else { return Reason::NoAnswer };
    if first.len != 0 && !save_options(frame, renewal, scratch) {
        return Reason::NoAnswer;
    }
    match frame.resize(payload + bootp_len, payload + BOOTP_OPTIONS) {
        Resized::Done => {}
        Resized::NoRoom => return Reason::NoTailroom,
        Resized::Damaged => return Reason::WriteFailed,
    }
    if !write_headers(frame, interface, renewal, answer, echo_sum) {
        return Reason::WriteFailed;
    }
    let options_len = bootp_len - BOOTP_OPTIONS;
    if !frame.store(payload + BOOTP_OPTIONS, &answer.options, options_len) {
        return Reason::WriteFailed;
    }
    if answer.flags & flag::NAMES != 0 && !frame.store(payload + 44, &answer.names, NAMES_LEN) {
        return Reason::WriteFailed;
    }
    if !write_echo(frame, payload, first, scratch) || !write_echo(frame, payload, second, scratch) {
        return Reason::WriteFailed;
    }
    Reason::Answered
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

#[inline(always)]
fn save_options<F: Frame>(frame: &F, renewal: &Renewal, scratch: &mut Scratch) -> bool {
    let len = renewal.datagram.payload_len - BOOTP_OPTIONS;
    frame.load(renewal.datagram.payload() + BOOTP_OPTIONS, scratch, len)
}

/// Repeats an option. The fingerprint vouches that it is where it was in the request the answer was rendered for.
#[inline(always)]
fn write_echo<F: Frame>(frame: &mut F, payload: usize, echo: &Echo, scratch: &Scratch) -> bool {
    // Read anew, so that the verifier need not remember across the writes which of the two there are.
    let echo = core::hint::black_box(echo);
    let start = usize::from(echo.from).wrapping_sub(BOOTP_OPTIONS);
    echo.len == 0 || frame.store_from(payload + usize::from(echo.to), scratch, start, usize::from(echo.len))
}

/// Where an answer of this form is sent: the relay agent, or the client's own address (RFC 2131 section 4.1).
///
/// Without a branch: direct and relayed are one way for the verifier, and for the processor's branch predictor.
#[inline(always)]
fn destination(renewal: &Renewal) -> ([u8; 4], u16) {
    let relayed = renewal.form as u32;
    let (ciaddr, giaddr) = (u32::from_ne_bytes(renewal.ciaddr), u32::from_ne_bytes(renewal.giaddr));
    let address = ciaddr ^ ((ciaddr ^ giaddr) & relayed.wrapping_neg());
    (address.to_ne_bytes(), PORT_CLIENT - relayed as u16)
}

const _: () =
    assert!(Form::Direct as u32 == 0 && Form::Relayed as u32 == 1 && PORT_CLIENT - 1 == PORT_SERVER);

/// Ethernet, IPv4, UDP and the fixed part of BOOTP but for `sname` and `file`.
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
    let Some((ethernet, rest)) = frame.bytes_mut::<12, HEADERS_LEN>(renewal.datagram.ipv4) else {
        return false;
    };
    let [_, _, _, _, _, _, source @ ..] = *ethernet;
    ethernet[..6].copy_from_slice(&source);
    ethernet[6..].copy_from_slice(&interface.mac);

    let (to, port) = destination(renewal);
    let udp_len = (UDP_LEN + usize::from(answer.bootp_len)) as u16;
    let ipv4 = ipv4_header(udp_len, answer.server, to);
    rest[..IPV4_LEN].copy_from_slice(&ipv4);

    let b = IPV4_UDP_LEN;
    let xid = [rest[b + 4], rest[b + 5], rest[b + 6], rest[b + 7]];
    let flags = [rest[b + 10], rest[b + 11]];
    let sum = u64::from(answer.sum)
        + u64::from(echo_sum)
        + word(xid)
        + u64::from(u16::from_ne_bytes(flags))
        + 2 * word(renewal.ciaddr)
        + word(renewal.giaddr)
        + word(to)
        + chaddr_sum(&renewal.chaddr);
    rest[20..22].copy_from_slice(&PORT_SERVER.to_be_bytes());
    rest[22..24].copy_from_slice(&port.to_be_bytes());
    rest[24..26].copy_from_slice(&udp_len.to_be_bytes());
    rest[26..28].copy_from_slice(&checksum::udp_field(sum));

    rest[b] = BOOTREPLY;
    rest[b + 3] = 0; // hops
    rest[b + 8..b + 10].copy_from_slice(&[0, 0]); // secs
    rest[b + 16..b + 20].copy_from_slice(&renewal.ciaddr); // yiaddr
    rest[b + 20..b + 24].copy_from_slice(&answer.siaddr);
    true
}

/// An IPv4 header as all our replies carry it: no options, not to be fragmented, identification 0.
#[inline(always)]
pub fn ipv4_header(udp_len: u16, source: [u8; 4], destination: [u8; 4]) -> [u8; IPV4_LEN] {
    let [len_a, len_b] = (udp_len + IPV4_LEN as u16).to_be_bytes();
    let [s0, s1, s2, s3] = source;
    let [d0, d1, d2, d3] = destination;
    let fixed = word([0x45, 0, len_a, len_b]) + word([0, 0, 0x40, 0]) + word([REPLY_TTL, PROTOCOL_UDP, 0, 0]);
    let [c0, c1] = checksum::field(fixed + word(source) + word(destination));
    [0x45, 0, len_a, len_b, 0, 0, 0x40, 0, REPLY_TTL, PROTOCOL_UDP, c0, c1, s0, s1, s2, s3, d0, d1, d2, d3]
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

#[inline(always)]
fn chaddr_sum(chaddr: &[u64; 2]) -> u64 {
    let [low, high] = [chaddr[0].to_le(), chaddr[1].to_le()];
    // The halves of words as they stand in memory; which half is which does not matter to a sum.
    (low & 0xffff_ffff) + (low >> 32) + (high & 0xffff_ffff) + (high >> 32)
}

/// Swaps the Ethernet addresses of any frame and the IPv4 addresses and UDP ports of an untagged one: the least a
/// program can do that answers at all.
#[inline(always)]
pub fn swap_ends<F: Frame>(frame: &mut F) -> bool {
    let Some((ethernet, rest)) = frame.bytes_mut::<12, IPV4_UDP_LEN>(crate::wire::ETHERNET_LEN) else {
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
