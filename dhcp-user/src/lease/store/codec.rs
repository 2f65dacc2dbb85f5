//! Lease records as octets, so that what is on disk has a version of its own, whatever the types in memory become.
//!
//! Version 1, integers little-endian, the address being the key under which the record is kept:
//!
//! ```text
//! version u8 | flags u8 | hardware | client | hostname | relay | granted u64 | expires u64 | horizon u64 | kept u64? | form*
//! flags: bits 0-1 state, bits 2-3 kind of client, bit 4 direct form, bit 5 relayed form, bit 6 kept until beyond horizon
//! hardware: htype u8, len u8, octets      client: nothing (same as hardware) | hardware | len u16, octets
//! hostname: len u8, octets                relay: len u16, octets             form: fingerprint u64, answer u32, echo sum u16
//! ```

use std::{net::Ipv4Addr, num::NonZeroU64};

use crate::{
    lease::record::{ClientKey, HardwareAddress, KnownForm, LeaseRecord, LeaseState},
    time::Timestamp,
};

const VERSION: u8 = 1;
const CLIENT_IS_HARDWARE: u8 = 0;
const CLIENT_OTHER_HARDWARE: u8 = 1;
const CLIENT_ID: u8 = 2;

/// The longest client identifier and the longest option 82 kept, in octets; what RFC 3396 lets a client send in one
/// Ethernet frame is below it.
pub const FIELD_OCTETS_MAX: usize = 2048;

/// Why a lease record cannot be written or read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum CodecError {
    /// A field is longer than the record has room for.
    #[error("its {field} has {octets} octets, at most {octets_max} are kept")]
    TooLong {
        /// Which field.
        field: &'static str,
        /// Its length in octets.
        octets: usize,
        /// The most kept, in octets.
        octets_max: usize,
    },
    /// The record was written by a later version.
    #[error("record version {0} is not known; run the version that wrote it")]
    Version(u8),
    /// The octets are no record.
    #[error("not a lease record: {0}")]
    Malformed(&'static str),
}

/// Appends the record's octets, without its address, to `out`; at most 4,500 of them.
///
/// # Errors
/// [`CodecError::TooLong`]; `out` may then hold part of a record.
pub fn encode_lease(lease: &LeaseRecord, out: &mut Vec<u8>) -> Result<(), CodecError> {
    let state = match lease.state {
        LeaseState::Bound => 0,
        LeaseState::Free => 1,
        LeaseState::Quarantined => 2,
    };
    let client = match &lease.client {
        ClientKey::Hardware(hardware) if *hardware == lease.hardware => CLIENT_IS_HARDWARE,
        ClientKey::Hardware(_) => CLIENT_OTHER_HARDWARE,
        ClientKey::Id(_) => CLIENT_ID,
    };
    let forms =
        lease.forms.iter().enumerate().fold(0, |bits, (i, form)| bits | (u8::from(form.is_some()) << i));
    let kept = u8::from(lease.kept_until != Timestamp::ZERO);
    out.extend_from_slice(&[VERSION, state | client << 2 | forms << 4 | kept << 6]);
    put_hardware(&lease.hardware, out);
    match &lease.client {
        ClientKey::Hardware(hardware) if client == CLIENT_OTHER_HARDWARE => put_hardware(hardware, out),
        ClientKey::Hardware(_) => {}
        ClientKey::Id(id) => put_long("client identifier", id, out)?,
    }
    let hostname_len = u8::try_from(lease.hostname.len()).map_err(|_| CodecError::TooLong {
        field: "host name",
        octets: lease.hostname.len(),
        octets_max: usize::from(u8::MAX),
    })?;
    out.push(hostname_len);
    out.extend_from_slice(&lease.hostname);
    put_long("relay information", &lease.relay_information, out)?;
    for time in [lease.granted_at, lease.expires, lease.horizon] {
        out.extend_from_slice(&time.0.to_le_bytes());
    }
    if kept == 1 {
        out.extend_from_slice(&lease.kept_until.0.to_le_bytes());
    }
    for form in lease.forms.iter().flatten() {
        out.extend_from_slice(&form.fingerprint.get().to_le_bytes());
        out.extend_from_slice(&form.answer.to_le_bytes());
        out.extend_from_slice(&form.echo_sum.to_le_bytes());
    }
    Ok(())
}

