//! Addresses in use: asked for before they are offered, ahead of need, without holding up anybody else.

use super::*;
use crate::config::model::ConflictDetection;

const WAIT: Span = Span::from_millis(300);

fn settings() -> ConflictDetection {
    ConflictDetection {
        relayed: true,
        wait: WAIT,
        conflict: Span::from_secs(600),
        silent: Span::from_secs(300),
        in_flight_max: 8,
    }
}

fn lab() -> Lab {
    let mut config = three_subnets();
    config.conflict_detection = Some(settings());
    let mut lab = Lab::new(config);
    lab.engine.detect_conflicts(settings());
    lab
}

fn stranger() -> HardwareAddress {
    HardwareAddress::ethernet([2, 9, 9, 9, 9, 9])
}

#[test]
fn an_offer_waits_and_others_do_not() {
    let mut lab = lab();
    let waiting = lab.expect(&discover(1), SlowReason::Probing).effects;
    assert_eq!((&waiting.probe, waiting.waits_for, &waiting.reply), (&vec![ip(100)], Some(ip(100)), &None));
    // Asked again: the same question, which is not sent twice.
    let again = lab.expect(&discover(1), SlowReason::Probing).effects;
    assert_eq!((again.probe.len(), again.waits_for), (0, Some(ip(100))));
    // Another client is given another address, which is another question.
    assert_eq!(lab.expect(&discover(2), SlowReason::Probing).effects.waits_for, Some(ip(101)));
    assert_eq!(lab.engine.next_due(), Some(lab.now + WAIT));
    lab.now = lab.now + WAIT;
    let mut decided = lab.engine.tick(lab.now).decided;
    decided.sort_unstable();
    assert_eq!(decided, [ip(100), ip(101)]);
    assert_eq!(read(&lab.expect(&discover(1), SlowReason::Offered)).yiaddr, ip(100));
    lab.expect(&selecting(1, ip(100)), SlowReason::AckedNew);
    // What it has it is offered at once; and what it had.
    lab.expect(&discover(1), SlowReason::Offered);
    let _ = lab.settle(3 * u64::from(HOUR));
    assert_eq!(lab.state(ip(100)), LeaseState::Free);
    assert_eq!(read(&lab.expect(&discover(1), SlowReason::Offered)).yiaddr, ip(100));
}

#[test]
fn an_address_in_use_is_quarantined_and_another_offered() {
    let mut lab = lab();
    lab.expect(&discover(1), SlowReason::Probing);
    let effects = lab.engine.found_in_use(lab.now, ip(100), Some(stranger()));
    assert_eq!(effects.decided, [ip(100)]);
    assert_eq!(effects.commit.len(), 1);
    assert_eq!(lab.state(ip(100)), LeaseState::Quarantined);
    assert_eq!(lab.expect(&discover(1), SlowReason::Probing).effects.waits_for, Some(ip(101)));
    // A second answer says nothing new; nor does one that nobody asked for.
    for address in [ip(100), ip(150)] {
        assert!(lab.engine.found_in_use(lab.now, address, Some(stranger())).is_empty());
    }
    lab.expect(&selecting(2, ip(100)), SlowReason::NakTaken);
    assert_eq!(lab.engine.probe_counts(), ProbeCounts { asked: 2, waited: 2, conflicts: 1, unprobed: 0 });
    // After a while it is asked for anew.
    let _ = lab.settle(700);
    assert_eq!(lab.state(ip(100)), LeaseState::Free);
}

#[test]
fn the_client_itself_is_no_conflict_and_who_was_found_may_stay() {
    let mut lab = lab();
    lab.expect(&discover(1), SlowReason::Probing);
    let effects = lab.engine.found_in_use(lab.now, ip(100), Some(HardwareAddress::ethernet(mac(1))));
    assert_eq!((effects.decided.len(), effects.commit.len()), (1, 0));
    assert_eq!(read(&lab.expect(&discover(1), SlowReason::Offered)).yiaddr, ip(100));
    // A server that lost its store finds its own client there.
    lab.expect(&discover(2), SlowReason::Probing);
    let _ = lab.engine.found_in_use(lab.now, ip(101), Some(HardwareAddress::ethernet(mac(3))));
    lab.expect(&selecting(4, ip(101)), SlowReason::NakTaken);
    lab.expect(&selecting(3, ip(101)), SlowReason::AckedNew);
    assert_eq!(lab.state(ip(101)), LeaseState::Bound);
}

#[test]
fn asked_ahead_nobody_waits() {
    let mut lab = lab();
    let ahead = lab.engine.probe_ahead(lab.now, &mut lab.rng).probe;
    // Half of the questions that may be open.
    assert_eq!(ahead, [ip(100), ip(101), ip(102), ip(103)]);
    let _ = lab.engine.found_in_use(lab.now, ip(101), Some(stranger()));
    lab.now = lab.now + WAIT;
    assert_eq!(lab.engine.tick(lab.now).decided, [Ipv4Addr::UNSPECIFIED; 0]);
    for (client, address) in [(1, ip(100)), (2, ip(102)), (3, ip(103))] {
        assert_eq!(read(&lab.expect(&discover(client), SlowReason::Offered)).yiaddr, address);
    }
    // What was silent once is not asked for again at once, and is some time later.
    let mut asked = Vec::new();
    for _ in 0..600 {
        lab.now = lab.now + Span::from_secs(1);
        let _ = lab.engine.tick(lab.now);
        asked.extend(lab.engine.probe_ahead(lab.now, &mut lab.rng).probe);
    }
    let count = |address| asked.iter().filter(|asked| **asked == address).count();
    // 100 was asked for before that, once.
    assert_eq!((count(ip(104)), count(ip(100))), (2, 1), "{asked:?}");
}

#[test]
fn beyond_the_bound_offers_go_out_unasked() {
    let mut lab = lab();
    for client in 0..8 {
        lab.expect(&discover(client), SlowReason::Probing);
    }
    lab.expect(&discover(8), SlowReason::Offered);
    assert_eq!(lab.engine.probe_counts().unprobed, 1);
}

#[test]
fn a_quarter_of_a_pool_at_most_is_kept_back() {
    let mut lab = lab();
    lab.interface = 1;
    let second = |last| Ipv4Addr::new(198, 19, 0, last);
    for _ in 0..6 {
        let Some(address) = lab.send(&discover(1)).effects.waits_for else { break };
        let _ = lab.engine.found_in_use(lab.now, address, Some(stranger()));
        lab.now = lab.now + Span::from_secs(1);
    }
    let leases = lab.engine.leases();
    let kept = (100..=103)
        .filter(|&last| leases.get(second(last)).is_some_and(|lease| lease.state == LeaseState::Quarantined));
    assert_eq!(kept.count(), 1);
}

#[test]
fn rapid_commit_waits_too() {
    let mut lab = lab();
    let rapid = discover(1).with(80, &[]);
    lab.expect(&rapid, SlowReason::Probing);
    assert!(lab.engine.leases().is_empty());
    lab.now = lab.now + WAIT;
    assert_eq!(lab.engine.tick(lab.now).decided, [ip(100)]);
    lab.expect(&rapid, SlowReason::AckedRapid);
}
