//! Every reason the kernel can count, each shown by a frame that comes to it: passed (dropped, where a limit says so)
//! with no octet changed, and that one counter moved by one (the laboratory's judge asserts both).

use std::net::Ipv4Addr;

use dhcp_common::{
    abi::LeaseEntry,
    limit::{Limits, Rate, SHARES, is_dropped},
    reason::Reason,
};
use dhcp_tests::{
    oracle::{
        lab::{Lab, RELAY_INFORMATION, SERVER, Who, by_relay},
        world::server_mac,
    },
    packet::Frame,
};
use dhcp_user::{fastpath::lease_map::LeaseMap as _, server::clock};

const SECOND_NS: u64 = 1_000_000_000;
const LEASE_NS: u64 = 3_600 * SECOND_NS;

/// What brings a reason about: changes to the laboratory, and the frame.
fn bring_about(reason: Reason, lab: &mut Lab) -> Vec<u8> {
    let renewal = Who::Plain.renews();
    let frame = match reason {
        Reason::Answered => renewal,
        Reason::NotIpv4 => renewal.ether_type(0x86dd),
        Reason::NotDhcp => renewal.dst_port(68),
        Reason::TooManyTags => renewal.tag(0x88a8, 1).tag(0x8100, 2).tag(0x8100, 3),
        Reason::Ipv4Options => renewal.ip_options(vec![1, 1, 1, 0]),
        Reason::Fragment => renewal.fragment(0x2000),
        // The cookie, and nothing behind it.
        Reason::Truncated => return renewal.no_options().build_unclosed(),
        Reason::OptionsTooLong => renewal.bootp_len_min(240 + 321),
        Reason::OtherMac => renewal.dst_mac(server_mac(1)),
        Reason::OtherAddress => renewal.dst(Ipv4Addr::new(198, 18, 0, 2)),
        Reason::NotRequest => renewal.op(2),
        Reason::Hardware => renewal.hlen(7),
        Reason::Hops => Who::Relayed.relays().hops(17).option(82, &RELAY_INFORMATION),
        Reason::NotCookie => renewal.cookie([99, 130, 83, 98]),
        Reason::NotRenewal => Who::Plain.says(1),
        Reason::NamesInUse => renewal.file(std::array::from_fn(|at| u8::from(at == 127))),
        Reason::SourceMismatch => renewal.src(Ipv4Addr::new(198, 18, 0, 12)),
        Reason::UnknownAddress => {
            renewal.ciaddr(Ipv4Addr::new(198, 18, 9, 9)).src(Ipv4Addr::new(198, 18, 9, 9))
        }
        Reason::NoLease => {
            lab.world.withdraw(Who::Plain.address());
            renewal
        }
        Reason::OtherClient => {
            renewal.chaddr(std::array::from_fn(|at| Who::Boots.mac().get(at).copied().unwrap_or(0)))
        }
        Reason::OldGeneration => change(lab, renewal, |entry| entry.generation += 1),
        Reason::UnknownForm => by_relay(Who::Plain.says(3).ciaddr(Who::Plain.address())),
        Reason::Fingerprint => renewal.option(12, b"new-name"),
        // An answer nobody rendered: its slot is empty.
        Reason::NoAnswer => change(lab, renewal, |entry| entry.answers[0] = 4_000),
        Reason::Horizon => {
            change(lab, renewal, |entry| entry.horizon_boot_ns = clock::boot_ns() + LEASE_NS - 1)
        }
        Reason::Authority => {
            lab.world.set_authority_until_boot_ns(clock::boot_ns());
            renewal
        }
        Reason::LimitedClient => before_it(lab, &[Who::Plain.says(1)], Who::Plain.says(1)),
        Reason::LimitedRelay => before_it(lab, &[by_relay(Who::Plain.says(1))], by_relay(Who::Boots.says(1))),
        // Two each, for every share and the common one hold a token.
        Reason::LimitedNew => {
            before_it(lab, &[Who::Plain.says(1), Who::Boots.says(1)], by_relay(Who::Relayed.says(1)))
        }
        Reason::LimitedAgain => before_it(lab, &[(); 3].map(|()| Who::Plain.says(1)), Who::Plain.says(1)),
        Reason::LimitedRequest => {
            before_it(lab, &[Who::Plain.says(3), Who::Boots.says(3)], Who::Plain.says(3))
        }
        Reason::LimitedKnown => {
            let other = || Who::Plain.renews().option(12, b"new-name");
            before_it(lab, &[other(), other()], other())
        }
        Reason::NoTailroom | Reason::WriteFailed => unreachable!("shown below, or impossible"),
    };
    frame.build()
}

