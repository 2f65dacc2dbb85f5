//! Torture on a real kernel and a real disk: thousands of leases renew and clients come and go, while the daemon is killed
//! at random moments, also in the middle of a start or of taking up a changed configuration, and started again, at times
//! as another program file. An observer
//! who knows only replies keeps a [`ledger`] of promises and looks for one that was broken.
//!
//! `cargo xtask torture` runs it; a short one is in the test run.

mod clients;
mod cycle;
pub mod ledger;
pub(crate) mod played;

use std::{
    path::Path,
    sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, anyhow, ensure};
use clap::ValueEnum;
use rustix::time::{ClockId, clock_gettime};
use serde::Serialize;
use serde_json::json;

use crate::{
    lab::{Cable, Server, set},
    torture::{clients::Traffic, ledger::Broken},
};

/// Leases there may be: more do not fit into the pool of a /16 with room for those that come and go.
pub const LEASES_MAX: u32 = 50_000;

/// A deliberate fault, to see that it is found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ValueEnum)]
pub enum Planted {
    /// The program is detached after every kill, so the kernel answers nothing without a daemon.
    Detach,
    /// The leases are deleted after every kill, so the next daemon knows of no promise.
    Forget,
}

/// What to do.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Plan {
    /// Kills of the daemon, each followed by a start.
    pub cycles: u32,
    /// Clients with a lease at a time.
    pub leases: u32,
    /// Decides moments and what clients do. The machine's timing is not repeated by it.
    pub seed: u64,
    /// Lease time, seconds.
    pub lease_secs: u32,
    /// Renewals sent in a second.
    pub renewals_per_s: u32,
    /// A deliberate fault.
    pub planted: Option<Planted>,
    /// Print a line at every tenth cycle on stderr.
    pub progress: bool,
}

/// What was seen.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Report {
    /// Cycles done.
    pub cycles: u64,
    /// Clients that renew at a time.
    pub leases: u64,
    /// As in the plan.
    pub seed: u64,
    /// Lease time, seconds.
    pub lease_secs: u64,
    /// From the first kill to the last reply, seconds.
    pub seconds: f64,
    /// Renewals sent.
    pub renewals_sent: u64,
    /// Renewals answered by an ACK for their address.
    pub renewals_answered: u64,
    /// Of the sent ones, those sent while no daemon ran.
    pub renewals_daemon_down: u64,
    /// Of the sent ones, those sent while a daemon was starting, the program behind the link being swapped.
    pub renewals_daemon_starting: u64,
    /// Of the sent ones, those sent while no daemon served that the kernel could answer.
    pub renewals_kernel_could: u64,
    /// Renewals sent while no daemon served (none ran, or one was starting) that the kernel could answer and did not:
    /// by rule, the client had an ACK before, which the daemon granted or learnt of, no longer than half a lease time
    /// ago, and under the configuration in force. Must be 0.
    pub unanswered_in_kernel: u64,
    /// Renewals and reboots the kernel could not answer and nobody was there to.
    pub unanswered_daemon_down: u64,
    /// Renewals sent to a running daemon and never answered, such as in the moment of a kill.
    pub unanswered_daemon_up: u64,
    /// What was broken: must be all 0.
    #[serde(flatten)]
    pub broken: Broken,
    /// Frames from the server that are no sound DHCP reply to one of the clients. Must be 0.
    pub unsound_replies: u64,
    /// Leases granted to new clients.
    pub new_leases: u64,
    /// Addresses clients released.
    pub releases: u64,
    /// Addresses clients declined.
    pub declines: u64,
    /// Clients that went without a word, their leases to run out.
    pub vanished: u64,
    /// Reboots sent (REQUEST in INIT-REBOOT).
    pub reboots_sent: u64,
    /// Reboots answered by an ACK.
    pub reboots_answered: u64,
    /// Leases that ran out because their client did not get to renew in time.
    pub ran_out: u64,
    /// NAKs, in error or not.
    pub naks: u64,
    /// Replies that came when their client had given up on them.
    pub late_replies: u64,
    /// Addresses that were granted to more than one client, one after the other.
    pub reused_addresses: u64,
    /// Starts of the daemon that were brought to their end.
    pub starts: u64,
    /// Kills in the middle of a start.
    pub kills_while_starting: u64,
    /// Starts from another file than the one before: the program behind the pinned link is swapped as by an upgrade.
    pub starts_from_other_file: u64,
    /// Whether the other file is another build; else it is a copy.
    pub other_build: bool,
    /// Changed configurations that a running daemon took up.
    pub reloads: u64,
    /// The longest that a service did nothing else meanwhile, milliseconds.
    pub reload_blocked_ms_max: u64,
    /// Kills soon after a running daemon was told to take one up.
    pub kills_while_reloading: u64,
    /// The longest start, milliseconds.
    pub start_ms_max: u64,
    /// The first violations, in words.
    pub told: Vec<String>,
}

