//! Inputs to begin with: recorded clients, renewals of the leases there are, the example configurations, small stores.

use std::{fs, path::Path};

use dhcp_tests::fixture;
use dhcp_user::{
    config,
    lease::{
        record::{ClientKey, HardwareAddress, KnownForm, LeaseRecord, LeaseState},
        store::encode_lease,
    },
    site::{
        blocks::BlockId,
        consensus::{
            calls::{self, MemberChange, Question},
            cluster::Entry,
            reservations::Edits,
            survivors::Without,
        },
        delegation::{Command, NodeId},
        link::{
            hello::{Hello, Refusal, verdict},
            terms::Terms,
            wire::Lane,
        },
        node,
        replication::{Cursor, Update, compress, encode},
        roster::NodeKey,
    },
    time::{Span, Timestamp},
};

use crate::{
    INPUT_BYTES_MAX,
    server::renews,
    targets::{
        frame::populated,
        sync::{CHUNKS, GREETING, MESSAGE, PACKED_UPDATES, QUESTION, UPDATES},
    },
};

/// Frames: each lease's renewal and what real clients sent.
///
/// # Panics
/// If a fixture cannot be read.
pub fn frames() -> Vec<Vec<u8>> {
    let (_, held) = populated(1);
    let renewals = held.into_iter().map(|(number, address)| renews(number, address).build());
    let recorded =
        fixture::clients().expect("the fixtures are there").into_iter().map(|(_, fixture)| fixture.frame);
    renewals.chain(recorded).map(|frame| [&[0], &*frame].concat()).collect()
}

/// Histories: a client comes, renews, leaves, declines, in its own ways; and recorded frames as they are.
///
/// # Panics
/// If a fixture cannot be read.
pub fn histories() -> Vec<Vec<u8>> {
    let mut all = Vec::new();
    for client in 0..8 {
        let (discover, select, renew, release, decline) =
            ([client, 1, 0, 0], [client, 3, 6, 0], [client, 3, 9, 0], [client, 7, 13, 0], [client, 4, 6, 0]);
        let pass = [144 + 4, 0x40, 0];
        let kernel = [176 + client];
        all.push(
            [&discover[..], &select, &renew, &kernel, &pass, &renew, &release, &[208], &discover].concat(),
        );
        all.push([&discover[..], &select, &decline, &[209], &pass, &pass, &discover, &select].concat());
    }
    let mut recorded = Vec::new();
    for (_, fixture) in fixture::clients().expect("the fixtures are there") {
        // A frame is far below 2,048 octets.
        recorded.push(128);
        recorded.extend((fixture.frame.len() as u16).to_be_bytes());
        recorded.extend(fixture.frame);
        if recorded.len() > 1_500 {
            all.push(std::mem::take(&mut recorded));
        }
    }
    all
}

/// Configurations: the examples of the documentation.
///
/// # Panics
/// If they cannot be read.
pub fn configurations() -> Vec<Vec<u8>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/examples");
    let files = fs::read_dir(folder).expect("the examples are there");
    files.map(|file| fs::read(file.expect("an entry").path()).expect("an example")).collect()
}

/// What nodes say to each other: updates, alone and as messages about leases, streams of chunks, greetings and verdicts,
/// questions of consensus.
///
/// # Panics
/// If something cannot be written.
pub fn words_of_nodes() -> Vec<Vec<u8>> {
    let mut seeds = updates();
    let after = |kind: u8, octets: &[u8]| [&[kind], octets].concat();
    seeds.extend(messages().iter().map(|message| after(MESSAGE, &message.encode())));
    seeds.push(after(CHUNKS, &stream()));
    let greetings = hellos().into_iter().map(|hello| after(GREETING, &hello.message().octets));
    seeds.extend(greetings.filter(|seed| seed.len() <= INPUT_BYTES_MAX));
    for judged in [Ok(()), Err(Refusal::Cluster)] {
        seeds.push(after(GREETING, &verdict(7, &judged).octets));
    }
    for question in questions() {
        seeds.push(after(QUESTION, &calls::write(9, &question).expect("it can be asked")));
    }
    // To append an entry without content to an empty log, and to vote: only the engine makes those.
    for request in [&[0, 1, 2, 1, 0, 1, 1, 2, 3, 0, 0][..], &[1, 1, 2, 0, 0]] {
        seeds.push(after(QUESTION, &[&9_u64.to_be_bytes()[..], request].concat()));
    }
    seeds
}

