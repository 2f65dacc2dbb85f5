//! How fast anybody may ask, and guess tokens: by address, in tables of bounded size. Who is over a limit is refused at
//! once and holds nothing of ours while waiting.

use std::{
    collections::{HashMap, HashSet},
    hash::{BuildHasher as _, RandomState},
    net::{IpAddr, Ipv6Addr},
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

/// Addresses remembered; all others share one entry while there is no room.
const ADDRESSES_MAX: usize = 4_096;
/// Wrong tokens that cost nothing but the refusal: somebody mistypes.
const FREE_FAILURES: u32 = 5;
/// The first delay after those; each further failure doubles it.
const DELAY_FIRST: Duration = Duration::from_millis(500);
/// The longest delay.
const DELAY_MAX: Duration = Duration::from_secs(30);
/// Right tokens remembered, each with an address it came from.
const KNOWN_MAX: usize = 16_384;
/// When failures are forgotten.
const FORGET_AFTER: Duration = Duration::from_secs(600);

/// Those who are one for the limits: an IPv4 address, or the /64 that an IPv6 host has all of.
pub fn source(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => {
            let [a, b, c, d, ..] = address.segments();
            Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0).into()
        }
        v4 @ IpAddr::V4(_) => v4,
    }
}

/// A table by address that never grows beyond its bound.
#[derive(Debug)]
struct Table<T> {
    by_address: HashMap<IpAddr, T>,
    others: T,
}

impl<T: Clone> Table<T> {
    fn new(fresh: T) -> Self {
        Self { by_address: HashMap::new(), others: fresh }
    }

    /// The entry of an address; `stale` tells which entries say nothing any more.
    fn entry(&mut self, address: IpAddr, fresh: T, stale: impl Fn(&T) -> bool) -> &mut T {
        let address = source(address);
        if self.by_address.len() >= ADDRESSES_MAX && !self.by_address.contains_key(&address) {
            self.by_address.retain(|_, entry| !stale(entry));
            if self.by_address.len() >= ADDRESSES_MAX {
                return &mut self.others;
            }
        }
        self.by_address.entry(address).or_insert(fresh)
    }
}

#[derive(Clone, Copy, Debug)]
struct Bucket {
    tokens: f64,
    at: Instant,
}

/// Requests by address: so many a second in the long run, as many at once.
#[derive(Debug)]
pub struct RequestRate {
    per_sec: f64,
    buckets: Mutex<Table<Bucket>>,
}

impl RequestRate {
    /// So many requests a second for each address.
    pub fn new(per_sec: u32, now: Instant) -> Self {
        let per_sec = f64::from(per_sec);
        Self { per_sec, buckets: Mutex::new(Table::new(Bucket { tokens: per_sec, at: now })) }
    }

    /// Whether an address may make one more request.
    pub fn take(&self, address: IpAddr, now: Instant) -> bool {
        let most = self.per_sec;
        let filled = |bucket: &Bucket| {
            (bucket.tokens + now.saturating_duration_since(bucket.at).as_secs_f64() * most).min(most)
        };
        let mut buckets = lock(&self.buckets);
        let fresh = Bucket { tokens: most, at: now };
        let bucket = buckets.entry(address, fresh, |bucket| filled(bucket) >= most);
        let tokens = filled(bucket);
        let enough = tokens >= 1.0;
        *bucket = Bucket { tokens: if enough { tokens - 1.0 } else { tokens }, at: now };
        enough
    }
}

#[derive(Clone, Copy, Debug)]
struct Failures {
    count: u32,
    until: Instant,
}

/// Wrong tokens by address, and the right ones that came from there before.
#[derive(Debug)]
pub struct Guesses {
    failures: Mutex<Table<Failures>>,
    /// Keyed hashes of addresses and tokens: nothing that anybody could use.
    known: Mutex<HashSet<u64>>,
    hasher: RandomState,
}

impl Guesses {
    /// Nobody has guessed yet.
    pub fn new(now: Instant) -> Self {
        Self {
            failures: Mutex::new(Table::new(Failures { count: 0, until: now })),
            known: Mutex::default(),
            hasher: RandomState::new(),
        }
    }

    /// How long an address has to wait before this token is looked at; `None` if it need not.
    pub fn wait(&self, address: IpAddr, token: &str, now: Instant) -> Option<Duration> {
        let wait = self.wait_of(address, now);
        (!wait.is_zero() && !lock(&self.known).contains(&self.trace(address, token))).then_some(wait)
    }

    fn wait_of(&self, address: IpAddr, now: Instant) -> Duration {
        let mut table = lock(&self.failures);
        let entry = match table.by_address.get(&source(address)) {
            Some(entry) => *entry,
            None if table.by_address.len() >= ADDRESSES_MAX => table.others,
            None => return Duration::ZERO,
        };
        if entry.until + FORGET_AFTER < now {
            table.by_address.remove(&source(address));
        }
        entry.until.saturating_duration_since(now)
    }

