//! The clients, all of them played by one thread: whose turn it is, what is asked, and whom.

use std::{
    collections::VecDeque,
    net::Ipv4Addr,
    os::fd::AsFd as _,
    sync::{Arc, PoisonError, atomic::Ordering},
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result};
use rand::{Rng as _, SeedableRng as _, rngs::SmallRng};
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::{Load, Report, Shared};
use crate::{
    packet::Frame,
    raw::RawSocket,
    torture::{
        boot_ns,
        ledger::{Ledger, SECOND_NS},
        played::{self, Asked, Questions, mac},
    },
};

/// Renewals under way at once, and messages of new clients.
const RENEWALS_MAX: usize = 256;
const ARRIVALS_MAX: usize = 64;
/// How long a client waits for a reply before it asks the next node.
const WAIT_NS: u64 = SECOND_NS;
/// How often a client asks in the last round before it is believed that nobody will ever answer.
const LAST_ATTEMPTS: u8 = 24;
/// How often the report is brought up to date.
const SHOW_EVERY: Duration = Duration::from_millis(50);

/// A lease as its client knows it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Held {
    pub address: Ipv4Addr,
    pub until_boot_ns: u64,
    /// It was granted for less than the configured time, until everybody knows of it: half of that is to pass first.
    pub rests_until_boot_ns: u64,
}

/// A client: `identity` makes its hardware address.
#[derive(Clone, Copy, Debug)]
pub(super) struct Client {
    pub identity: u32,
    pub site: usize,
    pub held: Option<Held>,
    pub busy: bool,
    /// How many nodes have left it without an answer, one after the other: which node it asks next.
    pub step: usize,
    /// Since when it has asked for a renewal in vain; 0: it has not.
    pub asking_since: u64,
}

/// Whom a question went to.
#[derive(Clone, Copy, Debug)]
pub(super) struct Whom {
    pub node: usize,
}

/// A question without an answer yet.
pub(super) type Open = played::Open<Whom>;

/// All clients.
pub(super) struct Clients {
    pub sockets: Vec<RawSocket>,
    /// The nodes of each site.
    pub sites: Vec<Vec<usize>>,
    pub load: Load,
    pub lease_secs: u32,
    shared: Arc<Shared>,
    rng: SmallRng,
    pub clients: Vec<Client>,
    /// Whose turn it is to renew; everybody is in it once.
    turns: VecDeque<usize>,
    /// Whose renewal was not answered: they ask the next node at once.
    pub again: VecDeque<usize>,
    /// Who has no lease and is not asking for one.
    pub without: VecDeque<usize>,
    /// Who is still to renew in the last round, and how often they asked.
    last: VecDeque<(usize, u8)>,
    pub questions: Questions<Whom>,
    pub next_identity: u32,
    pub ledger: Ledger,
    pub report: Report,
}

impl Clients {
    /// Clients without a lease.
    pub fn new(
        sockets: Vec<RawSocket>,
        sites: Vec<Vec<usize>>,
        load: Load,
        lease_secs: u32,
        shared: Arc<Shared>,
    ) -> Self {
        let report = Report::of(sockets.len(), sites.len());
        let mut this = Self {
            sockets,
            load,
            lease_secs,
            shared,
            rng: SmallRng::seed_from_u64(load.seed),
            clients: Vec::new(),
            turns: VecDeque::new(),
            again: VecDeque::new(),
            without: VecDeque::new(),
            last: VecDeque::new(),
            questions: Questions::default(),
            next_identity: 1,
            ledger: Ledger::default(),
            report,
            sites,
        };
        for site in 0..this.sites.len() {
            this.add(site, load.clients_per_site);
        }
        this
    }

    /// Further clients of a site, without a lease.
    fn add(&mut self, site: usize, clients: u32) {
        for _ in 0..clients {
            let slot = self.clients.len();
            let identity = self.next_identity;
            self.next_identity += 1;
            self.clients.push(Client { identity, site, held: None, busy: false, step: 0, asking_since: 0 });
            self.turns.push_back(slot);
            self.without.push_back(slot);
        }
        self.report.clients += u64::from(clients);
    }

