//! Horizons, renewals the kernel granted, and the way an address goes before it is another client's.

use super::*;

const LEASE: u64 = 3_600;

#[test]
fn an_expired_lease_is_free_only_when_the_kernel_has_let_go() {
    let mut lab = Lab::new(three_subnets());
    lab.join(1);
    lab.pass(LEASE);
    assert!(lab.engine.tick(lab.now).is_empty(), "not before the clocks' error has passed");
    lab.pass(CLOCK_ERROR.as_secs());
    let effects = lab.engine.tick(lab.now);
    assert_eq!(effects.withdraw, [ip(100)]);
    assert!(effects.commit.is_empty());
    lab.expect(&selecting(2, ip(100)), SlowReason::NakTaken);
    let effects = lab.engine.withdrawn(lab.now, ip(100), Some(Timestamp::ZERO));
    assert_eq!(effects.commit[0].state, LeaseState::Free);
    lab.expect(&selecting(2, ip(100)), SlowReason::AckedNew);
}

#[test]
fn an_unconfirmed_withdrawal_is_asked_for_again() {
    let mut lab = Lab::new(three_subnets());
    lab.join(1);
    lab.pass(LEASE + CLOCK_ERROR.as_secs());
    assert_eq!(lab.engine.tick(lab.now).withdraw, [ip(100)]);
    assert!(lab.engine.tick(lab.now).withdraw.is_empty());
    lab.pass(60);
    assert_eq!(lab.engine.tick(lab.now).withdraw, [ip(100)]);
}

#[test]
fn an_unknown_last_renewal_costs_the_horizon() {
    let mut lab = Lab::new(three_subnets());
    lab.join(1);
    lab.pass(LEASE + CLOCK_ERROR.as_secs());
    assert_eq!(lab.engine.tick(lab.now).withdraw, [ip(100)]);
    let effects = lab.engine.withdrawn(lab.now, ip(100), None);
    let [record] = effects.commit.as_slice() else { panic!("one commit") };
    assert_eq!((record.state, record.expires), (LeaseState::Bound, record.horizon));
    assert!(effects.publish.is_empty());
    lab.pass(LEASE / 2 - 1);
    assert!(lab.engine.tick(lab.now).is_empty());
    lab.expect(&selecting(2, ip(100)), SlowReason::NakTaken);
    lab.pass(1);
    assert_eq!(lab.engine.tick(lab.now).withdraw, [ip(100)]);
    let effects = lab.engine.withdrawn(lab.now, ip(100), None);
    assert_eq!(
        effects.commit[0].state,
        LeaseState::Free,
        "there is nothing left that could have been promised"
    );
}

#[test]
fn a_lease_kept_to_its_horizon_is_still_its_clients() {
    let mut lab = Lab::new(three_subnets());
    lab.join(1);
    let _ = lab.settle(LEASE + CLOCK_ERROR.as_secs() - 1);
    lab.pass(1);
    let _ = lab.engine.tick(lab.now);
    let _ = lab.engine.withdrawn(lab.now, ip(100), None);
    lab.expect(&renewing(1, ip(100)), SlowReason::AckedRenewal);
    lab.pass(LEASE - 1);
    assert!(lab.engine.tick(lab.now).is_empty());
    assert_eq!(lab.state(ip(100)), LeaseState::Bound);
}

#[test]
fn the_kernels_last_mark_decides() {
    for (mark_secs, state) in [(1_800, LeaseState::Bound), (3, LeaseState::Free)] {
        let mut lab = Lab::new(three_subnets());
        let start = lab.now;
        lab.join(1);
        lab.pass(LEASE + 2 * CLOCK_ERROR.as_secs());
        assert_eq!(lab.engine.tick(lab.now).withdraw, [ip(100)]);
        let mark = start + Span::from_secs(mark_secs);
        let effects = lab.engine.withdrawn(lab.now, ip(100), Some(mark));
        assert_eq!(lab.state(ip(100)), state, "{mark_secs}");
        if state == LeaseState::Bound {
            assert_eq!(effects.publish, [ip(100)]);
            // The kernel may go on with it only after the horizon has moved on disk.
            assert_eq!(effects.commit[0].horizon, mark + Span::from_secs(5_400));
            assert_eq!(effects.commit[0].expires, mark + Span::from_secs(LEASE));
        }
    }
}

#[test]
fn steady_kernel_renewals_keep_the_horizon_ahead() {
    let mut lab = Lab::new(three_subnets());
    lab.join(1);
    for _ in 0..50 {
        lab.pass(LEASE / 2);
        let before = lab.engine.leases().get(ip(100)).unwrap().clone();
        assert!(lab.now + Span::from_secs(LEASE) <= before.horizon, "the kernel could renew");
        let effects = lab.engine.renewed_by_kernel(lab.now, ip(100), lab.now);
        assert_eq!(effects.commit[0].horizon, lab.now + Span::from_secs(5_400));
        assert_eq!(effects.commit[0].expires, lab.now + Span::from_secs(LEASE));
        assert_eq!(effects.publish, [ip(100)]);
        assert!(lab.engine.tick(lab.now).is_empty(), "nothing expires");
    }
}

#[test]
fn a_far_horizon_moves_seldom() {
    let mut config = three_subnets();
    config.fastpath.horizon_permille = 4_000;
    let mut lab = Lab::new(config);
    lab.join(1);
    let mut commits = 0;
    for _ in 0..20 {
        lab.pass(LEASE / 2);
        let lease = lab.engine.leases().get(ip(100)).unwrap();
        assert!(lab.now + Span::from_secs(LEASE) <= lease.horizon);
        commits += lab.engine.renewed_by_kernel(lab.now, ip(100), lab.now).commit.len();
    }
    assert_eq!(commits, 3);
}

