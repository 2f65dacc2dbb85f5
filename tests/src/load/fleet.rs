//! Clients by the thousand and the exchanges they are in: who is waiting for what, who is late, who begins next.
//!
//! A transaction number is the client's number and, in its upper octet, how often that client has asked: a reply to an
//! exchange that is over is told from one to the exchange under way.

use std::{
    cmp::Reverse,
    collections::{BinaryHeap, HashMap, VecDeque},
    net::Ipv4Addr,
    time::{Duration, Instant},
};

use anyhow::{Result, ensure};
use rand::{SeedableRng as _, rngs::SmallRng};

use super::{
    batch_socket::{BatchSocket, Incoming},
    figures::Figures,
    message::{Kind, Letter, Letters, Way},
    pace::{Pace, Patience},
    plan::Plan,
    reply::{self, Fault, Reply},
};

/// The most clients of one run: what a transaction number has room for.
pub const CLIENTS_MAX: u32 = 1 << 24;
/// Exchanges that may be under way at a given rate; further ones are skipped and counted.
const UNDER_WAY_MAX: u32 = 1 << 17;
/// The longest the generator sleeps.
const NAP: Duration = Duration::from_millis(5);
/// How many times a client asks for the address it chose, or remembers, before it begins anew with a DISCOVER.
const ASKS_MAX: u32 = 4;

/// A client.
#[derive(Clone, Copy, Debug)]
struct Client {
    address: Ipv4Addr,
    server: Ipv4Addr,
    begun_ns: u64,
    sent_ns: u64,
    waits: Option<Kind>,
    asked: u32,
    nonce: u8,
}

impl Client {
    const NEW: Self = Self {
        address: Ipv4Addr::UNSPECIFIED,
        server: Ipv4Addr::UNSPECIFIED,
        begun_ns: 0,
        sent_ns: 0,
        waits: None,
        asked: 0,
        nonce: 0,
    };
}

/// All clients on one cable.
#[derive(Debug)]
pub struct Fleet {
    way: Way,
    letters: Letters,
    clients: Vec<Client>,
    rng: SmallRng,
    epoch: Instant,
    wants_routers: bool,
}

/// One run of a fleet.
struct Run<'a> {
    fleet: &'a mut Fleet,
    plan: &'a Plan,
    figures: Figures,
    late: BinaryHeap<Reverse<(u64, u32, u8)>>,
    /// Frames to send as soon as there is room.
    due: VecDeque<u32>,
    under_way: u32,
    next: u32,
    holders: HashMap<Ipv4Addr, u32>,
}

impl Fleet {
    /// Clients 0 to `count`, none of which has an address.
    ///
    /// # Errors
    ///
    /// When there are too many.
    pub fn new(way: Way, count: u32) -> Result<Self> {
        ensure!(count <= CLIENTS_MAX, "at most {CLIENTS_MAX} clients fit the transaction numbers");
        Ok(Self {
            letters: Letters::new(&way),
            way,
            clients: vec![Client::NEW; count as usize],
            rng: SmallRng::seed_from_u64(2131),
            epoch: Instant::now(),
            wants_routers: true,
        })
    }

    /// Takes replies without routers too: the server has been told none.
    #[must_use]
    pub const fn without_routers(mut self) -> Self {
        self.wants_routers = false;
        self
    }

