//! The clients of a world, by their numbers.

use rand::{Rng as _, SeedableRng as _, rngs::SmallRng};

use super::{
    client::{Client, Deeds},
    scenario::{Rates, SEC, Scenario},
    style::Style,
};
use crate::parse::Message;

/// A client that begins within two lease times from `from_ns` on, the moment it begins, and what more is to be drawn for it:
/// every client is drawn apart, so that fewer clients are the same clients.
pub fn drawn(scenario: &Scenario, index: u16, from_ns: u64) -> (Client, u64, SmallRng) {
    let mut own = SmallRng::seed_from_u64(scenario.seed << 16 | u64::from(index));
    let start_ns = from_ns + own.random_range(0..u64::from(scenario.lease_secs) * 2 * SEC);
    let style = Style::draw(index, scenario.lease_secs, &mut own);
    (Client::new(index, style, start_ns), start_ns, own)
}

/// A client's time has come: what it does, if it still waits for this moment.
pub fn wake(clients: &mut [Client], index: u16, now_ns: u64, rng: &mut SmallRng) -> Option<Deeds> {
    let client = clients.get_mut(usize::from(index))?;
    (client.wake_ns <= now_ns).then(|| client.wake(now_ns, rng))
}

/// A message reaches a client: what it does.
pub fn deliver(
    clients: &mut [Client],
    index: u16,
    now_ns: u64,
    message: &Message,
    rates: &Rates,
    rng: &mut SmallRng,
) -> Option<Deeds> {
    clients.get_mut(usize::from(index))?.receive(now_ns, message, rates, rng)
}
