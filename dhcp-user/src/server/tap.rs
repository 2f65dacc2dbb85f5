//! Captures of what the kernel answers: one at a time, begun and ended by the service's thread, which owns the programs.
//! Whatever ends it (the reader, another configuration, the daemon's end), the programs in use run again afterwards.

use tokio::sync::oneshot;

use super::service::Service;
use crate::fastpath::{
    error::FastPathError,
    tap::{Recipe, Tap},
};

/// Why nothing is captured.
#[derive(Debug, thiserror::Error)]
pub enum TapError {
    /// There is nothing to look at.
    #[error("no program runs on any interface: every frame reaches the daemon, and tcpdump sees it")]
    NoFastPath,
    /// One at a time.
    #[error("a capture is running already: end that one first")]
    Busy,
    /// Another configuration came in between.
    #[error("another configuration was taken up in between: ask again")]
    Overtaken,
    /// The kernel refuses.
    #[error("the kernel refuses, and everything runs as before: {0}")]
    Kernel(#[from] FastPathError),
}

/// What is asked of the thread.
#[derive(Debug)]
pub enum TapOrder {
    /// What programs of a capture are to be loaded by.
    Recipe(oneshot::Sender<Result<Recipe, TapError>>),
    /// To run these; the receiver that is given back hears when they run no more.
    Begin(Tap, oneshot::Sender<Result<oneshot::Receiver<()>, TapError>>),
    /// To run the others again.
    End(oneshot::Sender<()>),
}

/// A capture that is on.
#[derive(Debug)]
pub struct Running {
    tap: Tap,
    /// Dropped with it.
    _end: oneshot::Sender<()>,
}

impl Running {
    /// The identifiers of its programs, by interface.
    pub(super) fn programs(&self) -> impl Iterator<Item = (&str, u32)> {
        self.tap.programs()
    }
}

impl Service {
    /// Does what is asked. Whoever asked may be gone: then nothing begins.
    pub(super) fn tap(&mut self, order: TapOrder) {
        match order {
            TapOrder::Recipe(to) => drop(to.send(self.recipe())),
            TapOrder::Begin(tap, to) => {
                if let Err(Ok(_)) = to.send(self.begin_tap(tap)) {
                    self.end_tap();
                }
            }
            TapOrder::End(to) => {
                self.end_tap();
                let _ = to.send(());
            }
        }
    }

    fn recipe(&self) -> Result<Recipe, TapError> {
        if self.running_tap.is_some() {
            return Err(TapError::Busy);
        }
        Ok(self.keeper.kernel.as_ref().ok_or(TapError::NoFastPath)?.recipe())
    }

    fn begin_tap(&mut self, mut tap: Tap) -> Result<oneshot::Receiver<()>, TapError> {
        if self.running_tap.is_some() {
            return Err(TapError::Busy);
        }
        let kernel = self.keeper.kernel.as_mut().ok_or(TapError::NoFastPath)?;
        // Over any other maps than those in force they would answer what is not so any more.
        if !kernel.attach_tap(&mut tap)? {
            return Err(TapError::Overtaken);
        }
        let (end, ended) = oneshot::channel();
        self.running_tap = Some(Running { tap, _end: end });
        self.expect_programs();
        tracing::info!("a capture of what the kernel answers is on");
        Ok(ended)
    }

    /// Ends a capture, if one is on.
    pub(super) fn end_tap(&mut self) {
        let Some(running) = self.running_tap.take() else { return };
        if let Some(kernel) = self.keeper.kernel.as_mut()
            && let Err(error) = kernel.detach_tap()
        {
            tracing::error!(%error, "programs of a capture go on running: they answer as the others do; restart to replace them");
        }
        drop(running);
        self.expect_programs();
        tracing::info!("the capture is over");
    }
}
