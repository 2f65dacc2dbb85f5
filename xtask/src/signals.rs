//! Ctrl-C and SIGTERM end the lab in good order: they are noted here and looked at between two steps.

use std::{
    io, mem, ptr,
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

use anyhow::{Context as _, Result};

static CAUGHT: AtomicBool = AtomicBool::new(false);

extern "C" fn note(_signal: libc::c_int) {
    CAUGHT.store(true, Ordering::Relaxed);
}

/// Notes SIGINT, SIGTERM and SIGHUP from now on.
///
/// # Errors
///
/// When the kernel refuses a handler.
pub fn catch() -> Result<()> {
    for signal in [libc::SIGINT, libc::SIGTERM, libc::SIGHUP] {
        // SAFETY: sigaction is integers and a function pointer; all zeros is the default action.
        let mut action: libc::sigaction = unsafe { mem::zeroed() };
        action.sa_sigaction = note as extern "C" fn(libc::c_int) as libc::sighandler_t;
        // SAFETY: the handler only stores into an atomic, which is allowed in one; `action` outlives the call.
        if unsafe { libc::sigaction(signal, &raw const action, ptr::null_mut()) } != 0 {
            return Err(io::Error::last_os_error()).context("cannot catch signals");
        }
    }
    Ok(())
}

/// Whether a signal has come.
pub fn caught() -> bool {
    CAUGHT.load(Ordering::Relaxed)
}

/// Waits for `time` or the next signal.
pub fn pause(time: Duration) {
    if caught() {
        return;
    }
    let millis = libc::c_int::try_from(time.as_millis()).unwrap_or(libc::c_int::MAX);
    // SAFETY: no descriptors are given, so nothing is read through the pointer. Unlike std's sleep, poll ends when a
    // signal comes.
    unsafe { libc::poll(ptr::null_mut(), 0, millis) };
}
