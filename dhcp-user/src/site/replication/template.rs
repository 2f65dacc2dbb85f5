//! How a client asks for its renewal, less what its lease record says anyway: what is left is the same for all clients of
//! a kind, so that it is told once for many. From it and the record a standby makes the request again, and renders its own
//! answer to it. A template that is wrong costs nothing: the fingerprint made of it never matches.

use std::net::Ipv4Addr;

use dhcp_common::{
    abi::Form,
    wire::{BOOTP_MIN_LEN, BOOTP_OPTIONS, BOOTREQUEST, COOKIE, HOPS_MAX, NAMES_LEN, REQUEST_OPTIONS_MAX},
};

use super::{
    codec::WireError,
    columns::{Reader, put_number},
};
use crate::{
    config::model::VlanTags,
    engine::options::code,
    lease::record::{ClientKey, LeaseRecord},
};

/// Octets of a template at most: those of any request the kernel can answer.
pub const TEMPLATE_OCTETS_MAX: usize = REQUEST_OPTIONS_MAX + 64;
/// Interfaces a node can serve, as far as a template can name one.
const INTERFACES_MAX: usize = 4_096;

/// Bits of the first octet.
const RELAYED: u8 = 1;
const UNUSED_ADDRESSES: u8 = 2;

/// What the options are made of, one after the other.
const LITERAL: u8 = 0;
const CLIENT_IDENTIFIER: u8 = 1;
const HOST_NAME: u8 = 2;
const RELAY_INFORMATION: u8 = 3;
const CLIENT_FQDN: u8 = 4;
/// Option 81 (RFC 4702).
const FQDN: u8 = 81;
/// Where a name in it begins: behind flags and two codes, as text or, with a length in front, as a label.
const FQDN_NAME_AT: [usize; 2] = [3, 4];

/// By which way a request comes in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Way {
    /// Direct, or by a relay agent.
    pub form: Form,
    /// The interface at the node that saw it: its index in the configuration.
    pub interface: usize,
    /// The tags it came with there.
    pub vlans: VlanTags,
}

/// A request without what makes it one client's.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Template {
    octets: Box<[u8]>,
}

/// A part of a request's options.
#[derive(Clone, Copy, Debug)]
enum Part<'a> {
    /// As it is.
    Literal(&'a [u8]),
    /// Option 61: the record's client identifier.
    ClientIdentifier,
    /// Option 12: the record's host name.
    HostName,
    /// Option 82: the record's relay agent information.
    RelayInformation,
    /// Option 81: this before, the record's host name, this behind.
    ClientFqdn(&'a [u8], &'a [u8]),
}

/// A template, read.
struct Parsed<'a> {
    way: Way,
    hops: u8,
    giaddr: [u8; 4],
    unused_addresses: [u8; 8],
    parts: Vec<Part<'a>>,
}

impl Template {
    /// The template of a request (a BOOTP message) of the client of `lease`; `None` if the request cannot be made again
    /// from it.
    pub fn of(request: &[u8], way: Way, lease: &LeaseRecord) -> Option<Self> {
        let (header, options) = request.split_at_checked(BOOTP_OPTIONS)?;
        let unused = header.get(16..24)?;
        let mut octets = vec![match way.form {
            Form::Direct => 0,
            Form::Relayed => RELAYED,
        }];
        put_number(way.interface as u64, &mut octets);
        put_number(way.vlans.outer.into(), &mut octets);
        put_number(way.vlans.inner.into(), &mut octets);
        octets.push(*header.get(3)?);
        if way.form == Form::Relayed {
            octets.extend_from_slice(header.get(24..28)?);
        }
        if unused.iter().any(|octet| *octet != 0) {
            *octets.first_mut()? |= UNUSED_ADDRESSES;
            octets.extend_from_slice(unused);
        }
        put_options(options, lease, &mut octets)?;
        let template = Self::decode(&octets).ok()?;
        (trimmed(&template.request(lease)?)? == trimmed(&without_transaction(request)?)?).then_some(template)
    }

