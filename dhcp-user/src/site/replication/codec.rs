//! Updates on the wire: sorted by address, in columns, zstd around them. Times are whole seconds of the sender's clock,
//! rounded up: half of the 5 s every horizon is waited out for covers it (docs/sites.md, rule 7).

use std::net::Ipv4Addr;

use super::{
    book::Asked,
    columns::{Reader, put_number, put_signed},
    dictionary,
};
use crate::{
    lease::{
        octets::Octets,
        record::{ClientKey, HardwareAddress, LeaseRecord, LeaseState},
        store::FIELD_OCTETS_MAX,
    },
    time::{Span, Timestamp},
};

/// Updates in a batch, at most.
pub const UPDATES_MAX: usize = 65_536;
/// Octets of a message before compression, at most.
pub const PLAIN_OCTETS_MAX: usize = 32 << 20;
/// The most that the updates of a batch may come to ([`Update::octets_max`]), so that the message they go in stays below
/// [`PLAIN_OCTETS_MAX`]: a sender stops before.
pub const BATCH_OCTETS_MAX: usize = PLAIN_OCTETS_MAX - 4_096;
const LEVEL: i32 = 3;

const BY_HARDWARE: u8 = 0;
const BY_TYPED_HARDWARE: u8 = 1;
const BY_OTHER_HARDWARE: u8 = 2;
const BY_ID: u8 = 3;

/// What became of a lease.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Update {
    /// The address.
    pub address: Ipv4Addr,
    /// The epoch of its block under which the sender holds it; 0 if it does not, and only tells what it granted.
    pub epoch: u32,
    /// Start of the last grant.
    pub granted_at: Timestamp,
    /// Its end.
    pub expires: Timestamp,
    /// The latest moment any client may be promised.
    pub horizon: Timestamp,
    /// Until when the address is nobody else's, where that is beyond the horizon; at any rate until the horizon.
    pub kept_until: Timestamp,
    /// The rest, if the receiver may not have it.
    pub identity: Option<Identity>,
    /// How the client asks for its renewals, as far as that is known; told with the identity only.
    pub asked: Asked,
}

/// All of a lease but its times.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// What the address is doing.
    pub state: LeaseState,
    /// Its client, or its last one.
    pub client: ClientKey,
    /// That client's hardware address.
    pub hardware: HardwareAddress,
    /// Option 12.
    pub hostname: Octets,
    /// Option 82.
    pub relay_information: Box<[u8]>,
}

impl Update {
    /// What to tell of a lease; all of it if `anew`.
    pub fn of(lease: &LeaseRecord, epoch: u32, anew: bool) -> Self {
        Self {
            address: lease.address,
            epoch,
            granted_at: lease.granted_at,
            expires: lease.expires,
            horizon: lease.horizon,
            kept_until: lease.reach(),
            identity: anew.then(|| Identity::of(lease)),
            asked: [None, None],
        }
    }

    /// How many octets it takes at most: five numbers of 64 bits at ten octets, one of 32, the head; of the client type,
    /// length and address of its hardware, what has any length, and the templates, as if no other client had them.
    pub fn octets_max(&self) -> usize {
        self.identity.as_ref().map_or(64, |identity| {
            let client = match &identity.client {
                ClientKey::Hardware(_) => 32,
                ClientKey::Id(id) => id.len(),
            };
            let templates = self.asked.iter().flatten().map(|template| template.octets().len());
            144 + templates.sum::<usize>()
                + client
                + identity.hostname.len()
                + identity.relay_information.len()
        })
    }
}

impl Identity {
    /// A digest of it, to tell whether a receiver has it.
    pub fn digest(&self) -> u64 {
        let mut octets = Vec::with_capacity(64);
        octets.push(match self.state {
            LeaseState::Bound => 0,
            LeaseState::Free => 1,
            LeaseState::Quarantined => 2,
        });
        octets.push(self.hardware.htype);
        put_octets(self.hardware.octets(), &mut octets);
        match &self.client {
            ClientKey::Hardware(hardware) => {
                octets.extend_from_slice(&[0, hardware.htype]);
                put_octets(hardware.octets(), &mut octets);
            }
            ClientKey::Id(id) => {
                octets.push(1);
                put_octets(id, &mut octets);
            }
        }
        put_octets(&self.hostname, &mut octets);
        put_octets(&self.relay_information, &mut octets);
        xxhash_rust::xxh3::xxh3_64(&octets)
    }

