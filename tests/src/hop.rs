//! A cable of some length: a namespace between client and server that carries every frame over after a while, keeps
//! what it carried, and can lose clients' unicast requests.
//!
//! A veth pair alone is too short for udhcpc: it sends a unicast renewal from a second socket that it closes at once, and
//! an answer that arrives within some 130 us goes to that socket and is lost.

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    thread::JoinHandle,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result};

use crate::{netns::NetNs, parse::Message, raw::RawSocket, wait::wait_for};

/// How long a frame travels, each way.
const TRAVEL: Duration = Duration::from_millis(2);

/// The most frames kept; a test that carries more looks at its first ones.
const KEPT_MAX: usize = 10_000;

/// Which way a frame went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// From the client.
    ToServer,
    /// From the server.
    ToClient,
}

#[derive(Debug, Default)]
struct Shared {
    stop: AtomicBool,
    lose_unicast: AtomicBool,
    frames: Mutex<Vec<(Way, Vec<u8>)>>,
}

/// A running cable; it stops when dropped.
#[derive(Debug)]
pub struct Hop {
    shared: Arc<Shared>,
    server: Arc<RawSocket>,
    threads: Vec<JoinHandle<Result<()>>>,
}

impl Hop {
    /// Carries frames between two interfaces of `ns`: `client`, the cable's end at the client, and `server`.
    ///
    /// # Errors
    ///
    /// When a socket cannot be opened.
    pub fn start(ns: &NetNs, client: &str, server: &str) -> Result<Self> {
        let client = Arc::new(RawSocket::open(ns, client)?);
        let server = Arc::new(RawSocket::open(ns, server)?);
        let shared = Arc::new(Shared::default());
        let carry = |from: &Arc<RawSocket>, to: &Arc<RawSocket>, way| {
            let (from, to, shared) = (Arc::clone(from), Arc::clone(to), Arc::clone(&shared));
            std::thread::spawn(move || shared.carry(&from, &to, way))
        };
        let threads = vec![carry(&client, &server, Way::ToServer), carry(&server, &client, Way::ToClient)];
        Ok(Self { shared, server, threads })
    }

    /// From now on loses clients' unicast DHCP requests, so that they go on to rebind; or carries them again.
    pub fn set_lose_unicast(&self, lose: bool) {
        self.shared.lose_unicast.store(lose, Ordering::Relaxed);
    }

    /// Puts a frame of nobody's on the wire to the server.
    ///
    /// # Errors
    ///
    /// When the interface does not take it.
    pub fn inject(&self, frame: &[u8]) -> Result<()> {
        self.server.send(frame)
    }

    /// The DHCP messages that went one way so far, lost ones left out, with their frames.
    pub fn messages(&self, way: Way) -> Vec<(Message, Vec<u8>)> {
        let frames = self.shared.frames.lock().unwrap_or_else(PoisonError::into_inner);
        frames
            .iter()
            .filter(|(went, _)| *went == way)
            .filter_map(|(_, frame)| Message::parse(frame).ok().map(|message| (message, frame.clone())))
            .collect()
    }

    /// Waits for a DHCP message that `wanted` holds for, number `from` or later of its way; with its number.
    ///
    /// # Errors
    ///
    /// When none comes within `deadline`; the error lists the message types that came.
    pub fn wait_message(
        &self,
        deadline: Duration,
        what: &str,
        way: Way,
        from: usize,
        wanted: impl Fn(&Message) -> bool,
    ) -> Result<(usize, Message, Vec<u8>)> {
        let find = || {
            let mut found = self.messages(way).into_iter().enumerate().skip(from);
            Ok(found
                .find(|(_, (message, _))| wanted(message))
                .map(|(at, (message, frame))| (at, message, frame)))
        };
        wait_for(deadline, what, find).with_context(|| {
            let kinds: Vec<_> = self.messages(way).iter().map(|(message, _)| message.kind()).collect();
            format!("message types that came: {kinds:?}")
        })
    }
}

impl Drop for Hop {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            match thread.join() {
                Ok(Err(error)) => eprintln!("the cable failed: {error:#}"),
                Err(_) => eprintln!("the cable panicked"),
                Ok(Ok(())) => {}
            }
        }
    }
}

impl Shared {
    fn carry(&self, from: &RawSocket, to: &RawSocket, way: Way) -> Result<()> {
        while !self.stop.load(Ordering::Relaxed) {
            let Some(frame) = from.receive(Duration::from_millis(50))? else { continue };
            let due = Instant::now() + TRAVEL;
            if way == Way::ToServer && self.lose_unicast.load(Ordering::Relaxed) && is_unicast_request(&frame)
            {
                continue;
            }
            let mut frames = self.frames.lock().unwrap_or_else(PoisonError::into_inner);
            if frames.len() < KEPT_MAX {
                frames.push((way, frame.clone()));
            }
            drop(frames);
            std::thread::sleep(due.saturating_duration_since(Instant::now()));
            to.send(&frame)?;
        }
        Ok(())
    }
}

fn is_unicast_request(frame: &[u8]) -> bool {
    Message::parse(frame).is_ok_and(|message| message.op == 1 && !message.dst.is_broadcast())
}
