//! Another configuration under a running daemon: read, judged and loaded beside the service, put in force by it in one
//! step, all or nothing.
//!
//! * [`decide`]: whether a running daemon can take it up. [`files`]: where it comes from and goes to; [`applied`]: where
//!   to if the file cannot be written.
//! * [`reserve`]: reservations alone, made by the API; [`agreed`]: those of a cluster.
//! * [`swap`]: the step itself, on the service's thread.

pub mod agreed;
pub mod applied;
pub mod decide;
mod files;
pub mod reserve;
pub mod swap;

use std::{
    fmt, io,
    path::PathBuf,
    sync::{Arc, OnceLock, PoisonError, RwLock, mpsc::SyncSender},
};

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use tokio::sync::{Mutex, oneshot, watch};
use utoipa::ToSchema;

use self::{
    agreed::Taken,
    decide::{AskingBy, Decision, NeedsRestart, Standing, decide},
    files::Files,
    swap::Order,
};
use super::{
    changeover::ChangeError,
    service::Event,
    start::{self, StartError},
};
use crate::{
    config::{self, ConfigError, difference::places, made::LeftOut, model::Config},
    fastpath::{error::FastPathError, pins::PinDirectory},
    privilege::manager,
    site::driver::Sites,
};

/// Why the configuration stays as it was.
#[derive(Debug, thiserror::Error)]
pub enum ReloadError {
    /// It cannot be had or is wrong.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The machine is not as it wants it.
    #[error(transparent)]
    Machine(#[from] StartError),
    /// It changes what only a restart can.
    #[error(transparent)]
    NeedsRestart(#[from] NeedsRestart),
    /// What is in force is not what the caller looked at.
    #[error("the configuration in force is another by now ({0}): look at it again")]
    Changed(String),
    /// The file is not what is in force: somebody is editing it.
    #[error(
        "{}: the file was changed and not reloaded, and is not overwritten: `config reload` it, or put it back first",
        path.display()
    )]
    Edited {
        /// The file.
        path: PathBuf,
    },
    /// The file cannot be written.
    #[error(
        "{}: cannot be written: {error}; the daemon's user must be able to write to the file's directory, or write the \
         file yourself and `config reload` it",
        path.display()
    )]
    Write {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        error: io::Error,
    },
    /// There is nothing to go back to.
    #[error("{}: there is no earlier configuration to go back to", path.display())]
    NoPrevious {
        /// Where it would be.
        path: PathBuf,
    },
    /// The kernel refuses.
    #[error("the kernel refuses, and everything stays as it was: {0}")]
    Kernel(#[from] FastPathError),
    /// The service could not take it up.
    #[error(transparent)]
    Swap(#[from] ChangeError),
    /// The service is gone or failed at it.
    #[error("the service is stopping, and takes up no configuration")]
    Stopping,
}

/// How a configuration came to be in force.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Reloaded {
    /// Whether anything changed.
    pub changed: bool,
    /// For how long the service did nothing else, milliseconds.
    pub blocked_ms: u64,
    /// The generation of the kernel's entries; it grows with every change.
    pub generation: u32,
    /// Whether the configuration file says so. If not, the daemon may not write it: what was applied is kept in
    /// `dhcp.api.state_path` and stands for the file until that is edited.
    #[serde(default)]
    pub in_file: bool,
}

/// A configuration that was taken up, for whoever asked and for the record of changes, which shows it as which one it is and where
/// it differs from the one before.
#[derive(Clone, Debug)]
pub struct TakenUp {
    /// How that went.
    pub reloaded: Reloaded,
    /// Its [`version`].
    version: String,
    /// Where it differs from the one before, as [`places`] says.
    places: String,
}

impl fmt::Display for TakenUp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { version, places, .. } = self;
        match places.as_str() {
            "" => write!(f, "configuration {version}"),
            places => write!(f, "configuration {version}: {places}"),
        }
    }
}

/// The configuration in force, for whoever shows it.
#[derive(Clone, Debug)]
pub struct InForce(Arc<RwLock<Arc<Standing>>>);

impl InForce {
    /// Begins with this.
    pub fn new(standing: Standing) -> Self {
        Self(Arc::new(RwLock::new(Arc::new(standing))))
    }

    /// Of a configuration without a file.
    pub fn of(config: Arc<Config>) -> Self {
        Self::new(Standing { text: Arc::from(""), config, facts: Vec::new(), servers: Vec::new() })
    }

