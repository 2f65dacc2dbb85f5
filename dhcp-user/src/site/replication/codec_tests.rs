//! Every batch comes back as it was but for times rounded up; nothing a peer sends does harm.

use std::sync::Arc;

use proptest::prelude::*;

use super::*;
use crate::site::replication::Template;

fn octets(max: usize) -> impl Strategy<Value = Box<[u8]>> {
    prop::collection::vec(any::<u8>(), 0..=max).prop_map(Into::into)
}

fn identity() -> impl Strategy<Value = Identity> {
    let states = [LeaseState::Bound, LeaseState::Free, LeaseState::Quarantined];
    let hardware = || (any::<u8>(), octets(16)).prop_map(|(t, o)| HardwareAddress::new(t, &o).unwrap());
    (0..3_usize, 0..4_u8, hardware(), hardware(), octets(300), octets(255), octets(300)).prop_map(
        move |(state, kind, hardware, other, id, hostname, relay_information)| {
            let client = match kind {
                0 => ClientKey::Hardware(hardware),
                1 => ClientKey::Hardware(other),
                2 => ClientKey::Id([&[hardware.htype], hardware.octets()].concat().into()),
                _ => ClientKey::Id(id.as_ref().into()),
            };
            let hostname = hostname.as_ref().into();
            Identity { state: states[state], client, hardware, hostname, relay_information }
        },
    )
}

/// One of a few templates, or none.
fn template() -> impl Strategy<Value = Option<Arc<Template>>> {
    prop::option::of(
        (0..5_u8).prop_map(|n| Arc::new(Template::decode(&[0, 0, n, 0, 0, 0, 1, n, 1]).unwrap())),
    )
}

prop_compose! {
    fn update()(
        address: u32,
        epoch: u32,
        granted in 0..1_u64 << 32,
        length in 0..1_u64 << 32,
        beyond in 0..1_u64 << 32,
        kept in 0..1_u64 << 32,
        identity in prop::option::of(identity()),
        asked in [template(), template()],
    ) -> Update {
        let at = |secs| Timestamp::ZERO + Span::from_secs(secs);
        Update {
            address: address.into(),
            epoch,
            granted_at: at(granted),
            expires: at(granted + length),
            horizon: at(granted + length + beyond),
            kept_until: at(granted + length + beyond + kept),
            asked: if identity.is_some() { asked } else { [None, None] },
            identity,
        }
    }
}

fn batch() -> impl Strategy<Value = Vec<Update>> {
    prop::collection::vec(update(), 0..20).prop_map(|mut updates| {
        updates.sort_by_key(|update| update.address);
        updates.dedup_by_key(|update| update.address);
        updates
    })
}

proptest! {
    #[test]
    fn reads_back_what_it_wrote(updates in batch(), now in 0..1_u64 << 33) {
        let now = Timestamp::ZERO + Span::from_secs(now);
        let plain = encode(&mut updates.clone(), now);
        prop_assert!(plain.len() <= 20 + updates.iter().map(Update::octets_max).sum::<usize>());
        prop_assert_eq!(decode(&decompress(&compress(&plain).unwrap()).unwrap()).unwrap(), (updates, now));
        for cut in 0..plain.len() {
            prop_assert!(decode(&plain[..cut]).is_err());
        }
        prop_assert_eq!(decode(&[&plain[..], &[0]].concat()), Err(WireError::TooLong));
    }

    #[test]
    fn survives_any_octets(octets in prop::collection::vec(any::<u8>(), 0..300)) {
        drop(decode(&octets));
        drop(decompress(&octets));
    }

    #[test]
    fn survives_changed_octets(updates in batch(), changes in prop::collection::vec(any::<(u16, u8)>(), 1..4)) {
        let mut plain = encode(&mut updates.clone(), Timestamp::ZERO);
        for (at, octet) in changes {
            let at = usize::from(at) % plain.len();
            plain[at] = octet;
        }
        if let Ok((found, _)) = decode(&plain) {
            prop_assert!(found.len() <= UPDATES_MAX);
        }
    }
}

#[test]
fn times_are_rounded_up_and_never_down() {
    let moment = |ns| Timestamp(1_700_000_000_000_000_000 + ns);
    let update = Update {
        address: Ipv4Addr::new(198, 18, 0, 1),
        epoch: 3,
        granted_at: moment(1),
        expires: moment(60_000_000_001),
        horizon: moment(120_999_999_999),
        kept_until: moment(120_999_999_999),
        identity: None,
        asked: [None, None],
    };
    let (found, _) = decode(&encode(&mut [update], moment(0))).unwrap();
    let whole = |secs: u64| moment(secs * 1_000_000_000);
    assert_eq!((found[0].granted_at, found[0].expires, found[0].horizon), (whole(1), whole(61), whole(121)));
}

#[test]
fn what_claims_to_be_huge_is_refused() {
    let bomb = compress(&vec![0; PLAIN_OCTETS_MAX + 1]).unwrap();
    assert!(bomb.len() < 10_000);
    assert_eq!(decompress(&bomb), Err(WireError::Compression));
    let mut many = Vec::new();
    put_number(UPDATES_MAX as u64 + 1, &mut many);
    assert_eq!(decode(&many), Err(WireError::TooMany));
}
