//! What the audit logs of all nodes are told of a lease that one of them grants and ends.

use super::*;
use crate::audit::{End, Granter};

/// Takes what a node's log was told: what happened, to which client's lease, and whether at another node.
fn said(lab: &mut Lab, node: usize) -> Vec<(&'static str, u8, bool)> {
    let client = |lease: &LeaseRecord| lease.hardware.octets()[5];
    let audited = std::mem::take(&mut lab.audited[node]);
    let said = audited.iter().map(|event| match event {
        AuditEvent::Granted { lease, by, .. } => ("granted", client(lease), *by == Granter::Node),
        AuditEvent::Ended { lease, how: End::Released, by, .. } => ("released", client(lease), by.is_some()),
        other => panic!("{other:?}"),
    });
    said.collect()
}

#[test]
fn every_log_has_the_beginning_and_the_end_of_a_holding() {
    let mut lab = Lab::new(3, 10);
    let x = ip(10);
    lab.ask(0, 1, x);
    lab.run(5);
    for node in [1, 2] {
        assert_eq!(said(&mut lab, node), [("granted", 1, true)]);
    }
    // The laboratory's clients speak with the engine: what that grants is not said here.
    assert_eq!(said(&mut lab, 0), []);
    let released = lab.now;
    lab.release(0, 1, x);
    lab.run(5);
    let ended = lab.audited[0].iter().map(|event| match event {
        AuditEvent::Ended { at, .. } => *at,
        other => panic!("{other:?}"),
    });
    assert_eq!(ended.collect::<Vec<_>>(), [released], "it ended when it was given back, not when all knew");
    assert_eq!(said(&mut lab, 0), [("released", 1, false)]);
    for node in [1, 2] {
        assert_eq!(said(&mut lab, node), [("released", 1, true)]);
    }
    lab.ask(0, 2, x);
    lab.run(5);
    for node in [1, 2] {
        assert_eq!(said(&mut lab, node), [("granted", 2, true)]);
    }
}

/// The same grant told again, as by a node that was started anew, is on record once.
#[test]
fn what_is_told_again_is_said_once() {
    let mut lab = Lab::new(2, 10);
    lab.ask(0, 1, ip(10));
    lab.run(5);
    assert_eq!(said(&mut lab, 1), [("granted", 1, true)]);
    lab.link(false);
    lab.restart(0);
    lab.link(true);
    lab.run(10);
    assert!(lab.in_step());
    assert_eq!(said(&mut lab, 1), []);
}
