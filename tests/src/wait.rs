//! Waiting for a condition with a deadline, in place of sleeping and hoping.

use std::time::{Duration, Instant};

use anyhow::{Result, bail};

/// How often a condition is looked at.
const POLL: Duration = Duration::from_millis(10);

/// Waits until `condition` holds.
///
/// # Errors
///
/// When it does not within `deadline`; `what` names it.
pub fn wait_until(deadline: Duration, what: &str, mut condition: impl FnMut() -> bool) -> Result<()> {
    wait_for(deadline, what, || Ok(condition().then_some(())))
}

/// Waits until `find` finds something, and returns that.
///
/// # Errors
///
/// When it finds nothing within `deadline`, or at once when `find` fails.
pub fn wait_for<T>(deadline: Duration, what: &str, mut find: impl FnMut() -> Result<Option<T>>) -> Result<T> {
    let end = Instant::now() + deadline;
    loop {
        if let Some(found) = find()? {
            return Ok(found);
        }
        if Instant::now() >= end {
            bail!("waited {deadline:?} in vain for {what}");
        }
        std::thread::sleep(POLL);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_never_happens_is_named() {
        let error = wait_until(Duration::from_millis(30), "the moon", || false).unwrap_err();
        assert!(error.to_string().contains("the moon"), "{error}");
    }

    #[test]
    fn a_condition_is_looked_at_even_without_time() {
        assert_eq!(wait_for(Duration::ZERO, "now", || Ok(Some(7))).unwrap(), 7);
    }
}
