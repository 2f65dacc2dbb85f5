//! A word on how long something has been going on that says nothing itself; on a terminal only.

use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};

const DRAWN_EVERY: Duration = Duration::from_millis(200);

/// Does `work`, and shows for how long meanwhile.
pub fn during<T>(what: impl Into<String>, work: impl FnOnce() -> T) -> T {
    let bar = ProgressBar::new_spinner();
    if let Ok(style) = ProgressStyle::with_template("{spinner} {msg}, {elapsed}") {
        bar.set_style(style);
    }
    bar.set_message(what.into());
    if !bar.is_hidden() {
        bar.enable_steady_tick(DRAWN_EVERY);
    }
    let done = work();
    bar.finish_and_clear();
    done
}