    /// Gets leases, renews them, comes and goes until told to stop.
    ///
    /// # Errors
    ///
    /// When a socket fails.
    pub fn run(mut self) -> Result<()> {
        let (mut renewals, mut arrivals) = (0.0_f64, 0.0_f64);
        let (mut before, mut shown) = (Instant::now(), Instant::now());
        let mut all_there = false;
        let shared = Arc::clone(&self.shared);
        while !shared.last_round.load(Ordering::Relaxed) && !shared.stop.load(Ordering::Relaxed) {
            let now = Instant::now();
            let passed = now.duration_since(before).as_secs_f64();
            before = now;
            let rate = |of: &std::sync::atomic::AtomicU32| f64::from(of.load(Ordering::Relaxed));
            // What a busy machine did not let us send is not made up for at once.
            renewals = (renewals + passed * rate(&shared.renewals_per_s)).min(64.0);
            arrivals = (arrivals + passed * rate(&shared.arrivals_per_s)).min(4.0);
            for (site, extra) in shared.extra.iter().enumerate() {
                self.add(site, extra.swap(0, Ordering::Relaxed));
            }
            all_there = all_there || self.report.bound >= self.report.clients;
            while self.questions.renewals() < RENEWALS_MAX
                && let Some(slot) = self.again.pop_front()
            {
                if let Some(held) = self.still_held(slot)? {
                    self.renew(slot, held, 0)?;
                }
            }
            while renewals >= 1.0 && self.questions.renewals() < RENEWALS_MAX {
                renewals -= 1.0;
                self.next_turn()?;
            }
            while (!all_there || arrivals >= 1.0)
                && self.questions.others() < ARRIVALS_MAX
                && let Some(slot) = self.without.pop_front()
            {
                arrivals = (arrivals - 1.0).max(0.0);
                self.discover(slot)?;
            }
            self.listen()?;
            if now >= shown + SHOW_EVERY {
                shown = now;
                self.show();
            }
        }
        if !shared.stop.load(Ordering::Relaxed) {
            self.last_round()?;
        }
        self.show();
        Ok(())
    }

    fn show(&mut self) {
        if self.shared.anew.swap(false, Ordering::Relaxed) {
            self.report.renewal_wait_ms_max = 0;
        }
        (self.report.broken, self.report.told) = (self.ledger.broken, self.ledger.told.clone());
        let mut shown = self.shared.report.lock().unwrap_or_else(PoisonError::into_inner);
        shown.clone_from(&self.report);
    }

    /// Everybody renews once more; whoever holds a promise must be answered.
    fn last_round(&mut self) -> Result<()> {
        self.last = (0..self.clients.len()).map(|slot| (slot, 0)).collect();
        let shared = Arc::clone(&self.shared);
        while (!self.last.is_empty() || !self.questions.is_empty()) && !shared.stop.load(Ordering::Relaxed) {
            let mut busy = 0;
            while self.questions.renewals() < RENEWALS_MAX
                && busy < self.last.len()
                && let Some((slot, attempt)) = self.last.pop_front()
            {
                if self.client(slot)?.busy {
                    busy += 1;
                    self.last.push_back((slot, attempt));
                } else if let Some(held) = self.still_held(slot)? {
                    self.renew(slot, held, attempt + 1)?;
                }
            }
            self.listen()?;
        }
        Ok(())
    }

    pub fn client(&mut self, slot: usize) -> Result<&mut Client> {
        self.clients.get_mut(slot).context("there is no such client")
    }

    /// A client's lease, unless it has run out: then the client comes anew.
    fn still_held(&mut self, slot: usize) -> Result<Option<Held>> {
        let client = *self.client(slot)?;
        let Some(held) = client.held.filter(|_| !client.busy) else { return Ok(None) };
        if held.until_boot_ns > boot_ns() {
            return Ok(Some(held));
        }
        self.report.ran_out += 1;
        self.drop_lease(slot)?;
        self.without.push_back(slot);
        Ok(None)
    }

