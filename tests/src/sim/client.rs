//! A DHCP client (RFC 2131 section 4.4): pure, told of time and messages. What it believes to hold is its own business;
//! whether the server kept its word is the oracle's.

use std::net::Ipv4Addr;

use rand::{Rng as _, rngs::SmallRng};

use super::{
    scenario::{RELAY, ROUTER_MAC, Rates, SEC, SERVER, SERVER_MAC},
    style::Style,
};
use crate::{packet::Frame, parse::Message};

/// The longest wait between two tries of a client that has no address.
pub const BACKOFF_MAX_NS: u64 = 16 * SEC;
/// How long a client that gave its address up keeps quiet: longer than any of its frames is under way.
const PAUSE_NS: u64 = 3 * SEC;

/// Where a client is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// Quiet; begins anew when woken.
    Init,
    /// Has sent DISCOVER.
    Selecting,
    /// Has sent REQUEST for an offer.
    Requesting(Ipv4Addr),
    /// Has an address.
    Bound,
    /// Asks its server for more time.
    Renewing,
    /// Asks any server for more time.
    Rebinding,
    /// Asks whether its old address still holds.
    Rebooting(Ipv4Addr),
    /// Has an address and sends nothing.
    Asleep,
}

/// What a client was granted, in true time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Held {
    /// The address.
    pub address: Ipv4Addr,
    /// When to ask for more time.
    pub renew_ns: u64,
    /// When to ask anybody.
    pub rebind_ns: u64,
    /// When it ends.
    pub expires_ns: u64,
}

/// What a client does.
#[derive(Clone, Debug, Default)]
pub struct Deeds {
    /// Frames it sends, and the address each asks for.
    pub send: Vec<(Vec<u8>, Option<Ipv4Addr>)>,
    /// The address it gives back by what it sends.
    pub gives_back: Option<Ipv4Addr>,
}

/// A client.
#[derive(Clone, Debug)]
pub struct Client {
    /// Its number.
    pub index: u16,
    /// What it sends looks like.
    pub style: Style,
    /// Where it is in its life.
    pub state: State,
    /// What it holds.
    pub held: Option<Held>,
    /// When it wants to be woken.
    pub wake_ns: u64,
    /// Since when it has been asking for an address.
    pub asking_since_ns: Option<u64>,
    /// How many transactions it has had.
    pub transactions: u16,
    asked_ns: u64,
    tries: u32,
    /// When it stops behaving well, and how: decided when it is granted an address.
    whim: Option<(u64, Whim)>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Whim {
    Release,
    Sleep,
    Reboot,
    Forget,
}

/// How a message travels.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Way {
    /// To everybody, or to the relay that passes it on.
    Broadcast,
    /// To the server itself.
    Unicast,
}

impl Client {
    /// A client that begins at `start_ns`.
    pub fn new(index: u16, style: Style, start_ns: u64) -> Self {
        Self {
            index,
            style,
            state: State::Init,
            held: None,
            wake_ns: start_ns,
            asking_since_ns: None,
            transactions: 0,
            asked_ns: 0,
            tries: 0,
            whim: None,
        }
    }

    /// Its hardware address.
    pub fn mac(&self) -> [u8; 6] {
        let [high, low] = self.index.to_be_bytes();
        [2, 0, 0, 1, high, low]
    }

    /// The transaction under way. The oracle tells clients apart by it.
    pub fn xid(&self) -> u32 {
        u32::from(self.index) << 16 | u32::from(self.transactions)
    }

    /// Its time has come.
    pub fn wake(&mut self, now_ns: u64, rng: &mut SmallRng) -> Deeds {
        let mut deeds = Deeds::default();
        if self.held.is_some_and(|held| held.expires_ns <= now_ns) {
            self.held = None;
            if !matches!(self.state, State::Init) {
                self.begin(now_ns);
            }
        }
        match self.state {
            State::Init => self.begin(now_ns),
            State::Bound | State::Asleep => {}
            State::Requesting(_) | State::Rebooting(_) if self.tries >= 4 => match self.held {
                // RFC 2131 section 3.2: no answer, but time left.
                Some(held) => self.settle_down(held, State::Bound),
                None => self.begin(now_ns),
            },
            State::Selecting | State::Requesting(_) | State::Rebooting(_) => {}
            State::Renewing | State::Rebinding => {}
        }
        self.next_step(now_ns, rng, &mut deeds);
        deeds
    }

    fn begin(&mut self, now_ns: u64) {
        self.held = None;
        self.transact(State::Selecting, now_ns);
        self.asking_since_ns.get_or_insert(now_ns);
    }

    fn transact(&mut self, state: State, now_ns: u64) {
        (self.state, self.tries, self.asked_ns) = (state, 0, now_ns);
        self.transactions = self.transactions.wrapping_add(1);
    }

    fn settle_down(&mut self, held: Held, state: State) {
        self.state = state;
        self.asking_since_ns = None;
        self.wake_ns = held.renew_ns;
        if let Some((at, _)) = self.whim {
            self.wake_ns = self.wake_ns.min(at);
        }
    }

