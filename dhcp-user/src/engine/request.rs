//! A client's message, read once. dhcproto's borrowed view reads the fixed fields; the options are walked here, for its
//! iterator ends silently at a truncated option, joins only neighbouring parts (RFC 3396 joins all, across the
//! overloaded fields too) and cannot lend an option for longer than it lives itself.

use std::{borrow::Cow, net::Ipv4Addr};

use dhcproto::v4::borrowed::Message;

use super::{options::code, reason::SlowReason};
use crate::lease::{
    record::{ClientKey, HardwareAddress},
    relay_information::{RelayInformation, address, split_value},
};

/// The largest payload taken: a jumbo frame's.
const PAYLOAD_MAX: usize = 9_000 - 28;
const HOPS_MAX: u8 = 16;
const MAGIC: [u8; 4] = [99, 130, 83, 99];
/// The broadcast bit of `flags`.
pub(super) const FLAG_BROADCAST: u16 = 0x8000;

/// The message types of option 53 that a server takes or sends.
pub(super) mod kind {
    pub const DISCOVER: u8 = 1;
    pub const OFFER: u8 = 2;
    pub const REQUEST: u8 = 3;
    pub const DECLINE: u8 = 4;
    pub const ACK: u8 = 5;
    pub const NAK: u8 = 6;
    pub const RELEASE: u8 = 7;
    pub const INFORM: u8 = 8;
}

/// Options in the order of their first parts, each with its parts joined.
type Options<'a> = Vec<(u8, Cow<'a, [u8]>)>;

/// A well-formed message of a client.
#[derive(Clone, Debug)]
pub struct Request<'a> {
    /// Option 53.
    pub message_type: u8,
    /// `htype`.
    pub htype: u8,
    /// `hlen`.
    pub hlen: u8,
    /// `xid`.
    pub xid: u32,
    /// `flags`.
    pub flags: u16,
    /// `ciaddr`.
    pub ciaddr: Ipv4Addr,
    /// `giaddr`.
    pub giaddr: Ipv4Addr,
    /// All 16 octets of `chaddr`, as they came.
    pub chaddr: [u8; 16],
    /// `htype` and the `hlen` octets of `chaddr`.
    pub hardware: HardwareAddress,
    /// Who the client is.
    pub client: ClientKey,
    /// Option 50.
    pub requested: Option<Ipv4Addr>,
    /// Option 54.
    pub server_id: Option<Ipv4Addr>,
    /// Option 51, seconds.
    pub lease_secs: Option<u32>,
    /// Option 57, octets of IP datagram.
    pub message_max: Option<u16>,
    options: Options<'a>,
}

impl<'a> Request<'a> {
    /// Reads a UDP payload.
    ///
    /// # Errors
    ///
    /// The reason to ignore it.
    pub fn parse(payload: &'a [u8]) -> Result<Self, SlowReason> {
        if payload.len() > PAYLOAD_MAX {
            return Err(SlowReason::IgnoredTooLong);
        }
        let message = Message::new(payload).map_err(|_| SlowReason::IgnoredTooShort)?;
        let &[op, htype, hlen, hops] = payload.first_chunk::<4>().ok_or(SlowReason::IgnoredTooShort)?;
        if op != 1 {
            return Err(SlowReason::IgnoredNotRequest);
        }
        // dhcproto slices by `hlen` unchecked: nothing may ask it for chaddr before this.
        if hlen > 16 {
            return Err(SlowReason::IgnoredHardwareLength);
        }
        if hops > HOPS_MAX {
            return Err(SlowReason::IgnoredHops);
        }
        if payload.get(236..240) != Some(&MAGIC) {
            return Err(SlowReason::IgnoredCookie);
        }
        let options = read_options(payload)?;
        let value =
            |wanted: u8| options.iter().find(|(code, _)| *code == wanted).map(|(_, value)| value.as_ref());
        let message_type = match value(code::MESSAGE_TYPE) {
            None => return Err(SlowReason::IgnoredBootp),
            Some(&[kind]) => kind,
            Some(_) => return Err(SlowReason::IgnoredBadOption),
        };
        let requested = strict_address(value(code::REQUESTED_ADDRESS))?;
        let server_id = strict_address(value(code::SERVER_IDENTIFIER))?;
        let hardware =
            HardwareAddress::new(htype, message.chaddr()).ok_or(SlowReason::IgnoredHardwareLength)?;
        let client = match value(code::CLIENT_IDENTIFIER) {
            Some(id) if id.len() > 255 => return Err(SlowReason::IgnoredBadOption),
            Some(id) if !id.is_empty() => ClientKey::Id(id.into()),
            _ if hlen == 0 => return Err(SlowReason::IgnoredNoIdentity),
            _ => ClientKey::Hardware(hardware),
        };
        Ok(Self {
            message_type,
            htype,
            hlen,
            xid: message.xid(),
            flags: message.flags().into(),
            ciaddr: message.ciaddr(),
            giaddr: message.giaddr(),
            chaddr: payload.get(28..44).and_then(|field| field.try_into().ok()).unwrap_or_default(),
            hardware,
            client,
            requested,
            server_id,
            lease_secs: value(code::LEASE_TIME).and_then(|v| v.try_into().ok()).map(u32::from_be_bytes),
            message_max: value(code::MESSAGE_MAX).and_then(|v| v.try_into().ok()).map(u16::from_be_bytes),
            options,
        })
    }