    /// The next client with a lease renews it, or does something rarer.
    fn next_turn(&mut self) -> Result<()> {
        for _ in 0..self.turns.len() {
            let Some(slot) = self.turns.pop_front() else { return Ok(()) };
            self.turns.push_back(slot);
            let Some(held) = self.still_held(slot)? else { continue };
            if held.rests_until_boot_ns > boot_ns() {
                continue;
            }
            // Who was sent elsewhere tries its own nodes again at times.
            if self.rng.random_ratio(1, 8) {
                self.client(slot)?.step = 0;
            }
            let releases = self.load.releases_per_mille.min(1_000);
            let dice = self.rng.random_range(0..1_000);
            if dice < releases {
                return self.give_back(slot, held);
            }
            return match self.rng.random_range(0..1_000) {
                0..2 if releases > 0 => {
                    self.report.vanished += 1;
                    self.replace(slot)
                }
                2..22 => self.reboot(slot, held),
                _ => self.renew(slot, held, 0),
            };
        }
        Ok(())
    }

    /// The node a client asks: its site's first, and then, if clients roam, the others'.
    fn node_of(&self, client: &Client) -> usize {
        let own = self.sites.get(client.site).map(Vec::as_slice).unwrap_or_default();
        let turn = usize::try_from(client.identity).unwrap_or(0);
        let pick = |of: &[usize], at: usize| of.get((turn + at) % of.len().max(1)).copied();
        let others: Vec<usize> = match self.load.roam {
            true => (0..self.sockets.len()).filter(|node| !own.contains(node)).collect(),
            false => Vec::new(),
        };
        let at = client.step % (own.len() + others.len()).max(1);
        pick(own, at).filter(|_| at < own.len()).or_else(|| pick(&others, at - own.len())).unwrap_or(0)
    }

    /// Asks `node`, or the client's own of the moment.
    fn ask(
        &mut self,
        slot: usize,
        frame: Frame,
        (asked, address, attempt): (Asked, Ipv4Addr, u8),
        node: Option<usize>,
    ) -> Result<()> {
        let client = *self.client(slot)?;
        let node = node.unwrap_or_else(|| self.node_of(&client));
        self.client(slot)?.busy = true;
        if asked == Asked::Renew {
            self.report.renewals_sent += 1;
            if let Some(counts) = self.report.nodes.get_mut(node) {
                counts.renewals_sent += 1;
            }
        }
        let open = Open { slot, asked, address, sent_boot_ns: boot_ns(), attempt, more: Whom { node } };
        let xid = self.questions.ask(open);
        self.sockets.get(node).context("there is no such node")?.send(&frame.xid(xid).build())
    }

    fn discover(&mut self, slot: usize) -> Result<()> {
        let frame = played::discover(self.client(slot)?.identity);
        self.ask(slot, frame, (Asked::Discover, Ipv4Addr::UNSPECIFIED, 0), None)
    }

    pub fn select(&mut self, slot: usize, address: Ipv4Addr, node: usize) -> Result<()> {
        let frame = played::select(self.client(slot)?.identity, address);
        self.ask(slot, frame, (Asked::Select, address, 0), Some(node))
    }

    fn reboot(&mut self, slot: usize, held: Held) -> Result<()> {
        let frame = played::reboot(self.client(slot)?.identity, held.address);
        self.ask(slot, frame, (Asked::Reboot, held.address, 0), None)
    }

    /// Mostly straight to the server, at times as a broadcast.
    fn renew(&mut self, slot: usize, held: Held, attempt: u8) -> Result<()> {
        let client = self.client(slot)?;
        if client.asking_since == 0 {
            client.asking_since = boot_ns();
        }
        let mut frame = played::renewal(client.identity, held.address);
        if self.rng.random_ratio(4, 5) {
            frame = played::to_server(frame);
        }
        self.ask(slot, frame, (Asked::Renew, held.address, attempt), None)
    }