fn messages() -> Vec<node::Message> {
    let (at, cursor) = (Timestamp(1_000_000_000), Cursor { log: 77, seq: 300 });
    let plain = updates().into_iter().filter(|seed| seed.first() == Some(&UPDATES));
    let batch = |seed: Vec<u8>| node::Message::Updates {
        after: cursor,
        until: 301,
        octets: seed.get(1..).unwrap_or_default().to_vec(),
    };
    let mut all: Vec<_> = plain.map(batch).collect();
    all.extend([
        node::Message::Ask { asked_at: at },
        node::Message::Told { asked_at: at, clock: Timestamp(5), free: 1 << 40 },
        node::Message::Resume { cursor, log: 9 },
        node::Message::Acknowledge { cursor },
        node::Message::Heard { cursor },
        node::Message::Want { pool: 3, blocks: 7 },
    ]);
    all
}

/// Messages on all lanes, in chunks: the long one is passed by the others.
fn stream() -> Vec<u8> {
    let (last, packed) = (1, 2);
    // Chunks are shorter here than what one octet counts.
    let chunk = |lane: Lane, flags: u8, octets: &[u8]| {
        [&[lane as u8, flags, 0, octets.len() as u8][..], octets].concat()
    };
    [
        chunk(Lane::Bulk, packed, &[7; 200]),
        chunk(Lane::Control, last, &[0; 9]),
        chunk(Lane::Urgent, last, &[4, 0, 5]),
        chunk(Lane::Control, last, &[]),
        chunk(Lane::Bulk, packed | last, &[8; 60]),
    ]
    .concat()
}

/// Greetings of nodes by the example configurations, and of one that has none.
fn hellos() -> Vec<Hello> {
    let texts = configurations().into_iter().filter_map(|text| String::from_utf8(text).ok());
    let read = texts.filter_map(|text| config::parse(&text, "an example").ok());
    let terms = read.map(|config| Terms::of(&config)).chain([Terms::default()]);
    let hello = |(n, terms): (u64, Terms)| Hello {
        node: format!("node{n}.example.com"),
        cluster: (n % 2 == 1).then_some([1; 16]),
        incarnation: n,
        encryption: true,
        nonce: 7,
        terms,
    };
    (1_u64..).zip(terms).map(hello).collect()
}

fn questions() -> Vec<Question> {
    let (one, other) = (NodeKey(1), NodeKey(u64::MAX));
    let without = || Without { lost: [one].into(), left: [other].into() };
    let texts = vec![([198, 18, 0, 1].into(), Some("{}".into())), ([198, 18, 0, 2].into(), None)];
    let node = NodeId(2);
    let (lasts, mclt) = (Span::from_secs(30), Span::from_secs(3_600));
    let entries = [
        Entry::Begin { cluster: [1; 16], nodes: vec![one, other] },
        Entry::Enroll(one),
        Entry::Blocks(Command::Renew { node, stamp: 3, lasts, mclt }),
        Entry::Blocks(Command::Move { by: node, to: NodeId(3), blocks: vec![(BlockId(4), 5)] }),
        Entry::Reserve(Edits { seen: 1, texts }),
    ];
    let mut all: Vec<_> = entries.into_iter().map(Question::Propose).collect();
    let name = || "node1.example.com".to_owned();
    all.extend([
        Question::WouldVote,
        Question::Ready(without()),
        Question::Membership(MemberChange::Add { name: name() }),
        Question::Membership(MemberChange::Remove { name: name() }),
    ]);
    all
}

