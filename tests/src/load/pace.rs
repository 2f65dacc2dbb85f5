//! When exchanges begin, and when a client that has heard nothing asks again.

use std::time::Duration;

use rand::{Rng as _, rngs::SmallRng};

/// When exchanges begin.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Pace {
    /// So many a second, whatever the server does.
    Rate(f64),
    /// So many at once: the next begins when one has ended.
    Window(u32),
    /// All at once and in no order, as after a power cut. Of those that remember an address, two in three were only cut
    /// off and renew; the others booted and ask whether it is still theirs.
    Storm,
}

/// What a client does that has heard nothing.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Patience {
    /// It gives up after so long: every frame lost shows.
    GiveUp(Duration),
    /// It asks again after 4, 8, 16, 32 and then every 64 seconds, each randomised by a second either way (RFC 2131
    /// section 4.1), all of that times `scale`.
    BackOff {
        /// 1 for real clients.
        scale: f64,
    },
}

impl Patience {
    /// How long a client waits after having asked `asked` times.
    pub fn wait(&self, asked: u32, rng: &mut SmallRng) -> Duration {
        match *self {
            Self::GiveUp(time) => time,
            Self::BackOff { scale } => {
                let secs = f64::from(4_u32 << asked.saturating_sub(1).min(4)) + rng.random_range(-1.0..1.0);
                Duration::from_secs_f64((secs * scale).max(1e-3))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng as _;

    use super::*;

    #[test]
    fn the_wait_doubles_up_to_64_seconds_give_or_take_one() {
        let mut rng = SmallRng::seed_from_u64(1);
        for (asked, about) in [(1, 4.0), (2, 8.0), (3, 16.0), (4, 32.0), (5, 64.0), (6, 64.0), (60, 64.0)] {
            for scale in [1.0, 0.1] {
                let wait = Patience::BackOff { scale }.wait(asked, &mut rng).as_secs_f64() / scale;
                assert!((wait - about).abs() <= 1.001, "{asked}: {wait}");
            }
        }
    }
}