    /// The addresses clients have, unspecified where they have none.
    pub fn addresses(&self) -> impl Iterator<Item = Ipv4Addr> + '_ {
        self.clients.iter().map(|client| client.address)
    }

    /// Gives each client the address it is known to have: `first` and those that follow.
    pub fn assume(&mut self, first: Ipv4Addr) {
        for (number, client) in (0..).zip(&mut self.clients) {
            client.address = Ipv4Addr::from(u32::from(first) + number);
        }
    }

    /// Clients from this number on have never had an address.
    pub fn forget(&mut self, from: u32) {
        for client in self.clients.iter_mut().skip(from as usize) {
            client.address = Ipv4Addr::UNSPECIFIED;
        }
    }

    /// The frames they send.
    pub const fn letters(&self) -> &Letters {
        &self.letters
    }

    /// How they reach the server.
    pub const fn way(&self) -> &Way {
        &self.way
    }

    /// Carries a plan out.
    ///
    /// # Errors
    ///
    /// When the socket fails or the plan names clients that are not there.
    pub fn run(&mut self, socket: &mut BatchSocket, plan: &Plan) -> Result<Figures> {
        let (first, count) = plan.clients;
        ensure!(
            count > 0 && first.checked_add(count).is_some_and(|end| end as usize <= self.clients.len()),
            "clients {first} and {count} that follow are not all of this fleet's {}",
            self.clients.len()
        );
        // What is left of an earlier run answers nobody.
        while socket.receive(|_| {})? != 0 {}
        socket.take_drops();
        for client in &mut self.clients {
            client.waits = None;
        }
        let mut run = Run {
            fleet: self,
            plan,
            figures: Figures::default(),
            late: BinaryHeap::new(),
            due: VecDeque::new(),
            under_way: 0,
            next: 0,
            holders: HashMap::new(),
        };
        run.go(socket)?;
        Ok(run.figures)
    }

    fn now_ns(&self) -> u64 {
        self.epoch.elapsed().as_nanos() as u64
    }
}