/// Updates: of leases in every state, anew and only their times, plain and compressed; none at all.
///
/// # Panics
/// If zstd fails.
fn updates() -> Vec<Vec<u8>> {
    let lease = |n: u8, state, client| LeaseRecord {
        address: [198, 18, 0, n].into(),
        state,
        client,
        hardware: HardwareAddress::ethernet([2, 0, 0, 0, 0, n]),
        hostname: (*b"host").into(),
        relay_information: Box::new([1, 2, 3]),
        granted_at: Timestamp(1_000_000_000),
        expires: Timestamp(61_000_000_000),
        horizon: Timestamp(121_000_000_000),
        kept_until: Timestamp::ZERO,
        forms: [None, None],
    };
    let hardware = |n| HardwareAddress::ethernet([2, 0, 0, 0, 0, n]);
    let leases = [
        lease(1, LeaseState::Bound, ClientKey::Hardware(hardware(1))),
        lease(2, LeaseState::Free, ClientKey::Hardware(hardware(9))),
        lease(3, LeaseState::Quarantined, ClientKey::Id([1, 2, 0, 0, 0, 0, 3].into())),
        lease(7, LeaseState::Bound, ClientKey::Id((*b"client").into())),
    ];
    let mut seeds = Vec::new();
    for some in [&leases[..0], &leases[..1], &leases[..]] {
        for anew in [false, true] {
            let mut updates: Vec<_> = some.iter().map(|lease| Update::of(lease, 3, anew)).collect();
            let plain = encode(&mut updates, Timestamp(5_000_000_000));
            let packed = compress(&plain).expect("a few octets");
            seeds.extend([[&[UPDATES], &*plain].concat(), [&[PACKED_UPDATES], &*packed].concat()]);
        }
    }
    // Many times nothing, in a few octets.
    let bomb = compress(&vec![0; 1 << 24]).expect("zstd has done more");
    seeds.push([&[PACKED_UPDATES], &*bomb].concat());
    seeds
}

/// Stores: empty, one segment, several, with leases, answers and values, whole and changed.
///
/// # Panics
/// If a lease cannot be encoded.
pub fn stores() -> Vec<Vec<u8>> {
    let mut lease = Vec::new();
    let hardware = HardwareAddress::ethernet([2, 0, 0, 0, 0, 1]);
    let record = LeaseRecord {
        address: [198, 18, 0, 9].into(),
        state: LeaseState::Bound,
        client: ClientKey::Id((*b"client").into()),
        hardware,
        hostname: (*b"host").into(),
        relay_information: Box::new([1, 2, 3]),
        granted_at: Timestamp(1),
        expires: Timestamp(2),
        horizon: Timestamp(3),
        kept_until: Timestamp::ZERO,
        forms: [Some(KnownForm { fingerprint: std::num::NonZeroU64::MIN, answer: 2, echo_sum: 3 }), None],
    };
    encode_lease(&record, &mut lease).expect("it is short");
    let entry = |kind: u8, key: u8, body: &[u8]| [&[kind, key, body.len() as u8], body].concat();
    let first = [
        &[1, 4][..],
        &entry(1, 9, &lease),
        &entry(3, 1, b"answer"),
        &entry(5, 4, &[1; 4]),
        &entry(2, 8, &[]),
    ]
    .concat();
    let second = [&[1, 2][..], &entry(1, 9, &lease), &entry(4, 1, &[])].concat();
    vec![
        vec![0],
        [&[1, 0, 2, 2][..], &first, &second].concat(),
        [&[1, 1, 1, 2][..], &first, &second].concat(),
        [&[2, 0, 3, 2][..], &first, &second, &[1], &first].concat(),
        [&[3, 0, 3, 1][..], &first, &[1], &second, &[1], &first].concat(),
        [&[2, 0, 2, 2][..], &first, &second, &[0], &[1, 0x40, 0, 50]].concat(),
    ]
}
