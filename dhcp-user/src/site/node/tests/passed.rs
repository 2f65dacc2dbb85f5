//! A lease that changes again before the peers heard of it is told by its later change: they pass the earlier one without it
//! (`replication::milestone`). And what a node granted nobody takes from it who has not heard of it.

use super::*;

/// No horizon waits to be acknowledged: that would be another change.
const LONG_MCLT: Span = Span::from_secs(3_600);

/// Two nodes in mode `sync`, of which the first holds its reply to the renewal of an address; and how many were sent before.
fn with_a_reply_that_waits() -> (Lab, Ipv4Addr, usize) {
    let mut lab = Lab::with_mclt(2, 1_000, LONG_MCLT);
    let x = ip(10);
    lab.ask(0, 1, x);
    lab.run(10);
    lab.nodes[0].site.as_mut().unwrap().settings.mode = SyncMode::Sync;
    let before = lab.sent.len();
    lab.renew(0, 1, x);
    assert_eq!(lab.sent.len(), before, "nobody else knows yet");
    (lab, x, before)
}

/// The change a reply waited for is passed by a peer that was told of another one only.
#[test]
fn a_reply_waits_for_the_change_that_its_lease_became_part_of() {
    let mut lab = Lab::with_mclt(2, 1, LONG_MCLT);
    lab.nodes[0].site.as_mut().unwrap().settings.mode = SyncMode::Sync;
    let (x, y) = (ip(10), ip(11));
    let before = lab.sent.len();
    lab.ask(0, 1, x);
    lab.ask(0, 2, y);
    lab.now = lab.now + Span::from_millis(100);
    lab.renew(0, 1, x);
    // As where so much is told ahead of its turn already that x has to wait for it.
    lab.nodes[0].site.as_mut().unwrap().pressing.clear();
    lab.turn(0);
    assert_eq!(lab.sent.len(), before, "nobody knows yet");
    // One change a batch: the first is that of y, the second that of x.
    let way = lab.ways.get_mut(&(0, 1)).unwrap();
    let is_updates = |message: &Message| matches!(message, Message::Updates { .. });
    let (rest, others): (Vec<Message>, Vec<Message>) = way.drain(..).partition(is_updates);
    assert_eq!(rest.len(), 2);
    let mut rest = rest.into_iter();
    way.extend(others.into_iter().chain(rest.next()));
    lab.deliver(1);
    lab.turn(1);
    lab.deliver(0);
    lab.turn(0);
    assert_eq!(lab.sent[before..], [y], "x has not been heard of");
    lab.ways.entry((0, 1)).or_default().extend(rest);
    lab.run(1);
    assert_eq!(lab.sent[before..], [y, x, x]);
}

/// The client gives its lease back while the answer to its renewal waits, and another is given the address: both are known to
/// all when the answer's turn comes, which is nobody's any more.
#[test]
fn a_reply_about_a_lease_that_was_given_back_is_not_sent() {
    let (mut lab, x, before) = with_a_reply_that_waits();
    lab.release(0, 1, x);
    let mut steps = 0;
    while lab.lease(0, x).state == LeaseState::Bound {
        lab.step();
        steps += 1;
        assert!(steps < 20);
    }
    lab.ask(0, 2, x);
    lab.run(5);
    assert!(lab.in_step() && lab.is_bound(1, x));
    assert_eq!(lab.sent[before..], [x], "to the second client alone");
}

/// The answer to a renewal waits for the peers while a block's new holder says for how long the lease is: for less.
#[test]
fn a_reply_that_promises_more_than_the_lease_is_for_by_now_is_not_sent() {
    for (less, sent) in [(Span::ZERO, true), (Span::from_secs(5), false)] {
        let (mut lab, x, before) = with_a_reply_that_waits();
        let lease = lab.lease(0, x).clone();
        let horizon = lease.expires - less;
        lab.nodes[0].core.engine.adopt(LeaseRecord { horizon, expires: horizon, ..lease });
        lab.run(5);
        assert_eq!(lab.sent.len() > before, sent, "{less:?}");
    }
}

/// A block's new holder knows less of a lease than a standby, which has just granted it to its client within what the holder
/// before had told: what the new one says of it first must not take that back.
#[test]
fn a_holder_that_knows_less_takes_nothing_back_before_it_has_heard() {
    let mut lab = Lab::with_mclt(3, 1_000, LONG_MCLT);
    let x = ip(10);
    lab.ask(0, 1, x);
    lab.run(10);
    lab.deaf = Some(2);
    lab.now = lab.now + Span::from_secs(500);
    lab.renew(0, 1, x);
    lab.run(3);
    lab.now = lab.now + Span::from_secs(200);
    lab.renew(1, 1, x);
    let promised = lab.lease(1, x).expires;
    assert!(promised > lab.lease(2, x).horizon && promised <= lab.lease(1, x).horizon);
    lab.commands.push(Command::Move { by: NodeId(0), to: NodeId(2), blocks: vec![(BlockId(0), 1)] });
    // Both speak at once: the new holder before it hears of the grant.
    lab.deaf = None;
    lab.link(false);
    lab.link(true);
    for _ in 0..100 {
        lab.step();
        let lease = lab.lease(1, x);
        assert!(promised <= lease.expires.min(lease.horizon), "{lease:?}");
    }
    assert!(lab.in_step());
    // Give or take what it may have read of the other's clock (rule 7).
    let heard = lab.lease(2, x).expires + peer::ROUND_TRIP_MAX;
    assert!(heard >= promised, "it has heard: {:?}", lab.lease(2, x));
}
