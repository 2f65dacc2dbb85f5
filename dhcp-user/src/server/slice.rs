//! Short slices for the threads a frame goes through: they work for tens of microseconds at a time, and where others want the
//! processors too, a thread that says so comes on soon (EEVDF's custom slices, Linux 6.12). It gets no more time for it.

use std::{io, mem::size_of};

/// What a thread asks for, nanoseconds; the kernel takes 0.1 ms to 100 ms.
const SLICE_NS: u64 = 100_000;

/// Asks for short slices for the calling thread. An earlier kernel has one length for all and ignores it.
pub(super) fn ask_for_short_ones() {
    if let Err(error) = set() {
        tracing::debug!(%error, "no short slices for this thread");
    }
}

fn set() -> io::Result<()> {
    let size = u32::try_from(size_of::<libc::sched_attr>()).map_err(io::Error::other)?;
    // SAFETY: integers, for which all zeros are valid.
    let mut wanted: libc::sched_attr = unsafe { std::mem::zeroed() };
    // SAFETY: the kernel writes at most `size` octets to `wanted`; 0 is this thread.
    done(unsafe { libc::syscall(libc::SYS_sched_getattr, 0, &raw mut wanted, size, 0) })?;
    wanted.size = size;
    wanted.sched_runtime = SLICE_NS;
    // SAFETY: the kernel reads `wanted.size` octets.
    done(unsafe { libc::syscall(libc::SYS_sched_setattr, 0, &raw const wanted, 0) })
}

fn done(result: libc::c_long) -> io::Result<()> {
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn anybody_may_ask() {
        set().unwrap();
    }
}