    /// Sends what the state asks for, and says when to go on.
    fn next_step(&mut self, now_ns: u64, rng: &mut SmallRng, deeds: &mut Deeds) {
        if let (State::Bound, Some((at, whim)), Some(held)) = (self.state, self.whim, self.held)
            && at <= now_ns
        {
            self.whim = None;
            self.follow(whim, held, now_ns, rng, deeds);
            return;
        }
        match (self.state, self.held) {
            (State::Asleep, Some(held)) => {
                // Awake again with time left: some ask, some go on as if nothing had been.
                if rng.random_bool(0.5) {
                    self.transact(State::Rebooting(held.address), now_ns);
                } else {
                    self.state = State::Bound;
                }
            }
            (State::Asleep | State::Bound | State::Renewing | State::Rebinding, None) => self.begin(now_ns),
            _ => {}
        }
        if let (State::Bound | State::Renewing, Some(held)) = (self.state, self.held) {
            if now_ns >= held.rebind_ns {
                self.transact(State::Rebinding, now_ns);
            } else if now_ns >= held.renew_ns && self.state == State::Bound {
                self.transact(State::Renewing, now_ns);
            }
        }
        let patience = ((4 * SEC) << self.tries.min(2)).min(BACKOFF_MAX_NS) + rng.random_range(0..SEC);
        self.wake_ns = now_ns + patience;
        self.tries += 1;
        let held = self.held.map(|held| held.address);
        match (self.state, self.held) {
            (State::Selecting, _) => deeds.send.push((self.discover(now_ns), None)),
            (State::Requesting(address), _) => {
                deeds.send.push((self.request(now_ns, Some(address), true), Some(address)));
            }
            (State::Rebooting(address), _) => {
                deeds.send.push((self.request(now_ns, Some(address), false), Some(address)));
            }
            (State::Bound, Some(held)) => self.settle_down(held, State::Bound),
            (State::Renewing, Some(lease)) => {
                deeds.send.push((self.extend(now_ns, lease.address, Way::Unicast), held));
                self.wake_ns = self.retry_before(now_ns, lease.rebind_ns);
            }
            (State::Rebinding, Some(lease)) => {
                deeds.send.push((self.extend(now_ns, lease.address, Way::Broadcast), held));
                self.wake_ns = self.retry_before(now_ns, lease.expires_ns);
            }
            _ => {}
        }
    }

    /// Half of what is left, but not faster than every other second (RFC 2131 says a minute; leases here are short).
    fn retry_before(&self, now_ns: u64, end_ns: u64) -> u64 {
        (now_ns + (end_ns.saturating_sub(now_ns) / 2).max(2 * SEC)).min(end_ns.max(now_ns + SEC / 10))
    }

    fn follow(&mut self, whim: Whim, held: Held, now_ns: u64, rng: &mut SmallRng, deeds: &mut Deeds) {
        match whim {
            Whim::Release => {
                // Some ask for more time on their way out: what becomes of that is nobody's business but the oracle's.
                if rng.random_bool(0.5) {
                    self.transact(State::Renewing, now_ns);
                    deeds.send.push((self.extend(now_ns, held.address, Way::Unicast), None));
                }
                self.transactions = self.transactions.wrapping_add(1);
                let frame = self.frame(now_ns, 7, Way::Unicast, |f| {
                    f.ciaddr(held.address).src(held.address).option(54, &SERVER.octets())
                });
                deeds.send.push((frame, None));
                self.give_up(now_ns + rng.random_range(0..60 * SEC), deeds);
            }
            Whim::Sleep => {
                self.state = State::Asleep;
                let left = held.expires_ns.saturating_sub(now_ns);
                self.wake_ns = now_ns + rng.random_range(left / 4..left * 2 + SEC);
            }
            Whim::Reboot => {
                self.state = State::Asleep;
                self.transact(State::Rebooting(held.address), now_ns);
                self.wake_ns = now_ns + PAUSE_NS;
            }
            Whim::Forget => {
                self.held = None;
                self.state = State::Init;
                self.wake_ns = now_ns + PAUSE_NS;
            }
        }
    }

    fn give_up(&mut self, again_ns: u64, deeds: &mut Deeds) {
        deeds.gives_back = self.held.take().map(|held| held.address);
        self.state = State::Init;
        self.asking_since_ns = None;
        self.wake_ns = again_ns + PAUSE_NS;
    }

