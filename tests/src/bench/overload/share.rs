//! A part of a processor for a process: a control group with a quota (`cpu.max`, or `cpu.cfs_quota_us` of version 1).
//!
//! The generator has one processor and the daemon the others. Where one processor makes less than ten times what the
//! daemon can do, the daemon is given less: what is compared is how both sides stand, not how fast this machine is.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result};

/// How long a quota is for, microseconds: short, so that the daemon is slow and does not stand still.
const PERIOD_US: u32 = 10_000;
const ROOT: &str = "/sys/fs/cgroup";

/// A control group; gone when dropped, and its processes free.
#[derive(Debug)]
pub struct Share {
    folder: PathBuf,
    parent: PathBuf,
}

impl Share {
    /// Lets the process `id`, and all its threads together, have `percent` of one processor.
    ///
    /// # Errors
    ///
    /// Without root or control groups.
    pub fn new(id: u32, percent: u32) -> Result<Self> {
        let quota_us = PERIOD_US / 100 * percent;
        let name = format!("dhcp-bench-{id}");
        let of_version_2 = Path::new(ROOT).join("cgroup.controllers").exists();
        let parent = if of_version_2 { PathBuf::from(ROOT) } else { Path::new(ROOT).join("cpu") };
        if of_version_2 {
            write(&parent.join("cgroup.subtree_control"), "+cpu")?;
        }
        let folder = parent.join(name);
        fs::create_dir(&folder)
            .with_context(|| format!("cannot make the control group {}", folder.display()))?;
        let share = Self { folder, parent };
        if of_version_2 {
            write(&share.folder.join("cpu.max"), &format!("{quota_us} {PERIOD_US}"))?;
        } else {
            write(&share.folder.join("cpu.cfs_period_us"), &PERIOD_US.to_string())?;
            write(&share.folder.join("cpu.cfs_quota_us"), &quota_us.to_string())?;
        }
        write(&share.folder.join("cgroup.procs"), &id.to_string())?;
        Ok(share)
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        let left = fs::read_to_string(self.folder.join("cgroup.procs")).unwrap_or_default();
        for id in left.lines() {
            // One that has ended meanwhile is none.
            let _ = fs::write(self.parent.join("cgroup.procs"), id);
        }
        if let Err(error) = fs::remove_dir(&self.folder) {
            eprintln!("the control group {} stays behind: {error}", self.folder.display());
        }
    }
}

fn write(file: &Path, text: &str) -> Result<()> {
    fs::write(file, text).with_context(|| {
        format!("cannot write {text:?} to {}: as root, or `--daemon-percent 100`", file.display())
    })
}
