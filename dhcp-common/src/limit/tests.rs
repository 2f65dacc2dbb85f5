//! The limits on a clock of the test's own: what a flood gets, and what everybody else still gets.

extern crate std;

use core::ptr::NonNull;
use std::{
    cell::{Cell, UnsafeCell},
    collections::HashMap,
    vec,
    vec::Vec,
};

use proptest::prelude::*;

use super::*;
use crate::{
    abi::{Answer, Block, LeaseEntry},
    frame::{Scratch, SliceFrame},
};

const MS: u64 = 1_000_000;
const SEC: u64 = 1_000 * MS;
const DISCOVER: u8 = 1;
const REQUEST: u8 = 3;
const LEASED: [u8; 4] = [198, 18, 1, 7];

struct World {
    limits: Limits,
    control: Control,
    lease: UnsafeCell<LeaseEntry>,
    now_ns: Cell<u64>,
    clients: Vec<UnsafeCell<u64>>,
    relays: Vec<UnsafeCell<u64>>,
    shares: Vec<UnsafeCell<u64>>,
}

impl World {
    fn new(limits: Limits) -> Self {
        let mut state = 1_u64;
        let mut control = Control::default();
        for word in control.key.iter_mut().flatten() {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            *word = state ^ state >> 29;
        }
        let lease = LeaseEntry { address: LEASED, chaddr: mac(1), ..LeaseEntry::default() };
        let words = |count| (0..count).map(|_| UnsafeCell::new(0)).collect();
        Self {
            limits,
            control,
            lease: UnsafeCell::new(lease),
            now_ns: Cell::new(1_000 * SEC),
            clients: words(CLIENTS),
            relays: words(RELAYS),
            shares: words(SHARES),
        }
    }

    fn pass(&self, ns: u64) {
        self.now_ns.set(self.now_ns.get() + ns);
    }

    fn ask(&self, mut frame: Vec<u8>) -> Option<Reason> {
        let len = frame.len();
        refuses(&Asker::find(&SliceFrame::new(&mut frame, len).unwrap())?, self)
    }

    /// How many of `count` frames in each of `millis` milliseconds are let through.
    fn flood(
        &self,
        millis: u64,
        count: u64,
        frame: impl Fn(u32) -> Vec<u8>,
        mut beside: impl FnMut(u64),
    ) -> u64 {
        let mut let_through = 0;
        for milli in 0..millis {
            for i in 0..count {
                let stranger = frame(0x4000_0000 + (milli * count + i) as u32);
                let_through += u64::from(self.ask(stranger).is_none());
            }
            beside(milli);
            self.pass(MS);
        }
        let_through
    }
}

fn word(words: &[UnsafeCell<u64>], index: u32) -> Option<Word> {
    let cell = words.get(index as usize)?;
    // SAFETY: the words outlive what looks at them, and nobody makes references to them.
    NonNull::new(cell.get()).map(|word| unsafe { Word::new(word) })
}

impl Buckets for World {
    fn limits(&self) -> Limits {
        self.limits
    }
    fn client(&self, index: u32) -> Option<Word> {
        word(&self.clients, index)
    }
    fn relay(&self, index: u32) -> Option<Word> {
        word(&self.relays, index)
    }
    fn share(&self, index: u32) -> Option<Word> {
        word(&self.shares, index)
    }
    fn knows(&self, address: [u8; 4], chaddr: u64) -> bool {
        knows(self, address, chaddr)
    }
}

impl Maps for World {
    fn control(&self) -> Option<&Control> {
        Some(&self.control)
    }
    fn block(&self, prefix: [u8; 4]) -> Option<Block> {
        let [a, b, c, last] = LEASED;
        let block = Block { prefix: [a, b, c, 0], low: last, high: last, ..Block::default() };
        (prefix == block.prefix).then_some(block)
    }
    fn lease(&self, _: u32) -> Option<NonNull<LeaseEntry>> {
        NonNull::new(self.lease.get())
    }
    fn answer(&self, _: u32) -> Option<&Answer> {
        None
    }
    fn scratch(&self) -> Option<&mut Scratch> {
        None
    }
    fn now_boot_ns(&self) -> u64 {
        self.now_ns.get()
    }
}