    /// Notes a wrong token.
    pub fn failed(&self, address: IpAddr, token: &str, now: Instant) {
        // It may have been right before, and is revoked by now.
        lock(&self.known).remove(&self.trace(address, token));
        let mut table = lock(&self.failures);
        let fresh = Failures { count: 0, until: now };
        let entry = table.entry(address, fresh, |entry| entry.until + FORGET_AFTER < now);
        entry.count = entry.count.saturating_add(1);
        let over = entry.count.saturating_sub(FREE_FAILURES);
        let delay = match over {
            0 => Duration::ZERO,
            over => DELAY_FIRST.saturating_mul(1 << (over - 1).min(10)).min(DELAY_MAX),
        };
        entry.until = now + delay;
    }

    /// Remembers a right token. The address's failures stay: whoever has one token may guess at another.
    pub fn succeeded(&self, address: IpAddr, token: &str) {
        let mut known = lock(&self.known);
        // Only right tokens get here: if there are ever so many, each is looked at once more after its wait.
        if known.len() >= KNOWN_MAX {
            known.clear();
        }
        known.insert(self.trace(address, token));
    }

    fn trace(&self, address: IpAddr, token: &str) -> u64 {
        self.hasher.hash_one((source(address), token))
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(n: u32) -> IpAddr {
        std::net::Ipv4Addr::from_bits(0xc612_0000 + n).into()
    }

    #[test]
    fn requests_come_at_their_rate_and_nobody_pays_for_another() {
        let now = Instant::now();
        let rate = RequestRate::new(10, now);
        assert_eq!((0..20).filter(|_| rate.take(address(1), now)).count(), 10);
        assert!(rate.take(address(2), now));
        assert!(!rate.take(address(1), now));
        let later = now + Duration::from_millis(500);
        assert_eq!((0..20).filter(|_| rate.take(address(1), later)).count(), 5);
    }

    #[test]
    fn delays_double_up_to_a_bound_and_are_forgotten() {
        let now = Instant::now();
        let guesses = Guesses::new(now);
        let wait = |n, at| guesses.wait(address(n), "wrong", at);
        for _ in 0..FREE_FAILURES {
            guesses.failed(address(1), "wrong", now);
        }
        assert_eq!(wait(1, now), None);
        guesses.failed(address(1), "wrong", now);
        assert_eq!(wait(1, now), Some(DELAY_FIRST));
        guesses.failed(address(1), "wrong", now);
        assert_eq!(wait(1, now), Some(DELAY_FIRST * 2));
        for _ in 0..100 {
            guesses.failed(address(1), "wrong", now);
        }
        assert_eq!(wait(1, now), Some(DELAY_MAX));
        assert_eq!(wait(2, now), None);
        let later = now + DELAY_MAX + FORGET_AFTER + Duration::from_secs(1);
        wait(1, later);
        guesses.failed(address(1), "wrong", later);
        assert_eq!(wait(1, later), None);
    }

    #[test]
    fn who_waits_is_known_by_a_token_that_was_right_from_there_and_is_forgiven_nothing_for_it() {
        let now = Instant::now();
        let guesses = Guesses::new(now);
        guesses.succeeded(address(1), "right");
        for _ in 0..=FREE_FAILURES {
            guesses.failed(address(1), "wrong", now);
        }
        assert_eq!(guesses.wait(address(1), "right", now), None);
        guesses.succeeded(address(1), "right");
        assert_eq!(guesses.wait(address(1), "another", now), Some(DELAY_FIRST));
        guesses.succeeded(address(2), "another");
        assert_eq!(guesses.wait(address(1), "another", now), Some(DELAY_FIRST), "it was right elsewhere");
        guesses.failed(address(1), "right", now);
        assert_eq!(guesses.wait(address(1), "right", now), Some(DELAY_FIRST * 2), "it is revoked");
        for n in 0..2 * KNOWN_MAX {
            guesses.succeeded(address(1), &n.to_string());
        }
        assert!(guesses.known.lock().unwrap().len() <= KNOWN_MAX);
    }

    #[test]
    fn tables_are_bounded_and_one_v6_network_is_one_source() {
        let now = Instant::now();
        let (guesses, rate) = (Guesses::new(now), RequestRate::new(1, now));
        for n in 0..3 * ADDRESSES_MAX as u32 {
            guesses.failed(address(n), "wrong", now);
            rate.take(address(n), now);
        }
        assert_eq!(guesses.failures.lock().unwrap().by_address.len(), ADDRESSES_MAX);
        assert_eq!(rate.buckets.lock().unwrap().by_address.len(), ADDRESSES_MAX);
        let other = guesses.wait(address(u32::MAX >> 16), "wrong", now);
        assert_eq!(other, Some(DELAY_MAX), "all others share one entry");
        let v6 = |text: &str| source(text.parse().unwrap());
        assert_eq!(v6("2001:db8::1"), v6("2001:db8::2"));
        assert_ne!(v6("2001:db8::1"), v6("2001:db8:0:1::1"));
        assert_eq!(v6("::ffff:198.18.0.1"), address(1));
    }
}
