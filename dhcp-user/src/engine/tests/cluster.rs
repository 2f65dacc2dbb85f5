//! Several nodes: what a holder, an heir and a standby do with an address (docs/sites.md, rules 2 to 5).

use super::*;
use crate::site::{
    authority::{Authority, Held, Right},
    blocks::{BlockId, Blocks},
};

const MCLT: Span = Span::from_secs(900);

/// A laboratory of a node that holds every block, or none, and is not alone.
fn lab(held: Option<Held>) -> Lab {
    lab_of(three_subnets(), held)
}

fn lab_of(config: Config, held: Option<Held>) -> Lab {
    let mut lab = Lab::new(config);
    let blocks = Arc::new(Blocks::of(lab.engine.config()));
    lab.engine.join_cluster(Authority::new(blocks, MCLT));
    lab.engine.authority_mut().unwrap().set_held_until(Timestamp(u64::MAX));
    give(&mut lab, held);
    lab
}

fn give(lab: &mut Lab, held: Option<Held>) {
    let blocks = lab.engine.authority().unwrap().blocks().len();
    for block in 0..u32::try_from(blocks).unwrap() {
        lab.engine.hold(lab.now, BlockId(block), held);
    }
}

fn lease(lab: &Lab) -> LeaseRecord {
    lab.engine.leases().get(ip(100)).unwrap().clone()
}

#[test]
fn a_first_lease_is_the_mclt_and_its_renewal_the_whole() {
    let mut lab = lab(Some(Held::OPEN));
    let address = lab.join(1);
    let first = lease(&lab);
    assert_eq!(first.expires, lab.now + MCLT);
    assert_eq!(first.horizon, lab.now + MCLT, "nobody else knows of more");
    assert_eq!(first.kept_until, lab.now + Span::from_secs(5_400));
    // Until the others know, renewals get no more than that.
    lab.pass(100);
    let acked = lab.expect(&renewing(1, address), SlowReason::AckedRenewal);
    assert_eq!(read(&acked).secs(51), 900);
    let kept_until = lease(&lab).kept_until;
    let known = lab.engine.horizon_known(lab.now, address, kept_until);
    assert_eq!((known.commit[0].horizon, known.publish), (kept_until, vec![address]));
    lab.pass(100);
    let acked = lab.expect(&renewing(1, address), SlowReason::AckedRenewal);
    assert_eq!(read(&acked).secs(51), HOUR);
}

#[test]
fn a_standby_serves_whom_it_knows_within_the_horizon_and_nobody_else() {
    let mut lab = lab(Some(Held::OPEN));
    lab.engine.authority_mut().unwrap().set_alone(true, false);
    let address = lab.join(1);
    let before = lease(&lab);
    give(&mut lab, None);
    assert_eq!(lab.engine.right(lab.now, address), Right::Standby);
    lab.expect(&discover(2), SlowReason::IgnoredNoFreeAddress);
    lab.expect(&renewing(2, address), SlowReason::IgnoredNotOurBlock);
    lab.expect(&selecting(2, ip(150)), SlowReason::IgnoredNotOurBlock);
    lab.expect(&message(7, 1).ciaddr(address), SlowReason::IgnoredNotOurBlock);
    lab.pass(1_800);
    let acked = lab.expect(&renewing(1, address), SlowReason::AckedRenewal);
    assert_eq!(read(&acked).secs(51), HOUR);
    assert_eq!(lease(&lab).horizon, before.horizon, "only the holder moves it");
    lab.pass(1);
    lab.expect(&renewing(1, address), SlowReason::IgnoredNotOurBlock);
    // It ends nothing, however long ago.
    assert!(lab.settle(100_000).commit.is_empty());
    assert_eq!(lab.state(address), LeaseState::Bound);
}

