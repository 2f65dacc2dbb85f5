//! What links do with messages, slow and silent nodes, floods and the cap.

use std::{
    sync::{Arc, atomic::Ordering::Relaxed},
    time::{Duration, Instant},
};

use tokio::{
    io::{AsyncReadExt as _, duplex},
    time::sleep,
};

use super::{End, Odd, certificates, connection, end, greet, greet_over, link, next, other, until};
use crate::{
    site::link::{
        round_trip::ROUND_TRIP_MAX,
        shared::{Cut, LinkEvent, SendError},
        wire::Lane,
    },
    time::{Span, Timestamp},
};

fn open<'a>() -> Odd<'a> {
    Odd { unencrypted: true, ..Odd::default() }
}

async fn received(end: &mut End) -> (u8, Vec<u8>) {
    match next(end).await {
        LinkEvent::Message { kind, octets, .. } => (kind, octets),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn messages_arrive_in_order_compressed_where_it_helps() {
    let folder = certificates();
    let mut a = end("a.example", folder.path(), Odd::default());
    let mut b = end("b.example", folder.path(), Odd::default());
    assert_eq!(a.shared.send(other(&a).key, None, Lane::Bulk, 3, b"early"), Err(SendError::Down));
    link(&mut a, &mut b).await;
    let to = other(&a).key;
    let long: Vec<u8> = (0..400_000_u32).flat_map(|n| (n / 7).to_be_bytes()).collect();
    a.shared.send(to, None, Lane::Bulk, 3, &long).unwrap();
    a.shared.send(to, None, Lane::Bulk, 4, b"after").unwrap();
    assert_eq!(received(&mut b).await, (3, long));
    assert_eq!(received(&mut b).await, (4, b"after".to_vec()));
    b.shared.send(other(&b).key, None, Lane::Control, 5, b"back").unwrap();
    assert_eq!(received(&mut a).await, (5, b"back".to_vec()));
    let (plain, packed) = (a.shared.counts.plain.load(Relaxed), a.shared.counts.packed.load(Relaxed));
    assert!(packed * 4 < plain, "{packed} of {plain} octets");
    let too_long = vec![0; Lane::Control.message_max()];
    assert_eq!(a.shared.send(to, None, Lane::Control, 5, &too_long), Err(SendError::TooLong));
    until("everything sent to be counted out", || a.shared.status()[0].queued == 0).await;
}

#[tokio::test]
async fn clocks_are_compared_and_a_slow_link_carries_no_leases() {
    let folder = certificates();
    let ahead = Span::from_secs(5);
    let mut a = end("a.example", folder.path(), open());
    let mut b = end("b.example", folder.path(), Odd { ahead: ahead.0, ..open() });
    link(&mut a, &mut b).await;
    let to = other(&a).key;
    until("an answer", || a.shared.offset(to).is_some()).await;
    let (offset, there) = (a.shared.offset(to).unwrap(), (b.shared.now)());
    let here = offset.here(there);
    let now = (a.shared.now)();
    assert!(here <= now, "never later than it is");
    // The two ends' clocks began within this test's few moments.
    assert!(now.since(here) < Span::from_secs(3), "{here:?} {now:?}");
    let mut peer = a.shared.peer(to).unwrap();
    peer.round_trip = Default::default();
    peer.round_trip.note(Timestamp(0), Timestamp(1), Timestamp(0) + ROUND_TRIP_MAX + Span(1));
    drop(peer);
    assert_eq!(a.shared.offset(to), None);
}

#[tokio::test]
async fn a_cut_stream_ends_the_link_and_the_next_takes_its_place() {
    let folder = certificates();
    let (mut a, mut b) =
        (end("a.example", folder.path(), Odd::default()), end("b.example", folder.path(), Odd::default()));
    // The cable in between is cut without a word.
    let ((one, mut near), (mut far, two)) = (duplex(1 << 16), duplex(1 << 16));
    let cable = tokio::spawn(async move { tokio::io::copy_bidirectional(&mut near, &mut far).await });
    let (called, accepted) = greet_over(&a, &b, one, two).await;
    let shared = Arc::clone(&a.shared);
    let (called, accepted) = (called.unwrap(), accepted.unwrap());
    let task = tokio::spawn(async move { connection::run(&shared, called).await });
    let shared = Arc::clone(&b.shared);
    tokio::spawn(async move { connection::run(&shared, accepted).await });
    for end in [&mut a, &mut b] {
        assert!(matches!(next(end).await, LinkEvent::Up(..)));
    }
    cable.abort();
    assert_eq!(task.await.unwrap().kind(), "truncated");
    assert!(
        matches!(next(&mut a).await, LinkEvent::Down(..))
            && matches!(next(&mut b).await, LinkEvent::Down(..))
    );
    assert!(!a.shared.status()[0].up && a.shared.status()[0].trouble.is_some());
    // Linked again, and once more without the first having ended: the later one counts.
    link(&mut a, &mut b).await;
    link(&mut a, &mut b).await;
    a.shared.send(other(&a).key, None, Lane::Urgent, 9, b"x").unwrap();
    assert_eq!(received(&mut b).await, (9, b"x".to_vec()));
}

/// Whoever is let in and then sends what nobody can read: each time is counted, and the first is told, until a link has lasted.
#[tokio::test]
async fn how_a_link_ended_is_counted_always_and_told_once() {
    let folder = certificates();
    let mut a = end("a.example", folder.path(), open());
    let b = end("b.example", folder.path(), open());
    let to = other(&a).key;
    let nonsense: &[u8] = &[9, 9, 0, 0];
    let cut_short: &[u8] = &[2, 1, 0, 9, 3];
    let untold: &[u8] = &[0, 1, 0, 2, 0, 0];
    for (octets, kind, times) in [
        (nonsense, "nonsense", 1),
        (nonsense, "nonsense", 2),
        (cut_short, "truncated", 1),
        (untold, "nonsense", 3),
        (&[], "closed", 1),
    ] {
        let (one, two) = duplex(1 << 16);
        let (called, accepted) = greet_over(&a, &b, one, two).await;
        let (called, mut hostile) = (called.unwrap(), accepted.unwrap().stream);
        let shared = Arc::clone(&a.shared);
        let task = tokio::spawn(async move { connection::run(&shared, called).await });
        assert!(matches!(next(&mut a).await, LinkEvent::Up(..)));
        tokio::io::AsyncWriteExt::write_all(&mut hostile, octets).await.unwrap();
        tokio::io::AsyncWriteExt::shutdown(&mut hostile).await.unwrap();
        assert_eq!(task.await.unwrap().kind(), kind);
        assert!(matches!(next(&mut a).await, LinkEvent::Down(..)));
        let failures = a.shared.counts.failures();
        assert_eq!(failures.get(kind), Some(&times), "{failures:?}");
        assert!(a.shared.counts.is_troubled("b.example"));
    }
    // One that lasts makes the next failure news; whoever ends it from here says why.
    let mut b = b;
    for (why, kind) in [(Cut::Nonsense, "message"), (Cut::Behind, "behind")] {
        link(&mut a, &mut b).await;
        until("all to be well", || !a.shared.counts.is_troubled("b.example")).await;
        let links = a.shared.status()[0].links;
        a.shared.cut(to, why);
        assert!(matches!(next(&mut a).await, LinkEvent::Down(..)));
        assert_eq!(a.shared.counts.failures().get(kind), Some(&1));
        assert!(!a.shared.counts.failed("b.example", kind), "it was told");
        link(&mut a, &mut b).await;
        assert_eq!(a.shared.status()[0].links, links + 1, "another link");
    }
    // One that takes the place of another is no failure.
    let before = a.shared.counts.failures();
    link(&mut a, &mut b).await;
    assert_eq!(a.shared.counts.failures(), before);
}

/// Greetings count against the cap like everything else, and wait for it.
#[tokio::test]
async fn greetings_keep_within_the_cap() {
    let folder = certificates();
    let a = end("a.example", folder.path(), Odd { cap_mbit_per_s: Some(1), ..open() });
    let b = end("b.example", folder.path(), open());
    let (called, accepted) = greet(&a, &b).await;
    called.unwrap();
    accepted.unwrap();
    let (used, _) = a.shared.shaper.used(Instant::now());
    assert!(used > 200 && a.shared.counts.sent.load(Relaxed) > 0, "{used} octets");
    // What fills the second leaves no room for another.
    while a.shared.shaper.take(Lane::Control, 16_000, Instant::now()).is_ok() {}
    while a.shared.shaper.take(Lane::Control, 1, Instant::now()).is_ok() {}
    let began = Instant::now();
    let (called, _) = greet(&a, &b).await;
    called.unwrap();
    assert!(began.elapsed() > Duration::from_millis(300), "{:?}", began.elapsed());
}

#[tokio::test]
async fn who_never_reads_is_bounded_and_given_up_and_who_is_silent_too() {
    let folder = certificates();
    let patience = Some(Duration::from_secs(1));
    let mut a = end("a.example", folder.path(), Odd { patience, ..open() });
    let b = end("b.example", folder.path(), open());
    let (one, two) = duplex(1 << 12);
    let (called, accepted) = greet_over(&a, &b, one, two).await;
    let accepted = accepted.unwrap();
    let shared = Arc::clone(&a.shared);
    let called = called.unwrap();
    let task = tokio::spawn(async move { connection::run(&shared, called).await });
    assert!(matches!(next(&mut a).await, LinkEvent::Up(..)));
    let (to, noise) = (other(&a).key, vec![7; 1 << 20]);
    let mut refused = 0;
    for _ in 0..400 {
        refused += usize::from(a.shared.send(to, None, Lane::Control, 9, &noise) == Err(SendError::Full));
    }
    assert!(refused >= 300 && a.shared.counts.dropped.load(Relaxed) == refused as u64, "{refused} refused");
    assert!(a.shared.status()[0].queued <= 65 << 20);
    // It holds the connection, and neither reads nor writes.
    let ended = tokio::time::timeout(Duration::from_secs(30), task).await.unwrap().unwrap();
    assert_eq!(ended.kind(), "silent", "{ended}");
    drop(accepted);
    assert!(matches!(next(&mut a).await, LinkEvent::Down(..)));
}

/// A node that is flooded by another reads no more than it has room for; it says what it sends, though nobody listens.
#[tokio::test]
async fn a_flood_waits_at_its_source() {
    let folder = certificates();
    let (mut a, mut b) = (end("a.example", folder.path(), open()), end("b.example", folder.path(), open()));
    link(&mut a, &mut b).await;
    let (to, noise) = (other(&a).key, vec![7; 1 << 20]);
    // Nobody takes b's events: 64 of them wait, and what more comes is not read.
    let began = Instant::now();
    while a.shared.counts.dropped.load(Relaxed) == 0 {
        let _ = a.shared.send(to, None, Lane::Control, 9, &noise);
        assert!(began.elapsed() < super::SOON, "nothing is ever refused");
        sleep(Duration::from_micros(200)).await;
    }
    let read = b.shared.counts.received.load(Relaxed);
    assert!(read <= 100 << 20, "{read} octets were read");
    let (kind, octets) = received(&mut b).await;
    assert_eq!((kind, octets.len()), (9, noise.len()), "and nothing that was read is lost");
}

#[tokio::test]
async fn the_cap_holds_on_the_wire_and_urgent_messages_go_first() {
    let folder = certificates();
    let capped = Odd { cap_mbit_per_s: Some(1), ..open() };
    let (a, b) = (end("a.example", folder.path(), capped), end("b.example", folder.path(), open()));
    let ((one, mut near), (mut far, two)) = (duplex(1 << 14), duplex(1 << 14));
    let (log, mut seen) = tokio::sync::mpsc::unbounded_channel();
    let cable = tokio::spawn(async move {
        let (mut from_a, mut from_b) = (vec![0; 1 << 14], vec![0; 1 << 14]);
        loop {
            let len = tokio::select! {
                read = near.read(&mut from_a) => {
                    let len = read.unwrap_or(0);
                    let gone = log.send((Instant::now(), len)).is_err();
                    let sent = tokio::io::AsyncWriteExt::write_all(&mut far, &from_a[..len]).await;
                    if gone || sent.is_err() { 0 } else { len }
                }
                read = far.read(&mut from_b) => {
                    let len = read.unwrap_or(0);
                    let sent = tokio::io::AsyncWriteExt::write_all(&mut near, &from_b[..len]).await;
                    if sent.is_err() { 0 } else { len }
                }
            };
            if len == 0 {
                return;
            }
        }
    });
    let (mut a, mut b) = (a, b);
    let (called, accepted) = greet_over(&a, &b, one, two).await;
    for (end, greeted) in [(&mut a, called.unwrap()), (&mut b, accepted.unwrap())] {
        let shared = Arc::clone(&end.shared);
        tokio::spawn(async move { connection::run(&shared, greeted).await });
        assert!(matches!(next(end).await, LinkEvent::Up(..)));
    }
    // Noise that does not compress: 300 kB are 2.4 s at 1 Mbit/s.
    let mut state = 1_u64;
    let noise: Vec<u8> = std::iter::repeat_with(|| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (state >> 33) as u8
    })
    .take(300_000)
    .collect();
    let (to, began) = (other(&a).key, Instant::now());
    a.shared.send(to, None, Lane::Bulk, 3, &noise).unwrap();
    a.shared.send(to, None, Lane::Urgent, 4, b"now").unwrap();
    assert_eq!(received(&mut b).await.0, 4);
    assert_eq!(received(&mut b).await, (3, noise));
    assert!(began.elapsed() > Duration::from_secs(1), "{:?}", began.elapsed());
    cable.abort();
    let mut sent = Vec::new();
    while let Ok(one) = seen.try_recv() {
        sent.push(one);
    }
    for (from, _) in &sent {
        let second = *from..*from + Duration::from_secs(1);
        let octets: usize = sent.iter().filter(|(at, _)| second.contains(at)).map(|(_, len)| len).sum();
        assert!(octets <= 125_000, "{octets} octets in a second");
    }
}
