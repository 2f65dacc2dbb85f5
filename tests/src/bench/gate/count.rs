//! Counting what a step takes: allocations here, instructions by valgrind, which sees only [`gate_measured`].

use std::{
    alloc::{GlobalAlloc, Layout, System},
    path::Path,
    process::Command,
    sync::atomic::{AtomicU64, Ordering::Relaxed},
};

use anyhow::{Context as _, Result, ensure};

static ALLOCATIONS: AtomicU64 = AtomicU64::new(0);

/// The system's allocator, counting what is asked of it. The benchmark's binary makes it the global one.
#[derive(Debug)]
pub struct Counting;

// SAFETY: every call is handed on to the system's allocator as it came.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.fetch_add(1, Relaxed);
        // SAFETY: the caller's contract.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        // SAFETY: the caller's contract.
        unsafe { System.dealloc(at, layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.fetch_add(1, Relaxed);
        // SAFETY: the caller's contract.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, at: *mut u8, layout: Layout, octets: usize) -> *mut u8 {
        ALLOCATIONS.fetch_add(1, Relaxed);
        // SAFETY: the caller's contract.
        unsafe { System.realloc(at, layout, octets) }
    }
}

/// Runs what is to be counted: the one function whose instructions valgrind is told to count, so its name must stay.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "Rust" fn gate_measured(step: &mut dyn FnMut()) {
    step();
}

/// How many times a step asks the allocator for memory; 0 unless [`Counting`] is the global allocator.
pub fn allocations(step: &mut dyn FnMut()) -> u64 {
    let before = ALLOCATIONS.load(Relaxed);
    gate_measured(step);
    ALLOCATIONS.load(Relaxed) - before
}

/// Runs `program` with `args` under valgrind; instructions inside of [`gate_measured`].
///
/// # Errors
///
/// When valgrind is not there, or the program fails under it.
pub fn instructions(program: &Path, args: &[&str]) -> Result<u64> {
    let folder = tempfile::tempdir().context("no folder for valgrind's counts")?;
    let file = folder.path().join("counts");
    let mut command = Command::new("valgrind");
    command
        .args(["--tool=callgrind", "--quiet", "--toggle-collect=gate_measured", "--error-exitcode=0"])
        .arg(format!("--callgrind-out-file={}", file.display()))
        .arg(program)
        .args(args);
    let output = command.output().context("cannot start valgrind: apt-get install valgrind")?;
    ensure!(
        output.status.success(),
        "{command:?} ended with {}: {}",
        output.status,
        String::from_utf8_lossy(&output.stderr)
    );
    let text = std::fs::read_to_string(&file).context("valgrind left no counts")?;
    total(&text).context("valgrind's counts have no total")
}

/// The sum in callgrind's file.
fn total(text: &str) -> Option<u64> {
    let line =
        text.lines().find_map(|line| line.strip_prefix("totals: ").or(line.strip_prefix("summary: ")))?;
    line.trim().parse().ok().filter(|&total| total > 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn totals_are_found() {
        assert_eq!(total("events: Ir\nfn=(1) a\n1 2\ntotals: 4711\n"), Some(4711));
        assert_eq!(total("events: Ir\ntotals: 0\n"), None);
        assert_eq!(total(""), None);
    }
}