#[test]
fn an_heir_extends_what_lives_and_gives_nothing_out_until_the_block_is_open() {
    let mut lab = lab(Some(Held::OPEN));
    let (alive, dead) = (lab.join(1), ip(120));
    let gone = LeaseRecord {
        address: dead,
        client: key(9),
        hardware: HardwareAddress::ethernet(mac(9)),
        expires: lab.now - Span::from_secs(1),
        horizon: lab.now - Span::from_secs(1),
        kept_until: Timestamp::ZERO,
        ..lease(&lab)
    };
    lab.engine.adopt(gone);
    let closed_until = lab.now + MCLT;
    let since = lab.now;
    give(&mut lab, Some(Held { since, closed_until }));
    lab.expect(&discover(2), SlowReason::IgnoredNoFreeAddress);
    // Its last holder may have given it to another by now.
    lab.expect(&renewing(9, dead), SlowReason::IgnoredNotOurBlock);
    lab.expect(&renewing(2, ip(130)), SlowReason::IgnoredNotOurBlock);
    lab.expect(&renewing(2, alive), SlowReason::IgnoredNotOurBlock);
    lab.expect(&renewing(1, alive), SlowReason::AckedRenewal);
    assert!(!lab.settle(800).commit.iter().any(|record| record.address == dead));
    let _ = lab.settle(100);
    let _ = lab.settle(10);
    assert_eq!(lab.state(dead), LeaseState::Free);
    lab.expect(&discover(2), SlowReason::Offered);
    lab.expect(&renewing(2, alive), SlowReason::NakTaken);
}

#[test]
fn what_was_given_back_is_another_clients_when_all_know_or_the_horizon_has_passed() {
    for told in [true, false] {
        let mut lab = lab(Some(Held::OPEN));
        let address = lab.join(1);
        let end = kept_from_others(&lease(&lab));
        lab.expect(&message(7, 1).ciaddr(address), SlowReason::Released);
        let effects = lab.engine.withdrawn(lab.now, address, Some(Timestamp::ZERO));
        assert_eq!((effects.commit.len(), effects.returned), (0, vec![address]));
        lab.expect(&selecting(2, address), SlowReason::NakTaken);
        if told {
            // Who acknowledged a horizon has not acknowledged that.
            let waited = lab.engine.horizon_known(lab.now, address, Timestamp(u64::MAX));
            assert!(waited.commit.is_empty() && lab.state(address) == LeaseState::Bound);
            let freed = lab.engine.return_known(lab.now, address);
            assert_eq!(freed.commit[0].state, LeaseState::Free);
        } else {
            while lab.now + Span::from_secs(60) < end {
                let _ = lab.settle(30);
                assert_eq!(lab.state(address), LeaseState::Bound);
            }
            let _ = lab.settle(120);
            let _ = lab.settle(60);
        }
        assert_eq!(lab.state(address), LeaseState::Free);
        lab.expect(&selecting(2, address), SlowReason::AckedNew);
    }
}

/// A standby was told a horizon of two weeks, and its clock has lost half a thousandth since.
#[test]
fn a_long_lease_rests_for_as_long_as_clocks_may_have_run_apart() {
    const DAY: u64 = 86_400;
    let mut config = three_subnets();
    let secs = u32::try_from(7 * DAY).unwrap();
    let long = Arc::new(Policy { lease_default_secs: secs, lease_max_secs: secs, ..policy() });
    config.subnets[0].pools[0].policy = long;
    let mut lab = lab_of(config, Some(Held::OPEN));
    lab.engine.authority_mut().unwrap().set_alone(true, false);
    let (address, granted) = (lab.join(1), lab.now);
    let horizon = lease(&lab).horizon;
    assert_eq!(horizon.since(granted).as_secs(), 10 * DAY + DAY / 2);
    lab.expect(&message(7, 1).ciaddr(address), SlowReason::Released);
    let _ = lab.engine.withdrawn(lab.now, address, Some(Timestamp::ZERO));
    // The standby grants until then by its clock.
    lab.now = horizon + Span(horizon.since(granted).0 / 2_000);
    let _ = lab.settle(0);
    assert_eq!(lab.state(address), LeaseState::Bound);
    lab.expect(&selecting(2, address), SlowReason::NakTaken);
    let _ = lab.settle(DAY);
    let _ = lab.settle(60);
    assert_eq!(lab.state(address), LeaseState::Free);
}

#[test]
fn a_lease_that_ran_out_ends_with_its_horizon_for_a_standby_may_have_renewed_it() {
    let mut lab = lab(Some(Held::OPEN));
    lab.engine.authority_mut().unwrap().set_alone(true, false);
    let address = lab.join(1);
    let _ = lab.settle(u64::from(HOUR) + 10);
    assert_eq!(lab.state(address), LeaseState::Bound);
    // It had: that is as good as a mark of this node's kernel.
    let known = lease(&lab);
    let granted_at = known.granted_at + Span::from_secs(1_500);
    let expires = granted_at + Span::from_secs(HOUR.into());
    let told = LeaseRecord { granted_at, expires, ..known };
    let effects = lab.engine.granted_elsewhere(lab.now, &told, true);
    assert_eq!(effects.commit[0].expires, expires);
    assert!(lab.engine.leases().leaving(address).is_none());
    for _ in 0..60 {
        let _ = lab.settle(120);
    }
    assert_eq!(lab.state(address), LeaseState::Free);
}

