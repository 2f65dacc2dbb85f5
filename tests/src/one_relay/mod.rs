//! As many clients as an address has room for, behind one relay agent that names each one's circuit (option 82): do all
//! get a lease, does the kernel answer their renewals, straight and relayed, and do the limits let them through?
//!
//! [`ground`] is where: a real daemon, and a relay agent that is also the clients' router. [`report`] is what came of it.
//! `cargo xtask bench relay` does it with 65,536 clients, a test with fewer.

pub mod ground;
pub mod report;

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};

use self::{
    ground::{Ground, RELAY},
    report::{Renewed, Report},
};
use crate::{
    bench::overload::report::drops,
    daemon::Daemon,
    lab::Stats,
    load::{
        batch_socket::BatchSocket,
        figures::Figures,
        fleet::Fleet,
        message::Kind,
        pace::{Pace, Patience},
        plan::Plan,
    },
};

/// The most clients: as many as 16 bits tell apart.
pub const CLIENTS_MAX: u32 = 1 << 16;

/// What to do.
#[derive(Clone, Copy, Debug)]
pub struct Extent {
    /// Clients.
    pub clients: u32,
    /// The waits of RFC 2131 section 4.1 (4, 8, 16... s) are shortened to this part.
    pub scale: f64,
    /// The longest each round may take.
    pub time: Duration,
}

/// All clients come at once for their first leases, then renew, then rebind through the relay agent.
///
/// # Errors
///
/// Without root, or when the daemon does not start or answer. What clients did not get is no error but in the report.
pub fn run(ground: &Ground, daemon: &Daemon, extent: Extent) -> Result<Report> {
    ensure!(
        (1..=CLIENTS_MAX).contains(&extent.clients),
        "{} clients are out of bounds; there may be 1 to {CLIENTS_MAX}",
        extent.clients
    );
    let mut fleet = Fleet::new(ground.way(RELAY), extent.clients)?;
    let mut socket = BatchSocket::open(&ground.clients, "c0")?;
    let before = Stats::of(daemon)?;
    let joined = all_at_once(&mut fleet, &mut socket, Kind::Discover, extent)?;
    let after = Stats::of(daemon)?;
    let bound = after.0.pointer("/leases/bound").and_then(serde_json::Value::as_u64);
    let mut renew = |kind| renewed(&mut fleet, &mut socket, daemon, kind, extent);
    let (straight, relayed) = (renew(Kind::Renew)?, renew(Kind::Rebind)?);
    Ok(Report {
        clients: extent.clients.into(),
        bound: bound.context("stats tells no bound leases")?,
        joined,
        dropped: drops(&before, &after),
        straight,
        relayed,
        memory_octets: daemon.memory_octets()?.1,
    })
}

fn renewed(
    fleet: &mut Fleet,
    socket: &mut BatchSocket,
    daemon: &Daemon,
    kind: Kind,
    extent: Extent,
) -> Result<Renewed> {
    let before = Stats::of(daemon)?;
    let figures = all_at_once(fleet, socket, kind, extent)?;
    let after = Stats::of(daemon)?;
    Ok(Renewed {
        figures,
        by_kernel: after.answered() - before.answered(),
        by_daemon: after.renewed_by_daemon() - before.renewed_by_daemon(),
        dropped: drops(&before, &after),
    })
}

/// Every client once, all of them at once, each as patient as RFC 2131 section 4.1 has it.
///
/// # Errors
///
/// When the socket fails.
pub fn all_at_once(
    fleet: &mut Fleet,
    socket: &mut BatchSocket,
    begin: Kind,
    extent: Extent,
) -> Result<Figures> {
    let plan = Plan {
        begin,
        pace: Pace::Storm,
        patience: Patience::BackOff { scale: extent.scale },
        clients: (0, extent.clients),
        time: extent.time,
        mirror: false,
    };
    fleet.run(socket, &plan)
}
