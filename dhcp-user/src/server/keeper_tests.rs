//! What the simulator found broken in the keeper and the start around it, told as short as it can be.

use std::{collections::BTreeMap, net::Ipv4Addr, ops::Range, sync::Arc};

use dhcp_common::{
    abi::{Answer, Control, LeaseEntry},
    request::Interface,
};

use super::*;
use crate::{
    lease::store::{Contents, Failure, MemoryStore, Recovered, StoredAnswer},
    net::{
        frame::{Envelope, Tags},
        packet_socket::ReceivedFrame,
    },
    server::takeover::{RememberError, Succession, Surroundings, remember},
    timeline::BootId,
};

const SERVER: Ipv4Addr = Ipv4Addr::new(198, 18, 0, 1);
const SERVER_MAC: [u8; 6] = [2, 0, 0, 0, 0, 1];
pub(in crate::server) const SEC: u64 = 1_000_000_000;
const WALL_NS: u64 = 1_764_000_000 * SEC;
const CONFIG: &str = r#"{"dhcp": {
    "interfaces": [{"name": "sim0", "address": "198.18.0.1"}],
    "lease_secs": 600,
    "subnets": [{"subnet": "198.18.0.0/24", "interface": "sim0",
                 "pools": [{"range": "198.18.0.10 - 198.18.0.20"}]}]
}}"#;

/// Maps that only remember.
#[derive(Default)]
pub(in crate::server) struct Map {
    pub answers: BTreeMap<u32, Answer>,
    pub entries: BTreeMap<Ipv4Addr, LeaseEntry>,
    /// When each was renewed, boot clock.
    renewed_boot_ns: BTreeMap<Ipv4Addr, u64>,
}

impl LeaseMap for Map {
    fn put_answer(&mut self, index: u32, answer: &Answer) -> Result<(), FastPathError> {
        self.answers.insert(index, *answer);
        Ok(())
    }

    fn publish(&mut self, entry: &LeaseEntry) -> bool {
        self.entries.insert(entry.address.into(), *entry);
        true
    }

    fn withdraw(&mut self, address: Ipv4Addr) {
        self.entries.remove(&address);
    }

    fn renewed_boot_ns(&self, address: Ipv4Addr) -> Option<u64> {
        self.renewed_boot_ns.get(&address).copied()
    }

    fn entries(&self) -> u32 {
        0
    }

    fn marks(&self, _: Range<u32>, _: u64) -> Vec<Mark> {
        Vec::new()
    }

    fn set_authority_until_boot_ns(&mut self, _: u64) {}

    fn carry_mark(&mut self, _: &Mark) {}
}

/// A start at a moment of the boot clock, after a daemon whose program left these marks; and a mark that a program still
/// running then leaves when it ends.
pub(in crate::server) struct Start(pub u64, pub Option<Vec<Mark>>, pub Option<Mark>);

impl Succession for Start {
    type Map = Map;

    fn boot_ns(&self) -> u64 {
        self.0
    }

    fn predecessor_marks(&self) -> Option<Vec<Mark>> {
        self.1.clone()
    }

    fn load(&mut self, _: &Control) -> Result<Map, FastPathError> {
        Ok(Map::default())
    }

    fn attach(&mut self, _: &mut Map) -> Result<(), FastPathError> {
        Ok(())
    }

    fn wait_for_programs(&mut self) -> Result<(), FastPathError> {
        self.1.iter_mut().for_each(|marks| marks.extend(self.2));
        Ok(())
    }

    fn finish(&mut self) -> Result<(), FastPathError> {
        Ok(())
    }
}

pub(in crate::server) fn started(store: MemoryStore, mut start: Start) -> Keeper<MemoryStore, Map> {
    let Contents { leases, answers, meta, .. } = store.durable().clone();
    let recovered = Recovered {
        answers: answers.into_iter().map(|(id, bytes)| StoredAnswer { id, bytes }).collect(),
        meta: meta.into_iter().collect(),
        ..Recovered::default()
    };
    let around = around(start.0);
    let (mut keeper, _) = remember(around, store, &recovered, leases.into_values().collect()).unwrap();
    keeper.take_over(&mut start, Span::from_secs(60)).unwrap();
    keeper.note_time(start.0, WALL_NS + start.0).unwrap();
    keeper
}

