//! The daemon under test, in a namespace, with a configuration of the test's.

use std::{
    fs,
    io::{Read as _, Write as _},
    os::unix::net::UnixStream,
    path::{Path, PathBuf},
    process::{Command, ExitStatus},
    time::Duration,
};

use anyhow::{Context as _, Result, bail, ensure};
use rustix::process::Signal;
use serde_json::Value;

use crate::{
    netns::NetNs,
    process::{self, Process},
    wait::wait_for,
};

/// Names the binary to test, where it is not beside the test's own.
pub const OVERRIDE: &str = "DHCP_DAEMON";

/// How long the daemon may take until it answers.
const READY_DEADLINE: Duration = Duration::from_secs(20);

/// The daemon's binary: [`OVERRIDE`], or the one in the target directory of this test.
///
/// # Errors
///
/// When there is none; it is built by `cargo xtask test` or `cargo xtask build`.
pub fn binary() -> Result<PathBuf> {
    if let Some(path) = std::env::var_os(OVERRIDE) {
        return Ok(path.into());
    }
    let own = std::env::current_exe().context("cannot tell where this test's binary is")?;
    let found = own.ancestors().skip(1).take(2).map(|folder| folder.join("simple-dhcpd-datacenter"));
    found
        .into_iter()
        .find(|file| file.is_file())
        .with_context(|| format!("no daemon beside {}: run `cargo xtask build`", own.display()))
}

/// A daemon that answers on its control socket. Dropping it kills it; its log is shown when the test panics.
#[derive(Debug)]
pub struct Daemon {
    process: Process,
    socket: PathBuf,
    config: PathBuf,
    log: PathBuf,
    /// Words before the daemon's own command line, such as setpriv's.
    through: Vec<String>,
}

impl Daemon {
    /// Writes `config` to `folder`/dhcp.json, starts the daemon in `ns` and waits until it answers. The configuration
    /// must name its control socket (`dhcp.control.socket`).
    ///
    /// # Errors
    ///
    /// When it ends before it answers or does not answer in time; the error has its log.
    pub fn start(ns: &NetNs, folder: &Path, config: &Value) -> Result<Self> {
        let mut daemon = Self::spawn(ns, folder, config)?;
        daemon.wait_ready()?;
        Ok(daemon)
    }

    /// As [`Daemon::start`], by another program that runs it, such as setpriv with its arguments.
    ///
    /// # Errors
    ///
    /// As [`Daemon::start`].
    pub fn start_through(ns: &NetNs, folder: &Path, config: &Value, through: &[&str]) -> Result<Self> {
        let through = through.iter().map(|&word| word.to_owned()).collect();
        let mut daemon = Self::spawn_through(ns, folder, config, through)?;
        daemon.wait_ready()?;
        Ok(daemon)
    }

    /// As [`Daemon::start`], without waiting: for a daemon that is expected to refuse.
    ///
    /// # Errors
    ///
    /// When it cannot be started.
    pub fn spawn(ns: &NetNs, folder: &Path, config: &Value) -> Result<Self> {
        Self::spawn_with(&binary()?, ns, folder, config, Vec::new())
    }

    /// As [`Daemon::spawn`], by another program that runs it.
    ///
    /// # Errors
    ///
    /// When it cannot be started.
    pub fn spawn_through(ns: &NetNs, folder: &Path, config: &Value, through: Vec<String>) -> Result<Self> {
        Self::spawn_with(&binary()?, ns, folder, config, through)
    }

    /// As [`Daemon::spawn`], from a program file of the caller's choice.
    ///
    /// # Errors
    ///
    /// When it cannot be started.
    pub fn spawn_as(program: &Path, ns: &NetNs, folder: &Path, config: &Value) -> Result<Self> {
        Self::spawn_with(program, ns, folder, config, Vec::new())
    }

    /// As [`Daemon::spawn_as`], by another program that runs it, unless there are no words for that.
    ///
    /// # Errors
    ///
    /// When it cannot be started.
    pub fn spawn_with(
        program: &Path,
        ns: &NetNs,
        folder: &Path,
        config: &Value,
        through: Vec<String>,
    ) -> Result<Self> {
        let Some(socket) = config.pointer("/dhcp/control/socket").and_then(Value::as_str) else {
            bail!("the configuration names no dhcp.control.socket");
        };
        let file = folder.join("dhcp.json");
        let text = serde_json::to_string_pretty(config).context("cannot write the configuration as JSON")?;
        fs::write(&file, text).with_context(|| format!("cannot write {}", file.display()))?;
        let log = folder.join("daemon.log");
        let process = Process::start(&mut command(program, ns, &file, &through), &log)?;
        Ok(Self { process, socket: socket.into(), config: file, log, through })
    }

    /// Waits until it answers.
    ///
    /// # Errors
    ///
    /// When it ends before or does not in time; the error has its log.
    pub fn wait_ready(&mut self) -> Result<()> {
        let socket = self.socket.clone();
        wait_for(READY_DEADLINE, "the daemon to answer on its control socket", || {
            if answers(&socket) {
                return Ok(Some(()));
            }
            if let Some(status) = self.process.ended()? {
                bail!("the daemon ended ({status})");
            }
            Ok(None)
        })
        .with_context(|| format!("its log:\n{}", self.log()))
    }

