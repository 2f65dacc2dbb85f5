//! The one step in which the service takes up another configuration.

use std::{fmt, time::Instant};

use dhcp_common::abi::Control;
use rand::{TryRngCore as _, rngs::OsRng};
use tokio::sync::oneshot;

use super::{Reloaded, decide::Standing};
use crate::{
    audit::{Kind, Line},
    fastpath::{error::FastPathError, grace::Grace, kernel::KernelPath, stored},
    server::{
        changeover::{Change, ChangeError, Changeover},
        clock,
        keeper::KeeperError,
        service::Service,
        start,
    },
    time::Timestamp,
};

/// How it went, and maps that nobody uses any more.
pub type Answer = (Result<Reloaded, ChangeError>, Vec<KernelPath>);

/// A configuration that can be put in force, with programs for it.
pub struct Order {
    /// What to serve.
    pub next: Standing,
    /// Its maps and programs, if it has some.
    pub fresh: Option<KernelPath>,
    /// Where to say how it went.
    pub to: oneshot::Sender<Answer>,
}

impl fmt::Debug for Order {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Order").field("next", &self.next).finish_non_exhaustive()
    }
}

/// Lets go of maps that nobody uses.
pub(super) fn discard(path: KernelPath) {
    let set = path.set().clone();
    drop(path);
    if let Err(error) = set.remove() {
        tracing::warn!(%error, "pins of maps that are not in use stay until the next start");
    }
}

/// The kernel's side of the change.
struct Kernel {
    fresh: Option<KernelPath>,
    grace: Option<Grace>,
    modes: Option<std::collections::BTreeMap<String, String>>,
    unused: Vec<KernelPath>,
}

impl Changeover for Kernel {
    type Map = KernelPath;

    fn boot_ns(&self) -> u64 {
        clock::boot_ns()
    }

    fn load(&mut self, control: &Control) -> Result<KernelPath, FastPathError> {
        let mut path = self.fresh.take().ok_or(FastPathError::Missing("interface to run on"))?;
        path.set_control(control);
        self.grace = path.take_grace();
        Ok(path)
    }

    fn attach(&mut self, path: &mut KernelPath) -> Result<(), FastPathError> {
        self.modes = Some(start::succession::attach(path)?);
        Ok(())
    }

    fn wait_for_programs(&mut self) -> Result<(), FastPathError> {
        self.grace.as_mut().ok_or(FastPathError::Missing("GRACE"))?.wait()
    }

    fn discard(&mut self, path: KernelPath) {
        self.unused.push(path);
    }
}

impl Service {
    /// Takes up another configuration.
    ///
    /// # Errors
    /// If the store or the kernel fail in the middle: then nothing more may be promised.
    pub(in crate::server) fn change_configuration(&mut self, order: Order) -> Result<(), KeeperError> {
        let Order { next, fresh, to } = order;
        // Its programs are of the maps that are about to go.
        self.end_tap();
        let began = Instant::now();
        let mut kernel = Kernel { fresh, grace: None, modes: None, unused: Vec::new() };
        let done = self.put_in_force(&next, &mut kernel);
        kernel.unused.extend(kernel.fresh.take());
        if done.is_ok() {
            let objects = self.keeper.kernel.iter_mut().flat_map(KernelPath::objects_mut);
            self.loggers = objects.filter_map(start::logger).collect();
            // Read when the programs over them have ended.
            self.counts.kernel_before(kernel.unused.iter().find_map(|before| before.counters().ok()));
        }
        if let Some(modes) = kernel.modes {
            self.modes = modes;
        }
        self.expect_programs();
        let inherited = std::mem::take(&mut self.keeper.inherited);
        self.record(&inherited);
        let blocked_ms = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
        let generation = self.keeper.core.learner.control.generation;
        let (said, ended) = match done {
            Ok(()) => {
                if let Some(journal) = &mut self.journal {
                    let now = self.clock.now();
                    let line = Line { generation: Some(generation), ..Line::new(Kind::Configured, now) };
                    journal.note(now, Timestamp(clock::wall_ns()), line);
                }
                tracing::info!(blocked_ms, generation, "another configuration is in force");
                (Ok(Reloaded { changed: true, blocked_ms, generation, in_file: true }), Ok(()))
            }
            Err(ChangeError::Failed(error)) => {
                tracing::error!(%error, "another configuration was half in force");
                (Err(ChangeError::Failed(KeeperError::Halfway)), Err(error))
            }
            Err(error) => (Err(error), Ok(())),
        };
        // Whoever asked waits for it.
        drop(to.send((said, kernel.unused)));
        ended
    }

    fn put_in_force(&mut self, next: &Standing, kernel: &mut Kernel) -> Result<(), ChangeError> {
        let mut random_key = vec![0; stored::KEY_LEN];
        OsRng
            .try_fill_bytes(&mut random_key)
            .map_err(|_| ChangeError::Refused(FastPathError::Missing("random key from the kernel")))?;
        let change = Change {
            config: next.config.clone(),
            servers: next.servers.clone(),
            interfaces: start::interfaces::numbered(&next.facts),
            local: next.facts.iter().flat_map(|facts| facts.addresses.iter().copied()).collect(),
            probing: next.config.conflict_detection,
            random_key,
        };
        let authority = start::authority(&next.config);
        self.keeper.change_over(change, kernel, authority)?;
        self.authority = authority;
        Ok(())
    }
}
