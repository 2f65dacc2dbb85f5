//! What answering costs, as the kernel's own accounts have it.
//!
//! A server that works in the kernel is not charged for it: its work is done in the name of whoever runs then, mostly as
//! software interrupts. So for every server the same is counted: all processors' busy time, less that of this process,
//! which is the generator. On a machine that does other things besides, the figure has those in it too.

use std::fs;

use anyhow::{Context as _, Result};

/// Processor time up to now, seconds.
#[derive(Clone, Copy, Debug)]
pub struct Spent {
    /// Of all processors, but for idling and waiting for disks.
    pub machine: f64,
    /// Of this process.
    pub generator: f64,
    /// Of the server's process.
    pub server: f64,
}

/// What was spent between two moments.
#[derive(Clone, Copy, Debug, Default)]
pub struct Cost {
    /// Of the whole machine, without the generator.
    pub machine_s: f64,
    /// Of the server's process alone.
    pub server_s: f64,
}

impl Spent {
    /// As of now.
    ///
    /// # Errors
    ///
    /// When `/proc` is not to be read or the server has ended.
    pub fn now(server: u32) -> Result<Self> {
        let tick = rustix::param::clock_ticks_per_second() as f64;
        let stat = fs::read_to_string("/proc/stat").context("cannot read /proc/stat")?;
        let words: Vec<u64> = stat
            .lines()
            .next()
            .unwrap_or_default()
            .split_whitespace()
            .filter_map(|w| w.parse().ok())
            .collect();
        // user nice system idle iowait irq softirq steal
        let busy: u64 = [0, 1, 2, 5, 6].iter().filter_map(|&at| words.get(at)).sum();
        Ok(Self {
            machine: busy as f64 / tick,
            generator: process(std::process::id())? as f64 / tick,
            server: process(server)? as f64 / tick,
        })
    }

    /// What was spent since `earlier`.
    pub fn since(&self, earlier: &Self) -> Cost {
        let generator = self.generator - earlier.generator;
        Cost {
            machine_s: (self.machine - earlier.machine - generator).max(0.0),
            server_s: self.server - earlier.server,
        }
    }
}

/// Ticks a process has run, its threads' together.
fn process(id: u32) -> Result<u64> {
    let path = format!("/proc/{id}/stat");
    let stat = fs::read_to_string(&path).with_context(|| format!("cannot read {path}: has it ended?"))?;
    let behind = stat.rsplit(") ").next().unwrap_or_default();
    // state is field 3, utime 14, stime 15.
    let field = |at: usize| behind.split_whitespace().nth(at - 3).and_then(|word| word.parse::<u64>().ok());
    field(14).zip(field(15)).map(|(user, system)| user + system).with_context(|| format!("{path} is odd"))
}
