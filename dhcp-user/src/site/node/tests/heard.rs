//! What a standby granted must be heard by whoever may end the lease, whatever happens meanwhile (docs/sites.md, rule 4).

use super::*;

/// One node ends a lease that the other has just granted, and the other way round: each says that the other must hear it
/// first. However far back what is to be heard is.
#[test]
fn two_that_object_to_each_other_hear_each_other() {
    for batch_size in [1, 1_000] {
        let mut lab = Lab::new(2, batch_size);
        let (x, y) = (ip(10), ip(12));
        let others = [
            (0, 16),
            (0, 17),
            (0, 18),
            (0, 24),
            (0, 25),
            (0, 26),
            (1, 13),
            (1, 14),
            (1, 15),
            (1, 20),
            (1, 21),
            (1, 22),
        ];
        lab.ask(0, 1, x);
        lab.ask(1, 2, y);
        for (node, last) in others {
            lab.ask(node, last, ip(last));
        }
        lab.run(10);
        lab.release(0, 1, x);
        lab.release(1, 2, y);
        for (node, last) in others {
            lab.renew(node, last, ip(last));
        }
        lab.now = lab.now + Span::from_secs(1);
        lab.renew(1, 1, x);
        lab.renew(0, 2, y);
        lab.run(10);
        assert!(lab.in_step(), "they wait for each other");
        for (node, address) in [(0, x), (0, y), (1, x), (1, y)] {
            assert!(lab.is_bound(node, address), "{address} at node {node}");
        }
        assert!((0..2).all(|node| lab.site(node).counts.objections != 0));
    }
}

/// What a node says under a delegation that is over is overtaken where that is known, and acknowledged: it says it again
/// when it hears of the move.
#[test]
fn what_was_overtaken_is_told_again() {
    let mut lab = Lab::new(2, 1_000);
    let x = ip(10);
    lab.ask(0, 1, x);
    lab.run(10);
    // The first node has handed its block on, and does not know yet that the second has it.
    let block = BlockId(0);
    let now = lab.now;
    lab.nodes[0].core.engine.hold(now, block, None);
    lab.hears[0] = false;
    lab.commands.push(Command::Move { by: NodeId(0), to: NodeId(1), blocks: vec![(block, 1)] });
    lab.turn(1);
    lab.release(1, 1, x);
    lab.now = lab.now + Span::from_secs(1);
    lab.renew(0, 1, x);
    lab.run(5);
    assert_eq!(lab.site(1).counts.overtaken, 1);
    lab.hears[0] = true;
    lab.run(10);
    assert!(lab.in_step());
    assert!(lab.is_bound(1, x), "its client has it: {:?}", lab.lease(1, x).state);
}

/// Both daemons were started anew since a lease was given back at one and renewed at the other: then its horizon decides.
#[test]
fn another_start_is_noticed_by_one_that_was_started_itself() {
    let mut lab = Lab::new(2, 1_000);
    let x = ip(10);
    lab.ask(0, 1, x);
    lab.ask(1, 2, ip(12));
    lab.run(10);
    lab.link(false);
    lab.restart(0);
    lab.run(5);
    lab.release(0, 1, x);
    lab.renew(1, 1, x);
    lab.restart(1);
    lab.run(5);
    lab.link(true);
    lab.run(20);
    assert!(lab.in_step());
    assert_eq!(lab.lease(0, x).state, LeaseState::Bound, "what the other granted it has forgotten");
    // Who merely lost the link has forgotten nothing.
    lab.link(false);
    lab.restart(0);
    lab.run(1);
    lab.ask(0, 3, ip(11));
    lab.release(0, 3, ip(11));
    lab.run(1);
    lab.link(true);
    lab.run(10);
    assert_eq!(lab.lease(0, ip(11)).state, LeaseState::Free);
}
