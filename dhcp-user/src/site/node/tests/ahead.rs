//! Behind a long catch-up, what somebody waits for is told ahead of its turn, and what was acknowledged so counts for nothing
//! else (docs/sites.md, *Replication*).

use super::{
    super::{ahead::AHEAD_MAX, peer::WINDOW},
    *,
};
use crate::lease::record::{ClientKey, HardwareAddress};

const MCLT: Span = Span::from_secs(300);
const BATCH: usize = 10;

/// Leases of the first node's blocks that the others have not heard of: so many changes.
fn backlog(lab: &mut Lab, leases: usize) {
    let now = lab.now;
    let keeper = &mut lab.nodes[0];
    let authority = keeper.core.engine.authority().unwrap();
    let first = Ipv4Addr::new(198, 18, 1, 0).to_bits();
    let mine = (first..).map(Ipv4Addr::from).filter(|address| authority.holds(*address));
    let leases: Vec<LeaseRecord> = mine
        .take(leases)
        .map(|address| {
            let [.., third, last] = address.octets();
            let hardware = HardwareAddress::ethernet([2, 0, 0, 9, third, last]);
            LeaseRecord {
                address,
                state: LeaseState::Bound,
                client: ClientKey::Hardware(hardware),
                hardware,
                hostname: Vec::new().into(),
                relay_information: Box::default(),
                granted_at: now,
                expires: now + Span::from_secs(600),
                horizon: now + Span::from_secs(900),
                kept_until: Timestamp::ZERO,
                forms: [None, None],
            }
        })
        .collect();
    leases.iter().for_each(|lease| keeper.core.engine.adopt(lease.clone()));
    keeper.site.as_mut().unwrap().committed(&keeper.core.engine, &leases, &[]);
}

/// Batches on their way from one node to another.
fn batches(lab: &Lab, from: u16, to: u16) -> usize {
    let ways = lab.ways.get(&(from, to)).into_iter().flatten();
    ways.filter(|message| matches!(message, Message::Updates { .. })).count()
}

/// Lets time pass until something is so; how many batches each of the others was sent meanwhile, at most.
#[track_caller]
fn batches_until(lab: &mut Lab, mut done: impl FnMut(&Lab) -> bool) -> usize {
    let mut sent = vec![0; lab.nodes.len()];
    for _ in 0..1_000 {
        lab.step();
        if done(lab) {
            return sent.into_iter().max().unwrap();
        }
        for (to, sent) in (0_u16..).zip(&mut sent).skip(1) {
            *sent += batches(lab, 0, to);
        }
    }
    panic!("never");
}

fn behind(lab: &Lab, node: u16) -> u64 {
    lab.site(0).log_end() - lab.site(0).acked(NodeId(node))
}

#[test]
fn a_horizon_that_waits_does_not_wait_for_a_catch_up() {
    let mut lab = Lab::with_mclt(3, BATCH, MCLT);
    backlog(&mut lab, 2_000);
    lab.run(3);
    assert!(behind(&lab, 1) > 500, "it is being told");
    lab.ask(0, 1, ip(10));
    let lease = lab.lease(0, ip(10)).clone();
    assert_eq!(lease.horizon, lab.now + MCLT, "it may reach no further yet");
    let sent = batches_until(&mut lab, |lab| lab.lease(0, ip(10)).horizon > lease.horizon);
    assert!(sent <= 3 * WINDOW, "{sent} batches");
    assert!(behind(&lab, 1) > 500 && behind(&lab, 2) > 500, "they are far from its turn");
    assert_eq!(lab.lease(0, ip(10)).horizon, lease.kept_until, "no further than they acknowledged");
    let heard = lab.lease(1, ip(10)).reach() + Span::from_secs(2) > lease.kept_until;
    assert!(lab.is_bound(1, ip(10)) && lab.is_bound(2, ip(10)) && heard);
    // The rest comes in its order, and what was told ahead once more.
    lab.run(60);
    assert!(lab.in_step());
    let node = lab.site(0);
    assert!(node.pressing.is_empty() && node.awaiting.is_empty());
    assert!(node.peers.iter().all(|peer| peer.ahead.is_empty()), "nothing is remembered for ever");
    assert!(lab.nodes[1].core.engine.leases().iter().count() > 2_000);
}

/// One of two has it ahead of its turn, and the other not at all: it has to wait.
#[test]
fn all_must_have_it() {
    let mut lab = Lab::with_mclt(3, BATCH, MCLT);
    backlog(&mut lab, 2_000);
    lab.run(3);
    lab.deaf = Some(2);
    lab.ask(0, 1, ip(10));
    let horizon = lab.lease(0, ip(10)).horizon;
    let _ = batches_until(&mut lab, |lab| lab.site(0).peers.iter().any(|peer| !peer.ahead.is_empty()));
    lab.run(2);
    assert!(lab.is_bound(1, ip(10)) && lab.lease(0, ip(10)).horizon == horizon);
    // The link is lost, and with it what was acknowledged ahead of its turn.
    lab.link(false);
    assert!(!lab.site(0).is_told_ahead());
    lab.deaf = None;
    lab.link(true);
    lab.run(80);
    assert!(lab.in_step() && lab.lease(0, ip(10)).horizon > horizon);
}

