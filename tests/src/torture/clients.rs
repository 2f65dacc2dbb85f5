//! The clients, all of them played by one thread over one raw socket, and the judging of every reply.
//!
//! Nobody asks twice for the same thing before its time is over: a frame that was lost is seen, not made good by the next.

use std::{
    collections::{BTreeMap, HashMap, VecDeque},
    net::Ipv4Addr,
    sync::atomic::Ordering,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result};
use rand::{Rng as _, SeedableRng as _, rngs::SmallRng};

use crate::{
    lab::{SERVER, SERVER_MAC},
    packet::Frame,
    parse::Message,
    raw::RawSocket,
    torture::{
        Phase, Plan, Report, Shared, boot_ns,
        ledger::{Ledger, SECOND_NS},
    },
};

/// Renewals under way at once, and messages of new clients: together far fewer than any queue of a veth pair holds.
const RENEWALS_MAX: usize = 512;
const ARRIVALS_MAX: usize = 32;

/// Messages of new clients in a second, once all leases are there.
const ARRIVALS_PER_S: f64 = 100.0;

/// How long a client waits for a reply. A disk may take its time over a flush.
const RENEWAL_NS: u64 = 3 * SECOND_NS;
const ARRIVAL_NS: u64 = SECOND_NS;

/// How often a client asks in the last round before it is believed that nobody will ever answer.
const LAST_ATTEMPTS: u8 = 5;

/// A lease as its client knows it.
#[derive(Clone, Copy, Debug)]
struct Held {
    address: Ipv4Addr,
    until_boot_ns: u64,
    /// The last ACK.
    acked_boot_ns: u64,
    /// The last ACK that the daemon sent or has learnt of from the kernel.
    known_boot_ns: u64,
    /// When what was answered last was asked.
    asked_boot_ns: u64,
}

/// A client: `identity` makes its hardware address.
#[derive(Clone, Copy, Debug)]
struct Client {
    identity: u32,
    held: Option<Held>,
    busy: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Asked {
    Discover,
    Select,
    Renew,
    Reboot,
}

/// A question without an answer yet.
#[derive(Clone, Copy, Debug)]
struct Open {
    slot: usize,
    asked: Asked,
    address: Ipv4Addr,
    sent_boot_ns: u64,
    phase: Phase,
    /// The kernel could answer it by itself.
    kernel_could: bool,
    attempt: u8,
}

/// All clients.
pub struct Traffic<'a> {
    socket: &'a RawSocket,
    shared: &'a Shared,
    plan: &'a Plan,
    rng: SmallRng,
    clients: Vec<Client>,
    /// Whose turn it is to renew; everybody is in it once.
    turns: VecDeque<usize>,
    /// Who has no lease and is not asking for one.
    without: VecDeque<usize>,
    /// Who is still to renew in the last round, and how often they asked.
    last: VecDeque<(usize, u8)>,
    open: BTreeMap<u32, Open>,
    renewals_open: usize,
    next_identity: u32,
    next_xid: u32,
    owners: HashMap<Ipv4Addr, (u32, bool)>,
    ledger: Ledger,
    report: Report,
}

impl<'a> Traffic<'a> {
    /// Clients without a lease.
    pub fn new(socket: &'a RawSocket, shared: &'a Shared, plan: &'a Plan) -> Self {
        let clients: Vec<_> =
            (1..=plan.leases).map(|identity| Client { identity, held: None, busy: false }).collect();
        Self {
            socket,
            shared,
            plan,
            rng: SmallRng::seed_from_u64(plan.seed ^ 0xc11e),
            turns: (0..clients.len()).collect(),
            without: (0..clients.len()).collect(),
            last: VecDeque::new(),
            clients,
            open: BTreeMap::new(),
            renewals_open: 0,
            next_identity: plan.leases + 1,
            next_xid: 1,
            owners: HashMap::new(),
            ledger: Ledger::default(),
            report: Report::default(),
        }
    }

