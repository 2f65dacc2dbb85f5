//! A scripted stand-in for a DHCP server: it answers every client with one address and the times it was told, can be
//! told to fall silent, and keeps every frame a client sent. With it the harness is tested without the daemon, and the
//! fixtures of real clients are recorded.

use std::{
    net::{Ipv4Addr, UdpSocket},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    thread::JoinHandle,
    time::Duration,
};

use anyhow::{Context as _, Result};

use crate::{netns::NetNs, packet::Frame, parse::Message, raw::RawSocket, wait::wait_for};

/// What the responder hands out.
#[derive(Clone, Copy, Debug)]
pub struct Script {
    /// The server's hardware address.
    pub mac: [u8; 6],
    /// The server's address, which the interface must have, so that clients' ARP is answered.
    pub server: Ipv4Addr,
    /// The one address to lease.
    pub address: Ipv4Addr,
    /// How long an answer travels. udhcpc sends unicast renewals from a second socket that it closes at once: an answer
    /// that arrives within some 100 us goes to that socket and is lost, and udhcpc asks again by broadcast.
    pub delay: Duration,
    /// Lease time in seconds.
    pub lease_secs: u32,
    /// T1 (option 58) in seconds.
    pub renew_secs: u32,
    /// T2 (option 59) in seconds.
    pub rebind_secs: u32,
}

/// What happens to the frames that come.
#[derive(Debug, Default)]
struct Shared {
    stop: AtomicBool,
    silent_to_unicast: AtomicBool,
    frames: Mutex<Vec<Vec<u8>>>,
}

/// The running stand-in; it stops when dropped.
#[derive(Debug)]
pub struct Responder {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<Result<()>>>,
    // Bound, so that the kernel sends no ICMP port unreachable to clients' renewals.
    _port: UdpSocket,
}

impl Responder {
    /// Starts answering on `interface` of `ns`.
    ///
    /// # Errors
    ///
    /// When the socket cannot be opened or the port is taken.
    pub fn start(ns: &NetNs, interface: &str, script: Script) -> Result<Self> {
        let socket = RawSocket::open(ns, interface)?;
        let port = ns
            .run(|| UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 67)))?
            .with_context(|| format!("cannot bind UDP port 67 in {}", ns.name()))?;
        let shared = Arc::new(Shared::default());
        let thread = std::thread::spawn({
            let shared = Arc::clone(&shared);
            move || {
                while !shared.stop.load(Ordering::Relaxed) {
                    if let Some(frame) = socket.receive(Duration::from_millis(50))?
                        && let Some(answer) = shared.answer(&frame, &script)
                    {
                        std::thread::sleep(script.delay);
                        socket.send(&answer)?;
                    }
                }
                Ok(())
            }
        });
        Ok(Self { shared, thread: Some(thread), _port: port })
    }

    /// From now on leaves unicast requests unanswered, so that clients go on to rebind; or answers them again.
    pub fn set_silent_to_unicast(&self, silent: bool) {
        self.shared.silent_to_unicast.store(silent, Ordering::Relaxed);
    }

    /// Every frame of a client so far.
    pub fn frames(&self) -> Vec<Vec<u8>> {
        self.shared.frames.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The first frame of a client, from number `from` on, that `wanted` holds for; with its number.
    ///
    /// # Errors
    ///
    /// When none comes within `deadline`; the error lists the message types that came.
    pub fn wait_frame(
        &self,
        deadline: Duration,
        what: &str,
        from: usize,
        wanted: impl Fn(&Message) -> bool,
    ) -> Result<(usize, Vec<u8>)> {
        let find = || {
            let found = self.frames().into_iter().enumerate().skip(from);
            Ok(found
                .into_iter()
                .find(|(_, frame)| Message::parse(frame).is_ok_and(|message| wanted(&message))))
        };
        wait_for(deadline, what, find).with_context(|| {
            let kinds: Vec<_> =
                self.frames().iter().map(|f| Message::parse(f).map_or(0, |m| m.kind())).collect();
            format!("message types that came: {kinds:?}")
        })
    }
}

impl Drop for Responder {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::Relaxed);
        match self.thread.take().map(JoinHandle::join) {
            Some(Ok(Err(error))) => eprintln!("the responder failed: {error:#}"),
            Some(Err(_)) => eprintln!("the responder panicked"),
            _ => {}
        }
    }
}

impl Shared {
    fn answer(&self, frame: &[u8], script: &Script) -> Option<Vec<u8>> {
        let request =
            Message::parse(frame).ok().filter(|message| message.op == 1 && message.dst_port == 67)?;
        self.frames.lock().unwrap_or_else(PoisonError::into_inner).push(frame.to_vec());
        let unicast = request.dst != Ipv4Addr::BROADCAST;
        if unicast && self.silent_to_unicast.load(Ordering::Relaxed) {
            return None;
        }
        let kind = match request.kind() {
            1 => 2,
            3 => 5,
            _ => return None,
        };
        Some(reply(kind, &request, script))
    }
}

/// An OFFER or ACK by RFC 2131 section 4.3.1.
fn reply(kind: u8, request: &Message, script: &Script) -> Vec<u8> {
    let mut answer = Frame::request(kind, script.mac)
        .op(2)
        .src_mac(script.mac)
        .src(script.server)
        .src_port(67)
        .xid(request.xid)
        .flags(request.flags)
        .ciaddr(request.ciaddr)
        .yiaddr(script.address)
        .giaddr(request.giaddr)
        .chaddr(request.chaddr);
    answer = if !request.giaddr.is_unspecified() {
        answer.dst(request.giaddr).dst_mac(request.src_mac).dst_port(67)
    } else if !request.ciaddr.is_unspecified() {
        answer.dst(request.ciaddr).dst_mac(request.src_mac).dst_port(68)
    } else {
        answer.dst(Ipv4Addr::BROADCAST).dst_port(68)
    };
    answer = answer
        .option(54, &script.server.octets())
        .option(51, &script.lease_secs.to_be_bytes())
        .option(58, &script.renew_secs.to_be_bytes())
        .option(59, &script.rebind_secs.to_be_bytes())
        .option(1, &[255, 255, 0, 0])
        .option(3, &script.server.octets());
    if let Some(agent) = request.option(82) {
        answer = answer.option(82, &agent);
    }
    answer.build()
}