    /// A message has come; whether it was taken to heart, so that the time to wake has changed.
    pub fn receive(
        &mut self,
        now_ns: u64,
        message: &Message,
        rates: &Rates,
        rng: &mut SmallRng,
    ) -> Option<Deeds> {
        if message.xid != self.xid() {
            return None;
        }
        let mut deeds = Deeds::default();
        match (message.kind(), self.state) {
            (2, State::Selecting) => {
                self.transact(State::Requesting(message.yiaddr), now_ns);
                self.next_step(now_ns, rng, &mut deeds);
            }
            (5, State::Selecting | State::Requesting(_) | State::Rebooting(_)) => {
                self.bind(now_ns, message, rates, rng)?;
                if rng.random_range(0..1_000) < rates.decline {
                    let address = message.yiaddr;
                    self.transactions = self.transactions.wrapping_add(1);
                    let frame = self.frame(now_ns, 4, Way::Broadcast, |f| {
                        f.option(50, &address.octets()).option(54, &SERVER.octets())
                    });
                    deeds.send.push((frame, None));
                    self.give_up(now_ns, &mut deeds);
                }
            }
            (5, State::Renewing | State::Rebinding) => self.bind(now_ns, message, rates, rng)?,
            (6, State::Requesting(_) | State::Rebooting(_) | State::Renewing | State::Rebinding) => {
                self.held = None;
                self.state = State::Init;
                self.wake_ns = now_ns + PAUSE_NS;
            }
            _ => return None,
        }
        Some(deeds)
    }

    fn bind(&mut self, now_ns: u64, message: &Message, rates: &Rates, rng: &mut SmallRng) -> Option<()> {
        let lease_ns = u64::from(message.option_u32(51)?) * SEC;
        // RFC 2131 section 4.4.5: half of it and seven eighths, unless told otherwise.
        let told_ns = |code| message.option_u32(code).map(|secs| u64::from(secs) * SEC);
        let t1_ns = told_ns(58).unwrap_or(lease_ns / 2);
        let t2_ns = told_ns(59).unwrap_or(lease_ns / 8 * 7);
        // RFC 2131 section 4.4.1: a lease counts from when it was first asked for.
        let from_ns = self.asked_ns;
        let held = Held {
            address: message.yiaddr,
            renew_ns: from_ns + t1_ns,
            rebind_ns: from_ns + t2_ns,
            expires_ns: from_ns + lease_ns,
        };
        self.held = Some(held);
        let mut dice = rng.random_range(0..1_000);
        let mut chosen = None;
        for (rate, whim) in [
            (rates.release, Whim::Release),
            (rates.sleep, Whim::Sleep),
            (rates.reboot, Whim::Reboot),
            (rates.forget, Whim::Forget),
        ] {
            if chosen.is_none() && dice < rate {
                chosen = Some(whim);
            }
            dice = dice.saturating_sub(rate);
        }
        self.whim = chosen.map(|whim| (now_ns + rng.random_range(0..lease_ns / 2), whim));
        self.settle_down(held, State::Bound);
        Some(())
    }

    // --- messages ---

    fn discover(&self, now_ns: u64) -> Vec<u8> {
        self.frame(now_ns, 1, Way::Broadcast, |f| if self.style.rapid { f.option(80, &[]) } else { f })
    }

    fn request(&self, now_ns: u64, address: Option<Ipv4Addr>, selecting: bool) -> Vec<u8> {
        self.frame(now_ns, 3, Way::Broadcast, |mut f| {
            if let Some(address) = address {
                f = f.option(50, &address.octets());
            }
            if selecting { f.option(54, &SERVER.octets()) } else { f }
        })
    }

    fn extend(&self, now_ns: u64, address: Ipv4Addr, way: Way) -> Vec<u8> {
        self.frame(now_ns, 3, way, |f| {
            let f = f.ciaddr(address);
            let f = if way == Way::Unicast || !self.style.relayed { f.src(address) } else { f };
            if self.style.old_fashioned {
                f.option(50, &address.octets()).option(54, &SERVER.octets())
            } else {
                f
            }
        })
    }

    fn frame(&self, now_ns: u64, kind: u8, way: Way, with: impl FnOnce(Frame) -> Frame) -> Vec<u8> {
        let secs = u16::try_from(now_ns.saturating_sub(self.asked_ns) / SEC).unwrap_or(u16::MAX);
        let mut frame = Frame::request(kind, self.mac()).xid(self.xid()).secs(secs);
        if self.style.broadcast {
            frame = frame.flags(0x8000);
        }
        if !self.style.padded {
            frame = frame.bootp_len_min(0);
        }
        if let Some(id) = &self.style.client_id {
            frame = frame.option(61, id);
        }
        if !self.style.hostname.is_empty() {
            frame = frame.option(12, self.style.hostname.as_bytes());
        }
        frame = with(frame.option(55, &self.style.parameters));
        if let Some(secs) = self.style.wish_secs {
            frame = frame.option(51, &secs.to_be_bytes());
        }
        if way == Way::Unicast {
            let via = if self.style.relayed { ROUTER_MAC } else { self.mac() };
            return frame.dst(SERVER).dst_mac(SERVER_MAC).src_mac(via).build();
        }
        if self.style.relayed {
            let [high, low] = self.index.to_be_bytes();
            frame = frame
                .giaddr(RELAY)
                .hops(1)
                .option(82, &[1, 4, b'c', b'k', high, low])
                .src(RELAY)
                .src_port(67)
                .dst(SERVER)
                .dst_mac(SERVER_MAC)
                .src_mac(ROUTER_MAC);
        }
        frame.build()
    }
}