fn around(boot_ns: u64) -> Surroundings {
    Surroundings {
        config: Arc::new(crate::config::parse(CONFIG, "test").unwrap()),
        servers: vec![SERVER],
        interfaces: vec![Interface { number: 0, mac: SERVER_MAC }],
        local: vec![SERVER],
        boot_id: BootId::new([1; 16]),
        boot_ns,
        wall_ns: WALL_NS + boot_ns,
        random_key: (0..=255).cycle().take(crate::fastpath::stored::KEY_LEN).collect(),
        seed: 1,
    }
}

/// The client with this number asks for an address it was offered.
fn ask(keeper: &mut Keeper<MemoryStore, Map>, boot_ns: u64, client: u8, address: Ipv4Addr) -> Aftermath {
    let work = think(keeper, boot_ns, client, address);
    keeper.settle(keeper.timeline.timestamp(boot_ns), work).unwrap()
}

/// What the core makes of that.
pub(in crate::server) fn think(
    keeper: &mut Keeper<MemoryStore, Map>,
    boot_ns: u64,
    client: u8,
    address: Ipv4Addr,
) -> Work {
    let mac = [2, 0, 0, 0, 1, client];
    let mut payload = vec![0; 240];
    payload[..4].copy_from_slice(&[1, 1, 6, 0]);
    payload[28..34].copy_from_slice(&mac);
    payload[236..].copy_from_slice(&[99, 130, 83, 99]);
    payload.extend_from_slice(&[53, 1, 3, 50, 4]);
    payload.extend_from_slice(&address.octets());
    payload.extend_from_slice(&[54, 4]);
    payload.extend_from_slice(&SERVER.octets());
    payload.push(255);
    payload.resize(300, 0);
    let envelope = Envelope {
        source_mac: mac,
        destination_mac: [255; 6],
        tags: Tags::default(),
        source: Ipv4Addr::UNSPECIFIED,
        destination: Ipv4Addr::BROADCAST,
        source_port: 68,
        destination_port: 67,
    };
    let mut frame = ReceivedFrame { octets: envelope.wrap(&payload).unwrap(), checksum_pending: false };
    let now = keeper.timeline.timestamp(boot_ns);
    let mut work = Work::default();
    keeper.core.receive(now, 0, &mut frame, &mut work);
    work
}

#[test]
fn an_answer_that_found_no_room_becomes_durable_with_the_next_lease_that_names_it() {
    let mut keeper = started(MemoryStore::new(), Start(10 * SEC, None, None));
    keeper.store.fail_next(Failure::Full);
    let (first, second) = (Ipv4Addr::new(198, 18, 0, 10), Ipv4Addr::new(198, 18, 0, 11));
    assert_eq!(ask(&mut keeper, 11 * SEC, 1, first).send, []);
    assert_eq!(keeper.store_refusals, 1);
    assert_eq!(ask(&mut keeper, 12 * SEC, 2, second).send.len(), 1);
    let form = keeper.store.durable().leases[&second].forms[0].expect("its renewals are known");
    assert!(keeper.store.durable().answers.contains_key(&form.answer), "a lease names what is not durable");
    assert!(keeper.kernel.as_ref().unwrap().answers.contains_key(&form.answer));
    // Once is enough.
    let commits = keeper.store.durable().clone();
    assert_eq!(ask(&mut keeper, 13 * SEC, 1, first).send.len(), 1);
    assert_eq!(keeper.store.durable().answers, commits.answers);
}

/// What a client was not told for want of room is kept from the kernel too, whatever has it published, until it is durable.
#[test]
fn a_lease_that_found_no_room_is_published_when_it_is_durable() {
    let address = Ipv4Addr::new(198, 18, 0, 10);
    let mut keeper = started(MemoryStore::new(), Start(10 * SEC, None, None));
    assert_eq!(ask(&mut keeper, 11 * SEC, 1, address).send.len(), 1);
    let published =
        |keeper: &Keeper<MemoryStore, Map>| keeper.kernel.as_ref().unwrap().entries[&address].horizon_boot_ns;
    let before = published(&keeper);
    keeper.store.fail_next(Failure::Full);
    assert_eq!(ask(&mut keeper, 111 * SEC, 1, address).send, []);
    let now = keeper.timeline.timestamp(111 * SEC);
    let again = Work { publish: vec![address], ..Work::default() };
    let _ = keeper.settle(now, again).unwrap();
    assert_eq!(published(&keeper), before);
    let sweep = |keeper: &mut Keeper<MemoryStore, Map>, secs: u64| {
        let _ = keeper.sweep(secs * SEC, Span::from_secs(60)).unwrap();
        keeper.store.durable().leases[&address].horizon
    };
    let durable = sweep(&mut keeper, 111);
    let horizon = sweep(&mut keeper, 112);
    assert!(horizon > durable, "it is tried again after a while");
    assert_eq!(keeper.timeline.timestamp(published(&keeper)), horizon);
}