    /// What there is to tell of a lease beside its times.
    pub fn of(lease: &LeaseRecord) -> Self {
        Self {
            state: lease.state,
            client: lease.client.clone(),
            hardware: lease.hardware,
            hostname: lease.hostname.clone(),
            relay_information: lease.relay_information.clone(),
        }
    }
}

/// Why octets are no batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WireError {
    /// They end too early.
    #[error("cut short")]
    CutShort,
    /// They go on after the end.
    #[error("octets after its end")]
    TooLong,
    /// No number of 64 bits.
    #[error("a number of more than 64 bits")]
    Number,
    /// More or longer than any sender sends.
    #[error("more than any sender sends")]
    TooMany,
    /// Another value than there is.
    #[error("an unknown {0}")]
    Unknown(&'static str),
    /// Not what zstd made.
    #[error("not compressed by zstd, or larger than any batch")]
    Compression,
}

/// A batch of updates, sorted by address, as octets. Too many updates, or too long ones, are a fault of the caller and
/// refused by every receiver.
pub fn encode(updates: &mut [Update], now: Timestamp) -> Vec<u8> {
    updates.sort_unstable_by_key(|update| update.address);
    let base = now.as_secs();
    let mut out = Vec::with_capacity(16 + updates.len() * 8);
    put_number(updates.len() as u64, &mut out);
    put_number(base, &mut out);
    let mut last = 0;
    for update in &*updates {
        let address = update.address.to_bits();
        put_number(u64::from(address.wrapping_sub(last)), &mut out);
        last = address;
    }
    updates.iter().for_each(|update| put_number(update.epoch.into(), &mut out));
    for update in &*updates {
        put_signed(round_up(update.expires).cast_signed().wrapping_sub(base.cast_signed()), &mut out);
    }
    let length = |update: &Update| update.expires.since(update.granted_at).as_secs();
    updates.iter().for_each(|update| put_number(length(update), &mut out));
    for update in &*updates {
        let beyond = round_up(update.horizon).saturating_sub(round_up(update.expires));
        // Mostly the lease time: then zero.
        put_signed(beyond.wrapping_sub(length(update)).cast_signed(), &mut out);
    }
    for update in &*updates {
        put_number(round_up(update.kept_until).saturating_sub(round_up(update.horizon)), &mut out);
    }
    updates.iter().for_each(|update| out.push(head(update)));
    let known: Vec<&Identity> = updates.iter().filter_map(|update| update.identity.as_ref()).collect();
    encode_identities(&known, &mut out);
    dictionary::put(
        &updates.iter().filter(|update| update.identity.is_some()).map(|update| &update.asked),
        &mut out,
    );
    out
}

/// State and kind of client in one octet; 0xff where they are not told.
fn head(update: &Update) -> u8 {
    let Some(identity) = &update.identity else { return 0xff };
    let state = match identity.state {
        LeaseState::Bound => 0,
        LeaseState::Free => 1,
        LeaseState::Quarantined => 2,
    };
    state | kind(identity) << 2
}

fn kind(identity: &Identity) -> u8 {
    match &identity.client {
        ClientKey::Hardware(hardware) if *hardware == identity.hardware => BY_HARDWARE,
        ClientKey::Hardware(_) => BY_OTHER_HARDWARE,
        ClientKey::Id(id) if is_typed_hardware(id, &identity.hardware) => BY_TYPED_HARDWARE,
        ClientKey::Id(_) => BY_ID,
    }
}

/// Whether an identifier is the hardware address with its type in front, as most are (RFC 2132 section 9.14).
fn is_typed_hardware(id: &[u8], hardware: &HardwareAddress) -> bool {
    id.split_first() == Some((&hardware.htype, hardware.octets()))
}

