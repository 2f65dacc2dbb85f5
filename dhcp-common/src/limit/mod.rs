//! How much of what the kernel does not answer may go up to the daemon: token buckets for each client, each relay agent
//! and for all together.
//!
//! Renewals that the kernel answers never come here: they go first, whatever else is going on. What would be passed up
//! is one of four kinds ([`Share`]), and each kind has an eighth of what the daemon takes to itself; the other half is
//! common. So a flood of one kind takes the common half and its own eighth, and no more:
//!
//! * a client that renews a lease the kernel knows, though not in a way it can answer, is not behind strangers;
//! * a REQUEST (of an offer, of a remembered address) is not behind DISCOVERs, so whoever got an offer gets its lease;
//! * a client that asks *again* is not behind those that ask for the first time. A flood from random hardware addresses
//!   shows each of them once; a client that found no hearing comes back after seconds, as RFC 2131 section 4.1 has it.
//!
//! Nothing grows, whoever comes: clients and relays have places in tables of fixed size, found by a keyed hash that
//! nobody outside knows. A client's place carries a tag, and who comes later takes it over: that costs the earlier
//! client its memory, never its service. A relay's place is charged only for what is let through, so a flood of invented
//! relay addresses, which the overall limit stops, fills none.
//!
//! The buckets are shared by all processors, for one network queue may bring all of a relay's clients. They are read and
//! written without a lock: two processors that take the last token at the same moment both get it, so a burst may be
//! longer by a frame for each processor, and the rate is kept.

mod asker;
mod bucket;

pub use self::{
    asker::Asker,
    bucket::{Rate, Word},
};
use crate::{
    abi::{Control, KEY_WORDS},
    lease_cell::CHADDR_MASK,
    reason::Reason,
    renewal::{self, Maps},
};

/// Places for clients, eight octets each: enough to know a client again after four seconds of 200,000 strangers each.
pub const CLIENTS: u32 = 1 << 20;
/// Places for relay agents.
pub const RELAYS: u32 = 1 << 12;
/// Buckets that all share: one of each [`Share`].
pub const SHARES: u32 = 5;
/// How long a client that was refused is known again.
const AGAIN_NS: u64 = 128 << 30;

/// Clients' times are kept in units of 1,024 ns, in 48 bits: nine years.
const TICK_SHIFT: u32 = 10;
const TICK_MASK: u64 = (1 << 48) - 1;

/// Which part of what the daemon takes a frame may use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Share {
    /// A first DISCOVER, and everything that is not one of the others.
    New = 0,
    /// A client that was here before.
    Again = 1,
    /// A REQUEST.
    Request = 2,
    /// The holder of a lease the kernel knows.
    Known = 3,
    /// For all of these, once their own is used up.
    Common = 4,
}

/// What is let through; constants of a loaded program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct Limits {
    /// Of each client.
    pub client: Rate,
    /// Of each relay agent.
    pub relay: Rate,
    /// Of all, by [`Share`].
    pub shares: [Rate; SHARES as usize],
}

impl Limits {
    /// Everything is let through.
    pub const OFF: Self =
        Self { client: Rate::UNLIMITED, relay: Rate::UNLIMITED, shares: [Rate::UNLIMITED; SHARES as usize] };

    /// Limits from rates and bursts in frames, of which a rate of 0 is no limit.
    pub const fn new(client: (u32, u32), relay: (u32, u32), overall: (u32, u32)) -> Self {
        let (per_sec, burst) = overall;
        let own = Rate::new(per_sec.div_ceil(8), burst.div_ceil(8));
        let common = Rate::new(per_sec.div_ceil(2), burst.div_ceil(2));
        Self {
            client: Rate::new(client.0, client.1),
            relay: Rate::new(relay.0, relay.1),
            shares: [own, own, own, own, common],
        }
    }
}

impl Limits {
    #[inline(always)]
    const fn is_off(&self) -> bool {
        let [own, .., common] = &self.shares;
        self.client.interval_ns | self.relay.interval_ns | own.interval_ns | common.interval_ns == 0
    }
}