    /// Reads a template that came from elsewhere.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn decode(octets: &[u8]) -> Result<Self, WireError> {
        if octets.len() > TEMPLATE_OCTETS_MAX {
            return Err(WireError::TooMany);
        }
        Parsed::read(octets)?;
        Ok(Self { octets: octets.into() })
    }

    /// Its octets, at most [`TEMPLATE_OCTETS_MAX`].
    pub fn octets(&self) -> &[u8] {
        &self.octets
    }

    /// By which way the request came in where it was seen.
    pub fn way(&self) -> Option<Way> {
        Some(Parsed::read(&self.octets).ok()?.way)
    }

    /// The relay agent it came through, if it did.
    pub fn relay(&self) -> Option<Ipv4Addr> {
        let giaddr = Ipv4Addr::from(Parsed::read(&self.octets).ok()?.giaddr);
        (!giaddr.is_unspecified()).then_some(giaddr)
    }

    /// The request of the client of `lease`, as a BOOTP message with zeros for `xid`, `secs` and `flags`; `None` if the
    /// lease has not what belongs into it.
    pub fn request(&self, lease: &LeaseRecord) -> Option<Vec<u8>> {
        let Parsed { hops, giaddr, unused_addresses, parts, .. } = Parsed::read(&self.octets).ok()?;
        let hardware = lease.hardware.octets();
        let mut request = vec![0; BOOTP_OPTIONS];
        let head = [BOOTREQUEST, lease.hardware.htype, u8::try_from(hardware.len()).ok()?, hops];
        let fields: [(usize, &[u8]); 6] = [
            (0, &head),
            (12, &lease.address.octets()),
            (16, &unused_addresses),
            (24, &giaddr),
            (28, hardware),
            (236, &COOKIE),
        ];
        for (at, field) in fields {
            request.get_mut(at..at + field.len())?.copy_from_slice(field);
        }
        let hostname = || Some(&*lease.hostname).filter(|name| !name.is_empty());
        for part in parts {
            if request.len() > BOOTP_OPTIONS + REQUEST_OPTIONS_MAX {
                return None;
            }
            match part {
                Part::Literal(octets) => request.extend_from_slice(octets),
                Part::ClientIdentifier => match &lease.client {
                    ClientKey::Id(id) => put_option(code::CLIENT_IDENTIFIER, &[id], &mut request)?,
                    ClientKey::Hardware(_) => return None,
                },
                Part::HostName => put_option(code::HOST_NAME, &[hostname()?], &mut request)?,
                Part::RelayInformation => {
                    let information = Some(&*lease.relay_information).filter(|octets| !octets.is_empty())?;
                    put_option(code::RELAY_INFORMATION, &[information], &mut request)?;
                }
                Part::ClientFqdn(head, rest) => {
                    put_option(FQDN, &[head, hostname()?, rest], &mut request)?;
                }
            }
        }
        request.push(code::END);
        if request.len() > BOOTP_OPTIONS + REQUEST_OPTIONS_MAX {
            return None;
        }
        // How much padding there is changes no fingerprint.
        request.resize(request.len().max(BOOTP_MIN_LEN), code::PAD);
        Some(request)
    }
}

impl<'a> Parsed<'a> {
    fn read(octets: &'a [u8]) -> Result<Self, WireError> {
        let unknown = WireError::Unknown("request template");
        let mut rest = Reader(octets);
        let bits = rest.octet()?;
        if bits & !(RELAYED | UNUSED_ADDRESSES) != 0 {
            return Err(unknown);
        }
        let interface = rest.length(INTERFACES_MAX)?;
        let mut tag = || u16::try_from(rest.length(0xfff)?).map_err(|_| WireError::Number);
        let vlans = VlanTags { outer: tag()?, inner: tag()? };
        let hops = rest.octet()?;
        let form = if bits & RELAYED == 0 { Form::Direct } else { Form::Relayed };
        let giaddr = match form {
            Form::Direct => [0; 4],
            Form::Relayed => array(rest.take(4)?)?,
        };
        let unused_addresses = match bits & UNUSED_ADDRESSES {
            0 => [0; 8],
            _ => array(rest.take(8)?)?,
        };
        // A relayed request has its relay's address, and none comes from further than this.
        if hops > HOPS_MAX || (form == Form::Relayed) != (giaddr != [0; 4]) {
            return Err(unknown);
        }
        let mut parts = Vec::new();
        while !rest.0.is_empty() {
            parts.push(match rest.octet()? {
                LITERAL => Part::Literal(run(&mut rest)?),
                CLIENT_IDENTIFIER => Part::ClientIdentifier,
                HOST_NAME => Part::HostName,
                RELAY_INFORMATION => Part::RelayInformation,
                CLIENT_FQDN => Part::ClientFqdn(run(&mut rest)?, run(&mut rest)?),
                _ => return Err(unknown),
            });
        }
        Ok(Self { way: Way { form, interface, vlans }, hops, giaddr, unused_addresses, parts })
    }
}