/// A change after the one that was told ahead: who has the earlier one does not have it.
#[test]
fn a_later_change_is_not_taken_for_known() {
    let mut lab = Lab::with_mclt(2, BATCH, MCLT);
    backlog(&mut lab, 2_000);
    lab.run(3);
    let x = ip(10);
    lab.ask(0, 1, x);
    let told = lab.lease(0, x).clone();
    let on_its_way = |lab: &Lab| {
        lab.site(0).peers[0].flights.iter().flat_map(|flight| &flight.ahead).any(|(address, _)| *address == x)
    };
    let _ = batches_until(&mut lab, on_its_way);
    // As where its block came under another epoch meanwhile.
    let keeper = &mut lab.nodes[0];
    let later = keeper.site.as_mut().unwrap().touch(&keeper.core.engine, x, true);
    let mut acknowledged_too_early = false;
    let _ = batches_until(&mut lab, |lab| {
        acknowledged_too_early |= lab.lease(0, x).horizon > told.horizon;
        let flights = &lab.site(0).peers[0].flights;
        let sent = flights.iter().flat_map(|flight| &flight.ahead).any(|told| *told == (x, later));
        sent && !flights
            .iter()
            .flat_map(|flight| &flight.ahead)
            .any(|(address, seq)| *address == x && *seq < later)
    });
    assert!(!acknowledged_too_early && lab.lease(0, x).horizon == told.horizon, "the earlier one came back");
    let _ = batches_until(&mut lab, |lab| lab.lease(0, x).horizon > told.horizon);
    assert!(behind(&lab, 1) > 300, "ahead of its turn all the same");
}

#[test]
fn ends_and_moves_still_wait_for_everything() {
    let mut lab = Lab::with_mclt(2, BATCH, MCLT);
    lab.ask(0, 1, ip(10));
    lab.run(5);
    backlog(&mut lab, 2_000);
    lab.run(3);
    // It comes back and goes: its change is the last.
    lab.now = lab.now + Span::from_secs(200);
    lab.renew(0, 1, ip(10));
    lab.run(1);
    lab.release(0, 1, ip(10));
    let seq = lab.site(0).log_end();
    let _ = batches_until(&mut lab, |lab| lab.lease(0, ip(10)).state == LeaseState::Free);
    assert!(lab.site(0).acked(NodeId(1)) >= seq);
}

#[test]
fn in_mode_sync_a_new_client_is_answered_while_another_node_catches_up() {
    let mut lab = Lab::with_mclt(3, BATCH, Span::from_secs(3_600));
    lab.nodes.iter_mut().for_each(|node| node.site.as_mut().unwrap().settings.mode = SyncMode::Sync);
    backlog(&mut lab, 3_000);
    lab.run(1);
    // No horizon waits here: the lease is well below the MCLT.
    lab.ask(0, 1, ip(10));
    assert!(lab.sent.is_empty() && lab.site(0).awaiting.is_empty());
    let sent = batches_until(&mut lab, |lab| lab.sent == [ip(10)]);
    assert!(sent <= 3 * WINDOW, "{sent} batches");
    assert!(behind(&lab, 1) > 1_000 && lab.is_bound(1, ip(10)) && lab.is_bound(2, ip(10)));
    lab.run(80);
    assert!(lab.in_step() && lab.sent == [ip(10)], "it is answered once");
}

#[test]
fn what_goes_ahead_is_a_small_part_of_a_batch() {
    let mut lab = Lab::with_mclt(2, BATCH, MCLT);
    backlog(&mut lab, 500);
    lab.turn(0);
    for address in [ip(10), ip(11)] {
        lab.ask(0, address.octets()[3], address);
    }
    let node = lab.site(0);
    let all: Vec<Ipv4Addr> = node.changes_ahead(0, 100).iter().map(|change| change.address).collect();
    assert_eq!(all, [ip(10), ip(11)], "in the order in which they began to wait");
    assert_eq!(node.changes_ahead(0, node.log_end()), []);
    let node = lab.nodes[0].site.as_mut().unwrap();
    node.pressing.extend(
        (1..400)
            .map(|seq| (seq, node.log.after(0, Cursor { seq: seq - 1, ..node.log.end() }, 1).0[0].address)),
    );
    assert_eq!(node.changes_ahead(0, 0).len(), AHEAD_MAX);
}
