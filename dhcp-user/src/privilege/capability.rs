//! Capabilities. Sockets, maps and programs are made with five of them; once they are, three are kept for the next
//! program and map (a changed configuration), and the rest is gone for good, in this process and whatever it starts.
//!
//! Capabilities belong to threads: this must run before any other thread is started.

use caps::{CapSet, Capability, CapsHashSet};

/// What stays after set-up, and why.
///
/// * `CAP_BPF`: reading counters and replacing the inner map that a grace period is waited for by are `bpf` calls, which
///   kernels before 6.4 forbid without it where `kernel.unprivileged_bpf_disabled` is set; new maps and programs need it.
/// * `CAP_NET_ADMIN`: a program of the XDP type is loaded, and attached to an interface, only with it.
/// * `CAP_PERFMON`: without it the verifier takes the program for one that may leak pointers, and refuses it.
pub const KEPT: [Capability; 3] = [Capability::CAP_BPF, Capability::CAP_NET_ADMIN, Capability::CAP_PERFMON];

/// Why privileges could not be dropped.
#[derive(Debug, thiserror::Error)]
pub enum PrivilegeError {
    /// The kernel refuses to take capabilities away.
    #[error(
        "capabilities cannot be dropped ({what}): {error}; the daemon does not run with more than it needs"
    )]
    Drop {
        /// Which set.
        what: &'static str,
        /// Why.
        error: String,
    },
    /// The kernel refuses the flag.
    #[error("no_new_privs cannot be set: {0}")]
    NoNewPrivs(#[source] rustix::io::Errno),
}

/// Gives up all capabilities but those of [`KEPT`] this thread has; a process started from here on has none.
///
/// # Errors
/// If the kernel refuses.
pub fn drop_all_but_kept() -> Result<(), PrivilegeError> {
    let failed =
        |what| move |error: caps::errors::CapsError| PrivilegeError::Drop { what, error: error.to_string() };
    rustix::thread::set_no_new_privs(true).map_err(PrivilegeError::NoNewPrivs)?;
    caps::clear(None, CapSet::Ambient).map_err(failed("ambient"))?;
    let permitted = caps::read(None, CapSet::Permitted).map_err(failed("permitted"))?;
    let kept: CapsHashSet = KEPT.into_iter().filter(|capability| permitted.contains(capability)).collect();
    // The bounding set takes CAP_SETPCAP, which a daemon with a user of its own does not have; its service manager has
    // set it then, and no_new_privs makes the rest unreachable.
    if permitted.contains(&Capability::CAP_SETPCAP) {
        for capability in caps::all() {
            if !kept.contains(&capability)
                && caps::has_cap(None, CapSet::Bounding, capability).unwrap_or(false)
            {
                caps::drop(None, CapSet::Bounding, capability).map_err(failed("bounding"))?;
            }
        }
    }
    caps::clear(None, CapSet::Inheritable).map_err(failed("inheritable"))?;
    caps::set(None, CapSet::Effective, &kept).map_err(failed("effective"))?;
    caps::set(None, CapSet::Permitted, &kept).map_err(failed("permitted"))?;
    let mut names: Vec<String> = kept.iter().map(ToString::to_string).collect();
    names.sort_unstable();
    tracing::info!(kept = names.join(" "), "privileges are dropped");
    Ok(())
}