#[test]
fn what_another_node_granted_before_it_was_put_out_is_taken_up_if_it_can_be() {
    let mut lab = lab(Some(Held::OPEN));
    lab.join(1);
    let told = LeaseRecord {
        address: ip(140),
        client: key(7),
        hardware: HardwareAddress::ethernet(mac(7)),
        ..lease(&lab)
    };
    assert!(lab.engine.granted_elsewhere(lab.now, &told, false).is_empty(), "who it is was not said");
    let other = LeaseRecord { address: ip(100), ..told.clone() };
    assert!(lab.engine.granted_elsewhere(lab.now, &other, true).is_empty(), "it is another's");
    let _ = lab.engine.granted_elsewhere(lab.now, &told, true);
    lab.expect(&renewing(7, ip(140)), SlowReason::AckedRenewal);
}

#[test]
fn who_gave_back_a_long_lease_and_was_given_a_short_one_elsewhere_has_it_still() {
    // By the clock of the standby that gave it, which may be behind.
    for (behind_secs, stays) in [(0, true), (3, true), (60, false)] {
        let mut lab = lab(Some(Held::OPEN));
        lab.engine.authority_mut().unwrap().set_alone(true, false);
        let address = lab.join(1);
        lab.pass(1_801);
        lab.expect(&message(7, 1).ciaddr(address), SlowReason::Released);
        let given_back = lab.engine.withdrawn(lab.now, address, Some(Timestamp::ZERO));
        assert_eq!(given_back.returned, vec![address]);
        let known = lease(&lab);
        let granted_at = lab.now + Span::from_secs(1) - Span::from_secs(behind_secs);
        let told = LeaseRecord { granted_at, expires: granted_at + Span::from_secs(600), ..known.clone() };
        let effects = lab.engine.granted_elsewhere(lab.now, &told, true);
        assert_eq!(lab.engine.leases().leaving(address).is_none(), stays, "{behind_secs}");
        // The others hear that it is bound, and it is not freed however many know that it was given back.
        assert_eq!(effects.commit, if stays { vec![known] } else { Vec::new() });
        let _ = lab.engine.return_known(lab.now, address);
        assert_eq!(lab.state(address) == LeaseState::Bound, stays, "{behind_secs}");
    }
}

#[test]
fn a_holder_that_is_cut_off_hears_what_was_granted_elsewhere_all_the_same() {
    let mut lab = lab(Some(Held::OPEN));
    lab.engine.authority_mut().unwrap().set_alone(true, false);
    let address = lab.join(1);
    lab.pass(100);
    lab.expect(&message(7, 1).ciaddr(address), SlowReason::Released);
    let _ = lab.engine.withdrawn(lab.now, address, Some(Timestamp::ZERO));
    lab.engine.authority_mut().unwrap().set_held_until(lab.now);
    lab.pass(10);
    let known = lease(&lab);
    let told = LeaseRecord { granted_at: lab.now, expires: lab.now + Span::from_secs(600), ..known.clone() };
    assert_eq!(lab.engine.granted_elsewhere(lab.now, &told, true).commit, vec![known]);
    lab.engine.authority_mut().unwrap().set_held_until(Timestamp(u64::MAX));
    let _ = lab.engine.return_known(lab.now, address);
    assert_eq!(lab.state(address), LeaseState::Bound);
}

/// A laboratory with an address that its client gave back, free for that client alone, and no other address.
fn lab_with_resting() -> (Lab, Ipv4Addr) {
    let mut config = three_subnets();
    config.subnets[0].pools[0].last = ip(100);
    let mut lab = Lab::new(config);
    let blocks = Arc::new(Blocks::of(lab.engine.config()));
    lab.engine.join_cluster(Authority::new(blocks, MCLT));
    lab.engine.authority_mut().unwrap().set_held_until(Timestamp(u64::MAX));
    give(&mut lab, Some(Held::OPEN));
    let address = lab.join(1);
    let resting = LeaseRecord { state: LeaseState::Free, ..lease(&lab) };
    lab.engine.adopt(resting);
    give(&mut lab, Some(Held::OPEN));
    (lab, address)
}

