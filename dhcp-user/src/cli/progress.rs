//! How far long work is, on stderr: only where that is a terminal, and not where stdout is one too, for then the lines
//! themselves show it.

use std::{
    io::{IsTerminal as _, stdout},
    time::Duration,
};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// Nothing is shown of work that is over sooner than this would look like flicker.
const DRAWN_EVERY: Duration = Duration::from_millis(200);

/// Work that is going on; what was drawn is gone when this is dropped.
pub(super) struct Progress(ProgressBar);

impl Progress {
    /// Of things whose number is not known before, such as `leases`.
    pub fn of(things: &'static str) -> Self {
        let shown = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr());
        let hidden = stdout().is_terminal() || shown.is_hidden();
        Self::begun(
            if hidden { ProgressBar::hidden() } else { shown },
            &format!("{{pos}} {things}, {{per_sec}}"),
        )
    }

    /// Of waiting, with a word about how it stands; on stderr whatever stdout is, for nothing is printed meanwhile.
    pub fn of_waiting() -> Self {
        Self::begun(ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr()), "{msg}, {elapsed}")
    }

    fn begun(bar: ProgressBar, what: &str) -> Self {
        if let Ok(style) = ProgressStyle::with_template(&format!("{{spinner}} {what}")) {
            bar.set_style(style);
        }
        if !bar.is_hidden() {
            bar.enable_steady_tick(DRAWN_EVERY);
        }
        Self(bar)
    }

    /// So many more.
    pub fn add(&self, count: usize) {
        self.0.inc(count as u64);
    }

    /// How it stands.
    pub fn say(&self, message: String) {
        self.0.set_message(message);
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.0.finish_and_clear();
    }
}
