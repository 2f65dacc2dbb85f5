//! What the figures were measured on.

use anyhow::{Context as _, Result};
use rustix::{
    system::uname,
    thread::{CpuSet, sched_getaffinity, sched_setaffinity},
};
use serde::Serialize;

/// A machine and its kernel.
#[derive(Clone, Debug, Serialize)]
pub struct Machine {
    /// The processor's name.
    pub cpu: String,
    /// Processors.
    pub cores: usize,
    /// The kernel's release.
    pub kernel: String,
    /// Processes that were running or waiting to when the measurement began, on average over a minute.
    pub load: f64,
}

impl Machine {
    /// This one.
    ///
    /// # Errors
    ///
    /// Without `/proc`.
    pub fn this() -> Result<Self> {
        let cpuinfo = std::fs::read_to_string("/proc/cpuinfo").context("cannot read /proc/cpuinfo")?;
        let cpu = cpuinfo
            .lines()
            .find_map(|line| line.strip_prefix("model name")?.split_once(':'))
            .map_or("unknown", |(_, name)| name.trim());
        let load = std::fs::read_to_string("/proc/loadavg").context("cannot read /proc/loadavg")?;
        Ok(Self {
            cpu: cpu.to_owned(),
            cores: std::thread::available_parallelism()?.get(),
            kernel: uname().release().to_string_lossy().into_owned(),
            load: load.split_whitespace().next().and_then(|word| word.parse().ok()).unwrap_or(0.0),
        })
    }
}

/// The processors the calling thread may use, the last one first: the first usually has the machine's interrupts.
///
/// # Errors
///
/// When the kernel refuses.
pub fn processors() -> Result<Vec<usize>> {
    let allowed = sched_getaffinity(None)?;
    Ok((0..CpuSet::MAX_CPU).rev().filter(|&cpu| allowed.is_set(cpu)).collect())
}

/// Keeps the calling thread on one processor.
///
/// # Errors
///
/// When the kernel refuses.
pub fn stay_on(processor: usize) -> Result<()> {
    let mut only = CpuSet::new();
    only.set(processor);
    Ok(sched_setaffinity(None, &only)?)
}

/// Keeps the calling thread on the last processor it may use.
///
/// # Errors
///
/// When the kernel refuses.
pub fn stay_on_last_processor() -> Result<usize> {
    let last = *processors()?.first().context("no processor may be used")?;
    stay_on(last)?;
    Ok(last)
}
