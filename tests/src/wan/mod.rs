//! The network between sites: a TCP proxy that makes each path long, narrow, lossy, one-sided or dead, while it runs.
//!
//! Nodes reach one another through it, because not every kernel has netem, and a test must be able to change one direction
//! of one path in the middle of things. Loss is what it is to a stream: nothing is missing, but everything behind waits
//! until the lost segment was sent again.

mod carry;

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    thread::JoinHandle,
    time::Duration,
};

use anyhow::{Context as _, Result, anyhow};
use serde::Serialize;
use tokio::{
    net::TcpListener,
    sync::{oneshot, watch},
};

use crate::netns::NetNs;

/// Connections over one path at a time; more are refused and counted.
const CONNECTIONS_MAX: usize = 16;

/// How one direction of a path is at present.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Way {
    /// How long everything travels.
    pub delay: Duration,
    /// Nothing arrives; what is under way waits.
    pub cut: bool,
    /// Of a hundred pieces, so many are lost and sent again, each time after twice the wait.
    pub loss_percent: u8,
    /// What it carries at most, octets a second; `None`: all.
    pub octets_per_s: Option<u64>,
    /// Connections that are there when this changes are broken off.
    pub breaks: u32,
}

/// A path from one node to another: who calls it reaches the other.
#[derive(Clone, Copy, Debug)]
pub struct Path {
    /// Who calls, by number.
    pub from: usize,
    /// Who is called.
    pub to: usize,
    /// Where the caller finds the proxy.
    pub listen: SocketAddr,
    /// Where the one called listens.
    pub target: SocketAddr,
}

/// What was carried.
#[derive(Debug, Default)]
struct Counts {
    octets: AtomicU64,
    refused: AtomicU64,
}

/// What one path's connections share: both directions' conditions and counts.
#[derive(Clone, Debug)]
struct Both {
    there: watch::Receiver<Way>,
    back: watch::Receiver<Way>,
    counts: Arc<Counts>,
    open: Arc<AtomicUsize>,
}

/// A running network; it stops when dropped.
#[derive(Debug)]
pub struct Wan {
    ways: BTreeMap<(usize, usize), watch::Sender<Way>>,
    counts: Arc<Counts>,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<Result<()>>>,
}

impl Wan {
    /// Carries `paths` in `ns`, all of them short, wide and whole at first.
    ///
    /// # Errors
    ///
    /// When one of the addresses cannot be listened on.
    pub fn start(ns: &NetNs, paths: &[Path]) -> Result<Self> {
        let counts = Arc::<Counts>::default();
        let mut ways = BTreeMap::new();
        for (one, other) in paths.iter().flat_map(|path| [(path.from, path.to), (path.to, path.from)]) {
            ways.entry((one, other)).or_insert_with(|| watch::Sender::new(Way::default()));
        }
        let mut listeners = Vec::new();
        for path in paths {
            // Sockets belong to the namespace they are made in, whoever uses them.
            let listener = ns.run(|| -> std::io::Result<_> {
                let listener = std::net::TcpListener::bind(path.listen)?;
                listener.set_nonblocking(true)?;
                Ok(listener)
            })?;
            let listener = listener.with_context(|| format!("cannot listen on {}", path.listen))?;
            let way = |from, to| ways.get(&(from, to)).map(watch::Sender::subscribe);
            let (there, back) =
                way(path.from, path.to).zip(way(path.to, path.from)).context("a path without ways")?;
            let both = Both { there, back, counts: Arc::clone(&counts), open: Arc::default() };
            listeners.push((listener, path.target, both));
        }
        let (stop, stopped) = oneshot::channel();
        let (ready, is_ready) = std::sync::mpsc::channel();
        let thread = ns.spawn("wan", move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .context("no runtime for the network")?;
            runtime.block_on(async move {
                for (listener, target, both) in listeners {
                    let listener = TcpListener::from_std(listener).context("a listener is of no use")?;
                    tokio::spawn(keep_carrying(listener, target, both));
                }
                // Nobody waits for it if this fails: then the start has failed.
                let _ = ready.send(());
                drop(stopped.await);
                Ok(())
            })
        })?;
        if is_ready.recv().is_err() {
            let ended = thread.join().unwrap_or_else(|_| Err(anyhow!("it panicked")));
            return Err(ended.err().unwrap_or_else(|| anyhow!("it ended at once"))).context("the network");
        }
        Ok(Self { ways, counts, stop: Some(stop), thread: Some(thread) })
    }

    /// How the direction from one node to another is; as new if there is no such path.
    pub fn way(&self, from: usize, to: usize) -> Way {
        self.ways.get(&(from, to)).map(|way| *way.borrow()).unwrap_or_default()
    }

    /// Changes directions: `change` is shown each with the numbers of the nodes it leads from and to.
    pub fn alter(&self, mut change: impl FnMut(usize, usize, &mut Way)) {
        for ((from, to), way) in &self.ways {
            way.send_if_modified(|way| {
                let before = *way;
                change(*from, *to, way);
                *way != before
            });
        }
    }

    /// Octets that arrived, both ways.
    pub fn octets(&self) -> u64 {
        self.counts.octets.load(Ordering::Relaxed)
    }

    /// Connections refused, for there were too many over their path.
    pub fn refused(&self) -> u64 {
        self.counts.refused.load(Ordering::Relaxed)
    }
}

impl Drop for Wan {
    fn drop(&mut self) {
        drop(self.stop.take());
        match self.thread.take().map(JoinHandle::join) {
            Some(Ok(Err(error))) => eprintln!("the network failed: {error:#}"),
            Some(Err(_)) => eprintln!("the network panicked"),
            Some(Ok(Ok(()))) | None => {}
        }
    }
}

async fn keep_carrying(listener: TcpListener, target: SocketAddr, both: Both) {
    loop {
        let Ok((caller, _)) = listener.accept().await else {
            // Out of descriptors, or a caller that has gone again: both pass.
            tokio::time::sleep(Duration::from_millis(50)).await;
            continue;
        };
        if both.open.fetch_add(1, Ordering::Relaxed) >= CONNECTIONS_MAX {
            both.open.fetch_sub(1, Ordering::Relaxed);
            both.counts.refused.fetch_add(1, Ordering::Relaxed);
            continue;
        }
        let both = both.clone();
        tokio::spawn(async move {
            // How a connection ended is its ends' concern, and both see it.
            drop(carry::connection(caller, target, &both).await);
            both.open.fetch_sub(1, Ordering::Relaxed);
        });
    }
}

#[cfg(test)]
mod tests;