/// The frame for a reason that needs others before it, which are passed.
fn before_it(lab: &mut Lab, frames: &[Frame], frame: Frame) -> Frame {
    for frame in frames {
        let verdict = lab.judge(&frame.clone().build()).expect("the frame is judged");
        assert!(!is_dropped(verdict.reason as usize), "{} comes too early", verdict.reason.as_str());
    }
    frame
}

/// Buckets with one token each, and no second one while a test runs: of clients, of relays, or of all.
fn limits(reason: Reason) -> Limits {
    let one = Rate { interval_ns: 3_600 * SECOND_NS, ahead_ns: 0 };
    match reason {
        Reason::LimitedClient => Limits { client: one, ..Limits::OFF },
        Reason::LimitedRelay => Limits { relay: one, ..Limits::OFF },
        reason if is_dropped(reason as usize) => Limits { shares: [one; SHARES as usize], ..Limits::OFF },
        _ => Limits::OFF,
    }
}

/// Publishes the first client's lease anew with something else in it.
fn change(lab: &mut Lab, renewal: Frame, change: impl FnOnce(&mut LeaseEntry)) -> Frame {
    let timeline = *lab.world.clock.timeline();
    let mut entry = lab.world.core.entry(Who::Plain.address(), &timeline).expect("a lease");
    change(&mut entry);
    lab.world.publish(&entry).expect("a place in the lease map");
    renewal
}

#[test]
fn every_reason_has_its_frame() {
    for &reason in Reason::ALL {
        if matches!(reason, Reason::NoTailroom | Reason::WriteFailed) {
            continue;
        }
        let mut lab = Lab::with_limits(limits(reason)).unwrap();
        let frame = bring_about(reason, &mut lab);
        let before = lab.world.kernel.counters().unwrap();
        let verdict = lab.judge(&frame).unwrap();
        assert_eq!(verdict.reason, reason, "{}", reason.as_str());
        let after = lab.world.kernel.counters().unwrap();
        assert_eq!(after.get(reason), before.get(reason) + 1, "{}", reason.as_str());
        assert_eq!(after.write_failed, 0);
        if reason != Reason::Answered {
            assert_eq!(verdict.frame, frame, "{}", reason.as_str());
        }
    }
}

/// Kernel buffers of test runs always have room, so this is the shared code on the host: nothing is written if the
/// answer, longer than the request, does not fit.
#[test]
fn without_room_behind_the_frame_nothing_is_written() {
    let lab = Lab::new().unwrap();
    // Not an octet of it is what an answer would have there, where it can be helped.
    let renewal = Who::Plain.renews().bootp_len_min(0).src_mac([0xa5; 6]).tos(1).ip_id(1).ttl(1).secs(0x0101);
    let renewal = renewal.build();
    let interface = lab.world.interface(0);
    let (_, answer) = lab.world.host.run_with_room(&interface, &renewal);
    let missing = answer.len() - renewal.len();
    assert!(missing > 0);
    assert_eq!(lab.world.host.run(&interface, &renewal, missing).0, Reason::Answered);
    let (reason, frame) = lab.world.host.run(&interface, &renewal, missing - 1);
    assert_eq!(reason, Reason::NoTailroom);
    assert_eq!(frame, renewal);
}

