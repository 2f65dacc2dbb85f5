//! The addresses that the nodes of a site share: this node has them on its interfaces while it is the one that is to, and
//! says so on the links. Which node that is decides `site::node`; that clients reach somebody is all there is to it, and no
//! lease depends on it.
//!
//! The kernel is told to keep an address only as long as this node's word lasts, and that is told again and again. So a
//! daemon that was killed, or stands still, does not keep it from the next one.

use std::{
    net::Ipv4Addr,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
        mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use crate::{
    net::{address, packet_socket::PacketSocket},
    probe::arp,
    time::{Span, Timestamp},
};

/// How often the thread is told what holds.
const TOLD_EVERY: Span = Span::from_millis(500);
/// The longest an address is kept without being told again.
const LIFETIME_SECS_MAX: u64 = 60;
/// When it is said on the link who has an address, after it was put on: caches may miss one.
const ANNOUNCED_AFTER: [Duration; 5] = [
    Duration::ZERO,
    Duration::from_millis(200),
    Duration::from_secs(1),
    Duration::from_secs(3),
    Duration::from_secs(8),
];
/// And from then on.
const ANNOUNCED_EVERY: Duration = Duration::from_secs(30);
/// How long the thread waits when nothing is due.
const IDLE: Duration = Duration::from_secs(10);
/// Orders that wait for the thread.
const QUEUE: usize = 4;

/// An address and where it lives.
#[derive(Debug)]
pub struct Place {
    /// The address.
    pub address: Ipv4Addr,
    /// The interface's name.
    pub interface: String,
    /// The interface's index.
    pub ifindex: u32,
    /// The interface's Ethernet address.
    pub mac: [u8; 6],
    /// What frames are sent by.
    pub socket: Arc<PacketSocket>,
}

/// The service's end.
pub struct SharedAddresses {
    orders: Option<SyncSender<Order>>,
    thread: Option<JoinHandle<()>>,
    held: Arc<AtomicBool>,
    next: Timestamp,
    serving: bool,
}

#[derive(Clone, Copy, Debug)]
enum Order {
    /// Have the addresses for so many seconds.
    Have(u32),
    /// Have them not.
    Leave,
}

impl SharedAddresses {
    /// Starts the thread; addresses that an earlier daemon left are taken off.
    ///
    /// # Errors
    /// If the system refuses a thread.
    pub fn start(places: Vec<Place>) -> std::io::Result<Self> {
        let (orders, inbox) = sync_channel(QUEUE);
        let held = Arc::<AtomicBool>::default();
        let shown = Arc::clone(&held);
        let run =
            move || Keeper { places, held: shown, since: None, announced: 0, refused: false }.run(&inbox);
        let thread = thread::Builder::new().name("address".to_owned()).spawn(run)?;
        Ok(Self { orders: Some(orders), thread: Some(thread), held, next: Timestamp::ZERO, serving: false })
    }

    /// Whether the addresses are on the interfaces.
    pub fn held(&self) -> bool {
        self.held.load(Ordering::Relaxed)
    }

    /// This node is to have the addresses until then, as far as is known now; or not at all. To be called often.
    pub fn look(&mut self, now: Timestamp, until: Option<Timestamp>) {
        let serving = until.is_some();
        if now < self.next && serving == self.serving {
            return;
        }
        let order = match until {
            Some(until) => {
                let secs = (until.since(now).as_secs() + 1).min(LIFETIME_SECS_MAX);
                Order::Have(u32::try_from(secs).unwrap_or(1))
            }
            None => Order::Leave,
        };
        // A thread that is late has been told what holds, and is told again.
        if self.orders.as_ref().is_some_and(|orders| orders.try_send(order).is_ok()) {
            (self.next, self.serving) = (now + TOLD_EVERY, serving);
        }
    }
}

impl Drop for SharedAddresses {
    /// Takes the addresses off.
    fn drop(&mut self) {
        self.orders = None;
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the thread of the shared addresses failed: please report this");
        }
    }
}

struct Keeper {
    places: Vec<Place>,
    held: Arc<AtomicBool>,
    since: Option<Instant>,
    announced: usize,
    /// The kernel refused, and that was said.
    refused: bool,
}

impl Keeper {
    fn run(mut self, inbox: &Receiver<Order>) {
        self.leave();
        loop {
            match inbox.recv_timeout(self.announcement_due().unwrap_or(IDLE)) {
                Ok(Order::Have(secs)) => self.have(secs),
                Ok(Order::Leave) if self.since.is_some() => self.leave(),
                Ok(Order::Leave) | Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return self.leave(),
            }
            if self.announcement_due() == Some(Duration::ZERO) {
                self.announce();
            }
        }
    }

    fn have(&mut self, secs: u32) {
        for place in &self.places {
            if let Err(error) = address::put(place.ifindex, place.address, secs) {
                if !std::mem::replace(&mut self.refused, true) {
                    tracing::error!(
                        address = %place.address, interface = place.interface, %error,
                        "the site's address cannot be had: clients that renew straight with it are served when they rebind"
                    );
                }
                return;
            }
        }
        self.refused = false;
        if self.since.is_none() {
            (self.since, self.announced) = (Some(Instant::now()), 0);
            self.held.store(true, Ordering::Relaxed);
            for place in &self.places {
                tracing::info!(address = %place.address, interface = place.interface, "the site's address is here");
            }
        }
    }

    fn leave(&mut self) {
        self.since = None;
        for place in &self.places {
            match address::take_off(place.ifindex, place.address) {
                Ok(true) => {
                    tracing::info!(address = %place.address, interface = place.interface, "the site's address is not here");
                }
                Ok(false) => {}
                Err(error) => {
                    tracing::warn!(address = %place.address, interface = place.interface, %error, "the site's address stays");
                }
            }
        }
        self.held.store(false, Ordering::Relaxed);
    }

    /// How long until it is to be said again who has the addresses; `None` while this node has not.
    fn announcement_due(&self) -> Option<Duration> {
        let after = match ANNOUNCED_AFTER.get(self.announced) {
            Some(after) => *after,
            None => {
                let more = u32::try_from(self.announced + 1 - ANNOUNCED_AFTER.len()).unwrap_or(u32::MAX);
                ANNOUNCED_EVERY.saturating_mul(more)
            }
        };
        Some(after.saturating_sub(self.since?.elapsed()))
    }

    /// Says who has the addresses, both ways there are: some hear only one of them.
    fn announce(&mut self) {
        self.announced += 1;
        for place in &self.places {
            let frames = arp::announcements(place.mac, place.address);
            let frames: Vec<&[u8]> = frames.iter().map(Vec::as_slice).collect();
            if let (_, Some(error)) = place.socket.send(&frames) {
                tracing::debug!(address = %place.address, %error, "an announcement could not be sent");
            }
        }
    }
}