fn run<'a>(rest: &mut Reader<'a>) -> Result<&'a [u8], WireError> {
    let length = rest.length(TEMPLATE_OCTETS_MAX)?;
    rest.take(length)
}

fn array<const N: usize>(octets: &[u8]) -> Result<[u8; N], WireError> {
    octets.try_into().map_err(|_| WireError::CutShort)
}

/// The options up to END, each by what of the record it repeats.
fn put_options(options: &[u8], lease: &LeaseRecord, out: &mut Vec<u8>) -> Option<()> {
    let put_literal = |literal: &mut Vec<u8>, out: &mut Vec<u8>| {
        if !literal.is_empty() {
            out.push(LITERAL);
            put_number(literal.len() as u64, out);
            out.append(literal);
        }
    };
    let mut literal = Vec::new();
    let mut rest = options;
    loop {
        match *rest {
            [code::END, ..] => break,
            [code::PAD, ref next @ ..] => {
                literal.push(code::PAD);
                rest = next;
            }
            [code, len, ref next @ ..] => {
                let (value, next) = next.split_at_checked(usize::from(len))?;
                rest = next;
                let part = match code {
                    code::CLIENT_IDENTIFIER if lease.client == ClientKey::Id(value.into()) => {
                        Part::ClientIdentifier
                    }
                    code::HOST_NAME if !value.is_empty() && value == &*lease.hostname => Part::HostName,
                    code::RELAY_INFORMATION if !value.is_empty() && value == &*lease.relay_information => {
                        Part::RelayInformation
                    }
                    FQDN if !lease.hostname.is_empty() => match split_name(value, &lease.hostname) {
                        Some((head, behind)) => Part::ClientFqdn(head, behind),
                        None => Part::Literal(&[]),
                    },
                    _ => Part::Literal(&[]),
                };
                let tag = match part {
                    Part::Literal(_) => {
                        literal.extend_from_slice(&[code, len]);
                        literal.extend_from_slice(value);
                        continue;
                    }
                    Part::ClientIdentifier => CLIENT_IDENTIFIER,
                    Part::HostName => HOST_NAME,
                    Part::RelayInformation => RELAY_INFORMATION,
                    Part::ClientFqdn(..) => CLIENT_FQDN,
                };
                put_literal(&mut literal, out);
                out.push(tag);
                if let Part::ClientFqdn(head, behind) = part {
                    for octets in [head, behind] {
                        put_number(octets.len() as u64, out);
                        out.extend_from_slice(octets);
                    }
                }
            }
            [] | [_] => return None,
        }
    }
    put_literal(&mut literal, out);
    Some(())
}

/// What is before and behind a host name in the value of option 81.
fn split_name<'a>(value: &'a [u8], hostname: &[u8]) -> Option<(&'a [u8], &'a [u8])> {
    FQDN_NAME_AT.into_iter().find_map(|at| {
        let (head, name) = value.split_at_checked(at)?;
        Some((head, name.strip_prefix(hostname)?))
    })
}

fn put_option(code: u8, values: &[&[u8]], out: &mut Vec<u8>) -> Option<()> {
    let len = u8::try_from(values.iter().map(|value| value.len()).sum::<usize>()).ok()?;
    out.extend_from_slice(&[code, len]);
    values.iter().for_each(|value| out.extend_from_slice(value));
    Some(())
}

/// The message as one sends it again: without `xid`, `secs` and `flags`. `None` if `sname` or `file` are in use.
fn without_transaction(request: &[u8]) -> Option<Vec<u8>> {
    let mut again = request.to_vec();
    again.get_mut(4..12)?.fill(0);
    let names = again.get(44..44 + NAMES_LEN)?;
    names.iter().all(|octet| *octet == 0).then_some(again)
}

/// The message up to its END; `None` if there is none.
fn trimmed(request: &[u8]) -> Option<&[u8]> {
    let end = request.iter().rposition(|octet| *octet != code::PAD)?;
    (*request.get(end)? == code::END).then(|| request.get(..=end))?
}

#[cfg(test)]
#[path = "template_tests.rs"]
mod tests;