#[test]
fn the_horizon_is_reached_but_not_passed() {
    let mut lab = Lab::new().unwrap();
    let margin = 30 * SECOND_NS;
    let within = change(&mut lab, Who::Plain.renews(), |entry| {
        entry.horizon_boot_ns = clock::boot_ns() + LEASE_NS + margin;
    });
    assert_eq!(lab.judge(&within.build()).unwrap().reason, Reason::Answered);
    // Nothing shorter is granted in its place.
    let beyond = change(&mut lab, Who::Plain.renews(), |entry| {
        entry.horizon_boot_ns = clock::boot_ns() + LEASE_NS - margin;
    });
    assert_eq!(lab.judge(&beyond.build()).unwrap().reason, Reason::Horizon);
}

/// The fingerprint vouches for the entry's other fields: an entry seen half-written answers nothing.
#[test]
fn half_written_entries_answer_nothing() {
    let other = |lab: &Lab| {
        let timeline = *lab.world.clock.timeline();
        lab.world.core.entry(Who::Boots.address(), &timeline).unwrap()
    };
    type Change = fn(&mut LeaseEntry, &LeaseEntry);
    let changes: [(Change, Reason); 5] = [
        (|entry, other| entry.answers = other.answers, Reason::Fingerprint),
        (|entry, other| entry.fingerprints = other.fingerprints, Reason::Fingerprint),
        (|entry, _| entry.echo_sums[0] ^= 1, Reason::Fingerprint),
        (|entry, other| entry.chaddr = other.chaddr, Reason::OtherClient),
        (|entry, _| entry.horizon_boot_ns = 0, Reason::NoLease),
    ];
    for (index, (half, reason)) in changes.into_iter().enumerate() {
        let mut lab = Lab::new().unwrap();
        let other = other(&lab);
        let renewal = change(&mut lab, Who::Plain.renews(), |entry| half(entry, &other));
        assert_eq!(lab.judge(&renewal.build()).unwrap().reason, reason, "change {index}");
    }
}

/// Fault 2 and 10 of another XDP server: clocks of two kinds compared, and renewals nobody hears of.
#[test]
fn the_daemon_hears_of_renewals_on_its_own_clock() {
    let mut lab = Lab::new().unwrap();
    let granted = |lab: &Lab| lab.world.core.engine.leases().get(Who::Plain.address()).unwrap().clone();
    let before = granted(&lab);
    assert!(lab.world.kernel.all_marks().is_empty());
    let from = clock::boot_ns();
    assert_eq!(lab.judge(&Who::Plain.renews().build()).unwrap().reason, Reason::Answered);
    let to = clock::boot_ns();
    let marks: Vec<_> = lab.world.kernel.all_marks();
    let [mark] = marks.as_slice() else { panic!("not one mark: {marks:?}") };
    assert_eq!((mark.address, mark.chaddr), (Who::Plain.address(), Who::Plain.mac()));
    assert!((from..=to).contains(&mark.renewed_boot_ns));
    lab.world.sweep().unwrap();
    let after = granted(&lab);
    assert_eq!(after.granted_at, lab.world.clock.timeline().timestamp(mark.renewed_boot_ns));
    assert!(after.granted_at > before.granted_at && after.expires > before.expires);
    assert_eq!(after.expires.since(after.granted_at).as_secs(), 3_600);
    assert!(after.horizon >= after.expires);
}

/// A lease that its client gave back is not renewed by the kernel any more.
#[test]
fn what_is_given_back_is_not_renewed() {
    let mut lab = Lab::new().unwrap();
    let release = Who::Plain.says(7).option(54, &SERVER.octets()).ciaddr(Who::Plain.address());
    let release = release.src(Who::Plain.address()).dst(SERVER).dst_mac(server_mac(0));
    lab.world.deliver(0, &release.build()).unwrap();
    assert_eq!(lab.judge(&Who::Plain.renews().build()).unwrap().reason, Reason::NoLease);
}