    /// The value of an option, its parts joined.
    pub fn option(&self, wanted: u8) -> Option<&[u8]> {
        self.options.iter().find(|(code, _)| *code == wanted).map(|(_, value)| value.as_ref())
    }

    /// Option 82, empty if there is none or it cannot be read.
    pub fn relay(&self) -> RelayInformation<'_> {
        RelayInformation::parse(self.option(code::RELAY_INFORMATION).unwrap_or_default())
    }

    /// Option 118: the subnet to allocate from (RFC 3011).
    pub fn subnet_selection(&self) -> Option<Ipv4Addr> {
        address(self.option(code::SUBNET_SELECTION)?)
    }

    /// Whether the message came through a relay agent.
    pub fn is_relayed(&self) -> bool {
        !self.giaddr.is_unspecified()
    }
}

/// All options in the order of their first parts: the options field, then `file`, then `sname`, as option 52 says.
fn read_options(payload: &[u8]) -> Result<Options<'_>, SlowReason> {
    let mut options = Vec::with_capacity(16);
    collect(payload.get(240..).unwrap_or_default(), &mut options)?;
    let overload = match options.iter().find(|(code, _)| *code == code::OVERLOAD) {
        None => 0,
        Some((_, value)) => match value.as_ref() {
            &[which @ 1..=3] => which,
            _ => return Err(SlowReason::IgnoredBadOption),
        },
    };
    if overload & 1 != 0 {
        collect(payload.get(108..236).unwrap_or_default(), &mut options)?;
    }
    if overload & 2 != 0 {
        collect(payload.get(44..108).unwrap_or_default(), &mut options)?;
    }
    Ok(options)
}

/// Walks one area, joining the parts of options already seen. An area without an end option ends with itself: clients
/// that send such exist, and everything in it can be read.
fn collect<'a>(area: &'a [u8], options: &mut Options<'a>) -> Result<(), SlowReason> {
    let mut rest = area;
    while let Some((&code, after)) = rest.split_first() {
        rest = match code {
            code::PAD => after,
            code::END => break,
            _ => {
                let (value, after) = split_value(after).ok_or(SlowReason::IgnoredTruncatedOption)?;
                match options.iter_mut().find(|(known, _)| *known == code) {
                    Some((_, known)) => known.to_mut().extend_from_slice(value),
                    None => options.push((code, Cow::Borrowed(value))),
                }
                after
            }
        };
    }
    Ok(())
}

/// An address the protocol stands on: absent, or exactly four octets. All zeros is as good as absent: some clients send
/// option 50 so when they have no wish.
fn strict_address(value: Option<&[u8]>) -> Result<Option<Ipv4Addr>, SlowReason> {
    let Some(value) = value else { return Ok(None) };
    let address = address(value).ok_or(SlowReason::IgnoredBadOption)?;
    Ok((!address.is_unspecified()).then_some(address))
}