fn encode_identities(known: &[&Identity], out: &mut Vec<u8>) {
    known.iter().for_each(|identity| out.push(identity.hardware.htype));
    known.iter().for_each(|identity| out.push(identity.hardware.octets().len() as u8));
    // First octets, second octets and so on of all: makers' prefixes are alike.
    for at in 0..16 {
        out.extend(known.iter().filter_map(|identity| identity.hardware.octets().get(at)));
    }
    for identity in known {
        match &identity.client {
            ClientKey::Hardware(hardware) if *hardware != identity.hardware => {
                put_octets(&[&[hardware.htype], hardware.octets()].concat(), out);
            }
            ClientKey::Id(id) if !is_typed_hardware(id, &identity.hardware) => put_octets(id, out),
            _ => {}
        }
    }
    let fields: [fn(&Identity) -> &[u8]; 2] =
        [|identity| &identity.hostname, |identity| &identity.relay_information];
    for field in fields {
        known.iter().for_each(|identity| put_number(field(identity).len() as u64, out));
        known.iter().for_each(|identity| out.extend_from_slice(field(identity)));
    }
}

fn put_octets(octets: &[u8], out: &mut Vec<u8>) {
    put_number(octets.len() as u64, out);
    out.extend_from_slice(octets);
}

fn round_up(moment: Timestamp) -> u64 {
    (moment + Span(999_999_999)).as_secs()
}

/// Reads a batch back: its updates, and what the sender's clock showed when it was made.
///
/// # Errors
/// What is wrong with it; nothing of it is to be used then.
pub fn decode(octets: &[u8]) -> Result<(Vec<Update>, Timestamp), WireError> {
    let mut rest = Reader(octets);
    let count = rest.length(UPDATES_MAX)?;
    let base = rest.number()?;
    let sent_at = moment(Some(base))?;
    // An update takes seven octets at least: no more room is made than what came can fill.
    if count > rest.0.len() / 7 {
        return Err(WireError::CutShort);
    }
    let mut updates = Vec::with_capacity(count);
    let mut last = 0_u32;
    for index in 0..count {
        let step = u32::try_from(rest.number()?).map_err(|_| WireError::Number)?;
        if index != 0 && step == 0 {
            return Err(WireError::Unknown("order"));
        }
        last = last.checked_add(step).ok_or(WireError::Number)?;
        let zero = Timestamp::ZERO;
        let address = Ipv4Addr::from_bits(last);
        updates.push(Update {
            address,
            epoch: 0,
            granted_at: zero,
            expires: zero,
            horizon: zero,
            kept_until: zero,
            identity: None,
            asked: [None, None],
        });
    }
    for update in &mut updates {
        update.epoch = u32::try_from(rest.number()?).map_err(|_| WireError::Number)?;
    }
    for update in &mut updates {
        update.expires = moment(base.checked_add_signed(rest.signed()?))?;
    }
    for update in &mut updates {
        update.granted_at = update.expires - Span::from_secs(rest.number()?);
    }
    for update in &mut updates {
        let length = update.expires.since(update.granted_at).as_secs();
        let beyond = length.checked_add_signed(rest.signed()?).ok_or(WireError::Number)?;
        update.horizon = moment(update.expires.as_secs().checked_add(beyond))?;
    }
    for update in &mut updates {
        update.kept_until = moment(update.horizon.as_secs().checked_add(rest.number()?))?;
    }
    let heads = rest.take(count)?;
    let identities = decode_identities(&mut rest, heads)?;
    let asked = dictionary::read(identities.len(), &mut rest)?;
    let known = updates.iter_mut().zip(heads).filter(|(_, head)| **head != 0xff);
    for (((update, _), identity), asked) in known.zip(identities).zip(asked) {
        (update.identity, update.asked) = (Some(identity), asked);
    }
    if rest.0.is_empty() { Ok((updates, sent_at)) } else { Err(WireError::TooLong) }
}

fn moment(secs: Option<u64>) -> Result<Timestamp, WireError> {
    let secs = secs.filter(|secs| *secs <= u64::MAX / 1_000_000_000).ok_or(WireError::Number)?;
    Ok(Timestamp::ZERO + Span::from_secs(secs))
}