#[test]
fn what_an_earlier_program_renewed_is_durable_before_its_maps_are_gone() {
    let address = Ipv4Addr::new(198, 18, 0, 10);
    let mut keeper = started(MemoryStore::new(), Start(10 * SEC, None, None));
    assert_eq!(ask(&mut keeper, 11 * SEC, 1, address).send.len(), 1);
    // The kernel renews it, within its horizon of twice the lease time, after the daemon's death; two starts later it must be known.
    let mark = Mark { address, chaddr: [2, 0, 0, 0, 1, 1], renewed_boot_ns: 311 * SEC };
    let keeper = started(keeper.store, Start(400 * SEC, Some(vec![mark]), None));
    let known = keeper.timeline.timestamp(mark.renewed_boot_ns);
    assert_eq!(keeper.store.durable().leases[&address].granted_at, known);
    let keeper = started(keeper.store, Start(500 * SEC, Some(Vec::new()), None));
    assert_eq!(keeper.core.engine.leases().get(address).unwrap().granted_at, known);
}

#[test]
fn a_program_that_stood_still_through_the_swap_is_heard() {
    let address = Ipv4Addr::new(198, 18, 0, 10);
    let mut keeper = started(MemoryStore::new(), Start(10 * SEC, None, None));
    assert_eq!(ask(&mut keeper, 11 * SEC, 1, address).send.len(), 1);
    // It took the time eight seconds before the start that found no mark of it yet.
    let mark = Mark { address, chaddr: [2, 0, 0, 0, 1, 1], renewed_boot_ns: 392 * SEC };
    let keeper = started(keeper.store, Start(400 * SEC, Some(Vec::new()), Some(mark)));
    let known = keeper.timeline.timestamp(mark.renewed_boot_ns);
    assert_eq!(keeper.store.durable().leases[&address].granted_at, known);
}

#[test]
fn a_start_cut_short_after_a_reboot_leaves_nothing_to_the_wall_clock() {
    // `remember` alone: what follows it did not happen.
    let (around, store) = (around(10 * SEC), MemoryStore::new());
    let none = Recovered::default();
    let (keeper, _) = remember::<_, Map>(around, store, &none, Vec::new()).unwrap();
    let stored = &keeper.store.durable().meta[&MetaKey::TimelineAnchor];
    assert_eq!(
        crate::timeline::Anchor::decode(stored).unwrap(),
        keeper.timeline.anchor(10 * SEC, WALL_NS + 10 * SEC)
    );
}

#[test]
fn a_full_disk_ends_a_start_before_anything_is_learnt() {
    let mut store = MemoryStore::new();
    store.fail_next(Failure::Full);
    let none = Recovered::default();
    let error = remember::<_, Map>(around(10 * SEC), store, &none, Vec::new()).map(drop).unwrap_err();
    assert!(matches!(error, RememberError::Store(StoreError::Full { .. })), "{error}");
    assert!(error.to_string().contains("free some space"), "{error}");
}

#[test]
fn a_grace_period_says_nothing_of_an_entry_published_since() {
    let address = Ipv4Addr::new(198, 18, 0, 10);
    let mut keeper = started(MemoryStore::new(), Start(10 * SEC, None, None));
    let _ = ask(&mut keeper, 11 * SEC, 1, address);
    let now = keeper.timeline.timestamp(12 * SEC);
    let withdraw = |keeper: &mut Keeper<MemoryStore, Map>| {
        let work = Work { withdraw: vec![address], ..Work::default() };
        keeper.settle(now, work).unwrap().withdrawn
    };
    let first = withdraw(&mut keeper);
    let _ = ask(&mut keeper, 12 * SEC, 1, address);
    let second = withdraw(&mut keeper);
    assert_eq!((first.len(), second.len(), first == second), (1, 1, false));
    let forget = |keeper: &mut Keeper<MemoryStore, Map>, one: Withdrawal| {
        let mut work = Work::default();
        keeper.forgotten(now, one, &mut work);
        !work.is_empty()
    };
    assert!(!forget(&mut keeper, first[0]), "of the entry before");
    assert!(forget(&mut keeper, second[0]));
    assert!(!forget(&mut keeper, second[0]), "told once already");
}