    /// A RELEASE, which is not answered. Another client comes in this one's place.
    fn give_back(&mut self, slot: usize, held: Held) -> Result<()> {
        self.report.releases += 1;
        let client = *self.client(slot)?;
        self.ledger.given_back(mac(client.identity), held.address);
        let node = self.node_of(&client);
        let frame = played::release(client.identity, held.address).build();
        self.sockets.get(node).context("there is no such node")?.send(&frame)?;
        self.replace(slot)
    }

    /// Another client comes in this one's place.
    fn replace(&mut self, slot: usize) -> Result<()> {
        self.drop_lease(slot)?;
        let identity = self.next_identity;
        self.next_identity += 1;
        let client = self.client(slot)?;
        (client.identity, client.step, client.asking_since) = (identity, 0, 0);
        self.without.push_back(slot);
        Ok(())
    }

    pub fn drop_lease(&mut self, slot: usize) -> Result<()> {
        let client = self.client(slot)?;
        client.asking_since = 0;
        let site = client.site;
        if client.held.take().is_some() {
            self.count_bound(site, false);
        }
        Ok(())
    }

    pub fn count_bound(&mut self, site: usize, more: bool) {
        let own = self.report.bound_by_site.get_mut(site);
        for count in own.into_iter().chain([&mut self.report.bound]) {
            *count = if more { *count + 1 } else { count.saturating_sub(1) };
        }
    }

    /// Takes in what came and gives up on what did not.
    fn listen(&mut self) -> Result<()> {
        let readable: Vec<bool> = {
            let mut wanted: Vec<PollFd<'_>> = self
                .sockets
                .iter()
                .map(|socket| PollFd::from_borrowed_fd(socket.as_fd(), PollFlags::IN))
                .collect();
            let patience = Timespec { tv_sec: 0, tv_nsec: 2_000_000 };
            // A signal that comes in between is no reason to end.
            let _ = poll(&mut wanted, Some(&patience));
            wanted.iter().map(|one| one.revents().contains(PollFlags::IN)).collect()
        };
        for (node, _) in readable.iter().enumerate().filter(|(_, readable)| **readable) {
            for _ in 0..64 {
                let socket = self.sockets.get(node).context("there is no such node")?;
                let mut one = [PollFd::new(socket, PollFlags::IN)];
                let now = Timespec { tv_sec: 0, tv_nsec: 0 };
                if !poll(&mut one, Some(&now)).is_ok_and(|ready| ready > 0) {
                    break;
                }
                let Some(frame) = socket.receive(Duration::ZERO)? else { break };
                self.judge(node, &frame)?;
            }
        }
        let over = self.questions.over(boot_ns(), |_| WAIT_NS);
        over.into_iter().try_for_each(|xid| self.unanswered(xid))
    }

    pub fn close(&mut self, xid: u32) -> Result<Option<Open>> {
        let Some(open) = self.questions.close(xid) else { return Ok(None) };
        self.client(open.slot)?.busy = false;
        Ok(Some(open))
    }

    fn unanswered(&mut self, xid: u32) -> Result<()> {
        let Some(open) = self.close(xid)? else { return Ok(()) };
        self.report.unanswered += 1;
        if let Some(counts) = self.report.nodes.get_mut(open.more.node) {
            counts.unanswered += 1;
        }
        let client = self.client(open.slot)?;
        client.step += 1;
        let mac = mac(client.identity);
        match (open.asked, open.attempt) {
            (Asked::Discover | Asked::Select, _) => self.without.push_back(open.slot),
            (_, 0) => self.again.push_back(open.slot),
            (_, LAST_ATTEMPTS) => self.ledger.ignored(mac, open.address, boot_ns()),
            (_, attempt) => self.last.push_back((open.slot, attempt)),
        }
        Ok(())
    }
}
