//! A horizon is used when everybody who must has acknowledged just that, and an acknowledged horizon gives nothing back
//! (docs/sites.md, rules 2 and 4).

use super::*;

const MCLT: Span = Span::from_secs(300);

/// A client that renews more often than an update takes to be acknowledged: the horizon the others are told of is used when
/// they have it, and no renewal puts that off.
#[test]
fn a_waiting_horizon_is_not_told_anew_at_each_renewal() {
    let mut lab = Lab::with_mclt(2, 10, Span::from_secs(300));
    lab.ask(0, 1, ip(10));
    let first = lab.lease(0, ip(10)).clone();
    assert!(first.kept_until > first.horizon && first.horizon == lab.now + Span::from_secs(300));
    for _ in 0..50 {
        lab.step();
        lab.renew(0, 1, ip(10));
    }
    let lease = lab.lease(0, ip(10));
    assert!(lease.horizon >= first.kept_until, "{lease:?} after {first:?}");
    assert!(
        lease.expires.since(lease.granted_at) == Span::from_secs(600),
        "it is granted the whole: {lease:?}"
    );
    lab.run(5);
    assert!(lab.in_step());
    let rounded_up = lab.lease(1, ip(10)).reach().since(lab.lease(0, ip(10)).reach());
    assert!(rounded_up < Span::from_secs(1), "the other keeps it as long: {rounded_up:?}");
    assert!(lab.lease(1, ip(10)).reach() >= lab.lease(0, ip(10)).reach());
}

/// It is given back while its horizon waits, and one that is out has not heard of it: that one may have renewed it.
#[test]
fn what_is_given_back_while_a_horizon_waits_waits_for_those_that_are_out() {
    let mut lab = Lab::with_mclt(3, 10, MCLT);
    let x = ip(10);
    lab.deaf = Some(2);
    lab.ask(0, 1, x);
    let renewals = lab.site(0).state().member(NodeId(2)).unwrap().renewals;
    lab.commands.push(Command::PutOut { node: NodeId(2), renewals, heirs: vec![NodeId(1)] });
    lab.release(0, 1, x);
    lab.run(20);
    assert_eq!(lab.lease(0, x).state, LeaseState::Bound);
    assert!(lab.site(1).state().member(NodeId(2)).is_some_and(|member| member.presence == Presence::Out));
}

/// A node that was removed may still answer what it knows of: what is given back rests until its horizon.
#[test]
fn what_is_given_back_after_a_node_was_removed_waits_for_its_horizon() {
    let mut lab = Lab::with_mclt(3, 10, MCLT);
    let x = ip(10);
    lab.ask(0, 1, x);
    lab.run(5);
    lab.deaf = Some(2);
    let renewals = lab.site(0).state().member(NodeId(2)).unwrap().renewals;
    lab.commands.push(Command::PutOut { node: NodeId(2), renewals, heirs: vec![NodeId(1)] });
    lab.commands.push(Command::Strike { node: NodeId(2) });
    lab.run(5);
    lab.release(0, 1, x);
    lab.run(20);
    assert_eq!(lab.lease(0, x).state, LeaseState::Bound);
    lab.now = lab.lease(0, x).reach() + Span::from_secs(10);
    lab.run(130);
    assert_eq!(lab.lease(0, x).state, LeaseState::Free, "its horizon is over");
}
