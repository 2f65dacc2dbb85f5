//! The highest rate a server keeps up with, how fast it answers at half of that, and what that costs.
//!
//! First so many exchanges at once as keep the server busy: what it then ends a second is about its best. Then open
//! loops, which ask on whatever the server does: at that rate, and faster while less than one exchange in a thousand is lost
//! or slower until that is so. Then half of that.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};

use super::{
    cpu::{Cost, Spent},
    ground::{Ground, SERVER},
    server::{Peer, Running},
};
use crate::load::{
    batch_socket::BatchSocket,
    figures::Figures,
    fleet::Fleet,
    live::{Live, LivePlan, Portion},
    message::Kind,
    pace::{Pace, Patience},
    plan::Plan,
};

/// What may be lost at the highest rate.
pub const LOSS_MAX: f64 = 0.001;
/// How long a client waits before its exchange counts as lost: as long as a real one until it asks again.
const PATIENCE: Patience = Patience::GiveUp(Duration::from_secs(4));
/// How long a server may take to get through what it was asked for in vain.
const BACKLOG_MAX: Duration = Duration::from_secs(60);
/// Exchanges at once: some servers are busy with few, some take many together; the best of them counts.
const WINDOWS: [u32; 3] = [64, 512, 4096];
/// Rates tried, as parts of what the closed loop gave: up while little is lost, else down until little is.
const UP: [f64; 5] = [1.1, 1.25, 1.5, 1.75, 2.0];
const DOWN: [f64; 7] = [1.0, 0.9, 0.8, 0.7, 0.55, 0.4, 0.2];

/// One server's figures of one kind of exchange in one run.
#[derive(Clone, Debug, Default)]
pub struct Measured {
    /// The highest rate kept up with.
    pub best: Figures,
    /// At half of that.
    pub half: Figures,
    /// What the half cost.
    pub cost: Cost,
}

impl Measured {
    /// Processor time of the whole machine for a million exchanges, seconds.
    pub fn machine_s_per_million(&self) -> f64 {
        self.cost.machine_s / (self.half.done.max(1) as f64) * 1e6
    }

    /// Processor time of the server's process for a million exchanges, seconds.
    pub fn server_s_per_million(&self) -> f64 {
        self.cost.server_s / (self.half.done.max(1) as f64) * 1e6
    }
}

/// How long and with how many.
#[derive(Clone, Copy, Debug)]
pub struct Extent {
    /// Clients that renew: the first ones.
    pub renewing: u32,
    /// Addresses in the pool.
    pub pool: u32,
    /// How long one measurement lasts.
    pub time: Duration,
}

/// Clients and the socket they speak through.
#[derive(Debug)]
pub struct Crowd {
    /// The clients.
    pub fleet: Fleet,
    /// Their socket.
    pub socket: BatchSocket,
    /// The next client that has never asked.
    pub fresh: u32,
    /// How many and how long.
    pub extent: Extent,
}

impl Crowd {
    /// Clients enough for the pool, the first of which have the addresses preloaded for them.
    ///
    /// # Errors
    ///
    /// Without root.
    pub fn new(ground: &Ground, extent: Extent) -> Result<Self> {
        let mut fleet = Fleet::new(ground.way(), extent.pool)?;
        fleet.assume(super::ground::FIRST);
        let socket = BatchSocket::open(&ground.clients, "c0")?;
        Ok(Self { fleet, socket, fresh: extent.renewing, extent })
    }

    /// The plan of an exchange of the kind.
    fn plan(&self, begin: Kind, pace: Pace) -> Plan {
        let clients = if begin == Kind::Discover {
            (self.fresh, self.extent.pool.saturating_sub(self.fresh))
        } else {
            (0, self.extent.renewing)
        };
        Plan { begin, pace, patience: PATIENCE, clients, time: self.extent.time, mirror: false }
    }

    fn run(&mut self, begin: Kind, pace: Pace) -> Result<Figures> {
        let plan = self.plan(begin, pace);
        ensure!(plan.clients.1 > 0, "the pool of {} addresses is used up: `--pool`", self.extent.pool);
        let figures = self.fleet.run(&mut self.socket, &plan)?;
        if begin == Kind::Discover {
            self.fresh += u32::try_from(figures.begun + figures.skipped)?;
        }
        Ok(figures)
    }

    /// Leases for the clients that are to renew, by asking for them.
    ///
    /// # Errors
    ///
    /// When one does not get any.
    pub fn acquire(&mut self) -> Result<Figures> {
        let plan = Plan {
            begin: Kind::Discover,
            pace: Pace::Window(256),
            patience: Patience::BackOff { scale: 0.05 },
            clients: (0, self.extent.renewing),
            time: Duration::from_secs(120),
            mirror: false,
        };
        let figures = self.fleet.run(&mut self.socket, &plan)?;
        ensure!(figures.done == u64::from(plan.clients.1), "not all clients got a lease:\n{figures}");
        Ok(figures)
    }

