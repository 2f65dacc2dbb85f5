//! Requests of real clients are made again octet by octet, for their own client and for another of its kind; nothing a peer
//! sends does harm.

use proptest::prelude::*;

use super::*;
use crate::{
    lease::{
        octets::Octets,
        record::{HardwareAddress, LeaseState},
    },
    time::Timestamp,
};

fn lease(n: u8) -> LeaseRecord {
    let hardware = HardwareAddress::ethernet([2, 0, 0, 0, 0, n]);
    LeaseRecord {
        address: Ipv4Addr::new(198, 18, 0, n),
        state: LeaseState::Bound,
        client: ClientKey::Id([1, 2, 0, 0, 0, 0, n].into()),
        hardware,
        hostname: format!("host{n}").into_bytes().into(),
        relay_information: [1, 1, n].into(),
        granted_at: Timestamp::ZERO,
        expires: Timestamp::ZERO,
        horizon: Timestamp::ZERO,
        kept_until: Timestamp::ZERO,
        forms: [None, None],
    }
}

fn way(form: Form) -> Way {
    Way { form, interface: 1, vlans: VlanTags { outer: 7, inner: 0 } }
}

/// A renewal of client `n`, with all that names it in its options.
fn renewal(n: u8, relayed: bool) -> Vec<u8> {
    let mut message = vec![0; BOOTP_OPTIONS];
    message[..4].copy_from_slice(&[1, 1, 6, u8::from(relayed)]);
    message[4..12].copy_from_slice(&[1, 2, 3, n, 0, n, 0x80, 0]);
    message[12..16].copy_from_slice(&lease(n).address.octets());
    message[28..34].copy_from_slice(lease(n).hardware.octets());
    message[236..].copy_from_slice(&COOKIE);
    let name = format!("host{n}");
    let mut option = |code, value: &[u8]| {
        message.extend_from_slice(&[code, value.len() as u8]);
        message.extend_from_slice(value);
    };
    option(53, &[3]);
    option(61, &[1, 2, 0, 0, 0, 0, n]);
    option(12, name.as_bytes());
    option(81, &[&[0, 0, 0], name.as_bytes(), b".example.com"].concat());
    option(55, &[1, 3, 6, 15]);
    if relayed {
        option(82, &[1, 1, n]);
        message[24..28].copy_from_slice(&[198, 18, 9, 1]);
    }
    message.push(255);
    message.resize(320, 0);
    message
}

fn plain(request: &[u8]) -> Vec<u8> {
    let mut request = request.to_vec();
    request[4..12].fill(0);
    trimmed(&request).unwrap().to_vec()
}

#[test]
fn clients_of_a_kind_share_a_template_and_each_gets_its_own_request() {
    for (form, relayed) in [(Form::Direct, false), (Form::Relayed, true)] {
        let template = Template::of(&renewal(1, relayed), way(form), &lease(1)).unwrap();
        assert_eq!(Template::of(&renewal(2, relayed), way(form), &lease(2)).as_ref(), Some(&template));
        assert_eq!(template.way(), Some(way(form)));
        assert_eq!(template.relay().is_some(), relayed);
        for n in [1, 2, 9] {
            let request = template.request(&lease(n)).unwrap();
            assert_eq!(trimmed(&request).unwrap(), plain(&renewal(n, relayed)));
        }
        assert!(template.octets().len() < 60, "{}", template.octets().len());
        // Who has not what belongs into it sends another request.
        let nameless = LeaseRecord { hostname: Octets::default(), ..lease(1) };
        assert_eq!(template.request(&nameless), None);
        let hardware = LeaseRecord { client: ClientKey::Hardware(lease(1).hardware), ..lease(1) };
        assert_eq!(template.request(&hardware), None);
    }
}

#[test]
fn what_the_record_does_not_say_is_kept_as_it_is() {
    let other = LeaseRecord { hostname: (*b"other").into(), ..lease(1) };
    let template = Template::of(&renewal(1, false), way(Form::Direct), &other).unwrap();
    assert_eq!(trimmed(&template.request(&other).unwrap()).unwrap(), plain(&renewal(1, false)));
    let named = |change: &dyn Fn(&mut Vec<u8>)| {
        let mut request = renewal(1, false);
        change(&mut request);
        Template::of(&request, way(Form::Direct), &lease(1))
    };
    assert!(named(&|_| {}).is_some());
    assert_eq!(named(&|request| request[50] = 1), None, "a server name");
    assert_eq!(named(&|request| request[40] = 1), None, "more hardware address than there is");
    assert_eq!(named(&|request| request[31] = 9), None, "another's hardware address");
    assert_eq!(named(&|request| request.truncate(240)), None);
    assert_eq!(named(&|request| *request.last_mut().unwrap() = 7), None, "octets behind the end");
}

proptest! {
    #[test]
    fn any_octets_are_a_template_or_none(octets in prop::collection::vec(any::<u8>(), 0..80)) {
        if let Ok(template) = Template::decode(&octets) {
            prop_assert!(template.way().is_some());
            if let Some(request) = template.request(&lease(1)) {
                prop_assert!(request.len() <= BOOTP_OPTIONS + REQUEST_OPTIONS_MAX);
            }
        }
    }

    #[test]
    fn changed_octets_do_no_harm(changes in prop::collection::vec(any::<(u16, u8)>(), 1..4)) {
        let template = Template::of(&renewal(1, true), way(Form::Relayed), &lease(1)).unwrap();
        let mut octets = template.octets().to_vec();
        for (at, octet) in changes {
            let at = usize::from(at) % octets.len();
            octets[at] = octet;
        }
        if let Ok(template) = Template::decode(&octets) {
            drop(template.request(&lease(1)));
        }
    }
}

#[test]
fn what_is_too_long_or_contradicts_itself_is_refused() {
    assert_eq!(Template::decode(&[0; TEMPLATE_OCTETS_MAX + 1]), Err(WireError::TooMany));
    let unknown = Err(WireError::Unknown("request template"));
    assert_eq!(Template::decode(&[4, 0, 0, 0, 0]), unknown, "bits nobody sets");
    assert_eq!(Template::decode(&[1, 0, 0, 0, 0, 0, 0, 0, 0]), unknown, "relayed by nobody");
    assert_eq!(Template::decode(&[0, 0, 0, 0, 17]), unknown, "too far away");
    assert_eq!(Template::decode(&[0, 0, 0, 0, 0, 9]), unknown, "a part nobody sends");
    assert_eq!(Template::decode(&[0, 0, 0, 0, 0, 0, 5, 1]), Err(WireError::CutShort));
    // Many parts in a few octets: nobody's request is so long.
    let long = [&[0, 0, 0, 0, 0][..], &[3; 200]].concat();
    let full = LeaseRecord { relay_information: [7; 250].into(), ..lease(1) };
    assert_eq!(Template::decode(&long).unwrap().request(&full), None);
}