#[test]
fn an_address_rests_through_another_configuration() {
    let (mut lab, address) = lab_with_resting();
    lab.expect(&discover(2), SlowReason::IgnoredNoFreeAddress);
    let (config, probing) = (Arc::clone(lab.engine.config()), lab.engine.probing());
    lab.engine.reconfigure(lab.now, config, vec![SERVER, SECOND_SERVER], probing);
    lab.expect(&discover(2).with(80, &[]), SlowReason::IgnoredNoFreeAddress);
    let _ = lab.settle(2 * u64::from(HOUR));
    assert_eq!(read(&lab.expect(&discover(2), SlowReason::Offered)).yiaddr, address);
}

#[test]
fn an_address_that_has_rested_while_its_holder_was_cut_off_is_given_out_again() {
    let (mut lab, address) = lab_with_resting();
    lab.engine.authority_mut().unwrap().set_held_until(lab.now);
    let _ = lab.settle(2 * u64::from(HOUR));
    lab.engine.authority_mut().unwrap().set_held_until(Timestamp(u64::MAX));
    let _ = lab.settle(120);
    assert_eq!(read(&lab.expect(&discover(2), SlowReason::Offered)).yiaddr, address);
    // So it is by an heir, once the block is open.
    let (mut lab, address) = lab_with_resting();
    let (since, long) = (lab.now, Span::from_secs(3 * u64::from(HOUR)));
    give(&mut lab, Some(Held { since, closed_until: since + long }));
    let _ = lab.settle(2 * u64::from(HOUR));
    lab.expect(&discover(2), SlowReason::IgnoredNoFreeAddress);
    let _ = lab.settle(u64::from(HOUR) + 10);
    assert_eq!(read(&lab.expect(&discover(2), SlowReason::Offered)).yiaddr, address);
}

/// The client that gave it back asks for it again, and never comes: nobody else is offered it meanwhile, nor afterwards.
#[test]
fn an_offer_of_an_address_that_rests_ends_in_rest() {
    let (mut lab, address) = lab_with_resting();
    assert_eq!(read(&lab.expect(&discover(1), SlowReason::Offered)).yiaddr, address);
    let _ = lab.settle(300);
    lab.expect(&discover(2), SlowReason::IgnoredNoFreeAddress);
    let _ = lab.settle(2 * u64::from(HOUR));
    assert_eq!(read(&lab.expect(&discover(2), SlowReason::Offered)).yiaddr, address);
}

/// Its pools are not the cluster's, or it has not heard yet what those are, or may have missed that they are others now: an
/// address that is in none of its own pools may be another node's to give.
#[test]
fn a_node_whose_pools_are_others_says_no_to_nobody() {
    let mut lab = lab(Some(Held::OPEN));
    let outside = ip(250);
    assert!(lab.engine.authority().unwrap().blocks().of_address(outside).is_none());
    lab.expect(&renewing(1, outside), SlowReason::NakNotEntitled);
    let until = lab.now;
    lab.engine.authority_mut().unwrap().set_held_until(until);
    lab.expect(&renewing(1, outside), SlowReason::IgnoredNotOurBlock);
    lab.engine.authority_mut().unwrap().set_held_until(until + Span::from_secs(60));
    lab.expect(&renewing(1, outside), SlowReason::NakNotEntitled);
    lab.engine.authority_mut().unwrap().set_strange(true);
    let outcome = lab.send(&renewing(1, outside));
    assert!(outcome.effects.reply.is_none(), "{:?}", outcome.reason);
}

/// What a standby granted moves the horizon further ahead in the moment in which the one before is acknowledged.
#[test]
fn a_horizon_moves_as_far_as_was_acknowledged_and_no_further() {
    let mut lab = lab(Some(Held::OPEN));
    let address = lab.join(1);
    let told = lease(&lab).kept_until;
    let _ = lab.engine.horizon_known(lab.now, address, told);
    lab.pass(1_700);
    lab.expect(&renewing(1, address), SlowReason::AckedRenewal);
    let told = lease(&lab).kept_until;
    lab.pass(100);
    let granted =
        LeaseRecord { granted_at: lab.now, expires: lab.now + Span::from_secs(3_600), ..lease(&lab) };
    let _ = lab.engine.granted_elsewhere(lab.now, &granted, false);
    let kept_until = lease(&lab).kept_until;
    assert!(kept_until > told, "{kept_until:?} after {told:?}");
    let known = lab.engine.horizon_known(lab.now, address, told);
    assert_eq!((lease(&lab).horizon, lease(&lab).kept_until), (told, kept_until));
    assert_eq!(known.publish, vec![address]);
    let _ = lab.engine.horizon_known(lab.now, address, kept_until);
    assert_eq!((lease(&lab).horizon, lease(&lab).kept_until), (kept_until, Timestamp::ZERO));
}