impl Report {
    /// Whether anything happened that must not.
    pub fn violated(&self) -> bool {
        self.broken != Broken::default() || self.unanswered_in_kernel > 0 || self.unsound_replies > 0
    }
}

/// What the daemon is doing, as its killer knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Down,
    Starting,
    Up,
}

/// What the traffic and the killer tell each other.
#[derive(Debug, Default)]
struct Shared {
    phase: AtomicU8,
    stop: AtomicBool,
    /// Set when the daemon stays: every client is to renew once more.
    last_round: AtomicBool,
    renewals_sent: AtomicU64,
    bound: AtomicU64,
    /// Everything the kernel granted before this moment, the daemon has learnt of.
    learnt_boot_ns: AtomicU64,
    /// What was asked before this moment may have been answered under another configuration: the kernel knows nothing of
    /// it any more. `u64::MAX` while nobody knows which is in force.
    reconfigured_boot_ns: AtomicU64,
}

impl Shared {
    fn phase(&self) -> Phase {
        match self.phase.load(Ordering::SeqCst) {
            0 => Phase::Down,
            1 => Phase::Starting,
            _ => Phase::Up,
        }
    }

    fn enter(&self, phase: Phase) {
        self.phase.store(phase as u8, Ordering::SeqCst);
    }

    fn renewals_sent(&self) -> u64 {
        self.renewals_sent.load(Ordering::SeqCst)
    }
}

/// The boot clock, nanoseconds.
pub fn boot_ns() -> u64 {
    let now = clock_gettime(ClockId::Boottime);
    u64::try_from(now.tv_sec).unwrap_or(0) * ledger::SECOND_NS + u64::try_from(now.tv_nsec).unwrap_or(0)
}

/// Tortures a server in a lab of its own.
///
/// # Errors
///
/// As [`run_between`].
pub fn run(plan: &Plan) -> Result<Report> {
    run_between(plan, None)
}

/// As [`run`], between this build of the daemon and the one in the file `other`.
///
/// # Errors
///
/// Without root, when the plan is out of bounds, or when the daemon does not come up. What is broken is no error but in
/// the report.
pub fn run_between(plan: &Plan, other: Option<&Path>) -> Result<Report> {
    ensure!(
        (1..=LEASES_MAX).contains(&plan.leases),
        "{} leases are out of bounds; there may be 1 to {LEASES_MAX}",
        plan.leases
    );
    ensure!(plan.lease_secs >= 10 && plan.renewals_per_s > 0, "a lease time of 10 s or more, and renewals");
    ensure!(
        plan.leases / plan.renewals_per_s < plan.lease_secs / 2,
        "{} leases of {} s do not get to renew in time at {} renewals/s",
        plan.leases,
        plan.lease_secs,
        plan.renewals_per_s
    );
    let server = Server::new()?;
    let cable = Cable::new(&server)?;
    let mut config = server.config();
    set(&mut config, "/dhcp/lease_secs", json!(plan.lease_secs));
    // Little more than is leased at a time, so that addresses go from one client to another.
    let last = u32::from(std::net::Ipv4Addr::new(198, 18, 16, 0)) + plan.leases + plan.leases / 20 + 255;
    let range = format!("198.18.16.0-{}", std::net::Ipv4Addr::from(last));
    set(&mut config, "/dhcp/subnets/0/pools", json!([{ "range": range }]));

    let shared = Shared::default();
    let mut killer = cycle::Killer::new(&server, config, &shared, (plan, other))?;
    killer.start()?;
    let began = Instant::now();
    let mut report = thread::scope(|scope| -> Result<Report> {
        let traffic = scope.spawn(|| Traffic::new(&cable.socket, &shared, plan).run());
        // However the killing ends, the traffic ends too.
        let killed = killer.run(|| traffic.is_finished());
        if killed.is_err() {
            shared.stop.store(true, Ordering::SeqCst);
        }
        shared.last_round.store(true, Ordering::SeqCst);
        let seen = traffic.join().map_err(|_| anyhow!("the traffic panicked"))?;
        let log = killer.log_tail();
        killed.with_context(|| format!("the daemon's log ends with:\n{log}"))?;
        seen.with_context(|| format!("the daemon's log ends with:\n{log}"))
    })?;
    report.seconds = (began.elapsed().as_secs_f64() * 10.0).round() / 10.0;
    killer.add_to(&mut report);
    Ok(report)
}

/// How long things that must come may take on a machine with other work.
const PATIENCE: Duration = Duration::from_secs(60);