#[test]
fn a_mark_carried_over_says_nothing_of_later_ones_that_a_start_cut_short_lost() {
    let address = Ipv4Addr::new(198, 18, 0, 10);
    let mut keeper = started(MemoryStore::new(), Start(10 * SEC, None, None));
    assert_eq!(ask(&mut keeper, 11 * SEC, 1, address).send.len(), 1);
    // This start swapped the program and was killed before it read the last marks of the one before.
    let cut_short = keeper.timeline.timestamp(400 * SEC);
    keeper.note_marks_known_since(cut_short).unwrap();
    let mark = Mark { address, chaddr: [2, 0, 0, 0, 1, 1], renewed_boot_ns: 311 * SEC };
    let mut keeper = started(keeper.store, Start(401 * SEC, Some(vec![mark]), None));
    keeper.kernel.as_mut().unwrap().renewed_boot_ns.insert(address, mark.renewed_boot_ns);
    // By that mark the lease has run out; by one just before 400 s it has not.
    let now = keeper.timeline.timestamp(950 * SEC);
    let mut work = Work::default();
    keeper.core.tick(now, &mut work);
    let withdrawn = keeper.settle(now, work).unwrap().withdrawn;
    assert_eq!(withdrawn.len(), 1);
    let mut work = Work::default();
    keeper.forgotten(now, withdrawn[0], &mut work);
    let lease = keeper.core.engine.leases().get(address).unwrap();
    assert_eq!(lease.state, crate::lease::record::LeaseState::Bound, "its address is free for others");
}