fn decode_identities(rest: &mut Reader<'_>, heads: &[u8]) -> Result<Vec<Identity>, WireError> {
    let heads: Vec<u8> = heads.iter().copied().filter(|head| *head != 0xff).collect();
    let types = rest.take(heads.len())?;
    let lengths = rest.take(heads.len())?;
    let mut hardware = vec![[0_u8; 16]; heads.len()];
    if lengths.iter().any(|length| *length > 16) {
        return Err(WireError::TooMany);
    }
    for at in 0..16 {
        for (octets, _) in hardware.iter_mut().zip(lengths).filter(|(_, length)| usize::from(**length) > at) {
            octets[at] = rest.octet()?;
        }
    }
    let mut found = Vec::with_capacity(heads.len());
    for (((head, htype), length), octets) in heads.iter().zip(types).zip(lengths).zip(&hardware) {
        let address =
            octets.get(..usize::from(*length)).and_then(|octets| HardwareAddress::new(*htype, octets));
        let hardware = address.ok_or(WireError::TooMany)?;
        let state = match head & 3 {
            0 => LeaseState::Bound,
            1 => LeaseState::Free,
            2 => LeaseState::Quarantined,
            _ => return Err(WireError::Unknown("state")),
        };
        let client = match head >> 2 {
            BY_HARDWARE => ClientKey::Hardware(hardware),
            BY_TYPED_HARDWARE => ClientKey::Id([&[*htype], hardware.octets()].concat().into()),
            BY_OTHER_HARDWARE => {
                let (htype, octets) = field(rest)?.split_first().ok_or(WireError::CutShort)?;
                ClientKey::Hardware(HardwareAddress::new(*htype, octets).ok_or(WireError::TooMany)?)
            }
            BY_ID => ClientKey::Id(field(rest)?.into()),
            _ => return Err(WireError::Unknown("kind of client")),
        };
        let (hostname, relay_information) = (Octets::default(), Box::default());
        found.push(Identity { state, client, hardware, hostname, relay_information });
    }
    let hostnames = fields(rest, found.len(), usize::from(u8::MAX))?;
    let relays = fields(rest, found.len(), FIELD_OCTETS_MAX)?;
    for ((identity, hostname), relay) in found.iter_mut().zip(hostnames).zip(relays) {
        (identity.hostname, identity.relay_information) = (hostname.into(), relay.into());
    }
    Ok(found)
}

fn field<'a>(rest: &mut Reader<'a>) -> Result<&'a [u8], WireError> {
    let length = rest.length(FIELD_OCTETS_MAX)?;
    rest.take(length)
}

fn fields<'a>(rest: &mut Reader<'a>, count: usize, max: usize) -> Result<Vec<&'a [u8]>, WireError> {
    let lengths = (0..count).map(|_| rest.length(max)).collect::<Result<Vec<_>, _>>()?;
    lengths.into_iter().map(|length| rest.take(length)).collect()
}

/// Compresses a batch.
///
/// # Errors
/// If zstd cannot, for want of memory.
pub fn compress(plain: &[u8]) -> std::io::Result<Vec<u8>> {
    zstd::bulk::compress(plain, LEVEL)
}

/// Undoes [`compress`], bounded whatever the octets claim.
///
/// # Errors
/// [`WireError::Compression`].
pub fn decompress(packed: &[u8]) -> Result<Vec<u8>, WireError> {
    // The claim in the frame is the sender's: room is made as octets come.
    let mut plain = Vec::new();
    let reader = zstd::stream::read::Decoder::new(packed).map_err(|_| WireError::Compression)?;
    let limit = PLAIN_OCTETS_MAX as u64 + 1;
    std::io::Read::read_to_end(&mut std::io::Read::take(reader, limit), &mut plain)
        .map_err(|_| WireError::Compression)?;
    if plain.len() > PLAIN_OCTETS_MAX { Err(WireError::Compression) } else { Ok(plain) }
}

#[cfg(test)]
#[path = "codec_tests.rs"]
mod tests;
