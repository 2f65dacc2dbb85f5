//! A link at work: one task reads, asks for the time and writes, until the connection ends, falls silent or is replaced.

use std::{
    sync::{Arc, atomic::Ordering::Relaxed},
    time::{Duration, Instant},
};

use tokio::{
    io::{AsyncWriteExt as _, ReadHalf, WriteHalf},
    sync::mpsc::Receiver,
    time::{sleep, timeout},
};

use super::{
    counts::Counts,
    greet::{Greeted, LinkError, Stream},
    shared::{Cut, Ends, LinkEvent, PING, PONG, Shared},
    wire::{Assembler, Lane, Message, Outgoing, ReadError},
};
use crate::{
    site::{replication, roster::NodeKey},
    time::Timestamp,
};

/// The longest a chunk waits for the cap before what is more urgent is looked for.
const LOOK_AGAIN: Duration = Duration::from_millis(5);

/// Runs a link until it ends; why it did.
pub async fn run(shared: &Arc<Shared>, greeted: Greeted) -> LinkError {
    let Greeted { stream, assembler, peer, hello } = greeted;
    let Some((link, Ends { queues, cut: mut to_cut })) = shared.adopt(peer) else {
        return LinkError::Replaced;
    };
    let encrypted = shared.tls.is_some();
    // One that fails again and again is not announced each time it comes: when it has lasted.
    if !shared.counts.is_troubled(&hello.node) {
        tracing::info!(node = hello.node, encrypted, "linked");
    }
    let name = hello.node.clone();
    let number = link.number;
    if shared.events.send(LinkEvent::Up(peer, number, hello)).await.is_err() {
        return LinkError::Replaced;
    }
    let (read_half, write_half) = tokio::io::split(stream);
    // This task keeps no way into its own queues but for answers: when another link takes over, they close.
    let answers = link.lanes[0].downgrade();
    let queued = Arc::clone(&link.queued);
    drop(link);
    let ended = tokio::select! {
        ended = read(shared, (peer, number), assembler, read_half, &answers) => ended,
        ended = write(shared, queues, &queued, write_half) => ended,
        ended = ask(shared, &answers) => ended,
        () = lasted(shared, &name, encrypted) => LinkError::Replaced,
        cut = to_cut.recv() => match cut {
            Some(Cut::Behind) => LinkError::Behind,
            Some(Cut::Nonsense) => LinkError::Message,
            None => LinkError::Replaced,
        },
    };
    if shared.abandon(peer, number) {
        if let Some(mut state) = shared.peer(peer) {
            state.trouble = Some(ended.to_string());
        }
        if !matches!(ended, LinkError::Replaced) && shared.counts.failed(&name, ended.kind()) {
            tracing::warn!(node = name, reason = %ended, "the link is lost");
        }
        drop(shared.events.send(LinkEvent::Down(peer, number)).await);
    }
    ended
}

/// All is well with a node once a link has lasted: one that ends again and again after its greeting is told of once. Waits
/// for ever after that.
async fn lasted(shared: &Shared, name: &str, encrypted: bool) {
    sleep(shared.timing.lasted).await;
    if shared.counts.well(name) {
        tracing::info!(node = name, encrypted, "linked");
    }
    std::future::pending::<()>().await;
}

type Answers = tokio::sync::mpsc::WeakSender<Message>;

fn control(kind: u8, numbers: &[u64]) -> Message {
    let mut octets = vec![kind];
    numbers.iter().for_each(|number| octets.extend(number.to_be_bytes()));
    Message { lane: Lane::Control, packed: false, octets }
}

/// Asks the other node for its clock, again and again.
async fn ask(shared: &Shared, answers: &Answers) -> LinkError {
    loop {
        let Some(queue) = answers.upgrade() else { return LinkError::Replaced };
        // A full queue is asked again later, or the connection is given up for its silence.
        drop(queue.try_send(control(PING, &[(shared.now)().0])));
        drop(queue);
        sleep(shared.timing.ping_every).await;
    }
}

async fn read(
    shared: &Shared,
    link: (NodeKey, u64),
    mut assembler: Assembler,
    mut from: ReadHalf<Box<dyn Stream>>,
    answers: &Answers,
) -> LinkError {
    loop {
        let mut octets = 0;
        let message = match timeout(shared.timing.silence_max, assembler.read(&mut from, &mut octets)).await {
            Ok(Ok(message)) => message,
            Ok(Err(error)) => return error.into(),
            Err(_) => return LinkError::Silent("it has fallen silent"),
        };
        Counts::add(&shared.counts.received, octets);
        if let Some(mut state) = shared.peer(link.0) {
            state.heard = Some(Instant::now());
        }
        if let Err(error) = take(shared, link, message, answers).await {
            return error;
        }
    }
}

