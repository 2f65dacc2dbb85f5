//! How far long work is, on stderr and only where that is a terminal. Where lines are printed as they come, not if stdout is
//! one too, for then the lines themselves show it.

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

    /// Of so many things, while nothing is printed: on stderr whatever stdout is.
    pub fn of_known(things: &'static str, count: usize) -> Self {
        let bar = ProgressBar::with_draw_target(Some(count as u64), ProgressDrawTarget::stderr());
        Self::begun(bar, &format!("{{bar:30}} {{pos}} of {{len}} {things}, {{eta}} left"))
    }

    /// Of things whose number is not known before, while nothing is printed: on stderr whatever stdout is.
    pub fn of_gathering(things: &'static str) -> Self {
        let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr());
        Self::begun(bar, &format!("{{pos}} {things}, {{elapsed}}"))
    }

    /// Of waiting, with a word about how it stands; on stderr whatever stdout is, for nothing is printed meanwhile.
    pub fn of_waiting() -> Self {
        Self::begun(ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr()), "{msg}, {elapsed}")
    }

    /// Of waiting for something, in words.
    pub fn of_waiting_for(what: &str) -> Self {
        let progress = Self::of_waiting();
        progress.say(what.to_owned());
        progress
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