#[test]
fn marks_out_of_order_or_out_of_bounds_change_nothing_for_the_worse() {
    let mut lab = Lab::new(three_subnets());
    lab.join(1);
    let before = lab.engine.leases().get(ip(100)).unwrap().clone();
    let early = lab.now - Span::from_secs(10);
    assert!(lab.engine.renewed_by_kernel(lab.now, ip(100), early).is_empty());
    assert_eq!(lab.engine.leases().get(ip(100)), Some(&before));
    assert!(lab.engine.renewed_by_kernel(lab.now, ip(199), lab.now).is_empty(), "no such lease");
    let _ = lab.engine.renewed_by_kernel(lab.now, ip(100), Timestamp(u64::MAX));
    let after = lab.engine.leases().get(ip(100)).unwrap();
    assert_eq!(after.expires, before.horizon, "no kernel grants beyond the horizon");
}

#[test]
fn a_restart_waits_for_what_it_does_not_know() {
    let mut lab = Lab::new(three_subnets());
    lab.join(1);
    let records: Vec<_> = lab.engine.leases().iter().cloned().collect();
    let mut next = Lab::with_leases(three_subnets(), LeaseTable::from_records(records));
    next.now = lab.now + Span::from_secs(LEASE + 100);
    assert_eq!(next.engine.tick(next.now).withdraw, [ip(100)]);
    assert_eq!(next.engine.withdrawn(next.now, ip(100), None).commit[0].state, LeaseState::Bound);
    next.expect(&selecting(2, ip(100)), SlowReason::NakTaken);
    assert_eq!(next.settle(LEASE).commit[0].state, LeaseState::Free);
}

#[test]
fn a_tick_does_a_bounded_piece_of_work() {
    let config = config(vec![subnet("198.18.0.0/16", Some(0), &[])]);
    let mut config = config;
    config.subnets[0].pools.push(Pool {
        first: Ipv4Addr::new(198, 18, 1, 0),
        last: Ipv4Addr::new(198, 18, 20, 255),
        policy: Arc::new(policy()),
    });
    let mut lab = Lab::new(config);
    for client in 0..3_000_u32 {
        let mut message = discover(0).with(80, &[]);
        message.hardware[2..].copy_from_slice(&client.to_be_bytes());
        lab.expect(&message, SlowReason::AckedRapid);
    }
    lab.pass(2 * LEASE);
    let (mut calls, mut withdrawn) = (0, 0);
    while lab.engine.next_due().is_some_and(|due| due <= lab.now) {
        let effects = lab.engine.tick(lab.now);
        assert!(effects.withdraw.len() <= 1_024);
        withdrawn += effects.withdraw.len();
        calls += 1;
    }
    assert_eq!((withdrawn, calls), (3_000, 3));
}

#[test]
fn a_renewal_not_yet_heard_of_outlives_a_shorter_grant() {
    let mut lab = Lab::new(three_subnets());
    let start = lab.now;
    lab.join(1);
    lab.pass(LEASE / 2);
    // The kernel renews for an hour; before we hear of it the client asks for ten minutes.
    let mark = lab.now;
    lab.expect(&renewing(1, ip(100)).with(51, &600_u32.to_be_bytes()), SlowReason::AckedRenewal);
    let promised = mark + Span::from_secs(LEASE);
    lab.now = start + Span::from_secs(LEASE + 60);
    assert!(lab.engine.tick(lab.now).is_empty());
    let _ = lab.engine.renewed_by_kernel(lab.now, ip(100), mark);
    lab.now = promised + CLOCK_ERROR - Span(1);
    assert!(lab.engine.tick(lab.now).is_empty());
    lab.now = promised + CLOCK_ERROR;
    assert_eq!(lab.engine.tick(lab.now).withdraw, [ip(100)]);
}

#[test]
fn a_renewal_between_return_and_withdrawal_counts() {
    let mut lab = Lab::new(three_subnets());
    lab.join(1);
    lab.expect(&message(7, 1).ciaddr(ip(100)).sent_to(SERVER), SlowReason::Released);
    lab.expect(&selecting(1, ip(100)), SlowReason::AckedNew);
    lab.pass(10);
    let effects = lab.engine.withdrawn(lab.now, ip(100), Some(lab.now));
    assert_eq!(effects.commit[0].expires, lab.now + Span::from_secs(LEASE), "durable before it is published");
    assert_eq!(effects.publish, [ip(100)]);
}

#[test]
fn a_lease_found_alive_is_committed_before_it_is_published_again() {
    let mut config = three_subnets();
    config.fastpath.horizon_permille = 4_000;
    let mut lab = Lab::new(config);
    let start = lab.now;
    lab.join(1);
    lab.pass(LEASE + CLOCK_ERROR.as_secs());
    assert_eq!(lab.engine.tick(lab.now).withdraw, [ip(100)]);
    let mark = start + Span::from_secs(LEASE / 2);
    let effects = lab.engine.withdrawn(lab.now, ip(100), Some(mark));
    let [record] = effects.commit.as_slice() else { panic!("one commit, though the horizon is far enough") };
    assert_eq!(
        (record.expires, record.horizon),
        (mark + Span::from_secs(LEASE), start + Span::from_secs(4 * LEASE))
    );
}
