//! One machine of a cluster: its daemon, its files, its clients' cable.

use std::{fs, path::PathBuf, time::Duration};

use anyhow::{Context as _, Result};
use rustix::process::Signal;
use serde_json::Value;

use super::AGREED;
use crate::{
    daemon::{self, Daemon},
    lab::{Cable, Server},
    wait::wait_for,
};

/// How long an answer of a daemon that runs may take on a busy machine.
const SOON: Duration = Duration::from_secs(10);

/// A node: its machine, its clients' cable and its daemon.
#[derive(Debug)]
pub struct Node {
    /// Its name.
    pub name: String,
    /// Its site.
    pub site: String,
    /// Its configuration.
    pub config: Value,
    /// Its daemon, unless it has been taken away.
    pub daemon: Option<Daemon>,
    /// The way to it as a client.
    pub cable: Cable,
    /// Its place among all nodes.
    pub number: usize,
    /// Its namespace and files.
    pub server: Server,
    /// Words before its daemon's command line, from its next start on: another clock, a slow disk.
    pub through: Vec<String>,
    /// The program its daemon is started from, from its next start on; `None`: the one under test.
    pub program: Option<PathBuf>,
    /// It is not there when the others begin.
    pub later: bool,
}

impl Node {
    /// Starts its daemon.
    ///
    /// # Errors
    ///
    /// When it does not answer.
    pub fn start(&mut self) -> Result<()> {
        self.spawn()?;
        self.wait_ready()
    }

    /// Starts its daemon and does not wait for it.
    ///
    /// # Errors
    ///
    /// When it cannot be started.
    pub fn spawn(&mut self) -> Result<()> {
        let (ns, folder) = (&self.server.ns, self.server.folder.path());
        let program = self.program.clone().map_or_else(daemon::binary, Ok)?;
        self.daemon = Some(Daemon::spawn_with(&program, ns, folder, &self.config, self.through.clone())?);
        Ok(())
    }

    /// From its next start on its daemon is started from a file of its own, as after an upgrade: a copy.
    ///
    /// # Errors
    ///
    /// When the program cannot be copied.
    pub fn install_other_program(&mut self) -> Result<()> {
        let (from, to) =
            (daemon::binary()?, self.server.folder.path().join("simple-dhcpd-datacenter-upgraded"));
        fs::copy(&from, &to)
            .with_context(|| format!("cannot copy {} to {}", from.display(), to.display()))?;
        self.program = Some(to);
        Ok(())
    }

    /// Waits until its daemon answers.
    ///
    /// # Errors
    ///
    /// When there is none, or it does not.
    pub fn wait_ready(&mut self) -> Result<()> {
        let daemon = self.daemon.as_mut().context("no daemon runs")?;
        daemon.wait_ready().with_context(|| self.name.clone())
    }

    /// Kills its daemon as `kill -9` does, and takes the programs it left in the kernel away: the machine is gone, not
    /// only the daemon.
    ///
    /// # Errors
    ///
    /// When it cannot be killed.
    pub fn lose(&mut self) -> Result<()> {
        if let Some(mut daemon) = self.daemon.take() {
            daemon.kill()?;
        }
        self.server.pins.clear();
        Ok(())
    }

    /// Stops its daemon in the middle of whatever it does (SIGSTOP), or lets it go on.
    ///
    /// # Errors
    ///
    /// When none runs, or it cannot be signalled.
    pub fn pause(&mut self, pause: bool) -> Result<()> {
        let daemon = self.daemon.as_mut().context("no daemon runs")?;
        daemon.signal(if pause { Signal::STOP } else { Signal::CONT })
    }

    /// Asks its daemon by the command line.
    ///
    /// # Errors
    ///
    /// When there is none, or it does not answer.
    pub fn ask(&self, words: &[&str]) -> Result<Value> {
        self.daemon.as_ref().context("no daemon runs")?.ask(words)
    }

    /// Waits until what it answers is as wanted, and returns that.
    ///
    /// # Errors
    ///
    /// When it is not in time: with the last answer.
    pub fn wait(&self, what: &str, words: &[&str], wanted: impl Fn(&Value) -> bool) -> Result<Value> {
        let mut last = Value::Null;
        let found = wait_for(AGREED, what, || {
            last = self.ask(words)?;
            Ok(wanted(&last).then(|| last.clone()))
        });
        found.with_context(|| format!("{}: last answer: {last:#}\nits log:\n{}", self.name, self.log()))
    }

    /// What it answers to a GET of a path below `/api/v1/`.
    ///
    /// # Errors
    ///
    /// When there is none, or it does not answer soon.
    pub fn get(&self, path: &str) -> Result<Value> {
        let daemon = self.daemon.as_ref().context("no daemon runs")?;
        daemon.get(&format!("/api/v1/{path}"), SOON)
    }

    /// Waits until what it answers to a GET of a path below `/api/v1/` is as wanted, and returns that.
    ///
    /// # Errors
    ///
    /// When it is not in time: with the last answer.
    pub fn wait_get(&self, what: &str, path: &str, wanted: impl Fn(&Value) -> bool) -> Result<Value> {
        let mut last = Value::Null;
        let found = wait_for(AGREED, what, || {
            last = self.get(path)?;
            Ok(wanted(&last).then(|| last.clone()))
        });
        found.with_context(|| format!("{}: last answer: {last:#}\nits log:\n{}", self.name, self.log()))
    }

    /// Its daemon's log so far.
    pub fn log(&self) -> String {
        self.daemon.as_ref().map(Daemon::log).unwrap_or_default()
    }
}