    /// What is in force now.
    pub fn standing(&self) -> Arc<Standing> {
        Arc::clone(&self.0.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// The configuration in force now.
    pub fn config(&self) -> Arc<Config> {
        Arc::clone(&self.standing().config)
    }

    fn set(&self, standing: Standing) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(standing);
    }
}

/// Says which reservations made by the API have to give way to the configuration.
pub(super) fn tell_left_out<'a>(all: impl Iterator<Item = &'a LeftOut>) {
    const TOLD_MAX: usize = 20;
    let mut all = all.peekable();
    for left in all.by_ref().take(TOLD_MAX) {
        let address = left.made.address();
        tracing::warn!(%address, "a reservation made by the API is not in force: {}", left.why);
    }
    if all.peek().is_some() {
        let more = all.count();
        tracing::warn!(more, "more reservations made by the API are not in force: `reservations` lists them");
    }
}

/// What changes with a text: the ETag of a configuration.
pub fn version(text: &str) -> String {
    Sha256::digest(text.as_bytes()).iter().take(16).map(|octet| format!("{octet:02x}")).collect()
}

/// Takes up other configurations, one at a time.
#[derive(Debug)]
pub struct Reloader {
    files: Files,
    in_force: InForce,
    /// The directory of pins; `None` if no program is to run anywhere.
    pins: Option<PinDirectory>,
    asking: AskingBy,
    events: SyncSender<Event>,
    one: Arc<Mutex<()>>,
    /// The other nodes, if there are some.
    sites: OnceLock<Arc<Sites>>,
    /// Which of their reservations are in force here.
    taken: watch::Sender<Taken>,
    /// Held by whoever has a change of them decided.
    edits: Mutex<()>,
}

/// What the start leaves for reloads.
#[derive(Debug)]
pub struct Prospects {
    /// What is served.
    pub in_force: InForce,
    /// The directory of pins, if programs run.
    pub pins: Option<PinDirectory>,
    /// What sockets there are to ask by.
    pub asking: AskingBy,
    /// Which cluster's reservations the store has.
    pub taken: Taken,
}

impl Reloader {
    /// For the configuration in the file at `path`; the one before is kept in the API's directory.
    pub fn new(path: PathBuf, prospects: Prospects, events: SyncSender<Event>) -> Self {
        let Prospects { in_force, pins, asking, taken } = prospects;
        let state = in_force.config().api.state_path.clone();
        let previous = state.join("previous-configuration.json");
        let files = Files { current: path, previous, state };
        let (one, edits, sites) = (Arc::default(), Mutex::default(), OnceLock::new());
        Self { files, in_force, pins, asking, events, one, sites, taken: watch::Sender::new(taken), edits }
    }

    /// What is in force.
    pub const fn in_force(&self) -> &InForce {
        &self.in_force
    }

    /// Whether `text` could be put in force now, and what it says.
    ///
    /// # Errors
    /// What is in the way.
    pub fn judge(&self, text: &str) -> Result<(Standing, Decision), ReloadError> {
        let config = config::parse_with(text, "request", &self.in_force.config().made())?;
        self.judge_config(text, Arc::new(config))
    }

    fn judge_config(&self, text: &str, config: Arc<Config>) -> Result<(Standing, Decision), ReloadError> {
        let (facts, servers) = start::interfaces::look_up(&config)?;
        let next = Standing { text: text.into(), config, facts, servers };
        let decision = decide(&self.in_force.standing(), &next, self.asking)?;
        Ok((next, decision))
    }

    /// Takes up the file as it is now.
    ///
    /// # Errors
    /// What is in the way; then what was in force is.
    pub async fn reload(self: &Arc<Self>) -> Result<TakenUp, ReloadError> {
        self.alone(|this| {
            let (text, config) = this.files.read(&this.in_force.config().made())?;
            let (next, decision) = this.judge_config(&text, Arc::new(config))?;
            let in_file = this.files.is_in_file(&text);
            this.put_in_force(next, decision, in_file)
        })
        .await
    }

    /// Writes the file and takes it up. `expected`: only if what is in force has one of these [`version`]s. The text is kept
    /// until that is done, or whoever asked has gone before it began.
    ///
    /// # Errors
    /// What is in the way; then what was in force is, and the file says so.
    pub async fn apply(
        self: &Arc<Self>,
        text: impl AsRef<str> + Send + 'static,
        expected: Option<Vec<String>>,
    ) -> Result<TakenUp, ReloadError> {
        self.alone(move |this| {
            this.still_is(expected.as_deref())?;
            this.write_and_take_up(text.as_ref())
        })
        .await
    }