    /// Gets leases, renews them, comes and goes until the last round is over.
    ///
    /// # Errors
    ///
    /// When the socket fails.
    pub fn run(mut self) -> Result<Report> {
        let (mut renewals, mut arrivals) = (0.0_f64, 0.0_f64);
        let mut before = Instant::now();
        let mut all_there = false;
        while !self.shared.last_round.load(Ordering::SeqCst) {
            let now = Instant::now();
            let passed = now.duration_since(before).as_secs_f64();
            before = now;
            // What a busy machine did not let us send is not made up for at once.
            renewals = (renewals + passed * f64::from(self.plan.renewals_per_s)).min(8.0);
            arrivals = (arrivals + passed * ARRIVALS_PER_S).min(4.0);
            all_there = all_there || self.shared.bound.load(Ordering::SeqCst) >= u64::from(self.plan.leases);
            while all_there && renewals >= 1.0 && self.renewals_open < RENEWALS_MAX {
                renewals -= 1.0;
                self.next_turn()?;
            }
            while (!all_there || arrivals >= 1.0)
                && self.open.len().saturating_sub(self.renewals_open) < ARRIVALS_MAX
                && let Some(slot) = self.without.pop_front()
            {
                arrivals = (arrivals - 1.0).max(0.0);
                self.discover(slot)?;
            }
            self.listen()?;
        }
        if !self.shared.stop.load(Ordering::SeqCst) {
            self.last_round()?;
        }
        self.report.leases = self.plan.leases.into();
        (self.report.seed, self.report.lease_secs) = (self.plan.seed, self.plan.lease_secs.into());
        self.report.reused_addresses = self.owners.values().filter(|(_, reused)| *reused).count() as u64;
        self.report.broken = self.ledger.broken;
        self.report.told = std::mem::take(&mut self.ledger.told);
        Ok(self.report)
    }

    /// Everybody renews once more, the daemon there; whoever holds a promise must be answered.
    fn last_round(&mut self) -> Result<()> {
        self.last = (0..self.clients.len()).map(|slot| (slot, 0)).collect();
        while !self.last.is_empty() || !self.open.is_empty() {
            let mut busy = 0;
            while self.renewals_open < RENEWALS_MAX
                && busy < self.last.len()
                && let Some((slot, attempt)) = self.last.pop_front()
            {
                let client = self.client(slot)?;
                match client.held {
                    _ if client.busy => {
                        busy += 1;
                        self.last.push_back((slot, attempt));
                    }
                    Some(held) => self.renew(slot, held, attempt + 1)?,
                    None => {}
                }
            }
            self.listen()?;
        }
        Ok(())
    }

    fn client(&mut self, slot: usize) -> Result<&mut Client> {
        self.clients.get_mut(slot).context("there is no such client")
    }

    /// The next client with a lease renews it, or does something rarer.
    fn next_turn(&mut self) -> Result<()> {
        for _ in 0..self.turns.len() {
            let Some(slot) = self.turns.pop_front() else { return Ok(()) };
            self.turns.push_back(slot);
            let client = *self.client(slot)?;
            let Some(held) = client.held.filter(|_| !client.busy) else { continue };
            if held.until_boot_ns <= boot_ns() {
                self.report.ran_out += 1;
                self.drop_lease(slot)?;
                self.without.push_back(slot);
                continue;
            }
            return match self.rng.random_range(0..1_000) {
                0..40 => self.give_back(slot, held, 7),
                40..41 => self.give_back(slot, held, 4),
                41..43 => {
                    self.report.vanished += 1;
                    self.replace(slot)
                }
                43..60 if self.shared.phase() == Phase::Up => self.reboot(slot, held),
                _ => self.renew(slot, held, 0),
            };
        }
        Ok(())
    }

    fn message(&mut self, slot: usize, kind: u8, first: &[(u8, [u8; 4])]) -> Result<Frame> {
        let identity = self.client(slot)?.identity;
        let mut frame = Frame::request(kind, mac(identity));
        for (code, value) in first {
            frame = frame.option(*code, value);
        }
        if identity.is_multiple_of(2) {
            frame = frame.option(61, &[&[1][..], &mac(identity)].concat());
        }
        Ok(frame.option(55, &[1, 3, 6]))
    }

    fn ask(&mut self, frame: &Frame, open: Open) -> Result<()> {
        let xid = self.next_xid;
        self.next_xid += 1;
        self.client(open.slot)?.busy = true;
        if open.asked == Asked::Renew {
            self.renewals_open += 1;
        }
        self.open.insert(xid, open);
        self.socket.send(&frame.clone().xid(xid).build())
    }

    fn open(&self, slot: usize, asked: Asked, address: Ipv4Addr) -> Open {
        let (phase, sent_boot_ns) = (self.shared.phase(), boot_ns());
        Open { slot, asked, address, sent_boot_ns, phase, kernel_could: false, attempt: 0 }
    }

    fn discover(&mut self, slot: usize) -> Result<()> {
        let frame = self.message(slot, 1, &[])?;
        self.ask(&frame, self.open(slot, Asked::Discover, Ipv4Addr::UNSPECIFIED))
    }

    fn reboot(&mut self, slot: usize, held: Held) -> Result<()> {
        let frame = self.message(slot, 3, &[(50, held.address.octets())])?;
        self.report.reboots_sent += 1;
        self.ask(&frame, self.open(slot, Asked::Reboot, held.address))
    }