impl Run<'_> {
    fn go(&mut self, socket: &mut BatchSocket) -> Result<()> {
        let begun = self.fleet.now_ns();
        let until = begun.saturating_add(self.plan.time.as_nanos() as u64);
        let mut last_done = begun;
        loop {
            let now = self.fleet.now_ns();
            let done_before = self.figures.done;
            let mut received = 0;
            loop {
                let some = socket.receive(|incoming| self.take(&incoming, now))?;
                received += some;
                if some < super::batch_socket::BATCH {
                    break;
                }
            }
            if self.figures.done != done_before {
                last_done = now;
            }
            self.remind(now);
            let open = now < until && !self.all_begun();
            if open {
                self.begin(begun, now);
            }
            let sent = self.send(socket)?;
            let over = matches!(self.plan.patience, Patience::BackOff { .. }) && now >= until;
            if (!open && self.under_way == 0) || over {
                self.figures.lost += u64::from(self.under_way);
                break;
            }
            if received == 0 && sent == 0 {
                socket.wait(self.nap(begun, open))?;
            }
        }
        self.figures.receive_drops = socket.take_drops();
        // From the first frame to the last ACK; at a given rate at least as long as exchanges were begun.
        let end = match self.plan.pace {
            Pace::Rate(_) => last_done.max(until.min(self.fleet.now_ns())),
            _ => last_done,
        };
        self.figures.elapsed = Duration::from_nanos(end.saturating_sub(begun).max(1));
        Ok(())
    }

    /// New clients begin once each; the others go round and round.
    const fn all_begun(&self) -> bool {
        let renews = matches!(self.plan.begin, Kind::Renew | Kind::Rebind);
        let once = !renews || matches!(self.plan.pace, Pace::Storm);
        once && self.next >= self.plan.clients.1
    }

    fn begin(&mut self, begun_ns: u64, now: u64) {
        let wanted = match self.plan.pace {
            Pace::Rate(rate) => {
                let due = ((now - begun_ns) as f64 / 1e9 * rate) as u64;
                due.saturating_sub(self.figures.begun + self.figures.skipped)
            }
            Pace::Window(window) => window.saturating_sub(self.under_way).into(),
            Pace::Storm => super::batch_socket::BATCH as u64,
        };
        let storm = matches!(self.plan.pace, Pace::Storm);
        for _ in 0..wanted {
            // The queue of what is to be sent is kept short, so that times are taken when frames leave.
            if self.due.len() >= 4 * super::batch_socket::BATCH || self.all_begun() {
                break;
            }
            let number = self.plan.clients.0 + self.place(self.next);
            let Some(client) = self.fleet.clients.get_mut(number as usize) else { break };
            let rated = matches!(self.plan.pace, Pace::Rate(_));
            if client.waits.is_some() || (rated && self.under_way >= UNDER_WAY_MAX) {
                self.figures.skipped += u64::from(rated);
                if !rated {
                    break;
                }
                self.next = self.next.wrapping_add(1);
                continue;
            }
            self.next = self.next.wrapping_add(1);
            client.begun_ns = 0;
            client.asked = 0;
            client.waits = Some(match self.plan.begin {
                // Who has no address asks for one.
                _ if client.address.is_unspecified() => Kind::Discover,
                begin if storm && !number.is_multiple_of(3) && begin == Kind::Reboot => Kind::Renew,
                begin => begin,
            });
            self.under_way += 1;
            self.figures.begun += 1;
            self.due.push_back(number);
        }
    }

    /// Which client comes at a place in the order.
    fn place(&self, at: u32) -> u32 {
        let (at, count) = (u64::from(at), u64::from(self.plan.clients.1.max(1)));
        match self.plan.pace {
            // A prime no count has as a factor: every client once, neighbours far apart.
            Pace::Storm => (at * 2_147_483_647 % count) as u32,
            _ => (at % count) as u32,
        }
    }

    /// Those whose answer is late ask again, or give up.
    fn remind(&mut self, now: u64) {
        while let Some(&Reverse((when, number, nonce))) = self.late.peek() {
            if when > now {
                return;
            }
            self.late.pop();
            let Some(client) = self.fleet.clients.get_mut(number as usize) else { continue };
            let Some(waits) = client.waits.filter(|_| client.nonce == nonce) else { continue };
            match self.plan.patience {
                Patience::GiveUp(_) => {
                    client.waits = None;
                    self.under_way -= 1;
                    self.figures.lost += 1;
                }
                Patience::BackOff { .. } => {
                    if matches!(waits, Kind::Request | Kind::Reboot) && client.asked >= ASKS_MAX {
                        client.waits = Some(Kind::Discover);
                        client.asked = 0;
                    }
                    self.figures.retransmitted += 1;
                    self.due.push_back(number);
                }
            }
        }
    }

    fn send(&mut self, socket: &mut BatchSocket) -> Result<u64> {
        let mut sent = 0;
        while !self.due.is_empty() {
            let now = self.fleet.now_ns();
            while socket.has_room() {
                let Some(number) = self.due.pop_front() else { break };
                let Fleet { clients, letters, rng, way, .. } = &mut *self.fleet;
                let Some(client) = clients.get_mut(number as usize) else { continue };
                let Some(kind) = client.waits else { continue };
                client.asked += 1;
                client.nonce = client.nonce.wrapping_add(1);
                client.sent_ns = now;
                if client.begun_ns == 0 {
                    client.begun_ns = now;
                }
                let secs = (now - client.begun_ns) / 1_000_000_000;
                let letter = Letter {
                    kind,
                    client: number,
                    xid: xid(client.nonce, number),
                    secs: u16::try_from(secs).unwrap_or(u16::MAX),
                    address: client.address,
                    server: if client.server.is_unspecified() { way.server } else { client.server },
                };
                let wait = self.plan.patience.wait(client.asked, rng).as_nanos() as u64;
                self.late.push(Reverse((now + wait, number, client.nonce)));
                socket.queue(|frame| letters.write(&letter, frame));
            }
            sent += socket.flush()? as u64;
            // Answers must not pile up while a storm is sent.
            if sent >= 4 * super::batch_socket::BATCH as u64 {
                break;
            }
        }
        self.figures.sent += sent;
        Ok(sent)
    }

    fn take(&mut self, incoming: &Incoming<'_>, now: u64) {
        // No reply: a server asks whether an address is in use before it offers it (RFC 2131 section 4.4.1).
        if reply::is_icmp(incoming.frame) {
            self.figures.probes += 1;
            return;
        }
        self.figures.received += 1;
        let reply = if self.plan.mirror {
            mirrored(incoming.frame)
        } else {
            Reply::parse(incoming.frame, incoming.checksum_pending)
        };
        if let Err(fault) = reply.and_then(|reply| self.accept(&reply, now)) {
            self.figures.fault(fault);
        }
    }

    fn accept(&mut self, reply: &Reply, now: u64) -> Result<(), Fault> {
        let client = self.fleet.clients.get_mut(reply.client as usize).ok_or(Fault::Stranger)?;
        let Some(waits) = client.waits.filter(|_| reply.xid == xid(client.nonce, reply.client)) else {
            return Err(Fault::Unexpected);
        };
        if !self.plan.mirror {
            let checked = reply.check(self.fleet.way.server, self.fleet.wants_routers);
            // Told that its address is not its own any more, a client begins anew (RFC 2131 section 4.4.5).
            if checked == Err(Fault::Nak) && matches!(self.plan.patience, Patience::BackOff { .. }) {
                client.waits = Some(Kind::Discover);
                client.asked = 0;
                client.nonce = client.nonce.wrapping_add(1);
                self.due.push_back(reply.client);
            }
            checked?;
            let relay = self.fleet.way.relay.filter(|_| waits != Kind::Renew);
            let circuit = relay.filter(|relay| relay.information).map(|_| reply.client);
            reply.check_relay(relay.map(|relay| relay.address), circuit)?;
            let due = if waits == Kind::Discover { 2 } else { 5 };
            if reply.kind != due {
                return Err(Fault::Kind);
            }
        }
        if waits == Kind::Discover && !self.plan.mirror {
            client.address = reply.address;
            client.server = reply.server;
            client.waits = Some(Kind::Request);
            client.asked = 0;
            self.due.push_back(reply.client);
            return Ok(());
        }
        if reply.address != client.address && !self.plan.mirror {
            return Err(Fault::Address);
        }
        if waits == Kind::Request
            && self.holders.insert(reply.address, reply.client).is_some_and(|holder| holder != reply.client)
        {
            return Err(Fault::AddressTwice);
        }
        client.waits = None;
        self.under_way -= 1;
        self.figures.done += 1;
        self.figures.latency.saturating_record(now.saturating_sub(client.begun_ns));
        self.figures.ack_latency.saturating_record(now.saturating_sub(client.sent_ns));
        Ok(())
    }

    /// How long nothing can be due.
    fn nap(&self, begun_ns: u64, open: bool) -> Duration {
        let now = self.fleet.now_ns();
        let mut until = now + NAP.as_nanos() as u64;
        if let Some(Reverse((when, ..))) = self.late.peek() {
            until = until.min(*when);
        }
        if open && let Pace::Rate(rate) = self.plan.pace {
            let next = (self.figures.begun + self.figures.skipped + 1) as f64 / rate * 1e9;
            until = until.min(begun_ns + next as u64);
        }
        Duration::from_nanos(until.saturating_sub(now))
    }
}

const fn xid(nonce: u8, client: u32) -> u32 {
    (nonce as u32) << 24 | client
}

/// A request of ours that came back as it was.
fn mirrored(frame: &[u8]) -> Result<Reply, Fault> {
    let bootp = frame.get(42..).ok_or(Fault::Malformed)?;
    let quad =
        |at: usize| bootp.get(at..).and_then(<[u8]>::first_chunk::<4>).copied().ok_or(Fault::Malformed);
    Ok(Reply {
        kind: 5,
        client: bootp.get(28..34).and_then(super::client_of).ok_or(Fault::Stranger)?,
        xid: u32::from_be_bytes(quad(4)?),
        address: quad(12)?.into(),
        server: Ipv4Addr::UNSPECIFIED,
        relay: Ipv4Addr::UNSPECIFIED,
        circuit: None,
        options: [0; 4],
    })
}
