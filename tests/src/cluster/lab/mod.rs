//! `cargo xtask cluster`: three sites on one machine, to see in a minute what happens to clients when a node dies or a site
//! is cut off.
//!
//! * [`command`]: what can be done to it. [`status`]: what is shown of it.

pub mod command;
pub mod status;

use std::{
    io::{BufRead as _, IsTerminal as _, Write as _},
    path::PathBuf,
    sync::mpsc::{self, Receiver, RecvTimeoutError},
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use serde_json::json;
use xtask::signals;

use self::{
    command::{Command, Flapping},
    status::Status,
};
use super::{
    Cluster,
    traffic::{Load, Report, Traffic},
};
use crate::lab::set;

/// How often the state is looked at.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// How long clients may take to get their first leases.
const SETTLED: Duration = Duration::from_secs(120);

/// What is to be shown.
#[derive(Clone, Debug)]
pub struct Plan {
    /// What clients do.
    pub load: Load,
    /// One JSON object per change on stdout in place of a table.
    pub json: bool,
    /// Commands to be carried out, one a line; without them, from stdin.
    pub script: Option<PathBuf>,
    /// End by itself after so many seconds of the clients' work.
    pub secs: Option<u64>,
    /// Lease time, maximum client lead time, seconds.
    pub lease_secs: u32,
    /// See there.
    pub mclt_secs: u32,
}

/// The lab's configuration of a node: the guide's sections with the quickest detection, and room for many clients.
pub fn adapt(config: &mut serde_json::Value, lease_secs: u32, mclt_secs: u32) {
    set(config, "/dhcp/lease_secs", json!(lease_secs));
    set(config, "/dhcp/subnets/0/pools", json!([{"range": "198.18.16.0-198.18.31.255"}]));
    set(config, "/dhcp/datacenter/multi_site/failover/mclt_secs", json!(mclt_secs));
}

/// Runs the lab until it is told to quit, by a signal, a command or the plan; what clients saw.
///
/// # Errors
///
/// Without root, when a daemon does not come up, or a script's command cannot be carried out.
pub fn run(plan: &Plan) -> Result<Report> {
    signals::catch()?;
    let began = Instant::now();
    let lines = match &plan.script {
        Some(file) => {
            let text = std::fs::read_to_string(file);
            let text = text.with_context(|| format!("cannot read the script {}", file.display()))?;
            Some(text.lines().map(str::to_owned).collect::<Vec<_>>())
        }
        None => None,
    };
    // A script is read to its end before anything is made.
    for line in lines.iter().flatten() {
        Command::parse(line)?;
    }
    eprintln!("making six machines, three networks and their certificates");
    let mut cluster = Cluster::of_the_guide(|config| adapt(config, plan.lease_secs, plan.mclt_secs))?;
    cluster.start()?;
    eprintln!("six daemons run after {:.1} s; they agree on who holds what", began.elapsed().as_secs_f64());
    cluster.wait_in_step()?;
    let traffic = Traffic::start(&cluster, &plan.load)?;
    traffic.wait_all_bound(SETTLED)?;
    eprintln!("all clients have a lease after {:.1} s", began.elapsed().as_secs_f64());
    let interactive = lines.is_none() && !plan.json && std::io::stdout().is_terminal();
    let mut lab = Running {
        paused: vec![false; cluster.nodes.len()],
        cluster,
        traffic,
        began: Instant::now(),
        flapping: Vec::new(),
        interactive,
        json: plan.json,
        shown: None,
        said: String::new(),
        load: plan.load,
    };
    let end = plan.secs.map(|secs| lab.began + Duration::from_secs(secs));
    match lines {
        Some(lines) => lab.follow(&lines)?,
        None => lab.listen(&input(), end)?,
    }
    if let (Some(end), Some(_)) = (end, &plan.script) {
        lab.watch(end)?;
    }
    lab.end()
}

/// Lines of stdin, as they come.
fn input() -> Receiver<String> {
    let (sender, lines) = mpsc::channel();
    // It ends with the process at the latest: reading cannot be broken off.
    std::thread::spawn(move || {
        for line in std::io::stdin().lock().lines().map_while(Result::ok) {
            if sender.send(line).is_err() {
                return;
            }
        }
    });
    lines
}

/// The lab at work.
pub(super) struct Running {
    /// They end before what they talk to.
    pub traffic: Traffic,
    pub cluster: Cluster,
    pub load: Load,
    /// Which nodes stand still.
    pub paused: Vec<bool>,
    /// Sites whose links come and go.
    pub flapping: Vec<Flapping>,
    began: Instant,
    interactive: bool,
    json: bool,
    shown: Option<Status>,
    /// What the last command said.
    said: String,
}

impl Running {
    /// Carries out a script.
    fn follow(&mut self, lines: &[String]) -> Result<()> {
        for line in lines {
            if signals::caught() {
                break;
            }
            match Command::parse(line)? {
                Some(Command::Quit) => break,
                Some(Command::Wait(secs)) => self.watch(Instant::now() + Duration::from_secs(secs))?,
                Some(command) => {
                    let said = self.carry_out(&command).with_context(|| format!("the script's `{line}`"))?;
                    eprintln!("{:>6.1} s  {line}: {said}", self.began.elapsed().as_secs_f64());
                    self.look()?;
                }
                None => {}
            }
        }
        Ok(())
    }

    fn watch(&mut self, end: Instant) -> Result<()> {
        while !signals::caught() && Instant::now() < end {
            self.look()?;
            signals::pause(LOOK_EVERY.min(end.saturating_duration_since(Instant::now())));
        }
        Ok(())
    }

    /// Carries out what somebody types.
    fn listen(&mut self, lines: &Receiver<String>, end: Option<Instant>) -> Result<()> {
        while !signals::caught() && end.is_none_or(|end| Instant::now() < end) {
            self.look()?;
            match lines.recv_timeout(LOOK_EVERY) {
                Ok(line) => match Command::parse(&line) {
                    Ok(Some(Command::Quit)) => break,
                    Ok(Some(Command::Wait(secs))) => {
                        self.watch(Instant::now() + Duration::from_secs(secs))?;
                    }
                    Ok(Some(command)) => {
                        let said = self.carry_out(&command).unwrap_or_else(|error| format!("{error:#}"));
                        self.said = format!("{line}: {said}");
                        eprintln!("{}", self.said);
                    }
                    Ok(None) => {}
                    Err(error) => {
                        self.said = format!("{error:#}");
                        eprintln!("{}", self.said);
                    }
                },
                Err(RecvTimeoutError::Timeout) => {}
                // Nobody can type anything any more: it goes on for as long as it was asked to.
                Err(RecvTimeoutError::Disconnected) => match end {
                    Some(end) => return self.watch(end),
                    None => break,
                },
            }
        }
        Ok(())
    }

    /// Looks at everything, and shows it if it has changed, or somebody is watching.
    fn look(&mut self) -> Result<()> {
        for flapping in &mut self.flapping {
            flapping.turn(&self.cluster);
        }
        let status = Status::of(self);
        let changed = self.shown.as_ref().is_none_or(|shown| status.differs(shown));
        let mut out = std::io::stdout().lock();
        if self.json {
            if changed {
                writeln!(out, "{}", serde_json::to_string(&status)?)?;
            }
        } else if self.interactive {
            write!(out, "\x1b[H\x1b[J{}\n{}\n{}\n> ", status.table(), command::HELP, self.said)?;
            out.flush()?;
        } else if changed {
            writeln!(out, "{}", status.table())?;
        }
        if changed {
            self.shown = Some(status);
        }
        Ok(())
    }

    /// Brings everything back, has all clients renew once more, and says what they saw.
    fn end(mut self) -> Result<Report> {
        self.cluster.heal();
        for (node, paused) in self.paused.iter_mut().enumerate().filter(|(_, paused)| **paused) {
            *paused = false;
            if let Some(node) = self.cluster.nodes.get_mut(node) {
                node.pause(false)?;
            }
        }
        let status = Status::of(&self);
        if self.json {
            println!("{}", serde_json::to_string(&status)?);
        }
        let alive = self.cluster.nodes.iter().any(|node| node.daemon.is_some());
        ensure!(alive, "no daemon runs any more: what clients were promised cannot be checked");
        let report = self.traffic.finish()?;
        if !self.json {
            println!("{}", status::told(&report));
        }
        Ok(report)
    }

    /// Seconds since the clients had their leases.
    pub(super) fn secs(&self) -> f64 {
        (self.began.elapsed().as_secs_f64() * 10.0).round() / 10.0
    }
}
