//! The killer: ends the daemon with SIGKILL at random moments and starts it again, at times from another file.
//!
//! A moment is so many renewals after the last event, so that every stretch without a daemon is put to the test however
//! busy the machine is.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::atomic::Ordering,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail, ensure};
use rand::{Rng as _, SeedableRng as _, rngs::SmallRng};
use rustix::process::Signal;
use serde_json::{Value, json};

use crate::{
    daemon::{self, Daemon},
    lab::{Server, set},
    torture::{PATIENCE, Phase, Plan, Planted, Report, Shared, boot_ns},
    wait::wait_for,
};

/// Starts daemons and kills them.
pub struct Killer<'a> {
    server: &'a Server,
    config: Value,
    shared: &'a Shared,
    plan: &'a Plan,
    rng: SmallRng,
    /// The program, and another build or a copy of it elsewhere.
    programs: [PathBuf; 2],
    which: usize,
    daemon: Option<Daemon>,
    /// The configuration has changed, and not every client has renewed since.
    changed: bool,
    report: Report,
}

impl<'a> Killer<'a> {
    /// Copies the daemon's program, or the one in `other`.
    ///
    /// # Errors
    ///
    /// When there is none or it cannot be copied.
    pub fn new(
        server: &'a Server,
        config: Value,
        shared: &'a Shared,
        (plan, other): (&'a Plan, Option<&Path>),
    ) -> Result<Self> {
        let first = daemon::binary()?;
        let second = server.folder.path().join("simple-dhcpd-datacenter-upgraded");
        let from = other.unwrap_or(&first);
        fs::copy(from, &second)
            .with_context(|| format!("cannot copy {} to {}", from.display(), second.display()))?;
        let other_build = fs::read(&first)? != fs::read(&second)?;
        Ok(Self {
            server,
            config,
            shared,
            plan,
            rng: SmallRng::seed_from_u64(plan.seed),
            programs: [first, second],
            which: 0,
            daemon: None,
            changed: false,
            report: Report { other_build, ..Report::default() },
        })
    }

    /// Starts the daemon and waits until it answers.
    ///
    /// # Errors
    ///
    /// When it does not come up.
    pub fn start(&mut self) -> Result<()> {
        let asked_boot_ns = boot_ns();
        let began = Instant::now();
        self.spawn()?;
        self.daemon.as_mut().context("no daemon")?.wait_ready()?;
        self.report.starts += 1;
        let took_ms = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.report.start_ms_max = self.report.start_ms_max.max(took_ms);
        // It reads the marks its predecessor's program left, so it knows all that was granted before it was started.
        self.shared.learnt_boot_ns.store(asked_boot_ns, Ordering::SeqCst);
        // A configuration that was changed just before the last kill is in force now.
        if self.shared.reconfigured_boot_ns.load(Ordering::SeqCst) == u64::MAX {
            self.shared.reconfigured_boot_ns.store(boot_ns(), Ordering::SeqCst);
        }
        self.shared.enter(Phase::Up);
        Ok(())
    }

    /// All cycles; at the end a daemon runs. Ends early when `over` says that there is no traffic any more.
    ///
    /// # Errors
    ///
    /// When the daemon does not come up, or the traffic stops.
    pub fn run(&mut self, over: impl Fn() -> bool) -> Result<()> {
        let leases = u64::from(self.plan.leases);
        let began = Instant::now();
        wait_for(PATIENCE + PATIENCE, "all clients to have a lease", || {
            Ok((over() || self.shared.bound.load(Ordering::SeqCst) >= leases).then_some(()))
        })?;
        if self.plan.progress {
            eprintln!("{leases} leases in {:.1} s", began.elapsed().as_secs_f64());
        }
        while self.report.cycles < u64::from(self.plan.cycles) {
            self.after_renewals(10, 400, &over)?;
            if self.shared.phase() == Phase::Up {
                self.learn_all_again(&over)?;
                if self.rng.random_bool(self.change_probability()) {
                    self.change_configuration(&over)?;
                }
            }
            self.kill()?;
            self.after_renewals(5, 150, &over)?;
            if self.rng.random_bool(0.3) {
                self.which ^= 1;
                self.report.starts_from_other_file += 1;
            }
            if self.rng.random_bool(0.25) {
                self.spawn()?;
                // From before the first map to after the swap; on a fast machine also just after the start.
                self.after_renewals(1, 80, &over)?;
                self.kill()?;
                self.report.kills_while_starting += 1;
            } else {
                self.start()?;
            }
            self.report.cycles += 1;
            if self.plan.progress && self.report.cycles.is_multiple_of(10) {
                eprintln!(
                    "{} cycles, {} renewals sent, {:.0} s",
                    self.report.cycles,
                    self.shared.renewals_sent(),
                    began.elapsed().as_secs_f64()
                );
            }
        }
        if self.shared.phase() != Phase::Up {
            self.start()?;
        }
        Ok(())
    }

    /// The last lines the daemons logged.
    pub fn log_tail(&self) -> String {
        let log = self.daemon.as_ref().map(Daemon::log).unwrap_or_default();
        let lines: Vec<_> = log.lines().collect();
        lines.get(lines.len().saturating_sub(20)..).unwrap_or_default().join("\n")
    }

    /// Puts what the killer counted beside what the traffic did.
    pub fn add_to(&self, report: &mut Report) {
        let own = &self.report;
        (report.cycles, report.starts, report.start_ms_max) = (own.cycles, own.starts, own.start_ms_max);
        report.kills_while_starting = own.kills_while_starting;
        report.starts_from_other_file = own.starts_from_other_file;
        report.other_build = own.other_build;
        (report.reloads, report.kills_while_reloading) = (own.reloads, own.kills_while_reloading);
        report.reload_blocked_ms_max = own.reload_blocked_ms_max;
    }

    /// With many clients it takes long until the kernel knows all renewals again, and what is to be seen is what it answers:
    /// changes are as rare as leases are many.
    fn change_probability(&self) -> f64 {
        (300.0 / f64::from(self.plan.leases)).clamp(0.03, 0.35)
    }

    /// After a change of the configuration each client renews once with the daemon there, before the next kill but one.
    fn learn_all_again(&mut self, over: impl Fn() -> bool) -> Result<()> {
        if std::mem::take(&mut self.changed) {
            let all = u64::from(self.plan.leases);
            let wanted = self.shared.renewals_sent() + all;
            let began = Instant::now();
            let patience = PATIENCE + Duration::from_secs(2 * all / u64::from(self.plan.renewals_per_s));
            wait_for(patience, "all clients to renew under the changed configuration", || {
                if over() {
                    bail!("the traffic has ended");
                }
                Ok((self.shared.renewals_sent() >= wanted).then_some(()))
            })?;
            if self.plan.progress {
                eprintln!("{all} renewals after a change in {:.1} s", began.elapsed().as_secs_f64());
            }
        }
        Ok(())
    }

    /// Changes what clients are told and has the running daemon take it up; or does not wait for that.
    fn change_configuration(&mut self, over: impl Fn() -> bool) -> Result<()> {
        // From here on, and until each client was answered again, the kernel need not know its renewals.
        self.shared.reconfigured_boot_ns.store(u64::MAX, Ordering::SeqCst);
        self.changed = true;
        let name_server = format!("198.18.0.{}", self.rng.random_range(2..250));
        set(&mut self.config, "/dhcp/subnets/0/options/1/value", json!([name_server]));
        let file = self.server.folder.path().join("dhcp.json");
        let text = serde_json::to_string_pretty(&self.config)?;
        fs::write(&file, text).with_context(|| format!("cannot write {}", file.display()))?;
        let daemon = self.daemon.as_mut().context("no daemon")?;
        // In turn, so that a short run has both.
        if self.report.kills_while_reloading < self.report.reloads {
            daemon.signal(Signal::HUP)?;
            // Before it has read the file up to after the swap, as the machine has it.
            self.after_renewals(1, 40, &over)?;
            self.report.kills_while_reloading += 1;
            return Ok(());
        }
        let done = daemon.ask(&["config", "reload"])?;
        ensure!(done.get("changed") == Some(&json!(true)), "the change was not taken up: {done}");
        self.shared.reconfigured_boot_ns.store(boot_ns(), Ordering::SeqCst);
        self.report.reloads += 1;
        let blocked_ms = done.get("blocked_ms").and_then(Value::as_u64).context("no blocked_ms")?;
        self.report.reload_blocked_ms_max = self.report.reload_blocked_ms_max.max(blocked_ms);
        self.after_renewals(10, 200, &over)
    }

    fn spawn(&mut self) -> Result<()> {
        // A killed daemon leaves its socket behind; one that still accepted would be mistaken for the new one.
        let _ = fs::remove_file(self.server.folder.path().join("control.sock"));
        let program = self.programs.get(self.which).context("there are two programs")?;
        self.shared.enter(Phase::Starting);
        self.daemon =
            Some(Daemon::spawn_as(program, &self.server.ns, self.server.folder.path(), &self.config)?);
        Ok(())
    }

    fn kill(&mut self) -> Result<()> {
        if let Some(mut daemon) = self.daemon.take() {
            // What was sent before the kill counts as sent to a running daemon: its last moments are not known.
            daemon.kill()?;
        }
        self.shared.enter(Phase::Down);
        // A start that was killed early may have left nothing to detach or delete.
        match self.plan.planted {
            Some(Planted::Detach) => drop(self.server.unload()),
            Some(Planted::Forget) => drop(fs::remove_dir_all(self.server.store())),
            None => {}
        }
        Ok(())
    }

    /// Waits until a random number of further renewals was sent.
    fn after_renewals(&mut self, least: u64, most: u64, over: impl Fn() -> bool) -> Result<()> {
        let wanted = self.shared.renewals_sent() + self.rng.random_range(least..=most);
        wait_for(PATIENCE, "renewals to be sent", || {
            if over() {
                bail!("the traffic has ended");
            }
            Ok((self.shared.renewals_sent() >= wanted).then_some(()))
        })
    }
}