    fn renew(&mut self, slot: usize, mut held: Held, attempt: u8) -> Result<()> {
        if held.acked_boot_ns < self.shared.learnt_boot_ns.load(Ordering::SeqCst) {
            held.known_boot_ns = held.acked_boot_ns;
            self.client(slot)?.held = Some(held);
        }
        let frame = self.message(slot, 3, &[])?.ciaddr(held.address).src(held.address);
        let mut open = self.open(slot, Asked::Renew, held.address);
        open.attempt = attempt;
        let half_ns = u64::from(self.plan.lease_secs) * SECOND_NS / 2;
        open.kernel_could = open.sent_boot_ns < held.known_boot_ns + half_ns
            && held.asked_boot_ns > self.shared.reconfigured_boot_ns.load(Ordering::SeqCst);
        self.report.renewals_sent += 1;
        self.report.renewals_kernel_could += u64::from(open.kernel_could && open.phase != Phase::Up);
        match open.phase {
            Phase::Down => self.report.renewals_daemon_down += 1,
            Phase::Starting => self.report.renewals_daemon_starting += 1,
            Phase::Up => {}
        }
        self.ask(&frame.dst(SERVER).dst_mac(SERVER_MAC), open)?;
        self.shared.renewals_sent.fetch_add(1, Ordering::SeqCst);
        Ok(())
    }

    /// RELEASE (7) or DECLINE (4): neither is answered. Another client comes in this one's place.
    fn give_back(&mut self, slot: usize, held: Held, kind: u8) -> Result<()> {
        let server = (54, SERVER.octets());
        let frame = if kind == 7 {
            self.report.releases += 1;
            let frame = self.message(slot, kind, &[server])?.ciaddr(held.address).src(held.address);
            frame.dst(SERVER).dst_mac(SERVER_MAC)
        } else {
            self.report.declines += 1;
            self.message(slot, kind, &[(50, held.address.octets()), server])?
        };
        let mac = mac(self.client(slot)?.identity);
        self.ledger.given_back(mac, held.address);
        self.socket.send(&frame.build())?;
        self.replace(slot)
    }

    /// Another client comes in this one's place.
    fn replace(&mut self, slot: usize) -> Result<()> {
        self.drop_lease(slot)?;
        let identity = self.next_identity;
        self.next_identity += 1;
        self.client(slot)?.identity = identity;
        self.without.push_back(slot);
        Ok(())
    }

    fn drop_lease(&mut self, slot: usize) -> Result<()> {
        if self.client(slot)?.held.take().is_some() {
            self.shared.bound.fetch_sub(1, Ordering::SeqCst);
        }
        Ok(())
    }

    /// Takes in what came and gives up on what did not.
    fn listen(&mut self) -> Result<()> {
        let mut patience = Duration::from_millis(1);
        for _ in 0..2 * (RENEWALS_MAX + ARRIVALS_MAX) {
            let Some(frame) = self.socket.receive(patience)? else { break };
            self.judge(&frame)?;
            // Replies come in groups; what is there is taken without much waiting.
            patience = Duration::ZERO;
        }
        let now = boot_ns();
        let over = |open: &Open| {
            let wait_ns = if open.asked == Asked::Renew { RENEWAL_NS } else { ARRIVAL_NS };
            now >= open.sent_boot_ns + wait_ns
        };
        let over: Vec<_> = self.open.iter().filter(|(_, open)| over(open)).map(|(xid, _)| *xid).collect();
        over.into_iter().try_for_each(|xid| self.unanswered(xid))
    }

    fn close(&mut self, xid: u32) -> Result<Option<Open>> {
        let Some(open) = self.open.remove(&xid) else { return Ok(None) };
        if open.asked == Asked::Renew {
            self.renewals_open -= 1;
        }
        self.client(open.slot)?.busy = false;
        Ok(Some(open))
    }

    fn unanswered(&mut self, xid: u32) -> Result<()> {
        let Some(open) = self.close(xid)? else { return Ok(()) };
        if matches!(open.asked, Asked::Discover | Asked::Select) {
            self.without.push_back(open.slot);
            return Ok(());
        }
        let mac = mac(self.client(open.slot)?.identity);
        match open.phase {
            Phase::Up => self.report.unanswered_daemon_up += 1,
            phase if open.kernel_could => {
                self.report.unanswered_in_kernel += 1;
                let (address, ms) = (open.address, open.sent_boot_ns / 1_000_000);
                self.ledger.tell(|| {
                    format!(
                        "{mac:02x?}'s renewal of {address} got no answer: sent at {ms} ms, daemon {phase:?}"
                    )
                });
            }
            Phase::Down | Phase::Starting => self.report.unanswered_daemon_down += 1,
        }
        // In the last round the daemon is there.
        if (1..LAST_ATTEMPTS).contains(&open.attempt) {
            self.last.push_back((open.slot, open.attempt));
        } else if open.attempt == LAST_ATTEMPTS {
            self.ledger.ignored(mac, open.address, boot_ns());
        }
        Ok(())
    }