    /// Goes back to the configuration that was in force before this one, which is then the one to go back to. `expected`: as for
    /// [`apply`](Self::apply).
    ///
    /// # Errors
    /// As [`apply`](Self::apply), or if there is none.
    pub async fn roll_back(self: &Arc<Self>, expected: Option<Vec<String>>) -> Result<TakenUp, ReloadError> {
        self.alone(move |this| {
            this.still_is(expected.as_deref())?;
            let text = this.files.previous_text()?;
            this.write_and_take_up(&text)
        })
        .await
    }

    /// Refuses whoever looked at others than what is in force.
    fn still_is(&self, expected: Option<&[String]>) -> Result<(), ReloadError> {
        let version = version(&self.in_force.standing().text);
        match expected {
            Some(expected) if !expected.contains(&version) => Err(ReloadError::Changed(version)),
            _ => Ok(()),
        }
    }

    fn write_and_take_up(&self, text: &str) -> Result<TakenUp, ReloadError> {
        // Everything that can be refused is, before the file is touched.
        let before = self.in_force.standing();
        if self.files.current_text().as_deref() != Some(&*before.text) {
            return Err(ReloadError::Edited { path: self.files.current.clone() });
        }
        let (next, decision) = self.judge(text)?;
        let in_file = self.files.write_current(text)?;
        self.put_in_force(next, decision, in_file).inspect_err(|_| {
            if let Err(error) = self.files.write_current(&before.text) {
                tracing::error!(%error, "the configuration file has what could not be put in force");
            }
        })
    }

    /// Does `work` to its end beside whoever asked, who may go then; nothing else is taken up meanwhile. Whoever goes before
    /// it begins has it not done at all.
    async fn alone(
        self: &Arc<Self>,
        work: impl FnOnce(&Self) -> Result<TakenUp, ReloadError> + Send + 'static,
    ) -> Result<TakenUp, ReloadError> {
        let this = Arc::clone(self);
        let one = Arc::clone(&self.one).lock_owned().await;
        let done = tokio::spawn(async move {
            let _one = one;
            let worker = Arc::clone(&this);
            manager::reloading();
            let done = tokio::task::spawn_blocking(move || work(&worker)).await;
            manager::ready();
            done
        });
        done.await.ok().and_then(Result::ok).ok_or(ReloadError::Stopping)?
    }

    fn put_in_force(
        &self,
        next: Standing,
        decision: Decision,
        in_file: bool,
    ) -> Result<TakenUp, ReloadError> {
        let before = self.in_force.standing();
        let fresh = match (decision, &self.pins) {
            // Another text may say the same.
            (Decision::Nothing, _) | (_, None) => None,
            (Decision::Change, Some(pins)) => {
                let interfaces = start::interfaces::numbered(&next.facts);
                let ports = start::interfaces::ports(&next.config, &next.facts, &interfaces);
                Some(start::succession::load(&next.config, pins.clone(), ports, &Default::default())?)
            }
        };
        let reloaded = match decision {
            Decision::Nothing => Reloaded { changed: false, blocked_ms: 0, generation: 0, in_file: true },
            Decision::Change => {
                let (to, answer) = oneshot::channel();
                let order = Order { next: next.clone(), fresh, to };
                self.events.send(Event::Reload(Box::new(order))).map_err(|_| ReloadError::Stopping)?;
                let (done, unused) = answer.blocking_recv().map_err(|_| ReloadError::Stopping)?;
                // Not on the service's thread: the maps of a million leases take their time to go.
                unused.into_iter().for_each(swap::discard);
                done?
            }
        };
        let replaced = before.text != next.text && !before.text.is_empty();
        if before.text != next.text {
            tell_left_out(next.config.left_out.iter());
        }
        let text = Arc::clone(&next.text);
        self.in_force.set(next);
        if replaced && let Err(error) = self.files.write_previous(&before.text) {
            tracing::warn!(%error, "the configuration before this one is not kept");
        }
        let places = if replaced { places(&before.text, &text) } else { String::new() };
        Ok(TakenUp { reloaded: Reloaded { in_file, ..reloaded }, version: version(&text), places })
    }
}