/// Reads a record back; every octet must be used.
///
/// # Errors
/// [`CodecError::Version`] and [`CodecError::Malformed`].
pub fn decode_lease(address: Ipv4Addr, octets: &[u8]) -> Result<LeaseRecord, CodecError> {
    let mut rest = Reader(octets);
    let version = rest.u8()?;
    if version != VERSION {
        return Err(CodecError::Version(version));
    }
    let flags = rest.u8()?;
    if flags & 0x80 != 0 {
        return Err(CodecError::Malformed("unknown flags"));
    }
    let state = match flags & 3 {
        0 => LeaseState::Bound,
        1 => LeaseState::Free,
        2 => LeaseState::Quarantined,
        _ => return Err(CodecError::Malformed("unknown state")),
    };
    let hardware = rest.hardware()?;
    let client = match flags >> 2 & 3 {
        CLIENT_IS_HARDWARE => ClientKey::Hardware(hardware),
        CLIENT_OTHER_HARDWARE => ClientKey::Hardware(rest.hardware()?),
        CLIENT_ID => ClientKey::Id(rest.long()?.into()),
        _ => return Err(CodecError::Malformed("unknown kind of client")),
    };
    let hostname_len = usize::from(rest.u8()?);
    let hostname = rest.take(hostname_len)?.into();
    let relay_information = rest.long()?.into();
    let granted_at = Timestamp(rest.u64()?);
    let expires = Timestamp(rest.u64()?);
    let horizon = Timestamp(rest.u64()?);
    let kept_until = if flags >> 6 & 1 == 1 { Timestamp(rest.u64()?) } else { Timestamp::ZERO };
    let mut forms = [None; 2];
    for (i, form) in forms.iter_mut().enumerate() {
        if flags >> (4 + i) & 1 == 1 {
            let fingerprint =
                NonZeroU64::new(rest.u64()?).ok_or(CodecError::Malformed("a fingerprint of 0"))?;
            *form = Some(KnownForm { fingerprint, answer: rest.u32()?, echo_sum: rest.u16()? });
        }
    }
    if !rest.0.is_empty() {
        return Err(CodecError::Malformed("octets after its end"));
    }
    Ok(LeaseRecord {
        address,
        state,
        client,
        hardware,
        hostname,
        relay_information,
        granted_at,
        expires,
        horizon,
        kept_until,
        forms,
    })
}

fn put_hardware(hardware: &HardwareAddress, out: &mut Vec<u8>) {
    let octets = hardware.octets();
    // At most 16 by construction.
    out.extend_from_slice(&[hardware.htype, octets.len() as u8]);
    out.extend_from_slice(octets);
}

fn put_long(field: &'static str, octets: &[u8], out: &mut Vec<u8>) -> Result<(), CodecError> {
    if octets.len() > FIELD_OCTETS_MAX {
        return Err(CodecError::TooLong { field, octets: octets.len(), octets_max: FIELD_OCTETS_MAX });
    }
    // Fits: the bound above is below 65,536.
    out.extend_from_slice(&(octets.len() as u16).to_le_bytes());
    out.extend_from_slice(octets);
    Ok(())
}

struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, len: usize) -> Result<&'a [u8], CodecError> {
        let (taken, rest) = self.0.split_at_checked(len).ok_or(CodecError::Malformed("cut short"))?;
        self.0 = rest;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], CodecError> {
        let (taken, rest) = self.0.split_first_chunk().ok_or(CodecError::Malformed("cut short"))?;
        self.0 = rest;
        Ok(*taken)
    }

    fn u8(&mut self) -> Result<u8, CodecError> {
        self.array().map(u8::from_le_bytes)
    }

    fn u16(&mut self) -> Result<u16, CodecError> {
        self.array().map(u16::from_le_bytes)
    }

    fn u32(&mut self) -> Result<u32, CodecError> {
        self.array().map(u32::from_le_bytes)
    }

    fn u64(&mut self) -> Result<u64, CodecError> {
        self.array().map(u64::from_le_bytes)
    }

    fn hardware(&mut self) -> Result<HardwareAddress, CodecError> {
        let [htype, len] = self.array()?;
        HardwareAddress::new(htype, self.take(usize::from(len))?)
            .ok_or(CodecError::Malformed("hardware address of more than 16 octets"))
    }

    fn long(&mut self) -> Result<&'a [u8], CodecError> {
        let len = usize::from(self.u16()?);
        if len > FIELD_OCTETS_MAX {
            return Err(CodecError::Malformed("field longer than any written"));
        }
        self.take(len)
    }
}