    fn judge(&mut self, frame: &[u8]) -> Result<()> {
        // Neighbour discovery and the like are none of our business.
        if frame.get(12..14) != Some(&[8, 0]) || frame.get(23) != Some(&17) {
            return Ok(());
        }
        let now = boot_ns();
        let message = match Message::parse(frame) {
            Ok(message) => message,
            Err(error) => return self.unsound(&format!("{error:#}: {frame:02x?}")),
        };
        let Some(&[2, 1, a, b, c, d]) = message.chaddr.first_chunk::<6>() else {
            return self.unsound(&format!("for nobody here: {message:?}"));
        };
        let identity = u32::from_be_bytes([a, b, c, d]);
        let sound = message.op == 2
            && message.src_mac == SERVER_MAC
            && message.src == SERVER
            && message.option_address(54) == Some(SERVER);
        if !sound || identity >= self.next_identity {
            return self.unsound(&format!("{message:?}"));
        }
        let open = self.open.get(&message.xid).copied();
        let Some(open) =
            open.filter(|open| self.clients.get(open.slot).is_some_and(|c| c.identity == identity))
        else {
            // Its client has given up on it, and does not take what it says for a promise.
            self.report.late_replies += 1;
            return Ok(());
        };
        match (message.kind(), open.asked) {
            (2, Asked::Discover) => self.offered(&message, open.slot),
            (5, Asked::Select | Asked::Renew | Asked::Reboot) => self.acked(&message, &open, identity, now),
            (6, Asked::Select | Asked::Renew | Asked::Reboot) => self.refused(&message, &open, identity, now),
            _ => self.unsound(&format!("in answer to {:?}: {message:?}", open.asked)),
        }
    }

    fn unsound(&mut self, what: &str) -> Result<()> {
        self.report.unsound_replies += 1;
        self.ledger.tell(|| format!("an unsound reply: {what}"));
        Ok(())
    }

    fn offered(&mut self, offer: &Message, slot: usize) -> Result<()> {
        self.close(offer.xid)?;
        let chosen = [(50, offer.yiaddr.octets()), (54, SERVER.octets())];
        let frame = self.message(slot, 3, &chosen)?;
        self.ask(&frame, self.open(slot, Asked::Select, offer.yiaddr))
    }

    fn acked(&mut self, ack: &Message, open: &Open, identity: u32, now: u64) -> Result<()> {
        let Some(lease_secs) = ack.option_u32(51).filter(|secs| *secs == self.plan.lease_secs) else {
            return self.unsound(&format!("not the lease time that was configured: {ack:?}"));
        };
        self.close(ack.xid)?;
        let (mac, address) = (mac(identity), ack.yiaddr);
        if address != open.address {
            self.ledger.moved(mac, open.address, address, now);
        }
        self.ledger.acked(mac, address, open.sent_boot_ns, now, lease_secs);
        match open.asked {
            Asked::Renew if address == open.address => self.report.renewals_answered += 1,
            Asked::Reboot => self.report.reboots_answered += 1,
            Asked::Select => {
                self.report.new_leases += 1;
                let owner = self.owners.entry(address).or_insert((identity, false));
                owner.1 |= owner.0 != identity;
            }
            Asked::Renew | Asked::Discover => {}
        }
        let client = self.client(open.slot)?;
        let before = client.held;
        let by_daemon = open.asked != Asked::Renew;
        client.held = Some(Held {
            address,
            until_boot_ns: open.sent_boot_ns + u64::from(lease_secs) * SECOND_NS,
            acked_boot_ns: now,
            asked_boot_ns: open.sent_boot_ns,
            known_boot_ns: before
                .filter(|_| !by_daemon)
                .map_or(open.sent_boot_ns, |before| before.known_boot_ns),
        });
        if before.is_none() {
            self.shared.bound.fetch_add(1, Ordering::SeqCst);
        }
        Ok(())
    }

    fn refused(&mut self, nak: &Message, open: &Open, identity: u32, now: u64) -> Result<()> {
        self.close(nak.xid)?;
        self.report.naks += 1;
        // For one who was only offered the address, this is no promise broken: the ledger knows of none.
        self.ledger.refused(mac(identity), open.address, now);
        self.drop_lease(open.slot)?;
        self.without.push_back(open.slot);
        Ok(())
    }
}

/// The hardware address of a client.
fn mac(identity: u32) -> [u8; 6] {
    let [a, b, c, d] = identity.to_be_bytes();
    [2, 1, a, b, c, d]
}