/// The buckets.
pub trait Buckets {
    /// What is let through.
    fn limits(&self) -> Limits;
    /// A client's place, `index` below [`CLIENTS`].
    fn client(&self, index: u32) -> Option<Word>;
    /// A relay agent's place, `index` below [`RELAYS`].
    fn relay(&self, index: u32) -> Option<Word>;
    /// The bucket of a [`Share`], `index` below [`SHARES`].
    fn share(&self, index: u32) -> Option<Word>;
    /// Whether the kernel knows a lease of this address and hardware address (as [`LeaseCell::chaddr_word`]), be it only
    /// in part, or withdrawn. In the kernel a function of its own.
    ///
    /// [`LeaseCell::chaddr_word`]: crate::lease_cell::LeaseCell::chaddr_word
    fn knows(&self, address: [u8; 4], chaddr: u64) -> bool;
}

/// Reasons that a frame is passed for which the daemon would see it: what is none of DHCP, and what its socket's filter
/// refuses (fragments, three tags) or is not meant for this machine, is no concern of ours.
const UP: u64 = {
    let mut all = (1 << Reason::COUNT) - 1;
    let none = [
        Reason::Answered,
        Reason::NotIpv4,
        Reason::NotDhcp,
        Reason::TooManyTags,
        Reason::Fragment,
        Reason::OtherMac,
        Reason::WriteFailed,
        Reason::LimitedClient,
        Reason::LimitedRelay,
        Reason::LimitedNew,
        Reason::LimitedAgain,
        Reason::LimitedRequest,
        Reason::LimitedKnown,
    ];
    let mut i = 0;
    while i < none.len() {
        #[expect(clippy::indexing_slicing, reason = "evaluated when compiled")]
        let reason = none[i];
        all &= !(1 << reason as u32);
        i += 1;
    }
    all
};

/// Whether a frame that is not answered for `reason`, a [`Reason`] as a number, comes to the daemon.
#[inline(always)]
pub const fn goes_up(reason: usize) -> bool {
    UP >> (reason & 63) & 1 != 0
}

/// Whether a reason, as a number, is one for which a frame is dropped and not passed.
#[inline(always)]
pub const fn is_dropped(reason: usize) -> bool {
    reason >= Reason::LimitedClient as usize && reason <= Reason::LimitedKnown as usize
}

/// Takes a token for a frame that [`goes_up`], or says for what lack of tokens it is to be dropped.
#[inline(always)]
pub fn refuses<M: Maps + Buckets>(asker: &Asker, maps: &M) -> Option<Reason> {
    let limits = maps.limits();
    if limits.is_off() {
        return None;
    }
    let control = maps.control()?;
    let now_ns = maps.now_boot_ns();

    let place = Place::of(asker, control);
    let client = maps.client(place.index)?;
    let seen = place.time_ns(client.load());
    if asker.has_client() && limits.client.is_spent(seen, now_ns) {
        return Some(Reason::LimitedClient);
    }
    client.store(place.word(limits.client.charged(seen, now_ns)));
    // The client has been here, and was quiet for at least as long as its rate asks.
    let again = asker.has_client() && seen != 0 && seen <= now_ns && now_ns - seen < AGAIN_NS;

    let relay = maps.relay(relay_index(asker, control))?;
    let relay_time = relay.load();
    if asker.is_relayed() && limits.relay.is_spent(relay_time, now_ns) {
        return Some(Reason::LimitedRelay);
    }
    let share = if asker.ciaddr != [0; 4] && maps.knows(asker.ciaddr, asker.chaddr[0]) {
        Share::Known
    } else if asker.is_request() {
        Share::Request
    } else if again {
        Share::Again
    } else {
        Share::New
    };
    // The clock is nine years from where this adds anything, but for all the verifier knows every share is possible: it
    // need not tell them apart.
    let share = (share as u32).wrapping_add((now_ns >> 58) as u32) & 3;
    if !take(maps, &limits, share, now_ns)? && !take(maps, &limits, Share::Common as u32, now_ns)? {
        return Some(match share {
            0 => Reason::LimitedNew,
            1 => Reason::LimitedAgain,
            2 => Reason::LimitedRequest,
            _ => Reason::LimitedKnown,
        });
    }
    if asker.is_relayed() {
        relay.store(limits.relay.charged(relay_time, now_ns));
    }
    None
}