fn mac(number: u32) -> [u8; 6] {
    let [a, b, c, d] = number.to_be_bytes();
    [2, 0, a, b, c, d]
}

fn message(kind: u8, client: u32, giaddr: [u8; 4], ciaddr: [u8; 4]) -> Vec<u8> {
    let mut frame = vec![0; 14 + 28 + 300];
    frame[12..14].copy_from_slice(&[8, 0]);
    frame[14] = 0x45;
    frame[16..18].copy_from_slice(&328_u16.to_be_bytes());
    frame[23] = 17;
    frame[36..38].copy_from_slice(&67_u16.to_be_bytes());
    frame[38..40].copy_from_slice(&308_u16.to_be_bytes());
    let bootp = &mut frame[42..];
    bootp[..3].copy_from_slice(&[1, 1, 6]);
    bootp[12..16].copy_from_slice(&ciaddr);
    bootp[24..28].copy_from_slice(&giaddr);
    bootp[28..34].copy_from_slice(&mac(client));
    bootp[236..244].copy_from_slice(&[99, 130, 83, 99, 53, 1, kind, 255]);
    frame
}

fn direct(kind: u8, client: u32) -> Vec<u8> {
    message(kind, client, [0; 4], [0; 4])
}

/// 5 a second for each client, 500 for a relay, 1,000 in all.
fn limits() -> Limits {
    Limits::new((5, 10), (500, 500), (1_000, 400))
}

#[test]
fn one_client_gets_its_rate_and_its_burst() {
    let world = World::new(limits());
    let let_through = world.flood(10_000, 1, |_| direct(DISCOVER, 1), |_| ());
    assert!((59..=61).contains(&let_through), "{let_through} in ten seconds at 5 a second, after 10");
    world.ask(direct(DISCOVER, 1));
    assert_eq!(world.ask(direct(DISCOVER, 1)), Some(Reason::LimitedClient));
    assert_eq!(world.ask(direct(DISCOVER, 2)), None, "another client");
    world.pass(10 * SEC);
    assert_eq!(world.ask(direct(DISCOVER, 1)), None);
}

#[test]
fn a_flood_gets_no_more_than_its_share_and_the_common_one() {
    let world = World::new(limits());
    let let_through = world.flood(4_000, 20, |stranger| direct(DISCOVER, stranger), |_| ());
    // 125 and 500 a second for four seconds, after 50 and 200 at once.
    assert!((2_745..=2_755).contains(&let_through), "{let_through}");
}

#[test]
fn while_a_flood_goes_on_everybody_else_is_heard() {
    let world = World::new(limits());
    let refused = Cell::new([0; 3]);
    let note = |at: usize, answer: Option<Reason>| {
        let mut all = refused.get();
        all[at] += u32::from(answer.is_some());
        refused.set(all);
    };
    let mut heard_again = 0;
    world.flood(
        8_000,
        20,
        |stranger| direct(DISCOVER, stranger),
        |milli| {
            if milli % 10 == 0 && milli < 4_000 {
                let client = 1_000 + milli as u32;
                note(0, world.ask(direct(REQUEST, client)));
                // A holder of a lease whose renewal the kernel cannot answer, four times a second.
                if milli % 250 == 0 {
                    note(1, world.ask(message(REQUEST, 1, [0; 4], LEASED)));
                }
                // What nobody sent before is new, and new ones are many.
                note(2, world.ask(direct(DISCOVER, client)));
            }
            // The same clients come back, four seconds later.
            if milli % 10 == 0 && milli >= 4_000 {
                heard_again += u32::from(world.ask(direct(DISCOVER, 1_000 + milli as u32 - 4_000)).is_none());
            }
        },
    );
    let [requests, known, new] = refused.get();
    assert_eq!((requests, known), (0, 0));
    assert!(new > 300, "only {new} of 400 first DISCOVERs were refused: no flood");
    // 80,000 strangers in the meantime took the places of one in thirteen.
    assert!(heard_again > 350, "{heard_again} of 400 that came back were heard");
}

