//! What is bounded stays bounded, and what finds no room is done over: batches, requests to go on, full disks.

use super::*;
use crate::{
    lease::{
        record::{ClientKey, HardwareAddress},
        store::Failure,
    },
    site::replication::BATCH_OCTETS_MAX,
};

fn resumes(lab: &Lab) -> usize {
    let sent = lab.ways.get(&(0, 1)).into_iter().flatten();
    sent.filter(|message| matches!(message, Message::Resume { .. })).count()
}

#[test]
fn a_peer_that_sends_what_does_not_fit_is_asked_to_go_on_once_in_a_while() {
    let mut lab = Lab::new(2, 10);
    lab.ways.clear();
    let misfit = |lab: &mut Lab| {
        for _ in 0..20 {
            let after = Cursor { log: 77, seq: 5 };
            let message = Message::Updates { after, until: 9, octets: Vec::new() };
            lab.tell(0, Input::Message(NodeId(1), message));
        }
        lab.turn(0);
        resumes(lab)
    };
    assert_eq!(misfit(&mut lab), 1);
    assert_eq!(misfit(&mut lab), 1, "it has had no time");
    lab.now = lab.now + Span::from_secs(2);
    assert_eq!(misfit(&mut lab), 2);
    // It goes on for all that.
    lab.ask(1, 2, ip(12));
    lab.run(10);
    assert!(lab.in_step() && lab.is_bound(0, ip(12)));
}

#[test]
fn what_finds_no_room_on_the_disk_is_asked_for_again() {
    let mut lab = Lab::new(2, 10);
    lab.ask(1, 2, ip(12));
    lab.nodes[0].store.fail_next(Failure::Full);
    lab.run(10);
    assert!(lab.in_step());
    assert!(lab.nodes[0].store.durable().leases.contains_key(&ip(12)));
}

/// A node that is alone promises as far as it likes; what finds no room on its disk it promises when there is room again, and
/// is not alone any more. Who joins meanwhile is in when it has heard of that too.
#[test]
fn who_joins_waits_for_what_found_no_room_while_there_was_nobody_to_ask() {
    let mut lab = Lab::with_mclt(3, 10, Span::from_secs(20));
    for node in [1, 2].map(NodeId) {
        let renewals = lab.site(0).state().member(node).map_or(0, |member| member.renewals);
        lab.commands.push(Command::PutOut { node, renewals, heirs: vec![NodeId(0)] });
        lab.run(1);
    }
    assert_eq!(lab.site(0).state().members_in().collect::<Vec<_>>(), [NodeId(0)]);
    lab.nodes[0].store.fail_next(Failure::Full);
    lab.ask(0, 1, ip(10));
    lab.commands.push(Command::Join { node: NodeId(1), store: StoreId(0) });
    let confirms = |command: &Command| matches!(command, Command::Confirm { node: NodeId(1), .. });
    lab.proposed.clear();
    for _ in 0..100 {
        lab.nodes[0].store.fail_next(Failure::Full);
        lab.step();
        assert!(!lab.proposed.iter().any(confirms), "it has not heard of everything");
    }
    assert!(lab.lease(0, ip(10)).horizon > lab.now + Span::from_secs(60), "as far as it liked");
    lab.run(10);
    assert!(lab.proposed.iter().any(confirms));
    let known = &lab.nodes[1].store.durable().leases[&ip(10)];
    assert!(known.reach() > lab.now + Span::from_secs(60));
}

/// When a lease ends by what a node's disk says.
fn durable_end(lab: &Lab, node: usize, address: Ipv4Addr) -> Timestamp {
    lab.nodes[node].store.durable().leases[&address].expires
}

/// A standby's renewal reaches the holder while its disk is full: told again, it changes nothing in memory any more.
#[test]
fn a_grant_that_found_no_room_is_acknowledged_when_it_is_durable() {
    let mut lab = Lab::new(2, 10);
    lab.ask(0, 1, ip(10));
    lab.run(10);
    lab.now = lab.now + Span::from_secs(100);
    lab.renew(1, 1, ip(10));
    let granted = lab.lease(1, ip(10)).expires;
    lab.nodes[0].store.fail_next(Failure::Full);
    for _ in 0..100 {
        lab.step();
        let acked = lab.site(1).acked(NodeId(0)) == lab.site(1).log_end();
        assert!(
            !acked || durable_end(&lab, 0, ip(10)) + Span::from_secs(1) >= granted,
            "acknowledged and lost"
        );
    }
    assert!(lab.in_step());
    assert_eq!(durable_end(&lab, 0, ip(10)), lab.lease(0, ip(10)).expires);
}

