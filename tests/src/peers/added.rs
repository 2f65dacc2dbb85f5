//! What the server adds to a renewal's way: every frame on its own, answered by the server's XDP program and, in the same run at the same
//! rate, sent back by a mirror that stands in its place.

use anyhow::Result;

use super::{
    ground::{FIRST, Ground, SERVER},
    measure::Crowd,
};
use crate::load::{
    batch_socket::BatchSocket,
    figures::Figures,
    fleet::Fleet,
    live::{Live, LivePlan, Portion},
};

/// Both ways of the same renewals.
#[derive(Clone, Debug)]
pub struct Added {
    /// Answered by the server.
    pub ours: Figures,
    /// Sent back by the mirror.
    pub mirror: Figures,
}

impl Added {
    /// Asks as many clients as renew, at random, `rate` times a second; `collect` is attached at the clients' end of the server's cable.
    ///
    /// # Errors
    ///
    /// When the kernel refuses.
    pub fn measure(ground: &Ground, live: &mut Live, crowd: &mut Crowd, rate: f64) -> Result<Self> {
        let plan = LivePlan {
            rate: Some(rate),
            portion: Portion::One,
            clients: crowd.extent.renewing,
            random: true,
            time: crowd.extent.time,
            mirror: false,
        };
        live.learn(&crowd.fleet)?;
        let ours = live.run(&ground.clients, &ground.cable.b, &mut crowd.socket, SERVER, &plan)?;
        let mut fleet = Fleet::new(ground.way_to_mirror(), plan.clients)?;
        fleet.assume(FIRST);
        let mut socket = BatchSocket::open(&ground.clients, "c1")?;
        let mirror = live.attach("mirror", &ground.server, &ground.mirror.a)?;
        let collect = live.attach("collect", &ground.clients, &ground.mirror.b)?;
        live.learn(&fleet)?;
        let plan = LivePlan { mirror: true, ..plan };
        let sent_back = live.run(&ground.clients, &ground.mirror.b, &mut socket, SERVER, &plan)?;
        live.detach("collect", collect)?;
        live.detach("mirror", mirror)?;
        Ok(Self { ours, mirror: sent_back })
    }

    /// How much later a part of the answers was there than the same part of what the mirror sent back, microseconds.
    pub fn us(&self, part: f64) -> f64 {
        self.ours.latency_us(part) - self.mirror.latency_us(part)
    }
}
