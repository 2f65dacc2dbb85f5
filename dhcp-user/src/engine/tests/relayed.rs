//! Clients behind relay agents: option 82 and all that it can say.

use super::*;

const BEHIND: Ipv4Addr = Ipv4Addr::new(198, 18, 7, 1);

fn behind(last: u8) -> Ipv4Addr {
    Ipv4Addr::new(198, 18, 7, last)
}

#[test]
fn which_subnet() {
    let other_relay = Ipv4Addr::new(198, 18, 250, 1);
    let far = Ipv4Addr::new(198, 19, 200, 1);
    for (name, message, expected) in [
        ("giaddr in the subnet", discover(1).relayed(BEHIND), behind(10)),
        ("giaddr listed", discover(1).relayed(other_relay), behind(10)),
        ("link selection", discover(1).relayed(far).with(82, &[5, 4, 198, 18, 7, 0]), behind(10)),
        (
            "link selection before 118",
            discover(1).relayed(far).with(118, &ip(0).octets()).with(82, &[5, 4, 198, 18, 7, 0]),
            behind(10),
        ),
        ("subnet selection before giaddr", discover(1).relayed(BEHIND).with(118, &ip(0).octets()), ip(100)),
        ("subnet selection, direct", discover(1).with(118, &behind(0).octets()), behind(10)),
    ] {
        let mut lab = Lab::new(three_subnets());
        let reply = read(&lab.expect(&message, SlowReason::Offered));
        assert_eq!(reply.yiaddr, expected, "{name}");
        let selection = message.options.iter().find(|(code, _)| *code == 118).map(|(_, value)| value.clone());
        assert_eq!(reply.get(118), selection, "{name}: RFC 3011 wants it back");
    }
}

#[test]
fn option_82_comes_back_as_it_was_and_last() {
    let mut lab = Lab::new(three_subnets());
    // Two sub-options, one unknown, and one cut short: none of our business.
    let information = [1, 2, 9, 9, 200, 1, 7, 2, 250];
    let message = discover(1).with(82, &information).with(61, b"\x00id").relayed(BEHIND);
    let outcome = lab.expect(&message, SlowReason::Offered);
    let offer = read(&outcome);
    assert_eq!(offer.options.last().unwrap(), &(82, information.to_vec()));
    assert_eq!(offer.options[offer.options.len() - 2].0, 61);
    assert_eq!(destination(&outcome), Destination::Relay { giaddr: BEHIND, port: 67 });
    assert_eq!(offer.giaddr, BEHIND);
    let ack = lab.expect(
        &selecting(1, offer.yiaddr).with(82, &information).with(61, b"\x00id").relayed(BEHIND),
        SlowReason::AckedNew,
    );
    assert_eq!(&*ack.effects.commit[0].relay_information, &information);
}

#[test]
fn a_nak_through_a_relay_carries_the_broadcast_flag() {
    let mut lab = Lab::new(three_subnets());
    let outcome =
        lab.expect(&selecting(1, ip(100)).relayed(BEHIND).with(82, &[1, 1, 7]), SlowReason::NakWrongLink);
    let nak = read(&outcome);
    assert_eq!((nak.kind(), nak.flags, nak.codes()), (6, 0x8000, vec![53, 54, 82]));
    assert_eq!(destination(&outcome), Destination::Relay { giaddr: BEHIND, port: 67 });
}

#[test]
fn the_relays_server_identifier_stands_for_ours() {
    let mut lab = Lab::new(three_subnets());
    let theirs = [11, 4, 198, 18, 7, 1];
    let offer = lab.expect(&discover(1).relayed(BEHIND).with(82, &theirs), SlowReason::Offered);
    assert_eq!(read(&offer).get(54).unwrap(), BEHIND.octets());
    assert_eq!(offer.effects.reply.unwrap().source, SERVER);
    let request = message(3, 1).with(50, &behind(10).octets()).with(54, &BEHIND.octets()).relayed(BEHIND);
    lab.expect(&request.clone(), SlowReason::IgnoredOtherServer);
    let ack = lab.expect(&request.with(82, &theirs), SlowReason::AckedNew);
    assert_eq!(read(&ack).get(54).unwrap(), BEHIND.octets());
    // A renewal goes to the relay in our place, which passes it on.
    let renewal = renewing(1, behind(10)).relayed(BEHIND).with(82, &theirs);
    let ack = lab.expect(&renewal, SlowReason::AckedRebinding);
    assert_eq!(destination(&ack), Destination::Relay { giaddr: BEHIND, port: 67 });
}

#[test]
fn a_relay_that_asks_for_its_port_gets_it() {
    let mut lab = Lab::new(three_subnets());
    let mut message = discover(1).relayed(BEHIND).with(82, &[19, 0]);
    message.source_port = 5_067;
    assert_eq!(destination(&lab.send(&message)), Destination::Relay { giaddr: BEHIND, port: 5_067 });
    message.options.pop();
    assert_eq!(destination(&lab.send(&message)), Destination::Relay { giaddr: BEHIND, port: 67 });
}