#[test]
fn a_flood_of_requests_leaves_discovers_and_lease_holders_alone() {
    let world = World::new(limits());
    let mut refused = 0;
    let let_through = world.flood(
        4_000,
        20,
        |stranger| direct(REQUEST, stranger),
        |milli| {
            if milli % 250 == 0 {
                refused += u32::from(world.ask(message(REQUEST, 1, [0; 4], LEASED)).is_some());
                refused += u32::from(world.ask(direct(DISCOVER, milli as u32)).is_some());
            }
        },
    );
    assert_eq!(refused, 0);
    assert!(let_through < 2_800, "{let_through}");
}

#[test]
fn a_relay_is_limited_and_others_are_not() {
    let world = World::new(limits());
    let relayed = |relay: u8, client| message(DISCOVER, client, [198, 18, relay, 1], [0; 4]);
    let first = world.flood(1_000, 2, |stranger| relayed(1, stranger), |_| ());
    assert!((745..=880).contains(&first), "{first}: its rate and burst, or the common share's end");
    world.pass(SEC);
    assert_eq!(world.ask(relayed(2, 1)), None);
}

/// What is refused overall is not charged to the relay it claims to come from: a flood that names a relay cannot use up
/// more of it than what the flood is let through.
#[test]
fn invented_relays_use_up_nobody_elses_tokens() {
    let world = World::new(limits());
    world.flood(
        2_000,
        20,
        |stranger| message(DISCOVER, stranger, (stranger | 1).to_be_bytes(), [0; 4]),
        |_| (),
    );
    world.pass(SEC);
    for relay in 0..=255 {
        let heard = world.ask(message(REQUEST, relay, [198, 18, relay as u8, 1], [0; 4]));
        assert_ne!(heard, Some(Reason::LimitedRelay), "relay {relay}");
    }
}

/// 65,536 clients behind one relay agent come back at once after a power cut, each trying as RFC 2131 section 4.1 has
/// it, with the default limits: how long until the last has got through with DISCOVER and REQUEST.
#[test]
fn a_relays_64k_clients_are_back_within_a_minute() {
    let world = World::new(Limits::new((5, 30), (50_000, 16_000), (100_000, 16_000)));
    let mut waiting: Vec<(u64, u32, u8, u32)> = (0..65_536).map(|client| (0, client, DISCOVER, 0)).collect();
    let begun = world.now_ns.get();
    let relay = [198, 18, 7, 1];
    let mut millis = 0;
    while !waiting.is_empty() && millis < 120_000 {
        waiting.retain_mut(|(at, client, kind, tries)| {
            if *at > millis {
                return true;
            }
            match (world.ask(message(*kind, *client, relay, [0; 4])), *kind) {
                (None, REQUEST) => return false,
                (None, _) => (*at, *kind, *tries) = (millis + 1, REQUEST, 0),
                (Some(_), _) => {
                    // 4 s, 8 s, 16 s, a second more or less.
                    let spread = u64::from(*client).wrapping_mul(7_919) % 2_000;
                    *at = millis + (4_000 << (*tries).min(2)) - 1_000 + spread;
                    *tries += 1;
                }
            }
            true
        });
        millis += 1;
        world.pass(MS);
    }
    assert!(waiting.is_empty(), "{} clients still wait", waiting.len());
    assert!(world.now_ns.get() - begun < 60 * SEC, "{} s", (world.now_ns.get() - begun) / SEC);
}

#[test]
fn what_is_no_bootp_message_counts_as_one_client() {
    let world = World::new(limits());
    let let_through = world.flood(
        2_000,
        5,
        |stranger| {
            let mut frame = direct(DISCOVER, stranger);
            frame.truncate(100);
            frame
        },
        |_| (),
    );
    assert!(let_through <= 20, "{let_through}");
    assert_eq!(world.ask(direct(DISCOVER, 1)), None);
}