/// With an address reserved for the client with this number.
fn reserving(address: Ipv4Addr, client: u8) -> crate::server::reserve::Reserve {
    let entry = format!(r#"{{"hw_address": "02:00:00:00:01:{client:02}", "address": "{address}"}}"#);
    let made = crate::config::Made::parse(&entry).unwrap();
    let config = crate::config::parse_with(CONFIG, "test", std::slice::from_ref(&made)).unwrap();
    let identity = config.subnets[0].reservations[0].identity.clone();
    let digest = crate::server::takeover::digest_of(&config, &[SERVER]);
    crate::server::reserve::Reserve {
        config: Arc::new(config),
        changes: vec![crate::engine::ReservationChange { address, before: None, after: Some(identity) }],
        batch: Batch {
            reservations: vec![crate::lease::store::StoredReservation {
                address,
                bytes: made.text().as_bytes().to_vec(),
            }],
            meta: vec![(MetaKey::ConfigDigest, digest)],
            ..Batch::default()
        },
        even_if_held: false,
        within: Vec::new(),
    }
}

/// A lease outside of what the caller may change is not withdrawn on their word, even if the address is theirs.
#[test]
fn a_reservation_concerns_no_lease_outside_of_the_callers_prefixes() {
    let (theirs, others) = (Ipv4Addr::new(198, 18, 0, 40), Ipv4Addr::new(198, 18, 0, 10));
    let mut keeper = started(MemoryStore::new(), Start(10 * SEC, None, None));
    assert_eq!(ask(&mut keeper, 11 * SEC, 1, others).send.len(), 1);
    let now = keeper.timeline.timestamp(12 * SEC);
    let within = |prefix: &str| crate::server::reserve::Reserve {
        within: vec![prefix.parse().unwrap()],
        ..reserving(theirs, 1)
    };
    for only_judged in [true, false] {
        let reserve = within("198.18.0.32/28");
        let refused = match only_judged {
            true => keeper.judge_reserve(&reserve).map(drop),
            false => keeper.reserve(now, reserve).map(drop),
        };
        assert!(matches!(refused, Err(crate::server::reserve::ReserveError::Elsewhere)), "{refused:?}");
    }
    assert!(keeper.store.durable().leases[&others].forms[0].is_some(), "its renewals stay with the kernel");
    assert!(keeper.core.engine.config().subnets[0].reservations.is_empty());
    assert_eq!(keeper.reserve(now, within("198.18.0.0/26")).unwrap().withdraw, [others]);
}

#[test]
fn a_reservation_and_what_the_kernel_must_forget_are_durable_before_anybody_judges_by_it() {
    let (first, second) = (Ipv4Addr::new(198, 18, 0, 10), Ipv4Addr::new(198, 18, 0, 11));
    let mut keeper = started(MemoryStore::new(), Start(10 * SEC, None, None));
    assert_eq!(ask(&mut keeper, 11 * SEC, 1, first).send.len(), 1);
    assert_eq!(ask(&mut keeper, 11 * SEC, 2, second).send.len(), 1);
    let now = keeper.timeline.timestamp(12 * SEC);
    let generation = keeper.core.learner.control.generation;

    let held = keeper.reserve(now, reserving(second, 1)).unwrap_err().to_string();
    assert!(held.contains("198.18.0.11 is held by 02:00:00:00:01:02"), "{held}");
    keeper.store.fail_next(Failure::Full);
    assert!(matches!(
        keeper.reserve(now, reserving(Ipv4Addr::new(198, 18, 0, 9), 1)),
        Err(crate::server::reserve::ReserveError::NotDurable(_))
    ));
    assert!(keeper.core.engine.config().subnets[0].reservations.is_empty());
    assert!(keeper.store.durable().reservations.is_empty());

    // Client 1 is to have another address: the kernel forgets its lease, and no other.
    let work = keeper.reserve(now, reserving(Ipv4Addr::new(198, 18, 0, 9), 1)).unwrap();
    let durable = keeper.store.durable();
    assert_eq!(durable.reservations.keys().collect::<Vec<_>>(), [&Ipv4Addr::new(198, 18, 0, 9)]);
    assert_eq!(durable.leases[&first].forms, [None, None]);
    assert!(durable.leases[&second].forms[0].is_some());
    let aftermath = keeper.settle(now, work).unwrap();
    let [withdrawn] = aftermath.withdrawn[..] else { panic!("{aftermath:?}") };
    assert_eq!(withdrawn.address, first);
    let kernel = keeper.kernel.as_mut().unwrap();
    assert!(!kernel.entries.contains_key(&first) && kernel.entries.contains_key(&second));

    // A program that was still running renewed it: that is known before the entry is published anew, without any form.
    kernel.renewed_boot_ns.insert(first, 60 * SEC);
    let mut work = Work::default();
    let later = keeper.timeline.timestamp(61 * SEC);
    keeper.forgotten(later, withdrawn, &mut work);
    let _ = keeper.settle(later, work).unwrap();
    let marked = keeper.timeline.timestamp(60 * SEC);
    assert_eq!(keeper.store.durable().leases[&first].granted_at, marked);
    assert_eq!(keeper.kernel.as_ref().unwrap().entries[&first].fingerprints, [0, 0]);

    // Another start knows the same configuration: the other lease's renewals stay with the kernel.
    let text = String::from_utf8(keeper.store.durable().reservations[&Ipv4Addr::new(198, 18, 0, 9)].clone());
    let made = crate::config::Made::parse(&text.unwrap()).unwrap();
    let config = crate::config::parse_with(CONFIG, "test", &[made]).unwrap();
    let around = Surroundings { config: Arc::new(config), ..around(70 * SEC) };
    let Contents { leases, answers, meta, .. } = keeper.store.durable().clone();
    let recovered = Recovered {
        answers: answers.into_iter().map(|(id, bytes)| StoredAnswer { id, bytes }).collect(),
        meta: meta.into_iter().collect(),
        ..Recovered::default()
    };
    let leases = leases.into_values().collect();
    let (again, _) = remember::<_, Map>(around, keeper.store, &recovered, leases).unwrap();
    assert_eq!(again.core.learner.control.generation, generation);
    assert!(again.core.engine.leases().get(second).unwrap().forms[0].is_some());
}

/// A client that has an address asks for another one, and there is no room to make that durable: it is told nothing, and
/// keeps what it was promised.
#[test]
fn a_lease_that_could_not_be_replaced_stays() {
    let (first, second) = (Ipv4Addr::new(198, 18, 0, 10), Ipv4Addr::new(198, 18, 0, 11));
    let mut keeper = started(MemoryStore::new(), Start(10 * SEC, None, None));
    assert_eq!(ask(&mut keeper, 11 * SEC, 1, first).send.len(), 1);
    keeper.store.fail_next(Failure::Full);
    let refused = ask(&mut keeper, 12 * SEC, 1, second);
    assert!(refused.send.is_empty() && refused.withdrawn.is_empty(), "{refused:?}");
    assert!(keeper.core.engine.leases().leaving(first).is_none());
    assert!(keeper.kernel.as_ref().unwrap().entries.contains_key(&first));
    // With room again it moves.
    let moved = ask(&mut keeper, 13 * SEC, 1, second);
    assert_eq!((moved.send.len(), moved.withdrawn.len()), (1, 1));
    assert!(keeper.core.engine.leases().leaving(first).is_some());
}
