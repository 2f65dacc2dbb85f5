//! The way of replies out: few are sent at once by the service itself, many by a thread beside it, while the service
//! is at the next batch already. Whatever comes here is promised durably.

use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
        mpsc::{Receiver, SyncSender, sync_channel},
    },
    thread::{self, JoinHandle},
};

use super::{slice, work::Outgoing};
use crate::net::packet_socket::PacketSocket;

/// Up to so many replies are sent without the thread: waking it costs more.
const FEW: usize = 8;
/// Batches of replies that may wait for the thread. The service waits when there are more.
const BATCHES_WAITING: usize = 16;

/// Sends replies.
pub(super) struct Outbox {
    wire: Arc<Wire>,
    batches: Option<SyncSender<Vec<Outgoing>>>,
    sender: Option<JoinHandle<()>>,
}

/// What service and thread share.
struct Wire {
    sockets: Vec<Arc<PacketSocket>>,
    /// Batches handed over and not sent yet.
    waiting: AtomicU64,
    refused: AtomicU64,
}

impl Outbox {
    /// Starts the thread.
    ///
    /// # Errors
    /// If the system refuses a thread.
    pub(super) fn start(sockets: Vec<Arc<PacketSocket>>) -> io::Result<Self> {
        let wire = Arc::new(Wire { sockets, waiting: AtomicU64::new(0), refused: AtomicU64::new(0) });
        let (batches, inbox): (_, Receiver<Vec<Outgoing>>) = sync_channel(BATCHES_WAITING);
        let shared = Arc::clone(&wire);
        let work = move || {
            slice::ask_for_short_ones();
            for batch in inbox {
                shared.send(&batch);
                shared.waiting.fetch_sub(1, Ordering::Relaxed);
            }
        };
        let sender = thread::Builder::new().name("send".to_owned()).spawn(work)?;
        Ok(Self { wire, batches: Some(batches), sender: Some(sender) })
    }

    /// Sends replies, now or soon.
    pub(super) fn send(&self, replies: Vec<Outgoing>) {
        // Whoever overtakes here is no later than the network might have made him: messages are datagrams.
        if replies.len() <= FEW && self.wire.waiting.load(Ordering::Relaxed) == 0 {
            self.wire.send(&replies);
            return;
        }
        self.wire.waiting.fetch_add(1, Ordering::Relaxed);
        if let Some(batches) = &self.batches
            && let Err(returned) = batches.send(replies)
        {
            // The thread is gone, which takes a bug: what was promised is told all the same.
            self.wire.waiting.fetch_sub(1, Ordering::Relaxed);
            self.wire.send(&returned.0);
        }
    }

    /// Replies the kernel did not take.
    pub(super) fn refused(&self) -> u64 {
        self.wire.refused.load(Ordering::Relaxed)
    }
}

impl Drop for Outbox {
    /// Waits until everything is sent.
    fn drop(&mut self) {
        self.batches = None;
        if let Some(sender) = self.sender.take()
            && sender.join().is_err()
        {
            tracing::error!("the sending thread failed: please report this");
        }
    }
}

impl Wire {
    fn send(&self, replies: &[Outgoing]) {
        for of_one in replies.chunk_by(|a, b| a.interface == b.interface) {
            let Some(interface) = of_one.first().map(|outgoing| outgoing.interface) else { continue };
            let Some(socket) = self.sockets.get(interface) else { continue };
            let frames: Vec<&[u8]> = of_one.iter().map(|outgoing| outgoing.frame.as_slice()).collect();
            let (refused, why) = socket.send(&frames);
            if let Some(error) = why {
                self.refused.fetch_add(refused, Ordering::Relaxed);
                tracing::debug!(refused, %error, "replies could not be sent");
            }
        }
    }
}