#[cfg(test)]
pub(super) mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::lease::octets::Octets;

    fn octets(max: usize) -> impl Strategy<Value = Vec<u8>> {
        prop::collection::vec(any::<u8>(), 0..=max)
    }

    fn hardware() -> impl Strategy<Value = HardwareAddress> {
        (any::<u8>(), octets(16)).prop_map(|(htype, octets)| HardwareAddress::new(htype, &octets).unwrap())
    }

    fn form() -> impl Strategy<Value = Option<KnownForm>> {
        prop::option::of(
            (any::<NonZeroU64>(), any::<u32>(), any::<u16>())
                .prop_map(|(fingerprint, answer, echo_sum)| KnownForm { fingerprint, answer, echo_sum }),
        )
    }

    /// Any lease record the codec takes, of an address below `addresses`.
    pub fn lease(addresses: u32) -> impl Strategy<Value = LeaseRecord> {
        let state =
            prop_oneof![Just(LeaseState::Bound), Just(LeaseState::Free), Just(LeaseState::Quarantined)];
        let client = (hardware(), prop::option::of(prop::option::of(octets(300))));
        let times = any::<[u64; 4]>();
        (0..addresses, state, client, hardware(), octets(255), octets(300), times, [form(), form()]).prop_map(
            |(address, state, (other, client), hardware, hostname, relay_information, times, forms)| {
                let client = match client {
                    None => ClientKey::Hardware(hardware),
                    Some(None) => ClientKey::Hardware(other),
                    Some(Some(id)) => ClientKey::Id(id.into()),
                };
                let [granted_at, expires, horizon, kept_until] = times.map(Timestamp);
                LeaseRecord {
                    address: Ipv4Addr::from(0xc612_0000 + address),
                    state,
                    client,
                    hardware,
                    hostname: hostname.into(),
                    relay_information: relay_information.into(),
                    granted_at,
                    expires,
                    horizon,
                    kept_until,
                    forms,
                }
            },
        )
    }

    proptest! {
        #[test]
        fn reads_back_what_it_wrote(lease in lease(u32::from(u16::MAX))) {
            let mut octets = Vec::new();
            encode_lease(&lease, &mut octets).unwrap();
            prop_assert_eq!(decode_lease(lease.address, &octets).unwrap(), lease.clone());
            for cut in 0..octets.len() {
                prop_assert!(decode_lease(lease.address, &octets[..cut]).is_err(), "cut at {}", cut);
            }
            octets.push(0);
            prop_assert!(decode_lease(lease.address, &octets).is_err());
        }

        #[test]
        fn survives_any_octets(octets in prop::collection::vec(any::<u8>(), 0..200)) {
            if let Ok(lease) = decode_lease(Ipv4Addr::LOCALHOST, &octets) {
                let mut again = Vec::new();
                encode_lease(&lease, &mut again).unwrap();
                prop_assert_eq!(decode_lease(Ipv4Addr::LOCALHOST, &again).unwrap(), lease);
            }
        }
    }

    #[test]
    fn names_what_is_too_long_or_too_new() {
        let mut lease = LeaseRecord {
            address: Ipv4Addr::new(198, 18, 0, 1),
            state: LeaseState::Bound,
            client: ClientKey::Id(vec![0; FIELD_OCTETS_MAX].into()),
            hardware: HardwareAddress::ethernet([2, 0, 0, 0, 0, 1]),
            hostname: vec![b'a'; 255].into(),
            relay_information: Box::default(),
            granted_at: Timestamp(1),
            expires: Timestamp(2),
            horizon: Timestamp(3),
            kept_until: Timestamp::ZERO,
            forms: [None; 2],
        };
        let mut octets = Vec::new();
        encode_lease(&lease, &mut octets).unwrap();
        octets[0] = 2;
        assert_eq!(decode_lease(lease.address, &octets), Err(CodecError::Version(2)));
        lease.hostname = vec![b'a'; 256].into();
        assert_eq!(
            encode_lease(&lease, &mut octets).unwrap_err().to_string(),
            "its host name has 256 octets, at most 255 are kept"
        );
        lease.hostname = Octets::default();
        lease.client = ClientKey::Id(vec![0; FIELD_OCTETS_MAX + 1].into());
        assert!(matches!(encode_lease(&lease, &mut octets), Err(CodecError::TooLong { octets: 2049, .. })));
    }

    #[test]
    fn a_typical_lease_is_small() {
        let lease = LeaseRecord {
            address: Ipv4Addr::new(198, 18, 0, 1),
            state: LeaseState::Bound,
            client: ClientKey::Hardware(HardwareAddress::ethernet([2, 0, 0, 0, 0, 1])),
            hardware: HardwareAddress::ethernet([2, 0, 0, 0, 0, 1]),
            hostname: (*b"rack12-node7").into(),
            relay_information: Box::default(),
            granted_at: Timestamp(1),
            expires: Timestamp(2),
            horizon: Timestamp(3),
            kept_until: Timestamp::ZERO,
            forms: [Some(KnownForm { fingerprint: NonZeroU64::MIN, answer: 9, echo_sum: 11 }), None],
        };
        let mut octets = Vec::new();
        encode_lease(&lease, &mut octets).unwrap();
        assert_eq!(octets.len(), 2 + 8 + 13 + 2 + 24 + 14);
    }
}
