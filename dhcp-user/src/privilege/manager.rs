//! What the service manager is told (`sd_notify`): ready, reloading, stopping, and alive. Without one, nothing happens.

use std::time::Duration;

use sd_notify::NotifyState;

/// Serving.
pub fn ready() {
    tell(&[NotifyState::Ready]);
}

/// Taking up another configuration; [`ready`] follows.
pub fn reloading() {
    // Type=notify-reload wants the moment as well; the manager compares it with its own clock.
    match NotifyState::monotonic_usec_now() {
        Ok(now) => tell(&[NotifyState::Reloading, now]),
        Err(error) => tracing::debug!(%error, "no monotonic clock for the service manager"),
    }
}

/// On the way out.
pub fn stopping() {
    tell(&[NotifyState::Stopping]);
}

/// Alive.
pub fn alive() {
    tell(&[NotifyState::Watchdog]);
}

/// How often the manager wants to hear that we are alive, halved so that one late message is no death; `None` if it does
/// not care.
pub fn watchdog_period() -> Option<Duration> {
    let mut usec = 0;
    sd_notify::watchdog_enabled(false, &mut usec)
        .then(|| Duration::from_micros(usec / 2))
        .filter(|half| !half.is_zero())
}

fn tell(state: &[NotifyState]) {
    if let Err(error) = sd_notify::notify(false, state) {
        tracing::debug!(%error, "the service manager cannot be told");
    }
}