#[test]
fn other_traffic_is_never_touched() {
    let world = World::new(Limits::new((1, 1), (1, 1), (1, 8)));
    let changes: [fn(&mut Vec<u8>); 5] = [
        |frame| frame[12] = 0x86,
        |frame| frame[23] = 6,
        |frame| frame[37] = 68,
        |frame| frame[20] = 0x20,
        |frame| frame.truncate(30),
    ];
    for (index, change) in changes.iter().enumerate() {
        for _ in 0..100 {
            let mut frame = direct(DISCOVER, 1);
            change(&mut frame);
            assert_eq!(world.ask(frame), None, "change {index}");
        }
    }
}

#[test]
fn nothing_is_limited_when_limits_are_off() {
    let world = World::new(Limits::OFF);
    assert_eq!(world.flood(10, 1_000, |_| message(DISCOVER, 1, [198, 18, 0, 1], [0; 4]), |_| ()), 10_000);
}

/// A lease that is withdrawn, or of which only the other form is known, still tells who is known.
#[test]
fn lease_holders_are_known_by_address_and_hardware_address() {
    let world = World::new(limits());
    let known = |frame: Vec<u8>| {
        let mut frame = frame;
        let len = frame.len();
        {
            let asker = Asker::find(&SliceFrame::new(&mut frame, len).unwrap()).unwrap();
            world.knows(asker.ciaddr, asker.chaddr[0])
        }
    };
    assert!(known(message(REQUEST, 1, [0; 4], LEASED)));
    assert!(known(message(REQUEST, 1, [198, 18, 7, 1], LEASED)));
    assert!(!known(message(REQUEST, 2, [0; 4], LEASED)));
    assert!(!known(message(REQUEST, 1, [0; 4], [198, 18, 1, 8])));
    assert!(!known(message(REQUEST, 1, [0; 4], [198, 18, 2, 7])));
    assert!(!known(direct(REQUEST, 1)));
}

proptest! {
    /// In any stretch of time, whatever comes in whatever order, no bucket gives more than its burst and its rate.
    #[test]
    fn no_more_than_burst_and_rate(
        per_sec in 1_u32..100_000,
        burst in 1_u32..10_000,
        steps in prop::collection::vec(0_u64..20 * MS, 1..400),
    ) {
        let rate = Rate::new(per_sec, burst);
        let (mut time_ns, mut now_ns, mut given) = (0, SEC, 0_u64);
        for step in &steps {
            now_ns += step;
            if !rate.is_spent(time_ns, now_ns) {
                time_ns = rate.charged(time_ns, now_ns);
                given += 1;
            }
        }
        let most = u64::from(burst) + (now_ns - SEC) / rate.interval_ns + 1;
        prop_assert!(given <= most, "{given} given, {most} are the most");
        prop_assert!(given >= u64::from(burst).min(steps.len() as u64));
    }

    /// No octets whatever make the limits fail, and what they refuse they refuse for a reason of theirs.
    #[test]
    fn any_octets_will_do(frame in prop::collection::vec(any::<u8>(), 0..400), cut in 0_usize..342) {
        let world = World::new(Limits::new((1, 1), (1, 1), (1, 8)));
        let mut like = direct(DISCOVER, 1);
        like.truncate(cut);
        for frame in [frame, like] {
            for _ in 0..3 {
                if let Some(reason) = world.ask(frame.clone()) {
                    prop_assert!(is_dropped(reason as usize));
                }
            }
        }
    }
}

#[test]
fn places_are_used_evenly() {
    let world = World::new(limits());
    let mut used: HashMap<u32, u32> = HashMap::new();
    for client in 0..CLIENTS / 4 {
        let asker = Asker {
            chaddr: [u64::from_le_bytes([2, 0, 0, 0, 0, 0, 0, 0]) | u64::from(client.swap_bytes()) << 16, 0],
            giaddr: [0; 4],
            ciaddr: [0; 4],
            message_type: 0,
            is_bootp: true,
        };
        *used.entry(Place::of(&asker, &world.control).index).or_default() += 1;
    }
    // Of random places, 88.5 % of a quarter are different.
    let different = used.len() as f64 / f64::from(CLIENTS / 4);
    assert!(different > 0.85, "{different}");
}
