//! Any octets from another node: refused, or what can be sent on and is read as it was.
//!
//! The first octet says as what the rest is read. Updates come first: their inputs in the corpus are older than the others.

use std::{
    pin::pin,
    task::{Context, Poll, Waker},
};

use dhcp_user::{
    site::{
        consensus::calls,
        link::{
            hello::{Hello, Refusal, read_verdict},
            wire::{Assembler, HEADER, Lane, Message, Outgoing, ReadError},
        },
        node,
        replication::{self, UPDATES_MAX, Update},
    },
    time::Timestamp,
};

/// Updates, as they are.
pub const UPDATES: u8 = 0;
/// Updates, compressed.
pub const PACKED_UPDATES: u8 = 1;
/// A link's stream: chunks of messages.
pub const CHUNKS: u8 = 2;
/// The first message on a connection, and the second.
pub const GREETING: u8 = 3;
/// A message about leases.
pub const MESSAGE: u8 = 4;
/// A question of consensus.
pub const QUESTION: u8 = 5;
const KINDS: u8 = 6;

/// No update takes fewer octets than this.
const UPDATE_OCTETS_MIN: usize = 6;

/// Takes one input: an octet that says what the rest is to be, and the rest.
///
/// # Panics
/// If a promise does not hold.
pub fn run(octets: &[u8]) {
    let Some((kind, octets)) = octets.split_first() else { return };
    match kind % KINDS {
        UPDATES => judge(octets),
        PACKED_UPDATES => {
            if let Ok(plain) = replication::decompress(octets) {
                judge(&plain);
            }
        }
        CHUNKS => chunks(octets),
        GREETING => greeting(octets),
        MESSAGE => message(octets),
        _ => question(octets),
    }
}

/// Messages are no larger than what came, and are the same when they are cut into chunks anew.
fn chunks(octets: &[u8]) {
    let (found, count, end) = read_all(octets);
    assert!(!matches!(end, ReadError::Io(_)), "{end}");
    let held: usize = found.iter().map(|message| message.octets.len() + HEADER).sum();
    assert!(held as u64 <= count && count <= octets.len() as u64, "{held} octets of {count}");
    assert!(found.iter().all(|message| message.octets.len() <= message.lane.message_max()));
    let mut again = Vec::new();
    for message in &found {
        let mut out = Outgoing::new(message.clone());
        while !out.put_next(&mut again) {}
    }
    let (read, count, end) = read_all(&again);
    assert!(matches!(end, ReadError::Closed), "{end}");
    assert_eq!((read, count), (found, again.len() as u64));
}

/// All messages of a stream, the octets they took, and why there are no more.
fn read_all(mut from: &[u8]) -> (Vec<Message>, u64, ReadError) {
    let reading = async {
        let (mut assembler, mut found, mut count) = (Assembler::default(), Vec::new(), 0);
        loop {
            match assembler.read(&mut from, &mut count).await {
                Ok(message) => found.push(message),
                Err(error) => return (found, count, error),
            }
        }
    };
    match pin!(reading).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(read) => read,
        Poll::Pending => panic!("octets in memory are waited for"),
    }
}

/// Whoever speaks is judged, and a verdict is for one connection, in words that fit a log.
fn greeting(octets: &[u8]) {
    let message = Message { lane: Lane::Control, packed: false, octets: octets.to_vec() };
    if let Ok(hello) = Hello::read(&message) {
        assert_eq!(hello.judge(&hello), Ok(()));
        assert_eq!(Hello::read(&hello.message()), Ok(hello));
    }
    let nonce = octets.first_chunk().map_or(0, |nonce| u64::from_be_bytes(*nonce));
    if let Err(Refusal::Refused(why)) = read_verdict(&message, nonce) {
        assert!(!why.contains(char::is_control), "{why:?}");
    }
    assert_eq!(read_verdict(&message, !nonce), Err(Refusal::Nonsense));
}

fn message(octets: &[u8]) {
    let Ok(message) = node::Message::decode(octets) else { return };
    if let node::Message::Updates { octets, .. } = &message {
        judge(octets);
    }
    assert_eq!(node::Message::decode(&message.encode()), Ok(message));
}

fn question(octets: &[u8]) {
    let Some((number, question)) = calls::read(octets) else { return };
    let once = calls::write(number, &question).expect("what was read can be asked");
    let (again, question) = calls::read(&once).expect("what is asked is understood");
    assert_eq!(again, number);
    assert_eq!(calls::write(number, &question).expect("it was written before"), once);
}

/// A batch that is in order, no larger than what came can fill, and reads back as it was when it is sent on.
fn judge(plain: &[u8]) {
    let Ok((updates, now)) = replication::decode(plain) else { return };
    assert!(updates.len() <= UPDATES_MAX && updates.len() <= plain.len() / UPDATE_OCTETS_MIN);
    assert!(updates.is_sorted_by(|one, next| one.address < next.address), "one address, two updates");
    let held: usize = updates.iter().map(octets_held).sum();
    // A hardware address takes what it can have at most, however long it is.
    assert!(held <= plain.len() + 32 * updates.len(), "{held} octets from {}", plain.len());
    for update in &updates {
        assert!(update.granted_at <= update.expires && update.expires <= update.horizon, "{update:?}");
    }
    let again = replication::encode(&mut updates.clone(), now);
    let (read, then) = replication::decode(&again).expect("what was read can be sent on");
    assert_eq!(then, Timestamp::ZERO.max(now));
    assert_eq!(read, updates);
}

fn octets_held(update: &Update) -> usize {
    update.identity.as_ref().map_or(0, |identity| identity.hostname.len() + identity.relay_information.len())
}
