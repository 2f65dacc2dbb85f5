//! Octets in and octets out: what is not answered at all, long options, and what happens when there is no room.

use super::*;
use crate::engine::encode::{Draft, payload_max};

fn patched(at: usize, value: u8) -> Vec<u8> {
    let mut bytes = discover(1).bytes();
    bytes[at] = value;
    bytes
}

fn with_tail(tail: &[u8]) -> Vec<u8> {
    let mut bytes = discover(1).bytes();
    bytes.truncate(240);
    bytes.extend(tail);
    bytes
}

#[test]
fn what_is_ignored_and_why() {
    for (reason, bytes) in [
        (SlowReason::IgnoredTooShort, vec![]),
        (SlowReason::IgnoredTooShort, discover(1).bytes()[..239].to_vec()),
        (SlowReason::IgnoredTooLong, vec![1; 8_973]),
        (SlowReason::IgnoredNotRequest, patched(0, 2)),
        (SlowReason::IgnoredHardwareLength, patched(2, 17)),
        (SlowReason::IgnoredHardwareLength, patched(2, 255)),
        (SlowReason::IgnoredHops, patched(3, 17)),
        (SlowReason::IgnoredCookie, patched(236, 0)),
        (SlowReason::IgnoredBootp, with_tail(&[])),
        (SlowReason::IgnoredBootp, with_tail(&[0, 0, 255])),
        (SlowReason::IgnoredTruncatedOption, with_tail(&[53, 1, 1, 12])),
        (SlowReason::IgnoredTruncatedOption, with_tail(&[53, 1, 1, 12, 5, b'x'])),
        (SlowReason::IgnoredBadOption, with_tail(&[53, 2, 1, 1, 255])),
        (SlowReason::IgnoredBadOption, with_tail(&[53, 1, 1, 53, 1, 3, 255])),
        (SlowReason::IgnoredBadOption, with_tail(&[53, 1, 1, 50, 3, 1, 2, 3, 255])),
        (SlowReason::IgnoredBadOption, with_tail(&[53, 1, 1, 54, 0, 255])),
        (SlowReason::IgnoredBadOption, with_tail(&[53, 1, 1, 52, 1, 4, 255])),
        (SlowReason::IgnoredMessageType, with_tail(&[53, 1, 2, 255])),
        (SlowReason::IgnoredMessageType, with_tail(&[53, 1, 13, 255])),
        (SlowReason::IgnoredNoIdentity, patched(2, 0)),
        (SlowReason::Offered, with_tail(&[53, 1, 1])),
        (SlowReason::Offered, with_tail(&[53, 1, 1, 0, 0, 255, 7, 200])),
        (SlowReason::Offered, with_tail(&[53, 1, 1, 50, 4, 0, 0, 0, 0, 255])),
        (SlowReason::Offered, patched(3, 16)),
    ] {
        let mut lab = Lab::new(three_subnets());
        let ingress = lab.ingress(&discover(1));
        let outcome = lab.engine.handle(lab.now, &mut lab.rng, &ingress, &bytes);
        assert_eq!(outcome.reason, reason, "{:?}", bytes.get(236..));
        assert_eq!(outcome.effects.reply.is_some(), reason == SlowReason::Offered);
    }
}

#[test]
fn options_in_parts_and_in_lent_fields() {
    let mut bytes = discover(1).bytes();
    bytes.truncate(240);
    bytes.extend([53, 1, 1, 61, 2, 0, b'a', 52, 1, 3, 12, 1, b'h', 61, 1, b'b', 255]);
    bytes[108..114].copy_from_slice(&[61, 1, b'c', 12, 1, b'o']);
    bytes[114] = 255;
    bytes[44..48].copy_from_slice(&[61, 1, b'd', 255]);
    let request = Request::parse(&bytes).unwrap();
    assert_eq!(request.client, ClientKey::Id((*b"\x00abcd").into()));
    assert_eq!(request.option(12).unwrap(), b"ho");
    bytes[44..47].copy_from_slice(&[61, 63, b'd']);
    assert_eq!(Request::parse(&bytes).unwrap_err(), SlowReason::IgnoredTruncatedOption);
}

