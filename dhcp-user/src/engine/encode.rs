//! Writing a reply. Options leave in the order given here and not sorted by code, as dhcproto would write them: relays
//! want option 82 last (RFC 3046 section 2.1), clients read the parameters they named first, and the answers the kernel
//! replays must come out the same every time. What does not fit goes to `file` and `sname` (option 52) where these are
//! free, and is left out after that, beginning with what the client asked for last.

use super::{effects::Omitted, options::code, request::Request};

use std::net::Ipv4Addr;

/// The least a BOOTP message has (RFC 1542 section 2.1).
const PAYLOAD_MIN: usize = 300;
/// IP and UDP headers, which option 57 counts in (RFC 2132 section 9.10).
const HEADERS: usize = 28;
/// What every client takes (RFC 2131 section 2), octets of IP datagram.
const DATAGRAM_DEFAULT: u16 = 576;
/// No reply is fragmented on Ethernet, whatever the client would take.
const DATAGRAM_MAX: u16 = 1500;
const FILE_LEN: usize = 128;
const SNAME_LEN: usize = 64;
const FIXED: usize = 240;
/// Octets of options that hardly a reply is longer than.
const MOST: usize = 256;

/// An option and where it comes from; values of the protocol's own are at most eight octets.
pub(super) type TheOption<'a> = (u8, &'a [u8]);

/// A reply before it is written.
pub(super) struct Draft<'a> {
    pub request: &'a Request<'a>,
    pub flags: u16,
    pub ciaddr: Ipv4Addr,
    pub yiaddr: Ipv4Addr,
    pub siaddr: Ipv4Addr,
    pub sname: &'a [u8],
    pub file: &'a [u8],
    /// The protocol's own options: always sent, and always small enough to be.
    pub head: Vec<TheOption<'a>>,
    /// Configured options, the dearest to the client first.
    pub body: Vec<TheOption<'a>>,
    /// Echoes but option 82: always sent.
    pub echoes: Vec<TheOption<'a>>,
    /// The value of option 82.
    pub relay_information: Option<&'a [u8]>,
}

/// The largest payload a client takes.
pub(super) fn payload_max(request: &Request<'_>) -> usize {
    let datagram = request.message_max.unwrap_or(DATAGRAM_DEFAULT).clamp(DATAGRAM_DEFAULT, DATAGRAM_MAX);
    usize::from(datagram) - HEADERS
}

impl Draft<'_> {
    /// Writes the reply, at most as long as the client takes and at least as long as BOOTP wants.
    pub fn encode(&self) -> (Vec<u8>, Omitted) {
        let max = payload_max(self.request);
        let mut omitted = Omitted::default();
        let mut main = Area::for_most(max - FIXED);
        for &(code, value) in &self.head {
            main.push(code, value);
        }
        let echoes: usize = self.echoes.iter().map(|(_, value)| length_on_wire(value)).sum();
        let mut reserved = echoes;
        let relay_information = self.relay_information.filter(|value| {
            let fits = main.fits(echoes + length_on_wire(value));
            omitted.relay_information = !fits;
            fits
        });
        reserved += relay_information.map_or(0, length_on_wire);

        let mut file = Area::new(if self.file.is_empty() { FILE_LEN } else { 0 });
        let mut sname = Area::new(if self.sname.is_empty() { SNAME_LEN } else { 0 });
        let body: usize = self.body.iter().map(|(_, value)| length_on_wire(value)).sum();
        if main.fits(body + reserved) {
            for &(code, value) in &self.body {
                main.push(code, value);
            }
        } else {
            omitted.options = self.overload(&mut main, reserved, &mut file, &mut sname);
        }
        for &(code, value) in &self.echoes {
            main.push(code, value);
        }
        if let Some(value) = relay_information {
            main.push(code::RELAY_INFORMATION, value);
        }
        (self.assemble(&main, &file, &sname), omitted)
    }

    /// Spreads the configured options over the areas; how many found no room.
    fn overload(&self, main: &mut Area, reserved: usize, file: &mut Area, sname: &mut Area) -> u16 {
        const OVERLOAD_LEN: usize = 3;
        let at = main.bytes.len();
        let lendable = main.fits(OVERLOAD_LEN + reserved);
        let mut left_out = 0;
        for &(code, value) in &self.body {
            let len = length_on_wire(value);
            if main.fits(len + OVERLOAD_LEN + reserved) {
                main.push(code, value);
            } else if lendable && file.fits(len) {
                file.push(code, value);
            } else if lendable && sname.fits(len) {
                sname.push(code, value);
            } else {
                left_out += 1;
            }
        }
        let which = u8::from(!file.bytes.is_empty()) | u8::from(!sname.bytes.is_empty()) << 1;
        if which != 0 {
            main.bytes.splice(at..at, [code::OVERLOAD, 1, which]);
        }
        left_out
    }

    fn assemble(&self, main: &Area, file: &Area, sname: &Area) -> Vec<u8> {
        let request = self.request;
        let mut out = Vec::with_capacity(PAYLOAD_MIN.max(FIXED + main.bytes.len() + 1));
        out.extend([2, request.htype, request.hlen, 0]);
        out.extend(request.xid.to_be_bytes());
        out.extend([0, 0]);
        out.extend(self.flags.to_be_bytes());
        for address in [self.ciaddr, self.yiaddr, self.siaddr, request.giaddr] {
            out.extend(address.octets());
        }
        out.extend(request.chaddr);
        put_field(&mut out, self.sname, sname, SNAME_LEN);
        put_field(&mut out, self.file, file, FILE_LEN);
        out.extend([99, 130, 83, 99]);
        out.extend(&main.bytes);
        out.push(code::END);
        if out.len() < PAYLOAD_MIN {
            out.resize(PAYLOAD_MIN, 0);
        }
        out
    }
}

/// A field of fixed length: its text, or the options it was lent to.
fn put_field(out: &mut Vec<u8>, text: &[u8], lent: &Area, len: usize) {
    let end = out.len() + len;
    if lent.bytes.is_empty() {
        out.extend(text.iter().take(len - 1));
    } else {
        out.extend(&lent.bytes);
        out.push(code::END);
    }
    out.resize(end, 0);
}

/// A place for options, with room for the end option kept.
struct Area {
    bytes: Vec<u8>,
    max: usize,
}

impl Area {
    fn new(max: usize) -> Self {
        Self { bytes: Vec::new(), max: max.saturating_sub(1) }
    }

    /// One that is sure to be written to, with room for what most replies have.
    fn for_most(max: usize) -> Self {
        Self { bytes: Vec::with_capacity(MOST), ..Self::new(max) }
    }

    fn fits(&self, len: usize) -> bool {
        self.bytes.len() + len <= self.max
    }

    /// Writes an option, in parts if it is longer than one can be (RFC 3396).
    fn push(&mut self, code: u8, value: &[u8]) {
        if value.is_empty() {
            self.bytes.extend([code, 0]);
        }
        for part in value.chunks(255) {
            self.bytes.push(code);
            self.bytes.push(u8::try_from(part.len()).unwrap_or(u8::MAX));
            self.bytes.extend(part);
        }
    }
}

/// How long an option is on the wire, in parts of at most 255 octets.
fn length_on_wire(value: &[u8]) -> usize {
    value.len() + 2 * value.len().div_ceil(255).max(1)
}