    /// Starts it anew with the same configuration, after its end, and waits until it answers.
    ///
    /// # Errors
    ///
    /// As [`Daemon::start`].
    pub fn restart(&mut self, ns: &NetNs) -> Result<()> {
        self.process.kill()?;
        // A killed daemon leaves its socket behind; one that still accepted would be mistaken for the new one.
        let _ = fs::remove_file(&self.socket);
        self.process = Process::start(&mut command(&binary()?, ns, &self.config, &self.through), &self.log)?;
        self.wait_ready()
    }

    /// Kills it as `kill -9` does.
    ///
    /// # Errors
    ///
    /// When it cannot be killed.
    pub fn kill(&mut self) -> Result<()> {
        self.process.kill()
    }

    /// Ends it in good order (SIGTERM) and returns its exit status.
    ///
    /// # Errors
    ///
    /// When it does not end within ten seconds.
    pub fn stop(&mut self) -> Result<ExitStatus> {
        self.process.signal(Signal::TERM)?;
        self.process.wait(Duration::from_secs(10))
    }

    /// Sends it a signal, such as SIGHUP.
    ///
    /// # Errors
    ///
    /// When it cannot be sent.
    pub fn signal(&mut self, signal: Signal) -> Result<()> {
        self.process.signal(signal)
    }

    /// Waits for its end by itself.
    ///
    /// # Errors
    ///
    /// When it still runs after `deadline`.
    pub fn wait(&mut self, deadline: Duration) -> Result<ExitStatus> {
        self.process.wait(deadline)
    }

    /// Its log so far.
    pub fn log(&self) -> String {
        self.process.output()
    }

    /// Its process id.
    pub fn id(&self) -> u32 {
        self.process.id()
    }

    /// The memory it occupies now, and the most it ever did, octets.
    ///
    /// # Errors
    ///
    /// When it is gone.
    pub fn memory_octets(&self) -> Result<(u64, u64)> {
        let file = format!("/proc/{}/status", self.id());
        let status = fs::read_to_string(&file).with_context(|| format!("cannot read {file}"))?;
        let kib = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name))?;
            line.split_whitespace().next()?.parse::<u64>().ok()
        };
        let known = kib("VmRSS:").zip(kib("VmHWM:")).with_context(|| format!("{file} tells no memory"))?;
        Ok((known.0 * 1024, known.1 * 1024))
    }

    /// What it answers to a GET of `path` on its control socket, without a program started for it.
    ///
    /// # Errors
    ///
    /// When it does not answer, or with something else than 200 and JSON.
    pub fn get(&self, path: &str, patience: Duration) -> Result<Value> {
        let body = get(&self.socket, path, patience)?;
        serde_json::from_str(&body).with_context(|| format!("{path} is answered by no JSON: {body}"))
    }

    /// As [`get`](Self::get), of what is no JSON.
    ///
    /// # Errors
    ///
    /// When it does not answer, or with something else than 200.
    pub fn text(&self, path: &str, patience: Duration) -> Result<String> {
        get(&self.socket, path, patience)
    }

    /// Runs the daemon's own command line against it, such as `["leases", "list"]`, and returns the JSON it prints.
    ///
    /// # Errors
    ///
    /// When the command fails or prints something else.
    pub fn ask(&self, words: &[&str]) -> Result<Value> {
        let mut command = Command::new(binary()?);
        let text = process::stdout(command.args(words).arg("--json").arg("--socket").arg(&self.socket))?;
        serde_json::from_str(&text).with_context(|| format!("{words:?} printed no JSON: {text}"))
    }
}

/// Whether a question is answered. The socket alone says little: the daemon makes it first of all.
fn answers(socket: &Path) -> bool {
    get(socket, "/api/v1/stats", READY_DEADLINE).is_ok()
}

/// Asks on a control socket, as a client of one question.
fn get(socket: &Path, path: &str, patience: Duration) -> Result<String> {
    let mut stream = UnixStream::connect(socket)?;
    stream.set_read_timeout(Some(patience))?;
    stream
        .write_all(format!("GET {path} HTTP/1.1\r\nHost: daemon\r\nConnection: close\r\n\r\n").as_bytes())?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    let (head, body) = answer.split_once("\r\n\r\n").context("no answer")?;
    ensure!(head.starts_with("HTTP/1.1 200"), "{path}: {head}: {body}");
    Ok(body.to_owned())
}

fn command(daemon: &Path, ns: &NetNs, config: &Path, through: &[String]) -> Command {
    let mut command = match through {
        [] => ns.command(daemon),
        [program, arguments @ ..] => {
            let mut command = ns.command(program);
            command.args(arguments).arg(daemon);
            command
        }
    };
    command.arg("--config").arg(config);
    command
}