async fn take(
    shared: &Shared,
    (peer, number): (NodeKey, u64),
    message: Message,
    answers: &Answers,
) -> Result<(), LinkError> {
    let nonsense = || LinkError::Read(ReadError::Nonsense);
    let octets = if message.packed {
        replication::decompress(&message.octets).map_err(|_| nonsense())?
    } else {
        message.octets
    };
    match octets.split_first() {
        Some((&PING, rest)) => {
            let asked: [u8; 8] = rest.try_into().map_err(|_| nonsense())?;
            if let Some(queue) = answers.upgrade() {
                let answer = control(PONG, &[u64::from_be_bytes(asked), (shared.now)().0]);
                drop(queue.try_send(answer));
            }
            Ok(())
        }
        Some((&PONG, rest)) => {
            let heard = (shared.now)();
            let (asked, rest) = rest.split_first_chunk().ok_or_else(nonsense)?;
            let theirs: [u8; 8] = rest.try_into().map_err(|_| nonsense())?;
            let asked = Timestamp(u64::from_be_bytes(*asked));
            if asked > heard {
                return Err(nonsense());
            }
            if let Some(mut state) = shared.peer(peer) {
                state.round_trip.note(asked, Timestamp(u64::from_be_bytes(theirs)), heard);
            }
            Ok(())
        }
        Some((&kind, rest)) => {
            let kib = u32::try_from(rest.len() / 1_024 + 1).map_err(|_| nonsense())?;
            // While there is no room nothing is read, and the other end waits.
            let room = Arc::clone(&shared.room).acquire_many_owned(kib).await;
            let room = room.map_err(|_| LinkError::Replaced)?;
            let event = LinkEvent::Message { from: peer, number, kind, octets: rest.to_vec(), room };
            shared.events.send(event).await.map_err(|_| LinkError::Replaced)
        }
        None => Err(nonsense()),
    }
}

async fn write(
    shared: &Shared,
    mut queues: [Receiver<Message>; 3],
    queued: &std::sync::atomic::AtomicUsize,
    mut out: WriteHalf<Box<dyn Stream>>,
) -> LinkError {
    let mut current: [Option<Outgoing>; 3] = [None, None, None];
    let mut chunk = Vec::new();
    let take = |message: Message| {
        // The links' own questions and answers are not counted in.
        if message.octets.first().is_none_or(|kind| *kind > PONG) || message.packed {
            queued.fetch_sub(message.octets.len(), Relaxed);
        }
        Outgoing::new(message)
    };
    loop {
        for (current, queue) in current.iter_mut().zip(&mut queues) {
            if current.is_none() {
                *current = queue.try_recv().ok().map(take);
            }
        }
        let next =
            Lane::ALL.into_iter().zip(&mut current).find_map(|(lane, out)| Some((lane, out.as_mut()?)));
        let Some((lane, outgoing)) = next else {
            if let Err(error) = bounded(shared, out.flush()).await {
                return error;
            }
            let [control, urgent, bulk] = &mut queues;
            let (lane, message) = tokio::select! {
                biased;
                message = control.recv() => (0, message),
                message = urgent.recv() => (1, message),
                message = bulk.recv() => (2, message),
            };
            let Some(message) = message else { return LinkError::Replaced };
            if let Some(slot) = current.get_mut::<usize>(lane) {
                *slot = Some(take(message));
            }
            continue;
        };
        if let Err(wait) = shared.shaper.take(lane, outgoing.next_len(), Instant::now()) {
            sleep(wait.min(LOOK_AGAIN)).await;
            continue;
        }
        chunk.clear();
        let last = outgoing.put_next(&mut chunk);
        if let Err(error) = bounded(shared, out.write_all(&chunk)).await {
            return error;
        }
        Counts::add(&shared.counts.sent, chunk.len() as u64);
        if last && let Some(slot) = current.get_mut(lane.index()) {
            *slot = None;
        }
    }
}

async fn bounded(shared: &Shared, write: impl Future<Output = std::io::Result<()>>) -> Result<(), LinkError> {
    match timeout(shared.timing.write_max, write).await {
        Ok(done) => done.map_err(LinkError::Write),
        Err(_) => Err(LinkError::Silent("it takes nothing any more")),
    }
}
