//! What a client's messages look like: as of udhcpc, dhcpcd, systemd-networkd, dhclient, and of odder ones.

use rand::{Rng as _, rngs::SmallRng};

/// What a client's messages look like.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Style {
    /// Behind the relay agent.
    pub relayed: bool,
    /// Option 61.
    pub client_id: Option<Vec<u8>>,
    /// Option 12.
    pub hostname: String,
    /// Option 55.
    pub parameters: Vec<u8>,
    /// Option 51, seconds.
    pub wish_secs: Option<u32>,
    /// Pads to 300 octets.
    pub padded: bool,
    /// Asks for broadcast replies.
    pub broadcast: bool,
    /// Takes an ACK at once (RFC 4039).
    pub rapid: bool,
    /// Sends options 50 and 54 in renewals too.
    pub old_fashioned: bool,
}

impl Style {
    /// The style of the client with a number; every third is behind the relay.
    pub fn draw(index: u16, lease_secs: u32, rng: &mut SmallRng) -> Self {
        let kind = rng.random_range(0..4);
        let [high, low] = index.to_be_bytes();
        let client_id = match kind {
            0 => Some(vec![1, 2, 0, 0, 1, high, low]),
            1 => Some(vec![255, 9, 9, 9, 9, 0, 1, 0, 1, high, low]),
            2 => Some(vec![255, 1, 2, 3, 4, 0, 2, 0, 0, 171, 17, high, low]),
            _ => None,
        };
        let parameters = [vec![1, 3, 6, 15], vec![1, 121, 33, 3, 6, 15, 26], vec![1, 3, 15], vec![3, 6]];
        Self {
            relayed: index % 3 == 2,
            client_id,
            hostname: if kind == 1 || kind == 3 { format!("h{index}") } else { String::new() },
            parameters: parameters.get(kind).cloned().unwrap_or_default(),
            wish_secs: rng.random_bool(0.15).then(|| rng.random_range(20..lease_secs * 2)),
            padded: kind != 2,
            broadcast: rng.random_bool(0.15),
            rapid: rng.random_bool(0.2),
            old_fashioned: rng.random_bool(0.1),
        }
    }
}
