//! Connections between machines: in order, at most once, and gone when nothing gets through for a while. A connection that
//! is made anew knows nothing of the one before.

use std::collections::VecDeque;

use dhcp_user::site::node::Message;

use crate::sim::scenario::{MS, SEC};

/// A connection over which nothing came for so long is given up.
pub const GIVEN_UP_AFTER_NS: u64 = 2 * SEC;

/// One direction of a pair.
#[derive(Debug, Default)]
pub struct Way {
    /// Nothing arrives until then.
    pub cut_until_ns: u64,
    /// It flaps until then.
    pub flap_until_ns: u64,
    /// Under way, in order, each with the moment it arrives.
    pub queue: VecDeque<(u64, Message)>,
    last_ns: u64,
}

impl Way {
    /// Whether something gets through at a moment.
    pub fn is_open(&self, now_ns: u64) -> bool {
        let flapping = now_ns < self.flap_until_ns && (now_ns / (3 * SEC)).is_multiple_of(2);
        now_ns >= self.cut_until_ns && !flapping
    }

    /// Sends a message that takes `takes_ns`; when it arrives.
    pub fn send(&mut self, now_ns: u64, takes_ns: u64, message: Message) -> u64 {
        let at = (now_ns + takes_ns).max(self.last_ns);
        self.last_ns = at;
        self.queue.push_back((at, message));
        at
    }
}

/// A pair of machines.
#[derive(Debug, Default)]
pub struct Pair {
    /// Whether there is a connection.
    pub connected: bool,
    /// Since when nothing gets through.
    pub dead_since_ns: Option<u64>,
    /// From the first to the second and back.
    pub ways: [Way; 2],
    /// One way's ordinary delay.
    pub latency_ns: u64,
}

impl Pair {
    /// Looks at the connection: whether it was made (`Some(true)`) or lost (`Some(false)`) just now. `up`: both machines are
    /// there and their daemons run.
    pub fn watch(&mut self, now_ns: u64, up: bool) -> Option<bool> {
        let open = up && self.ways.iter().all(|way| way.is_open(now_ns));
        match (self.connected, open) {
            (true, true) => {
                self.dead_since_ns = None;
                None
            }
            (true, false) => {
                let since = *self.dead_since_ns.get_or_insert(now_ns);
                (now_ns >= since + GIVEN_UP_AFTER_NS).then(|| {
                    self.tear();
                    false
                })
            }
            (false, true) => {
                self.connected = true;
                self.dead_since_ns = None;
                Some(true)
            }
            (false, false) => None,
        }
    }

    /// The connection is gone, and what was under way with it.
    pub fn tear(&mut self) {
        self.connected = false;
        self.dead_since_ns = None;
        for way in &mut self.ways {
            way.queue.clear();
            way.last_ns = 0;
        }
    }

    /// Takes what has arrived in a direction.
    pub fn arrived(&mut self, direction: usize, now_ns: u64) -> Option<Message> {
        let way = self.ways.get_mut(direction)?;
        if !self.connected || !way.is_open(now_ns) || way.queue.front()?.0 > now_ns {
            return None;
        }
        way.queue.pop_front().map(|(_, message)| message)
    }
}

/// How often connections are looked at.
pub const WATCH_EVERY_NS: u64 = 250 * MS;
