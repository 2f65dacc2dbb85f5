//! Child processes of a test: their output kept in a file and shown when the test fails, killed when dropped.

use std::{
    fs::{self, File},
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    time::Duration,
};

use anyhow::{Context as _, Result, bail};
use rustix::process::{Pid, Signal, kill_process};

use crate::wait::{wait_for, wait_until};

/// A running program.
#[derive(Debug)]
pub struct Process {
    name: String,
    child: Child,
    log: PathBuf,
}

impl Process {
    /// Starts `command`, its stdout and stderr in the file `log`.
    ///
    /// # Errors
    ///
    /// When the log cannot be made or the program not be started.
    pub fn start(command: &mut Command, log: &Path) -> Result<Self> {
        let name = command.get_program().to_string_lossy().into_owned();
        let out = File::options()
            .append(true)
            .create(true)
            .open(log)
            .with_context(|| format!("cannot open {}", log.display()))?;
        let err = out.try_clone().with_context(|| format!("cannot share {}", log.display()))?;
        let child =
            command.stdin(Stdio::null()).stdout(out).stderr(err).spawn().with_context(|| {
                format!("cannot start {name}; `cargo xtask test` installs what tests need")
            })?;
        Ok(Self { name, child, log: log.to_owned() })
    }

    /// Its process id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// What it has printed so far.
    pub fn output(&self) -> String {
        fs::read(&self.log).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default()
    }

    /// The exit status, if it has ended.
    ///
    /// # Errors
    ///
    /// When the system cannot tell.
    pub fn ended(&mut self) -> Result<Option<ExitStatus>> {
        self.child.try_wait().with_context(|| format!("cannot ask after {}", self.name))
    }

    /// Sends `signal`; a process that has ended already is no error.
    ///
    /// # Errors
    ///
    /// When it cannot be sent.
    pub fn signal(&mut self, signal: Signal) -> Result<()> {
        if self.ended()?.is_some() {
            return Ok(());
        }
        kill_process(Pid::from_child(&self.child), signal)
            .with_context(|| format!("cannot signal {} ({})", self.name, self.id()))
    }

    /// Waits for its end.
    ///
    /// # Errors
    ///
    /// When it still runs after `deadline`.
    pub fn wait(&mut self, deadline: Duration) -> Result<ExitStatus> {
        let what = format!("{} to end", self.name);
        wait_for(deadline, &what, || self.ended())
    }

    /// Kills it as `kill -9` does and waits for its end.
    ///
    /// # Errors
    ///
    /// When it cannot be killed.
    pub fn kill(&mut self) -> Result<()> {
        self.signal(Signal::KILL)?;
        self.wait(Duration::from_secs(5)).map(drop)
    }

    /// Waits until it has printed `text`.
    ///
    /// # Errors
    ///
    /// When it ends before, or does not within `deadline`; the error has its output.
    pub fn wait_output(&mut self, text: &str, deadline: Duration) -> Result<()> {
        let what = format!("{} to print {text:?}", self.name);
        wait_for(deadline, &what, || {
            if self.output().contains(text) {
                return Ok(Some(()));
            }
            if let Some(status) = self.ended()?
                && !self.output().contains(text)
            {
                bail!("{} ended ({status}) before it printed {text:?}:\n{}", self.name, self.output());
            }
            Ok(None)
        })
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            eprintln!("---- output of {} ({}) ----\n{}----", self.name, self.child.id(), self.output());
        }
    }
}

/// Runs `command` to its end and returns its stdout.
///
/// # Errors
///
/// When it cannot be started or fails; the error has its stderr.
pub fn stdout(command: &mut Command) -> Result<String> {
    let line = format!("{command:?}");
    let output = command.stdin(Stdio::null()).output().with_context(|| format!("cannot start {line}"))?;
    if !output.status.success() {
        bail!("{line} failed ({}): {}", output.status, String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Sends `signal` to the process with `id` and waits until it is gone; for processes that are no children of ours.
///
/// # Errors
///
/// When it is still there after `deadline`.
pub fn end_stranger(id: i32, signal: Signal, deadline: Duration) -> Result<()> {
    let Some(pid) = Pid::from_raw(id) else {
        bail!("{id} is no process id");
    };
    // It may be gone already, which is what is wanted.
    let _ = kill_process(pid, signal);
    wait_until(deadline, &format!("process {id} to end"), || !is_alive(id))
}

/// Whether a process with this id exists and is no zombie.
pub fn is_alive(id: i32) -> bool {
    fs::read_to_string(format!("/proc/{id}/stat"))
        .is_ok_and(|stat| stat.rsplit(") ").next().is_some_and(|rest| !rest.starts_with('Z')))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dropped_process_is_gone_and_its_output_was_kept() {
        let folder = tempfile::tempdir().unwrap();
        let log = folder.path().join("log");
        let mut process =
            Process::start(Command::new("sh").args(["-c", "echo ready; exec sleep 100"]), &log).unwrap();
        process.wait_output("ready", Duration::from_secs(5)).unwrap();
        let id = i32::try_from(process.id()).unwrap();
        assert!(is_alive(id));
        drop(process);
        assert!(!is_alive(id));
    }

    #[test]
    fn an_early_end_is_told_with_the_output() {
        let folder = tempfile::tempdir().unwrap();
        let mut command = Command::new("sh");
        let mut process =
            Process::start(command.args(["-c", "echo port taken; exit 4"]), &folder.path().join("log"))
                .unwrap();
        let text = process.wait_output("ready", Duration::from_secs(5)).unwrap_err().to_string();
        assert!(text.contains("port taken") && text.contains('4'), "{text}");
    }
}