/// A renewal that found no room was not promised; told to the others it would be kept by them and forgotten here.
#[test]
fn nobody_hears_of_what_is_not_durable() {
    let mut lab = Lab::new(2, 10);
    lab.ask(0, 1, ip(10));
    lab.run(10);
    lab.nodes[0].kernel = Some(Maps);
    lab.now = lab.now + Span::from_secs(100);
    // The first is to be told by and by; the second finds no room.
    lab.renew(0, 1, ip(10));
    lab.now = lab.now + Span::from_secs(1);
    lab.nodes[0].store.fail_next(Failure::Full);
    lab.renew(0, 1, ip(10));
    assert!(lab.lease(0, ip(10)).expires > durable_end(&lab, 0, ip(10)));
    for _ in 0..100 {
        lab.step();
        assert!(lab.lease(1, ip(10)).expires <= durable_end(&lab, 0, ip(10)), "told before it was durable");
    }
    assert!(lab.in_step());
    // By the other clock, read a tenth of a second late.
    assert!(lab.lease(1, ip(10)).expires + Span::from_secs(1) > lab.lease(0, ip(10)).expires);
}

/// The kernel of the third node is to forget a lease for the first one's sake when what the second tells finds no room.
#[test]
fn a_full_disk_lets_no_lease_end_before_the_kernel_has_forgotten_it() {
    let mut lab = Lab::new(3, 10);
    lab.ask(0, 1, ip(10));
    lab.ask(1, 2, ip(12));
    lab.run(10);
    lab.nodes[2].kernel = Some(Maps);
    lab.release(0, 1, ip(10));
    lab.renew(1, 2, ip(12));
    for _ in 0..40 {
        lab.now = lab.now + Span::from_millis(100);
        lab.turn(0);
        lab.turn(1);
    }
    lab.deliver(2);
    lab.nodes[2].store.fail_next(Failure::Full);
    lab.turn(2);
    let withdrawn = std::mem::take(&mut lab.withdrawn[2]);
    for _ in 0..30 {
        lab.now = lab.now + Span::from_millis(100);
        lab.turn(2);
        assert_eq!(lab.lease(2, ip(10)).state, LeaseState::Bound, "its kernel may renew it still");
    }
    assert_eq!(withdrawn.iter().map(|one| one.address).collect::<Vec<_>>(), [ip(10)]);
    lab.forgotten(2, withdrawn[0]);
    lab.run(10);
    assert!(lab.in_step() && lab.lease(2, ip(10)).state == LeaseState::Free);
}

#[test]
fn long_leases_go_in_batches_that_every_receiver_takes() {
    let mut lab = Lab::new(2, usize::MAX);
    lab.run(10);
    let first = Ipv4Addr::new(198, 18, 1, 0).to_bits();
    let now = lab.now;
    let long = |at: u32| LeaseRecord {
        address: (first + at).into(),
        state: LeaseState::Bound,
        client: ClientKey::Id([&at.to_be_bytes()[..], &[1; 251]].concat().into()),
        hardware: HardwareAddress::ethernet([2, 0, 0, 0, 0, 1]),
        hostname: vec![b'a'; 255].into(),
        relay_information: vec![2; 255].into(),
        granted_at: now,
        expires: now + Span::from_secs(600),
        horizon: now + Span::from_secs(900),
        kept_until: Timestamp::ZERO,
        forms: [None, None],
    };
    let leases: Vec<LeaseRecord> = (0..48_000).map(long).collect();
    let keeper = &mut lab.nodes[0];
    leases.iter().for_each(|lease| keeper.core.engine.adopt(lease.clone()));
    keeper.site.as_mut().unwrap().committed(&keeper.core.engine, &leases, &[]);
    lab.turn(0);
    lab.now = lab.now + Span::from_secs(3);
    lab.turn(0);
    let batches: Vec<usize> = lab.ways[&(0, 1)]
        .iter()
        .filter_map(|message| match message {
            Message::Updates { octets, .. } => Some(octets.len()),
            _ => None,
        })
        .collect();
    assert!(batches.iter().all(|octets| *octets <= BATCH_OCTETS_MAX), "{batches:?}");
    assert!(batches.len() > 1 && batches.iter().sum::<usize>() > 30_000_000, "{batches:?}");
    lab.run(5);
    assert!(lab.in_step());
}
