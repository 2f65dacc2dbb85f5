//! ARP probes (RFC 5227 section 2.1.1) and the answers to them; announcements (section 2.3).

use std::net::Ipv4Addr;

use dhcp_common::wire::BROADCAST_MAC;

use crate::net::frame::Tags;

const ETHERTYPE: [u8; 2] = [0x08, 0x06];
const REQUEST: u8 = 1;
const REPLY: u8 = 2;
/// The shortest Ethernet frame, without its checksum.
const FRAME_MIN: usize = 60;

/// Hardware type Ethernet, protocol IPv4, their address lengths, and the operation.
const fn head(operation: u8) -> [u8; 8] {
    [0, 1, 8, 0, 6, 4, 0, operation]
}

/// The frame that asks on a link who has `address`, in nobody's name: no cache learns anything from it.
pub fn probe(our_mac: [u8; 6], tags: Tags, address: Ipv4Addr) -> Vec<u8> {
    let mut frame = Vec::with_capacity(FRAME_MIN);
    frame.extend_from_slice(&BROADCAST_MAC);
    frame.extend_from_slice(&our_mac);
    tags.write(&mut frame);
    frame.extend_from_slice(&ETHERTYPE);
    frame.extend_from_slice(&head(REQUEST));
    frame.extend_from_slice(&our_mac);
    frame.extend_from_slice(&[0; 4 + 6]);
    frame.extend_from_slice(&address.octets());
    frame.resize(frame.len().max(FRAME_MIN), 0);
    frame
}

/// The frames that tell a link who has `address`, as a request and as a reply: caches that know another learn from one of
/// them at least.
pub fn announcements(our_mac: [u8; 6], address: Ipv4Addr) -> [Vec<u8>; 2] {
    [REQUEST, REPLY].map(|operation| {
        let mut frame = Vec::with_capacity(FRAME_MIN);
        frame.extend_from_slice(&BROADCAST_MAC);
        frame.extend_from_slice(&our_mac);
        frame.extend_from_slice(&ETHERTYPE);
        frame.extend_from_slice(&head(operation));
        frame.extend_from_slice(&our_mac);
        frame.extend_from_slice(&address.octets());
        // A question names nobody, an answer whom it is for: here the same.
        frame.extend_from_slice(if operation == REPLY { &our_mac } else { &[0; 6] });
        frame.extend_from_slice(&address.octets());
        frame.resize(frame.len().max(FRAME_MIN), 0);
        frame
    })
}

/// Who says, by ARP, to have which address; `None` if the frame, with up to two tags, is no ARP reply.
pub fn answer(frame: &[u8]) -> Option<(Ipv4Addr, [u8; 6])> {
    let mut rest = frame.get(12..)?;
    for _ in 0..2 {
        if let [0x81, 0x00, _, _, after @ ..] | [0x88, 0xa8, _, _, after @ ..] = rest {
            rest = after;
        }
    }
    let body = rest.strip_prefix(&ETHERTYPE)?.strip_prefix(&head(REPLY))?;
    let (mac, body) = body.split_first_chunk::<6>()?;
    Some((Ipv4Addr::from(*body.first_chunk::<4>()?), *mac))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::model::VlanTags;

    #[test]
    fn an_announcement_says_who_has_the_address_both_ways() {
        let (ours, address) = ([2, 0, 0, 0, 0, 1], Ipv4Addr::new(198, 18, 0, 2));
        let [asked, answered] = announcements(ours, address);
        assert_eq!((asked.len(), answered.len()), (60, 60));
        assert_eq!((answer(&asked), answer(&answered)), (None, Some((address, ours))));
        for frame in [asked, answered] {
            assert_eq!(
                (&frame[..6], &frame[28..32], &frame[38..42]),
                (&[255; 6][..], &[198, 18, 0, 2][..], &[198, 18, 0, 2][..])
            );
        }
    }

    #[test]
    fn what_is_asked_and_what_answers_it() {
        let (ours, theirs) = ([2, 0, 0, 0, 0, 1], [2, 0, 0, 0, 0, 2]);
        let address = Ipv4Addr::new(198, 18, 1, 7);
        for (outer, inner) in [(0, 0), (7, 0), (7, 8)] {
            let mut frame = probe(ours, Tags::new(VlanTags { outer, inner }), address);
            assert!(frame.len() >= 60 && frame.starts_with(&[255; 6]));
            assert_eq!(answer(&frame), None, "a question is no answer");
            let at = frame.windows(2).position(|two| two == ETHERTYPE).unwrap() + 2;
            assert_eq!(frame[at + 14..at + 18], [0; 4], "a probe is in nobody's name");
            assert_eq!(frame[at + 24..at + 28], address.octets());
            frame[at + 7] = REPLY;
            frame[at + 8..at + 14].copy_from_slice(&theirs);
            frame[at + 14..at + 18].copy_from_slice(&address.octets());
            assert_eq!(answer(&frame), Some((address, theirs)));
            for len in 0..at + 18 {
                assert_eq!(answer(&frame[..len]), None);
            }
        }
    }
}