/// Takes a token of a share; `None` if there is no such bucket.
#[inline(always)]
fn take<M: Buckets>(maps: &M, limits: &Limits, share: u32, now_ns: u64) -> Option<bool> {
    let bucket = maps.share(share)?;
    // Every share but the common one has the same rate.
    let [own, .., common] = limits.shares;
    let rate = if share == Share::Common as u32 { common } else { own };
    let time = bucket.load();
    if rate.is_spent(time, now_ns) {
        return Some(false);
    }
    bucket.store(rate.charged(time, now_ns));
    Some(true)
}

/// What [`Buckets::knows`] is to say.
#[inline(always)]
pub fn knows<M: Maps>(maps: &M, address: [u8; 4], chaddr: u64) -> bool {
    renewal::find_lease(maps, address).is_ok_and(|lease| {
        lease.address_word() == u32::from_ne_bytes(address) && lease.chaddr_word() == chaddr & CHADDR_MASK
    })
}

/// A client's place in the table.
struct Place {
    index: u32,
    tag: u64,
}

impl Place {
    #[inline(always)]
    fn of(asker: &Asker, control: &Control) -> Self {
        let [low, high] = asker.chaddr;
        Self {
            index: hash(low, high, control, 1) as u32 & (CLIENTS - 1),
            tag: hash(low, high, control, 2) & !TICK_MASK,
        }
    }

    /// Until when the client has used its tokens up; 0 if the place is another client's.
    #[inline(always)]
    const fn time_ns(&self, word: u64) -> u64 {
        if word & !TICK_MASK == self.tag { (word & TICK_MASK) << TICK_SHIFT } else { 0 }
    }

    #[inline(always)]
    const fn word(&self, time_ns: u64) -> u64 {
        self.tag | (time_ns >> TICK_SHIFT) & TICK_MASK
    }
}

#[inline(always)]
fn relay_index(asker: &Asker, control: &Control) -> u32 {
    hash(u64::from(u32::from_le_bytes(asker.giaddr)), 0, control, 3) as u32 & (RELAYS - 1)
}

/// A multilinear hash under the `key`-th last word of the key, which no request is long enough for a fingerprint to use;
/// then mixed (the finalizer of MurmurHash3), for addresses in a row would else fall into places in a row.
#[inline(always)]
#[expect(clippy::indexing_slicing, reason = "constants below the length of the key")]
fn hash(low: u64, high: u64, control: &Control, key: usize) -> u64 {
    let [a, b, c, d] = control.key[KEY_WORDS - key];
    let sum = a
        .wrapping_mul(low & 0xffff_ffff)
        .wrapping_add(b.wrapping_mul(low >> 32))
        .wrapping_add(c.wrapping_mul(high & 0xffff_ffff))
        .wrapping_add(d.wrapping_mul(high >> 32));
    let mixed = (sum ^ sum >> 33).wrapping_mul(0xff51_afd7_ed55_8ccd);
    let mixed = (mixed ^ mixed >> 33).wrapping_mul(0xc4ce_b9fe_1a85_ec53);
    mixed ^ mixed >> 33
}

const _: () = {
    use crate::{fingerprint::HEADER_WORDS, wire::REQUEST_OPTIONS_MAX};
    assert!(HEADER_WORDS + REQUEST_OPTIONS_MAX / 8 + 2 <= KEY_WORDS - 3, "keys of their own");
    assert!(Reason::COUNT <= 64, "a word has a bit for each reason");
    assert!(Share::Known as u32 == 3 && Share::Common as u32 == 4 && SHARES == 5);
    assert!(CLIENTS.is_power_of_two() && RELAYS.is_power_of_two());
    assert!(size_of::<Limits>() == 16 * (2 + SHARES as usize));
};

#[cfg(feature = "user")]
mod pod {
    // SAFETY: `u64`s only, no padding (size asserted above), any bit pattern valid.
    unsafe impl aya::Pod for super::Limits {}
}

#[cfg(test)]
#[expect(clippy::indexing_slicing, reason = "a test that indexes out of bounds fails, as it should")]
mod tests;
