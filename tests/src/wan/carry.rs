//! One connection through the network: two directions, each a queue of pieces with the moment they are due.

use std::{io, net::SocketAddr, sync::atomic::Ordering, time::Duration};

use rand::Rng as _;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _, Interest},
    net::{
        TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
    sync::{mpsc, watch},
    time::{Instant, sleep, sleep_until, timeout},
};

use super::{Both, Counts, Way};

/// The longest piece, octets: some ten segments.
const PIECE: usize = 16 << 10;
/// Pieces under way in one direction; behind them the sender waits, as for a full window.
const UNDER_WAY: usize = 512;
/// The least time until a lost segment is sent again, as Linux has it.
const AGAIN_MIN: Duration = Duration::from_millis(200);
/// How often one piece is lost at most.
const LOST_MAX: u32 = 6;
/// How often a caller that waits for a cut to heal is looked at.
const LOOK: Duration = Duration::from_millis(100);

/// Carries everything between `caller` and `target` until either closes and all is delivered.
pub(super) async fn connection(caller: TcpStream, target: SocketAddr, both: &Both) -> io::Result<()> {
    caller.set_nodelay(true)?;
    let (mut there, mut back) = (both.there.clone(), both.back.clone());
    // A handshake takes both directions.
    while timeout(LOOK, whole(&mut there, &mut back)).await.is_err() {
        if caller.ready(Interest::READABLE | Interest::WRITABLE).await?.is_read_closed() {
            return Ok(());
        }
    }
    let round_trip = there.borrow().delay + back.borrow().delay;
    sleep(round_trip).await;
    let called = TcpStream::connect(target).await?;
    called.set_nodelay(true)?;
    let (from_caller, to_caller) = caller.into_split();
    let (from_called, to_called) = called.into_split();
    let broken_off = broken_off(there.clone());
    let carried = async {
        tokio::try_join!(
            direction(from_caller, to_called, there, &both.counts),
            direction(from_called, to_caller, back, &both.counts),
        )
    };
    tokio::select! {
        carried = carried => carried.map(drop),
        () = broken_off => Ok(()),
    }
}

async fn broken_off(mut way: watch::Receiver<Way>) {
    let breaks = way.borrow().breaks;
    drop(way.wait_for(|way| way.breaks != breaks).await.map(drop));
}

async fn whole(there: &mut watch::Receiver<Way>, back: &mut watch::Receiver<Way>) {
    // The network that would change it is gone: so is this task, soon.
    drop(there.wait_for(|way| !way.cut).await.map(drop));
    drop(back.wait_for(|way| !way.cut).await.map(drop));
}

async fn direction(
    read: OwnedReadHalf,
    write: OwnedWriteHalf,
    way: watch::Receiver<Way>,
    counts: &Counts,
) -> io::Result<()> {
    let (queue, queued) = mpsc::channel(UNDER_WAY);
    let sent = take(read, queue, way.clone());
    let arrived = deliver(write, queued, way, counts);
    tokio::try_join!(sent, arrived)?;
    Ok(())
}

/// Takes what the sender sends, and notes when each piece is due.
async fn take(
    mut read: OwnedReadHalf,
    queue: mpsc::Sender<(Instant, Vec<u8>)>,
    way: watch::Receiver<Way>,
) -> io::Result<()> {
    let mut buffer = vec![0; PIECE];
    let mut last_due = Instant::now();
    loop {
        let length = read.read(&mut buffer).await?;
        let Some(piece) = buffer.get(..length).filter(|piece| !piece.is_empty()) else { return Ok(()) };
        let now = *way.borrow();
        // Nothing overtakes: it is a stream.
        last_due = last_due.max(Instant::now() + now.delay + lost_for(&now));
        if queue.send((last_due, piece.to_vec())).await.is_err() {
            return Ok(());
        }
    }
}

/// How long a piece is late for being lost, perhaps again and again.
fn lost_for(way: &Way) -> Duration {
    let mut again = AGAIN_MIN.max(way.delay * 3);
    let mut late = Duration::ZERO;
    for _ in 0..LOST_MAX {
        if !rand::rng().random_ratio(u32::from(way.loss_percent.min(100)), 100) {
            break;
        }
        late += again;
        again *= 2;
    }
    late
}

async fn deliver(
    mut write: OwnedWriteHalf,
    mut queued: mpsc::Receiver<(Instant, Vec<u8>)>,
    mut way: watch::Receiver<Way>,
    counts: &Counts,
) -> io::Result<()> {
    while let Some((due, piece)) = queued.recv().await {
        sleep_until(due).await;
        let Ok(now) = way.wait_for(|way| !way.cut).await.map(|way| *way) else { return Ok(()) };
        if let Some(rate) = now.octets_per_s {
            sleep(Duration::from_secs_f64(piece.len() as f64 / rate.max(1) as f64)).await;
        }
        write.write_all(&piece).await?;
        counts.octets.fetch_add(piece.len() as u64, Ordering::Relaxed);
    }
    write.shutdown().await
}