    /// The highest rate kept up with, and what half of it is like.
    ///
    /// # Errors
    ///
    /// When a reply is wrong, or hardly any comes.
    pub fn measure(&mut self, begin: Kind, running: &Running) -> Result<Measured> {
        self.wait_answering(begin, running)?;
        let mut estimate = 0.0_f64;
        let mut last = Figures::default();
        for window in WINDOWS {
            let figures = self.run(begin, Pace::Window(window))?;
            sound(&figures, running.peer)?;
            say(&format!("{window} at once"), &figures);
            estimate = estimate.max(figures.per_s());
            last = figures;
        }
        ensure!(estimate > 1.0, "{} answers hardly anything:\n{last}", running.peer);
        let mut at = |step: f64| -> Result<Figures> {
            let figures = self.run(begin, Pace::Rate(estimate * step))?;
            sound(&figures, running.peer)?;
            say(&format!("at {:.0} a second", estimate * step), &figures);
            Ok(figures)
        };
        let mut best = None;
        for step in UP {
            let figures = at(step)?;
            if !kept_up(&figures) {
                break;
            }
            best = Some(figures);
        }
        // What is lost at the lowest rate stands in the figures: some servers lose a few whatever is asked.
        for step in DOWN {
            if best.as_ref().is_some_and(kept_up) {
                break;
            }
            best = Some(at(step)?);
        }
        let best = best.unwrap_or(last);
        let before = Spent::now(running.id())?;
        let half = self.run(begin, Pace::Rate(best.per_s() / 2.0))?;
        let cost = Spent::now(running.id())?.since(&before);
        sound(&half, running.peer)?;
        Ok(Measured { best, half, cost })
    }

    /// Waits until a server that has been asked for more than it can do has got through what it has taken in.
    fn wait_answering(&mut self, begin: Kind, running: &Running) -> Result<()> {
        let end = Instant::now() + BACKLOG_MAX;
        loop {
            let figures = self.run(begin, Pace::Rate(10.0))?;
            sound(&figures, running.peer)?;
            if figures.loss() < 0.5 {
                return Ok(());
            }
            ensure!(Instant::now() < end, "{} does not answer:\n{figures}", running.peer);
        }
    }

    /// The same for renewals by live frames.
    ///
    /// # Errors
    ///
    /// As [`Self::measure`].
    pub fn measure_live(&mut self, ground: &Ground, live: &mut Live, running: &Running) -> Result<Measured> {
        live.learn(&self.fleet)?;
        let plan = LivePlan {
            rate: None,
            portion: Portion::ByRate,
            clients: self.extent.renewing,
            random: true,
            time: self.extent.time,
            mirror: false,
        };
        let (ns, end) = (&ground.clients, &ground.cable.b);
        let mut run = |rate| live.run(ns, end, &mut self.socket, SERVER, &LivePlan { rate, ..plan });
        let fastest = run(None)?;
        sound(&fastest, running.peer)?;
        let mut best = (fastest.loss() < LOSS_MAX).then(|| fastest.clone());
        for step in DOWN {
            if best.is_some() {
                break;
            }
            let figures = run(Some(fastest.per_s() * step))?;
            sound(&figures, running.peer)?;
            best = (figures.loss() < LOSS_MAX).then_some(figures);
        }
        let best = best.with_context(|| format!("renewals are lost at any rate:\n{fastest}"))?;
        let before = Spent::now(running.id())?;
        let half = run(Some(best.per_s() / 2.0))?;
        let cost = Spent::now(running.id())?.since(&before);
        Ok(Measured { best, half, cost })
    }
}

/// Whether next to nothing was lost, and the generator asked as often as it was to: it leaves out what finds too much under
/// way.
fn kept_up(figures: &Figures) -> bool {
    figures.loss() < LOSS_MAX && (figures.skipped as f64) < LOSS_MAX * figures.begun as f64
}

/// What a step gave, for whoever watches.
fn say(what: &str, figures: &Figures) {
    eprintln!("  {what}: {:.0} a second, {:.3} % lost", figures.per_s(), 100.0 * figures.loss());
}

/// A figure of wrong replies would be of nothing.
fn sound(figures: &Figures, peer: Peer) -> Result<()> {
    ensure!(figures.wrong() == 0, "{peer} sends wrong replies:\n{figures}");
    Ok(())
}

/// What the generator does against a mirror: by socket, and by live frames.
///
/// # Errors
///
/// When the kernel refuses.
pub fn ceilings(ground: &Ground, live: &mut Live, time: Duration) -> Result<(Figures, Figures)> {
    const CLIENTS: u32 = 1024;
    let mut fleet = Fleet::new(ground.way_to_mirror(), CLIENTS)?;
    fleet.assume(super::ground::FIRST);
    let mut socket = BatchSocket::open(&ground.clients, "c1")?;
    let plan = Plan {
        begin: Kind::Renew,
        pace: Pace::Window(64),
        patience: PATIENCE,
        clients: (0, CLIENTS),
        time,
        mirror: true,
    };
    let mirror = live.attach("mirror", &ground.server, &ground.mirror.a)?;
    let pass = ground.mirror.b.pass(&ground.clients)?;
    let by_socket = fleet.run(&mut socket, &plan)?;
    drop(pass);
    let collect = live.attach("collect", &ground.clients, &ground.mirror.b)?;
    live.learn(&fleet)?;
    let plan = LivePlan {
        rate: None,
        portion: Portion::ByRate,
        clients: CLIENTS,
        random: false,
        time,
        mirror: true,
    };
    let by_kernel = live.run(&ground.clients, &ground.mirror.b, &mut socket, SERVER, &plan)?;
    live.detach("collect", collect)?;
    live.detach("mirror", mirror)?;
    Ok((by_socket, by_kernel))
}