#[test]
fn a_client_identifier_has_at_most_255_octets() {
    let long = discover(1).with(61, &[7; 255]);
    assert_eq!(Request::parse(&long.bytes()).unwrap().client, ClientKey::Id([7; 255].into()));
    let longer = long.with(61, &[7]);
    assert_eq!(Request::parse(&longer.bytes()).unwrap_err(), SlowReason::IgnoredBadOption);
}

#[test]
fn the_size_a_client_takes() {
    for (wish, payload) in
        [(None, 548), (Some(1_u16), 548), (Some(576), 548), (Some(1_000), 972), (Some(u16::MAX), 1_472)]
    {
        let mut message = discover(1);
        if let Some(wish) = wish {
            message = message.with(57, &wish.to_be_bytes());
        }
        assert_eq!(payload_max(&Request::parse(&message.bytes()).unwrap()), payload, "{wish:?}");
    }
}

/// A laboratory whose options have these lengths, from code 200 on.
fn crowded(lengths: &[usize], change: impl FnOnce(&mut Policy)) -> Lab {
    let mut policy = policy();
    policy.options.retain(|code, _| *code == 1);
    for (code, len) in (200..).zip(lengths) {
        policy.options.insert(code, option(&vec![code; *len]));
    }
    change(&mut policy);
    let mut config = three_subnets();
    config.subnets[0].pools[0].policy = Arc::new(policy);
    Lab::new(config)
}

fn ask(lab: &mut Lab, change: impl FnOnce(Msg) -> Msg) -> (Read, Omitted, usize) {
    let outcome = lab.expect(&change(discover(1).with(55, &[200, 201, 202, 203])), SlowReason::Offered);
    let reply = outcome.effects.reply.as_ref().unwrap();
    (read(&outcome), reply.omitted, reply.payload.len())
}

#[test]
fn long_options_are_split() {
    let mut lab = crowded(&[600, 10], |_| ());
    let (reply, omitted, _) = ask(&mut lab, |message| message.with(57, &1_500_u16.to_be_bytes()));
    let parts: Vec<_> = reply.options.iter().filter(|(code, _)| *code == 200).map(|(_, v)| v.len()).collect();
    assert_eq!((parts, omitted), (vec![255, 255, 90], Omitted::default()));
    assert_eq!(reply.get(200).unwrap(), [200; 600]);
}

#[test]
fn crowded_out_options_move_to_file_and_sname() {
    let mut lab = crowded(&[250, 100, 50, 20], |_| ());
    let (reply, omitted, len) = ask(&mut lab, |message| message);
    assert_eq!(omitted, Omitted::default());
    assert_eq!(reply.get(52).unwrap(), [3]);
    assert_eq!(reply.codes()[..reply.main], [53, 54, 51, 1, 52, 200, 203]);
    for (code, len) in [(200, 250), (201, 100), (202, 50), (203, 20)] {
        assert_eq!(reply.get(code).unwrap().len(), len, "{code}");
    }
    assert!(len <= 548);
}

#[test]
fn fields_in_use_are_not_lent() {
    let mut lab = crowded(&[250, 100, 50, 10], |policy| policy.boot_file = b"boot".to_vec());
    let (reply, omitted, _) = ask(&mut lab, |message| message);
    assert_eq!(reply.get(52).unwrap(), [2]);
    assert_eq!((reply.get(201), omitted.options), (None, 1), "only sname was free, and too small");
    assert_eq!((reply.get(202).unwrap().len(), reply.get(203).unwrap().len()), (50, 10));

    let mut lab = crowded(&[250, 100, 50, 10], |policy| {
        (policy.boot_file, policy.server_name) = (b"boot".to_vec(), vec![b's'; 63]);
    });
    let (reply, omitted, _) = ask(&mut lab, |message| message);
    assert_eq!((reply.get(52), omitted.options), (None, 2), "202 and 201; 203 still fits");
    assert!(reply.get(200).is_some() && reply.get(203).is_some());
}

#[test]
fn file_and_sname_are_written() {
    let mut lab = crowded(&[4], |policy| {
        (policy.boot_file, policy.server_name) = (vec![b'f'; 127], b"server".to_vec());
    });
    let outcome = lab.expect(&discover(1), SlowReason::Offered);
    let payload = outcome.effects.reply.unwrap().payload;
    assert_eq!(payload[108..236], [&[b'f'; 127][..], &[0]].concat());
    assert_eq!(payload[44..108], [&b"server"[..], &[0; 58]].concat());
}

#[test]
fn echoes_come_before_configured_options_and_option_82_before_none() {
    // 308 octets of options field: 22 of the protocol's own with the end option, 202 and 84 of echoes.
    let mut lab = crowded(&[100, 60], |_| ());
    let (reply, omitted, len) = ask(&mut lab, |message| message.with(61, &[1; 200]).with(82, &[2; 82]));
    assert_eq!((reply.get(61).unwrap().len(), reply.get(82).unwrap().len()), (200, 82));
    assert_eq!((omitted, len), (Omitted { options: 2, relay_information: false }, 548));
    // Two octets more cannot be lent the overload option, three too many leave no room for 82 itself.
    let (reply, omitted, _) = ask(&mut lab, |message| message.with(61, &[1; 200]).with(82, &[2; 83]));
    assert_eq!((reply.get(82), omitted.relay_information), (None, true));
    assert_eq!(reply.get(200).unwrap().len(), 100, "its room goes to the client");
}

#[test]
fn every_mandatory_octet_fits_the_smallest_message() {
    let bytes =
        discover(1).with(61, &[1; 255]).with(118, &[198, 18, 0, 0]).with(80, &[]).with(82, &[3; 255]).bytes();
    let mut lab = crowded(&[], |_| ());
    let ingress = lab.ingress(&discover(1));
    let outcome = lab.engine.handle(lab.now, &mut lab.rng, &ingress, &bytes);
    let reply = read(&outcome);
    assert_eq!(reply.codes(), [53, 54, 51, 58, 59, 1, 80, 118, 61]);
    let sent = outcome.effects.reply.unwrap();
    assert!(sent.payload.len() <= 548 && sent.omitted.relay_information);
}

#[test]
fn a_short_reply_is_padded_to_300_octets() {
    let bytes = discover(1).bytes();
    let request = Request::parse(&bytes).unwrap();
    let none = Ipv4Addr::UNSPECIFIED;
    let draft = Draft {
        request: &request,
        flags: 0,
        ciaddr: none,
        yiaddr: none,
        siaddr: none,
        sname: &[],
        file: &[],
        head: vec![(53, &[6])],
        body: vec![],
        echoes: vec![],
        relay_information: None,
    };
    let (payload, _) = draft.encode();
    assert_eq!(payload.len(), 300);
    assert_eq!(payload[240..244], [53, 1, 6, 255]);
    assert!(payload[244..].iter().all(|octet| *octet == 0));
    assert_eq!(payload[8..10], [0, 0], "secs are not echoed");
    assert_eq!(payload[4..8], bytes[4..8]);
    assert_eq!(payload[28..44], bytes[28..44]);
}

#[test]
fn renewal_times_are_in_order() {
    for secs in [0, 1, 2, 3, 4, 60, HOUR, u32::MAX] {
        for (t1, t2) in [(1, 2), (500, 875), (998, 999)] {
            let policy = Policy { t1_permille: t1, t2_permille: t2, ..policy() };
            let (t1, t2) = reply::renewal_times(&policy, secs);
            assert!(t1 <= t2 && t2 <= secs, "{secs}: {t1} {t2}");
            assert!(secs < 3 || t2 < secs && (t2 == 0 || t1 < t2), "{secs}: {t1} {t2}");
        }
    }
}
